//! An object as it grows: which pieces are here, which were asked for, and whether what came from
//! others than its owner is what the owner has.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hurricane_core::member::{Content, Digest, PIECE_BYTES};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::platform::machine;
use crate::store::shared::{Block, SharedMemory};

/// A piece that has been asked of one source for so long may be asked of another as well.
pub(super) const DOUBLE_AFTER: Duration = Duration::from_millis(100);

/// The pieces of an object.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// Where it is to lie, if there is room.
    memory: Option<Arc<SharedMemory>>,
    state: RefCell<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Grows with what comes, whatever somebody says of the size.
    bytes: Kept,
    total_bytes: Option<u64>,
    /// All pieces before this are here,
    here: u64,
    /// and these.
    beyond: BTreeSet<u64>,
    /// The first piece that was never asked for,
    next: u64,
    /// and those before it that must be asked for again.
    returned: BTreeSet<u64>,
    /// Those that were asked for.
    asked: BTreeMap<u64, Asked>,
    /// Of what is here from the beginning, if it is to be compared.
    hasher: Option<Box<Hashed>>,
}

#[derive(Debug)]
enum Kept {
    Growing(Vec<u8>),
    /// In the place where it stays.
    InPlace(Block),
    Whole(Bytes),
}

impl Default for Kept {
    fn default() -> Self {
        Self::Growing(Vec::new())
    }
}

#[derive(Debug)]
struct Asked {
    sources: u32,
    since: Instant,
}

#[derive(Debug, Default)]
struct Hashed {
    hasher: blake3::Hasher,
    bytes: usize,
}

const PIECE: u64 = PIECE_BYTES as u64;

impl Kept {
    /// What was written, and in between whatever was there.
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Growing(bytes) => bytes,
            Self::InPlace(block) => block.as_bytes(),
            Self::Whole(bytes) => bytes,
        }
    }
}

impl Gathering {
    /// Of an object that is to lie in a store, which it then is not copied into.
    pub(super) fn in_memory(memory: &Arc<SharedMemory>) -> Self {
        Self { memory: Some(Arc::clone(memory)), ..Self::default() }
    }

    /// All of it, if it is whole.
    pub(super) fn whole(&self) -> Option<Bytes> {
        let state = &mut *self.state.borrow_mut();
        if !state.is_whole() {
            return None;
        }
        let bytes = match std::mem::take(&mut state.bytes) {
            Kept::Growing(bytes) => bytes.into(),
            Kept::InPlace(block) => block.into_bytes(),
            Kept::Whole(bytes) => bytes,
        };
        state.bytes = Kept::Whole(bytes.clone());
        Some(bytes)
    }

    /// Its size, as its first source says.
    pub(super) fn total_bytes(&self) -> Option<u64> {
        self.state.borrow().total_bytes
    }

    /// Whether all of it is here.
    pub(super) fn is_whole(&self) -> bool {
        self.state.borrow().is_whole()
    }

    /// Whether the piece at an offset is here.
    pub(super) fn has(&self, offset: u64) -> bool {
        let state = self.state.borrow();
        let piece = offset / PIECE;
        offset.is_multiple_of(PIECE) && state.has(piece)
    }

    /// Some of its bytes, if they are here still.
    pub(super) fn with<T>(
        &self,
        range: Range<usize>,
        use_it: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        self.state.borrow().bytes.as_bytes().get(range).map(use_it)
    }

    /// Until something comes, or nothing more will.
    pub(super) async fn changed(&self, until: Instant, is_enough: impl Fn() -> bool) {
        let mut changed = std::pin::pin!(self.changed.notified());
        changed.as_mut().enable();
        if !is_enough() {
            let _ = tokio::time::timeout_at(until, changed).await;
        }
    }

    /// Until it is whole.
    pub(super) async fn completed(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.is_whole() {
                return;
            }
            changed.await;
        }
    }

    /// Those who wait look again.
    pub(super) fn wake(&self) {
        self.changed.notify_waiters();
    }

    /// From here on some of it may come from others than its owner.
    pub(super) fn distrust(&self) {
        let state = &mut *self.state.borrow_mut();
        state.hasher.get_or_insert_default();
    }

    /// Whether something may have come from others than its owner.
    pub(super) fn is_distrusted(&self) -> bool {
        self.state.borrow().hasher.is_some()
    }

    /// Whether it is what its owner has.
    pub(super) fn is_right(&self, digest: Option<Digest>) -> bool {
        let state = &mut *self.state.borrow_mut();
        state.hash();
        let Some(hashed) = &state.hasher else { return true };
        digest.is_some_and(|digest| hashed.hasher.finalize() == digest)
    }

    /// Forgets all of it.
    pub(super) fn start_again(&self) {
        *self.state.borrow_mut() = State::default();
    }

    /// The offset of a piece to ask for; it is so from now on. Of an object whose size is not known
    /// yet, one piece is asked for.
    pub(super) fn ask_next(&self) -> Option<u64> {
        let state = &mut *self.state.borrow_mut();
        let piece = state.next_missing()?;
        let asked = Asked { sources: 1, since: Instant::now() };
        state.asked.insert(piece, asked);
        Some(piece * PIECE)
    }

    /// The offset of a piece that was asked of another for long, to be asked for once more.
    pub(super) fn ask_again(&self) -> Option<u64> {
        let state = &mut *self.state.borrow_mut();
        let is_late = |asked: &Asked| asked.sources == 1 && asked.since.elapsed() >= DOUBLE_AFTER;
        let (piece, asked) = state.asked.iter_mut().find(|(_, asked)| is_late(asked))?;
        asked.sources += 1;
        Some(piece * PIECE)
    }

    /// A piece that was asked for will not come from there.
    pub(super) fn give_back(&self, offset: u64) {
        let state = &mut *self.state.borrow_mut();
        let piece = offset / PIECE;
        if let Some(asked) = state.asked.get_mut(&piece) {
            asked.sources -= 1;
            if asked.sources == 0 {
                state.asked.remove(&piece);
                if !state.has(piece) {
                    state.returned.insert(piece);
                }
            }
        }
        self.wake();
    }

    /// Takes a piece that was asked for; whether it is what can stand there.
    pub(super) fn put(&self, offset: u64, content: &Content) -> bool {
        let state = &mut *self.state.borrow_mut();
        let is_taken = state.put(offset, content, self.memory.as_ref());
        if is_taken {
            state.asked.remove(&(offset / PIECE));
        }
        self.wake();
        is_taken
    }
}

impl State {
    fn is_whole(&self) -> bool {
        self.total_bytes.is_some_and(|total| self.here == total.div_ceil(PIECE))
    }

    fn has(&self, piece: u64) -> bool {
        piece < self.here || self.beyond.contains(&piece)
    }

    fn next_missing(&mut self) -> Option<u64> {
        while let Some(piece) = self.returned.pop_first() {
            if !self.has(piece) {
                return Some(piece);
            }
        }
        let end = self.total_bytes.map_or(1, |total| total.div_ceil(PIECE));
        let piece = self.next;
        (piece < end).then(|| {
            self.next += 1;
            piece
        })
    }

    fn put(&mut self, offset: u64, content: &Content, memory: Option<&Arc<SharedMemory>>) -> bool {
        let total = self.total_bytes.unwrap_or(content.total_bytes);
        let due = total.saturating_sub(offset).min(PIECE);
        if content.total_bytes != total || content.bytes.len() as u64 != due || due == 0 {
            return false;
        }
        let piece = offset / PIECE;
        if self.has(piece) {
            return true;
        }
        if self.total_bytes.is_none() && !self.reserve(total, memory) {
            return false;
        }
        self.total_bytes = Some(total);
        if !self.write(offset, &content.bytes) {
            return false;
        }
        self.beyond.insert(piece);
        while self.beyond.remove(&self.here) {
            self.here += 1;
        }
        self.hash();
        true
    }

    /// Only addresses are taken by this, and no memory, until it is written to.
    fn reserve(&mut self, total: u64, memory: Option<&Arc<SharedMemory>>) -> bool {
        let Ok(length) = usize::try_from(total) else { return false };
        // What cannot be is not believed so far.
        let memory = memory.filter(|_| total <= machine::memory_bytes());
        if let Some(block) = memory.and_then(|memory| memory.reserve_lazily(length).ok()) {
            self.bytes = Kept::InPlace(block);
            return true;
        }
        let Kept::Growing(bytes) = &mut self.bytes else { return false };
        bytes.try_reserve_exact(length).is_ok()
    }

    /// Writes a piece down; whether there was memory for it.
    fn write(&mut self, offset: u64, piece: &[u8]) -> bool {
        let begin = usize::try_from(offset).expect("there is room for all of it");
        if let Kept::InPlace(block) = &mut self.bytes {
            if block.write(begin, piece).is_ok() {
                return true;
            }
            if !self.move_out() {
                return false;
            }
        }
        let Kept::Growing(bytes) = &mut self.bytes else { return false };
        let end = begin + piece.len();
        if bytes.len() < begin {
            bytes.resize(begin, 0);
        }
        if bytes.len() == begin {
            bytes.extend_from_slice(piece);
        } else {
            bytes[begin..end].copy_from_slice(piece);
        }
        true
    }

    /// Goes on in memory of this process alone, for there is no more that is shared; whether there is
    /// so much of that.
    fn move_out(&mut self) -> bool {
        let Kept::InPlace(block) = &self.bytes else { return true };
        let all = block.as_bytes();
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(all.len()).is_err() {
            return false;
        }
        // What did not come is not looked at: that would take memory, too.
        for piece in (0..self.here).chain(self.beyond.iter().copied()) {
            let begin = usize::try_from(piece * PIECE).expect("there is room for all of it");
            let end = all.len().min(begin + PIECE_BYTES);
            bytes.resize(begin, 0);
            bytes.extend_from_slice(&all[begin..end]);
        }
        self.bytes = Kept::Growing(bytes);
        true
    }

    /// Goes on with the digest as far as there is no gap.
    fn hash(&mut self) {
        let (Some(hashed), Some(total)) = (&mut self.hasher, self.total_bytes) else { return };
        let bytes = self.bytes.as_bytes();
        let end = usize::try_from((self.here * PIECE).min(total)).expect("so much is here");
        hashed.hasher.update(&bytes[hashed.bytes..end]);
        hashed.bytes = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shared_memory_has_no_room_for_goes_on_elsewhere() {
        let memory = SharedMemory::short_of_memory(2 * PIECE_BYTES);
        let gathering = Gathering::in_memory(&memory);
        let pieces = [0, 1, 2, 3].map(|byte| Bytes::from(vec![byte; PIECE_BYTES]));
        for index in [1, 0, 3, 2] {
            let bytes = pieces[index].clone();
            let content = Content { total_bytes: 4 * PIECE, bytes };
            assert!(gathering.put(index as u64 * PIECE, &content), "{index}");
        }
        assert_eq!(gathering.whole(), Some(pieces.concat().into()));
        assert_eq!(memory.used_bytes(), 0);
    }
}

//! What this process can give to others: objects of its nodes, copies of those of others, and what
//! has come so far of those that are on their way here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hurricane_core::id::ObjectId;
use hurricane_core::member::{Content, Find, Found, PIECE_BYTES, Piece, Read};

use tokio::time::Instant;

use super::gathering::Gathering;
use super::roster::Roster;
use crate::audience::{Audiences, MIN_SHARED_BYTES};
use crate::store::Store;

/// How long what was fetched is here for others after it was last asked for, though its node needs
/// it no more: those that its owner has sent here are on their way.
const LINGER: Duration = Duration::from_secs(2);

/// So much lingers at most. Most of it lies in the store as well.
const MAX_LINGERING_BYTES: usize = 1 << 30;

/// It.
pub(crate) struct Shelf {
    pub(super) store: Arc<Store>,
    pub(super) roster: Rc<Roster>,
    arriving: RefCell<BTreeMap<ObjectId, Rc<Gathering>>>,
    lingering: RefCell<BTreeMap<ObjectId, Lingering>>,
    audiences: RefCell<Audiences>,
}

/// What was fetched, and is here a while longer for others.
struct Lingering {
    bytes: Bytes,
    until: Instant,
}

/// A piece that somebody asks for.
pub(super) enum Lookup {
    /// It can be sent.
    Here(Source, Following),
    /// It is not here, and may come.
    Arriving(Rc<Gathering>),
    /// The object is not here.
    Missing,
}

/// Where a piece lies.
pub(super) enum Source {
    Whole(Bytes),
    Part(Rc<Gathering>),
}

/// Which bytes of which object.
#[derive(Clone, Copy)]
pub(super) struct Following {
    pub(super) total_bytes: u64,
    pub(super) begin: usize,
    pub(super) end: usize,
}

impl Shelf {
    /// Over a store, among those who are there.
    pub(crate) fn new(store: Arc<Store>, roster: Rc<Roster>) -> Rc<Self> {
        let (arriving, lingering) = (RefCell::default(), RefCell::default());
        Rc::new(Self { store, roster, arriving, lingering, audiences: RefCell::default() })
    }

    /// Who has an object of this process beside it.
    pub(super) fn find(&self, find: Find) -> Found {
        let bytes = Some(find.object)
            .filter(|object| self.roster.is_own(object.node))
            .and_then(|object| self.store.get(object));
        let is_there = |node| self.roster.place_of(node).is_some();
        self.audiences.borrow_mut().find(find, bytes.as_ref(), is_there)
    }

    /// A piece, whose ever the object is: its bytes are judged by who gets them.
    pub(super) fn look_up(&self, read: Read) -> Lookup {
        if let Some(bytes) = self.whole(read.object) {
            return match following(bytes.len() as u64, read.offset) {
                Some(following) => Lookup::Here(Source::Whole(bytes), following),
                None => Lookup::Missing,
            };
        }
        let arriving = self.arriving.borrow();
        let Some(gathering) = arriving.get(&read.object) else { return Lookup::Missing };
        let gathering = Rc::clone(gathering);
        if !gathering.has(read.offset) {
            return Lookup::Arriving(gathering);
        }
        let total_bytes = gathering.total_bytes().expect("a piece is here");
        match following(total_bytes, read.offset) {
            Some(following) => Lookup::Here(Source::Part(gathering), following),
            None => Lookup::Missing,
        }
    }

    /// An object that is on its way here.
    #[cfg(test)]
    pub(super) fn look_up_arriving(&self, object: ObjectId) -> Option<Rc<Gathering>> {
        self.arriving.borrow().get(&object).cloned()
    }

    fn whole(&self, object: ObjectId) -> Option<Bytes> {
        self.lingering(object).or_else(|| self.store.get(object))
    }

    /// What was fetched before, and is here still.
    pub(super) fn lingering(&self, object: ObjectId) -> Option<Bytes> {
        let mut lingering = self.lingering.borrow_mut();
        let lingering = lingering.get_mut(&object)?;
        lingering.until = Instant::now() + LINGER;
        Some(lingering.bytes.clone())
    }

    /// Something was fetched: others may have been sent here for it, whatever becomes of it.
    pub(super) fn let_linger(self: &Rc<Self>, object: ObjectId, bytes: Bytes) {
        if !(MIN_SHARED_BYTES..=MAX_LINGERING_BYTES).contains(&bytes.len()) {
            return;
        }
        let until = Instant::now() + LINGER;
        let mut lingering = self.lingering.borrow_mut();
        lingering.insert(object, Lingering { bytes, until });
        while lingering.values().map(|it| it.bytes.len()).sum::<usize>() > MAX_LINGERING_BYTES {
            let first = lingering.iter().min_by_key(|(_, it)| it.until).map(|(object, _)| *object);
            lingering.remove(&first.expect("something is too much"));
        }
        tokio::task::spawn_local(Rc::clone(self).clear_away(object));
    }

    async fn clear_away(self: Rc<Self>, object: ObjectId) {
        loop {
            let until = self.lingering.borrow().get(&object).map(|lingering| lingering.until);
            let Some(until) = until else { return };
            if until <= Instant::now() {
                self.lingering.borrow_mut().remove(&object);
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    /// The answer to a question that came by the scheduler, for an object of this process.
    pub(super) fn answer(&self, read: Read) -> Piece {
        let content = Some(read.object)
            .filter(|object| self.roster.is_own(object.node))
            .and_then(|object| self.store.get(object))
            .and_then(|bytes| {
                let Following { total_bytes, begin, end } =
                    following(bytes.len() as u64, read.offset)?;
                Some(Content { total_bytes, bytes: bytes.slice(begin..end) })
            });
        Piece { request: read.request, content }
    }

    /// An object begins to come; others may have of it what is here until the guard is dropped.
    pub(super) fn expect(self: &Rc<Self>, object: ObjectId) -> Expected {
        let gathering = Rc::new(Gathering::in_memory(self.store.memory()));
        self.arriving.borrow_mut().insert(object, Rc::clone(&gathering));
        Expected { shelf: Rc::clone(self), object, gathering }
    }
}

/// An object that is on its way here.
pub(super) struct Expected {
    shelf: Rc<Shelf>,
    pub(super) object: ObjectId,
    pub(super) gathering: Rc<Gathering>,
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.shelf.arriving.borrow_mut().remove(&self.object);
        // Whoever waits for more of it looks for it again.
        self.gathering.wake();
    }
}

impl Source {
    /// The bytes of it from `begin` on; none if it was found wrong meanwhile, and thrown away.
    pub(super) fn with<T>(
        &self,
        begin: usize,
        end: usize,
        use_it: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        match self {
            Self::Whole(bytes) => bytes.get(begin..end).map(use_it),
            Self::Part(gathering) => gathering.with(begin..end, use_it),
        }
    }
}

fn following(total_bytes: u64, offset: u64) -> Option<Following> {
    let whole = usize::try_from(total_bytes).ok()?;
    let begin = usize::try_from(offset).ok().filter(|begin| *begin < whole)?;
    let end = whole.min(begin.saturating_add(PIECE_BYTES));
    Some(Following { total_bytes, begin, end })
}

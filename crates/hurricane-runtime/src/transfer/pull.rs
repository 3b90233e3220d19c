//! How the pieces of an object are asked for, some ahead, and put together.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use hurricane_core::id::ObjectId;
use hurricane_core::member::{Content, PIECE_BYTES, Piece, Read};
use tokio::time::timeout;

/// So many pieces are asked for ahead: 4 MiB, which fill a link of 1 Gbit/s for 30 ms there and
/// back.
pub(super) const WINDOW: usize = 16;

/// Where pieces come from.
pub(super) trait Pieces {
    /// A name for the next question.
    fn next_request(&mut self) -> u64;

    /// Asks for a piece.
    fn ask(&mut self, read: Read);

    /// The next answer; none if there will be no more.
    async fn next(&mut self) -> Option<Piece>;
}

/// For how long nothing may come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) first: Duration,
    pub(super) further: Duration,
}

impl Patience {
    /// With a holder: there is another way.
    pub(super) const HOLDER: Self =
        Self { first: Duration::from_secs(1), further: Duration::from_secs(5) };

    /// By the scheduler: it answers in any case, unless it is gone, which the session notices; this
    /// is for its mistakes.
    pub(super) const RELAY: Self =
        Self { first: Duration::from_mins(1), further: Duration::from_mins(1) };
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All pieces are there.
    Whole,
    /// The object is not where it was asked for.
    Gone,
    /// The source is silent, or makes no sense.
    Failed,
}

/// The beginning of an object, as it grows. Another source may go on where one has failed.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Grows with what comes, whatever a holder says of the size.
    bytes: Vec<u8>,
    total_bytes: Option<u64>,
}

impl Gathered {
    /// All of it, if it is whole.
    pub(super) fn into_bytes(self) -> Option<Bytes> {
        self.is_whole().then(|| self.bytes.into())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn is_whole(&self) -> bool {
        self.total_bytes == Some(self.bytes.len() as u64)
    }

    /// Takes the next piece, if it is what can come next.
    fn take(&mut self, content: &Content) -> bool {
        let begun = self.bytes.len() as u64;
        let total = self.total_bytes.unwrap_or(content.total_bytes);
        let due = total.saturating_sub(begun).min(PIECE_BYTES as u64);
        let fits = content.total_bytes == total && content.bytes.len() as u64 == due && due > 0;
        if fits {
            self.total_bytes = Some(total);
            self.bytes.extend_from_slice(&content.bytes);
        }
        fits
    }
}

/// Gathers what is missing of an object from a source.
pub(super) async fn pull(
    source: &mut impl Pieces,
    object: ObjectId,
    gathered: &mut Gathered,
    patience: Patience,
) -> Outcome {
    let mut window = Window { object, asked: VecDeque::new(), next: gathered.bytes.len() as u64 };
    let mut wait = patience.first;
    while !gathered.is_whole() {
        window.ask_ahead(source, gathered.total_bytes);
        let Ok(Some(piece)) = timeout(wait, source.next()).await else { return Outcome::Failed };
        if let Some(outcome) = window.take(piece, gathered) {
            return outcome;
        }
        wait = patience.further;
    }
    Outcome::Whole
}

/// The questions that are open, in the order of the pieces.
struct Window {
    object: ObjectId,
    asked: VecDeque<Asked>,
    /// Where the next question begins.
    next: u64,
}

struct Asked {
    request: u64,
    content: Option<Content>,
}

impl Window {
    /// Of an object whose size is not known yet, one piece is asked for.
    fn ask_ahead(&mut self, source: &mut impl Pieces, total_bytes: Option<u64>) {
        let end = total_bytes.unwrap_or(self.next.saturating_add(1));
        let limit = if total_bytes.is_some() { WINDOW } else { 1 };
        while self.asked.len() < limit && self.next < end {
            let request = source.next_request();
            source.ask(Read { request, object: self.object, offset: self.next });
            self.asked.push_back(Asked { request, content: None });
            self.next += PIECE_BYTES as u64;
        }
    }

    /// Takes an answer, and all pieces whose turn it is; the outcome, if that is the end of it.
    fn take(&mut self, piece: Piece, gathered: &mut Gathered) -> Option<Outcome> {
        let Some(content) = piece.content else { return Some(Outcome::Gone) };
        let asked = self.asked.iter_mut().find(|asked| asked.request == piece.request);
        let Some(asked) = asked.filter(|asked| asked.content.is_none()) else {
            return Some(Outcome::Failed);
        };
        asked.content = Some(content);
        while let Some(content) = self.asked.front().and_then(|first| first.content.as_ref()) {
            if !gathered.take(content) {
                return Some(Outcome::Failed);
            }
            self.asked.pop_front();
        }
        None
    }
}

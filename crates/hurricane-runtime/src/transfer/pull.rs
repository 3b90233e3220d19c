//! How the pieces of an object are asked of a source, some ahead.

use std::time::Duration;

use hurricane_core::id::{NodeId, ObjectId};
use hurricane_core::member::{Digest, Find, Found, Piece, Read};
use tokio::time::{Instant, timeout};

use super::gathering::{DOUBLE_AFTER, Gathering};

/// So many pieces are asked for ahead: 4 MiB, which fill a link of 1 Gbit/s for 30 ms there and
/// back.
pub(super) const WINDOW: usize = 16;

/// How long a source may say that it has nothing yet: so long it looks for others itself.
const WAITS_FOR_SOURCE: Duration = Duration::from_secs(10);

/// Of how many questions a digest may take: of an object of 16 TiB.
const MAX_QUESTIONS: usize = 1 << 22;

/// Where pieces come from.
pub(super) trait Pieces {
    /// A name for the next question.
    fn next_request(&mut self) -> u64;

    /// Asks for a piece.
    fn ask(&mut self, read: Read);

    /// Asks who has an object.
    fn find(&mut self, find: Find);

    /// The next answer; none if there will be no more. Dropped, it goes on with the next call.
    async fn next(&mut self) -> Option<Answer>;

    /// Grows with whatever comes.
    fn heard(&self) -> u64;
}

/// An answer of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A piece, or that the object is not there.
    Piece(Piece),
    /// The piece is not there yet.
    Later { request: u64 },
    /// Who has the object.
    Found(Found),
}

/// For how long nothing may come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) first: Duration,
    pub(super) further: Duration,
}

impl Patience {
    /// With a node: there is another way.
    pub(super) const NODE: Self =
        Self { first: Duration::from_secs(1), further: Duration::from_secs(1) };

    /// By the scheduler: it answers in any case, unless it is gone, which the session notices; this
    /// is for its mistakes.
    pub(super) const RELAY: Self =
        Self { first: Duration::from_mins(1), further: Duration::from_mins(1) };
}

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) object: ObjectId,
    pub(super) gathering: &'a Gathering,
    /// If others may have it as well: who asks, and who has failed it.
    pub(super) seeking: Option<Seeking>,
}

/// A question for others who have an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seeking {
    pub(super) asker: NodeId,
    pub(super) without: Option<NodeId>,
}

impl Seeking {
    fn find(self, request: u64, object: ObjectId) -> Find {
        Find { request, object, asker: self.asker, without: self.without }
    }
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All pieces are there.
    Whole,
    /// These have it, or will.
    Elsewhere(Vec<NodeId>),
    /// The object is not where it was asked for.
    Gone,
    /// The source is silent, or makes no sense.
    Failed,
}

/// Gathers what is missing of an object from a source.
pub(super) async fn pull(
    source: &mut impl Pieces,
    wanted: Wanted<'_>,
    patience: Patience,
) -> Outcome {
    let mut pulling = Pulling::begin(source, wanted);
    let mut wait = patience.first;
    loop {
        pulling.ask_ahead(source);
        if pulling.awaits_nothing() {
            if let Some(others) = pulling.others.take() {
                return Outcome::Elsewhere(others);
            }
            if wanted.gathering.is_whole() {
                return Outcome::Whole;
            }
            // Others bring the rest, or do not.
            let soon = Instant::now() + DOUBLE_AFTER;
            wanted.gathering.changed(soon, || false).await;
            continue;
        }
        let Some(answer) = next_within(source, wait).await else { return Outcome::Failed };
        if let Some(outcome) = pulling.take(answer) {
            return outcome;
        }
        wait = patience.further;
    }
}

/// Asks the owner for the digest of an object until it is reckoned.
pub(super) async fn ask_digest(
    source: &mut impl Pieces,
    object: ObjectId,
    seeking: Seeking,
    patience: Patience,
) -> Option<Digest> {
    for _ in 0..MAX_QUESTIONS {
        let request = source.next_request();
        source.find(seeking.find(request, object));
        match next_within(source, patience.first).await? {
            Answer::Found(found) if found.request == request => {
                // Where nobody else is named, there is none.
                if found.digest.is_some() || found.others.is_empty() {
                    return found.digest;
                }
            }
            _ => return None,
        }
    }
    None
}

/// The next answer, as long as anything comes at all.
async fn next_within(source: &mut impl Pieces, patience: Duration) -> Option<Answer> {
    loop {
        let heard = source.heard();
        match timeout(patience, source.next()).await {
            Ok(answer) => return answer,
            Err(_) if source.heard() == heard => return None,
            Err(_) => {}
        }
    }
}

/// What was asked of one source. Dropped, others may be asked.
struct Pulling<'a> {
    wanted: Wanted<'a>,
    /// The names of questions, and of which piece.
    open: Vec<(u64, u64)>,
    finding: Option<u64>,
    /// Who has it, if somebody has.
    others: Option<Vec<NodeId>>,
    /// When something came last.
    since: Instant,
}

impl<'a> Pulling<'a> {
    fn begin(source: &mut impl Pieces, wanted: Wanted<'a>) -> Self {
        let finding = wanted.seeking.map(|seeking| {
            let request = source.next_request();
            source.find(seeking.find(request, wanted.object));
            request
        });
        Self { wanted, open: Vec::new(), finding, others: None, since: Instant::now() }
    }

    fn awaits_nothing(&self) -> bool {
        self.open.is_empty() && self.finding.is_none()
    }

    fn ask_ahead(&mut self, source: &mut impl Pieces) {
        if self.others.is_some() {
            return;
        }
        // The first piece comes with the answer to where others are to be had.
        let limit = if self.finding.is_some() { 1 } else { WINDOW };
        while self.open.len() < limit {
            let gathering = self.wanted.gathering;
            let again = || if self.open.is_empty() { gathering.ask_again() } else { None };
            let Some(offset) = gathering.ask_next().or_else(again) else { break };
            let request = source.next_request();
            source.ask(Read { request, object: self.wanted.object, offset });
            self.open.push((request, offset));
        }
    }

    /// Takes an answer; the outcome, if that is the end of it.
    fn take(&mut self, answer: Answer) -> Option<Outcome> {
        match answer {
            Answer::Found(found) => self.on_found(found),
            Answer::Later { request } => {
                let Some(offset) = self.close(request) else { return Some(Outcome::Failed) };
                self.wanted.gathering.give_back(offset);
                (self.since.elapsed() > WAITS_FOR_SOURCE).then_some(Outcome::Failed)
            }
            Answer::Piece(piece) => self.on_piece(&piece),
        }
    }

    fn on_found(&mut self, found: Found) -> Option<Outcome> {
        if self.finding.take() != Some(found.request) {
            return Some(Outcome::Failed);
        }
        self.others = Some(found.others).filter(|others| !others.is_empty());
        None
    }

    fn on_piece(&mut self, piece: &Piece) -> Option<Outcome> {
        let Some(content) = &piece.content else { return Some(Outcome::Gone) };
        let Some(offset) = self.close(piece.request) else { return Some(Outcome::Failed) };
        self.since = Instant::now();
        let is_taken = self.wanted.gathering.put(offset, content);
        if !is_taken {
            self.wanted.gathering.give_back(offset);
        }
        (!is_taken).then_some(Outcome::Failed)
    }

    fn close(&mut self, request: u64) -> Option<u64> {
        let index = self.open.iter().position(|(open, _)| *open == request)?;
        Some(self.open.remove(index).1)
    }
}

impl Drop for Pulling<'_> {
    fn drop(&mut self) {
        for (_, offset) in self.open.drain(..) {
            self.wanted.gathering.give_back(offset);
        }
    }
}

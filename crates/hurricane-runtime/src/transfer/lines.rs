//! The connections to holders of objects: made when they are needed, and kept for a while.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use hurricane_core::id::{NodeId, ObjectId};
use hurricane_core::member::Digest;
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::line::Line;
use super::pull::{self, Outcome, Patience, Pieces as _, Seeking, Wanted};
use super::roster::Roster;
use crate::identity::KeyPair;

/// So many objects are fetched from one holder at once: enough to fill a link, and few beside the
/// connections that its door takes of strangers.
const MAX_AT_ONCE_OF_HOLDER: usize = 4;

/// How long a connection that nobody uses is kept. Less than its other end waits.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// How long a holder that could not be reached is not tried again: firewalls do not change often,
/// and each try costs its object a second.
const UNREACHABLE_FOR: Duration = Duration::from_secs(30);

/// Connections to the doors of others.
pub(super) struct Lines {
    key: KeyPair,
    roster: Rc<Roster>,
    holders: RefCell<BTreeMap<NodeId, Rc<Holder>>>,
    has_idle: Notify,
}

/// What there is with one holder.
pub(super) struct Holder {
    node: NodeId,
    /// For those who fetch from it, in whatever way.
    pub(super) gate: Semaphore,
    /// One dials, and others wait whether they need to.
    dialing: Mutex<()>,
    idle: RefCell<Vec<(Line, Instant)>>,
    /// When it could not be reached.
    unreachable: Cell<Option<Instant>>,
}

impl Lines {
    pub(super) fn new(key: KeyPair, roster: Rc<Roster>) -> Rc<Self> {
        Rc::new(Self { key, roster, holders: RefCell::default(), has_idle: Notify::new() })
    }

    /// A holder, whether it is there or not.
    pub(super) fn holder(&self, node: NodeId) -> Rc<Holder> {
        let mut holders = self.holders.borrow_mut();
        Rc::clone(holders.entry(node).or_insert_with(|| Rc::new(Holder::new(node))))
    }

    /// Pulls an object from a holder, as far as it has it.
    pub(super) async fn pull(&self, holder: &Holder, wanted: Wanted<'_>) -> Outcome {
        let deadline = Instant::now() + Patience::NODE.first;
        while let Some(mut line) = self.line_to(holder, deadline).await {
            let first = deadline.saturating_duration_since(Instant::now());
            let patience = Patience { first, ..Patience::NODE };
            let heard = line.heard();
            match pull::pull(&mut line, wanted, patience).await {
                outcome @ (Outcome::Whole | Outcome::Elsewhere(_)) => {
                    self.keep(holder, line);
                    return outcome;
                }
                Outcome::Gone => return Outcome::Gone,
                // It ended while nobody used it.
                Outcome::Failed if line.is_used && line.heard() == heard => {}
                Outcome::Failed => {
                    holder.note_unreachable();
                    return Outcome::Failed;
                }
            }
        }
        Outcome::Failed
    }

    /// Asks the owner of an object for its digest.
    pub(super) async fn ask_digest(
        &self,
        owner: &Holder,
        object: ObjectId,
        seeking: Seeking,
    ) -> Option<Digest> {
        let deadline = Instant::now() + Patience::NODE.first;
        let mut line = self.line_to(owner, deadline).await?;
        let digest = pull::ask_digest(&mut line, object, seeking, Patience::NODE).await?;
        self.keep(owner, line);
        Some(digest)
    }

    fn keep(&self, holder: &Holder, mut line: Line) {
        line.is_used = true;
        holder.idle.borrow_mut().push((line, Instant::now()));
        self.has_idle.notify_one();
    }

    /// Closes connections that nobody has used for a while.
    pub(super) async fn close_idle(&self) {
        loop {
            self.has_idle.notified().await;
            while !self.holders.borrow().is_empty() {
                tokio::time::sleep(KEPT_FOR / 3).await;
                self.holders.borrow_mut().retain(|_, holder| {
                    holder.close_old();
                    holder.is_of_interest()
                });
            }
        }
    }

    /// A connection that was kept, or a new one.
    async fn line_to(&self, holder: &Holder, deadline: Instant) -> Option<Line> {
        let (place, key) = self.roster.place_of(holder.node)?;
        let kept = holder.idle.borrow_mut().pop();
        if let Some((line, _)) = kept {
            return Some(line);
        }
        let _dialing = timeout_at(deadline, holder.dialing.lock()).await.ok()?;
        if holder.is_unreachable() {
            return None;
        }
        let line = timeout_at(deadline, Line::dial(&self.key, &place, key)).await.ok().flatten();
        if line.is_none() {
            holder.note_unreachable();
        }
        line
    }
}

impl Holder {
    fn new(node: NodeId) -> Self {
        Self {
            node,
            gate: Semaphore::new(MAX_AT_ONCE_OF_HOLDER),
            dialing: Mutex::new(()),
            idle: RefCell::default(),
            unreachable: Cell::default(),
        }
    }

    fn close_old(&self) {
        self.idle.borrow_mut().retain(|(_, since)| since.elapsed() < KEPT_FOR);
    }

    fn is_of_interest(&self) -> bool {
        let is_used = self.gate.available_permits() < MAX_AT_ONCE_OF_HOLDER;
        is_used || !self.idle.borrow().is_empty() || self.is_unreachable()
    }

    fn is_unreachable(&self) -> bool {
        self.unreachable.get().is_some_and(|since| since.elapsed() < UNREACHABLE_FOR)
    }

    fn note_unreachable(&self) {
        self.unreachable.set(Some(Instant::now()));
    }
}

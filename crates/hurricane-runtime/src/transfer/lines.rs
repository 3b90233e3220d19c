//! The connections to holders of objects: made when they are needed, and kept for a while.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use hurricane_core::id::{NodeId, ObjectId};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::line::Line;
use super::pull::{self, Gathered, Outcome, Patience};
use super::roster::Roster;
use crate::identity::KeyPair;

/// How long a connection that nobody uses is kept. Less than its other end waits.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// How long a holder that could not be reached is not tried again: firewalls do not change often,
/// and each try costs its object a second.
const UNREACHABLE_FOR: Duration = Duration::from_secs(30);

/// So many connections to one holder are kept.
const MAX_IDLE_OF_HOLDER: usize = 4;

/// Connections to the doors of others.
pub(super) struct Lines {
    key: KeyPair,
    roster: Rc<Roster>,
    idle: RefCell<BTreeMap<NodeId, Vec<(Line, Instant)>>>,
    /// Since when each of these could not be reached.
    unreachable: RefCell<BTreeMap<NodeId, Instant>>,
    has_idle: Notify,
}

impl Lines {
    pub(super) fn new(key: KeyPair, roster: Rc<Roster>) -> Rc<Self> {
        let (idle, unreachable) = Default::default();
        Rc::new(Self { key, roster, idle, unreachable, has_idle: Notify::new() })
    }

    /// Pulls an object from its holder; whether it is whole now.
    pub(super) async fn pull(&self, object: ObjectId, gathered: &mut Gathered) -> bool {
        let deadline = Instant::now() + Patience::HOLDER.first;
        while let Some(mut line) = self.line_to(object.node, deadline).await {
            let first = deadline.saturating_duration_since(Instant::now());
            let patience = Patience { first, ..Patience::HOLDER };
            match pull::pull(&mut line, object, gathered, patience).await {
                Outcome::Whole => {
                    self.keep(line);
                    return true;
                }
                Outcome::Gone => return false,
                // It ended while nobody used it.
                Outcome::Failed if line.is_used && gathered.is_empty() => {}
                Outcome::Failed => {
                    self.note_unreachable(object.node);
                    return false;
                }
            }
        }
        false
    }

    /// Closes connections that nobody has used for a while.
    pub(super) async fn close_idle(&self) {
        loop {
            self.has_idle.notified().await;
            while !self.idle.borrow().is_empty() {
                tokio::time::sleep(KEPT_FOR / 3).await;
                self.close_old();
            }
        }
    }

    fn close_old(&self) {
        self.idle.borrow_mut().retain(|holder, lines| {
            let is_known = self.roster.place_of(*holder).is_some();
            lines.retain(|(_, since)| is_known && since.elapsed() < KEPT_FOR);
            !lines.is_empty()
        });
    }

    /// A connection that was kept, or a new one.
    async fn line_to(&self, holder: NodeId, deadline: Instant) -> Option<Line> {
        let (place, key) = self.roster.place_of(holder)?;
        let kept = self.idle.borrow_mut().get_mut(&holder).and_then(Vec::pop);
        if let Some((line, _)) = kept {
            return Some(line);
        }
        if self.is_unreachable(holder) || deadline <= Instant::now() {
            return None;
        }
        let dialed = timeout_at(deadline, Line::dial(&self.key, &place, key)).await;
        let line = dialed.ok().flatten();
        if line.is_none() {
            self.note_unreachable(holder);
        }
        line
    }

    fn keep(&self, mut line: Line) {
        line.is_used = true;
        let mut idle = self.idle.borrow_mut();
        let lines = idle.entry(line.holder).or_default();
        if lines.len() < MAX_IDLE_OF_HOLDER {
            lines.push((line, Instant::now()));
            self.has_idle.notify_one();
        }
    }

    fn is_unreachable(&self, holder: NodeId) -> bool {
        let mut unreachable = self.unreachable.borrow_mut();
        unreachable.retain(|_, since| since.elapsed() < UNREACHABLE_FOR);
        unreachable.contains_key(&holder)
    }

    fn note_unreachable(&self, holder: NodeId) {
        self.unreachable.borrow_mut().insert(holder, Instant::now());
    }
}

//! The slot of a future: what of it is known where there is no Python.
//!
//! The connection holds one for each task, the future another; there is no third.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{mem, ops};

use bytes::Bytes;
use hurricane_core::message::{Ending, Stored, Value};
use hurricane_runtime::client;
use pyo3::prelude::*;

/// The longest that a thread reads for others in one go: what ends a task without being read, such
/// as another thread that cancels it, is seen then.
const READING: Duration = Duration::from_millis(50);

/// What the connection has of a future.
#[derive(Clone, Debug)]
pub(crate) struct Task(pub(crate) Arc<Slot>);

/// Where the ending of a task is put.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// One of the constants below, so that one need not lock to look.
    progress: AtomicU8,
}

const PENDING: u8 = 0;
/// The ending is on its way to the thread that receives.
const COMING: u8 = 1;
const ENDED: u8 = 2;

#[derive(Debug, Default)]
pub(crate) struct Inner {
    phase: Phase,
    /// How many threads wait for a change.
    waiting: u32,
}

/// How far a task is.
#[derive(Debug, Default)]
pub(crate) enum Phase {
    /// Nobody watches, and the ending is put here.
    #[default]
    Pending,
    /// Somebody does: the future, which lives until the thread that receives has ended it.
    Watched(Py<PyAny>),
    /// Somebody does, if it ends without a value; who keeps the future alive is theirs to see to.
    WatchedForFailure,
    /// The thread that receives has the ending, and is about to take the future's condition.
    Arrived(Ending),
    /// So it ended.
    Ended(Ending),
    /// So it ended, and the stored value is here.
    Brought(Box<Brought>),
    /// Python has ended it, or says that it runs.
    Own(Own),
    /// The future is gone.
    Left,
}

/// A stored value that is here: what it is does not change any more.
#[derive(Debug)]
pub(crate) struct Brought {
    stored: Stored,
    /// Nothing if Python has it already.
    pub(crate) value: Option<Bytes>,
    /// How the task ended when it ran again, because the value was lost with its node.
    again: Option<Ending>,
}

impl Brought {
    /// How the task ended for what depends on it.
    pub(crate) fn ending(&self) -> Ending {
        let first = || Ending::Done(Value::Stored(self.stored));
        self.again.clone().unwrap_or_else(first)
    }
}

/// Who is to be told of an end.
#[derive(Debug)]
pub(crate) enum Watcher {
    /// This future.
    Future(Py<PyAny>),
    /// Whoever keeps the future.
    OfFailures,
}

/// The states of the standard library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    Pending,
    Running,
    Cancelled,
    CancelledAndNotified,
    Finished,
}

impl client::Handle for Task {
    fn end(&self, ending: Ending) -> Option<Ending> {
        self.0.end(ending)
    }

    fn expect(&self) {
        self.0.expect();
    }

    fn is_wanted(&self) -> bool {
        self.0.lock().holds_value()
    }
}

impl Slot {
    pub(crate) fn is_ended(&self) -> bool {
        self.progress.load(Ordering::Acquire) == ENDED
    }

    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked(self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Nothing if another thread holds it.
    pub(crate) fn try_lock(&self) -> Option<Locked<'_>> {
        self.inner.try_lock().ok().map(Locked)
    }

    /// Waits until the task has ended, as the thread that reads if there is none; whether it has.
    pub(crate) fn wait(
        &self,
        connection: Option<&client::Connection<Task>>,
        timeout: Duration,
    ) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        if let Some(connection) = connection {
            self.read_until(connection, deadline);
        }
        self.park_until(deadline)
    }

    /// Reads until the task has ended or its ending is on its way, or until another thread reads.
    fn read_until(&self, connection: &client::Connection<Task>, deadline: Option<Instant>) {
        let has_come = || self.progress.load(Ordering::Acquire) != PENDING;
        while !has_come() {
            let now = Instant::now();
            let pause = now + READING;
            if deadline.is_some_and(|deadline| deadline <= now) {
                return;
            }
            let until = deadline.map_or(pause, |deadline| deadline.min(pause));
            if !matches!(connection.drive(&has_come, Some(until)), Ok(Some(_))) {
                return;
            }
        }
    }

    fn park_until(&self, deadline: Option<Instant>) -> bool {
        let mut inner = self.lock().0;
        while !self.is_ended() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return false;
            }
            inner.waiting += 1;
            inner = match left {
                None => self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = self.changed.wait_timeout(inner, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            inner.waiting -= 1;
        }
        true
    }

    /// Gives the ending back if somebody watches.
    fn end(&self, ending: Ending) -> Option<Ending> {
        let mut inner = self.lock();
        match &mut inner.0.phase {
            Phase::Pending => self.put(&mut inner, Phase::Ended(ending)),
            Phase::WatchedForFailure if matches!(ending, Ending::Done(_)) => {
                self.put(&mut inner, Phase::Ended(ending));
            }
            Phase::Watched(_) | Phase::WatchedForFailure => {
                self.progress.store(COMING, Ordering::Release);
                self.notify(&inner);
                return Some(ending);
            }
            Phase::Arrived(_) => inner.0.phase = Phase::Arrived(ending),
            // The value was lost with its node, and made anew.
            Phase::Ended(Ending::Done(Value::Stored(_))) => inner.0.phase = Phase::Ended(ending),
            Phase::Brought(brought) => brought.again = Some(ending),
            Phase::Ended(_) | Phase::Own(_) | Phase::Left => {}
        }
        None
    }

    /// From now on its endings are given back. Without effect once it has ended.
    pub(crate) fn watch(&self, future: impl FnOnce() -> Py<PyAny>) {
        let mut inner = self.lock();
        if matches!(&*inner, Phase::Pending | Phase::WatchedForFailure) {
            inner.0.phase = Phase::Watched(future());
        }
    }

    /// From now on its endings without a value are given back. False if it has ended.
    pub(crate) fn watch_for_failure(&self) -> bool {
        let mut inner = self.lock();
        if matches!(&*inner, Phase::Pending) {
            inner.0.phase = Phase::WatchedForFailure;
        }
        !inner.is_ended()
    }

    /// The thread that receives has the ending: who is to be told, if it has not ended meanwhile.
    pub(crate) fn arrive(&self, ending: Ending) -> Option<Watcher> {
        let mut inner = self.lock();
        if !matches!(&*inner, Phase::Watched(_) | Phase::WatchedForFailure) {
            return None;
        }
        match mem::replace(&mut inner.0.phase, Phase::Arrived(ending)) {
            Phase::Watched(future) => Some(Watcher::Future(future)),
            _ => Some(Watcher::OfFailures),
        }
    }

    /// Ends it as has arrived; whether that was the end.
    pub(crate) fn settle(&self) -> bool {
        let mut inner = self.lock();
        match mem::take(&mut inner.0.phase) {
            Phase::Arrived(ending) => {
                self.put(&mut inner, Phase::Ended(ending));
                true
            }
            other => {
                inner.0.phase = other;
                false
            }
        }
    }

    /// Whether it is cancelled by this, and what is to be dropped where Python may run. None if
    /// that is not for this one to do: somebody watches it.
    pub(crate) fn cancel(&self, is_watching: bool) -> (Option<bool>, Phase) {
        let mut inner = self.lock();
        match (&*inner, is_watching) {
            (Phase::Watched(_) | Phase::WatchedForFailure | Phase::Arrived(_), false) => {
                (None, Phase::Left)
            }
            (
                Phase::Pending
                | Phase::Watched(_)
                | Phase::WatchedForFailure
                | Phase::Arrived(_)
                | Phase::Own(Own::Pending | Own::Running),
                _,
            ) => {
                let before = mem::take(&mut inner.0.phase);
                self.put(&mut inner, Phase::Ended(Ending::Cancelled { cause: None }));
                (Some(true), before)
            }
            _ => (Some(false), Phase::Left),
        }
    }

    /// Ends it, as nobody else has it yet.
    pub(crate) fn end_with(&self, ending: Ending) {
        let mut inner = self.lock();
        self.put(&mut inner, Phase::Ended(ending));
    }

    /// Has it be as Python says.
    pub(crate) fn set_own(&self, state: Own) {
        let mut inner = self.lock();
        let before = mem::replace(&mut inner.0.phase, Phase::Own(state));
        let progress = if Phase::Own(state).is_ended() { ENDED } else { PENDING };
        self.progress.store(progress, Ordering::Release);
        self.notify(&inner);
        drop(inner);
        drop(before);
    }

    /// Where the value is, if it was stored and was not brought.
    pub(crate) fn stored(&self) -> Option<Stored> {
        match &*self.lock() {
            Phase::Ended(Ending::Done(Value::Stored(stored))) => Some(*stored),
            _ => None,
        }
    }

    /// Keeps the stored value here; nothing if Python has it.
    pub(crate) fn bring(&self, value: Option<Bytes>) {
        let mut inner = self.lock();
        if let Phase::Ended(Ending::Done(Value::Stored(stored))) = &*inner {
            let stored = *stored;
            inner.0.phase = Phase::Brought(Box::new(Brought { stored, value, again: None }));
        }
    }

    /// Its ending is on its way, and comes from the thread that receives.
    fn expect(&self) {
        let inner = self.lock();
        if matches!(&*inner, Phase::Pending | Phase::WatchedForFailure) {
            self.progress.store(COMING, Ordering::Release);
        }
    }

    /// The future is gone; what it leaves.
    pub(crate) fn leave(&self) -> Phase {
        mem::replace(&mut self.lock().0.phase, Phase::Left)
    }

    fn put(&self, inner: &mut Locked<'_>, phase: Phase) {
        inner.0.phase = phase;
        self.progress.store(ENDED, Ordering::Release);
        self.notify(inner);
    }

    /// Waking costs a system call even where nobody waits.
    fn notify(&self, inner: &Locked<'_>) {
        if inner.0.waiting > 0 {
            self.changed.notify_all();
        }
    }
}

/// A slot that nobody else changes meanwhile.
pub(crate) struct Locked<'a>(MutexGuard<'a, Inner>);

impl ops::Deref for Locked<'_> {
    type Target = Phase;

    fn deref(&self) -> &Phase {
        &self.0.phase
    }
}

impl Phase {
    /// Whether the cluster keeps a value for it.
    pub(crate) fn holds_value(&self) -> bool {
        match self {
            Self::Arrived(ending) | Self::Ended(ending) => is_stored(ending),
            Self::Brought(brought) => brought.again.as_ref().is_none_or(is_stored),
            Self::Pending
            | Self::Watched(_)
            | Self::WatchedForFailure
            | Self::Own(_)
            | Self::Left => false,
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        matches!(self.state(), Own::Cancelled | Own::CancelledAndNotified)
    }

    fn is_ended(&self) -> bool {
        !matches!(self.state(), Own::Pending | Own::Running)
    }

    /// As the standard library has it.
    pub(crate) fn state(&self) -> Own {
        match self {
            Self::Pending | Self::Watched(_) | Self::WatchedForFailure | Self::Arrived(_) => {
                Own::Pending
            }
            Self::Ended(Ending::Cancelled { .. }) => Own::CancelledAndNotified,
            Self::Ended(_) | Self::Brought(..) | Self::Left => Own::Finished,
            Self::Own(state) => *state,
        }
    }
}

fn is_stored(ending: &Ending) -> bool {
    matches!(ending, Ending::Done(Value::Stored(_)))
}

impl Own {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Cancelled => "CANCELLED",
            Self::CancelledAndNotified => "CANCELLED_AND_NOTIFIED",
            Self::Finished => "FINISHED",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let all = [
            Self::Pending,
            Self::Running,
            Self::Cancelled,
            Self::CancelledAndNotified,
            Self::Finished,
        ];
        all.into_iter().find(|state| state.name() == name)
    }
}

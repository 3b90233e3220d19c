//! What waits to be handled by the loop of a cluster. Anybody may put something in; of many who do
//! so at once, only the first pays for waking the loop.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A queue with any number of writers; one reader waits for what they write.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    waiting: Mutex<Vec<T>>,
    arrived: Notify,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::new(Vec::new()), arrived: Notify::new() }
    }

    /// Puts something in.
    pub(crate) fn push(&self, item: T) {
        let mut waiting = self.lock();
        let was_empty = waiting.is_empty();
        waiting.push(item);
        drop(waiting);
        if was_empty {
            self.wake();
        }
    }

    /// Puts something in for which the caller has the reader woken, or that it takes out itself.
    pub(crate) fn push_quietly(&self, item: T) {
        self.lock().push(item);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Exchanges what waits for `taken`, which is empty: its room serves what comes next.
    pub(crate) fn take(&self, taken: &mut Vec<T>) {
        debug_assert!(taken.is_empty(), "what was taken before has been handled");
        mem::swap(&mut *self.lock(), taken);
    }

    /// Wakes the reader for another reason than something in the queue.
    pub(crate) fn wake(&self) {
        self.arrived.notify_one();
    }

    /// Waits for something to be put in; may return for nothing.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What waits to be handled by the loop of a cluster. Anybody may put something in; of many who do
//! so at once, only the first pays for waking the loop.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A reader that looks by itself before long is woken when so much waits.
const MANY: usize = 256;

/// A queue with any number of writers; one reader waits for what they write.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    waiting: Mutex<Waiting<T>>,
    arrived: Notify,
}

#[derive(Debug)]
struct Waiting<T> {
    items: Vec<T>,
    /// The reader looks before long by itself.
    lets_gather: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        let waiting = Waiting { items: Vec::new(), lets_gather: false };
        Self { waiting: waiting.into(), arrived: Notify::new() }
    }

    /// Puts something in.
    pub(crate) fn push(&self, item: T) {
        let mut waiting = self.lock();
        let is_first = waiting.items.is_empty() || mem::take(&mut waiting.lets_gather);
        waiting.items.push(item);
        drop(waiting);
        if is_first {
            self.wake();
        }
    }

    /// Puts something in that is likely to be followed by more of its kind: if the reader lets things
    /// gather, it is woken only when there are many.
    pub(crate) fn push_one_of_many(&self, item: T) {
        let mut waiting = self.lock();
        waiting.items.push(item);
        let wakes_at = if waiting.lets_gather { MANY } else { 1 };
        let is_time = waiting.items.len() == wakes_at;
        drop(waiting);
        if is_time {
            self.wake();
        }
    }

    /// Has the reader woken if something has gathered.
    pub(crate) fn hurry(&self) {
        let mut waiting = self.lock();
        let is_asleep = mem::take(&mut waiting.lets_gather) && !waiting.items.is_empty();
        drop(waiting);
        if is_asleep {
            self.wake();
        }
    }

    /// Puts something in for which the caller has the reader woken, or that it takes out itself.
    pub(crate) fn push_quietly(&self, item: T) {
        self.lock().items.push(item);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().items.is_empty()
    }

    /// Exchanges what waits for `taken`, which is empty: its room serves what comes next.
    pub(crate) fn take(&self, taken: &mut Vec<T>) {
        self.take_and_let_gather(taken, false);
    }

    /// The same by a reader that, if it lets things gather, looks again before long.
    pub(crate) fn take_and_let_gather(&self, taken: &mut Vec<T>, lets_gather: bool) {
        debug_assert!(taken.is_empty(), "what was taken before has been handled");
        let mut waiting = self.lock();
        waiting.lets_gather = lets_gather;
        mem::swap(&mut waiting.items, taken);
    }

    /// Wakes the reader for another reason than something in the queue.
    pub(crate) fn wake(&self) {
        self.arrived.notify_one();
    }

    /// Waits for something to be put in; may return for nothing.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Whether the reader was woken.
    async fn is_woken(inbox: &Inbox<u32>) -> bool {
        tokio::time::timeout(Duration::ZERO, inbox.arrived()).await.is_ok()
    }

    #[tokio::test]
    async fn only_the_first_wakes_the_reader() {
        let inbox = Inbox::new();
        inbox.push(1);
        assert!(is_woken(&inbox).await);
        inbox.push(2);
        inbox.push_one_of_many(3);
        assert!(!is_woken(&inbox).await);
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        assert_eq!(taken, [1, 2, 3]);
        inbox.push_one_of_many(4);
        assert!(is_woken(&inbox).await);
    }

    #[tokio::test]
    async fn what_gathers_wakes_it_when_there_is_much_or_haste() {
        let inbox = Inbox::new();
        inbox.take_and_let_gather(&mut Vec::new(), true);
        for number in 1..256 {
            inbox.push_one_of_many(number);
        }
        assert!(!is_woken(&inbox).await);
        inbox.push_one_of_many(256);
        assert!(is_woken(&inbox).await);
        inbox.take_and_let_gather(&mut Vec::new(), true);
        inbox.hurry();
        inbox.take_and_let_gather(&mut Vec::new(), true);
        inbox.push_one_of_many(1);
        assert!(!is_woken(&inbox).await);
        inbox.hurry();
        assert!(is_woken(&inbox).await);
        inbox.take_and_let_gather(&mut Vec::new(), true);
        inbox.push_one_of_many(1);
        inbox.push(2);
        assert!(is_woken(&inbox).await);
    }
}

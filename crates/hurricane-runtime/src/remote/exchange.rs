//! What a program's threads and the thread of its connections share for one client: how much is on
//! its way out, and the values that are waited for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hurricane_core::id::ObjectId;
use hurricane_core::message::{ClientToScheduler, Value};

use crate::client::Fetched;

/// With so many bytes on their way to the session, nothing more is submitted or put. Beside it the
/// session holds about as much until that has arrived.
const MAX_QUEUED_BYTES: usize = 32 << 20;

/// What any message costs beside what it carries.
const MESSAGE_BYTES: usize = 64;

/// A value that nobody has waited for during this time is given up.
const WANTED_TIME: Duration = Duration::from_mins(1);

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    queued_bytes: AtomicUsize,
    values: Mutex<Values>,
    /// A value has come, or none will.
    came: Condvar,
}

#[derive(Debug, Default)]
struct Values {
    by_object: HashMap<ObjectId, Awaited>,
    is_over: bool,
}

/// A value that somebody waits for.
#[derive(Debug)]
struct Awaited {
    bytes: Option<Bytes>,
    /// When somebody last did.
    wanted: Instant,
}

impl Exchange {
    /// A message is on its way.
    pub(super) fn add_to_queue(&self, message: &ClientToScheduler) {
        self.queued_bytes.fetch_add(size_of(message), Ordering::Relaxed);
    }

    /// So many bytes have been taken over.
    pub(super) fn take_from_queue(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether something more may be put on its way.
    pub(super) fn has_room(&self) -> bool {
        self.queued_bytes.load(Ordering::Relaxed) < MAX_QUEUED_BYTES
    }

    /// Waits for a value, and has it asked for if nobody has yet.
    pub(super) fn fetch(&self, object: ObjectId, timeout: Duration, ask: impl Fn()) -> Fetched {
        let deadline = Instant::now().checked_add(timeout);
        let mut values = self.lock();
        while !values.is_over {
            match values.want(object) {
                Want::Asked => {}
                Want::New => ask(),
                Want::Here(bytes) => return Fetched::Value(bytes),
            }
            let left =
                deadline.map_or(timeout, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Fetched::NotYet;
            }
            let waited = self.came.wait_timeout(values, left);
            values = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Fetched::Gone
    }

    /// Whether somebody still waits for a value.
    pub(super) fn is_wanted(&self, object: ObjectId) -> bool {
        let mut values = self.lock();
        values.forget_unwanted();
        values.by_object.contains_key(&object)
    }

    /// A value has come.
    pub(super) fn bring(&self, object: ObjectId, bytes: Bytes) {
        if let Some(awaited) = self.lock().by_object.get_mut(&object) {
            awaited.bytes = Some(bytes);
        }
        self.came.notify_all();
    }

    /// None will come any more.
    pub(super) fn end(&self) {
        let mut values = self.lock();
        values.is_over = true;
        values.by_object.clear();
        drop(values);
        self.came.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What it takes to have a value.
enum Want {
    /// To ask for it.
    New,
    /// To wait.
    Asked,
    /// Nothing more.
    Here(Bytes),
}

impl Values {
    fn want(&mut self, object: ObjectId) -> Want {
        let wanted = Instant::now();
        let Some(awaited) = self.by_object.get_mut(&object) else {
            self.forget_unwanted();
            self.by_object.insert(object, Awaited { bytes: None, wanted });
            return Want::New;
        };
        awaited.wanted = wanted;
        match awaited.bytes.take() {
            Some(bytes) => {
                self.by_object.remove(&object);
                Want::Here(bytes)
            }
            None => Want::Asked,
        }
    }

    fn forget_unwanted(&mut self) {
        self.by_object.retain(|_, awaited| awaited.wanted.elapsed() < WANTED_TIME);
    }
}

/// About what a message takes in memory.
pub(super) fn size_of(message: &ClientToScheduler) -> usize {
    let carried = match message {
        ClientToScheduler::Define { definition, .. } => definition.function.len(),
        ClientToScheduler::Submit { arguments, dependencies, .. } => {
            arguments.len() + size_of_val(dependencies.as_slice())
        }
        ClientToScheduler::Put { value: Value::Inline(bytes), .. } => bytes.len(),
        ClientToScheduler::Release { numbers } => size_of_val(numbers.as_slice()),
        _ => 0,
    };
    MESSAGE_BYTES + carried
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::thread;

    use hurricane_core::id::{NodeId, Number, ObjectNumber};

    use super::*;

    const OBJECT: ObjectId = ObjectId { node: NodeId(7), number: ObjectNumber(1) };

    #[test]
    fn what_is_queued_is_bounded() {
        let exchange = Exchange::default();
        let value = Value::Inline(vec![0; MAX_QUEUED_BYTES].into());
        let message = ClientToScheduler::Put { number: Number(1), value };
        assert!(exchange.has_room());
        exchange.add_to_queue(&message);
        assert!(!exchange.has_room());
        exchange.take_from_queue(size_of(&message));
        assert!(exchange.has_room());
    }

    #[test]
    fn a_value_is_asked_for_once_and_given_to_who_waits() {
        let exchange = Arc::new(Exchange::default());
        let asked = Cell::new(0);
        let ask = || asked.set(asked.get() + 1);
        for _ in 0..2 {
            assert_eq!(exchange.fetch(OBJECT, Duration::ZERO, ask), Fetched::NotYet);
        }
        assert_eq!(asked.get(), 1);
        let bringing = Arc::clone(&exchange);
        let thread = thread::spawn(move || bringing.bring(OBJECT, "value".into()));
        let fetched = exchange.fetch(OBJECT, Duration::from_mins(1), ask);
        assert_eq!(fetched, Fetched::Value("value".into()));
        thread.join().expect("it ended well");
        assert_eq!(exchange.fetch(OBJECT, Duration::ZERO, ask), Fetched::NotYet);
        assert_eq!(asked.get(), 2);
    }

    #[test]
    fn nobody_waits_for_what_will_not_come() {
        let exchange = Exchange::default();
        exchange.end();
        assert_eq!(exchange.fetch(OBJECT, Duration::MAX, || {}), Fetched::Gone);
    }
}

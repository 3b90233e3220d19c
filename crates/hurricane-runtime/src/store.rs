//! The objects that the nodes of a process hold, in shared memory: values too large for messages.
//! Which ones, and for how long, is decided by each node's state machine.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hurricane_core::id::{NodeId, ObjectId};
use hurricane_core::message::{NodeToWorker, Value};

use crate::platform::machine;
use shared::SharedMemory;

mod arena;
pub(crate) mod container;
pub(crate) mod exchange;
mod segment;
pub(crate) mod shared;

/// How much memory that nobody uses is kept for what comes: this share of the machine's, within
/// limits. Pages that were touched before are written to three times as fast.
const WARM_SHARE: u64 = 16;
const MIN_WARM_BYTES: u64 = 64 << 20;
const MAX_WARM_BYTES: u64 = 1 << 30;

/// The objects of all nodes of a process: what several of them hold is here once.
#[derive(Debug)]
pub(crate) struct Store {
    memory: Arc<SharedMemory>,
    objects: Mutex<HashMap<ObjectId, Held>>,
    reads: AtomicU64,
}

#[derive(Debug)]
struct Held {
    bytes: Bytes,
    holders: BTreeSet<NodeId>,
}

/// How much memory that nobody uses one of so many processes of this machine keeps.
pub(crate) fn warm_bytes(processes: u64) -> usize {
    let share = machine::memory_bytes() / WARM_SHARE / processes.max(1);
    let warm = share.clamp(MIN_WARM_BYTES, MAX_WARM_BYTES);
    usize::try_from(warm).unwrap_or(usize::MAX)
}

impl Default for Store {
    fn default() -> Self {
        let memory = SharedMemory::new(warm_bytes(1));
        Self { memory, objects: Mutex::default(), reads: AtomicU64::new(0) }
    }
}

impl Store {
    /// Where its values lie.
    pub(crate) fn memory(&self) -> &Arc<SharedMemory> {
        &self.memory
    }

    /// Keeps an object for a holder.
    pub(crate) fn insert(&self, holder: NodeId, object: ObjectId, bytes: Bytes) {
        let bytes = self.memory.take_in(bytes);
        let new = || Held { bytes, holders: BTreeSet::new() };
        self.lock().entry(object).or_insert_with(new).holders.insert(holder);
    }

    /// Has one more hold an object, if it is here.
    pub(crate) fn share(&self, holder: NodeId, object: ObjectId) -> bool {
        let mut objects = self.lock();
        let held = objects.get_mut(&object);
        held.map(|held| held.holders.insert(holder)).is_some()
    }

    /// A holder needs an object no more: it is forgotten with the last one.
    pub(crate) fn remove(&self, holder: NodeId, object: ObjectId) {
        let mut objects = self.lock();
        if let Some(held) = objects.get_mut(&object) {
            held.holders.remove(&holder);
            if held.holders.is_empty() {
                objects.remove(&object);
            }
        }
    }

    /// A holder is gone.
    pub(crate) fn remove_all_of(&self, holder: NodeId) {
        self.lock().retain(|_, held| {
            held.holders.remove(&holder);
            !held.holders.is_empty()
        });
    }

    /// How often something was asked for: each piece that goes to another machine is one.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Whether nothing is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The bytes of an object, if it is here.
    pub(crate) fn get(&self, object: ObjectId) -> Option<Bytes> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.lock().get(&object).map(|held| held.bytes.clone())
    }

    /// A message to a worker with the bytes of stored values in their place.
    pub(crate) fn with_bytes(&self, message: NodeToWorker) -> NodeToWorker {
        match message {
            NodeToWorker::Run { run, definition, arguments, inputs } => {
                let resolve = |input| {
                    let bytes = self.resolve(input);
                    Value::Inline(bytes.expect("a run is sent when all its inputs are here"))
                };
                let inputs = inputs.into_iter().map(resolve).collect();
                NodeToWorker::Run { run, definition, arguments, inputs }
            }
            NodeToWorker::Object { object, value } => {
                let value = value.and_then(|value| self.resolve(value)).map(Value::Inline);
                NodeToWorker::Object { object, value }
            }
            other => other,
        }
    }

    fn resolve(&self, value: Value) -> Option<Bytes> {
        match value {
            Value::Inline(bytes) => Some(bytes),
            Value::Stored(stored) => self.get(stored.object),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectId, Held>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use hurricane_core::id::ObjectNumber;

    use super::*;

    const MAKER: NodeId = NodeId(1);
    const SIBLING: NodeId = NodeId(2);

    fn object(number: u64) -> ObjectId {
        ObjectId { node: MAKER, number: ObjectNumber(number) }
    }

    #[test]
    fn a_copy_costs_nothing_and_its_end_leaves_the_original() {
        let store = Store::default();
        store.insert(MAKER, object(1), Bytes::from_static(b"one"));
        assert!(store.share(SIBLING, object(1)));
        store.remove(SIBLING, object(1));
        assert_eq!(store.get(object(1)), Some(Bytes::from_static(b"one")));
        store.remove(MAKER, object(1));
        assert_eq!(store.get(object(1)), None);
        assert!(!store.share(SIBLING, object(1)));
    }

    #[test]
    fn a_copy_outlives_its_maker() {
        let store = Store::default();
        store.insert(MAKER, object(1), Bytes::from_static(b"one"));
        store.insert(MAKER, object(2), Bytes::from_static(b"two"));
        assert!(store.share(SIBLING, object(1)));
        store.remove_all_of(MAKER);
        assert_eq!(store.get(object(1)), Some(Bytes::from_static(b"one")));
        assert_eq!(store.get(object(2)), None);
    }
}

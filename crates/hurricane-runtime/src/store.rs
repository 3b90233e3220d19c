//! The objects that the nodes of a process hold, in shared memory: values too large for messages.
//! Which ones, and for how long, is decided by each node's state machine.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{env, io};

use bytes::Bytes;
use hurricane_core::id::{NodeId, ObjectId};
use hurricane_core::message::{NodeToWorker, Value};

use crate::platform::machine;
use disk::Disk;
use shared::SharedMemory;

mod arena;
pub(crate) mod container;
mod disk;
pub(crate) mod exchange;
mod maps;
mod segment;
pub(crate) mod shared;

/// How much memory that nobody uses is kept for what comes: this share of the machine's, within
/// limits. Pages that were touched before are written to three times as fast.
const WARM_SHARE: u64 = 16;
const MIN_WARM_BYTES: u64 = 64 << 20;
const MAX_WARM_BYTES: u64 = 1 << 30;

/// How much of the machine's memory values may take, unless [`LIMIT_VARIABLE`] says how many bytes.
/// Beyond that, those that were not used for the longest time are written to a disk.
const MEMORY_SHARE: u64 = 2;
const LIMIT_VARIABLE: &str = "HURRICANE_STORE_BYTES";

/// Where they are written, if the user has no other directory for what is temporary. Not to `/tmp`,
/// which often is memory.
const DISK_DIRECTORY: &str = "/var/tmp";

/// What stands before the sentence of [`StoreFull`] in the place of a task's exception.
const FULL: u8 = 2;

/// The objects of all nodes of a process: what several of them hold is here once.
#[derive(Debug)]
pub(crate) struct Store {
    memory: Arc<SharedMemory>,
    disk: Arc<Disk>,
    limit_bytes: u64,
    objects: Mutex<Objects>,
    reads: AtomicU64,
}

#[derive(Debug, Default)]
struct Objects {
    held: HashMap<ObjectId, Held>,
    /// How much lies in memory.
    bytes: u64,
    /// Counts what was asked for.
    clock: u64,
}

#[derive(Debug)]
struct Held {
    bytes: Bytes,
    holders: BTreeSet<NodeId>,
    is_on_disk: bool,
    /// When it was last asked for.
    used: u64,
}

/// There is no room for a value.
#[derive(Debug, thiserror::Error)]
#[error(
    "values take more than {limit_bytes} bytes of memory, and no more can be written to `{}`: \
     {source}; let values go that are not needed, allow more by {variable}, or choose a disk with \
     more space by TMPDIR",
    directory.display(),
    variable = LIMIT_VARIABLE
)]
pub struct StoreFull {
    limit_bytes: u64,
    directory: PathBuf,
    source: io::Error,
}

impl StoreFull {
    /// For who waits for the result of a task.
    fn describe(&self) -> Bytes {
        [&[FULL][..], self.to_string().as_bytes()].concat().into()
    }
}

/// How much memory that nobody uses one of so many processes of this machine keeps.
pub(crate) fn warm_bytes(processes: u64) -> usize {
    let share = machine::memory_bytes() / WARM_SHARE / processes.max(1);
    let warm = share.clamp(MIN_WARM_BYTES, MAX_WARM_BYTES);
    usize::try_from(warm).unwrap_or(usize::MAX)
}

impl Default for Store {
    fn default() -> Self {
        let set = env::var(LIMIT_VARIABLE).ok().and_then(|limit| limit.parse().ok());
        let share = machine::memory_bytes().checked_div(MEMORY_SHARE).filter(|share| *share > 0);
        let directory = env::var_os("TMPDIR").filter(|directory| !directory.is_empty());
        let directory = directory.unwrap_or_else(|| DISK_DIRECTORY.into());
        Self::new(set.or(share).unwrap_or(u64::MAX), directory.into())
    }
}

impl Store {
    fn new(limit_bytes: u64, directory: PathBuf) -> Self {
        let memory = SharedMemory::new(warm_bytes(1));
        let disk = Disk::new(directory, Arc::clone(&memory));
        Self { memory, disk, limit_bytes, objects: Mutex::default(), reads: AtomicU64::new(0) }
    }

    /// Where its values lie.
    pub(crate) fn memory(&self) -> &Arc<SharedMemory> {
        &self.memory
    }

    /// Makes room for so much, if need be by writing values to the disk.
    pub(crate) fn make_room(&self, bytes: u64) -> Result<(), StoreFull> {
        while let Some((object, value)) = self.oldest_if_over(bytes) {
            self.memory.cool();
            let written = self.disk.write(&value).map_err(|source| StoreFull {
                limit_bytes: self.limit_bytes,
                directory: self.disk.directory().to_owned(),
                source,
            })?;
            let mut objects = self.lock();
            let Objects { held, bytes, .. } = &mut *objects;
            if let Some(held) = held.get_mut(&object).filter(|held| !held.is_on_disk) {
                *bytes -= held.bytes.len() as u64;
                held.is_on_disk = true;
                // What lay in memory is let go when nothing is locked.
                let in_memory = std::mem::replace(&mut held.bytes, written);
                drop(objects);
                drop(in_memory);
            }
        }
        Ok(())
    }

    /// Keeps an object for a holder.
    pub(crate) fn insert(&self, holder: NodeId, object: ObjectId, bytes: Bytes) {
        // Where the disk is full, too, what is here already stays in memory, for nothing may be lost.
        let _ = self.make_room(bytes.len() as u64);
        let bytes = self.memory.take_in(bytes);
        let mut objects = self.lock();
        let used = objects.tick();
        let Objects { held, bytes: total, .. } = &mut *objects;
        let new = || {
            *total += bytes.len() as u64;
            Held { bytes, holders: BTreeSet::new(), is_on_disk: false, used }
        };
        held.entry(object).or_insert_with(new).holders.insert(holder);
    }

    /// Has one more hold an object, if it is here.
    pub(crate) fn share(&self, holder: NodeId, object: ObjectId) -> bool {
        let mut objects = self.lock();
        let held = objects.held.get_mut(&object);
        held.map(|held| held.holders.insert(holder)).is_some()
    }

    /// A holder needs an object no more: it is forgotten with the last one.
    pub(crate) fn remove(&self, holder: NodeId, object: ObjectId) {
        let mut objects = self.lock();
        let Some(held) = objects.held.get_mut(&object) else { return };
        held.holders.remove(&holder);
        if held.holders.is_empty() {
            let forgotten = objects.forget(object);
            // Its pages are free when nothing is locked.
            drop(objects);
            drop(forgotten);
        }
    }

    /// A holder is gone.
    pub(crate) fn remove_all_of(&self, holder: NodeId) {
        let mut objects = self.lock();
        let mut unheld = Vec::new();
        for (object, held) in &mut objects.held {
            held.holders.remove(&holder);
            if held.holders.is_empty() {
                unheld.push(*object);
            }
        }
        let forgotten: Vec<_> = unheld.into_iter().map(|object| objects.forget(object)).collect();
        drop(objects);
        drop(forgotten);
    }

    /// How often something was asked for: each piece that goes to another machine is one.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Whether nothing is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().held.is_empty()
    }

    /// The bytes of an object, if it is here.
    pub(crate) fn get(&self, object: ObjectId) -> Option<Bytes> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let mut objects = self.lock();
        let used = objects.tick();
        let held = objects.held.get_mut(&object)?;
        held.used = used;
        Some(held.bytes.clone())
    }

    /// What was not used for the longest time of what lies in memory, if that and so much more is
    /// over the limit.
    fn oldest_if_over(&self, more_bytes: u64) -> Option<(ObjectId, Bytes)> {
        let objects = self.lock();
        if objects.bytes.saturating_add(more_bytes) <= self.limit_bytes {
            return None;
        }
        let in_memory = objects.held.iter().filter(|(_, held)| !held.is_on_disk);
        let (object, held) = in_memory.min_by_key(|(_, held)| held.used)?;
        Some((*object, held.bytes.clone()))
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

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Objects {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn forget(&mut self, object: ObjectId) -> Option<Held> {
        let forgotten = self.held.remove(&object)?;
        self.bytes -= if forgotten.is_on_disk { 0 } else { forgotten.bytes.len() as u64 };
        Some(forgotten)
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

    #[test]
    fn what_was_not_used_for_longest_goes_to_the_disk_and_comes_back() {
        let store = Store::new(250_000, env::temp_dir());
        let values: Vec<Bytes> = (0..4_u8).map(|byte| vec![byte; 100_000].into()).collect();
        for (number, value) in (0..).zip(&values) {
            store.insert(MAKER, object(number), value.clone());
            // The first one is used all the time.
            assert_eq!(store.get(object(0)).as_ref(), Some(&values[0]));
        }
        assert!(store.memory.used_bytes() < 250_000);
        for (number, value) in (0..).zip(&values) {
            let held = store.get(object(number)).expect("it is held");
            assert_eq!(held, value);
            assert!(store.memory.places_of(&held).is_some(), "it can be mapped");
        }
        let on_disk = |number| store.lock().held[&object(number)].is_on_disk;
        assert_eq!([0, 1, 2, 3].map(on_disk), [false, true, true, false]);
        store.remove_all_of(MAKER);
        assert_eq!((store.memory.used_bytes(), store.lock().bytes), (0, 0));
    }

    #[test]
    fn where_nothing_can_be_written_nothing_is_lost() {
        let store = Store::new(250_000, "/proc/nowhere".into());
        for number in 0..4 {
            store.insert(MAKER, object(number), vec![7; 100_000].into());
        }
        assert!((0..4).all(|number| store.get(object(number)).is_some()));
        let full = store.make_room(1).expect_err("there is no such directory");
        assert!(full.to_string().contains("HURRICANE_STORE_BYTES"), "{full}");
        assert!(full.describe().starts_with(&[FULL]));
        store.remove_all_of(MAKER);
        assert!(store.make_room(1).is_ok());
    }
}

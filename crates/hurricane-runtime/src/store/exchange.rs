//! What a node and a worker tell each other about the shared memory of both, on their link: segments
//! with their descriptors, and where values lie. Either end puts `Bytes` in and gets `Bytes` out.
//!
//! What a worker says is checked: it can name its own segments and what it was given, and no more.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hurricane_core::id::{Number, RunId};
use hurricane_core::message::{
    ClientToScheduler, INLINE_LIMIT_BYTES, NodeToWorker, Value, WorkerToNode,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Store;
use super::segment::{Place, Segment};
use super::shared::{Keeper, Received, SharedMemory};
use crate::link::{Incoming, Outgoing};
use crate::platform::fork::ProcessMark;
use crate::platform::shared_memory::{Access, MemoryFile, whole_pages};
use pages::WorkerPages;

mod pages;

/// How many segments of a worker its node maps: a worker that is well needs one.
const MAX_SEGMENTS: usize = 64;

/// Where pages lie, as its maker calls the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Spot {
    segment: u64,
    offset: u64,
    length: u64,
}

/// From the node.
#[derive(Debug, Serialize, Deserialize)]
enum FromNode {
    /// Comes with the descriptor of a segment.
    Attach { segment: u64, size_bytes: u64 },
    /// Where the next stored value lies that an order names.
    Value { lease: u64, length: u64, spots: Vec<Spot> },
    /// The worker's own pages are not needed here any more.
    Free { freed: Vec<Freed> },
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Freed {
    spot: Spot,
    /// False if the pages were given back to the system: whoever writes to them needs new ones.
    is_warm: bool,
}

/// From the worker.
#[derive(Debug, Serialize, Deserialize)]
enum FromWorker {
    /// Comes with the descriptor of a segment.
    Attach { segment: u64, size_bytes: u64 },
    /// As [`WorkerToNode::Finished`].
    Finished { run: RunId, length: u64, spots: Vec<Piece>, ran: Duration },
    /// As [`ClientToScheduler::Put`].
    Put { number: Number, length: u64, spots: Vec<Piece> },
    /// Nobody sees these values any more.
    Return { leases: Vec<u64> },
}

#[derive(Debug, Serialize, Deserialize)]
enum Piece {
    /// In a segment of the worker.
    Made(Spot),
    /// In a segment of the node: part of what the worker sees.
    Given(Spot),
}

/// A worker said what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a worker told nonsense about its memory")]
pub(crate) struct Nonsense;

/// The node's end of what it shares with one worker.
#[derive(Debug)]
pub(crate) struct WithWorker {
    store: Arc<Store>,
    state: Mutex<WorkerState>,
    pages: Arc<WorkerPages>,
}

#[derive(Debug, Default)]
struct WorkerState {
    /// The segments that the worker has a descriptor of.
    told: HashSet<u64>,
    /// The worker's, by its own names.
    received: HashMap<u64, Arc<Received>>,
    leases: HashMap<u64, Bytes>,
    last_lease: u64,
}

impl WithWorker {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, state: Mutex::default(), pages: Arc::default() }
    }

    /// Adds a message, after what the worker must know to find the values in it.
    pub(crate) fn push(&self, message: NodeToWorker, outgoing: &mut Outgoing) {
        self.push_free(outgoing);
        let message = match message {
            NodeToWorker::Run { run, definition, arguments, inputs } => {
                let inputs = inputs.into_iter().map(|input| {
                    let placed = self.place(input, outgoing);
                    placed.expect("a run is sent when all its inputs are here")
                });
                NodeToWorker::Run { run, definition, arguments, inputs: inputs.collect() }
            }
            NodeToWorker::Object { object, value } => {
                let value = value.and_then(|value| self.place(value, outgoing));
                NodeToWorker::Object { object, value }
            }
            other => other,
        };
        outgoing.push(&message);
    }

    /// What a worker says in a message, if that is for others.
    pub(crate) fn receive(
        &self,
        message: WorkerToNode,
        incoming: &mut Incoming,
    ) -> Result<Option<WorkerToNode>, Nonsense> {
        let WorkerToNode::Memory(note) = message else { return Ok(Some(message)) };
        match read(&note)? {
            FromWorker::Attach { segment, size_bytes } => {
                self.attach(segment, size_bytes, incoming)?;
                Ok(None)
            }
            FromWorker::Finished { run, length, spots, ran } => {
                let result = self.value(length, &spots)?;
                Ok(Some(match self.store.make_room(length) {
                    Ok(()) => WorkerToNode::Finished { run, result, ran },
                    Err(full) => WorkerToNode::Raised { run, exception: full.describe(), ran },
                }))
            }
            FromWorker::Put { number, length, spots } => {
                let value = Value::Inline(self.value(length, &spots)?);
                Ok(Some(WorkerToNode::Nested(ClientToScheduler::Put { number, value })))
            }
            FromWorker::Return { leases } => {
                let mut state = lock(&self.state);
                let ended: Vec<_> = leases.iter().map(|lease| state.leases.remove(lease)).collect();
                // What they held is let go when nothing is locked.
                drop(state);
                drop(ended);
                Ok(None)
            }
        }
    }

    /// Says where a stored value lies. None if it is not here.
    fn place(&self, value: Value, outgoing: &mut Outgoing) -> Option<Value> {
        let Value::Stored(stored) = value else { return Some(value) };
        let bytes = self.store.get(stored.object)?;
        let Some(places) = self.store.memory().places_of(&bytes) else {
            return Some(Value::Inline(bytes));
        };
        let mut state = lock(&self.state);
        for place in &places {
            if state.told.insert(place.segment.id) {
                let size_bytes = place.segment.size_bytes() as u64;
                let note = FromNode::Attach { segment: place.segment.id, size_bytes };
                let file = Arc::clone(&place.segment.file);
                outgoing.push_with(&NodeToWorker::Memory(write(&note)), file);
            }
        }
        state.last_lease += 1;
        let lease = state.last_lease;
        let spots = places.iter().map(|place| Spot::of(place, place.segment.id)).collect();
        let note = FromNode::Value { lease, length: bytes.len() as u64, spots };
        outgoing.push(&NodeToWorker::Memory(write(&note)));
        state.leases.insert(lease, bytes);
        Some(value)
    }

    fn push_free(&self, outgoing: &mut Outgoing) {
        let freed = self.pages.take_untold();
        if !freed.is_empty() {
            outgoing.push(&NodeToWorker::Memory(write(&FromNode::Free { freed })));
        }
    }

    fn attach(
        &self,
        segment: u64,
        size_bytes: u64,
        incoming: &mut Incoming,
    ) -> Result<(), Nonsense> {
        let descriptor = incoming.next_descriptor().ok_or(Nonsense)?;
        let mut state = lock(&self.state);
        if state.received.len() >= MAX_SEGMENTS || state.received.contains_key(&segment) {
            return Err(Nonsense);
        }
        let size_bytes = usize::try_from(size_bytes).map_err(|_| Nonsense)?;
        let received = MemoryFile::receive(descriptor, size_bytes)
            .and_then(|file| self.store.memory().receive(file, segment, Access::Read));
        state.received.insert(segment, received.map_err(|_| Nonsense)?);
        Ok(())
    }

    /// What a worker has made, as bytes.
    fn value(&self, length: u64, pieces: &[Piece]) -> Result<Bytes, Nonsense> {
        let length = usize::try_from(length).map_err(|_| Nonsense)?;
        if let [Piece::Made(spot)] = pieces {
            let (mut part, place) = self.made(*spot)?;
            return if length <= place.length && length > 0 {
                part.length = length;
                Ok(Bytes::from_owner(part))
            } else {
                Err(Nonsense)
            };
        }
        let mut places = Vec::with_capacity(pieces.len());
        let mut keepers: Vec<Keeper> = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let (place, keeper): (Place, Keeper) = match piece {
                Piece::Made(spot) => {
                    let (part, place) = self.made(*spot)?;
                    (place, Arc::new(part))
                }
                Piece::Given(spot) => self.given(*spot)?,
            };
            places.push(place);
            keepers.push(keeper);
        }
        let (memory, access) = (self.store.memory(), Access::Read);
        let value = memory.view_or_copy(&places, length, access, &(Arc::new(keepers) as Keeper));
        value.map_err(|_| Nonsense)
    }

    /// Pages that a worker has made: it may not use them again until it is told.
    fn made(&self, spot: Spot) -> Result<(Made, Place), Nonsense> {
        let received = lock(&self.state).received.get(&spot.segment).cloned().ok_or(Nonsense)?;
        let place = spot.place(&received.segment).ok_or(Nonsense)?;
        self.pages.begin(&place);
        let (pages, length) = (Arc::clone(&self.pages), place.length);
        let made = Made { received, place: place.clone(), length, spot, pages };
        Ok((made, place))
    }

    /// Part of what the worker was given and has not returned.
    fn given(&self, spot: Spot) -> Result<(Place, Keeper), Nonsense> {
        let memory = self.store.memory();
        let state = lock(&self.state);
        state
            .leases
            .values()
            .find_map(|bytes| {
                let places = memory.places_of(bytes)?;
                let held = places.iter().find(|place| place.segment.id == spot.segment)?;
                let place = spot.place(&held.segment)?;
                let is_given = places.iter().any(|held| held.contains(&place));
                is_given.then(|| (place, Arc::new(bytes.clone()) as Keeper))
            })
            .ok_or(Nonsense)
    }
}

/// With the worker, all that it made and nobody sees is gone, and so is what it had begun.
impl Drop for WithWorker {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // In a forked child the descriptors are closed, and the values its parent's.
        let received = state.received.values().filter(|received| received.is_here());
        let mut segments = received.map(|received| &received.segment).peekable();
        if segments.peek().is_some() {
            self.pages.leave(segments);
        }
    }
}

/// A value of a worker.
#[derive(Debug)]
struct Made {
    received: Arc<Received>,
    place: Place,
    /// Of the value, which may not fill its pages.
    length: usize,
    spot: Spot,
    pages: Arc<WorkerPages>,
}

impl AsRef<[u8]> for Made {
    fn as_ref(&self) -> &[u8] {
        self.received.part(&self.place, self.length)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.received.is_here() {
            self.pages.end(&self.place, self.spot);
        }
    }
}

/// The worker's end.
#[derive(Debug)]
pub(crate) struct WithNode {
    memory: Arc<SharedMemory>,
    state: Mutex<NodeState>,
    /// The leases that ended since the node was last told.
    returned: Arc<Mutex<Vec<u64>>>,
}

#[derive(Debug, Default)]
struct NodeState {
    told: HashSet<u64>,
    received: HashMap<u64, Arc<Segment>>,
    /// The values that the next orders name.
    values: VecDeque<Bytes>,
}

impl WithNode {
    pub(crate) fn new(memory: Arc<SharedMemory>) -> Self {
        Self { memory, state: Mutex::default(), returned: Arc::default() }
    }

    pub(crate) fn memory(&self) -> &Arc<SharedMemory> {
        &self.memory
    }

    /// Adds a message, after what the node must know to find the value in it.
    pub(crate) fn push(&self, message: &WorkerToNode, outgoing: &mut Outgoing) {
        match message {
            WorkerToNode::Finished { run, result, ran } if result.len() > INLINE_LIMIT_BYTES => {
                let note =
                    |spots, length| FromWorker::Finished { run: *run, length, spots, ran: *ran };
                self.push_value(result, note, message, outgoing);
            }
            WorkerToNode::Nested(ClientToScheduler::Put {
                number,
                value: Value::Inline(bytes),
            }) if bytes.len() > INLINE_LIMIT_BYTES => {
                let note = |spots, length| FromWorker::Put { number: *number, length, spots };
                self.push_value(bytes, note, message, outgoing);
            }
            _ => outgoing.push(message),
        }
        self.push_returned(outgoing);
    }

    /// Says which values nobody here sees any more.
    pub(crate) fn push_returned(&self, outgoing: &mut Outgoing) {
        let leases = std::mem::take(&mut *lock(&self.returned));
        if !leases.is_empty() {
            outgoing.push(&WorkerToNode::Memory(write(&FromWorker::Return { leases })));
        }
    }

    /// What the node says in a message, if that is for others.
    pub(crate) fn receive(
        &self,
        message: NodeToWorker,
        incoming: &mut Incoming,
    ) -> io::Result<Option<NodeToWorker>> {
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidData);
        match message {
            NodeToWorker::Memory(note) => {
                self.take_note(read(&note).map_err(invalid)?, incoming)?;
                Ok(None)
            }
            NodeToWorker::Run { run, definition, arguments, inputs } => {
                let inputs = inputs.into_iter().map(|input| self.resolve(input)).collect();
                Ok(Some(NodeToWorker::Run { run, definition, arguments, inputs }))
            }
            NodeToWorker::Object { object, value } => {
                let value = value.map(|value| self.resolve(value));
                Ok(Some(NodeToWorker::Object { object, value }))
            }
            other => Ok(Some(other)),
        }
    }

    fn push_value(
        &self,
        bytes: &Bytes,
        note: impl FnOnce(Vec<Piece>, u64) -> FromWorker,
        message: &WorkerToNode,
        outgoing: &mut Outgoing,
    ) {
        let shared = self.memory.take_in(bytes.clone());
        let Some(places) = self.memory.places_of(&shared) else { return outgoing.push(message) };
        let mut state = lock(&self.state);
        let mut pieces = Vec::with_capacity(places.len());
        for place in &places {
            if let Some(id) = place.segment.foreign_id {
                pieces.push(Piece::Given(Spot::of(place, id)));
                continue;
            }
            state.tell(&place.segment, outgoing);
            // Until the node says that it is free.
            if !self.memory.lend(place) {
                return outgoing.push(message);
            }
            pieces.push(Piece::Made(Spot::of(place, place.segment.id)));
        }
        let note = note(pieces, shared.len() as u64);
        outgoing.push(&WorkerToNode::Memory(write(&note)));
    }

    fn take_note(&self, note: FromNode, incoming: &mut Incoming) -> io::Result<()> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        match note {
            FromNode::Attach { segment, size_bytes } => {
                let descriptor = incoming.next_descriptor().ok_or_else(invalid)?;
                let size_bytes = usize::try_from(size_bytes).map_err(|_| invalid())?;
                let file = MemoryFile::trusted(descriptor, size_bytes);
                let received = Arc::new(Segment::received(file, segment));
                lock(&self.state).received.insert(segment, received);
            }
            FromNode::Value { lease, length, spots } => {
                let (process, returned) = (ProcessMark::here(), Arc::clone(&self.returned));
                let lease = Lease { process, number: lease, returned };
                let mut state = lock(&self.state);
                let place = |spot: &Spot| spot.place(state.received.get(&spot.segment)?);
                let places: Option<Vec<Place>> = spots.iter().map(place).collect();
                let length = usize::try_from(length).map_err(|_| invalid())?;
                let places = places.ok_or_else(invalid)?;
                let access = Access::CopyOnWrite;
                let value = self.memory.view_or_copy(
                    &places,
                    length,
                    access,
                    &(Arc::new(lease) as Keeper),
                )?;
                state.values.push_back(value);
            }
            FromNode::Free { freed } => {
                for Freed { spot, is_warm } in freed {
                    let offset = usize::try_from(spot.offset).map_err(|_| invalid())?;
                    self.memory.give_back(spot.segment, offset, is_warm);
                }
            }
        }
        Ok(())
    }

    fn resolve(&self, value: Value) -> Value {
        match value {
            Value::Inline(bytes) => Value::Inline(bytes),
            Value::Stored(_) => {
                Value::Inline(lock(&self.state).values.pop_front().unwrap_or_default())
            }
        }
    }
}

impl NodeState {
    fn tell(&mut self, segment: &Segment, outgoing: &mut Outgoing) {
        if self.told.insert(segment.id) {
            let size_bytes = segment.size_bytes() as u64;
            let note = FromWorker::Attach { segment: segment.id, size_bytes };
            outgoing.push_with(&WorkerToNode::Memory(write(&note)), Arc::clone(&segment.file));
        }
    }
}

/// That the node keeps a value for this worker.
struct Lease {
    process: ProcessMark,
    number: u64,
    returned: Arc<Mutex<Vec<u64>>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A forked child sees the value, but does not hold it.
        if self.process.is_here() {
            lock(&self.returned).push(self.number);
        }
    }
}

impl Spot {
    fn of(place: &Place, segment: u64) -> Self {
        Self { segment, offset: place.offset as u64, length: place.length as u64 }
    }

    /// The pages, if they are whole and lie in the segment.
    fn place(&self, segment: &Arc<Segment>) -> Option<Place> {
        let offset = usize::try_from(self.offset).ok()?;
        let length = usize::try_from(self.length).ok()?;
        (whole_pages(length)? == length).then(|| Place::new(segment, offset, length)).flatten()
    }
}

fn write(note: &impl Serialize) -> Bytes {
    let written = postcard::to_stdvec(note);
    written.expect("notes hold nothing that postcard cannot write").into()
}

fn read<T: DeserializeOwned>(note: &[u8]) -> Result<T, Nonsense> {
    postcard::from_bytes(note).map_err(|_| Nonsense)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

//! Both ends of a link in one process.

use std::os::fd::OwnedFd;

use hurricane_core::id::{DefinitionId, NodeId, ObjectId, ObjectNumber};
use hurricane_core::message::Stored;
use rustix::fs::MemfdFlags;

use super::*;
use crate::link;
use crate::platform::shared_memory::page_bytes;
use crate::store::container::{self, Part};

const NODE: NodeId = NodeId(1);
const RUN: RunId = RunId(1);

/// A node and a worker, and the link between them.
struct Pair {
    node: WithWorker,
    worker: WithNode,
    store: Arc<Store>,
    ends: (OwnedFd, OwnedFd),
    of_node: (Outgoing, Incoming),
    of_worker: (Outgoing, Incoming),
}

impl Pair {
    fn new() -> Self {
        let store = Arc::<Store>::default();
        Self {
            node: WithWorker::new(Arc::clone(&store)),
            worker: WithNode::new(SharedMemory::new(1 << 30)),
            store,
            ends: link::pair().expect("descriptors are free"),
            of_node: (Outgoing::default(), Incoming::new()),
            of_worker: (Outgoing::default(), Incoming::new()),
        }
    }

    /// Has the worker run something with these objects; what it sees of them.
    fn run(&mut self, objects: &[u64]) -> Vec<Bytes> {
        let stored =
            |number: &u64| Value::Stored(Stored { object: object(*number), size_bytes: 0 });
        let inputs = objects.iter().map(stored).collect();
        let (definition, arguments) = (DefinitionId(1), Bytes::new());
        let message = NodeToWorker::Run { run: RUN, definition, arguments, inputs };
        self.node.push(message, &mut self.of_node.0);
        self.of_node.0.flush_now(&self.ends.0).expect("the link is there");
        loop {
            let message = link::next_message(&self.ends.1, &mut self.of_worker.1).expect("one");
            let order = self.worker.receive(message, &mut self.of_worker.1).expect("it is sound");
            if let Some(NodeToWorker::Run { inputs, .. }) = order {
                let bytes = |value| match value {
                    Value::Inline(bytes) => bytes,
                    Value::Stored(_) => unreachable!("its bytes are in its place"),
                };
                return inputs.into_iter().map(bytes).collect();
            }
        }
    }

    /// Has the worker answer; what the node sees of that.
    fn finish(&mut self, result: Bytes) -> Bytes {
        let message = WorkerToNode::Finished { run: RUN, result, ran: Duration::ZERO };
        self.worker.push(&message, &mut self.of_worker.0);
        drop(message);
        match self.answer() {
            Ok(WorkerToNode::Finished { result, .. }) => result,
            other => panic!("this is no result: {other:?}"),
        }
    }

    fn answer(&mut self) -> Result<WorkerToNode, Nonsense> {
        self.of_worker.0.flush_now(&self.ends.1).expect("the link is there");
        loop {
            let message = link::next_message(&self.ends.0, &mut self.of_node.1).expect("one");
            if let Some(message) = self.node.receive(message, &mut self.of_node.1)? {
                return Ok(message);
            }
        }
    }

    /// Has the worker say this to its node, whatever it means.
    fn say(
        &mut self,
        note: &FromWorker,
        file: Option<MemoryFile>,
    ) -> Result<WorkerToNode, Nonsense> {
        let message = WorkerToNode::Memory(write(note));
        match file {
            Some(file) => self.of_worker.0.push_with(&message, Arc::new(file)),
            None => self.of_worker.0.push(&message),
        }
        self.of_worker.0.push(&WorkerToNode::Ready);
        self.answer()
    }

    /// The worker is gone, and another one is there in its place.
    fn end(&mut self) {
        self.node = WithWorker::new(Arc::clone(&self.store));
    }

    /// The file in which the values of the worker lie.
    fn file_of_worker(&self) -> Arc<MemoryFile> {
        let state = lock(&self.node.state);
        let received = state.received.values().next().expect("it has made something");
        Arc::clone(&received.segment.file)
    }

    fn leases(&self) -> usize {
        lock(&self.node.state).leases.len()
    }
}

fn object(number: u64) -> ObjectId {
    ObjectId { node: NODE, number: ObjectNumber(number) }
}

fn large(byte: u8) -> Bytes {
    vec![byte; 300_000].into()
}

#[test]
fn values_are_seen_by_the_other_end_and_let_go_when_nobody_sees_them() {
    let mut pair = Pair::new();
    pair.store.insert(NODE, object(1), large(1));
    pair.store.insert(NODE, object(2), large(2));
    let inputs = pair.run(&[2, 1, 2]);
    assert_eq!(inputs, [large(2), large(1), large(2)]);
    assert!(inputs.iter().all(|input| pair.worker.memory().is_own_view(input)));
    pair.store.remove_all_of(NODE);
    assert_eq!(inputs[1], large(1), "it is the worker's to let go");
    assert_eq!(pair.leases(), 3);
    drop(inputs);
    let result = pair.finish(large(3));
    assert_eq!(result, large(3));
    pair.of_worker.0.push(&WorkerToNode::Ready);
    pair.answer().expect("it is sound");
    assert_eq!((pair.leases(), pair.store.memory().used_bytes()), (0, 0));
    // The worker's pages are its own again when it hears of it.
    assert!(pair.worker.memory().used_bytes() > 0);
    drop(result);
    pair.run(&[]);
    assert_eq!(pair.worker.memory().used_bytes(), 0);
}

#[test]
fn what_comes_back_as_it_was_is_not_copied() {
    let mut pair = Pair::new();
    pair.store.insert(NODE, object(1), large(1));
    let inputs = pair.run(&[1]);
    let parts = [Part::Bytes(b"pickle"), Part::Bytes(&inputs[0][10_000..])];
    let gathered = container::gather(Some(pair.worker.memory()), &parts);
    let copied = container::gather(None, &parts);
    assert!(pair.worker.memory().used_bytes() < 10_000);
    drop(inputs);
    let result = pair.finish(gathered);
    pair.store.remove_all_of(NODE);
    // The parts lie at other places in it.
    assert!(result.starts_with(&copied[..16]));
    assert!(result.ends_with(&large(1)[10_000..]));
    assert!(result[..4096].windows(6).any(|window| window == b"pickle"));
}

#[test]
fn a_worker_names_only_what_it_has() {
    let spot = |segment, offset, length| Spot { segment, offset, length };
    let finished = |piece| FromWorker::Finished {
        run: RUN,
        length: 4096,
        spots: vec![piece],
        ran: Duration::ZERO,
    };
    let mut pair = Pair::new();
    pair.store.insert(NODE, object(1), large(1));
    let inputs = pair.run(&[1]);
    let given = {
        let state = lock(&pair.worker.state);
        let segment = *state.received.keys().next().expect("it was told of one");
        move |offset, length| Piece::Given(spot(segment, offset, length))
    };
    let refused = [
        finished(Piece::Made(spot(7, 0, 4096))),
        finished(given(4096 * 100, 4096)),
        finished(given(0, 1 << 40)),
        finished(given(1, 4096)),
        finished(given(u64::MAX - 4095, 4096)),
        FromWorker::Finished {
            run: RUN,
            length: 4097,
            spots: vec![given(0, 4096)],
            ran: Duration::ZERO,
        },
        FromWorker::Finished { run: RUN, length: 1, spots: vec![], ran: Duration::ZERO },
        FromWorker::Attach { segment: 9, size_bytes: 4096 },
    ];
    for note in &refused {
        assert_eq!(pair.say(note, None), Err(Nonsense), "{note:?}");
        pair.of_node.1 = Incoming::new();
    }
    let sound = pair.say(&finished(given(0, 4096)), None).expect("it was given that");
    assert!(matches!(sound, WorkerToNode::Finished { result, .. } if result == inputs[0][..4096]));
}

#[test]
fn a_segment_that_could_shrink_is_refused() {
    let mut pair = Pair::new();
    let unsealed = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).expect("memory");
    rustix::fs::ftruncate(&unsealed, 4096).expect("it is new");
    let note = FromWorker::Attach { segment: 1, size_bytes: 4096 };
    assert_eq!(pair.say(&note, Some(MemoryFile::trusted(unsealed, 4096))), Err(Nonsense));
}

#[test]
fn what_is_taken_from_an_idle_worker_is_warm_no_more() {
    let mut pair = Pair::new();
    let values = [100 << 20, 50 << 20].map(|length| pair.finish(vec![7; length].into()));
    drop(values);
    pair.run(&[]);
    let memory = pair.worker.memory();
    assert_eq!((memory.used_bytes(), memory.warm_bytes()), (0, 100 << 20));
}

#[test]
fn when_a_worker_is_gone_only_what_is_seen_of_it_takes_memory() {
    let mut pair = Pair::new();
    let values: Vec<Bytes> = (0..5).map(|byte| pair.finish(large(byte))).collect();
    let _begun = pair.worker.memory().reserve(10 << 20).expect("there is memory");
    let file = pair.file_of_worker();
    let [first, second, third, fourth, fifth] = values.try_into().expect("they are five");
    drop((first, third));
    let used = |pages: usize| pages * large(0).len().next_multiple_of(page_bytes());
    assert!(bytes_of(&file) >= used(5) + (10 << 20));
    pair.end();
    assert_eq!(bytes_of(&file), used(3));
    assert_eq!([&second, &fourth, &fifth], [&large(1), &large(3), &large(4)]);
    drop(fourth);
    assert_eq!(bytes_of(&file), used(2));
    assert_eq!([&second, &fifth], [&large(1), &large(4)]);
    drop((second, fifth));
    assert_eq!(bytes_of(&file), 0);
}

#[test]
fn what_a_gone_worker_made_is_there_for_those_who_see_it() {
    let mut pair = Pair::new();
    let made = pair.finish(large(7));
    pair.store.insert(NODE, object(1), made);
    let mut other = Pair { store: Arc::clone(&pair.store), ..Pair::new() };
    other.node = WithWorker::new(Arc::clone(&pair.store));
    let inputs = other.run(&[1]);
    pair.store.remove_all_of(NODE);
    pair.end();
    assert_eq!(inputs, [large(7)]);
    // It goes on as part of what another makes.
    let parts = [Part::Bytes(b"pickle"), Part::Bytes(&inputs[0])];
    let gathered = container::gather(Some(other.worker.memory()), &parts);
    drop(inputs);
    let result = other.finish(gathered);
    other.end();
    drop(pair);
    assert!(result.ends_with(&large(7)));
}

#[test]
fn of_a_worker_that_names_pages_twice_nothing_is_taken_away() {
    let mut pair = Pair::new();
    let first = pair.finish(large(7));
    let file = pair.file_of_worker();
    let segment = *lock(&pair.node.state).received.keys().next().expect("it has made something");
    for (offset, length) in [(0, 4096), (4096, 4096)] {
        let spots = vec![Piece::Made(Spot { segment, offset, length })];
        let note = FromWorker::Finished { run: RUN, length, spots, ran: Duration::ZERO };
        drop(pair.say(&note, None).expect("it lies within"));
    }
    let used = bytes_of(&file);
    pair.end();
    assert_eq!((first, bytes_of(&file)), (large(7), used));
}

/// How much memory a file takes.
fn bytes_of(file: &MemoryFile) -> usize {
    let blocks = rustix::fs::fstat(file).expect("it is open").st_blocks;
    usize::try_from(blocks * 512).expect("it is in memory")
}

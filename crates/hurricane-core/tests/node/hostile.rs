//! Any peer may say anything at any time: the node keeps its house in order, and is idle when all
//! that was begun has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use hurricane_core::Node;
use hurricane_core::id::{
    Attempt, DefinitionId, NodeId, Number, ObjectId, ObjectNumber, RunId, TaskId, WorkerId,
};
use hurricane_core::message::{
    ClientToScheduler, NodeToWorker, SchedulerToNode, Stream, Value, WorkerToNode,
};
use hurricane_core::node::{Action, Event};
use hurricane_core::resources::{Amount, Resources};
use hurricane_core::time::Time;
use proptest::prelude::*;

use crate::case::*;

const TASKS: u64 = 6;
const DEFINITIONS: u64 = 6;
const WORKERS: u64 = 12;
const OBJECTS: u64 = 4;
const ATTEMPTS: u32 = 3;

/// What happens next. Where a worker, a run or a fetch must be one of those that there are, the
/// world chooses it by a number.
#[derive(Clone, Debug)]
enum Move {
    /// This, whether it makes sense or not.
    Any(Event),
    /// A living worker says this.
    Say(usize, WorkerToNode),
    /// A running task returns this.
    Return(usize, Bytes),
    /// A living worker dies.
    Die(usize),
    /// An object arrives that was on its way, or not.
    Arrive(usize, bool),
}

fn definitions() -> Vec<Event> {
    let gpus = |gpus| Resources { gpus, ..Resources::cpus(1) };
    vec![
        define(1, Resources::cpus(1)),
        define(2, Resources::cpus(2)),
        define(3, gpus(Amount::whole(1))),
        define(4, gpus(hundredths(40))),
        define_limited(5, Duration::from_millis(30)),
        define(DEFINITIONS, Resources { cpus: hundredths(30), ..Resources::default() }),
    ]
}

fn object() -> impl Strategy<Value = ObjectId> {
    let object = |(node, number)| ObjectId { node: NodeId(node), number: ObjectNumber(number) };
    (NODE.0..NODE.0 + 2, 1..=OBJECTS).prop_map(object)
}

fn from_scheduler() -> impl Strategy<Value = Event> {
    let input = prop_oneof![object().prop_map(stored), Just(Value::Inline(Bytes::new()))];
    let inputs = prop::collection::vec(input, 0..3);
    let task = || (1..=TASKS).prop_map(TaskId);
    let attempt = || (1..=ATTEMPTS).prop_map(Attempt);
    let definition = (1..=DEFINITIONS).prop_map(DefinitionId);
    let assigned = (task(), attempt(), definition, inputs);
    let assigned = assigned.prop_map(|(task, attempt, definition, inputs)| {
        let arguments = Bytes::new();
        SchedulerToNode::Assign { task, attempt, definition, arguments, inputs }
    });
    let wanted_back = (task(), attempt());
    let wanted_back =
        wanted_back.prop_map(|(task, attempt)| SchedulerToNode::TakeBack { task, attempt });
    let cancelled = (task(), attempt());
    let cancelled = cancelled.prop_map(|(task, attempt)| SchedulerToNode::Cancel { task, attempt });
    prop_oneof![
        6 => assigned.prop_map(told),
        1 => wanted_back.prop_map(told),
        1 => cancelled.prop_map(told),
        1 => (1..=OBJECTS).prop_map(drop_own),
        1 => (1..=DEFINITIONS).prop_map(forget),
        2 => prop::sample::select(definitions()),
    ]
}

fn result() -> impl Strategy<Value = Bytes> {
    prop_oneof![4 => Just(Bytes::new()), 1 => Just(large())]
}

fn message() -> impl Strategy<Value = WorkerToNode> {
    let value = result().prop_map(Value::Inline);
    let put = value.prop_map(|value| ClientToScheduler::Put { number: Number(1), value });
    prop_oneof![
        4 => Just(WorkerToNode::Ready),
        1 => Just(WorkerToNode::SetupFailed { error: Bytes::new() }),
        3 => Just(WorkerToNode::Waiting),
        3 => Just(WorkerToNode::Resume),
        2 => object().prop_map(|object| WorkerToNode::Fetch { object }),
        1 => put.prop_map(WorkerToNode::Nested),
    ]
}

fn from_nobody() -> impl Strategy<Value = Event> {
    let worker = || 1..=WORKERS;
    prop_oneof![
        (worker(), message()).prop_map(|(worker, message)| said(worker, message)),
        (worker(), 1..20_u64).prop_map(|(worker, run)| finished(worker, run)),
        (worker(), 1..20_u64).prop_map(|(worker, run)| raised(worker, run)),
        worker().prop_map(not_started),
        worker().prop_map(|worker| wrote(worker, Stream::Stdout, "a line\nand more")),
        (object(), any::<bool>()).prop_map(|(object, is_here)| fetched(object, is_here)),
    ]
}

fn next_move() -> impl Strategy<Value = Move> {
    let nth = || 0..20_usize;
    prop_oneof![
        8 => from_scheduler().prop_map(Move::Any),
        2 => from_nobody().prop_map(Move::Any),
        4 => Just(Move::Any(Event::Tick)),
        8 => (nth(), message()).prop_map(|(nth, message)| Move::Say(nth, message)),
        6 => (nth(), result()).prop_map(|(nth, result)| Move::Return(nth, result)),
        2 => nth().prop_map(Move::Die),
        2 => (nth(), any::<bool>()).prop_map(|(nth, is_here)| Move::Arrive(nth, is_here)),
    ]
}

/// A node, and what a runtime knows of it.
struct World {
    node: Node,
    now: Time,
    workers: BTreeSet<WorkerId>,
    runs: BTreeMap<WorkerId, RunId>,
    fetching: BTreeSet<ObjectId>,
}

impl World {
    fn new() -> Self {
        let resources = Resources { gpus: Amount::whole(2), ..Resources::cpus(2) };
        let mut world = Self {
            node: new_node(resources),
            now: Time::default(),
            workers: BTreeSet::new(),
            runs: BTreeMap::new(),
            fetching: BTreeSet::new(),
        };
        for definition in definitions() {
            world.apply(definition);
        }
        world
    }

    fn make(&mut self, next: Move) {
        let event = match next {
            Move::Any(event) => Some(event),
            Move::Say(nth, message) => self.worker(nth).map(|worker| said(worker, message)),
            Move::Return(nth, result) => {
                let run =
                    nth.checked_rem(self.runs.len()).and_then(|nth| self.runs.iter().nth(nth));
                run.map(|(worker, run)| returned(worker.0, run.0, result))
            }
            Move::Die(nth) => self.worker(nth).map(died),
            Move::Arrive(nth, is_here) => {
                self.fetching.iter().nth(nth).map(|object| fetched(*object, is_here))
            }
        };
        if let Some(event) = event {
            self.apply(event);
        }
    }

    fn worker(&self, nth: usize) -> Option<u64> {
        let nth = nth.checked_rem(self.workers.len())?;
        self.workers.iter().nth(nth).map(|worker| worker.0)
    }

    fn apply(&mut self, event: Event) {
        match &event {
            Event::WorkerDied { worker, .. } => {
                self.workers.remove(worker);
                self.runs.remove(worker);
            }
            Event::Fetched { object, .. } => {
                self.fetching.remove(object);
            }
            _ => {}
        }
        let mut actions = Vec::new();
        self.node.handle(self.now, event, &mut actions);
        self.node.sanity_check();
        for action in &actions {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: &Action) {
        match action {
            Action::Fetch { object } => {
                assert!(self.fetching.insert(*object), "what is on its way is not fetched again");
            }
            Action::StartWorker { worker, .. } => {
                assert!(self.workers.insert(*worker), "a worker's name is never used twice");
            }
            Action::ToWorker { worker, message: NodeToWorker::Run { run, .. } } => {
                self.runs.insert(*worker, *run);
            }
            _ => {}
        }
    }

    /// Ends whatever may still be here.
    fn end_everything(&mut self) {
        for task in (1..=TASKS).map(TaskId) {
            for attempt in (1..=ATTEMPTS).map(Attempt) {
                self.apply(told(SchedulerToNode::Cancel { task, attempt }));
            }
        }
        (1..=DEFINITIONS).for_each(|id| self.apply(forget(id)));
        (1..=200).for_each(|number| self.apply(drop_own(number)));
        for object in self.fetching.clone() {
            self.apply(fetched(object, true));
        }
        // Those that a scheduler's cancelling killed, and others too.
        for worker in self.workers.clone() {
            self.apply(died(worker.0));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn whatever_peers_say_nothing_is_left_over(
        moves in prop::collection::vec((0..20_000_u64, next_move()), 1..200),
    ) {
        let mut world = World::new();
        for (passed_micros, next) in moves {
            world.now = Time(world.now.0 + passed_micros);
            world.make(next);
        }
        world.end_everything();
        prop_assert!(world.node.is_idle(), "{:?}", world.node);
    }
}

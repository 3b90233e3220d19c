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
    /// A task returns this that a worker has; the first, or any.
    Return(usize, usize, Bytes),
    /// A living worker dies, having begun one of what it was sent, or something else.
    Die(usize, Option<u64>),
    /// A worker answers what it was asked back, having begun this.
    Revoke(usize, Option<u64>),
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

/// How far from the last one sent the run is that a worker claims to have begun.
fn begun() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![1 => Just(None), 8 => (0..4_u64).prop_map(Some), 1 => any::<u64>().prop_map(Some)]
}

fn next_move() -> impl Strategy<Value = Move> {
    let nth = || 0..20_usize;
    prop_oneof![
        8 => from_scheduler().prop_map(Move::Any),
        2 => from_nobody().prop_map(Move::Any),
        4 => Just(Move::Any(Event::Tick)),
        8 => (nth(), message()).prop_map(|(nth, message)| Move::Say(nth, message)),
        8 => (nth(), 0..3_usize, result())
            .prop_map(|(nth, run, result)| Move::Return(nth, run / 2, result)),
        2 => (nth(), begun()).prop_map(|(nth, begun)| Move::Die(nth, begun)),
        4 => (nth(), begun()).prop_map(|(nth, begun)| Move::Revoke(nth, begun)),
        2 => (nth(), any::<bool>()).prop_map(|(nth, is_here)| Move::Arrive(nth, is_here)),
    ]
}

/// A node, and what a runtime knows of it.
struct World {
    node: Node,
    now: Time,
    workers: BTreeSet<WorkerId>,
    /// What each was sent, and has not answered.
    runs: BTreeMap<WorkerId, Vec<RunId>>,
    /// What was asked back.
    asked: BTreeSet<(WorkerId, RunId)>,
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
            asked: BTreeSet::new(),
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
            Move::Return(nth, run, result) => self.return_from(nth, run, result),
            Move::Die(nth, begun) => {
                self.worker(nth).map(|worker| match self.begun(worker, begun) {
                    Some(run) => died_in(worker, run),
                    None => died(worker),
                })
            }
            Move::Revoke(nth, begun) => {
                let asked = nth.checked_rem(self.asked.len());
                let asked = asked.and_then(|nth| self.asked.iter().nth(nth).copied());
                asked.map(|(worker, last)| {
                    let begun = self.begun(worker.0, begun);
                    revoked(worker.0, last.0, begun.unwrap_or_default())
                })
            }
            Move::Arrive(nth, is_here) => {
                self.fetching.iter().nth(nth).map(|object| fetched(*object, is_here))
            }
        };
        if let Some(event) = event {
            self.apply(event);
        }
    }

    fn return_from(&mut self, nth: usize, run: usize, result: Bytes) -> Option<Event> {
        let nth = nth.checked_rem(self.runs.len())?;
        let (worker, runs) = self.runs.iter_mut().nth(nth)?;
        let run = runs.remove(run.checked_rem(runs.len())?);
        let ran = Duration::from_micros(300);
        Some(said(worker.0, WorkerToNode::Finished { run, result, ran }))
    }

    fn begun(&self, worker: u64, before_last: Option<u64>) -> Option<u64> {
        let last = self.runs.get(&WorkerId(worker)).and_then(|runs| runs.last());
        Some(last.map_or(0, |last| last.0).wrapping_sub(before_last?))
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
                self.asked.retain(|(asked, _)| asked != worker);
            }
            Event::Revoked { worker, last, .. } => {
                self.asked.remove(&(*worker, *last));
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
                self.runs.entry(*worker).or_default().push(*run);
            }
            Action::Revoke { worker, last } => {
                assert!(self.asked.insert((*worker, *last)), "nothing is asked twice");
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

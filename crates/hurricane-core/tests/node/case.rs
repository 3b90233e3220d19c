//! How the cases of the node are written: rows of an event and exactly the actions that it leads to.

use std::time::Duration;

use bytes::Bytes;
use hurricane_core::Node;
use hurricane_core::id::{
    Attempt, DefinitionId, NodeId, ObjectId, ObjectNumber, RunId, TaskId, WorkerId,
};
use hurricane_core::message::{
    Death, Definition, Exit, Failure, INLINE_LIMIT_BYTES, NodeToScheduler, NodeToWorker, Output,
    SchedulerToNode, Stored, Stream, Value, WorkerToNode,
};
use hurricane_core::node::{Action, Config, Event, WorkerKind};
use hurricane_core::resources::{Amount, Resources};
use hurricane_core::time::Time;

/// The node under test.
pub(crate) const NODE: NodeId = NodeId(7);

/// How long each run claims to have taken: so long that none like it is queued.
pub(crate) const RAN: Duration = Duration::from_millis(30);

/// An event and what it leads to.
#[derive(Debug)]
pub(crate) struct Row {
    at_ms: u64,
    event: Event,
    actions: Vec<Action>,
}

/// Something happens at the start and leads to exactly these actions.
pub(crate) fn row<const N: usize>(event: Event, actions: [Action; N]) -> Row {
    at(0, event, actions)
}

/// The same at a moment, in milliseconds.
pub(crate) fn at<const N: usize>(at_ms: u64, event: Event, actions: [Action; N]) -> Row {
    Row { at_ms, event, actions: actions.into() }
}

/// Lets each row happen, and compares what it leads to.
#[track_caller]
pub(crate) fn check<const N: usize>(mut node: Node, rows: [Row; N]) -> Node {
    for (index, Row { at_ms, event, actions }) in rows.into_iter().enumerate() {
        let mut happened = Vec::new();
        node.handle(ms(at_ms), event.clone(), &mut happened);
        assert_eq!(happened, actions, "row {index}: {event:?}");
        node.sanity_check();
    }
    node
}

pub(crate) fn ms(milliseconds: u64) -> Time {
    Time(milliseconds * 1000)
}

/// A node whose first tick has not come.
pub(crate) fn new_node(resources: Resources) -> Node {
    Node::new(Config { id: NODE, name: "left".into(), resources, queues_after: Some(1) })
}

/// A node whose first workers, one for each cpu, are idle.
pub(crate) fn node(resources: Resources) -> Node {
    let workers = resources.cpus.units_rounded_up().max(1);
    let mut node = new_node(resources);
    node.handle(ms(0), Event::Tick, &mut Vec::new());
    for worker in 1..=workers {
        node.handle(ms(0), ready(worker), &mut Vec::new());
    }
    node
}

/// A node with so many cpus, whose workers are idle and whose definition 1 asks for one cpu.
pub(crate) fn cpu_node(cpus: u64) -> Node {
    check(node(Resources::cpus(cpus)), [row(define(1, Resources::cpus(1)), [])])
}

pub(crate) fn hundredths(hundredths: u64) -> Amount {
    Amount(hundredths * 100)
}

pub(crate) fn gpus(gpus: Amount) -> Resources {
    Resources { gpus, ..Resources::default() }
}

// What happens.

pub(crate) fn told(message: SchedulerToNode) -> Event {
    Event::FromScheduler(message)
}

pub(crate) fn said(worker: u64, message: WorkerToNode) -> Event {
    Event::FromWorker { worker: WorkerId(worker), message }
}

pub(crate) fn ready(worker: u64) -> Event {
    said(worker, WorkerToNode::Ready)
}

pub(crate) fn definition(resources: Resources) -> Definition {
    Definition {
        function: Bytes::from_static(b"function"),
        name: "name".into(),
        resources,
        retries: 0,
        timeout: None,
        priority: 0,
    }
}

pub(crate) fn define(id: u64, resources: Resources) -> Event {
    let definition = definition(resources).into();
    told(SchedulerToNode::Define { id: DefinitionId(id), definition })
}

pub(crate) fn define_limited(id: u64, timeout: Duration) -> Event {
    let timeout = Some(timeout);
    let definition = Definition { timeout, ..definition(Resources::cpus(1)) }.into();
    told(SchedulerToNode::Define { id: DefinitionId(id), definition })
}

pub(crate) fn forget(id: u64) -> Event {
    told(SchedulerToNode::Forget { id: DefinitionId(id) })
}

pub(crate) fn assign(task: u64, definition: u64) -> Event {
    assign_attempt(task, 1, definition, [])
}

pub(crate) fn assign_attempt<const N: usize>(
    task: u64,
    attempt: u32,
    definition: u64,
    inputs: [Value; N],
) -> Event {
    told(SchedulerToNode::Assign {
        task: TaskId(task),
        attempt: Attempt(attempt),
        definition: DefinitionId(definition),
        arguments: Bytes::from_static(b"arguments"),
        inputs: inputs.into(),
    })
}

pub(crate) fn take_back(task: u64) -> Event {
    told(SchedulerToNode::TakeBack { task: TaskId(task), attempt: Attempt(1) })
}

pub(crate) fn cancel(task: u64) -> Event {
    told(SchedulerToNode::Cancel { task: TaskId(task), attempt: Attempt(1) })
}

pub(crate) fn drop_own(number: u64) -> Event {
    told(SchedulerToNode::Drop { objects: vec![ObjectNumber(number)] })
}

pub(crate) fn finished(worker: u64, run: u64) -> Event {
    returned(worker, run, Bytes::from_static(b"result"))
}

pub(crate) fn returned(worker: u64, run: u64, result: Bytes) -> Event {
    said(worker, WorkerToNode::Finished { run: RunId(run), result, ran: RAN })
}

/// The same as [`finished`], after so many microseconds.
pub(crate) fn finished_in(worker: u64, run: u64, ran_micros: u64) -> Event {
    let (result, ran) = (Bytes::from_static(b"result"), Duration::from_micros(ran_micros));
    said(worker, WorkerToNode::Finished { run: RunId(run), result, ran })
}

pub(crate) fn raised(worker: u64, run: u64) -> Event {
    let exception = Bytes::from_static(b"exception");
    said(worker, WorkerToNode::Raised { run: RunId(run), exception, ran: RAN })
}

pub(crate) fn wrote(worker: u64, stream: Stream, text: &str) -> Event {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    Event::WorkerWrote { worker: WorkerId(worker), stream, run: None, bytes }
}

/// What a worker wrote during a run, as it says.
pub(crate) fn wrote_in(worker: u64, run: u64, text: &str) -> Event {
    let (bytes, run) = (Bytes::copy_from_slice(text.as_bytes()), Some(RunId(run)));
    Event::WorkerWrote { worker: WorkerId(worker), stream: Stream::Stdout, run, bytes }
}

/// The process of a worker is gone that never began a run: by signal 9, with a stack.
pub(crate) fn died(worker: u64) -> Event {
    died_after(worker, None)
}

/// The same, of a worker that began this run last.
pub(crate) fn died_in(worker: u64, run: u64) -> Event {
    died_after(worker, Some(RunId(run)))
}

fn died_after(worker: u64, begun: Option<RunId>) -> Event {
    let death = Death { exit: Exit::Signal(9), stack: "stack".into(), ..Death::default() };
    Event::WorkerDied { worker: WorkerId(worker), begun, death }
}

/// A worker was asked for its queue up to `last`, and had begun this run last.
pub(crate) fn revoked(worker: u64, last: u64, begun: u64) -> Event {
    let begun = Some(RunId(begun));
    Event::Revoked { worker: WorkerId(worker), last: RunId(last), begun }
}

pub(crate) fn not_started(worker: u64) -> Event {
    let reason = "there are too many processes".into();
    Event::WorkerNotStarted { worker: WorkerId(worker), reason }
}

pub(crate) fn fetched(object: ObjectId, is_here: bool) -> Event {
    Event::Fetched { object, is_here }
}

// What it leads to.

pub(crate) fn report(message: NodeToScheduler) -> Action {
    Action::ToScheduler(message)
}

pub(crate) fn tell(worker: u64, message: NodeToWorker) -> Action {
    Action::ToWorker { worker: WorkerId(worker), message }
}

pub(crate) fn start(worker: u64) -> Action {
    start_kind(worker, 1, [])
}

pub(crate) fn start_kind<const N: usize>(worker: u64, threads: u64, gpus: [u16; N]) -> Action {
    let kind = WorkerKind { threads, gpus: gpus.into() };
    Action::StartWorker { worker: WorkerId(worker), kind }
}

pub(crate) fn stop(worker: u64) -> Action {
    tell(worker, NodeToWorker::Stop)
}

pub(crate) fn revoke(worker: u64, last: u64) -> Action {
    Action::Revoke { worker: WorkerId(worker), last: RunId(last) }
}

pub(crate) fn kill(worker: u64) -> Action {
    Action::KillWorker { worker: WorkerId(worker), dump_stack: false }
}

pub(crate) fn kill_with_stack(worker: u64) -> Action {
    Action::KillWorker { worker: WorkerId(worker), dump_stack: true }
}

pub(crate) fn teach(worker: u64, definition: u64) -> Action {
    let function = Bytes::from_static(b"function");
    tell(
        worker,
        NodeToWorker::Define { id: DefinitionId(definition), name: "name".into(), function },
    )
}

pub(crate) fn run(worker: u64, run: u64, definition: u64) -> Action {
    run_with(worker, run, definition, [])
}

pub(crate) fn run_with<const N: usize>(
    worker: u64,
    run: u64,
    definition: u64,
    inputs: [Value; N],
) -> Action {
    let message = NodeToWorker::Run {
        run: RunId(run),
        definition: DefinitionId(definition),
        arguments: Bytes::from_static(b"arguments"),
        inputs: inputs.into(),
    };
    tell(worker, message)
}

pub(crate) fn done(task: u64) -> Action {
    done_with(task, Value::Inline(Bytes::from_static(b"result")))
}

pub(crate) fn done_in(task: u64, ran_micros: u64) -> Action {
    let (task, attempt) = (TaskId(task), Attempt(1));
    let value = Value::Inline(Bytes::from_static(b"result"));
    let ran = Duration::from_micros(ran_micros);
    report(NodeToScheduler::Finished { task, attempt, value, ran })
}

pub(crate) fn done_with(task: u64, value: Value) -> Action {
    let (task, attempt) = (TaskId(task), Attempt(1));
    report(NodeToScheduler::Finished { task, attempt, value, ran: RAN })
}

pub(crate) fn failed(task: u64, failure: Failure, ran: Duration) -> Action {
    let (task, attempt, failure) = (TaskId(task), Attempt(1), Box::new(failure));
    report(NodeToScheduler::Failed { task, attempt, failure, ran })
}

pub(crate) fn timed_out(task: u64, limit_ms: u64, ran_ms: u64) -> Action {
    let limit = Duration::from_millis(limit_ms);
    let failure = Failure::TimedOut { limit, stack: "stack".into() };
    failed(task, failure, Duration::from_millis(ran_ms))
}

pub(crate) fn taken_back(task: u64) -> Action {
    report(NodeToScheduler::TakenBack { task: TaskId(task), attempt: Attempt(1) })
}

pub(crate) fn kept(task: u64) -> Action {
    report(NodeToScheduler::Kept { task: TaskId(task), attempt: Attempt(1) })
}

pub(crate) fn lost_input(task: u64, object: ObjectId) -> Action {
    let (task, attempt) = (TaskId(task), Attempt(1));
    report(NodeToScheduler::InputLost { task, attempt, object })
}

/// The worker of a task died as by [`died`], after writing this.
pub(crate) fn death(task: u64, last_output: &str) -> Action {
    let death = Death {
        node: "left".into(),
        exit: Exit::Signal(9),
        last_output: last_output.into(),
        stack: "stack".into(),
        ..Death::default()
    };
    let (task, attempt, death) = (TaskId(task), Attempt(1), Box::new(death));
    report(NodeToScheduler::Died { task, attempt, death })
}

pub(crate) fn output(task: u64, stream: Stream, text: &str) -> Action {
    output_after(task, stream, 0, text)
}

pub(crate) fn output_after(task: u64, stream: Stream, dropped_lines: u64, text: &str) -> Action {
    let text = Bytes::copy_from_slice(text.as_bytes());
    let output = Output { stream, text, dropped_lines };
    report(NodeToScheduler::Output { task: TaskId(task), attempt: Attempt(1), output })
}

pub(crate) fn setup_failed(error: &str) -> Action {
    let error = Bytes::copy_from_slice(error.as_bytes());
    report(NodeToScheduler::SetupFailed { error })
}

// Values.

pub(crate) fn large() -> Bytes {
    Bytes::from(vec![1; INLINE_LIMIT_BYTES + 1])
}

pub(crate) fn store(number: u64) -> Action {
    Action::Store { object: ObjectNumber(number), bytes: large() }
}

pub(crate) fn own(number: u64) -> ObjectId {
    ObjectId { node: NODE, number: ObjectNumber(number) }
}

pub(crate) fn others(number: u64) -> ObjectId {
    ObjectId { node: NodeId(8), number: ObjectNumber(number) }
}

/// A large value in a store.
pub(crate) fn stored(object: ObjectId) -> Value {
    Value::Stored(Stored { object, size_bytes: large().len() as u64 })
}

// Waiting.

pub(crate) fn waiting(task: u64) -> Action {
    report(NodeToScheduler::Waiting { task: TaskId(task), attempt: Attempt(1) })
}

pub(crate) fn resumed(task: u64) -> Action {
    report(NodeToScheduler::Resumed { task: TaskId(task), attempt: Attempt(1) })
}

//! A simulated worker: starts after a while, and does what the script of its task says.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use hurricane_core::id::{DefinitionNumber, Number, ObjectId, RunId, WorkerId};
use hurricane_core::message::{
    ClientToScheduler, Death, Ending, Exit, NodeToWorker, SchedulerToClient, Stream, Value,
    WorkerToNode,
};
use hurricane_core::node::Event;
use hurricane_core::time::Time;

use crate::checks::{
    Execution, Key, decode_key, decode_value, encode_key, encode_value, exception_of,
};
use crate::cluster::{Happening, World};
use crate::program::Act;

/// How long a task waits before it asks once more for a value that could not be had.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A worker of a node's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerName {
    pub(crate) node: usize,
    pub(crate) worker: WorkerId,
}

/// What happens to a worker.
#[derive(Debug)]
pub(crate) enum WorkerStep {
    IsSetUp,
    Hears(NodeToWorker),
    /// The task has run for as long as it does before it acts.
    Acts(Execution),
    /// The task asks once more for a value that could not be had.
    AsksAgain(Execution, ObjectId),
    /// The task has run for as long as it does after its children.
    Returns(Execution),
    IsKilled {
        dump_stack: bool,
    },
    Dies,
    GoesOn,
    /// Answers that have gathered for long are sent.
    Flushes,
}

/// The process.
pub(crate) struct Worker {
    pub(crate) is_ready: bool,
    /// The tasks that its node has sent it, less those that are void or over. They take turns with
    /// the same room.
    has: VecDeque<(RunId, Key)>,
    /// Whether the first of them has its resources.
    pub(crate) has_room: bool,
    /// What it has heard and not begun.
    heard: VecDeque<(RunId, Key, Vec<u64>)>,
    run: Option<Run>,
    /// Answers that gather before they are sent.
    gathered: Vec<(RunId, Key, WorkerToNode)>,
    /// What it shares with its node: the run begun last, and up to which run the others are void.
    begun: Option<RunId>,
    void: RunId,
    /// Until when it is stopped, and what comes to it meanwhile.
    paused: Option<Vec<WorkerStep>>,
    /// When the last of what is on its way to it, and from it, arrives.
    hears_until: Time,
    heard_until: Time,
}

/// A task that it runs.
struct Run {
    id: RunId,
    key: Key,
    execution: Execution,
    began: Time,
    children: Vec<ChildRun>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// It has asked to wait, or waits.
    Waiting,
    /// It has asked to go on.
    Resuming,
}

/// A task that its task submitted.
struct ChildRun {
    key: Key,
    state: ChildState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChildState {
    Pending,
    Fetching(ObjectId),
    Done(u64),
    /// It failed or was cancelled.
    Bad,
}

impl Worker {
    pub(crate) fn new() -> Self {
        Self {
            is_ready: false,
            has: VecDeque::new(),
            has_room: false,
            heard: VecDeque::new(),
            run: None,
            gathered: Vec::new(),
            begun: None,
            void: RunId::default(),
            paused: None,
            hears_until: Time::default(),
            heard_until: Time::default(),
        }
    }

    /// The task whose resources it uses.
    pub(crate) fn holds_room_for(&self) -> Option<Key> {
        self.has.front().filter(|_| self.has_room).map(|(_, key)| *key)
    }

    /// Its node sends it a task.
    pub(crate) fn take_run(&mut self, run: RunId, key: Key) {
        assert!(self.is_ready, "a worker runs nothing before it is ready");
        self.has_room |= self.has.is_empty();
        self.has.push_back((run, key));
    }

    /// Its node wants nothing of it any more up to a run, but what it has begun: what it has begun
    /// last, and what it has not.
    pub(crate) fn declare_void(&mut self, last: RunId) -> (Option<RunId>, Vec<Key>) {
        self.void = last;
        let begun = self.begun.unwrap_or_default();
        let is_void = |run: RunId| run > begun && run <= last;
        let void = self.has.iter().filter(|(run, _)| is_void(*run));
        let keys = void.map(|(_, key)| *key).collect();
        self.has.retain(|(run, _)| !is_void(*run));
        self.has_room &= !self.has.is_empty();
        (self.begun, keys)
    }

    fn end_run(&mut self) -> Option<Run> {
        let run = self.run.take()?;
        self.has.retain(|(id, _)| *id != run.id);
        self.has_room &= !self.has.is_empty();
        Some(run)
    }

    /// The task whose answer is missing of the run begun last: that is to blame if it dies now.
    fn to_blame(&self) -> Option<Key> {
        let begun = self.begun?;
        let gathered = self.gathered.iter().map(|(run, key, _)| (*run, *key));
        let unanswered = gathered.chain(self.has.iter().copied());
        unanswered.into_iter().find(|(run, _)| *run == begun).map(|(_, key)| key)
    }

    /// The next run that is not void. From here on it is begun.
    fn begin_next(&mut self) -> Option<(RunId, Key, Vec<u64>)> {
        loop {
            let next = self.heard.pop_front()?;
            if next.0 > self.void {
                self.begun = Some(next.0);
                return Some(next);
            }
        }
    }
}

impl World {
    /// Lets something come to a worker from its node, behind what is on its way already.
    pub(crate) fn after_worker_delay(&mut self, name: WorkerName, step: WorkerStep) {
        let due = self.now + self.dice.micros(10, 150);
        let Some(worker) = self.nodes[name.node].workers.get_mut(&name.worker) else { return };
        worker.hears_until = worker.hears_until.max(due);
        let due = worker.hears_until;
        self.agenda.add(due, Happening::Worker { name, step });
    }

    pub(crate) fn pause_worker(&mut self, name: WorkerName, duration: Duration) {
        let Some(worker) = self.worker(name) else { return };
        if worker.paused.is_none() {
            worker.paused = Some(Vec::new());
            self.after(duration, Happening::Worker { name, step: WorkerStep::GoesOn });
        }
    }

    /// All stopped workers go on.
    pub(crate) fn resume_workers(&mut self) {
        for node in 0..self.nodes.len() {
            let workers: Vec<WorkerId> = self.nodes[node].workers.keys().copied().collect();
            for worker in workers {
                self.on_worker_step(WorkerName { node, worker }, WorkerStep::GoesOn);
            }
        }
    }

    pub(crate) fn on_worker_step(&mut self, name: WorkerName, step: WorkerStep) {
        let Some(worker) = self.worker(name) else { return };
        // What is stopped can still be killed.
        let is_felt =
            matches!(step, WorkerStep::IsKilled { .. } | WorkerStep::Dies | WorkerStep::GoesOn);
        if let Some(postponed) = &mut worker.paused
            && !is_felt
        {
            return postponed.push(step);
        }
        match step {
            WorkerStep::IsSetUp => self.on_worker_set_up(name),
            WorkerStep::Hears(message) => self.on_worker_hears(name, message),
            WorkerStep::Acts(execution) => self.on_task_acts(name, execution),
            WorkerStep::AsksAgain(execution, object) => {
                self.on_task_asks_again(name, execution, object);
            }
            WorkerStep::Returns(execution) => self.on_task_returns(name, execution),
            WorkerStep::IsKilled { dump_stack } => self.on_worker_killed(name, dump_stack),
            WorkerStep::Dies => self.kill_worker(name),
            WorkerStep::GoesOn => {
                for step in worker.paused.take().unwrap_or_default() {
                    self.on_worker_step(name, step);
                }
            }
            WorkerStep::Flushes => self.flush_answers(name),
        }
    }

    /// A worker's process ends, by itself or by somebody who is not its node.
    pub(crate) fn kill_worker(&mut self, name: WorkerName) {
        let blamed = self.worker(name).and_then(|worker| worker.to_blame());
        if let Some(key) = blamed {
            self.ledger.get_mut(key).deaths += 1;
        }
        self.bury_worker(name, "");
    }

    fn on_worker_killed(&mut self, name: WorkerName, dump_stack: bool) {
        self.bury_worker(name, if dump_stack { "in function" } else { "" });
    }

    fn bury_worker(&mut self, name: WorkerName, stack: &str) {
        let death = Death { exit: Exit::Signal(9), stack: stack.into(), ..Death::default() };
        let begun = self.worker(name).and_then(|worker| worker.begun);
        self.tell_node_of(name, Event::WorkerDied { worker: name.worker, begun, death });
        let Some(worker) = self.nodes[name.node].workers.remove(&name.worker) else { return };
        let lost = worker.gathered.iter().map(|(run, key, _)| (*run, *key));
        for (run, key) in lost.chain(worker.has.iter().copied()) {
            if Some(run) != worker.begun {
                self.give_run_back(name.node, key);
            }
        }
    }

    fn on_worker_set_up(&mut self, name: WorkerName) {
        self.nodes[name.node].may_fail_start = true;
        if let Some(worker) = self.worker(name) {
            worker.is_ready = true;
        }
        self.say(name, WorkerToNode::Ready);
    }

    fn on_worker_hears(&mut self, name: WorkerName, message: NodeToWorker) {
        match message {
            NodeToWorker::Run { run, arguments, inputs, .. } => {
                let inputs = inputs.iter().map(value_of).collect();
                let Some(worker) = self.worker(name) else { return };
                worker.heard.push_back((run, decode_key(&arguments), inputs));
                if worker.run.is_none() {
                    self.begin_next_run(name);
                }
            }
            NodeToWorker::Nested(message) => self.on_nested_answer(name, message),
            NodeToWorker::Object { object, value } => {
                self.on_object_came(name, object, value.as_ref());
            }
            NodeToWorker::Granted => self.on_room_granted(name),
            NodeToWorker::TooDeep { .. } => self.on_too_deep(name),
            NodeToWorker::Stop => self.bury_worker(name, ""),
            NodeToWorker::Define { .. }
            | NodeToWorker::Forget { .. }
            | NodeToWorker::MayWait
            | NodeToWorker::Memory(_) => {}
        }
    }

    fn begin_next_run(&mut self, name: WorkerName) {
        let next = self.worker(name).and_then(Worker::begin_next);
        let Some((id, key, came)) = next else { return self.flush_answers(name) };
        let (task, attempt) = self.nodes[name.node].assigned[&key];
        let execution = self.ledger.begin(task, attempt);
        let record = self.ledger.get(key);
        assert_eq!(came, record.inputs, "the inputs of {key:?} are right");
        let before = record.script.before;
        let began = self.now;
        let run = Run { id, key, execution, began, children: Vec::new(), phase: Phase::Running };
        if let Some(worker) = self.worker(name) {
            worker.run = Some(run);
        }
        self.after(before, Happening::Worker { name, step: WorkerStep::Acts(execution) });
    }

    fn on_task_acts(&mut self, name: WorkerName, execution: Execution) {
        let Some(run) = self.run_of(name).filter(|run| run.execution == execution) else { return };
        let key = run.key;
        self.write_lines(name, key);
        let record = self.ledger.get_mut(key);
        let (Act::Raise { times } | Act::Die { times } | Act::Hang { times }) = record.script.act
        else {
            return self.go_on(name);
        };
        if record.acted >= times {
            return self.go_on(name);
        }
        record.acted += 1;
        match record.script.act {
            Act::Raise { .. } => self.raise(name),
            Act::Die { .. } => self.kill_worker(name),
            Act::Hang { .. } | Act::Return => {}
        }
    }

    /// A task that does not fail submits its children, if it has any, and waits for them, or ends.
    fn go_on(&mut self, name: WorkerName) {
        let Some(run) = self.run_of(name) else { return };
        let (key, execution) = (run.key, run.execution);
        let script = self.ledger.get(key).script.clone();
        self.submit_children(name, key);
        if script.waits && !script.children.is_empty() {
            self.ask_to_wait(name);
        } else {
            self.after(
                script.after,
                Happening::Worker { name, step: WorkerStep::Returns(execution) },
            );
        }
    }

    fn submit_children(&mut self, name: WorkerName, parent: Key) {
        let script = self.ledger.get(parent).script.clone();
        let mut last: Option<(Number, Key, u64)> = None;
        for (child, order) in script.children.iter().zip(1..) {
            let before = last.filter(|_| child.follows);
            let dependencies: Vec<_> = before.iter().map(|it| (it.0, Some(it.1))).collect();
            let inputs: Vec<u64> = before.iter().map(|it| it.2).collect();
            let names = before.iter().map(|it| it.0).collect();
            let (kind, script) = (child.kind.clone(), child.script.clone());
            let definition = kind.definition().into();
            let key = self.ledger.open(kind, script, dependencies, inputs);
            let number = DefinitionNumber(order);
            self.say_nested(name, ClientToScheduler::Define { number, definition });
            self.say_nested(
                name,
                ClientToScheduler::Submit {
                    number: Number(u64::from(order)),
                    definition: number,
                    arguments: encode_key(key),
                    dependencies: names,
                },
            );
            last = Some((Number(u64::from(order)), key, self.ledger.get(key).result));
            if let Some(run) = self.run_of(name) {
                run.children.push(ChildRun { key, state: ChildState::Pending });
            }
        }
    }

    fn ask_to_wait(&mut self, name: WorkerName) {
        if let Some(worker) = self.worker(name) {
            worker.has_room = false;
            if let Some(run) = &mut worker.run {
                run.phase = Phase::Waiting;
            }
        }
        self.say(name, WorkerToNode::Waiting);
    }

    fn on_nested_answer(&mut self, name: WorkerName, message: SchedulerToClient) {
        match message {
            SchedulerToClient::Ended { number, ending } => {
                self.on_child_ended(name, number, &ending, false);
            }
            SchedulerToClient::Restored { number, ending } => {
                self.on_child_ended(name, number, &ending, true);
            }
            SchedulerToClient::Allowance(_) | SchedulerToClient::Stalled(_) => {}
            other => panic!("a task got {other:?}"),
        }
    }

    fn on_child_ended(
        &mut self,
        name: WorkerName,
        number: Number,
        ending: &Ending,
        is_again: bool,
    ) {
        let index = usize::try_from(number.0 - 1).expect("few children");
        let Some(run) = self.run_of(name) else { return };
        let key = run.children[index].key;
        self.ledger.end(key, ending, is_again);
        let state = match ending {
            Ending::Done(Value::Inline(bytes)) => {
                assert_eq!(decode_value(bytes).0, self.ledger.get(key).result, "of {key:?}");
                ChildState::Done(decode_value(bytes).0)
            }
            Ending::Done(Value::Stored(stored)) => ChildState::Fetching(stored.object),
            Ending::Failed { .. } | Ending::Cancelled { .. } => ChildState::Bad,
        };
        if let Some(run) = self.run_of(name) {
            // What was read of a value stays read.
            if !matches!(run.children[index].state, ChildState::Done(_)) {
                run.children[index].state = state;
            }
        }
        if let ChildState::Fetching(object) = state {
            self.say(name, WorkerToNode::Fetch { object });
        }
        self.resume_if_children_are_done(name);
    }

    fn on_object_came(&mut self, name: WorkerName, object: ObjectId, value: Option<&Value>) {
        let Some(run) = self.run_of(name) else { return };
        let waits = |child: &&mut ChildRun| child.state == ChildState::Fetching(object);
        let Some(child) = run.children.iter_mut().find(waits) else { return };
        let Some(value) = value.map(value_of) else {
            // It was lost and comes again, or its holder cannot be reached just now.
            let step = WorkerStep::AsksAgain(run.execution, object);
            return self.after(ASK_AGAIN_AFTER, Happening::Worker { name, step });
        };
        child.state = ChildState::Done(value);
        let key = child.key;
        assert_eq!(value, self.ledger.get(key).result, "the value of {key:?} is right");
        self.resume_if_children_are_done(name);
    }

    fn on_task_asks_again(&mut self, name: WorkerName, execution: Execution, object: ObjectId) {
        let waits = |child: &ChildRun| child.state == ChildState::Fetching(object);
        let run = self.run_of(name).filter(|run| run.execution == execution);
        if run.is_some_and(|run| run.children.iter().any(waits)) {
            self.say(name, WorkerToNode::Fetch { object });
        }
    }

    fn resume_if_children_are_done(&mut self, name: WorkerName) {
        let Some(run) = self.run_of(name).filter(|run| run.phase == Phase::Waiting) else { return };
        let is_done =
            |child: &ChildRun| matches!(child.state, ChildState::Done(_) | ChildState::Bad);
        if run.children.iter().all(is_done) {
            run.phase = Phase::Resuming;
            self.say(name, WorkerToNode::Resume);
        }
    }

    fn on_room_granted(&mut self, name: WorkerName) {
        let Some(run) = self.run_of(name) else { return };
        assert_eq!(run.phase, Phase::Resuming, "only who asked goes on");
        run.phase = Phase::Running;
        let (key, execution) = (run.key, run.execution);
        let after = self.ledger.get(key).script.after;
        self.after(after, Happening::Worker { name, step: WorkerStep::Returns(execution) });
    }

    /// Too many wait: the task raises, having its room still.
    fn on_too_deep(&mut self, name: WorkerName) {
        let Some(run) = self.run_of(name) else { return };
        let key = run.key;
        self.note(format_args!("{key:?} may not wait"));
        self.ledger.get_mut(key).went_too_deep = true;
        if let Some(worker) = self.worker(name) {
            worker.has_room = true;
        }
        self.raise(name);
    }

    fn on_task_returns(&mut self, name: WorkerName, execution: Execution) {
        let Some(run) = self.run_of(name).filter(|run| run.execution == execution) else { return };
        let mut children = run.children.iter().map(|child| child.state);
        let key = run.key;
        if children.any(|state| state == ChildState::Bad) {
            return self.raise(name);
        }
        let Some(run) = self.worker(name).and_then(Worker::end_run) else { return };
        let record = self.ledger.get(key);
        let result = encode_value(record.result, execution, record.script.size);
        let ran = self.now.since(run.began);
        self.answer_run(name, &run, WorkerToNode::Finished { run: run.id, result, ran });
    }

    fn raise(&mut self, name: WorkerName) {
        let Some(run) = self.worker(name).and_then(Worker::end_run) else { return };
        self.ledger.get_mut(run.key).raised += 1;
        let ran = self.now.since(run.began);
        let exception = exception_of(run.key);
        self.answer_run(name, &run, WorkerToNode::Raised { run: run.id, exception, ran });
    }

    /// Answers gather while there is more to run; but not what a task says that had children.
    fn answer_run(&mut self, name: WorkerName, run: &Run, answer: WorkerToNode) {
        let gathers = run.children.is_empty() && self.dice.chance(70);
        let delay = self.dice.millis(1, 9);
        let Some(worker) = self.worker(name) else { return };
        worker.gathered.push((run.id, run.key, answer));
        if gathers {
            self.after(delay, Happening::Worker { name, step: WorkerStep::Flushes });
        } else {
            self.flush_answers(name);
        }
        self.begin_next_run(name);
    }

    fn flush_answers(&mut self, name: WorkerName) {
        let Some(worker) = self.worker(name) else { return };
        for (_, _, answer) in std::mem::take(&mut worker.gathered) {
            self.say(name, answer);
        }
    }

    fn write_lines(&mut self, name: WorkerName, key: Key) {
        for line in 0..self.ledger.get(key).script.lines {
            let bytes = Bytes::from(format!("line {line} of {}\n", key.0));
            let event = Event::WorkerWrote {
                worker: name.worker,
                stream: Stream::Stdout,
                run: self.run_of(name).map(|run| run.id),
                bytes,
            };
            self.tell_node_of(name, event);
        }
    }

    fn say_nested(&mut self, name: WorkerName, message: ClientToScheduler) {
        self.say(name, WorkerToNode::Nested(message));
    }

    fn say(&mut self, name: WorkerName, message: WorkerToNode) {
        // What has gathered goes first.
        self.flush_answers(name);
        self.tell_node_of(name, Event::FromWorker { worker: name.worker, message });
    }

    /// Lets a node hear of a worker, after what it was to hear of it before.
    fn tell_node_of(&mut self, name: WorkerName, event: Event) {
        let due = self.now + self.dice.micros(10, 150);
        let Some(worker) = self.worker(name) else { return };
        worker.heard_until = worker.heard_until.max(due);
        let due = worker.heard_until;
        self.agenda.add(due, Happening::NodeHears { node: name.node, event });
    }

    fn worker(&mut self, name: WorkerName) -> Option<&mut Worker> {
        self.nodes[name.node].workers.get_mut(&name.worker)
    }

    fn run_of(&mut self, name: WorkerName) -> Option<&mut Run> {
        self.worker(name)?.run.as_mut()
    }
}

fn value_of(value: &Value) -> u64 {
    match value {
        Value::Inline(bytes) => decode_value(bytes).0,
        Value::Stored(stored) => panic!("{:?} has no bytes", stored.object),
    }
}

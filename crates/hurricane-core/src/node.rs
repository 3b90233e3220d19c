//! The node: runs what it was assigned in its workers, within its resources. It knows tasks and
//! workers, and no process.

use bytes::Bytes;

use crate::budget::Budget;
use crate::id::{NodeId, ObjectId, ObjectNumber, RunId, WorkerId};
use crate::message::{
    Death, NodeToScheduler, NodeToWorker, SchedulerToNode, Stream, Value, WorkerToNode,
};
use crate::resources::Resources;
use crate::time::{Time, earliest};

mod assignment;
mod definitions;
mod inputs;
mod nesting;
mod objects;
pub(crate) mod output;
mod queueing;
mod room;
mod runs;
mod starts;
mod supervision;
mod tasks;
mod workers;

use definitions::Definitions;
use objects::Objects;
use queueing::Look;
use room::Room;
use starts::Starts;
use tasks::Tasks;
use workers::Workers;

pub use definitions::QUEUES_AFTER;
pub use nesting::MAX_WAITING;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The scheduler said something.
    FromScheduler(SchedulerToNode),
    /// A worker said something.
    FromWorker {
        /// Which.
        worker: WorkerId,
        /// What.
        message: WorkerToNode,
    },
    /// A worker's process is gone, with its whole tree, and everything it sent was handled before.
    WorkerDied {
        /// Which.
        worker: WorkerId,
        /// The run that it began last, by its own account; none if it never began one.
        begun: Option<RunId>,
        /// What is known of it; the node fills in its own name and the last output.
        death: Death,
    },
    /// A worker will begin nothing more of what it was sent up to a run. In answer to
    /// [`Action::Revoke`].
    Revoked {
        /// Which.
        worker: WorkerId,
        /// Up to this run.
        last: RunId,
        /// The run that it began last, by its own account; none if it never began one.
        begun: Option<RunId>,
    },
    /// A worker's process could not be started.
    WorkerNotStarted {
        /// Which.
        worker: WorkerId,
        /// One sentence.
        reason: Box<str>,
    },
    /// A worker, or a child of it, wrote.
    WorkerWrote {
        /// Which.
        worker: WorkerId,
        /// Where.
        stream: Stream,
        /// During which run, by its own account, if it said so.
        run: Option<RunId>,
        /// What, cut anywhere.
        bytes: Bytes,
    },
    /// An object of another node is in this node's store now, or cannot be had.
    Fetched {
        /// Which.
        object: ObjectId,
        /// Whether it is here.
        is_here: bool,
    },
    /// The deadline has come.
    Tick,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell the scheduler.
    ToScheduler(NodeToScheduler),
    /// Start a worker process. Answered by its `Ready`, `SetupFailed`, or `WorkerDied`.
    StartWorker {
        /// Its name from now on.
        worker: WorkerId,
        /// What it is started for.
        kind: WorkerKind,
    },
    /// Tell a worker.
    ToWorker {
        /// Which.
        worker: WorkerId,
        /// What.
        message: NodeToWorker,
    },
    /// Keep a worker from beginning what it has not begun, up to a run. Answered by `Revoked`, if the
    /// worker is not gone.
    Revoke {
        /// Which.
        worker: WorkerId,
        /// Up to this run, the last that it was sent.
        last: RunId,
    },
    /// End a worker's process and its whole tree. Answered by `WorkerDied`.
    KillWorker {
        /// Which.
        worker: WorkerId,
        /// Whether its Python stacks are wanted first.
        dump_stack: bool,
    },
    /// Keep an object in this node's store.
    Store {
        /// Its name from now on.
        object: ObjectNumber,
        /// What it is.
        bytes: Bytes,
    },
    /// Remove an object from this node's store: its own, or a copy that was fetched.
    Drop {
        /// Which.
        object: ObjectId,
    },
    /// Copy an object of another node into this node's store. Answered by `Fetched`.
    Fetch {
        /// Which.
        object: ObjectId,
    },
}

/// What a worker process serves: libraries read these once, when they are loaded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkerKind {
    /// How many threads a library may start in it: the task's cpus, rounded up.
    pub threads: u64,
    /// The graphics processors it sees, by index.
    pub gpus: Vec<u16>,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its id.
    pub id: NodeId,
    /// What people call it.
    pub name: Box<str>,
    /// What it has. As many workers as it has whole cpus are started ahead.
    pub resources: Resources,
    /// How many runs of a definition must have been short before its tasks are queued in workers; none
    /// if workers have no queues. [`QUEUES_AFTER`] is a good number.
    pub queues_after: Option<u32>,
}

/// Runs what it was assigned.
#[derive(Debug)]
pub struct Node {
    config: Config,
    definitions: Definitions,
    tasks: Tasks,
    room: Room,
    workers: Workers,
    starts: Starts,
    look: Look,
    objects: Objects,
    budget: Budget,
}

/// One call of [`Node::handle`]: when it is, and what it leads to.
struct Step<'a> {
    now: Time,
    actions: &'a mut Vec<Action>,
}

impl Node {
    /// A node with nothing assigned and no workers. Its first deadline is at once: it starts some.
    pub fn new(config: Config) -> Self {
        Self {
            definitions: Definitions::default(),
            tasks: Tasks::default(),
            room: Room::new(&config.resources),
            workers: Workers::new(room::slots(&config.resources)),
            starts: Starts::new(),
            look: Look::default(),
            objects: Objects::new(config.id),
            budget: Budget::new(output::OUTPUT),
            config,
        }
    }

    /// Applies one event at time `now`, and appends to `actions` what must be done about it.
    pub fn handle(&mut self, now: Time, event: Event, actions: &mut Vec<Action>) {
        self.handle_all(now, [event], actions);
    }

    /// Applies what happened at once, in its order: what has become possible by all of it is looked
    /// for one time.
    pub fn handle_all(
        &mut self,
        now: Time,
        events: impl IntoIterator<Item = Event>,
        actions: &mut Vec<Action>,
    ) {
        let mut step = Step { now, actions };
        for event in events {
            self.apply(event, &mut step);
        }
        self.settle(&mut step);
    }

    /// Makes an object of what a client beside this node puts, if it is too large for a message.
    pub fn keep(&mut self, bytes: Bytes, actions: &mut Vec<Action>) -> Value {
        self.value_of(bytes, actions)
    }

    /// When [`Event::Tick`] is due if nothing else happens first.
    pub fn deadline(&self) -> Option<Time> {
        let supervision = earliest(self.workers.next_expiry(), self.workers.next_surplus());
        let look = earliest(self.starts.deadline(), self.look.deadline());
        earliest(look, supervision)
    }

    /// Whether there is something to run beyond what the workers have.
    pub fn has_ready_tasks(&self) -> bool {
        !self.tasks.has_no_ready()
    }

    /// Whether nothing is assigned, no worker is busy, and no object or definition is held.
    pub fn is_idle(&self) -> bool {
        let holds_nothing = |worker: &workers::Worker| worker.held().is_none();
        self.tasks.is_empty()
            && self.definitions.is_empty()
            && self.objects.is_empty()
            && self
                .workers
                .iter()
                .all(|(_, worker)| worker.runs.is_empty() && holds_nothing(worker))
    }

    /// Panics if the state contradicts itself. For tests.
    pub fn sanity_check(&self) {
        self.tasks.sanity_check();
        self.workers.sanity_check();
        let copies = self
            .tasks
            .iter()
            .flat_map(|(id, task)| task.copies.iter().map(move |object| (*object, id)));
        self.objects.sanity_check(copies);
        let placed = self.tasks.iter().filter_map(|(_, task)| match &task.state {
            tasks::State::Placed(grant) => Some(grant),
            _ => None,
        });
        let held = self.workers.iter().filter_map(|(_, worker)| worker.held());
        self.room.sanity_check(&self.config.resources, placed.chain(held));
        self.check_runs();
    }

    /// Panics unless tasks and the workers that have them name each other.
    fn check_runs(&self) {
        let mut running = 0;
        for (id, worker) in self.workers.iter() {
            for run in worker.runs.iter().filter(|run| run.wish != workers::Wish::Abandoned) {
                running += 1;
                let state = self.tasks.of_attempt(run.task, run.attempt).map(|task| &task.state);
                let is_its_own =
                    matches!(state, Some(tasks::State::Running(runner)) if *runner == id);
                assert!(is_its_own, "worker {id} has task {}, which is {state:?}", run.task);
            }
        }
        let is_running = |task: &tasks::Task| matches!(task.state, tasks::State::Running(_));
        let expected = self.tasks.iter().filter(|(_, task)| is_running(task)).count();
        assert_eq!(running, expected, "each running task has its worker");
    }

    fn apply(&mut self, event: Event, step: &mut Step) {
        match event {
            Event::FromScheduler(message) => self.on_scheduler_said(message, step),
            Event::FromWorker { worker, message } => self.on_worker_said(worker, message, step),
            Event::WorkerDied { worker, begun, death } => {
                self.on_worker_died(worker, begun, death, step);
            }
            Event::Revoked { worker, last, begun } => {
                self.on_queue_revoked(worker, last, begun, step);
            }
            Event::WorkerNotStarted { worker, reason } => {
                self.on_worker_not_started(worker, &reason, step);
            }
            Event::WorkerWrote { worker, stream, run, bytes } => {
                self.on_worker_wrote(worker, (stream, run), &bytes, step);
            }
            Event::Fetched { object, is_here } => self.on_object_fetched(object, is_here, step),
            Event::Tick => self.on_ticked(step),
        }
    }

    fn on_scheduler_said(&mut self, message: SchedulerToNode, step: &mut Step) {
        match message {
            SchedulerToNode::Define { id, definition } => self.on_defined(id, *definition),
            SchedulerToNode::Forget { id } => self.on_forgotten(id, step),
            SchedulerToNode::Assign { task, attempt, definition, arguments, inputs } => {
                let assignment =
                    assignment::Assignment { task, attempt, definition, arguments, inputs };
                self.on_task_assigned(assignment, step);
            }
            SchedulerToNode::TakeBack { task, attempt } => {
                self.on_task_wanted_back(task, attempt, step);
            }
            SchedulerToNode::Cancel { task, attempt } => {
                self.on_task_cancelled(task, attempt, step);
            }
            SchedulerToNode::Drop { objects } => self.on_objects_dropped(&objects, step),
            SchedulerToNode::Nested { task, attempt, message } => {
                self.on_nested_answered(task, attempt, message, step);
            }
        }
    }

    fn on_worker_said(&mut self, worker: WorkerId, message: WorkerToNode, step: &mut Step) {
        match message {
            WorkerToNode::Ready => self.on_worker_ready(worker, step),
            WorkerToNode::SetupFailed { error } => self.on_setup_failed(worker, error, step),
            WorkerToNode::Finished { run, result, ran } => {
                self.on_run_finished(worker, run, result, ran, step);
            }
            WorkerToNode::Raised { run, exception, ran } => {
                self.on_run_raised(worker, run, exception, ran, step);
            }
            WorkerToNode::Nested(message) => self.on_nested_said(worker, message, step),
            WorkerToNode::Fetch { object } => self.on_object_asked(worker, object, step),
            WorkerToNode::Waiting => self.on_run_waiting(worker, step),
            WorkerToNode::Resume => self.on_run_resuming(worker),
            // It never gets here.
            WorkerToNode::Memory(_) => {}
        }
    }

    fn on_ticked(&mut self, step: &mut Step) {
        self.starts.on_tick(step.now);
        self.end_expired_runs(step);
        self.look_at_queues(step);
    }

    /// Does what has become possible. Runs that waited come before tasks that have not started, so
    /// that what is begun ends; tasks start in the order of their assignment, but one that has no
    /// room holds up nobody.
    fn settle(&mut self, step: &mut Step) {
        self.resume_runs(step);
        self.serve_placed_tasks(step);
        self.share_queues(step);
        self.place_ready_tasks(step);
        self.queue_ready_tasks(step);
        self.stop_surplus_workers(step);
        self.start_missing_workers(step);
    }
}

impl Step<'_> {
    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn tell_scheduler(&mut self, message: NodeToScheduler) {
        self.act(Action::ToScheduler(message));
    }

    fn tell_worker(&mut self, worker: WorkerId, message: NodeToWorker) {
        self.act(Action::ToWorker { worker, message });
    }
}

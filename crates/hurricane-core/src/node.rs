//! The node: runs what it was assigned in its workers, within its resources. It knows tasks and
//! workers, and no process.

use bytes::Bytes;

use crate::id::{NodeId, ObjectId, ObjectNumber, WorkerId};
use crate::message::{
    Death, NodeToScheduler, NodeToWorker, SchedulerToNode, Stream, WorkerToNode,
};
use crate::resources::Resources;
use crate::time::Time;

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
        /// What is known of it; the node fills in its own name and the last output.
        death: Death,
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
}

/// Runs what it was assigned.
#[derive(Debug)]
pub struct Node {
    config: Config,
}

impl Node {
    /// A node with nothing assigned and no workers. Its first deadline is at once: it starts some.
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// Applies one event at time `now`, and appends to `actions` what must be done about it.
    pub fn handle(&mut self, now: Time, event: Event, actions: &mut Vec<Action>) {
        let _ = (now, event, actions);
    }

    /// When [`Event::Tick`] is due if nothing else happens first.
    pub fn deadline(&self) -> Option<Time> {
        None
    }

    /// Panics if the state contradicts itself. For tests.
    pub fn sanity_check(&self) {}
}

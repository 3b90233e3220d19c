//! What clients, scheduler, nodes and workers say to each other, named by direction.
//!
//! Functions, arguments and results are opaque bytes here: nothing in the core looks into them.

use core::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{
    Attempt, DefinitionId, DefinitionNumber, Number, ObjectId, ObjectNumber, RunId, TaskId,
};
use crate::resources::Resources;

/// Results and objects up to this size travel inside messages; larger ones stay in the store of the
/// node that has them. Copying 64 KiB costs about what one wake-up does.
pub const INLINE_LIMIT_BYTES: usize = 64 << 10;

/// How long a definition's name may be, in bytes. It is shown to people, in one line.
pub const MAX_NAME_BYTES: usize = 256;

/// How many tasks or objects one task may depend on. Each is held and checked by the scheduler.
pub const MAX_DEPENDENCIES: usize = 100_000;

/// What many tasks have in common: a function and how to run it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The pickled function.
    pub function: Bytes,
    /// What people call it, at most [`MAX_NAME_BYTES`].
    pub name: Box<str>,
    /// What one task of it needs while it runs.
    pub resources: Resources,
    /// How often a task of it runs again after an exception of its own or a timeout.
    pub retries: u32,
    /// The longest one attempt may run.
    pub timeout: Option<Duration>,
    /// Larger first, within one client.
    pub priority: i32,
}

/// A result, or an object that was put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// The bytes themselves, at most [`INLINE_LIMIT_BYTES`].
    Inline(Bytes),
    /// Where larger bytes are.
    Stored(Stored),
}

/// An object in a node's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The object, which names the node.
    pub object: ObjectId,
    /// Its size.
    pub size_bytes: u64,
}

/// How a task ended. There is exactly one for each task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// It returned.
    Done(Value),
    /// It did not; `cause` is the task it depended on, if that one failed in its place.
    Failed {
        /// Why.
        failure: Box<Failure>,
        /// The task of this client whose failure this was first.
        cause: Option<Cause>,
    },
    /// It was cancelled; `cause` is the task it depended on, if that one was cancelled.
    Cancelled {
        /// The task of this client that was cancelled first.
        cause: Option<Cause>,
    },
}

/// The task from which another took its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Which.
    pub number: Number,
    /// The name of its definition.
    pub name: Box<str>,
}

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// The function raised: the worker's opaque description of the exception.
    Raised(Bytes),
    /// An attempt ran longer than its definition's timeout.
    TimedOut {
        /// The timeout.
        limit: Duration,
        /// Where the Python threads of the worker were then, or nothing.
        stack: Box<str>,
    },
    /// Its worker died under it too often.
    WorkerLost {
        /// What is known of each death, oldest first.
        deaths: Vec<Death>,
        /// Whether other tasks lived on meanwhile, so that this one is to blame.
        is_poison: bool,
    },
    /// No node could ever run it.
    Infeasible {
        /// What it asks for.
        asked: Resources,
        /// The most that one node has.
        most: Resources,
    },
    /// An object that it needs is gone and cannot be computed again.
    ObjectLost,
    /// More than `limit` tasks of a node would wait for their children at once.
    NestedTooDeep {
        /// The limit.
        limit: u32,
    },
    /// Workers cannot be set up: the opaque description of the exception, or of the death.
    SetupFailed(Bytes),
    /// The message that submitted it was not acceptable; says why.
    Refused(Box<str>),
    /// The scheduler is gone, or is another that knows nothing of it; says what happened. A client
    /// says this to itself: no message carries it.
    SchedulerLost(Box<str>),
}

/// What is known of the end of a worker that died.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// The name of the node it ran under.
    pub node: Box<str>,
    /// How the process ended.
    pub exit: Exit,
    /// The largest resident memory it ever had.
    pub peak_memory_bytes: u64,
    /// The last lines it wrote, both streams.
    pub last_output: Box<str>,
    /// Where its Python threads were, or nothing.
    pub stack: Box<str>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// By `exit` with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody could learn how.
    #[default]
    Unknown,
}

/// Where a task wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Whole lines that a task wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Where to.
    pub stream: Stream,
    /// The lines, each with its line feed.
    pub text: Bytes,
    /// How many lines before these were dropped because they came faster than they could be sent.
    pub dropped_lines: u64,
}

/// From a client, or from a running task in the part of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientToScheduler {
    /// Names a definition, for the tasks that follow.
    Define {
        /// Its name from now on.
        number: DefinitionNumber,
        /// What it is.
        definition: Box<Definition>,
    },
    /// No further task will name this definition.
    Forget {
        /// Which.
        number: DefinitionNumber,
    },
    /// Submits a task. Answered by one [`SchedulerToClient::Ended`].
    Submit {
        /// Its name from now on.
        number: Number,
        /// What to run.
        definition: DefinitionNumber,
        /// The pickled arguments, in which the dependencies stand as indices into `dependencies`.
        arguments: Bytes,
        /// Tasks and objects of this client whose values the arguments name.
        dependencies: Vec<Number>,
    },
    /// Makes an object of a value. Not answered.
    Put {
        /// Its name from now on.
        number: Number,
        /// What it is.
        value: Value,
    },
    /// Cancels a task, running or not. Answered by its end, which is another if it came first.
    Cancel {
        /// Which.
        number: Number,
    },
    /// Cancels every task of this client that does not run yet.
    CancelWaiting,
    /// The client will not name these any more: their values may go.
    Release {
        /// Tasks that have ended, and objects.
        numbers: Vec<Number>,
    },
}

/// To a client, or to a running task in the part of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SchedulerToClient {
    /// A task ended. It is remembered until the client releases it.
    Ended {
        /// Which.
        number: Number,
        /// How.
        ending: Ending,
    },
    /// A task wrote something: one of this client, or a nested one below it.
    Output {
        /// Which, as its own client names it.
        number: Number,
        /// The name of its definition.
        name: Box<str>,
        /// The name of the node where it runs.
        node: Box<str>,
        /// What.
        output: Box<Output>,
    },
    /// The stored result of an ended task was lost with its node, and the task has run again.
    Restored {
        /// Which.
        number: Number,
        /// How it ended this time.
        ending: Ending,
    },
    /// How much the client may submit in all since it joined. It grows as tasks end.
    Allowance(Allowance),
    /// No worker can be set up, now and later: everything submitted fails so.
    SetupFailed {
        /// The opaque description of the exception, or of the death.
        error: Bytes,
    },
    /// Tasks are ready and none has started for a while.
    Stalled(Stall),
}

/// Totals since the client joined: a client waits rather than exceed either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Tasks and objects.
    pub tasks: u64,
    /// Bytes of arguments and of objects that travel inside messages.
    pub bytes: u64,
}

/// What ready tasks wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stall {
    /// There are no nodes.
    NoNodes,
    /// The first of them asks for what is in use, or for what no node has now.
    NoRoom {
        /// What the first of them asks for.
        asked: Resources,
    },
}

/// From the scheduler to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SchedulerToNode {
    /// Names a definition, for the tasks that follow.
    Define {
        /// Its name from now on.
        id: DefinitionId,
        /// What it is.
        definition: Box<Definition>,
    },
    /// No further task will name this definition, and none that did is left.
    Forget {
        /// Which.
        id: DefinitionId,
    },
    /// Run this task. Answered by `Finished`, `Failed`, `Died`, `TakenBack` or `InputLost`.
    Assign {
        /// Which.
        task: TaskId,
        /// The attempt that this assignment is.
        attempt: Attempt,
        /// What to run.
        definition: DefinitionId,
        /// The pickled arguments.
        arguments: Bytes,
        /// The values of its dependencies, in their order.
        inputs: Vec<Value>,
    },
    /// Give this task back if it has not started. Answered by `TakenBack` or `Kept`, if it is there.
    TakeBack {
        /// Which.
        task: TaskId,
        /// Of which attempt.
        attempt: Attempt,
    },
    /// End this task now, running or not. Not answered.
    Cancel {
        /// Which.
        task: TaskId,
        /// Of which attempt.
        attempt: Attempt,
    },
    /// These objects of this node are needed no more.
    Drop {
        /// Which.
        objects: Vec<ObjectNumber>,
    },
    /// An answer to what a running task said in the part of a client.
    Nested {
        /// The running task.
        task: TaskId,
        /// Its attempt.
        attempt: Attempt,
        /// The answer.
        message: SchedulerToClient,
    },
}

/// From a node to the scheduler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeToScheduler {
    /// A task returned.
    Finished {
        /// Which.
        task: TaskId,
        /// Of which attempt.
        attempt: Attempt,
        /// What it returned.
        value: Value,
        /// How long it ran.
        ran: Duration,
    },
    /// A task raised, timed out or went too deep: an end of this attempt that counts against the
    /// task's retries.
    Failed {
        /// Which.
        task: TaskId,
        /// Of which attempt.
        attempt: Attempt,
        /// Why.
        failure: Box<Failure>,
        /// How long it ran.
        ran: Duration,
    },
    /// The worker died under this task.
    Died {
        /// Which.
        task: TaskId,
        /// Of which attempt.
        attempt: Attempt,
        /// What is known of it.
        death: Box<Death>,
    },
    /// The task had not started and is given back.
    TakenBack {
        /// Which.
        task: TaskId,
        /// Of which attempt.
        attempt: Attempt,
    },
    /// The task had started and goes on here.
    Kept {
        /// Which.
        task: TaskId,
        /// Of which attempt.
        attempt: Attempt,
    },
    /// A running task waits for its children: its resources are free for others.
    Waiting {
        /// Which.
        task: TaskId,
        /// Of which attempt.
        attempt: Attempt,
    },
    /// A task that waited runs again.
    Resumed {
        /// Which.
        task: TaskId,
        /// Of which attempt.
        attempt: Attempt,
    },
    /// A value that the task needs could not be had from the node that holds it. The task is given
    /// back.
    InputLost {
        /// Which.
        task: TaskId,
        /// Of which attempt.
        attempt: Attempt,
        /// The missing one.
        object: ObjectId,
    },
    /// A task wrote something.
    Output {
        /// Which.
        task: TaskId,
        /// Of which attempt.
        attempt: Attempt,
        /// What.
        output: Output,
    },
    /// A running task speaks in the part of a client.
    Nested {
        /// The running task.
        task: TaskId,
        /// Its attempt.
        attempt: Attempt,
        /// What it says.
        message: ClientToScheduler,
    },
    /// No worker can be set up here.
    SetupFailed {
        /// The opaque description of the exception, or of the death.
        error: Bytes,
    },
}

/// From a node to one of its workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeToWorker {
    /// Names a function, for the runs that follow.
    Define {
        /// Its name from now on.
        id: DefinitionId,
        /// What people call it.
        name: Box<str>,
        /// The pickled function.
        function: Bytes,
    },
    /// No further run will name this function.
    Forget {
        /// Which.
        id: DefinitionId,
    },
    /// Run this. Answered by `Finished` or `Raised`.
    Run {
        /// Its name from now on.
        run: RunId,
        /// What to call.
        definition: DefinitionId,
        /// The pickled arguments.
        arguments: Bytes,
        /// The values of its dependencies. The runtime puts the bytes of stored ones in their place.
        inputs: Vec<Value>,
    },
    /// An answer to what the running task said in the part of a client.
    Nested(SchedulerToClient),
    /// The value asked for by `Fetch`, in whose place the runtime puts its bytes; none if it is gone.
    Object {
        /// Which.
        object: ObjectId,
        /// The value.
        value: Option<Value>,
    },
    /// The task has given its resources back and may wait. In answer to `Waiting`.
    MayWait,
    /// The task that waited has its resources again, after `Resume`.
    Granted,
    /// The task may not wait: too many do. In answer to `Waiting`.
    TooDeep {
        /// How many may.
        limit: u32,
    },
    /// End, once nothing runs.
    Stop,
    /// What the runtimes of both ends have to say about shared memory. The runtime's own: neither
    /// machine says or hears it.
    Memory(Bytes),
}

/// From a worker to its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerToNode {
    /// It is set up and takes runs.
    Ready,
    /// Its setup failed and it ends: the opaque description of the exception.
    SetupFailed {
        /// The description.
        error: Bytes,
    },
    /// The run returned.
    Finished {
        /// Which.
        run: RunId,
        /// The pickled result.
        result: Bytes,
        /// How long the call took.
        ran: Duration,
    },
    /// The run raised.
    Raised {
        /// Which.
        run: RunId,
        /// The opaque description of the exception.
        exception: Bytes,
        /// How long the call took.
        ran: Duration,
    },
    /// The running task speaks in the part of a client.
    Nested(ClientToScheduler),
    /// The running task wants the value of an object.
    Fetch {
        /// Which.
        object: ObjectId,
    },
    /// The running task would wait for its children. Answered by `MayWait` or `TooDeep`.
    Waiting,
    /// The running task would go on. Answered by `Granted`.
    Resume,
    /// What the runtimes of both ends have to say about shared memory. The runtime's own: neither
    /// machine says or hears it.
    Memory(Bytes),
}

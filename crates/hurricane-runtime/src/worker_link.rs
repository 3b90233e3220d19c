//! A worker process's end of the link to its node.
//!
//! The main thread reads the link itself, which costs the fewest wake-ups. Once a task speaks in the
//! part of a client, a thread takes the reading over: answers must arrive while the task runs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use std::{io, mem};

use bytes::Bytes;
use hurricane_core::id::{DefinitionId, RunId};
use hurricane_core::message::{NodeToWorker, Stream, Value, WorkerToNode};

use crate::client::{Connection, ConnectionError, Handle};
use crate::ledger::{self, WorkerLedger};
use crate::link::{self, Hello, Incoming};
use crate::platform::fork::Unshared;
use crate::platform::machine;
use crate::platform::parent;
use crate::platform::signals::Mask;
use crate::platform::standard_output;
use crate::store::exchange::WithNode;
use crate::store::shared::SharedMemory;
use crate::store::{self, container};

pub use crate::store::container::Part;
use nesting::{Nesting, TaskSink};
use sender::Sender;

mod nesting;
mod sender;

/// A worker process's link to its node. Made once, by the worker's main thread, first thing.
///
/// `F` is what its connections give back when a task ends: see [`Connection`].
pub struct WorkerLink<F> {
    hello: Hello,
    ledger: WorkerLedger,
    sender: Arc<Sender>,
    nesting: Arc<Nesting>,
    /// The connection of the running task, once it was asked for.
    connection: Mutex<Option<Connection<F>>>,
    /// Held by the main thread while it waits for its next order.
    intake: Mutex<Intake>,
}

/// The main thread's orders.
struct Intake {
    source: Source,
    /// The last of them has come.
    is_over: bool,
}

/// Where they come from.
enum Source {
    /// The main thread reads the link itself.
    Link(Reader),
    /// A thread reads the link.
    Thread(mpsc::Receiver<NodeToWorker>),
}

/// What a message means to the main thread.
enum Next {
    Job(Job),
    /// There will be no more.
    End,
    /// Nothing at all.
    Nothing,
}

struct Reader {
    link: Arc<Unshared>,
    incoming: Incoming,
    memory: Arc<WithNode>,
}

/// What a worker is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Keep a function, for the runs that follow.
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
    /// Call it. Answered by [`WorkerLink::finished`] or [`WorkerLink::raised`].
    Run {
        /// Its name.
        run: RunId,
        /// What to call.
        definition: DefinitionId,
        /// The pickled arguments.
        arguments: Bytes,
        /// The values of its dependencies.
        inputs: Vec<Bytes>,
    },
}

/// Why a worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerLinkError {
    /// Standard input is no link, or the node that started this process is gone.
    #[error("this process was not started by a hurricane node")]
    NoNode(#[source] std::io::Error),
    /// The node is gone. The process ends in a moment.
    #[error("the node is gone")]
    NodeGone,
}

/// Why a task may not wait for its children.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// Too many tasks of the node wait already.
    #[error("more than {limit} tasks of a node would wait for their children at once")]
    TooDeep {
        /// How many may.
        limit: u32,
    },
    /// The node is gone, or no task runs.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl<F: Handle> WorkerLink<F> {
    /// Takes the link over from standard input and makes the process a worker: own session, no new
    /// privileges, no core dumps, higher OOM score, and a thread that ends the process and its tree
    /// when the node is gone. Waits for the node's first frame.
    pub fn take() -> Result<Self, WorkerLinkError> {
        Self::take_over().map_err(WorkerLinkError::NoNode)
    }

    fn take_over() -> io::Result<Self> {
        parent::become_worker()?;
        standard_output::send_lines();
        let link = Arc::new(Unshared::new(parent::take_standard_input()?));
        let ledger = ledger::receive(&link)?;
        let mut incoming = Incoming::new();
        let hello: Hello = link::next_message(&link, &mut incoming)?;
        parent::watch(hello.node_process, Arc::clone(&link))?;
        let memory = SharedMemory::new(store::warm_bytes(2 * machine::cpus()));
        let memory = Arc::new(WithNode::new(memory));
        let sender = Arc::new(Sender::new(Arc::clone(&link), Arc::clone(&memory)));
        Ok(Self {
            hello,
            ledger,
            nesting: Arc::new(Nesting::new(Arc::clone(&sender))),
            sender,
            connection: Mutex::new(None),
            intake: Intake {
                source: Source::Link(Reader { link, incoming, memory }),
                is_over: false,
            }
            .into(),
        })
    }

    /// The opaque setup of [`crate::LocalConfig`].
    pub fn setup(&self) -> Bytes {
        self.hello.setup.clone()
    }

    /// The name of the node.
    pub fn node_name(&self) -> &str {
        &self.hello.node_name
    }

    /// The file to which the worker is to write its stacks.
    pub fn stack_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.hello.stack_path))
    }

    /// The signal on which the worker is to write the stacks of all its threads.
    pub fn stack_signal(&self) -> i32 {
        self.hello.stack_signal
    }

    /// The worker is set up and takes runs.
    pub fn ready(&self) -> Result<(), WorkerLinkError> {
        self.send(&WorkerToNode::Ready)
    }

    /// The worker's setup failed and it ends.
    pub fn setup_failed(&self, error: Bytes) -> Result<(), WorkerLinkError> {
        self.send(&WorkerToNode::SetupFailed { error })
    }

    /// The next thing to do; waits for it, after it has sent what has gathered. None: end. For the
    /// main thread only.
    pub fn receive(&self) -> Result<Option<Job>, WorkerLinkError> {
        self.sender.check_process().map_err(|_| WorkerLinkError::NodeGone)?;
        self.flush()?;
        let mut intake = lock(&self.intake);
        loop {
            match self.job_of(intake.next().ok_or(WorkerLinkError::NodeGone)?) {
                Next::Job(job) => return Ok(Some(job)),
                Next::End => return Ok(None),
                // What it named is given back, before this waits on.
                Next::Nothing => self.flush()?,
            }
        }
    }

    /// The next thing to do, if it has come already: then this does not wait, and what has gathered
    /// is sent in time.
    pub fn receive_now(&self) -> Option<Job> {
        self.sender.check_process().ok()?;
        let mut intake = lock(&self.intake);
        while let Some(message) = intake.next_here() {
            match self.job_of(message) {
                Next::Job(job) => {
                    self.sender.mind();
                    return Some(job);
                }
                // It is seen when nothing is left to do.
                Next::End => intake.is_over = true,
                Next::Nothing => {}
            }
        }
        None
    }

    /// Makes one value of parts, in memory that is shared with the node if it is large. What the run
    /// was given and has not written to is not copied.
    pub fn gather(&self, parts: &[Part<'_>]) -> Bytes {
        container::gather(Some(self.sender.memory()), parts)
    }

    /// Whether an input is a view that belongs to the run alone, which may write to it.
    pub fn is_own_view(&self, input: &Bytes) -> bool {
        self.sender.memory().is_own_view(input)
    }

    /// The run returned.
    pub fn finished(
        &self,
        run: RunId,
        result: Bytes,
        ran: Duration,
    ) -> Result<(), WorkerLinkError> {
        self.end_run();
        self.send(&WorkerToNode::Finished { run, result, ran })
    }

    /// The run raised.
    pub fn raised(
        &self,
        run: RunId,
        exception: Bytes,
        ran: Duration,
    ) -> Result<(), WorkerLinkError> {
        self.end_run();
        self.send(&WorkerToNode::Raised { run, exception, ran })
    }

    /// As [`Self::finished`], but the answer may wait for others until the next [`Self::flush`] or
    /// [`Self::receive`]; whether it is time for that.
    pub fn finished_for_now(&self, run: RunId, result: Bytes, ran: Duration, now: Instant) -> bool {
        let is_urgent = self.end_run();
        if self.sender.check_process().is_err() {
            return false;
        }
        self.sender.gather(&WorkerToNode::Finished { run, result, ran }, now) || is_urgent
    }

    /// Says that what is written next to an output is that of this run, or of none.
    pub fn mark_output(&self, stream: Stream, run: Option<RunId>) {
        if !self.is_forked() {
            standard_output::write_mark(stream, &self.hello.nonce.mark(run));
        }
    }

    /// Whether answers have gathered.
    pub fn has_gathered(&self) -> bool {
        !self.is_forked() && self.sender.has_gathered()
    }

    /// Sends what has gathered.
    pub fn flush(&self) -> Result<(), WorkerLinkError> {
        self.sender.flush().map_err(|_| WorkerLinkError::NodeGone)
    }

    /// Whether this is a forked child of the worker, which has no link.
    pub fn is_forked(&self) -> bool {
        self.sender.check_process().is_err()
    }

    /// The connection of the running task in the part of a client; each call, the same one within
    /// a run. It closes when the run ends. Fails with `Closed` when no task runs.
    pub fn connect(&self) -> Result<Connection<F>, ConnectionError> {
        self.sender.check_process()?;
        let mut connection = lock(&self.connection);
        self.listen_for_answers()?;
        if let Some(open) = &*connection {
            return Ok(open.clone());
        }
        let (made, mailbox) = Connection::open(Box::new(TaskSink::new(&self.nesting)));
        self.nesting.open_mailbox(mailbox)?;
        // The scheduler knows the task as a client, and grants it something, from its first message
        // on. This one asks for nothing.
        made.cancel_waiting()?;
        Ok(connection.insert(made).clone())
    }

    /// The running task waits for its children from now on. Those of its threads that wait at the
    /// same time wait as one.
    pub fn wait_begin(&self) -> Result<(), WaitError> {
        self.sender.check_process()?;
        self.listen_for_answers()?;
        self.nesting.wait_begin()
    }

    /// The task would go on; returns when it has its resources again.
    pub fn wait_end(&self) -> Result<(), WaitError> {
        self.sender.check_process()?;
        self.nesting.wait_end()
    }

    /// The task does not wait any longer for what did not come: it goes on at once, and has its
    /// resources when there is room. For who holds them may never end, if not for this task.
    pub fn wait_break_off(&self) -> Result<(), WaitError> {
        self.sender.check_process()?;
        self.nesting.wait_break_off()
    }

    fn send(&self, message: &WorkerToNode) -> Result<(), WorkerLinkError> {
        self.sender.send(message).map_err(|_| WorkerLinkError::NodeGone)
    }

    /// What a message means to the main thread. A run begins here, unless it is void.
    fn job_of(&self, message: NodeToWorker) -> Next {
        match message {
            NodeToWorker::Define { id, name, function } => {
                Next::Job(Job::Define { id, name, function })
            }
            NodeToWorker::Forget { id } => Next::Job(Job::Forget { id }),
            NodeToWorker::Run { run, .. } if !self.ledger.begin(run) => Next::Nothing,
            NodeToWorker::Run { run, definition, arguments, inputs } => {
                self.nesting.begin_run();
                let inputs = inputs.into_iter().map(bytes_of).collect();
                Next::Job(Job::Run { run, definition, arguments, inputs })
            }
            NodeToWorker::Stop => Next::End,
            // They are for a task that has ended before they came.
            NodeToWorker::Nested(_)
            | NodeToWorker::Object { .. }
            | NodeToWorker::MayWait
            | NodeToWorker::Granted
            | NodeToWorker::TooDeep { .. }
            | NodeToWorker::Memory(_) => Next::Nothing,
        }
    }

    /// What C code has printed goes out first: its lines must not follow the task's end. And nothing
    /// is locked in a forked child that got here with its parent's task. True if the task has spoken
    /// with the node: then its end must not be lost, for it could not run again.
    fn end_run(&self) -> bool {
        standard_output::flush();
        if self.sender.check_process().is_err() {
            return false;
        }
        let has_spoken = self.nesting.end_run();
        if has_spoken {
            *lock(&self.connection) = None;
        }
        has_spoken
    }

    /// Has a thread read the link from now on, if a task runs: the main thread runs it, and so reads
    /// nothing now.
    fn listen_for_answers(&self) -> Result<(), ConnectionError> {
        let running = self.nesting.running()?;
        let mut intake = lock(&self.intake);
        if let Source::Link(reader) = &mut intake.source {
            let (orders, received) = mpsc::channel();
            let incoming = mem::replace(&mut reader.incoming, Incoming::new());
            let (link, memory) = (Arc::clone(&reader.link), Arc::clone(&reader.memory));
            let reader = Reader { link, incoming, memory };
            let nesting = Arc::clone(&self.nesting);
            let mask = Mask::block_all();
            let started = thread::Builder::new()
                .name("hurricane-link".into())
                .spawn(move || listen(reader, &orders, &nesting));
            mask.apply();
            started.map_err(|_| ConnectionError::Closed)?;
            intake.source = Source::Thread(received);
        }
        drop(running);
        Ok(())
    }
}

impl Intake {
    /// The next one; waits for it. None if the node is gone.
    fn next(&mut self) -> Option<NodeToWorker> {
        if self.is_over {
            return Some(NodeToWorker::Stop);
        }
        match &mut self.source {
            Source::Link(reader) => reader.next().ok(),
            Source::Thread(orders) => orders.recv().ok(),
        }
    }

    /// The next one, if it is here.
    fn next_here(&mut self) -> Option<NodeToWorker> {
        if self.is_over {
            return None;
        }
        match &mut self.source {
            Source::Link(reader) => reader.next_here().unwrap_or_else(|_| {
                // Whatever follows what is no message is none either.
                self.is_over = true;
                None
            }),
            Source::Thread(orders) => orders.try_recv().ok(),
        }
    }
}

impl Reader {
    /// The next one, if it is here.
    fn next_here(&mut self) -> io::Result<Option<NodeToWorker>> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        while let Some(message) = self.incoming.next_message().map_err(invalid)? {
            if let Some(message) = self.memory.receive(message, &mut self.incoming)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    fn next(&mut self) -> io::Result<NodeToWorker> {
        loop {
            let message = link::next_message(&self.link, &mut self.incoming)?;
            if let Some(message) = self.memory.receive(message, &mut self.incoming)? {
                return Ok(message);
            }
        }
    }
}

impl<F> std::fmt::Debug for WorkerLink<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("WorkerLink")
            .field("node", &self.hello.node_name)
            .finish_non_exhaustive()
    }
}

/// Reads the link until it ends: orders go to the main thread, answers to who waits for them.
fn listen(mut reader: Reader, orders: &mpsc::Sender<NodeToWorker>, nesting: &Nesting) {
    while let Ok(message) = reader.next() {
        if let Some(order) = nesting.deliver(message) {
            // The main thread has ended its loop: then the process ends.
            let _ = orders.send(order);
        }
    }
    nesting.end();
}

/// The bytes of stored values have been put in their place.
fn bytes_of(input: Value) -> Bytes {
    match input {
        Value::Inline(bytes) => bytes,
        Value::Stored(_) => Bytes::new(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

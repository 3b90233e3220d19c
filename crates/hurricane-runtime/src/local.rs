//! A cluster on one machine: scheduler and node in a thread of this process, workers beside it, and
//! no network at all.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::{io, mem};

use bytes::Bytes;
use hurricane_core::id::{ClientId, WorkerId};
use hurricane_core::node::{Action, MAX_WAITING};
use hurricane_core::resources::{Amount, Resources};
use hurricane_core::scheduler;
use hurricane_core::snapshot::Snapshot;

use crate::client::{Connection, ConnectionError, Handle, Mailboxes};
use crate::inbox::Inbox;
use crate::platform::descriptors;
use crate::platform::directories::OwnDirectory;
use crate::platform::fork::ProcessMark;
use crate::platform::machine;
use crate::platform::signals::Mask;
use crate::store::Store;
use crate::worker::{Program, Wires, WorkerPids};

use cluster::{Cluster, Input};
use service::Service;
use sink::LocalSink;
use turn::Turning;

pub use crate::platform::descriptors::TooFewDescriptors;
pub use crate::platform::directories::DirectoryError;

mod cluster;
mod service;
mod sink;
mod turn;

/// How a local cluster is to be.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    /// Exactly so many slots of one cpu, or as many as this process may use.
    pub slots: Option<u64>,
    /// Program and arguments that start a worker.
    pub worker_command: Vec<OsString>,
    /// Opaque; each worker gets it from [`crate::WorkerLink::setup`].
    pub setup: Bytes,
}

/// Why there is no local cluster: a sentence for people. [`LocalError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// There is no runtime directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Workers could not be served.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// There is nothing to start as a worker.
    #[error("{reason}")]
    Program {
        /// A sentence.
        reason: Box<str>,
    },
    /// There is no thread, or nothing for it to wait with.
    #[error("hurricane's thread could not be started")]
    Thread(#[source] io::Error),
}

impl LocalError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Directory(error) => Some(error.hint()),
            Self::Descriptors(error) => Some(format!("ulimit -n {}", error.needed)),
            Self::Thread(_) => Some("see how many processes `ulimit -u` allows".to_owned()),
            Self::Program { .. } => None,
        }
    }
}

/// A cluster on one machine. Dropped, it stops.
#[derive(Debug)]
pub struct Local {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Local {
    /// Starts the threads and the first workers; does not wait for the workers.
    pub fn start(config: LocalConfig) -> Result<Self, LocalError> {
        let slots = config.slots.unwrap_or_else(machine::cpus);
        // Each slot may have a worker that is starting while another ends, beside those that wait.
        descriptors::reserve_for(slots.saturating_mul(2).saturating_add(MAX_WAITING.into()))?;
        let directory = OwnDirectory::make()?;
        let name = machine::name();
        let program =
            Program::new(config.worker_command, name.clone(), config.setup, Mask::current());
        program
            .check()
            .map_err(|error| LocalError::Program { reason: error.to_string().into() })?;
        let resources = Resources {
            cpus: Amount::whole(slots),
            gpus: Amount::whole(program.gpus()),
            memory_bytes: machine::memory_bytes(),
            named: BTreeMap::new(),
        };
        let store = Arc::<Store>::default();
        let wires = Wires::new(Arc::clone(&store)).map_err(LocalError::Thread)?;
        let shared = Arc::new(Shared::new(Cluster::new(name, resources), wires, store));
        let thread =
            Service::start(Arc::clone(&shared), program, directory).map_err(LocalError::Thread)?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// A new client.
    pub fn connect<F: Handle>(&self) -> Result<Connection<F>, ConnectionError> {
        self.shared.check_process()?;
        let client = ClientId(self.shared.clients.fetch_add(1, Ordering::Relaxed));
        let sink = LocalSink::new(Arc::clone(&self.shared), client);
        let (connection, mailbox) = Connection::open(Box::new(sink));
        self.shared.mailboxes.open(client, mailbox)?;
        self.shared.put_in(Input::Scheduler(scheduler::Event::ClientJoined { client }));
        Ok(connection)
    }

    /// A plain copy of the state for people to look at.
    pub fn snapshot(&self) -> Result<Snapshot, ConnectionError> {
        self.shared.check_process()?;
        Ok(self.shared.cluster().snapshot())
    }

    /// The process ids of the workers; none in a forked child, whose workers they are not.
    pub fn worker_pids(&self) -> Vec<u32> {
        if self.shared.check_process().is_err() {
            return Vec::new();
        }
        let pids = self.shared.pids.lock().unwrap_or_else(PoisonError::into_inner);
        pids.values().copied().collect()
    }

    /// Ends all workers with their process trees, then the threads. Idempotent; returns when no
    /// process is left. Does nothing in a forked child.
    pub fn stop(&self) {
        if self.shared.check_process().is_err() {
            return;
        }
        self.shared.is_stopping.store(true, Ordering::Release);
        self.shared.inbox.wake();
        // Held while waiting, so that whoever stops it as well waits as long.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.as_ref().is_some_and(|thread| thread.thread().id() == thread::current().id()) {
            return;
        }
        if let Some(thread) = thread.take() {
            // If it panicked, that was shown, its connections are closed, and its workers end as
            // those of a program do that is killed.
            let _ = thread.join();
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if self.shared.check_process().is_ok() {
            self.stop();
        } else {
            // The thread does not exist in this child: there is nothing to detach from.
            let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
            mem::forget(thread.take());
        }
    }
}

/// What the loop's thread, the handle and the connections share.
///
/// Any thread may have a turn: see [`turn`]. Locks are taken in the order `turning`, `cluster`, then
/// those of wires, mailboxes and the inbox, of which none is held while another is taken, but that a
/// connection puts something in under its own.
#[derive(Debug)]
struct Shared {
    process: ProcessMark,
    inbox: Inbox<Input>,
    /// The loop was woken and has not had its turn yet.
    is_called: AtomicBool,
    /// A thread submits one task after the other.
    is_streaming: AtomicBool,
    is_stopping: AtomicBool,
    turning: Mutex<Turning>,
    /// A thread has its turn, and will look into the inbox once more after it.
    is_turning: AtomicBool,
    cluster: Mutex<Cluster>,
    /// What only the loop can do, in order.
    errands: Mutex<Vec<Action>>,
    mailboxes: Mailboxes,
    clients: AtomicU64,
    wires: Arc<Wires>,
    store: Arc<Store>,
    pids: WorkerPids,
}

impl Shared {
    fn new(cluster: Cluster, wires: Wires, store: Arc<Store>) -> Self {
        Self {
            process: ProcessMark::here(),
            inbox: Inbox::new(),
            is_called: AtomicBool::new(false),
            is_streaming: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            turning: Mutex::default(),
            is_turning: AtomicBool::new(false),
            cluster: Mutex::new(cluster),
            errands: Mutex::default(),
            mailboxes: Mailboxes::default(),
            clients: AtomicU64::new(1),
            wires: Arc::new(wires),
            store,
            pids: Arc::new(Mutex::new(BTreeMap::<WorkerId, u32>::new())),
        }
    }

    /// A forked child must not touch the locks: whoever held them does not exist there.
    fn check_process(&self) -> Result<(), ConnectionError> {
        if self.process.is_here() { Ok(()) } else { Err(ConnectionError::Forked) }
    }

    /// Puts in what happened, and sees to it that it is handled.
    fn put_in(&self, input: Input) {
        self.inbox.push_quietly(input);
        self.call_loop();
    }

    /// Has the loop take its turn, unless some thread is going to look into the inbox anyhow.
    fn call_loop(&self) {
        let is_seen = self.is_turning.load(Ordering::SeqCst);
        if !is_seen && !self.is_called.swap(true, Ordering::AcqRel) {
            self.inbox.wake();
        }
    }

    fn errands(&self) -> MutexGuard<'_, Vec<Action>> {
        self.errands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

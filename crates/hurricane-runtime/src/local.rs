//! A cluster on one machine: scheduler and node in a thread of this process, workers beside it, and
//! no network at all.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{io, mem};

use bytes::Bytes;
use hurricane_core::id::{ClientId, Number, ObjectId, WorkerId};
use hurricane_core::message::ClientToScheduler;
use hurricane_core::node::MAX_WAITING;
use hurricane_core::resources::{Amount, Resources};
use hurricane_core::scheduler;
use hurricane_core::snapshot::Snapshot;

use crate::client::{Connection, ConnectionError, Fetched, Handle, Mailboxes, Sink};
use crate::inbox::Inbox;
use crate::platform::descriptors;
use crate::platform::directories::OwnDirectory;
use crate::platform::fork::ProcessMark;
use crate::platform::machine;
use crate::platform::signals::Mask;
use crate::store::Store;
use crate::worker::{Program, WorkerPids};

use cluster::{Cluster, Input};
use service::Service;

pub use crate::platform::descriptors::TooFewDescriptors;
pub use crate::platform::directories::DirectoryError;

mod cluster;
mod service;

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
        let shared = Arc::new(Shared::new(Cluster::new(name, resources)));
        let thread =
            Service::start(Arc::clone(&shared), program, directory).map_err(LocalError::Thread)?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// A new client.
    pub fn connect<F: Handle>(&self) -> Result<Connection<F>, ConnectionError> {
        self.shared.check_process()?;
        let client = ClientId(self.shared.clients.fetch_add(1, Ordering::Relaxed));
        let sink = LocalSink { shared: Arc::clone(&self.shared), client };
        let (connection, mailbox) = Connection::open(Box::new(sink));
        self.shared.mailboxes.open(client, mailbox)?;
        self.shared.tell_scheduler(scheduler::Event::ClientJoined { client });
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

/// What the thread, the handle and the connections share.
#[derive(Debug)]
struct Shared {
    process: ProcessMark,
    inbox: Inbox<Input>,
    is_stopping: AtomicBool,
    cluster: Mutex<Cluster>,
    mailboxes: Mailboxes,
    clients: AtomicU64,
    store: Arc<Store>,
    pids: WorkerPids,
}

impl Shared {
    fn new(cluster: Cluster) -> Self {
        Self {
            process: ProcessMark::here(),
            inbox: Inbox::new(),
            is_stopping: AtomicBool::new(false),
            cluster: Mutex::new(cluster),
            mailboxes: Mailboxes::default(),
            clients: AtomicU64::new(1),
            store: Arc::default(),
            pids: Arc::new(Mutex::new(BTreeMap::<WorkerId, u32>::new())),
        }
    }

    /// A forked child must not touch the locks: whoever held them does not exist there.
    fn check_process(&self) -> Result<(), ConnectionError> {
        if self.process.is_here() { Ok(()) } else { Err(ConnectionError::Forked) }
    }

    fn tell_scheduler(&self, event: scheduler::Event) {
        self.inbox.push(Input::Scheduler(event));
    }

    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a program's connection speaks to.
struct LocalSink {
    shared: Arc<Shared>,
    client: ClientId,
}

impl Sink for LocalSink {
    fn send(&self, message: ClientToScheduler) {
        let client = self.client;
        self.shared.tell_scheduler(scheduler::Event::FromClient { client, message });
    }

    /// It is here or nowhere.
    fn fetch(&self, object: ObjectId, _: Duration) -> Fetched {
        self.shared.store.get(object).map_or(Fetched::Gone, Fetched::Value)
    }

    fn is_running(&self, number: Number) -> bool {
        self.shared.cluster().is_running(self.client, number)
    }

    fn close(&self) {
        self.shared.mailboxes.remove(self.client);
        self.shared.tell_scheduler(scheduler::Event::ClientGone { client: self.client });
    }
}

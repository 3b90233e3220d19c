//! The nodes of this process: each a state machine with a session of its own, all in one thread,
//! with one object store.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use hurricane_core::resources::{Amount, Resources};
use hurricane_core::session::EndReason;

use tokio::sync::watch;

use crate::dialing::{Choice, DialError, Reached, Target};
use crate::identity::{IdentityError, State};
use crate::local::{DirectoryError, TooFewDescriptors};
use crate::platform::fork::ProcessMark;
use crate::platform::machine;
use crate::worker::WorkerPids;

mod caller;
mod crew;
mod member;
mod service;
mod stay;

pub use caller::{Caller, Heard, Work};
pub use crew::WorkerSource;

/// How the nodes of a process are to be.
#[derive(Clone, Debug)]
pub struct NodesConfig {
    /// Where the keys are.
    pub state: State,
    /// Which cluster they are to join.
    pub target: Target,
    /// What the user chose beside it.
    pub choice: Choice,
    /// What each node has.
    pub shares: Vec<Resources>,
    /// What runs their tasks.
    pub workers: WorkerSource,
    /// Whose pickles the workers read and write.
    pub python_minor: Option<u8>,
}

/// What a node has that is alone on its machine: so many cpus, or as many as this process may use.
pub fn whole_machine(cpus: Option<u64>) -> Resources {
    let visible = std::env::var_os("CUDA_VISIBLE_DEVICES");
    Resources {
        cpus: Amount::whole(cpus.unwrap_or_else(machine::cpus)),
        gpus: Amount::whole(machine::gpus(visible.as_ref()).len() as u64),
        memory_bytes: machine::memory_bytes(),
        named: BTreeMap::new(),
    }
}

/// What happens to a node, for people to be told.
#[derive(Debug)]
pub enum Report {
    /// It looks for its scheduler, and this is why the last try failed.
    Looking(DialError),
    /// It is a member.
    Joined {
        /// What people call it.
        name: Box<str>,
        /// What people call the cluster.
        cluster: Box<str>,
        /// Where the scheduler is.
        reached: Reached,
    },
    /// Its session is over; it looks for the scheduler again.
    Lost(EndReason),
    /// It cannot be a member: it was revoked, or its version does not fit. It tries again, rarely.
    Refused(String),
    /// No worker can be set up here.
    SetupFailed(Bytes),
}

/// Running nodes. Dropped, they stop.
#[derive(Debug)]
pub struct Nodes {
    control: Arc<Control>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Nodes {
    /// Starts them; does not wait for the scheduler. `report` hears of each node, by its index, in
    /// the nodes' thread.
    pub fn start(
        config: NodesConfig,
        report: Box<dyn Fn(usize, Report) + Send>,
    ) -> Result<Self, NodesError> {
        let control = Arc::new(Control::new(config.shares.len()));
        let thread = service::start(config, report, Arc::clone(&control))?;
        Ok(Self { control, thread: Mutex::new(Some(thread)) })
    }

    /// Takes no more tasks and ends when those that run have ended; `wait` tells when. A node that
    /// is no member now ends at once.
    pub fn drain(&self) {
        if self.control.process.is_here() {
            self.control.wish(Wish::Drain);
        }
    }

    /// Waits until they are over; false after `timeout`. In a forked child, where they are not, it
    /// does not wait.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        if !self.control.process.is_here() {
            return true;
        }
        let is_over = self.control.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        let over = &self.control.over;
        match timeout {
            None => {
                drop(over.wait_while(is_over, |is_over| !*is_over));
                true
            }
            Some(timeout) => {
                let waited = over.wait_timeout_while(is_over, timeout, |is_over| !*is_over);
                *waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Ends them with their workers; what they run goes elsewhere at once. Idempotent; returns when
    /// no process is left. Does nothing in a forked child.
    pub fn stop(&self) {
        if !self.control.process.is_here() {
            return;
        }
        self.control.wish(Wish::Stop);
        // Held while waiting, so that whoever stops it as well waits as long.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.as_ref().is_some_and(|thread| thread.thread().id() == thread::current().id()) {
            return;
        }
        if let Some(thread) = thread.take() {
            // If it panicked, that was shown, and its workers end as those of a program do that is
            // killed.
            let _ = thread.join();
        }
    }

    /// The process ids of the workers; none in a forked child, whose workers they are not.
    pub fn worker_pids(&self) -> Vec<u32> {
        if !self.control.process.is_here() {
            return Vec::new();
        }
        let of_node = |pids: &WorkerPids| -> Vec<u32> {
            pids.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect()
        };
        self.control.pids.iter().flat_map(of_node).collect()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if self.control.process.is_here() {
            self.stop();
        } else {
            // The thread does not exist in this child: there is nothing to detach from.
            let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(thread.take());
        }
    }
}

/// What is wished of the nodes. A later one in this order stands against an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    /// To be members.
    Stay,
    /// To leave when they may.
    Drain,
    /// To end now.
    Stop,
}

/// What the thread and the handle share.
#[derive(Debug)]
struct Control {
    process: ProcessMark,
    wish: watch::Sender<Wish>,
    pids: Vec<WorkerPids>,
    is_over: Mutex<bool>,
    over: Condvar,
}

impl Control {
    fn new(nodes: usize) -> Self {
        Self {
            process: ProcessMark::here(),
            wish: watch::Sender::new(Wish::Stay),
            pids: (0..nodes).map(|_| WorkerPids::default()).collect(),
            is_over: Mutex::new(false),
            over: Condvar::new(),
        }
    }

    fn wish(&self, wish: Wish) {
        self.wish.send_if_modified(|before| {
            let is_more = wish > *before;
            *before = wish.max(*before);
            is_more
        });
    }

    fn set_over(&self) {
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.over.notify_all();
    }
}

/// Why there are no nodes: a sentence for people. [`NodesError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodesError {
    /// There is no runtime directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Workers and connections could not be served.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// There is nothing to start as a worker: a sentence.
    #[error("{0}")]
    Program(Box<str>),
    /// This machine has no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The target can never be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Other nodes could not be answered.
    #[error("no port can be opened for other nodes of the cluster")]
    Door(#[source] io::Error),
    /// There is no thread, or nothing for it to wait with.
    #[error("hurricane's thread could not be started")]
    Thread(#[source] io::Error),
}

impl NodesError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Directory(error) => Some(error.hint()),
            Self::Descriptors(error) => Some(format!("ulimit -n {}", error.needed)),
            Self::Identity(error) => Some(error.hint()),
            Self::Dial(error) => error.hint(),
            Self::Thread(_) => Some("see how many processes `ulimit -u` allows".to_owned()),
            Self::Program(_) | Self::Door(_) => None,
        }
    }
}

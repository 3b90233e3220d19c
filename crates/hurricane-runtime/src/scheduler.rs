//! A cluster's scheduler, in a thread of its own: who may come in, their sessions, and the state
//! machine that decides.

mod entrance;
mod listening;
mod members;
mod operators;
mod refusals;
mod roll;
mod service;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hurricane_core::id::BootId;
use hurricane_core::resources::Resources;
use hurricane_core::session::EndReason;
use hurricane_core::snapshot::Snapshot;

use crate::discovery::{Announcement, DiscoveryError};
use crate::enrolment::TooManyInvitations;
use crate::identity::{IdentityError, Name, Roles, State};
use crate::inbox::Inbox;
use crate::platform::descriptors;
use crate::platform::fork::ProcessMark;
use crate::platform::local_socket::LocalSocketError;
use crate::platform::machine;
use crate::platform::signals::Mask;
use crate::randomness::unique_number;
use crate::ticket::Ticket;

use listening::Listening;
use members::Members;
use service::{Start, serve};

/// How a scheduler is to be.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// What people call the cluster; its state lies under this name.
    pub name: Name,
    /// The initialization port; 0 takes any that is free.
    pub port: u16,
    /// Where to listen; everywhere if empty.
    pub bind: Vec<IpAddr>,
    /// Where the keys are.
    pub state: State,
    /// Whose pickles clients and nodes read and write.
    pub python_minor: Option<u8>,
}

/// What happens to a cluster, for people to be told. Addresses are as in a snapshot: that of a host,
/// or `this host`.
#[derive(Debug)]
pub enum Report {
    /// A machine's key is let in from now on.
    Enrolled {
        /// What it is called.
        name: Name,
        /// What it may do.
        roles: Roles,
        /// Where it is.
        address: Box<str>,
    },
    /// A node is there.
    Joined {
        /// What people call it.
        name: Box<str>,
        /// Where it is.
        address: Box<str>,
        /// What it has.
        resources: Resources,
    },
    /// A node said that it leaves, and is gone.
    Left {
        /// What people call it.
        name: Box<str>,
    },
    /// A node is gone without having said so.
    Lost {
        /// What people call it.
        name: Box<str>,
        /// Why.
        reason: EndReason,
    },
    /// Somebody was not let in: whoever dials can cause this, at most a few times a second.
    Refused {
        /// Where they are.
        address: Box<str>,
        /// A sentence.
        reason: Box<str>,
    },
    /// A key was taken out of the list of those that are let in.
    Revoked {
        /// What it was called.
        name: Name,
    },
    /// Tasks are ready, and nothing here can run them: what they wait for, a sentence.
    Stalled(Box<str>),
    /// It cannot be found by discovery: who dials must know its address.
    NotAnnounced(DiscoveryError),
}

/// A running scheduler. Dropped, it stops.
#[derive(Debug)]
pub struct Server {
    port: u16,
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Starts it; it listens and is announced when this returns. `report` hears what happens, in the
    /// scheduler's thread: it must not wait.
    pub fn start(
        config: ServerConfig,
        report: Box<dyn Fn(Report) + Send>,
    ) -> Result<Self, ServerError> {
        let cluster = config.state.cluster(&config.name)?;
        let running = cluster.hold()?;
        let running = running.ok_or_else(|| ServerError::Running { name: config.name.clone() })?;
        let (key, authorized) = (cluster.key()?, cluster.authorized()?);
        let listening = Listening::start(config.port, &config.bind)?;
        let (port, addresses) = (listening.port, listening.addresses());
        let boot = BootId(unique_number());
        let members = Members::new(members::Config {
            cluster: config.name.clone(),
            boot,
            kept_limit_bytes: kept_limit_bytes(),
            dice: Box::new(unique_number),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()
            .map_err(ServerError::Thread)?;
        descriptors::raise(MAX_DESCRIPTORS);
        let shared = Arc::new(Shared::new());
        // Signals are the program's business, so our threads are born with all of them blocked.
        let mask = Mask::block_all();
        // Who can reach it from elsewhere can be told of it.
        let is_reachable = addresses.iter().any(|address| !address.ip().is_loopback());
        let announcement = is_reachable.then(|| Announcement::start(&key, &config.name, port));
        let start = Start {
            config,
            key,
            authorized,
            listening,
            announcement,
            report,
            members,
            shared: Arc::clone(&shared),
            running,
        };
        let ending = Ending(Arc::clone(&shared));
        let thread = thread::Builder::new().name("hurricane".into()).spawn(move || {
            // Dropped last, whatever happens: nobody must wait for a scheduler that is not there.
            let _ending = ending;
            tokio::task::LocalSet::new().block_on(&runtime, serve(start));
        });
        mask.apply();
        let thread = thread.map_err(ServerError::Thread)?;
        Ok(Self { port, addresses, shared, thread: Mutex::new(Some(thread)) })
    }

    /// The initialization port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// Makes a ticket.
    pub fn invite(&self, uses: u32, ttl: Duration, roles: Roles) -> Result<Ticket, ServerError> {
        self.ask(|answer| Command::Invite { uses, ttl, roles, answer })?
    }

    /// A plain copy of the state for people to look at; an empty one when it is over.
    pub fn snapshot(&self) -> Snapshot {
        self.ask(|answer| Command::Snapshot { answer }).unwrap_or_default()
    }

    /// Waits until it is over, by `stop`, by an operator's wish or because it failed; false after
    /// `timeout`.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        if !self.shared.process.is_here() {
            return true;
        }
        let is_over = self.shared.is_over();
        let is_running = |is_over: &mut bool| !*is_over;
        let timeout = timeout.unwrap_or(Duration::MAX);
        let waited = self.shared.ended.wait_timeout_while(is_over, timeout, is_running);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Ends it: members are told. Idempotent; returns when it is over. Does nothing in a forked
    /// child.
    pub fn stop(&self) {
        if !self.shared.process.is_here() {
            return;
        }
        self.shared.inbox.push(Command::Stop);
        // Held while waiting, so that whoever stops it as well waits as long.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.as_ref().is_some_and(|thread| thread.thread().id() == thread::current().id()) {
            return;
        }
        if let Some(thread) = thread.take() {
            // If it panicked, that was shown.
            let _ = thread.join();
        }
    }

    /// Has the thread do something, and waits for the answer.
    fn ask<T>(&self, command: impl FnOnce(SyncSender<T>) -> Command) -> Result<T, ServerError> {
        let (answer, answered) = sync_channel(1);
        {
            if !self.shared.process.is_here() {
                return Err(ServerError::Over);
            }
            // Held, so that it is not over in between.
            let is_over = self.shared.is_over();
            if *is_over {
                return Err(ServerError::Over);
            }
            self.shared.inbox.push(command(answer));
        }
        answered.recv().map_err(|_| ServerError::Over)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.shared.process.is_here() {
            self.stop();
        } else {
            // The thread does not exist in this child: there is nothing to detach from.
            let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(thread.take());
        }
    }
}

/// What the handle asks of the thread.
#[derive(Debug)]
enum Command {
    Invite {
        uses: u32,
        ttl: Duration,
        roles: Roles,
        answer: SyncSender<Result<Ticket, ServerError>>,
    },
    Snapshot {
        answer: SyncSender<Snapshot>,
    },
    Stop,
}

/// What thread and handle share.
#[derive(Debug)]
struct Shared {
    process: ProcessMark,
    inbox: Inbox<Command>,
    is_over: Mutex<bool>,
    ended: Condvar,
}

impl Shared {
    fn new() -> Self {
        Self {
            process: ProcessMark::here(),
            inbox: Inbox::new(),
            is_over: Mutex::new(false),
            ended: Condvar::new(),
        }
    }

    fn is_over(&self) -> MutexGuard<'_, bool> {
        self.is_over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that the thread is over when it is dropped.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        *self.0.is_over() = true;
        // Those who wait for an answer get none.
        self.0.inbox.take(&mut Vec::new());
        self.0.ended.notify_all();
    }
}

/// How much of what clients put is kept beside the scheduler: half of the memory, since the other
/// half is for nodes and programs of this machine.
fn kept_limit_bytes() -> u64 {
    (machine::memory_bytes() / 2).max(MIN_KEPT_LIMIT_BYTES)
}

/// Why there is no scheduler: a sentence for people. [`ServerError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Its keys cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There is no place where its user's processes could meet it.
    #[error(transparent)]
    Local(#[from] LocalSocketError),
    /// This user runs a scheduler on this port already.
    #[error("port {port} is in use: a scheduler of this user is running there")]
    AlreadyHere {
        /// The port.
        port: u16,
    },
    /// Somebody else uses this port.
    #[error("port {port} is in use, by another user's scheduler or another program")]
    Taken {
        /// The port.
        port: u16,
    },
    /// It is not possible to listen there.
    #[error("cannot listen at `{address}`")]
    Socket {
        /// Where.
        address: Box<str>,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The scheduler of this cluster is running already, on another port.
    #[error("the scheduler of the cluster `{name}` is running already")]
    Running {
        /// The cluster.
        name: Name,
    },
    /// There are too many tickets.
    #[error(transparent)]
    Invitations(#[from] TooManyInvitations),
    /// The system gives no randomness.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// There is no thread, or nothing for it to wait with.
    #[error("the scheduler's thread could not be started")]
    Thread(#[source] io::Error),
    /// It is over.
    #[error("the scheduler has ended")]
    Over,
}

impl ServerError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Identity(error) => Some(error.hint()),
            Self::Local(error) => Some(error.hint()),
            Self::AlreadyHere { .. } => Some(
                "end it with `hurricane down`, or choose another port with `--port`".to_owned(),
            ),
            Self::Taken { .. } => Some("choose another port with `--port`".to_owned()),
            Self::Socket { .. } => {
                Some("choose addresses of this machine with `--bind`".to_owned())
            }
            Self::Running { .. } => Some(
                "end it with `hurricane down`, or choose another name with `--name`".to_owned(),
            ),
            Self::Thread(_) => Some("see how many processes `ulimit -u` allows".to_owned()),
            Self::NoRandomness => Some("try again when the system has started up fully".to_owned()),
            Self::Invitations(_) | Self::Over => None,
        }
    }
}

/// For writing the list of those who may join, one at a time, and one more.
const BLOCKING_THREADS: usize = 2;

/// One for each connection of as many members as there may be, and as many again.
const MAX_DESCRIPTORS: u64 = 1 << 16;

/// See [`kept_limit_bytes`]: where little is known of the memory.
const MIN_KEPT_LIMIT_BYTES: u64 = 1 << 30;

//! A program's way to a cluster: finds it, and carries its connections.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hurricane_core::id::{ClientId, Number, ObjectId};
use hurricane_core::message::ClientToScheduler;
use hurricane_core::snapshot::Snapshot;

use crate::client::{Connection, ConnectionError, Fetched, Handle, Mailboxes, Sink};
use crate::dialing::{Choice, Target};
use crate::identity::State;
use crate::inbox::Inbox;
use crate::platform::fork::ProcessMark;

use destination::Destination;
use exchange::Exchange;
use service::Input;

pub use error::{FindError, Place, Wanted};

mod client;
mod destination;
mod error;
mod exchange;
mod reading;
mod search;
mod service;

/// How long a search lasts that nobody asked for: what nearly every program can spare at its start.
pub const SEARCH_TIME: Duration = Duration::from_secs(1);

/// How long a cluster is looked for that somebody chose: its scheduler may be starting just now.
pub const CHOSEN_SEARCH_TIME: Duration = Duration::from_secs(10);

/// How old the number of slots may be. It changes as nodes come and go, and nothing depends on it but
/// how finely work is divided.
const SLOTS_TIME: Duration = Duration::from_secs(2);

/// A cluster that was found, and the thread that carries connections to it. Dropped, it stops.
#[derive(Debug)]
pub struct Remote {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What a search brought.
#[derive(Debug)]
pub enum Search {
    /// One cluster.
    Found(Remote),
    /// None, and this user holds no key of any: nothing was asked on any network.
    NoKey,
    /// None within the time.
    NotFound,
}

impl Remote {
    /// Begins to look for a cluster, at every place at once. What was chosen explicitly will be found
    /// or an error.
    pub fn search(choice: Choice, python_minor: Option<u8>) -> Result<Searching, FindError> {
        let Some(plan) = search::plan(choice, python_minor)? else {
            return Ok(Searching::Over(Some(Search::NoKey)));
        };
        let (tell, answer) = mpsc::sync_channel(1);
        let remote = Self::run(move |shared| service::find(shared, plan, tell))?;
        Ok(Searching::Looking { remote: Some(remote), answer })
    }

    /// Goes to a target that is known, and need not be there yet.
    pub fn start(
        state: &State,
        target: Target,
        python_minor: Option<u8>,
    ) -> Result<Self, FindError> {
        let (state, choice) = (state.clone(), Choice::default());
        let destination = Destination { state, target, choice, python_minor };
        let (tell, answer) = mpsc::sync_channel(1);
        let remote = Self::run(move |shared| service::serve(shared, destination, tell))?;
        // Nothing is dialed yet, so there is nothing to wait for.
        answer.recv().map_err(|_| FindError::Stopped)??;
        Ok(remote)
    }

    fn run<F: Future<Output = ()> + 'static>(
        main: impl FnOnce(Arc<Shared>) -> F + Send + 'static,
    ) -> Result<Self, FindError> {
        let shared = Arc::new(Shared::new());
        let thread = service::spawn(Arc::clone(&shared), main).map_err(FindError::Thread)?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// A new client.
    pub fn connect<F: Handle>(&self) -> Result<Connection<F>, ConnectionError> {
        self.shared.check_process()?;
        let client = ClientId(self.shared.clients.fetch_add(1, Ordering::Relaxed));
        let exchange = Arc::new(Exchange::default());
        let sink = RemoteSink {
            shared: Arc::clone(&self.shared),
            client,
            exchange: Arc::clone(&exchange),
        };
        let (connection, mailbox) = Connection::open(Box::new(sink));
        self.shared.mailboxes.open(client, mailbox)?;
        self.shared.inbox.push(Input::Open { client, exchange });
        Ok(connection)
    }

    /// Asks for a plain copy of the cluster's state for people to look at. The answer comes within
    /// the limits of a dial and its answer, or an error does.
    pub fn ask_for_snapshot(&self) -> Result<Asked, FindError> {
        self.shared.check_process()?;
        let (tell, answer) = mpsc::sync_channel(1);
        self.shared.inbox.push(Input::Snapshot { tell });
        // Asked too late, it would never be answered.
        if self.shared.is_stopping.load(Ordering::Acquire) {
            return Err(FindError::Stopped);
        }
        Ok(Asked(answer))
    }

    /// How many default tasks the nodes have room for, as was heard lately; at least one.
    pub fn slots(&self) -> u64 {
        if self.shared.check_process().is_ok() && self.shared.are_slots_old() {
            self.shared.inbox.push(Input::Slots);
        }
        self.shared.slots.load(Ordering::Relaxed).max(1)
    }

    /// Ends the connections. Idempotent. Does nothing in a forked child.
    pub fn stop(&self) {
        if self.shared.check_process().is_err() {
            return;
        }
        self.shared.is_stopping.store(true, Ordering::Release);
        self.shared.inbox.wake();
        // Held while waiting, so that whoever stops it as well waits as long.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // If it panicked, that was shown, and its connections are closed.
            let _ = thread.join();
            // Who asked meanwhile learns that nobody is there any more.
            self.shared.inbox.take(&mut Vec::new());
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if self.shared.check_process().is_ok() {
            self.stop();
        } else {
            // The thread does not exist in this child: there is nothing to detach from.
            let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(thread.take());
        }
    }
}

/// A search that goes on. Dropped, it ends.
#[derive(Debug)]
pub enum Searching {
    /// It is over; what it brought is given once.
    Over(Option<Search>),
    /// The thread looks, and is kept if it finds something.
    Looking {
        /// There until it is over.
        remote: Option<Remote>,
        /// Where the thread says whether it has found one.
        answer: mpsc::Receiver<Result<bool, FindError>>,
    },
}

impl Searching {
    /// Waits for what the search brings; nothing after `timeout`, or if that was given already.
    pub fn wait(&mut self, timeout: Duration) -> Option<Result<Search, FindError>> {
        match self {
            Self::Over(search) => search.take().map(Ok),
            Self::Looking { remote, answer } => {
                let found = match answer.recv_timeout(timeout) {
                    Ok(found) => found,
                    Err(mpsc::RecvTimeoutError::Timeout) => return None,
                    Err(mpsc::RecvTimeoutError::Disconnected) => Err(FindError::Stopped),
                };
                let remote = remote.take()?;
                Some(found.map(
                    |is_found| {
                        if is_found { Search::Found(remote) } else { Search::NotFound }
                    },
                ))
            }
        }
    }
}

/// A question to the scheduler that is on its way.
#[derive(Debug)]
pub struct Asked(mpsc::Receiver<Result<Snapshot, FindError>>);

impl Asked {
    /// Waits for the answer; nothing after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Option<Result<Snapshot, FindError>> {
        match self.0.recv_timeout(timeout) {
            Ok(answer) => Some(answer),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => Some(Err(FindError::Stopped)),
        }
    }
}

/// What the thread, the handle and the connections share.
#[derive(Debug)]
struct Shared {
    process: ProcessMark,
    inbox: Inbox<Input>,
    is_stopping: AtomicBool,
    mailboxes: Mailboxes,
    clients: AtomicU64,
    slots: AtomicU64,
    /// When the slots were last asked for.
    slots_asked: Mutex<Option<Instant>>,
}

impl Shared {
    fn new() -> Self {
        Self {
            process: ProcessMark::here(),
            inbox: Inbox::new(),
            is_stopping: AtomicBool::new(false),
            mailboxes: Mailboxes::default(),
            clients: AtomicU64::new(1),
            slots: AtomicU64::new(0),
            slots_asked: Mutex::new(None),
        }
    }

    /// A forked child must not touch the locks: whoever held them does not exist there.
    fn check_process(&self) -> Result<(), ConnectionError> {
        if self.process.is_here() { Ok(()) } else { Err(ConnectionError::Forked) }
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Ends when the thread is to end.
    async fn stopped(&self) {
        while !self.is_stopping() {
            self.inbox.arrived().await;
        }
    }

    /// Whether it is time to ask for the slots again; then whoever asked this does.
    fn are_slots_old(&self) -> bool {
        let mut asked = self.slots_asked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = asked.is_none_or(|asked| asked.elapsed() > SLOTS_TIME);
        if is_old {
            *asked = Some(Instant::now());
        }
        is_old
    }

    fn learn_slots(&self, snapshot: &Snapshot) {
        let slots = snapshot.nodes.iter().map(|node| node.resources.cpus.units_rounded_up()).sum();
        self.slots.store(slots, Ordering::Relaxed);
    }
}

/// What a program's connection speaks to.
struct RemoteSink {
    shared: Arc<Shared>,
    client: ClientId,
    exchange: Arc<Exchange>,
}

impl Sink for RemoteSink {
    fn send(&self, message: ClientToScheduler) {
        self.exchange.add_to_queue(&message);
        let is_one_of_many = matches!(message, ClientToScheduler::Submit { .. });
        let input = Input::Say { client: self.client, message };
        if is_one_of_many {
            self.shared.inbox.push_one_of_many(input);
        } else {
            self.shared.inbox.push(input);
        }
    }

    /// Whoever waits has submitted what they wait for.
    fn drive(&self, _: &dyn Fn() -> bool, _: Option<Instant>) -> Option<bool> {
        self.shared.inbox.hurry();
        None
    }

    fn has_room(&self) -> bool {
        self.exchange.has_room()
    }

    fn fetch(&self, object: ObjectId, timeout: Duration) -> Fetched {
        let client = self.client;
        self.exchange.fetch(object, timeout, || {
            self.shared.inbox.push(Input::Fetch { client, object });
        })
    }

    /// Nobody here knows, and to ask would take a way there and back.
    fn is_running(&self, _: Number) -> bool {
        false
    }

    fn close(&self) {
        self.shared.mailboxes.remove(self.client);
        self.shared.inbox.push(Input::Close { client: self.client });
    }
}

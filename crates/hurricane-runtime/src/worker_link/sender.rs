//! The writing half of a worker's link: any thread may send. Answers gather, so that many of them cost
//! the node one wake-up.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use hurricane_core::message::WorkerToNode;

use crate::client::ConnectionError;
use crate::link::Outgoing;
use crate::platform::fork::{ProcessMark, Unshared};
use crate::platform::signals::Mask;
use crate::store::exchange::WithNode;
use crate::store::shared::SharedMemory;

/// So much is sent on at once, however fresh: a third of what the link holds.
const GATHERED_BYTES: usize = 64 << 10;

/// Answers wait so long for others, while there are further runs. A wake-up of the node for each
/// such while is next to nothing.
const GATHERED_FOR: Duration = Duration::from_micros(300);

/// An answer waits so long for the end of a run that takes longer than it should.
const LONGEST_GATHERED: Duration = Duration::from_millis(5);

/// Sends to the node.
pub(super) struct Sender {
    process: ProcessMark,
    link: Arc<Unshared>,
    outgoing: Mutex<Gathering>,
    /// Sends on what has gathered when the main thread cannot.
    minder: OnceLock<Thread>,
    /// Whether the minder looks by itself.
    is_minded: AtomicBool,
    memory: Arc<WithNode>,
}

#[derive(Default)]
struct Gathering {
    outgoing: Outgoing,
    /// When the oldest answer in there came.
    since: Option<Instant>,
}

impl Sender {
    pub(super) fn new(link: Arc<Unshared>, memory: Arc<WithNode>) -> Self {
        Self {
            process: ProcessMark::here(),
            link,
            outgoing: Mutex::default(),
            minder: OnceLock::new(),
            is_minded: AtomicBool::new(false),
            memory,
        }
    }

    /// What this process shares with the node.
    pub(super) fn memory(&self) -> &Arc<SharedMemory> {
        self.memory.memory()
    }

    /// A forked child has no link, and must not touch the locks.
    pub(super) fn check_process(&self) -> Result<(), ConnectionError> {
        if self.process.is_here() { Ok(()) } else { Err(ConnectionError::Forked) }
    }

    /// Sends a message behind what has gathered; waits until the link has taken it, which the node
    /// never puts off.
    pub(super) fn send(&self, message: &WorkerToNode) -> io::Result<()> {
        if self.check_process().is_err() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let mut gathering = self.lock();
        self.memory.push(message, &mut gathering.outgoing);
        gathering.flush(&self.link)
    }

    /// Adds an answer to what has gathered; whether it is time to [`Sender::flush`].
    pub(super) fn gather(&self, answer: &WorkerToNode, now: Instant) -> bool {
        let mut gathering = self.lock();
        self.memory.push(answer, &mut gathering.outgoing);
        let since = *gathering.since.get_or_insert(now);
        gathering.outgoing.len() >= GATHERED_BYTES
            || now.saturating_duration_since(since) >= GATHERED_FOR
    }

    /// Sends what has gathered, and which values nobody here sees any more.
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut gathering = self.lock();
        self.memory.push_returned(&mut gathering.outgoing);
        gathering.flush(&self.link)
    }

    pub(super) fn has_gathered(&self) -> bool {
        self.lock().since.is_some()
    }

    /// If anything has gathered, it is sent in time, whatever the main thread does.
    pub(super) fn mind(self: &Arc<Self>) {
        if self.is_minded.load(Ordering::Relaxed) || self.lock().since.is_none() {
            return;
        }
        self.is_minded.store(true, Ordering::SeqCst);
        match self.minder.get() {
            Some(minder) => minder.unpark(),
            None => self.start_minder(),
        }
    }

    fn start_minder(self: &Arc<Self>) {
        let sender = Arc::clone(self);
        let mask = Mask::block_all();
        let minder = thread::Builder::new().name("hurricane-send".into());
        let started = minder.spawn(move || sender.keep_minding());
        mask.apply();
        match started {
            Ok(handle) => drop(self.minder.set(handle.thread().clone())),
            // Then nothing gathers while something runs.
            Err(_) => drop(self.flush()),
        }
    }

    /// Looks every few milliseconds as long as answers gather, and not at all while none do: it
    /// never wakes a worker that is idle.
    fn keep_minding(&self) {
        loop {
            while !self.is_minded.load(Ordering::SeqCst) {
                thread::park();
            }
            thread::sleep(LONGEST_GATHERED);
            let mut gathering = self.lock();
            match gathering.since {
                None => self.is_minded.store(false, Ordering::SeqCst),
                Some(since) if since.elapsed() >= LONGEST_GATHERED => {
                    // A node that is gone takes this process along in a moment.
                    let _ = gathering.flush(&self.link);
                }
                Some(_) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Gathering> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gathering {
    fn flush(&mut self, link: &Unshared) -> io::Result<()> {
        self.since = None;
        Ok(self.outgoing.flush_all(link)?)
    }
}

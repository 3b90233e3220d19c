//! The wires of all workers of a node, and the reader's role: at any time one thread reads them, the
//! node's loop or one that waits for a result.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hurricane_core::id::{RunId, WorkerId};
use hurricane_core::message::NodeToWorker;
use hurricane_core::node::Event;
use rustix::process::Pid;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::wire::{self, Wire};
use crate::platform::fork::Unshared;
use crate::platform::readiness::Readiness;
use crate::store::Store;

/// The wires of a node's living workers. Any thread may use them.
pub(crate) struct Wires {
    store: Arc<Store>,
    readiness: Readiness,
    registry: Mutex<Registry>,
    role: Mutex<Role>,
    /// The thread in the reader's role waits, or is about to.
    is_waiting: AtomicBool,
    /// A reader left something unread, of which the loop is not told otherwise.
    pub(super) left: Notify,
    /// A run began while nobody watched how much memory runs take.
    pub(super) run_began: Notify,
    pub(super) is_watching_memory: AtomicBool,
}

#[derive(Default)]
struct Registry {
    living: BTreeMap<WorkerId, Arc<Wire>>,
    /// Those that have something to be written.
    told: VecDeque<Arc<Wire>>,
}

/// Locked by the loop while it reads.
#[derive(Default)]
struct Role {
    /// By a thread that is not the loop.
    is_taken: bool,
    /// Room for the names of what is ready.
    names: Vec<u64>,
}

/// The reader's role in a thread other than the loop, until it is dropped.
pub(crate) struct Reader<'a> {
    wires: &'a Wires,
    names: Vec<u64>,
}

impl Wires {
    /// Of no worker so far; what the workers are given and make lies in the store.
    pub(crate) fn new(store: Arc<Store>) -> io::Result<Self> {
        Ok(Self {
            store,
            readiness: Readiness::new()?,
            registry: Mutex::default(),
            role: Mutex::default(),
            is_waiting: AtomicBool::default(),
            left: Notify::new(),
            run_began: Notify::new(),
            is_watching_memory: AtomicBool::default(),
        })
    }

    /// Has a message ready to be written to a worker by the next [`Wires::flush`].
    pub(crate) fn tell(&self, id: WorkerId, message: NodeToWorker) {
        // One that is gone meanwhile has died, and that was or will be reported.
        if let Some(wire) = self.wire(id) {
            if let NodeToWorker::Run { run, .. } = &message {
                wire.ledger.note_sent(*run);
                self.note_run();
            }
            if wire.push(message) {
                self.registry().told.push_back(wire);
            }
        }
    }

    /// Writes what the workers were told, as far as their links take it now.
    pub(crate) fn flush(&self) {
        while let Some(wire) = self.next_told() {
            wire.flush();
        }
    }

    /// Keeps a worker from beginning what it has not begun, up to a run. What it says to that; nothing
    /// if it is gone.
    pub(crate) fn revoke(&self, id: WorkerId, last: RunId) -> Option<Event> {
        let begun = self.wire(id)?.ledger.revoke(last);
        Some(Event::Revoked { worker: id, last, begun })
    }

    /// Has a worker and its whole process tree ended; whether it is here.
    pub(crate) fn kill(&self, id: WorkerId, dump_stack: bool) -> bool {
        self.wire(id).map(|wire| wire.want_end(dump_stack)).is_some()
    }

    /// Takes the reader's role, unless another thread has it. While the loop reads, waits for that.
    pub(crate) fn take_role(&self) -> Option<Reader<'_>> {
        let mut role = self.role();
        if role.is_taken {
            return None;
        }
        role.is_taken = true;
        self.readiness.hide();
        let names = std::mem::take(&mut role.names);
        Some(Reader { wires: self, names })
    }

    /// Has the thread in the reader's role look again at what it waits for. To be called after that
    /// has changed.
    pub(crate) fn rouse(&self) {
        // Either this sees that it waits, or that sees what has changed.
        fence(Ordering::SeqCst);
        if self.is_waiting.load(Ordering::Relaxed) && self.is_waiting.swap(false, Ordering::Relaxed)
        {
            self.readiness.rouse();
        }
    }

    /// Reads once from what has something, in the loop; false if nothing has, or if another thread
    /// reads.
    pub(super) fn read_in_loop(&self, report: &dyn Fn(Event)) -> bool {
        let mut role = self.role();
        if role.is_taken {
            return false;
        }
        let mut names = std::mem::take(&mut role.names);
        let has_read = self.read(Some(Duration::ZERO), &mut names, report);
        role.names = names;
        has_read
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// For the loop of this thread to watch.
    pub(super) fn watched(&self) -> io::Result<AsyncFd<Unshared>> {
        self.readiness.watched()
    }

    pub(super) fn add(&self, wire: &Arc<Wire>) -> io::Result<()> {
        // First, so that whoever reads it finds it.
        self.registry().living.insert(wire.id, Arc::clone(wire));
        wire.watch(&self.readiness).inspect_err(|_| {
            wire.unwatch(&self.readiness);
            self.registry().living.remove(&wire.id);
        })
    }

    /// A worker's process has ended: all that it said is reported now.
    pub(super) fn bury(&self, wire: &Wire, report: &dyn Fn(Event)) {
        wire.read_last_words(&self.readiness, report);
        self.registry().living.remove(&wire.id);
    }

    pub(super) fn processes(&self) -> Vec<Pid> {
        self.registry().living.values().map(|wire| wire.process).collect()
    }

    pub(super) fn living(&self) -> Vec<Arc<Wire>> {
        self.registry().living.values().map(Arc::clone).collect()
    }

    fn read(
        &self,
        timeout: Option<Duration>,
        names: &mut Vec<u64>,
        report: &dyn Fn(Event),
    ) -> bool {
        self.readiness.wait(timeout, names);
        let has_read = !names.is_empty();
        for name in names.drain(..) {
            // One that is gone meanwhile was read to its end.
            if let Some(wire) = self.wire(wire::worker_of(name)) {
                wire.read(name, &self.readiness, report);
            }
        }
        has_read
    }

    /// A worker is being told to run something.
    fn note_run(&self) {
        if !self.is_watching_memory.load(Ordering::Relaxed) {
            self.run_began.notify_one();
        }
    }

    fn next_told(&self) -> Option<Arc<Wire>> {
        self.registry().told.pop_front()
    }

    fn wire(&self, id: WorkerId) -> Option<Arc<Wire>> {
        self.registry().living.get(&id).map(Arc::clone)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn role(&self) -> MutexGuard<'_, Role> {
        self.role.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader<'_> {
    /// Waits until something is there, and reads once from all that has something. Does not wait if
    /// `is_needless`, which is looked at again whenever somebody calls [`Wires::rouse`]. False once
    /// the deadline has come.
    pub(crate) fn read(
        &mut self,
        is_needless: impl Fn() -> bool,
        deadline: Option<Instant>,
        report: &dyn Fn(Event),
    ) -> bool {
        let Self { wires, names } = self;
        wires.is_waiting.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if !is_needless() {
            wires.read(timeout, names, report);
        }
        wires.is_waiting.store(false, Ordering::Relaxed);
        timeout != Some(Duration::ZERO)
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let wires = self.wires;
        let mut role = wires.role();
        role.is_taken = false;
        role.names = std::mem::take(&mut self.names);
        role.names.clear();
        if wires.readiness.show() {
            wires.left.notify_one();
        }
    }
}

impl std::fmt::Debug for Wires {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.registry().living.keys()).finish()
    }
}

//! A node's workers: starts their processes, writes to them, ends them, and reports what they say
//! and how they end. What a worker is to do is not decided here.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use hurricane_core::id::WorkerId;
use hurricane_core::message::NodeToWorker;
use hurricane_core::node::{Event, WorkerKind};
use rustix::process::Pid;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::link::Outgoing;
use crate::platform::directories::OwnDirectory;
use crate::platform::fork::Unshared;
use crate::platform::processes;
use crate::store::Store;

mod attendant;
mod memory;
mod process;

pub(crate) use process::Program;

/// The process ids of living workers, for people to look at.
pub(crate) type WorkerPids = Arc<Mutex<BTreeMap<WorkerId, u32>>>;

/// The workers of a node. It lives in the node's thread, in a tokio `LocalSet`.
pub(crate) struct Workers {
    program: Program,
    directory: Arc<OwnDirectory>,
    store: Arc<Store>,
    pids: WorkerPids,
    /// Where events go.
    report: Box<dyn Fn(Event)>,
    living: RefCell<BTreeMap<WorkerId, Rc<Worker>>>,
    /// Those that have something to be written.
    told: RefCell<BTreeSet<WorkerId>>,
    /// A worker is gone.
    gone: Notify,
    /// All are being killed together.
    is_ending: Cell<bool>,
    /// A run began while nobody watched how much memory runs take.
    run_began: Notify,
    is_watching_memory: Cell<bool>,
}

/// What there is of a worker on this side, for as long as its process is there.
struct Worker {
    process: Pid,
    link: AsyncFd<Unshared>,
    outgoing: RefCell<Outgoing>,
    end: Cell<End>,
    /// Something changed that its attendant must see to: `end`, or bytes that the link did not take.
    changed: Notify,
    is_running: Cell<bool>,
    /// The largest resident memory that was seen.
    peak_memory_bytes: Cell<u64>,
}

/// Whether a worker is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is not.
    Unwanted,
    /// It is to be killed.
    Wanted { dump_stack: bool },
    /// It was killed, with its whole tree.
    Done,
}

impl Workers {
    pub(crate) fn new(
        program: Program,
        directory: Arc<OwnDirectory>,
        store: Arc<Store>,
        pids: WorkerPids,
        report: Box<dyn Fn(Event)>,
    ) -> Rc<Self> {
        Rc::new(Self {
            program,
            directory,
            store,
            pids,
            report,
            living: RefCell::default(),
            told: RefCell::default(),
            gone: Notify::new(),
            is_ending: Cell::new(false),
            run_began: Notify::new(),
            is_watching_memory: Cell::new(false),
        })
    }

    /// Starts a worker process.
    pub(crate) fn start(self: &Rc<Self>, id: WorkerId, kind: &WorkerKind) {
        let stack_path = self.directory.file(&format!("stack-{id}"));
        match self.program.start(id, kind, &stack_path) {
            Ok(started) => {
                let (worker, attendant) = started.attend(Rc::clone(self), id, stack_path);
                self.pids
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(id, worker.process.as_raw_nonzero().get().cast_unsigned());
                self.living.borrow_mut().insert(id, worker);
                self.told.borrow_mut().insert(id);
                tokio::task::spawn_local(attendant.attend());
            }
            Err(error) => {
                let reason = error.to_string().into();
                (self.report)(Event::WorkerNotStarted { worker: id, reason });
            }
        }
    }

    /// Has a message ready to be written to a worker by the next [`Workers::flush`].
    pub(crate) fn tell(&self, id: WorkerId, message: NodeToWorker) {
        // One that is gone meanwhile has died, and that was or will be reported.
        if let Some(worker) = self.living.borrow().get(&id) {
            if matches!(message, NodeToWorker::Run { .. }) {
                self.note_run(worker);
            }
            worker.outgoing.borrow_mut().push(&self.store.with_bytes(message));
            self.told.borrow_mut().insert(id);
        }
    }

    /// Writes what the workers were told, as far as their links take it now.
    pub(crate) fn flush(&self) {
        let living = self.living.borrow();
        while let Some(id) = self.told.borrow_mut().pop_first() {
            if let Some(worker) = living.get(&id) {
                worker.flush();
                if worker.has_more_to_write() {
                    worker.changed.notify_one();
                }
            }
        }
    }

    /// Ends a worker and its whole process tree.
    pub(crate) fn kill(&self, id: WorkerId, dump_stack: bool) {
        if let Some(worker) = self.living.borrow().get(&id)
            && worker.end.get() == End::Unwanted
        {
            worker.end.set(End::Wanted { dump_stack });
            worker.changed.notify_one();
        }
    }

    /// Ends all workers with their process trees; returns when none is left.
    pub(crate) async fn kill_all(&self) {
        self.is_ending.set(true);
        let living: Vec<Pid> = self.living.borrow().values().map(|worker| worker.process).collect();
        processes::kill_trees(&living);
        while !self.living.borrow().is_empty() {
            self.gone.notified().await;
        }
        // Of a worker that was dying already, something may have got away.
        processes::kill_marked(&format!("{}-", self.program.mark()));
    }

    /// A worker's process and its tree are gone, and all it said was reported.
    fn forget(&self, id: WorkerId) {
        self.living.borrow_mut().remove(&id);
        self.pids.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.gone.notify_one();
    }
}

impl Worker {
    fn has_more_to_write(&self) -> bool {
        !self.outgoing.borrow().is_empty()
    }

    /// Writes as much as the link takes now.
    fn flush(&self) {
        // A link that takes nothing any more belongs to a worker that is dying: its attendant sees it.
        let _ = self.outgoing.borrow_mut().flush_now(self.link.get_ref());
    }
}

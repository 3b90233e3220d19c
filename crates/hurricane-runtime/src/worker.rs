//! A node's workers: starts their processes, writes to them, ends them, and reports what they say
//! and how they end. What a worker is to do is not decided here.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hurricane_core::id::WorkerId;
use hurricane_core::node::{Event, WorkerKind};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::platform::directories::OwnDirectory;
use crate::platform::fork::Unshared;
use crate::platform::processes;

mod attendant;
mod memory;
mod process;
mod wire;
mod wires;

use attendant::Attendant;
use process::Started;

pub(crate) use process::Program;
pub(crate) use wires::Wires;

/// How soon it is tried again to watch the wires when there is no descriptor left to do it with.
const WATCH_RETRY: Duration = Duration::from_millis(100);

/// The process ids of living workers, for people to look at.
pub(crate) type WorkerPids = Arc<Mutex<BTreeMap<WorkerId, u32>>>;

/// What needs the node's loop of its workers. It lives in the node's thread, in a tokio `LocalSet`;
/// what any thread may do is in its [`Wires`].
pub(crate) struct Workers {
    program: Program,
    directory: Arc<OwnDirectory>,
    wires: Arc<Wires>,
    pids: WorkerPids,
    /// Where events go.
    report: Box<dyn Fn(Event)>,
    /// How many have an attendant.
    attended: Cell<usize>,
    /// A worker is gone.
    gone: Notify,
    /// All are being killed together.
    is_ending: Cell<bool>,
}

impl Workers {
    pub(crate) fn new(
        program: Program,
        directory: Arc<OwnDirectory>,
        wires: Arc<Wires>,
        pids: WorkerPids,
        report: Box<dyn Fn(Event)>,
    ) -> Rc<Self> {
        Rc::new(Self {
            program,
            directory,
            wires,
            pids,
            report,
            attended: Cell::default(),
            gone: Notify::new(),
            is_ending: Cell::new(false),
        })
    }

    /// Reads the wires while no other thread does, and looks at how much memory runs take, for as
    /// long as the thread lives.
    pub(crate) async fn serve(self: Rc<Self>) {
        tokio::join!(self.read_wires(), self.wires.watch_memory());
    }

    /// Starts a worker process.
    pub(crate) fn start(self: &Rc<Self>, id: WorkerId, kind: &WorkerKind) {
        let stack_path = self.directory.file(&format!("stack-{id}"));
        match self.program.start(id, kind, &stack_path, &self.wires) {
            Ok(Started { wire, handle, mark }) => {
                let process = wire.process.as_raw_nonzero().get().cast_unsigned();
                self.pids.lock().unwrap_or_else(PoisonError::into_inner).insert(id, process);
                self.attended.set(self.attended.get() + 1);
                let attendant = Attendant::new(Rc::clone(self), wire, handle, mark, stack_path);
                tokio::task::spawn_local(attendant.attend());
            }
            Err(error) => {
                let reason = error.to_string().into();
                (self.report)(Event::WorkerNotStarted { worker: id, reason });
            }
        }
    }

    /// Ends all workers with their process trees; returns when none is left.
    pub(crate) async fn kill_all(&self) {
        self.is_ending.set(true);
        processes::kill_trees(&self.wires.processes());
        while self.attended.get() > 0 {
            self.gone.notified().await;
        }
        // Of a worker that was dying already, something may have got away.
        processes::kill_marked(&format!("{}-", self.program.mark()));
    }

    async fn read_wires(&self) {
        let watched = self.watched().await;
        loop {
            let mut ready = tokio::select! {
                ready = watched.readable() => Some(ready.expect("the loop runs")),
                () = self.wires.left.notified() => None,
            };
            while self.wires.read_in_loop(&self.report) {
                // Whoever it was reported to has their turn, and workers that never stop talking
                // keep nobody waiting.
                tokio::task::yield_now().await;
            }
            if let Some(ready) = &mut ready {
                ready.clear_ready();
            }
        }
    }

    async fn watched(&self) -> AsyncFd<Unshared> {
        loop {
            match self.wires.watched() {
                Ok(watched) => return watched,
                Err(_) => tokio::time::sleep(WATCH_RETRY).await,
            }
        }
    }

    /// A worker's process and its tree are gone, and all it said was reported.
    fn forget(&self, id: WorkerId) {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.attended.set(self.attended.get() - 1);
        self.gone.notify_one();
    }
}

//! What runs the tasks of a node: processes of its own, or the process that it is in.

use std::ffi::OsString;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hurricane_core::id::{RunId, WorkerId};
use hurricane_core::message::NodeToWorker;
use hurricane_core::node::{Event, WorkerKind};
use tokio::task::AbortHandle;

use super::NodesError;
use super::caller::{Caller, Seat};
use super::member::Member;
use super::service::Common;
use crate::platform::directories::OwnDirectory;
use crate::platform::machine;
use crate::platform::signals::Mask;
use crate::store::Store;
use crate::worker::{Program, Wires, Workers};

/// What is to run the tasks of nodes.
#[derive(Clone, Debug)]
pub enum WorkerSource {
    /// Processes that the node starts.
    Processes {
        /// Program and arguments that start one.
        command: Vec<OsString>,
        /// Opaque; each gets it from [`crate::WorkerLink::setup`].
        setup: Bytes,
    },
    /// The calling process. For one node, with a share of one cpu.
    Caller(Caller),
}

/// What all nodes of a process need to have their tasks run.
pub(super) enum Equipment {
    Processes { program: Box<Program>, directory: Arc<OwnDirectory> },
    Caller(Caller),
}

impl Equipment {
    /// To be made in the thread that starts the nodes: workers block the signals that it does.
    pub(super) fn of(source: &WorkerSource) -> Result<Self, NodesError> {
        match source {
            WorkerSource::Processes { command, setup } => {
                let (name, mask) = (machine::name(), Mask::current());
                let program = Program::new(command.clone(), name, setup.clone(), mask);
                let checked = program.check();
                checked.map_err(|error| NodesError::Program(error.to_string().into()))?;
                let program = Box::new(program);
                Ok(Self::Processes { program, directory: Arc::new(OwnDirectory::make()?) })
            }
            WorkerSource::Caller(caller) => Ok(Self::Caller(caller.clone())),
        }
    }
}

/// What runs the tasks of one node for as long as a session lasts.
pub(super) enum Crew {
    Processes { workers: Rc<Workers>, wires: Arc<Wires>, serving: AbortHandle },
    Caller { seat: Rc<Seat>, store: Arc<Store> },
}

impl Crew {
    /// For a node of this name; `report` is told what happens to the workers.
    pub(super) fn new(
        common: &Common,
        member: &Member,
        name: Box<str>,
        report: Box<dyn Fn(Event)>,
    ) -> Self {
        match &common.equipment {
            Equipment::Processes { program, directory } => {
                let program = program.of_node(name, member.gpus.clone());
                let (directory, pids) = (Arc::clone(directory), Arc::clone(&member.pids));
                let wires = Arc::clone(&member.wires);
                let workers = Workers::new(program, directory, Arc::clone(&wires), pids, report);
                let serving = tokio::task::spawn_local(Rc::clone(&workers).serve());
                Self::Processes { workers, wires, serving: serving.abort_handle() }
            }
            Equipment::Caller(caller) => {
                let store = Arc::clone(&common.store);
                let seat = Seat::new(caller.clone(), Arc::clone(&store), report);
                Self::Caller { seat, store }
            }
        }
    }

    /// Whether what it has done last is likely to be fetched at once. A program that does a master's
    /// tasks itself may end with the last of them; from other nodes, results are asked for whenever
    /// somebody needs them, and made anew if they are gone.
    pub(super) fn ends_with_its_work(&self) -> bool {
        matches!(self, Self::Caller { .. })
    }

    /// Starts a worker.
    pub(super) fn start(&self, worker: WorkerId, kind: &WorkerKind) {
        match self {
            Self::Processes { workers, .. } => workers.start(worker, kind),
            Self::Caller { seat, .. } => seat.start(worker, kind),
        }
    }

    /// Has something ready to be said to a worker by the next [`Crew::flush`].
    pub(super) fn tell(&self, worker: WorkerId, message: NodeToWorker) {
        match self {
            Self::Processes { wires, .. } => wires.tell(worker, message),
            Self::Caller { seat, store } => seat.tell(worker, store.with_bytes(message)),
        }
    }

    /// Says what the workers were told.
    pub(super) fn flush(&self) {
        match self {
            Self::Processes { wires, .. } => wires.flush(),
            Self::Caller { seat, .. } => seat.flush(),
        }
    }

    /// Keeps a worker from beginning what it has not begun, up to a run. What it says to that.
    pub(super) fn revoke(&self, worker: WorkerId, last: RunId) -> Option<Event> {
        match self {
            Self::Processes { wires, .. } => wires.revoke(worker, last),
            // It has no queue.
            Self::Caller { .. } => None,
        }
    }

    /// Whether its workers may have queues.
    pub(super) fn has_queues(&self) -> bool {
        matches!(self, Self::Processes { .. })
    }

    /// Ends a worker.
    pub(super) fn kill(&self, worker: WorkerId, dump_stack: bool) {
        match self {
            Self::Processes { wires, .. } => {
                // One that is not here has ended already.
                wires.kill(worker, dump_stack);
            }
            Self::Caller { seat, .. } => seat.kill(worker),
        }
    }

    /// Ends all workers; returns when nothing of them is left.
    pub(super) async fn kill_all(&self) {
        match self {
            Self::Processes { workers, serving, .. } => {
                serving.abort();
                workers.kill_all().await;
            }
            Self::Caller { seat, .. } => seat.kill_all().await,
        }
    }
}

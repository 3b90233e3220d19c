//! What runs the tasks of a node: processes of its own, or the process that it is in.

use std::ffi::OsString;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hurricane_core::id::WorkerId;
use hurricane_core::message::NodeToWorker;
use hurricane_core::node::WorkerKind;

use super::caller::{Caller, Seat};
use crate::store::Store;
use crate::worker::Workers;

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

/// What runs the tasks of one node for as long as a session lasts.
pub(super) enum Crew {
    Processes(Rc<Workers>),
    Caller { seat: Rc<Seat>, store: Arc<Store> },
}

impl Crew {
    /// Starts a worker.
    pub(super) fn start(&self, worker: WorkerId, kind: &WorkerKind) {
        match self {
            Self::Processes(workers) => workers.start(worker, kind),
            Self::Caller { seat, .. } => seat.start(worker, kind),
        }
    }

    /// Has something ready to be said to a worker by the next [`Crew::flush`].
    pub(super) fn tell(&self, worker: WorkerId, message: NodeToWorker) {
        match self {
            Self::Processes(workers) => workers.tell(worker, message),
            Self::Caller { seat, store } => seat.tell(worker, store.with_bytes(message)),
        }
    }

    /// Says what the workers were told.
    pub(super) fn flush(&self) {
        match self {
            Self::Processes(workers) => workers.flush(),
            Self::Caller { seat, .. } => seat.flush(),
        }
    }

    /// Ends a worker.
    pub(super) fn kill(&self, worker: WorkerId, dump_stack: bool) {
        match self {
            Self::Processes(workers) => workers.kill(worker, dump_stack),
            Self::Caller { seat, .. } => seat.kill(worker),
        }
    }

    /// Ends all workers; returns when nothing of them is left.
    pub(super) async fn kill_all(&self) {
        match self {
            Self::Processes(workers) => workers.kill_all().await,
            Self::Caller { seat, .. } => seat.kill_all().await,
        }
    }
}

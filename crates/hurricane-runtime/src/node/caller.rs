//! The calling process in the place of a worker: tasks wait until it asks for one, and it says when
//! it has done it.

use std::rc::Rc;

use hurricane_core::id::WorkerId;
use hurricane_core::message::NodeToWorker;
use hurricane_core::node::{Event, WorkerKind};

/// What the calling process and its node share.
#[derive(Clone, Debug, Default)]
pub struct Caller {}

/// The calling process as a node sees it, for as long as a session lasts. It lives in the node's
/// thread, in a tokio `LocalSet`.
pub(crate) struct Seat {
    caller: Caller,
    /// Where events go.
    report: Box<dyn Fn(Event)>,
}

impl Seat {
    pub(crate) fn new(caller: Caller, report: Box<dyn Fn(Event)>) -> Rc<Self> {
        Rc::new(Self { caller, report })
    }

    /// The node wants a worker: to be answered by its `Ready`.
    pub(crate) fn start(&self, worker: WorkerId, _kind: &WorkerKind) {
        let _ = &self.caller;
        let reason = "this process runs no tasks yet".into();
        (self.report)(Event::WorkerNotStarted { worker, reason });
    }

    /// What a worker is told, with the bytes of stored values in their place.
    pub(crate) fn tell(&self, worker: WorkerId, message: NodeToWorker) {
        let _ = (&self.caller, worker, message);
    }

    /// What was told since the last time may be seen to now.
    pub(crate) fn flush(&self) {
        let _ = &self.caller;
    }

    /// What the worker runs is to end: to be answered by `WorkerDied`.
    pub(crate) fn kill(&self, worker: WorkerId) {
        let _ = (&self.caller, worker);
    }

    /// The session is over: what is run for it is of no use any more.
    pub(crate) async fn kill_all(&self) {
        let _ = &self.caller;
    }
}

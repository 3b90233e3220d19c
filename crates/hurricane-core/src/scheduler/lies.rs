//! What nodes say is checked: what cannot be true ends the membership of the node that says it. What
//! may have been true when it was said is no lie: that of an attempt that is over has no effect.

use crate::message::{
    ClientToScheduler, Failure, INLINE_LIMIT_BYTES, NodeToScheduler, Stored, Value,
};
use crate::node::MAX_WAITING;
use crate::scheduler::Scheduler;
use crate::scheduler::node::NodeKey;
use crate::scheduler::task::{Place, Recall, Room};

impl Scheduler {
    /// What is wrong with what a node says, if anything is.
    pub(super) fn lie_in(&self, node: NodeKey, message: &NodeToScheduler) -> Option<&'static str> {
        let place = |task, attempt| {
            self.has(node, task, attempt).then(|| self.task(task).place()).flatten()
        };
        match message {
            NodeToScheduler::Finished { value, .. }
            | NodeToScheduler::Nested { message: ClientToScheduler::Put { value, .. }, .. } => {
                self.lie_in_value(node, value)
            }
            NodeToScheduler::Failed { failure, .. } => lie_in_failure(failure),
            &NodeToScheduler::TakenBack { task, attempt } => {
                let is_unasked = |place: Place| place.recall == Recall::No;
                let lie = "it gives a task back that it was not asked for";
                place(task, attempt).is_some_and(is_unasked).then_some(lie)
            }
            &NodeToScheduler::Waiting { task, attempt } => {
                let waits_anew = |place: Place| place.room != Room::GivenBack;
                let is_full = self.nodes.get(node).waiting >= MAX_WAITING;
                let lie = "it lets more tasks wait for their children than may";
                (is_full && place(task, attempt).is_some_and(waits_anew)).then_some(lie)
            }
            _ => None,
        }
    }

    fn lie_in_value(&self, node: NodeKey, value: &Value) -> Option<&'static str> {
        match value {
            Value::Stored(Stored { object, .. }) if object.node != self.nodes.get(node).id => {
                Some("it claims to have stored a value elsewhere than with itself")
            }
            Value::Stored(Stored { object, .. }) if self.is_listed(*object) => {
                Some("it claims to have stored two values as one object")
            }
            Value::Inline(bytes) if bytes.len() > INLINE_LIMIT_BYTES => {
                Some("it sent a value that is too large for a message")
            }
            Value::Stored(_) | Value::Inline(_) => None,
        }
    }
}

/// How attempts fail that a node had; the other failures are the scheduler's to find.
fn lie_in_failure(failure: &Failure) -> Option<&'static str> {
    match failure {
        Failure::Raised(_)
        | Failure::TimedOut { .. }
        | Failure::Infeasible { .. }
        | Failure::NestedTooDeep { .. }
        | Failure::Refused(_) => None,
        Failure::WorkerLost { .. }
        | Failure::ObjectLost
        | Failure::SetupFailed(_)
        | Failure::SchedulerLost(_) => Some("it reports a failure that is not its to find"),
    }
}

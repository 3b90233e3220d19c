//! Inputs that a node could not get, from another node or from the scheduler: the task is tried
//! again, later each time, and elsewhere if there is another node for it.

use crate::id::{NodeId, ObjectId, TaskId};
use crate::message::Failure;
use crate::scheduler::task::Misses;
use crate::scheduler::{Action, Scheduler};
use crate::time::Time;

/// After so many tries, some ten seconds, a value is taken for lost though the node that should have
/// it is there: it is computed again, if it can be.
const LOST_AFTER: u32 = 8;

/// After so many tries, a minute and a half, the task fails. A link that is merely bad for so long
/// ends the session over it, and then another node gets the task.
const MAX_MISSES: u32 = 16;

impl Scheduler {
    pub(super) fn on_input_lost(
        &mut self,
        now: Time,
        node: NodeId,
        id: TaskId,
        object: ObjectId,
        actions: &mut Vec<Action>,
    ) {
        self.leave_node(id, actions);
        if !self.has_all_inputs(id) {
            // It was lost with its node, and is on its way to be computed again.
            return self.await_dependencies(id, actions);
        }
        let misses = self.misses.entry(id).or_insert(Misses { tries: 0, last_node: node });
        misses.tries += 1;
        misses.last_node = node;
        let tries = misses.tries;
        if tries == MAX_MISSES {
            return self.fail(id, unreachable_input(object), actions);
        }
        if tries == LOST_AFTER {
            self.give_up_value(id, object, actions);
        }
        self.retry_later(now, id, tries);
    }

    fn has_all_inputs(&self, id: TaskId) -> bool {
        self.task(id).dependencies().iter().all(|id| self.task(*id).value().is_some())
    }

    /// Takes what a node keeps for lost, if `user` depends on it.
    fn give_up_value(&mut self, user: TaskId, object: ObjectId, actions: &mut Vec<Action>) {
        let listed = self.objects_of(object.node).and_then(|objects| objects.get(&object.number));
        let Some(&owner) = listed else { return };
        if object.node != NodeId::SCHEDULER && self.task(user).dependencies().contains(&owner) {
            self.drop_object(object, actions);
            self.on_values_lost(&[owner], actions);
        }
    }
}

/// What the scheduler keeps is not lost as long as the scheduler is there.
fn unreachable_input(object: ObjectId) -> Failure {
    if object.node == NodeId::SCHEDULER {
        let reason = "no node could get a value that it needs from the scheduler";
        return Failure::Refused(reason.into());
    }
    Failure::ObjectLost
}

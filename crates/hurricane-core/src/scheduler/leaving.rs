//! Nodes that will leave: nothing new is assigned to them, what they have not begun goes elsewhere,
//! and what they run ends there.

use crate::id::{NodeId, TaskId};
use crate::scheduler::node::{NodeKey, Stay};
use crate::scheduler::task::{Recall, Room};
use crate::scheduler::{Action, Scheduler};

impl Scheduler {
    pub(super) fn on_node_leaving(&mut self, id: NodeId, actions: &mut Vec<Action>) {
        let Some(key) = self.nodes.key(id) else { return };
        if self.nodes.get(key).is_leaving() {
            return;
        }
        self.reservations.remove(&key);
        self.nodes.update(key, |node| {
            node.reserved_for = None;
            node.stay = Stay::Leaves;
        });
        for task in self.nodes.get(key).tasks.clone() {
            self.recall_unless_begun(task, actions);
        }
        self.let_go_if_done(key, actions);
    }

    /// Tells a node that leaves, once, when nothing is assigned to it any more.
    pub(super) fn let_go_if_done(&mut self, key: NodeKey, actions: &mut Vec<Action>) {
        let node = self.nodes.get_mut(key);
        if node.stay == Stay::Leaves && node.tasks.is_empty() {
            node.stay = Stay::IsLetGo;
            actions.push(Action::NodeMayLeave { node: node.id });
        }
    }

    /// Asks the node that has a task to give it back. What has room may still wait there for an
    /// input or a worker: only the node knows. A parent that waits for its children has begun.
    fn recall_unless_begun(&mut self, id: TaskId, actions: &mut Vec<Action>) {
        let Some(place) = self.task(id).place() else { return };
        if place.room != Room::GivenBack && place.recall == Recall::No {
            self.recall(id, Recall::ForOtherNode, actions);
        }
    }
}

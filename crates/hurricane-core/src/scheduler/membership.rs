//! Nodes that join, leave and are lost, and what no node could ever run.

use core::time::Duration;

use crate::id::{DefinitionId, NodeId, TaskId};
use crate::message::{Failure, SchedulerToNode};
use crate::resources::Resources;
use crate::scheduler::node::{Node, Stay};
use crate::scheduler::task::{Recall, State};
use crate::scheduler::{Action, Scheduler};
use crate::time::Time;

/// How many nodes a cluster may have.
const MAX_NODES: usize = 20_000;

/// For how long a node that left is expected back.
const EXPECTED_BACK: Duration = Duration::from_hours(1);

/// How many nodes that left are remembered: beyond that, the oldest is not expected back.
const MAX_LEFT: usize = 1_000;

impl Scheduler {
    pub(super) fn on_node_joined(
        &mut self,
        id: NodeId,
        name: Box<str>,
        resources: Resources,
        actions: &mut Vec<Action>,
    ) {
        // What the one machine says of itself is as it is.
        let is_believed = if self.config.is_one_machine {
            resources.is_within_limits()
        } else {
            resources.is_credible()
        };
        let reason = if !is_believed {
            "it claims resources that no machine has"
        } else if self.nodes.len() >= MAX_NODES {
            "the cluster has as many nodes as it can have"
        } else if id == NodeId::SCHEDULER || self.nodes.key(id).is_some() {
            return;
        } else {
            self.nodes.insert(Node::new(id, name, resources));
            return;
        };
        actions.push(Action::RefuseNode { node: id, reason });
    }

    pub(super) fn on_node_lost(&mut self, now: Time, id: NodeId, actions: &mut Vec<Action>) {
        let Some(resources) = self.remove_node(id, actions) else { return };
        self.left.push_back((now, resources));
        if self.left.len() > MAX_LEFT {
            self.left.pop_front();
        }
    }

    /// Ends the membership of a node that broke the protocol. It is not expected back.
    pub(super) fn refuse_node(
        &mut self,
        id: NodeId,
        reason: &'static str,
        actions: &mut Vec<Action>,
    ) {
        actions.push(Action::RefuseNode { node: id, reason });
        self.remove_node(id, actions);
    }

    /// Takes a node out: what it ran goes elsewhere, and what it held is computed again. What it had.
    fn remove_node(&mut self, id: NodeId, actions: &mut Vec<Action>) -> Option<Resources> {
        let key = self.nodes.key(id)?;
        // Nobody is told any more that it may leave.
        self.nodes.get_mut(key).stay = Stay::IsLetGo;
        let tasks = self.nodes.get(key).tasks.clone();
        let to_cancel: Vec<TaskId> =
            tasks.iter().copied().filter(|task| self.is_recalled_to_cancel(*task)).collect();
        for &task in &tasks {
            // Children go with their parents.
            if self.tasks.get(task.0).is_some() {
                self.leave_node(task, actions);
            }
        }
        self.reservations.remove(&key);
        let node = self.nodes.remove(key)?;
        let lost: Vec<TaskId> = node.objects.values().copied().collect();
        self.on_values_lost(&lost, actions);
        for task in to_cancel {
            self.cancel(task, actions);
        }
        for task in tasks {
            if self.tasks.get(task.0).is_some_and(|task| matches!(task.state, State::Retrying)) {
                self.await_dependencies(task, actions);
            }
        }
        Some(node.resources)
    }

    pub(super) fn on_retry_due(&mut self, id: TaskId, actions: &mut Vec<Action>) {
        if self.tasks.get(id.0).is_some_and(|task| matches!(task.state, State::Retrying)) {
            self.await_dependencies(id, actions);
        }
    }

    /// Why tasks of this definition are refused at once, if they are.
    pub(super) fn refusal(&self, now: Time, id: DefinitionId) -> Option<Failure> {
        if let Some(error) = &self.setup_error {
            return Some(Failure::SetupFailed(error.clone()));
        }
        let entry = self.definition(id);
        let Some(shape) = entry.shape else {
            let reason = "too many different amounts of resources are asked for at once";
            return Some(Failure::Refused(reason.into()));
        };
        let has_node = !self.nodes.shapes.get(shape).order.is_empty();
        if has_node { None } else { self.infeasibility(now, &entry.definition.resources) }
    }

    /// Why nothing that asks for this will ever run, if so: nodes are there to stay, and none of
    /// them, nor any that is expected back, has that much. Who leaves is expected back.
    pub(super) fn infeasibility(&self, now: Time, asked: &Resources) -> Option<Failure> {
        let nodes = self.nodes.iter().map(|(_, node)| node);
        let (leaving, staying): (Vec<_>, Vec<_>) = nodes.partition(|node| node.is_leaving());
        let most = staying.iter().map(|node| &node.resources).max_by_key(|most| most.cpus)?;
        let leaving = if self.config.is_one_machine { Vec::new() } else { leaving };
        let is_recent = |time: Time| now.since(time) < EXPECTED_BACK && !self.config.is_one_machine;
        let expected = self.left.iter().filter(|(time, _)| is_recent(*time));
        let present = staying.iter().chain(&leaving).map(|node| &node.resources);
        let mut all = present.chain(expected.map(|(_, resources)| resources));
        let is_feasible = all.any(|resources| resources.serves(asked));
        let failure = Failure::Infeasible { asked: asked.clone(), most: most.clone() };
        (!is_feasible).then_some(failure)
    }

    /// Tells the node that has a task to end it, if one has.
    pub(super) fn cancel_on_node(&mut self, id: TaskId, actions: &mut Vec<Action>) {
        let Some(place) = self.task(id).place() else { return };
        let (node, attempt) = (self.nodes.get(place.node).id, self.task(id).attempt);
        let message = SchedulerToNode::Cancel { task: id, attempt };
        actions.push(Action::ToNode { node, message });
    }

    fn is_recalled_to_cancel(&self, id: TaskId) -> bool {
        self.task(id).place().is_some_and(|place| place.recall == Recall::ToCancel)
    }
}

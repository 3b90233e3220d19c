//! Places: how a task gets onto a node and off it again, and into room there. Whatever changes a place
//! changes what is counted with it, at the node and for the client.

use crate::id::{Attempt, DefinitionId, TaskId};
use crate::message::{SchedulerToNode, Value};
use crate::scheduler::node::NodeKey;
use crate::scheduler::placement::Choice;
use crate::scheduler::tally::Tally;
use crate::scheduler::task::{Place, Recall, Room, State};
use crate::scheduler::{Action, Scheduler};

/// How long a task is taken to run at least: what it costs a node to have it. So a backlog holds no
/// more than a thousand for each slot.
pub(super) const LEAST_EXPECTED_US: u32 = 30;

/// How long a task is taken to run that is the first of its kind: too long to wait for.
const UNKNOWN_US: u32 = 3_600_000_000;

impl Scheduler {
    /// Puts a ready task on a node.
    pub(super) fn assign(&mut self, id: TaskId, choice: Choice, actions: &mut Vec<Action>) {
        let Some(definition) = self.task(id).definition() else { return };
        self.define_on(choice.node, definition, actions);
        self.enter_node(id, definition, choice);
        let inputs = self.inputs(id);
        let task = self.task_mut(id);
        task.attempt = Attempt(task.attempt.0 + 1);
        let (attempt, arguments) = (task.attempt, task.arguments.clone());
        let node = self.nodes.get(choice.node).id;
        let message = SchedulerToNode::Assign { task: id, attempt, definition, arguments, inputs };
        actions.push(Action::ToNode { node, message });
    }

    /// Counts a task in on a node.
    fn enter_node(&mut self, id: TaskId, definition: DefinitionId, choice: Choice) {
        let entry = self.definition(definition);
        let Some(shape) = entry.shape else { return };
        let expected_us = entry.expected_us.unwrap_or(UNKNOWN_US).max(LEAST_EXPECTED_US);
        let (node, shapes) = self.nodes.get_with_shapes(choice.node);
        let position = u32::try_from(node.tasks.len()).expect("allowances end far below that");
        let Choice { node: key, room } = choice;
        let place = Place { node: key, position, shape, expected_us, room, recall: Recall::No };
        node.tasks.push(id);
        if room == Room::Backlog {
            node.backlog.push_back(id);
        }
        let request = &shapes.get(shape).request;
        node.count(place, request, true);
        let cpus = request.cpus;
        self.nodes.enter_standings(key);
        self.enter(id, State::Assigned(place));
        let client = self.task(id).client;
        let root = self.clients.root_mut(client);
        root.assigned += 1;
        root.stalled = None;
        root.cpus_in_use = root.cpus_in_use.plus(cpus);
        self.renew_turn(client);
    }

    /// Takes a task off its node, if it is on one, and ends what it submitted there. Its state is
    /// for the caller to set.
    pub(super) fn leave_node(&mut self, id: TaskId, actions: &mut Vec<Action>) {
        self.end_nested(id, actions);
        // Its children may have been beside it, and have changed its place by leaving.
        if let Some(place) = self.task(id).place() {
            self.enter(id, State::Retrying);
            self.leave_place(id, place, actions);
        }
    }

    /// Ends what a task submitted.
    pub(super) fn end_nested(&mut self, id: TaskId, actions: &mut Vec<Action>) {
        if let Some(&nested) = self.nested.get(&id) {
            self.remove_client(nested, actions);
        }
    }

    /// Counts a task out that is where it was no more: its state says so already.
    pub(super) fn leave_place(&mut self, id: TaskId, place: Place, actions: &mut Vec<Action>) {
        let (node, shapes) = self.nodes.get_with_shapes(place.node);
        node.waiting -= u32::from(place.room == Room::GivenBack);
        node.recalled -= u64::from(place.recall != Recall::No);
        node.tasks.swap_remove(place.position as usize);
        if let Some(moved) = node.tasks.get(place.position as usize)
            && let Some(moved) = self.tasks.get_mut(moved.0)
            && let State::Assigned(moved) = &mut moved.state
        {
            moved.position = place.position;
        }
        let request = &shapes.get(place.shape).request;
        node.count(place, request, false);
        let cpus = request.cpus;
        let client = self.task(id).client;
        let root = self.clients.root_mut(client);
        root.assigned -= 1;
        if place.room != Room::GivenBack {
            root.cpus_in_use = root.cpus_in_use.minus(cpus);
            self.renew_turn(client);
        }
        self.promote(place.node);
        self.let_go_if_done(place.node, actions);
    }

    /// Asks a node to give a task back that waits there.
    pub(super) fn recall(&mut self, id: TaskId, recall: Recall, actions: &mut Vec<Action>) {
        let Some(place) = self.task(id).place() else { return };
        if place.recall == Recall::No {
            let (node, attempt) = (self.nodes.get(place.node).id, self.task(id).attempt);
            let message = SchedulerToNode::TakeBack { task: id, attempt };
            actions.push(Action::ToNode { node, message });
        }
        self.change_place(id, |place| place.recall = recall);
    }

    /// Moves tasks from a node's backlog into the room that it has now.
    pub(super) fn promote(&mut self, key: NodeKey) {
        let (node, shapes) = self.nodes.get_with_shapes(key);
        while let Some(&id) = node.backlog.front() {
            if let Some(task) = self.tasks.get_mut(id.0)
                && let State::Assigned(place) = &mut task.state
                && (place.node, place.room) == (key, Room::Backlog)
            {
                let request = &shapes.get(place.shape).request;
                if !node.has_room(request) {
                    break;
                }
                node.count(*place, request, false);
                place.room = Room::Held;
                node.count(*place, request, true);
                let root = self.clients.root_mut(task.client);
                root.counts.change(Tally::Assigned, Tally::Running);
                task.tally = Tally::Running;
            }
            node.backlog.pop_front();
        }
        self.nodes.enter_standings(key);
    }

    /// A task gives its room back while it waits for its children, or has it again.
    pub(super) fn enter_room(&mut self, key: NodeKey, id: TaskId, room: Room) {
        let former = self.task(id).place().map(|place| place.room);
        let node = self.nodes.get_mut(key);
        node.waiting += u32::from(room == Room::GivenBack);
        node.waiting -= u32::from(former == Some(Room::GivenBack));
        self.change_place(id, |place| place.room = room);
    }

    /// Changes a task's place, and with it what is counted at its node and its client.
    pub(super) fn change_place(&mut self, id: TaskId, change: impl FnOnce(&mut Place)) {
        let Some(former) = self.task(id).place() else { return };
        let mut place = former;
        change(&mut place);
        self.enter(id, State::Assigned(place));
        let (node, shapes) = self.nodes.get_with_shapes(place.node);
        if former.recall != place.recall {
            node.recalled += u64::from(place.recall != Recall::No);
            node.recalled -= u64::from(former.recall != Recall::No);
            self.is_unsettled = true;
        }
        let request = &shapes.get(place.shape).request;
        node.count(former, request, false);
        node.count(place, request, true);
        let cpus = request.cpus;
        let client = self.task(id).client;
        let root = self.clients.root_mut(client);
        match (former.room == Room::GivenBack, place.room == Room::GivenBack) {
            (false, true) => root.cpus_in_use = root.cpus_in_use.minus(cpus),
            (true, false) => root.cpus_in_use = root.cpus_in_use.plus(cpus),
            _ => {}
        }
        self.renew_turn(client);
        self.nodes.enter_standings(place.node);
    }

    /// Whether a task finds room on a node now.
    pub(super) fn has_room(&self, key: NodeKey, id: TaskId) -> bool {
        let shape = self.standing(self.task(id)).map(|(_, shape)| shape);
        shape.is_some_and(|shape| {
            self.nodes.get(key).has_room(&self.nodes.shapes.get(shape).request)
        })
    }

    /// Whether this attempt of a task is the present one, and on this node.
    pub(super) fn has(&self, node: NodeKey, task: TaskId, attempt: Attempt) -> bool {
        self.tasks.get(task.0).is_some_and(|task| {
            task.attempt == attempt && task.place().is_some_and(|place| place.node == node)
        })
    }

    fn inputs(&self, id: TaskId) -> Vec<Value> {
        let dependencies = self.task(id).dependencies();
        if dependencies.is_empty() {
            return Vec::new();
        }
        let dependencies = dependencies.iter();
        let values = dependencies.filter_map(|id| self.task(*id).value().cloned());
        values.collect()
    }
}

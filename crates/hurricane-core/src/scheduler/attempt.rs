//! Attempts: how a task gets onto a node and off it again, and what nodes say of those they have.
//! What is said of another attempt than the present one has no effect.

use core::time::Duration;

use bytes::Bytes;

use crate::id::{Attempt, DefinitionId, NodeId, TaskId};
use crate::message::{
    ClientToScheduler, Death, Ending, Failure, NodeToScheduler, Output, SchedulerToClient,
    SchedulerToNode, Stored, Value,
};
use crate::scheduler::client::CANCELLED;
use crate::scheduler::node::NodeKey;
use crate::scheduler::placement::Choice;
use crate::scheduler::task::{Deaths, Place, Recall, Room, State, Task};
use crate::scheduler::{Action, Scheduler, Timer};
use crate::time::Time;

/// How many workers may die under a task before it is set aside.
pub const MAX_DEATHS: usize = 3;

/// How long a task is taken to run at least: what it costs a node to have it. So a backlog holds no
/// more than a thousand for each slot.
pub(super) const LEAST_EXPECTED_US: u32 = 30;

/// How long a task is taken to run that is the first of its kind: too long to wait for.
const UNKNOWN_US: u32 = 3_600_000_000;

/// The wait before a task is tried again, which doubles with each failure.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// What a message with output costs beside its text.
const OUTPUT_COST_BYTES: usize = 64;

/// The longest such wait.
const LAST_RETRY: Duration = Duration::from_secs(10);

impl Scheduler {
    pub(super) fn on_node_message(
        &mut self,
        now: Time,
        id: NodeId,
        message: NodeToScheduler,
        actions: &mut Vec<Action>,
    ) {
        let Some(node) = self.nodes.key(id) else { return };
        if let Some(lie) = self.lie_in(node, &message) {
            return self.refuse_node(id, lie, actions);
        }
        match message {
            NodeToScheduler::Finished { task, attempt, value, ran } => {
                self.on_finished(node, (task, attempt), value, ran, actions);
            }
            NodeToScheduler::Failed { task, attempt, failure, ran } => {
                if self.has(node, task, attempt) {
                    self.on_failed(now, node, task, *failure, ran, actions);
                }
            }
            NodeToScheduler::Died { task, attempt, death } => {
                if self.has(node, task, attempt) {
                    self.on_died(node, task, *death, actions);
                }
            }
            NodeToScheduler::TakenBack { task, attempt } => {
                if self.has(node, task, attempt) {
                    self.on_taken_back(task, actions);
                }
            }
            NodeToScheduler::Kept { task, attempt } => {
                if self.has(node, task, attempt) {
                    self.on_kept(task);
                }
            }
            NodeToScheduler::Waiting { task, attempt } => {
                if self.has(node, task, attempt) {
                    self.enter_room(node, task, Room::GivenBack);
                    self.promote(node);
                }
            }
            NodeToScheduler::Resumed { task, attempt } => {
                if self.has(node, task, attempt) {
                    self.enter_room(node, task, Room::Held);
                }
            }
            NodeToScheduler::InputLost { task, attempt, object } => {
                if self.has(node, task, attempt) {
                    self.on_input_lost(now, id, task, object, actions);
                }
            }
            NodeToScheduler::Output { task, attempt, output } => {
                if self.has(node, task, attempt) {
                    self.on_output(now, node, task, output, actions);
                }
            }
            NodeToScheduler::Nested { task, attempt, message } => {
                self.on_nested(now, node, (task, attempt), message, actions);
            }
            NodeToScheduler::SetupFailed { error } => {
                self.on_setup_failed(now, id, &error, actions);
            }
        }
    }

    /// Puts a ready task on a node.
    pub(super) fn assign(&mut self, id: TaskId, choice: Choice, actions: &mut Vec<Action>) {
        let Some(definition) = self.task(id).definition() else { return };
        self.define_on(choice.node, definition, actions);
        let inputs = self.inputs(id);
        self.enter_node(id, definition, choice);
        let task = self.task_mut(id);
        task.attempt = Attempt(task.attempt.0 + 1);
        let (attempt, arguments) = (task.attempt, task.arguments.clone());
        let node = self.nodes.get(choice.node).id;
        let message = SchedulerToNode::Assign { task: id, attempt, definition, arguments, inputs };
        actions.push(Action::ToNode { node, message });
    }

    /// Counts a task in on a node.
    fn enter_node(&mut self, id: TaskId, definition: DefinitionId, choice: Choice) {
        let expected_us = self.definition(definition).expected_us.unwrap_or(UNKNOWN_US);
        let node = self.nodes.get_mut(choice.node);
        let position = u32::try_from(node.tasks.len()).expect("allowances end far below that");
        node.tasks.push(id);
        if choice.room == Room::Backlog {
            node.backlog.push_back(id);
        }
        let place = Place {
            node: choice.node,
            position,
            expected_us: expected_us.max(LEAST_EXPECTED_US),
            room: choice.room,
            recall: Recall::No,
        };
        self.enter(id, State::Assigned(place));
        self.move_task(id, None, Some(place), 1);
        self.nodes.enter_standings(choice.node);
    }

    /// Takes a task off its node, if it is on one, and ends what it submitted there. Its state is
    /// for the caller to set.
    pub(super) fn leave_node(&mut self, id: TaskId, actions: &mut Vec<Action>) {
        if let Some(&nested) = self.nested.get(&id) {
            self.remove_client(nested, actions);
        }
        // Its children may have been beside it, and have changed its place by leaving.
        let Some(place) = self.task(id).place() else { return };
        self.enter(id, State::Retrying);
        let node = self.nodes.get_mut(place.node);
        node.waiting -= u32::from(place.room == Room::GivenBack);
        node.recalled -= u64::from(place.recall != Recall::No);
        node.tasks.swap_remove(place.position as usize);
        if let Some(&moved) = node.tasks.get(place.position as usize)
            && let State::Assigned(moved) = &mut self.task_mut(moved).state
        {
            moved.position = place.position;
        }
        self.move_task(id, Some(place), None, -1);
        self.promote(place.node);
        self.let_go_if_done(place.node, actions);
    }

    /// Counts a task out of one place on a node and into another, there and for its client, which
    /// has so many more on nodes.
    fn move_task(
        &mut self,
        id: TaskId,
        former: Option<Place>,
        present: Option<Place>,
        assigned: i64,
    ) {
        let task = self.task(id);
        let client = task.client;
        let Some(place) = former.or(present) else { return };
        let Some((_, shape)) = self.standing(task) else { return };
        self.nodes.move_task(place.node, shape, former, present);
        let cpus = self.nodes.shapes.get(shape).request.cpus;
        let has_room = |place: Option<Place>| place.is_some_and(|it| it.room != Room::GivenBack);
        let root = self.clients.root_mut(client);
        root.assigned = root.assigned.saturating_add_signed(assigned);
        if assigned > 0 {
            root.stalled = None;
        }
        match (has_room(former), has_room(present)) {
            (true, false) => root.cpus_in_use = root.cpus_in_use.minus(cpus),
            (false, true) => root.cpus_in_use = root.cpus_in_use.plus(cpus),
            _ => return,
        }
        if root.turn.is_some() {
            self.enter_turn(client);
        }
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
        while let Some(&id) = self.nodes.get(key).backlog.front() {
            let place = self.tasks.get(id.0).and_then(Task::place);
            let is_here = |place: Place| place.node == key && place.room == Room::Backlog;
            if place.is_some_and(is_here) {
                if !self.has_room(key, id) {
                    break;
                }
                self.shift_place(id, |place| place.room = Room::Held);
            }
            self.nodes.get_mut(key).backlog.pop_front();
        }
        self.nodes.enter_standings(key);
    }

    /// A task gives its room back while it waits for its children, or has it again.
    fn enter_room(&mut self, key: NodeKey, id: TaskId, room: Room) {
        let former = self.task(id).place().map(|place| place.room);
        let node = self.nodes.get_mut(key);
        node.waiting += u32::from(room == Room::GivenBack);
        node.waiting -= u32::from(former == Some(Room::GivenBack));
        self.change_place(id, |place| place.room = room);
    }

    /// Changes a task's place, and with it what is counted at its node and its client.
    fn change_place(&mut self, id: TaskId, change: impl FnOnce(&mut Place)) {
        if let Some(place) = self.shift_place(id, change) {
            self.nodes.enter_standings(place.node);
        }
    }

    /// The same without the node's standings; returns where the task is.
    fn shift_place(&mut self, id: TaskId, change: impl FnOnce(&mut Place)) -> Option<Place> {
        let former = self.task(id).place()?;
        let mut place = former;
        change(&mut place);
        self.enter(id, State::Assigned(place));
        if former.recall != place.recall {
            let node = self.nodes.get_mut(place.node);
            node.recalled += u64::from(place.recall != Recall::No);
            node.recalled -= u64::from(former.recall != Recall::No);
            self.is_unsettled = true;
        }
        if former.room != place.room {
            self.move_task(id, Some(former), Some(place), 0);
        }
        Some(place)
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
        let dependencies = self.task(id).dependencies().iter();
        let values = dependencies.filter_map(|id| self.task(*id).value().cloned());
        values.collect()
    }

    fn on_finished(
        &mut self,
        key: NodeKey,
        (task, attempt): (TaskId, Attempt),
        value: Value,
        ran: Duration,
        actions: &mut Vec<Action>,
    ) {
        if !self.has(key, task, attempt) {
            return self.drop_unnamed(&value, actions);
        }
        if let Some(definition) = self.task(task).definition() {
            self.definition_mut(definition).learn(ran);
        }
        let node = self.nodes.get_mut(key);
        node.finished += 1;
        if let Value::Stored(Stored { object, .. }) = &value {
            node.objects.insert(object.number, task);
        }
        self.ended += 1;
        self.end(task, Ending::Done(value), actions);
    }

    fn on_failed(
        &mut self,
        now: Time,
        node: NodeKey,
        id: TaskId,
        failure: Failure,
        ran: Duration,
        actions: &mut Vec<Action>,
    ) {
        let Some(definition) = self.task(id).definition() else { return };
        self.definition_mut(definition).learn(ran);
        self.nodes.get_mut(node).finished += 1;
        self.ended += 1;
        let retries = self.definition(definition).definition.retries;
        let task = self.task_mut(id);
        task.failures += 1;
        let failures = task.failures;
        let is_retried = matches!(failure, Failure::Raised(_) | Failure::TimedOut { .. });
        if !is_retried || failures > retries {
            return self.fail(id, failure, actions);
        }
        self.leave_node(id, actions);
        self.retry_later(now, id, failures);
    }

    /// Lets a task wait until it is tried again, after so many tries.
    pub(super) fn retry_later(&mut self, now: Time, id: TaskId, tries: u32) {
        let doublings = (tries - 1).min(16);
        let due = now + (FIRST_RETRY * (1 << doublings)).min(LAST_RETRY);
        self.timers.insert((due, Timer::Retry(id)));
    }

    fn on_died(&mut self, node: NodeKey, id: TaskId, death: Death, actions: &mut Vec<Action>) {
        let ended_before = self.ended;
        let node = self.nodes.get(node);
        // Whose death it was is not the node's to say.
        let (node, death) = (node.id, Death { node: node.name.clone(), ..death });
        let deaths = self.deaths.entry(id).or_insert_with(|| Deaths {
            all: Vec::new(),
            last_node: node,
            ended_before,
        });
        deaths.last_node = node;
        deaths.all.push(death);
        if deaths.all.len() < MAX_DEATHS {
            self.leave_node(id, actions);
            return self.await_dependencies(id, actions);
        }
        let is_poison = self.ended > deaths.ended_before;
        let deaths = core::mem::take(&mut deaths.all);
        self.fail(id, Failure::WorkerLost { deaths, is_poison }, actions);
    }

    /// A node starts what fits, whatever waits before it: the task has room there.
    fn on_kept(&mut self, id: TaskId) {
        self.change_place(id, |place| {
            if place.recall != Recall::No && place.room == Room::Backlog {
                place.room = Room::Held;
            }
            place.recall = Recall::No;
        });
    }

    fn on_taken_back(&mut self, id: TaskId, actions: &mut Vec<Action>) {
        let recall = self.task(id).place().map(|place| place.recall);
        self.leave_node(id, actions);
        match recall {
            Some(Recall::ToCancel) => self.end(id, CANCELLED, actions),
            _ => self.await_dependencies(id, actions),
        }
    }

    /// An honest node never writes more than is passed on, but after a scheduler stood still.
    fn on_output(
        &mut self,
        now: Time,
        node: NodeKey,
        id: TaskId,
        output: Output,
        actions: &mut Vec<Action>,
    ) {
        let bytes = output.text.len() + OUTPUT_COST_BYTES;
        if !self.nodes.get_mut(node).output.pays_for(bytes, now) {
            return;
        }
        let task = self.task(id);
        let Some(definition) = task.definition() else { return };
        let name = self.definition(definition).definition.name.clone();
        let node = self.nodes.get(node).name.clone();
        let (number, output) = (task.number, Box::new(output));
        let message = SchedulerToClient::Output { number, name, node, output };
        self.tell(self.clients.root(task.client), message, actions);
    }

    fn on_nested(
        &mut self,
        now: Time,
        node: NodeKey,
        (task, attempt): (TaskId, Attempt),
        message: ClientToScheduler,
        actions: &mut Vec<Action>,
    ) {
        if self.has(node, task, attempt) {
            if let Some(definition) = self.task(task).definition() {
                self.definition_mut(definition).has_nested = true;
            }
            let client = self.nested_client(task, attempt, actions);
            return self.on_said(now, client, message, actions);
        }
        // The attempt is over.
        if let ClientToScheduler::Put { value, .. } = message {
            self.drop_unnamed(&value, actions);
        }
    }

    fn on_setup_failed(&mut self, now: Time, id: NodeId, error: &Bytes, actions: &mut Vec<Action>) {
        if !self.config.is_one_machine {
            let reason = "its workers cannot be set up";
            actions.push(Action::RefuseNode { node: id, reason });
            // Somebody will see to it, and it will be back.
            return self.on_node_lost(now, id, actions);
        }
        self.setup_error = Some(error.clone());
        let clients: Vec<_> = self.clients.iter().map(|(key, _)| key).collect();
        for client in clients {
            let message = SchedulerToClient::SetupFailed { error: error.clone() };
            self.tell(client, message, actions);
        }
        let tasks: Vec<TaskId> = self.tasks.iter().map(|(key, _)| TaskId(key)).collect();
        for task in tasks {
            if self.tasks.get(task.0).is_some_and(|task| !task.is_ended()) {
                self.cancel_on_node(task, actions);
                self.fail(task, Failure::SetupFailed(error.clone()), actions);
            }
        }
    }
}

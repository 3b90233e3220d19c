//! Attempts: what nodes say of those they have, and what that means for the tasks. What is said of
//! another attempt than the present one has no effect.

use core::time::Duration;

use bytes::Bytes;

use crate::id::{Attempt, NodeId, TaskId};
use crate::message::{
    ClientToScheduler, Death, Ending, Failure, NodeToScheduler, Output, SchedulerToClient, Stored,
    Value,
};
use crate::scheduler::client::CANCELLED;
use crate::scheduler::node::NodeKey;
use crate::scheduler::task::{Deaths, Recall, Room};
use crate::scheduler::{Action, Scheduler, Timer};
use crate::time::Time;

/// How many workers may die under a task before it is set aside.
pub const MAX_DEATHS: usize = 3;

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

//! The clients, and what they say. A running task that submits others is a client as well: one
//! that its attempt brings and takes along.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::id::{Attempt, ClientId, DefinitionId, DefinitionNumber, NodeId, Number, TaskId};
use crate::message::{
    Allowance, ClientToScheduler, Ending, Failure, MAX_DEPENDENCIES, SchedulerToClient,
    SchedulerToNode, Stored, Value,
};
use crate::resources::Amount;
use crate::scheduler::clients::ClientKey;
use crate::scheduler::numbers::Numbers;
use crate::scheduler::ready::Ready;
use crate::scheduler::tally::Counts;
use crate::scheduler::task::{Links, Recall, Room, State, Task};
use crate::scheduler::turns::Turn;
use crate::scheduler::{Action, Scheduler};
use crate::time::Time;

/// How many unfinished tasks and unreleased objects a client may have: a million and a bit, at some
/// 400 bytes each.
pub const MAX_TASKS: u64 = 1 << 20;

/// How many bytes of arguments and inline objects of a client the scheduler keeps. The message that
/// crosses the limit is still taken.
pub const MAX_ARGUMENT_BYTES: u64 = 4 << 30;

/// A client hears of its allowance when it has grown by one part in so many of the limit.
const ALLOWANCE_STEPS: u64 = 16;

/// How deep tasks may submit tasks that submit tasks. Each level holds a worker that waits.
const MAX_DEPTH: u16 = 1_000;

/// Ids from here on are those of running tasks in the part of a client.
const FIRST_NESTED: u64 = 1 << 63;

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: ClientId,
    /// The running task whose submissions these are.
    pub(super) parent: Option<(TaskId, Attempt)>,
    /// The client at the top: itself, or the one that submitted the parent's parent's parent.
    pub(super) root: Option<ClientKey>,
    pub(super) depth: u16,
    pub(super) numbers: Numbers,
    pub(super) definitions: BTreeMap<DefinitionNumber, DefinitionId>,
    pub(super) last_definition: Option<DefinitionNumber>,
    /// At the top: the ready tasks, and what their like holds of the cluster's cpus.
    pub(super) ready: Ready,
    pub(super) cpus_in_use: Amount,
    /// At the top: how many tasks are on nodes.
    pub(super) assigned: u64,
    /// At the top: the turn under which it is listed, if it is.
    pub(super) turn: Option<Turn>,
    /// At the top: the last round of placement in which nothing of it found room.
    pub(super) idle_in: u64,
    /// At the top: since when tasks are ready and none is on a node; and when it is told next.
    pub(super) stalled: Option<Time>,
    pub(super) counts: Counts,
    submitted: Allowance,
    settled: Allowance,
    granted: Allowance,
    /// Whether it is being removed: nothing is told to it any more.
    is_leaving: bool,
}

impl Client {
    fn new(id: ClientId) -> Self {
        Self {
            id,
            parent: None,
            root: None,
            depth: 0,
            numbers: Numbers::default(),
            definitions: BTreeMap::new(),
            last_definition: None,
            ready: Ready::default(),
            cpus_in_use: Amount::default(),
            assigned: 0,
            turn: None,
            idle_in: 0,
            stalled: None,
            counts: Counts::default(),
            submitted: Allowance::default(),
            settled: Allowance::default(),
            granted: Allowance::default(),
            is_leaving: false,
        }
    }

    /// What it may submit in all, if that is worth telling.
    fn grant(&mut self) -> Option<Allowance> {
        let tasks = self.settled.tasks + MAX_TASKS;
        let bytes = self.settled.bytes + MAX_ARGUMENT_BYTES;
        let is_worth_telling = tasks - self.granted.tasks >= MAX_TASKS / ALLOWANCE_STEPS
            || bytes - self.granted.bytes >= MAX_ARGUMENT_BYTES / ALLOWANCE_STEPS;
        if !is_worth_telling {
            return None;
        }
        self.granted = Allowance { tasks, bytes };
        Some(self.granted)
    }

    /// Counts something submitted; whether that was within what it had been granted.
    fn submit(&mut self, bytes: usize) -> bool {
        let is_allowed =
            self.submitted.tasks < self.granted.tasks && self.submitted.bytes < self.granted.bytes;
        self.submitted.tasks += 1;
        self.submitted.bytes += bytes as u64;
        is_allowed
    }
}

/// A task as its client submits it.
struct Submission {
    number: Number,
    definition: DefinitionNumber,
    arguments: Bytes,
    dependencies: Vec<Number>,
}

impl Scheduler {
    pub(super) fn on_client_joined(&mut self, id: ClientId, actions: &mut Vec<Action>) {
        if self.clients.key(id).is_some() || id.0 >= FIRST_NESTED {
            return;
        }
        let key = self.clients.insert(Client::new(id));
        self.settle(key, 0, 0, actions);
    }

    pub(super) fn on_client_gone(&mut self, id: ClientId, actions: &mut Vec<Action>) {
        let key = self.clients.key(id);
        if let Some(key) = key.filter(|key| self.clients[*key].parent.is_none()) {
            self.remove_client(key, actions);
        }
    }

    pub(super) fn on_client_message(
        &mut self,
        now: Time,
        id: ClientId,
        message: ClientToScheduler,
        actions: &mut Vec<Action>,
    ) {
        match self.clients.look_up(id) {
            Some(key) => self.on_said(now, key, message, actions),
            None => self.drop_unheard(message, actions),
        }
    }

    /// A client that is there, or a running task in the part of one, said something.
    pub(super) fn on_said(
        &mut self,
        now: Time,
        id: ClientKey,
        message: ClientToScheduler,
        actions: &mut Vec<Action>,
    ) {
        match message {
            ClientToScheduler::Define { number, definition } => {
                self.on_definition_made(id, number, *definition, actions);
            }
            ClientToScheduler::Forget { number } => {
                self.on_definition_forgotten(id, number, actions);
            }
            ClientToScheduler::Submit { number, definition, arguments, dependencies } => {
                let submission = Submission { number, definition, arguments, dependencies };
                self.on_task_submitted(now, id, submission, actions);
            }
            ClientToScheduler::Put { number, value } => {
                self.on_object_put(id, number, value, actions);
            }
            ClientToScheduler::Cancel { number } => self.on_cancelled(id, number, actions),
            ClientToScheduler::CancelWaiting => self.on_waiting_cancelled(id, actions),
            ClientToScheduler::Release { numbers } => {
                for number in numbers {
                    self.on_released(id, number, actions);
                }
            }
        }
    }

    /// The client that a running task is, made when it first speaks.
    pub(super) fn nested_client(
        &mut self,
        parent: TaskId,
        attempt: Attempt,
        actions: &mut Vec<Action>,
    ) -> ClientKey {
        if let Some(&id) = self.nested.get(&parent) {
            return id;
        }
        let above = self.task(parent).client;
        let client = Client {
            parent: Some((parent, attempt)),
            root: Some(self.clients.root(above)),
            depth: self.clients[above].depth + 1,
            ..Client::new(ClientId(FIRST_NESTED + self.nested_made))
        };
        self.nested_made += 1;
        let id = self.clients.insert(client);
        self.nested.insert(parent, id);
        self.settle(id, 0, 0, actions);
        id
    }

    /// Ends everything of a client, and forgets it.
    pub(super) fn remove_client(&mut self, id: ClientKey, actions: &mut Vec<Action>) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.is_leaving = true;
        let tasks: Vec<(Number, TaskId)> = client.numbers.iter().collect();
        for &(_, task) in tasks.iter().rev() {
            self.cancel(task, actions);
        }
        for (number, _) in tasks {
            self.on_released(id, number, actions);
        }
        let Some(client) = self.clients.get_mut(id) else { return };
        let definitions: Vec<DefinitionNumber> = client.definitions.keys().copied().collect();
        for number in definitions {
            self.on_definition_forgotten(id, number, actions);
        }
        let Some(client) = self.clients.remove(id) else { return };
        self.departed = self.departed.with(client.counts);
        if let Some((parent, _)) = client.parent {
            self.nested.remove(&parent);
        }
        self.turns.change(client.turn, None);
    }

    /// Ends a client that broke the protocol. A running task in the part of one loses its children.
    pub(super) fn refuse(
        &mut self,
        id: ClientKey,
        reason: &'static str,
        actions: &mut Vec<Action>,
    ) {
        let Some(client) = self.clients.get(id) else { return };
        if client.parent.is_none() {
            actions.push(Action::RefuseClient { client: client.id, reason });
        }
        self.refused.push(id);
    }

    /// Says something to a client, or to the running task that is one.
    pub(super) fn tell(
        &self,
        id: ClientKey,
        message: SchedulerToClient,
        actions: &mut Vec<Action>,
    ) {
        let Some(client) = self.clients.get(id) else { return };
        if client.is_leaving {
            return;
        }
        let Some((task, attempt)) = client.parent else {
            return actions.push(Action::ToClient { client: client.id, message });
        };
        let Some(place) = self.task(task).place() else { return };
        let node = self.nodes.get(place.node).id;
        let message = SchedulerToNode::Nested { task, attempt, message };
        actions.push(Action::ToNode { node, message });
    }

    /// Gives back a part of a client's allowance.
    pub(super) fn settle(
        &mut self,
        id: ClientKey,
        tasks: u64,
        bytes: u64,
        actions: &mut Vec<Action>,
    ) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.settled.tasks += tasks;
        client.settled.bytes += bytes;
        if let Some(allowance) = client.grant() {
            self.tell(id, SchedulerToClient::Allowance(allowance), actions);
        }
    }

    fn on_task_submitted(
        &mut self,
        now: Time,
        id: ClientKey,
        submission: Submission,
        actions: &mut Vec<Action>,
    ) {
        let Submission { number, definition, arguments, dependencies } = submission;
        let client = self.clients.get_mut(id).expect("it was looked up on the way here");
        let is_allowed = client.submit(arguments.len());
        let definition = client.definitions.get(&definition).copied();
        let is_acceptable =
            is_allowed && client.numbers.is_next(number) && dependencies.len() <= MAX_DEPENDENCIES;
        let (Some(definition), true) = (definition, is_acceptable) else {
            let reason = "a submission is out of order, undefined, or over its allowance";
            return self.refuse(id, reason, actions);
        };
        let found: Option<Box<[TaskId]>> = if dependencies.is_empty() {
            Some(Box::default())
        } else {
            dependencies.iter().map(|&dependency| client.numbers.get(dependency)).collect()
        };
        let depth = client.depth;
        let known = found.is_some();
        let entry = self.definition_mut(definition);
        entry.tasks += 1;
        let priority = entry.definition.priority;
        let mut record = self.new_record(id, number, Some(definition));
        record.arguments = arguments;
        record.links = Links::to(found.unwrap_or_default());
        record.priority = priority;
        record.depth = depth;
        record.is_repeatable = true;
        let task = self.remember(record);
        if !known {
            let reason = "it depends on a task or an object that was released".into();
            self.fail(task, Failure::Refused(reason), actions);
        } else if depth > MAX_DEPTH {
            let failure = Failure::NestedTooDeep { limit: u32::from(MAX_DEPTH) };
            self.fail(task, failure, actions);
        } else if let Some(failure) = self.refusal(now, definition) {
            self.fail(task, failure, actions);
        } else {
            self.start(task, actions);
        }
    }

    fn on_object_put(
        &mut self,
        id: ClientKey,
        number: Number,
        value: Value,
        actions: &mut Vec<Action>,
    ) {
        if !self.may_put(id, &value) {
            return self.refuse(id, "it names an object that is not its own", actions);
        }
        let client = self.clients.get_mut(id).expect("it was looked up on the way here");
        let is_allowed = client.submit(inline_bytes(&value));
        if !is_allowed || !client.numbers.is_next(number) {
            self.drop_unnamed(&value, actions);
            return self.refuse(id, "an object is out of order or over its allowance", actions);
        }
        let mut record = self.new_record(id, number, None);
        record.is_told = true;
        let task = self.remember(record);
        if let Value::Stored(stored) = &value {
            let Some(objects) = self.objects_of_mut(stored.object.node) else {
                return self.fail(task, Failure::ObjectLost, actions);
            };
            objects.insert(stored.object.number, task);
        }
        self.enter(task, State::Done { value: Some(value) });
    }

    /// The client is gone, and with it who would name what it put.
    fn drop_unheard(&mut self, message: ClientToScheduler, actions: &mut Vec<Action>) {
        if let ClientToScheduler::Put { value, .. } = message {
            self.drop_unnamed(&value, actions);
        }
    }

    /// Whether a client may put this. What is stored is not its to say: on one machine the runtime
    /// has stored it in the node, in a cluster beside the scheduler; what a running task puts, its
    /// node has stored, and was asked before.
    fn may_put(&self, id: ClientKey, value: &Value) -> bool {
        let Value::Stored(Stored { object, .. }) = value else { return true };
        let is_kept = object.node == NodeId::SCHEDULER;
        let is_nested = self.clients[id].parent.is_some();
        (is_nested || is_kept != self.config.is_one_machine) && !self.is_listed(*object)
    }

    fn on_cancelled(&mut self, id: ClientKey, number: Number, actions: &mut Vec<Action>) {
        let task = self.clients[id].numbers.get(number);
        if let Some(task) = task.filter(|task| !self.task(*task).is_told) {
            self.cancel(task, actions);
        }
    }

    /// Cancels what does not run. What waits in the backlog of a node is cancelled once the node
    /// says that it has not started. What runs again for a lost value has ended before.
    fn on_waiting_cancelled(&mut self, id: ClientKey, actions: &mut Vec<Action>) {
        let tasks = self.clients[id].numbers.iter().map(|(_, task)| task);
        let tasks: Vec<TaskId> = tasks.filter(|task| !self.task(*task).is_told).collect();
        for task in tasks {
            match self.tasks.get(task.0).map(Task::place) {
                Some(None) => self.cancel(task, actions),
                Some(Some(place)) if place.room == Room::Backlog => {
                    self.recall(task, Recall::ToCancel, actions);
                }
                _ => {}
            }
        }
    }

    pub(super) fn on_released(&mut self, id: ClientKey, number: Number, actions: &mut Vec<Action>) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Some(task) = client.numbers.remove(number) else { return };
        self.task_mut(task).is_held = false;
        self.drop_unneeded(task, actions);
    }

    /// Keeps a new task or object under its number.
    fn remember(&mut self, record: Task) -> TaskId {
        let (client, number) = (record.client, record.number);
        let tally = (!record.is_put()).then_some(record.tally);
        let task = TaskId(self.tasks.insert(record));
        let owner = self.clients.get_mut(client).expect("a record is made for a client");
        owner.numbers.insert(number, task);
        if let Some(tally) = tally {
            self.clients.root_mut(client).counts.enter(tally);
        }
        task
    }

    fn new_record(
        &mut self,
        client: ClientKey,
        number: Number,
        definition: Option<DefinitionId>,
    ) -> Task {
        self.submissions += 1;
        Task::new(client, number, definition, self.submissions)
    }
}

/// How many bytes of it the scheduler keeps.
pub(super) fn inline_bytes(value: &Value) -> usize {
    match value {
        Value::Inline(bytes) => bytes.len(),
        Value::Stored(_) => 0,
    }
}

/// The ending of what was cancelled itself.
pub(super) const CANCELLED: Ending = Ending::Cancelled { cause: None };

//! A scheduler, and short words for what happens to it.

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;
use hurricane_core::Scheduler;
use hurricane_core::id::{
    Attempt, ClientId, DefinitionNumber, NodeId, Number, ObjectId, ObjectNumber, TaskId,
};
use hurricane_core::message::{
    ClientToScheduler, Death, Definition, Ending, Failure, NodeToScheduler, SchedulerToClient,
    SchedulerToNode, Stored, Value,
};
use hurricane_core::resources::Resources;
use hurricane_core::scheduler::{Action, Config, Event};
use hurricane_core::time::Time;

/// The definition that asks for one cpu and nothing else.
pub(crate) const PLAIN: u32 = 1;

/// A scheduler whose nodes are all there will ever be.
pub(crate) const ONE_MACHINE: Config = Config { is_one_machine: true };

pub(crate) struct World {
    pub(crate) scheduler: Scheduler,
    now: Time,
    /// The last attempt of each task that was assigned, by its number, and where.
    assigned: BTreeMap<u64, (NodeId, TaskId, Attempt)>,
    definitions: u32,
}

/// A definition like [`PLAIN`], to be changed.
pub(crate) fn plain() -> Definition {
    Definition {
        function: Bytes::from_static(b"function"),
        name: "work".into(),
        resources: Resources::cpus(1),
        retries: 0,
        timeout: None,
        priority: 0,
    }
}

impl World {
    /// Client 1 with the definition [`PLAIN`], and nodes 1, 2, … with so many cpus.
    pub(crate) fn new(cpus: &[u64]) -> Self {
        Self::with_config(Config { is_one_machine: false }, cpus)
    }

    pub(crate) fn with_config(config: Config, cpus: &[u64]) -> Self {
        let scheduler = Scheduler::new(config);
        let assigned = BTreeMap::new();
        let mut world = Self { scheduler, now: Time(0), assigned, definitions: 0 };
        world.join_client(1);
        for (&cpus, node) in cpus.iter().zip(1..) {
            world.join_node(node, Resources::cpus(cpus));
        }
        world.define(plain());
        world
    }

    pub(crate) fn join_client(&mut self, client: u64) {
        self.handle(Event::ClientJoined { client: ClientId(client) });
    }

    pub(crate) fn join_node(&mut self, node: u64, resources: Resources) -> Vec<String> {
        let name = format!("node-{node}").into();
        self.handle(Event::NodeJoined { node: NodeId(node), name, resources })
    }

    pub(crate) fn lose_node(&mut self, node: u64) -> Vec<String> {
        self.handle(Event::NodeLost { node: NodeId(node) })
    }

    pub(crate) fn leave_node(&mut self, node: u64) -> Vec<String> {
        self.handle(Event::NodeLeaving { node: NodeId(node) })
    }

    /// Lets the running task `parent` say something in the part of a client.
    pub(crate) fn say_nested(&mut self, parent: u64, message: ClientToScheduler) -> Vec<String> {
        self.report(parent, |task, attempt| NodeToScheduler::Nested { task, attempt, message })
    }

    /// Lets the running task `parent` submit its first task, called `number`.
    pub(crate) fn nest(&mut self, parent: u64, number: u64) -> Vec<String> {
        let definition = plain().into();
        let define = ClientToScheduler::Define { number: DefinitionNumber(PLAIN), definition };
        self.say_nested(parent, define);
        self.say_nested(parent, submission(PLAIN, number, &[]))
    }

    /// A running task waits for its children.
    pub(crate) fn wait(&mut self, number: u64) -> Vec<String> {
        self.report(number, |task, attempt| NodeToScheduler::Waiting { task, attempt })
    }

    /// A task that waited goes on.
    pub(crate) fn resume(&mut self, number: u64) -> Vec<String> {
        self.report(number, |task, attempt| NodeToScheduler::Resumed { task, attempt })
    }

    /// Defines for client 1; returns the definition's number.
    pub(crate) fn define(&mut self, definition: Definition) -> u32 {
        self.definitions += 1;
        let number = DefinitionNumber(self.definitions);
        self.say(1, ClientToScheduler::Define { number, definition: definition.into() });
        self.definitions
    }

    pub(crate) fn submit(&mut self, number: u64, dependencies: &[u64]) -> Vec<String> {
        self.submit_as(PLAIN, number, dependencies)
    }

    pub(crate) fn submit_as(
        &mut self,
        definition: u32,
        number: u64,
        dependencies: &[u64],
    ) -> Vec<String> {
        self.say(1, submission(definition, number, dependencies))
    }

    /// Lets a client speak.
    pub(crate) fn say(&mut self, client: u64, message: ClientToScheduler) -> Vec<String> {
        self.handle(Event::FromClient { client: ClientId(client), message })
    }

    /// Lets client 1 make an object of a value.
    pub(crate) fn put(&mut self, number: u64, value: Value) -> Vec<String> {
        self.say(1, ClientToScheduler::Put { number: Number(number), value })
    }

    pub(crate) fn cancel(&mut self, number: u64) -> Vec<String> {
        self.say(1, ClientToScheduler::Cancel { number: Number(number) })
    }

    pub(crate) fn release(&mut self, number: u64) -> Vec<String> {
        self.say(1, ClientToScheduler::Release { numbers: vec![Number(number)] })
    }

    /// Lets the node that has a task say something of its last attempt.
    pub(crate) fn report(
        &mut self,
        number: u64,
        message: impl FnOnce(TaskId, Attempt) -> NodeToScheduler,
    ) -> Vec<String> {
        let (node, task, attempt) = self.assigned[&number];
        self.handle(Event::FromNode { node, message: message(task, attempt) })
    }

    /// The task returns after a second: too long for others to wait behind it on its node.
    pub(crate) fn finish(&mut self, number: u64) -> Vec<String> {
        self.finish_after(number, Duration::from_secs(1))
    }

    /// The task returns after so long.
    pub(crate) fn finish_after(&mut self, number: u64, ran: Duration) -> Vec<String> {
        let value = Value::Inline(Bytes::from(format!("value {number}")));
        self.report(number, |task, attempt| NodeToScheduler::Finished { task, attempt, value, ran })
    }

    /// The task returns something large, kept on its node as the object of this number.
    pub(crate) fn finish_stored(&mut self, number: u64, object: u64) -> Vec<String> {
        let value = stored(self.assigned[&number].0.0, object);
        let ran = Duration::from_secs(1);
        self.report(number, |task, attempt| NodeToScheduler::Finished { task, attempt, value, ran })
    }

    /// The task returns so many bytes after so long, kept on its node as the object of its number.
    pub(crate) fn finish_large(&mut self, number: u64, size_bytes: u64, ran: Duration) {
        let node = self.assigned[&number].0;
        let object = ObjectId { node, number: ObjectNumber(number) };
        let value = Value::Stored(Stored { object, size_bytes });
        self.report(number, |task, attempt| NodeToScheduler::Finished {
            task,
            attempt,
            value,
            ran,
        });
    }

    /// The task raises.
    pub(crate) fn raise(&mut self, number: u64) -> Vec<String> {
        let failure = Box::new(Failure::Raised(Bytes::from_static(b"error")));
        let ran = Duration::from_secs(1);
        self.report(number, |task, attempt| NodeToScheduler::Failed { task, attempt, failure, ran })
    }

    /// The worker dies under the task.
    pub(crate) fn die(&mut self, number: u64) -> Vec<String> {
        let death = Box::new(Death::default());
        self.report(number, |task, attempt| NodeToScheduler::Died { task, attempt, death })
    }

    /// Time passes, and every deadline on the way is kept.
    pub(crate) fn pass(&mut self, duration: Duration) -> Vec<String> {
        let end = self.now + duration;
        let mut lines = Vec::new();
        while let Some(deadline) = self.scheduler.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            lines.extend(self.handle(Event::Tick));
            let next = self.scheduler.deadline();
            assert!(next.is_none_or(|next| next > self.now), "a deadline that was kept is over");
        }
        self.now = end;
        lines
    }

    pub(crate) fn handle(&mut self, event: Event) -> Vec<String> {
        let mut actions = Vec::new();
        self.scheduler.handle(self.now, event, &mut actions);
        self.scheduler.sanity_check();
        actions.into_iter().filter_map(|action| self.line(action)).collect()
    }

    /// The last attempt of a task.
    pub(crate) fn attempt_of(&self, number: u64) -> (TaskId, Attempt) {
        let (_, task, attempt) = self.assigned[&number];
        (task, attempt)
    }

    /// Where a task was last assigned.
    pub(crate) fn node_of(&self, number: u64) -> u64 {
        self.assigned[&number].0.0
    }

    fn line(&mut self, action: Action) -> Option<String> {
        match action {
            Action::ToClient { client, message } => {
                Some(format!("client {client}: {}", client_line(&message)?))
            }
            Action::ToNode { node, message } => {
                Some(format!("node {node}: {}", self.node_line(node, message)?))
            }
            Action::RefuseClient { client, reason } => {
                Some(format!("client {client} refused: {reason}"))
            }
            Action::RefuseNode { node, reason } => Some(format!("node {node} refused: {reason}")),
            Action::NodeMayLeave { node } => Some(format!("node {node} may leave")),
            Action::DropKept { objects } => Some(format!("scheduler: drop {objects:?}")),
        }
    }

    fn node_line(&mut self, node: NodeId, message: SchedulerToNode) -> Option<String> {
        Some(match message {
            SchedulerToNode::Define { .. } | SchedulerToNode::Forget { .. } => return None,
            SchedulerToNode::Assign { task, attempt, arguments, inputs, .. } => {
                let number = String::from_utf8_lossy(&arguments).into_owned();
                let key = number.parse().expect("arguments hold the task's number");
                self.assigned.insert(key, (node, task, attempt));
                let inputs: Vec<String> = inputs.iter().map(value_text).collect();
                let with = if inputs.is_empty() { "" } else { " with " };
                format!("run {number}#{attempt}{with}{}", inputs.join(", "))
            }
            SchedulerToNode::TakeBack { task, attempt } => {
                format!("take back {}#{attempt}", self.number_of(task))
            }
            SchedulerToNode::Cancel { task, attempt } => {
                format!("cancel {}#{attempt}", self.number_of(task))
            }
            SchedulerToNode::Drop { objects } => format!("drop {objects:?}"),
            SchedulerToNode::Nested { task, message, .. } => {
                format!("tell {}: {}", self.number_of(task), client_line(&message)?)
            }
        })
    }

    fn number_of(&self, task: TaskId) -> u64 {
        let known = self.assigned.iter().find(|(_, (_, other, _))| *other == task);
        *known.expect("a node is told of tasks that it was assigned").0
    }
}

/// A submission whose arguments are its number.
pub(crate) fn submission(definition: u32, number: u64, dependencies: &[u64]) -> ClientToScheduler {
    ClientToScheduler::Submit {
        number: Number(number),
        definition: DefinitionNumber(definition),
        arguments: Bytes::from(number.to_string()),
        dependencies: dependencies.iter().copied().map(Number).collect(),
    }
}

/// A value kept on a node.
pub(crate) fn stored(node: u64, object: u64) -> Value {
    let object = ObjectId { node: NodeId(node), number: ObjectNumber(object) };
    Value::Stored(Stored { object, size_bytes: 1_000_000 })
}

/// A value kept beside the scheduler.
pub(crate) fn kept(object: u64) -> Value {
    stored(NodeId::SCHEDULER.0, object)
}

fn client_line(message: &SchedulerToClient) -> Option<String> {
    Some(match message {
        SchedulerToClient::Ended { number, ending } => format!("{number} {}", ending_text(ending)),
        SchedulerToClient::Restored { number, ending } => {
            format!("{number} again {}", ending_text(ending))
        }
        SchedulerToClient::Output { number, name, node, output } => {
            format!("{name}-{number} at {node} wrote {:?}", output.text)
        }
        SchedulerToClient::Allowance(_) => return None,
        SchedulerToClient::SetupFailed { .. } => "setup failed".to_owned(),
        SchedulerToClient::Stalled(stall) => format!("stalled: {stall:?}"),
    })
}

fn ending_text(ending: &Ending) -> String {
    let because = |cause: &Option<hurricane_core::message::Cause>| {
        cause.as_ref().map(|cause| format!(" because of {}", cause.number)).unwrap_or_default()
    };
    match ending {
        Ending::Done(Value::Inline(_)) => "done".to_owned(),
        Ending::Done(Value::Stored(_)) => "done and stored".to_owned(),
        Ending::Failed { failure, cause } => {
            format!("failed: {}{}", failure_text(failure), because(cause))
        }
        Ending::Cancelled { cause } => format!("cancelled{}", because(cause)),
    }
}

fn failure_text(failure: &Failure) -> String {
    match failure {
        Failure::Raised(_) => "raised".to_owned(),
        Failure::TimedOut { .. } => "timed out".to_owned(),
        Failure::WorkerLost { deaths, is_poison: false } => format!("{} deaths", deaths.len()),
        Failure::WorkerLost { deaths, is_poison: true } => {
            format!("poison, {} deaths", deaths.len())
        }
        Failure::Infeasible { asked, most } => format!("{asked} of {most}"),
        Failure::ObjectLost => "object lost".to_owned(),
        Failure::NestedTooDeep { .. } => "too deep".to_owned(),
        Failure::SetupFailed(_) => "setup failed".to_owned(),
        Failure::Refused(reason) | Failure::SchedulerLost(reason) => reason.to_string(),
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Inline(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Stored(Stored { object, .. }) if object.node == NodeId::SCHEDULER => {
            format!("kept object {}", object.number)
        }
        Value::Stored(stored) => format!("object {}/{}", stored.object.node, stored.object.number),
    }
}

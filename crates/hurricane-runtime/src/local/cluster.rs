//! The two machines of a one-machine cluster, scheduler and node, each one's actions the other's
//! events. No thread, no socket: what concerns the world comes out as effects.

use std::mem;
use std::time::Instant;

use hurricane_core::id::{ClientId, NodeId, Number};
use hurricane_core::message::{ClientToScheduler, SchedulerToClient, Value};
use hurricane_core::node::{self, Node};
use hurricane_core::resources::Resources;
use hurricane_core::scheduler::{self, Scheduler};
use hurricane_core::snapshot::Snapshot;
use hurricane_core::time::{Time, earliest, micros};

/// The one node. Ids of nodes need to differ within a cluster only.
pub(super) const NODE: NodeId = NodeId(1);

/// What happened.
#[derive(Debug)]
pub(super) enum Input {
    /// Something for the scheduler.
    Scheduler(scheduler::Event),
    /// Something for the node.
    Node(node::Event),
}

/// What must be done in the world: first what the node wants, then what clients are told.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// See to the workers and the store.
    pub(super) for_node: Vec<node::Action>,
    /// See to the clients.
    pub(super) for_clients: Vec<ForClient>,
}

/// What is to be done for a client.
#[derive(Debug)]
pub(super) enum ForClient {
    /// Tell it.
    Tell(ClientId, SchedulerToClient),
    /// End its connection.
    Refuse(ClientId, &'static str),
}

/// Scheduler and node of one machine.
#[derive(Debug)]
pub(super) struct Cluster {
    scheduler: Scheduler,
    node: Node,
    began: Instant,
    /// When the loop will see by itself what is due then.
    alarm: Option<Instant>,
    /// What each machine has for the other.
    for_scheduler: Vec<scheduler::Event>,
    for_node: Vec<node::Event>,
    scheduler_actions: Vec<scheduler::Action>,
    node_actions: Vec<node::Action>,
}

impl Cluster {
    /// A cluster whose node has these resources.
    pub(super) fn new(name: Box<str>, resources: Resources) -> Self {
        let joined = scheduler::Event::NodeJoined {
            node: NODE,
            name: name.clone(),
            resources: resources.clone(),
        };
        Self {
            scheduler: Scheduler::new(scheduler::Config { is_one_machine: true }),
            node: Node::new(node::Config {
                id: NODE,
                name,
                resources,
                queues_after: Some(node::QUEUES_AFTER),
            }),
            began: Instant::now(),
            alarm: None,
            for_scheduler: vec![joined],
            for_node: Vec::new(),
            scheduler_actions: Vec::new(),
            node_actions: Vec::new(),
        }
    }

    /// Applies what happened, and what is due, until both machines are quiet.
    pub(super) fn apply(&mut self, inputs: impl IntoIterator<Item = Input>, effects: &mut Effects) {
        let now = Time(micros(self.began.elapsed()));
        if self.scheduler.deadline().is_some_and(|deadline| deadline <= now) {
            self.for_scheduler.push(scheduler::Event::Tick);
        }
        if self.node.deadline().is_some_and(|deadline| deadline <= now) {
            self.for_node.push(node::Event::Tick);
        }
        for input in inputs {
            match input {
                Input::Scheduler(event) => self.apply_to_scheduler(now, event, effects),
                Input::Node(event) => self.for_node.push(event),
            }
        }
        while !(self.for_scheduler.is_empty() && self.for_node.is_empty()) {
            self.apply_to_node(now, effects);
            let mut events = mem::take(&mut self.for_scheduler);
            for event in events.drain(..) {
                self.apply_to_scheduler(now, event, effects);
            }
            // Its room serves what comes next.
            self.for_scheduler = events;
        }
    }

    /// When the loop, which is about to sleep, has to call `apply` if nothing else happens first.
    pub(super) fn set_alarm(&mut self) -> Option<Instant> {
        self.alarm = self.deadline();
        self.alarm
    }

    /// Whether something is due before the loop would see it. Said once.
    pub(super) fn is_alarm_late(&mut self) -> bool {
        let deadline = self.deadline();
        let is_late =
            deadline.is_some_and(|deadline| self.alarm.is_none_or(|alarm| deadline < alarm));
        if is_late {
            self.alarm = deadline;
        }
        is_late
    }

    /// When `apply` is due if nothing else happens first.
    fn deadline(&self) -> Option<Instant> {
        let deadline = earliest(self.scheduler.deadline(), self.node.deadline())?;
        Some(self.began + deadline.since(Time::default()))
    }

    /// A plain copy of the state for people to look at.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.scheduler.snapshot()
    }

    /// Whether a task of a client has room on the node now.
    pub(super) fn is_running(&self, client: ClientId, number: Number) -> bool {
        self.scheduler.is_running(client, number)
    }

    fn apply_to_scheduler(
        &mut self,
        now: Time,
        mut event: scheduler::Event,
        effects: &mut Effects,
    ) {
        if let scheduler::Event::FromClient { message, .. } = &mut event {
            self.keep_what_is_put(message, effects);
        }
        self.scheduler.handle(now, event, &mut self.scheduler_actions);
        for action in self.scheduler_actions.drain(..) {
            match action {
                scheduler::Action::ToClient { client, message } => {
                    effects.for_clients.push(ForClient::Tell(client, message));
                }
                scheduler::Action::RefuseClient { client, reason } => {
                    effects.for_clients.push(ForClient::Refuse(client, reason));
                }
                scheduler::Action::ToNode { message, .. } => {
                    self.for_node.push(node::Event::FromScheduler(message));
                }
                scheduler::Action::RefuseNode { reason, .. } => {
                    unreachable!("the node beside the scheduler broke the protocol: {reason}")
                }
                // The node never says that it will leave, and its store is the only one.
                scheduler::Action::NodeMayLeave { .. } | scheduler::Action::DropKept { .. } => {}
            }
        }
    }

    fn apply_to_node(&mut self, now: Time, effects: &mut Effects) {
        if !self.for_node.is_empty() {
            self.node.handle_all(now, self.for_node.drain(..), &mut self.node_actions);
            self.carry_out_for_node(effects);
        }
    }

    /// What is too large for a message goes into the node's store.
    fn keep_what_is_put(&mut self, message: &mut ClientToScheduler, effects: &mut Effects) {
        if let ClientToScheduler::Put { value, .. } = message
            && let Value::Inline(bytes) = value
        {
            *value = self.node.keep(mem::take(bytes), &mut self.node_actions);
            self.carry_out_for_node(effects);
        }
    }

    fn carry_out_for_node(&mut self, effects: &mut Effects) {
        for action in self.node_actions.drain(..) {
            match action {
                node::Action::ToScheduler(message) => {
                    self.for_scheduler.push(scheduler::Event::FromNode { node: NODE, message });
                }
                // On one machine there is no other node to fetch from.
                node::Action::Fetch { object } => {
                    self.for_node.push(node::Event::Fetched { object, is_here: false });
                }
                other => effects.for_node.push(other),
            }
        }
    }
}

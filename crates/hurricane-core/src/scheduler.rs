//! The scheduler: decides what runs where. It knows clients, nodes and tasks, and no connection.

mod attempt;
mod check;
mod client;
mod clients;
mod definition;
mod directory;
mod ending;
mod inputs;
mod leaving;
mod lies;
mod locality;
mod membership;
mod node;
mod numbers;
mod objects;
mod order;
mod placement;
mod places;
mod ready;
mod shape;
mod slab;
mod tally;
mod task;
mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::id::{ClientId, NodeId, Number, ObjectId, ObjectNumber, TaskId};
use crate::message::{ClientToScheduler, NodeToScheduler, SchedulerToClient, SchedulerToNode};
use crate::resources::Resources;
use crate::snapshot::{ClientSnapshot, NodeSnapshot, Snapshot};
use crate::time::{Time, earliest};

pub use attempt::MAX_DEATHS;
pub use client::{MAX_ARGUMENT_BYTES, MAX_TASKS};
use clients::{ClientKey, Clients};
use node::{NodeKey, Nodes};
use shape::ShapeId;
use slab::Slab;
use tally::Counts;
use task::{Deaths, Misses, Room, Task};
use turns::{Turn, Turns};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client's session began.
    ClientJoined {
        /// A new id.
        client: ClientId,
    },
    /// A client's session ended, by its wish or by silence.
    ClientGone {
        /// Which.
        client: ClientId,
    },
    /// A client said something.
    FromClient {
        /// Which.
        client: ClientId,
        /// What.
        message: ClientToScheduler,
    },
    /// A node's session began.
    NodeJoined {
        /// A new id.
        node: NodeId,
        /// What people call it.
        name: Box<str>,
        /// What it has.
        resources: Resources,
    },
    /// A node will leave: what it has not begun goes elsewhere, and what it runs ends there.
    NodeLeaving {
        /// Which.
        node: NodeId,
    },
    /// A node's session ended: whatever it ran or held is lost.
    NodeLost {
        /// Which.
        node: NodeId,
    },
    /// A node said something.
    FromNode {
        /// Which.
        node: NodeId,
        /// What.
        message: NodeToScheduler,
    },
    /// The deadline has come.
    Tick,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell a client.
    ToClient {
        /// Which.
        client: ClientId,
        /// What.
        message: SchedulerToClient,
    },
    /// Tell a node.
    ToNode {
        /// Which.
        node: NodeId,
        /// What.
        message: SchedulerToNode,
    },
    /// End the session of a client that broke the protocol. `ClientGone` need not follow.
    RefuseClient {
        /// Which.
        client: ClientId,
        /// One sentence for it.
        reason: &'static str,
    },
    /// End the session of a node that broke the protocol. `NodeLost` need not follow.
    RefuseNode {
        /// Which.
        node: NodeId,
        /// One sentence for it.
        reason: &'static str,
    },
    /// Nothing is assigned any more to a node that will leave, and nothing will be. Said once.
    NodeMayLeave {
        /// Which.
        node: NodeId,
    },
    /// Remove objects from the store beside the scheduler: nobody needs them any more.
    DropKept {
        /// Which.
        objects: Vec<ObjectNumber>,
    },
}

/// They are moved about by the million: what is large in them is rare, and boxed.
const _: () = assert!(size_of::<Event>() <= 96 && size_of::<Action>() <= 96);

/// How a scheduler behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether the nodes that are there are all there will ever be, as on one machine: what they
    /// cannot run is refused at once, and workers that cannot be set up there never will be.
    pub is_one_machine: bool,
}

/// Decides what runs where.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    clients: Clients,
    /// The clients that running tasks are.
    nested: BTreeMap<TaskId, ClientKey>,
    /// How many of those were ever made.
    nested_made: u64,
    /// The clients at the top that have ready tasks, the one with the fewest cpus in use first.
    turns: Turns,
    /// Clients that broke the protocol with the present event.
    refused: Vec<ClientKey>,
    /// Whether anything has happened since everything that is ready was found to have no room, but
    /// to a node, which lets a task be placed.
    is_unsettled: bool,
    /// How often placement went round the clients.
    rounds: u64,
    nodes: Nodes,
    /// The objects in the store beside this machine, by the task each is the value of.
    kept: BTreeMap<ObjectNumber, TaskId>,
    /// The nodes that drain, and for which task.
    reservations: BTreeMap<NodeKey, TaskId>,
    /// What nodes had that left, and when they did.
    left: VecDeque<(Time, Resources)>,
    definitions: Slab<definition::Entry>,
    tasks: Slab<Task>,
    /// How many tasks and objects were ever submitted.
    submissions: u64,
    /// How many attempts ever returned or raised.
    ended: u64,
    deaths: BTreeMap<TaskId, Deaths>,
    misses: BTreeMap<TaskId, Misses>,
    /// The tasks of clients that are gone. Those of the others are counted with each.
    departed: Counts,
    timers: BTreeSet<(Time, Timer)>,
    /// When to look again at what waits, if nothing happens before.
    next_look: Option<Time>,
    /// Shapes that no node has room for, ever.
    unplaceable: BTreeSet<ShapeId>,
    /// Why no worker can be set up, if so.
    setup_error: Option<Bytes>,
}

/// What happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A task is tried again.
    Retry(TaskId),
}

impl Scheduler {
    /// A scheduler that knows nobody.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            clients: Clients::default(),
            nested: BTreeMap::new(),
            nested_made: 0,
            turns: Turns::default(),
            refused: Vec::new(),
            is_unsettled: false,
            rounds: 0,
            nodes: Nodes::default(),
            kept: BTreeMap::new(),
            reservations: BTreeMap::new(),
            left: VecDeque::new(),
            definitions: Slab::default(),
            tasks: Slab::default(),
            submissions: 0,
            ended: 0,
            deaths: BTreeMap::new(),
            misses: BTreeMap::new(),
            departed: Counts::default(),
            timers: BTreeSet::new(),
            next_look: None,
            unplaceable: BTreeSet::new(),
            setup_error: None,
        }
    }

    /// Applies one event at time `now`, and appends to `actions` what must be done about it.
    pub fn handle(&mut self, now: Time, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::ClientJoined { client } => self.on_client_joined(client, actions),
            Event::ClientGone { client } => self.on_client_gone(client, actions),
            Event::FromClient { client, message } => {
                self.on_client_message(now, client, message, actions);
            }
            Event::NodeJoined { node, name, resources } => {
                self.on_node_joined(node, name, resources, actions);
            }
            Event::NodeLeaving { node } => self.on_node_leaving(node, actions),
            Event::NodeLost { node } => self.on_node_lost(now, node, actions),
            Event::FromNode { node, message } => self.on_node_message(now, node, message, actions),
            Event::Tick => {}
        }
        while let Some(client) = self.refused.pop() {
            self.remove_client(client, actions);
        }
        self.on_time_passed(now, actions);
        self.place(now, actions);
    }

    /// When [`Event::Tick`] is due if nothing else happens first.
    pub fn deadline(&self) -> Option<Time> {
        earliest(self.timers.first().map(|(time, _)| *time), self.next_look)
    }

    /// A plain copy of the state for people to look at.
    pub fn snapshot(&self) -> Snapshot {
        let nodes = self.nodes.iter().map(|(_, node)| NodeSnapshot {
            id: node.id,
            name: node.name.clone(),
            address: Box::default(),
            is_leaving: node.is_leaving(),
            resources: node.resources.clone(),
            used: node.used.clone(),
            running: node.tasks.len() as u64 - node.backlog_length,
            backlog: node.backlog_length,
            finished: node.finished,
        });
        let clients = self.clients.iter().filter(|(_, client)| client.parent.is_none());
        let clients = clients.map(|(_, client)| ClientSnapshot {
            id: client.id,
            tasks: client.counts.into(),
            held: client.numbers.len() as u64,
        });
        Snapshot {
            nodes: nodes.collect(),
            clients: clients.collect(),
            tasks: self.counts().into(),
            cluster: None,
        }
    }

    /// Whether a task of a client has room on a node now.
    pub fn is_running(&self, client: ClientId, number: Number) -> bool {
        let client = self.clients.key(client).map(|key| &self.clients[key]);
        let task = client.and_then(|client| client.numbers.get(number));
        let place = task.and_then(|task| self.task(task).place());
        place.is_some_and(|place| place.room != Room::Backlog)
    }

    /// Whether an object is the value of something that a client, or a running task of it in the
    /// part of one, may still name.
    pub fn may_read(&self, client: ClientId, object: ObjectId) -> bool {
        let owner = self.objects_of(object.node).and_then(|objects| objects.get(&object.number));
        let task = owner.and_then(|task| self.tasks.get(task.0)).filter(|task| task.is_held);
        let root = task.map(|task| self.clients.root(task.client));
        root.is_some_and(|root| self.clients[root].id == client)
    }

    /// Whether it remembers nothing but the nodes.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.tasks.len() == 0 && self.definitions.len() == 0
    }

    /// All tasks there ever were. Those of a nested client count for the one at the top.
    fn counts(&self) -> Counts {
        self.clients.iter().fold(self.departed, |sum, (_, client)| sum.with(client.counts))
    }

    fn on_time_passed(&mut self, now: Time, actions: &mut Vec<Action>) {
        while let Some(&(time, timer)) = self.timers.first() {
            if time > now {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Retry(task) => self.on_retry_due(task, actions),
            }
        }
        if self.next_look.is_some_and(|time| time <= now) {
            self.next_look = None;
            self.is_unsettled = true;
        }
    }

    #[inline]
    fn task(&self, id: TaskId) -> &Task {
        self.tasks.get(id.0).expect("what names a task in here goes before it does")
    }

    #[inline]
    fn task_mut(&mut self, id: TaskId) -> &mut Task {
        self.tasks.get_mut(id.0).expect("what names a task in here goes before it does")
    }

    /// The same for who is listed, if it is.
    #[inline]
    fn renew_turn(&mut self, client: ClientKey) {
        if !self.turns.is_empty() && self.clients[self.clients.root(client)].turn.is_some() {
            self.enter_turn(client);
        }
    }

    /// Lists the client at the top where it stands now among those whose turn it may be.
    #[inline]
    fn enter_turn(&mut self, client: ClientKey) {
        let key = self.clients.root(client);
        let root = self.clients.root_mut(key);
        let turn = Turn { cpus_in_use: root.cpus_in_use, client: root.id, key };
        let present = (!root.ready.is_empty()).then_some(turn);
        let former = core::mem::replace(&mut root.turn, present);
        self.turns.change(former, present);
    }
}

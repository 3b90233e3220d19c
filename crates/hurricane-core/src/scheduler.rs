//! The scheduler: decides what runs where. It knows clients, nodes and tasks, and no connection.

use crate::id::{ClientId, NodeId, Number};
use crate::message::{ClientToScheduler, NodeToScheduler, SchedulerToClient, SchedulerToNode};
use crate::resources::Resources;
use crate::snapshot::Snapshot;
use crate::time::Time;

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
}

/// How a scheduler behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether the nodes that are there are all there will ever be, as on one machine: what they
    /// cannot run is refused at once, and having none is no reason to wait.
    pub is_one_machine: bool,
}

/// Decides what runs where.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
}

impl Scheduler {
    /// A scheduler that knows nobody.
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// Applies one event at time `now`, and appends to `actions` what must be done about it.
    pub fn handle(&mut self, now: Time, event: Event, actions: &mut Vec<Action>) {
        let _ = (now, event, actions);
    }

    /// When [`Event::Tick`] is due if nothing else happens first.
    pub fn deadline(&self) -> Option<Time> {
        None
    }

    /// A plain copy of the state for people to look at.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::default()
    }

    /// Whether a task of a client has room on a node now.
    pub fn is_running(&self, client: ClientId, number: Number) -> bool {
        let _ = (client, number);
        false
    }

    /// Panics if the state contradicts itself. For tests.
    pub fn sanity_check(&self) {}
}

//! A plain copy of the scheduler's state for people to look at: the command line, the web page and
//! Python show this and nothing else.

use serde::{Deserialize, Serialize};

use crate::id::{ClientId, NodeId};
use crate::resources::Resources;

/// The state of a cluster at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The nodes, in the order of their ids.
    pub nodes: Vec<NodeSnapshot>,
    /// The clients, in the order of their ids, without those that are running tasks.
    pub clients: Vec<ClientSnapshot>,
    /// All tasks.
    pub tasks: TaskCounts,
}

/// A node at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSnapshot {
    /// Which.
    pub id: NodeId,
    /// What people call it.
    pub name: Box<str>,
    /// What it has.
    pub resources: Resources,
    /// What is in use of that.
    pub used: Resources,
    /// Tasks that have room there.
    pub running: u64,
    /// Tasks that wait there for room.
    pub backlog: u64,
    /// Tasks that returned or raised there since it joined.
    pub finished: u64,
}

/// A client at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSnapshot {
    /// Which.
    pub id: ClientId,
    /// Its tasks.
    pub tasks: TaskCounts,
    /// Objects and ended tasks that it has not released.
    pub held: u64,
}

/// How many tasks are in which state; the last three count since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCounts {
    /// Waiting for a dependency, or to be tried again.
    pub waiting: u64,
    /// Waiting for room on a node.
    pub ready: u64,
    /// In the backlog of a node.
    pub assigned: u64,
    /// With room on a node.
    pub running: u64,
    /// Returned.
    pub done: u64,
    /// Failed.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
}

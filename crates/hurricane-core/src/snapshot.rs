//! A plain copy of the scheduler's state for people to look at: the command line, the web page and
//! Python show this and nothing else.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{ClientId, NodeId};
use crate::resources::{Amount, Resources};

/// The state of a cluster at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The nodes, in the order of their ids.
    pub nodes: Vec<NodeSnapshot>,
    /// The clients, in the order of their ids, without those that are running tasks.
    pub clients: Vec<ClientSnapshot>,
    /// All tasks.
    pub tasks: TaskCounts,
    /// What is known of a cluster of several machines; nothing on one machine. The runtime adds it.
    pub cluster: Option<ClusterSnapshot>,
}

/// A cluster of several machines at a moment, beside its nodes and clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSnapshot {
    /// What people call it.
    pub name: Box<str>,
    /// The fingerprint of its key.
    pub id: Box<str>,
    /// Its initialization port.
    pub port: u16,
    /// Where its scheduler answers, as `address:port`.
    pub addresses: Vec<Box<str>>,
    /// For how long its scheduler runs.
    pub uptime: Duration,
    /// Tasks that ended a second, over the last ten seconds.
    pub rate: Amount,
    /// Who may join; only for who asks on the scheduler's host.
    pub members: Vec<MemberSnapshot>,
}

/// A key that is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberSnapshot {
    /// What people call it.
    pub name: Box<str>,
    /// Its fingerprint.
    pub id: Box<str>,
    /// What it may do, in words.
    pub roles: Box<str>,
    /// When it was let in, as people write it.
    pub since: Box<str>,
    /// How many connections it has now.
    pub connections: u64,
}

/// A node at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSnapshot {
    /// Which.
    pub id: NodeId,
    /// What people call it.
    pub name: Box<str>,
    /// Where its connection comes from; empty on one machine. The runtime adds it.
    pub address: Box<str>,
    /// Whether it will leave: nothing new is assigned to it.
    pub is_leaving: bool,
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

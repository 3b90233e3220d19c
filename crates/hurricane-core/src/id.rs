//! The names of things: newtypes, so that one is never taken for another.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}", self.0)
            }
        }
    };
}

id! {
    /// A client's connection to the scheduler. The submissions of a running task come from a client
    /// of their own, which the scheduler makes and ends with the task's attempt.
    ClientId(u64)
}
id! {
    /// One run of a node process; random for each, and not its key.
    NodeId(u64)
}
id! {
    /// A worker process under a node; never used twice by one node.
    WorkerId(u64)
}
id! {
    /// A task, as the scheduler names it towards nodes. Unique in the life of a scheduler.
    TaskId(u64)
}
id! {
    /// A task or an object as its client names it: chosen by the client, growing from 1, never reused.
    Number(u64)
}
id! {
    /// A definition as its client names it: chosen by the client, growing from 1, never reused.
    DefinitionNumber(u32)
}
id! {
    /// A definition, as the scheduler names it towards nodes. Unique in the life of a scheduler.
    DefinitionId(u64)
}
id! {
    /// The how-manieth assignment of a task this is. It serves fencing only: a message about an
    /// older attempt is dropped.
    Attempt(u32)
}
id! {
    /// One sending of a task to a worker by its node; never used twice by one node.
    RunId(u64)
}
id! {
    /// An object in the store of the node that made it, unique there.
    ObjectNumber(u64)
}
id! {
    /// One run of a process that speaks to another; random for each. A session belongs to two.
    BootId(u64)
}
id! {
    /// A connection, as one end of it names it; never used twice by one session.
    ConnectionId(u64)
}

impl NodeId {
    /// Not a node: what names the scheduler's own store as the holder of an object.
    pub const SCHEDULER: Self = Self(0);
}

/// An object anywhere in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    /// The node in whose store the object was made.
    pub node: NodeId,
    /// Its number there.
    pub number: ObjectNumber,
}

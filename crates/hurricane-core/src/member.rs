//! What members say over their sessions, named by direction: what the state machines say to each
//! other, and what concerns membership and the pieces of objects. And what an operator asks.

use core::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{NodeId, ObjectId};
use crate::message::{ClientToScheduler, NodeToScheduler, SchedulerToClient, SchedulerToNode};
use crate::resources::Resources;
use crate::snapshot::Snapshot;

/// An object goes from machine to machine in pieces of this size: small enough that what follows
/// on the same connection waits a few milliseconds, large enough that a piece costs little beside
/// its bytes.
pub const PIECE_BYTES: usize = 256 << 10;

/// How many addresses a node may name, each of at most [`MAX_ADDRESS_BYTES`].
pub const MAX_ADDRESSES: usize = 32;

/// The longest text of an IPv6 address with its zone and port.
pub const MAX_ADDRESS_BYTES: usize = 80;

/// From a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromNode {
    /// The first message of a session. Answered by [`ToNode::Joined`], or the end of the session.
    Join(NodeDescription),
    /// From its state machine.
    Scheduling(NodeToScheduler),
    /// It will leave: what it has not begun goes elsewhere, and what it runs ends first. Answered by
    /// [`ToNode::MayLeave`].
    Leave,
    /// It needs a piece of an object that it could not get from the holder itself.
    Read(Read),
    /// In answer to [`ToNode::Read`].
    Piece(Piece),
    /// It asks who has an object that it needs. Answered by [`ToNode::Found`].
    Find(Find),
}

/// To a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToNode {
    /// It is a member from now on.
    Joined {
        /// What messages call it: random, new for each session.
        node: NodeId,
        /// What people call it.
        name: Box<str>,
        /// What people call the cluster.
        cluster: Box<str>,
    },
    /// For its state machine.
    Scheduling(SchedulerToNode),
    /// Nothing is assigned to it any more, and nothing will be: it may end the session.
    MayLeave,
    /// A node is there, this one too: objects may be had from it, and it may ask for some.
    Here(NodePlace),
    /// A node is there no more.
    Gone(NodeId),
    /// Somebody needs a piece of an object of this node.
    Read(Read),
    /// In answer to [`FromNode::Read`].
    Piece(Piece),
    /// In answer to [`FromNode::Find`].
    Found(Found),
}

/// From a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromClient {
    /// For the scheduler's state machine.
    Scheduling(ClientToScheduler),
    /// It wants a piece of the value of a task or object of its own.
    Read(Read),
}

/// To a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToClient {
    /// From the scheduler's state machine.
    Scheduling(SchedulerToClient),
    /// In answer to [`FromClient::Read`].
    Piece(Piece),
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    /// What it has.
    pub resources: Resources,
    /// The Ed25519 key of its machine. Believed where the link itself shows no key: on one host.
    pub key: [u8; 32],
    /// Where it answers other nodes, as `address:port`, the likeliest first. The scheduler adds the
    /// one it sees.
    pub addresses: Vec<Box<str>>,
    /// The port among these.
    pub port: u16,
    /// What its machine calls itself, for where no key has a name.
    pub host: Box<str>,
}

/// Where objects of a node can be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlace {
    /// Which.
    pub node: NodeId,
    /// The key that it shows and is known by.
    pub key: [u8; 32],
    /// Where it answers, as `address:port`.
    pub addresses: Vec<Box<str>>,
}

/// Asks for a piece of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// The asker's name for this question.
    pub request: u64,
    /// Of which object.
    pub object: ObjectId,
    /// From where on, in bytes: a multiple of [`PIECE_BYTES`].
    pub offset: u64,
}

/// A piece of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The question that it answers.
    pub request: u64,
    /// The piece; none if the object is not there.
    pub content: Option<Content>,
}

/// The bytes of a piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The size of the whole object.
    pub total_bytes: u64,
    /// [`PIECE_BYTES`] of it, or what is left.
    pub bytes: Bytes,
}

/// Asks the owner of an object who has it as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Find {
    /// The asker's name for this question.
    pub request: u64,
    /// Which object.
    pub object: ObjectId,
    /// Who will have it: others are sent there.
    pub asker: NodeId,
    /// One that the owner named before, and that is of no use to the asker.
    pub without: Option<NodeId>,
}

/// Where an object can be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The question that it answers.
    pub request: u64,
    /// Who has it, or will have it: to be asked instead of the owner, if there are any.
    pub others: Vec<NodeId>,
    /// BLAKE3 of all its bytes, for what comes from others. If there are such and this is missing,
    /// the owner has not reckoned it out yet, and does some more of it whenever it is asked.
    pub digest: Option<Digest>,
}

/// BLAKE3 of an object.
pub type Digest = [u8; 32];

/// How many others an owner names at once.
pub const MAX_OTHERS: usize = 2;

/// From a node that fetches, to the door of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToDoor {
    /// It needs a piece. Answered by [`FromDoor::Piece`] or [`FromDoor::Later`].
    Read(Read),
    /// Answered by [`FromDoor::Found`].
    Find(Find),
}

/// From the door of a node, to one that fetches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromDoor {
    /// The frame is followed by the bytes of the piece, which are no part of it.
    Piece {
        /// The question that it answers.
        request: u64,
        /// What follows; none if the object is not there.
        content: Option<Following>,
    },
    /// The piece is on its way to the node itself: it is to be asked for again.
    Later {
        /// The question that it answers.
        request: u64,
    },
    /// Who has an object.
    Found(Found),
}

/// What follows a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    /// The size of the whole object.
    pub total_bytes: u64,
    /// How many bytes of it follow.
    pub bytes: u32,
}

/// From an operator: one question on a connection of its own, without a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// What the cluster does. For whoever may submit.
    Status,
    /// Makes a ticket. On the scheduler's host only.
    Invite {
        /// How many machines may use it.
        uses: u32,
        /// For how long.
        ttl: Duration,
        /// For which roles, as a ticket holds them.
        roles: u8,
    },
    /// Ends the membership of a key. On the scheduler's host only.
    Revoke {
        /// What people call it.
        name: Box<str>,
    },
    /// Ends the membership of the key that asks.
    Leave,
    /// Ends the scheduler, and with it the nodes beside it. On its host only.
    Down,
}

/// To an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Box<Snapshot>),
    /// To [`Request::Invite`]: the ticket's line.
    Invited(Box<str>),
    /// To [`Request::Revoke`]: how many connections were cut.
    Revoked(u32),
    /// To [`Request::Leave`].
    Left,
    /// To [`Request::Down`]; the end of the connection is the end of the scheduler.
    GoingDown,
    /// To any: a sentence.
    Refused(Box<str>),
}

//! A member, or somebody about to be one, for as long as their session lasts.

use hurricane_core::id::{BootId, ClientId, NodeId};
use hurricane_core::parts::Joiner;
use hurricane_core::session::Session;
use hurricane_core::time::Time;

use super::caller::Caller;
use super::outgoing::Outgoing;
use super::reads::Asking;

/// The largest message that a scheduler takes: the arguments of a task, or what a client puts.
const MAX_MESSAGE_BYTES: usize = 4 << 30;

/// A session, as it is called here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PeerId(pub(super) u64);

/// One end of a session, and what the other end is.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) session: Session,
    /// As it was when it last dialed.
    pub(super) caller: Caller,
    pub(super) dialer: BootId,
    pub(super) member: Member,
    pub(super) joiner: Joiner,
    pub(super) outgoing: Outgoing,
    pub(super) asking: Asking,
    /// When its session is looked at next.
    pub(super) timer: Option<Time>,
}

/// What a peer is to the machine.
#[derive(Clone, Copy, Debug)]
pub(super) enum Member {
    /// Nothing yet.
    Unknown,
    Client(ClientId),
    Node(NodeId),
}

impl Peer {
    pub(super) fn new(session: Session, caller: Caller, dialer: BootId) -> Self {
        Self {
            session,
            caller,
            dialer,
            member: Member::Unknown,
            joiner: Joiner::new(MAX_MESSAGE_BYTES),
            outgoing: Outgoing::default(),
            asking: Asking::default(),
            timer: None,
        }
    }
}

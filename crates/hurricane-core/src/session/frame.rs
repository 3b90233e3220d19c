//! What goes over a connection, why a session ends, and what no correct peer does.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::BootId;

/// A session, as its dialer's boot id and this name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionId {
    /// The listener that holds it.
    pub listener: BootId,
    /// The dial that began it: a listener that gave up a session may see a late dial of the same
    /// dialer begin another.
    pub first_dial: u64,
}

/// The first frame of a connection, from its dialer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Who dials.
    pub dialer: BootId,
    /// The how-manieth dial of this session this is: the listener keeps the newest.
    pub dial: u64,
    /// The session to be resumed; none as long as the dialer has not been welcomed.
    pub session: Option<SessionId>,
    /// The number of the last message that the dialer received.
    pub received: u64,
}

/// What goes over a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// The dialer's first.
    Hello(Hello),
    /// The listener's first, in answer to `Hello`.
    Welcome {
        /// The session that begins or goes on.
        session: SessionId,
        /// The number of the last message that the listener received.
        received: u64,
    },
    /// A message of the session's users.
    Message {
        /// Its number; the first is 1.
        number: u64,
        /// The number of the last message that the sender received.
        acknowledged: u64,
        /// What they say.
        payload: Bytes,
    },
    /// A sign of life.
    Heartbeat {
        /// The number of the last message that the sender received.
        acknowledged: u64,
    },
    /// The session is over.
    End(EndReason),
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum EndReason {
    /// The dialer wished so.
    #[error("it was closed")]
    Closed,
    /// The listener heard nothing for longer than its patience.
    #[error("the connection was lost for too long")]
    Lost,
    /// The dialer resumes a session that the listener has given up.
    #[error("the scheduler had given up waiting")]
    Forgotten,
    /// The dialer resumes a session with an earlier run of the listener.
    #[error("the scheduler was started anew")]
    Restarted,
    /// One end broke the rules of those that use the session.
    #[error("{0}")]
    Refused(Box<str>),
    /// The peer left too much unacknowledged.
    #[error("the peer does not keep up")]
    Overrun,
}

/// What a peer did that no correct one does. It costs the connection, not the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A message came before others that it follows.
    #[error("message {got} came where {expected} was due")]
    Gap {
        /// The number that was due.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// It received what was never sent.
    #[error("message {number} was acknowledged, and {sent} is the last that was sent")]
    NeverSent {
        /// The number acknowledged.
        number: u64,
        /// The last number sent.
        sent: u64,
    },
    /// A frame came that has no place there.
    #[error("a frame came out of place")]
    OutOfPlace,
    /// A dial arrived after a newer one.
    #[error("a newer connection is in use")]
    Outdated,
    /// A session was resumed by another than its dialer.
    #[error("the session belongs to another")]
    WrongDialer,
}

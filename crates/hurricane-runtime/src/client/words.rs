//! What comes of a connection: the handle on a task, what is received, and why something was not done.

use bytes::Bytes;
use hurricane_core::id::Number;
use hurricane_core::message::{Ending, Output, Stall};
use hurricane_core::session::EndReason;

use crate::store::StoreFull;

/// A handle on a submitted task, which is told how the task ends. Clones are the same handle.
///
/// It is told in whatever thread learned it, and while the connection is locked: it may neither
/// block nor ask the connection for anything, nor may it when it is dropped.
pub trait Handle: Clone + Send + 'static {
    /// The task ended, or its stored value was lost and made anew. Gives the ending back if the
    /// thread of [`Connection::receive`](super::Connection::receive) must see to it.
    fn end(&self, ending: Ending) -> Option<Ending>;

    /// Its ending is there, and it will be told when what the task wrote before was received.
    fn expect(&self) {}

    /// Whether anybody can still ask for the stored value that it was told of.
    fn is_wanted(&self) -> bool {
        true
    }
}

/// Leaves everything to [`Connection::receive`](super::Connection::receive).
impl Handle for () {
    fn end(&self, ending: Ending) -> Option<Ending> {
        Some(ending)
    }
}

/// Leaves everything to [`Connection::receive`](super::Connection::receive), and names what was submitted.
impl Handle for u32 {
    fn end(&self, ending: Ending) -> Option<Ending> {
        Some(ending)
    }
}

/// What has come in.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<F> {
    /// A task ended, and its handle gave this back. Unless its value was stored, it is released
    /// already.
    Ended {
        /// Which.
        number: Number,
        /// Its handle.
        future: F,
        /// How it ended.
        ending: Ending,
    },
    /// The stored result of an ended task was lost with its node, and the task has run again; its
    /// handle gave this back. Unless its value was stored again, it is released already.
    Restored {
        /// Which.
        number: Number,
        /// Its handle.
        future: F,
        /// How it ended this time.
        ending: Ending,
    },
    /// A task wrote something: one of this client, or a nested one below it.
    Output {
        /// Which, as its own client names it.
        number: Number,
        /// The name of its definition.
        name: Box<str>,
        /// The name of the node where it runs.
        node: Box<str>,
        /// What.
        output: Output,
    },
    /// No worker can be set up, now and later: everything submitted fails so.
    SetupFailed {
        /// The opaque description of the exception, or of the death.
        error: Bytes,
    },
    /// Tasks are ready and none has started for a while.
    Stalled(Stall),
    /// A sentence for people: what this end waits for.
    Notice(Box<str>),
    /// Nothing came in, but [`Connection::wake`](super::Connection::wake) was called, or nothing is pending after
    /// [`Connection::finish`](super::Connection::finish).
    Woken,
    /// The scheduler is gone, and with it every task that has not ended.
    Lost(EndReason),
}

/// What became of asking for a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Here it is.
    Value(Bytes),
    /// It has not arrived, or is being computed again.
    NotYet,
    /// It is gone, and will not come back.
    Gone,
}

/// Why a connection did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// It was closed, or its cluster stopped.
    #[error("the connection is closed")]
    Closed,
    /// The scheduler ended it.
    #[error("the scheduler ended the connection: {reason}")]
    Refused {
        /// Why.
        reason: &'static str,
    },
    /// The session with the scheduler is over, and not by this end's wish.
    #[error("the connection to the scheduler is over: {0}")]
    Lost(EndReason),
    /// This is a forked child of the process that opened it.
    #[error("this client belongs to the process that made it: make a new one after fork")]
    Forked,
}

/// Why nothing was submitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// A dependency has ended and was released: its future is done now, or in a moment.
    #[error("a dependency has ended and was released")]
    DependencyReleased,
    /// The allowance is used up: [`Connection::wait_for_allowance`](super::Connection::wait_for_allowance).
    #[error("the client's allowance is used up")]
    AllowanceUsedUp,
    /// Nothing can be submitted any more.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

/// Why an argument was not made an object.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// As with a task.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// There is no room for it.
    #[error(transparent)]
    StoreFull(#[from] StoreFull),
}

impl From<ConnectionError> for KeepError {
    fn from(error: ConnectionError) -> Self {
        Self::Submit(error.into())
    }
}

//! What a connection stands between: where it sends to, and where the answers are delivered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hurricane_core::id::{Number, ObjectId};
use hurricane_core::message::{ClientToScheduler, SchedulerToClient};

use super::{ConnectionError, Fetched};
use crate::store::StoreFull;
use crate::store::shared::SharedMemory;

/// Where a connection sends to. None of it may block, but `fetch`.
pub(crate) trait Sink: Send + Sync {
    /// Sends a message, in the order of the calls. What cannot be sent any more is dropped: the
    /// mailbox will be closed.
    fn send(&self, message: ClientToScheduler);
    /// Whether so little is on its way that more may be sent. When it is so again, the mailbox hears
    /// of it.
    fn has_room(&self) -> bool {
        true
    }
    /// What was sent may get under way in this thread. Called without the connection's lock.
    fn nudge(&self) {}
    /// Waits until something is so, and meanwhile reads what comes in, if no other thread does:
    /// otherwise returns nothing, at once. Whether it is so; false once the deadline has come.
    fn drive(&self, _is_met: &dyn Fn() -> bool, _deadline: Option<Instant>) -> Option<bool> {
        None
    }
    /// The memory that is shared with the store, if there is any.
    fn memory(&self) -> Option<&Arc<SharedMemory>> {
        None
    }
    /// Makes room in the store for so much, if it is here.
    fn make_room(&self, _bytes: u64) -> Result<(), StoreFull> {
        Ok(())
    }
    /// The bytes of an object.
    fn fetch(&self, object: ObjectId, timeout: Duration) -> Fetched;
    /// Whether a task runs now, as far as is known here.
    fn is_running(&self, number: Number) -> bool;
    /// The client is gone.
    fn close(&self);
}

/// Where what the scheduler says to a client is delivered.
pub(crate) trait Mailbox: Send + Sync {
    /// Takes messages in, and wakes who waits for them.
    fn deliver(&self, messages: Vec<SchedulerToClient>);
    /// A sentence for people: what this end waits for.
    fn notice(&self, sentence: Box<str>);
    /// More may be sent again.
    fn make_room(&self);
    /// Nothing more will come. What has come may still be received.
    fn close(&self, reason: ConnectionError);
}

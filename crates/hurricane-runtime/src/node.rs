//! The nodes of this process: each a state machine with a session of its own, all in one thread,
//! with one object store.

use std::time::Duration;

use bytes::Bytes;
use hurricane_core::resources::Resources;
use hurricane_core::session::EndReason;

use crate::dialing::{Choice, DialError, Reached, Target};
use crate::identity::State;

mod caller;
mod crew;

pub use caller::{Caller, Heard, Work};
pub use crew::WorkerSource;

/// How the nodes of a process are to be.
#[derive(Clone, Debug)]
pub struct NodesConfig {
    /// Where the keys are.
    pub state: State,
    /// Which cluster they are to join.
    pub target: Target,
    /// What the user chose beside it.
    pub choice: Choice,
    /// What each node has.
    pub shares: Vec<Resources>,
    /// What runs their tasks.
    pub workers: WorkerSource,
    /// Whose pickles the workers read and write.
    pub python_minor: Option<u8>,
}

/// What happens to a node, for people to be told.
#[derive(Debug)]
pub enum Report {
    /// It looks for its scheduler, and this is why the last try failed.
    Looking(DialError),
    /// It is a member.
    Joined {
        /// What people call it.
        name: Box<str>,
        /// What people call the cluster.
        cluster: Box<str>,
        /// Where the scheduler is.
        reached: Reached,
    },
    /// Its session is over; it looks for the scheduler again.
    Lost(EndReason),
    /// It cannot be a member: it was revoked, or its version does not fit. It tries again, rarely.
    Refused(String),
    /// No worker can be set up here.
    SetupFailed(Bytes),
}

/// Running nodes. Dropped, they stop.
#[derive(Debug)]
pub struct Nodes {}

impl Nodes {
    /// Starts them; does not wait for the scheduler. `report` hears of each node, by its index.
    pub fn start(
        config: NodesConfig,
        report: Box<dyn Fn(usize, Report) + Send>,
    ) -> Result<Self, NodesError> {
        let _ = (config, report);
        todo!()
    }

    /// Takes no more tasks and ends when those that run have ended; `wait` tells when.
    pub fn drain(&self) {
        todo!()
    }

    /// Waits until they are over; false after `timeout`.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        let _ = timeout;
        todo!()
    }

    /// Ends them with their workers; what they run goes elsewhere at once. Idempotent; returns when
    /// no process is left.
    pub fn stop(&self) {
        todo!()
    }

    /// The process ids of the workers.
    pub fn worker_pids(&self) -> Vec<u32> {
        todo!()
    }
}

/// Why there are no nodes: a sentence for people. [`NodesError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum NodesError {}

impl NodesError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

//! A program's way to a cluster: finds it, and carries its connections.

use std::time::Duration;

use hurricane_core::snapshot::Snapshot;

use crate::client::{Connection, ConnectionError};
use crate::dialing::{Choice, Target};
use crate::identity::State;

/// A cluster that was found, and the thread that carries connections to it. Dropped, it stops.
#[derive(Debug)]
pub struct Remote {}

/// What a search brought.
#[derive(Debug)]
pub enum Search {
    /// One cluster.
    Found(Remote),
    /// None, and this user holds no key of any: nothing was asked on any network.
    NoKey,
    /// None within the time.
    NotFound,
}

impl Remote {
    /// Looks for a cluster, at every place at once. What was chosen explicitly is found or an error.
    pub fn find(
        state: &State,
        choice: Choice,
        python_minor: Option<u8>,
        within: Duration,
    ) -> Result<Search, FindError> {
        let _ = (state, choice, python_minor, within);
        todo!()
    }

    /// Goes to a target that is known.
    pub fn start(
        state: &State,
        target: Target,
        python_minor: Option<u8>,
    ) -> Result<Self, FindError> {
        let _ = (state, target, python_minor);
        todo!()
    }

    /// A new client.
    pub fn connect<F: Send + 'static>(&self) -> Result<Connection<F>, ConnectionError> {
        todo!()
    }

    /// A plain copy of the cluster's state for people to look at.
    pub fn snapshot(&self) -> Result<Snapshot, FindError> {
        todo!()
    }

    /// Ends the connections. Idempotent.
    pub fn stop(&self) {
        todo!()
    }
}

/// Why there is no way to a cluster: a sentence for people. [`FindError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FindError {}

impl FindError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

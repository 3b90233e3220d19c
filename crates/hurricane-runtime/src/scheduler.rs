//! A cluster's scheduler, in a thread of its own: who may come in, their sessions, and the state
//! machine that decides.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hurricane_core::snapshot::Snapshot;

use crate::identity::{Name, Roles, State};
use crate::ticket::Ticket;

/// How a scheduler is to be.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// What people call the cluster; its state lies under this name.
    pub name: Name,
    /// The initialization port; 0 takes any that is free.
    pub port: u16,
    /// Where to listen; everywhere if empty.
    pub bind: Vec<IpAddr>,
    /// Where the keys are.
    pub state: State,
    /// Whose pickles clients and nodes read and write.
    pub python_minor: Option<u8>,
}

/// A running scheduler. Dropped, it stops.
#[derive(Debug)]
pub struct Server {}

impl Server {
    /// Starts it; it listens and is announced when this returns.
    pub fn start(config: ServerConfig) -> Result<Self, ServerError> {
        let _ = config;
        todo!()
    }

    /// The initialization port.
    pub fn port(&self) -> u16 {
        todo!()
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        todo!()
    }

    /// Makes a ticket.
    pub fn invite(&self, uses: u32, ttl: Duration, roles: Roles) -> Result<Ticket, ServerError> {
        let _ = (uses, ttl, roles);
        todo!()
    }

    /// A plain copy of the state for people to look at.
    pub fn snapshot(&self) -> Snapshot {
        todo!()
    }

    /// Waits until it is over, by `stop`, by an operator's wish or because it failed; false after
    /// `timeout`.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        let _ = timeout;
        todo!()
    }

    /// Ends it: members are told. Idempotent; returns when it is over.
    pub fn stop(&self) {
        todo!()
    }
}

/// Why there is no scheduler: a sentence for people. [`ServerError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {}

impl ServerError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

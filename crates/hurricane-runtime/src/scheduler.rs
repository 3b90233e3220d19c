//! A cluster's scheduler, in a thread of its own: who may come in, their sessions, and the state
//! machine that decides.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hurricane_core::resources::Resources;
use hurricane_core::session::EndReason;
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

/// What happens to a cluster, for people to be told. Addresses are as in a snapshot: `address:port`,
/// or empty on this host.
#[derive(Debug)]
pub enum Report {
    /// A machine's key is let in from now on.
    Enrolled {
        /// What it is called.
        name: Name,
        /// What it may do.
        roles: Roles,
        /// Where it is.
        address: Box<str>,
    },
    /// A node is there.
    Joined {
        /// What people call it.
        name: Box<str>,
        /// Where it is.
        address: Box<str>,
        /// What it has.
        resources: Resources,
    },
    /// A node said that it leaves, and is gone.
    Left {
        /// What people call it.
        name: Box<str>,
    },
    /// A node is gone without having said so.
    Lost {
        /// What people call it.
        name: Box<str>,
        /// Why.
        reason: EndReason,
    },
    /// Somebody was not let in: whoever dials can cause this, at most a few times a second.
    Refused {
        /// Where they are.
        address: Box<str>,
        /// A sentence.
        reason: Box<str>,
    },
    /// A key was taken out of the list of those that are let in.
    Revoked {
        /// What it was called.
        name: Name,
    },
    /// Tasks are ready, and nothing here can run them: what they wait for, a sentence.
    Stalled(Box<str>),
}

/// A running scheduler. Dropped, it stops.
#[derive(Debug)]
pub struct Server {}

impl Server {
    /// Starts it; it listens and is announced when this returns. `report` hears what happens, in the
    /// scheduler's thread: it must not wait.
    pub fn start(
        config: ServerConfig,
        report: Box<dyn Fn(Report) + Send>,
    ) -> Result<Self, ServerError> {
        let _ = (config, report);
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

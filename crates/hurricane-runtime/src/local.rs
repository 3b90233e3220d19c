//! A cluster on one machine: scheduler and node in a thread of this process, workers beside it, and
//! no network at all.

use std::ffi::OsString;

use bytes::Bytes;
use hurricane_core::snapshot::Snapshot;

use crate::client::{Connection, ConnectionError};

/// How a local cluster is to be.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    /// Exactly so many slots of one cpu, or as many as this process may use.
    pub slots: Option<u64>,
    /// Program and arguments that start a worker.
    pub worker_command: Vec<OsString>,
    /// Opaque; each worker gets it from [`crate::WorkerLink::setup`].
    pub setup: Bytes,
}

/// Why there is no local cluster: a sentence for people, and a hint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {}

/// A cluster on one machine. Dropped, it stops.
#[derive(Debug)]
pub struct Local {}

impl Local {
    /// Starts the threads and the first workers; does not wait for the workers.
    pub fn start(config: LocalConfig) -> Result<Self, LocalError> {
        let _ = config;
        Ok(Self {})
    }

    /// A new client.
    pub fn connect<F: Send + 'static>(&self) -> Result<Connection<F>, ConnectionError> {
        Err(ConnectionError::Closed)
    }

    /// A plain copy of the state for people to look at.
    pub fn snapshot(&self) -> Result<Snapshot, ConnectionError> {
        Err(ConnectionError::Closed)
    }

    /// The process ids of the workers.
    pub fn worker_pids(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Ends all workers with their process trees, then the threads. Idempotent; returns when no
    /// process is left. Does nothing in a forked child.
    pub fn stop(&self) {}
}

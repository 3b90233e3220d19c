//! A worker process's end of the link to its node.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hurricane_core::id::{DefinitionId, RunId};

use crate::client::{Connection, ConnectionError};

/// A worker process's link to its node. Made once, by the worker's main thread, first thing.
///
/// `F` is what its connections give back when a task ends: see [`Connection`].
#[derive(Debug)]
pub struct WorkerLink<F> {
    connection: Option<Connection<F>>,
}

/// What a worker is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Keep a function, for the runs that follow.
    Define {
        /// Its name from now on.
        id: DefinitionId,
        /// What people call it.
        name: Box<str>,
        /// The pickled function.
        function: Bytes,
    },
    /// No further run will name this function.
    Forget {
        /// Which.
        id: DefinitionId,
    },
    /// Call it. Answered by [`WorkerLink::finished`] or [`WorkerLink::raised`].
    Run {
        /// Its name.
        run: RunId,
        /// What to call.
        definition: DefinitionId,
        /// The pickled arguments.
        arguments: Bytes,
        /// The values of its dependencies.
        inputs: Vec<Bytes>,
    },
}

/// Why a worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerLinkError {
    /// Standard input is no link, or the node that started this process is gone.
    #[error("this process was not started by a hurricane node")]
    NoNode(#[source] std::io::Error),
    /// The node is gone. The process ends in a moment.
    #[error("the node is gone")]
    NodeGone,
}

/// Why a task may not wait for its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// Too many tasks of the node wait already.
    #[error("more than {limit} tasks of a node would wait for their children at once")]
    TooDeep {
        /// How many may.
        limit: u32,
    },
    /// The node is gone, or no task runs.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl<F: Send + 'static> WorkerLink<F> {
    /// Takes the link over from standard input and makes the process a worker: own session, no new
    /// privileges, no core dumps, higher OOM score, and a thread that ends the process and its tree
    /// when the node is gone. Waits for the node's first frame.
    pub fn take() -> Result<Self, WorkerLinkError> {
        Err(WorkerLinkError::NodeGone)
    }

    /// The opaque setup of [`crate::LocalConfig`].
    pub fn setup(&self) -> Bytes {
        Bytes::new()
    }

    /// The name of the node.
    pub fn node_name(&self) -> &str {
        ""
    }

    /// The file to which the worker is to write its stacks.
    pub fn stack_path(&self) -> &Path {
        Path::new("")
    }

    /// The signal on which the worker is to write the stacks of all its threads.
    pub fn stack_signal(&self) -> i32 {
        0
    }

    /// The worker is set up and takes runs.
    pub fn ready(&self) -> Result<(), WorkerLinkError> {
        Ok(())
    }

    /// The worker's setup failed and it ends.
    pub fn setup_failed(&self, error: Bytes) -> Result<(), WorkerLinkError> {
        let _ = error;
        Ok(())
    }

    /// The next thing to do; waits for it. None: end. For the main thread only.
    pub fn receive(&self) -> Result<Option<Job>, WorkerLinkError> {
        Ok(None)
    }

    /// The run returned.
    pub fn finished(
        &self,
        run: RunId,
        result: Bytes,
        ran: Duration,
    ) -> Result<(), WorkerLinkError> {
        let _ = (run, result, ran);
        Ok(())
    }

    /// The run raised.
    pub fn raised(
        &self,
        run: RunId,
        exception: Bytes,
        ran: Duration,
    ) -> Result<(), WorkerLinkError> {
        let _ = (run, exception, ran);
        Ok(())
    }

    /// The connection of the running task in the part of a client; each call, the same one within
    /// a run. It closes when the run ends. Fails with `Closed` when no task runs.
    pub fn connect(&self) -> Result<Connection<F>, ConnectionError> {
        self.connection.clone().ok_or(ConnectionError::Closed)
    }

    /// The running task waits for its children from now on.
    pub fn wait_begin(&self) -> Result<(), WaitError> {
        Ok(())
    }

    /// The task would go on; returns when it has its resources again.
    pub fn wait_end(&self) -> Result<(), WaitError> {
        Ok(())
    }
}

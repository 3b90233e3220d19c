//! The writing half of a worker's link: any thread may send.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use hurricane_core::message::WorkerToNode;

use crate::client::ConnectionError;
use crate::link::Outgoing;
use crate::platform::fork::{ProcessMark, Unshared};

/// Sends to the node.
pub(super) struct Sender {
    process: ProcessMark,
    link: Arc<Unshared>,
    outgoing: Mutex<Outgoing>,
}

impl Sender {
    pub(super) fn new(link: Arc<Unshared>) -> Self {
        Self { process: ProcessMark::here(), link, outgoing: Mutex::default() }
    }

    /// A forked child has no link, and must not touch the locks.
    pub(super) fn check_process(&self) -> Result<(), ConnectionError> {
        if self.process.is_here() { Ok(()) } else { Err(ConnectionError::Forked) }
    }

    /// Sends a message; waits until the link has taken it, which the node never puts off.
    pub(super) fn send(&self, message: &WorkerToNode) -> io::Result<()> {
        if self.check_process().is_err() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let mut outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        outgoing.push(message);
        Ok(outgoing.flush_all(&self.link)?)
    }
}

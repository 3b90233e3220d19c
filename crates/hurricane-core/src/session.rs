//! The session between a client or node and the scheduler: it outlives connections.

/// One end of a session.
#[derive(Debug)]
pub struct Session;

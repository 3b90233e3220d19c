//! One question to a scheduler, on a connection of its own: what the commands and `status()` ask.

use hurricane_core::member::{Answer, Request};

use crate::dialing::{DialError, Dialer};

/// Asks, and waits for the answer. The dialer greets as [`crate::greeting::Side::Operator`].
pub async fn ask(dialer: &Dialer, request: &Request) -> Result<Answer, AskError> {
    let _ = (dialer, request);
    todo!()
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The scheduler was not reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It was, and did not answer.
    #[error("the scheduler did not answer")]
    Unanswered(#[source] std::io::Error),
}

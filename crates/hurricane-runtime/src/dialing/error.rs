//! Why a scheduler was not reached.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{ChoiceError, Target};
use crate::greeting::GreetingError;
use crate::identity::{DirectoryError, IdentityError};
use crate::tls::HandshakeError;

/// Why a scheduler was not reached: a sentence for people. [`DialError::hint`] says what to do.
/// The later variants are worth more: when several addresses fail, the last in this order is told.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DialError {
    /// This user has no scheduler on this host.
    #[error("no scheduler of this user runs on port {port} of this host")]
    NotHere {
        /// The initialization port.
        port: u16,
    },
    /// Nobody announces it, and it is not where it was.
    #[error("the scheduler of `{cluster}` was not found")]
    NotFound {
        /// What people call the cluster.
        cluster: Box<str>,
        /// The initialization port.
        port: u16,
    },
    /// Nobody answers.
    #[error("`{address}` cannot be reached")]
    Unreachable {
        /// Where.
        address: Box<str>,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The two sides did not come together.
    #[error("at `{address}`: {error}")]
    Handshake {
        /// Where.
        address: Box<str>,
        /// Why.
        error: HandshakeError,
    },
    /// Their versions do not fit.
    #[error("at `{address}`: {error}")]
    Greeting {
        /// Where.
        address: Box<str>,
        /// Why.
        error: GreetingError,
    },
    /// Another user answers where this user's scheduler should be.
    #[error("`{}` is served by user {user}", path.display())]
    AnotherUser {
        /// The unix socket.
        path: PathBuf,
        /// Who.
        user: u32,
    },
    /// What was chosen cannot be followed.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// A directory of this user cannot be used.
    #[error(transparent)]
    Directory(Arc<DirectoryError>),
    /// There is no identity.
    #[error(transparent)]
    Identity(Arc<IdentityError>),
}

impl DialError {
    /// Nothing more is known than that it is nowhere.
    pub(super) fn nowhere(target: &Target) -> Self {
        match target {
            Target::Here { port } => Self::NotHere { port: *port },
            Target::Member(membership) => Self::NotFound {
                cluster: membership.cluster.as_str().into(),
                port: membership.port,
            },
        }
    }

    /// Whether the scheduler was reached and let nobody in: only somebody's doing changes that.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Handshake { error, .. } => matches!(error, HandshakeError::NotAuthorized),
            Self::Greeting { error, .. } => match error {
                GreetingError::Protocol { .. } | GreetingError::Python { .. } => true,
                GreetingError::Handshake(error) => matches!(error, HandshakeError::NotAuthorized),
                GreetingError::WrongSide { .. } | GreetingError::NotAGreeting => false,
            },
            _ => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotHere { port } => Some(format!(
                "`hurricane up --port {port}` starts one here; to be a member of another's \
                 cluster, `hurricane join` with its ticket"
            )),
            Self::NotFound { port, .. } => Some(format!(
                "if it runs, this network may carry no multicast: give the name or address of its \
                 machine with `--address HOST` or HURRICANE_ADDRESS, and let its port {port} \
                 through firewalls"
            )),
            Self::Unreachable { .. } => Some(
                "check that the scheduler runs there, and that firewalls let it through".into(),
            ),
            Self::Handshake { error, .. } => error.hint().map(Into::into),
            Self::Greeting { error, .. } => error.hint().map(Into::into),
            Self::AnotherUser { .. } => Some("choose another `--port`".into()),
            Self::Choice(_) => None,
            Self::Directory(error) => Some(error.hint()),
            Self::Identity(error) => Some(error.hint()),
        }
    }

    /// Of two errors the one that is worth more to people.
    pub(super) fn better(self, other: Self) -> Self {
        if other.worth() > self.worth() { other } else { self }
    }

    fn worth(&self) -> u8 {
        match self {
            Self::NotHere { .. } | Self::NotFound { .. } => 0,
            Self::Unreachable { .. } => 1,
            Self::Handshake { error, .. }
            | Self::Greeting { error: GreetingError::Handshake(error), .. } => worth_of(error),
            Self::Greeting { .. } if self.is_refusal() => 7,
            Self::Greeting { .. } => 3,
            Self::AnotherUser { .. } => 6,
            Self::Choice(_) | Self::Directory(_) | Self::Identity(_) => 8,
        }
    }
}

/// What is nearer to the scheduler that is looked for says more.
fn worth_of(error: &HandshakeError) -> u8 {
    match error {
        HandshakeError::NotAuthorized => 7,
        HandshakeError::WrongScheduler => 4,
        HandshakeError::TimedOut | HandshakeError::Cut(_) => 2,
        _ => 3,
    }
}

impl From<DirectoryError> for DialError {
    fn from(error: DirectoryError) -> Self {
        Self::Directory(Arc::new(error))
    }
}

impl From<IdentityError> for DialError {
    fn from(error: IdentityError) -> Self {
        Self::Identity(Arc::new(error))
    }
}

//! How a member reaches its scheduler: over a unix socket on one host, else over TCP and TLS at
//! whatever addresses are known, all at once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use crate::framed::BoxedStream;
use crate::greeting::{Greeting, GreetingError};
use crate::identity::{DirectoryError, IdentityError, Membership, Name, State};
use crate::tls::HandshakeError;

/// The initialization port, unless another is chosen.
pub const DEFAULT_PORT: u16 = 12222;

/// What the user chose, by arguments or environment; `None` is no choice.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The name of a cluster: `--cluster`, `HURRICANE_CLUSTER`.
    pub cluster: Option<Name>,
    /// Where the scheduler is, as `host` or `host:port`: `--address`, `HURRICANE_ADDRESS`.
    pub address: Option<String>,
    /// The initialization port: `--port`, `HURRICANE_PORT`.
    pub port: Option<u16>,
}

impl Choice {
    /// Fills in what was not chosen from the environment.
    pub fn or_environment(self) -> Result<Self, ChoiceError> {
        todo!()
    }
}

/// Why a choice cannot be followed: a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ChoiceError(pub String);

/// One cluster, as this machine may reach it.
#[derive(Clone, Debug)]
pub enum Target {
    /// This user's own scheduler on this host, on this initialization port.
    Here {
        /// The port.
        port: u16,
    },
    /// A cluster in which this machine's key was enrolled.
    Member(Box<Membership>),
}

/// Dials one target, each time anew.
pub struct Dialer {
    target: Target,
}

impl Dialer {
    /// For a target. Looks for its addresses from now on; nothing is dialed yet.
    pub fn new(
        state: &State,
        target: Target,
        choice: &Choice,
        greeting: Greeting,
    ) -> Result<Rc<Self>, DialError> {
        let _ = (state, choice, greeting, target);
        todo!()
    }

    /// Tries all that is known at once; the first connection on which both sides have greeted, or
    /// what is best worth telling of why there is none. Remembers the address that worked.
    pub(crate) async fn dial(&self) -> Result<Dialed, DialError> {
        todo!()
    }

    /// What it dials.
    pub fn target(&self) -> &Target {
        &self.target
    }
}

/// A connection on which both sides have greeted.
pub(crate) struct Dialed {
    /// It.
    pub(crate) stream: BoxedStream,
    /// Where it leads.
    pub(crate) reached: Reached,
}

/// Where a connection leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    /// To a unix socket on this host.
    Here(PathBuf),
    /// To an address.
    At(SocketAddr),
}

/// Why a scheduler was not reached. The later variants are worth more: when several addresses fail,
/// the last in this order is told.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody is known to be anywhere.
    #[error("no scheduler was found")]
    NotFound,
    /// Nobody answers.
    #[error("`{address}` cannot be reached")]
    Unreachable {
        /// Where.
        address: Box<str>,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The two sides did not come together.
    #[error("{error}, at `{address}`")]
    Handshake {
        /// Where.
        address: Box<str>,
        /// Why.
        error: HandshakeError,
    },
    /// Their versions do not fit.
    #[error("{error}, at `{address}`")]
    Greeting {
        /// Where.
        address: Box<str>,
        /// Why.
        error: GreetingError,
    },
    /// A directory of this user cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// There is no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

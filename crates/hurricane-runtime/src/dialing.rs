//! How a member reaches its scheduler: over a unix socket on one host, else over TCP and TLS at
//! whatever addresses are known, all at once.
//!
//! An address is a hint. Who is there must show the key that was pinned when this machine was
//! enrolled; who does not is somebody else, and the next address is tried.

mod attempt;
mod candidates;
mod choice;
mod error;
mod names;
mod pace;
mod search;
mod targets;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hurricane_core::session::{DIAL_EVERY, MAX_DIALS};
use tokio::time::{Instant, timeout_at};

use crate::framed::BoxedStream;
use crate::greeting::Greeting;
use crate::identity::{Membership, State};
use crate::platform::local_socket;
use crate::tls::{Pin, Purpose};

use candidates::Candidates;
use pace::Pace;

pub(crate) use choice::Address;
pub use choice::{Choice, ChoiceError, DEFAULT_PORT};
pub use error::DialError;
pub(crate) use search::{Failure, Limits, Origin, Places, Search, Wrong};
pub use targets::{TargetError, targets};

/// How long one dial takes at most.
const DIAL_TIMEOUT: Duration = Duration::from_millis(1900);

// A session gives up its oldest dial for a new one. What went wrong is to be told before that.
const _: () = assert!(DIAL_TIMEOUT.as_millis() < DIAL_EVERY.as_millis() * MAX_DIALS as u128);

/// For so long a dial that failed waits for addresses that it has not tried: a question to the
/// networks is answered within that time, and the next dial begins after it.
const NEWS_WITHIN: Duration = DIAL_EVERY.saturating_sub(Duration::from_millis(50));

/// Where a scheduler was last is tried for so long before the networks are asked. It usually is
/// there, and then nothing is sent to everybody.
const ASK_AFTER: Duration = Duration::from_millis(100);

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
    greeting: Greeting,
    way: Way,
    pace: RefCell<Pace>,
}

/// How a target is reached.
enum Way {
    Unix(PathBuf),
    Tcp(Box<Candidates>),
}

impl Dialer {
    /// For a target. Nothing is dialed, and nobody asked, yet.
    pub fn new(
        state: &State,
        target: Target,
        choice: &Choice,
        greeting: Greeting,
    ) -> Result<Rc<Self>, DialError> {
        let way = match &target {
            Target::Here { port } => Way::Unix(local_socket::path(*port)),
            Target::Member(membership) => {
                let pin = Pin::Key(membership.scheduler);
                let config = crate::tls::dialing(&state.machine_key()?, pin, Purpose::Main);
                let places = Places {
                    port: membership.port,
                    chosen: choice.parsed_address()?,
                    last: membership.last_address,
                };
                let key = membership.scheduler;
                Way::Tcp(Box::new(Candidates::new(state.clone(), key, config, places)))
            }
        };
        Ok(Rc::new(Self { target, greeting, way, pace: RefCell::default() }))
    }

    /// Tries all that is known at once; the first connection on which both sides have greeted, or
    /// what is best worth telling of why there is none. Remembers the address that worked.
    ///
    /// A scheduler that was not there for a minute, or that lets nobody in, is not dialed each time
    /// it is asked for: the last error is told again.
    pub(crate) async fn dial(&self) -> Result<Dialed, DialError> {
        let begun = Instant::now();
        if let Way::Tcp(candidates) = &self.way
            && candidates.have_news()
        {
            self.pace.borrow_mut().hurry();
        }
        self.pace.borrow_mut().begin(begun.into_std())?;
        let dialed = match &self.way {
            Way::Unix(path) => self.dial_here(path, begun).await,
            Way::Tcp(candidates) => {
                let nowhere = DialError::nowhere(&self.target);
                candidates.dial(self.greeting, nowhere, begun).await
            }
        };
        let mut pace = self.pace.borrow_mut();
        match &dialed {
            Ok(_) => pace.succeed(),
            Err(error) => pace.fail(begun.into_std(), error),
        }
        dialed
    }

    async fn dial_here(&self, path: &Path, begun: Instant) -> Result<Dialed, DialError> {
        let Target::Here { port } = self.target else {
            unreachable!("a unix socket leads to this host")
        };
        let attempt = attempt::unix(path, &self.greeting, port);
        let late = |_| DialError::Unreachable {
            address: path.to_string_lossy().into(),
            source: Arc::new(std::io::ErrorKind::TimedOut.into()),
        };
        timeout_at(begun + DIAL_TIMEOUT, attempt).await.map_err(late)?
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

#[cfg(test)]
mod tests;

//! How this machine becomes a member of a cluster: it finds the scheduler that a ticket names,
//! enrols there, and remembers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::dialing::{Choice, ChoiceError, Failure, Limits, Origin, Places, Search, Wrong};
use crate::enrolment::{Admission, Application, EnrolmentError, Refusal, enrol};
use crate::greeting::{Greeting, GreetingError};
use crate::identity::{IdentityError, KeyPair, Membership, Name, Roles, State};
use crate::platform::tcp::prepare;
use crate::ticket::Ticket;
use crate::tls::{HandshakeError, Pin};

/// How long a scheduler is looked for: one that is there is found within a second or two, and
/// people wait for this.
pub const SEARCH_TIME: Duration = Duration::from_secs(10);

/// How long one look at all places takes at most.
const LOOK_TIME: Duration = Duration::from_secs(5);

/// For so long a look at places that have failed waits for others to become known.
const NEWS_WITHIN: Duration = Duration::from_millis(900);

/// Between the beginnings of two looks, and between two tries with a ticket: see
/// [`MAX_TRIES`](crate::strangers::MAX_TRIES).
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a machine wants to join, and as what.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Who invited it.
    pub ticket: Ticket,
    /// What the user chose: an address, if any.
    pub choice: Choice,
    /// What it would like to be called.
    pub name: Name,
    /// What it says of itself.
    pub greeting: Greeting,
}

/// A membership, new or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// It, as it is remembered now.
    pub membership: Membership,
    /// Whether anything is new.
    pub is_new: bool,
}

/// Makes this machine a member, and remembers it. A machine that is one already stays one: with a
/// ticket for more, it may do more; with one that is of no use any more, nothing changes.
pub async fn join(state: &State, wish: &Wish) -> Result<Joined, JoinError> {
    join_within(SEARCH_TIME, state, wish).await
}

async fn join_within(time: Duration, state: &State, wish: &Wish) -> Result<Joined, JoinError> {
    let known = state.memberships()?;
    let known = known.into_iter().find(|one| one.scheduler.fingerprint() == wish.ticket.scheduler);
    match look_and_enrol(time, state, wish, known.as_ref()).await {
        Ok((address, admission)) => {
            let membership = membership_of(wish, address, admission);
            state.remember(&membership)?;
            let is_new = known.is_none_or(|known| known.roles != membership.roles);
            Ok(Joined { membership, is_new })
        }
        Err(error) => match known.filter(|known| error.leaves(known, wish.ticket.roles)) {
            Some(membership) => Ok(Joined { membership, is_new: false }),
            None => Err(error),
        },
    }
}

fn membership_of(wish: &Wish, address: SocketAddr, admission: Admission) -> Membership {
    let Admission { enrolled, scheduler } = admission;
    Membership {
        scheduler,
        cluster: enrolled.cluster,
        port: wish.ticket.port,
        name: enrolled.name,
        roles: enrolled.roles,
        last_address: Some(address),
    }
}

/// Looks until somebody has answered for good, or the time is over.
async fn look_and_enrol(
    time: Duration,
    state: &State,
    wish: &Wish,
    known: Option<&Membership>,
) -> Result<(SocketAddr, Admission), JoinError> {
    let began = Instant::now();
    let applicant = Arc::new(Applicant { key: state.machine_key()?, wish: wish.clone() });
    let places = Places {
        port: wish.ticket.port,
        chosen: wish.choice.parsed_address()?,
        last: known.and_then(|known| known.last_address),
    };
    let search = Search::new(Pin::Fingerprint(wish.ticket.scheduler), places);
    loop {
        let looked = Instant::now();
        let end = looked + LOOK_TIME;
        let limits = Limits { ask: looked, end, news: looked + NEWS_WITHIN };
        let attempt = |address| Arc::clone(&applicant).apply(address);
        let raced = search.race(limits, attempt, Problem::is_for_good).await;
        let failures = match raced {
            Ok(admitted) => return Ok(admitted),
            Err(failures) => failures,
        };
        let is_over = failures.iter().any(is_answer) || began.elapsed() >= time;
        if is_over {
            return Err(best(failures, wish.ticket.port));
        }
        sleep_until(looked + LOOK_EVERY).await;
    }
}

/// Whether the place that the user chose has answered, in whatever way: then no other is meant.
fn is_answer(failure: &Failure<Problem>) -> bool {
    match &failure.error {
        Wrong::There(problem) if problem.is_for_good() => true,
        Wrong::There(Problem::Enrolment { error, .. }) => {
            failure.origin == Origin::Chosen
                && !matches!(
                    error,
                    EnrolmentError::Handshake(HandshakeError::Cut(_) | HandshakeError::TimedOut)
                        | EnrolmentError::Refused(Refusal::TooManyTries)
                )
        }
        _ => false,
    }
}

/// What is said to whoever answers.
struct Applicant {
    key: KeyPair,
    wish: Wish,
}

impl Applicant {
    async fn apply(
        self: Arc<Self>,
        address: SocketAddr,
    ) -> Result<(SocketAddr, Admission), Problem> {
        let connected = TcpStream::connect(address).await.and_then(|stream| {
            prepare(&stream)?;
            Ok(stream)
        });
        let stream = connected.map_err(|error| Problem::Unreachable { address, error })?;
        let Wish { ticket, name, greeting, .. } = &self.wish;
        let application = Application {
            key: &self.key,
            ticket,
            roles: ticket.roles,
            wanted_name: name,
            greeting: *greeting,
        };
        let admitted = enrol(stream, &application).await;
        let admission = admitted.map_err(|error| Problem::Enrolment { address, error })?;
        Ok((address, admission))
    }
}

/// What went wrong at one place.
enum Problem {
    Unreachable { address: SocketAddr, error: io::Error },
    Enrolment { address: SocketAddr, error: EnrolmentError },
}

impl Problem {
    /// Whether the scheduler itself has said no: it showed its key before.
    fn is_for_good(&self) -> bool {
        let Self::Enrolment { error, .. } = self else { return false };
        match error {
            EnrolmentError::Refused(refusal) => *refusal != Refusal::TooManyTries,
            EnrolmentError::Greeting(error) => {
                matches!(error, GreetingError::Protocol { .. } | GreetingError::Python { .. })
            }
            EnrolmentError::Handshake(_) | EnrolmentError::Malformed => false,
        }
    }
}

/// Why this machine is not a member: a sentence for people. [`JoinError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Nobody is known to be anywhere.
    #[error("the scheduler of this ticket was not found")]
    NotFound {
        /// The initialization port.
        port: u16,
    },
    /// Nobody answers where it should be.
    #[error("`{address}` cannot be reached")]
    Unreachable {
        /// Where.
        address: Box<str>,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody answers, and does not let this machine in.
    #[error("at `{address}`: {error}")]
    Enrolment {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: EnrolmentError,
    },
    /// What was chosen cannot be followed.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// There is no identity, or no membership can be remembered.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl JoinError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { port } => Some(format!(
                "if it runs, this network may carry no multicast: give the name or address of its \
                 machine with `--address HOST`, and let its port {port} through firewalls"
            )),
            Self::Unreachable { .. } => Some(
                "check that the scheduler runs there, and that firewalls let it through".into(),
            ),
            Self::Enrolment { error, .. } => error.hint().map(Into::into),
            Self::Choice(_) => None,
            Self::Identity(error) => Some(error.hint()),
        }
    }

    /// Whether a membership holds all the same: the ticket gives nothing that it does not have, and
    /// nothing is wrong but that the ticket is of no use, or its scheduler not there.
    fn leaves(&self, known: &Membership, wanted: Roles) -> bool {
        let is_harmless = match self {
            Self::NotFound { .. } | Self::Unreachable { .. } => true,
            Self::Enrolment { error, .. } => matches!(
                error,
                EnrolmentError::Handshake(_)
                    | EnrolmentError::Refused(Refusal::Unknown | Refusal::Expired | Refusal::Used)
            ),
            Self::Choice(_) | Self::Identity(_) => false,
        };
        is_harmless && wanted.are_within(known.roles)
    }

    fn worth(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 0,
            Self::Unreachable { .. } => 1,
            Self::Enrolment { error: EnrolmentError::Handshake(error), .. } => match error {
                HandshakeError::TimedOut | HandshakeError::Cut(_) => 2,
                HandshakeError::WrongScheduler => 4,
                // It may be another scheduler's: it speaks before it has shown its key.
                HandshakeError::NoInvitation => 5,
                _ => 3,
            },
            Self::Enrolment { .. } => 6,
            Self::Choice(_) | Self::Identity(_) => 7,
        }
    }
}

/// What is best worth telling.
fn best(mut failures: Vec<Failure<Problem>>, port: u16) -> JoinError {
    failures.sort_by_key(|failure| failure.origin);
    let told = failures.into_iter().filter_map(told);
    let nowhere = JoinError::NotFound { port };
    told.fold(nowhere, |best, other| if other.worth() > best.worth() { other } else { best })
}

fn told(failure: Failure<Problem>) -> Option<JoinError> {
    let unreachable = |address: Box<str>, source| Some(JoinError::Unreachable { address, source });
    match failure.error {
        // That nobody listens on this host is no surprise.
        Wrong::There(Problem::Unreachable { .. }) if failure.origin == Origin::Loopback => None,
        Wrong::There(Problem::Unreachable { address, error }) => {
            unreachable(address.to_string().into(), error)
        }
        Wrong::There(Problem::Enrolment { address, error }) => {
            Some(JoinError::Enrolment { address, error })
        }
        Wrong::Late(address) => {
            unreachable(address.to_string().into(), io::ErrorKind::TimedOut.into())
        }
        Wrong::Unknown(host, error) => unreachable(host, error),
    }
}

#[cfg(test)]
mod tests;

//! The first thing that each side says on a connection: which protocol and which versions it has.
//!
//! Its layout never changes, in no version, so that any two versions can tell each other in a
//! sentence why they do not fit. Whoever was dialed speaks first; the other side answers even if it
//! is about to leave, so that both know.
//!
//! | bytes | hold |
//! |---|---|
//! | 0–8 | `hurricane` |
//! | 9 | the side: 0 a scheduler, 1 a node, 2 a client, 3 an operator, 4 a node that fetches |
//! | 10–11 | the version of the protocol |
//! | 12–17 | the version of hurricane: major, minor, patch |
//! | 18 | the minor version of Python 3; 0 where there is none |
//! | 19–31 | zero; whoever reads does not look at them |
//!
//! Numbers are big-endian.

use std::fmt;
use std::future::Future;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::framed::Stream;
use crate::tls::{HANDSHAKE_TIMEOUT, HandshakeError, Secured, refusal};

/// Grows with every change to what follows the greeting.
pub const PROTOCOL: u16 = 1;

/// How long a greeting is.
pub const GREETING_BYTES: usize = 32;

const MAGIC: [u8; 9] = *b"hurricane";

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    /// The one that was dialed.
    Scheduler = 0,
    /// A node, or a machine that is about to become one.
    Node = 1,
    /// A client.
    Client = 2,
    /// Somebody with one question.
    Operator = 3,
    /// A node, at another node's door.
    Fetcher = 4,
}

impl Side {
    /// Whether the two have anything to say to each other.
    fn may_meet(self, other: Self) -> bool {
        match self {
            Self::Scheduler => !matches!(other, Self::Scheduler | Self::Fetcher),
            Self::Node => matches!(other, Self::Scheduler | Self::Fetcher),
            Self::Client | Self::Operator => other == Self::Scheduler,
            Self::Fetcher => other == Self::Node,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        let mut sides =
            [Self::Scheduler, Self::Node, Self::Client, Self::Operator, Self::Fetcher].into_iter();
        sides.find(|side| *side as u8 == byte)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheduler => "scheduler",
            Self::Node => "node",
            Self::Client => "client",
            Self::Operator => "operator",
            Self::Fetcher => "fetching node",
        })
    }
}

/// A version of hurricane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Changes with what people must change.
    pub major: u16,
    /// Changes with what people can do.
    pub minor: u16,
    /// Changes with what was wrong.
    pub patch: u16,
}

impl Version {
    /// The one that is running.
    pub fn own() -> Self {
        let number = |text: &str| text.parse().unwrap_or(0);
        Self {
            major: number(env!("CARGO_PKG_VERSION_MAJOR")),
            minor: number(env!("CARGO_PKG_VERSION_MINOR")),
            patch: number(env!("CARGO_PKG_VERSION_PATCH")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What one side says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Who speaks.
    pub side: Side,
    /// See [`PROTOCOL`].
    pub protocol: u16,
    /// What people know it by.
    pub version: Version,
    /// Whose pickles it reads and writes, if any.
    pub python_minor: Option<u8>,
}

impl Greeting {
    /// That of this version.
    pub fn own(side: Side, python_minor: Option<u8>) -> Self {
        Self { side, protocol: PROTOCOL, version: Version::own(), python_minor }
    }

    /// How it lies in bytes.
    pub fn encode(&self) -> [u8; GREETING_BYTES] {
        let Version { major, minor, patch } = self.version;
        let mut bytes = [0; GREETING_BYTES];
        bytes[..9].copy_from_slice(&MAGIC);
        bytes[9] = self.side as u8;
        for (place, number) in [self.protocol, major, minor, patch].into_iter().enumerate() {
            bytes[10 + 2 * place..][..2].copy_from_slice(&number.to_be_bytes());
        }
        bytes[18] = self.python_minor.unwrap_or(0);
        bytes
    }

    /// What lies in bytes, if it is a greeting.
    pub fn decode(bytes: &[u8; GREETING_BYTES]) -> Option<Self> {
        let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let side = Side::from_byte(bytes[9])?;
        (bytes[..9] == MAGIC).then(|| Self {
            side,
            protocol: number(10),
            version: Version { major: number(12), minor: number(14), patch: number(16) },
            python_minor: (bytes[18] != 0).then_some(bytes[18]),
        })
    }

    /// Whether this side and another can work together.
    pub fn check(&self, other: &Self) -> Result<(), GreetingError> {
        let (own, other) = (*self, *other);
        if !own.side.may_meet(other.side) {
            return Err(GreetingError::WrongSide { own: own.side, other: other.side });
        }
        if own.protocol != other.protocol {
            return Err(GreetingError::Protocol { own, other });
        }
        match (own.python_minor, other.python_minor) {
            (Some(mine), Some(theirs)) if mine != theirs => {
                Err(GreetingError::Python { own: mine, side: other.side, other: theirs })
            }
            _ => Ok(()),
        }
    }
}

/// Why two sides cannot work together.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GreetingError {
    /// Protocols differ.
    #[error(
        "this is hurricane {} (protocol {}), and the {} runs hurricane {} (protocol {})",
        own.version, own.protocol, other.side, other.version, other.protocol
    )]
    Protocol {
        /// Here.
        own: Greeting,
        /// There.
        other: Greeting,
    },
    /// Versions of Python differ.
    #[error("this is Python 3.{own}, and the {side} runs Python 3.{other}")]
    Python {
        /// Here.
        own: u8,
        /// Who has the other.
        side: Side,
        /// There.
        other: u8,
    },
    /// They have nothing to say to each other, as two schedulers.
    #[error("this is a {own}, and the other side is a {other}")]
    WrongSide {
        /// Here.
        own: Side,
        /// There.
        other: Side,
    },
    /// What came is no greeting.
    #[error("the other side does not speak hurricane's protocol")]
    NotAGreeting,
    /// The other side let nobody in, or was cut off.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

impl GreetingError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Protocol { .. } => Some("install the same version of hurricane on both machines"),
            Self::Python { .. } => Some("use the same minor version of Python on both machines"),
            Self::WrongSide { .. } | Self::NotAGreeting => Some("check the address and the port"),
            Self::Handshake(error) => error.hint(),
        }
    }
}

/// A connection on which two sides can greet.
pub trait Greetable: AsyncRead + AsyncWrite + Unpin {
    /// What an error means that came in the place of a greeting.
    fn refusal(&self, error: io::Error) -> HandshakeError;
}

/// In TLS 1.3 the one that was dialed judges the other's key after that one's handshake has ended.
impl<S: AsyncRead + AsyncWrite + Unpin> Greetable for Secured<S> {
    fn refusal(&self, error: io::Error) -> HandshakeError {
        refusal(self, error)
    }
}

impl Greetable for UnixStream {
    fn refusal(&self, error: io::Error) -> HandshakeError {
        HandshakeError::of_cut(error)
    }
}

impl Greetable for dyn Stream + Send {
    fn refusal(&self, error: io::Error) -> HandshakeError {
        HandshakeError::of_cut(error)
    }
}

impl<S: Greetable + ?Sized> Greetable for Box<S> {
    fn refusal(&self, error: io::Error) -> HandshakeError {
        (**self).refusal(error)
    }
}

/// Greets whoever dialed, and returns how they greeted. Says first who is here, since in TLS 1.3
/// only what a scheduler says tells its peer that it was let in.
pub async fn greet_dialer(
    stream: &mut impl Greetable,
    own: &Greeting,
) -> Result<Greeting, GreetingError> {
    let other = in_time(async {
        say(stream, own).await?;
        hear(stream).await
    });
    let other = other.await?;
    own.check(&other).map(|()| other)
}

/// Hears whom one has dialed, a scheduler or a node, answers, and returns how they greeted.
pub async fn greet_scheduler(
    stream: &mut impl Greetable,
    own: &Greeting,
) -> Result<Greeting, GreetingError> {
    let other = in_time(async {
        let other = hear(stream).await?;
        // Whether it fits or not: the other side has somebody to tell as well.
        say(stream, own).await?;
        Ok(other)
    });
    let other = other.await?;
    own.check(&other).map(|()| other)
}

async fn in_time(
    exchange: impl Future<Output = Result<Greeting, GreetingError>>,
) -> Result<Greeting, GreetingError> {
    timeout(HANDSHAKE_TIMEOUT, exchange).await.map_err(|_| HandshakeError::TimedOut)?
}

async fn say(stream: &mut impl Greetable, own: &Greeting) -> Result<(), GreetingError> {
    let said = async {
        stream.write_all(&own.encode()).await?;
        stream.flush().await
    };
    Ok(said.await.map_err(|error| stream.refusal(error))?)
}

async fn hear(stream: &mut impl Greetable) -> Result<Greeting, GreetingError> {
    let mut bytes = [0; GREETING_BYTES];
    stream.read_exact(&mut bytes).await.map_err(|error| stream.refusal(error))?;
    Greeting::decode(&bytes).ok_or(GreetingError::NotAGreeting)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::framed::BoxedStream;

    fn greeting(side: Side) -> Greeting {
        Greeting {
            side,
            protocol: 1,
            version: Version { major: 0, minor: 1, patch: 2 },
            python_minor: Some(11),
        }
    }

    #[test]
    fn the_layout_stays() {
        let expected = *b"hurricane\x01\0\x01\0\0\0\x01\0\x02\x0b\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(greeting(Side::Node).encode(), expected);
        assert_eq!(Greeting::decode(&expected), Some(greeting(Side::Node)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in any::<[u8; GREETING_BYTES]>()) {
            prop_assert_eq!(Greeting::decode(&bytes), None);
        }

        #[test]
        fn later_versions_may_say_more(rest in any::<[u8; 13]>()) {
            let mut bytes = greeting(Side::Client).encode();
            bytes[19..].copy_from_slice(&rest);
            prop_assert_eq!(Greeting::decode(&bytes), Some(greeting(Side::Client)));
        }
    }

    #[test]
    fn what_does_not_fit_is_a_sentence_on_both_sides() {
        let scheduler = greeting(Side::Scheduler);
        let newer = Greeting {
            protocol: 2,
            version: Version { major: 0, minor: 2, patch: 0 },
            ..greeting(Side::Node)
        };
        let there = scheduler.check(&newer).expect_err("protocols differ").to_string();
        let here = newer.check(&scheduler).expect_err("protocols differ").to_string();
        assert_eq!(
            there,
            "this is hurricane 0.1.2 (protocol 1), and the node runs hurricane 0.2.0 (protocol 2)"
        );
        assert_eq!(
            here,
            "this is hurricane 0.2.0 (protocol 2), and the scheduler runs hurricane 0.1.2 (protocol 1)"
        );
    }

    #[test]
    fn pythons_must_be_of_one_minor_version() {
        let scheduler = greeting(Side::Scheduler);
        let other = Greeting { python_minor: Some(12), ..greeting(Side::Client) };
        let error = scheduler.check(&other).expect_err("they differ");
        assert_eq!(error.to_string(), "this is Python 3.11, and the client runs Python 3.12");
        let none = Greeting { python_minor: None, ..other };
        assert!(scheduler.check(&none).is_ok());
    }

    #[test]
    fn hurricane_may_differ_where_the_protocol_does_not() {
        let patched =
            Greeting { version: Version { major: 0, minor: 9, patch: 0 }, ..greeting(Side::Node) };
        assert!(greeting(Side::Scheduler).check(&patched).is_ok());
    }

    #[test]
    fn one_of_two_is_a_scheduler() {
        let error = greeting(Side::Scheduler).check(&greeting(Side::Scheduler));
        let error = error.expect_err("both are");
        assert_eq!(error.to_string(), "this is a scheduler, and the other side is a scheduler");
        assert!(greeting(Side::Node).check(&greeting(Side::Client)).is_err());
    }

    #[test]
    fn who_fetches_goes_to_nodes_alone() {
        let (node, fetcher) = (greeting(Side::Node), greeting(Side::Fetcher));
        assert!(node.check(&fetcher).is_ok() && fetcher.check(&node).is_ok());
        assert!(fetcher.check(&greeting(Side::Scheduler)).is_err());
        assert!(greeting(Side::Scheduler).check(&fetcher).is_err());
    }

    #[tokio::test]
    async fn two_sides_greet_over_any_stream() {
        let (mut dialed, mut answering) = UnixStream::pair().expect("there are descriptors");
        let (node, scheduler) = (greeting(Side::Node), greeting(Side::Scheduler));
        let (there, here) = tokio::join!(
            greet_scheduler(&mut dialed, &node),
            greet_dialer(&mut answering, &scheduler),
        );
        assert_eq!(there.expect("they fit"), scheduler);
        assert_eq!(here.expect("they fit"), node);
    }

    #[tokio::test]
    async fn who_leaves_before_greeting_was_cut() {
        let (dialed, answering) = UnixStream::pair().expect("there are descriptors");
        drop(answering);
        let mut dialed: BoxedStream = Box::new(dialed);
        let error = greet_scheduler(&mut dialed, &greeting(Side::Node)).await;
        let error = error.expect_err("nobody is there");
        assert_eq!(error.to_string(), "the connection was cut");
    }
}

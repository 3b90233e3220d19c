//! The one line with which another machine joins: whom to trust, and a secret that shows that one
//! was invited.
//!
//! Whoever has the line can use it. It is shown by [`Ticket::to_line`] alone, never by `Debug`, and
//! the secret itself never crosses the network.

use std::fmt;
use std::str::FromStr;

use data_encoding::DecodeKind;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::identity::text::TEXT;
use crate::identity::{Fingerprint, Roles};

/// What every ticket begins with: the kind of text, and the version of what follows.
const PREFIX: &str = "h1";

/// A fingerprint, a secret, roles, a port.
const CONTENT_BYTES: usize = 16 + 16 + 1 + 2;

/// Of a hash: one mistyped ticket in four thousand million goes unnoticed here, and then fails at
/// the scheduler.
const CHECKSUM_BYTES: usize = 4;

/// How long the line is.
pub const LINE_BYTES: usize = PREFIX.len() + ((CONTENT_BYTES + CHECKSUM_BYTES) * 8).div_ceil(5);

/// An invitation to a cluster.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// Whose key the scheduler must have.
    pub scheduler: Fingerprint,
    /// What shows that one was invited.
    pub secret: Secret,
    /// What the invited may do.
    pub roles: Roles,
    /// The cluster's initialization port.
    pub port: u16,
}

impl Ticket {
    /// The line to type on another machine. It holds the secret: show it to the user and to nobody
    /// else, not to a log either.
    pub fn to_line(&self) -> String {
        let mut content = self.content();
        let checksum = checksum(&content);
        content.extend(checksum);
        format!("{PREFIX}{}", TEXT.encode(&content))
    }

    fn content(&self) -> Vec<u8> {
        let port = self.port.to_be_bytes();
        [&self.scheduler.0[..], &self.secret.0, &[self.roles.to_byte()], &port].concat()
    }

    fn from_content(content: &[u8; CONTENT_BYTES]) -> Option<Self> {
        let (scheduler, rest) = content.split_first_chunk()?;
        let (secret, rest) = rest.split_first_chunk()?;
        let (&[roles], rest) = rest.split_first_chunk()?;
        Some(Self {
            scheduler: Fingerprint(*scheduler),
            secret: Secret(*secret),
            roles: Roles::from_byte(roles)?,
            port: u16::from_be_bytes(rest.try_into().ok()?),
        })
    }
}

/// Over the version as well, so that a ticket of one is never taken for another's.
fn checksum(content: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = digest(&SHA256, &[PREFIX.as_bytes(), content].concat());
    *hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let line = line.trim();
        let Some(text) = line.strip_prefix(PREFIX) else { return Err(TicketError::NotATicket) };
        if line.len() < LINE_BYTES / 2 || line.len() > LINE_BYTES * 2 {
            return Err(TicketError::NotATicket);
        }
        let bytes = TEXT.decode(text.as_bytes()).map_err(|error| match error.kind {
            DecodeKind::Symbol => TicketError::WrongCharacter {
                position: text[..error.position].chars().count() + PREFIX.len() + 1,
            },
            DecodeKind::Length | DecodeKind::Trailing | DecodeKind::Padding => {
                TicketError::Mistyped
            }
        })?;
        let (content, sum) = bytes.split_first_chunk().ok_or(TicketError::Mistyped)?;
        if checksum(content)[..] != *sum {
            return Err(TicketError::Mistyped);
        }
        Self::from_content(content).ok_or(TicketError::Newer)
    }
}

/// Why a text is not a ticket. None of them repeats it: it may hold most of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Something else altogether.
    #[error(
        "this is not a ticket: a ticket is one line of {LINE_BYTES} characters that begins with `{PREFIX}`"
    )]
    NotATicket,
    /// Tickets have no such character.
    #[error("the ticket is mistyped: it cannot have what it has at position {position}")]
    WrongCharacter {
        /// Counted from 1, in characters.
        position: usize,
    },
    /// Characters were changed, swapped, lost or added.
    #[error(
        "the ticket is mistyped or incomplete: it has {LINE_BYTES} characters, and its checksum does not match"
    )]
    Mistyped,
    /// It gives roles that this version does not know.
    #[error("the ticket is of a newer version of hurricane")]
    Newer,
}

impl TicketError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotATicket => "`hurricane invite` prints one, on the scheduler's machine",
            Self::WrongCharacter { .. } | Self::Mistyped => "copy the whole line once more",
            Self::Newer => "install the version of hurricane that the scheduler runs",
        }
    }
}

/// 128 random bits.
#[derive(Clone)]
pub struct Secret([u8; 16]);

impl Secret {
    /// A new one; none if the system gives no randomness.
    pub fn generate() -> Option<Self> {
        let mut bytes = [0; 16];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// What may be written down about the ticket that has it: nobody finds the secret from that.
    pub fn ticket_id(&self) -> TicketId {
        let hash = digest(&SHA256, &[b"hurricane ticket ", &self.0[..]].concat());
        TicketId(*hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Names a ticket without giving it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketId([u8; 8]);

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&TEXT.encode(&self.0))
    }
}

impl FromStr for TicketId {
    type Err = NotATicketId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = TEXT.decode(text.as_bytes()).map_err(|_| NotATicketId)?;
        bytes.try_into().map(Self).map_err(|_| NotATicketId)
    }
}

/// A text does not name a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a ticket's id is 13 letters and digits")]
pub struct NotATicketId;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tickets() -> impl Strategy<Value = Ticket> {
        let roles = prop_oneof![Just(Roles::NODE), Just(Roles::SUBMIT), Just(Roles::ALL)];
        (any::<[u8; 16]>(), any::<[u8; 16]>(), roles, any::<u16>()).prop_map(
            |(scheduler, secret, roles, port)| Ticket {
                scheduler: Fingerprint(scheduler),
                secret: Secret(secret),
                roles,
                port,
            },
        )
    }

    proptest! {
        #[test]
        fn a_line_is_read_as_it_was_written(ticket in tickets()) {
            let line = ticket.to_line();
            prop_assert_eq!(line.len(), LINE_BYTES);
            let read: Ticket = format!("  {line}\n").parse().expect("it was just written");
            prop_assert_eq!(read.content(), ticket.content());
        }

        #[test]
        fn a_changed_character_is_noticed(
            ticket in tickets(),
            position in 0..LINE_BYTES,
            character in proptest::char::range('!', '~'),
        ) {
            let line = ticket.to_line();
            let mut changed = line.clone();
            changed.replace_range(position..=position, &character.to_string());
            prop_assume!(changed != line);
            prop_assert!(changed.parse::<Ticket>().is_err());
        }

        #[test]
        fn a_swap_is_noticed(ticket in tickets(), one in 0..LINE_BYTES, other in 0..LINE_BYTES) {
            let line = ticket.to_line();
            let mut swapped: Vec<char> = line.chars().collect();
            swapped.swap(one, other);
            let swapped: String = swapped.into_iter().collect();
            prop_assume!(swapped != line);
            prop_assert!(swapped.parse::<Ticket>().is_err());
        }

        #[test]
        fn a_lost_end_is_noticed(ticket in tickets(), kept in 0..LINE_BYTES) {
            prop_assert!(ticket.to_line()[..kept].parse::<Ticket>().is_err());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(h1)?\\PC{0,100}") {
            let _ = text.parse::<Ticket>();
        }

        #[test]
        fn an_id_is_read_as_it_was_written(ticket in tickets()) {
            let id = ticket.secret.ticket_id();
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    fn ticket() -> Ticket {
        Ticket {
            scheduler: Fingerprint([1; 16]),
            secret: Secret([0xab; 16]),
            roles: Roles::NODE,
            port: 12222,
        }
    }

    #[test]
    fn the_form_of_the_line_stays() {
        let line = "h1040g2081040g2081040g208106ntqaxbnentqaxbnentqaxbneng2bxy0k3p6hr";
        assert_eq!(ticket().to_line(), line);
    }

    #[test]
    fn debug_hides_the_secret() {
        let shown = format!("{:?}", ticket());
        assert!(shown.contains("Secret(…)"), "{shown}");
        assert!(!shown.contains("171") && !shown.contains("ab, ab"), "{shown}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let read = |line: &str| line.parse::<Ticket>().expect_err("it is wrong");
        assert_eq!(read(""), TicketError::NotATicket);
        assert_eq!(read("ssh-ed25519 AAAAC3Nza"), TicketError::NotATicket);
        assert_eq!(read("h1"), TicketError::NotATicket);
        let line = ticket().to_line();
        assert_eq!(read(&line[..40]), TicketError::Mistyped);
        assert_eq!(read(&line.to_uppercase()), TicketError::NotATicket);
        let mut wrong = line.clone();
        wrong.replace_range(4..5, "o");
        assert_eq!(read(&wrong), TicketError::WrongCharacter { position: 5 });
    }

    #[test]
    fn roles_of_a_newer_version_are_named() {
        let mut content = ticket().content();
        content[32] = 8;
        let sum = checksum(&content);
        content.extend(sum);
        let line = format!("{PREFIX}{}", TEXT.encode(&content));
        assert_eq!(line.parse::<Ticket>().expect_err("the role is unknown"), TicketError::Newer);
    }
}

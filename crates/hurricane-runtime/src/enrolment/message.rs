//! The message of a joining machine and the answer to it. Both have a fixed length and layout:
//! nothing that a stranger sends is deserialized.

use std::fmt;

use ring::hmac;

use crate::identity::{Name, PublicKey, Roles};
use crate::ticket::Secret;

/// Names lie in as many bytes as the longest has, after their length.
const NAME_BYTES: usize = 1 + 63;

const PROOF_BYTES: usize = 32;

/// How long the message is: a proof, roles, a wanted name.
pub const REQUEST_BYTES: usize = PROOF_BYTES + 1 + NAME_BYTES;

/// How long the answer is: what became of it, roles, a name, the cluster's name.
pub const ANSWER_BYTES: usize = 1 + 1 + 2 * NAME_BYTES;

// What was promised for what a stranger may send.
const _: () = assert!(REQUEST_BYTES + crate::greeting::GREETING_BYTES <= 512);

/// What a joining machine says.
#[derive(Clone, Debug)]
pub(super) struct Request {
    proof: [u8; PROOF_BYTES],
    pub(super) roles: Roles,
    pub(super) wanted_name: Name,
}

impl Request {
    /// With the proof that its sender knows the secret, for one connection and one key.
    pub(super) fn new(
        secret: &Secret,
        connection: &[u8; 32],
        key: &PublicKey,
        roles: Roles,
        wanted_name: &Name,
    ) -> Self {
        let mut request = Self { proof: [0; 32], roles, wanted_name: wanted_name.clone() };
        let proof = hmac::sign(&hmac_key(secret), &request.proven(connection, key));
        request.proof.copy_from_slice(proof.as_ref());
        request
    }

    pub(super) fn encode(&self) -> [u8; REQUEST_BYTES] {
        let mut bytes = [0; REQUEST_BYTES];
        bytes[..PROOF_BYTES].copy_from_slice(&self.proof);
        bytes[PROOF_BYTES] = self.roles.to_byte();
        bytes[PROOF_BYTES + 1..].copy_from_slice(&encode_name(&self.wanted_name));
        bytes
    }

    pub(super) fn decode(bytes: &[u8; REQUEST_BYTES]) -> Option<Self> {
        let (proof, rest) = bytes.split_first_chunk()?;
        let (&[roles], name) = rest.split_first_chunk()?;
        let (roles, wanted_name) = (Roles::from_byte(roles)?, decode_name(name.try_into().ok()?)?);
        Some(Self { proof: *proof, roles, wanted_name })
    }

    /// All that is said, with what it is bound to.
    fn proven(&self, connection: &[u8; 32], key: &PublicKey) -> Vec<u8> {
        [&connection[..], key.as_bytes(), &self.encode()[PROOF_BYTES..]].concat()
    }
}

/// What a joining machine asks for, with what its proof is bound to.
#[derive(Clone)]
pub struct Claim {
    pub(super) request: Request,
    pub(super) key: PublicKey,
    pub(super) connection: [u8; 32],
}

impl Claim {
    /// The key that is to be let in.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// What it wants to do.
    pub fn roles(&self) -> Roles {
        self.request.roles
    }

    /// What it would like to be called.
    pub fn wanted_name(&self) -> &Name {
        &self.request.wanted_name
    }

    /// Whether it comes from somebody who knows a secret. Takes the same time whatever the proof.
    pub(super) fn knows(&self, secret: &Secret) -> bool {
        let proven = self.request.proven(&self.connection, &self.key);
        hmac::verify(&hmac_key(secret), &proven, &self.request.proof).is_ok()
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claim({} as {} for {})", self.wanted_name(), self.roles(), self.key)
    }
}

fn hmac_key(secret: &Secret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

/// What a new member is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// What it is called.
    pub name: Name,
    /// What it may do.
    pub roles: Roles,
    /// What people call the cluster.
    pub cluster: Name,
}

/// Why a machine is not enrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Refusal {
    /// No invitation has this secret.
    #[error(
        "the scheduler does not know this ticket: it was withdrawn, or the scheduler was restarted"
    )]
    Unknown = 1,
    /// It is too late.
    #[error("this ticket has expired")]
    Expired = 2,
    /// Others were enrolled with it, as many as it was for.
    #[error("this ticket was used up")]
    Used = 3,
    /// More was asked for than the ticket gives.
    #[error("this ticket does not give that role")]
    RoleNotGiven = 4,
    /// Too many tries within a second.
    #[error("too many tries with tickets came from this address")]
    TooManyTries = 5,
    /// The scheduler could not write its list of keys.
    #[error("the scheduler could not write down this machine's key")]
    NotWritten = 6,
}

impl Refusal {
    const ALL: [Self; 6] = [
        Self::Unknown,
        Self::Expired,
        Self::Used,
        Self::RoleNotGiven,
        Self::TooManyTries,
        Self::NotWritten,
    ];

    /// What the joining side can do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Unknown | Self::Expired | Self::Used => {
                "run `hurricane invite` on the scheduler's machine for a new ticket"
            }
            Self::RoleNotGiven => "run `hurricane invite --role` on the scheduler's machine",
            Self::TooManyTries => "wait a second and try again",
            Self::NotWritten => "look at what the scheduler logs, then try again with this ticket",
        }
    }
}

/// How an answer begins if it is none of [`Refusal`].
const ENROLLED: u8 = 0;

pub(super) fn encode_answer(answer: &Result<Enrolled, Refusal>) -> [u8; ANSWER_BYTES] {
    let mut bytes = [0; ANSWER_BYTES];
    match answer {
        Ok(enrolled) => {
            bytes[0] = ENROLLED;
            bytes[1] = enrolled.roles.to_byte();
            let names = [encode_name(&enrolled.name), encode_name(&enrolled.cluster)];
            bytes[2..].copy_from_slice(names.as_flattened());
        }
        Err(refusal) => bytes[0] = *refusal as u8,
    }
    bytes
}

pub(super) fn decode_answer(bytes: &[u8; ANSWER_BYTES]) -> Option<Result<Enrolled, Refusal>> {
    let (&[what, roles], names) = bytes.split_first_chunk()?;
    if what == ENROLLED {
        let (name, cluster) = names.split_first_chunk()?;
        return Some(Ok(Enrolled {
            name: decode_name(name)?,
            roles: Roles::from_byte(roles)?,
            cluster: decode_name(cluster.try_into().ok()?)?,
        }));
    }
    Refusal::ALL.into_iter().find(|refusal| *refusal as u8 == what).map(Err)
}

fn encode_name(name: &Name) -> [u8; NAME_BYTES] {
    let name = name.as_str().as_bytes();
    let mut bytes = [0; NAME_BYTES];
    bytes[0] = u8::try_from(name.len()).expect("a name has at most 63 bytes");
    bytes[1..][..name.len()].copy_from_slice(name);
    bytes
}

fn decode_name(bytes: &[u8; NAME_BYTES]) -> Option<Name> {
    let name = bytes[1..].get(..bytes[0].into())?;
    str::from_utf8(name).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::KeyPair;

    fn claim(secret: &Secret) -> Claim {
        let key = KeyPair::generate().expect("the system is random").public();
        let request = Request::new(secret, &[1; 32], &key, Roles::NODE, &Name::near("rack"));
        Claim { request, key, connection: [1; 32] }
    }

    fn secret() -> Secret {
        Secret::generate().expect("the system is random")
    }

    #[test]
    fn a_proof_holds_for_what_it_was_made_for_alone() {
        let known = secret();
        let claim = claim(&known);
        assert!(claim.knows(&known));
        assert!(!claim.knows(&secret()));
        let other = KeyPair::generate().expect("the system is random").public();
        assert!(!Claim { key: other, ..claim.clone() }.knows(&known));
        assert!(!Claim { connection: [2; 32], ..claim.clone() }.knows(&known));
        let mut more = claim.clone();
        more.request.roles = Roles::ALL;
        assert!(!more.knows(&known));
        let mut renamed = claim.clone();
        renamed.request.wanted_name = Name::near("desk");
        assert!(!renamed.knows(&known));
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        let claim = claim(&secret());
        let read = Request::decode(&claim.request.encode()).expect("it was just written");
        assert_eq!(read.encode(), claim.request.encode());
        let (name, cluster) = (Name::near(&"x".repeat(63)), Name::near("lab"));
        let enrolled = Enrolled { name, roles: Roles::ALL, cluster };
        let answers = Refusal::ALL.into_iter().map(Err).chain([Ok(enrolled)]);
        for answer in answers {
            assert_eq!(decode_answer(&encode_answer(&answer)), Some(answer));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            request in proptest::collection::vec(any::<u8>(), REQUEST_BYTES),
            answer in proptest::collection::vec(any::<u8>(), ANSWER_BYTES),
        ) {
            let _ = Request::decode(&request.try_into().expect("the length is right"));
            let _ = decode_answer(&answer.try_into().expect("the length is right"));
        }
    }
}

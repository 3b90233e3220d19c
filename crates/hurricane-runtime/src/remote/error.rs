//! Why there is no way to a cluster.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::client::ConnectionError;
use crate::dialing::{ChoiceError, DialError, TargetError};
use crate::identity::{IdentityError, Name};
use crate::operator::AskError;

/// Why there is no way to a cluster: a sentence for people. [`FindError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// What was chosen makes no sense.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// The keys of this machine cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A cluster was chosen, and this user holds no key of any.
    #[error("this machine is not a member of {wanted}")]
    NoKey {
        /// What was chosen.
        wanted: Wanted,
    },
    /// It cannot be said which cluster is meant, or none may be.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// There is more than one.
    #[error("there are several clusters here: {}", Listed(found))]
    Several {
        /// Each of them.
        found: Vec<Place>,
    },
    /// A cluster was chosen, and did not answer.
    #[error("no answer from {wanted} within {} seconds", within.as_secs())]
    NotFound {
        /// What was chosen.
        wanted: Wanted,
        /// For how long it was tried.
        within: Duration,
        /// What came of the last try.
        #[source]
        last: Option<Box<DialError>>,
    },
    /// A scheduler was reached, and this machine and it cannot work together.
    #[error("{destination} cannot be used from here")]
    Unusable {
        /// Whose.
        destination: String,
        /// Why.
        #[source]
        source: AskError,
    },
    /// A scheduler was reached, and does not do as asked.
    #[error("{destination} refuses: {reason}")]
    Refused {
        /// Whose.
        destination: String,
        /// A sentence.
        reason: Box<str>,
    },
    /// The scheduler was asked and did not answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// There is no thread, or nothing for it to wait with.
    #[error("hurricane's thread could not be started")]
    Thread(#[source] io::Error),
    /// What would ask is not there any more.
    #[error("the way to the cluster is closed")]
    Stopped,
    /// This is no process to ask from.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl FindError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Identity(error) => return Some(error.hint()),
            Self::Target(error) => return error.hint(),
            Self::NoKey { .. } => {
                "run `hurricane invite --role submit` on the scheduler's machine, and `hurricane \
                 join` here with the ticket that it prints"
            }
            Self::Several { found } => return Some(how_to_choose(found)),
            Self::NotFound { last, .. } => return last.as_ref()?.hint(),
            Self::Unusable { source: AskError::Dial(error), .. }
            | Self::Ask(AskError::Dial(error)) => return error.hint(),
            Self::Thread(_) => "see how many processes `ulimit -u` allows",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// What somebody chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A cluster by its name.
    Cluster(Name),
    /// Whatever is at an address.
    Address(String),
    /// Whatever is on an initialization port.
    Port(u16),
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(name) => write!(f, "the cluster `{name}`"),
            Self::Address(address) => write!(f, "a cluster at `{address}`"),
            Self::Port(port) => write!(f, "a cluster on port {port}"),
        }
    }
}

/// A cluster that was found, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What people call it.
    pub cluster: Box<str>,
    /// Its initialization port.
    pub port: u16,
    /// Where its scheduler answers.
    pub addresses: Vec<Box<str>>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addresses.first() {
            Some(address) => write!(f, "`{}` at {address}", self.cluster),
            None => write!(f, "`{}` on port {}", self.cluster, self.port),
        }
    }
}

/// Several places in a sentence.
struct Listed<'a>(&'a [Place]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.0.iter().enumerate() {
            let separator = match index {
                0 => "",
                _ if index + 1 == self.0.len() => " and ",
                _ => ", ",
            };
            write!(f, "{separator}{place}")?;
        }
        Ok(())
    }
}

fn how_to_choose(found: &[Place]) -> String {
    let Some(first) = found.first() else { return String::new() };
    let name = &first.cluster;
    if found.iter().filter(|place| place.cluster == *name).count() == 1 {
        return format!("choose one: `Client(cluster=\"{name}\")`, or HURRICANE_CLUSTER={name}");
    }
    match first.addresses.first() {
        Some(address) => {
            format!("choose one: `Client(address=\"{address}\")`, or HURRICANE_ADDRESS={address}")
        }
        None => "give one of them another name: `hurricane up --name`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(cluster: &str, address: &str) -> Place {
        Place { cluster: cluster.into(), port: 12222, addresses: vec![address.into()] }
    }

    #[test]
    fn several_clusters_are_named_and_one_can_be_chosen() {
        let (lab, den) = (place("lab", "10.0.0.1:12222"), place("den", "10.0.0.2:12222"));
        let error = FindError::Several { found: vec![lab, den] };
        let sentence =
            "there are several clusters here: `lab` at 10.0.0.1:12222 and `den` at 10.0.0.2:12222";
        assert_eq!(error.to_string(), sentence);
        let hint = "choose one: `Client(cluster=\"lab\")`, or HURRICANE_CLUSTER=lab";
        assert_eq!(error.hint().as_deref(), Some(hint));
    }

    #[test]
    fn clusters_of_one_name_are_chosen_by_their_address() {
        let found = ["10.0.0.1:12222", "10.0.0.2:12222"].map(|address| place("lab", address));
        let hint = FindError::Several { found: found.to_vec() }.hint().expect("there is one");
        assert!(hint.contains("address=\"10.0.0.1:12222\""), "{hint}");
    }
}

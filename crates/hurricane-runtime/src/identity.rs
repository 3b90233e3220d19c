//! Who somebody is: the Ed25519 keys of machines and clusters, where they are kept, and the list of
//! those that a cluster lets in.
//!
//! A key says who; a [`Name`] is for people, an address for finding. Nothing here opens a socket.

mod authorized;
mod key;
mod membership;
mod name;
mod roles;
mod state;
pub(crate) mod text;

pub use authorized::{Authorized, Entry, Grant, MAX_ENTRIES};
pub use key::{Fingerprint, KeyPair, PublicKey};
pub use membership::{MAX_MEMBERSHIPS, Membership};
pub use name::{InvalidName, Name};
pub use roles::{Role, Roles};
pub use state::{ClusterState, State};

pub use crate::platform::directories::{DirectoryError, Place};
pub use crate::platform::private_files::FileError;

use std::path::PathBuf;

/// Why there is no identity, or no list of who may join.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key's file holds something else.
    #[error("`{}` does not hold a key", file.display())]
    NotAKey {
        /// Which.
        file: PathBuf,
    },
    /// A file that should say where this machine is a member says something else.
    #[error("`{}` does not hold a membership", file.display())]
    NotAMembership {
        /// Which.
        file: PathBuf,
    },
    /// This machine is a member of too many clusters.
    #[error("`{}` holds more than {MAX_MEMBERSHIPS} memberships", directory.display())]
    TooManyMemberships {
        /// Where they are.
        directory: PathBuf,
    },
    /// A line of the list of authorized keys cannot be read.
    #[error("line {line} of `{}` is not of the form `key roles name date ticket`", file.display())]
    Malformed {
        /// Which.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// Two lines of that list say different things about one name or key.
    #[error("line {line} of `{}` repeats a name or a key", file.display())]
    Repeated {
        /// Which.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The list is full.
    #[error("the cluster has {MAX_ENTRIES} authorized keys, which is the limit")]
    TooMany,
    /// The system gives no randomness.
    #[error("cannot make a key: the system gives no random bytes")]
    NoRandomness,
}

impl IdentityError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Directory(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::NotAKey { file } => {
                let file = file.display();
                format!("restore `{file}`, or remove it: a new key is made, and must be enrolled")
            }
            Self::NotAMembership { file } => {
                let file = file.display();
                format!("remove `{file}`, and run `hurricane join` with a new ticket")
            }
            Self::TooManyMemberships { .. } => {
                "leave some clusters with `hurricane leave`, or remove their files".into()
            }
            Self::Malformed { .. } | Self::Repeated { .. } => "correct or remove the line".into(),
            Self::TooMany => "revoke some that are not needed with `hurricane revoke`".into(),
            Self::NoRandomness => "try again when the system has started up fully".into(),
        }
    }
}

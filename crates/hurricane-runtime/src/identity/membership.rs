//! What this machine remembers of a cluster in which its key was enrolled.

use std::net::SocketAddr;

use super::{Fingerprint, IdentityError, Name, PublicKey, Roles, State};

/// The membership of this machine in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The key that the scheduler must show.
    pub scheduler: PublicKey,
    /// What people call the cluster.
    pub cluster: Name,
    /// Its initialization port.
    pub port: u16,
    /// What this machine is called there.
    pub name: Name,
    /// What it may do there.
    pub roles: Roles,
    /// Where the scheduler was last reached.
    pub last_address: Option<SocketAddr>,
}

impl State {
    /// Those of this machine, in the order of the clusters' names.
    pub fn memberships(&self) -> Result<Vec<Membership>, IdentityError> {
        todo!()
    }

    /// Remembers one, in the place of what was known of that cluster.
    pub fn remember(&self, membership: &Membership) -> Result<(), IdentityError> {
        let _ = membership;
        todo!()
    }

    /// Forgets one; whether it was there.
    pub fn forget(&self, cluster: &Fingerprint) -> Result<bool, IdentityError> {
        let _ = cluster;
        todo!()
    }
}

//! Who is at the other end of a connection, and whether they may be what they want to be.

use std::net::IpAddr;

use super::peer::PeerId;
use crate::greeting::Side;
use crate::identity::{Name, PublicKey, Role, Roles};

/// What an address is to people where there is none: a unix socket.
const HERE: &str = "this host";

/// By what somebody is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::scheduler) enum Who {
    /// As this user, on this host.
    Here,
    /// By a key.
    Key(PublicKey),
}

/// Somebody who has greeted.
#[derive(Clone, Debug)]
pub(in crate::scheduler) struct Caller {
    pub(in crate::scheduler) who: Who,
    /// What its key may do; everything on this host.
    pub(in crate::scheduler) roles: Roles,
    /// What its key is called.
    pub(in crate::scheduler) name: Option<Name>,
    pub(in crate::scheduler) side: Side,
    /// Where it is, if not on this host.
    pub(in crate::scheduler) ip: Option<IpAddr>,
    /// Whose session the connection carries.
    pub(super) peer: Option<PeerId>,
}

impl Caller {
    /// This user, on this host.
    pub(in crate::scheduler) fn here(side: Side) -> Self {
        Self { who: Who::Here, roles: Roles::ALL, name: None, side, ip: None, peer: None }
    }

    /// Somebody who has shown a key.
    pub(in crate::scheduler) fn there(
        key: PublicKey,
        roles: Roles,
        name: Option<Name>,
        side: Side,
        ip: IpAddr,
    ) -> Self {
        let ip = Some(ip.to_canonical());
        Self { who: Who::Key(key), roles, name, side, ip, peer: None }
    }

    /// Where it is, as people read it.
    pub(in crate::scheduler) fn address(&self) -> Box<str> {
        self.ip.map_or_else(|| HERE.into(), |ip| ip.to_string().into())
    }

    /// Whether it may be what it says it is; if not, a sentence.
    pub(super) fn check(&self) -> Result<(), Box<str>> {
        match self.side {
            Side::Node => self.check_role(Role::Node),
            Side::Client => self.check_role(Role::Submit),
            Side::Scheduler | Side::Operator | Side::Fetcher => {
                Err(format!("a {} has no session with a scheduler", self.side).into())
            }
        }
    }

    /// Whether its key has a role; if not, a sentence.
    pub(in crate::scheduler) fn check_role(&self, role: Role) -> Result<(), Box<str>> {
        if self.roles.contains(role) {
            return Ok(());
        }
        let (roles, needed) = (self.roles, Roles::from(role));
        let sentence = format!(
            "this machine's key has the role `{roles}` in this cluster, and this takes `{needed}`: \
             run `hurricane invite --role {needed}` on the scheduler's machine"
        );
        Err(sentence.into())
    }
}

//! Which clusters somebody may mean, by what was chosen and what this machine is a member of.

use super::{Address, Choice, ChoiceError, DEFAULT_PORT, Target};
use crate::identity::{IdentityError, Membership, Name, Role, State};
use crate::platform::local_socket;

/// The clusters that a node or a client of this machine may take. A node takes one; a client looks
/// for all of them. None means that this user holds no key of any, and that nothing was chosen.
pub fn targets(state: &State, choice: &Choice, role: Role) -> Result<Vec<Target>, TargetError> {
    let known = Known::gather(state, choice, role)?;
    match role {
        Role::Node => known.for_node().map(|target| vec![target]),
        Role::Submit => known.for_client(),
    }
}

/// What a decision is made of.
struct Known<'a> {
    choice: &'a Choice,
    role: Role,
    /// The initialization port.
    port: u16,
    /// Those of the chosen cluster, or on the port; the first part with the role.
    memberships: Vec<Membership>,
    without_role: Vec<Membership>,
    /// Those of other clusters and ports.
    elsewhere: Vec<Membership>,
    /// Whether a scheduler of this user listens on the port of this host, or did before it died.
    is_here: bool,
    /// Whether one of the clusters of this user is meant.
    may_be_here: bool,
}

impl<'a> Known<'a> {
    fn gather(state: &State, choice: &'a Choice, role: Role) -> Result<Self, TargetError> {
        let address = choice.parsed_address()?;
        let own = state.clusters()?;
        let port = choice
            .port
            .or_else(|| address.as_ref()?.port)
            .or_else(|| port_in(choice.cluster.as_ref()?))
            .unwrap_or(DEFAULT_PORT);
        let leads_here = address.as_ref().is_none_or(Address::is_here);
        let is_here = leads_here && local_socket::path(port).exists();
        let is_meant = |membership: &Membership| match &choice.cluster {
            Some(cluster) => {
                membership.cluster == *cluster
                    && choice.port.is_none_or(|_| membership.port == port)
            }
            None => membership.port == port,
        };
        let (meant, elsewhere): (Vec<_>, _) = state.memberships()?.into_iter().partition(is_meant);
        let has_role = |membership: &Membership| membership.roles.contains(role);
        let (mut memberships, without_role): (Vec<_>, _) = meant.into_iter().partition(has_role);
        if is_here {
            // The way to it that needs no key is the better one.
            let own: Vec<_> = own.iter().filter_map(|(_, key)| *key).collect();
            memberships.retain(|membership| !own.contains(&membership.scheduler));
        }
        let is_own = |cluster: &Name| own.iter().any(|(name, _)| name == cluster);
        let may_be_here = leads_here
            && choice.cluster.as_ref().map_or(!own.is_empty(), |cluster| is_own(cluster));
        let is_here = is_here && choice.cluster.as_ref().is_none_or(is_own);
        Ok(Self { choice, role, port, memberships, without_role, elsewhere, is_here, may_be_here })
    }

    fn here(&self) -> Target {
        Target::Here { port: self.port }
    }

    fn for_node(mut self) -> Result<Target, TargetError> {
        match self.memberships.len() {
            1 => Ok(Target::Member(Box::new(self.memberships.swap_remove(0)))),
            0 if self.is_here || self.may_be_here => Ok(self.here()),
            0 => self.nothing_to_join(),
            _ => Err(TargetError::Several { port: self.port, clusters: names(&self.memberships) }),
        }
    }

    fn nothing_to_join(self) -> Result<Target, TargetError> {
        let is_chosen = self.choice.cluster.is_some() || self.choice.address.is_some();
        let is_elsewhere = self.choice.port.is_none() && !self.elsewhere.is_empty();
        if !self.without_role.is_empty() || is_chosen || is_elsewhere {
            return Err(self.no_membership());
        }
        // This user's scheduler may be started later, without any key.
        Ok(self.here())
    }

    fn for_client(self) -> Result<Vec<Target>, TargetError> {
        let is_nowhere = self.memberships.is_empty() && !self.is_here;
        if is_nowhere && !self.without_role.is_empty() {
            return Err(self.no_membership());
        }
        if is_nowhere && !self.may_be_here && self.choice.is_explicit() {
            let leads_here = self.choice.cluster.is_none() && self.choice.address.is_none();
            return if leads_here { Ok(vec![self.here()]) } else { Err(self.no_membership()) };
        }
        let here = (self.is_here || self.may_be_here).then(|| self.here());
        let members = self.memberships.into_iter().map(|one| Target::Member(Box::new(one)));
        Ok(here.into_iter().chain(members).collect())
    }

    fn no_membership(self) -> TargetError {
        let (port, role) = (self.port, self.role);
        if !self.without_role.is_empty() {
            return TargetError::WrongRole { clusters: names(&self.without_role), role };
        }
        match &self.choice.cluster {
            Some(cluster) => TargetError::NotAMember { cluster: cluster.clone(), role },
            None => {
                let elsewhere = self.elsewhere.iter();
                let elsewhere = elsewhere.map(|one| (one.cluster.clone(), one.port)).collect();
                TargetError::NoneOnPort { port, role, elsewhere }
            }
        }
    }
}

/// A cluster that was given no name is called after its port.
fn port_in(cluster: &Name) -> Option<u16> {
    cluster.as_str().strip_prefix("port-")?.parse().ok()
}

fn names(memberships: &[Membership]) -> Vec<Name> {
    memberships.iter().map(|membership| membership.cluster.clone()).collect()
}

/// Why it cannot be said which cluster is meant: a sentence for people. [`TargetError::hint`] says
/// what to do.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// More than one, for a node, which can be in one.
    #[error(
        "this machine is a member of several clusters on port {port}: {}",
        listed(clusters.iter().map(|name| format!("`{name}`")))
    )]
    Several {
        /// The initialization port.
        port: u16,
        /// What people call them.
        clusters: Vec<Name>,
    },
    /// It was enrolled for something else.
    #[error(
        "this machine may not {} {}: it was enrolled for another role",
        task(*role),
        listed(clusters.iter().map(|name| format!("`{name}`")))
    )]
    WrongRole {
        /// What people call them.
        clusters: Vec<Name>,
        /// What it was not enrolled for.
        role: Role,
    },
    /// There is no such cluster here.
    #[error("this machine is not a member of a cluster called `{cluster}`")]
    NotAMember {
        /// The one that was chosen.
        cluster: Name,
        /// What for.
        role: Role,
    },
    /// There is none on this port.
    #[error("this machine is a member of no cluster on port {port}{}", instead(elsewhere))]
    NoneOnPort {
        /// The initialization port.
        port: u16,
        /// What for.
        role: Role,
        /// The clusters that it is a member of, each with its port.
        elsewhere: Vec<(Name, u16)>,
    },
    /// What was chosen cannot be read.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// What this machine remembers cannot be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl TargetError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Several { clusters, .. } => Some(format!(
                "choose one with `--cluster` or HURRICANE_CLUSTER, as in `--cluster {}`",
                clusters.first()?
            )),
            Self::NoneOnPort { elsewhere, .. } if !elsewhere.is_empty() => {
                let port = elsewhere.first()?.1;
                Some(format!("choose it with `--port {port}` or HURRICANE_PORT"))
            }
            Self::WrongRole { role, .. }
            | Self::NotAMember { role, .. }
            | Self::NoneOnPort { role, .. } => Some(format!(
                "run `hurricane invite{}` on the scheduler's machine, and `hurricane join` here \
                 with the ticket that it prints",
                match role {
                    Role::Node => "",
                    Role::Submit => " --role submit",
                }
            )),
            Self::Choice(_) => None,
            Self::Identity(error) => Some(error.hint()),
        }
    }
}

fn task(role: Role) -> &'static str {
    match role {
        Role::Node => "run tasks of",
        Role::Submit => "submit tasks to",
    }
}

fn instead(elsewhere: &[(Name, u16)]) -> String {
    if elsewhere.is_empty() {
        return String::new();
    }
    let each = elsewhere.iter().map(|(name, port)| format!("`{name}` on port {port}"));
    format!(", but of {}", listed(each))
}

fn listed(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

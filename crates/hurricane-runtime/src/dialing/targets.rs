//! Which clusters somebody may mean, by what was chosen and what this machine is a member of.

use super::{Address, Choice, ChoiceError, DEFAULT_PORT, Target};
use crate::identity::{IdentityError, Membership, Name, Role, State};
use crate::platform::local_socket;

/// The clusters that a node or a client of this machine may take. A node takes one; a client looks
/// for all of them. None means that this user holds no key of any, and that nothing was chosen.
pub fn targets(state: &State, choice: &Choice, role: Role) -> Result<Vec<Target>, TargetError> {
    let is_served = |port| local_socket::path(port).exists();
    targets_where(state, choice, role, is_served)
}

fn targets_where(
    state: &State,
    choice: &Choice,
    role: Role,
    is_served: impl Fn(u16) -> bool,
) -> Result<Vec<Target>, TargetError> {
    let known = Known::gather(state, choice, role, is_served)?;
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
    fn gather(
        state: &State,
        choice: &'a Choice,
        role: Role,
        is_served: impl Fn(u16) -> bool,
    ) -> Result<Self, TargetError> {
        let address = choice.parsed_address()?;
        let own = state.clusters()?;
        let port = choice
            .port
            .or_else(|| address.as_ref()?.port)
            .or_else(|| port_in(choice.cluster.as_ref()?))
            .unwrap_or(DEFAULT_PORT);
        let leads_here = address.as_ref().is_none_or(Address::is_here);
        let is_here = leads_here && is_served(port);
        let is_meant = |membership: &Membership| match &choice.cluster {
            Some(cluster) => {
                (membership.cluster == *cluster || id(membership) == *cluster)
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
        let may_be_here = leads_here && choice.cluster.as_ref().map_or(!own.is_empty(), is_own);
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
        if let Some(cluster) = self.choice.cluster.clone() {
            return TargetError::NotAMember { cluster, role };
        }
        let elsewhere = self.elsewhere.into_iter();
        let elsewhere = elsewhere.map(|one| (one.cluster, one.port)).collect();
        TargetError::NoneOnPort { port, role, elsewhere }
    }
}

/// A cluster that was given no name is called after its port.
fn port_in(cluster: &Name) -> Option<u16> {
    cluster.as_str().strip_prefix("port-")?.parse().ok()
}

/// What people call them; the id where several are called the same.
fn names(memberships: &[Membership]) -> Vec<Name> {
    let name = |membership: &Membership| {
        let same = memberships.iter().filter(|other| other.cluster == membership.cluster);
        if same.count() == 1 { membership.cluster.clone() } else { id(membership) }
    };
    memberships.iter().map(name).collect()
}

/// A cluster's id, which `hurricane status` shows, in the place of its name.
fn id(membership: &Membership) -> Name {
    Name::near(&membership.scheduler.fingerprint().to_string())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{KeyPair, Roles};
    use crate::platform::directories::Scratch;

    /// A machine, and what it is a member of.
    struct Machine {
        state: State,
        /// Where a scheduler of this user listens.
        served: Option<u16>,
        _scratch: Scratch,
    }

    impl Machine {
        fn new(test: &str) -> Self {
            let scratch = Scratch::new(&format!("targets-{test}"));
            let state = State::open_at(scratch.0.clone()).expect("nothing is in the way");
            Self { state, served: None, _scratch: scratch }
        }

        fn member(self, cluster: &str, port: u16, roles: Roles) -> Self {
            let key = KeyPair::generate().expect("the system is random").public();
            let (cluster, name) = (Name::near(cluster), Name::near("rack"));
            let last_address = None;
            let membership =
                Membership { scheduler: key, cluster, port, name, roles, last_address };
            self.state.remember(&membership).expect("there is space");
            self
        }

        fn own_cluster(self, name: &str) -> Self {
            let cluster = self.state.cluster(&Name::near(name)).expect("it can be made");
            cluster.key().expect("it can be made");
            self
        }

        fn served(self, port: u16) -> Self {
            Self { served: Some(port), ..self }
        }

        /// What somebody may take, as `here:PORT` and names of clusters, or why nothing.
        fn targets(&self, role: Role, choice: &Choice) -> String {
            let is_served = |port| self.served == Some(port);
            let text = |target: &Target| match target {
                Target::Here { port } => format!("here:{port}"),
                Target::Member(membership) => membership.cluster.to_string(),
            };
            match targets_where(&self.state, choice, role, is_served) {
                Ok(targets) => targets.iter().map(text).collect::<Vec<_>>().join(" "),
                Err(error) => format!("{error}; {}", error.hint().unwrap_or_default()),
            }
        }
    }

    fn any() -> Choice {
        Choice::default()
    }

    fn cluster(name: &str) -> Choice {
        Choice { cluster: Some(Name::near(name)), ..any() }
    }

    fn port(port: u16) -> Choice {
        Choice { port: Some(port), ..any() }
    }

    fn address(address: &str) -> Choice {
        Choice { address: Some(address.into()), ..any() }
    }

    const TICKET: &str = "on the scheduler's machine, and `hurricane join` here with the ticket \
                          that it prints";

    #[test]
    fn who_holds_no_key_finds_nothing_and_their_nodes_wait_here() {
        let machine = Machine::new("no-key");
        assert_eq!(machine.targets(Role::Submit, &any()), "");
        assert_eq!(machine.targets(Role::Node, &any()), "here:12222");
        assert_eq!(machine.targets(Role::Node, &port(7)), "here:7");
        assert_eq!(machine.targets(Role::Submit, &port(7)), "here:7");
        let machine = machine.served(12222);
        assert_eq!(machine.targets(Role::Submit, &any()), "here:12222");
    }

    #[test]
    fn memberships_are_chosen_by_port_and_by_name() {
        let machine = Machine::new("chosen");
        let machine = machine.member("lab", 12222, Roles::ALL).member("attic", 7, Roles::ALL);
        for role in [Role::Node, Role::Submit] {
            assert_eq!(machine.targets(role, &any()), "lab");
            assert_eq!(machine.targets(role, &port(7)), "attic");
            assert_eq!(machine.targets(role, &cluster("attic")), "attic");
            assert_eq!(machine.targets(role, &address("rack:7")), "attic");
            assert_eq!(machine.targets(role, &address("rack")), "lab");
            assert_eq!(
                machine.targets(role, &cluster("cellar")).split_once(';').expect("a hint").0,
                "this machine is not a member of a cluster called `cellar`"
            );
        }
        let both = Choice { port: Some(7), ..cluster("lab") };
        assert!(machine.targets(Role::Node, &both).starts_with("this machine is not a member"));
    }

    #[test]
    fn of_two_on_one_port_a_node_takes_none_and_a_client_looks_for_both() {
        let machine = Machine::new("two");
        let machine = machine.member("lab", 7, Roles::ALL).member("attic", 7, Roles::ALL);
        assert_eq!(
            machine.targets(Role::Node, &port(7)),
            "this machine is a member of several clusters on port 7: `attic`, `lab`; choose one \
             with `--cluster` or HURRICANE_CLUSTER, as in `--cluster attic`"
        );
        assert_eq!(machine.targets(Role::Node, &cluster("lab")), "lab");
        assert_eq!(machine.targets(Role::Submit, &port(7)), "attic lab");
    }

    #[test]
    fn clusters_of_one_name_are_told_apart_by_their_ids() {
        let machine = Machine::new("one-name");
        let machine = machine.member("lab", 7, Roles::ALL).member("lab", 7, Roles::ALL);
        let [one, other] = &machine.state.memberships().expect("they are readable")[..] else {
            panic!("there are two")
        };
        let several = machine.targets(Role::Node, &cluster("lab"));
        assert!(several.contains(&format!("`{}`, `{}`", id(one), id(other))), "{several}");
        assert_eq!(machine.targets(Role::Node, &cluster(id(other).as_str())), "lab");
    }

    #[test]
    fn roles_hold() {
        let machine = Machine::new("roles").member("lab", 12222, Roles::NODE);
        assert_eq!(machine.targets(Role::Node, &any()), "lab");
        let refused = format!(
            "this machine may not submit tasks to `lab`: it was enrolled for another role; run \
             `hurricane invite --role submit` {TICKET}"
        );
        for choice in [any(), cluster("lab"), address("rack"), port(12222)] {
            assert_eq!(machine.targets(Role::Submit, &choice), refused);
        }
        let machine = Machine::new("roles-submit").member("lab", 12222, Roles::SUBMIT);
        assert_eq!(machine.targets(Role::Submit, &any()), "lab");
        assert_eq!(
            machine.targets(Role::Node, &any()),
            format!(
                "this machine may not run tasks of `lab`: it was enrolled for another role; run \
                 `hurricane invite` {TICKET}"
            )
        );
        // This user's own scheduler on this host needs no key.
        let machine = machine.served(12222);
        assert_eq!(machine.targets(Role::Node, &any()), "here:12222");
        assert_eq!(machine.targets(Role::Submit, &any()), "here:12222 lab");
    }

    #[test]
    fn what_is_on_another_port_is_named() {
        let machine = Machine::new("elsewhere").member("lab", 13000, Roles::ALL);
        assert_eq!(
            machine.targets(Role::Node, &any()),
            "this machine is a member of no cluster on port 12222, but of `lab` on port 13000; \
             choose it with `--port 13000` or HURRICANE_PORT"
        );
        // A program looks on the port, and runs on this machine.
        assert_eq!(machine.targets(Role::Submit, &any()), "");
        assert_eq!(machine.targets(Role::Node, &port(12222)), "here:12222");
    }

    #[test]
    fn an_own_cluster_is_looked_for_here() {
        let machine = Machine::new("own").own_cluster("port-12222");
        assert_eq!(machine.targets(Role::Node, &any()), "here:12222");
        assert_eq!(machine.targets(Role::Submit, &any()), "here:12222");
        assert_eq!(machine.targets(Role::Submit, &address("127.0.0.1")), "here:12222");
        assert!(machine.targets(Role::Submit, &address("rack")).starts_with("this machine is a "));
        let machine = machine.own_cluster("port-7");
        assert_eq!(machine.targets(Role::Submit, &cluster("port-7")), "here:7");
    }

    #[test]
    fn an_own_cluster_that_runs_here_is_not_found_twice() {
        let machine = Machine::new("own-member").own_cluster("lab").served(12222);
        let cluster = machine.state.cluster(&Name::near("lab")).expect("it is there");
        let membership = Membership {
            scheduler: cluster.key().expect("it is there").public(),
            cluster: Name::near("lab"),
            port: 12222,
            name: Name::near("rack"),
            roles: Roles::ALL,
            last_address: None,
        };
        machine.state.remember(&membership).expect("there is space");
        assert_eq!(machine.targets(Role::Submit, &any()), "here:12222");
        // On another host with the same home it is found by its key.
        let elsewhere = Machine { served: None, ..machine };
        assert_eq!(elsewhere.targets(Role::Submit, &any()), "here:12222 lab");
    }
}

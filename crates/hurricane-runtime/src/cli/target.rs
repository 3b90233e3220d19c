//! Which cluster a command is about: what people named, else the only one that it can be.

use hurricane_core::member::{Answer, Request};
use hurricane_core::snapshot::ClusterSnapshot;

use super::cluster_names::Here;
use super::failure::Failure;
use super::{presence, question};
use crate::dialing::{self, Choice, ChoiceError, DEFAULT_PORT, DialError, Target, TargetError};
use crate::identity::{DirectoryError, IdentityError, Membership, Name, Role, State};
use crate::operator::AskError;

/// A cluster that a command may be about.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// What people call it.
    pub(super) name: Box<str>,
    /// The fingerprint of its key.
    pub(super) id: Box<str>,
    /// Its initialization port.
    pub(super) port: u16,
    /// The way to it.
    pub(super) target: Target,
}

/// A running scheduler of this user on this machine.
pub(super) fn here(state: &State, names: &Here) -> Result<Known, Failure> {
    let choice = names.choice().or_environment()?;
    let (running, broken) = running_here(state)?;
    let nothing = || {
        let sentence = match (&choice.cluster, choice.port) {
            (Some(name), _) => format!("no cluster of yours called `{name}` runs on this machine"),
            (None, Some(port)) => {
                format!("no cluster of yours runs on port {port} of this machine")
            }
            (None, None) => "no cluster of yours runs on this machine".to_owned(),
        };
        Failure::new(sentence).hint(match &running[..] {
            [] => "`hurricane up` starts one".to_owned(),
            others => format!("what runs here is {}", list(others)),
        })
    };
    match only_one(matching(&running, &choice))? {
        Some(known) => Ok(known),
        None => Err(broken.unwrap_or_else(nothing)),
    }
}

/// What a node is to join; one that is not there yet is waited for.
pub(super) fn for_node(state: &State, mut choice: Choice) -> Result<Target, Failure> {
    let is_chosen = choice.cluster.is_some() || choice.port.is_some() || choice.address.is_some();
    if !is_chosen && let [only] = &state.memberships()?[..] {
        choice.port = Some(only.port);
    }
    let targets = dialing::targets(state, &choice, Role::Node)?;
    targets.into_iter().next().ok_or_else(|| Failure::new("there is no cluster to join"))
}

/// What may be asked what it does: what runs here, or lets this machine submit.
pub(super) fn for_status(state: &State, choice: &Choice) -> Result<Known, Failure> {
    // An address names another machine.
    let (running, broken) =
        if choice.address.is_some() { (Vec::new(), None) } else { running_here(state)? };
    let memberships = state.memberships()?;
    let may_submit = memberships.iter().filter(|one| one.roles.contains(Role::Submit));
    let is_running = |one: &Known| running.iter().any(|other| other.id == one.id);
    let elsewhere = may_submit.map(Known::of_member).filter(|one| !is_running(one));
    let known: Vec<_> = running.iter().cloned().chain(elsewhere).collect();
    let found = matching(&known, choice);
    let usual = Choice { port: Some(DEFAULT_PORT), ..Choice::default() };
    let on_usual_port = matching(&found, &usual);
    let found = if on_usual_port.is_empty() { found } else { on_usual_port };
    if let Some(known) = only_one(found)? {
        return Ok(known);
    }
    if let Some(failure) = broken {
        return Err(failure);
    }
    // It tells best why nothing is there.
    match dialing::targets(state, choice, Role::Submit) {
        Err(error) => Err(error.into()),
        Ok(_) => Err(Failure::new("no cluster runs here, and this machine may submit to none")
            .hint("`hurricane up` starts one; `hurricane join` with a ticket joins another's")),
    }
}

/// The cluster that this machine is to be a member of no more.
pub(super) fn for_leaving(state: &State, choice: &Choice) -> Result<Membership, Failure> {
    let memberships = state.memberships()?;
    let known: Vec<_> = memberships.iter().map(Known::of_member).collect();
    let nothing = || match &known[..] {
        [] => Failure::new("this machine is a member of no cluster"),
        others => Failure::new("this machine is a member of no such cluster")
            .hint(format!("it is a member of {}", list(others))),
    };
    match only_one(matching(&known, choice))?.ok_or_else(nothing)?.target {
        Target::Member(membership) => Ok(*membership),
        Target::Here { .. } => Err(nothing()),
    }
}

impl Known {
    fn of_member(membership: &Membership) -> Self {
        Self {
            name: membership.cluster.as_str().into(),
            id: membership.scheduler.fingerprint().to_string().into(),
            port: membership.port,
            target: Target::Member(Box::new(membership.clone())),
        }
    }

    fn is_named(&self, name: &Name) -> bool {
        [&*self.name, &*self.id].contains(&name.as_str())
    }
}

/// The schedulers of this user that answer on this machine, and why another one that is there does
/// not: its version may be another.
fn running_here(state: &State) -> Result<(Vec<Known>, Option<Failure>), Failure> {
    let (mut running, mut broken) = (Vec::new(), None);
    for port in presence::ports() {
        let target = Target::Here { port };
        match question::ask_once(state, &target, &Choice::default(), &Request::Status)? {
            Ok(Answer::Status(snapshot)) => {
                let ClusterSnapshot { name, id, .. } = snapshot.cluster.unwrap_or_default();
                running.push(Known { name, id, port, target });
            }
            // One that was killed leaves its socket behind.
            Ok(_) | Err(AskError::Dial(DialError::NotHere { .. })) => {}
            Err(error) => broken = Some(question::unanswered(&error)),
        }
    }
    Ok((running, broken))
}

/// Those that have the chosen name or id, and the chosen port.
fn matching(known: &[Known], choice: &Choice) -> Vec<Known> {
    let has_name = |one: &Known| choice.cluster.as_ref().is_none_or(|name| one.is_named(name));
    let has_port = |one: &Known| choice.port.is_none_or(|port| one.port == port);
    known.iter().filter(|one| has_name(one) && has_port(one)).cloned().collect()
}

/// The only one, if there is one; a failure that names them if there are several.
fn only_one(mut found: Vec<Known>) -> Result<Option<Known>, Failure> {
    if found.len() < 2 {
        return Ok(found.pop());
    }
    let are_ports_different = {
        let mut ports: Vec<_> = found.iter().map(|one| one.port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports.len() == found.len()
    };
    let hint = if are_ports_different {
        "choose one with `--port` or `--cluster`"
    } else {
        "choose one with `--cluster`, by its name or id"
    };
    let sentence = format!("there are several clusters that could be meant: {}", list(&found));
    Err(Failure::new(sentence).hint(hint))
}

/// `lab` (port 12222), `port-13000` (port 13000); with their ids where names are not enough.
fn list(known: &[Known]) -> String {
    let is_unique = |one: &Known| known.iter().filter(|other| other.name == one.name).count() == 1;
    let described = known.iter().map(|one| {
        let Known { name, id, port, .. } = one;
        let id = if is_unique(one) { String::new() } else { format!(", id {id}") };
        format!("`{name}` (port {port}{id})")
    });
    described.collect::<Vec<_>>().join(", ")
}

impl From<ChoiceError> for Failure {
    fn from(error: ChoiceError) -> Self {
        Self::of(&error)
    }
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        Self::of(&error).hint_if_any(error.hint())
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        Self::of(&error).hint(error.hint())
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        Self::of(&error).hint(error.hint())
    }
}

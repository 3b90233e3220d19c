//! The search for a cluster: where one could be, and who answers there.

use std::time::Duration;

use hurricane_core::member::{Answer, Request};
use hurricane_core::snapshot::{ClusterSnapshot, Snapshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::destination::Destination;
use super::error::{FindError, Place, Wanted};
use super::{CHOSEN_SEARCH_TIME, SEARCH_TIME};
use crate::dialing::{Choice, DialError, Target, targets};
use crate::greeting::Side;
use crate::identity::{Role, State};
use crate::operator::{AskError, ask};

/// How soon a scheduler that did not answer is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// Where to look, and for how long.
#[derive(Debug)]
pub(super) struct Plan {
    destinations: Vec<Destination>,
    /// What was chosen, if the choice was explicit: then it is found or an error.
    wanted: Option<Wanted>,
}

/// A cluster that answered.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) destination: Destination,
    pub(super) snapshot: Snapshot,
}

/// Plans a search; nothing if this user holds no key, and none was asked for.
pub(super) fn plan(choice: Choice, python_minor: Option<u8>) -> Result<Option<Plan>, FindError> {
    let port_chosen = choice.port;
    let choice = choice.or_environment()?;
    let wanted = wanted(&choice, port_chosen);
    let Some(state) = state_with_keys()? else {
        return wanted.map_or(Ok(None), |wanted| Err(FindError::NoKey { wanted }));
    };
    let to_destination =
        |target| Destination { state: state.clone(), target, choice: choice.clone(), python_minor };
    let destinations = targets(&state, &choice, Role::Submit)?.into_iter().map(to_destination);
    Ok(Some(Plan { destinations: destinations.collect(), wanted }))
}

/// Where the keys of this user are, if there are any.
fn state_with_keys() -> Result<Option<State>, FindError> {
    let Some(state) = State::open_if_any()? else { return Ok(None) };
    let has_any = !(state.memberships()?.is_empty() && state.clusters()?.is_empty());
    Ok(has_any.then_some(state))
}

/// What was chosen explicitly. The environment's port is where to look and no more.
fn wanted(choice: &Choice, port_chosen: Option<u16>) -> Option<Wanted> {
    let address = || choice.address.clone().map(Wanted::Address);
    choice.cluster.clone().map(Wanted::Cluster).or_else(address).or(port_chosen.map(Wanted::Port))
}

impl Plan {
    /// Looks everywhere at once, until everybody has answered or the time is over.
    pub(super) async fn carry_out(self) -> Result<Option<Found>, FindError> {
        let began = Instant::now();
        let within = if self.wanted.is_some() { CHOSEN_SEARCH_TIME } else { SEARCH_TIME };
        let mut looking = JoinSet::new();
        for destination in &self.destinations {
            let chosen = self.wanted.clone();
            looking.spawn_local(look(destination.clone(), began + within, chosen));
        }
        let mut outcome = Outcomes::default();
        loop {
            // What was found waits for others no longer than any search does. Without it, each look
            // ends in time by itself, and says what came of it.
            let looked = if outcome.found.is_empty() {
                looking.join_next().await
            } else {
                timeout_at(began + SEARCH_TIME, looking.join_next()).await.unwrap_or(None)
            };
            let Some(looked) = looked else { break };
            outcome.add(looked.expect("to look does not panic"));
        }
        outcome.sum_up(self, within)
    }
}

/// What a look at one destination brought.
type Looked = Result<Found, Missed>;

/// Why a look brought nothing.
#[derive(Debug)]
enum Missed {
    /// Nobody answered.
    Silence(Option<DialError>),
    /// Somebody did, and it is of no use.
    Final(FindError),
}

/// Asks a scheduler until it answers.
async fn look(destination: Destination, deadline: Instant, chosen: Option<Wanted>) -> Looked {
    let dialer = match destination.dialer(Side::Operator) {
        Ok(dialer) => dialer,
        Err(error) => return Err(Missed::Final(unusable(&destination, error))),
    };
    let mut last = None;
    loop {
        match timeout_at(deadline, ask(&dialer, &Request::Status)).await {
            Ok(Ok(answer)) => return judge(destination, answer, chosen.as_ref()),
            Ok(Err(AskError::Dial(error))) if is_hopeless(&error) => {
                return Err(Missed::Final(unusable(&destination, error)));
            }
            Ok(Err(AskError::Dial(error))) => last = Some(error),
            Ok(Err(_)) => {}
            Err(_) => return Err(Missed::Silence(last)),
        }
        // Nobody chose it: it is there now or it is not.
        let is_here = matches!(destination.target, Target::Here { .. });
        if (is_here && chosen.is_none()) || Instant::now() + PAUSE >= deadline {
            return Err(Missed::Silence(last));
        }
        sleep(PAUSE).await;
    }
}

/// Whether it would be no better a moment later.
fn is_hopeless(error: &DialError) -> bool {
    let is_ours =
        matches!(error, DialError::Choice(_) | DialError::Directory(_) | DialError::Identity(_));
    error.is_refusal() || is_ours
}

fn unusable(destination: &Destination, error: DialError) -> FindError {
    let destination = destination.to_string();
    FindError::Unusable { destination, source: AskError::Dial(error) }
}

fn judge(destination: Destination, answer: Answer, chosen: Option<&Wanted>) -> Looked {
    match answer {
        Answer::Status(snapshot) if is_wanted(&snapshot, chosen) => {
            Ok(Found { destination, snapshot: *snapshot })
        }
        Answer::Status(_) => Err(Missed::Silence(None)),
        Answer::Refused(reason) => {
            let destination = destination.to_string();
            Err(Missed::Final(FindError::Refused { destination, reason }))
        }
        _ => {
            let (destination, reason) =
                (destination.to_string(), "it answers something else".into());
            Err(Missed::Final(FindError::Refused { destination, reason }))
        }
    }
}

/// This user's own scheduler may be another's than the one that was chosen by its name.
fn is_wanted(snapshot: &Snapshot, chosen: Option<&Wanted>) -> bool {
    match chosen {
        Some(Wanted::Cluster(name)) => {
            snapshot.cluster.as_ref().is_some_and(|cluster| *cluster.name == *name.as_str())
        }
        _ => true,
    }
}

/// What the looks brought so far.
#[derive(Debug, Default)]
struct Outcomes {
    /// Each cluster once.
    found: Vec<Found>,
    last: Option<DialError>,
    failure: Option<FindError>,
}

impl Outcomes {
    fn add(&mut self, looked: Looked) {
        match looked {
            Ok(found) => self.add_found(found),
            Err(Missed::Silence(error)) => self.last = error.or(self.last.take()),
            Err(Missed::Final(error)) => self.failure = Some(error),
        }
    }

    /// On the scheduler's own host a cluster may be found twice; the way without a network is taken.
    fn add_found(&mut self, found: Found) {
        match self.found.iter_mut().find(|known| known.id() == found.id()) {
            Some(known) if matches!(found.destination.target, Target::Here { .. }) => {
                *known = found;
            }
            Some(_) => {}
            None => self.found.push(found),
        }
    }

    fn sum_up(mut self, plan: Plan, within: Duration) -> Result<Option<Found>, FindError> {
        if self.found.len() > 1 {
            return Err(FindError::Several {
                found: self.found.iter().map(Found::place).collect(),
            });
        }
        if let Some(found) = self.found.pop() {
            return Ok(Some(found));
        }
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        match plan.wanted {
            Some(wanted) => {
                let last = self.last.map(Box::new);
                Err(FindError::NotFound { wanted, within, last })
            }
            None => Ok(None),
        }
    }
}

impl Found {
    fn cluster(&self) -> Option<&ClusterSnapshot> {
        self.snapshot.cluster.as_ref()
    }

    fn id(&self) -> Option<&str> {
        self.cluster().map(|cluster| &*cluster.id)
    }

    fn place(&self) -> Place {
        let cluster = self.cluster().cloned().unwrap_or_default();
        Place { cluster: cluster.name, port: cluster.port, addresses: cluster.addresses }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Name;

    #[test]
    fn the_port_of_the_environment_is_no_choice() {
        let choice = |cluster: Option<&str>, address: Option<&str>, port| Choice {
            cluster: cluster.map(Name::near),
            address: address.map(str::to_owned),
            port,
        };
        assert_eq!(wanted(&choice(None, None, Some(7)), None), None);
        assert_eq!(wanted(&choice(None, None, Some(7)), Some(7)), Some(Wanted::Port(7)));
        let lab = Some(Wanted::Cluster(Name::near("lab")));
        assert_eq!(wanted(&choice(Some("lab"), Some("host"), None), None), lab);
    }
}

//! `hurricane revoke`: another machine is a member no more, from this moment on.

use hurricane_core::member::{Answer, Request};

use super::amounts::counted;
use super::cluster_names::Here;
use super::failure::Failure;
use super::{Outcome, print_line, question, target};
use crate::dialing::Choice;
use crate::identity::{Name, State};

/// Whose membership ends.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// The machine, as `hurricane nodes` names it
    pub name: Name,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: Here,
}

pub(super) fn run(options: &Options) -> Result<Outcome, Failure> {
    let state = State::open()?;
    let known = target::here(&state, &options.cluster)?;
    let request = Request::Revoke { name: options.name.as_str().into() };
    let answer = question::ask(&state, &known.target, &Choice::default(), &request)?;
    let Answer::Revoked(connections) = answer else { return Err(Failure::misunderstood()) };
    let (machine, cluster) = (&options.name, &known.name);
    let cut = counted(connections.into(), "connection");
    print_line(format_args!("{machine} is a member of {cluster} no more; {cut} cut"));
    Ok(Outcome::Done)
}

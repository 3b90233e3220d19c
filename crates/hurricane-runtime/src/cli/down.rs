//! `hurricane down`: ends a cluster whose scheduler runs on this machine.

use std::time::Duration;

use hurricane_core::member::{Answer, Request};

use super::cluster_names::Here;
use super::failure::Failure;
use super::{Outcome, presence, print_line, question, target};
use crate::dialing::Choice;
use crate::identity::State;

/// Nodes beside the scheduler kill what they run: this is for machines that are very busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which cluster ends.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// Which.
    #[command(flatten)]
    pub cluster: Here,
}

pub(super) fn run(options: &Options) -> Result<Outcome, Failure> {
    let state = State::open()?;
    let known = target::here(&state, &options.cluster)?;
    let answer = question::ask(&state, &known.target, &Choice::default(), &Request::Down)?;
    let Answer::GoingDown = answer else { return Err(Failure::misunderstood()) };
    if !presence::wait_for_end(known.port, PATIENCE)? {
        let time = PATIENCE.as_secs();
        return Err(Failure::new(format!("{} has not ended within {time} seconds", known.name)));
    }
    print_line(format_args!("{} is down", known.name));
    Ok(Outcome::Done)
}

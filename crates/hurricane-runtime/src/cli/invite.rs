//! `hurricane invite`: a ticket, with which other machines become members.

use std::time::Duration;

use hurricane_core::member::{Answer, Request};

use super::amounts::{self, counted, duration};
use super::cluster_names::Here;
use super::failure::Failure;
use super::target::{self, Known};
use super::{Outcome, print_line, question, tell};
use crate::dialing::Choice;
use crate::identity::{Roles, State};

/// More machines than a cluster may have members.
const MAX_USES: i64 = 16_384;

/// What a ticket is good for.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// How many machines may use it
    #[arg(
        long, value_name = "N", default_value = "1",
        value_parser = clap::value_parser!(u32).range(1..=MAX_USES)
    )]
    pub uses: u32,
    /// For how long, such as 90s, 15m or 2h
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = amounts::ttl)]
    pub ttl: Duration,
    /// What those machines may do: node, submit, or node,submit
    #[arg(long, value_name = "ROLE", default_value = "node")]
    pub role: Roles,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: Here,
}

pub(super) fn run(options: &Options) -> Result<Outcome, Failure> {
    let state = State::open()?;
    let known = target::here(&state, &options.cluster)?;
    let Options { uses, ttl, role, .. } = options;
    let ticket = invite(&state, &known, *uses, *ttl, *role)?;
    print_line(format_args!("hurricane join {ticket}"));
    let (machines, time) = (counted((*uses).into(), "machine"), duration(*ttl));
    tell(format_args!("for {machines} to be a member of {} ({role}), within {time}", known.name));
    Ok(Outcome::Done)
}

/// Has the scheduler make a ticket, which is a secret.
pub(super) fn invite(
    state: &State,
    known: &Known,
    uses: u32,
    ttl: Duration,
    roles: Roles,
) -> Result<Box<str>, Failure> {
    let request = Request::Invite { uses, ttl, roles: roles.to_byte() };
    match question::ask(state, &known.target, &Choice::default(), &request)? {
        Answer::Invited(line) => Ok(line),
        _ => Err(Failure::misunderstood()),
    }
}

//! `hurricane join`: this machine becomes a member of a cluster, and runs a node of it if it may.

use std::ffi::OsString;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use hurricane_core::member::Request;

use super::chronicle::log;
use super::detaching::{self, Detach};
use super::failure::Failure;
use super::node::{self, RunsNodes};
use super::share::Share;
use super::{Host, Outcome, print_line, question, tell};
use crate::dialing::{Choice, Target};
use crate::greeting::{Greeting, Side};
use crate::identity::{Membership, Name, Role, State};
use crate::joining::{self, Joined, Wish};
use crate::operator::AskError;
use crate::platform::interruption::EndsAtOnce;
use crate::platform::machine;
use crate::ticket::Ticket;

/// What stands for a ticket that comes from standard input.
const FROM_INPUT: &str = "-";

/// More than any ticket, and what people may copy along with it.
const MAX_INPUT_BYTES: u64 = 4096;

/// Which cluster, and what its nodes have.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// The ticket; `-` reads it from standard input, where no list of processes shows it
    #[arg(value_name = "TICKET", hide_possible_values = true)]
    pub ticket: OsString,
    /// Where the scheduler is, if it is not found by itself: a host, with or without a port
    #[arg(long, value_name = "HOST[:PORT]")]
    pub address: Option<String>,
    /// What this machine is to be called [default: its host name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<Name>,
    /// What its nodes have.
    #[command(flatten)]
    pub share: Share,
    /// On Ctrl-C, finish what runs first
    #[arg(long)]
    pub drain: bool,
    /// Whether they go on in the background.
    #[command(flatten)]
    pub detach: Detach,
}

pub(super) fn run(options: &Options, host: &Host) -> Result<Outcome, Failure> {
    // Mistakes are told before anything is done.
    options.share.check()?;
    let (line, ticket) = options.read_ticket()?;
    if options.detach.is_for_another() {
        return detaching::start(host, without_ticket(host, &options.ticket), &line);
    }
    let state = State::open()?;
    let choice =
        Choice { address: options.address.clone(), ..Choice::default() }.or_environment()?;
    let runs_nodes = ticket.roles.contains(Role::Node);
    let membership = {
        let _ends_at_once = EndsAtOnce::begin();
        enrol(options, &state, ticket, &choice, host)?
    };
    if !runs_nodes {
        let cluster = &membership.cluster;
        print_line(format_args!("Programs on this machine may submit to {cluster} now."));
        return Ok(Outcome::Done);
    }
    let of_nodes = RunsNodes { share: &options.share, state, choice, host };
    let target = Target::Member(Box::new(membership));
    node::serve(of_nodes, target, options.drain, options.detach)
}

impl Options {
    /// The ticket and its line.
    fn read_ticket(&self) -> Result<(String, Ticket), Failure> {
        let text = if self.ticket == FROM_INPUT {
            read_input()?
        } else {
            self.ticket.to_string_lossy().into_owned()
        };
        // People copy the whole line.
        let line = text.split_whitespace().next_back().unwrap_or_default().to_owned();
        let ticket = line.parse::<Ticket>();
        let ticket = ticket.map_err(|error| Failure::of(&error).hint(error.hint()))?;
        Ok((line, ticket))
    }
}

/// Reads one line.
fn read_input() -> Result<String, Failure> {
    let input = io::stdin().lock();
    if input.is_terminal() {
        tell("paste the ticket:");
    }
    let mut text = String::new();
    let read = input.take(MAX_INPUT_BYTES).read_line(&mut text);
    read.map_err(|error| Failure::of(&error).hint("the ticket is to come from standard input"))?;
    Ok(text)
}

/// What was typed, with the ticket where no list of processes shows it.
fn without_ticket(host: &Host, ticket: &OsString) -> Vec<OsString> {
    let hidden = |argument: &OsString| {
        if argument == ticket { OsString::from(FROM_INPUT) } else { argument.clone() }
    };
    host.arguments.iter().map(hidden).collect()
}

/// Has the scheduler let this machine in, unless it has already.
fn enrol(
    options: &Options,
    state: &State,
    ticket: Ticket,
    choice: &Choice,
    host: &Host,
) -> Result<Membership, Failure> {
    log(format_args!("looking for the scheduler of this ticket, port {}", ticket.port));
    let wish = Wish {
        ticket,
        choice: choice.clone(),
        name: options.name.clone().unwrap_or_else(|| Name::near(&machine::name())),
        greeting: Greeting::own(Side::Node, Some(host.python_minor)),
    };
    let joined = question::run(joining::join(state, &wish))?;
    let Joined { membership, is_new } =
        joined.map_err(|error| Failure::of(&error).hint_if_any(error.hint()))?;
    if !is_new {
        check(state, &membership, choice)?;
    }
    let Membership { cluster, name, roles, .. } = &membership;
    let when = if is_new { "now" } else { "already" };
    log(format_args!("this machine is a member of {cluster} {when} ({roles}), called {name}"));
    Ok(membership)
}

/// Refuses to go on with a membership that has ended meanwhile, for a ticket that makes no new one.
/// A scheduler that is not there now may come.
fn check(state: &State, membership: &Membership, choice: &Choice) -> Result<(), Failure> {
    let target = Target::Member(Box::new(membership.clone()));
    match question::ask_once(state, &target, choice, &Request::Status)? {
        Err(AskError::Dial(error)) if error.is_refusal() => {
            Err(Failure::of(&error).hint_if_any(error.hint()))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

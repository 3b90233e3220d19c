//! `hurricane up`: a cluster's scheduler, with nodes of its own on this machine.

use std::net::IpAddr;
use std::time::Duration;

use super::amounts::{counted, duration};
use super::chronicle::log;
use super::detaching::{self, Detach, InBackground};
use super::failure::Failure;
use super::node::{self, RunsNodes};
use super::presence;
use super::service::Running;
use super::share::Share;
use super::{Host, Outcome, print_line};
use crate::dialing::{Choice, DEFAULT_PORT, Target};
use crate::identity::{Name, Roles, State};
use crate::scheduler::{Server, ServerConfig};

/// The first ticket is for a room of machines and the time that it takes to go round.
const USES: u32 = 10;
const TTL: Duration = Duration::from_mins(15);

/// How a cluster is to be.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// The initialization port: clusters of one network differ by it, or by their keys
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// What people call the cluster [default: port-PORT]
    #[arg(long, value_name = "NAME")]
    pub name: Option<Name>,
    /// Where to listen; may be given several times [default: everywhere]
    #[arg(long, value_name = "ADDRESS")]
    pub bind: Vec<IpAddr>,
    /// Run no node on this machine
    #[arg(long, conflicts_with_all = ["count", "cpus", "gpus", "memory", "resources", "drain"])]
    pub no_node: bool,
    /// What its nodes have.
    #[command(flatten)]
    pub share: Share,
    /// On Ctrl-C, finish what runs on this machine first
    #[arg(long)]
    pub drain: bool,
    /// Whether it goes on in the background.
    #[command(flatten)]
    pub detach: Detach,
}

pub(super) fn run(options: &Options, host: &Host) -> Result<Outcome, Failure> {
    if options.detach.is_for_another() {
        return detaching::start(host, host.arguments.clone(), "");
    }
    let choice = Choice { port: options.port, ..Choice::default() }.or_environment()?;
    let port = choice.port.unwrap_or(DEFAULT_PORT);
    let state = State::open()?;
    let background = InBackground::begin(options.detach, &state, &format!("up-{port}"))?;
    let _presence = presence::of_cluster(port)?;
    let mut running = Running::begin(options.drain, background)?;
    let server = running.start_scheduler(options.server(port, &state, host))?;
    let mut has = String::new();
    let _nodes = if options.no_node {
        None
    } else {
        let of_nodes = RunsNodes { share: &options.share, state, choice: Choice::default(), host };
        let present = node::start(of_nodes, Target::Here { port: server.port() }, &mut running)?;
        has = format!(", with {} here", counted(options.share.count, "node"));
        Some(present)
    };
    show(&options.name_on(port), &has, &server)?;
    running.ready();
    Ok(running.run())
}

impl Options {
    fn server(&self, port: u16, state: &State, host: &Host) -> ServerConfig {
        ServerConfig {
            name: self.name_on(port),
            port,
            bind: self.bind.clone(),
            state: state.clone(),
            python_minor: Some(host.python_minor),
        }
    }

    fn name_on(&self, port: u16) -> Name {
        self.name.clone().unwrap_or_else(|| Name::near(&format!("port-{port}")))
    }
}

/// Prints what runs, and the line to type on other machines.
fn show(name: &Name, has: &str, server: &Server) -> Result<(), Failure> {
    let ticket = server.invite(USES, TTL, Roles::NODE);
    let ticket = ticket.map_err(|error| Failure::of(&error).hint_if_any(error.hint()))?;
    print_line(format_args!("The cluster {name} runs on port {}{has}.", server.port()));
    let (time, machines) = (duration(TTL), counted(USES.into(), "machine"));
    print_line(format_args!("Within {time}, on up to {machines}, type:"));
    print_line(format_args!("\n  hurricane join {}\n", ticket.to_line()));
    let addresses = server.snapshot().cluster.unwrap_or_default().addresses;
    log(match &addresses[..] {
        [] => "listening; this machine has no network now".to_owned(),
        [likeliest, ..] => format!(
            "listening at {}; where `hurricane join` does not find that, `--address {likeliest}` tells",
            addresses.join(", ")
        ),
    });
    Ok(())
}

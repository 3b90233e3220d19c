//! `hurricane node`: nodes of a cluster that this machine is a member of.

use super::chronicle::log;
use super::cluster_names::Anywhere;
use super::detaching::{self, Detach, InBackground};
use super::failure::Failure;
use super::presence::{self, Presence};
use super::service::Running;
use super::share::{Machine, Share};
use super::{Host, Outcome, target};
use crate::dialing::{Choice, Target};
use crate::identity::State;
use crate::node::{NodesConfig, WorkerSource};

/// How nodes are to be.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: Anywhere,
    /// What they have.
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
    if options.detach.is_for_another() {
        return detaching::start(host, host.arguments.clone(), "");
    }
    let state = State::open()?;
    let choice = options.cluster.choice().or_environment()?;
    let target = target::for_node(&state, choice.clone())?;
    let of_nodes = RunsNodes { share: &options.share, state, choice, host };
    serve(of_nodes, target, options.drain, options.detach)
}

/// What nodes of a process need to know.
pub(super) struct RunsNodes<'a> {
    pub(super) share: &'a Share,
    pub(super) state: State,
    pub(super) choice: Choice,
    pub(super) host: &'a Host,
}

/// Runs nodes, and nothing besides, until they are ended.
pub(super) fn serve(
    of_nodes: RunsNodes<'_>,
    target: Target,
    drains: bool,
    detach: Detach,
) -> Result<Outcome, Failure> {
    let background = InBackground::begin(detach, &of_nodes.state, "node")?;
    let mut running = Running::begin(drains, background)?;
    let _present = start(of_nodes, target, &mut running)?;
    Ok(running.run())
}

/// Starts nodes, and says what people may not expect about them.
pub(super) fn start(
    of_nodes: RunsNodes<'_>,
    target: Target,
    running: &mut Running,
) -> Result<Presence, Failure> {
    let RunsNodes { share, state, choice, host } = of_nodes;
    let machine = Machine::this();
    let shares = share.of_each(machine)?;
    let (present, are_others) = presence::of_nodes()?;
    share.remarks(machine).into_iter().for_each(log);
    if are_others {
        log("another hurricane process has nodes on this machine: they share its cpus");
    }
    running.start_nodes(NodesConfig {
        state,
        target,
        choice,
        shares,
        workers: WorkerSource::Processes {
            command: host.worker_command.clone(),
            setup: host.setup.clone(),
        },
        python_minor: Some(host.python_minor),
    })?;
    Ok(present)
}

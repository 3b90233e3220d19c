//! What runs until it is ended: a scheduler, nodes, or both; and how they end.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::Outcome;
use super::chronicle::{self, OfNodes, log};
use super::detaching::InBackground;
use super::failure::Failure;
use crate::node::{self, Nodes, NodesConfig};
use crate::platform::interruption::Told;
use crate::scheduler::{self, Server, ServerConfig};

/// A node in the background that has not found its scheduler after this goes on looking by itself.
const PATIENCE_WHEN_DETACHING: Duration = Duration::from_secs(5);

/// What happens while it runs.
enum Event {
    Cluster(scheduler::Report),
    Node(usize, node::Report),
    /// Somebody wishes the end.
    Interrupted,
    SchedulerOver,
    NodesOver,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// What runs on the nodes ends first.
    Draining,
    /// Everything ends; a wish came before what ran had ended.
    Ending {
        is_broken_off: bool,
    },
}

/// It.
pub(super) struct Running {
    server: Option<Arc<Server>>,
    nodes: Option<Arc<Nodes>>,
    drains: bool,
    phase: Phase,
    of_nodes: Option<OfNodes>,
    background: InBackground,
    ready_at: Option<Instant>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    _told: Told,
}

impl Running {
    /// From now on, Ctrl-C and the like are wishes.
    pub(super) fn begin(drains: bool, background: InBackground) -> Result<Self, Failure> {
        let (sender, events) = mpsc::channel();
        let interrupted = sender.clone();
        // Nobody hears it after the end.
        let told = Told::begin(move || drop(interrupted.send(Event::Interrupted)));
        let told = told.map_err(|error| Failure::of(&error))?;
        Ok(Self {
            server: None,
            nodes: None,
            drains,
            phase: Phase::Running,
            of_nodes: None,
            background,
            ready_at: None,
            events,
            sender,
            _told: told,
        })
    }

    /// Starts a scheduler, which listens when this returns.
    pub(super) fn start_scheduler(&mut self, config: ServerConfig) -> Result<Arc<Server>, Failure> {
        let sender = self.sender.clone();
        let report = move |report| drop(sender.send(Event::Cluster(report)));
        let server = Server::start(config, Box::new(report));
        let server = server.map_err(|error| Failure::of(&error).hint_if_any(error.hint()))?;
        let server = Arc::new(server);
        self.server = Some(Arc::clone(&server));
        let (waiting, sender) = (Arc::clone(&server), self.sender.clone());
        thread::spawn(move || {
            waiting.wait(None);
            drop(sender.send(Event::SchedulerOver));
        });
        Ok(server)
    }

    /// Starts nodes. Beside a scheduler, it is the scheduler that tells what happens to them.
    pub(super) fn start_nodes(&mut self, config: NodesConfig) -> Result<(), Failure> {
        if self.server.is_none() {
            let now = Instant::now();
            let (of_nodes, line) = OfNodes::begin(now, config.shares.len(), &config.target);
            self.of_nodes = Some(of_nodes);
            self.ready_at = now.checked_add(PATIENCE_WHEN_DETACHING);
            log(line);
        }
        let sender = self.sender.clone();
        let report = move |index, report| drop(sender.send(Event::Node(index, report)));
        let nodes = Nodes::start(config, Box::new(report));
        let nodes = nodes.map_err(|error| Failure::of(&error).hint_if_any(error.hint()))?;
        let nodes = Arc::new(nodes);
        self.nodes = Some(Arc::clone(&nodes));
        let sender = self.sender.clone();
        thread::spawn(move || {
            nodes.wait(None);
            drop(sender.send(Event::NodesOver));
        });
        Ok(())
    }

    /// Lets whoever started this in the background go on.
    pub(super) fn ready(&mut self) {
        self.ready_at = None;
        self.background.ready();
    }

    /// Runs until everything is over, or is to be left at once.
    pub(super) fn run(mut self) -> Outcome {
        loop {
            if self.on_event() {
                return Outcome::BrokenOff;
            }
            if self.server.is_none() && self.nodes.is_none() {
                return match self.phase {
                    Phase::Ending { is_broken_off: true } => Outcome::BrokenOff,
                    Phase::Ending { is_broken_off: false } | Phase::Draining => Outcome::Done,
                    // Nobody wished it.
                    Phase::Running => Outcome::Failed,
                };
            }
        }
    }

    /// Waits for what happens next; whether all is to be left as it is.
    fn on_event(&mut self) -> bool {
        match self.next_event() {
            None => self.ready(),
            Some(Event::Cluster(report)) => log(chronicle::of_cluster(&report)),
            Some(Event::Node(index, report)) => self.on_report(index, &report),
            Some(Event::Interrupted) => return self.on_interrupted(),
            Some(Event::SchedulerOver) => self.on_scheduler_over(),
            Some(Event::NodesOver) => self.on_nodes_over(),
        }
        false
    }

    /// None when it is time to be ready in any case.
    fn next_event(&self) -> Option<Event> {
        let Some(ready_at) = self.ready_at else {
            return Some(self.events.recv().expect("`sender` is not dropped"));
        };
        self.events.recv_timeout(ready_at.saturating_duration_since(Instant::now())).ok()
    }

    fn on_report(&mut self, index: usize, report: &node::Report) {
        let Some(of_nodes) = &mut self.of_nodes else {
            if let node::Report::SetupFailed(error) = report {
                log(chronicle::setup_failed(error));
            }
            return;
        };
        if let Some(line) = of_nodes.hear(Instant::now(), index, report) {
            log(line);
        }
        if self.ready_at.is_some() && of_nodes.are_all_joined() {
            self.ready();
        }
    }

    fn on_interrupted(&mut self) -> bool {
        match (self.phase, &self.nodes) {
            (Phase::Running, Some(nodes)) if self.drains => {
                log(
                    "finishing what runs here, and handing back the rest; once more ends it at once",
                );
                nodes.drain();
                self.phase = Phase::Draining;
            }
            (Phase::Running, _) => {
                log("ending");
                self.end(false);
            }
            (Phase::Draining, _) => {
                log("ending at once; what ran here runs elsewhere");
                self.end(true);
            }
            (Phase::Ending { .. }, _) => return true,
        }
        false
    }

    fn on_scheduler_over(&mut self) {
        self.server = None;
        if !matches!(self.phase, Phase::Ending { .. }) {
            log("the scheduler has ended");
            self.end(false);
        }
    }

    fn on_nodes_over(&mut self) {
        self.nodes = None;
        match self.phase {
            // Nobody wished it.
            Phase::Running => log("the nodes here have ended"),
            Phase::Draining => self.end(false),
            Phase::Ending { .. } => {}
        }
    }

    /// Ends what there is, nodes first: a scheduler hears from them that they leave.
    fn end(&mut self, is_broken_off: bool) {
        self.phase = Phase::Ending { is_broken_off };
        let (nodes, server) = (self.nodes.clone(), self.server.clone());
        // A second wish must be heard meanwhile.
        thread::spawn(move || {
            nodes.inspect(|nodes| nodes.stop());
            server.inspect(|server| server.stop());
        });
    }
}

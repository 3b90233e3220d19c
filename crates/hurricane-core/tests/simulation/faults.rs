//! What goes wrong in a run, and how much is going on in it. Each run draws the kinds of faults that
//! it knows, so that some have none and some have one kind often.

use std::time::Duration;

use hurricane_core::id::WorkerId;
use hurricane_core::time::micros;

use crate::cluster::{Happening, Place, World};
use crate::dice::Dice;
use crate::network::Cut;
use crate::worker::WorkerName;

/// More nodes than these do not live at once.
const MAX_NODES: usize = 8;

/// In some runs tasks take seconds: long enough to wait for one another.
const SLOW: u32 = 40;

/// What a run is like.
pub(crate) struct Plan {
    pub(crate) is_one_machine: bool,
    pub(crate) nodes: u64,
    pub(crate) clients: u64,
    /// How many tasks each client submits at most.
    pub(crate) tasks: u64,
    /// How many times as long as most they run.
    pub(crate) pace: u32,
    /// How long clients wait before they begin.
    pub(crate) clients_wait: Duration,
    /// When faults are over.
    pub(crate) lasts: Duration,
    pub(crate) faults_every: Option<Duration>,
    /// When the scheduler is started anew, if it is.
    pub(crate) restarts: Option<Duration>,
    /// Whether workers may fail to start.
    pub(crate) workers_fail: bool,
    faults: Vec<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    CutNode,
    CutClient,
    StallNode,
    StallClient,
    CrashNode,
    JoinNode,
    LeaveNode,
    DrainNode,
    PauseNode,
    PauseClient,
    PauseScheduler,
    PauseWorker,
    KillWorker,
    KillClient,
}

impl Fault {
    const ALL: [Self; 14] = [
        Self::CutNode,
        Self::CutClient,
        Self::StallNode,
        Self::StallClient,
        Self::CrashNode,
        Self::JoinNode,
        Self::LeaveNode,
        Self::DrainNode,
        Self::PauseNode,
        Self::PauseClient,
        Self::PauseScheduler,
        Self::PauseWorker,
        Self::KillWorker,
        Self::KillClient,
    ];

    /// Those that can happen on one machine.
    const LOCAL: [Self; 4] =
        [Self::PauseWorker, Self::KillWorker, Self::KillClient, Self::PauseScheduler];
}

impl Plan {
    pub(crate) fn any(dice: &mut Dice) -> Self {
        let is_one_machine = dice.chance(12);
        let known = if is_one_machine { &Fault::LOCAL[..] } else { &Fault::ALL[..] };
        let share = dice.pick(&[0, 15, 40, 100]);
        let faults: Vec<Fault> = known.iter().copied().filter(|_| dice.chance(share)).collect();
        let every = dice.pick(&[5, 20, 60, 200]);
        let lasts = dice.millis(50, 2000);
        let restarts = !is_one_machine && dice.chance(6);
        let pace = if dice.chance(8) { SLOW } else { 1 };
        Self {
            is_one_machine,
            nodes: if is_one_machine { 1 } else { dice.between(1, 6) },
            clients: dice.between(1, 4),
            tasks: dice.pick(if pace == SLOW { &[3, 10] } else { &[3, 10, 30, 60] }),
            pace,
            clients_wait: Duration::from_millis(if is_one_machine { 50 } else { 0 }),
            restarts: restarts.then(|| dice.micros(0, micros(lasts))),
            lasts,
            faults_every: (!faults.is_empty()).then_some(Duration::from_millis(every)),
            workers_fail: dice.chance(40),
            faults,
        }
    }
}

impl World {
    pub(crate) fn on_fault(&mut self) {
        let Some(every) = self.plan.faults_every else { return };
        let fault = self.dice.pick(&self.plan.faults);
        self.inject(fault);
        let pause = every + self.dice.micros(0, micros(every));
        self.after(pause, Happening::Fault);
    }

    fn inject(&mut self, fault: Fault) {
        let node = self.any_node();
        let client = self.any_client();
        let place = match fault {
            Fault::CutClient | Fault::StallClient | Fault::PauseClient | Fault::KillClient => {
                client.map(Place::Client)
            }
            Fault::PauseScheduler => Some(Place::Scheduler),
            _ => node.map(Place::Node),
        };
        let Some(place) = place else { return };
        self.note(format_args!("{fault:?} at {place:?}"));
        match (fault, place) {
            (Fault::CutNode | Fault::CutClient, _) => self.cut(place),
            (Fault::StallNode | Fault::StallClient, _) => self.stall(place),
            (Fault::PauseNode | Fault::PauseClient | Fault::PauseScheduler, _) => {
                self.pause_process(place);
            }
            (Fault::CrashNode, Place::Node(node)) => self.crash_node(node),
            (Fault::LeaveNode, Place::Node(node)) => self.leave_node(node),
            (Fault::DrainNode, Place::Node(node)) => self.drain_node(node),
            (Fault::KillClient, Place::Client(client)) => {
                let is_told = self.dice.chance(90);
                self.kill_client(client, is_told);
            }
            (Fault::JoinNode, _) => self.join_node(),
            (Fault::PauseWorker, _) => self.pause_any_worker(),
            (Fault::KillWorker, _) => self.kill_any_worker(),
            _ => unreachable!("{fault:?} has no place at {place:?}"),
        }
    }

    fn cut(&mut self, place: Place) {
        let duration = self.fault_duration();
        let until = self.now + duration;
        let is_told = [self.dice.chance(50), self.dice.chance(50)];
        let Self { network, dice, agenda, now, .. } = self;
        network.cut(*now, place, Cut { until, is_told }, dice, agenda);
        self.disturb(place);
    }

    fn stall(&mut self, place: Place) {
        let duration = self.fault_duration();
        self.network.stall(place, self.now + duration);
        self.disturb(place);
    }

    fn pause_process(&mut self, place: Place) {
        let duration = self.fault_duration();
        self.pause(place, duration);
        self.disturb(place);
    }

    fn crash_node(&mut self, node: usize) {
        let is_told = self.dice.chance(70);
        self.end_node(node, is_told);
        if self.dice.chance(80) {
            let delay = self.dice.millis(1, 500);
            self.after(delay, Happening::NodeStarts);
        }
    }

    fn join_node(&mut self) {
        if self.nodes.iter().filter(|node| node.is_alive).count() < MAX_NODES {
            self.on_node_starts();
        }
    }

    fn pause_any_worker(&mut self) {
        let duration = self.fault_duration();
        if let Some(name) = self.any_worker() {
            self.pause_worker(name, duration);
        }
    }

    fn kill_any_worker(&mut self) {
        if let Some(name) = self.any_worker() {
            self.kill_worker(name);
        }
    }

    /// From now on the sessions of a process may end without its wish.
    pub(crate) fn disturb(&mut self, place: Place) {
        match place {
            Place::Client(client) => self.clients[client].is_disturbed = true,
            Place::Scheduler => self.clients.iter_mut().for_each(|it| it.is_disturbed = true),
            Place::Node(_) => {}
        }
    }

    /// Mostly shorter than anybody's patience, sometimes longer.
    fn fault_duration(&mut self) -> Duration {
        match self.dice.below(10) {
            0..=4 => self.dice.millis(1, 150),
            5..=7 => self.dice.millis(150, 1200),
            8 => self.dice.millis(1200, 6000),
            _ => self.dice.millis(6000, 40_000),
        }
    }

    fn any_node(&mut self) -> Option<usize> {
        let nodes: Vec<usize> =
            (0..self.nodes.len()).filter(|node| self.nodes[*node].is_alive).collect();
        self.dice.pick_if_any(&nodes)
    }

    fn any_client(&mut self) -> Option<usize> {
        let clients: Vec<usize> =
            (0..self.clients.len()).filter(|client| !self.clients[*client].is_over()).collect();
        self.dice.pick_if_any(&clients)
    }

    /// One that is ready: if several died before, a node would take it that none can be started.
    fn any_worker(&mut self) -> Option<WorkerName> {
        let node = self.any_node()?;
        let ready = self.nodes[node].workers.iter().filter(|(_, worker)| worker.is_ready);
        let workers: Vec<WorkerId> = ready.map(|(worker, _)| *worker).collect();
        let worker = self.dice.pick_if_any(&workers)?;
        Some(WorkerName { node, worker })
    }
}

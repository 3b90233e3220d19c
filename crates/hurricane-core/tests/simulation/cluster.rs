//! The world of a run: its processes, what is going to happen to them, and the clock that jumps from
//! one happening to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hurricane_core::id::{BootId, ConnectionId};
use hurricane_core::session;
use hurricane_core::time::Time;

use crate::checks::Ledger;
use crate::client::Client;
use crate::dice::Dice;
use crate::faults::Plan;
use crate::network::{End, Network};
use crate::node::NodeProcess;
use crate::scheduler::SchedulerProcess;
use crate::trace::Trace;
use crate::worker::{WorkerName, WorkerStep};

/// How long after the last fault the clients' programs may take, and then the cluster to forget
/// them: half a minute for a silent client to be gone, and as much for everything else.
const PATIENCE: Duration = Duration::from_mins(1);

/// How much longer for each time that tasks run longer than most.
const PATIENCE_PER_PACE: Duration = Duration::from_secs(20);

/// So many steps in one moment mean that the machines keep each other busy for nothing.
const MAX_STEPS_AT_ONCE: u64 = 20_000;

/// A process, and with it a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Scheduler,
    Node(usize),
    Client(usize),
}

/// What is going to happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// What a connection carries has come to its end.
    Arrival { connection: usize, to: End },
    /// A client's program takes its next step.
    ClientActs { client: usize },
    /// A node hears from its workers or its store.
    NodeHears { node: usize, event: hurricane_core::node::Event },
    /// A node's machine is told what the node has heard.
    NodeHasItsTurn { node: usize },
    /// A copy of an object has come, or has not.
    FetchEnds { node: usize, object: hurricane_core::id::ObjectId },
    /// Something happens to a worker.
    Worker { name: WorkerName, step: WorkerStep },
    /// A process that was stopped goes on.
    Resumes { place: Place },
    /// A node is started.
    NodeStarts,
    /// The scheduler is started anew.
    SchedulerRestarts,
    /// Something goes wrong.
    Fault,
    /// From now on nothing goes wrong any more.
    Heal,
}

/// What is going to happen, in its order.
#[derive(Default)]
pub(crate) struct Agenda {
    entries: BTreeMap<(Time, u64), Happening>,
    added: u64,
}

impl Agenda {
    pub(crate) fn add(&mut self, due: Time, happening: Happening) {
        self.added += 1;
        self.entries.insert((due, self.added), happening);
    }

    fn next(&self) -> Option<Time> {
        self.entries.first_key_value().map(|((due, _), _)| *due)
    }

    fn take(&mut self) -> Option<Happening> {
        self.entries.pop_first().map(|(_, happening)| happening)
    }
}

/// A process that may be stopped, and what comes to it meanwhile.
pub(crate) struct Pause {
    until: Time,
    postponed: Vec<Happening>,
}

/// Everything.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) steps: u64,
    pub(crate) dice: Dice,
    pub(crate) agenda: Agenda,
    pub(crate) network: Network,
    pub(crate) trace: Trace,
    pub(crate) ledger: Ledger,
    pub(crate) plan: Plan,
    pub(crate) scheduler: SchedulerProcess,
    pub(crate) nodes: Vec<NodeProcess>,
    pub(crate) clients: Vec<Client>,
    pub(crate) pauses: BTreeMap<Place, Pause>,
    /// Where something happened since the last check.
    touched: BTreeSet<Place>,
    /// When the last fault was, once they are over.
    healed: Option<Time>,
    steps_at_once: u64,
}

impl World {
    pub(crate) fn new(seed: u64, is_shown: bool) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::any(&mut dice);
        let mut world = Self {
            now: Time(dice.below(1_000_000)),
            steps: 0,
            agenda: Agenda::default(),
            network: Network::default(),
            trace: Trace::new(is_shown),
            ledger: Ledger::default(),
            scheduler: SchedulerProcess::new(plan.is_one_machine, BootId(1)),
            nodes: Vec::new(),
            clients: Vec::new(),
            pauses: BTreeMap::new(),
            touched: BTreeSet::new(),
            healed: None,
            steps_at_once: 0,
            plan,
            dice,
        };
        world.begin();
        world
    }

    /// Runs everything to its end. Panics if anything is wrong.
    pub(crate) fn run(&mut self) {
        while !self.is_over() {
            self.step();
            self.check();
        }
        self.check_end();
    }

    /// Notes a line in the trace.
    pub(crate) fn note(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.note(self.now, what);
    }

    pub(crate) fn after(&mut self, delay: Duration, happening: Happening) {
        self.agenda.add(self.now + delay, happening);
    }

    pub(crate) fn is_paused(&self, place: Place) -> bool {
        self.pauses.contains_key(&place)
    }

    pub(crate) fn pause(&mut self, place: Place, duration: Duration) {
        if !self.is_paused(place) {
            let until = self.now + duration;
            self.pauses.insert(place, Pause { until, postponed: Vec::new() });
            self.after(duration, Happening::Resumes { place });
        }
    }

    /// Sends a frame to the other end of a connection.
    pub(crate) fn transmit(&mut self, connection: usize, to: End, frame: session::Frame) {
        let Self { network, dice, agenda, now, .. } = self;
        network.send(*now, connection, to, frame, dice, agenda);
    }

    /// Does what a dialer's session wants of the network.
    pub(crate) fn dial(&mut self, place: Place, connection: ConnectionId) {
        let Self { network, dice, agenda, now, .. } = self;
        network.dial(*now, place, connection, dice, agenda);
    }

    pub(crate) fn hang_up(&mut self, connection: usize, by: End) {
        self.network.close(self.now, connection, by, &mut self.agenda);
    }

    fn begin(&mut self) {
        for _ in 0..self.plan.nodes {
            self.agenda.add(self.now, Happening::NodeStarts);
        }
        for client in 0..self.plan.clients {
            let client = usize::try_from(client).expect("few clients");
            self.clients.push(Client::new(client, self.plan.tasks, &mut self.dice));
            let is_late = self.dice.chance(25);
            let delay = if is_late { self.dice.millis(0, 1500) } else { self.dice.millis(0, 20) };
            self.after(self.plan.clients_wait + delay, Happening::ClientActs { client });
        }
        if let Some(delay) = self.plan.restarts {
            self.after(delay, Happening::SchedulerRestarts);
        }
        self.agenda.add(self.now + self.plan.lasts, Happening::Heal);
        if let Some(every) = self.plan.faults_every {
            self.after(every, Happening::Fault);
        }
    }

    fn step(&mut self) {
        let due = self.due_process();
        let next = self.agenda.next();
        let time = match (due, next) {
            (Some((time, _)), Some(next)) => time.min(next),
            (Some((time, _)), None) => time,
            (None, Some(next)) => next,
            (None, None) => panic!("nothing will ever happen"),
        };
        let time = time.max(self.now);
        self.steps += 1;
        self.steps_at_once = if time == self.now { self.steps_at_once + 1 } else { 0 };
        assert!(self.steps_at_once < MAX_STEPS_AT_ONCE, "no time passes");
        self.now = time;
        match due {
            Some((tick, place)) if next.is_none_or(|next| tick < next) => self.tick(place),
            _ => {
                let happening = self.agenda.take().expect("there is a next happening");
                self.apply(happening);
            }
        }
    }

    /// The process whose deadline comes first.
    fn due_process(&self) -> Option<(Time, Place)> {
        let nodes = self.nodes.iter().enumerate();
        let nodes = nodes.filter(|(_, node)| node.is_alive);
        let nodes = nodes.map(|(index, node)| (node.deadline(), Place::Node(index)));
        let clients = self.clients.iter().enumerate();
        let clients = clients.map(|(index, client)| (client.deadline(), Place::Client(index)));
        let all = nodes.chain(clients).chain([(self.scheduler.deadline(), Place::Scheduler)]);
        let due = all.filter(|(_, place)| !self.is_paused(*place));
        due.filter_map(|(time, place)| Some((time?, place))).min()
    }

    fn tick(&mut self, place: Place) {
        self.touched.insert(place);
        match place {
            Place::Scheduler => self.tick_scheduler(),
            Place::Node(node) => self.tick_node(node),
            Place::Client(client) => self.tick_client(client),
        }
    }

    /// Lets something happen, now or when the process it happens to goes on.
    fn apply(&mut self, happening: Happening) {
        let place = self.place_of(&happening);
        if let Some(place) = place {
            self.touched.insert(place);
            if let Some(pause) = self.pauses.get_mut(&place) {
                return pause.postponed.push(happening);
            }
        }
        match happening {
            Happening::Arrival { connection, to } => self.on_arrival(connection, to),
            Happening::ClientActs { client } => self.on_client_acts(client),
            Happening::NodeHears { node, event } => self.on_node_hears(node, event),
            Happening::NodeHasItsTurn { node } => self.on_node_has_its_turn(node),
            Happening::FetchEnds { node, object } => self.on_fetch_ends(node, object),
            Happening::Worker { name, step } => self.on_worker_step(name, step),
            Happening::Resumes { place } => self.on_resumes(place),
            Happening::NodeStarts => self.on_node_starts(),
            Happening::SchedulerRestarts => self.on_scheduler_restarts(),
            Happening::Fault => self.on_fault(),
            Happening::Heal => self.on_heal(),
        }
    }

    /// To which process something happens, unless that is stopped apart.
    fn place_of(&self, happening: &Happening) -> Option<Place> {
        match happening {
            Happening::Arrival { to: End::Listener, .. } => Some(Place::Scheduler),
            Happening::Arrival { connection, .. } => Some(self.network.dialer(*connection).0),
            Happening::ClientActs { client } => Some(Place::Client(*client)),
            Happening::NodeHears { node, .. }
            | Happening::NodeHasItsTurn { node }
            | Happening::FetchEnds { node, .. } => Some(Place::Node(*node)),
            Happening::Worker { .. }
            | Happening::Resumes { .. }
            | Happening::NodeStarts
            | Happening::SchedulerRestarts
            | Happening::Fault
            | Happening::Heal => None,
        }
    }

    fn on_arrival(&mut self, connection: usize, to: End) {
        let Some(parcel) = self.network.arrive(self.now, connection, to, &mut self.agenda) else {
            return;
        };
        let (place, name) = self.network.dialer(connection);
        match (to, place) {
            (End::Listener, _) => self.on_arrival_at_scheduler(connection, parcel),
            (End::Dialer, Place::Node(node)) => self.on_arrival_at_node(node, name, parcel),
            (End::Dialer, Place::Client(client)) => {
                self.on_arrival_at_client(client, name, parcel);
            }
            (End::Dialer, Place::Scheduler) => unreachable!("the scheduler does not dial"),
        }
    }

    /// A process that was stopped goes on. Its timers may be looked at before what came meanwhile,
    /// or after.
    fn on_resumes(&mut self, place: Place) {
        // It may have been stopped again since this was planned.
        let is_over = self.pauses.get(&place).is_some_and(|pause| pause.until <= self.now);
        let Some(pause) = is_over.then(|| self.pauses.remove(&place)).flatten() else { return };
        self.note(format_args!("{place:?} goes on"));
        if self.dice.chance(50) {
            self.tick(place);
        }
        for happening in pause.postponed {
            self.apply(happening);
        }
    }

    fn on_heal(&mut self) {
        self.note(format_args!("faults are over"));
        self.healed = Some(self.now);
        self.plan.faults_every = None;
        self.network.heal(self.now, &mut self.agenda);
        for pause in self.pauses.values_mut() {
            pause.until = self.now;
        }
        for place in self.pauses.keys().copied().collect::<Vec<_>>() {
            self.on_resumes(place);
        }
        self.resume_workers();
        if !self.plan.is_one_machine {
            self.start_node(crate::program::ample_resources());
        }
    }

    fn is_over(&self) -> bool {
        let Some(healed) = self.healed else { return false };
        if self.now > healed + PATIENCE + PATIENCE_PER_PACE * (self.plan.pace - 1) {
            self.explain_lack_of_progress();
        }
        self.clients.iter().all(Client::is_over) && self.is_forgotten()
    }

    /// Whether nothing of the clients is left anywhere, and who was to leave has left.
    fn is_forgotten(&self) -> bool {
        let mut nodes = self.nodes.iter().filter(|node| node.is_alive);
        self.scheduler.machine.is_empty()
            && nodes.all(|node| node.holds_nothing() && !node.is_leaving)
    }

    fn explain_lack_of_progress(&self) -> ! {
        for client in self.clients.iter().filter(|client| !client.is_over()) {
            eprintln!("{}", client.describe());
        }
        eprintln!("scheduler: {:?}", self.scheduler.machine.snapshot());
        for node in self
            .nodes
            .iter()
            .filter(|node| node.is_alive && (node.is_leaving || !node.holds_nothing()))
        {
            eprintln!("not idle: {}", node.describe());
        }
        panic!("no end is in sight, long after the last fault");
    }

    /// What must hold after every step, where something happened.
    fn check(&mut self) {
        while let Some(place) = self.touched.pop_first() {
            match place {
                Place::Scheduler => self.scheduler.check(self.now),
                Place::Node(node) => self.nodes[node].check(&self.ledger),
                Place::Client(client) => self.clients[client].check(),
            }
        }
    }

    fn check_end(&self) {
        for node in self.nodes.iter().filter(|node| node.is_alive) {
            assert!(node.store.is_empty(), "{} keeps objects", node.describe());
        }
        assert!(self.scheduler.store.is_empty(), "the scheduler keeps objects");
        let snapshot = self.scheduler.machine.snapshot();
        let counts = snapshot.tasks;
        let left = counts.waiting + counts.ready + counts.assigned + counts.running;
        assert_eq!(left, 0, "no task is left: {snapshot:?}");
        let is_used = snapshot.nodes.iter().any(|node| node.running + node.backlog > 0);
        assert!(!is_used, "no node is in use: {snapshot:?}");
    }
}

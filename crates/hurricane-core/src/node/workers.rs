//! The worker processes: who is starting, idle, busy or ending, and what each knows.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::id::{Attempt, DefinitionId, RunId, TaskId, WorkerId};
use crate::time::Time;

use super::WorkerKind;
use super::output::Writing;
use super::room::Grant;

/// How long a worker beyond the slots may idle. Tasks that wait for their children come and go, and
/// each worker that is there already saves the start of an interpreter.
const LINGER: Duration = Duration::from_secs(2);

/// A worker process.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) kind: WorkerKind,
    pub(super) state: State,
    pub(super) writing: Writing,
    /// The definitions that it was told.
    knows: BTreeSet<DefinitionId>,
}

/// What a worker does.
#[derive(Debug)]
pub(super) enum State {
    /// It is not ready yet.
    Starting,
    /// It takes runs.
    Idle {
        /// When it last became idle.
        since: Time,
    },
    /// It runs a task.
    Busy(Run),
    /// It was told to stop, or said that it ends.
    Stopping,
    /// It is being killed.
    Dying(Dying),
}

/// A task under way in a worker.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) task: TaskId,
    pub(super) attempt: Attempt,
    pub(super) grant: Grant,
    pub(super) phase: Phase,
    pub(super) started: Time,
    pub(super) expires: Option<Time>,
}

/// Whether a run has its resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has them.
    Running,
    /// It gave them back and waits for its children.
    Waiting,
    /// Its children are done and it waits for its resources.
    Resuming,
}

/// What is left to do when a killed worker is gone.
#[derive(Debug)]
pub(super) struct Dying {
    /// What it holds until then.
    pub(super) grant: Option<Grant>,
    /// The run whose time was up, if that is why, and nobody cancelled it meanwhile.
    pub(super) expired: Option<Expired>,
}

/// A run whose time was up.
#[derive(Debug)]
pub(super) struct Expired {
    pub(super) task: TaskId,
    pub(super) attempt: Attempt,
    /// When it was stopped, after this long.
    pub(super) ran: core::time::Duration,
}

/// All workers that are not gone.
#[derive(Debug)]
pub(super) struct Workers {
    by_id: BTreeMap<WorkerId, Worker>,
    /// The idle ones of each kind, the longest idle first.
    idle: BTreeMap<WorkerKind, VecDeque<WorkerId>>,
    /// The tasks that have room and wait for a worker of a kind, by their order.
    placed: BTreeMap<WorkerKind, BTreeMap<u64, TaskId>>,
    /// The busy ones whose runs wait for their resources, the longest waiting first.
    resuming: VecDeque<WorkerId>,
    /// When the time of busy ones is up.
    expiries: BTreeSet<(Time, WorkerId)>,
    /// The kinds of the ones that died and have no successor yet.
    lost: VecDeque<WorkerKind>,
    slots: usize,
    /// How many runs do not have their resources.
    waiting: usize,
    /// How many are stopping or dying.
    ending: usize,
    started: u64,
    runs: u64,
}

impl Run {
    /// What it holds now.
    pub(super) fn held(&self) -> Option<&Grant> {
        (self.phase == Phase::Running).then_some(&self.grant)
    }
}

impl Worker {
    /// The task whose output it writes.
    pub(super) fn task(&self) -> Option<(TaskId, Attempt)> {
        match &self.state {
            State::Busy(run) => Some((run.task, run.attempt)),
            State::Dying(Dying { expired: Some(expired), .. }) => {
                Some((expired.task, expired.attempt))
            }
            _ => None,
        }
    }

    /// What it holds now, running or being killed.
    pub(super) fn held(&self) -> Option<&Grant> {
        match &self.state {
            State::Busy(run) => run.held(),
            State::Dying(dying) => dying.grant.as_ref(),
            State::Starting | State::Idle { .. } | State::Stopping => None,
        }
    }

    /// Whether it takes another run without the help of others.
    fn may_become_idle(&self) -> bool {
        match &self.state {
            State::Starting | State::Idle { .. } => true,
            State::Busy(run) => run.phase != Phase::Waiting,
            State::Stopping | State::Dying(_) => false,
        }
    }

    fn is_ending(&self) -> bool {
        matches!(self.state, State::Stopping | State::Dying(_))
    }
}

/// Their lives, from start to death.
impl Workers {
    /// None, for a node with so many slots.
    pub(super) fn new(slots: u64) -> Self {
        Self {
            by_id: BTreeMap::new(),
            idle: BTreeMap::new(),
            placed: BTreeMap::new(),
            resuming: VecDeque::new(),
            expiries: BTreeSet::new(),
            lost: VecDeque::new(),
            slots: usize::try_from(slots).unwrap_or(usize::MAX),
            waiting: 0,
            ending: 0,
            started: 0,
            runs: 0,
        }
    }

    pub(super) fn get(&self, worker: WorkerId) -> Option<&Worker> {
        self.by_id.get(&worker)
    }

    pub(super) fn get_mut(&mut self, worker: WorkerId) -> Option<&mut Worker> {
        self.by_id.get_mut(&worker)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.by_id.iter().map(|(id, worker)| (*id, worker))
    }

    /// A new one is being started.
    pub(super) fn start(&mut self, kind: WorkerKind) -> WorkerId {
        self.started += 1;
        let id = WorkerId(self.started);
        let writing = Writing::default();
        let knows = BTreeSet::new();
        self.by_id.insert(id, Worker { kind, state: State::Starting, writing, knows });
        id
    }

    /// One is ready for a run, its first or the next one.
    pub(super) fn rest(&mut self, id: WorkerId, since: Time) {
        let worker = self.by_id.get_mut(&id).expect("a worker that rests is known");
        worker.state = State::Idle { since };
        self.idle.entry(worker.kind.clone()).or_default().push_back(id);
    }

    /// An idle or starting one ends by itself from now on.
    pub(super) fn retire(&mut self, id: WorkerId) {
        self.unlist(id);
        let worker = self.by_id.get_mut(&id).expect("a worker that is retired is known");
        worker.state = State::Stopping;
        self.ending += 1;
    }

    /// A busy one is killed. `expired` says why, if its time was up.
    pub(super) fn condemn(&mut self, id: WorkerId, expired: Option<Expired>) {
        let run = self.end_run(id);
        let grant = (run.phase == Phase::Running).then_some(run.grant);
        let worker = self.by_id.get_mut(&id).expect("a worker that ran is known");
        worker.state = State::Dying(Dying { grant, expired });
        self.ending += 1;
    }

    /// Nobody wants to know any more why one is being killed.
    pub(super) fn forgive(&mut self, id: WorkerId) {
        if let Some(State::Dying(dying)) = self.by_id.get_mut(&id).map(|worker| &mut worker.state) {
            dying.expired = None;
        }
    }

    /// One is gone.
    pub(super) fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        if self.run(id).is_some() {
            self.leave_run(id);
        }
        self.unlist(id);
        let worker = self.by_id.remove(&id)?;
        self.ending -= usize::from(worker.is_ending());
        Some(worker)
    }

    /// Takes an idle one out of the list.
    fn unlist(&mut self, id: WorkerId) {
        let Some(Worker { state: State::Idle { .. }, kind, .. }) = self.by_id.get(&id) else {
            return;
        };
        let list = self.idle.get_mut(kind).expect("an idle worker is listed");
        list.retain(|listed| *listed != id);
        if list.is_empty() {
            self.idle.remove(kind);
        }
    }
}

/// How many there are, and should be.
impl Workers {
    /// A successor of this kind is needed, when there are too few.
    pub(super) fn miss(&mut self, kind: WorkerKind) {
        self.lost.push_back(kind);
    }

    /// The kind of which one must be started now, if any.
    pub(super) fn wanted(&mut self) -> Option<WorkerKind> {
        let is_short = |(kind, tasks): &(&WorkerKind, &BTreeMap<u64, TaskId>)| {
            tasks.len() > self.starting(kind)
        };
        if let Some((kind, _)) = self.placed.iter().find(is_short) {
            return Some(kind.clone());
        }
        if self.live() >= self.slots {
            self.lost.clear();
            return None;
        }
        // Ahead of tasks they start one after the other: together they would make each other late,
        // the first one and the program that waits for it above all.
        if self.by_id.values().any(|worker| matches!(worker.state, State::Starting)) {
            return None;
        }
        let ahead = WorkerKind { threads: 1, gpus: Vec::new() };
        Some(self.lost.pop_front().unwrap_or(ahead))
    }

    /// The idle one that makes place for a new one of `kind`, if there must be one.
    pub(super) fn displaced_by(&self, kind: &WorkerKind) -> Option<WorkerId> {
        let is_full = self.live() - self.waiting >= self.slots;
        is_full.then(|| self.longest_idle(|other| other != kind)).flatten()
    }

    /// The one that has been idle the longest, if more are than need be and it has been long.
    pub(super) fn surplus(&self, now: Time) -> Option<WorkerId> {
        let (since, id) = self.first_surplus()?;
        (since + LINGER <= now).then_some(id)
    }

    /// When the next one has been idle for long, if more are than need be.
    pub(super) fn next_surplus(&self) -> Option<Time> {
        self.first_surplus().map(|(since, _)| since + LINGER)
    }

    /// Whether workers die before they are ready, and there is nobody else for what they are for.
    pub(super) fn is_hopeless(&self, kind: &WorkerKind) -> bool {
        let may_serve = |worker: &Worker| worker.kind == *kind && worker.may_become_idle();
        let is_needed = self.placed.contains_key(kind);
        self.live() == 0 || is_needed && !self.by_id.values().any(may_serve)
    }

    fn live(&self) -> usize {
        self.by_id.len() - self.ending
    }

    fn starting(&self, kind: &WorkerKind) -> usize {
        let is_starting =
            |worker: &&Worker| matches!(worker.state, State::Starting) && worker.kind == *kind;
        self.by_id.values().filter(is_starting).count()
    }

    fn first_surplus(&self) -> Option<(Time, WorkerId)> {
        let idle: usize = self.idle.values().map(VecDeque::len).sum();
        (idle > self.slots).then(|| self.first_idle(|_| true)).flatten()
    }

    fn longest_idle(&self, serves: impl Fn(&WorkerKind) -> bool) -> Option<WorkerId> {
        self.first_idle(serves).map(|(_, id)| id)
    }

    /// The one of these that has been idle the longest, and since when.
    fn first_idle(&self, serves: impl Fn(&WorkerKind) -> bool) -> Option<(Time, WorkerId)> {
        let lists = self.idle.iter().filter(|(kind, _)| serves(kind));
        let firsts = lists.filter_map(|(_, list)| list.front());
        let since = |id: &WorkerId| match self.by_id[id].state {
            State::Idle { since } => (since, *id),
            _ => unreachable!("listed workers are idle"),
        };
        firsts.map(since).min()
    }
}

/// What they run.
impl Workers {
    /// The run of a busy one.
    pub(super) fn run(&self, worker: WorkerId) -> Option<&Run> {
        match &self.by_id.get(&worker)?.state {
            State::Busy(run) => Some(run),
            _ => None,
        }
    }

    /// A task with room waits for a worker of `kind`.
    pub(super) fn expect_worker(&mut self, kind: WorkerKind, order: u64, task: TaskId) {
        self.placed.entry(kind).or_default().insert(order, task);
    }

    /// A task waits no more.
    pub(super) fn give_up_waiting(&mut self, kind: &WorkerKind, order: u64) {
        let tasks = self.placed.get_mut(kind).expect("a placed task waits for its kind");
        tasks.remove(&order);
        if tasks.is_empty() {
            self.placed.remove(kind);
        }
    }

    /// A task that has waited for a worker of a kind of which one is idle now.
    pub(super) fn first_served(&self) -> Option<TaskId> {
        let mut served = self.placed.iter().filter(|(kind, _)| self.idle.contains_key(kind));
        served.find_map(|(_, tasks)| tasks.values().next().copied())
    }

    /// The idle one of this kind that ran last: its memory is warm.
    pub(super) fn take_idle(&mut self, kind: &WorkerKind) -> Option<WorkerId> {
        let list = self.idle.get_mut(kind)?;
        let id = list.pop_back();
        if list.is_empty() {
            self.idle.remove(kind);
        }
        id
    }

    /// A name for a new run.
    pub(super) fn next_run(&mut self) -> RunId {
        self.runs += 1;
        RunId(self.runs)
    }

    /// A worker must know a definition. True if it was not told before.
    pub(super) fn learn(&mut self, id: WorkerId, definition: DefinitionId) -> bool {
        self.by_id.get_mut(&id).is_some_and(|worker| worker.knows.insert(definition))
    }

    /// Nobody needs this definition any more: the workers that were told it.
    pub(super) fn forget(&mut self, definition: DefinitionId) -> Vec<WorkerId> {
        let knowing = self.by_id.iter_mut().filter_map(|(id, worker)| {
            let is_told = worker.knows.remove(&definition) && !worker.is_ending();
            is_told.then_some(*id)
        });
        knowing.collect()
    }

    /// One that was taken from the idle ones runs a task from now on.
    pub(super) fn begin_run(&mut self, id: WorkerId, run: Run) {
        self.expiries.extend(run.expires.map(|expires| (expires, id)));
        let worker = self.by_id.get_mut(&id).expect("an idle worker is known");
        worker.writing.begin();
        worker.state = State::Busy(run);
    }

    /// A busy one runs nothing any more. Its next state follows at once.
    pub(super) fn end_run(&mut self, id: WorkerId) -> Run {
        self.leave_run(id);
        let worker = self.by_id.get_mut(&id).expect("a busy worker is known");
        match core::mem::replace(&mut worker.state, State::Stopping) {
            State::Busy(run) => run,
            other => unreachable!("only a busy worker ends a run: {other:?}"),
        }
    }

    /// One whose time is up at `now`.
    pub(super) fn first_expired(&self, now: Time) -> Option<WorkerId> {
        let (expires, id) = self.expiries.first()?;
        (*expires <= now).then_some(*id)
    }

    /// When the next one's time is up.
    pub(super) fn next_expiry(&self) -> Option<Time> {
        self.expiries.first().map(|(expires, _)| *expires)
    }

    /// Takes a busy one out of the lists of those that wait.
    fn leave_run(&mut self, id: WorkerId) {
        let Some(run) = self.run(id) else { return };
        let (phase, expires) = (run.phase, run.expires);
        if let Some(expires) = expires {
            self.expiries.remove(&(expires, id));
        }
        if phase == Phase::Resuming {
            self.resuming.retain(|resuming| *resuming != id);
        }
        self.waiting -= usize::from(phase != Phase::Running);
    }
}

/// Which of them wait.
impl Workers {
    /// How many runs do not have their resources.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The run that gave its resources back first among those that would go on.
    pub(super) fn first_resuming(&self) -> Option<(WorkerId, &Run)> {
        let id = *self.resuming.front()?;
        self.run(id).map(|run| (id, run))
    }

    /// A run moves on to another phase.
    pub(super) fn enter_phase(&mut self, id: WorkerId, next: Phase) {
        let Some(State::Busy(run)) = self.by_id.get_mut(&id).map(|worker| &mut worker.state) else {
            return;
        };
        let last = core::mem::replace(&mut run.phase, next);
        if last == Phase::Resuming {
            self.resuming.retain(|resuming| *resuming != id);
        }
        if next == Phase::Resuming {
            self.resuming.push_back(id);
        }
        self.waiting += usize::from(next != Phase::Running);
        self.waiting -= usize::from(last != Phase::Running);
    }
}

impl Workers {
    /// Panics if the lists and counts are not what the states say.
    pub(super) fn sanity_check(&self) {
        for (kind, list) in &self.idle {
            assert!(!list.is_empty(), "an empty list goes");
            for id in list {
                let worker = &self.by_id[id];
                assert!(matches!(worker.state, State::Idle { .. }) && worker.kind == *kind);
            }
        }
        let count = |is: fn(&Worker) -> bool| self.by_id.values().filter(|it| is(it)).count();
        let idle = count(|worker| matches!(worker.state, State::Idle { .. }));
        assert_eq!(idle, self.idle.values().map(VecDeque::len).sum(), "idle workers are listed");
        assert_eq!(self.ending, count(Worker::is_ending), "ending workers are counted");
        let in_phase = |phase: Phase| {
            let runs = self.by_id.keys().filter_map(|id| self.run(*id));
            runs.filter(|run| run.phase == phase).count()
        };
        assert_eq!(self.resuming.len(), in_phase(Phase::Resuming), "resuming runs are queued");
        assert_eq!(self.waiting, self.resuming.len() + in_phase(Phase::Waiting));
        let expiring = self.by_id.keys().filter_map(|id| Some((self.run(*id)?.expires?, *id)));
        assert_eq!(self.expiries, expiring.collect(), "runs with a timeout are watched");
    }
}

//! The worker processes: who is starting, idle, busy or ending, and what each knows.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::id::{DefinitionId, RunId, TaskId, WorkerId};
use crate::time::Time;

use super::WorkerKind;
use super::output::Writing;
use super::room::Grant;

mod queues;
mod running;

pub(super) use queues::Begun;
pub(super) use running::{Phase, Run, Wish};

/// How long a worker beyond the slots may idle. Tasks that wait for their children come and go, and
/// each worker that is there already saves the start of an interpreter.
const LINGER: Duration = Duration::from_secs(2);

/// A worker process.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) kind: WorkerKind,
    pub(super) state: State,
    /// What it was sent and has not answered, in that order. It runs the first, or a later one if
    /// answers are still on their way; the others are its queue.
    pub(super) runs: VecDeque<Run>,
    pub(super) writing: Writing,
    /// The last run that it was ever sent.
    sent: RunId,
    /// The run that it answered last.
    answered: RunId,
    /// The run that it had begun last when it was last asked for its queue.
    begun: RunId,
    /// How long those behind the first take, as far as is known.
    queued_nanos: u64,
    /// Up to which run it is being asked for what it has not begun.
    asked_back: Option<RunId>,
    /// Whether it is among those whose queues want more.
    is_hungry: bool,
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
    /// It runs tasks.
    Busy(Busy),
    /// It was told to stop, or said that it ends.
    Stopping,
    /// It is being killed.
    Dying(Dying),
}

/// What goes for all runs of a worker together: one after the other, they use the same room.
#[derive(Debug)]
pub(super) struct Busy {
    pub(super) grant: Grant,
    /// Of the first run. The others are not begun before that is over.
    pub(super) phase: Phase,
    /// When the first run was sent, or the one before it was answered.
    pub(super) heard: Time,
    pub(super) expires: Option<Time>,
    /// Whether nothing may be queued behind the first run.
    pub(super) is_closed: bool,
    /// Whether the first run waits for an answer whether it may wait: not before the queue is empty.
    pub(super) asks_to_wait: bool,
}

/// What is left to do when a killed worker is gone.
#[derive(Debug)]
pub(super) struct Dying {
    /// What it holds until then.
    pub(super) grant: Option<Grant>,
    /// How long its run had run, if it is killed because its time was up.
    pub(super) expired: Option<Duration>,
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
    /// Those whose queues want more.
    hungry: BTreeSet<WorkerId>,
    /// How many runs stand in queues.
    queued: usize,
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

impl Worker {
    /// What it holds now, running or being killed.
    pub(super) fn held(&self) -> Option<&Grant> {
        match &self.state {
            State::Busy(busy) => (busy.phase == Phase::Running).then_some(&busy.grant),
            State::Dying(dying) => dying.grant.as_ref(),
            State::Starting | State::Idle { .. } | State::Stopping => None,
        }
    }

    /// Whether it takes another run without the help of others.
    fn may_become_idle(&self) -> bool {
        match &self.state {
            State::Starting | State::Idle { .. } => true,
            State::Busy(busy) => busy.phase != Phase::Waiting,
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
            hungry: BTreeSet::new(),
            queued: 0,
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
        let worker = Worker {
            kind,
            state: State::Starting,
            runs: VecDeque::new(),
            writing: Writing::default(),
            sent: RunId::default(),
            answered: RunId::default(),
            begun: RunId::default(),
            queued_nanos: 0,
            asked_back: None,
            is_hungry: false,
            knows: BTreeSet::new(),
        };
        self.by_id.insert(id, worker);
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

    /// A busy one is killed. `expired` says how long its run has run, if its time was up.
    pub(super) fn condemn(&mut self, id: WorkerId, expired: Option<Duration>) {
        let busy = self.stop_running(id);
        let grant = (busy.phase == Phase::Running).then_some(busy.grant);
        let worker = self.by_id.get_mut(&id).expect("a worker that ran is known");
        worker.state = State::Dying(Dying { grant, expired });
        self.ending += 1;
    }

    /// One is gone.
    pub(super) fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        self.leave_busy(id);
        self.unlist(id);
        let worker = self.by_id.remove(&id)?;
        self.queued -= worker.runs.len().saturating_sub(1);
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
        self.check_running();
        self.check_queues();
    }
}

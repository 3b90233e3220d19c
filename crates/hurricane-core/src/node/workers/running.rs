//! What workers run: from the first run of an idle one to the answer of its last.

use core::time::Duration;

use crate::id::{Attempt, DefinitionId, RunId, TaskId, WorkerId};
use crate::time::Time;

use super::super::WorkerKind;
use super::super::room::Grant;
use super::{Busy, State, Worker, Workers};

/// A task under way in a worker.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Run {
    pub(in super::super) id: RunId,
    pub(in super::super) task: TaskId,
    pub(in super::super) attempt: Attempt,
    pub(in super::super) definition: DefinitionId,
    /// How long it takes, in nanoseconds; none if it may neither be queued nor have others behind it.
    pub(in super::super) expected_nanos: Option<u64>,
    pub(in super::super) wish: Wish,
    /// Whether its task has spoken in the part of a client, which no second run may do again.
    pub(in super::super) has_spoken: bool,
}

/// What is to become of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Wish {
    /// Its end is awaited.
    Wanted,
    /// The scheduler wants its task back, if it has not begun.
    WantedBack,
    /// Its task is here no more.
    Abandoned,
}

/// Whether a run has its resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Phase {
    /// It has them.
    Running,
    /// It gave them back and waits for its children.
    Waiting,
    /// Its children are done and it waits for its resources.
    Resuming,
}

impl Worker {
    /// The run that must be answered next.
    pub(in super::super) fn first_run(&self) -> Option<&Run> {
        self.runs.front()
    }

    pub(in super::super) fn busy(&self) -> Option<&Busy> {
        match &self.state {
            State::Busy(busy) => Some(busy),
            _ => None,
        }
    }

    pub(super) fn busy_mut(&mut self) -> Option<&mut Busy> {
        match &mut self.state {
            State::Busy(busy) => Some(busy),
            _ => None,
        }
    }

    /// The task of one of its runs, if somebody wants to know what becomes of that.
    pub(in super::super) fn task_of(&self, run: RunId) -> Option<(TaskId, Attempt)> {
        let is_it = |other: &&Run| other.id == run && other.wish != Wish::Abandoned;
        let run = self.runs.iter().find(is_it)?;
        Some((run.task, run.attempt))
    }
}

impl Workers {
    /// The run of a busy one that must be answered next, if anybody wants its answer.
    pub(in super::super) fn run(&self, worker: WorkerId) -> Option<&Run> {
        let worker = self.by_id.get(&worker)?;
        worker.busy()?;
        worker.first_run().filter(|run| run.wish != Wish::Abandoned)
    }

    /// The phase of the run of a busy one.
    pub(in super::super) fn phase(&self, worker: WorkerId) -> Option<Phase> {
        self.run(worker)?;
        self.by_id.get(&worker)?.busy().map(|busy| busy.phase)
    }

    /// The first run of a worker speaks in the part of a client. What defines it, the first time.
    pub(in super::super) fn note_nesting(&mut self, id: WorkerId) -> Option<DefinitionId> {
        let first = self.by_id.get_mut(&id)?.runs.front_mut()?;
        if core::mem::replace(&mut first.has_spoken, true) {
            return None;
        }
        let definition = first.definition;
        self.close(id);
        Some(definition)
    }

    /// The first run of a busy one would wait. Whether that must be put off because of its queue.
    pub(in super::super) fn asks_to_wait(&mut self, id: WorkerId) -> bool {
        let Some(worker) = self.by_id.get_mut(&id) else { return false };
        let has_queue = worker.runs.len() > 1;
        if let Some(busy) = worker.busy_mut() {
            busy.asks_to_wait = has_queue;
        }
        has_queue
    }

    /// A task with room waits for a worker of `kind`.
    pub(in super::super) fn expect_worker(&mut self, kind: WorkerKind, order: u64, task: TaskId) {
        self.placed.entry(kind).or_default().insert(order, task);
    }

    /// A task waits no more.
    pub(in super::super) fn give_up_waiting(&mut self, kind: &WorkerKind, order: u64) {
        let tasks = self.placed.get_mut(kind).expect("a placed task waits for its kind");
        tasks.remove(&order);
        if tasks.is_empty() {
            self.placed.remove(kind);
        }
    }

    /// A task that has waited for a worker of a kind of which one is idle now.
    pub(in super::super) fn first_served(&self) -> Option<TaskId> {
        let mut served = self.placed.iter().filter(|(kind, _)| self.idle.contains_key(kind));
        served.find_map(|(_, tasks)| tasks.values().next().copied())
    }

    /// The idle one of this kind that ran last: its memory is warm.
    pub(in super::super) fn take_idle(&mut self, kind: &WorkerKind) -> Option<WorkerId> {
        let list = self.idle.get_mut(kind)?;
        let id = list.pop_back();
        if list.is_empty() {
            self.idle.remove(kind);
        }
        id
    }

    /// A name for a new run. Its lower half is never zero: to a worker's ledger that means none.
    pub(in super::super) fn next_run(&mut self) -> RunId {
        self.runs += 1;
        if self.runs.trailing_zeros() >= u32::BITS {
            self.runs += 1;
        }
        RunId(self.runs)
    }

    /// A worker must know a definition. True if it was not told before.
    pub(in super::super) fn learn(&mut self, id: WorkerId, definition: DefinitionId) -> bool {
        self.by_id.get_mut(&id).is_some_and(|worker| worker.knows.insert(definition))
    }

    /// Nobody needs this definition any more: the workers that were told it.
    pub(in super::super) fn forget(&mut self, definition: DefinitionId) -> Vec<WorkerId> {
        let knowing = self.by_id.iter_mut().filter_map(|(id, worker)| {
            let is_told = worker.knows.remove(&definition) && !worker.is_ending();
            is_told.then_some(*id)
        });
        knowing.collect()
    }

    /// One that was taken from the idle ones runs a task from now on, for at most `timeout`.
    pub(in super::super) fn begin_run(
        &mut self,
        id: WorkerId,
        run: Run,
        grant: Grant,
        now: Time,
        timeout: Option<Duration>,
    ) {
        let expires = timeout.map(|timeout| now + timeout);
        self.expiries.extend(expires.map(|expires| (expires, id)));
        let worker = self.by_id.get_mut(&id).expect("an idle worker is known");
        debug_assert!(worker.runs.is_empty(), "an idle worker has answered everything");
        worker.state = State::Busy(Busy {
            grant,
            phase: Phase::Running,
            heard: now,
            expires,
            is_closed: run.expected_nanos.is_none(),
            asks_to_wait: false,
        });
        worker.sent = run.id;
        worker.runs.push_back(run);
        self.look_at_hunger(id);
    }

    /// A worker says that a run is over. None if that is not the one that must be answered next.
    pub(in super::super) fn answer(&mut self, id: WorkerId, run: RunId, now: Time) -> Option<Run> {
        let worker = self.by_id.get_mut(&id)?;
        let first = *worker.first_run().filter(|first| first.id == run)?;
        match &mut worker.state {
            State::Busy(busy) => busy.heard = now,
            // What is late, or was cancelled, is not wanted; what was over before may be.
            State::Dying(dying) if dying.expired.is_none() && first.wish != Wish::Abandoned => {}
            _ => return None,
        }
        worker.runs.pop_front();
        worker.answered = run;
        if let Some(next) = worker.runs.front() {
            self.queued -= 1;
            let expected = next.expected_nanos;
            worker.queued_nanos -= expected.unwrap_or_default();
            if let Some(busy) = worker.busy_mut() {
                busy.is_closed = expected.is_none();
                busy.asks_to_wait = false;
            }
            self.look_at_hunger(id);
        }
        Some(first)
    }

    /// A busy one runs nothing any more. Its next state follows at once.
    pub(in super::super) fn stop_running(&mut self, id: WorkerId) -> Busy {
        self.leave_busy(id);
        let worker = self.by_id.get_mut(&id).expect("a busy worker is known");
        match core::mem::replace(&mut worker.state, State::Stopping) {
            State::Busy(busy) => busy,
            other => unreachable!("only a busy worker stops running: {other:?}"),
        }
    }

    /// One whose time is up at `now`.
    pub(in super::super) fn first_expired(&self, now: Time) -> Option<WorkerId> {
        let (expires, id) = self.expiries.first()?;
        (*expires <= now).then_some(*id)
    }

    /// When the next one's time is up.
    pub(in super::super) fn next_expiry(&self) -> Option<Time> {
        self.expiries.first().map(|(expires, _)| *expires)
    }

    /// Takes a busy one out of the lists.
    pub(super) fn leave_busy(&mut self, id: WorkerId) {
        let Some(worker) = self.by_id.get_mut(&id) else { return };
        let Some(busy) = worker.busy() else { return };
        let (phase, expires) = (busy.phase, busy.expires);
        if worker.is_hungry {
            worker.is_hungry = false;
            self.hungry.remove(&id);
        }
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
    pub(in super::super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The run that gave its resources back first among those that would go on, and what it needs.
    pub(in super::super) fn first_resuming(&self) -> Option<(WorkerId, &Run, &Grant)> {
        let id = *self.resuming.front()?;
        let worker = self.by_id.get(&id)?;
        Some((id, worker.first_run()?, &worker.busy()?.grant))
    }

    /// A run moves on to another phase.
    pub(in super::super) fn enter_phase(&mut self, id: WorkerId, next: Phase) {
        let Some(busy) = self.by_id.get_mut(&id).and_then(Worker::busy_mut) else { return };
        let last = core::mem::replace(&mut busy.phase, next);
        if last == Phase::Resuming {
            self.resuming.retain(|resuming| *resuming != id);
        }
        if next == Phase::Resuming {
            self.resuming.push_back(id);
        }
        self.waiting += usize::from(next != Phase::Running);
        self.waiting -= usize::from(last != Phase::Running);
    }

    /// Panics if the lists and counts of those that run and wait are not what the states say.
    pub(super) fn check_running(&self) {
        let busy = || self.by_id.iter().filter_map(|(id, worker)| Some((*id, worker.busy()?)));
        let in_phase = |phase: Phase| busy().filter(|(_, busy)| busy.phase == phase).count();
        assert_eq!(self.resuming.len(), in_phase(Phase::Resuming), "resuming runs are listed");
        assert_eq!(self.waiting, self.resuming.len() + in_phase(Phase::Waiting));
        let expiring = busy().filter_map(|(id, busy)| Some((busy.expires?, id)));
        assert_eq!(self.expiries, expiring.collect(), "runs with a timeout are watched");
    }
}

//! The queues of workers: runs that were sent before those in front of them were answered, so that a
//! worker goes on without waiting for its node.

use core::time::Duration;
use std::collections::VecDeque;

use crate::id::{RunId, TaskId, WorkerId};
use crate::time::Time;

use super::super::definitions::nanos;
use super::super::room::Grant;
use super::running::Phase;
use super::{Run, State, Wish, Worker, Workers};

/// How much work may stand in a queue: a hundred times what a worker would wait for its node, and
/// little enough that neither a task of larger priority nor the end of a job is held up.
const QUEUED: Duration = Duration::from_millis(2);

/// How many runs may stand in a queue. Of tasks that take no time at all, the worker answers as many
/// at once, and that is what a wake-up of the node is spread over.
const MAX_QUEUED: usize = 256;

/// A queue of so much work is shared with a worker that has none. For less, taking it back and
/// sending it again costs more than it saves.
const SHARED: Duration = Duration::from_micros(500);

/// How long a worker may be silent beyond what its first run should take, before its queue is given to
/// others: longer than what a worker that is kept from its processor for a moment needs, and than
/// it takes to send answers on that have gathered.
const SILENCE: Duration = Duration::from_millis(10);

/// What a worker that was asked for its queue, or is gone, had begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Begun {
    /// This run last.
    Run(RunId),
    /// None of those that it had not answered.
    Earlier,
    /// It says what cannot be.
    Nonsense,
}

/// Filling them.
impl Workers {
    /// The one with the shortest queue among those that want more, and what its runs use.
    pub(in super::super) fn hungriest(&self) -> Option<(WorkerId, &Grant)> {
        let work = |id: &WorkerId| self.by_id.get(id).map(|worker| (worker.queued_nanos, *id));
        let (_, id) = self.hungry.iter().filter_map(work).min()?;
        self.by_id[&id].busy().map(|busy| (id, &busy.grant))
    }

    /// Whether a run that takes so long may join the queue of one that wants more. If not, it wants
    /// nothing for now.
    pub(in super::super) fn takes(&mut self, id: WorkerId, expected_nanos: u64) -> bool {
        let worker = &self.by_id[&id];
        let work = worker.queued_nanos.saturating_add(expected_nanos);
        let is_alone = worker.runs.len() == 1;
        let takes = worker.runs.len() <= MAX_QUEUED && (is_alone || work <= nanos(QUEUED));
        if !takes {
            self.sate(id);
        }
        takes
    }

    /// A run joins the queue of a worker that takes it.
    pub(in super::super) fn queue(&mut self, id: WorkerId, run: Run) {
        let worker = self.by_id.get_mut(&id).expect("a worker that wants more is known");
        worker.queued_nanos =
            worker.queued_nanos.saturating_add(run.expected_nanos.unwrap_or_default());
        worker.runs.push_back(run);
        self.queued += 1;
    }

    /// Nothing may join the queue of a busy one until its first run is answered.
    pub(in super::super) fn close(&mut self, id: WorkerId) {
        if let Some(busy) = self.by_id.get_mut(&id).and_then(Worker::busy_mut) {
            busy.is_closed = true;
        }
        self.sate(id);
    }

    /// A worker wants more if its queue is half empty, and what stands before it is short.
    pub(super) fn look_at_hunger(&mut self, id: WorkerId) {
        let Some(worker) = self.by_id.get_mut(&id) else { return };
        let is_low =
            worker.runs.len() <= MAX_QUEUED / 2 && worker.queued_nanos <= nanos(QUEUED) / 2;
        if worker.is_hungry || !is_low || !worker.is_open() {
            return;
        }
        worker.is_hungry = true;
        self.hungry.insert(id);
    }

    fn sate(&mut self, id: WorkerId) {
        if let Some(worker) = self.by_id.get_mut(&id) {
            worker.is_hungry = false;
            self.hungry.remove(&id);
        }
    }
}

/// Emptying them.
impl Workers {
    /// Whether anything stands in a queue.
    pub(in super::super) fn have_queues(&self) -> bool {
        self.queued > 0
    }

    /// Whether something stands in a queue while a worker is idle.
    pub(in super::super) fn could_share(&self) -> bool {
        self.queued > 0 && !self.idle.is_empty()
    }

    /// Whether a worker is being asked for its queue. What is in it came before all that is ready.
    pub(in super::super) fn are_asked_back(&self) -> bool {
        let is_asked = |worker: &Worker| worker.asked_back.is_some() && worker.busy().is_some();
        self.queued > 0 && self.by_id.values().any(is_asked)
    }

    /// A worker is to be asked for what it has not begun. The last run that it was sent; none if it
    /// has no queue, or is being asked already.
    pub(in super::super) fn ask_back(&mut self, id: WorkerId) -> Option<RunId> {
        let worker = self.by_id.get_mut(&id)?;
        if worker.runs.len() < 2 || worker.asked_back.is_some() {
            return None;
        }
        worker.asked_back = worker.runs.back().map(|run| run.id);
        self.sate(id);
        self.by_id[&id].asked_back
    }

    /// The queue with the most work that is worth sharing.
    pub(in super::super) fn longest_queue(&self) -> Option<(WorkerId, &Grant)> {
        let is_worth =
            |worker: &Worker| worker.asked_back.is_none() && worker.queued_nanos >= nanos(SHARED);
        let busy = self.by_id.iter().filter(|(_, worker)| is_worth(worker));
        let (id, worker) = busy.max_by_key(|(_, worker)| worker.queued_nanos)?;
        worker.busy().map(|busy| (*id, &busy.grant))
    }

    /// Whether one of the same kind could take a worker's queue: it is idle, or open.
    pub(in super::super) fn have_other_than(&self, id: WorkerId) -> bool {
        let Some(worker) = self.by_id.get(&id) else { return false };
        let serves = |other: &Worker| {
            other.kind == worker.kind
                && (matches!(other.state, State::Idle { .. }) || other.is_open())
        };
        self.by_id.iter().any(|(other_id, other)| *other_id != id && serves(other))
    }

    /// Those that have a queue, and have been silent for too long.
    pub(in super::super) fn silent(&self, now: Time) -> Vec<WorkerId> {
        let is_silent = |worker: &Worker| {
            let expected = worker.first_run().and_then(|run| run.expected_nanos);
            let expected = Duration::from_nanos(expected.unwrap_or_default());
            worker.runs.len() > 1
                && worker.asked_back.is_none()
                && worker.busy().is_some_and(|busy| busy.heard + (expected + SILENCE) <= now)
        };
        let silent = self.by_id.iter().filter(|(_, worker)| is_silent(worker));
        silent.map(|(id, _)| *id).collect()
    }

    /// A worker has answered how far it had begun, of the runs up to `last`. Takes out what it had
    /// not, in order.
    pub(in super::super) fn revoke(
        &mut self,
        id: WorkerId,
        last: RunId,
        begun: Option<RunId>,
    ) -> Vec<Run> {
        let Some(worker) = self.by_id.get_mut(&id) else { return Vec::new() };
        worker.asked_back.take_if(|asked| *asked == last);
        let begun = begun.unwrap_or_default();
        let mut start = worker.runs.partition_point(|run| run.id <= begun);
        if start == 0 && worker.first_has_begun() {
            // Whatever it says.
            start = 1;
        }
        let end = worker.runs.partition_point(|run| run.id <= last).max(start);
        let before = worker.runs.len().saturating_sub(1);
        let start = start.min(end).min(worker.runs.len());
        let revoked: Vec<Run> = worker.runs.drain(start..end.min(worker.runs.len())).collect();
        self.queued -= before - worker.runs.len().saturating_sub(1);
        worker.queued_nanos = work_behind_first(&worker.runs);
        self.look_at_hunger(id);
        revoked
    }
}

impl Worker {
    /// Whether something may join its queue now or soon.
    fn is_open(&self) -> bool {
        let is_open = self.busy().is_some_and(|busy| {
            !busy.is_closed && !busy.asks_to_wait && busy.phase == Phase::Running
        });
        is_open && self.asked_back.is_none()
    }

    /// Whether its first run has begun for certain: it was seen to.
    fn first_has_begun(&self) -> bool {
        let has_spoken = self.first_run().is_some_and(|run| run.has_spoken);
        match &self.state {
            State::Busy(busy) => has_spoken || busy.phase != Phase::Running,
            State::Dying(dying) => has_spoken || dying.expired.is_some(),
            _ => has_spoken,
        }
    }

    /// How far a worker that is gone had begun what it had not answered, by what it said itself.
    pub(in super::super) fn begun(&self, begun: Option<RunId>) -> Begun {
        let Some(first) = self.first_run() else { return Begun::Earlier };
        match begun {
            Some(run) if self.runs.iter().any(|other| other.id == run) => Begun::Run(run),
            Some(run) if run > first.id => Begun::Nonsense,
            _ if self.first_has_begun() => Begun::Nonsense,
            _ => Begun::Earlier,
        }
    }

    /// The run of a task.
    pub(in super::super) fn run_of(&mut self, task: TaskId) -> Option<&mut Run> {
        let is_it = |run: &&mut Run| run.task == task && run.wish != Wish::Abandoned;
        self.runs.iter_mut().find(is_it)
    }
}

impl Workers {
    /// Panics if what is counted of the queues is not what is there.
    pub(super) fn check_queues(&self) {
        let behind = |worker: &Worker| worker.runs.len().saturating_sub(1);
        let queued: usize = self.by_id.values().map(behind).sum();
        assert_eq!(self.queued, queued, "queued runs are counted");
        for (id, worker) in &self.by_id {
            assert_eq!(worker.queued_nanos, work_behind_first(&worker.runs), "of worker {id}");
            assert_eq!(worker.is_hungry, self.hungry.contains(id), "worker {id} is listed");
            assert!(behind(worker) <= MAX_QUEUED, "the queue of worker {id} is bounded");
            assert!(!worker.is_hungry || worker.busy().is_some(), "only busy ones want more");
            let is_sorted = worker.runs.iter().is_sorted_by_key(|run| run.id);
            assert!(is_sorted, "runs of worker {id} are answered in order");
            let mut queue = worker.runs.iter().skip(1);
            assert!(queue.all(|run| run.expected_nanos.is_some()), "only short runs are queued");
            let may_have_runs = matches!(worker.state, State::Busy(_) | State::Dying(_));
            assert!(may_have_runs || worker.runs.is_empty(), "worker {id} has runs");
            let is_busy = worker.busy().is_some();
            assert!(!is_busy || !worker.runs.is_empty(), "worker {id} is busy with nothing");
        }
    }
}

fn work_behind_first(runs: &VecDeque<Run>) -> u64 {
    let expected = |run: &Run| run.expected_nanos.unwrap_or_default();
    runs.iter().skip(1).map(expected).fold(0, u64::saturating_add)
}

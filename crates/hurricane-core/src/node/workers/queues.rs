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
    /// Those that take turns in queueing, if any of them wants more: who was sent a run longest ago
    /// comes first.
    pub(in super::super) fn turns(&self) -> VecDeque<WorkerId> {
        if self.hungry.is_empty() {
            return VecDeque::new();
        }
        let open = self.by_id.iter().filter(|(_, worker)| worker.is_open());
        let mut turns: Vec<_> = open.map(|(id, worker)| (worker.last_run(), *id)).collect();
        turns.sort_unstable();
        turns.into_iter().map(|(_, id)| id).collect()
    }

    /// A busy one, and what its runs use.
    pub(in super::super) fn granted(&self, id: WorkerId) -> Option<(WorkerId, &Grant)> {
        self.by_id.get(&id)?.busy().map(|busy| (id, &busy.grant))
    }

    /// Whether a run that takes so long may join the queue of one whose turn it is. If not, it wants
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
        worker.sent = run.id;
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

    /// Whether a worker is being asked for its queue. What is in it came before all that is ready.
    pub(in super::super) fn are_asked_back(&self) -> bool {
        let is_asked = |worker: &Worker| worker.asked_back.is_some() && worker.busy().is_some();
        self.queued > 0 && self.by_id.values().any(is_asked)
    }

    /// Those that have a queue are to be asked for what they have not begun, unless they are being
    /// asked already: each, and the last run that it was sent. One that was void stays so.
    pub(in super::super) fn ask_back(&mut self) -> Vec<(WorkerId, RunId)> {
        if self.queued == 0 {
            return Vec::new();
        }
        let mut asked = Vec::new();
        for (id, worker) in &mut self.by_id {
            let has_queue = worker.busy().is_some() && worker.runs.len() > 1;
            if has_queue && worker.asked_back.is_none() {
                worker.asked_back = Some(worker.sent);
                asked.push((*id, worker.sent));
            }
        }
        for (id, _) in &asked {
            self.sate(*id);
        }
        asked
    }

    /// Whether part of a queue should be an idle one's that `has_room` for it.
    pub(in super::super) fn has_idle_with_a_part(&self, has_room: impl Fn(&Grant) -> bool) -> bool {
        if self.queued == 0 || self.idle.is_empty() {
            return false;
        }
        let should_share = |worker: &Worker, idle: &WorkerId| {
            worker.has_long_queue() || worker.was_sent_out_of_turn(&self.by_id[idle])
        };
        let mut busy = self.by_id.values().filter_map(|worker| Some((worker, worker.busy()?)));
        busy.any(|(worker, busy)| {
            let idle = self.idle.get(&worker.kind).and_then(|idle| idle.back());
            idle.is_some_and(|idle| should_share(worker, idle)) && has_room(&busy.grant)
        })
    }

    /// Whether one whose turn it is has missed some, and something stands in the queue of another.
    pub(in super::super) fn has_missed_turns(&self, id: WorkerId) -> bool {
        let Some(first) = self.by_id.get(&id) else { return false };
        self.by_id.values().any(|other| other.was_sent_out_of_turn(first))
    }

    /// Whether one of the same kind can take a worker's queue, now or when it is free.
    pub(in super::super) fn have_other_than(&self, id: WorkerId) -> bool {
        let Some(worker) = self.by_id.get(&id) else { return false };
        let serves = |other: &Worker| {
            other.kind == worker.kind && matches!(other.state, State::Idle { .. } | State::Busy(_))
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
        worker.begun = begun.min(last);
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

    /// The last run that it has; when it is idle, that it had.
    fn last_run(&self) -> RunId {
        self.runs.back().map_or(self.answered, |run| run.id)
    }

    /// Whether something stands in its queue, as far as is known.
    fn has_queue(&self) -> bool {
        self.busy().is_some() && self.runs.len() > 1 && self.last_run() > self.begun
    }

    /// Whether it was sent more than one run since another was sent its last: then one of two tasks
    /// that wait for each other may stand behind the other.
    fn was_sent_out_of_turn(&self, other: &Self) -> bool {
        let before_last = self.runs.len().checked_sub(2).map(|place| self.runs[place].id);
        self.has_queue() && before_last.is_some_and(|run| run > other.last_run())
    }

    /// Whether its queue is long enough for an idle one to have a part of it.
    fn has_long_queue(&self) -> bool {
        let is_long = self.queued_nanos >= nanos(SHARED) || self.runs.len() > MAX_QUEUED / 2;
        self.has_queue() && is_long
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

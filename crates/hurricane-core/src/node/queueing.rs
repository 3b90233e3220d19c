//! Short tasks stand in queues in the workers, so that no worker waits for its node. Tasks go to the
//! workers by turns. Queues are taken back, all together, when others could run a part of them sooner,
//! and when one of them must not run.

use core::time::Duration;

use crate::id::{RunId, TaskId, WorkerId};
use crate::message::NodeToScheduler;
use crate::time::Time;

use super::room::Grant;
use super::workers::{Phase, Run, Wish};
use super::{Action, Node, Step};

/// How often queues are looked at for workers that are silent. Often enough that what stands behind
/// a task that takes unusually long is elsewhere before anybody notices; and it is only looked at
/// while there are queues.
const LOOK: Duration = Duration::from_millis(5);

/// When queues are next looked at.
#[derive(Debug, Default)]
pub(super) struct Look(Option<Time>);

impl Look {
    pub(super) fn deadline(&self) -> Option<Time> {
        self.0
    }
}

impl Node {
    /// Queues ready tasks in workers that run short ones, in the order of their assignment. One that
    /// may not be queued is not overtaken: workers become idle for it. The workers take turns: of two
    /// tasks that wait for each other, none stands behind the other.
    pub(super) fn queue_ready_tasks(&mut self, step: &mut Step) {
        if self.workers.first_resuming().is_some() || self.workers.are_asked_back() {
            return;
        }
        let mut turns = self.workers.turns();
        if turns.front().is_some_and(|first| self.workers.has_missed_turns(*first)) {
            return self.take_queues_back(step);
        }
        while let Some((worker, grant)) = turns.front().and_then(|id| self.workers.granted(*id)) {
            let first = self.tasks.first_ready(|asked| self.room.would_fit(asked, grant));
            let Some(id) = first else { return };
            let task = self.tasks.get(id).expect("a ready task is here");
            let expected =
                self.definitions.expected_nanos(task.definition_id, self.config.queues_after);
            let Some(expected) = expected else { return };
            if !grant.is_for(&task.definition.resources) {
                return;
            }
            if let Some(object) = self.first_lost_input(task) {
                self.lose_input(id, object, step);
                continue;
            }
            // It keeps its turn.
            if !self.workers.takes(worker, expected) {
                return;
            }
            let run = self.send_run(id, worker, step);
            self.workers.queue(worker, run);
            turns.rotate_left(1);
            self.look.0.get_or_insert(step.now + LOOK);
        }
    }

    /// Lets an idle worker have its part of the queues.
    pub(super) fn share_queues(&mut self, step: &mut Step) {
        let has_room = |grant: &Grant| self.room.fits_again(grant);
        if self.workers.has_idle_with_a_part(has_room) {
            self.take_queues_back(step);
        }
    }

    /// Takes the queues back when workers have been silent for too long, if there is anybody else for
    /// what stands behind their runs: it goes to those that are free first.
    pub(super) fn look_at_queues(&mut self, step: &mut Step) {
        if self.look.0.is_none_or(|due| due > step.now) {
            return;
        }
        let mut silent = self.workers.silent(step.now);
        silent.retain(|worker| self.workers.have_other_than(*worker));
        if !silent.is_empty() {
            for worker in silent {
                self.workers.close(worker);
            }
            self.take_queues_back(step);
        }
        self.look.0 = self.workers.have_queues().then_some(step.now + LOOK);
    }

    /// Asks all workers for what stands in their queues. Each answers by `Revoked`, and then all of it
    /// is given out anew: were it the queue of one, its tasks would stand behind later ones.
    pub(super) fn take_queues_back(&mut self, step: &mut Step) {
        for (worker, last) in self.workers.ask_back() {
            step.act(Action::Revoke { worker, last });
        }
    }

    /// What a worker had not begun is its no more.
    pub(super) fn on_queue_revoked(
        &mut self,
        worker: WorkerId,
        last: RunId,
        begun: Option<RunId>,
        step: &mut Step,
    ) {
        for run in self.workers.revoke(worker, last, begun) {
            self.make_ready_again(&run, step);
        }
        let Some(there) = self.workers.get_mut(worker) else { return };
        let Some(busy) = there.busy() else { return };
        let asks_to_wait = busy.asks_to_wait;
        let mut kept = Vec::new();
        for run in there.runs.iter_mut().filter(|run| run.wish == Wish::WantedBack) {
            run.wish = Wish::Wanted;
            kept.push((run.task, run.attempt));
        }
        let (count, is_over) = (there.runs.len(), there.runs.back().map(|run| run.wish));
        for (task, attempt) in kept {
            step.tell_scheduler(NodeToScheduler::Kept { task, attempt });
        }
        match is_over {
            None => self.rest_worker(worker, step),
            // It runs the last one that it has begun.
            Some(Wish::Abandoned) => self.kill(worker, None, step),
            Some(_) if asks_to_wait && count == 1 => self.let_wait(worker, step),
            Some(_) => {}
        }
    }

    /// A run has not begun, or its answer was lost: its task waits for room once more.
    pub(super) fn make_ready_again(&mut self, run: &Run, step: &mut Step) {
        let &Run { task, attempt, wish, .. } = run;
        match wish {
            Wish::Abandoned => {}
            Wish::Wanted => self.tasks.make_ready(task),
            Wish::WantedBack => {
                self.remove_task(task, step);
                step.tell_scheduler(NodeToScheduler::TakenBack { task, attempt });
            }
        }
    }

    /// A worker has answered everything, and is idle.
    pub(super) fn rest_worker(&mut self, worker: WorkerId, step: &mut Step) {
        let busy = self.workers.stop_running(worker);
        if busy.phase == Phase::Running {
            self.room.give_back(&busy.grant);
        }
        self.workers.rest(worker, step.now);
    }

    /// What a worker was sent is nobody's concern any more. If it may be running just that, it is
    /// killed.
    pub(super) fn abandon_run(&mut self, worker: WorkerId, task: TaskId, step: &mut Step) {
        let Some(there) = self.workers.get_mut(worker) else { return };
        let (is_busy, is_alone) = (there.busy().is_some(), there.runs.len() == 1);
        let Some(run) = there.run_of(task) else { return };
        run.wish = Wish::Abandoned;
        match (is_busy, is_alone) {
            (true, true) => self.kill(worker, None, step),
            (true, false) => self.take_queues_back(step),
            (false, _) => {}
        }
    }

    /// The scheduler wants back what a worker was sent. True if that can only be said when the worker
    /// has answered what it has begun.
    pub(super) fn want_back(&mut self, worker: WorkerId, task: TaskId, step: &mut Step) -> bool {
        let Some(there) = self.workers.get_mut(worker) else { return false };
        if there.busy().is_none() || there.runs.len() == 1 {
            return false;
        }
        if let Some(run) = there.run_of(task) {
            run.wish = Wish::WantedBack;
        }
        self.take_queues_back(step);
        true
    }
}

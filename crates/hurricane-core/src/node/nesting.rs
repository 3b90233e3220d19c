//! Nested tasks: a running task speaks in the part of a client, and waits for its children without
//! holding resources.

use crate::id::{Attempt, TaskId, WorkerId};
use crate::message::{ClientToScheduler, NodeToScheduler, NodeToWorker, SchedulerToClient, Value};

use super::tasks::Task;
use super::workers::{Phase, Run, Worker};
use super::{Node, Step};

/// How many tasks of a node may wait for their children at once. Each keeps a process alive that
/// does nothing, of some ten megabytes and more; a recursion deeper than this seldom ends.
pub const MAX_WAITING: u32 = 64;

impl Node {
    /// A running task waits for its children: others may have its room.
    pub(super) fn on_run_waiting(&mut self, worker: WorkerId, step: &mut Step) {
        if self.workers.phase(worker) == Some(Phase::Resuming) {
            // It went on before there was room, and waits again.
            self.workers.enter_phase(worker, Phase::Waiting);
            step.tell_worker(worker, NodeToWorker::MayWait);
            return;
        }
        if self.workers.phase(worker) != Some(Phase::Running) {
            return;
        }
        self.note_nesting(worker, step);
        // What stands behind it could be what it waits for.
        if !self.workers.asks_to_wait(worker) {
            self.let_wait(worker, step);
        }
    }

    /// A run without a queue waits, unless too many do.
    pub(super) fn let_wait(&mut self, worker: WorkerId, step: &mut Step) {
        if self.workers.waiting() >= MAX_WAITING as usize {
            step.tell_worker(worker, NodeToWorker::TooDeep { limit: MAX_WAITING });
            return;
        }
        let Some(&Run { task, attempt, .. }) = self.workers.run(worker) else { return };
        if let Some(grant) = self.workers.get(worker).and_then(Worker::held) {
            self.room.give_back(grant);
        }
        self.workers.enter_phase(worker, Phase::Waiting);
        step.tell_worker(worker, NodeToWorker::MayWait);
        step.tell_scheduler(NodeToScheduler::Waiting { task, attempt });
    }

    /// The children are done: the task goes on when there is room.
    pub(super) fn on_run_resuming(&mut self, worker: WorkerId) {
        if self.workers.phase(worker) == Some(Phase::Waiting) {
            self.workers.enter_phase(worker, Phase::Resuming);
        }
    }

    /// Lets the runs go on that have waited, strictly in their order: one that needs much room gets
    /// it before those behind it.
    pub(super) fn resume_runs(&mut self, step: &mut Step) {
        while let Some((worker, &Run { task, attempt, .. }, grant)) = self.workers.first_resuming()
        {
            if !self.room.retake(grant) {
                return;
            }
            self.workers.enter_phase(worker, Phase::Running);
            step.tell_worker(worker, NodeToWorker::Granted);
            step.tell_scheduler(NodeToScheduler::Resumed { task, attempt });
        }
    }

    pub(super) fn on_nested_said(
        &mut self,
        worker: WorkerId,
        message: ClientToScheduler,
        step: &mut Step,
    ) {
        let Some(&Run { task, attempt, .. }) = self.workers.run(worker) else { return };
        self.note_nesting(worker, step);
        let message = match message {
            ClientToScheduler::Put { number, value: Value::Inline(bytes) } => {
                ClientToScheduler::Put { number, value: self.value_of(bytes, step.actions) }
            }
            // What is stored is the node's to say: a task could name what belongs to others.
            ClientToScheduler::Put { value: Value::Stored(_), .. } => return,
            other => other,
        };
        step.tell_scheduler(NodeToScheduler::Nested { task, attempt, message });
    }

    pub(super) fn on_nested_answered(
        &mut self,
        task: TaskId,
        attempt: Attempt,
        message: SchedulerToClient,
        step: &mut Step,
    ) {
        let runner = self.tasks.of_attempt(task, attempt).and_then(Task::worker);
        if let Some(worker) = runner
            && self.workers.run(worker).is_some_and(|run| run.task == task)
        {
            step.tell_worker(worker, NodeToWorker::Nested(message));
        }
    }

    /// A running task speaks in the part of a client: whatever stands behind it must not wait for
    /// it, and none like it is queued again.
    pub(super) fn note_nesting(&mut self, worker: WorkerId, step: &mut Step) {
        if let Some(definition) = self.workers.note_nesting(worker) {
            self.definitions.note_nesting(definition);
            self.take_queues_back(step);
        }
    }
}

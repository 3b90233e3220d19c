//! Running tasks: from room and a worker to an end.

use core::time::Duration;

use bytes::Bytes;

use crate::id::{RunId, TaskId, WorkerId};
use crate::message::{
    Death, Failure, INLINE_LIMIT_BYTES, NodeToScheduler, NodeToWorker, Stream, Value,
};

use super::room::Grant;
use super::tasks::State;
use super::workers::{Run, Wish, Worker};
use super::{Action, Node, Step};

impl Node {
    /// Gives room to the ready tasks that fit, and workers where there are idle ones. None of them
    /// takes the room that a run needs which has waited.
    pub(super) fn place_ready_tasks(&mut self, step: &mut Step) {
        if self.workers.first_resuming().is_some() || self.workers.are_asked_back() {
            return;
        }
        while let Some(id) = self.tasks.first_ready(|resources| self.room.fits(resources)) {
            let lost = self.tasks.get(id).and_then(|task| self.first_lost_input(task));
            match lost {
                Some(object) => self.lose_input(id, object, step),
                None => self.place(id, step),
            }
        }
    }

    /// Starts the tasks whose worker is idle by now.
    pub(super) fn serve_placed_tasks(&mut self, step: &mut Step) {
        while let Some(id) = self.workers.first_served() {
            let task = self.tasks.get(id).expect("a placed task is here");
            let State::Placed(grant) = &task.state else {
                unreachable!("a task that waits for a worker has room: {:?}", task.state)
            };
            let grant = grant.clone();
            let kind = grant.kind();
            self.workers.give_up_waiting(&kind, task.order());
            let worker = self.workers.take_idle(&kind).expect("a worker of its kind is idle");
            self.start_run(id, worker, grant, step);
        }
    }

    pub(super) fn on_run_finished(
        &mut self,
        worker: WorkerId,
        run: RunId,
        result: Bytes,
        ran: Duration,
        step: &mut Step,
    ) {
        let Some(Run { task, attempt, .. }) = self.end_run(worker, run, ran, step) else { return };
        let value = self.value_of(result, step.actions);
        step.tell_scheduler(NodeToScheduler::Finished { task, attempt, value, ran });
    }

    pub(super) fn on_run_raised(
        &mut self,
        worker: WorkerId,
        run: RunId,
        exception: Bytes,
        ran: Duration,
        step: &mut Step,
    ) {
        let Some(Run { task, attempt, .. }) = self.end_run(worker, run, ran, step) else { return };
        let failure = Box::new(Failure::Raised(exception));
        step.tell_scheduler(NodeToScheduler::Failed { task, attempt, failure, ran });
    }

    /// Kills the workers of runs whose time is up. They fail when the worker is gone and its stack
    /// is known.
    pub(super) fn end_expired_runs(&mut self, step: &mut Step) {
        while let Some(worker) = self.workers.first_expired(step.now) {
            let busy = self.workers.get(worker).and_then(Worker::busy);
            let ran = step.now.since(busy.expect("what expires is a run").heard);
            self.kill(worker, Some(ran), step);
        }
    }

    /// Kills a busy worker.
    pub(super) fn kill(&mut self, worker: WorkerId, expired: Option<Duration>, step: &mut Step) {
        let dump_stack = expired.is_some();
        self.workers.condemn(worker, expired);
        step.act(Action::KillWorker { worker, dump_stack });
    }

    /// The worker of a run whose time was up is gone.
    pub(super) fn report_timeout(
        &mut self,
        run: &Run,
        ran: Duration,
        stack: Box<str>,
        step: &mut Step,
    ) {
        let Some(ended) = self.remove_task(run.task, step) else { return };
        let limit = ended.definition.timeout.unwrap_or(ran);
        let &Run { task, attempt, .. } = run;
        let failure = Box::new(Failure::TimedOut { limit, stack });
        step.tell_scheduler(NodeToScheduler::Failed { task, attempt, failure, ran });
    }

    /// The worker of a run is gone, and nobody here wanted it.
    pub(super) fn report_death(&mut self, run: &Run, death: Death, step: &mut Step) {
        self.remove_task(run.task, step);
        let &Run { task, attempt, .. } = run;
        let death = Box::new(death);
        step.tell_scheduler(NodeToScheduler::Died { task, attempt, death });
    }

    pub(super) fn on_worker_wrote(
        &mut self,
        id: WorkerId,
        (stream, run): (Stream, Option<RunId>),
        bytes: &[u8],
        step: &mut Step,
    ) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        // Where nobody says whose it is, it is that of the first that may be running.
        let run = run.or(worker.first_run().map(|first| first.id));
        if run != worker.writing.run() {
            self.finish_output(id, step);
            let Some(worker) = self.workers.get_mut(id) else { return };
            worker.writing.begin(run);
        }
        let Some(worker) = self.workers.get_mut(id) else { return };
        let Some((task, attempt)) = run.and_then(|run| worker.task_of(run)) else {
            return worker.writing.note(stream, bytes);
        };
        for output in worker.writing.write(stream, bytes, step.now, &mut self.budget) {
            step.tell_scheduler(NodeToScheduler::Output { task, attempt, output });
        }
    }

    /// The lines that a worker has not finished, before the end of the run that wrote them.
    pub(super) fn finish_output(&mut self, id: WorkerId, step: &mut Step) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        let writer = worker.writing.run().and_then(|run| worker.task_of(run));
        let Some((task, attempt)) = writer else { return };
        for output in worker.writing.finish(step.now, &mut self.budget) {
            step.tell_scheduler(NodeToScheduler::Output { task, attempt, output });
        }
    }

    /// Small bytes travel inside the message; larger ones stay here.
    pub(super) fn value_of(&mut self, bytes: Bytes, actions: &mut Vec<Action>) -> Value {
        if bytes.len() <= INLINE_LIMIT_BYTES {
            return Value::Inline(bytes);
        }
        let stored = self.objects.make(bytes.len() as u64);
        actions.push(Action::Store { object: stored.object.number, bytes });
        Value::Stored(stored)
    }

    fn place(&mut self, id: TaskId, step: &mut Step) {
        let task = self.tasks.get(id).expect("a ready task is here");
        let grant = self.room.take(&task.definition.resources).expect("it fits");
        let kind = grant.kind();
        let order = self.tasks.place(id, grant.clone()).order();
        match self.workers.take_idle(&kind) {
            Some(worker) => self.start_run(id, worker, grant, step),
            None => self.workers.expect_worker(kind, order, id),
        }
    }

    fn start_run(&mut self, id: TaskId, worker: WorkerId, grant: Grant, step: &mut Step) {
        let run = self.send_run(id, worker, step);
        let timeout = self.tasks.get(id).and_then(|task| task.definition.timeout);
        self.workers.begin_run(worker, run, grant, step.now, timeout);
    }

    /// Sends a task to a worker, which has it from now on.
    pub(super) fn send_run(&mut self, id: TaskId, worker: WorkerId, step: &mut Step) -> Run {
        let task = self.tasks.hand_over(id, worker);
        let definition = task.definition_id;
        if self.workers.learn(worker, definition) {
            let (name, function) = (task.definition.name.clone(), task.definition.function.clone());
            step.tell_worker(worker, NodeToWorker::Define { id: definition, name, function });
        }
        let run = self.workers.next_run();
        let (arguments, inputs) = (task.arguments.clone(), task.inputs.clone());
        step.tell_worker(worker, NodeToWorker::Run { run, definition, arguments, inputs });
        let expected = self.definitions.expected_nanos(definition, self.config.queues_after);
        Run {
            id: run,
            task: id,
            attempt: task.attempt,
            definition,
            expected_nanos: expected,
            wish: Wish::Wanted,
            has_spoken: false,
        }
    }

    /// A worker says that a run is over: the task is forgotten, and the worker idle if it has no
    /// other. None if that is not the run that it must answer next, or if nobody wants to know.
    fn end_run(
        &mut self,
        worker: WorkerId,
        run: RunId,
        ran: Duration,
        step: &mut Step,
    ) -> Option<Run> {
        let there = self.workers.get(worker)?;
        if there.writing.run() == Some(run) {
            self.finish_output(worker, step);
        }
        let ended = self.workers.answer(worker, run, step.now)?;
        let there = self.workers.get(worker)?;
        if there.busy().is_some() && there.runs.is_empty() {
            self.rest_worker(worker, step);
        }
        if ended.wish == Wish::Abandoned {
            return None;
        }
        self.definitions.measure(ended.definition, ran);
        self.remove_task(ended.task, step);
        Some(ended)
    }
}

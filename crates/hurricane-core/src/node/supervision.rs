//! Supervising workers: started ahead, replaced when they die, stopped when there are too many.

use bytes::Bytes;

use crate::id::{RunId, WorkerId};
use crate::message::{Death, Exit, NodeToScheduler, NodeToWorker};

use super::workers::{Begun, Dying, Run, State, Wish, Worker};
use super::{Action, Node, Step, WorkerKind};

/// What ends a process that has no say in it: sent by a person, or by a system short of memory.
const SIGKILL: i32 = 9;

/// How many workers may die just before they begin one and the same task: more is no chance.
const MAX_FALSE_STARTS: u32 = 3;

impl Node {
    /// Starts workers until each task that has room has one, and in the end, each slot has one ahead.
    pub(super) fn start_missing_workers(&mut self, step: &mut Step) {
        while self.starts.is_open()
            && let Some(kind) = self.workers.wanted()
        {
            if let Some(displaced) = self.workers.displaced_by(&kind) {
                self.stop(displaced, step);
            }
            let worker = self.workers.start(kind.clone());
            step.act(Action::StartWorker { worker, kind });
        }
    }

    pub(super) fn stop_surplus_workers(&mut self, step: &mut Step) {
        while let Some(worker) = self.workers.surplus(step.now) {
            self.stop(worker, step);
        }
    }

    pub(super) fn on_worker_ready(&mut self, id: WorkerId, step: &mut Step) {
        if self.is_starting(id) {
            self.starts.on_ready();
            self.workers.rest(id, step.now);
        }
    }

    /// A worker says why it cannot work, and ends. Others would say the same: once is enough.
    pub(super) fn on_setup_failed(&mut self, id: WorkerId, error: Bytes, step: &mut Step) {
        if !self.is_starting(id) {
            return;
        }
        self.workers.retire(id);
        self.give_up_starting(error, step);
    }

    pub(super) fn on_worker_not_started(&mut self, id: WorkerId, reason: &str, step: &mut Step) {
        if !self.is_starting(id) {
            return;
        }
        if let Some(worker) = self.workers.remove(id) {
            let error = format!("A worker process could not be started: {reason}");
            self.on_start_failed(worker.kind, error, false, step);
        }
    }

    pub(super) fn on_worker_died(
        &mut self,
        id: WorkerId,
        begun: Option<RunId>,
        mut death: Death,
        step: &mut Step,
    ) {
        self.finish_output(id, step);
        let Some(mut worker) = self.workers.remove(id) else { return };
        if let Some(grant) = worker.held() {
            self.room.give_back(grant);
        }
        let blamed = self.blame(&worker, begun);
        death.node = self.config.name.clone();
        if blamed.is_none() || worker.writing.run() == blamed {
            death.last_output = core::mem::take(&mut worker.writing).last_lines();
        }
        match &worker.state {
            State::Starting => {
                let was_killed = death.exit == Exit::Signal(SIGKILL);
                return self.on_start_failed(worker.kind, describe(&death), was_killed, step);
            }
            &State::Dying(Dying { expired: Some(ran), .. }) => {
                self.end_runs(&worker, blamed, step, |node, run, step| {
                    node.report_timeout(run, ran, death.stack.clone(), step);
                });
            }
            _ => self.end_runs(&worker, blamed, step, |node, run, step| {
                node.report_death(run, death.clone(), step);
            }),
        }
        self.take_queues_back(step);
        self.workers.miss(worker.kind);
    }

    /// Ends the run that is to blame for its worker's end, if any is. The others wait for room once
    /// more: what was begun before it has lost its answer, and what stood behind it has not begun.
    /// But what has spoken in the part of a client cannot do so twice in one attempt.
    fn end_runs(
        &mut self,
        worker: &Worker,
        blamed: Option<RunId>,
        step: &mut Step,
        end: impl Fn(&mut Self, &Run, &mut Step),
    ) {
        for run in &worker.runs {
            let is_over = Some(run.id) == blamed || run.has_spoken;
            if is_over && run.wish != Wish::Abandoned {
                end(self, run, step);
            } else {
                self.make_ready_again(run, step);
            }
        }
    }

    /// The run that is to blame for the end of its worker: the one that was begun last and not
    /// answered. A worker that died before it began anything more has not died of a task, unless the
    /// same befalls others that are about to begin it.
    fn blame(&mut self, worker: &Worker, begun: Option<RunId>) -> Option<RunId> {
        let first = worker.first_run()?;
        match &worker.state {
            State::Dying(Dying { expired: Some(_), .. }) => return Some(first.id),
            State::Dying(_) => return None,
            _ => {}
        }
        match worker.begun(begun) {
            Begun::Run(run) => Some(run),
            Begun::Nonsense => Some(first.id),
            Begun::Earlier => {
                let task = self.tasks.get_mut(first.task)?;
                task.false_starts += 1;
                (task.false_starts >= MAX_FALSE_STARTS).then_some(first.id)
            }
        }
    }

    fn stop(&mut self, worker: WorkerId, step: &mut Step) {
        self.workers.retire(worker);
        step.tell_worker(worker, NodeToWorker::Stop);
    }

    fn is_starting(&self, id: WorkerId) -> bool {
        self.workers.get(id).is_some_and(|worker| matches!(worker.state, State::Starting))
    }

    fn on_start_failed(
        &mut self,
        kind: WorkerKind,
        error: String,
        was_killed: bool,
        step: &mut Step,
    ) {
        let is_no_accident = self.starts.on_failed(step.now, was_killed);
        if is_no_accident && self.workers.is_hopeless(&kind) {
            self.give_up_starting(Bytes::from(error), step);
        }
        self.workers.miss(kind);
    }

    fn give_up_starting(&mut self, error: Bytes, step: &mut Step) {
        if self.starts.give_up() {
            step.tell_scheduler(NodeToScheduler::SetupFailed { error });
        }
    }
}

/// What a person is told of a worker that died before it was ready.
fn describe(death: &Death) -> String {
    let exit = match death.exit {
        Exit::Code(code) => format!("exited with code {code}"),
        Exit::Signal(signal) => format!("was ended by signal {signal}"),
        Exit::Unknown => "ended".to_owned(),
    };
    let output = death.last_output.trim_end();
    if output.is_empty() {
        return format!("A worker process {exit} before it was ready, and wrote nothing.");
    }
    format!("A worker process {exit} before it was ready. It wrote:\n{output}")
}

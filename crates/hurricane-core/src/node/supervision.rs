//! Supervising workers: started ahead, replaced when they die, stopped when there are too many.

use bytes::Bytes;

use crate::id::WorkerId;
use crate::message::{Death, Exit, NodeToScheduler, NodeToWorker};

use super::workers::{Dying, State, Worker};
use super::{Action, Node, Step, WorkerKind};

/// What ends a process that has no say in it: sent by a person, or by a system short of memory.
const SIGKILL: i32 = 9;

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

    pub(super) fn on_worker_died(&mut self, id: WorkerId, mut death: Death, step: &mut Step) {
        self.finish_output(id, step);
        let Some(worker) = self.workers.remove(id) else { return };
        if let Some(grant) = worker.held() {
            self.room.give_back(grant);
        }
        let Worker { kind, state, writing, .. } = worker;
        death.node = self.config.name.clone();
        death.last_output = writing.last_lines();
        match state {
            State::Starting => {
                let was_killed = death.exit == Exit::Signal(SIGKILL);
                return self.on_start_failed(kind, describe(&death), was_killed, step);
            }
            State::Idle { .. } | State::Stopping | State::Dying(Dying { expired: None, .. }) => {}
            State::Busy(run) => self.report_death(&run, death, step),
            State::Dying(Dying { expired: Some(expired), .. }) => {
                self.report_timeout(&expired, death.stack, step);
            }
        }
        self.workers.miss(kind);
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

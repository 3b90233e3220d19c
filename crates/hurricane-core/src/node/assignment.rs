//! What the scheduler wants: definitions, tasks, and tasks no more.

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;

use crate::id::{Attempt, DefinitionId, TaskId};
use crate::message::{Definition, Failure, NodeToScheduler, NodeToWorker, Value};

use super::tasks::{State, Task};
use super::{Node, Step};

/// A task as the scheduler assigns it.
pub(super) struct Assignment {
    pub(super) task: TaskId,
    pub(super) attempt: Attempt,
    pub(super) definition: DefinitionId,
    pub(super) arguments: Bytes,
    pub(super) inputs: Vec<Value>,
}

impl Node {
    /// A name means one thing for ever: a second definition under it is not taken.
    pub(super) fn on_defined(&mut self, id: DefinitionId, definition: Definition) {
        self.definitions.insert(id, definition);
    }

    pub(super) fn on_forgotten(&mut self, id: DefinitionId, step: &mut Step) {
        self.definitions.remove(id);
        for worker in self.workers.forget(id) {
            step.tell_worker(worker, NodeToWorker::Forget { id });
        }
    }

    pub(super) fn on_task_assigned(&mut self, assignment: Assignment, step: &mut Step) {
        self.starts.on_assigned();
        let Assignment { task, attempt, .. } = assignment;
        if let Some(here) = self.tasks.get(task) {
            if here.attempt >= attempt {
                return;
            }
            self.end_task(task, step);
        }
        match self.accept(assignment) {
            Ok(accepted) => {
                let needs_inputs = !accepted.inputs.is_empty();
                self.tasks.push(task, accepted);
                if needs_inputs {
                    self.gather_inputs(task, step);
                }
            }
            Err(failure) => {
                let (failure, ran) = (Box::new(failure), Duration::ZERO);
                step.tell_scheduler(NodeToScheduler::Failed { task, attempt, failure, ran });
            }
        }
    }

    pub(super) fn on_task_wanted_back(&mut self, id: TaskId, attempt: Attempt, step: &mut Step) {
        let Some(task) = self.tasks.of_attempt(id, attempt) else { return };
        if let State::Running(worker) = task.state {
            if !self.want_back(worker, id, step) {
                step.tell_scheduler(NodeToScheduler::Kept { task: id, attempt });
            }
            return;
        }
        self.end_task(id, step);
        step.tell_scheduler(NodeToScheduler::TakenBack { task: id, attempt });
    }

    pub(super) fn on_task_cancelled(&mut self, id: TaskId, attempt: Attempt, step: &mut Step) {
        if self.tasks.of_attempt(id, attempt).is_some() {
            self.end_task(id, step);
        }
    }

    /// Forgets a task, if it is here, and whatever was done for it. The worker that runs it is
    /// killed, and what it holds is free when it is gone.
    pub(super) fn end_task(&mut self, id: TaskId, step: &mut Step) {
        let Some(task) = self.remove_task(id, step) else { return };
        match &task.state {
            State::Fetching { .. } | State::Ready => {}
            State::Placed(grant) => {
                self.workers.give_up_waiting(&grant.kind(), task.order());
                self.room.give_back(grant);
            }
            State::Running(worker) => self.abandon_run(*worker, id, step),
        }
    }

    /// Takes a task out, and gives up what it alone needed.
    pub(super) fn remove_task(&mut self, id: TaskId, step: &mut Step) -> Option<Task> {
        let task = self.tasks.remove(id)?;
        self.give_up_copies(id, &task.copies, step);
        Some(task)
    }

    fn accept(&self, assignment: Assignment) -> Result<Task, Failure> {
        let Assignment { attempt, definition: id, arguments, inputs, .. } = assignment;
        let Some(definition) = self.definitions.get(id) else {
            return Err(Failure::Refused("the node was not told its definition".into()));
        };
        let most = &self.config.resources;
        if !most.serves(&definition.resources) {
            let asked = definition.resources.clone();
            return Err(Failure::Infeasible { asked, most: most.clone() });
        }
        Ok(Task::new(attempt, (id, Arc::clone(definition)), arguments, inputs))
    }
}

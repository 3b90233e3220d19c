//! The values that tasks need: their inputs before they start, and objects that they ask for while
//! they run.

use std::collections::BTreeSet;

use crate::id::{ObjectId, ObjectNumber, TaskId, WorkerId};
use crate::message::{NodeToScheduler, NodeToWorker, Stored, Value};

use super::objects::Presence;
use super::tasks::{State, Task};
use super::workers::Run;
use super::{Action, Node, Step};

impl Node {
    /// Fetches what a task needs and is not here. It is ready when nothing is missing.
    pub(super) fn gather_inputs(&mut self, id: TaskId, step: &mut Step) {
        let mut missing = 0;
        for object in self.stored_inputs(id) {
            match self.need(id, object, step) {
                Presence::Here => {}
                Presence::Coming | Presence::Absent => missing += 1,
                Presence::Lost => return self.lose_input(id, object, step),
            }
        }
        self.expect_inputs(id, missing);
    }

    /// The first input of this node's own that is gone meanwhile.
    pub(super) fn first_lost_input(&self, task: &Task) -> Option<ObjectId> {
        let lost = |value: &Value| match value {
            Value::Stored(Stored { object, .. }) if self.objects.is_own(*object) => {
                self.objects.own_size_bytes(*object).is_none().then_some(*object)
            }
            Value::Stored(_) | Value::Inline(_) => None,
        };
        task.inputs.iter().find_map(lost)
    }

    /// A task cannot start without this object: it is given back.
    pub(super) fn lose_input(&mut self, id: TaskId, object: ObjectId, step: &mut Step) {
        let Some(task) = self.remove_task(id, step) else { return };
        let attempt = task.attempt;
        step.tell_scheduler(NodeToScheduler::InputLost { task: id, attempt, object });
    }

    pub(super) fn on_object_fetched(&mut self, object: ObjectId, is_here: bool, step: &mut Step) {
        let Some(users) = self.objects.arrive(object, is_here) else { return };
        if is_here && users.is_empty() {
            step.act(Action::Drop { object });
        }
        for user in users {
            if !is_here {
                self.forget_copy(user, object);
            }
            self.tell_user(user, object, is_here, step);
        }
    }

    /// A running task asks for an object.
    pub(super) fn on_object_asked(&mut self, worker: WorkerId, object: ObjectId, step: &mut Step) {
        let Some(&Run { task, .. }) = self.workers.run(worker) else { return };
        self.note_nesting(worker, step);
        match self.need(task, object, step) {
            Presence::Here => self.answer(worker, task, (object, true), step),
            Presence::Lost => self.answer(worker, task, (object, false), step),
            Presence::Coming | Presence::Absent => {}
        }
    }

    pub(super) fn on_objects_dropped(&mut self, objects: &[ObjectNumber], step: &mut Step) {
        for number in objects {
            if let Some(object) = self.objects.drop_own(*number) {
                step.act(Action::Drop { object });
            }
        }
    }

    pub(super) fn give_up_copies(
        &mut self,
        id: TaskId,
        copies: &BTreeSet<ObjectId>,
        step: &mut Step,
    ) {
        for object in copies {
            if self.objects.give_up(*object, id) {
                step.act(Action::Drop { object: *object });
            }
        }
    }

    /// The stored inputs of a task, each once.
    fn stored_inputs(&self, id: TaskId) -> BTreeSet<ObjectId> {
        let object = |value: &Value| match value {
            Value::Stored(stored) => Some(stored.object),
            Value::Inline(_) => None,
        };
        self.tasks.get(id).iter().flat_map(|task| &task.inputs).filter_map(object).collect()
    }

    /// A task needs an object from now on.
    fn need(&mut self, id: TaskId, object: ObjectId, step: &mut Step) -> Presence {
        let presence = self.objects.need(object, id);
        let Some(task) = self.tasks.get_mut(id) else { return presence };
        if !self.objects.is_own(object) {
            task.copies.insert(object);
        }
        if presence == Presence::Absent {
            step.act(Action::Fetch { object });
        }
        presence
    }

    fn expect_inputs(&mut self, id: TaskId, missing: usize) {
        if missing == 0 {
            self.tasks.make_ready(id);
        } else if let Some(task) = self.tasks.get_mut(id) {
            task.state = State::Fetching { missing };
        }
    }

    fn forget_copy(&mut self, id: TaskId, object: ObjectId) {
        if let Some(task) = self.tasks.get_mut(id) {
            task.copies.remove(&object);
        }
    }

    /// A task that waits for this object, to start or while it runs, learns how it went.
    fn tell_user(&mut self, id: TaskId, object: ObjectId, is_here: bool, step: &mut Step) {
        match self.tasks.get(id).map(|task| &task.state) {
            Some(State::Fetching { missing }) if is_here => {
                let missing = missing - 1;
                self.expect_inputs(id, missing);
            }
            Some(State::Fetching { .. }) => self.lose_input(id, object, step),
            Some(State::Running(worker)) => self.answer(*worker, id, (object, is_here), step),
            Some(State::Ready | State::Placed(_)) | None => {}
        }
    }

    /// Answers a running task. The runtime puts the bytes in the place of the value; the size of a
    /// copy is only known there.
    fn answer(
        &self,
        worker: WorkerId,
        task: TaskId,
        (object, is_here): (ObjectId, bool),
        step: &mut Step,
    ) {
        if self.workers.run(worker).is_none_or(|run| run.task != task) {
            return;
        }
        let size_bytes = self.objects.own_size_bytes(object).unwrap_or_default();
        let value = is_here.then_some(Value::Stored(Stored { object, size_bytes }));
        step.tell_worker(worker, NodeToWorker::Object { object, value });
    }
}

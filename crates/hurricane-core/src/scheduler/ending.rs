//! How a task starts to wait, becomes ready and ends, and what that means for those around it.

use core::cmp::Reverse;

use bytes::Bytes;

use crate::id::TaskId;
use crate::message::{Cause, Ending, Failure, SchedulerToClient, Value};
use crate::scheduler::client::CANCELLED;
use crate::scheduler::clients::ClientKey;
use crate::scheduler::ready::{Entry, Rank};
use crate::scheduler::shape::ShapeId;
use crate::scheduler::tally::Tally;
use crate::scheduler::task::{Claim, State, Task};
use crate::scheduler::{Action, Scheduler};

/// How a dependency stands.
enum Dependency {
    Here,
    Pending,
    Bad,
}

impl Scheduler {
    /// A new task, the last thing in its event: it claims its dependencies and waits for them.
    pub(super) fn start(&mut self, task: TaskId, actions: &mut Vec<Action>) {
        if self.place_at_once(task, actions) {
            return;
        }
        self.claim(task, Claim::Values, actions);
        self.await_dependencies(task, actions);
    }

    /// Makes a task ready, or lets it wait for what is missing, or end as what it depends on did.
    pub(super) fn await_dependencies(&mut self, task: TaskId, actions: &mut Vec<Action>) {
        // They are looked at one by one, and what is found may change others around the task.
        let dependencies: Box<[TaskId]> = self.task(task).dependencies().into();
        let mut missing = 0;
        let mut bad = None;
        for &dependency in &dependencies {
            match self.look_at(dependency, actions) {
                Dependency::Here => {}
                Dependency::Pending => missing += self.wait_for(task, dependency),
                Dependency::Bad => bad = bad.or(Some(dependency)),
            }
        }
        match (bad, missing) {
            (Some(bad), _) => self.end_like(task, bad, actions),
            (None, 0) => self.make_ready(task),
            (None, missing) => {
                self.enter(task, State::Waiting { missing });
            }
        }
    }

    /// Lets `task` be told when `dependency` ends, and counts that as one.
    pub(super) fn wait_for(&mut self, task: TaskId, dependency: TaskId) -> u32 {
        self.task_mut(dependency).links_mut().dependents.push(task);
        let priority = self.task(task).priority;
        self.raise(dependency, priority);
        1
    }

    /// Ends a task as what it depends on ended, which has no value.
    pub(super) fn end_like(&mut self, task: TaskId, dependency: TaskId, actions: &mut Vec<Action>) {
        if let Some(ending) = self.bequest(dependency) {
            self.end(task, ending, actions);
        }
    }

    pub(super) fn fail(&mut self, task: TaskId, failure: Failure, actions: &mut Vec<Action>) {
        let ending = Ending::Failed { failure: Box::new(failure), cause: None };
        self.end(task, ending, actions);
    }

    /// Cancels a task, wherever it is, if it has not ended.
    pub(super) fn cancel(&mut self, id: TaskId, actions: &mut Vec<Action>) {
        if self.tasks.get(id.0).is_some() {
            self.cancel_on_node(id, actions);
            self.end(id, CANCELLED, actions);
        }
    }

    /// Ends a task that has not ended, and with it what depends on it if it has no value.
    pub(super) fn end(&mut self, task: TaskId, ending: Ending, actions: &mut Vec<Action>) {
        let mut others = self.end_alone(task, ending, actions);
        while let Some((task, ending)) = others.pop() {
            others.extend(self.end_alone(task, ending, actions));
        }
    }

    /// Ends a task that has not ended; returns what ends with it, the first one last.
    fn end_alone(
        &mut self,
        id: TaskId,
        ending: Ending,
        actions: &mut Vec<Action>,
    ) -> Vec<(TaskId, Ending)> {
        if self.tasks.get(id.0).is_none_or(Task::is_ended) {
            return Vec::new();
        }
        self.end_nested(id, actions);
        if let State::Assigned(place) = self.enter(id, State::from(ending.clone())) {
            self.leave_place(id, place, actions);
        }
        self.tell_ending(id, ending, actions);
        self.clear_record(id);
        let others = self.end_dependents(id);
        self.keep_what_is_needed(id, actions);
        others
    }

    /// Whatever happened to a task before has no meaning any more.
    #[inline]
    pub(super) fn clear_record(&mut self, id: TaskId) {
        // Mostly there is nothing of any task.
        if !self.deaths.is_empty() {
            self.deaths.remove(&id);
        }
        if !self.misses.is_empty() {
            self.misses.remove(&id);
        }
    }

    /// What waits for a task that has ended goes on, or is returned with how it ends, the first last.
    fn end_dependents(&mut self, id: TaskId) -> Vec<(TaskId, Ending)> {
        let Some(links) = &mut self.task_mut(id).links else { return Vec::new() };
        let dependents = core::mem::take(&mut links.dependents);
        match self.bequest(id) {
            None => {
                for one in dependents {
                    self.on_dependency_done(one);
                }
                Vec::new()
            }
            Some(ending) => dependents.into_iter().rev().map(|one| (one, ending.clone())).collect(),
        }
    }

    /// Puts a task that waits for nothing but room among those that do.
    pub(super) fn make_ready(&mut self, id: TaskId) {
        self.find_input(id);
        self.enter(id, State::Ready);
        let task = self.task(id);
        let Some((rank, shape)) = self.standing(task) else { return };
        let entry = Entry { age: task.age, task: id };
        let client = self.clients.root_mut(task.client);
        // Where others wait already that found no room, nothing can be done about one more.
        self.is_unsettled |= client.ready.push(shape, rank, entry);
    }

    /// Changes the state of a task, and the counts with it; returns the former one. Whoever takes it
    /// off a node or puts it on one does the rest.
    #[inline]
    pub(super) fn enter(&mut self, id: TaskId, state: State) -> State {
        // Who calls knows the state, and need not look.
        let tally = Tally::of(&state);
        self.enter_as(id, state, tally)
    }

    fn enter_as(&mut self, id: TaskId, state: State, present: Tally) -> State {
        let task = self.tasks.get_mut(id.0).expect("what is forgotten enters no state");
        let former = core::mem::replace(&mut task.tally, present);
        let former_state = core::mem::replace(&mut task.state, state);
        if former != present && !task.is_put() {
            let client = task.client;
            self.count(client, former, present);
        }
        former_state
    }

    /// A task of a client is counted under something else from now on.
    fn count(&mut self, client: ClientKey, former: Tally, present: Tally) {
        let root = self.clients.root_mut(client);
        root.counts.change(former, present);
        let change = i64::from(present == Tally::Ready) - i64::from(former == Tally::Ready);
        if change != 0 {
            let had_none = root.ready.is_empty();
            root.ready.count(change);
            let has_turned = root.ready.is_empty() != had_none;
            // What waited behind it may find room where it found none.
            self.is_unsettled |= change < 0;
            if has_turned {
                self.enter_turn(client);
            }
        }
    }

    /// Under what a ready task waits for room; none for an object.
    #[inline]
    pub(super) fn standing(&self, task: &Task) -> Option<(Rank, ShapeId)> {
        let shape = self.definition(task.definition()?).shape?;
        Some(((Reverse(task.priority), Reverse(task.depth)), shape))
    }

    fn look_at(&mut self, dependency: TaskId, actions: &mut Vec<Action>) -> Dependency {
        if matches!(self.task(dependency).state, State::Done { value: None }) {
            self.compute_again(dependency, actions);
        }
        match self.task(dependency).state {
            State::Done { .. } => Dependency::Here,
            State::Failed { .. } | State::Cancelled { .. } => Dependency::Bad,
            _ => Dependency::Pending,
        }
    }

    fn on_dependency_done(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id.0) else { return };
        let State::Waiting { missing } = &mut task.state else { return };
        *missing = missing.saturating_sub(1);
        if *missing == 0 {
            self.make_ready(id);
        }
    }

    /// How what depends on this task ends, if that has no value.
    fn bequest(&self, id: TaskId) -> Option<Ending> {
        let task = self.task(id);
        if matches!(task.state, State::Done { .. }) {
            return None;
        }
        let name = task.definition().map(|id| self.definition(id).definition.name.clone());
        let own = Cause { number: task.number, name: name.unwrap_or_default() };
        match task.ending()? {
            Ending::Done(_) => None,
            Ending::Failed { failure, cause } => {
                Some(Ending::Failed { failure, cause: cause.or(Some(own)) })
            }
            Ending::Cancelled { cause } => Some(Ending::Cancelled { cause: cause.or(Some(own)) }),
        }
    }

    /// Gives a task and all that it waits for at least this priority.
    fn raise(&mut self, task: TaskId, priority: i32) {
        let mut raised = vec![task];
        while let Some(id) = raised.pop() {
            let task = self.task_mut(id);
            if task.priority >= priority || task.is_ended() {
                continue;
            }
            task.priority = priority;
            raised.extend_from_slice(task.dependencies());
            if matches!(task.state, State::Ready) {
                // Where it stands already, it is found sooner or later than it should be.
                self.is_unsettled = true;
                self.make_ready(id);
            }
        }
    }

    fn tell_ending(&mut self, id: TaskId, ending: Ending, actions: &mut Vec<Action>) {
        let task = self.task_mut(id);
        let (client, number) = (task.client, task.number);
        let was_told = core::mem::replace(&mut task.is_told, true);
        let message = match (was_told, task.is_held) {
            (false, _) => SchedulerToClient::Ended { number, ending },
            (true, true) => SchedulerToClient::Restored { number, ending },
            (true, false) => return,
        };
        let arguments = if was_told { 0 } else { task.arguments.len() as u64 };
        self.tell(client, message, actions);
        self.settle(client, u64::from(!was_told), arguments, actions);
    }

    /// After its end, a task keeps of its dependencies and arguments what it would take to compute
    /// its value again, and is forgotten if nobody needs it.
    fn keep_what_is_needed(&mut self, id: TaskId, actions: &mut Vec<Action>) {
        let task = self.task(id);
        let is_stored = matches!(task.value(), Some(Value::Stored(_)));
        let lineage = if is_stored && !task.is_put() { self.lineage(task) } else { None };
        let task = self.task_mut(id);
        task.is_repeatable = lineage.is_some();
        if task.links.is_none() && lineage.is_none() && task.is_held {
            // It depends on nothing, and is not to be forgotten yet.
            task.arguments = Bytes::new();
            return;
        }
        if let Some(lineage) = lineage {
            task.lineage = lineage;
            self.claim(id, Claim::Heritage, actions);
        } else {
            task.arguments = Bytes::new();
            self.claim(id, Claim::Nothing, actions);
        }
        self.drop_unneeded(id, actions);
    }
}

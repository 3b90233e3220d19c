//! Values and how long they live: while the client may name them or an unfinished task needs them.
//! What was stored on a lost node is computed again by the task that made it, for which that task
//! and what it depended on are remembered, without their values.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{NodeId, ObjectId, ObjectNumber, TaskId};
use crate::message::{Ending, Failure, SchedulerToNode, Stored, Value};
use crate::scheduler::client::inline_bytes;
use crate::scheduler::task::{Claim, State, Task};
use crate::scheduler::{Action, Scheduler};

/// How many tasks in a row would be run again for one lost value. What has a longer history cannot
/// be computed again: remembering all of it would let a loop that feeds itself grow without end.
const MAX_LINEAGE: u16 = 1_000;

impl Scheduler {
    /// Changes what a task claims of its dependencies.
    #[inline]
    pub(super) fn claim(&mut self, id: TaskId, claim: Claim, actions: &mut Vec<Action>) {
        if self.task(id).links.is_none() {
            return;
        }
        for dependency in self.change_claim(id, claim) {
            self.drop_unneeded(dependency, actions);
        }
    }

    /// Forgets a task that nobody needs, or its value alone, and then what only it needed.
    pub(super) fn drop_unneeded(&mut self, id: TaskId, actions: &mut Vec<Action>) {
        let mut suspects = self.drop_if_unneeded(id, actions);
        while let Some(id) = suspects.pop() {
            suspects.extend(self.drop_if_unneeded(id, actions));
        }
    }

    /// The same for this task alone; returns which others may have been needed by it alone.
    fn drop_if_unneeded(&mut self, id: TaskId, actions: &mut Vec<Action>) -> Vec<TaskId> {
        let Some(task) = self.tasks.get(id.0) else { return Vec::new() };
        if task.is_held || task.users() > 0 {
            return Vec::new();
        }
        let mut suspects = Vec::new();
        if !task.is_ended() {
            // Its end was promised to its client, unless that was told of one before.
            if !task.is_told {
                return suspects;
            }
            suspects.extend(self.stop_computing_again(id, actions));
        }
        let task = self.task(id);
        if task.heirs() == 0 {
            suspects.extend(self.forget(id, actions));
        } else if task.is_repeatable {
            self.discard_value(id, actions);
        }
        suspects
    }

    /// How many tasks would have to run one after the other to compute its value again, if it is
    /// not too many.
    pub(super) fn lineage(&self, task: &Task) -> Option<u16> {
        let dependencies = task.dependencies().iter().map(|id| self.task(*id).lineage);
        let lineage = dependencies.max().unwrap_or(0) + 1;
        (lineage <= MAX_LINEAGE).then_some(lineage)
    }

    /// Runs a task again whose value is not there any more, or fails it if that cannot be done.
    pub(super) fn compute_again(&mut self, id: TaskId, actions: &mut Vec<Action>) {
        if self.task(id).is_repeatable {
            self.enter(id, State::Retrying);
            self.claim(id, Claim::Values, actions);
            self.await_dependencies(id, actions);
            return;
        }
        // Entered first, so that the task counts as not ended and can end another way.
        self.enter(id, State::Retrying);
        let ending = Ending::Failed { failure: Box::new(Failure::ObjectLost), cause: None };
        self.end(id, ending, actions);
    }

    /// Leaves a task as it was before it was to run again; returns what it depends on, some of which
    /// may run again for its sake alone.
    fn stop_computing_again(&mut self, id: TaskId, actions: &mut Vec<Action>) -> Box<[TaskId]> {
        self.cancel_on_node(id, actions);
        self.leave_node(id, actions);
        self.enter(id, State::Done { value: None });
        self.clear_record(id);
        // They have ended: who needed its value would still claim it.
        self.task_mut(id).take_dependents();
        let dependencies = self.change_claim(id, Claim::Heritage);
        for &dependency in &dependencies {
            self.task_mut(dependency).links_mut().dependents.retain(|one| *one != id);
        }
        dependencies
    }

    /// Changes what a task claims of its dependencies; returns those that it may have let go.
    fn change_claim(&mut self, id: TaskId, claim: Claim) -> Box<[TaskId]> {
        let Some(links) = &mut self.task_mut(id).links else { return Box::default() };
        let former = core::mem::replace(&mut links.claim, claim);
        let dependencies = match claim {
            Claim::Nothing => core::mem::take(&mut links.dependencies),
            _ => links.dependencies.clone(),
        };
        for &dependency in &dependencies {
            let dependency = self.task_mut(dependency);
            *dependency.claims(claim) += u32::from(claim != Claim::Nothing);
            *dependency.claims(former) -= u32::from(former != Claim::Nothing);
        }
        dependencies
    }

    /// The values of these tasks were lost with their node.
    pub(super) fn on_values_lost(&mut self, lost: &[TaskId], actions: &mut Vec<Action>) {
        for &id in lost {
            self.enter(id, State::Done { value: None });
        }
        let bereft = self.waiting_for_values(lost);
        for &id in lost {
            let task = self.tasks.get(id.0);
            let is_gone =
                task.is_some_and(|task| matches!(task.state, State::Done { value: None }));
            if is_gone && task.is_some_and(|task| task.is_held || task.users() > 0) {
                self.compute_again(id, actions);
            }
        }
        for (task, dependency) in bereft {
            self.on_dependency_lost(task, dependency, actions);
        }
    }

    /// Unfinished tasks off the nodes, with those of `lost` that each had been given to start with.
    fn waiting_for_values(&self, lost: &[TaskId]) -> Vec<(TaskId, TaskId)> {
        if lost.is_empty() {
            return Vec::new();
        }
        let lost: BTreeSet<TaskId> = lost.iter().copied().collect();
        let waiting = self
            .tasks
            .iter()
            .filter(|(_, task)| matches!(task.state, State::Waiting { .. } | State::Ready));
        let pairs = waiting.flat_map(|(key, task)| {
            let missing = task.dependencies().iter().filter(|one| lost.contains(one));
            missing.map(move |one| (TaskId(key), *one))
        });
        pairs.collect()
    }

    fn on_dependency_lost(&mut self, id: TaskId, dependency: TaskId, actions: &mut Vec<Action>) {
        let Some(task) = self.tasks.get(id.0) else { return };
        match (&task.state, &self.task(dependency).state) {
            (State::Waiting { .. } | State::Ready, State::Failed { .. }) => {
                self.end_like(id, dependency, actions);
            }
            (State::Ready, _) => {
                self.wait_for(id, dependency);
                self.enter(id, State::Waiting { missing: 1 });
            }
            (&State::Waiting { missing }, _) => {
                self.wait_for(id, dependency);
                self.enter(id, State::Waiting { missing: missing + 1 });
            }
            _ => {}
        }
    }

    /// Forgets a task for good; returns what it depended on.
    fn forget(&mut self, id: TaskId, actions: &mut Vec<Action>) -> Box<[TaskId]> {
        let value_bytes = self.task(id).value().map_or(0, inline_bytes) as u64;
        self.discard_value(id, actions);
        let task = self.task_mut(id);
        let (client, definition, links) = (task.client, task.definition(), task.links.take());
        self.tasks.remove(id.0);
        match definition {
            Some(definition) => self.leave_definition(definition, actions),
            None => self.settle(client, 1, value_bytes, actions),
        }
        let Some(links) = links else { return Box::default() };
        for &dependency in &links.dependencies {
            let dependency = self.task_mut(dependency);
            *dependency.claims(links.claim) -= u32::from(links.claim != Claim::Nothing);
        }
        links.dependencies
    }

    /// Lets go of a task's value, wherever it is.
    fn discard_value(&mut self, id: TaskId, actions: &mut Vec<Action>) {
        let task = self.task_mut(id);
        let State::Done { value } = &mut task.state else { return };
        let Some(value) = value.take() else { return };
        let Value::Stored(stored) = value else { return };
        self.drop_object(stored.object, actions);
    }

    /// Nobody will ever name the object that this is, if it is one and not somebody's already.
    pub(super) fn drop_unnamed(&mut self, value: &Value, actions: &mut Vec<Action>) {
        if let Value::Stored(Stored { object, .. }) = value
            && !self.is_listed(*object)
        {
            self.drop_object(*object, actions);
        }
    }

    /// Removes an object from wherever it is kept, if it is still there.
    pub(super) fn drop_object(&mut self, object: ObjectId, actions: &mut Vec<Action>) {
        let Some(listed) = self.objects_of_mut(object.node) else { return };
        listed.remove(&object.number);
        let objects = vec![object.number];
        actions.push(match object.node {
            NodeId::SCHEDULER => Action::DropKept { objects },
            node => Action::ToNode { node, message: SchedulerToNode::Drop { objects } },
        });
    }

    /// The objects that a node keeps, or the store beside this machine, by the task each is the
    /// value of.
    pub(super) fn objects_of(&self, holder: NodeId) -> Option<&BTreeMap<ObjectNumber, TaskId>> {
        match holder {
            NodeId::SCHEDULER => Some(&self.kept),
            node => Some(&self.nodes.get(self.nodes.key(node)?).objects),
        }
    }

    pub(super) fn objects_of_mut(
        &mut self,
        holder: NodeId,
    ) -> Option<&mut BTreeMap<ObjectNumber, TaskId>> {
        match holder {
            NodeId::SCHEDULER => Some(&mut self.kept),
            node => Some(&mut self.nodes.get_mut(self.nodes.key(node)?).objects),
        }
    }

    /// Whether an object is known to be kept there.
    pub(super) fn is_listed(&self, object: ObjectId) -> bool {
        self.objects_of(object.node).is_some_and(|objects| objects.contains_key(&object.number))
    }
}

impl Task {
    /// The counter of those that claim this of it.
    fn claims(&mut self, claim: Claim) -> &mut u32 {
        match claim {
            Claim::Values => &mut self.links_mut().users,
            Claim::Heritage | Claim::Nothing => &mut self.links_mut().heirs,
        }
    }
}

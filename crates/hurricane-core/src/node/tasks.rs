//! The tasks that are here, in the order of their assignment, and which of them could start.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::id::{Attempt, DefinitionId, ObjectId, TaskId, WorkerId};
use crate::message::{Definition, Value};
use crate::resources::Resources;

use super::room::Grant;

/// A task from its assignment to its end here.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) attempt: Attempt,
    pub(super) definition_id: DefinitionId,
    pub(super) definition: Arc<Definition>,
    /// Kept until its end: a worker may go without having begun it.
    pub(super) arguments: Bytes,
    pub(super) inputs: Vec<Value>,
    /// The objects of other nodes that it needs here until its end.
    pub(super) copies: BTreeSet<ObjectId>,
    pub(super) state: State,
    /// How many workers have died that were about to begin it.
    pub(super) false_starts: u32,
    /// Its place in the order of assignment.
    order: u64,
}

/// How far a task is.
#[derive(Debug)]
pub(super) enum State {
    /// Copies of some inputs are still to come.
    Fetching {
        /// So many.
        missing: usize,
    },
    /// It waits for room.
    Ready,
    /// It has room and waits for a worker.
    Placed(Grant),
    /// A worker has it.
    Running(WorkerId),
}

/// All tasks that are here.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// Boxed: a tree moves what stands beside what comes and goes.
    by_id: BTreeMap<TaskId, Box<Task>>,
    /// The ready ones. Those that ask for the same stand in one lane, so that finding the next one
    /// that fits takes a look at each lane and not at each task.
    lanes: BTreeMap<Resources, Lane>,
    assigned: u64,
}

/// Ready tasks by their order. Nearly always one comes last and goes first.
#[derive(Debug, Default)]
struct Lane(VecDeque<(u64, TaskId)>);

impl Lane {
    fn insert(&mut self, order: u64, id: TaskId) {
        if self.0.back().is_none_or(|(last, _)| *last < order) {
            return self.0.push_back((order, id));
        }
        match self.0.binary_search_by_key(&order, |(order, _)| *order) {
            Ok(_) => debug_assert!(false, "a task stands in its lane once"),
            Err(place) => self.0.insert(place, (order, id)),
        }
    }

    fn remove(&mut self, order: u64) {
        if self.0.pop_front_if(|(first, _)| *first == order).is_some() {
            return;
        }
        if let Ok(place) = self.0.binary_search_by_key(&order, |(order, _)| *order) {
            self.0.remove(place);
        }
    }
}

impl Task {
    /// A task that was assigned just now.
    pub(super) fn new(
        attempt: Attempt,
        (definition_id, definition): (DefinitionId, Arc<Definition>),
        arguments: Bytes,
        inputs: Vec<Value>,
    ) -> Self {
        let state = State::Fetching { missing: 0 };
        let copies = BTreeSet::new();
        Self {
            attempt,
            definition_id,
            definition,
            arguments,
            inputs,
            copies,
            state,
            false_starts: 0,
            order: 0,
        }
    }

    /// The worker that has it.
    pub(super) fn worker(&self) -> Option<WorkerId> {
        match self.state {
            State::Running(worker) => Some(worker),
            _ => None,
        }
    }

    /// Its place in the order of assignment.
    pub(super) fn order(&self) -> u64 {
        self.order
    }
}

impl Tasks {
    /// Adds a task behind all others. It is ready if it has no inputs.
    pub(super) fn push(&mut self, id: TaskId, mut task: Task) {
        self.assigned += 1;
        task.order = self.assigned;
        if task.inputs.is_empty() {
            enter_lane(&mut self.lanes, id, &mut task);
        }
        let replaced = self.by_id.insert(id, Box::new(task));
        debug_assert!(replaced.is_none(), "the older attempt was ended first");
    }

    pub(super) fn get(&self, id: TaskId) -> Option<&Task> {
        self.by_id.get(&id).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        self.by_id.get_mut(&id).map(Box::as_mut)
    }

    /// The task, if this attempt of it is here.
    pub(super) fn of_attempt(&self, id: TaskId, attempt: Attempt) -> Option<&Task> {
        self.get(id).filter(|task| task.attempt == attempt)
    }

    /// Nothing but room is missing to this task now.
    pub(super) fn make_ready(&mut self, id: TaskId) {
        if let Some(task) = self.by_id.get_mut(&id) {
            enter_lane(&mut self.lanes, id, task);
        }
    }

    /// The ready task that was assigned first among those whose resources fit.
    pub(super) fn first_ready(&self, fits: impl Fn(&Resources) -> bool) -> Option<TaskId> {
        let fitting = self.lanes.iter().filter(|(resources, _)| fits(resources));
        let firsts = fitting.filter_map(|(_, lane)| lane.0.front());
        firsts.min_by_key(|(order, _)| *order).map(|(_, id)| *id)
    }

    /// A ready task got room.
    pub(super) fn place(&mut self, id: TaskId, grant: Grant) -> &Task {
        let task = self.by_id.get_mut(&id).expect("a ready task is here");
        leave_lane(&mut self.lanes, task);
        task.state = State::Placed(grant);
        task
    }

    /// A worker has a task from now on, which was ready or had room.
    pub(super) fn hand_over(&mut self, id: TaskId, worker: WorkerId) -> &Task {
        let task = self.by_id.get_mut(&id).expect("a task that starts is here");
        leave_lane(&mut self.lanes, task);
        task.state = State::Running(worker);
        task
    }

    pub(super) fn has_no_ready(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Takes a task out, whatever its state.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<Task> {
        let task = self.by_id.remove(&id)?;
        leave_lane(&mut self.lanes, &task);
        Some(*task)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskId, &Task)> {
        self.by_id.iter().map(|(id, task)| (*id, task.as_ref()))
    }

    /// Panics if the lanes are not exactly the ready tasks.
    pub(super) fn sanity_check(&self) {
        let is_ready = |task: &Task| matches!(task.state, State::Ready);
        let ready = self.by_id.values().filter(|task| is_ready(task)).count();
        let in_lanes = self.lanes.values().map(|lane| lane.0.len()).sum();
        assert_eq!(ready, in_lanes, "ready tasks have a lane");
        for (resources, Lane(lane)) in &self.lanes {
            assert!(!lane.is_empty(), "an empty lane goes");
            assert!(lane.iter().is_sorted(), "tasks stand in their order");
            for (order, id) in lane {
                let task = &self.by_id[id];
                assert!(is_ready(task), "only ready tasks stand in lanes: {task:?}");
                assert_eq!((*order, resources), (task.order, &task.definition.resources));
            }
        }
    }
}

fn enter_lane(lanes: &mut BTreeMap<Resources, Lane>, id: TaskId, task: &mut Task) {
    task.state = State::Ready;
    let resources = &task.definition.resources;
    match lanes.get_mut(resources) {
        Some(lane) => lane.insert(task.order, id),
        None => lanes.entry(resources.clone()).or_default().insert(task.order, id),
    }
}

fn leave_lane(lanes: &mut BTreeMap<Resources, Lane>, task: &Task) {
    if !matches!(task.state, State::Ready) {
        return;
    }
    let resources = &task.definition.resources;
    let lane = lanes.get_mut(resources).expect("a ready task has a lane");
    lane.remove(task.order);
    if lane.0.is_empty() {
        lanes.remove(resources);
    }
}

//! Placement: which ready task goes to which node next.
//!
//! Its cost for a task does not depend on how many tasks are queued, and grows with the logarithm
//! of the number of nodes: each shape keeps its nodes in order.

use core::time::Duration;
use std::collections::BTreeSet;

use crate::id::{ClientId, TaskId};
use crate::message::{SchedulerToClient, Stall};
use crate::scheduler::node::{NodeKey, Nodes};
use crate::scheduler::shape::{ShapeId, Vacancy};
use crate::scheduler::task::{Place, Recall, Room, State, Task};
use crate::scheduler::{Action, Scheduler};
use crate::time::{Time, earliest};

/// How much work a node is given beyond what it runs, for each slot: enough that short tasks never
/// wait for the network, too little for long ones to be hoarded.
const BACKLOG: Duration = Duration::from_millis(30);

/// How many tasks that is at most, for each slot: those that take next to no time.
const MAX_BACKLOG: u64 = 1_024;

/// How long a ready task waits for room before a node is drained for it.
const RESERVATION: Duration = Duration::from_secs(10);

/// How long a client's tasks are all ready and none is on a node before it is told why.
const STALL: Duration = Duration::from_secs(5);

/// How long it then takes until it is told again.
const STALL_AGAIN: Duration = Duration::from_mins(1);

/// How many tasks are taken back from a node at a time.
const MAX_RECALLS: usize = 64;

/// A node for a task, and whether it would run there at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) node: NodeKey,
    pub(super) room: Room,
}

/// What placement knows of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    shape: ShapeId,
    expected_us: Option<u32>,
    /// A node to stay away from, if there is another.
    avoid: Option<NodeKey>,
}

/// The best node for a task, if there is one now.
fn choose(nodes: &Nodes, wish: Wish) -> Option<Choice> {
    let order = &nodes.shapes.get(wish.shape).order;
    let mut best_first = order.iter();
    let &(standing, node) = best_first.next()?;
    if Some(node) == wish.avoid
        && let Some(&(standing, node)) = best_first.next()
    {
        // It waits there rather than kill a worker of the same node again.
        return Some(Choice { node, room: room(standing.vacancy) });
    }
    let is_short = || {
        let limit_us = u64::try_from(BACKLOG.as_micros()).unwrap_or(u64::MAX);
        let expected_us = wish.expected_us.map_or(u64::MAX, u64::from);
        let node = nodes.get(node);
        standing.load.saturating_add(expected_us) <= limit_us
            && node.backlog_length < MAX_BACKLOG * node.slots()
    };
    let is_open = standing.vacancy == Vacancy::Room || is_short();
    is_open.then_some(Choice { node, room: room(standing.vacancy) })
}

fn room(vacancy: Vacancy) -> Room {
    match vacancy {
        Vacancy::Room => Room::Held,
        Vacancy::Backlog => Room::Backlog,
    }
}

impl Scheduler {
    /// Places what can be placed.
    pub(super) fn place(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.serve_reservations(actions);
        let mut full = BTreeSet::new();
        let mut idle = BTreeSet::new();
        loop {
            let turn = self.turns.iter().find(|(_, client)| !idle.contains(client));
            let Some(&(_, client)) = turn else { break };
            match self.next_placement(now, client, &mut full) {
                Some((task, choice)) => self.assign(task, choice, actions),
                None => {
                    idle.insert(client);
                }
            }
        }
        for client in idle {
            self.note_stall(now, client, actions);
        }
        self.fail_hopeless(now, actions);
        self.level_backlogs(actions);
    }

    /// The next task of a client and of those nested in it that finds room, and where.
    fn next_placement(
        &mut self,
        now: Time,
        id: ClientId,
        full: &mut BTreeSet<(ShapeId, bool)>,
    ) -> Option<(TaskId, Choice)> {
        let tasks = &self.tasks;
        let client = self.clients.get_mut(&id)?;
        let is_ready = |task: TaskId| {
            let state = tasks.get(task.0).map(|task| &task.state);
            matches!(state, Some(State::Ready))
        };
        let mut heads = client.ready.heads(|entry| is_ready(entry.task));
        heads.sort_by_key(|&(rank, _, entry)| (rank, entry.age));
        for (rank, shape, entry) in heads {
            let is_nested = self.task(entry.task).depth > 0;
            if !full.contains(&(shape, is_nested)) {
                if let Some(choice) = self.choose_for(entry.task, shape) {
                    return Some((entry.task, choice));
                }
                full.insert((shape, is_nested));
            }
            let client = self.clients.get_mut(&id)?;
            let since = client.ready.block(rank, shape, entry.task, now);
            self.note_blocked(now, since, entry.task, shape);
        }
        None
    }

    fn choose_for(&self, id: TaskId, shape: ShapeId) -> Option<Choice> {
        let definition = self.definition(self.task(id).definition?);
        let expected_us = definition.expected_us;
        let avoid = self.avoided(id);
        // What submits tasks itself waits here: a node starts its backlog when others wait for their
        // children, and soon all of it would wait, before the first child has come.
        let choice = choose(&self.nodes, Wish { shape, expected_us, avoid })
            .filter(|choice| choice.room == Room::Held || !definition.has_nested);
        let is_nested = self.task(id).depth > 0;
        choice.or_else(|| is_nested.then(|| self.choose_reserved(shape)).flatten())
    }

    /// The node where a worker died under a task, or where an input of it could not be had.
    fn avoided(&self, id: TaskId) -> Option<NodeKey> {
        let death = self.deaths.get(&id).map(|deaths| deaths.last_node);
        let node = death.or_else(|| self.misses.get(&id).map(|misses| misses.last_node));
        node.and_then(|node| self.nodes.key(node))
    }

    /// A reserved node with room, for a nested task: the node may be draining of its parent.
    fn choose_reserved(&self, shape: ShapeId) -> Option<Choice> {
        let request = &self.nodes.shapes.get(shape).request;
        let mut reserved = self.reservations.keys().copied();
        let node = reserved.find(|key| self.nodes.get(*key).has_room(request))?;
        Some(Choice { node, room: Room::Held })
    }

    /// A task found no room: if that has been so for long, a node is drained for it.
    fn note_blocked(&mut self, now: Time, since: Time, id: TaskId, shape: ShapeId) {
        let due = since + RESERVATION;
        if now < due {
            self.next_look = earliest(self.next_look, Some(due));
        } else if !self.reservations.values().any(|&reserved| reserved == id) {
            self.reserve(id, shape);
            self.next_look = earliest(self.next_look, Some(now + RESERVATION));
        }
    }

    /// Fails what waits for more than any node has, or had within the hour.
    fn fail_hopeless(&mut self, now: Time, actions: &mut Vec<Action>) {
        for shape in core::mem::take(&mut self.unplaceable) {
            let request = self.nodes.shapes.get(shape).request.clone();
            let Some(failure) = self.infeasibility(now, &request) else { continue };
            let is_hopeless = |task: &Task| {
                matches!(task.state, State::Ready)
                    && self.standing(task).is_some_and(|(_, other)| other == shape)
            };
            let tasks = self.tasks.iter().filter(|(_, task)| is_hopeless(task));
            let tasks: Vec<TaskId> = tasks.map(|(key, _)| TaskId(key)).collect();
            for task in tasks {
                self.fail(task, failure.clone(), actions);
            }
        }
    }

    /// Drains the least used node that can take a task for it.
    fn reserve(&mut self, id: TaskId, shape: ShapeId) {
        let order = &self.nodes.shapes.get(shape).order;
        let Some(&(_, key)) = order.first() else {
            self.unplaceable.insert(shape);
            return;
        };
        self.reservations.insert(key, id);
        self.nodes.update(key, |node| node.reserved_for = Some(id));
    }

    /// Places the tasks for which nodes have drained, and frees nodes whose task needs none.
    fn serve_reservations(&mut self, actions: &mut Vec<Action>) {
        let reservations: Vec<(NodeKey, TaskId)> =
            self.reservations.iter().map(|(&key, &task)| (key, task)).collect();
        for (key, id) in reservations {
            let state = self.tasks.get(id.0).map(|task| &task.state);
            let is_ready = matches!(state, Some(State::Ready));
            let has_room = is_ready && self.nodes.get(key).has_room(&self.request(id));
            if is_ready && !has_room {
                continue;
            }
            self.reservations.remove(&key);
            self.nodes.update(key, |node| node.reserved_for = None);
            if has_room {
                self.assign(id, Choice { node: key, room: Room::Held }, actions);
            }
        }
    }

    /// Tells a client why nothing of it runs, once that has been so for a while.
    fn note_stall(&mut self, now: Time, id: ClientId, actions: &mut Vec<Action>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.assigned > 0 || client.ready.is_empty() {
            client.stalled = None;
            return;
        }
        let due = *client.stalled.get_or_insert(now + STALL);
        if now < due {
            self.next_look = earliest(self.next_look, Some(due));
            return;
        }
        client.stalled = Some(now + STALL_AGAIN);
        self.next_look = earliest(self.next_look, Some(now + STALL_AGAIN));
        let stall = self.stall(id);
        self.tell(id, SchedulerToClient::Stalled(stall), actions);
    }

    fn stall(&mut self, id: ClientId) -> Stall {
        if self.nodes.iter().all(|(_, node)| node.is_leaving()) {
            return Stall::NoNodes;
        }
        let tasks = &self.tasks;
        let client = self.clients.get_mut(&id);
        let heads =
            client.map(|client| client.ready.heads(|entry| tasks.get(entry.task.0).is_some()));
        let first = heads.and_then(|heads| heads.first().map(|head| head.1));
        let asked = first.map(|shape| self.nodes.shapes.get(shape).request.clone());
        Stall::NoRoom { asked: asked.unwrap_or_default() }
    }

    /// Takes back from the longest backlog what an idle node could start sooner.
    fn level_backlogs(&mut self, actions: &mut Vec<Action>) {
        if self.nodes.len() < 2 || self.counts.ready > 0 || self.counts.assigned == 0 {
            return;
        }
        for index in 0..self.nodes.shapes.bound() {
            let shape = ShapeId(index);
            let order = &self.nodes.shapes.get(shape).order;
            let has_room = order.first().is_some_and(|(best, _)| best.vacancy == Vacancy::Room);
            let longest = order.last().filter(|(worst, _)| worst.vacancy == Vacancy::Backlog);
            if let (true, Some(&(_, key))) = (has_room, longest) {
                self.recall_half(key, shape, actions);
            }
        }
    }

    /// Asks a node for the later half of what waits there in this shape. What stays away from
    /// another node waits there for that reason, and would only come back.
    fn recall_half(&mut self, key: NodeKey, shape: ShapeId, actions: &mut Vec<Action>) {
        let node = self.nodes.get(key);
        if node.recalled > 0 || node.backlog_length == 0 {
            return;
        }
        let waits = |id: &&TaskId| {
            let Some(task) = self.tasks.get(id.0) else { return false };
            let is_here = |place: Place| {
                place.node == key && place.room == Room::Backlog && place.recall == Recall::No
            };
            task.place().is_some_and(is_here)
                && self.standing(task).is_some_and(|(_, other)| other == shape)
                && self.avoided(**id).is_none()
        };
        let waiting: Vec<TaskId> = node.backlog.iter().filter(waits).copied().collect();
        let half = waiting.len().div_ceil(2).min(MAX_RECALLS);
        for &task in waiting.iter().rev().take(half) {
            self.recall(task, Recall::ForOtherNode, actions);
        }
    }
}

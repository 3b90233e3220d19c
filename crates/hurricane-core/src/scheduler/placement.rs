//! Placement: which ready task goes to which node next.
//!
//! Its cost for a task does not depend on how many tasks are queued, and grows with the logarithm
//! of the number of nodes: each shape keeps its nodes in order.

use core::time::Duration;

use crate::id::TaskId;
use crate::message::{SchedulerToClient, Stall};
use crate::scheduler::clients::ClientKey;
use crate::scheduler::locality::{self, Input};
use crate::scheduler::node::{NodeKey, Nodes};
use crate::scheduler::places::LEAST_EXPECTED_US;
use crate::scheduler::shape::ShapeId;
use crate::scheduler::task::{Place, Recall, Room, State, Task};
use crate::scheduler::{Action, Scheduler};
use crate::time::{Time, earliest, micros};

/// How much work a node is given beyond what it runs, for each slot: enough that short tasks never
/// wait for the network, too little for long ones to be hoarded.
pub(super) const BACKLOG: Duration = Duration::from_millis(30);

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

impl Choice {
    pub(super) fn new(node: NodeKey, has_room: bool) -> Self {
        Self { node, room: if has_room { Room::Held } else { Room::Backlog } }
    }

    pub(super) fn has_room(self) -> bool {
        self.room == Room::Held
    }
}

/// What placement knows of a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    pub(super) shape: ShapeId,
    pub(super) expected_us: Option<u32>,
    /// A node to stay away from, if there is another.
    pub(super) avoid: Option<NodeKey>,
    /// Whether it may wait in the backlog of a node.
    pub(super) may_wait: bool,
    /// Its stored input, if it has any.
    pub(super) input: Option<&'a Input>,
}

/// The best node for a task, if there is one now.
fn choose(nodes: &Nodes, wish: Wish) -> Option<Choice> {
    let best = least_used(nodes, wish).filter(|choice| choice.has_room() || wish.may_wait);
    match wish.input {
        Some(input) => locality::choose(nodes, wish, input, best),
        None => best,
    }
}

/// The node with the most room for a task, if one is open to more work.
fn least_used(nodes: &Nodes, wish: Wish) -> Option<Choice> {
    let order = &nodes.shapes.get(wish.shape).order;
    let (bucket, node) = order.first()?;
    if Some(node) == wish.avoid
        && let Some((bucket, node)) = order.iter().nth(1)
    {
        // It waits there rather than kill a worker of the same node again.
        return Some(Choice::new(node, bucket.has_room()));
    }
    let is_short = || {
        let expected_us = u64::from(wish.expected_us?.max(LEAST_EXPECTED_US));
        let node = nodes.get(node);
        Some(node.backlog_us / node.slots() + expected_us <= micros(BACKLOG))
    };
    let is_open = bucket.has_room() || is_short().unwrap_or(false);
    is_open.then(|| Choice::new(node, bucket.has_room()))
}

impl Scheduler {
    /// Places what can be placed, if anything has happened that may let it.
    pub(super) fn place(&mut self, now: Time, actions: &mut Vec<Action>) {
        if !self.is_unsettled && !self.nodes.have_changed {
            return;
        }
        self.serve_reservations(actions);
        let reserved = self.reservations.len();
        if !self.turns.is_empty() {
            self.place_in_turn(now, actions);
        }
        // A node that drains has room for nested tasks, which were perhaps looked at before.
        self.is_unsettled = self.reservations.len() > reserved;
        self.nodes.have_changed = false;
        if !self.unplaceable.is_empty() {
            self.fail_hopeless(now, actions);
        }
        self.level_backlogs(actions);
    }

    /// Places a task that waits for nothing but room, if it has some and nothing is before it:
    /// what making it ready and placing what is ready comes to, in one step.
    pub(super) fn place_at_once(&mut self, id: TaskId, actions: &mut Vec<Action>) -> bool {
        if !self.turns.is_empty() || !self.reservations.is_empty() {
            return false;
        }
        let task = self.task(id);
        let Some((_, shape)) = self.standing(task).filter(|_| task.links.is_none()) else {
            return false;
        };
        let choice = self.choose_for(id, shape);
        choice.inspect(|&choice| self.assign(id, choice, actions)).is_some()
    }

    /// Goes round the clients until nothing that is left finds room.
    fn place_in_turn(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.rounds += 1;
        let round = self.rounds;
        loop {
            let clients = &self.clients;
            let is_idle = |key| clients.get(key).is_none_or(|client| client.idle_in == round);
            let Some(turn) = self.turns.iter().find(|turn| !is_idle(turn.key)) else { break };
            match self.next_placement(turn.key) {
                Some((task, choice)) => self.assign(task, choice, actions),
                None => self.note_idle(now, turn.key, actions),
            }
        }
    }

    /// The next task of a client and of those nested in it that finds room, and where.
    fn next_placement(&mut self, key: ClientKey) -> Option<(TaskId, Choice)> {
        let round = self.rounds;
        loop {
            let tasks = &self.tasks;
            let ready = &mut self.clients.get_mut(key)?.ready;
            let head = ready.first(round, |id| is_ready(tasks.get(id.0)))?;
            if let Some(choice) = self.choose_for(head.entry.task, head.lane.shape) {
                return Some((head.entry.task, choice));
            }
            // It holds up what stands behind it, and no other client: theirs may be less choosy.
            self.clients.get_mut(key)?.ready.fill(head.lane, round);
        }
    }

    /// Nothing more of a client finds room in this round.
    fn note_idle(&mut self, now: Time, key: ClientKey, actions: &mut Vec<Action>) {
        let tasks = &self.tasks;
        let Some(client) = self.clients.get_mut(key) else { return };
        client.idle_in = self.rounds;
        let is_ready = |id: TaskId| is_ready(tasks.get(id.0));
        let mut overdue = Vec::new();
        for (head, since) in client.ready.block(now, is_ready) {
            let due = since + RESERVATION;
            if now < due {
                self.next_look = earliest(self.next_look, Some(due));
            } else {
                overdue.push(head);
            }
        }
        for head in overdue {
            self.note_overdue(now, head.entry.task, head.lane.shape);
        }
        self.note_stall(now, key, actions);
    }

    pub(super) fn choose_for(&self, id: TaskId, shape: ShapeId) -> Option<Choice> {
        let task = self.task(id);
        let definition = self.definition(task.definition()?);
        let wish = Wish {
            shape,
            expected_us: definition.expected_us,
            avoid: self.avoided(id),
            // What submits tasks itself waits here: a node starts its backlog when others wait for
            // their children, and soon all of it would wait, before the first child has come.
            may_wait: !definition.has_nested,
            input: task.links.as_ref().and_then(|links| links.input.as_deref()),
        };
        let choice = choose(&self.nodes, wish);
        choice.or_else(|| (task.depth > 0).then(|| self.choose_reserved(shape)).flatten())
    }

    /// The node where a worker died under a task, or where an input of it could not be had.
    fn avoided(&self, id: TaskId) -> Option<NodeKey> {
        if self.deaths.is_empty() && self.misses.is_empty() {
            return None;
        }
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

    /// A task has found no room for long: a node is drained for it.
    fn note_overdue(&mut self, now: Time, id: TaskId, shape: ShapeId) {
        if !self.reservations.values().any(|&reserved| reserved == id) {
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
        let Some((_, key)) = self.nodes.shapes.get(shape).order.first() else {
            self.unplaceable.insert(shape);
            return;
        };
        self.reservations.insert(key, id);
        self.nodes.update(key, |node| node.reserved_for = Some(id));
    }

    /// Places the tasks for which nodes have drained, and frees nodes whose task needs none.
    fn serve_reservations(&mut self, actions: &mut Vec<Action>) {
        if self.reservations.is_empty() {
            return;
        }
        let reservations: Vec<(NodeKey, TaskId)> =
            self.reservations.iter().map(|(&key, &task)| (key, task)).collect();
        for (key, id) in reservations {
            let is_ready = is_ready(self.tasks.get(id.0));
            let has_room = is_ready && self.has_room(key, id);
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
    fn note_stall(&mut self, now: Time, id: ClientKey, actions: &mut Vec<Action>) {
        let Some(client) = self.clients.get_mut(id) else { return };
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

    fn stall(&mut self, id: ClientKey) -> Stall {
        if self.nodes.iter().all(|(_, node)| node.is_leaving()) {
            return Stall::NoNodes;
        }
        let tasks = &self.tasks;
        let client = self.clients.get_mut(id);
        let first =
            client.and_then(|client| client.ready.first(u64::MAX, |id| is_ready(tasks.get(id.0))));
        let shape = first.map(|head| head.lane.shape);
        let asked = shape.map(|shape| self.nodes.shapes.get(shape).request.clone());
        Stall::NoRoom { asked: asked.unwrap_or_default() }
    }

    /// Takes back from the longest backlog what an idle node could start sooner.
    fn level_backlogs(&mut self, actions: &mut Vec<Action>) {
        if self.nodes.len() < 2 || !self.turns.is_empty() {
            return;
        }
        for shape in (0..self.nodes.shapes.bound()).map(ShapeId) {
            let order = &self.nodes.shapes.get(shape).order;
            if let Some((idle, longest)) = order.extremes() {
                self.recall_half(longest, idle, shape, actions);
            }
        }
    }

    /// Asks a node for the later half of what waits there in this shape. What stays away from
    /// another node waits there for that reason, and would only come back; so would what has its
    /// input there sooner than on the idle node.
    fn recall_half(
        &mut self,
        key: NodeKey,
        idle: NodeKey,
        shape: ShapeId,
        actions: &mut Vec<Action>,
    ) {
        let node = self.nodes.get(key);
        if node.recalled > 0 || node.backlog_length == 0 {
            return;
        }
        // What runs is half over, and whatever stands before a task in the backlog is before it.
        let mut before_us = node.held_us / 2;
        let mut waiting = Vec::new();
        for &id in &node.backlog {
            let Some(task) = self.tasks.get(id.0) else { continue };
            let is_here = |place: &Place| place.node == key && place.room == Room::Backlog;
            let Some(place) = task.place().filter(is_here) else { continue };
            let wait_us = before_us / node.slots();
            before_us += u64::from(place.expected_us);
            let may_go = place.recall == Recall::No
                && self.standing(task).is_some_and(|(_, other)| other == shape)
                && self.avoided(id).is_none()
                && !self.is_near(task, wait_us, key, idle);
            if may_go {
                waiting.push(id);
            }
        }
        let half = waiting.len().div_ceil(2).min(MAX_RECALLS);
        for &task in waiting.iter().rev().take(half) {
            self.recall(task, Recall::ForOtherNode, actions);
        }
    }
}

fn is_ready(task: Option<&Task>) -> bool {
    task.is_some_and(|task| matches!(task.state, State::Ready))
}

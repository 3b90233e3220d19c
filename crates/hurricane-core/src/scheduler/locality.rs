//! Where a task's input is: it runs there, unless waiting for that costs more than moving the input.

use core::cmp::Reverse;
use std::collections::BTreeMap;

use crate::id::{NodeId, TaskId};
use crate::message::{Stored, Value};
use crate::scheduler::Scheduler;
use crate::scheduler::node::{Node, NodeKey, Nodes};
use crate::scheduler::order::Bucket;
use crate::scheduler::placement::{Choice, Wish};
use crate::scheduler::task::Task;

/// How fast values are taken to move between nodes: what a network of one gigabit a second carries,
/// the slowest that clusters are built with. A faster one is found out by nobody but the user, who
/// waits no longer than it takes to move all of it at this rate.
const MOVED_BYTES_PER_MICRO: u64 = 100;

/// How many nodes are considered for what they hold: the others hold less than each of these.
const MAX_HOLDERS: usize = 4;

/// The stored input of a task that is ready.
#[derive(Debug)]
pub(super) struct Input {
    bytes: u64,
    /// The nodes that hold most of it, and how much; the largest first.
    holders: Vec<(NodeId, u64)>,
}

impl Input {
    /// How long it takes to bring to a node what is not there.
    fn move_us(&self, node: NodeId) -> u64 {
        (self.bytes - self.bytes_on(node)) / MOVED_BYTES_PER_MICRO
    }

    fn bytes_on(&self, node: NodeId) -> u64 {
        let holder = self.holders.iter().find(|(holder, _)| *holder == node);
        holder.map_or(0, |(_, bytes)| *bytes)
    }
}

/// The node where a task has its input soonest, and room: `best` if that is the one with the most
/// room, or one that holds much of the input. If no node is open to more work, it is a holder for
/// which it is worth to wait there even if another had room at once.
pub(super) fn choose(
    nodes: &Nodes,
    wish: Wish,
    input: &Input,
    best: Option<Choice>,
) -> Option<Choice> {
    let cost_us = |node: &Node, has_room: bool| {
        let wait_us = if has_room { 0 } else { node.wait_us() };
        wait_us.saturating_add(input.move_us(node.id))
    };
    let holders = input.holders.iter().filter_map(|(id, _)| {
        let key = nodes.key(*id).filter(|key| Some(*key) != wish.avoid)?;
        let has_room = nodes.bucket(key, wish.shape).map(Bucket::has_room)?;
        let cost_us = cost_us(nodes.get(key), has_room);
        (has_room || wish.may_wait).then(|| (cost_us, Choice::new(key, has_room)))
    });
    let nearest = holders.min_by_key(|(cost_us, _)| *cost_us);
    let limit_us = match best {
        Some(best) => cost_us(nodes.get(best.node), best.has_room()),
        None => input.bytes / MOVED_BYTES_PER_MICRO,
    };
    nearest.filter(|(cost_us, _)| *cost_us <= limit_us).map(|(_, choice)| choice).or(best)
}

impl Scheduler {
    /// Notes where the stored input of a task is that has become ready.
    pub(super) fn find_input(&mut self, id: TaskId) {
        let task = self.task(id);
        if task.dependencies().is_empty() {
            return;
        }
        let mut holders: BTreeMap<NodeId, u64> = BTreeMap::new();
        for dependency in task.dependencies() {
            // What is kept beside the scheduler is as far from one node as from any other.
            if let Some(Value::Stored(Stored { object, size_bytes })) =
                self.task(*dependency).value()
                && object.node != NodeId::SCHEDULER
            {
                let bytes = holders.entry(object.node).or_default();
                *bytes = bytes.saturating_add(*size_bytes);
            }
        }
        let bytes = holders.values().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
        let mut holders: Vec<(NodeId, u64)> = holders.into_iter().collect();
        holders.sort_by_key(|(_, bytes)| Reverse(*bytes));
        holders.truncate(MAX_HOLDERS);
        let input = (bytes > 0).then(|| Box::new(Input { bytes, holders }));
        self.task_mut(id).links_mut().input = input;
    }

    /// Whether a task that waits so long on a node has its input there sooner than it could be moved
    /// to another that has room.
    pub(super) fn is_near(&self, task: &Task, wait_us: u64, key: NodeKey, other: NodeKey) -> bool {
        let input = task.links.as_ref().and_then(|links| links.input.as_ref());
        input.is_some_and(|input| {
            let (node, other) = (self.nodes.get(key).id, self.nodes.get(other).id);
            wait_us.saturating_add(input.move_us(node)) <= input.move_us(other)
        })
    }
}

//! The ready tasks of a client and of those nested in its tasks, in the order in which they run.

use core::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use crate::id::TaskId;
use crate::scheduler::shape::ShapeId;
use crate::time::Time;

/// Tasks between which only their age decides: larger priority first, then children before what
/// their parents' generation left, so that nesting goes deep before it goes wide.
pub(super) type Rank = (Reverse<i32>, Reverse<u16>);

/// Ready tasks by rank and shape, the oldest first in each.
#[derive(Debug, Default)]
pub(super) struct Ready {
    groups: BTreeMap<(Rank, ShapeId), Group>,
    /// How many are in it.
    length: u64,
}

/// Ready tasks of one rank and shape.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// By age. Some are ready no more, or stand here twice: whoever looks knows.
    entries: VecDeque<Entry>,
    /// The task that was its first when it last found no room, and since when it did not.
    blocked: Option<(TaskId, Time)>,
}

/// A ready task's place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// When it was submitted: the how-manieth it was.
    pub(super) age: u64,
    pub(super) task: TaskId,
}

impl Ready {
    pub(super) fn push(&mut self, rank: Rank, shape: ShapeId, entry: Entry) {
        let entries = &mut self.groups.entry((rank, shape)).or_default().entries;
        // Tasks that return from a node keep their age: they go before what came later.
        let position = entries.partition_point(|other| other.age < entry.age);
        entries.insert(position, entry);
        self.length += 1;
    }

    /// A task that was pushed is ready no more.
    pub(super) fn forget_one(&mut self) {
        self.length -= 1;
    }

    pub(super) fn len(&self) -> u64 {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Removes what `is_ready` denies from the front of each group, and groups with nothing left;
    /// returns the first of each group in their order.
    pub(super) fn heads(
        &mut self,
        is_ready: impl Fn(Entry) -> bool,
    ) -> Vec<(Rank, ShapeId, Entry)> {
        let mut heads = Vec::with_capacity(self.groups.len());
        self.groups.retain(|&(rank, shape), group| {
            while group.entries.front().is_some_and(|entry| !is_ready(*entry)) {
                group.entries.pop_front();
            }
            let head = group.entries.front();
            head.map(|&entry| heads.push((rank, shape, entry))).is_some()
        });
        heads
    }

    /// Notes that the first of a group found no room at `now`; returns since when it finds none.
    pub(super) fn block(&mut self, rank: Rank, shape: ShapeId, task: TaskId, now: Time) -> Time {
        let Some(group) = self.groups.get_mut(&(rank, shape)) else { return now };
        match group.blocked {
            Some((blocked, since)) if blocked == task => since,
            _ => {
                group.blocked = Some((task, now));
                now
            }
        }
    }
}

//! The ready tasks of a client and of those nested in its tasks, in the order in which they run.

use core::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use crate::id::TaskId;
use crate::scheduler::shape::ShapeId;
use crate::time::Time;

/// Tasks between which only their age decides: larger priority first, then children before what
/// their parents' generation left, so that nesting goes deep before it goes wide.
pub(super) type Rank = (Reverse<i32>, Reverse<u16>);

/// The capacity that an empty queue keeps for what comes next.
const KEPT_CAPACITY: usize = 1 << 10;

/// Ready tasks by shape and rank, the oldest first in each.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// By shape. The last one stays when it is empty: mostly there is but one.
    lanes: Vec<Lane>,
    /// How many ready tasks there are.
    length: u64,
}

/// What finds room where any other of it does: tasks of one shape, nested ones apart from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneId {
    pub(super) shape: ShapeId,
    pub(super) is_nested: bool,
}

#[derive(Debug)]
struct Lane {
    id: LaneId,
    /// The last one stays when it is empty.
    groups: BTreeMap<Rank, Group>,
    /// The last round of placement in which its first found no room.
    full_in: u64,
}

/// Tasks of one lane and rank.
#[derive(Debug, Default)]
struct Group {
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

/// The first of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) lane: LaneId,
    pub(super) rank: Rank,
    pub(super) entry: Entry,
}

impl Ready {
    /// Puts a task that is ready, and counted as such, into its lane. Returns whether it may be the
    /// first there: behind another it has to wait for that one.
    pub(super) fn push(&mut self, shape: ShapeId, rank: Rank, entry: Entry) -> bool {
        let id = LaneId { shape, is_nested: rank.1.0 > 0 };
        let index = self.lanes.binary_search_by_key(&id, |lane| lane.id).unwrap_or_else(|index| {
            self.lanes.insert(index, Lane { id, groups: BTreeMap::new(), full_in: 0 });
            index
        });
        let groups = &mut self.lanes[index].groups;
        let entries = &mut groups.entry(rank).or_default().entries;
        // Tasks that return from a node keep their age: they go before what came later.
        let is_latest = entries.back().is_none_or(|last| last.age < entry.age);
        let position = if is_latest {
            entries.push_back(entry);
            entries.len() - 1
        } else {
            let position = entries.partition_point(|other| other.age < entry.age);
            entries.insert(position, entry);
            position
        };
        // What stands before the only one is ready no more.
        position == 0 || self.length <= 1
    }

    /// So many tasks more, or fewer, are ready.
    pub(super) fn count(&mut self, change: i64) {
        self.length = self.length.saturating_add_signed(change);
    }

    pub(super) fn len(&self) -> u64 {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The first of this lane found no room in this round.
    pub(super) fn fill(&mut self, id: LaneId, round: u64) {
        if let Ok(index) = self.lanes.binary_search_by_key(&id, |lane| lane.id) {
            self.lanes[index].full_in = round;
        }
    }

    /// The first task of all lanes but those that are full in this round. What `is_ready` denies is
    /// removed on the way.
    pub(super) fn first(&mut self, round: u64, is_ready: impl Fn(TaskId) -> bool) -> Option<Head> {
        let mut first: Option<Head> = None;
        let mut index = 0;
        while let Some(lane) = self.lanes.get_mut(index) {
            index += 1;
            if lane.full_in == round {
                continue;
            }
            let Some(head) = lane.head(&is_ready) else {
                if self.lanes.len() > 1 {
                    index -= 1;
                    self.lanes.remove(index);
                }
                continue;
            };
            if first.is_none_or(|first| head.order() < first.order()) {
                first = Some(head);
            }
        }
        first
    }

    /// The first task of each lane, which found no room at `now`, and since when it finds none.
    pub(super) fn block(
        &mut self,
        now: Time,
        is_ready: impl Fn(TaskId) -> bool,
    ) -> impl Iterator<Item = (Head, Time)> {
        self.lanes.iter_mut().filter_map(move |lane| {
            let head = lane.head(&is_ready)?;
            let group = lane.groups.first_entry()?.into_mut();
            let since = match group.blocked {
                Some((blocked, since)) if blocked == head.entry.task => since,
                _ => now,
            };
            group.blocked = Some((head.entry.task, since));
            Some((head, since))
        })
    }
}

impl Lane {
    fn head(&mut self, is_ready: impl Fn(TaskId) -> bool) -> Option<Head> {
        loop {
            let is_last = self.groups.len() == 1;
            let mut first = self.groups.first_entry()?;
            let (rank, entries) = (*first.key(), &mut first.get_mut().entries);
            while let Some(&entry) = entries.front() {
                if is_ready(entry.task) {
                    return Some(Head { lane: self.id, rank, entry });
                }
                entries.pop_front();
            }
            if is_last {
                entries.shrink_to(KEPT_CAPACITY);
                return None;
            }
            self.groups.pop_first();
        }
    }
}

impl Head {
    /// Which of several goes first.
    fn order(&self) -> (Rank, u64) {
        (self.rank, self.entry.age)
    }
}

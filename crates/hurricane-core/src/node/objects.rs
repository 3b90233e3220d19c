//! The objects in the node's store: its own, and copies of other nodes' for as long as a task here
//! needs them. The bytes are the runtime's.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{NodeId, ObjectId, ObjectNumber, TaskId};
use crate::message::Stored;

/// What is in the store, or on its way there.
#[derive(Debug)]
pub(super) struct Objects {
    node: NodeId,
    /// The size of each own object.
    own: BTreeMap<ObjectNumber, u64>,
    made: u64,
    copies: BTreeMap<ObjectId, Copied>,
}

/// A copy of another node's object.
#[derive(Debug, Default)]
struct Copied {
    is_here: bool,
    users: BTreeSet<TaskId>,
}

/// How an object stands to a task that needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is here.
    Here,
    /// It is on its way.
    Coming,
    /// It must be fetched: nobody needed it before.
    Absent,
    /// It was this node's own, and is gone.
    Lost,
}

impl Objects {
    /// An empty store of this node.
    pub(super) fn new(node: NodeId) -> Self {
        Self { node, own: BTreeMap::new(), made: 0, copies: BTreeMap::new() }
    }

    /// Makes an own object.
    pub(super) fn make(&mut self, size_bytes: u64) -> Stored {
        self.made += 1;
        let number = ObjectNumber(self.made);
        self.own.insert(number, size_bytes);
        Stored { object: ObjectId { node: self.node, number }, size_bytes }
    }

    /// Forgets an own object; its name, if it was there.
    pub(super) fn drop_own(&mut self, number: ObjectNumber) -> Option<ObjectId> {
        self.own.remove(&number)?;
        Some(ObjectId { node: self.node, number })
    }

    /// The size of an own object that is here.
    pub(super) fn own_size_bytes(&self, object: ObjectId) -> Option<u64> {
        self.own.get(&object.number).copied().filter(|_| self.is_own(object))
    }

    pub(super) fn is_own(&self, object: ObjectId) -> bool {
        object.node == self.node
    }

    /// A task needs this object from now on, if it is another node's until it gives it up.
    pub(super) fn need(&mut self, object: ObjectId, task: TaskId) -> Presence {
        if self.is_own(object) {
            let is_here = self.own.contains_key(&object.number);
            return if is_here { Presence::Here } else { Presence::Lost };
        }
        let is_new = !self.copies.contains_key(&object);
        let copy = self.copies.entry(object).or_default();
        copy.users.insert(task);
        match copy.is_here {
            true => Presence::Here,
            false if is_new => Presence::Absent,
            false => Presence::Coming,
        }
    }

    /// A task needs this copy no more. True if it must be dropped. One that is on its way stays
    /// known until it arrives.
    pub(super) fn give_up(&mut self, object: ObjectId, task: TaskId) -> bool {
        let Some(copy) = self.copies.get_mut(&object) else { return false };
        copy.users.remove(&task);
        let is_dropped = copy.is_here && copy.users.is_empty();
        if is_dropped {
            self.copies.remove(&object);
        }
        is_dropped
    }

    /// A copy that was on its way is here, or cannot be had. The tasks that wait for it; none if it
    /// was not on its way.
    pub(super) fn arrive(&mut self, object: ObjectId, is_here: bool) -> Option<Vec<TaskId>> {
        let copy = self.copies.get_mut(&object).filter(|copy| !copy.is_here)?;
        let users: Vec<TaskId> = copy.users.iter().copied().collect();
        copy.is_here = is_here;
        if !is_here || users.is_empty() {
            self.copies.remove(&object);
        }
        Some(users)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.copies.is_empty()
    }

    /// Panics unless exactly these tasks use copies.
    pub(super) fn sanity_check(&self, uses: impl Iterator<Item = (ObjectId, TaskId)>) {
        let mut expected = 0;
        for (object, task) in uses {
            let is_known = self.copies.get(&object).is_some_and(|copy| copy.users.contains(&task));
            assert!(is_known, "task {task} uses {object:?}");
            expected += 1;
        }
        let counted: usize = self.copies.values().map(|copy| copy.users.len()).sum();
        assert_eq!(counted, expected, "each user of a copy is here and names it once");
        let is_useful = |copy: &Copied| !copy.is_here || !copy.users.is_empty();
        assert!(self.copies.values().all(is_useful), "a copy that nobody needs goes");
    }
}

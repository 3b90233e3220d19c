//! The nodes as the scheduler sees them: what is in use there, what waits there, and for each shape
//! which of them should get its next task.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::budget::{Budget, Limits};
use crate::id::{DefinitionId, NodeId, ObjectNumber, TaskId};
use crate::node::output;
use crate::resources::{PARTS, Resources};
use crate::scheduler::shape::{ShapeId, Shapes, Standing, Vacancy};

/// What the tasks of a node may write: eight times of what an honest one lets through, for what
/// gathered while its link was down, and for what a message costs beside its text.
const OUTPUT: Limits = {
    let Limits { rate, burst, resume } = output::OUTPUT;
    Limits { rate: 8 * rate, burst: 8 * burst, resume }
};

/// A node's index in [`Nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeKey(pub(super) u32);

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) name: Box<str>,
    pub(super) resources: Resources,
    pub(super) used: Resources,
    /// The tasks that are here, in no order: each knows its index.
    pub(super) tasks: Vec<TaskId>,
    /// Those that wait here for room, in their order; some are here no more.
    pub(super) backlog: VecDeque<TaskId>,
    pub(super) backlog_length: u64,
    pub(super) backlog_us: u64,
    /// How many of them it was asked to give back.
    pub(super) recalled: u64,
    /// How many of its tasks gave their room back while they wait for their children.
    pub(super) waiting: u32,
    pub(super) finished: u64,
    /// What its tasks may write to their clients now.
    pub(super) output: Budget,
    /// The definitions it was told.
    pub(super) definitions: BTreeSet<DefinitionId>,
    /// The objects it holds, by the task each is the value of.
    pub(super) objects: BTreeMap<ObjectNumber, TaskId>,
    /// The task for which it drains.
    pub(super) reserved_for: Option<TaskId>,
    pub(super) stay: Stay,
    /// Its standing by shape.
    standings: Vec<Option<Standing>>,
}

/// Whether a node is to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    Stays,
    /// It will leave: nothing new is assigned to it.
    Leaves,
    /// Besides, nothing is assigned to it any more, and it was told so, or it is lost.
    IsLetGo,
}

impl Node {
    pub(super) fn new(id: NodeId, name: Box<str>, resources: Resources) -> Self {
        Self {
            id,
            name,
            resources,
            used: Resources::default(),
            tasks: Vec::new(),
            backlog: VecDeque::new(),
            backlog_length: 0,
            backlog_us: 0,
            recalled: 0,
            waiting: 0,
            finished: 0,
            output: Budget::new(OUTPUT),
            definitions: BTreeSet::new(),
            objects: BTreeMap::new(),
            reserved_for: None,
            stay: Stay::Stays,
            standings: Vec::new(),
        }
    }

    /// Whether `request` fits into what is free now.
    pub(super) fn has_room(&self, request: &Resources) -> bool {
        self.resources.without(&self.used).covers(request)
    }

    /// Whether it will leave.
    pub(super) fn is_leaving(&self) -> bool {
        self.stay != Stay::Stays
    }

    /// How many default tasks run here at a time.
    pub(super) fn slots(&self) -> u64 {
        (self.resources.cpus.0 / PARTS).max(1)
    }

    /// How well it can take a task that asks for `request`, if it ever can.
    fn standing(&self, request: &Resources) -> Option<Standing> {
        let takes_none = self.is_leaving() || self.reserved_for.is_some();
        if takes_none || !self.resources.serves(request) {
            return None;
        }
        if self.has_room(request) {
            let load = self.used.cpus.0.saturating_mul(PARTS) / self.resources.cpus.0.max(1);
            return Some(Standing { vacancy: Vacancy::Room, load });
        }
        let load = self.backlog_us / self.slots();
        Some(Standing { vacancy: Vacancy::Backlog, load })
    }
}

/// All nodes and the shapes of what they run.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    entries: Vec<Option<Node>>,
    by_id: BTreeMap<NodeId, NodeKey>,
    vacant: Vec<NodeKey>,
    pub(super) shapes: Shapes,
}

impl Nodes {
    /// Adds a node whose id is new.
    pub(super) fn insert(&mut self, node: Node) -> NodeKey {
        let id = node.id;
        let key = self.vacant.pop().unwrap_or_else(|| {
            NodeKey(u32::try_from(self.entries.len()).expect("nodes are limited far below"))
        });
        match self.entries.get_mut(key.0 as usize) {
            Some(vacant) => *vacant = Some(node),
            None => self.entries.push(Some(node)),
        }
        self.by_id.insert(id, key);
        self.enter_standings(key);
        key
    }

    pub(super) fn remove(&mut self, key: NodeKey) -> Option<Node> {
        let node = self.entries.get_mut(key.0 as usize)?.take()?;
        for (index, standing) in (0..).zip(&node.standings) {
            if let Some(standing) = standing {
                self.shapes.get_mut(ShapeId(index)).order.remove(&(*standing, key));
            }
        }
        self.by_id.remove(&node.id);
        self.vacant.push(key);
        Some(node)
    }

    pub(super) fn key(&self, id: NodeId) -> Option<NodeKey> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn get(&self, key: NodeKey) -> &Node {
        self.entries[key.0 as usize].as_ref().expect("a key is dropped with its node")
    }

    /// For changes that leave its standings as they are; else see [`Self::update`].
    pub(super) fn get_mut(&mut self, key: NodeKey) -> &mut Node {
        self.entries[key.0 as usize].as_mut().expect("a key is dropped with its node")
    }

    /// Changes a node, and its standings with it.
    pub(super) fn update(&mut self, key: NodeKey, change: impl FnOnce(&mut Node)) {
        change(self.get_mut(key));
        self.enter_standings(key);
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// All nodes, in the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeKey, &Node)> {
        self.by_id.values().map(|&key| (key, self.get(key)))
    }

    /// Claims the shape of a new definition; none if there are too many shapes.
    pub(super) fn claim_shape(&mut self, request: &Resources) -> Option<ShapeId> {
        let (shape, is_new) = self.shapes.claim(request)?;
        if is_new {
            let keys: Vec<NodeKey> = self.by_id.values().copied().collect();
            for key in keys {
                self.enter_standing(key, shape);
            }
        }
        Some(shape)
    }

    /// A definition of this shape is gone.
    pub(super) fn release_shape(&mut self, shape: ShapeId) {
        if !self.shapes.release(shape) {
            return;
        }
        for node in self.entries.iter_mut().flatten() {
            if let Some(standing) = node.standings.get_mut(shape.0 as usize) {
                *standing = None;
            }
        }
    }

    fn enter_standings(&mut self, key: NodeKey) {
        for index in 0..self.shapes.bound() {
            if self.shapes.is_live(ShapeId(index)) {
                self.enter_standing(key, ShapeId(index));
            }
        }
    }

    fn enter_standing(&mut self, key: NodeKey, shape: ShapeId) {
        let node = self.entries[key.0 as usize].as_mut().expect("a key is dropped with its node");
        let entry = self.shapes.get_mut(shape);
        let index = shape.0 as usize;
        if node.standings.len() <= index {
            node.standings.resize(index + 1, None);
        }
        let standing = node.standing(&entry.request);
        let former = core::mem::replace(&mut node.standings[index], standing);
        if former == standing {
            return;
        }
        if let Some(former) = former {
            entry.order.remove(&(former, key));
        }
        if let Some(standing) = standing {
            entry.order.insert((standing, key));
        }
    }
}

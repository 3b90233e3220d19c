//! The nodes as the scheduler sees them: what is in use there, what waits there, and for each shape
//! which of them should get its next task.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::budget::{Budget, Limits};
use crate::id::{DefinitionId, NodeId, ObjectNumber, TaskId};
use crate::node::output;
use crate::resources::{PARTS, Resources};
use crate::scheduler::directory::Directory;
use crate::scheduler::order::Bucket;
use crate::scheduler::shape::{ShapeId, Shapes};
use crate::scheduler::task::{Place, Room};

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
    slots: u64,
    pub(super) used: Resources,
    /// The tasks that are here, in no order: each knows its index.
    pub(super) tasks: Vec<TaskId>,
    /// Those that wait here for room, in their order; some are here no more.
    pub(super) backlog: VecDeque<TaskId>,
    pub(super) backlog_length: u64,
    pub(super) backlog_us: u64,
    /// How long the tasks that have room are expected to run in all.
    pub(super) held_us: u64,
    /// How many of them it was asked to give back.
    pub(super) recalled: u64,
    /// How many of its tasks gave their room back while they wait for their children.
    pub(super) waiting: u32,
    pub(super) finished: u64,
    /// What its tasks may write to their clients now.
    pub(super) output: Budget,
    /// The definitions it was told, and the one that it was asked to run last.
    pub(super) definitions: BTreeSet<DefinitionId>,
    pub(super) last_definition: Option<DefinitionId>,
    /// The objects it holds, by the task each is the value of.
    pub(super) objects: BTreeMap<ObjectNumber, TaskId>,
    /// The task for which it drains.
    pub(super) reserved_for: Option<TaskId>,
    pub(super) stay: Stay,
    /// Its standing by shape.
    standings: Vec<Standing>,
}

/// Where a node stands in the order of a shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    /// The shape is new.
    #[default]
    Unknown,
    /// It can never take it.
    Never,
    /// It takes nothing now.
    Out,
    In(Bucket),
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
            slots: (resources.cpus.0 / PARTS).max(1),
            resources,
            used: Resources::default(),
            tasks: Vec::new(),
            backlog: VecDeque::new(),
            backlog_length: 0,
            backlog_us: 0,
            held_us: 0,
            recalled: 0,
            waiting: 0,
            finished: 0,
            output: Budget::new(OUTPUT),
            definitions: BTreeSet::new(),
            last_definition: None,
            objects: BTreeMap::new(),
            reserved_for: None,
            stay: Stay::Stays,
            standings: Vec::new(),
        }
    }

    /// Whether `request` fits into what is free now.
    #[inline]
    pub(super) fn has_room(&self, request: &Resources) -> bool {
        self.resources.have_room(&self.used, request)
    }

    /// Whether it will leave.
    #[inline]
    pub(super) fn is_leaving(&self) -> bool {
        self.stay != Stay::Stays
    }

    /// How many default tasks run here at a time.
    #[inline]
    pub(super) fn slots(&self) -> u64 {
        self.slots
    }

    /// How long a task waits here for room, about: half of what runs is over, and all that waits is
    /// before it.
    pub(super) fn wait_us(&self) -> u64 {
        (self.held_us / 2 + self.backlog_us) / self.slots()
    }

    /// Where it stands for what asks for `request`.
    #[inline]
    fn standing(&self, request: &Resources) -> Standing {
        if self.is_leaving() || self.reserved_for.is_some() {
            Standing::Out
        } else if self.has_room(request) {
            Standing::In(Bucket::room(self.used.cpus.0, self.resources.cpus.0))
        } else {
            Standing::In(Bucket::backlog(self.backlog_us / self.slots()))
        }
    }

    /// Counts a task in or out that has its room there, or waits for it. The node's standings are to
    /// be entered after that, and once is enough for several tasks.
    #[inline]
    pub(super) fn count(&mut self, place: Place, request: &Resources, is_there: bool) {
        match (place.room, is_there) {
            (Room::Held, true) => {
                self.used.add(request);
                self.held_us += u64::from(place.expected_us);
            }
            (Room::Held, false) => {
                self.used.remove(request);
                self.held_us -= u64::from(place.expected_us);
            }
            (Room::Backlog, true) => {
                self.backlog_length += 1;
                self.backlog_us += u64::from(place.expected_us);
            }
            (Room::Backlog, false) => {
                self.backlog_length -= 1;
                self.backlog_us -= u64::from(place.expected_us);
            }
            (Room::GivenBack, _) => {}
        }
    }
}

/// All nodes and the shapes of what they run.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    entries: Vec<Option<Node>>,
    by_id: BTreeMap<NodeId, NodeKey>,
    directory: Directory,
    vacant: Vec<NodeKey>,
    pub(super) shapes: Shapes,
    /// Whether any of them can take something else than when this was last unset.
    pub(super) have_changed: bool,
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
        if !self.directory.insert(id, key) {
            self.directory = Directory::of(&self.by_id);
        }
        self.enter_standings(key);
        key
    }

    pub(super) fn remove(&mut self, key: NodeKey) -> Option<Node> {
        let node = self.entries.get_mut(key.0 as usize)?.take()?;
        for (index, standing) in (0..).zip(&node.standings) {
            if let Standing::In(bucket) = standing {
                self.shapes.get_mut(ShapeId(index)).order.remove(*bucket, key);
            }
        }
        self.have_changed = true;
        self.by_id.remove(&node.id);
        self.vacant.push(key);
        Some(node)
    }

    #[inline]
    pub(super) fn key(&self, id: NodeId) -> Option<NodeKey> {
        self.directory.find(id, |key| {
            let node = self.entries[key.0 as usize].as_ref();
            node.is_some_and(|node| node.id == id)
        })
    }

    #[inline]
    pub(super) fn get(&self, key: NodeKey) -> &Node {
        self.entries[key.0 as usize].as_ref().expect("a key is dropped with its node")
    }

    /// For changes that leave its standings as they are; else see [`Self::update`].
    #[inline]
    pub(super) fn get_mut(&mut self, key: NodeKey) -> &mut Node {
        self.entries[key.0 as usize].as_mut().expect("a key is dropped with its node")
    }

    /// The same, with what its tasks may ask for.
    #[inline]
    pub(super) fn get_with_shapes(&mut self, key: NodeKey) -> (&mut Node, &Shapes) {
        let node = self.entries[key.0 as usize].as_mut();
        (node.expect("a key is dropped with its node"), &self.shapes)
    }

    /// Changes a node, and its standings with it.
    pub(super) fn update(&mut self, key: NodeKey, change: impl FnOnce(&mut Node)) {
        change(self.get_mut(key));
        self.enter_standings(key);
    }

    /// Where a node stands for a shape, if it takes any of it now.
    #[inline]
    pub(super) fn bucket(&self, key: NodeKey, shape: ShapeId) -> Option<Bucket> {
        match self.get(key).standings.get(shape.0 as usize) {
            Some(&Standing::In(bucket)) => Some(bucket),
            _ => None,
        }
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
                self.enter_standings(key);
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
                *standing = Standing::Unknown;
            }
        }
    }

    /// Moves a node to where it stands now in the order of each shape.
    pub(super) fn enter_standings(&mut self, key: NodeKey) {
        self.have_changed = true;
        let node = self.entries[key.0 as usize].as_mut().expect("a key is dropped with its node");
        let shapes = self.shapes.iter_mut();
        if node.standings.len() < shapes.len() {
            node.standings.resize(shapes.len(), Standing::Unknown);
        }
        for (index, shape) in shapes.enumerate() {
            let former = node.standings[index];
            if former == Standing::Never || !shape.is_live() {
                continue;
            }
            let is_never = former == Standing::Unknown && !node.resources.serves(&shape.request);
            let present = if is_never { Standing::Never } else { node.standing(&shape.request) };
            if former == present {
                continue;
            }
            node.standings[index] = present;
            match (former, present) {
                (Standing::In(former), Standing::In(present)) => {
                    shape.order.change(former, present, key);
                }
                (Standing::In(bucket), _) => shape.order.remove(bucket, key),
                (_, Standing::In(bucket)) => shape.order.insert(bucket, key),
                _ => {}
            }
        }
    }

    /// Panics unless each shape has the nodes in order that can take it, as they are now.
    pub(super) fn check_order(&self) {
        for index in
            (0..self.shapes.bound()).filter(|index| self.shapes.get(ShapeId(*index)).is_live())
        {
            let shape = self.shapes.get(ShapeId(index));
            let mut expected: Vec<(Bucket, NodeKey)> = Vec::new();
            for (key, node) in self.iter().filter(|(_, node)| node.resources.serves(&shape.request))
            {
                if let Standing::In(bucket) = node.standing(&shape.request) {
                    expected.push((bucket, key));
                }
            }
            expected.sort_unstable();
            let order: Vec<(Bucket, NodeKey)> = shape.order.iter().collect();
            assert_eq!(order, expected, "shape {index}: nodes stand where they should");
        }
    }
}

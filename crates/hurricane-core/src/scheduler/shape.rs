//! Shapes: the different amounts of resources that live definitions ask for. There are few, so each
//! keeps the nodes in the order in which they should get its next task.

use std::collections::BTreeMap;

use crate::resources::Resources;
use crate::scheduler::order::Order;

/// How many different requests may be alive at once. Each change of a node is entered for each.
pub(super) const MAX_SHAPES: usize = 256;

/// A shape's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ShapeId(pub(super) u16);

/// One shape.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) request: Resources,
    /// The nodes that can take it, best first.
    pub(super) order: Order,
    /// How many live definitions have it.
    definitions: u32,
}

/// All shapes.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    entries: Vec<Shape>,
    by_request: BTreeMap<Resources, ShapeId>,
    vacant: Vec<ShapeId>,
}

impl Shapes {
    /// The shape of a new definition, and whether it is new; none if there are too many.
    pub(super) fn claim(&mut self, request: &Resources) -> Option<(ShapeId, bool)> {
        if let Some(&id) = self.by_request.get(request) {
            self.entries[id.0 as usize].definitions += 1;
            return Some((id, false));
        }
        if self.by_request.len() >= MAX_SHAPES {
            return None;
        }
        let shape = Shape { request: request.clone(), order: Order::default(), definitions: 1 };
        let id = self.vacant.pop().unwrap_or_else(|| ShapeId(self.bound()));
        match self.entries.get_mut(id.0 as usize) {
            Some(vacant) => *vacant = shape,
            None => self.entries.push(shape),
        }
        self.by_request.insert(request.clone(), id);
        Some((id, true))
    }

    /// A definition of this shape is gone. Returns whether the shape went with it.
    pub(super) fn release(&mut self, id: ShapeId) -> bool {
        let shape = &mut self.entries[id.0 as usize];
        shape.definitions -= 1;
        if shape.definitions > 0 {
            return false;
        }
        shape.order = Order::default();
        self.by_request.remove(&shape.request);
        self.vacant.push(id);
        true
    }

    #[inline]
    pub(super) fn get(&self, id: ShapeId) -> &Shape {
        &self.entries[id.0 as usize]
    }

    /// All of them by their index, and of some what is left.
    #[inline]
    pub(super) fn iter_mut(&mut self) -> core::slice::IterMut<'_, Shape> {
        self.entries.iter_mut()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: ShapeId) -> &mut Shape {
        &mut self.entries[id.0 as usize]
    }

    /// One more than the largest index.
    #[inline]
    pub(super) fn bound(&self) -> u16 {
        u16::try_from(self.entries.len()).expect("shapes are few")
    }
}

impl Shape {
    /// Whether a definition has it.
    #[inline]
    pub(super) fn is_live(&self) -> bool {
        self.definitions > 0
    }
}

//! Definitions: what many tasks have in common, kept once here and once on each node that needs it.

use core::time::Duration;

use crate::id::{DefinitionId, DefinitionNumber};
use crate::message::{Definition, MAX_NAME_BYTES, SchedulerToNode};
use crate::scheduler::clients::ClientKey;
use crate::scheduler::node::NodeKey;
use crate::scheduler::shape::ShapeId;
use crate::scheduler::{Action, Scheduler};
use crate::time::micros;

/// How many definitions a client may have at once. A program has as many functions; what makes new
/// ones without end must forget the old.
pub(super) const MAX_DEFINITIONS: usize = 100_000;

/// How much a new measurement of a duration counts against all before: one part in so many.
const DURATION_MEMORY: u32 = 8;

/// A definition as the scheduler keeps it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) definition: Definition,
    pub(super) shape: Option<ShapeId>,
    /// How long its tasks run, as far as known.
    pub(super) expected_us: Option<u32>,
    /// Whether one of its tasks has submitted others.
    pub(super) has_nested: bool,
    /// How many of its tasks are remembered.
    pub(super) tasks: u64,
    is_forgotten: bool,
}

impl Entry {
    /// Learns how long a task of it ran.
    #[inline]
    pub(super) fn learn(&mut self, ran: Duration) {
        let ran = u32::try_from(micros(ran)).unwrap_or(u32::MAX);
        self.expected_us = Some(match self.expected_us {
            None => ran,
            Some(before) => before - before / DURATION_MEMORY + ran / DURATION_MEMORY,
        });
    }
}

impl Scheduler {
    pub(super) fn on_definition_made(
        &mut self,
        client: ClientKey,
        number: DefinitionNumber,
        definition: Definition,
        actions: &mut Vec<Action>,
    ) {
        let Some(owner) = self.clients.get(client) else { return };
        let is_next = owner.last_definition.is_none_or(|last| number > last);
        let is_acceptable = is_next
            && owner.definitions.len() < MAX_DEFINITIONS
            && definition.name.len() <= MAX_NAME_BYTES
            && definition.resources.is_within_limits();
        if !is_acceptable {
            return self.refuse(client, "a definition is out of order or over a limit", actions);
        }
        let shape = self.nodes.claim_shape(&definition.resources);
        let entry = Entry {
            definition,
            shape,
            expected_us: None,
            has_nested: false,
            tasks: 0,
            is_forgotten: false,
        };
        let id = DefinitionId(self.definitions.insert(entry));
        let owner = self.clients.get_mut(client).expect("it was there above");
        owner.last_definition = Some(number);
        owner.definitions.insert(number, id);
    }

    pub(super) fn on_definition_forgotten(
        &mut self,
        client: ClientKey,
        number: DefinitionNumber,
        actions: &mut Vec<Action>,
    ) {
        let Some(owner) = self.clients.get_mut(client) else { return };
        if let Some(id) = owner.definitions.remove(&number) {
            self.definition_mut(id).is_forgotten = true;
            self.drop_unused_definition(id, actions);
        }
    }

    #[inline]
    pub(super) fn definition(&self, id: DefinitionId) -> &Entry {
        self.definitions.get(id.0).expect("a definition outlives its tasks")
    }

    #[inline]
    pub(super) fn definition_mut(&mut self, id: DefinitionId) -> &mut Entry {
        self.definitions.get_mut(id.0).expect("a definition outlives its tasks")
    }

    /// A task of this definition is remembered no more.
    pub(super) fn leave_definition(&mut self, id: DefinitionId, actions: &mut Vec<Action>) {
        self.definition_mut(id).tasks -= 1;
        self.drop_unused_definition(id, actions);
    }

    /// Tells a node of a definition, once.
    pub(super) fn define_on(&mut self, key: NodeKey, id: DefinitionId, actions: &mut Vec<Action>) {
        let node = self.nodes.get_mut(key);
        if node.last_definition == Some(id) {
            return;
        }
        node.last_definition = Some(id);
        if node.definitions.insert(id) {
            let node = node.id;
            let definition = Box::new(self.definition(id).definition.clone());
            let message = SchedulerToNode::Define { id, definition };
            actions.push(Action::ToNode { node, message });
        }
    }

    fn drop_unused_definition(&mut self, id: DefinitionId, actions: &mut Vec<Action>) {
        let entry = self.definition(id);
        if !entry.is_forgotten || entry.tasks > 0 {
            return;
        }
        let entry = self.definitions.take(id.0).expect("it was there above");
        if let Some(shape) = entry.shape {
            self.nodes.release_shape(shape);
        }
        let keys: Vec<NodeKey> = self.nodes.iter().map(|(key, _)| key).collect();
        for key in keys {
            let node = self.nodes.get_mut(key);
            if node.definitions.remove(&id) {
                node.last_definition = None;
                let node = node.id;
                actions.push(Action::ToNode { node, message: SchedulerToNode::Forget { id } });
            }
        }
    }
}

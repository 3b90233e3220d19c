//! What clients have put and is too large for a message. Which of it, and for how long, is decided
//! by the state machine.

use std::collections::BTreeMap;

use bytes::Bytes;
use hurricane_core::id::{NodeId, ObjectId, ObjectNumber};
use hurricane_core::member::{Content, Find, Found, PIECE_BYTES};
use hurricane_core::message::Stored;

use crate::audience::Audiences;

/// Objects beside the scheduler.
#[derive(Debug)]
pub(super) struct Kept {
    objects: BTreeMap<ObjectNumber, Bytes>,
    audiences: Audiences,
    last: u64,
    bytes: u64,
    limit_bytes: u64,
}

impl Kept {
    /// Room for so much.
    pub(super) fn new(limit_bytes: u64) -> Self {
        let (objects, audiences) = (BTreeMap::new(), Audiences::default());
        Self { objects, audiences, last: 0, bytes: 0, limit_bytes }
    }

    /// Keeps an object, if there is room.
    pub(super) fn keep(&mut self, bytes: Bytes) -> Option<Stored> {
        let size_bytes = bytes.len() as u64;
        let total = self.bytes.checked_add(size_bytes)?;
        if total > self.limit_bytes {
            return None;
        }
        self.bytes = total;
        self.last += 1;
        let number = ObjectNumber(self.last);
        self.objects.insert(number, bytes);
        Some(Stored { object: ObjectId { node: NodeId::SCHEDULER, number }, size_bytes })
    }

    /// Forgets objects.
    pub(super) fn drop_all(&mut self, objects: &[ObjectNumber]) {
        for object in objects {
            if let Some(bytes) = self.objects.remove(object) {
                self.bytes -= bytes.len() as u64;
            }
        }
    }

    /// How much that is.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Which nodes have an object beside this, or fetch it.
    pub(super) fn find(&mut self, find: Find, is_there: impl Fn(NodeId) -> bool) -> Found {
        let object = Some(find.object).filter(|object| object.node == NodeId::SCHEDULER);
        let bytes = object.and_then(|object| self.objects.get(&object.number));
        self.audiences.find(find, bytes, is_there)
    }

    /// A piece of an object, if it is here and that large.
    pub(super) fn piece(&self, object: ObjectNumber, offset: u64) -> Option<Content> {
        let whole = self.objects.get(&object)?;
        let start = usize::try_from(offset).ok().filter(|start| *start < whole.len())?;
        let end = whole.len().min(start + PIECE_BYTES);
        Some(Content { total_bytes: whole.len() as u64, bytes: whole.slice(start..end) })
    }
}

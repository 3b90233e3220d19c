//! The objects that a node holds, in memory: values too large for messages. Which ones, and for how
//! long, is decided by the node's state machine.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hurricane_core::id::ObjectId;
use hurricane_core::message::Value;

/// The objects of one node.
#[derive(Debug, Default)]
pub(crate) struct Store {
    objects: Mutex<HashMap<ObjectId, Bytes>>,
}

impl Store {
    /// Keeps an object.
    pub(crate) fn insert(&self, object: ObjectId, bytes: Bytes) {
        self.lock().insert(object, bytes);
    }

    /// Forgets an object.
    pub(crate) fn remove(&self, object: ObjectId) {
        self.lock().remove(&object);
    }

    /// The bytes of an object, if it is here.
    pub(crate) fn get(&self, object: ObjectId) -> Option<Bytes> {
        self.lock().get(&object).cloned()
    }

    /// The bytes of a value, if they are here.
    pub(crate) fn resolve(&self, value: Value) -> Option<Bytes> {
        match value {
            Value::Inline(bytes) => Some(bytes),
            Value::Stored(stored) => self.get(stored.object),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectId, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

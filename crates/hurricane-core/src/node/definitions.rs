//! The definitions that the scheduler named, and what was learned of their tasks here.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::DefinitionId;
use crate::message::Definition;
use crate::resources::{Amount, Resources};

/// The longest that tasks may take of which one is queued behind another: while such a one runs, a
/// worker waits for its node no longer than a thousandth of that, and it is lost to others for
/// little more than the time in which a queue can be taken back.
pub(super) const LONGEST_QUEUED: Duration = Duration::from_millis(10);

/// All definitions that are here.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    by_id: BTreeMap<DefinitionId, Known>,
}

/// One of them.
#[derive(Debug)]
struct Known {
    definition: Arc<Definition>,
    /// Whether its tasks may be queued in a worker if they are short.
    is_plain: bool,
    /// How long a task of it takes, in nanoseconds, as far as is known.
    expected_nanos: Option<u64>,
}

impl Definitions {
    /// A name means one thing for ever: a second definition under it is not taken.
    pub(super) fn insert(&mut self, id: DefinitionId, definition: Definition) {
        self.by_id.entry(id).or_insert_with(|| Known {
            is_plain: is_plain(&definition),
            definition: Arc::new(definition),
            expected_nanos: None,
        });
    }

    pub(super) fn remove(&mut self, id: DefinitionId) {
        self.by_id.remove(&id);
    }

    pub(super) fn get(&self, id: DefinitionId) -> Option<&Arc<Definition>> {
        self.by_id.get(&id).map(|known| &known.definition)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// A task of it took so long. What it took before counts half, so that one task out of the
    /// ordinary is soon forgotten.
    pub(super) fn measure(&mut self, id: DefinitionId, ran: Duration) {
        let Some(known) = self.by_id.get_mut(&id).filter(|known| known.is_plain) else { return };
        let ran = nanos(ran);
        let before = known.expected_nanos.unwrap_or(ran);
        known.expected_nanos = Some(before.midpoint(ran));
    }

    /// A task of it speaks in the part of a client: it may wait for others, which must never stand
    /// behind it.
    pub(super) fn note_nesting(&mut self, id: DefinitionId) {
        if let Some(known) = self.by_id.get_mut(&id) {
            known.is_plain = false;
            known.expected_nanos = None;
        }
    }

    /// How long a task of it takes, in nanoseconds, if it may stand in a queue, or have one behind
    /// it; none if that is not known, or may not be.
    pub(super) fn expected_nanos(&self, id: DefinitionId) -> Option<u64> {
        let expected = self.by_id.get(&id)?.expected_nanos?;
        (expected <= nanos(LONGEST_QUEUED)).then_some(expected)
    }
}

/// Whether nothing is known of a definition that forbids to queue its tasks. One with a timeout is
/// to be killed alone and in time, and one that asks for more than a slot is no small matter.
fn is_plain(definition: &Definition) -> bool {
    let Resources { cpus, gpus, memory_bytes, named } = &definition.resources;
    definition.timeout.is_none()
        && *cpus <= Amount::whole(1)
        && *gpus == Amount::default()
        && *memory_bytes == 0
        && named.is_empty()
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

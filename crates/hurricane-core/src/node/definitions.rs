//! The definitions that the scheduler named, and what was learned of their tasks here.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::DefinitionId;
use crate::message::Definition;
use crate::resources::{Amount, Resources};

/// The longest that tasks may take which are queued: a worker that waits for its node waits a few
/// hundredths of that. Tasks that wait for each other mostly take longer, and must not: of two that
/// begin in another order than they came in, each might hold the slot that the other waits for.
pub(super) const LONGEST_QUEUED: Duration = Duration::from_micros(1_500);

/// A task out of the ordinary is forgotten by one part in so many with each that follows: while some
/// take long, none is queued behind another.
const MEMORY: u64 = 16;

/// So many runs show how long tasks take: whether they wait for each other shows in the first few.
pub const QUEUES_AFTER: u32 = 16;

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
    /// How many runs that was learned from.
    runs: u32,
}

impl Definitions {
    /// A name means one thing for ever: a second definition under it is not taken.
    pub(super) fn insert(&mut self, id: DefinitionId, definition: Definition) {
        self.by_id.entry(id).or_insert_with(|| Known {
            is_plain: is_plain(&definition),
            definition: Arc::new(definition),
            expected_nanos: None,
            runs: 0,
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

    /// A task of it took so long. What counts is the longest of late.
    pub(super) fn measure(&mut self, id: DefinitionId, ran: Duration) {
        let Some(known) = self.by_id.get_mut(&id).filter(|known| known.is_plain) else { return };
        known.runs = known.runs.saturating_add(1);
        let before = known.expected_nanos.unwrap_or_default();
        known.expected_nanos = Some(nanos(ran).max(before - before.div_ceil(MEMORY)));
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
    pub(super) fn expected_nanos(
        &self,
        id: DefinitionId,
        queues_after: Option<u32>,
    ) -> Option<u64> {
        let after = queues_after?;
        let known = self.by_id.get(&id).filter(|known| known.runs >= after)?;
        known.expected_nanos.filter(|expected| *expected <= nanos(LONGEST_QUEUED))
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

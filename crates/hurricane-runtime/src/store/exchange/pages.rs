//! Which pages of a worker hold values that are seen here, and which it may use again. It is told of
//! those with whatever it is told next; when it is gone, they take no memory any more.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex};

use super::{Freed, Spot, lock};
use crate::store::segment::{Place, Segment};

/// Of how much memory that a worker may use again it is not told at once; beyond that it is taken
/// from it.
const MAX_UNTOLD_BYTES: u64 = 128 << 20;

/// The pages of one worker.
#[derive(Debug, Default)]
pub(super) struct WorkerPages {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Where each value ends, by its segment and where it begins there.
    seen: BTreeMap<(u64, usize), usize>,
    /// The worker made values of pages in which others lie: it is not known what nobody sees.
    is_muddled: bool,
    /// What it may use again and does not know of,
    untold: Vec<Freed>,
    /// and how much that is.
    untold_bytes: u64,
    is_gone: bool,
}

impl WorkerPages {
    /// Pages hold a value that is seen here.
    pub(super) fn begin(&self, place: &Place) {
        lock(&self.state).begin(place);
    }

    /// Nobody here sees it any more. The worker calls the pages so.
    pub(super) fn end(&self, place: &Place, spot: Spot) {
        let mut state = lock(&self.state);
        state.seen.remove(&(place.segment.id, place.offset));
        // An idle worker may not be told for long: it keeps the addresses, and not the memory.
        let is_too_much = state.is_gone || state.untold_bytes + spot.length > MAX_UNTOLD_BYTES;
        let is_warm = !is_too_much || state.is_muddled;
        if !is_warm {
            place.segment.file.give_back(place.offset, place.length);
        }
        if !state.is_gone {
            state.untold.push(Freed { spot, is_warm });
            state.untold_bytes += spot.length;
        }
    }

    /// What the worker may use again, and is told of now.
    pub(super) fn take_untold(&self) -> Vec<Freed> {
        let mut state = lock(&self.state);
        state.untold_bytes = 0;
        mem::take(&mut state.untold)
    }

    /// The worker is gone, and these were its segments: what holds no value that is seen here is
    /// given back to the system, and the rest when nobody sees it any more.
    pub(super) fn leave<'a>(&self, segments: impl Iterator<Item = &'a Arc<Segment>>) {
        let mut state = lock(&self.state);
        state.is_gone = true;
        if !state.is_muddled {
            segments.for_each(|segment| state.give_back_rest(segment));
        }
    }
}

impl State {
    fn begin(&mut self, place: &Place) {
        let (start, end) = ((place.segment.id, place.offset), place.offset + place.length);
        let before = self.seen.range(..=start).next_back();
        let reaches_in = before
            .is_some_and(|((segment, _), end)| *segment == place.segment.id && *end > place.offset);
        let mut behind = self.seen.range(start..(place.segment.id, end));
        self.is_muddled |= reaches_in || behind.next().is_some();
        self.seen.insert(start, end);
    }

    /// All of a segment in which no value lies.
    fn give_back_rest(&self, segment: &Segment) {
        let mut rest = 0;
        for ((_, start), end) in self.seen.range((segment.id, 0)..=(segment.id, usize::MAX)) {
            segment.file.give_back(rest, start - rest);
            rest = *end;
        }
        segment.file.give_back(rest, segment.size_bytes().saturating_sub(rest));
    }
}

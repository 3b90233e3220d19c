//! How several pieces of bytes become one value: a pickle and the buffers that belong to it.
//!
//! A container is the byte 1, seven zeros, the number of parts, the offset and the length of each,
//! and the parts; in arguments, a part may lie elsewhere: then the largest number and its place among
//! the dependencies stand there. One part alone stands for itself. Where there is shared memory, a part that lies
//! there already is not copied.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use hurricane_core::message::INLINE_LIMIT_BYTES;

use super::shared::{Borrowed, Keeper, SharedMemory};
use crate::platform::shared_memory::{Access, page_bytes, whole_pages};

const CONTAINER: u64 = 1;

/// Parts start at multiples of this, a cache line: so `NumPy` and Arrow read them at full speed.
const ALIGNMENT: usize = 64;

/// Smaller parts are copied: to find out whether they may be borrowed costs as much.
const MIN_BORROWED_BYTES: usize = 64 << 10;

/// In how many places the borrowed parts of a value may lie: each is a mapping of whoever sees the
/// value, of which there are few. What is beyond is copied.
const MAX_BORROWED_PLACES: usize = 256;

/// A part of a value.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// Bytes.
    Bytes(&'a [u8]),
    /// The value of a dependency, by its place among them.
    Input(u64),
}

/// What stands in the place of an offset, before the number of an input.
const IS_INPUT: u64 = u64::MAX;

/// Makes one value of parts; in shared memory if there is some, and it is large.
pub(crate) fn gather(memory: Option<&Arc<SharedMemory>>, parts: &[Part<'_>]) -> Bytes {
    let total: usize = parts.iter().map(|part| part.bytes().len()).sum();
    let memory = memory.filter(|_| total > INLINE_LIMIT_BYTES);
    let shared = memory.and_then(|memory| {
        let borrowing = gather_shared(memory, parts, MAX_BORROWED_PLACES);
        // Where nothing more can be mapped, nothing is borrowed.
        borrowing.or_else(|_| gather_shared(memory, parts, 0)).ok()
    });
    // Without memory to share, it goes over the link.
    shared.unwrap_or_else(|| gather_here(parts))
}

fn gather_here(parts: &[Part<'_>]) -> Bytes {
    let (planned, end) = plan(parts, |_| None);
    let mut bytes = Vec::with_capacity(end);
    bytes.extend_from_slice(&head(&planned));
    for part in planned.iter().filter(|part| !part.bytes.is_empty()) {
        bytes.resize(part.offset, 0);
        bytes.extend_from_slice(part.bytes);
    }
    bytes.into()
}

fn gather_shared(
    memory: &Arc<SharedMemory>,
    parts: &[Part<'_>],
    max_borrowed_places: usize,
) -> io::Result<Bytes> {
    let mut places_left = max_borrowed_places;
    let borrow = |part: &[u8]| {
        let may_be_borrowed = part.len() >= MIN_BORROWED_BYTES && places_left > 0;
        let borrowed = may_be_borrowed.then(|| memory.borrow(part)).flatten()?;
        // Alone it stands for itself, and so begins where it begins.
        let begins_well = parts.len() > 1 || borrowed.lead == 0;
        places_left = places_left.checked_sub(borrowed.places.len()).filter(|_| begins_well)?;
        Some(borrowed)
    };
    let (planned, made_end) = plan(parts, borrow);
    let mut made = memory.reserve(made_end)?;
    made.write(0, &head(&planned))?;
    for part in planned.iter().filter(|part| part.borrowed.is_none()) {
        made.write(part.offset, part.bytes)?;
    }
    if planned.iter().all(|part| part.borrowed.is_none()) {
        return Ok(made.into_bytes());
    }
    let length = planned.iter().map(|part| part.offset + part.bytes.len()).max().unwrap_or(0);
    let (mut places, mut keepers): (Vec<_>, Vec<Keeper>) = (Vec::new(), Vec::new());
    if made_end > 0 {
        let (place, keeper) = made.into_place();
        places.push(place);
        keepers.push(keeper);
    }
    for borrowed in planned.into_iter().filter_map(|part| part.borrowed) {
        places.extend(borrowed.places);
        keepers.push(borrowed.keeper);
    }
    memory.view(places, length, Access::Read, Arc::new(keepers))
}

/// Where each part goes: the borrowed ones, which are whole pages, behind the others. And the end of
/// the others.
fn plan<'a>(
    parts: &[Part<'a>],
    mut borrow: impl FnMut(&[u8]) -> Option<Borrowed>,
) -> (Vec<Planned<'a>>, usize) {
    let mut end = head_bytes(parts.len());
    let mut planned = Vec::with_capacity(parts.len());
    for &part in parts {
        let bytes = part.bytes();
        let borrowed = borrow(bytes);
        let stands_first = parts.len() == 1 || bytes.is_empty();
        let offset = if stands_first { 0 } else { end.next_multiple_of(ALIGNMENT) };
        if borrowed.is_none() {
            end = end.max(offset + bytes.len());
        }
        planned.push(Planned { part, bytes, offset, borrowed });
    }
    let mut next = whole_pages(end).expect("what is in memory is no larger than that");
    for part in &mut planned {
        if let Some(borrowed) = &part.borrowed {
            part.offset = next + borrowed.lead;
            next += (borrowed.lead + part.bytes.len()).next_multiple_of(page_bytes());
        }
    }
    (planned, end)
}

fn head_bytes(parts: usize) -> usize {
    if parts == 1 { 0 } else { 16 + 16 * parts }
}

fn head(planned: &[Planned<'_>]) -> Vec<u8> {
    if planned.len() == 1 {
        return Vec::new();
    }
    let of_parts = planned.iter().flat_map(|planned| match planned.part {
        Part::Bytes(bytes) => [planned.offset as u64, bytes.len() as u64],
        Part::Input(index) => [IS_INPUT, index],
    });
    let numbers = [CONTAINER, planned.len() as u64].into_iter();
    numbers.chain(of_parts).flat_map(u64::to_le_bytes).collect()
}

/// Where a part goes.
struct Planned<'a> {
    part: Part<'a>,
    bytes: &'a [u8],
    offset: usize,
    borrowed: Option<Borrowed>,
}

impl<'a> Part<'a> {
    /// How long it is.
    pub fn length_bytes(self) -> u64 {
        self.bytes().len() as u64
    }

    fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Input(_) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::maps::MapQuota;

    /// The parts of a container, as the other end reads them.
    fn parts(container: &[u8]) -> Vec<&[u8]> {
        let numbers: Vec<usize> = container
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| usize::try_from(u64::from_le_bytes(*bytes)).expect("64 bits"))
            .take(2 + 2 * usize::from(container[8]))
            .collect();
        numbers[2..]
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[at, length]| &container[*at..at + length])
            .collect()
    }

    #[test]
    fn a_container_is_the_same_wherever_it_lies() {
        let large = vec![7; 100_000];
        let pieces: [&[u8]; 3] = [b"pickle", &large, b""];
        let memory = SharedMemory::new(0);
        let here = gather(None, &pieces.map(Part::Bytes));
        let shared = gather(Some(&memory), &pieces.map(Part::Bytes));
        assert_eq!(here, shared);
        assert_eq!(parts(&here), pieces);
        assert!(memory.places_of(&shared).is_some() && memory.places_of(&here).is_none());
    }

    #[test]
    fn one_part_stands_for_itself() {
        assert_eq!(&gather(None, &[Part::Bytes(b"pickle")])[..], b"pickle");
        let memory = SharedMemory::new(0);
        let large = vec![7; 100_000];
        assert_eq!(gather(Some(&memory), &[Part::Bytes(&large)]), large);
    }

    #[test]
    fn what_lies_there_and_was_not_written_to_is_not_copied() {
        let memory = SharedMemory::new(0);
        let large: Vec<u8> = (0..200_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let value = gather(Some(&memory), &[Part::Bytes(&large)]);
        let own = memory.own_view(&value).expect("it lies in shared memory");
        let used = memory.used_bytes();
        let again = {
            let pieces: [&[u8]; 3] = [b"pickle", &own[5000..150_000], &own[..100_000]];
            gather(Some(&memory), &pieces.map(Part::Bytes))
        };
        assert_eq!(parts(&again), [b"pickle", &large[5000..150_000], &large[..100_000]]);
        assert_eq!(memory.used_bytes(), used + page_bytes());
        drop((value, own));
        // The pages are not given to others while somebody sees them.
        let zeros = vec![0; 200_000];
        let other = gather(Some(&memory), &[Part::Bytes(&zeros)]);
        assert_eq!(parts(&again), [b"pickle", &large[5000..150_000], &large[..100_000]]);
        drop((again, other));
        assert_eq!(memory.used_bytes(), 0);
    }

    #[test]
    fn of_many_parts_a_few_are_borrowed() {
        let memory = SharedMemory::new(0);
        let large = vec![7; 2 * MIN_BORROWED_BYTES];
        let value = gather(Some(&memory), &[Part::Bytes(&large)]);
        let own = memory.own_view(&value).expect("it lies in shared memory");
        let pieces = vec![Part::Bytes(&own[..MIN_BORROWED_BYTES]); MAX_BORROWED_PLACES + 9];
        let used = memory.used_bytes();
        let gathered = gather(Some(&memory), &pieces);
        let places = memory.places_of(&gathered).expect("it lies in shared memory");
        assert_eq!(places.len(), MAX_BORROWED_PLACES + 1);
        assert!(memory.used_bytes() - used >= 9 * MIN_BORROWED_BYTES);
        assert!(gathered.ends_with(&large[..MIN_BORROWED_BYTES]));
    }

    #[test]
    fn where_nothing_more_can_be_mapped_all_is_copied() {
        let memory = SharedMemory::within(MapQuota::new(1), 0);
        let large = vec![7; 100_000];
        let value = gather(Some(&memory), &[Part::Bytes(&large)]);
        let own = memory.own_view(&value).expect("there is one mapping");
        let gathered = gather(Some(&memory), &[Part::Bytes(b"pickle"), Part::Bytes(&own)]);
        assert_eq!(memory.places_of(&gathered).map(|places| places.len()), Some(1));
        assert_eq!(parts(&gathered), [&b"pickle"[..], &large]);
    }
}

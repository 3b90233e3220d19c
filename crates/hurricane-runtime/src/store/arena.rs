//! Which pages of a process's own segments are in use. Pages that come back are kept warm and given
//! out again: to touch a new page costs three times what it costs to write to it.
//!
//! A segment is large and takes memory only where it was written to, so that a process needs one,
//! and one descriptor, for all its values.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use super::segment::{Place, Segment};
use crate::platform::shared_memory::{Access, Mapping, MemoryFile, Range};

/// How many addresses a segment takes, where the system gives so many.
const SEGMENT_BYTES: usize = 64 << 30;

/// The pages of one process's own segments.
#[derive(Debug)]
pub(super) struct Arena {
    chunks: Vec<Chunk>,
    /// How much memory that nobody uses may be kept.
    max_warm_bytes: usize,
    warm_bytes: usize,
    used_bytes: usize,
    /// Counts what came back, so that what lies longest goes first.
    clock: u64,
}

/// A segment of one's own.
#[derive(Debug)]
struct Chunk {
    segment: Arc<Segment>,
    mapping: Arc<Mapping>,
    /// By offset. Neighbours are joined if both are warm, or both cold.
    free: BTreeMap<usize, Free>,
    /// By offset.
    used: HashMap<usize, Used>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Free {
    length: usize,
    /// When it came back, if its pages still take memory.
    warm_since: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Used {
    length: usize,
    users: u32,
}

/// Pages that were free.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) place: Place,
    pub(super) mapping: Arc<Mapping>,
    /// Whether they take no memory yet.
    pub(super) is_cold: bool,
}

impl Arena {
    pub(super) fn new(max_warm_bytes: usize) -> Self {
        Self { chunks: Vec::new(), max_warm_bytes, warm_bytes: 0, used_bytes: 0, clock: 0 }
    }

    /// Takes free pages for one user. `length` is a whole number of pages.
    pub(super) fn take(&mut self, length: usize) -> Option<Taken> {
        let found = self.find(length).or_else(|| {
            // What lies warm between what is free joins it.
            self.cool(0);
            self.find(length)
        });
        let (index, offset) = found?;
        let taken = self.chunks[index].take(offset, length);
        self.used_bytes += length;
        self.warm_bytes -= if taken.is_cold { 0 } else { length };
        Some(taken)
    }

    /// Makes another segment, with room for so much, of a file that is made so large.
    pub(super) fn grow(
        &mut self,
        length: usize,
        make: impl Fn(usize) -> io::Result<MemoryFile>,
        access: Access,
    ) -> io::Result<(Arc<Segment>, Arc<Mapping>)> {
        let map = |size| {
            let segment = Arc::new(Segment::new(make(size)?));
            let whole = Range { file: &segment.file, offset: 0, length: size };
            let mapping = Arc::new(Mapping::new(&[whole], access)?);
            io::Result::Ok((segment, mapping))
        };
        let smaller = |size: usize| (size / 2).next_multiple_of(1 << 20);
        let mut size = SEGMENT_BYTES.max(length);
        let (segment, mapping) = loop {
            match map(size) {
                // This process may not have so many addresses.
                Err(_) if smaller(size) >= length && smaller(size) < size => size = smaller(size),
                mapped => break mapped?,
            }
        };
        self.chunks.push(Chunk {
            segment: Arc::clone(&segment),
            mapping: Arc::clone(&mapping),
            free: BTreeMap::from([(0, Free { length: size, warm_since: None })]),
            used: HashMap::new(),
        });
        Ok((segment, mapping))
    }

    /// Used pages have one more user; false if they are not used.
    pub(super) fn share(&mut self, segment: u64, offset: usize) -> bool {
        let used = self.chunk(segment).and_then(|chunk| chunk.used.get_mut(&offset));
        used.map(|used| used.users += 1).is_some()
    }

    /// Pages have one user less: with the last they are free. Warm, if all of them take memory.
    pub(super) fn give_back(&mut self, segment: u64, offset: usize, is_warm: bool) {
        self.clock += 1;
        let now = self.clock;
        let Some(chunk) = self.chunk(segment) else { return };
        let Some(used) = chunk.used.get_mut(&offset) else { return };
        used.users -= 1;
        if used.users > 0 {
            return;
        }
        let length = used.length;
        chunk.used.remove(&offset);
        if !is_warm {
            chunk.segment.file.give_back(offset, length);
        }
        chunk.set_free(offset, Free { length, warm_since: is_warm.then_some(now) });
        self.used_bytes -= length;
        self.warm_bytes += if is_warm { length } else { 0 };
        self.cool(self.max_warm_bytes);
    }

    /// How much is in use.
    #[cfg(test)]
    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// How much that nobody uses takes memory.
    #[cfg(test)]
    pub(super) fn warm_bytes(&self) -> usize {
        self.warm_bytes
    }

    /// Gives memory that nobody uses back to the system, until so much of it is left.
    pub(super) fn cool(&mut self, max_warm_bytes: usize) {
        while self.warm_bytes > max_warm_bytes {
            let warm = self.chunks.iter().enumerate().flat_map(|(index, chunk)| {
                chunk.free.iter().filter_map(move |(offset, free)| {
                    Some((free.warm_since?, index, *offset, free.length))
                })
            });
            let Some((_, index, offset, length)) = warm.min() else { return };
            let chunk = &mut self.chunks[index];
            chunk.free.remove(&offset);
            chunk.segment.file.give_back(offset, length);
            chunk.set_free(offset, Free { length, warm_since: None });
            self.warm_bytes -= length;
        }
    }

    fn chunk(&mut self, segment: u64) -> Option<&mut Chunk> {
        self.chunks.iter_mut().find(|chunk| chunk.segment.id == segment)
    }

    /// Where so much is free: the smallest place that is warm, or the first that is not.
    fn find(&self, length: usize) -> Option<(usize, usize)> {
        let chunks = self.chunks.iter().enumerate();
        let fitting = chunks.flat_map(|(index, chunk)| {
            let free = chunk.free.iter().filter(|(_, free)| free.length >= length);
            free.map(move |(offset, free)| match free.warm_since {
                Some(_) => (false, free.length, index, *offset),
                None => (true, 0, index, *offset),
            })
        });
        fitting.min().map(|(_, _, index, offset)| (index, offset))
    }
}

impl Chunk {
    /// Takes the first pages of what is free at an offset.
    fn take(&mut self, offset: usize, length: usize) -> Taken {
        let free = self.free.remove(&offset).expect("it was found free");
        if free.length > length {
            let rest = Free { length: free.length - length, ..free };
            self.free.insert(offset + length, rest);
        }
        self.used.insert(offset, Used { length, users: 1 });
        let place = Place { segment: Arc::clone(&self.segment), offset, length };
        let is_cold = free.warm_since.is_none();
        Taken { place, mapping: Arc::clone(&self.mapping), is_cold }
    }

    fn set_free(&mut self, mut offset: usize, mut free: Free) {
        let is_like = |other: &Free| other.warm_since.is_some() == free.warm_since.is_some();
        let end = offset + free.length;
        if let Some(next) = self.free.get(&end).copied().filter(is_like) {
            self.free.remove(&end);
            free.length += next.length;
        }
        let before = self.free.range(..offset).next_back();
        if let Some((start, before)) = before.map(|(start, before)| (*start, *before))
            && start + before.length == offset
            && is_like(&before)
        {
            free.length += before.length;
            offset = start;
        }
        self.free.insert(offset, free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;

    fn arena(max_warm_bytes: usize) -> Arena {
        let mut arena = Arena::new(max_warm_bytes);
        arena.grow(PAGE, MemoryFile::create, Access::Write).expect("there is memory");
        arena
    }

    fn take(arena: &mut Arena, length: usize) -> Taken {
        arena.take(length).expect("the segment is larger than any test needs")
    }

    #[test]
    fn pages_that_came_back_are_given_out_again() {
        let mut arena = arena(1 << 30);
        let [first, second] = [1, 2].map(|pages| take(&mut arena, pages * PAGE).place);
        take(&mut arena, PAGE);
        arena.give_back(first.segment.id, first.offset, true);
        arena.give_back(second.segment.id, second.offset, true);
        let again = take(&mut arena, 3 * PAGE);
        assert_eq!((again.is_cold, again.place.offset), (false, first.offset));
        assert!(take(&mut arena, PAGE).is_cold);
    }

    #[test]
    fn pages_with_two_users_come_back_with_the_second() {
        let mut arena = arena(0);
        let place = take(&mut arena, PAGE).place;
        let (segment, offset) = (place.segment.id, place.offset);
        assert!(arena.share(segment, offset));
        arena.give_back(segment, offset, true);
        assert_eq!(arena.used_bytes(), PAGE);
        arena.give_back(segment, offset, true);
        assert_eq!(arena.used_bytes(), 0);
        assert!(!arena.share(segment, offset));
        arena.give_back(segment, offset, true);
    }

    #[test]
    fn pages_that_were_not_all_touched_come_back_cold() {
        let mut arena = arena(1 << 30);
        let place = take(&mut arena, PAGE).place;
        arena.give_back(place.segment.id, place.offset, false);
        let again = take(&mut arena, PAGE);
        assert_eq!((again.is_cold, again.place.offset), (true, place.offset));
        assert_eq!((arena.warm_bytes, arena.used_bytes()), (0, PAGE));
    }

    #[test]
    fn no_more_is_kept_warm_than_is_allowed_and_what_lay_longest_goes_first() {
        let mut arena = arena(2 * PAGE);
        let places: Vec<Place> = (0..6).map(|_| take(&mut arena, PAGE).place).collect();
        for index in [0, 2, 4] {
            arena.give_back(places[index].segment.id, places[index].offset, true);
        }
        assert_eq!(arena.warm_bytes, 2 * PAGE);
        let offsets: Vec<usize> = (0..2).map(|_| take(&mut arena, PAGE).place.offset).collect();
        assert_eq!(offsets, [places[2].offset, places[4].offset]);
    }

    #[test]
    fn what_is_free_joins_whether_it_was_warm_or_not() {
        let mut arena = arena(1 << 30);
        let size = arena.chunks[0].segment.size_bytes();
        let places: Vec<Place> = (0..4).map(|_| take(&mut arena, PAGE).place).collect();
        for index in [1, 3, 0, 2] {
            arena.give_back(places[index].segment.id, places[index].offset, true);
        }
        assert!(arena.take(size).is_some());
        assert!(arena.take(PAGE).is_none());
    }
}

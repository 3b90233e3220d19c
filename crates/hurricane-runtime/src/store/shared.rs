//! The shared memory of a process: its own values, and views of others'.
//!
//! A value in shared memory is `Bytes` like any other, so that nobody but the two ends of a link
//! need know where it lies: they find that by its address. The pages are free when the last clone
//! is gone.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

use super::arena::{Arena, Taken};
use super::maps::{MapQuota, TakenMaps};
use super::segment::{self, Place, Segment};
use crate::platform::fork::{self, ProcessMark};
use crate::platform::shared_memory::{
    Access, Mapping, MemoryFile, Range, is_untouched, page_bytes, whole_pages,
};

/// Whatever keeps pages from being used for something else.
pub(super) type Keeper = Arc<dyn Any + Send + Sync>;

/// The shared memory of a process.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    process: ProcessMark,
    /// What is mapped, by address.
    regions: Mutex<BTreeMap<usize, Region>>,
    arena: Mutex<Arena>,
    maps: Arc<MapQuota>,
}

/// What is mapped somewhere.
#[derive(Debug)]
struct Region {
    length: usize,
    lies: Lies,
}

#[derive(Debug)]
enum Lies {
    /// All of a segment.
    Segment(Weak<Segment>),
    /// Places, one behind the other.
    Places { places: Vec<Place>, is_copy_on_write: bool, keeper: Weak<dyn Any + Send + Sync> },
}

/// Pages that are being written.
#[derive(Debug)]
pub(crate) struct Block {
    pages: Pages,
}

/// A segment of another process.
#[derive(Debug)]
pub(super) struct Received {
    memory: Arc<SharedMemory>,
    pub(super) segment: Arc<Segment>,
    mapping: Mapping,
}

/// A piece of a value that lies in shared memory already.
#[derive(Debug)]
pub(crate) struct Borrowed {
    pub(super) places: Vec<Place>,
    pub(super) keeper: Keeper,
    /// Where it begins in the first page.
    pub(super) lead: usize,
}

impl SharedMemory {
    /// Keeps so much memory that nobody uses.
    pub(crate) fn new(max_warm_bytes: usize) -> Arc<Self> {
        Self::within(MapQuota::of_process(), max_warm_bytes)
    }

    /// The same, whose views take so many mappings at most.
    pub(super) fn within(maps: Arc<MapQuota>, max_warm_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            process: ProcessMark::here(),
            regions: Mutex::default(),
            arena: Mutex::new(Arena::new(max_warm_bytes)),
            maps,
        })
    }

    /// Pages for a value of so many bytes. Fails if there is not so much memory.
    pub(crate) fn reserve(self: &Arc<Self>, length: usize) -> io::Result<Block> {
        let mut block = self.reserve_lazily(length)?;
        let Pages { mapping, place, is_lazy, .. } = &mut block.pages;
        if *is_lazy {
            mapping.populate(place.offset, place.length)?;
            *is_lazy = false;
        }
        Ok(block)
    }

    /// The same for a value that may never come: it takes as much memory as is written to it.
    pub(crate) fn reserve_lazily(self: &Arc<Self>, length: usize) -> io::Result<Block> {
        let pages = whole_pages(length.max(1)).ok_or(io::ErrorKind::OutOfMemory)?;
        let Taken { place, mapping, is_cold } = self.take(pages)?;
        let memory = Arc::clone(self);
        Ok(Block { pages: Pages { memory, place, mapping, length, is_lazy: is_cold } })
    }

    /// Bytes that lie nowhere else: they are copied here, or left where they are if that fails.
    pub(crate) fn take_in(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        if self.places_of(&bytes).is_some() {
            return bytes;
        }
        let copy = |mut block: Block| {
            block.write(0, &bytes)?;
            io::Result::Ok(block.into_bytes())
        };
        self.reserve(bytes.len()).and_then(copy).unwrap_or(bytes)
    }

    /// Where bytes lie, if they lie in shared memory and begin with a page.
    pub(super) fn places_of(&self, bytes: &[u8]) -> Option<Vec<Place>> {
        self.check_process().ok()?;
        let regions = self.regions();
        let (start, region) = region_of(&regions, bytes)?;
        let offset = bytes.as_ptr().addr() - start;
        match &region.lies {
            Lies::Segment(segment) => {
                Place::new(&segment.upgrade()?, offset, bytes.len()).map(|place| vec![place])
            }
            Lies::Places { places, .. } if offset.is_multiple_of(page_bytes()) => {
                segment::part(places, offset, bytes.len())
            }
            Lies::Places { .. } => None,
        }
    }

    /// Where bytes lie that somebody sees copy-on-write, if he has not written to them.
    pub(crate) fn borrow(&self, bytes: &[u8]) -> Option<Borrowed> {
        self.check_process().ok()?;
        let borrowed = self.find_borrowed(bytes)?;
        is_untouched(bytes).then_some(borrowed)
    }

    /// Places, one behind the other, as bytes; `keeper` keeps them. Fails where nothing more can be
    /// mapped, or views have taken their share of that.
    pub(super) fn view(
        self: &Arc<Self>,
        places: Vec<Place>,
        length: usize,
        access: Access,
        keeper: Keeper,
    ) -> io::Result<Bytes> {
        self.check_process()?;
        let maps = self.maps.take(places.len())?;
        let ranges: Vec<Range<'_>> = places.iter().map(Place::range).collect();
        let mapping = Mapping::new(&ranges, access)?;
        if length > mapping.length() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        drop(ranges);
        let is_copy_on_write = access == Access::CopyOnWrite;
        let lies = Lies::Places { places, is_copy_on_write, keeper: Arc::downgrade(&keeper) };
        self.register(&mapping, lies);
        let (memory, children) = (Arc::clone(self), fork::children());
        let keeper = Some(keeper);
        let view = View { memory, mapping, length, is_copy_on_write, children, keeper, maps };
        Ok(Bytes::from_owner(view))
    }

    /// The same; where nothing more can be mapped, a copy.
    pub(super) fn view_or_copy(
        self: &Arc<Self>,
        places: &[Place],
        length: usize,
        access: Access,
        keeper: &Keeper,
    ) -> io::Result<Bytes> {
        let viewed = self.view(places.to_vec(), length, access, Arc::clone(keeper));
        viewed.or_else(|_| segment::read(places, length).map(Bytes::from))
    }

    /// Whether whoever has these bytes may write to them.
    pub(crate) fn is_own_view(&self, bytes: &[u8]) -> bool {
        if self.check_process().is_err() {
            return false;
        }
        let regions = self.regions();
        let region = region_of(&regions, bytes);
        region.is_some_and(|(_, region)| {
            matches!(region.lies, Lies::Places { is_copy_on_write: true, .. })
        })
    }

    /// The same bytes, copy-on-write for who gets them; none if they do not lie in shared memory.
    pub(crate) fn own_view(self: &Arc<Self>, bytes: &Bytes) -> Option<Bytes> {
        let places = self.places_of(bytes)?;
        let keeper = Arc::new(bytes.clone());
        self.view(places, bytes.len(), Access::CopyOnWrite, keeper).ok()
    }

    /// A segment that another process has made.
    pub(super) fn receive(
        self: &Arc<Self>,
        file: MemoryFile,
        foreign_id: u64,
        access: Access,
    ) -> io::Result<Arc<Received>> {
        let whole = Range { file: &file, offset: 0, length: file.size_bytes() };
        let mapping = Mapping::new(&[whole], access)?;
        let segment = Arc::new(Segment::received(file, foreign_id));
        self.register(&mapping, Lies::Segment(Arc::downgrade(&segment)));
        Ok(Arc::new(Received { memory: Arc::clone(self), segment, mapping }))
    }

    /// Pages of one's own have one more user, who gives them back by [`Self::give_back`].
    pub(super) fn lend(&self, place: &Place) -> bool {
        self.arena().share(place.segment.id, place.offset)
    }

    /// A user of pages of one's own needs them no more. Warm, if all of them take memory.
    pub(super) fn give_back(&self, segment: u64, offset: usize, is_warm: bool) {
        self.arena().give_back(segment, offset, is_warm);
    }

    /// One for tests that has addresses for all, and memory for so much.
    #[cfg(test)]
    pub(crate) fn short_of_memory(memory_bytes: usize) -> Arc<Self> {
        let memory = Self::new(1 << 30);
        let make = |size| Ok(MemoryFile::create_short(memory_bytes, size));
        let grown = memory.arena().grow(page_bytes(), make, Access::Write);
        let (segment, mapping) = grown.expect("there are addresses");
        memory.register_segment(&segment, &mapping);
        memory
    }

    /// How much that nobody uses is kept.
    #[cfg(test)]
    pub(crate) fn warm_bytes(&self) -> usize {
        self.arena().warm_bytes()
    }

    /// How much of one's own is in use.
    #[cfg(test)]
    pub(crate) fn used_bytes(&self) -> usize {
        self.arena().used_bytes()
    }

    /// A forked child makes no values here: the pages it would write to are its parent's, who gives
    /// them out as well. And it must not touch the locks: whoever held them does not exist there.
    fn check_process(&self) -> io::Result<()> {
        if self.process.is_here() { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    fn take(self: &Arc<Self>, length: usize) -> io::Result<Taken> {
        self.check_process()?;
        let mut arena = self.arena();
        loop {
            if let Some(taken) = arena.take(length) {
                return Ok(taken);
            }
            let (segment, mapping) = arena.grow(length, MemoryFile::create, Access::Write)?;
            self.register_segment(&segment, &mapping);
        }
    }

    fn find_borrowed(&self, bytes: &[u8]) -> Option<Borrowed> {
        let regions = self.regions();
        let (start, region) = region_of(&regions, bytes)?;
        let Lies::Places { places, is_copy_on_write: true, keeper } = &region.lies else {
            return None;
        };
        let offset = bytes.as_ptr().addr() - start;
        let lead = offset % page_bytes();
        let places = segment::part(places, offset - lead, lead + bytes.len())?;
        Some(Borrowed { places, keeper: keeper.upgrade()?, lead })
    }

    /// All of a segment is mapped.
    pub(super) fn register_segment(&self, segment: &Arc<Segment>, mapping: &Mapping) {
        self.register(mapping, Lies::Segment(Arc::downgrade(segment)));
    }

    /// Gives memory that nobody uses back to the system.
    pub(super) fn cool(&self) {
        self.arena().cool(0);
    }

    fn register(&self, mapping: &Mapping, lies: Lies) {
        let region = Region { length: mapping.length(), lies };
        self.regions().insert(mapping.as_ptr().addr(), region);
    }

    fn unregister(&self, mapping: &Mapping) {
        // Dropped when nothing is locked.
        let region = self.regions().remove(&mapping.as_ptr().addr());
        drop(region);
    }

    fn regions(&self) -> MutexGuard<'_, BTreeMap<usize, Region>> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arena(&self) -> MutexGuard<'_, Arena> {
        self.arena.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Block {
    /// Copies bytes to a place in it. Fails if there is no memory for them.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let Pages { mapping, place, length, is_lazy, .. } = &self.pages;
        assert!(offset <= *length && bytes.len() <= *length - offset, "it is within");
        if *is_lazy {
            // All pages at once: one by one they cost as much as the bytes.
            mapping.populate(place.offset + offset, bytes.len())?;
        }
        mapping.write(place.offset + offset, bytes);
        Ok(())
    }

    /// What was written to it, and in between whatever was there.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.pages.as_ref()
    }

    /// It is written, and will not be again.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        self.pages.is_lazy = false;
        Bytes::from_owner(self.pages)
    }

    /// The same, for a view of several places.
    pub(super) fn into_place(self) -> (Place, Keeper) {
        (self.pages.place.clone(), Arc::new(self.pages))
    }
}

/// Pages of one's own with one user.
#[derive(Debug)]
struct Pages {
    memory: Arc<SharedMemory>,
    place: Place,
    mapping: Arc<Mapping>,
    length: usize,
    /// Whether they take memory only when they are written to, and some may not have been.
    is_lazy: bool,
}

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        self.mapping.part(self.place.offset, self.length)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // A forked child must not touch the locks: whoever held them does not exist there.
        if self.memory.process.is_here() {
            let Place { segment, offset, .. } = &self.place;
            self.memory.give_back(segment.id, *offset, !self.is_lazy);
        }
    }
}

impl Received {
    /// False in a forked child.
    pub(super) fn is_here(&self) -> bool {
        self.memory.process.is_here()
    }

    /// Bytes of a place of it.
    pub(super) fn part(&self, place: &Place, length: usize) -> &[u8] {
        self.mapping.part(place.offset, length)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if self.memory.process.is_here() {
            self.memory.unregister(&self.mapping);
        }
    }
}

/// Places, one behind the other.
struct View {
    memory: Arc<SharedMemory>,
    mapping: Mapping,
    length: usize,
    is_copy_on_write: bool,
    /// How often this process had forked when it was mapped.
    children: u32,
    /// Always there, but while it is dropped.
    keeper: Option<Keeper>,
    #[expect(dead_code, reason = "it is held, and counts")]
    maps: TakenMaps,
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        self.mapping.bytes(self.length)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if !self.memory.process.is_here() {
            return;
        }
        self.memory.unregister(&self.mapping);
        // A child that was forked meanwhile goes on seeing the pages, for as long as it lives, which
        // nobody here knows: they are never used for anything else.
        if self.is_copy_on_write && self.children != fork::children() {
            std::mem::forget(self.keeper.take());
        }
    }
}

/// The region that holds all of some bytes, and where it begins.
fn region_of<'a>(
    regions: &'a BTreeMap<usize, Region>,
    bytes: &[u8],
) -> Option<(usize, &'a Region)> {
    let address = bytes.as_ptr().addr();
    let (start, region) = regions.range(..=address).next_back()?;
    let is_within = address + bytes.len() <= start + region.length;
    (is_within && !bytes.is_empty()).then_some((*start, region))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(memory: &Arc<SharedMemory>, byte: u8) -> Bytes {
        let mut block = memory.reserve(page_bytes()).expect("there is memory");
        block.write(0, &vec![byte; page_bytes()]).expect("there is memory");
        block.into_bytes()
    }

    #[test]
    fn views_take_their_share_of_mappings_and_what_is_beyond_is_copied() {
        let memory = SharedMemory::within(MapQuota::new(3), 0);
        let values: Vec<Bytes> = (1..=3).map(|byte| value(&memory, byte)).collect();
        let places: Vec<Place> =
            values.iter().flat_map(|value| memory.places_of(value).expect("it is there")).collect();
        let keeper: Keeper = Arc::new(values.clone());
        let view = |places: &[Place]| {
            let length = places.len() * page_bytes();
            memory.view_or_copy(places, length, Access::CopyOnWrite, &keeper).expect("memory")
        };
        let (pair, first) = (view(&places[..2]), view(&places[..1]));
        assert!(memory.is_own_view(&pair) && memory.is_own_view(&first));
        assert!(memory.own_view(&values[0]).is_none(), "all are taken");
        let copied = view(&places[1..]);
        assert!(!memory.is_own_view(&copied));
        assert_eq!(copied, [&values[1][..], &values[2]].concat());
        drop(pair);
        assert!(memory.is_own_view(&view(&places[1..])), "a view that ends gives them back");
    }

    #[test]
    fn where_memory_is_short_nothing_is_reserved_and_values_stay_where_they_are() {
        let memory = SharedMemory::short_of_memory(2 * page_bytes());
        let large = Bytes::from(vec![7; 3 * page_bytes()]);
        let left = memory.take_in(large.clone());
        assert_eq!(left, large);
        assert!(memory.places_of(&left).is_none());
        assert_eq!(memory.used_bytes(), 0);
        // Nor are its first pages given out as if all of them had memory.
        memory.reserve(3 * page_bytes()).expect_err("there is no more than before");
        assert!(memory.places_of(&value(&memory, 1)).is_some(), "there is memory for this");
    }

    #[test]
    fn what_is_written_as_it_comes_fails_when_memory_is_short() {
        let memory = SharedMemory::short_of_memory(2 * page_bytes());
        let mut block = memory.reserve_lazily(3 * page_bytes()).expect("there are addresses");
        block.write(0, &vec![7; 2 * page_bytes()]).expect("there is memory");
        block.write(2 * page_bytes(), b"more").expect_err("there is no more");
        drop(block);
        memory.reserve(3 * page_bytes()).expect_err("there is no more than before");
    }
}

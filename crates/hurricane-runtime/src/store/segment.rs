//! Segments of shared memory, and where bytes lie in them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::platform::shared_memory::{MemoryFile, Range, whole_pages};

/// A file of shared memory that this process has made or was given. There are few: one for each
/// process that makes values, and one on the disk.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Its name in this process.
    pub(crate) id: u64,
    pub(crate) file: Arc<MemoryFile>,
    /// What the process that made it calls it, if that is another one.
    pub(crate) foreign_id: Option<u64>,
}

/// Whole pages of a segment.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) segment: Arc<Segment>,
    pub(crate) offset: usize,
    /// A whole number of pages.
    pub(crate) length: usize,
}

impl Segment {
    pub(crate) fn new(file: MemoryFile) -> Self {
        Self { id: new_id(), file: Arc::new(file), foreign_id: None }
    }

    /// One that another process has made, which calls it so.
    pub(crate) fn received(file: MemoryFile, foreign_id: u64) -> Self {
        Self { id: new_id(), file: Arc::new(file), foreign_id: Some(foreign_id) }
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.file.size_bytes()
    }
}

impl Place {
    /// The pages at an offset that hold so many bytes, if they all lie in the segment.
    pub(crate) fn new(segment: &Arc<Segment>, offset: usize, length: usize) -> Option<Self> {
        let length = whole_pages(length)?;
        let is_within = offset.checked_add(length)? <= whole_pages(segment.size_bytes())?;
        let is_whole = whole_pages(offset)? == offset && length > 0;
        (is_within && is_whole).then(|| Self { segment: Arc::clone(segment), offset, length })
    }

    pub(crate) fn range(&self) -> Range<'_> {
        Range { file: &self.segment.file, offset: self.offset, length: self.length }
    }

    /// Whether all of the other lies in this one.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        self.segment.id == other.segment.id
            && self.offset <= other.offset
            && other.offset + other.length <= self.offset + self.length
    }
}

/// The part of places, one behind the other, that begins at a page and holds so many bytes.
pub(crate) fn part(places: &[Place], start: usize, length: usize) -> Option<Vec<Place>> {
    let (mut skip, mut rest) = (start, whole_pages(length)?);
    let mut found = Vec::new();
    for place in places {
        let skipped = skip.min(place.length);
        skip -= skipped;
        let taken = rest.min(place.length - skipped);
        rest -= taken;
        if taken > 0 {
            found.push(Place::new(&place.segment, place.offset + skipped, taken)?);
        }
    }
    (rest == 0 && !found.is_empty()).then_some(found)
}

/// The first bytes of places, one behind the other.
pub(crate) fn read(places: &[Place], length: usize) -> io::Result<Vec<u8>> {
    let total: usize = places.iter().map(|place| place.length).sum();
    if length > total {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; total];
    let mut rest = &mut bytes[..];
    for place in places {
        let (now, later) = rest.split_at_mut(place.length);
        place.segment.file.read(place.offset, now)?;
        rest = later;
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn new_id() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

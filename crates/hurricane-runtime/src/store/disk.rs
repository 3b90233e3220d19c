//! Values that memory has no room for, in a file that has no name: read and mapped as those in
//! memory are.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::arena::{Arena, Taken};
use super::segment::Place;
use super::shared::SharedMemory;
use crate::platform::fork::ProcessMark;
use crate::platform::shared_memory::{Access, Mapping, MemoryFile, whole_pages};

/// Where values go that memory has no room for.
#[derive(Debug)]
pub(super) struct Disk {
    process: ProcessMark,
    directory: PathBuf,
    memory: Arc<SharedMemory>,
    arena: Mutex<Arena>,
}

impl Disk {
    /// One whose file will be in a directory of this user.
    pub(super) fn new(directory: PathBuf, memory: Arc<SharedMemory>) -> Arc<Self> {
        let process = ProcessMark::here();
        Arc::new(Self { process, directory, memory, arena: Mutex::new(Arena::new(0)) })
    }

    /// Writes a value down. Fails if the disk is full.
    pub(super) fn write(self: &Arc<Self>, value: &Bytes) -> io::Result<Bytes> {
        let pages = whole_pages(value.len().max(1)).ok_or(io::ErrorKind::OutOfMemory)?;
        let Taken { place, mapping, .. } = self.take(pages)?;
        let written = Written { disk: Arc::clone(self), place, mapping, length: value.len() };
        written.place.segment.file.write(written.place.offset, value)?;
        Ok(Bytes::from_owner(written))
    }

    /// Where the file is.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    fn take(&self, length: usize) -> io::Result<Taken> {
        let mut arena = self.arena.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(taken) = arena.take(length) {
                return Ok(taken);
            }
            let make = |size| MemoryFile::on_disk(&self.directory, size);
            let (segment, mapping) = arena.grow(length, make, Access::Read)?;
            self.memory.register_segment(&segment, &mapping);
        }
    }
}

/// A value in the file.
struct Written {
    disk: Arc<Disk>,
    place: Place,
    mapping: Arc<Mapping>,
    length: usize,
}

impl AsRef<[u8]> for Written {
    fn as_ref(&self) -> &[u8] {
        self.mapping.part(self.place.offset, self.length)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if self.disk.process.is_here() {
            let mut arena = self.disk.arena.lock().unwrap_or_else(PoisonError::into_inner);
            arena.give_back(self.place.segment.id, self.place.offset, true);
        }
    }
}

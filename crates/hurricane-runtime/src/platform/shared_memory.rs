//! Memory that processes share: files without a name, mapped by whoever was given their descriptor.
//!
//! What another process has made is believed nothing: it must be sealed against shrinking, for
//! reading beyond the end of a file kills the reader.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::fork::Unshared;
use crate::randomness;

/// Bits of an entry of `/proc/self/pagemap`.
const PAGE_IS_FILE: u64 = 1 << 61;
const PAGE_IS_SWAPPED: u64 = 1 << 62;
const PAGE_IS_PRESENT: u64 = 1 << 63;

/// How many pages are asked about at once.
const PAGEMAP_ENTRIES: usize = 1024;

/// What mappings are made of.
pub(crate) fn page_bytes() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(rustix::param::page_size)
}

/// The smallest number of whole pages that holds so much.
pub(crate) fn whole_pages(length: usize) -> Option<usize> {
    length.checked_next_multiple_of(page_bytes())
}

/// A file whose pages are shared.
#[derive(Debug)]
pub(crate) struct MemoryFile {
    descriptor: Unshared,
    size_bytes: usize,
}

impl MemoryFile {
    /// A new one in memory, of zeros that take no memory until they are written.
    pub(crate) fn create(size_bytes: usize) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let descriptor = rustix::fs::memfd_create("hurricane", flags)?;
        rustix::fs::ftruncate(&descriptor, size_bytes as u64)?;
        rustix::fs::fcntl_add_seals(&descriptor, SealFlags::SHRINK | SealFlags::GROW)?;
        Ok(Self { descriptor: Unshared::new(descriptor), size_bytes })
    }

    /// A new one without a name on the disk of a directory, which takes space where it is written.
    pub(crate) fn on_disk(directory: &Path, size_bytes: usize) -> io::Result<Self> {
        let descriptor = match open_nameless(directory) {
            // So say systems and file systems that cannot do that.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
                open_and_unlink(directory)
            }
            opened => opened,
        }?;
        rustix::fs::ftruncate(&descriptor, size_bytes as u64)?;
        Ok(Self { descriptor: Unshared::new(descriptor), size_bytes })
    }

    /// One for tests that has memory for less than it says.
    #[cfg(test)]
    pub(crate) fn create_short(memory_bytes: usize, size_bytes: usize) -> Self {
        let short = Self::create(memory_bytes).expect("there is memory");
        Self { size_bytes, ..short }
    }

    /// Writes to a part of it: on a disk, the only way that tells when it is full.
    pub(crate) fn write(&self, mut offset: usize, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.descriptor, bytes, offset as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    bytes = &bytes[count..];
                    offset += count;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// One that another process has made, of which it says that it is so large.
    pub(crate) fn receive(descriptor: OwnedFd, size_bytes: usize) -> io::Result<Self> {
        let seals = rustix::fs::fcntl_get_seals(&descriptor)?;
        let length = rustix::fs::fstat(&descriptor)?.st_size;
        let is_large_enough = u64::try_from(length).is_ok_and(|length| length >= size_bytes as u64);
        if !seals.contains(SealFlags::SHRINK) || !is_large_enough {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { descriptor: Unshared::new(descriptor), size_bytes })
    }

    /// One of which the process that made it is believed everything: the node is, by its workers.
    pub(crate) fn trusted(descriptor: OwnedFd, size_bytes: usize) -> Self {
        Self { descriptor: Unshared::new(descriptor), size_bytes }
    }

    /// Copies a part of it.
    pub(crate) fn read(&self, mut offset: usize, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            match rustix::io::pread(&self.descriptor, &mut *into, offset as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    into = &mut into[count..];
                    offset += count;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Gives the memory of a part back to the system, whoever has it mapped: it reads as zeros.
    pub(crate) fn give_back(&self, offset: usize, length: usize) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // Where that cannot be done, the memory goes with the last descriptor.
        let _ = rustix::fs::fallocate(&self.descriptor, flags, offset as u64, length as u64);
    }
}

impl AsFd for MemoryFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// A whole number of pages of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range<'a> {
    pub(crate) file: &'a MemoryFile,
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

/// What may be done with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// See what others write.
    Read,
    /// Write for others to see.
    Write,
    /// Write for oneself: a page is copied when it is first written to.
    CopyOnWrite,
}

/// Ranges of files, one behind the other in this process's memory.
#[derive(Debug)]
pub(crate) struct Mapping {
    address: NonNull<u8>,
    length: usize,
}

#[expect(unsafe_code, reason = "a mapping is a range of addresses that it alone owns")]
// SAFETY: nothing of it belongs to a thread.
unsafe impl Send for Mapping {}

#[expect(unsafe_code, reason = "a mapping is a range of addresses that it alone owns")]
// SAFETY: it only gives its address and its length away.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps ranges. Fails if one is no whole number of pages, or lies beyond the end of its file.
    pub(crate) fn new(ranges: &[Range<'_>], access: Access) -> io::Result<Self> {
        let length = check(ranges).ok_or(io::ErrorKind::InvalidInput)?;
        #[expect(unsafe_code, reason = "only the system maps memory")]
        // SAFETY: the system chooses addresses that nobody uses.
        let address = unsafe {
            let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
            rustix::mm::mmap_anonymous(ptr::null_mut(), length, ProtFlags::empty(), flags)?
        };
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mapping = Self { address, length };
        let mut at = 0;
        for range in ranges {
            mapping.put(at, range, access)?;
            at += range.length;
        }
        Ok(mapping)
    }

    fn put(&self, at: usize, range: &Range<'_>, access: Access) -> io::Result<()> {
        let (protection, sharing) = match access {
            Access::Read => (ProtFlags::READ, MapFlags::SHARED),
            Access::Write => (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED),
            Access::CopyOnWrite => {
                (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE)
            }
        };
        let flags = sharing | MapFlags::FIXED;
        #[expect(unsafe_code, reason = "only the system maps memory")]
        // SAFETY: the addresses belong to this mapping, and nobody has been told them yet. The range
        // lies within its file, which nobody can shrink.
        unsafe {
            let address = self.address.as_ptr().add(at).cast();
            let offset = range.offset as u64;
            rustix::mm::mmap(address, range.length, protection, flags, range.file, offset)?;
        }
        Ok(())
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.address.as_ptr()
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// The first bytes of it.
    pub(crate) fn bytes(&self, length: usize) -> &[u8] {
        self.part(0, length)
    }

    /// Some bytes of it.
    ///
    /// Another process may write to them at the same time, if it does not do as it should. Then what
    /// is read is what it deserves: nothing here is decided by these bytes.
    pub(crate) fn part(&self, offset: usize, length: usize) -> &[u8] {
        assert!(offset <= self.length && length <= self.length - offset, "it is within");
        #[expect(unsafe_code, reason = "a mapping is bytes")]
        // SAFETY: mapped for as long as `self` lives, and initialized, as all pages of files are.
        unsafe {
            std::slice::from_raw_parts(self.address.as_ptr().add(offset), length)
        }
    }

    /// Copies bytes into a mapping to which one may write, at a place that nobody else uses.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.length && bytes.len() <= self.length - offset, "it is within");
        #[expect(unsafe_code, reason = "a slice would claim that no other process sees it")]
        // SAFETY: within the mapping, and no part of `bytes`: what lies in shared memory is not
        // written again while somebody reads it.
        unsafe {
            let to = self.address.as_ptr().add(offset);
            ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    /// Has the system find pages for a part that will be written to, all at once. Fails if there are
    /// not so many: to write to them all the same would end the process.
    pub(crate) fn populate(&self, offset: usize, length: usize) -> io::Result<()> {
        let first = offset / page_bytes() * page_bytes();
        let length = (offset + length).min(self.length).saturating_sub(first);
        #[expect(unsafe_code, reason = "only the system finds pages")]
        // SAFETY: within the mapping, and its contents stay as they are.
        let populated = unsafe {
            let address = self.address.as_ptr().add(first).cast();
            rustix::mm::madvise(address, length, Advice::LinuxPopulateWrite)
        };
        match populated {
            // An older system finds them one by one, when they are written to.
            Err(Errno::INVAL) => Ok(()),
            populated => Ok(populated?),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "only the system unmaps memory")]
        // SAFETY: whoever was given a part of it holds it. In a forked child it is the child's own.
        unsafe {
            let _ = rustix::mm::munmap(self.address.as_ptr().cast(), self.length);
        }
    }
}

fn open_nameless(directory: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)
}

/// The same by a name that is there for a moment.
fn open_and_unlink(directory: &Path) -> rustix::io::Result<OwnedFd> {
    let path = directory.join(format!(".hurricane-{:016x}", randomness::unique_number()));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let descriptor = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::unlink(&path)?;
    Ok(descriptor)
}

/// Has the system use large pages, if it can, for memory that will be written to for the first time:
/// to find them one by one takes longer than to write to them.
pub(crate) fn prefer_large_pages(memory: &mut [MaybeUninit<u8>]) {
    let start = memory.as_ptr().addr().next_multiple_of(page_bytes());
    let end = (memory.as_ptr().addr() + memory.len()) / page_bytes() * page_bytes();
    if end <= start {
        return;
    }
    #[expect(unsafe_code, reason = "only the system chooses pages")]
    // SAFETY: whole pages within memory that the caller may write to, whose contents stay.
    unsafe {
        let address = memory.as_mut_ptr().cast::<u8>().with_addr(start);
        let _ = rustix::mm::madvise(address.cast(), end - start, Advice::LinuxHugepage);
    }
}

/// Whether nothing was written to these bytes of a copy-on-write mapping since it was made: their
/// pages are still the file's. False where the system does not say.
pub(crate) fn is_untouched(bytes: &[u8]) -> bool {
    // Opened each time: a forked child would go on reading its parent's.
    let Ok(pagemap) = File::open("/proc/self/pagemap") else { return false };
    let first = bytes.as_ptr().addr() / page_bytes();
    let end = (bytes.as_ptr().addr() + bytes.len()).div_ceil(page_bytes());
    let mut entries = [0; PAGEMAP_ENTRIES * 8];
    let mut page = first;
    while page < end {
        let chunk = &mut entries[..(end - page).min(PAGEMAP_ENTRIES) * 8];
        if pagemap.read_exact_at(chunk, page as u64 * 8).is_err() {
            return false;
        }
        if !chunk.as_chunks::<8>().0.iter().all(|entry| is_of_file(u64::from_ne_bytes(*entry))) {
            return false;
        }
        page += PAGEMAP_ENTRIES;
    }
    true
}

fn is_of_file(entry: u64) -> bool {
    entry & (PAGE_IS_PRESENT | PAGE_IS_SWAPPED) == 0 || entry & PAGE_IS_FILE != 0
}

/// The length of all ranges together, if each can be mapped.
fn check(ranges: &[Range<'_>]) -> Option<usize> {
    let mut total = 0_usize;
    for range in ranges {
        let end = range.offset.checked_add(range.length)?;
        let is_whole =
            range.offset.is_multiple_of(page_bytes()) && range.length.is_multiple_of(page_bytes());
        if !is_whole || range.length == 0 || end > whole_pages(range.file.size_bytes)? {
            return None;
        }
        total = total.checked_add(range.length)?;
    }
    (total > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_seen_by_others_and_what_they_copy_is_not() {
        let file = MemoryFile::create(2 * page_bytes()).expect("there is memory");
        let whole = [Range { file: &file, offset: 0, length: 2 * page_bytes() }];
        let writer = Mapping::new(&whole, Access::Write).expect("it is whole");
        writer.write(10, b"first");
        let own = Mapping::new(&whole, Access::CopyOnWrite).expect("it is whole");
        assert_eq!(own.part(10, 5), b"first");
        assert!(is_untouched(own.bytes(2 * page_bytes())));
        own.write(10, b"other");
        assert_eq!(own.part(10, 5), b"other");
        assert_eq!(writer.part(10, 5), b"first");
        assert!(!is_untouched(own.bytes(page_bytes())));
        assert!(is_untouched(own.part(page_bytes(), page_bytes())));
        file.give_back(0, 2 * page_bytes());
        assert_eq!(writer.part(10, 5), [0; 5]);
    }

    #[test]
    fn ranges_of_several_files_lie_one_behind_the_other() {
        let files = [1, 2].map(|pages| MemoryFile::create(pages * page_bytes()).expect("memory"));
        for (file, text) in files.iter().zip([b"one", b"two"]) {
            let range = [Range { file, offset: 0, length: page_bytes() }];
            Mapping::new(&range, Access::Write).expect("it is whole").write(0, text);
        }
        let [first, second] = &files;
        let ranges = [
            Range { file: second, offset: 0, length: 2 * page_bytes() },
            Range { file: first, offset: 0, length: page_bytes() },
        ];
        let both = Mapping::new(&ranges, Access::Read).expect("they are whole");
        assert_eq!((both.part(0, 3), both.part(2 * page_bytes(), 3)), (&b"two"[..], &b"one"[..]));
    }

    #[test]
    fn nothing_beyond_a_file_is_mapped() {
        let file = MemoryFile::create(page_bytes()).expect("there is memory");
        for (offset, length) in
            [(0, 2 * page_bytes()), (page_bytes(), page_bytes()), (0, 1), (0, 0)]
        {
            let range = [Range { file: &file, offset, length }];
            assert!(Mapping::new(&range, Access::Read).is_err(), "{offset} {length}");
        }
    }

    #[test]
    fn a_file_system_that_knows_no_nameless_files_gives_one_that_loses_its_name() {
        let name = format!("hurricane-test-{:016x}", randomness::unique_number());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).expect("it is new");
        let files = [open_and_unlink(&directory), open_and_unlink(&directory)];
        std::fs::remove_dir(&directory).expect("nothing is left in it");
        let [first, second] = files.map(|file| file.expect("it may be made"));
        let status = rustix::fs::fstat(&first).expect("it is open");
        assert_eq!((status.st_mode & 0o777, status.st_nlink), (0o600, 0));
        let [first, second] = [first, second].map(|file| MemoryFile::trusted(file, 5));
        first.write(0, b"first").expect("there is room");
        second.write(0, b"other").expect("there is room");
        let mut read = [0; 5];
        first.read(0, &mut read).expect("so much was written");
        assert_eq!(&read, b"first");
    }

    #[test]
    fn a_file_on_no_disk_is_refused() {
        let error = MemoryFile::on_disk(Path::new("/nowhere/at/all"), 1).expect_err("no directory");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn where_there_is_no_memory_none_is_found() {
        // Behind its end a file has none.
        let file = MemoryFile::create_short(page_bytes(), 2 * page_bytes());
        let whole = [Range { file: &file, offset: 0, length: 2 * page_bytes() }];
        let mapping = Mapping::new(&whole, Access::Write).expect("it is whole");
        mapping.populate(0, page_bytes()).expect("so much is there");
        mapping.populate(page_bytes(), 1).expect_err("there is no more");
    }

    #[test]
    fn what_could_shrink_or_is_smaller_than_it_is_said_to_be_is_refused() {
        let unsealed = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).expect("memory");
        rustix::fs::ftruncate(&unsealed, 8192).expect("it is new");
        assert!(MemoryFile::receive(unsealed, 4096).is_err());
        let sealed = MemoryFile::create(4096).expect("there is memory");
        let copy = || sealed.as_fd().try_clone_to_owned().expect("a descriptor is free");
        assert!(MemoryFile::receive(copy(), 8192).is_err());
        assert!(MemoryFile::receive(copy(), 4096).is_ok());
    }
}

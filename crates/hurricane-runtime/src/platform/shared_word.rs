//! A number that two processes share: a file without a name, of one page, mapped by both.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use rustix::fs::{MemfdFlags, SealFlags};

/// The file holds a number and nothing else, in a page of its own.
const FILE_BYTES: usize = size_of::<AtomicU64>();

/// The number, mapped into this process.
#[derive(Debug)]
pub(crate) struct SharedWord {
    word: NonNull<AtomicU64>,
}

#[expect(unsafe_code, reason = "the compiler cannot know what a mapping is for")]
// SAFETY: the mapping belongs to the process and not to a thread, and is only ever used as an atomic.
unsafe impl Send for SharedWord {}

#[expect(unsafe_code, reason = "the compiler cannot know what a mapping is for")]
// SAFETY: as above.
unsafe impl Sync for SharedWord {}

impl SharedWord {
    /// A new one, zero, and the descriptor by which another process opens it.
    pub(crate) fn make() -> io::Result<(Self, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("hurricane", flags)?;
        rustix::fs::ftruncate(&file, FILE_BYTES as u64)?;
        // To read beyond the end of a file kills the reader: nobody may make it shorter.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        Ok((Self::open(&file)?, file))
    }

    /// The one of a descriptor that this program's own node has made.
    pub(crate) fn open(file: impl AsFd) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;
        #[expect(unsafe_code, reason = "libc alone maps files")]
        // SAFETY: the system chooses an unused place. The file has this length for ever, because it
        // was sealed when it was made.
        let place = unsafe {
            libc::mmap(
                ptr::null_mut(),
                FILE_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_fd().as_raw_fd(),
                0,
            )
        };
        if place == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let word = NonNull::new(place.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { word })
    }

    pub(crate) fn get(&self) -> &AtomicU64 {
        #[expect(unsafe_code, reason = "the compiler cannot know what a mapping is for")]
        // SAFETY: the mapping is a whole page of readable and writable memory, aligned as pages are,
        // there until this is dropped. Every number is one that the other process may have written,
        // and an atomic may be written by others at any time.
        unsafe {
            self.word.as_ref()
        }
    }
}

impl Drop for SharedWord {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "libc alone unmaps files")]
        // SAFETY: the mapping was made with this length, and nobody has a reference to it any more.
        unsafe {
            libc::munmap(self.word.as_ptr().cast(), FILE_BYTES);
        }
    }
}

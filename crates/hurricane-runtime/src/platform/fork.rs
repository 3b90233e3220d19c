//! What happens to this process's descriptors and handles when the user's program forks.
//!
//! A forked child has our descriptors but none of our threads. It closes the descriptors, so that a
//! link ends when its process ends, and knows itself to be a child, so that nothing in it waits for
//! a thread that does not exist there.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// Descriptors above this are not closed in children. A process with a million open ones has other
/// problems.
const MAX_DESCRIPTORS: usize = 1 << 20;

/// One bit for each descriptor that a child must close. A bitmap of atomics, because the child may
/// take no lock.
static REGISTERED: [AtomicU64; MAX_DESCRIPTORS / 64] =
    [const { AtomicU64::new(0) }; MAX_DESCRIPTORS / 64];

/// How many forks lie between the first process that loaded this crate and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// How many children this process has forked.
static CHILDREN: AtomicU32 = AtomicU32::new(0);

/// How often this process has forked: what was mapped before may be seen by a child.
pub(crate) fn children() -> u32 {
    watch();
    CHILDREN.load(Ordering::Relaxed)
}

/// Remembers in which process it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessMark(u32);

impl ProcessMark {
    /// A mark of this process.
    pub(crate) fn here() -> Self {
        watch();
        Self(GENERATION.load(Ordering::Relaxed))
    }

    /// Whether this is the process where the mark was made, and not a forked child of it.
    pub(crate) fn is_here(self) -> bool {
        self.0 == GENERATION.load(Ordering::Relaxed)
    }
}

/// A stream whose descriptor forked children close.
#[derive(Debug)]
pub(crate) struct HiddenFromChildren<S: AsRawFd> {
    stream: S,
    process: ProcessMark,
}

impl<S: AsRawFd> HiddenFromChildren<S> {
    /// Takes a stream that no forked child may keep. It is dropped in a child by nobody: what holds
    /// it lives in a thread that is not there.
    pub(crate) fn new(stream: S) -> Self {
        let process = ProcessMark::here();
        register(stream.as_raw_fd());
        Self { stream, process }
    }

    /// The stream, or whatever else it is that has a descriptor.
    pub(crate) fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsRawFd> Drop for HiddenFromChildren<S> {
    fn drop(&mut self) {
        if self.process.is_here() {
            unregister(self.stream.as_raw_fd());
        }
    }
}

impl<S: AsyncRead + AsRawFd + Unpin> AsyncRead for HiddenFromChildren<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + AsRawFd + Unpin> AsyncWrite for HiddenFromChildren<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A descriptor that forked children close.
#[derive(Debug)]
pub(crate) struct Unshared {
    /// Always there, but while it is dropped.
    descriptor: Option<OwnedFd>,
    process: ProcessMark,
}

impl Unshared {
    /// Takes a descriptor that no forked child may keep.
    pub(crate) fn new(descriptor: OwnedFd) -> Self {
        let process = ProcessMark::here();
        register(descriptor.as_raw_fd());
        Self { descriptor: Some(descriptor), process }
    }

    /// A second descriptor of the same file.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.as_fd().try_clone_to_owned().map(Self::new)
    }

    /// Has the tokio loop of this thread watch it.
    pub(crate) fn watched(self, interest: Interest) -> io::Result<AsyncFd<Self>> {
        #[expect(unsafe_code, reason = "tokio cannot know that a type keeps its descriptor open")]
        // SAFETY: an `Unshared` owns its descriptor, names the same one until it is dropped, and
        // offers no way to close it or to exchange it before. In a forked child, where it is closed
        // early, the loop does not run.
        unsafe {
            Ok(AsyncFd::register_with_interest(self, interest)?)
        }
    }
}

impl AsFd for Unshared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_ref().expect("it is taken only by drop").as_fd()
    }
}

impl AsRawFd for Unshared {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for Unshared {
    fn drop(&mut self) {
        let Some(descriptor) = self.descriptor.take() else {
            return;
        };
        if !self.process.is_here() {
            // It was closed when this child began, and its number may be another's now.
            std::mem::forget(descriptor);
            return;
        }
        unregister(descriptor.as_raw_fd());
    }
}

fn register(descriptor: RawFd) {
    if let Some((word, bit)) = place_of(descriptor) {
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

fn unregister(descriptor: RawFd) {
    if let Some((word, bit)) = place_of(descriptor) {
        word.fetch_and(!bit, Ordering::Relaxed);
    }
}

fn place_of(descriptor: RawFd) -> Option<(&'static AtomicU64, u64)> {
    let index = usize::try_from(descriptor).ok()?;
    REGISTERED.get(index / 64).map(|word| (word, 1 << (index % 64)))
}

/// Has the child of every later `fork` call [`close_in_child`].
fn watch() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        #[expect(unsafe_code, reason = "libc alone offers pthread_atfork")]
        // SAFETY: the handlers are plain functions of this library, which is never unloaded: Python
        // does not unload extension modules. They only touch atomics and call `close`, both of
        // which are allowed between fork and exec.
        let error = unsafe { libc::pthread_atfork(None, Some(count_child), Some(close_in_child)) };
        assert_eq!(error, 0, "pthread_atfork fails only when memory is exhausted");
    });
}

/// Counts a child, in its parent.
extern "C" fn count_child() {
    CHILDREN.fetch_add(1, Ordering::Relaxed);
}

/// Closes what a forked child must not keep, and marks it as a child.
extern "C" fn close_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for (index, word) in REGISTERED.iter().enumerate() {
        let mut bits = word.swap(0, Ordering::Relaxed);
        while bits != 0 {
            let descriptor = index * 64 + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            let descriptor = RawFd::try_from(descriptor).expect("descriptors are below 1 << 20");
            #[expect(unsafe_code, reason = "the owner lives in a thread that is not in this child")]
            // SAFETY: the descriptor belongs to an `Unshared` or a `HiddenFromChildren`, which does not
            // close it in a child.
            unsafe {
                libc::close(descriptor);
            }
        }
    }
}

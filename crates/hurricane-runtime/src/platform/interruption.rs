//! Signals by which people and the system ask a process to end. For a while they are told to us;
//! then whoever had them before has them again.

use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::{self, JoinHandle};

use super::signals::Mask;

/// Ctrl-C, what service managers send, and the end of a terminal.
const ENDING: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// What is written for the thread that tells, in the place of a signal.
const OVER: u8 = 0;

/// Where the handler writes to. The stream behind it is never closed once it was made: a handler may
/// have read this just before.
static TOLD: AtomicI32 = AtomicI32::new(-1);

/// These signals are told to us. One at a time in a process.
#[derive(Debug)]
pub(crate) struct Told {
    taken: Vec<Taken>,
    telling: Option<JoinHandle<()>>,
}

impl Told {
    /// From now on, each of these signals calls `tell` in a thread of its own.
    pub(crate) fn begin(tell: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (mut hearing, writing) = UnixStream::pair()?;
        writing.set_nonblocking(true)?;
        TOLD.store(writing.as_raw_fd(), Ordering::Relaxed);
        std::mem::forget(writing);
        let telling = thread::Builder::new().name("hurricane-signals".into()).spawn(move || {
            Mask::block_all();
            let mut signal = [OVER];
            while hearing.read_exact(&mut signal).is_ok() && signal != [OVER] {
                tell();
            }
        })?;
        let handler: extern "C" fn(libc::c_int) = write_down;
        let taken = ENDING.into_iter().filter_map(|signal| Taken::take(signal, handler as usize));
        Ok(Self { taken: taken.collect(), telling: Some(telling) })
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.taken.clear();
        write_down(OVER.into());
        if let Some(telling) = self.telling.take() {
            // It has nothing to say any more.
            let _ = telling.join();
        }
    }
}

/// Lets Ctrl-C end this process at once, as it does every program that says nothing about it.
#[derive(Debug)]
pub(crate) struct EndsAtOnce {
    _taken: Option<Taken>,
}

impl EndsAtOnce {
    pub(crate) fn begin() -> Self {
        Self { _taken: Taken::take(libc::SIGINT, libc::SIG_DFL) }
    }
}

/// A signal that has another handler for as long as this lives.
struct Taken {
    signal: libc::c_int,
    before: libc::sigaction,
}

impl Taken {
    /// Nothing if the system refuses, or if whoever started this process wants it to outlive its
    /// terminal. Shells that start something in the background ignore Ctrl-C for it, but it may
    /// come to the foreground.
    fn take(signal: libc::c_int, handler: libc::sighandler_t) -> Option<Self> {
        let mut before = MaybeUninit::<libc::sigaction>::uninit();
        #[expect(unsafe_code, reason = "libc alone offers sigaction")]
        // SAFETY: all zeros are a valid `sigaction`; `handler` is one of the system's values or a
        // function that may run in any thread at any time: it calls nothing but `write`. `before` is
        // written unless the call fails.
        let before = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler;
            action.sa_flags = libc::SA_RESTART;
            if libc::sigaction(signal, &raw const action, before.as_mut_ptr()) != 0 {
                return None;
            }
            before.assume_init()
        };
        let taken = Self { signal, before };
        (signal != libc::SIGHUP || before.sa_sigaction != libc::SIG_IGN).then_some(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "libc alone offers sigaction")]
        // SAFETY: it is what the system said was there before.
        unsafe {
            libc::sigaction(self.signal, &raw const self.before, ptr::null_mut());
        }
    }
}

impl std::fmt::Debug for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Taken({})", self.signal)
    }
}

extern "C" fn write_down(signal: libc::c_int) {
    let descriptor = TOLD.load(Ordering::Relaxed);
    #[expect(unsafe_code, reason = "a signal handler can own nothing")]
    // SAFETY: the descriptor stays open for as long as the process lives.
    let stream = unsafe { BorrowedFd::borrow_raw(descriptor) };
    // One that does not fit is one of many that were not heard yet.
    let _ = rustix::io::write(stream, &[signal.to_be_bytes()[3]]);
}

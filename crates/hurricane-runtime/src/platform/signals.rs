//! Which signals our threads take: none. They are the program's, and its main thread waits for them.

use std::mem::MaybeUninit;
use std::ptr;

/// The signal on which a worker writes the Python stacks of its threads: a real-time one, which
/// libraries leave alone.
pub(crate) fn stack_signal() -> i32 {
    libc::SIGRTMIN() + 6
}

/// A thread's set of blocked signals.
#[derive(Clone, Copy)]
pub(crate) struct Mask(libc::sigset_t);

impl Mask {
    /// What this thread blocks now.
    pub(crate) fn current() -> Self {
        let mut current = MaybeUninit::uninit();
        #[expect(unsafe_code, reason = "libc alone offers pthread_sigmask")]
        // SAFETY: without a new set the call changes nothing and cannot fail: it writes `current`.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, ptr::null(), current.as_mut_ptr());
            Self(current.assume_init())
        }
    }

    /// Blocks every signal in this thread; returns what was blocked before.
    pub(crate) fn block_all() -> Self {
        let mut all = MaybeUninit::uninit();
        #[expect(unsafe_code, reason = "libc alone offers signal sets")]
        // SAFETY: `sigfillset` writes the whole set, and fails only on an invalid pointer.
        let all = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            all.assume_init()
        };
        Self(all).apply()
    }

    /// Blocks just these signals in this thread; returns what was blocked before.
    pub(crate) fn apply(self) -> Self {
        let mut before = MaybeUninit::uninit();
        #[expect(unsafe_code, reason = "libc alone offers pthread_sigmask")]
        // SAFETY: both sets are valid, and with SIG_SETMASK the call cannot fail: it writes `before`.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

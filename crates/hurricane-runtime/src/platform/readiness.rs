//! Which of many descriptors have something to be read: asked by whichever thread reads them, and
//! watched by a loop while no other thread does.
//!
//! The descriptors lie in an inner set, and that lies in an outer one, which the loop watches. While
//! another thread reads, the inner set is hidden in the outer one, and the loop sleeps.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::fork::Unshared;

/// As many descriptors are told of at once; the others the next time.
const MAX_AT_ONCE: usize = 32;

/// What comes of the descriptor by which a thread is roused.
const ROUSED: u64 = u64::MAX;

/// Descriptors, and which of them have something to be read.
#[derive(Debug)]
pub(crate) struct Readiness {
    inner: Unshared,
    outer: Unshared,
    rouse: Unshared,
}

impl Readiness {
    /// Of no descriptors so far.
    pub(crate) fn new() -> io::Result<Self> {
        let inner = Unshared::new(epoll::create(CreateFlags::CLOEXEC)?);
        let outer = Unshared::new(epoll::create(CreateFlags::CLOEXEC)?);
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let rouse = Unshared::new(rustix::event::eventfd(0, flags)?);
        epoll::add(&outer, &inner, EventData::new_u64(0), EventFlags::IN)?;
        epoll::add(&inner, &rouse, EventData::new_u64(ROUSED), EventFlags::IN)?;
        Ok(Self { inner, outer, rouse })
    }

    /// Watches one more, under a name other than `u64::MAX`.
    pub(crate) fn add(&self, descriptor: impl AsFd, name: u64) -> io::Result<()> {
        Ok(epoll::add(&self.inner, descriptor, EventData::new_u64(name), EventFlags::IN)?)
    }

    /// Watches one less. To be called before it is closed: a forked child may hold it as well, and
    /// then it would stay watched.
    pub(crate) fn remove(&self, descriptor: impl AsFd) {
        // It may never have been added.
        let _ = epoll::delete(&self.inner, descriptor);
    }

    /// Appends the names of some that have something to be read or have ended, and which will be
    /// named again as long as that is so. Waits for the first, but no longer than so; returns early
    /// when somebody calls [`Readiness::rouse`].
    pub(crate) fn wait(&self, timeout: Option<Duration>, names: &mut Vec<u64>) {
        let timeout = timeout.map(|timeout| Timespec::try_from(timeout).unwrap_or(LONGEST));
        let mut events = [const { MaybeUninit::uninit() }; MAX_AT_ONCE];
        match epoll::wait(&self.inner, &mut events, timeout.as_ref()) {
            Ok((events, _)) => {
                for event in events {
                    match event.data.u64() {
                        ROUSED => self.settle(),
                        name => names.push(name),
                    }
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => unreachable!("the set is there and the timeout is sound: {error}"),
        }
    }

    /// Has the thread that waits return, or the next one that will.
    pub(crate) fn rouse(&self) {
        // It fails only when it was roused more often than anybody counts.
        let _ = rustix::io::write(&self.rouse, &1_u64.to_ne_bytes());
    }

    /// For the loop of this thread to watch.
    pub(crate) fn watched(&self) -> io::Result<AsyncFd<Unshared>> {
        self.outer.try_clone()?.watched(Interest::READABLE)
    }

    /// The loop is not woken any more.
    pub(crate) fn hide(&self) {
        self.watch_inner(EventFlags::empty());
    }

    /// The loop is woken again by whatever comes from now on; whether something is there already,
    /// of which it is not told.
    pub(crate) fn show(&self) -> bool {
        self.watch_inner(EventFlags::IN);
        let mut names = Vec::new();
        self.wait(Some(Duration::ZERO), &mut names);
        !names.is_empty()
    }

    /// Changed rather than removed and added, which takes three times as long, since then the system
    /// looks for cycles.
    fn watch_inner(&self, flags: EventFlags) {
        let changed = epoll::modify(&self.outer, &self.inner, EventData::new_u64(0), flags);
        changed.expect("both sets are there, and one is in the other");
    }

    fn settle(&self) {
        // Another thread may have done so meanwhile.
        let _ = rustix::io::read(&self.rouse, &mut [0; 8]);
    }
}

/// Days; a longer wait is cut to this.
const LONGEST: Timespec = Timespec { tv_sec: 1_000_000, tv_nsec: 0 };

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

    fn names(readiness: &Readiness, timeout: Option<Duration>) -> Vec<u64> {
        let mut names = Vec::new();
        readiness.wait(timeout, &mut names);
        names
    }

    #[test]
    fn it_names_what_has_something_until_it_is_read_or_removed() {
        let readiness = Readiness::new().expect("there are descriptors left");
        let (read, mut write) = io::pipe().expect("there are descriptors left");
        readiness.add(&read, 7).expect("it may be watched");
        assert!(names(&readiness, AT_ONCE).is_empty());
        write.write_all(b"x").expect("the pipe is open");
        assert_eq!(names(&readiness, None), [7]);
        assert_eq!(names(&readiness, None), [7]);
        readiness.remove(&read);
        assert!(names(&readiness, AT_ONCE).is_empty());
    }

    #[test]
    fn a_thread_that_is_roused_returns_once() {
        let readiness = Readiness::new().expect("there are descriptors left");
        readiness.rouse();
        readiness.rouse();
        assert!(names(&readiness, None).is_empty());
        assert!(names(&readiness, AT_ONCE).is_empty());
        assert!(!readiness.show());
    }

    #[test]
    fn what_came_while_it_was_hidden_is_told_and_what_comes_later_wakes_the_loop() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("there are descriptors left").block_on(async {
            let readiness = Readiness::new().expect("there are descriptors left");
            let watched = readiness.watched().expect("there are descriptors left");
            let (read, mut write) = io::pipe().expect("there are descriptors left");
            readiness.add(&read, 7).expect("it may be watched");
            readiness.hide();
            write.write_all(b"x").expect("the pipe is open");
            assert!(readiness.show());
            readiness.hide();
            rustix::io::read(&read, &mut [0; 8]).expect("the pipe is open");
            assert!(!readiness.show());
            write.write_all(b"x").expect("the pipe is open");
            watched.readable().await.expect("the loop runs").clear_ready();
        });
    }
}

//! The ledger that a node and one of its workers share: which run the worker has begun last, and up to
//! which run the node has declared void what is not begun. Both stand in one number, so that of any
//! run it is certain which came first.
//!
//! What a worker writes is a claim about its own runs, and about nothing else.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use hurricane_core::id::RunId;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::platform::fork::ProcessMark;
use crate::platform::shared_word::SharedWord;

/// Runs are compared by the lower halves of their names, which come around. So what is void must
/// never lie further behind what is sent than this.
const REACH: u64 = 1 << 30;

/// The node's side.
#[derive(Debug)]
pub(crate) struct NodeLedger {
    word: SharedWord,
    /// The last run that the worker was sent.
    sent: AtomicU64,
    /// The last that was declared void.
    void: AtomicU64,
    /// The last that it has answered.
    answered: AtomicU64,
}

/// The worker's side.
#[derive(Debug)]
pub(crate) struct WorkerLedger {
    word: SharedWord,
    process: ProcessMark,
}

/// The number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    begun: u32,
    void: u32,
}

impl NodeLedger {
    /// A new one, and what is to be sent to the worker.
    pub(crate) fn make() -> io::Result<(Self, OwnedFd)> {
        let (word, file) = SharedWord::make()?;
        let [sent, void, answered] = [const { AtomicU64::new(0) }; 3];
        Ok((Self { word, sent, void, answered }, file))
    }

    /// A run is about to be sent, the next one in order.
    pub(crate) fn note_sent(&self, run: RunId) {
        self.sent.store(run.0, Ordering::Relaxed);
        let behind = run.0.saturating_sub(self.void.load(Ordering::Relaxed));
        if behind > REACH {
            // Whatever was sent so long ago was begun or declared void long ago.
            self.declare_void(RunId(run.0 - REACH / 2));
        }
    }

    /// The worker has answered a run.
    pub(crate) fn note_answered(&self, run: RunId) {
        self.answered.store(run.0, Ordering::Relaxed);
    }

    /// Whether the worker runs something, or is to.
    pub(crate) fn is_busy(&self) -> bool {
        let sent = self.sent.load(Ordering::Relaxed);
        let is_void = self.void.load(Ordering::Relaxed) >= sent;
        let last = if is_void { self.begun().unwrap_or_default().0 } else { sent };
        last > self.answered.load(Ordering::Relaxed)
    }

    /// Declares void what is not begun of the runs up to `last`. The run that was begun last.
    pub(crate) fn revoke(&self, last: RunId) -> Option<RunId> {
        let begun = self.declare_void(last);
        full(begun, last)
    }

    /// The run that was begun last.
    pub(crate) fn begun(&self) -> Option<RunId> {
        let entry = Entry::of(self.word.get().load(Ordering::Acquire));
        full(entry.begun, RunId(self.sent.load(Ordering::Relaxed)))
    }

    fn declare_void(&self, last: RunId) -> u32 {
        self.void.store(last.0, Ordering::Relaxed);
        let word = self.word.get();
        let mut current = word.load(Ordering::Acquire);
        loop {
            let entry = Entry { void: low(last.0), ..Entry::of(current) };
            match replace(word, current, entry) {
                Ok(()) => return entry.begun,
                Err(now) => current = now,
            }
        }
    }
}

impl WorkerLedger {
    /// Begins a run, the next one in order; false if it is void. A forked child begins nothing.
    pub(crate) fn begin(&self, run: RunId) -> bool {
        if !self.process.is_here() {
            return false;
        }
        let word = self.word.get();
        let mut current = word.load(Ordering::Acquire);
        loop {
            let entry = Entry::of(current);
            if entry.has_void(run) {
                return false;
            }
            match replace(word, current, Entry { begun: low(run.0), ..entry }) {
                Ok(()) => return true,
                Err(now) => current = now,
            }
        }
    }
}

impl Entry {
    fn of(word: u64) -> Self {
        Self { begun: low(word), void: low(word >> u32::BITS) }
    }

    fn word(self) -> u64 {
        u64::from(self.void) << u32::BITS | u64::from(self.begun)
    }

    /// Whether a run is the last void one or before it; both lie within [`REACH`].
    fn has_void(self, run: RunId) -> bool {
        self.void.wrapping_sub(low(run.0)) <= u32::MAX / 2
    }
}

fn replace(word: &AtomicU64, current: u64, entry: Entry) -> Result<(), u64> {
    word.compare_exchange(current, entry.word(), Ordering::AcqRel, Ordering::Acquire).map(|_| ())
}

#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
fn low(number: u64) -> u32 {
    number as u32
}

/// The run of which this is the lower half, not later than `last`. Zero means none.
fn full(half: u32, last: RunId) -> Option<RunId> {
    let before = u64::from(low(last.0).wrapping_sub(half));
    (half != 0).then_some(())?;
    last.0.checked_sub(before).map(RunId)
}

/// Sends the worker its ledger, ahead of all frames.
pub(crate) fn send(file: &OwnedFd, link: impl AsFd) -> io::Result<()> {
    let descriptors = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    rustix::net::sendmsg(link, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Takes the worker's ledger from its link.
pub(crate) fn receive(link: impl AsFd) -> io::Result<WorkerLedger> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let into = &mut [IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(link, into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    let word = SharedWord::open(file.ok_or(io::ErrorKind::InvalidData)?)?;
    Ok(WorkerLedger { word, process: ProcessMark::here() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of one ledger, handed over as in life.
    fn pair() -> (NodeLedger, WorkerLedger) {
        let (ours, theirs) = crate::link::pair().expect("a descriptor is free");
        let (node, file) = NodeLedger::make().expect("there is memory");
        send(&file, ours).expect("the link is open");
        (node, receive(theirs).expect("it was sent"))
    }

    #[test]
    fn what_is_void_is_not_begun_and_what_is_begun_is_known() {
        let (node, worker) = pair();
        (1..=4).for_each(|run| node.note_sent(RunId(run)));
        assert_eq!(node.begun(), None);
        assert!(worker.begin(RunId(1)));
        assert!(worker.begin(RunId(2)));
        assert_eq!(node.revoke(RunId(4)), Some(RunId(2)));
        assert!(!worker.begin(RunId(3)));
        assert!(!worker.begin(RunId(4)));
        assert!(node.is_busy());
        node.note_answered(RunId(2));
        assert!(!node.is_busy());
        node.note_sent(RunId(9));
        assert!(worker.begin(RunId(9)));
        assert_eq!(node.begun(), Some(RunId(9)));
    }

    #[test]
    fn halves_of_names_come_around() {
        let (node, worker) = pair();
        for run in [1, 1 << 31, (1 << 32) - 1, (1 << 32) + 1, 1 << 40 | 7, 5 << 40 | 6] {
            node.note_sent(RunId(run));
            assert!(worker.begin(RunId(run)), "{run}");
            assert_eq!(node.begun(), Some(RunId(run)));
            assert_eq!(node.revoke(RunId(run)), Some(RunId(run)));
        }
    }

    #[test]
    fn of_each_run_one_side_is_right() {
        const RUNS: u64 = 20_000;
        let (node, worker) = pair();
        // A worker begins nothing that it was not sent.
        let sent = AtomicU64::new(0);
        let begins = |run: &u64| {
            while sent.load(Ordering::Acquire) < *run {
                std::thread::yield_now();
            }
            worker.begin(RunId(*run))
        };
        let begun = std::thread::scope(|scope| {
            let worker = scope.spawn(|| (1..=RUNS).filter(begins).collect::<Vec<u64>>());
            let mut free: Vec<u64> = Vec::new();
            for last in (10..=RUNS).step_by(10) {
                sent.store(last, Ordering::Release);
                let begun = node.revoke(RunId(last)).map_or(0, |run| run.0);
                let first = free.last().copied().unwrap_or_default().max(begun) + 1;
                free.extend(first..=last);
            }
            let mut all = worker.join().expect("it does not panic");
            all.extend(free);
            all
        });
        let mut sorted = begun;
        sorted.sort_unstable();
        assert_eq!(sorted, (1..=RUNS).collect::<Vec<u64>>(), "each run is begun or void");
    }

    #[test]
    fn garbage_is_a_claim_like_any_other() {
        let (node, worker) = pair();
        node.note_sent(RunId(3));
        worker.word.get().store(u64::MAX, Ordering::Relaxed);
        assert_eq!(node.begun(), None);
        worker.word.get().store(0, Ordering::Relaxed);
        assert_eq!(node.revoke(RunId(3)), None);
    }
}

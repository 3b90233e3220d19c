//! What any thread may touch of a worker: its link, its outputs, and the wish that it ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{io, mem};

use bytes::Bytes;
use hurricane_core::id::{RunId, WorkerId};
use hurricane_core::message::{NodeToWorker, Stream, WorkerToNode};
use hurricane_core::node::Event;
use rustix::io::Errno;
use rustix::process::Pid;
use tokio::sync::Notify;

use crate::ledger::NodeLedger;
use crate::link::{self, Hello, Incoming, Outgoing, Read};
use crate::marks::{Marks, Nonce};
use crate::platform::fork::Unshared;
use crate::platform::processes;
use crate::platform::readiness::Readiness;
use crate::store::exchange::WithWorker;

/// How much is read from a pipe before messages are reported: what both pipes hold by default. All
/// that was printed before a result was sent is in there.
const DRAIN_BYTES: usize = 128 << 10;

/// How much is read from a pipe when its worker is gone. There is more only if something that
/// escaped goes on writing.
const LAST_DRAIN_BYTES: usize = 1 << 20;

const PIPE_READ_BYTES: usize = 64 << 10;

const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// The node's ends of what connects it with a worker.
pub(super) struct Wire {
    pub(super) id: WorkerId,
    pub(super) process: Pid,
    link: Unshared,
    pipes: [Unshared; 2],
    /// Held while what was read is reported, so that it is reported in the order of reading.
    intake: Mutex<Intake>,
    outbox: Mutex<Outbox>,
    memory: WithWorker,
    end: Mutex<End>,
    /// Something changed that its attendant must see to: `end`, or bytes that the link did not take.
    pub(super) changed: Notify,
    pub(super) ledger: NodeLedger,
    /// The largest resident memory that was seen.
    peak_memory_bytes: AtomicU64,
}

/// What has come in and is not reported yet.
struct Intake {
    incoming: Incoming,
    link_is_open: bool,
    /// Whatever the worker has started may hold them as well.
    pipes_are_open: [bool; 2],
    marks: [Marks; 2],
    chunk: Box<[u8]>,
}

/// What is to go out.
#[derive(Default)]
struct Outbox {
    outgoing: Outgoing,
    /// Something was added since it was last flushed.
    is_told: bool,
    /// The link takes nothing any more: the worker is dying, and its attendant sees it.
    is_broken: bool,
}

/// Whether a worker is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is not.
    Unwanted,
    /// It is to be killed.
    Wanted { dump_stack: bool },
    /// It was killed, with its whole tree.
    Done,
}

/// What of a worker has something to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Link,
    Pipe(Stream),
}

enum PipeRead {
    Bytes(Bytes),
    Blocked,
    Ended,
}

impl Wire {
    /// A worker's process, its link and outputs, its ledger and what marks its output, and the
    /// memory that is shared with it.
    pub(super) fn new(
        id: WorkerId,
        process: Pid,
        (link, pipes): (Unshared, [Unshared; 2]),
        (ledger, nonce): (NodeLedger, Nonce),
        memory: WithWorker,
    ) -> Self {
        let intake = Intake {
            incoming: Incoming::new(),
            link_is_open: true,
            pipes_are_open: [true; 2],
            marks: STREAMS.map(|_| Marks::new(nonce)),
            chunk: vec![0; PIPE_READ_BYTES].into(),
        };
        Self {
            id,
            process,
            link,
            pipes,
            intake: intake.into(),
            outbox: Mutex::default(),
            memory,
            end: End::Unwanted.into(),
            changed: Notify::new(),
            ledger,
            peak_memory_bytes: AtomicU64::default(),
        }
    }

    /// Has everything watched that it reads from.
    pub(super) fn watch(&self, readiness: &Readiness) -> io::Result<()> {
        readiness.add(&self.link, name_of(self.id, Source::Link))?;
        for (pipe, stream) in self.pipes.iter().zip(STREAMS) {
            readiness.add(pipe, name_of(self.id, Source::Pipe(stream)))?;
        }
        Ok(())
    }

    /// Nothing of it is watched any more.
    pub(super) fn unwatch(&self, readiness: &Readiness) {
        for descriptor in [&self.link].into_iter().chain(&self.pipes) {
            readiness.remove(descriptor);
        }
    }

    /// Reads from what has something, and reports it: so much that other workers get their turn.
    pub(super) fn read(&self, name: u64, readiness: &Readiness, report: &dyn Fn(Event)) {
        let mut intake = lock(&self.intake);
        match source_of(name) {
            Source::Link => self.read_link(&mut intake, readiness, report),
            Source::Pipe(stream) => self.read_pipe(stream, &mut intake, readiness, report),
        }
    }

    /// Its process has ended: reports all that it said, and nothing after that.
    pub(super) fn read_last_words(&self, readiness: &Readiness, report: &dyn Fn(Event)) {
        let mut intake = lock(&self.intake);
        while intake.link_is_open
            && matches!(link::read_now(&self.link, &mut intake.incoming), Read::Full | Read::Short)
        {
        }
        self.report_messages(&mut intake, report);
        self.drain_pipes(LAST_DRAIN_BYTES, &mut intake, report);
        intake.link_is_open = false;
        intake.pipes_are_open = [false; 2];
        self.unwatch(readiness);
    }

    fn read_link(&self, intake: &mut Intake, readiness: &Readiness, report: &dyn Fn(Event)) {
        if !intake.link_is_open {
            return;
        }
        let read = link::read_now(&self.link, &mut intake.incoming);
        let is_understood = self.report_messages(intake, report);
        // Without its link a worker is of no use: nobody could tell it anything.
        if read == Read::Ended || !is_understood {
            intake.link_is_open = false;
            readiness.remove(&self.link);
            self.want_end(false);
        }
    }

    fn read_pipe(
        &self,
        stream: Stream,
        intake: &mut Intake,
        readiness: &Readiness,
        report: &dyn Fn(Event),
    ) {
        match self.read_pipe_now(stream, intake) {
            PipeRead::Bytes(bytes) => self.report_output(stream, bytes, intake, report),
            PipeRead::Blocked => {}
            PipeRead::Ended => {
                intake.pipes_are_open[place_of(stream)] = false;
                readiness.remove(&self.pipes[place_of(stream)]);
                let rest = intake.marks[place_of(stream)].finish();
                self.report_pieces(stream, rest, report);
            }
        }
    }

    /// Reports what came in; whether it could be understood.
    fn report_messages(&self, intake: &mut Intake, report: &dyn Fn(Event)) -> bool {
        let mut is_first = true;
        loop {
            match intake.incoming.next_message() {
                Ok(Some(message)) => {
                    let message = match self.memory.receive(message, &mut intake.incoming) {
                        Ok(Some(message)) => message,
                        Ok(None) => continue,
                        Err(_) => return false,
                    };
                    // What was printed before they were sent comes first, and is there by now.
                    if mem::take(&mut is_first) {
                        self.drain_pipes(DRAIN_BYTES, intake, report);
                    }
                    self.note_message(&message);
                    report(Event::FromWorker { worker: self.id, message });
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn drain_pipes(&self, limit_bytes: usize, intake: &mut Intake, report: &dyn Fn(Event)) {
        for stream in STREAMS {
            let mut drained = 0;
            while drained < limit_bytes
                && let PipeRead::Bytes(bytes) = self.read_pipe_now(stream, intake)
            {
                drained += bytes.len();
                self.report_output(stream, bytes, intake, report);
            }
        }
    }

    fn read_pipe_now(&self, stream: Stream, intake: &mut Intake) -> PipeRead {
        if !intake.pipes_are_open[place_of(stream)] {
            return PipeRead::Ended;
        }
        loop {
            return match rustix::io::read(&self.pipes[place_of(stream)], &mut *intake.chunk) {
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => PipeRead::Blocked,
                Ok(0) | Err(_) => PipeRead::Ended,
                Ok(count) => PipeRead::Bytes(Bytes::copy_from_slice(&intake.chunk[..count])),
            };
        }
    }

    fn report_output(
        &self,
        stream: Stream,
        bytes: Bytes,
        intake: &mut Intake,
        report: &dyn Fn(Event),
    ) {
        let pieces = intake.marks[place_of(stream)].take(bytes);
        self.report_pieces(stream, pieces, report);
    }

    /// What is not marked is most likely that of the run begun last.
    fn report_pieces(
        &self,
        stream: Stream,
        pieces: impl IntoIterator<Item = (Option<RunId>, Bytes)>,
        report: &dyn Fn(Event),
    ) {
        for (run, bytes) in pieces {
            let run = run.or_else(|| self.ledger.begun());
            report(Event::WorkerWrote { worker: self.id, stream, run, bytes });
        }
    }
}

/// What it is told.
impl Wire {
    /// Adds what it is told first.
    pub(super) fn greet(&self, hello: &Hello) {
        lock(&self.outbox).outgoing.push(hello);
    }

    /// Adds a message to what is to be written; whether it is the first since the last flush.
    pub(super) fn push(&self, message: NodeToWorker) -> bool {
        let mut outbox = lock(&self.outbox);
        self.memory.push(message, &mut outbox.outgoing);
        !mem::replace(&mut outbox.is_told, true)
    }

    /// Writes as much as the link takes now. The rest is left to the attendant.
    pub(super) fn flush(&self) {
        let mut outbox = lock(&self.outbox);
        outbox.is_told = false;
        match outbox.outgoing.flush_now(&self.link) {
            Ok(true) => {}
            Ok(false) => self.changed.notify_one(),
            Err(_) => outbox.is_broken = true,
        }
    }

    /// Whether the link was full.
    pub(super) fn has_more_to_write(&self) -> bool {
        let outbox = lock(&self.outbox);
        !(outbox.is_told || outbox.is_broken || outbox.outgoing.is_empty())
    }

    /// The link by another descriptor, to be watched for taking bytes again.
    pub(super) fn link_for_writing(&self) -> io::Result<Unshared> {
        self.link.try_clone()
    }

    /// Has the worker and its whole process tree ended by its attendant.
    pub(super) fn want_end(&self, dump_stack: bool) {
        let mut end = lock(&self.end);
        if *end == End::Unwanted {
            *end = End::Wanted { dump_stack };
            drop(end);
            self.changed.notify_one();
        }
    }

    pub(super) fn end(&self) -> End {
        *lock(&self.end)
    }

    pub(super) fn set_ended(&self) {
        *lock(&self.end) = End::Done;
    }
}

/// What is known of its memory.
impl Wire {
    /// It said something: maybe that it is ready, or that its run has ended.
    fn note_message(&self, message: &WorkerToNode) {
        match message {
            WorkerToNode::Ready => self.look_at_memory(),
            WorkerToNode::Finished { run, .. } | WorkerToNode::Raised { run, .. } => {
                self.ledger.note_answered(*run);
            }
            _ => {}
        }
    }

    pub(super) fn look_at_memory(&self) {
        let seen = processes::peak_memory_bytes(self.process);
        self.peak_memory_bytes.fetch_max(seen, Ordering::Relaxed);
    }

    pub(super) fn peak_memory_bytes(&self) -> u64 {
        self.peak_memory_bytes.load(Ordering::Relaxed)
    }
}

/// The worker of a name under which something is watched.
pub(super) fn worker_of(name: u64) -> WorkerId {
    WorkerId(name >> 2)
}

fn name_of(worker: WorkerId, source: Source) -> u64 {
    let source = match source {
        Source::Link => 0,
        Source::Pipe(stream) => 1 + place_of(stream) as u64,
    };
    worker.0 << 2 | source
}

fn source_of(name: u64) -> Source {
    match name & 3 {
        0 => Source::Link,
        1 => Source::Pipe(Stream::Stdout),
        _ => Source::Pipe(Stream::Stderr),
    }
}

fn place_of(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

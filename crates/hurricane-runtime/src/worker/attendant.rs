//! What sees to one worker from its start until it is gone: reads its link and its output, and when
//! it ends, gathers what is known of that.

use std::fs::{self, File};
use std::io::Read as _;
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hurricane_core::frame::{Decoder, MAX_WORKER_FRAME_BYTES};
use hurricane_core::id::WorkerId;
use hurricane_core::message::{Death, Stream};
use hurricane_core::node::Event;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::{End, Worker, Workers};
use crate::link::{self, Read};
use crate::platform::fork::Unshared;
use crate::platform::processes::{self, Obituary};

/// How much is read from a pipe before frames are handled: what both pipes hold by default. All
/// that was printed before a result was sent is in there.
const DRAIN_BYTES: usize = 128 << 10;

/// How much is read from a pipe when its worker is gone. There is more only if something that
/// escaped goes on writing.
const LAST_DRAIN_BYTES: usize = 1 << 20;

const PIPE_READ_BYTES: usize = 64 << 10;

/// After so many the other workers have their turn: a megabyte of output.
const OCCASIONS_IN_A_ROW: u32 = 16;

/// How soon a full link is tried again when there is no descriptor left to wait with.
const WRITE_RETRY: Duration = Duration::from_millis(10);

/// How long a worker may take to write its stacks before it is killed.
const STACK_WAIT: Duration = Duration::from_millis(200);

/// How often its file is looked at meanwhile.
const STACK_POLL: Duration = Duration::from_millis(5);

/// How much of the stacks is kept: hundreds of frames.
const MAX_STACK_BYTES: u64 = 64 << 10;

/// Sees to one worker.
pub(super) struct Attendant {
    workers: Rc<Workers>,
    id: WorkerId,
    worker: Rc<Worker>,
    handle: AsyncFd<Unshared>,
    mark: String,
    decoder: Decoder,
    link_is_open: bool,
    pipes: [Pipe; 2],
    stack_path: PathBuf,
    /// What this process held when it started the worker, which the system counts as the worker's.
    inherited_peak_bytes: u64,
}

/// An output of a worker, until it ends. Whatever the worker has started may hold it as well.
pub(super) struct Pipe {
    descriptor: Option<AsyncFd<Unshared>>,
}

impl Attendant {
    pub(super) fn new(
        workers: Rc<Workers>,
        id: WorkerId,
        worker: Rc<Worker>,
        handle: AsyncFd<Unshared>,
        mark: String,
        pipes: [Pipe; 2],
        stack_path: PathBuf,
    ) -> Self {
        let decoder = Decoder::new(MAX_WORKER_FRAME_BYTES);
        let inherited_peak_bytes = processes::own_peak_memory_bytes();
        let link_is_open = true;
        Self {
            workers,
            id,
            worker,
            handle,
            mark,
            decoder,
            link_is_open,
            pipes,
            stack_path,
            inherited_peak_bytes,
        }
    }

    /// Does so until the worker is gone.
    pub(super) async fn attend(mut self) {
        while self.attend_in_a_row().await {
            // One worker that never stops talking must not keep the others waiting.
            tokio::task::yield_now().await;
        }
        self.bury().await;
    }

    /// Sees to so much; false once the worker has ended.
    async fn attend_in_a_row(&mut self) -> bool {
        for _ in 0..OCCASIONS_IN_A_ROW {
            match self.next_occasion().await {
                Occasion::LinkRead(read) => self.on_link_read(read),
                Occasion::PipeRead(stream, read) => self.on_pipe_read(stream, read),
                Occasion::Changed => self.kill_if_wanted().await,
                Occasion::Ended => return false,
            }
        }
        true
    }

    async fn next_occasion(&mut self) -> Occasion {
        let Self { worker, handle, decoder, link_is_open, pipes: [stdout, stderr], .. } = self;
        tokio::select! {
            read = read_link(&worker.link, decoder), if *link_is_open => Occasion::LinkRead(read),
            read = stdout.read() => Occasion::PipeRead(Stream::Stdout, read),
            read = stderr.read() => Occasion::PipeRead(Stream::Stderr, read),
            () = write_link(worker), if worker.has_more_to_write() => Occasion::Changed,
            () = worker.changed.notified() => Occasion::Changed,
            _ = handle.readable() => Occasion::Ended,
        }
    }

    fn on_link_read(&mut self, read: Read) {
        let is_understood = self.report_messages();
        // Without its link a worker is of no use: nobody could tell it anything.
        if read == Read::Ended || !is_understood {
            self.link_is_open = false;
            self.workers.kill(self.id, false);
        }
    }

    fn on_pipe_read(&mut self, stream: Stream, read: PipeRead) {
        match read {
            PipeRead::Bytes(bytes) => self.report_output(stream, bytes),
            PipeRead::Blocked => {}
            PipeRead::Ended => self.pipe(stream).descriptor = None,
        }
    }

    /// Reports what the decoder holds; whether it could be understood.
    fn report_messages(&mut self) -> bool {
        let mut messages = Vec::new();
        let is_understood = loop {
            match self.decoder.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        if !messages.is_empty() {
            // What was printed before they were sent comes first.
            self.drain_pipes(DRAIN_BYTES);
        }
        for message in messages {
            self.worker.note_message(&message);
            self.report(Event::FromWorker { worker: self.id, message });
        }
        is_understood
    }

    fn drain_pipes(&mut self, limit_bytes: usize) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut drained = 0;
            while drained < limit_bytes
                && let PipeRead::Bytes(bytes) = self.pipe(stream).read_now()
            {
                drained += bytes.len();
                self.report_output(stream, bytes);
            }
        }
    }

    fn pipe(&mut self, stream: Stream) -> &mut Pipe {
        let [stdout, stderr] = &mut self.pipes;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }

    fn report_output(&self, stream: Stream, bytes: Bytes) {
        self.report(Event::WorkerWrote { worker: self.id, stream, bytes });
    }

    fn report(&self, event: Event) {
        (self.workers.report)(event);
    }

    async fn kill_if_wanted(&mut self) {
        let End::Wanted { dump_stack } = self.worker.end.get() else {
            return;
        };
        if dump_stack {
            processes::ask_for_stacks(self.handle.get_ref());
            self.wait_for_stacks().await;
        }
        self.worker.end.set(End::Done);
        let process = self.worker.process;
        off_the_loop(move || processes::kill_trees(&[process])).await;
    }

    /// Waits until the stacks are there and do not grow any more, or until it takes too long.
    async fn wait_for_stacks(&self) {
        let deadline = Instant::now() + STACK_WAIT;
        let mut length = 0;
        while Instant::now() < deadline {
            tokio::time::sleep(STACK_POLL).await;
            let now = fs::metadata(&self.stack_path).map_or(0, |file| file.len());
            if now > 0 && now == length {
                return;
            }
            length = now;
        }
    }

    /// The process has ended: ends what is left of its tree, and reports all that it said and what
    /// is known of its end.
    async fn bury(mut self) {
        let process = self.worker.process;
        if !self.workers.is_ending.get() {
            let mark = self.mark.clone();
            // Before it is reaped, so that its id is no other's yet.
            off_the_loop(move || processes::kill_leftovers(process, &mark)).await;
        }
        self.report_last_words();
        let Obituary { exit, peak_memory_bytes } = processes::reap(process);
        // A figure no larger than what this process held says nothing about the worker.
        let is_its_own = peak_memory_bytes > self.inherited_peak_bytes;
        let seen = self.worker.peak_memory_bytes.get();
        let death = Death {
            exit,
            peak_memory_bytes: if is_its_own { peak_memory_bytes.max(seen) } else { seen },
            stack: self.take_stacks(),
            ..Death::default()
        };
        self.report(Event::WorkerDied { worker: self.id, death });
        self.workers.forget(self.id);
    }

    fn report_last_words(&mut self) {
        while self.link_is_open
            && matches!(
                link::read_now(self.worker.link.get_ref(), &mut self.decoder),
                Read::Full | Read::Short
            )
        {}
        self.report_messages();
        self.drain_pipes(LAST_DRAIN_BYTES);
    }

    fn take_stacks(&self) -> Box<str> {
        let mut stacks = Vec::new();
        if let Ok(file) = File::open(&self.stack_path) {
            // What cannot be read is not told.
            let _ = file.take(MAX_STACK_BYTES).read_to_end(&mut stacks);
            let _ = fs::remove_file(&self.stack_path);
        }
        String::from_utf8_lossy(&stacks).into()
    }
}

/// What an attendant waits for.
enum Occasion {
    LinkRead(Read),
    PipeRead(Stream, PipeRead),
    /// The worker is to end, or its link takes bytes again.
    Changed,
    /// Its process has ended.
    Ended,
}

enum PipeRead {
    Bytes(Bytes),
    Blocked,
    Ended,
}

impl Pipe {
    pub(super) fn new(descriptor: AsyncFd<Unshared>) -> Self {
        Self { descriptor: Some(descriptor) }
    }

    /// Waits until something is there; for ever, once it has ended.
    async fn read(&self) -> PipeRead {
        let Some(descriptor) = &self.descriptor else {
            return std::future::pending().await;
        };
        let mut ready = descriptor.readable().await.expect("the loop runs");
        let read = self.read_now();
        if matches!(read, PipeRead::Blocked) {
            ready.clear_ready();
        }
        read
    }

    #[expect(clippy::large_stack_arrays, reason = "the loop's stack has two megabytes")]
    fn read_now(&self) -> PipeRead {
        let Some(descriptor) = &self.descriptor else {
            return PipeRead::Ended;
        };
        let mut chunk = [const { MaybeUninit::uninit() }; PIPE_READ_BYTES];
        loop {
            return match rustix::io::read(descriptor.get_ref(), &mut chunk) {
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => PipeRead::Blocked,
                Ok(([], _)) | Err(_) => PipeRead::Ended,
                Ok((bytes, _)) => PipeRead::Bytes(Bytes::copy_from_slice(bytes)),
            };
        }
    }
}

async fn read_link(link: &AsyncFd<Unshared>, decoder: &mut Decoder) -> Read {
    let mut ready = link.readable().await.expect("the loop runs");
    let read = link::read_now(link.get_ref(), decoder);
    if matches!(read, Read::Short | Read::Blocked) {
        ready.clear_ready();
    }
    read
}

/// Waits until the link takes bytes, and writes what it takes.
async fn write_link(worker: &Worker) {
    // A descriptor for this alone: were the link itself watched for it, the loop would wake each time
    // that a worker has read something.
    let descriptor = worker.link.get_ref().try_clone();
    match descriptor.and_then(|descriptor| descriptor.watched(Interest::WRITABLE)) {
        Ok(watched) => drop(watched.writable().await),
        Err(_) => tokio::time::sleep(WRITE_RETRY).await,
    }
    worker.flush();
}

/// Runs what may take milliseconds where it holds up nobody.
async fn off_the_loop(work: impl FnOnce() + Send + 'static) {
    tokio::task::spawn_blocking(work).await.expect("it neither panics nor is aborted");
}

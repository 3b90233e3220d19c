//! What sees to one worker from its start until it is gone: ends it when that is wanted, writes what
//! its link did not take at once, and when it ends, gathers what is known of that.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hurricane_core::message::Death;
use hurricane_core::node::Event;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::Workers;
use super::wire::{End, Wire};
use crate::platform::fork::Unshared;
use crate::platform::processes::{self, Obituary};

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
    wire: Arc<Wire>,
    handle: AsyncFd<Unshared>,
    mark: String,
    stack_path: PathBuf,
    /// What this process held when it started the worker, which the system counts as the worker's.
    inherited_peak_bytes: u64,
}

impl Attendant {
    pub(super) fn new(
        workers: Rc<Workers>,
        wire: Arc<Wire>,
        handle: AsyncFd<Unshared>,
        mark: String,
        stack_path: PathBuf,
    ) -> Self {
        let inherited_peak_bytes = processes::own_peak_memory_bytes();
        Self { workers, wire, handle, mark, stack_path, inherited_peak_bytes }
    }

    /// Does so until the worker is gone.
    pub(super) async fn attend(self) {
        while !self.has_ended_or_changed().await {
            self.kill_if_wanted().await;
        }
        self.bury().await;
    }

    /// Waits until something is to be done; whether that is to bury it.
    async fn has_ended_or_changed(&self) -> bool {
        tokio::select! {
            () = write_link(&self.wire), if self.wire.has_more_to_write() => false,
            () = self.wire.changed.notified() => false,
            _ = self.handle.readable() => true,
        }
    }

    async fn kill_if_wanted(&self) {
        let End::Wanted { dump_stack } = self.wire.end() else {
            return;
        };
        if dump_stack {
            processes::ask_for_stacks(self.handle.get_ref());
            self.wait_for_stacks().await;
        }
        self.wire.set_ended();
        let process = self.wire.process;
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
    async fn bury(self) {
        let process = self.wire.process;
        if !self.workers.is_ending.get() {
            let mark = self.mark.clone();
            // Before it is reaped, so that its id is no other's yet.
            off_the_loop(move || processes::kill_leftovers(process, &mark)).await;
        }
        self.workers.wires.bury(&self.wire, &self.workers.report);
        let Obituary { exit, peak_memory_bytes } = processes::reap(process);
        // A figure no larger than what this process held says nothing about the worker.
        let is_its_own = peak_memory_bytes > self.inherited_peak_bytes;
        let seen = self.wire.peak_memory_bytes();
        let death = Death {
            exit,
            peak_memory_bytes: if is_its_own { peak_memory_bytes.max(seen) } else { seen },
            stack: self.take_stacks(),
            ..Death::default()
        };
        let begun = self.wire.ledger.begun();
        (self.workers.report)(Event::WorkerDied { worker: self.wire.id, begun, death });
        self.workers.forget(self.wire.id);
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

/// Waits until the link takes bytes, and writes what it takes.
async fn write_link(wire: &Wire) {
    // A descriptor for this alone: were the link itself watched for it, the loop would wake each time
    // that a worker has read something.
    let descriptor = wire.link_for_writing();
    match descriptor.and_then(|descriptor| descriptor.watched(Interest::WRITABLE)) {
        Ok(watched) => drop(watched.writable().await),
        Err(_) => tokio::time::sleep(WRITE_RETRY).await,
    }
    wire.flush();
}

/// Runs what may take milliseconds where it holds up nobody.
async fn off_the_loop(work: impl FnOnce() + Send + 'static) {
    tokio::task::spawn_blocking(work).await.expect("it neither panics nor is aborted");
}

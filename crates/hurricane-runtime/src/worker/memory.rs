//! How much memory workers take: looked at when one is ready, and about once a second while any runs
//! something, so that the figure is there when a worker dies.
//!
//! What the system tells of a process that has ended is not enough: it counts what the process took
//! that started it, which is the user's program.

use std::rc::Rc;
use std::time::Duration;

use hurricane_core::message::WorkerToNode;

use super::{Worker, Workers};
use crate::platform::processes;

/// How long between two looks: a task that takes all memory there is needs longer.
const PERIOD: Duration = Duration::from_secs(1);

impl Workers {
    /// Looks at the workers for as long as the thread lives. While nothing runs, it sleeps.
    pub(crate) async fn watch_memory(self: Rc<Self>) {
        loop {
            self.run_began.notified().await;
            self.is_watching_memory.set(true);
            tokio::time::sleep(PERIOD).await;
            while self.look_at_running() {
                tokio::time::sleep(PERIOD).await;
            }
            self.is_watching_memory.set(false);
        }
    }

    /// A worker is being told to run something.
    pub(super) fn note_run(&self, worker: &Worker) {
        worker.is_running.set(true);
        if !self.is_watching_memory.get() {
            self.run_began.notify_one();
        }
    }

    /// Looks at each worker that runs something; false if none does.
    fn look_at_running(&self) -> bool {
        let living = self.living.borrow();
        let running = living.values().filter(|worker| worker.is_running.get());
        running.map(|worker| worker.look_at_memory()).count() > 0
    }
}

impl Worker {
    /// It said something: maybe that it is ready, or that its run has ended.
    pub(super) fn note_message(&self, message: &WorkerToNode) {
        match message {
            WorkerToNode::Ready => self.look_at_memory(),
            WorkerToNode::Finished { .. } | WorkerToNode::Raised { .. } => {
                self.is_running.set(false);
            }
            _ => {}
        }
    }

    fn look_at_memory(&self) {
        let seen = processes::peak_memory_bytes(self.process);
        self.peak_memory_bytes.set(self.peak_memory_bytes.get().max(seen));
    }
}

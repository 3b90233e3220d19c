//! The thread of a local cluster: starts and buries workers, sees to what is due, and has a turn
//! whenever no other thread does.

use std::io;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hurricane_core::node::Action;
use tokio::runtime;
use tokio::task::LocalSet;

use super::Shared;
use super::cluster::Input;
use crate::platform::directories::OwnDirectory;
use crate::platform::signals::Mask;
use crate::worker::{Program, Workers};

/// For ending process trees, of which few end at a time.
const BLOCKING_THREADS: usize = 4;

/// How long what a thread submits in a stream gathers before the loop's next turn. To wake the loop
/// for each would take longer than all else that is done for a short task; nothing else waits so.
const GATHERING: Duration = Duration::from_micros(50);

/// After so many turns, whatever else the thread has to do comes first.
const TURNS_IN_A_ROW: u32 = 16;

/// The thread's state.
pub(super) struct Service {
    shared: Arc<Shared>,
    workers: Rc<Workers>,
}

impl Service {
    /// Starts the thread.
    pub(super) fn start(
        shared: Arc<Shared>,
        program: Program,
        directory: OwnDirectory,
    ) -> io::Result<JoinHandle<()>> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()?;
        // Signals are the program's business, so the thread is born with all of them blocked.
        let mask = Mask::block_all();
        let thread = thread::Builder::new().name("hurricane".into()).spawn(move || {
            // Dropped last, whatever happens: nobody must wait for a cluster that is not there.
            let _closing = Closing(Arc::clone(&shared));
            let local = LocalSet::new();
            local.block_on(&runtime, async {
                Self::new(shared, program, directory).serve().await;
            });
        });
        mask.apply();
        thread
    }

    fn new(shared: Arc<Shared>, program: Program, directory: OwnDirectory) -> Self {
        let reporting = Arc::clone(&shared);
        let report = Box::new(move |event| reporting.put_in(Input::Node(event)));
        let (wires, pids) = (Arc::clone(&shared.wires), Arc::clone(&shared.pids));
        let workers = Workers::new(program, Arc::new(directory), wires, pids, report);
        Self { shared, workers }
    }

    async fn serve(self) {
        tokio::task::spawn_local(Rc::clone(&self.workers).serve());
        let mut turns = 0_u32;
        while !self.shared.is_stopping.load(Ordering::Acquire) {
            self.shared.is_called.store(false, Ordering::SeqCst);
            if self.shared.turn() {
                self.shared.call_loop();
            }
            self.run_errands();
            turns = turns.wrapping_add(1);
            // What sees to the workers gets its turns even when the inbox is never empty.
            if turns.is_multiple_of(TURNS_IN_A_ROW) {
                tokio::task::yield_now().await;
            }
            if self.shared.is_streaming.swap(false, Ordering::Relaxed) {
                self.gather().await;
            } else {
                self.wait().await;
            }
        }
        self.workers.kill_all().await;
    }

    /// Does what other threads cannot do.
    fn run_errands(&self) {
        let errands = mem::take(&mut *self.shared.errands());
        for errand in errands {
            match errand {
                Action::StartWorker { worker, kind } => self.workers.start(worker, &kind),
                Action::KillWorker { worker, dump_stack } => {
                    // If it is not here by now, it has ended.
                    self.shared.wires.kill(worker, dump_stack);
                }
                other => unreachable!("any thread can do this: {other:?}"),
            }
        }
    }

    /// Lets what is being submitted gather for the next turn, and nobody wake this thread for it.
    async fn gather(&self) {
        self.shared.is_called.store(true, Ordering::SeqCst);
        thread::sleep(GATHERING);
        // What the workers have answered belongs to the same turn.
        tokio::task::yield_now().await;
    }

    async fn wait(&self) {
        let alarm = self.shared.cluster().set_alarm();
        let arrived = self.shared.inbox.arrived();
        match alarm {
            None => arrived.await,
            Some(alarm) => {
                // That it is time is seen by the cluster itself.
                let _ = tokio::time::timeout_at(alarm.into(), arrived).await;
            }
        }
    }
}

/// Closes all connections when it is dropped.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.mailboxes.close();
        self.0.wires.rouse();
    }
}

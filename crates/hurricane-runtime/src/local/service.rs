//! The thread of a local cluster: waits for what happens, has the cluster decide, and does what must
//! be done in the world.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use hurricane_core::id::{ClientId, ObjectId};
use hurricane_core::message::SchedulerToClient;
use hurricane_core::node::Action;
use tokio::runtime;
use tokio::task::LocalSet;

use super::Shared;
use super::cluster::{Effect, Input, NODE};
use crate::client::ConnectionError;
use crate::platform::directories::OwnDirectory;
use crate::platform::signals::Mask;
use crate::worker::{Program, Workers};

/// For ending process trees, of which few end at a time.
const BLOCKING_THREADS: usize = 4;

/// After so many turns, whatever else the thread has to do comes first.
const TURNS_IN_A_ROW: u32 = 16;

/// The thread's state.
pub(super) struct Service {
    shared: Arc<Shared>,
    workers: Rc<Workers>,
    inputs: Vec<Input>,
    effects: Vec<Effect>,
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
        let report = Box::new(move |event| reporting.inbox.push(Input::Node(event)));
        let (store, pids) = (Arc::clone(&shared.store), Arc::clone(&shared.pids));
        let workers = Workers::new(program, Arc::new(directory), store, pids, report);
        Self { shared, workers, inputs: Vec::new(), effects: Vec::new() }
    }

    async fn serve(mut self) {
        tokio::task::spawn_local(Rc::clone(&self.workers).watch_memory());
        let mut turns = 0_u32;
        while !self.shared.is_stopping.load(Ordering::Acquire) {
            self.turn();
            turns = turns.wrapping_add(1);
            // The attendants of the workers get theirs even when the inbox is never empty.
            if turns.is_multiple_of(TURNS_IN_A_ROW) {
                tokio::task::yield_now().await;
            }
            self.wait().await;
        }
        self.workers.kill_all().await;
    }

    /// Has everything handled that came in, and does what follows from it.
    fn turn(&mut self) {
        self.shared.inbox.take(&mut self.inputs);
        self.shared.cluster().apply(self.inputs.drain(..), &mut self.effects);
        let mut deliveries = Deliveries::new(&self.shared);
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Tell(client, message) => deliveries.add(client, message),
                Effect::Refuse(client, reason) => deliveries.refuse(client, reason),
                Effect::Node(action) => carry_out(&self.workers, &self.shared, action),
            }
        }
        // Workers first: they can compute while the client wakes.
        self.workers.flush();
        deliveries.deliver();
    }

    async fn wait(&self) {
        let deadline = self.shared.cluster().deadline();
        let arrived = self.shared.inbox.arrived();
        match deadline {
            None => arrived.await,
            Some(deadline) => {
                // That the deadline has come is seen by the cluster itself.
                let _ = tokio::time::timeout_at(deadline.into(), arrived).await;
            }
        }
    }
}

fn carry_out(workers: &Rc<Workers>, shared: &Shared, action: Action) {
    match action {
        Action::StartWorker { worker, kind } => workers.start(worker, &kind),
        Action::ToWorker { worker, message } => workers.tell(worker, message),
        Action::KillWorker { worker, dump_stack } => workers.kill(worker, dump_stack),
        Action::Store { object, bytes } => {
            shared.store.insert(NODE, ObjectId { node: NODE, number: object }, bytes);
        }
        Action::Drop { object } => shared.store.remove(NODE, object),
        Action::ToScheduler(_) | Action::Fetch { .. } => {
            unreachable!("the cluster carries these out itself")
        }
    }
}

/// What is to be said to clients, gathered so that each is woken once.
struct Deliveries<'a> {
    shared: &'a Shared,
    client: ClientId,
    messages: Vec<SchedulerToClient>,
}

impl<'a> Deliveries<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, client: ClientId::default(), messages: Vec::new() }
    }

    fn add(&mut self, client: ClientId, message: SchedulerToClient) {
        if client != self.client {
            self.deliver();
            self.client = client;
        }
        self.messages.push(message);
    }

    fn refuse(&mut self, client: ClientId, reason: &'static str) {
        self.deliver();
        if let Some(mailbox) = self.shared.mailboxes.of(client) {
            mailbox.close(ConnectionError::Refused { reason });
        }
    }

    fn deliver(&mut self) {
        let messages = std::mem::take(&mut self.messages);
        if !messages.is_empty()
            && let Some(mailbox) = self.shared.mailboxes.of(self.client)
        {
            mailbox.deliver(messages);
        }
    }
}

/// Closes all connections when it is dropped.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.mailboxes.close();
    }
}

//! What a program's connection speaks to: its thread does itself what it can, which spares waking
//! another one.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hurricane_core::id::{ClientId, Number, ObjectId};
use hurricane_core::message::ClientToScheduler;
use hurricane_core::{node, scheduler};

use super::Shared;
use super::cluster::Input;
use crate::client::{Fetched, Sink, StoreFull};
use crate::store::shared::SharedMemory;

/// Submits that follow each other within this time are a stream: the loop takes them in batches.
/// Before that, a thread that has nothing to wait for would write to a worker for each of them.
const STREAM_PAUSE: Duration = Duration::from_micros(10);

thread_local! {
    /// When this thread last submitted something, if it has not waited for a result since.
    static LAST_SUBMIT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// What a program's connection speaks to.
pub(super) struct LocalSink {
    shared: Arc<Shared>,
    client: ClientId,
}

impl LocalSink {
    pub(super) fn new(shared: Arc<Shared>, client: ClientId) -> Self {
        Self { shared, client }
    }
}

impl Sink for LocalSink {
    fn send(&self, message: ClientToScheduler) {
        let client = self.client;
        // After these comes a nudge.
        let is_nudged = matches!(message, ClientToScheduler::Submit { .. });
        let input = Input::Scheduler(scheduler::Event::FromClient { client, message });
        if is_nudged {
            self.shared.inbox.push_quietly(input);
        } else {
            self.shared.put_in(input);
        }
    }

    fn nudge(&self) {
        let last = LAST_SUBMIT.get();
        let now = Instant::now();
        let is_soon = self.shared.is_called.load(Ordering::Relaxed);
        if is_soon || last.is_some_and(|last| now.duration_since(last) < STREAM_PAUSE) {
            LAST_SUBMIT.set(Some(now));
            self.shared.is_streaming.store(true, Ordering::Relaxed);
            self.shared.call_loop();
            return;
        }
        if self.shared.try_turn() {
            self.shared.call_loop();
        }
        LAST_SUBMIT.set(Some(Instant::now()));
    }

    fn drive(&self, is_met: &dyn Fn() -> bool, deadline: Option<Instant>) -> Option<bool> {
        let shared = &*self.shared;
        LAST_SUBMIT.set(None);
        let mut reader = shared.wires.take_role()?;
        let is_over = || is_met() || !shared.mailboxes.has(self.client);
        let report = |event: node::Event| shared.inbox.push_quietly(Input::Node(event));
        let mut is_in_time = true;
        loop {
            let is_more = !shared.inbox.is_empty() && shared.turn();
            if is_over() || !is_in_time {
                if is_more {
                    shared.call_loop();
                }
                return Some(is_met());
            }
            if !is_more {
                is_in_time = reader.read(is_over, deadline, &report);
            }
        }
    }

    fn memory(&self) -> Option<&Arc<SharedMemory>> {
        Some(self.shared.store.memory())
    }

    fn make_room(&self, bytes: u64) -> Result<(), StoreFull> {
        self.shared.store.make_room(bytes)
    }

    /// It is here or nowhere.
    fn fetch(&self, object: ObjectId, _: Duration) -> Fetched {
        self.shared.store.get(object).map_or(Fetched::Gone, Fetched::Value)
    }

    fn is_running(&self, number: Number) -> bool {
        self.shared.cluster().is_running(self.client, number)
    }

    fn close(&self) {
        self.shared.mailboxes.remove(self.client);
        self.shared.wires.rouse();
        let gone = scheduler::Event::ClientGone { client: self.client };
        self.shared.put_in(Input::Scheduler(gone));
    }
}

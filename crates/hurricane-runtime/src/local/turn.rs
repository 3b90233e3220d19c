//! A turn: what came in is taken, the cluster decides, and what follows is done in the world. Any
//! thread may have it, one at a time, so that what follows from one turn is done before the next.
//!
//! Who puts something in while a turn is on leaves it to the thread that has it. What only the loop
//! can do, starting a process, is left to the loop.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError, TryLockError};

use hurricane_core::id::{ClientId, ObjectId};
use hurricane_core::message::SchedulerToClient;
use hurricane_core::node::Action;

use super::Shared;
use super::cluster::{Effects, ForClient, Input, NODE};
use crate::client::ConnectionError;

/// What deliveries lead to, such as that an inline result is released, is handled at once.
const ROUNDS: usize = 2;

/// What a turn needs room for.
#[derive(Debug, Default)]
pub(super) struct Turning {
    inputs: Vec<Input>,
    effects: Effects,
}

impl Shared {
    /// Has a turn, as soon as no other thread has one; whether something came in meanwhile, to which
    /// the caller has to see.
    pub(super) fn turn(&self) -> bool {
        self.turn_with(self.turning.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has a turn, unless another thread does: that one will see what was put in.
    pub(super) fn try_turn(&self) -> bool {
        match self.turning.try_lock() {
            Ok(turning) => self.turn_with(turning),
            Err(TryLockError::Poisoned(turning)) => self.turn_with(turning.into_inner()),
            Err(TryLockError::WouldBlock) => false,
        }
    }

    fn turn_with(&self, mut turning: MutexGuard<'_, Turning>) -> bool {
        if self.is_stopping.load(Ordering::Acquire) {
            return false;
        }
        let announced = Announced::new(self);
        for _ in 0..ROUNDS {
            turning.round(self);
            if self.inbox.is_empty() {
                break;
            }
        }
        drop(announced);
        drop(turning);
        // Looked at after that, as whoever put something in before relied on it.
        !self.inbox.is_empty()
    }
}

/// Says for as long as it lives that a thread has its turn.
struct Announced<'a>(&'a Shared);

impl<'a> Announced<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.is_turning.store(true, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.0.is_turning.store(false, Ordering::SeqCst);
    }
}

impl Turning {
    /// Has everything handled that came in, and does what follows from it.
    fn round(&mut self, shared: &Shared) {
        shared.inbox.take(&mut self.inputs);
        let mut cluster = shared.cluster();
        cluster.apply(self.inputs.drain(..), &mut self.effects);
        let is_alarm_late = cluster.is_alarm_late();
        drop(cluster);
        let mut needs_loop = is_alarm_late;
        for action in self.effects.for_node.drain(..) {
            needs_loop |= !carry_out(shared, action);
        }
        // Workers first: they can compute while the client wakes.
        shared.wires.flush();
        if needs_loop {
            shared.inbox.wake();
        }
        self.speak_to_clients(shared);
    }

    fn speak_to_clients(&mut self, shared: &Shared) {
        if self.effects.for_clients.is_empty() {
            return;
        }
        let mut deliveries = Deliveries::new(shared);
        for word in self.effects.for_clients.drain(..) {
            match word {
                ForClient::Tell(client, message) => deliveries.add(client, message),
                ForClient::Refuse(client, reason) => deliveries.refuse(client, reason),
            }
        }
        deliveries.deliver();
        shared.wires.rouse();
    }
}

/// Does what any thread can do; false if it is left to the loop.
fn carry_out(shared: &Shared, action: Action) -> bool {
    match action {
        Action::ToWorker { worker, message } => {
            shared.wires.tell(worker, message);
        }
        Action::Revoke { worker, last } => {
            if let Some(revoked) = shared.wires.revoke(worker, last) {
                shared.inbox.push_quietly(Input::Node(revoked));
            }
        }
        Action::KillWorker { worker, dump_stack } => {
            if !shared.wires.kill(worker, dump_stack) {
                // It may be one that the loop is still to start.
                shared.errands().push(Action::KillWorker { worker, dump_stack });
                return false;
            }
        }
        Action::StartWorker { .. } => {
            shared.errands().push(action);
            return false;
        }
        Action::Store { object, bytes } => {
            shared.store.insert(NODE, ObjectId { node: NODE, number: object }, bytes);
        }
        Action::Drop { object } => shared.store.remove(NODE, object),
        Action::ToScheduler(_) | Action::Fetch { .. } => {
            unreachable!("the cluster carries these out itself")
        }
    }
    true
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
            self.shared.mailboxes.remove(client);
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

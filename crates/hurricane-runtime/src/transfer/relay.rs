//! The way to any object by the scheduler, over the session of a node.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use hurricane_core::member::{Piece, Read};
use tokio::sync::Notify;

use super::pull::Pieces;

/// Asks the scheduler, and gives the answers to those who wait for them.
pub(crate) struct Relay {
    /// Sends a question to the scheduler.
    send: Box<dyn Fn(Read)>,
    waiting: RefCell<BTreeMap<u64, Rc<Answers>>>,
    asked: Cell<u64>,
    is_closed: Cell<bool>,
}

impl Relay {
    pub(crate) fn new(send: Box<dyn Fn(Read)>) -> Rc<Self> {
        Rc::new(Self {
            send,
            waiting: RefCell::default(),
            asked: Cell::new(0),
            is_closed: Cell::new(false),
        })
    }

    /// The scheduler has answered. What nobody waits for any more is dropped.
    pub(crate) fn on_piece(&self, piece: Piece) {
        let waiting = self.waiting.borrow_mut().remove(&piece.request);
        if let Some(answers) = waiting {
            answers.come.borrow_mut().push_back(piece);
            answers.changed.notify_one();
        }
    }

    /// The session is over: who waits learns that nothing will come.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        for answers in std::mem::take(&mut *self.waiting.borrow_mut()).into_values() {
            answers.changed.notify_one();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// For the pieces of one object.
    pub(super) fn open(self: &Rc<Self>) -> Relayed {
        Relayed { relay: Rc::clone(self), answers: Rc::default(), asked: BTreeSet::new() }
    }
}

/// The pieces of one object, by the scheduler.
pub(super) struct Relayed {
    relay: Rc<Relay>,
    answers: Rc<Answers>,
    asked: BTreeSet<u64>,
}

/// What has come for one object, or that nothing will.
#[derive(Default)]
struct Answers {
    come: RefCell<VecDeque<Piece>>,
    changed: Notify,
}

impl Pieces for Relayed {
    fn next_request(&mut self) -> u64 {
        let request = self.relay.asked.get() + 1;
        self.relay.asked.set(request);
        request
    }

    fn ask(&mut self, read: Read) {
        if !self.relay.is_closed() {
            self.relay.waiting.borrow_mut().insert(read.request, Rc::clone(&self.answers));
            self.asked.insert(read.request);
            (self.relay.send)(read);
        }
    }

    async fn next(&mut self) -> Option<Piece> {
        loop {
            let come = self.answers.come.borrow_mut().pop_front();
            if let Some(piece) = come {
                self.asked.remove(&piece.request);
                return Some(piece);
            }
            if self.relay.is_closed() {
                return None;
            }
            self.answers.changed.notified().await;
        }
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        let mut waiting = self.relay.waiting.borrow_mut();
        for request in &self.asked {
            waiting.remove(request);
        }
    }
}

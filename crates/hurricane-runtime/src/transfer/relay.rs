//! The way to any object by the scheduler, over the session of a node.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use hurricane_core::member::{Find, Found, FromNode, Piece, Read};
use tokio::sync::Notify;

use super::pull::{Answer, Pieces};

/// Asks the scheduler, and gives the answers to those who wait for them.
pub(crate) struct Relay {
    /// Sends a question to the scheduler.
    send: Box<dyn Fn(FromNode)>,
    waiting: RefCell<BTreeMap<u64, Rc<Answers>>>,
    asked: Cell<u64>,
    is_closed: Cell<bool>,
}

impl Relay {
    pub(crate) fn new(send: Box<dyn Fn(FromNode)>) -> Rc<Self> {
        Rc::new(Self {
            send,
            waiting: RefCell::default(),
            asked: Cell::new(0),
            is_closed: Cell::new(false),
        })
    }

    /// The scheduler has answered. What nobody waits for any more is dropped.
    pub(crate) fn on_piece(&self, piece: Piece) {
        self.on_answer(piece.request, Answer::Piece(piece));
    }

    /// See [`Relay::on_piece`].
    pub(crate) fn on_found(&self, found: Found) {
        self.on_answer(found.request, Answer::Found(found));
    }

    fn on_answer(&self, request: u64, answer: Answer) {
        let waiting = self.waiting.borrow_mut().remove(&request);
        if let Some(answers) = waiting {
            answers.come.borrow_mut().push_back((request, answer));
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
        let (answers, asked) = (Rc::default(), BTreeSet::new());
        Relayed { relay: Rc::clone(self), answers, asked, heard: 0 }
    }
}

/// The pieces of one object, by the scheduler.
pub(super) struct Relayed {
    relay: Rc<Relay>,
    answers: Rc<Answers>,
    asked: BTreeSet<u64>,
    heard: u64,
}

impl Relayed {
    fn say(&mut self, request: u64, message: FromNode) {
        if !self.relay.is_closed() {
            self.relay.waiting.borrow_mut().insert(request, Rc::clone(&self.answers));
            self.asked.insert(request);
            (self.relay.send)(message);
        }
    }
}

/// What has come for one object, or that nothing will.
#[derive(Default)]
struct Answers {
    come: RefCell<VecDeque<(u64, Answer)>>,
    changed: Notify,
}

impl Pieces for Relayed {
    fn next_request(&mut self) -> u64 {
        let request = self.relay.asked.get() + 1;
        self.relay.asked.set(request);
        request
    }

    fn ask(&mut self, read: Read) {
        self.say(read.request, FromNode::Read(read));
    }

    fn find(&mut self, find: Find) {
        self.say(find.request, FromNode::Find(find));
    }

    fn heard(&self) -> u64 {
        self.heard
    }

    async fn next(&mut self) -> Option<Answer> {
        loop {
            let come = self.answers.come.borrow_mut().pop_front();
            if let Some((request, answer)) = come {
                self.asked.remove(&request);
                self.heard += 1;
                return Some(answer);
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

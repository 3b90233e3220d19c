//! Objects that go from node to node: this process's nodes answer others at a door of their own, and
//! fetch what they need from the owner itself, from others that have it or are just fetching it, or,
//! where nobody can be reached, by the scheduler.

use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use hurricane_core::id::{NodeId, ObjectId};
use hurricane_core::member::{Digest, Piece, Read};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::identity::KeyPair;

use gathering::Gathering;
use lines::Lines;
use pull::{Outcome, Patience, Seeking, Wanted};

mod addresses;
mod door;
mod gathering;
mod line;
mod lines;
mod pull;
mod relay;
mod roster;
mod shelf;
#[cfg(test)]
mod tests;

pub(crate) use addresses::own_addresses;
pub(crate) use door::Door;
pub(crate) use relay::Relay;
pub(crate) use roster::Roster;
pub(crate) use shelf::Shelf;

/// So many objects are fetched at once. Each takes a connection, and the memory of its pieces on
/// their way.
const MAX_FETCHES: usize = 32;

/// How often an owner is asked for others that have an object, before it is asked for all of it.
const MAX_ROUNDS: usize = 4;

/// The objects of this process's nodes and those that they fetch. It lives in the nodes' thread, in
/// a tokio `LocalSet`.
pub(crate) struct Transfer {
    shelf: Rc<Shelf>,
    lines: Rc<Lines>,
    fetches: RefCell<BTreeMap<ObjectId, Fetch>>,
    at_once: Semaphore,
}

/// Somebody of this process who needs an object.
#[derive(Clone)]
pub(crate) struct Asker {
    /// Which node.
    pub(crate) node: NodeId,
    /// The way by its scheduler.
    pub(crate) relay: Rc<Relay>,
    /// Hears whether the object is in the store now.
    pub(crate) done: Rc<dyn Fn(ObjectId, bool)>,
}

/// An object on its way.
struct Fetch {
    askers: Vec<Asker>,
    task: AbortHandle,
}

impl Transfer {
    /// With the key that this machine shows to others.
    pub(crate) fn new(shelf: Rc<Shelf>, key: &KeyPair) -> Rc<Self> {
        let lines = Lines::new(key.clone(), Rc::clone(&shelf.roster));
        let at_once = Semaphore::new(MAX_FETCHES);
        Rc::new(Self { shelf, lines, fetches: RefCell::default(), at_once })
    }

    /// Who is there.
    pub(crate) fn roster(&self) -> &Roster {
        &self.shelf.roster
    }

    /// Has an object brought into the store for a node, where it may be already.
    pub(crate) fn fetch(self: &Rc<Self>, asker: Asker, object: ObjectId) {
        if self.shelf.store.share(asker.node, object) {
            return (asker.done)(object, true);
        }
        if let Some(bytes) = self.shelf.lingering(object) {
            self.shelf.store.insert(asker.node, object, bytes);
            return (asker.done)(object, true);
        }
        if self.shelf.roster.is_own(object.node) {
            // A sibling's, and gone.
            return (asker.done)(object, false);
        }
        match self.fetches.borrow_mut().entry(object) {
            Entry::Occupied(mut fetch) => fetch.get_mut().askers.push(asker),
            Entry::Vacant(none) => {
                let task = tokio::task::spawn_local(Rc::clone(self).bring(object)).abort_handle();
                none.insert(Fetch { askers: vec![asker], task });
            }
        }
    }

    /// A node is gone, with what it holds and what it asked for.
    pub(crate) fn forget(&self, node: NodeId) {
        self.fetches.borrow_mut().retain(|_, fetch| {
            fetch.askers.retain(|asker| asker.node != node);
            if fetch.askers.is_empty() {
                fetch.task.abort();
            }
            !fetch.askers.is_empty()
        });
        self.shelf.store.remove_all_of(node);
    }

    /// The answer to somebody who asks for a piece of an object of a node of this process.
    pub(crate) fn answer(&self, read: Read) -> Piece {
        self.shelf.answer(read)
    }

    /// Closes connections that nobody has used for a while, for as long as the thread lives.
    pub(crate) async fn close_idle_lines(self: Rc<Self>) {
        self.lines.close_idle().await;
    }

    async fn bring(self: Rc<Self>, object: ObjectId) {
        let of_all = self.at_once.acquire().await.expect("it is never closed");
        let expected = self.shelf.expect(object);
        let bytes = self.bytes_of(object, &expected.gathering).await;
        drop(of_all);
        let fetch = self.fetches.borrow_mut().remove(&object);
        let askers = fetch.map(|fetch| fetch.askers).unwrap_or_default();
        if let Some(bytes) = &bytes {
            for asker in &askers {
                self.shelf.store.insert(asker.node, object, bytes.clone());
            }
            self.shelf.let_linger(object, bytes.clone());
        }
        drop(expected);
        for asker in askers {
            (asker.done)(object, bytes.is_some());
        }
    }

    /// Gathers an object: from others whom its owner names, as long as that leads somewhere, and from
    /// the owner itself. What came from others counts if it is what the owner has.
    async fn bytes_of(&self, object: ObjectId, gathering: &Gathering) -> Option<Bytes> {
        let asker = self.shelf.roster.representative();
        let mut failed = BTreeSet::new();
        let mut without = None;
        let mut digest = None;
        let mut is_exhausted = false;
        for _ in 0..MAX_ROUNDS {
            let seeking = asker.map(|asker| Seeking { asker, without });
            let wanted = Wanted { object, gathering, seeking };
            let Outcome::Elsewhere(mut others) = self.pull_from_owner(wanted).await else {
                is_exhausted = true;
                break;
            };
            others.retain(|node| !self.shelf.roster.is_own(*node) && !failed.contains(node));
            without = others.first().copied();
            if others.is_empty() {
                break;
            }
            gathering.distrust();
            let seeking = seeking.expect("who does not seek is not sent elsewhere");
            let seeking = Seeking { without: None, ..seeking };
            let gathered = self.pull_from_others(Wanted { seeking: None, ..wanted }, &others);
            let is_known = digest.is_some();
            let reckoned =
                async { if is_known { digest } else { self.digest_of(object, seeking).await } };
            ((), digest) = tokio::join!(gathered, reckoned);
            if gathering.is_whole() {
                break;
            }
            failed.extend(others);
        }
        let wanted = Wanted { object, gathering, seeking: None };
        if !(gathering.is_whole() || is_exhausted) {
            self.pull_from_owner(wanted).await;
        }
        if gathering.is_distrusted() && !gathering.is_right(digest) {
            gathering.start_again();
            self.pull_from_owner(wanted).await;
        }
        gathering.whole()
    }

    /// Pulls what is missing from several at once, until it is whole or none of them is of any use.
    async fn pull_from_others(&self, wanted: Wanted<'_>, others: &[NodeId]) {
        let from = async |node: Option<&NodeId>| {
            if let Some(node) = node {
                let holder = self.lines.holder(*node);
                self.lines.pull(&holder, wanted).await;
            }
        };
        let all = async { tokio::join!(from(others.first()), from(others.get(1))) };
        tokio::select! {
            // Whose questions are all answered keeps its connection.
            biased;
            _ = all => {}
            () = wanted.gathering.completed() => {}
        }
    }

    async fn pull_from_owner(&self, wanted: Wanted<'_>) -> Outcome {
        let owner = self.lines.holder(wanted.object.node);
        let _of_owner = owner.gate.acquire().await.expect("it is never closed");
        let outcome = self.lines.pull(&owner, wanted).await;
        if matches!(outcome, Outcome::Whole | Outcome::Elsewhere(_)) {
            return outcome;
        }
        // As long as some asker's scheduler is there: the first may leave while another waits.
        while let Some(relay) = self.relay_for(wanted.object) {
            match pull::pull(&mut relay.open(), wanted, Patience::RELAY).await {
                Outcome::Failed if relay.is_closed() => {}
                outcome => return outcome,
            }
        }
        Outcome::Failed
    }

    async fn digest_of(&self, object: ObjectId, seeking: Seeking) -> Option<Digest> {
        let owner = self.lines.holder(object.node);
        if let Some(digest) = self.lines.ask_digest(&owner, object, seeking).await {
            return Some(digest);
        }
        while let Some(relay) = self.relay_for(object) {
            let mut source = relay.open();
            let digest = pull::ask_digest(&mut source, object, seeking, Patience::RELAY).await;
            if digest.is_some() || !relay.is_closed() {
                return digest;
            }
        }
        None
    }

    fn relay_for(&self, object: ObjectId) -> Option<Rc<Relay>> {
        let fetches = self.fetches.borrow();
        let mut relays = fetches.get(&object)?.askers.iter().map(|asker| &asker.relay);
        relays.find(|relay| !relay.is_closed()).cloned()
    }
}

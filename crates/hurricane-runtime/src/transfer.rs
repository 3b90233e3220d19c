//! Objects that go from node to node: this process's nodes answer others at a door of their own, and
//! fetch what they need from the holder itself or, where that cannot be reached, by the scheduler.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hurricane_core::id::{NodeId, ObjectId};
use hurricane_core::member::{Content, PIECE_BYTES, Piece, Read};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::identity::KeyPair;
use crate::store::Store;

use lines::{Holder, Lines};
use pull::{Gathered, Outcome, Patience};

mod addresses;
mod door;
mod line;
mod lines;
mod pull;
mod relay;
mod roster;
#[cfg(test)]
mod tests;

pub(crate) use addresses::own_addresses;
pub(crate) use door::Door;
pub(crate) use relay::Relay;
pub(crate) use roster::Roster;

/// So many objects are fetched at once. Each takes a connection, and the memory of its pieces on
/// their way.
const MAX_FETCHES: usize = 32;

/// The objects of this process's nodes and those that they fetch. It lives in the nodes' thread, in
/// a tokio `LocalSet`.
pub(crate) struct Transfer {
    store: Arc<Store>,
    roster: Rc<Roster>,
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
    pub(crate) fn new(store: Arc<Store>, roster: Rc<Roster>, key: &KeyPair) -> Rc<Self> {
        let lines = Lines::new(key.clone(), Rc::clone(&roster));
        let at_once = Semaphore::new(MAX_FETCHES);
        Rc::new(Self { store, roster, lines, fetches: RefCell::default(), at_once })
    }

    /// Who is there.
    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Has an object brought into the store for a node, where it may be already.
    pub(crate) fn fetch(self: &Rc<Self>, asker: Asker, object: ObjectId) {
        if self.store.share(asker.node, object) {
            return (asker.done)(object, true);
        }
        if self.roster.is_own(object.node) {
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
        self.store.remove_all_of(node);
    }

    /// The answer to somebody who asks for a piece of an object of a node of this process.
    pub(crate) fn answer(&self, read: Read) -> Piece {
        piece(&self.store, &self.roster, read)
    }

    /// Closes connections that nobody has used for a while, for as long as the thread lives.
    pub(crate) async fn close_idle_lines(self: Rc<Self>) {
        self.lines.close_idle().await;
    }

    async fn bring(self: Rc<Self>, object: ObjectId) {
        let holder = self.lines.holder(object.node);
        let of_holder = holder.gate.acquire().await.expect("it is never closed");
        let of_all = self.at_once.acquire().await.expect("it is never closed");
        let bytes = self.bytes_of(&holder, object).await;
        drop((of_holder, of_all));
        let fetch = self.fetches.borrow_mut().remove(&object);
        for asker in fetch.into_iter().flat_map(|fetch| fetch.askers) {
            if let Some(bytes) = &bytes {
                self.store.insert(asker.node, object, bytes.clone());
            }
            (asker.done)(object, bytes.is_some());
        }
    }

    async fn bytes_of(&self, holder: &Holder, object: ObjectId) -> Option<Bytes> {
        let mut gathered = Gathered::default();
        if self.lines.pull(holder, object, &mut gathered).await {
            return gathered.into_bytes();
        }
        // As long as some asker's scheduler is there: the first may leave while another waits.
        while let Some(relay) = self.relay_for(object) {
            let mut source = relay.open();
            match pull::pull(&mut source, object, &mut gathered, Patience::RELAY).await {
                Outcome::Whole => return gathered.into_bytes(),
                Outcome::Failed if relay.is_closed() => {}
                Outcome::Gone | Outcome::Failed => return None,
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

/// A piece of an object of a node of this process: only these are given to others.
fn piece(store: &Store, roster: &Roster, read: Read) -> Piece {
    let content = Some(read.object)
        .filter(|object| roster.is_own(object.node))
        .and_then(|object| store.get(object))
        .and_then(|bytes| content(&bytes, read.offset));
    Piece { request: read.request, content }
}

fn content(bytes: &Bytes, offset: u64) -> Option<Content> {
    let offset = usize::try_from(offset).ok().filter(|offset| *offset < bytes.len())?;
    let end = bytes.len().min(offset.saturating_add(PIECE_BYTES));
    Some(Content { total_bytes: bytes.len() as u64, bytes: bytes.slice(offset..end) })
}

//! Which nodes of the cluster are there, as their scheduler says: where their objects can be had, and
//! whose keys are let in at this process's door.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use hurricane_core::id::NodeId;
use hurricane_core::member::NodePlace;

use crate::identity::{PublicKey, Roles};
use crate::tls::AuthorizedKeys;

/// The nodes that are there. Each node of this process hears of them in its own session; they hold
/// as long as one of those says so.
pub(crate) struct Roster {
    places: RefCell<BTreeMap<NodeId, Seen>>,
    own: RefCell<BTreeSet<NodeId>>,
    /// How many nodes are known by each key: machines have several nodes, and one key.
    nodes_of_key: RefCell<BTreeMap<PublicKey, usize>>,
    keys: AuthorizedKeys,
    /// Does what must be done when a key is let in no more.
    on_key_gone: RefCell<OnKeyGone>,
}

type OnKeyGone = Box<dyn Fn(&PublicKey)>;

struct Seen {
    place: Rc<NodePlace>,
    key: PublicKey,
    /// By which nodes of this process.
    by: BTreeSet<NodeId>,
}

impl Roster {
    /// Nobody is there.
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            places: RefCell::default(),
            own: RefCell::default(),
            nodes_of_key: RefCell::default(),
            keys: AuthorizedKeys::default(),
            on_key_gone: RefCell::new(Box::new(|_| {})),
        })
    }

    /// The keys of those who are there.
    pub(super) fn keys(&self) -> &AuthorizedKeys {
        &self.keys
    }

    /// Who is to be told when a key is let in no more.
    pub(super) fn when_key_goes(&self, tell: OnKeyGone) {
        *self.on_key_gone.borrow_mut() = tell;
    }

    /// A node of this process is a member.
    pub(crate) fn enter(&self, own: NodeId) {
        self.own.borrow_mut().insert(own);
    }

    /// A node of this process is one no more; what it alone knew is forgotten.
    pub(crate) fn leave(&self, own: NodeId) {
        self.own.borrow_mut().remove(&own);
        let known: Vec<NodeId> = self.places.borrow().keys().copied().collect();
        for node in known {
            self.gone(own, node);
        }
    }

    /// Whether it is a node of this process.
    pub(super) fn is_own(&self, node: NodeId) -> bool {
        self.own.borrow().contains(&node)
    }

    /// The node of this process by which others know what it fetches.
    pub(super) fn representative(&self) -> Option<NodeId> {
        self.own.borrow().first().copied()
    }

    /// A node of this process has heard that a node is there.
    pub(crate) fn here(&self, own: NodeId, place: NodePlace) {
        let key = PublicKey::from_bytes(place.key);
        let node = place.node;
        let is_same = |seen: &Seen| *seen.place == place;
        if let Some(seen) = self.places.borrow_mut().get_mut(&node).filter(|seen| is_same(seen)) {
            seen.by.insert(own);
            return;
        }
        let seen = Seen { place: Rc::new(place), key, by: BTreeSet::from([own]) };
        // The new key first: it may be the old one.
        self.let_in(key);
        let before = self.places.borrow_mut().insert(node, seen);
        if let Some(before) = before {
            self.let_out(before.key);
        }
    }

    /// A node of this process has heard that a node is there no more.
    pub(crate) fn gone(&self, own: NodeId, node: NodeId) {
        let mut places = self.places.borrow_mut();
        let Some(seen) = places.get_mut(&node) else { return };
        seen.by.remove(&own);
        if seen.by.is_empty() {
            let key = seen.key;
            places.remove(&node);
            drop(places);
            self.let_out(key);
        }
    }

    /// Where a node can be reached.
    pub(super) fn place_of(&self, node: NodeId) -> Option<(Rc<NodePlace>, PublicKey)> {
        let places = self.places.borrow();
        places.get(&node).map(|seen| (Rc::clone(&seen.place), seen.key))
    }

    fn let_in(&self, key: PublicKey) {
        *self.nodes_of_key.borrow_mut().entry(key).or_default() += 1;
        self.keys.insert(key, Roles::NODE);
    }

    fn let_out(&self, key: PublicKey) {
        let mut nodes_of_key = self.nodes_of_key.borrow_mut();
        let Some(nodes) = nodes_of_key.get_mut(&key) else { return };
        *nodes -= 1;
        if *nodes == 0 {
            nodes_of_key.remove(&key);
            drop(nodes_of_key);
            self.keys.remove(&key);
            (self.on_key_gone.borrow())(&key);
        }
    }
}

//! The nodes of a cluster: what they are called, where they answer each other, and who hears of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use hurricane_core::id::NodeId;
use hurricane_core::member::{
    MAX_ADDRESS_BYTES, MAX_ADDRESSES, NodeDescription, NodePlace, ToNode,
};
use hurricane_core::scheduler;
use hurricane_core::session::EndReason;

use super::caller::{Caller, Who};
use super::peer::{Member, PeerId};
use super::{Effect, Members};
use crate::identity::Name;
use crate::scheduler::Report;

/// Those that have joined.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    by_id: BTreeMap<NodeId, Node>,
    by_name: BTreeMap<Name, NodeId>,
    /// What keys are called: nobody else is called so, or the wrong one would be revoked.
    names_of_keys: BTreeSet<Name>,
}

#[derive(Debug)]
struct Node {
    peer: PeerId,
    name: Name,
    place: NodePlace,
    /// It said so.
    is_leaving: bool,
}

impl Nodes {
    /// Whose session a node's is.
    pub(super) fn peer(&self, id: NodeId) -> Option<PeerId> {
        self.by_id.get(&id).map(|node| node.peer)
    }

    /// The name of a key for its first node; else the nearest one that no other node or key has.
    fn free_name(&self, own: Option<&Name>, host: &str) -> Name {
        let wanted = own.cloned().unwrap_or_else(|| Name::near(host));
        let numbered = (2..).map(|number| wanted.numbered(number));
        let mut candidates = core::iter::once(wanted.clone()).chain(numbered);
        let is_free = |name: &Name| {
            let is_of_others = own != Some(name) && self.names_of_keys.contains(name);
            !is_of_others && !self.by_name.contains_key(name)
        };
        candidates.find(is_free).expect("there are more numbers than nodes")
    }
}

impl Members {
    /// Says what keys are called from now on.
    pub(in crate::scheduler) fn set_names_of_keys(&mut self, names: BTreeSet<Name>) {
        self.nodes.names_of_keys = names;
    }

    /// Whose node it is that has a name.
    pub(in crate::scheduler) fn owner_of_node(&self, name: &Name) -> Option<&Caller> {
        let node = self.nodes.by_id.get(self.nodes.by_name.get(name)?)?;
        self.peers.get(&node.peer).map(|peer| &peer.caller)
    }

    pub(super) fn on_join(&mut self, id: PeerId, description: NodeDescription) {
        let mut addresses = description.addresses.iter();
        if addresses.len() > MAX_ADDRESSES || addresses.any(|it| it.len() > MAX_ADDRESS_BYTES) {
            return self.refuse(id, "it names too many addresses, or too long ones");
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let node = loop {
            let node = NodeId((self.config.dice)());
            if node != NodeId::SCHEDULER && !self.nodes.by_id.contains_key(&node) {
                break node;
            }
        };
        peer.member = Member::Node(node);
        let caller = peer.caller.clone();
        let name = self.nodes.free_name(caller.name.as_ref(), &description.host);
        let place = place_of(node, &caller, &description);
        self.welcome(id, &name, &place);
        self.nodes.by_name.insert(name.clone(), node);
        let entry = Node { peer: id, name: name.clone(), place, is_leaving: false };
        self.nodes.by_id.insert(node, entry);
        let (name, resources): (Box<str>, _) = (name.as_str().into(), description.resources);
        self.effects.push(Effect::Report(Report::Joined {
            name: name.clone(),
            address: caller.address(),
            resources: resources.clone(),
        }));
        self.untold.push_back(scheduler::Event::NodeJoined { node, name, resources });
    }

    /// Tells a new node and those that are there of each other.
    fn welcome(&mut self, id: PeerId, name: &Name, place: &NodePlace) {
        let cluster = self.config.cluster.as_str().into();
        self.say(id, ToNode::Joined { node: place.node, name: name.as_str().into(), cluster });
        self.say(id, ToNode::Here(place.clone()));
        let others = self.nodes.by_id.values().map(|node| (node.peer, node.place.clone()));
        for (other, its_place) in others.collect::<Vec<_>>() {
            self.say(id, ToNode::Here(its_place));
            self.say(other, ToNode::Here(place.clone()));
        }
    }

    pub(super) fn on_node_leaving(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.by_id.get_mut(&id) {
            node.is_leaving = true;
            self.untold.push_back(scheduler::Event::NodeLeaving { node: id });
        }
    }

    pub(super) fn on_node_gone(&mut self, peer: PeerId, id: NodeId, reason: EndReason) {
        self.on_holder_gone(peer);
        self.untold.push_back(scheduler::Event::NodeLost { node: id });
        let Some(node) = self.nodes.by_id.remove(&id) else { return };
        self.nodes.by_name.remove(&node.name);
        let others = self.nodes.by_id.values().map(|node| node.peer).collect::<Vec<_>>();
        for other in others {
            self.say(other, ToNode::Gone(id));
        }
        let name = node.name.as_str().into();
        let said_so = node.is_leaving || reason == EndReason::Closed;
        self.effects.push(Effect::Report(if said_so {
            Report::Left { name }
        } else {
            Report::Lost { name, reason }
        }));
    }
}

/// Where a node answers others: where it says, and where it is seen.
fn place_of(node: NodeId, caller: &Caller, description: &NodeDescription) -> NodePlace {
    let key = match caller.who {
        Who::Key(key) => *key.as_bytes(),
        Who::Here => description.key,
    };
    let mut addresses = description.addresses.clone();
    let is_elsewhere = |ip: &IpAddr| !ip.is_loopback();
    if let Some(ip) = caller.ip.filter(is_elsewhere).filter(|_| description.port != 0) {
        let seen: Box<str> = SocketAddr::new(ip, description.port).to_string().into();
        addresses.retain(|address| *address != seen);
        addresses.truncate(MAX_ADDRESSES - 1);
        addresses.insert(0, seen);
    }
    NodePlace { node, key, addresses }
}

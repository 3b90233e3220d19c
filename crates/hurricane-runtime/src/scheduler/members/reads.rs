//! Pieces of objects for those who cannot get them from the holder themselves: clients, and nodes
//! that do not reach each other. Nothing is remembered but who asked what.

use std::collections::{BTreeMap, VecDeque};

use hurricane_core::id::NodeId;
use hurricane_core::member::{Content, Find, PIECE_BYTES, Piece, Read, ToNode};

use super::Members;
use super::outgoing::{piece_for_client, piece_for_node};
use super::peer::{Member, PeerId};

/// Questions of one member that are passed on at the same time: 16 MiB of pieces, which is what a
/// member that does not read costs.
const MAX_UNDER_WAY: usize = 64;

/// Questions of one member that wait for their turn. Nobody asks so many who means to get answers.
const MAX_WAITING: usize = 16 << 10;

/// What one member asks.
#[derive(Debug, Default)]
pub(super) struct Asking {
    waiting: VecDeque<Read>,
    /// Passed on, and not answered.
    under_way: usize,
}

/// What was passed on.
#[derive(Debug, Default)]
pub(super) struct Reads {
    last: u64,
    asked: BTreeMap<u64, Asked>,
}

impl Reads {
    /// Whether nobody waits for anything.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }
}

#[derive(Debug)]
struct Asked {
    asker: PeerId,
    /// As the asker calls it.
    request: u64,
    holder: PeerId,
}

impl Members {
    pub(super) fn on_read(&mut self, id: PeerId, read: Read) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.asking.waiting.len() >= MAX_WAITING {
            return self.refuse(id, "it asked for too many pieces of objects at once");
        }
        peer.asking.waiting.push_back(read);
        self.ask_next(id);
    }

    /// Passes on what waits, as far as there is room for answers.
    pub(super) fn ask_next(&mut self, id: PeerId) {
        while let Some(peer) = self.peers.get_mut(&id)
            && peer.asking.under_way + peer.outgoing.waiting_pieces() < MAX_UNDER_WAY
            && let Some(read) = peer.asking.waiting.pop_front()
        {
            self.ask(id, read);
        }
    }

    fn ask(&mut self, id: PeerId, read: Read) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let is_allowed = match peer.member {
            Member::Client(client) => self.machine.may_read(client, read.object),
            // The scheduler alone tells nodes what objects there are.
            Member::Node(_) => true,
            Member::Unknown => false,
        };
        if !is_allowed {
            return self.answer(id, read.request, None);
        }
        if read.object.node == NodeId::SCHEDULER {
            let content = self.kept.piece(read.object.number, read.offset);
            return self.answer(id, read.request, content);
        }
        let Some(holder) = self.nodes.peer(read.object.node) else {
            return self.answer(id, read.request, None);
        };
        peer.asking.under_way += 1;
        self.reads.last += 1;
        let request = self.reads.last;
        self.reads.asked.insert(request, Asked { asker: id, request: read.request, holder });
        self.say(holder, ToNode::Read(Read { request, ..read }));
    }

    /// A node asks who has an object: of what is kept here, others that asked before it. What nodes
    /// hold, and cannot be had from them, comes through here for each that asks.
    pub(super) fn on_find(&mut self, id: PeerId, find: Find) {
        let nodes = &self.nodes;
        let found = self.kept.find(find, |node| nodes.peer(node).is_some());
        self.say(id, ToNode::Found(found));
    }

    /// A node answers. What nobody asks any more, or another was asked, comes to nothing.
    pub(super) fn on_piece(&mut self, id: PeerId, piece: Piece) {
        if piece.content.as_ref().is_some_and(|content| content.bytes.len() > PIECE_BYTES) {
            return self.refuse(id, "it sent too large a piece of an object");
        }
        if self.reads.asked.get(&piece.request).is_some_and(|asked| asked.holder == id) {
            self.on_answered(piece.request, piece.content);
        }
    }

    /// A node is gone: it will answer nothing, and needs no answers.
    pub(super) fn on_holder_gone(&mut self, id: PeerId) {
        let of_it = self.reads.asked.iter().filter(|(_, asked)| asked.holder == id);
        for request in of_it.map(|(request, _)| *request).collect::<Vec<_>>() {
            self.on_answered(request, None);
        }
    }

    fn on_answered(&mut self, request: u64, content: Option<Content>) {
        let Some(asked) = self.reads.asked.remove(&request) else { return };
        if let Some(asker) = self.peers.get_mut(&asked.asker) {
            asker.asking.under_way -= 1;
            self.answer(asked.asker, asked.request, content);
        }
    }

    fn answer(&mut self, id: PeerId, request: u64, content: Option<Content>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let piece = Piece { request, content };
        peer.outgoing.push_piece(match peer.member {
            Member::Client(_) => piece_for_client(piece),
            _ => piece_for_node(piece),
        });
        self.to_pump.insert(id);
    }
}

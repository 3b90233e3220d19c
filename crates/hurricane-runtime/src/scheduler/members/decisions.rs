//! What the machine that decides hears of members, and what it wants said to them.

use bytes::Bytes;
use hurricane_core::id::{ClientId, NodeId};
use hurricane_core::member::{FromClient, FromNode, ToClient, ToNode};
use hurricane_core::message::{
    ClientToScheduler, INLINE_LIMIT_BYTES, SchedulerToClient, SchedulerToNode, Stall, Value,
};
use hurricane_core::scheduler;

use super::peer::{Member, PeerId};
use super::{Effect, Members};
use crate::greeting::Side;
use crate::scheduler::Report;

impl Members {
    pub(super) fn on_part(&mut self, id: PeerId, part: Bytes) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Err(error) = peer.joiner.push(part) {
            return self.refuse(id, &error.to_string());
        }
        while self.take_message(id) {}
    }

    /// Takes one message of those that have come from a member; whether there may be more.
    fn take_message(&mut self, id: PeerId) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        let said = match peer.caller.side {
            Side::Client => peer.joiner.pop().map(|message| message.map(Said::ByClient)),
            _ => peer.joiner.pop().map(|message| message.map(Said::ByNode)),
        };
        match (said, peer.member) {
            (Ok(None), _) => return false,
            (Ok(Some(Said::ByClient(message))), Member::Client(client)) => {
                self.on_client_message(id, client, message);
            }
            (Ok(Some(Said::ByNode(message))), Member::Node(node)) => {
                self.on_node_message(id, node, message);
            }
            (Ok(Some(Said::ByNode(FromNode::Join(description)))), Member::Unknown) => {
                self.on_join(id, description);
            }
            (Ok(Some(_)), _) => self.refuse(id, "it spoke before it joined"),
            (Err(error), _) => self.refuse(id, &error.to_string()),
        }
        true
    }

    fn on_client_message(&mut self, id: PeerId, client: ClientId, message: FromClient) {
        match message {
            FromClient::Scheduling(mut message) => match self.keep_what_is_put(&mut message) {
                Ok(()) => self.untold.push_back(scheduler::Event::FromClient { client, message }),
                Err(reason) => self.refuse(id, reason),
            },
            FromClient::Read(read) => self.on_read(id, read),
        }
    }

    fn on_node_message(&mut self, id: PeerId, node: NodeId, message: FromNode) {
        match message {
            FromNode::Join(_) => self.refuse(id, "it joined twice"),
            FromNode::Scheduling(message) => {
                self.untold.push_back(scheduler::Event::FromNode { node, message });
            }
            FromNode::Leave => self.on_node_leaving(node),
            FromNode::Read(read) => self.on_read(id, read),
            FromNode::Piece(piece) => self.on_piece(id, piece),
            FromNode::Find(find) => self.on_find(id, find),
        }
    }

    /// What is too large for a message is kept here, and its name goes on.
    fn keep_what_is_put(&mut self, message: &mut ClientToScheduler) -> Result<(), &'static str> {
        let ClientToScheduler::Put { value, .. } = message else { return Ok(()) };
        match value {
            Value::Inline(bytes) if bytes.len() <= INLINE_LIMIT_BYTES => Ok(()),
            Value::Inline(bytes) => {
                let stored = self.kept.keep(core::mem::take(bytes));
                *value = Value::Stored(stored.ok_or("clients have put more than is kept here")?);
                Ok(())
            }
            // It would get at what others have put.
            Value::Stored(_) => Err("it named an object that it does not have"),
        }
    }

    /// Tells the machine something, and notes what it wants said. What that does to the sessions
    /// comes after: the machine hears of it in its turn.
    pub(super) fn tell_machine(&mut self, event: scheduler::Event) {
        let mut actions = core::mem::take(&mut self.machine_actions);
        self.machine.handle(self.now, event, &mut actions);
        for action in actions.drain(..) {
            self.do_for_machine(action);
        }
        self.machine_actions = actions;
    }

    fn do_for_machine(&mut self, action: scheduler::Action) {
        use scheduler::Action;
        match action {
            Action::ToClient { client, message } => self.say_to_client(client, message),
            Action::ToNode { node, message } => self.say_to_node(node, message),
            Action::RefuseClient { client, reason } => {
                if let Some(&peer) = self.clients.get(&client) {
                    self.refuse(peer, reason);
                }
            }
            Action::RefuseNode { node, reason } => {
                if let Some(peer) = self.nodes.peer(node) {
                    self.refuse(peer, reason);
                }
            }
            Action::NodeMayLeave { node } => {
                if let Some(peer) = self.nodes.peer(node) {
                    self.say(peer, ToNode::MayLeave);
                }
            }
            Action::DropKept { objects } => self.kept.drop_all(&objects),
        }
    }

    fn say_to_client(&mut self, client: ClientId, message: SchedulerToClient) {
        self.note(&message);
        if let Some(&peer) = self.clients.get(&client) {
            self.say(peer, ToClient::Scheduling(message));
        }
    }

    fn say_to_node(&mut self, node: NodeId, message: SchedulerToNode) {
        if let SchedulerToNode::Nested { message, .. } = &message {
            self.note(message);
        }
        if let Some(peer) = self.nodes.peer(node) {
            self.say(peer, ToNode::Scheduling(message));
        }
    }

    /// Notes what people are shown of what a client is told.
    fn note(&mut self, message: &SchedulerToClient) {
        match message {
            SchedulerToClient::Ended { .. } => self.rate.count(),
            SchedulerToClient::Stalled(stall) => {
                self.effects.push(Effect::Report(Report::Stalled(sentence(stall))));
            }
            _ => {}
        }
    }
}

/// What a member said.
enum Said {
    ByClient(FromClient),
    ByNode(FromNode),
}

fn sentence(stall: &Stall) -> Box<str> {
    match stall {
        Stall::NoNodes => "tasks are ready, and no node is there".into(),
        Stall::NoRoom { asked } => {
            format!("tasks are ready, and no node has room for {asked} now").into()
        }
    }
}

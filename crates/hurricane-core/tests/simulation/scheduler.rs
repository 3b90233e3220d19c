//! The scheduler's process: its machine, its store, and its end of each session.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use hurricane_core::id::{BootId, ClientId, ConnectionId, NodeId, ObjectId, ObjectNumber};
use hurricane_core::member::{FromClient, FromNode, NodeDescription, ToClient, ToNode};
use hurricane_core::message::{
    ClientToScheduler, Ending, Failure, INLINE_LIMIT_BYTES, SchedulerToClient, SchedulerToNode,
    Stored, Value,
};
use hurricane_core::parts::{self, Joiner, PartError};
use hurricane_core::scheduler::{Action, Config, Event};
use hurricane_core::session::{self, Frame, Hello, MAX_MESSAGES, Patience};
use hurricane_core::time::{Time, earliest};
use hurricane_core::{Scheduler, Session};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::checks::{decode_key, decode_value};
use crate::cluster::{Place, World};
use crate::network::{End, Parcel};
use crate::reads::Question;

/// How long it takes at most until a node that may leave has left: as long as the longest fault, and
/// a session's patience.
const LEAVING: Duration = Duration::from_mins(1);

/// The largest message: far more than any here.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The process.
pub(crate) struct SchedulerProcess {
    pub(crate) machine: Scheduler,
    boot: BootId,
    peers: BTreeMap<BootId, Peer>,
    by_connection: BTreeMap<ConnectionId, BootId>,
    clients: BTreeMap<ClientId, BootId>,
    pub(crate) nodes: BTreeMap<NodeId, BootId>,
    clients_made: u64,
    /// What clients put that is too large for messages.
    pub(crate) store: BTreeMap<ObjectNumber, Bytes>,
    stored: u64,
    /// What nodes were asked for, for others.
    pub(crate) questions: BTreeMap<u64, Question>,
    pub(crate) questions_made: u64,
    /// The nodes that will leave, and since when each may.
    leaving: BTreeMap<NodeId, Option<Time>>,
    /// What has happened and the machine has not heard yet.
    untold: VecDeque<Event>,
    is_being_told: bool,
}

/// A client or node, from its first dial on.
struct Peer {
    session: Session,
    place: Place,
    member: Member,
    joiner: Joiner,
}

/// What a peer is to the machine.
#[derive(Clone, Copy, Debug)]
enum Member {
    Unknown,
    Client(ClientId),
    Node(NodeId),
}

impl SchedulerProcess {
    pub(crate) fn new(is_one_machine: bool, boot: BootId) -> Self {
        Self {
            boot,
            machine: Scheduler::new(Config { is_one_machine }),
            peers: BTreeMap::new(),
            by_connection: BTreeMap::new(),
            clients: BTreeMap::new(),
            nodes: BTreeMap::new(),
            clients_made: 0,
            store: BTreeMap::new(),
            stored: 0,
            questions: BTreeMap::new(),
            questions_made: 0,
            leaving: BTreeMap::new(),
            untold: VecDeque::new(),
            is_being_told: false,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let sessions = self.peers.values().map(|peer| peer.session.deadline());
        sessions.fold(self.machine.deadline(), earliest)
    }

    /// Where a session leads, if it is there still.
    pub(crate) fn place_of(&self, boot: BootId) -> Option<Place> {
        self.peers.get(&boot).map(|peer| peer.place)
    }

    pub(crate) fn check(&self, now: Time) {
        self.machine.sanity_check();
        for (node, since) in &self.leaving {
            let waits = since.map_or(Duration::ZERO, |since| now.since(since));
            assert!(waits < LEAVING, "{node} has not left, though it may for {waits:?}");
        }
        for peer in self.peers.values() {
            peer.session.sanity_check();
            assert!(peer.session.unacknowledged() < MAX_MESSAGES, "queues are bounded");
        }
    }
}

impl World {
    pub(crate) fn tick_scheduler(&mut self) {
        if self.scheduler.machine.deadline().is_some_and(|due| due <= self.now) {
            self.tell_scheduler(Event::Tick);
        }
        let is_due = |peer: &Peer| peer.session.deadline().is_some_and(|due| due <= self.now);
        let peers = self.scheduler.peers.iter();
        let due: Vec<BootId> =
            peers.filter(|(_, peer)| is_due(peer)).map(|(boot, _)| *boot).collect();
        for boot in due {
            self.tell_listener(boot, session::Event::Tick);
        }
    }

    /// Its process ends, and another begins that knows nothing. All clients are lost.
    pub(crate) fn on_scheduler_restarts(&mut self) {
        self.note(format_args!("the scheduler is started anew"));
        let connections: Vec<ConnectionId> = self.scheduler.by_connection.keys().copied().collect();
        for connection in connections {
            self.hang_up(index_of(connection), End::Listener);
        }
        let boot = BootId(self.dice.roll());
        self.scheduler = SchedulerProcess::new(self.plan.is_one_machine, boot);
        self.ledger.forget_scheduler();
        self.disturb(Place::Scheduler);
    }

    pub(crate) fn on_arrival_at_scheduler(&mut self, index: usize, parcel: Parcel) {
        let connection = ConnectionId(index as u64);
        let boot = self.scheduler.by_connection.get(&connection).copied();
        match (parcel, boot) {
            (Parcel::Frame(Frame::Hello(hello)), None) => self.on_hello(index, hello),
            (Parcel::Frame(frame), Some(boot)) => {
                self.tell_listener(boot, session::Event::Received { connection, frame });
            }
            (Parcel::Closed, Some(boot)) => {
                self.tell_listener(boot, session::Event::Closed { connection });
                self.scheduler.by_connection.remove(&connection);
            }
            // What was on its way to a former scheduler.
            (Parcel::Frame(_) | Parcel::Closed, None) => {}
            (Parcel::Opened, _) => unreachable!("only dialers are told so"),
        }
    }

    fn on_hello(&mut self, index: usize, hello: Hello) {
        let connection = ConnectionId(index as u64);
        let (place, _) = self.network.dialer(index);
        if !self.scheduler.peers.contains_key(&hello.dialer) {
            let patience = match place {
                Place::Client(_) => Patience::CLIENT,
                Place::Node(_) | Place::Scheduler => Patience::NODE,
            };
            match Session::accept(self.now, self.scheduler.boot, &hello, patience) {
                Ok(session) => {
                    let joiner = new_joiner();
                    let peer = Peer { session, place, member: Member::Unknown, joiner };
                    self.scheduler.peers.insert(hello.dialer, peer);
                }
                Err(reason) => {
                    self.note(format_args!("{place:?} is not welcome: {reason}"));
                    self.transmit(index, End::Dialer, Frame::End(reason));
                    return self.hang_up(index, End::Listener);
                }
            }
        }
        if hello.session.is_some() {
            self.note(format_args!("{place:?} resumes"));
        }
        self.scheduler.by_connection.insert(connection, hello.dialer);
        self.tell_listener(hello.dialer, session::Event::Accepted { connection, hello });
    }

    /// Tells one of the scheduler's sessions, and does what follows.
    fn tell_listener(&mut self, boot: BootId, event: session::Event) {
        let Some(peer) = self.scheduler.peers.get_mut(&boot) else { return };
        let mut actions = Vec::new();
        peer.session.handle(self.now, event, &mut actions);
        for action in actions {
            self.do_for_listener(boot, action);
        }
    }

    fn do_for_listener(&mut self, boot: BootId, action: session::Action) {
        match action {
            session::Action::Transmit { connection, frame } => {
                self.transmit(index_of(connection), End::Dialer, frame);
            }
            session::Action::Close { connection, violation } => {
                let is_bad = violation.is_some_and(|it| it != session::Violation::Outdated);
                assert!(!is_bad, "peers keep to the protocol, but: {violation:?}");
                self.hang_up(index_of(connection), End::Listener);
            }
            session::Action::Began => self.on_session_began(boot),
            session::Action::Deliver(payload) => self.on_delivery_to_scheduler(boot, &payload),
            session::Action::Ended(reason) => self.on_session_ended(boot, &reason),
            session::Action::Dial { .. } => panic!("a listener does not dial"),
        }
    }

    fn on_session_began(&mut self, boot: BootId) {
        let scheduler = &mut self.scheduler;
        let peer = scheduler.peers.get_mut(&boot).expect("its session began");
        if let Place::Client(index) = peer.place {
            scheduler.clients_made += 1;
            let client = ClientId(scheduler.clients_made);
            peer.member = Member::Client(client);
            scheduler.clients.insert(client, boot);
            self.clients[index].id = Some(client);
            self.tell_scheduler(Event::ClientJoined { client });
        }
    }

    fn on_session_ended(&mut self, boot: BootId, reason: &session::EndReason) {
        let Some(peer) = self.scheduler.peers.remove(&boot) else { return };
        self.note(format_args!("session of {:?} ended: {reason}", peer.place));
        match peer.member {
            Member::Unknown => {}
            Member::Client(client) => {
                self.scheduler.clients.remove(&client);
                self.tell_scheduler(Event::ClientGone { client });
            }
            Member::Node(node) => {
                self.scheduler.nodes.remove(&node);
                self.scheduler.leaving.remove(&node);
                self.tell_scheduler(Event::NodeLost { node });
                self.on_holder_lost(node);
            }
        }
    }

    fn on_delivery_to_scheduler(&mut self, boot: BootId, payload: &Bytes) {
        let peer = self.scheduler.peers.get_mut(&boot).expect("its session delivered");
        match peer.place {
            Place::Client(_) => {
                let said = taken(&mut peer.joiner, payload).expect("clients keep to the protocol");
                let Member::Client(client) = peer.member else { panic!("its session began") };
                if let Some(said) = said {
                    self.on_client_said(boot, client, said);
                }
            }
            Place::Node(_) => {
                let said = taken(&mut peer.joiner, payload).expect("nodes keep to the protocol");
                if let Some(said) = said {
                    self.on_node_said(boot, said);
                }
            }
            Place::Scheduler => unreachable!("it dials nobody"),
        }
    }

    fn on_client_said(&mut self, boot: BootId, client: ClientId, said: FromClient) {
        match said {
            FromClient::Scheduling(mut message) => {
                self.keep_what_is_put(&mut message);
                self.tell_scheduler(Event::FromClient { client, message });
            }
            FromClient::Read(read) => self.on_client_reads(boot, client, read),
        }
    }

    /// What is too large for a message goes into the store.
    fn keep_what_is_put(&mut self, message: &mut ClientToScheduler) {
        if let ClientToScheduler::Put { value, .. } = message
            && let Value::Inline(bytes) = value
            && bytes.len() > INLINE_LIMIT_BYTES
        {
            self.scheduler.stored += 1;
            let number = ObjectNumber(self.scheduler.stored);
            let object = ObjectId { node: NodeId::SCHEDULER, number };
            let size_bytes = bytes.len() as u64;
            self.scheduler.store.insert(number, std::mem::take(bytes));
            *value = Value::Stored(Stored { object, size_bytes });
        }
    }

    fn on_node_said(&mut self, boot: BootId, said: FromNode) {
        match (self.scheduler.peers[&boot].member, said) {
            (Member::Unknown, FromNode::Join(description)) => self.join(boot, description),
            (Member::Node(node), FromNode::Scheduling(message)) => {
                self.tell_scheduler(Event::FromNode { node, message });
            }
            (Member::Node(node), FromNode::Leave) => {
                self.scheduler.leaving.insert(node, None);
                self.tell_scheduler(Event::NodeLeaving { node });
            }
            (Member::Node(_), FromNode::Read(read)) => self.on_node_reads(boot, read),
            (Member::Node(_), FromNode::Piece(piece)) => self.on_piece_at_scheduler(piece),
            (member, said) => panic!("{member:?} said {said:?}"),
        }
    }

    fn join(&mut self, boot: BootId, description: NodeDescription) {
        let NodeDescription { resources, host: name, .. } = description;
        let node = NodeId(self.dice.roll() | 1);
        self.scheduler.peers.get_mut(&boot).expect("it speaks").member = Member::Node(node);
        self.scheduler.nodes.insert(node, boot);
        self.ledger.joined.push(resources.clone());
        let joined = ToNode::Joined { node, name: name.clone(), cluster: "cluster".into() };
        self.send_from_scheduler(boot, &joined);
        self.tell_scheduler(Event::NodeJoined { node, name, resources });
    }

    /// Tells the scheduler something. What it wants done is done before it hears anything else: a
    /// session may end by being sent something, for its time was up.
    fn tell_scheduler(&mut self, event: Event) {
        self.scheduler.untold.push_back(event);
        if self.scheduler.is_being_told {
            return;
        }
        self.scheduler.is_being_told = true;
        while let Some(event) = self.scheduler.untold.pop_front() {
            self.note(format_args!("scheduler <- {event:?}"));
            let mut actions = Vec::new();
            self.scheduler.machine.handle(self.now, event, &mut actions);
            for action in actions {
                self.do_for_scheduler(action);
            }
        }
        self.scheduler.is_being_told = false;
    }

    fn do_for_scheduler(&mut self, action: Action) {
        match action {
            Action::ToClient { client, message } => {
                self.check_message_to_client(&message);
                self.send_to_client(client, &ToClient::Scheduling(message));
            }
            Action::ToNode { node, message } => {
                self.check_message_to_node(node, &message);
                self.send_to_node(node, &ToNode::Scheduling(message));
            }
            Action::RefuseClient { client, reason } => panic!("client {client} refused: {reason}"),
            Action::RefuseNode { node, reason } => panic!("node {node} refused: {reason}"),
            Action::NodeMayLeave { node } => self.let_go(node),
            Action::DropKept { objects } => {
                for object in objects {
                    let last = self.scheduler.store.remove(&object);
                    assert!(last.is_some(), "what is dropped was there: {object:?}");
                }
            }
        }
    }

    fn let_go(&mut self, node: NodeId) {
        // Its session may have ended by what it was sent just before.
        if self.scheduler.nodes.contains_key(&node) {
            let former = self.scheduler.leaving.insert(node, Some(self.now));
            assert_eq!(former, Some(None), "who will leave is told once that it may");
            self.send_to_node(node, &ToNode::MayLeave);
        }
    }

    // What it says to one that it is just losing goes nowhere.

    fn send_to_client(&mut self, client: ClientId, message: &ToClient) {
        if let Some(&boot) = self.scheduler.clients.get(&client) {
            self.send_from_scheduler(boot, message);
        }
    }

    fn send_to_node(&mut self, node: NodeId, message: &ToNode) {
        if let Some(&boot) = self.scheduler.nodes.get(&node) {
            self.send_from_scheduler(boot, message);
        }
    }

    pub(crate) fn send_from_scheduler<T: Serialize>(&mut self, boot: BootId, message: &T) {
        for part in parts::cut(message) {
            self.tell_listener(boot, session::Event::Send(part));
        }
    }

    /// Checks what must be right when it is said, and may not be when it arrives.
    fn check_message_to_client(&self, message: &SchedulerToClient) {
        let SchedulerToClient::Ended { ending, .. } = message else { return };
        match ending {
            Ending::Done(Value::Inline(bytes)) => self.check_result(Some(bytes)),
            Ending::Done(Value::Stored(stored)) => {
                self.check_result(self.stored_bytes(stored.object));
            }
            Ending::Failed { failure, cause: None } => {
                if let Failure::Infeasible { asked, .. } = &**failure {
                    self.ledger.check_infeasible(asked);
                }
            }
            Ending::Failed { .. } | Ending::Cancelled { .. } => {}
        }
    }

    /// Checks that a result comes from the newest attempt, if its bytes can be seen.
    fn check_result(&self, bytes: Option<&Bytes>) {
        if let Some(bytes) = bytes {
            self.ledger.check_fencing(decode_value(bytes).1);
        }
    }

    fn check_message_to_node(&mut self, node: NodeId, message: &SchedulerToNode) {
        match message {
            SchedulerToNode::Assign { task, attempt, arguments, .. } => {
                let is_leaving = self.scheduler.leaving.contains_key(&node);
                assert!(!is_leaving, "nothing is assigned to {node}, which leaves");
                self.ledger.assign(decode_key(arguments), *task, *attempt);
            }
            SchedulerToNode::Nested { message, .. } => self.check_message_to_client(message),
            _ => {}
        }
    }
}

/// The listener's name for a connection is its index.
fn index_of(connection: ConnectionId) -> usize {
    usize::try_from(connection.0).expect("few connections")
}

/// For what comes over a session.
/// The message of a part, if it is whole now. Here each goes by itself.
pub(crate) fn taken<T: DeserializeOwned>(
    joiner: &mut Joiner,
    part: &Bytes,
) -> Result<Option<T>, PartError> {
    joiner.push(part.clone())?;
    joiner.pop()
}

pub(crate) fn new_joiner() -> Joiner {
    Joiner::new(MAX_MESSAGE_BYTES)
}

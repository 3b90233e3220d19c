//! The members of a cluster: their sessions, and what they are to the state machine. No thread, no
//! socket, no clock: what happens on connections comes in, and what must be done on them comes out.

mod caller;
mod decisions;
mod kept;
mod nodes;
mod outgoing;
mod peer;
mod rate;
mod reads;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hurricane_core::id::{BootId, ClientId, ConnectionId};
use hurricane_core::resources::Amount;
use hurricane_core::scheduler::{self, Scheduler};
use hurricane_core::session::{self, EndReason, Frame, Hello, Patience, Session};
use hurricane_core::snapshot::Snapshot;
use hurricane_core::time::{Time, earliest};

use super::Report;
use crate::framed::Incoming;
use crate::greeting::Side;
use crate::identity::{Name, PublicKey};
use crate::tls::HANDSHAKE_TIMEOUT;

pub(super) use caller::{Caller, Who};
use kept::Kept;
use nodes::Nodes;
use outgoing::Message;
use peer::{Member, Peer, PeerId};
use rate::Rate;
use reads::Reads;

/// Sessions at the same time. More than the nodes that a cluster may have, and their clients.
const MAX_PEERS: usize = 32_768;

/// What happened.
#[derive(Debug)]
pub(super) enum Input {
    /// Both sides of a new connection have greeted.
    Opened {
        /// A new id.
        connection: ConnectionId,
        /// Who dialed.
        caller: Caller,
    },
    /// Something came over a connection.
    Incoming {
        /// Which.
        connection: ConnectionId,
        /// What.
        incoming: Incoming,
    },
    /// A key is not let in any more.
    Expelled {
        /// Which.
        key: PublicKey,
        /// A sentence for those who showed it.
        reason: Box<str>,
    },
    /// The scheduler ends.
    Stopping,
    /// The deadline has come.
    Tick,
}

/// What must be done.
#[derive(Debug)]
pub(super) enum Effect {
    /// Send a frame.
    Send {
        /// Over which connection.
        connection: ConnectionId,
        /// The frame.
        frame: Frame,
    },
    /// Close a connection once what was sent is on its way. Not answered.
    Close {
        /// Which.
        connection: ConnectionId,
    },
    /// Tell people.
    Report(Report),
}

/// How members are served.
pub(super) struct Config {
    /// What people call the cluster.
    pub(super) cluster: Name,
    /// This run of the scheduler.
    pub(super) boot: BootId,
    /// How much of what clients put is kept here.
    pub(super) kept_limit_bytes: u64,
    /// Where new ids come from: any numbers, hard to guess and never the same twice.
    pub(super) dice: Box<dyn FnMut() -> u64 + Send>,
}

/// The members, and the machine that decides for them.
pub(super) struct Members {
    config: Config,
    now: Time,
    machine: Scheduler,
    /// What has happened and the machine has not heard yet.
    untold: VecDeque<scheduler::Event>,
    callers: BTreeMap<ConnectionId, Caller>,
    peers: BTreeMap<PeerId, Peer>,
    /// A session is found by who may resume it.
    by_dialer: BTreeMap<(Who, BootId), PeerId>,
    clients: BTreeMap<ClientId, PeerId>,
    nodes: Nodes,
    reads: Reads,
    kept: Kept,
    rate: Rate,
    timers: BTreeSet<(Time, Timer)>,
    /// Peers to whom something may be sent now that could not be before.
    to_pump: BTreeSet<PeerId>,
    last_peer: u64,
    last_client: u64,
    effects: Vec<Effect>,
    /// Empty, with room.
    session_actions: Vec<session::Action>,
    machine_actions: Vec<scheduler::Action>,
}

/// What is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A connection has said nothing after its greeting.
    Silent(ConnectionId),
    /// A session may have something to do.
    Session(PeerId),
}

impl Members {
    pub(super) fn new(config: Config) -> Self {
        Self {
            now: Time::default(),
            machine: Scheduler::new(scheduler::Config { is_one_machine: false }),
            untold: VecDeque::new(),
            callers: BTreeMap::new(),
            peers: BTreeMap::new(),
            by_dialer: BTreeMap::new(),
            clients: BTreeMap::new(),
            nodes: Nodes::default(),
            reads: Reads::default(),
            kept: Kept::new(config.kept_limit_bytes),
            rate: Rate::default(),
            timers: BTreeSet::new(),
            to_pump: BTreeSet::new(),
            last_peer: 0,
            last_client: 0,
            effects: Vec::new(),
            session_actions: Vec::new(),
            machine_actions: Vec::new(),
            config,
        }
    }

    /// Applies what happened, and what is due, and appends what must be done.
    pub(super) fn handle(&mut self, now: Time, input: Input, effects: &mut Vec<Effect>) {
        self.now = now;
        self.rate.sample(now);
        match input {
            Input::Opened { connection, caller } => self.on_opened(connection, caller),
            Input::Incoming { connection, incoming } => self.on_incoming(connection, incoming),
            Input::Expelled { key, reason } => self.on_expelled(key, &reason),
            Input::Stopping => self.on_stopping(),
            Input::Tick => {}
        }
        self.do_what_is_due();
        self.settle();
        effects.append(&mut self.effects);
    }

    /// When [`Input::Tick`] is due if nothing else happens first.
    pub(super) fn deadline(&self) -> Option<Time> {
        earliest(self.timers.first().map(|(time, _)| *time), self.machine.deadline())
    }

    /// A plain copy of the state for people to look at, without what is known of the cluster.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.machine.snapshot();
        for node in &mut snapshot.nodes {
            if let Some(peer) = self.nodes.peer(node.id).and_then(|peer| self.peers.get(&peer)) {
                node.address = peer.caller.address();
            }
        }
        snapshot
    }

    /// Tasks that ended a second, lately.
    pub(super) fn rate(&mut self, now: Time) -> Amount {
        self.rate.per_second(now)
    }

    /// How many connections a key has.
    pub(super) fn connections_of(&self, key: &PublicKey) -> usize {
        self.callers.values().filter(|caller| caller.who == Who::Key(*key)).count()
    }

    fn on_opened(&mut self, connection: ConnectionId, caller: Caller) {
        self.timers.insert((self.now + HANDSHAKE_TIMEOUT, Timer::Silent(connection)));
        self.callers.insert(connection, caller);
    }

    fn on_incoming(&mut self, connection: ConnectionId, incoming: Incoming) {
        let Some(caller) = self.callers.get(&connection) else { return };
        match (caller.peer, incoming) {
            (Some(peer), Incoming::Frame(frame)) => {
                self.tell_session(peer, session::Event::Received { connection, frame });
            }
            (Some(peer), Incoming::Heard) => {
                self.tell_session(peer, session::Event::Heard { connection });
            }
            (None, Incoming::Frame(Frame::Hello(hello))) => self.on_hello(connection, hello),
            (None, Incoming::Frame(_)) => self.turn_away(connection, "it did not say hello"),
            (None, Incoming::Heard) => {}
            (peer, Incoming::Closed) => {
                self.callers.remove(&connection);
                self.effects.push(Effect::Close { connection });
                if let Some(peer) = peer {
                    self.tell_session(peer, session::Event::Closed { connection });
                }
            }
        }
    }

    /// A session begins or is resumed.
    fn on_hello(&mut self, connection: ConnectionId, hello: Hello) {
        let caller = &self.callers[&connection];
        if let Err(reason) = caller.check() {
            return self.turn_away(connection, &reason);
        }
        let dialer = (caller.who, hello.dialer);
        let peer = match self.by_dialer.get(&dialer) {
            Some(&peer) if self.peers[&peer].caller.side == caller.side => peer,
            Some(_) => return self.turn_away(connection, "it is a client and a node at once"),
            None => match self.accept(connection, &hello) {
                Ok(peer) => peer,
                Err(reason) => return self.close(connection, reason),
            },
        };
        let caller = self.callers.get_mut(&connection).expect("it was looked up above");
        caller.peer = Some(peer);
        let place = caller.clone();
        self.peers.get_mut(&peer).expect("it is there or was just made").caller = place;
        self.tell_session(peer, session::Event::Accepted { connection, hello });
    }

    fn accept(&mut self, connection: ConnectionId, hello: &Hello) -> Result<PeerId, EndReason> {
        if self.peers.len() >= MAX_PEERS {
            return Err(EndReason::Refused("the scheduler has as many members as it takes".into()));
        }
        let caller = self.callers[&connection].clone();
        let patience = match caller.side {
            Side::Client => Patience::CLIENT,
            _ => Patience::NODE,
        };
        let session = Session::accept(self.now, self.config.boot, hello, patience)?;
        self.last_peer += 1;
        let id = PeerId(self.last_peer);
        self.by_dialer.insert((caller.who, hello.dialer), id);
        self.peers.insert(id, Peer::new(session, caller, hello.dialer));
        Ok(id)
    }

    /// Ends a connection that does not belong here, and says why on both sides.
    fn turn_away(&mut self, connection: ConnectionId, reason: &str) {
        if let Some(caller) = self.callers.get(&connection) {
            let address = caller.address();
            self.effects.push(Effect::Report(Report::Refused { address, reason: reason.into() }));
        }
        self.close(connection, EndReason::Refused(reason.into()));
    }

    fn close(&mut self, connection: ConnectionId, reason: EndReason) {
        self.callers.remove(&connection);
        self.effects.push(Effect::Send { connection, frame: Frame::End(reason) });
        self.effects.push(Effect::Close { connection });
    }

    fn on_expelled(&mut self, key: PublicKey, reason: &str) {
        let is_of_it = |caller: &Caller| caller.who == Who::Key(key);
        let peers = self.peers.iter().filter(|(_, peer)| is_of_it(&peer.caller));
        for peer in peers.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end(peer, EndReason::Refused(reason.into()));
        }
        let connections = self.callers.iter().filter(|(_, caller)| is_of_it(caller));
        for connection in connections.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.close(connection, EndReason::Refused(reason.into()));
        }
    }

    fn on_stopping(&mut self) {
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.end(peer, EndReason::Closed);
        }
        for connection in self.callers.keys().copied().collect::<Vec<_>>() {
            self.close(connection, EndReason::Closed);
        }
        // What would follow for the cluster, or be told of it, concerns nobody any more.
        self.untold.clear();
        self.effects.retain(|effect| !matches!(effect, Effect::Report(_)));
    }

    fn do_what_is_due(&mut self) {
        while let Some(&(time, timer)) = self.timers.first() {
            if time > self.now {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Silent(connection) => self.on_silent(connection),
                Timer::Session(peer) => self.on_session_due(peer),
            }
        }
        if self.machine.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.untold.push_back(scheduler::Event::Tick);
        }
    }

    fn on_silent(&mut self, connection: ConnectionId) {
        if self.callers.get(&connection).is_some_and(|caller| caller.peer.is_none()) {
            self.turn_away(connection, "it said nothing");
        }
    }

    fn on_session_due(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.timer = None;
        if peer.session.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.tell_session(id, session::Event::Tick);
        } else {
            self.arm(id);
        }
    }

    /// Has a session's deadline looked at in time. It moves with every frame: only if it comes
    /// nearer is there anything to do.
    fn arm(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(deadline) = peer.session.deadline() else { return };
        if peer.timer.is_some_and(|timer| timer <= deadline) {
            return;
        }
        if let Some(timer) = peer.timer.replace(deadline) {
            self.timers.remove(&(timer, Timer::Session(id)));
        }
        self.timers.insert((deadline, Timer::Session(id)));
    }

    /// Has the machine hear all that happened, and sends what follows from it as far as the
    /// sessions take it. A session may end by being sent something, for its time was up.
    fn settle(&mut self) {
        loop {
            if let Some(event) = self.untold.pop_front() {
                self.tell_machine(event);
            } else if let Some(peer) = self.to_pump.pop_first() {
                self.pump(peer);
            } else {
                break;
            }
        }
    }

    fn tell_session(&mut self, id: PeerId, event: session::Event) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let mut actions = core::mem::take(&mut self.session_actions);
        peer.session.handle(self.now, event, &mut actions);
        // An acknowledgement may have made room.
        if peer.outgoing.is_waiting() {
            self.to_pump.insert(id);
        }
        self.arm(id);
        for action in actions.drain(..) {
            self.carry_out(id, action);
        }
        self.session_actions = actions;
    }

    fn carry_out(&mut self, id: PeerId, action: session::Action) {
        match action {
            session::Action::Transmit { connection, frame } => {
                self.effects.push(Effect::Send { connection, frame });
            }
            session::Action::Close { connection, violation } => {
                let caller = self.callers.remove(&connection);
                self.effects.push(Effect::Close { connection });
                let violation = violation.filter(|it| *it != session::Violation::Outdated);
                if let (Some(caller), Some(violation)) = (caller, violation) {
                    let (address, reason) = (caller.address(), violation.to_string().into());
                    self.effects.push(Effect::Report(Report::Refused { address, reason }));
                }
            }
            session::Action::Began => self.on_session_began(id),
            session::Action::Deliver(part) => self.on_part(id, part),
            session::Action::Ended(reason) => self.on_session_ended(id, reason),
            session::Action::Dial { .. } => unreachable!("a listener does not dial"),
        }
    }

    /// A client is one from now on; a node first says what it is.
    fn on_session_began(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.caller.side == Side::Client {
            self.last_client += 1;
            let client = ClientId(self.last_client);
            peer.member = Member::Client(client);
            self.clients.insert(client, id);
            self.untold.push_back(scheduler::Event::ClientJoined { client });
        }
    }

    fn on_session_ended(&mut self, id: PeerId, reason: EndReason) {
        let Some(peer) = self.peers.remove(&id) else { return };
        self.by_dialer.remove(&(peer.caller.who, peer.dialer));
        self.to_pump.remove(&id);
        if let Some(timer) = peer.timer {
            self.timers.remove(&(timer, Timer::Session(id)));
        }
        match peer.member {
            Member::Unknown => {}
            Member::Client(client) => {
                self.clients.remove(&client);
                self.untold.push_back(scheduler::Event::ClientGone { client });
            }
            Member::Node(node) => self.on_node_gone(id, node, reason),
        }
    }

    /// Ends a session that broke the rules, and says why on both sides.
    fn refuse(&mut self, id: PeerId, reason: &str) {
        let Some(peer) = self.peers.get(&id) else { return };
        let address = peer.caller.address();
        self.effects.push(Effect::Report(Report::Refused { address, reason: reason.into() }));
        self.end(id, EndReason::Refused(reason.into()));
    }

    fn end(&mut self, id: PeerId, reason: EndReason) {
        self.tell_session(id, session::Event::End(reason));
    }

    /// Says something to a member. What is said to one that was just lost goes nowhere.
    fn say(&mut self, id: PeerId, message: impl Into<Message>) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.outgoing.push(message.into());
            self.to_pump.insert(id);
        }
    }

    /// Gives a session what waits for it, as far as it takes that.
    fn pump(&mut self, id: PeerId) {
        loop {
            let Some(peer) = self.peers.get_mut(&id) else { return };
            if peer.outgoing.is_overrun() {
                return self.end(id, EndReason::Overrun);
            }
            let Some(part) = peer.outgoing.next(&peer.session) else { break };
            self.tell_session(id, session::Event::Send(part));
        }
        // Sending noted that there was more to send: what there is was tried.
        self.to_pump.remove(&id);
        // Room for pieces is room for questions.
        self.ask_next(id);
    }
}

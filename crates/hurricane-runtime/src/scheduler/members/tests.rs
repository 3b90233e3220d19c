//! Members in virtual time: what they say arrives at once, unless a test holds it up.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use hurricane_core::id::{
    Attempt, DefinitionNumber, NodeId, Number, ObjectId, ObjectNumber, TaskId,
};
use hurricane_core::member::{
    Content, Find, FromClient, FromNode, NodeDescription, PIECE_BYTES, Piece, Read, ToClient,
    ToNode,
};
use hurricane_core::message::{
    ClientToScheduler, Definition, Ending, NodeToScheduler, Output, SchedulerToClient,
    SchedulerToNode, Stored, Stream, Value as Worth,
};
use hurricane_core::parts::{self, Joiner};
use hurricane_core::resources::Resources;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::audience::MIN_SHARED_BYTES;
use crate::identity::{KeyPair, Roles};

/// How far apart moments are.
const STEP: Duration = Duration::from_millis(50);

struct World {
    members: Members,
    now: Time,
    /// Members of the world outside, by number.
    far: Vec<Far>,
    /// Which of them dialed a connection, and what they call it.
    lines: BTreeMap<ConnectionId, (usize, ConnectionId)>,
    last_connection: u64,
    reports: Vec<Report>,
}

/// One who dials.
struct Far {
    session: Session,
    caller: Caller,
    joiner: Joiner,
    /// What came, message by message.
    heard: VecDeque<Bytes>,
    /// Whether it takes what comes; if not, it waits here.
    is_reading: bool,
    unread: VecDeque<(ConnectionId, Frame)>,
    /// Whether anything goes to and fro.
    is_connected: bool,
    ended: Option<EndReason>,
}

impl Far {
    /// Takes in a part, with however many messages.
    fn hear(&mut self, part: Bytes) {
        self.joiner.push(part).expect("it is a part");
        if self.caller.side == Side::Client {
            self.hear_all::<ToClient>();
        } else {
            self.hear_all::<ToNode>();
        }
    }

    fn hear_all<M: Serialize + DeserializeOwned>(&mut self) {
        while let Some(message) = self.joiner.pop::<M>().expect("it is a message") {
            self.heard.extend(parts::cut(&message));
        }
    }
}

/// The message of a part, if it is whole with it.
fn taken<M: DeserializeOwned>(joiner: &mut Joiner, part: Bytes) -> Option<M> {
    joiner.push(part).expect("it is a part");
    joiner.pop().expect("it is a message")
}

impl World {
    fn new() -> Self {
        let mut last = 0;
        let dice = Box::new(move || {
            last += 1;
            // The first must not be taken for a node.
            last - 1
        });
        let config =
            Config { cluster: Name::near("lab"), boot: BootId(1), kept_limit_bytes: 1 << 20, dice };
        Self {
            members: Members::new(config),
            now: Time(1_000_000),
            far: Vec::new(),
            lines: BTreeMap::new(),
            last_connection: 0,
            reports: Vec::new(),
        }
    }

    /// Somebody begins to dial.
    fn dial(&mut self, caller: Caller) -> usize {
        let boot = BootId(100 + self.far.len() as u64);
        self.far.push(Far {
            session: Session::dial(boot),
            caller,
            joiner: Joiner::new(1 << 30),
            heard: VecDeque::new(),
            is_reading: true,
            unread: VecDeque::new(),
            is_connected: true,
            ended: None,
        });
        let far = self.far.len() - 1;
        self.tell_far(far, session::Event::Tick);
        far
    }

    fn client(&mut self) -> usize {
        let client = self.dial(Caller::here(Side::Client));
        let resources = Resources { cpus: Amount::whole(1), ..Resources::default() };
        let definition = Definition {
            function: Bytes::new(),
            name: "function".into(),
            resources,
            retries: 0,
            timeout: None,
            priority: 0,
        };
        self.say(
            client,
            &FromClient::Scheduling(ClientToScheduler::Define {
                number: DefinitionNumber(1),
                definition: Box::new(definition),
            }),
        );
        client
    }

    fn node(&mut self) -> usize {
        let node = self.dial(Caller::here(Side::Node));
        self.say(node, &FromNode::Join(description()));
        node
    }

    fn submit(&mut self, client: usize, number: u64) {
        self.say(
            client,
            &FromClient::Scheduling(ClientToScheduler::Submit {
                number: Number(number),
                definition: DefinitionNumber(1),
                arguments: Bytes::new(),
                dependencies: Vec::new(),
            }),
        );
    }

    /// The next task of a node.
    fn task(&mut self, node: usize) -> (TaskId, Attempt) {
        self.find(node, |message| match message {
            ToNode::Scheduling(SchedulerToNode::Assign { task, attempt, .. }) => {
                Some((task, attempt))
            }
            _ => None,
        })
    }

    /// A task of a client whose value lies in the store of a node.
    fn stored(&mut self, client: usize, node: usize, number: u64) -> ObjectId {
        self.submit(client, number);
        let (task, attempt) = self.task(node);
        let object = ObjectId { node: self.id_of(node), number: ObjectNumber(number) };
        let value = Worth::Stored(Stored { object, size_bytes: 1 << 20 });
        let ran = Duration::from_millis(1);
        let finished = NodeToScheduler::Finished { task, attempt, value, ran };
        self.say(node, &FromNode::Scheduling(finished));
        object
    }

    fn id_of(&self, node: usize) -> NodeId {
        let who = self.members.by_dialer.iter().find(|((_, boot), _)| boot.0 == 100 + node as u64);
        match self.members.peers[who.expect("it has a session").1].member {
            Member::Node(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn say(&mut self, far: usize, message: &impl Serialize) {
        for part in parts::cut(message) {
            self.tell_far(far, session::Event::Send(part));
        }
    }

    /// The next message that is what a test looks for; what comes before is passed over.
    fn find<M: DeserializeOwned, T>(&mut self, far: usize, look: impl Fn(M) -> Option<T>) -> T {
        let far = &mut self.far[far];
        let mut joiner = Joiner::new(1 << 30);
        loop {
            let part = far.heard.pop_front().expect("it does not come");
            if let Some(found) = taken(&mut joiner, part).and_then(&look) {
                return found;
            }
        }
    }

    /// All messages that came.
    fn heard<M: DeserializeOwned>(&mut self, far: usize) -> Vec<M> {
        let far = &mut self.far[far];
        let heard = std::mem::take(&mut far.heard);
        let mut joiner = Joiner::new(1 << 30);
        heard.into_iter().filter_map(|part| taken(&mut joiner, part)).collect()
    }

    fn tell_far(&mut self, index: usize, event: session::Event) {
        let mut actions = Vec::new();
        self.far[index].session.handle(self.now, event, &mut actions);
        for action in actions {
            match action {
                session::Action::Dial { connection } if self.far[index].is_connected => {
                    self.last_connection += 1;
                    let line = ConnectionId(self.last_connection);
                    self.lines.insert(line, (index, connection));
                    let caller = self.far[index].caller.clone();
                    self.tell(Input::Opened { connection: line, caller });
                    self.tell_far(index, session::Event::Opened { connection });
                }
                session::Action::Dial { .. } | session::Action::Began => {}
                session::Action::Transmit { connection, frame } => {
                    if let Some(line) = self.line(index, connection) {
                        self.tell_incoming(line, Incoming::Frame(frame));
                    }
                }
                session::Action::Close { connection, .. } => {
                    if let Some(line) = self.line(index, connection) {
                        self.lines.remove(&line);
                        self.tell_incoming(line, Incoming::Closed);
                    }
                }
                session::Action::Deliver(part) => self.far[index].hear(part),
                session::Action::Ended(reason) => self.far[index].ended = Some(reason),
            }
        }
    }

    fn line(&self, far: usize, connection: ConnectionId) -> Option<ConnectionId> {
        let line = self.lines.iter().find(|(_, line)| **line == (far, connection));
        line.map(|(id, _)| *id).filter(|_| self.far[far].is_connected)
    }

    fn tell_incoming(&mut self, connection: ConnectionId, incoming: Incoming) {
        self.tell(Input::Incoming { connection, incoming });
    }

    fn tell(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.members.handle(self.now, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send { connection, frame } => self.arrive(connection, frame),
                Effect::Close { connection } => self.hang_up(connection),
                Effect::Report(report) => self.reports.push(report),
            }
        }
    }

    fn arrive(&mut self, line: ConnectionId, frame: Frame) {
        let Some(&(index, connection)) = self.lines.get(&line) else { return };
        let far = &mut self.far[index];
        if !far.is_connected {
            return;
        }
        if !far.is_reading {
            return far.unread.push_back((connection, frame));
        }
        self.tell_far(index, session::Event::Received { connection, frame });
    }

    fn hang_up(&mut self, line: ConnectionId) {
        if let Some((index, connection)) = self.lines.remove(&line) {
            self.tell_far(index, session::Event::Closed { connection });
        }
    }

    /// Time passes.
    fn wait(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.now < until {
            self.now = self.now + STEP;
            for far in 0..self.far.len() {
                if self.far[far].session.deadline().is_some_and(|due| due <= self.now) {
                    self.tell_far(far, session::Event::Tick);
                }
            }
            if self.members.deadline().is_some_and(|due| due <= self.now) {
                self.tell(Input::Tick);
            }
        }
    }

    fn reported(&self, text: &str) -> bool {
        self.reports.iter().any(|report| format!("{report:?}").contains(text))
    }
}

fn description() -> NodeDescription {
    NodeDescription {
        resources: Resources { cpus: Amount::whole(1), ..Resources::default() },
        key: [7; 32],
        addresses: vec!["10.0.0.9:1234".into()],
        port: 1234,
        host: "rack".into(),
    }
}

fn key() -> PublicKey {
    KeyPair::generate().expect("the system is random").public()
}

fn caller_with(key: PublicKey, roles: Roles, side: Side) -> Caller {
    let ip = core::net::IpAddr::from([10, 0, 0, 3]);
    Caller::there(key, roles, Some(Name::near("rack")), side, ip)
}

#[test]
fn nodes_of_one_name_are_told_apart() {
    let mut world = World::new();
    let nodes = [world.node(), world.node(), world.node()];
    let names = nodes.map(|node| {
        world.find(node, |message| match message {
            ToNode::Joined { name, node, .. } => {
                assert_ne!(node, NodeId::SCHEDULER);
                Some(name)
            }
            _ => None,
        })
    });
    assert_eq!(names.each_ref().map(|name| &**name), ["rack", "rack-2", "rack-3"]);
    world.tell_far(nodes[1], session::Event::End(EndReason::Closed));
    let fourth = world.node();
    let name = world.find(fourth, |message| match message {
        ToNode::Joined { name, .. } => Some(name),
        _ => None,
    });
    assert_eq!(&*name, "rack-2");
}

#[test]
fn nodes_hear_of_each_other() {
    let mut world = World::new();
    let roles = Roles::NODE;
    let machine = key();
    let first = world.dial(caller_with(machine, roles, Side::Node));
    world.say(first, &FromNode::Join(description()));
    let second = world.node();
    let places = |world: &mut World, far| {
        let heard: Vec<ToNode> = world.heard(far);
        let place = |message| match message {
            ToNode::Here(place) => Some((place.node, place.key, place.addresses)),
            _ => None,
        };
        heard.into_iter().filter_map(place).collect::<Vec<_>>()
    };
    let (one, other) = (world.id_of(first), world.id_of(second));
    let seen: Vec<Box<str>> = vec!["10.0.0.3:1234".into(), "10.0.0.9:1234".into()];
    let here = (one, *machine.as_bytes(), seen);
    let there = (other, [7; 32], vec!["10.0.0.9:1234".into()]);
    assert_eq!(places(&mut world, first), [here.clone(), there.clone()]);
    assert_eq!(places(&mut world, second), [there, here]);
    world.tell_far(second, session::Event::End(EndReason::Closed));
    assert_eq!(world.heard::<ToNode>(first), [ToNode::Gone(other)]);
    assert!(world.reported("Left { name: \"rack-2\" }"), "{:?}", world.reports);
}

#[test]
fn a_silent_node_is_lost_and_its_tasks_run_elsewhere() {
    let mut world = World::new();
    let (client, node) = (world.client(), world.node());
    world.submit(client, 1);
    world.task(node);
    world.far[node].is_connected = false;
    let other = world.node();
    world.wait(Patience::NODE.silent.saturating_sub(STEP * 2));
    assert!(!world.reported("Lost"));
    world.wait(STEP * 8);
    assert!(world.reported("Lost { name: \"rack\", reason: Lost }"), "{:?}", world.reports);
    world.task(other);
}

#[test]
fn a_cut_is_no_loss() {
    let mut world = World::new();
    let (client, node) = (world.client(), world.node());
    // Else they would still wait between two dials.
    world.wait(Duration::from_secs(1));
    for far in [client, node] {
        let line = *world.lines.iter().find(|(_, line)| line.0 == far).expect("it dialed").0;
        world.tell_incoming(line, Incoming::Closed);
        world.hang_up(line);
    }
    world.wait(STEP * 30);
    world.submit(client, 1);
    let (task, attempt) = world.task(node);
    let (value, ran) = (Worth::Inline("1".into()), Duration::ZERO);
    let finished = NodeToScheduler::Finished { task, attempt, value: value.clone(), ran };
    world.say(node, &FromNode::Scheduling(finished));
    let ending = world.find(client, |message| match message {
        ToClient::Scheduling(SchedulerToClient::Ended { ending, .. }) => Some(ending),
        _ => None,
    });
    assert_eq!(ending, Ending::Done(value));
    assert!(!world.reported("Lost"), "{:?}", world.reports);
}

#[test]
fn who_says_nothing_is_let_go() {
    let mut world = World::new();
    let connection = ConnectionId(7);
    world.tell(Input::Opened { connection, caller: Caller::here(Side::Client) });
    world.wait(HANDSHAKE_TIMEOUT.saturating_sub(STEP));
    assert_eq!(world.members.callers.len(), 1);
    world.wait(STEP * 2);
    assert_eq!(world.members.callers.len(), 0);
    assert!(world.reported("it said nothing"));
}

#[test]
fn s10_a_key_does_what_its_roles_are_for() {
    for (roles, side, is_allowed) in [
        (Roles::NODE, Side::Node, true),
        (Roles::NODE, Side::Client, false),
        (Roles::SUBMIT, Side::Node, false),
        (Roles::SUBMIT, Side::Client, true),
        (Roles::ALL, Side::Node, true),
        (Roles::ALL, Side::Client, true),
        (Roles::ALL, Side::Fetcher, false),
        (Roles::ALL, Side::Operator, false),
    ] {
        let mut world = World::new();
        let far = world.dial(caller_with(key(), roles, side));
        let is_refused = matches!(world.far[far].ended, Some(EndReason::Refused(_)));
        assert_eq!(is_refused, !is_allowed, "{roles} as {side}: {:?}", world.far[far].ended);
        assert_eq!(world.reported("Refused"), !is_allowed, "{:?}", world.reports);
        assert_eq!(world.members.callers.is_empty(), !is_allowed);
    }
}

#[test]
fn s10_what_breaks_the_rules_ends_the_session() {
    let read = Read { request: 1, object: object_of_nobody(), offset: 0 };
    let content = Content { total_bytes: 9, bytes: vec![0; PIECE_BYTES + 1].into() };
    let mut endless = description();
    endless.addresses = vec!["1.2.3.4:5".into(); 100];
    let mut wordy = description();
    wordy.addresses = vec!["1".repeat(100).into()];
    let cases: Vec<(&str, Vec<FromNode>)> = vec![
        ("before it joined", vec![FromNode::Leave]),
        ("before it joined", vec![FromNode::Read(read)]),
        ("joined twice", vec![FromNode::Join(description()), FromNode::Join(description())]),
        ("addresses", vec![FromNode::Join(endless)]),
        ("addresses", vec![FromNode::Join(wordy)]),
        (
            "too large a piece",
            vec![
                FromNode::Join(description()),
                FromNode::Piece(Piece { request: 1, content: Some(content) }),
            ],
        ),
    ];
    for (reason, messages) in cases {
        let mut world = World::new();
        let node = world.dial(Caller::here(Side::Node));
        for message in &messages {
            world.say(node, message);
        }
        let ended = world.far[node].ended.as_ref().expect("it ends").to_string();
        assert!(ended.contains(reason), "{ended}");
        assert!(world.reported(reason), "{:?}", world.reports);
        assert!(world.members.peers.is_empty());
    }
}

#[test]
fn s10_a_client_reads_and_names_only_what_is_its_own() {
    let mut world = World::new();
    let (node, owner, other) = (world.node(), world.client(), world.client());
    let object = world.stored(owner, node, 1);
    world.say(other, &FromClient::Read(Read { request: 5, object, offset: 0 }));
    let refused = ToClient::Piece(Piece { request: 5, content: None });
    assert_eq!(world.heard::<ToClient>(other).last(), Some(&refused));
    let value = Worth::Stored(Stored { object, size_bytes: 1 });
    let put = ClientToScheduler::Put { number: Number(1), value };
    world.say(other, &FromClient::Scheduling(put));
    assert!(world.far[other].ended.is_some());
    assert!(world.far[owner].ended.is_none());
}

#[test]
fn pieces_come_from_the_holder_a_few_at_a_time() {
    let mut world = World::new();
    let (node, client) = (world.node(), world.client());
    let object = world.stored(client, node, 1);
    for request in 0..200 {
        world.say(client, &FromClient::Read(Read { request, object, offset: 0 }));
    }
    let mut answered = 0;
    loop {
        let reads = world.heard::<ToNode>(node).into_iter();
        let reads: Vec<Read> = reads
            .filter_map(|message| match message {
                ToNode::Read(read) => Some(read),
                _ => None,
            })
            .collect();
        assert!(reads.len() <= 64, "{}", reads.len());
        if reads.is_empty() {
            break;
        }
        answered += reads.len();
        for read in reads {
            let content = Some(Content { total_bytes: 3, bytes: "abc".into() });
            world.say(node, &FromNode::Piece(Piece { request: read.request, content }));
        }
        world.wait(Duration::from_millis(500));
    }
    assert_eq!(answered, 200);
    let pieces = world.heard::<ToClient>(client).into_iter();
    let requests: Vec<u64> =
        pieces.filter_map(piece).filter_map(|piece| piece.content.map(|_| piece.request)).collect();
    assert_eq!(requests, (0..200).collect::<Vec<_>>());
}

#[test]
fn pieces_of_a_lost_holder_are_not_there() {
    let mut world = World::new();
    let (node, liar, client) = (world.node(), world.node(), world.client());
    let object = world.stored(client, node, 1);
    world.say(client, &FromClient::Read(Read { request: 9, object, offset: 0 }));
    let content = Some(Content { total_bytes: 3, bytes: "lie".into() });
    world.say(liar, &FromNode::Piece(Piece { request: 1, content }));
    world.tell_far(node, session::Event::End(EndReason::Closed));
    let piece = world.find(client, piece);
    assert_eq!(piece, Piece { request: 9, content: None });
    assert!(world.members.reads.is_empty());
}

#[test]
fn what_is_put_is_kept_until_it_is_released() {
    let mut world = World::new();
    let client = world.client();
    let bytes = Bytes::from(vec![5; 3 * PIECE_BYTES / 2]);
    let put = |number| ClientToScheduler::Put {
        number: Number(number),
        value: Worth::Inline(bytes.clone()),
    };
    world.say(client, &FromClient::Scheduling(put(1)));
    let object = ObjectId { node: NodeId::SCHEDULER, number: ObjectNumber(1) };
    let read = |world: &mut World, offset| {
        world.say(client, &FromClient::Read(Read { request: offset, object, offset }));
        world.find(client, piece).content
    };
    let first = read(&mut world, 0).expect("it is there");
    assert_eq!((first.total_bytes, first.bytes.len()), (bytes.len() as u64, PIECE_BYTES));
    let offset = PIECE_BYTES as u64;
    let second = read(&mut world, offset).expect("it is there");
    assert_eq!(second.bytes.len(), PIECE_BYTES / 2);
    assert!(read(&mut world, 2 * offset).is_none());
    assert!(read(&mut world, u64::MAX).is_none());
    let release = ClientToScheduler::Release { numbers: vec![Number(1)] };
    world.say(client, &FromClient::Scheduling(release));
    assert!(read(&mut world, 0).is_none());
    assert_eq!(world.members.kept.bytes(), 0);
    // Three fit into the megabyte of this test.
    for number in 2..=4 {
        assert!(world.far[client].ended.is_none());
        world.say(client, &FromClient::Scheduling(put(number)));
    }
    let ended = world.far[client].ended.as_ref().expect("it was too much").to_string();
    assert!(ended.contains("more than is kept"), "{ended}");
    assert_eq!(world.members.kept.bytes(), 0);
}

#[test]
fn what_is_put_goes_on_from_node_to_node() {
    let mut world = World::new();
    world.members.kept = Kept::new(64 << 20);
    let client = world.client();
    let value = Worth::Inline(Bytes::from(vec![5; MIN_SHARED_BYTES]));
    let put = ClientToScheduler::Put { number: Number(1), value };
    world.say(client, &FromClient::Scheduling(put));
    let object = ObjectId { node: NodeId::SCHEDULER, number: ObjectNumber(1) };
    let (first, second) = (world.node(), world.node());
    let ids = [first, second].map(|node| world.id_of(node));
    let ask = |world: &mut World, node, asker, object| {
        world.say(node, &FromNode::Find(Find { request: 4, object, asker, without: None }));
        let found = world.find(node, |message| match message {
            ToNode::Found(found) => Some(found),
            _ => None,
        });
        (found.others, found.digest.is_some())
    };
    assert_eq!(ask(&mut world, first, ids[0], object), (vec![], false));
    assert_eq!(ask(&mut world, second, ids[1], object), (vec![ids[0]], true));
    world.tell_far(first, session::Event::End(EndReason::Closed));
    assert_eq!(ask(&mut world, second, ids[1], object), (vec![], false));
    assert_eq!(ask(&mut world, second, ids[1], object_of_nobody()), (vec![], false));
}

#[test]
fn a_client_that_does_not_read_costs_little() {
    let mut world = World::new();
    // What a node may write at once is bounded as well.
    let nodes = [world.node(), world.node(), world.node(), world.node()];
    let client = world.client();
    (1..=4).for_each(|number| world.submit(client, number));
    let tasks = nodes.map(|node| (node, world.task(node)));
    let lose = |world: &mut World| world.far[client].unread.clear();
    world.far[client].is_reading = false;
    // Its session takes 64 MiB, and what waits beyond that is bounded.
    let text = Bytes::from(vec![b'\n'; 64 << 10]);
    for (node, (task, attempt)) in tasks.into_iter().cycle().take(2000) {
        let output = Output { stream: Stream::Stdout, text: text.clone(), dropped_lines: 0 };
        let output = NodeToScheduler::Output { task, attempt, output };
        world.say(node, &FromNode::Scheduling(output));
        lose(&mut world);
    }
    let peer = world.members.peers.values().find(|peer| peer.caller.side == Side::Client);
    let waiting = peer.expect("it is there").outgoing.waiting_output_bytes();
    assert!((1..=1 << 20).contains(&waiting), "{waiting}");
}

#[test]
fn who_is_expelled_is_gone_at_once() {
    let mut world = World::new();
    let machine = key();
    let node = world.dial(caller_with(machine, Roles::ALL, Side::Node));
    world.say(node, &FromNode::Join(description()));
    let client = world.dial(caller_with(machine, Roles::ALL, Side::Client));
    let stays = world.node();
    assert_eq!(world.members.connections_of(&machine), 2);
    world.tell(Input::Expelled { key: machine, reason: "it was revoked".into() });
    for far in [node, client] {
        let ended = world.far[far].ended.as_ref().expect("it ends");
        assert_eq!(ended.to_string(), "it was revoked");
    }
    assert!(world.far[stays].ended.is_none());
    assert_eq!(world.members.connections_of(&machine), 0);
    assert_eq!(world.members.snapshot().nodes.len(), 1);
}

#[test]
fn nothing_is_left_of_those_who_were_there() {
    let mut world = World::new();
    for _ in 0..20 {
        let (node, client) = (world.node(), world.client());
        let object = world.stored(client, node, 1);
        world.say(client, &FromClient::Read(Read { request: 9, object, offset: 0 }));
        for far in [client, node] {
            world.tell_far(far, session::Event::End(EndReason::Closed));
        }
    }
    world.wait(HANDSHAKE_TIMEOUT + STEP);
    let members = &world.members;
    assert!(members.peers.is_empty() && members.by_dialer.is_empty());
    assert!(members.callers.is_empty() && members.clients.is_empty());
    assert!(members.timers.is_empty() && members.to_pump.is_empty());
    assert!(members.reads.is_empty() && members.machine.is_empty());
    assert!(members.snapshot().nodes.is_empty());
}

#[test]
fn the_end_is_told() {
    let mut world = World::new();
    let (node, client) = (world.node(), world.client());
    world.tell(Input::Stopping);
    assert_eq!(world.far[node].ended, Some(EndReason::Closed));
    assert_eq!(world.far[client].ended, Some(EndReason::Closed));
}

fn piece(message: ToClient) -> Option<Piece> {
    let ToClient::Piece(piece) = message else { return None };
    Some(piece)
}

fn object_of_nobody() -> ObjectId {
    ObjectId { node: NodeId(77), number: ObjectNumber(1) }
}

//! Processes with nodes, in one thread, over the loopback interface.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hurricane_core::id::ObjectNumber;
use hurricane_core::member::{Content, Find, Found, FromNode, NodePlace, PIECE_BYTES};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::pull::{Answer, Pieces, WINDOW};
use super::*;
use crate::greeting::{GREETING_BYTES, Greeting, Side};
use crate::store::Store;
use crate::tls::{self, Pin, Purpose, Secured};

mod sharing;

/// Longer than anything takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);

const HOLDER: NodeId = NodeId(11);
const SIBLING: NodeId = NodeId(12);
const ASKER: NodeId = NodeId(21);
const OTHER_ASKER: NodeId = NodeId(22);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("there are descriptors"), test);
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn object(node: NodeId, number: u64) -> ObjectId {
    ObjectId { node, number: ObjectNumber(number) }
}

/// Bytes of which each piece differs.
fn large() -> Bytes {
    let pieces = (0_u8..21).flat_map(|piece| vec![piece; PIECE_BYTES]);
    pieces.chain([99; 1000]).collect()
}

/// A process with nodes.
struct Process {
    key: KeyPair,
    store: Arc<Store>,
    roster: Rc<Roster>,
    transfer: Rc<Transfer>,
    port: u16,
}

impl Process {
    fn start(nodes: &[NodeId]) -> Self {
        let key = KeyPair::generate().expect("the system is random");
        let (store, roster) = (Arc::<Store>::default(), Roster::new());
        let shelf = Shelf::new(Arc::clone(&store), Rc::clone(&roster));
        let port = Door::open(&shelf, &key).expect("a port is free");
        let transfer = Transfer::new(shelf, &key);
        for node in nodes {
            roster.enter(*node);
        }
        Self { key, store, roster, transfer, port }
    }

    fn place(&self, node: NodeId) -> NodePlace {
        self.place_at(node, self.port)
    }

    fn place_at(&self, node: NodeId, port: u16) -> NodePlace {
        let addresses = vec![format!("127.0.0.1:{port}").into()];
        NodePlace { node, key: *self.key.public().as_bytes(), addresses }
    }
}

/// One who holds and one who asks, who know each other.
fn holder_and_asker() -> (Process, Process) {
    let (holder, asker) = (Process::start(&[HOLDER, SIBLING]), Process::start(&[ASKER]));
    holder.roster.here(HOLDER, asker.place(ASKER));
    asker.roster.here(ASKER, holder.place(HOLDER));
    (holder, asker)
}

/// What somebody was told.
type Heard = Rc<RefCell<Vec<(ObjectId, bool)>>>;

fn needing(node: NodeId, relay: &Rc<Relay>) -> (Asker, Heard) {
    let heard = Heard::default();
    let hearing = Rc::clone(&heard);
    let done = Rc::new(move |object, is_here| hearing.borrow_mut().push((object, is_here)));
    (Asker { node, relay: Rc::clone(relay), done }, heard)
}

/// A scheduler that never answers.
fn silent_relay() -> (Rc<Relay>, Rc<Cell<u32>>) {
    let asked = Rc::<Cell<u32>>::default();
    let counting = Rc::clone(&asked);
    (Relay::new(Box::new(move |_| counting.set(counting.get() + 1))), asked)
}

/// A scheduler that has the holder answer, the last question first.
fn relay_to(holder: &Process) -> Rc<Relay> {
    let transfer = Rc::clone(&holder.transfer);
    let open = Rc::<RefCell<Vec<Read>>>::default();
    let asking = Rc::clone(&open);
    let (telling, told) = mpsc::unbounded_channel();
    let relay = Relay::new(Box::new(move |message| match message {
        FromNode::Read(read) => asking.borrow_mut().push(read),
        other => telling.send(other).expect("it is heard"),
    }));
    tokio::task::spawn_local(finding_nobody(Rc::clone(&relay), told));
    let answering = Rc::clone(&relay);
    tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            while let Some(read) = { open.borrow_mut().pop() } {
                answering.on_piece(transfer.answer(read));
            }
        }
    });
    relay
}

/// What a scheduler says of objects of nodes.
async fn finding_nobody(relay: Rc<Relay>, mut told: mpsc::UnboundedReceiver<FromNode>) {
    while let Some(message) = told.recv().await {
        let FromNode::Find(Find { request, .. }) = message else { panic!("{message:?}") };
        relay.on_found(Found { request, others: Vec::new(), digest: None });
    }
}

#[test]
fn an_object_comes_from_its_holder() {
    run(async {
        let (holder, asking) = holder_and_asker();
        let (relay, relayed) = silent_relay();
        for number in 1..=3 {
            holder.store.insert(HOLDER, object(HOLDER, number), large());
            let (needs, heard) = needing(ASKER, &relay);
            asking.transfer.fetch(needs, object(HOLDER, number));
            eventually("it was told", || !heard.borrow().is_empty()).await;
            assert_eq!(*heard.borrow(), [(object(HOLDER, number), true)]);
            assert_eq!(asking.store.get(object(HOLDER, number)), Some(large()));
        }
        assert_eq!(relayed.get(), 0);
    });
}

#[test]
fn many_come_at_once_and_each_once() {
    run(async {
        let (holder, asking) = holder_and_asker();
        asking.roster.enter(OTHER_ASKER);
        let (relay, relayed) = silent_relay();
        let mut all_heard = Vec::new();
        for number in 0..100 {
            let bytes = Bytes::from(vec![7; 70_000]);
            holder.store.insert(HOLDER, object(HOLDER, number), bytes);
            for node in [ASKER, OTHER_ASKER] {
                let (needs, heard) = needing(node, &relay);
                asking.transfer.fetch(needs, object(HOLDER, number));
                all_heard.push(heard);
            }
        }
        assert_eq!(asking.transfer.fetches.borrow().len(), 100);
        let is_told = |heard: &Heard| heard.borrow().len() == 1 && heard.borrow()[0].1;
        eventually("all were told", || all_heard.iter().all(is_told)).await;
        assert_eq!(relayed.get(), 0);
        asking.store.remove(ASKER, object(HOLDER, 5));
        assert!(asking.store.get(object(HOLDER, 5)).is_some(), "the other one holds it");
    });
}

#[test]
fn where_the_holder_cannot_be_reached_the_scheduler_can() {
    run(async {
        let (holder, asking) = holder_and_asker();
        // Nobody listens there.
        asking.roster.here(ASKER, holder.place_at(HOLDER, 1));
        holder.store.insert(HOLDER, object(HOLDER, 1), large());
        let (needs, heard) = needing(ASKER, &relay_to(&holder));
        asking.transfer.fetch(needs, object(HOLDER, 1));
        eventually("it was told", || !heard.borrow().is_empty()).await;
        assert_eq!(*heard.borrow(), [(object(HOLDER, 1), true)]);
        assert_eq!(asking.store.get(object(HOLDER, 1)), Some(large()));
    });
}

#[test]
fn a_holder_that_says_nothing_costs_a_second() {
    run(async {
        let (holder, asking) = holder_and_asker();
        let mute = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = mute.local_addr().expect("it is bound").port();
        asking.roster.here(ASKER, holder.place_at(HOLDER, port));
        let relay = relay_to(&holder);
        let began = Instant::now();
        for number in 1..=3 {
            holder.store.insert(HOLDER, object(HOLDER, number), large());
            let (needs, heard) = needing(ASKER, &relay);
            asking.transfer.fetch(needs, object(HOLDER, number));
            eventually("it was told", || !heard.borrow().is_empty()).await;
            assert_eq!(*heard.borrow(), [(object(HOLDER, number), true)]);
        }
        // The first only: after that it is known.
        assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    });
}

#[test]
fn what_is_gone_is_told() {
    run(async {
        let (holder, asking) = holder_and_asker();
        let relay = relay_to(&holder);
        let known = object(HOLDER, 1);
        let unknown = object(NodeId(77), 1);
        let of_scheduler = object(NodeId::SCHEDULER, 1);
        for object in [known, unknown, of_scheduler] {
            let (needs, heard) = needing(ASKER, &relay);
            asking.transfer.fetch(needs, object);
            eventually("it was told", || !heard.borrow().is_empty()).await;
            assert_eq!(*heard.borrow(), [(object, false)]);
        }
    });
}

#[test]
fn siblings_share() {
    run(async {
        let process = Process::start(&[HOLDER, SIBLING]);
        let (relay, relayed) = silent_relay();
        process.store.insert(HOLDER, object(HOLDER, 1), large());
        let (needs, heard) = needing(SIBLING, &relay);
        process.transfer.fetch(needs.clone(), object(HOLDER, 1));
        process.transfer.fetch(needs, object(HOLDER, 2));
        assert_eq!(*heard.borrow(), [(object(HOLDER, 1), true), (object(HOLDER, 2), false)]);
        process.transfer.forget(SIBLING);
        assert!(process.store.get(object(HOLDER, 1)).is_some());
        process.transfer.forget(HOLDER);
        assert!(process.store.get(object(HOLDER, 1)).is_none());
        assert_eq!(relayed.get(), 0);
    });
}

#[test]
fn another_asker_goes_on_when_the_first_one_leaves() {
    run(async {
        let (holder, asking) = holder_and_asker();
        asking.roster.enter(OTHER_ASKER);
        asking.roster.here(ASKER, holder.place_at(HOLDER, 1));
        holder.store.insert(HOLDER, object(HOLDER, 1), large());
        let (silent, asked) = silent_relay();
        let (first, first_heard) = needing(ASKER, &silent);
        let (second, second_heard) = needing(OTHER_ASKER, &relay_to(&holder));
        asking.transfer.fetch(first, object(HOLDER, 1));
        asking.transfer.fetch(second, object(HOLDER, 1));
        eventually("the first one asks", || asked.get() > 0).await;
        silent.close();
        asking.transfer.forget(ASKER);
        eventually("the second was told", || !second_heard.borrow().is_empty()).await;
        assert_eq!(*second_heard.borrow(), [(object(HOLDER, 1), true)]);
        assert!(first_heard.borrow().is_empty());
    });
}

#[test]
fn nothing_goes_on_for_those_who_are_gone() {
    run(async {
        let (holder, asking) = holder_and_asker();
        asking.roster.here(ASKER, holder.place_at(HOLDER, 1));
        let (silent, asked) = silent_relay();
        let (needs, heard) = needing(ASKER, &silent);
        asking.transfer.fetch(needs, object(HOLDER, 1));
        eventually("it asks", || asked.get() > 0).await;
        asking.transfer.forget(ASKER);
        assert!(asking.transfer.fetches.borrow().is_empty());
        tokio::task::yield_now().await;
        assert!(heard.borrow().is_empty());
        assert_eq!(asking.transfer.at_once.available_permits(), MAX_FETCHES);
    });
}

#[test]
fn objects_are_given_only_to_those_who_are_there() {
    run(async {
        let (holder, asking) = holder_and_asker();
        let copy = object(NodeId(55), 1);
        holder.store.insert(HOLDER, copy, large());
        let read = |object| Read { request: 3, object, offset: 0 };
        // The scheduler asks for those alone that it knows to be this node's.
        assert_eq!(holder.transfer.answer(read(copy)).content, None);

        holder.store.insert(HOLDER, object(HOLDER, 1), large());
        let mut line = knock(&asking, &holder, Side::Fetcher).await.expect("its key is known");
        holder.roster.gone(HOLDER, ASKER);
        is_cut(&mut line).await;
        assert!(knock(&asking, &holder, Side::Fetcher).await.is_none(), "nobody knows it any more");
    });
}

#[test]
fn a_door_is_for_those_who_fetch() {
    run(async {
        let (holder, asking) = holder_and_asker();
        for side in [Side::Client, Side::Node, Side::Operator] {
            assert!(knock(&asking, &holder, side).await.is_none(), "{side}");
        }
        let mut line = knock(&asking, &holder, Side::Fetcher).await.expect("its key is known");
        // A frame of 4 GiB, it says.
        line.write_all(&(4_u64 << 30).to_le_bytes()).await.expect("it is open");
        is_cut(&mut line).await;
        let mut stranger =
            TcpStream::connect(("127.0.0.1", holder.port)).await.expect("it listens");
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("it is open");
        is_cut(&mut stranger).await;
    });
}

#[test]
fn a_line_that_ended_meanwhile_is_made_anew() {
    run(async {
        let (holder, asking) = holder_and_asker();
        let (relay, relayed) = silent_relay();
        for number in 1..=3 {
            holder.store.insert(HOLDER, object(HOLDER, number), large());
            let (needs, heard) = needing(ASKER, &relay);
            asking.transfer.fetch(needs, object(HOLDER, number));
            eventually("it was told", || !heard.borrow().is_empty()).await;
            assert_eq!(*heard.borrow(), [(object(HOLDER, number), true)]);
            holder.roster.gone(HOLDER, ASKER);
            holder.roster.here(HOLDER, asking.place(ASKER));
        }
        assert_eq!(relayed.get(), 0);
    });
}

/// Dials a door with the key of a process that it knows.
async fn knock(dialing: &Process, door: &Process, side: Side) -> Option<Secured<TcpStream>> {
    let config = tls::dialing(&dialing.key, Pin::Key(door.key.public()), Purpose::Main);
    let stream = TcpStream::connect(("127.0.0.1", door.port)).await.expect("it listens");
    let mut stream = tls::connect(config, stream).await.ok()?;
    // Not by `greet_scheduler`, which would see by itself that sides do not fit.
    let mut greeting = [0; GREETING_BYTES];
    stream.read_exact(&mut greeting).await.ok()?;
    stream.write_all(&Greeting::own(side, None).encode()).await.ok()?;
    if side == Side::Fetcher {
        return Some(stream);
    }
    is_cut(&mut stream).await;
    None
}

/// Waits until the other side closes a connection without having said anything.
async fn is_cut(stream: &mut (impl AsyncRead + Unpin)) {
    let mut bytes = [0; 64];
    loop {
        let read = tokio::time::timeout(SOON, stream.read(&mut bytes)).await;
        match read.expect("it is cut at once") {
            // An alert of TLS is all that a stranger may hear.
            Ok(length) if length > 0 => assert_eq!(bytes[0], 21),
            Ok(_) | Err(_) => return,
        }
    }
}

#[test]
fn a_key_holds_as_long_as_one_of_its_nodes_is_there() {
    let roster = Roster::new();
    let key = KeyPair::generate().expect("the system is random").public();
    let place = |node, port: u16| NodePlace {
        node,
        key: *key.as_bytes(),
        addresses: vec![format!("127.0.0.1:{port}").into()],
    };
    roster.enter(ASKER);
    roster.enter(OTHER_ASKER);
    roster.here(ASKER, place(HOLDER, 1));
    roster.here(OTHER_ASKER, place(HOLDER, 1));
    roster.here(ASKER, place(SIBLING, 1));
    roster.here(ASKER, place(HOLDER, 2));
    let is_known = || roster.keys().roles_of(&key).is_some();
    roster.gone(ASKER, SIBLING);
    assert!(is_known());
    roster.gone(ASKER, HOLDER);
    assert!(!is_known());
    roster.here(ASKER, place(HOLDER, 1));
    roster.here(OTHER_ASKER, place(HOLDER, 1));
    roster.leave(ASKER);
    assert!(is_known());
    roster.leave(OTHER_ASKER);
    assert!(!is_known());
}

/// A source that says what it likes.
struct Liar {
    asked: u64,
    total_bytes: u64,
    bytes: usize,
    open: Vec<Read>,
}

impl Pieces for Liar {
    fn next_request(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }

    fn ask(&mut self, read: Read) {
        self.open.push(read);
        assert!(self.open.len() <= WINDOW);
    }

    fn find(&mut self, find: Find) {
        panic!("{find:?}");
    }

    fn heard(&self) -> u64 {
        self.asked
    }

    async fn next(&mut self) -> Option<Answer> {
        let read = self.open.remove(0);
        let bytes = Bytes::from(vec![0; self.bytes]);
        let content = Some(Content { total_bytes: self.total_bytes, bytes });
        self.total_bytes += u64::from(self.asked > 9);
        Some(Answer::Piece(Piece { request: read.request, content }))
    }
}

#[test]
fn what_makes_no_sense_is_not_taken() {
    run(async {
        let gathered_of = async |mut liar: Liar| {
            let gathering = Gathering::default();
            let wanted = Wanted { object: object(HOLDER, 1), gathering: &gathering, seeking: None };
            (pull::pull(&mut liar, wanted, Patience::RELAY).await, gathering.whole())
        };
        let huge = u64::MAX;
        for (total_bytes, bytes) in [(huge, 7), (5, 7), (0, 0), (huge, PIECE_BYTES + 1)] {
            let liar = Liar { asked: 0, total_bytes, bytes, open: Vec::new() };
            let gathered = gathered_of(liar).await;
            assert_eq!(gathered, (Outcome::Failed, None), "{total_bytes} {bytes}");
        }
        // Its size changes on the way.
        let total_bytes = 100 * PIECE_BYTES as u64;
        let liar = Liar { asked: 0, total_bytes, bytes: PIECE_BYTES, open: Vec::new() };
        assert_eq!(gathered_of(liar).await, (Outcome::Failed, None));
    });
}

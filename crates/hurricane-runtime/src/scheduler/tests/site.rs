//! What the tests of a scheduler have in common: one that runs, and members that say what a test
//! has them say.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hurricane_core::frame::{self, Decoder};
use hurricane_core::id::BootId;
use hurricane_core::id::{Attempt, DefinitionNumber, NodeId, Number, TaskId};
use hurricane_core::member::{
    Answer, FromClient, FromNode, NodeDescription, Request, ToClient, ToNode,
};
use hurricane_core::message::{
    ClientToScheduler, Definition, NodeToScheduler, SchedulerToClient, SchedulerToNode,
};
use hurricane_core::resources::{Amount, Resources};
use rustls::ClientConfig;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::super::{Report, Server, ServerConfig};
use crate::dialing::{DialError, Dialed, Reached};
use crate::enrolment::{Application, EnrolmentError, enrol};
use crate::framed::BoxedStream;
use crate::greeting::{Greeting, Side, greet_scheduler};
use crate::identity::{KeyPair, Name, PublicKey, Roles, State};
use crate::platform::directories::Scratch;
use crate::platform::local_socket;
use crate::ticket::Ticket;
use crate::tls::{Pin as Pinned, Purpose, connect, dialing};
use crate::uplink::{Dialing, Event, Uplink};

/// Longer than anything takes on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// The minor version of Python that everybody has in these tests.
pub(super) const PYTHON: u8 = 11;

/// Runs a test where tasks of one thread run.
pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("there are descriptors"), test);
}

/// Waits for a condition.
pub(super) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for something that comes.
pub(super) async fn soon<T>(what: &str, coming: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(SOON, coming).await;
    came.unwrap_or_else(|_| panic!("never came: {what}"))
}

/// A scheduler, and where its keys are.
pub(super) struct Site {
    pub(super) server: Server,
    pub(super) state: State,
    pub(super) reports: Arc<Mutex<Vec<String>>>,
    _scratch: Scratch,
}

impl Site {
    pub(super) fn new(test: &str) -> Self {
        let scratch = Scratch::new(&format!("scheduler-{test}"));
        let state = State::open_at(scratch.0.clone()).expect("nothing is in the way");
        let reports = Arc::default();
        let server = start(&state, 0, Arc::clone(&reports));
        Self { server, state, reports, _scratch: scratch }
    }

    /// Ends it, and starts another with the same keys on the same port.
    pub(super) fn restart(&mut self) {
        let port = self.server.port();
        self.server.stop();
        self.server = start(&self.state, port, Arc::clone(&self.reports));
    }

    pub(super) fn key(&self) -> PublicKey {
        let cluster = self.state.cluster(&name()).expect("it is there");
        cluster.key().expect("it is there").public()
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.addresses()[0]
    }

    pub(super) fn reported(&self, text: &str) -> bool {
        let reports = self.reports.lock().expect("no test panicked with it");
        reports.iter().any(|report| report.contains(text))
    }

    pub(super) fn invite(&self, roles: Roles) -> Ticket {
        self.server.invite(1, Duration::from_mins(1), roles).expect("there are few")
    }

    /// A new machine with these roles.
    pub(super) async fn machine(&self, name: &str, roles: Roles) -> Machine {
        let machine = self.stranger();
        // From an address of its own: one source has few tries.
        let source = Ipv4Addr::new(127, 1, 0, u8::try_from(new_id() >> 32).expect("they are few"));
        let ticket = self.invite(roles);
        machine.enrol_from(source, &ticket, name).await.expect("it is invited");
        machine
    }

    /// A machine that nobody knows.
    pub(super) fn stranger(&self) -> Machine {
        let key = KeyPair::generate().expect("the system is random");
        let config = dialing(&key, Pinned::Key(self.key()), Purpose::Main);
        Machine { key, address: self.address(), config, cut: Rc::default() }
    }

    /// This host's way in.
    pub(super) fn here(&self) -> Here {
        Here { port: self.server.port() }
    }
}

pub(super) fn name() -> Name {
    Name::near("lab")
}

fn start(state: &State, port: u16, reports: Arc<Mutex<Vec<String>>>) -> Server {
    let config = ServerConfig {
        name: name(),
        port,
        bind: vec![Ipv4Addr::LOCALHOST.into()],
        state: state.clone(),
        python_minor: Some(PYTHON),
    };
    let report = move |report: Report| {
        reports.lock().expect("no test panicked with it").push(format!("{report:?}"));
    };
    Server::start(config, Box::new(report)).expect("the port is free")
}

/// How a test's member gets to the scheduler.
pub(super) trait Way: Clone + 'static {
    fn dial(self, side: Side) -> Pin<Box<dyn Future<Output = Result<Dialed, DialError>>>>;
}

/// Over the unix socket.
#[derive(Clone)]
pub(super) struct Here {
    port: u16,
}

impl Way for Here {
    fn dial(self, side: Side) -> Dialing {
        Box::pin(async move {
            let path = local_socket::path(self.port);
            let Ok(mut stream) = UnixStream::connect(&path).await else {
                return Err(DialError::NotHere { port: self.port });
            };
            let greeted = greet_scheduler(&mut stream, &Greeting::own(side, Some(PYTHON))).await;
            greeted.map_err(|error| DialError::Greeting { address: "here".into(), error })?;
            Ok(Dialed { stream: Box::new(stream), reached: Reached::Here(path) })
        })
    }
}

/// A machine with a key.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) key: KeyPair,
    pub(super) address: SocketAddr,
    config: Arc<ClientConfig>,
    /// The connection that was made last, to be cut.
    cut: Rc<RefCell<Option<std::net::TcpStream>>>,
}

impl Machine {
    pub(super) async fn enrol(&self, ticket: &Ticket, name: &str) -> Result<(), EnrolmentError> {
        self.enrol_from(Ipv4Addr::LOCALHOST, ticket, name).await
    }

    async fn enrol_from(
        &self,
        source: Ipv4Addr,
        ticket: &Ticket,
        name: &str,
    ) -> Result<(), EnrolmentError> {
        let application = Application {
            key: &self.key,
            ticket,
            roles: ticket.roles,
            wanted_name: &Name::near(name),
            greeting: Greeting::own(Side::Node, Some(PYTHON)),
        };
        let socket = TcpSocket::new_v4().expect("there are descriptors");
        socket.bind((source, 0).into()).expect("it is of this host");
        let stream = socket.connect(self.address).await.expect("it listens");
        enrol(stream, &application).await.map(|_| ())
    }

    /// Cuts the connection that was made last.
    pub(super) fn cut(&self) {
        let stream = self.cut.borrow_mut().take().expect("there was one");
        stream.shutdown(std::net::Shutdown::Both).expect("it is open");
    }

    /// A connection on which both sides have greeted.
    pub(super) async fn greet(&self, greeting: Greeting) -> Result<BoxedStream, DialError> {
        let address = || "there".into();
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        let stream = stream.into_std().expect("it is a socket");
        *self.cut.borrow_mut() = Some(stream.try_clone().expect("there are descriptors"));
        let stream = TcpStream::from_std(stream).expect("it is a socket");
        let secured = connect(Arc::clone(&self.config), stream).await;
        let mut secured =
            secured.map_err(|error| DialError::Handshake { address: address(), error })?;
        let greeted = greet_scheduler(&mut secured, &greeting).await;
        greeted.map_err(|error| DialError::Greeting { address: address(), error })?;
        Ok(Box::new(secured))
    }
}

impl Way for Machine {
    fn dial(self, side: Side) -> Dialing {
        Box::pin(async move {
            let stream = self.greet(Greeting::own(side, Some(PYTHON))).await?;
            Ok(Dialed { stream, reached: Reached::At(self.address) })
        })
    }
}

/// Asks one question.
pub(super) async fn ask(way: impl Way, request: &Request) -> Answer {
    let dialed = soon("a connection", way.dial(Side::Operator)).await.expect("it is let in");
    ask_over(dialed.stream, request).await
}

pub(super) async fn ask_over(mut stream: BoxedStream, request: &Request) -> Answer {
    let mut bytes = Vec::new();
    frame::encode(request, &mut bytes);
    stream.write_all(&bytes).await.expect("it is open");
    let mut decoder = Decoder::new(1 << 20);
    let answer = async {
        loop {
            if let Some(answer) = decoder.next_message().expect("it is an answer") {
                return answer;
            }
            let read = stream.read_buf(decoder.buffer()).await.expect("it is open");
            assert!(read > 0, "no answer came");
        }
    };
    soon("an answer", answer).await
}

/// A member that says and hears what the test does.
pub(super) struct Member<M> {
    pub(super) uplink: Uplink<M>,
    events: Rc<RefCell<VecDeque<Event<M>>>>,
    arrived: Rc<Notify>,
}

impl<M: DeserializeOwned + std::fmt::Debug + 'static> Member<M> {
    pub(super) fn start(way: &impl Way, side: Side) -> Self {
        let boot = BootId(new_id());
        let way = way.clone();
        let dial = move || way.clone().dial(side);
        let (events, arrived) = (Rc::<RefCell<VecDeque<_>>>::default(), Rc::<Notify>::default());
        let (told, tell) = (Rc::clone(&events), Rc::clone(&arrived));
        let tell = move |event| {
            told.borrow_mut().push_back(event);
            tell.notify_one();
        };
        let uplink = Uplink::start_with(Box::new(dial), boot, Box::new(tell));
        Self { uplink, events, arrived }
    }

    /// What happens next.
    pub(super) async fn event(&self) -> Event<M> {
        let next = async {
            loop {
                if let Some(event) = self.events.borrow_mut().pop_front() {
                    return event;
                }
                self.arrived.notified().await;
            }
        };
        soon("an event", next).await
    }

    /// The next message.
    pub(super) async fn message(&self) -> M {
        loop {
            match self.event().await {
                Event::Message(message) => return message,
                Event::Ended(reason) => panic!("the session ended: {reason}"),
                _ => {}
            }
        }
    }

    /// Why the session ends.
    pub(super) async fn end(&self) -> String {
        loop {
            if let Event::Ended(reason) = self.event().await {
                return reason.to_string();
            }
        }
    }

    /// Why it is not reached.
    pub(super) async fn not_reached(&self) -> String {
        loop {
            if let Event::NotReached(error) = self.event().await {
                return error.to_string();
            }
        }
    }
}

fn new_id() -> u64 {
    thread_local!(static LAST: Cell<u64> = const { Cell::new(0) });
    LAST.set(LAST.get() + 1);
    // Tests of one process may share a scheduler's unix socket by their port only.
    LAST.get() << 32 | u64::from(std::process::id())
}

/// A node.
pub(super) type Node = Member<ToNode>;

impl Node {
    pub(super) fn node(way: &impl Way) -> Self {
        Self::start(way, Side::Node)
    }

    /// Joins with so many cpus; what it is called.
    pub(super) async fn join(&self, cpus: u64) -> (NodeId, Box<str>) {
        self.uplink.send(&FromNode::Join(description(cpus)));
        match self.message().await {
            ToNode::Joined { node, name, .. } => (node, name),
            other => panic!("{other:?}"),
        }
    }

    /// The next task.
    pub(super) async fn task(&self) -> (TaskId, Attempt) {
        loop {
            if let ToNode::Scheduling(SchedulerToNode::Assign { task, attempt, .. }) =
                self.message().await
            {
                return (task, attempt);
            }
        }
    }

    pub(super) fn say(&self, message: NodeToScheduler) {
        self.uplink.send(&FromNode::Scheduling(message));
    }
}

pub(super) fn description(cpus: u64) -> NodeDescription {
    NodeDescription {
        resources: Resources { cpus: Amount::whole(cpus), ..Resources::default() },
        key: [7; 32],
        addresses: vec!["10.1.2.3:4444".into()],
        port: 4444,
        host: "host/1".into(),
    }
}

/// A client.
pub(super) type Client = Member<ToClient>;

impl Client {
    pub(super) fn client(way: &impl Way) -> Self {
        let client = Self::start(way, Side::Client);
        let resources = Resources { cpus: Amount::whole(1), ..Resources::default() };
        let definition = Definition {
            function: "function".into(),
            name: "function".into(),
            resources,
            retries: 0,
            timeout: None,
            priority: 0,
        };
        let definition = Box::new(definition);
        client.say(ClientToScheduler::Define { number: DefinitionNumber(1), definition });
        client
    }

    pub(super) fn say(&self, message: ClientToScheduler) {
        self.uplink.send(&FromClient::Scheduling(message));
    }

    pub(super) fn submit(&self, number: u64) {
        self.say(ClientToScheduler::Submit {
            number: Number(number),
            definition: DefinitionNumber(1),
            arguments: "arguments".into(),
            dependencies: Vec::new(),
        });
    }

    /// Hears that it is a client.
    pub(super) async fn answer_to_nothing(&self) {
        let message = self.message().await;
        assert!(matches!(message, ToClient::Scheduling(SchedulerToClient::Allowance(_))));
    }

    /// What comes that is not about the allowance or what tasks wait for.
    pub(super) async fn answer(&self) -> ToClient {
        loop {
            match self.message().await {
                ToClient::Scheduling(
                    SchedulerToClient::Allowance(_) | SchedulerToClient::Stalled(_),
                ) => {}
                other => return other,
            }
        }
    }
}

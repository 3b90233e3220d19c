//! Dialing over loopback: a scheduler's door, other things that listen on ports, and nobody.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::greeting::{GreetingError, Side, greet_dialer};
use crate::identity::{KeyPair, Name, Roles};
use crate::platform::directories::Scratch;
use crate::tls::{Accepted, AuthorizedKeys, Doors, HandshakeError};

/// Longer than anything takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A port of this host on which something listens until this is dropped.
struct Listening {
    address: SocketAddr,
    answering: JoinHandle<()>,
}

impl Listening {
    async fn start<F>(answer: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let answering = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
        Self { address, answering }
    }

    /// A scheduler with a key that lets some keys in.
    async fn scheduler(key: &KeyPair, authorized: AuthorizedKeys, greeting: Greeting) -> Self {
        let doors = Doors::new(key, authorized);
        Self::start(move |stream| {
            let doors = doors.clone();
            async move {
                let Ok(Accepted::Member { mut stream, .. }) = doors.accept(stream, false).await
                else {
                    return;
                };
                if greet_dialer(&mut stream, &greeting).await.is_ok() {
                    // Stays until the other side leaves.
                    let _ = stream.read(&mut [0]).await;
                }
            }
        })
        .await
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

fn scheduler_greeting() -> Greeting {
    Greeting::own(Side::Scheduler, Some(11))
}

/// This machine, and a cluster that it is a member of.
struct Case {
    cluster: KeyPair,
    authorized: AuthorizedKeys,
    state: State,
    _scratch: Scratch,
}

impl Case {
    fn new(test: &str) -> Self {
        let scratch = Scratch::new(&format!("dialing-{test}"));
        let state = State::open_at(scratch.0.clone()).expect("nothing is in the way");
        let machine = state.machine_key().expect("it can be made").public();
        Self {
            cluster: KeyPair::generate().expect("the system is random"),
            authorized: AuthorizedKeys::from_iter([(machine, Roles::ALL)]),
            state,
            _scratch: scratch,
        }
    }

    async fn scheduler(&self) -> Listening {
        Listening::scheduler(&self.cluster, self.authorized.clone(), scheduler_greeting()).await
    }

    /// As it was enrolled when the scheduler was on a port on which nobody listens now.
    fn membership(&self, last_address: Option<SocketAddr>) -> Membership {
        Membership {
            scheduler: self.cluster.public(),
            cluster: Name::near("lab"),
            port: 1,
            name: Name::near("rack"),
            roles: Roles::ALL,
            last_address,
        }
    }

    fn dialer(&self, membership: Membership, address: Option<String>) -> Rc<Dialer> {
        let target = Target::Member(Box::new(membership));
        let choice = Choice { address, ..Choice::default() };
        let greeting = Greeting::own(Side::Node, Some(11));
        Dialer::new(&self.state, target, &choice, greeting).expect("the choice is right")
    }

    /// Dials an address that the user chose.
    async fn dial(&self, address: SocketAddr) -> Result<Reached, DialError> {
        dial(&self.dialer(self.membership(None), Some(address.to_string()))).await
    }
}

async fn dial(dialer: &Dialer) -> Result<Reached, DialError> {
    let ended = timeout(SOON, dialer.dial()).await.expect("every dial ends");
    ended.map(|dialed| dialed.reached)
}

/// A port on which nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback is there");
    listener.local_addr().expect("it is bound")
}

#[tokio::test]
async fn a_chosen_address_is_dialed_and_remembered() {
    let case = Case::new("chosen");
    let scheduler = case.scheduler().await;
    case.state.remember(&case.membership(None)).expect("there is space");
    let reached = case.dial(scheduler.address).await.expect("it is there");
    assert_eq!(reached, Reached::At(scheduler.address));
    let remembered = case.state.memberships().expect("it is there");
    assert_eq!(remembered[0].last_address, Some(scheduler.address));
}

#[tokio::test]
async fn a_chosen_name_is_looked_up() {
    let case = Case::new("name");
    let scheduler = case.scheduler().await;
    let address = format!("localhost:{}", scheduler.address.port());
    let reached = dial(&case.dialer(case.membership(None), Some(address))).await;
    assert_eq!(reached.expect("it is there"), Reached::At(scheduler.address));
}

#[tokio::test]
async fn where_it_was_last_and_this_host_need_no_choice() {
    let case = Case::new("last");
    let scheduler = case.scheduler().await;
    let last = dial(&case.dialer(case.membership(Some(scheduler.address)), None)).await;
    assert_eq!(last.expect("it is there"), Reached::At(scheduler.address));
    let here = Membership { port: scheduler.address.port(), ..case.membership(None) };
    let here = dial(&case.dialer(here, None)).await;
    assert_eq!(here.expect("it is there"), Reached::At(scheduler.address));
}

#[tokio::test]
async fn s4_another_cluster_at_one_address_means_that_the_next_is_tried() {
    let (case, other) = (Case::new("next"), Case::new("next-other"));
    let (scheduler, another) = (case.scheduler().await, other.scheduler().await);
    let dialer =
        case.dialer(case.membership(Some(scheduler.address)), Some(another.address.to_string()));
    assert_eq!(dial(&dialer).await.expect("it is there"), Reached::At(scheduler.address));
}

#[tokio::test]
async fn s4_another_cluster_is_told() {
    let (case, other) = (Case::new("another"), Case::new("another-other"));
    let another = other.scheduler().await;
    let error = case.dial(another.address).await.expect_err("it is another");
    let expected = format!(
        "at `{}`: the scheduler there belongs to another cluster: its key is not the expected one",
        another.address
    );
    assert_eq!(error.to_string(), expected);
    assert!(!error.is_refusal());
}

#[tokio::test]
async fn who_is_not_let_in_is_told_and_asks_rarely() {
    let case = Case::new("refused");
    let machine = case.state.machine_key().expect("it is there").public();
    case.authorized.remove(&machine);
    let scheduler = case.scheduler().await;
    let dialer = case.dialer(case.membership(None), Some(scheduler.address.to_string()));
    let error = dial(&dialer).await.expect_err("its key was revoked");
    assert!(error.is_refusal(), "{error}");
    assert!(error.to_string().contains("does not let this machine in"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("hurricane invite")));
    // Nothing is dialed soon after that, though it would be let in now.
    case.authorized.insert(machine, Roles::ALL);
    let again = dial(&dialer).await.expect_err("it is too early");
    assert_eq!(again.to_string(), error.to_string());
}

#[tokio::test]
async fn other_versions_are_told() {
    let case = Case::new("versions");
    let newer = Greeting { protocol: 9999, ..scheduler_greeting() };
    let python = Greeting::own(Side::Scheduler, Some(12));
    for (greeting, told) in
        [(newer, "(protocol 9999)"), (python, "this is Python 3.11, and the scheduler runs")]
    {
        let authorized = case.authorized.clone();
        let scheduler = Listening::scheduler(&case.cluster, authorized, greeting).await;
        let error = case.dial(scheduler.address).await.expect_err("they do not fit");
        assert!(error.to_string().contains(told), "{error}");
        assert!(error.is_refusal() && error.hint().is_some(), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_scheduler_is_told() {
    let case = Case::new("http");
    let server = Listening::start(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let error = case.dial(server.await.address).await.expect_err("it speaks HTTP");
    let is_told = matches!(
        &error,
        DialError::Handshake { error: HandshakeError::NotHurricane | HandshakeError::Cut(_), .. }
    );
    assert!(is_told, "{error:?}");
}

#[tokio::test]
async fn who_says_nothing_holds_nobody_up() {
    let case = Case::new("silent");
    let silent = Listening::start(|stream| async move {
        let _kept = stream;
        tokio::time::sleep(SOON).await;
    });
    let silent = silent.await;
    let began = Instant::now();
    let error = case.dial(silent.address).await.expect_err("nobody answers");
    assert!(matches!(&error, DialError::Unreachable { .. }), "{error:?}");
    assert!(began.elapsed() < DIAL_EVERY * 4, "a session would not hear of it");
    // Nor is one that answers found later for it.
    let scheduler = case.scheduler().await;
    let chosen = Some(silent.address.to_string());
    let dialer = case.dialer(case.membership(Some(scheduler.address)), chosen);
    assert_eq!(dial(&dialer).await.expect("it is there"), Reached::At(scheduler.address));
}

#[tokio::test]
async fn a_scheduler_that_is_nowhere_is_a_sentence() {
    let case = Case::new("nowhere");
    let error = dial(&case.dialer(case.membership(None), None)).await.expect_err("it is not there");
    assert_eq!(error.to_string(), "the scheduler of `lab` was not found");
    assert!(error.hint().is_some_and(|hint| hint.contains("`--address HOST`")), "{error:?}");
    let nobody = nobody().await;
    let error = case.dial(nobody).await.expect_err("nobody is there");
    assert_eq!(error.to_string(), format!("`{nobody}` cannot be reached"));
    let unknown = Some("no-such-machine.invalid".to_owned());
    let error = dial(&case.dialer(case.membership(None), unknown)).await.expect_err("no such name");
    assert_eq!(error.to_string(), "`no-such-machine.invalid` cannot be reached");
}

#[tokio::test]
async fn a_scheduler_that_comes_is_found_by_the_next_dial() {
    let case = Case::new("late");
    let address = nobody().await;
    let dialer = case.dialer(case.membership(None), Some(address.to_string()));
    dial(&dialer).await.expect_err("nobody is there");
    let listener = TcpListener::bind(address).await.expect("the port was free a moment ago");
    let doors = Doors::new(&case.cluster, case.authorized.clone());
    let answering = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("somebody dials");
        let Ok(Accepted::Member { mut stream, .. }) = doors.accept(stream, false).await else {
            panic!("it is a member")
        };
        greet_dialer(&mut stream, &scheduler_greeting()).await.expect("they fit");
    });
    dial(&dialer).await.expect("it is there now");
    answering.await.expect("it answered");
}

#[tokio::test]
async fn here_is_a_unix_socket() {
    let scratch = Scratch::new("dialing-here");
    std::fs::create_dir(&scratch.0).expect("the name is free");
    let path = scratch.0.join("socket");
    let greeting = Greeting::own(Side::Client, Some(11));
    let error = attempt::unix(&path, &greeting, 7).await.map(|_| ()).expect_err("nobody is there");
    assert_eq!(error.to_string(), "no scheduler of this user runs on port 7 of this host");
    let listener = UnixListener::bind(&path).expect("the name is free");
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("somebody dials");
        greet_dialer(&mut stream, &scheduler_greeting()).await
    });
    let dialed = attempt::unix(&path, &greeting, 7).await.expect("it is there");
    assert_eq!(dialed.reached, Reached::Here(path));
    let greeted: Result<Greeting, GreetingError> = answering.await.expect("it answered");
    assert_eq!(greeted.expect("they fit").side, Side::Client);
}

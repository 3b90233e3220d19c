//! Handshakes over loopback: who comes in, who does not, and what each side is told.

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::greeting::{Greeting, GreetingError, Side, greet_dialer, greet_scheduler};
use crate::identity::Roles;

fn key() -> KeyPair {
    KeyPair::generate().expect("the system is random")
}

/// Two ends of a connection: dialed and accepted.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback is there");
    let address = listener.local_addr().expect("it is bound");
    let (dialed, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (dialed.expect("it listens"), accepted.expect("somebody dialed").0)
}

/// A cluster with one member.
struct Cluster {
    scheduler: KeyPair,
    member: KeyPair,
    authorized: AuthorizedKeys,
}

impl Cluster {
    fn new() -> Self {
        let (scheduler, member) = (key(), key());
        let authorized = AuthorizedKeys::from_iter([(member.public(), Roles::NODE)]);
        Self { scheduler, member, authorized }
    }

    fn doors(&self) -> Doors {
        Doors::new(&self.scheduler, self.authorized.clone())
    }

    fn dialing(&self, own: &KeyPair) -> Arc<ClientConfig> {
        dialing(own, Pin::Key(self.scheduler.public()), Purpose::Main)
    }

    /// What both sides make of a connection dialed in a certain way, up to the greetings.
    async fn meet(
        &self,
        config: Arc<ClientConfig>,
    ) -> (Result<Greeting, GreetingError>, Result<Greeting, GreetingError>) {
        let (dialed, accepted) = pair().await;
        let dialing = async {
            let mut stream = connect(config, dialed).await?;
            greet_scheduler(&mut stream, &Greeting::own(Side::Node, Some(11))).await
        };
        let doors = self.doors();
        let answering = async {
            match doors.accept(accepted, false).await? {
                Accepted::Member { mut stream, .. } => {
                    greet_dialer(&mut stream, &Greeting::own(Side::Scheduler, Some(11))).await
                }
                Accepted::Joiner(_) => unreachable!("nobody is invited"),
            }
        };
        tokio::join!(dialing, answering)
    }

    /// What the scheduler makes of bytes that somebody sent, and what came back.
    async fn answer_to(&self, sent: &[u8]) -> (HandshakeError, Vec<u8>) {
        let (mut dialed, accepted) = pair().await;
        let doors = self.doors();
        let dialing = async {
            // May fail when the scheduler has heard enough.
            let _ = dialed.write_all(sent).await;
            let _ = dialed.shutdown().await;
            let mut answer = Vec::new();
            match dialed.read_to_end(&mut answer).await {
                Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
                Ok(_) | Err(_) => answer,
            }
        };
        let (answer, accepted) = tokio::join!(dialing, async {
            doors.accept(accepted, true).await.expect_err("it is no handshake")
        });
        (accepted, answer)
    }
}

/// The beginning of a handshake of TLS 1.2, as a program from before 2018 sends it.
fn hello_of_tls_1_2() -> Vec<u8> {
    let suites = [0xc0, 0x2b, 0xc0, 0x2f, 0x00, 0x9c];
    // Signature algorithms and groups, without which not even a TLS 1.2 client is heard out.
    let extensions = [0, 13, 0, 4, 0, 2, 4, 3, 0, 10, 0, 4, 0, 2, 0, 23];
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 6]);
    hello.extend(suites);
    hello.extend([1, 0, 0, 16]);
    hello.extend(extensions);
    let length = u8::try_from(hello.len()).expect("it is short");
    let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    record
}

#[tokio::test]
async fn members_come_in_and_both_know_each_other() {
    let cluster = Cluster::new();
    let (dialed, accepted) = pair().await;
    let doors = cluster.doors();
    let dialing = connect(cluster.dialing(&cluster.member), dialed);
    let (dialed, accepted) = tokio::join!(dialing, doors.accept(accepted, false));
    let dialed = dialed.expect("it is a member");
    let Ok(Accepted::Member { stream, key }) = accepted else { panic!("{accepted:?}") };
    assert_eq!(key, cluster.member.public());
    assert_eq!(peer_key(&dialed), Some(cluster.scheduler.public()));
    let export = |stream| exporter(stream, b"EXPORTER-test").expect("the handshake has ended");
    assert_eq!(export(&dialed), export(&stream));
}

#[tokio::test]
async fn members_greet() {
    let cluster = Cluster::new();
    let (node, scheduler) = cluster.meet(cluster.dialing(&cluster.member)).await;
    assert_eq!(node.expect("versions fit").side, Side::Scheduler);
    assert_eq!(scheduler.expect("versions fit").side, Side::Node);
}

#[tokio::test]
async fn s3_an_unknown_key_is_refused_and_told() {
    let cluster = Cluster::new();
    let (node, scheduler) = cluster.meet(cluster.dialing(&key())).await;
    let node = node.expect_err("the key is unknown");
    assert!(matches!(node, GreetingError::Handshake(HandshakeError::NotAuthorized)), "{node:?}");
    let scheduler = scheduler.expect_err("the key is unknown");
    // The connection ended in the handshake: there was nothing to read from.
    assert!(
        matches!(scheduler, GreetingError::Handshake(HandshakeError::UnknownKey)),
        "{scheduler:?}"
    );
}

#[tokio::test]
async fn s9_a_revoked_key_does_not_return() {
    let cluster = Cluster::new();
    cluster.authorized.remove(&cluster.member.public());
    let (node, _) = cluster.meet(cluster.dialing(&cluster.member)).await;
    let node = node.expect_err("the key was revoked");
    assert!(matches!(node, GreetingError::Handshake(HandshakeError::NotAuthorized)), "{node:?}");
}

#[tokio::test]
async fn s4_another_clusters_scheduler_is_not_taken() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let pinned = dialing(&cluster.member, Pin::Key(other.scheduler.public()), Purpose::Main);
    let (node, scheduler) = cluster.meet(pinned).await;
    let node = node.expect_err("the pin does not hold");
    assert!(matches!(node, GreetingError::Handshake(HandshakeError::WrongScheduler)), "{node:?}");
    let scheduler = scheduler.expect_err("the pin does not hold");
    assert!(
        matches!(scheduler, GreetingError::Handshake(HandshakeError::ExpectedAnother)),
        "{scheduler:?}"
    );
}

#[tokio::test]
async fn nobody_enrols_uninvited() {
    let cluster = Cluster::new();
    let pin = Pin::Fingerprint(cluster.scheduler.public().fingerprint());
    let (node, scheduler) = cluster.meet(dialing(&key(), pin, Purpose::Enrolment)).await;
    let node = node.expect_err("nobody is invited");
    assert!(matches!(node, GreetingError::Handshake(HandshakeError::NoInvitation)), "{node:?}");
    let scheduler = scheduler.expect_err("nobody is invited");
    assert!(
        matches!(scheduler, GreetingError::Handshake(HandshakeError::NotInvited)),
        "{scheduler:?}"
    );
}

#[tokio::test]
async fn s3_other_protocols_are_refused() {
    let cluster = Cluster::new();
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    let garbage: Vec<u8> = (0..4000_u32).map(|number| (number * 151 % 251) as u8).collect();
    for sent in [http, garbage, hello_of_tls_1_2()] {
        let (error, _) = cluster.answer_to(&sent).await;
        assert!(matches!(error, HandshakeError::NotHurricane), "{error:?} to {sent:?}");
    }
}

#[tokio::test]
async fn tls_1_2_is_answered_with_an_alert() {
    let (_, answer) = Cluster::new().answer_to(&hello_of_tls_1_2()).await;
    // A fatal alert: the version of the protocol, or an extension that came with TLS 1.3.
    assert!(matches!(answer[..], [0x15, 3, _, 0, 2, 2, 70 | 109 | 40]), "{answer:?}");
}

#[tokio::test]
async fn s12_little_is_read_before_the_handshake_ends() {
    // A first message that claims to be long, in records of ordinary size.
    let mut sent = vec![0x16, 3, 1, 0x3f, 0xff, 1, 0, 0xff, 0xff];
    sent.resize(16_000, 0);
    let (mut dialed, accepted) = pair().await;
    let doors = Cluster::new().doors();
    let (_, error) = tokio::join!(dialed.write_all(&sent), async {
        doors.accept(accepted, true).await.expect_err("it never ends")
    });
    assert!(matches!(error, HandshakeError::TooMuch), "{error:?}");
}

#[tokio::test]
async fn a_scheduler_that_is_something_else_is_named() {
    let cluster = Cluster::new();
    let (dialed, mut accepted) = pair().await;
    let config = cluster.dialing(&cluster.member);
    let (error, answered) = tokio::join!(
        async { connect(config, dialed).await.expect_err("it is no scheduler") },
        accepted.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    );
    answered.expect("the connection is open");
    assert!(matches!(error, HandshakeError::NotHurricane), "{error:?}");
}

#[tokio::test]
async fn who_says_nothing_is_left() {
    let (_silent, accepted) = tokio::io::duplex(64);
    let doors = Cluster::new().doors();
    let handshake = async { doors.accept(accepted, true).await };
    // Its time is over as it comes in.
    let error = accept::within(tokio::time::Instant::now(), handshake).await;
    let error = error.expect_err("nothing came");
    assert!(matches!(error, HandshakeError::TimedOut), "{error:?}");
}

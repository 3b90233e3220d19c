//! Those who do not belong here: they get nothing, and cost the cluster nothing.

use std::net::Ipv4Addr;

use hurricane_core::frame;
use hurricane_core::member::Request;
use hurricane_core::session::Frame;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::site::{Machine, Node, PYTHON, Site, ask, eventually, run, soon};
use crate::dialing::DialError;
use crate::greeting::{Greeting, GreetingError, PROTOCOL, Side};
use crate::identity::Roles;
use crate::strangers::{MAX_HALF_OPEN_OF_SOURCE, MAX_TRIES, TRIES_WITHIN};
use crate::tls::HandshakeError;

/// All that comes until the end.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The end may be a cut.
    let _ = soon("the end", stream.read_to_end(&mut bytes)).await;
    bytes
}

/// The first bytes of a TLS 1.2 client: its hello knows no other version.
fn tls_12() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    // No session, two cipher suites of that version, no compression, no extensions.
    body.extend([0, 0, 4, 0xc0, 0x2f, 0xc0, 0x30, 1, 0]);
    let length = u8::try_from(body.len()).expect("it is short");
    let mut hello = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.extend(body);
    hello
}

#[test]
fn s3_what_is_not_hurricane_gets_nothing() {
    run(async {
        let site = Site::new("garbage");
        let node = Node::node(&site.here());
        node.join(1).await;
        let said: [Vec<u8>; 4] = [
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
            tls_12(),
            vec![0xff; 10_000],
            u64::MAX.to_le_bytes().repeat(4),
        ];
        for said in said {
            let mut stream = TcpStream::connect(site.address()).await.expect("it listens");
            // It may be cut before all was sent.
            let _ = stream.write_all(&said).await;
            let heard = rest(&mut stream).await;
            // At most a TLS alert: 7 bytes, of which the first says so.
            assert!(heard.is_empty() || (heard.len() == 7 && heard[0] == 21), "{heard:?}");
        }
        eventually("it is told", || site.reported("does not speak hurricane's protocol")).await;
        assert_eq!(site.server.snapshot().nodes.len(), 1);
        assert!(site.machine("rack", Roles::NODE).await.greet(greeting()).await.is_ok());
    });
}

fn greeting() -> Greeting {
    Greeting::own(Side::Node, Some(PYTHON))
}

#[test]
fn s3_a_key_that_nobody_knows_is_not_let_in() {
    run(async {
        let site = Site::new("unknown");
        let error = site.stranger().greet(greeting()).await.err().expect("nobody knows it");
        let error = match error {
            DialError::Handshake { error, .. }
            | DialError::Greeting { error: GreetingError::Handshake(error), .. } => error,
            other => panic!("{other}"),
        };
        assert!(matches!(error, HandshakeError::NotAuthorized), "{error}");
        eventually("it is told", || site.reported("is not authorized")).await;
    });
}

#[test]
fn s4_the_key_of_another_cluster_is_told_so() {
    run(async {
        let (one, other) = (Site::new("one-of-two"), Site::new("other-of-two"));
        let mut machine = one.machine("rack", Roles::NODE).await;
        machine.address = other.address();
        let error = machine.greet(greeting()).await.err().expect("it is another").to_string();
        assert!(error.contains("belongs to another cluster"), "{error}");
        assert!(other.server.snapshot().nodes.is_empty());
    });
}

#[test]
fn versions_that_do_not_fit_are_told_so_on_both_sides() {
    run(async {
        let site = Site::new("versions");
        let machine = site.machine("rack", Roles::NODE).await;
        let other_python = Greeting::own(Side::Node, Some(PYTHON + 1));
        let error = machine.greet(other_python).await.err().expect("they differ").to_string();
        assert!(
            error.contains("this is Python 3.12, and the scheduler runs Python 3.11"),
            "{error}"
        );
        eventually("it is told", || site.reported("the node runs Python 3.12")).await;
        let other_protocol = Greeting { protocol: PROTOCOL + 1, ..greeting() };
        let error = machine.greet(other_protocol).await.err().expect("they differ").to_string();
        assert!(error.contains("protocol 2"), "{error}");
        eventually("it is told", || site.reported("(protocol 2)")).await;
    });
}

#[test]
fn a_frame_that_claims_4_gib_ends_its_connection() {
    run(async {
        let site = Site::new("claims");
        let machine = site.machine("rack", Roles::ALL).await;
        for side in [Side::Node, Side::Client, Side::Operator] {
            let greeting = Greeting::own(side, Some(PYTHON));
            let mut stream = machine.greet(greeting).await.expect("it is a member");
            stream.write_all(&(4_u64 << 30).to_le_bytes()).await.expect("it is open");
            stream.flush().await.expect("it is open");
            assert!(rest(&mut stream).await.is_empty());
        }
        is_alive(&site, &machine).await;
    });
}

#[test]
fn members_that_talk_nonsense_end_their_connection() {
    run(async {
        let site = Site::new("nonsense");
        let machine = site.machine("rack", Roles::ALL).await;
        let no_message = |sides| (sides, b"\x03\0\0\0\0\0\0\0\xff\xff\xff".to_vec());
        let frame = |frame: Frame| {
            let mut bytes = Vec::new();
            frame::encode(&frame, &mut bytes);
            (vec![Side::Node, Side::Client], bytes)
        };
        for (sides, bytes) in [
            no_message(vec![Side::Node, Side::Client, Side::Operator]),
            frame(Frame::Heartbeat { acknowledged: 7 }),
            frame(Frame::Message { number: 1, acknowledged: 0, payload: "hello".into() }),
        ] {
            for side in sides {
                let greeting = Greeting::own(side, Some(PYTHON));
                let mut stream = machine.greet(greeting).await.expect("it is a member");
                stream.write_all(&bytes).await.expect("it is open");
                stream.flush().await.expect("it is open");
                rest(&mut stream).await;
            }
        }
        is_alive(&site, &machine).await;
    });
}

async fn is_alive(site: &Site, machine: &Machine) {
    let node = Node::node(machine);
    node.join(1).await;
    assert_eq!(site.server.snapshot().nodes.len(), 1);
    ask(site.here(), &Request::Status).await;
}

#[test]
fn s8_guesses_at_tickets_are_few() {
    run(async {
        let site = Site::new("guesses");
        let ticket = site.invite(Roles::NODE);
        let mut wrong = ticket.clone();
        wrong.secret = crate::ticket::Secret::generate().expect("the system is random");
        let mut told = Vec::new();
        for _ in 0..3 * MAX_TRIES {
            told.push(
                site.stranger().enrol(&wrong, "rack").await.expect_err("it is wrong").to_string(),
            );
        }
        assert!(told.iter().any(|reason| reason.contains("too many tries")), "{told:?}");
        // Nothing but time makes up for tries.
        tokio::time::sleep(TRIES_WITHIN).await;
        site.stranger().enrol(&ticket, "rack").await.expect("misses burn nothing");
    });
}

#[test]
fn s11_a_source_has_few_connections_that_say_nothing() {
    run(async {
        let site = Site::new("slow");
        let machine = site.machine("rack", Roles::NODE).await;
        let from = |last| {
            let socket = TcpSocket::new_v4().expect("there are descriptors");
            let source = Ipv4Addr::new(127, 0, 0, last);
            socket.bind((source, 0).into()).expect("it is of this host");
            socket.connect(site.address())
        };
        let mut silent = Vec::new();
        for _ in 0..2 * MAX_HALF_OPEN_OF_SOURCE {
            silent.push(from(9).await.expect("it listens"));
        }
        // Those beyond the limit are closed at once, the others after the time of a handshake.
        for stream in &mut silent[MAX_HALF_OPEN_OF_SOURCE..] {
            assert!(rest(stream).await.is_empty());
        }
        let other = from(10).await.expect("it listens");
        drop(other);
        is_alive(&site, &machine).await;
        for stream in &mut silent[..MAX_HALF_OPEN_OF_SOURCE] {
            assert!(rest(stream).await.is_empty());
        }
        assert!(site.reported("did not answer within 5 seconds"), "{:?}", site.reports);
    });
}

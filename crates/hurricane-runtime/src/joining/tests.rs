//! Joining over loopback: a real scheduler, and a machine with a state directory of its own.

use std::net::Ipv4Addr;

use super::*;
use crate::greeting::Side;
use crate::identity::KeyPair;
use crate::platform::directories::Scratch;
use crate::scheduler::{Server, ServerConfig};

const PYTHON: u8 = 11;

/// Starts a scheduler; its state goes with the second.
fn scheduler(test: &str) -> (Server, Scratch) {
    let scratch = Scratch::new(&format!("joining-{test}"));
    let config = ServerConfig {
        name: Name::near(test),
        port: 0,
        bind: vec![Ipv4Addr::LOCALHOST.into()],
        state: State::open_at(scratch.0.clone()).expect("nothing is in the way"),
        python_minor: Some(PYTHON),
    };
    (Server::start(config, Box::new(|_| {})).expect("the port is free"), scratch)
}

fn machine(test: &str) -> (State, Scratch) {
    let scratch = Scratch::new(&format!("joining-machine-{test}"));
    (State::open_at(scratch.0.clone()).expect("nothing is in the way"), scratch)
}

fn invite(server: &Server, roles: Roles) -> Ticket {
    server.invite(1, Duration::from_mins(1), roles).expect("it is the first")
}

fn wish(ticket: &Ticket, address: Option<&str>) -> Wish {
    Wish {
        ticket: ticket.clone(),
        choice: Choice { address: address.map(Into::into), ..Choice::default() },
        name: Name::near("rack"),
        greeting: Greeting::own(Side::Node, Some(PYTHON)),
    }
}

#[tokio::test]
async fn a_machine_joins_with_its_ticket_alone_and_remembers() {
    let ((server, _kept), (state, _also)) = (scheduler("alone"), machine("alone"));
    let ticket = invite(&server, Roles::NODE);
    let joined = join(&state, &wish(&ticket, None)).await.expect("it is invited");
    let Joined { membership, is_new } = joined;
    assert!(is_new);
    assert_eq!(membership.cluster.as_str(), "alone");
    assert_eq!((membership.name.as_str(), membership.roles), ("rack", Roles::NODE));
    assert_eq!(membership.port, server.port());
    assert_eq!(membership.last_address, Some(server.addresses()[0]));
    assert_eq!(state.memberships().expect("it is there"), [membership]);
}

#[tokio::test]
async fn a_member_stays_one_and_may_do_more_with_a_ticket_for_more() {
    let ((server, _kept), (state, _also)) = (scheduler("more"), machine("more"));
    let ticket = invite(&server, Roles::NODE);
    let first = join(&state, &wish(&ticket, None)).await.expect("it is invited");
    let again = join(&state, &wish(&ticket, None)).await.expect("it is a member");
    assert_eq!(again, Joined { is_new: false, ..first.clone() });
    let more = invite(&server, Roles::SUBMIT);
    let more = join(&state, &wish(&more, None)).await.expect("it is invited");
    assert!(more.is_new);
    assert_eq!((more.membership.roles, more.membership.name), (Roles::ALL, first.membership.name));
    // Another machine has used a ticket that this one comes with, too late: nothing changes.
    let used = invite(&server, Roles::NODE);
    let (other, _other) = machine("more-other");
    join(&other, &wish(&used, None)).await.expect("it is invited");
    let same = join(&state, &wish(&used, None)).await.expect("it is a member");
    assert!(!same.is_new);
    let (stranger, _stranger) = machine("more-stranger");
    let error = join(&stranger, &wish(&used, None)).await.expect_err("it is used up");
    assert!(error.to_string().ends_with("this ticket was used up"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("hurricane invite")));
}

#[tokio::test]
async fn a_withdrawn_ticket_is_told_at_once() {
    let ((server, _kept), (state, _also)) = (scheduler("restarted"), machine("restarted"));
    let ticket = invite(&server, Roles::NODE);
    // Another invitation is live: there is somebody to ask.
    let secret = crate::ticket::Secret::generate().expect("the system is random");
    let unknown = Ticket { secret, ..ticket };
    let began = Instant::now();
    let error = join(&state, &wish(&unknown, None)).await.expect_err("nobody knows it");
    assert!(error.to_string().contains("does not know this ticket"), "{error}");
    assert!(began.elapsed() < SEARCH_TIME / 2, "it is an answer");
    assert_eq!(state.memberships().expect("there are none"), []);
}

#[tokio::test]
async fn another_cluster_at_the_chosen_address_is_told_at_once() {
    let ((server, _kept), (other, _other)) = (scheduler("right"), scheduler("wrong"));
    let (state, _also) = machine("wrong-address");
    let (ticket, _) = (invite(&server, Roles::NODE), invite(&other, Roles::NODE));
    let elsewhere = Ticket { port: 1, ..ticket };
    let address = other.addresses()[0].to_string();
    let began = Instant::now();
    let error = join(&state, &wish(&elsewhere, Some(&address))).await.expect_err("it is another");
    assert!(error.to_string().contains("belongs to another cluster"), "{error}");
    assert!(began.elapsed() < SEARCH_TIME / 2, "it is an answer");
}

#[tokio::test]
async fn another_python_is_told() {
    let ((server, _kept), (state, _also)) = (scheduler("python"), machine("python"));
    let ticket = invite(&server, Roles::NODE);
    let other = Wish { greeting: Greeting::own(Side::Node, Some(12)), ..wish(&ticket, None) };
    let error = join(&state, &other).await.expect_err("they differ");
    let told = "this is Python 3.12, and the scheduler runs Python 3.11";
    assert!(error.to_string().ends_with(told), "{error}");
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn a_scheduler_that_is_nowhere_is_a_sentence() {
    let (state, _also) = machine("nowhere");
    let key = KeyPair::generate().expect("the system is random").public();
    let secret = crate::ticket::Secret::generate().expect("the system is random");
    let ticket = Ticket { scheduler: key.fingerprint(), secret, roles: Roles::NODE, port: 1 };
    let joined = join_within(Duration::ZERO, &state, &wish(&ticket, None)).await;
    let error = joined.expect_err("nobody is there");
    assert_eq!(error.to_string(), "the scheduler of this ticket was not found");
    assert!(error.hint().is_some_and(|hint| hint.contains("let its port 1 through")), "{error:?}");
}

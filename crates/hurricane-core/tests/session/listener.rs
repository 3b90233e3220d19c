//! The listening end of a session: which actions follow which events.

use crate::words::{
    Case, DIALER, LISTENER, SESSION, at, began, closed, closed_for, deliver, ended, heartbeat,
    message, received, said, send, welcome,
};
use hurricane_core::Session;
use hurricane_core::id::{BootId, ConnectionId};
use hurricane_core::session::{
    ACKNOWLEDGE_MESSAGES, Action, EndReason, Event, FULL_MESSAGES, Frame, Hello, MAX_MESSAGES,
    Patience, SessionId, Violation,
};

const FIRST: Hello = Hello { dialer: DIALER, dial: 1, session: None, received: 0 };

fn accepted(connection: u64, hello: Hello) -> Event {
    Event::Accepted { connection: ConnectionId(connection), hello }
}

fn resumed(dial: u64, received: u64) -> Hello {
    Hello { dialer: DIALER, dial, session: Some(SESSION), received }
}

/// A listener for a node that welcomed a first dial at 0 ms.
fn welcomed() -> Case {
    let session = Session::accept(at(0), LISTENER, &FIRST, Patience::NODE);
    let mut case = Case::new(session.expect("a first dial begins a session"));
    case.check(0, accepted(71, FIRST), &[said(71, welcome(0)), said(71, heartbeat(0))]);
    case
}

/// A listener for a node whose session began at 0 ms.
fn begun() -> Case {
    let mut case = welcomed();
    case.check(0, received(71, heartbeat(0)), &[began()]);
    case
}

#[test]
fn it_begins_when_the_dialer_shows_that_it_was_welcomed() {
    begun();
    let mut case = welcomed();
    case.check(1, received(71, message(1, 0, "x")), &[began(), deliver("x")]);
}

#[test]
fn a_session_it_does_not_hold_cannot_be_resumed() {
    let other = SessionId { listener: BootId(99), first_dial: 1 };
    for (session, reason) in [(SESSION, EndReason::Forgotten), (other, EndReason::Restarted)] {
        let hello = Hello { session: Some(session), ..FIRST };
        let refused = Session::accept(at(0), LISTENER, &hello, Patience::NODE);
        assert_eq!(refused.err(), Some(reason));
    }
}

#[test]
fn a_session_that_a_late_dial_began_is_not_the_one_that_the_dialer_resumes() {
    let mut case = welcomed();
    let session = Some(SessionId { first_dial: 0, ..SESSION });
    let end = Frame::End(EndReason::Forgotten);
    let actions = [said(72, end), closed_for(72, None)];
    case.check(10, accepted(72, Hello { dial: 2, session, ..FIRST }), &actions);
}

#[test]
fn a_node_is_lost_200_ms_after_its_connection_closed() {
    let mut case = begun();
    case.check(100, closed(71), &[]);
    case.check_deadline(300);
    case.check(299, Event::Tick, &[]);
    case.check(300, Event::Tick, &[ended(EndReason::Lost)]);
}

#[test]
fn a_node_is_lost_after_5_s_of_silence() {
    let mut case = begun();
    for at_ms in (250..5000).step_by(250) {
        case.check(at_ms, Event::Tick, &[said(71, heartbeat(0))]);
    }
    let end = Frame::End(EndReason::Lost);
    let actions = [said(71, end), closed_for(71, None), ended(EndReason::Lost)];
    case.check(5000, Event::Tick, &actions);
}

#[test]
fn a_client_has_a_second_after_closing() {
    let session = Session::accept(at(0), LISTENER, &FIRST, Patience::CLIENT);
    let mut case = Case::new(session.expect("a first dial begins a session"));
    case.check(0, accepted(71, FIRST), &[said(71, welcome(0)), said(71, heartbeat(0))]);
    case.check(100, closed(71), &[]);
    case.check_deadline(1100);
}

#[test]
fn its_own_pause_is_no_silence_of_the_peer() {
    let mut case = begun();
    case.check(60_000, Event::Tick, &[said(71, heartbeat(0))]);
    case.check(60_100, closed(71), &[]);
    case.check(90_000, Event::Tick, &[]);
    case.check(90_199, Event::Tick, &[]);
    case.check(90_200, Event::Tick, &[ended(EndReason::Lost)]);
}

#[test]
fn a_newer_connection_takes_the_place_of_the_one_in_use() {
    let mut case = begun();
    case.check(10, send("a"), &[said(71, message(1, 0, "a"))]);
    let actions = [said(72, welcome(0)), closed_for(71, None), said(72, message(1, 0, "a"))];
    case.check(20, accepted(72, resumed(2, 0)), &actions);
    case.check(30, received(71, message(1, 1, "late")), &[]);
    case.check(30, closed(71), &[]);
    case.check(40, received(72, message(1, 1, "late")), &[deliver("late")]);
    assert_eq!(case.session.unacknowledged(), 0);
}

#[test]
fn an_older_connection_is_turned_away() {
    let mut case = begun();
    let actions = [said(73, welcome(0)), closed_for(71, None), said(73, heartbeat(0))];
    case.check(20, accepted(73, resumed(3, 0)), &actions);
    case.check(30, accepted(72, resumed(2, 0)), &[closed_for(72, Some(Violation::Outdated))]);
    case.check(40, accepted(74, resumed(3, 0)), &[closed_for(74, Some(Violation::Outdated))]);
    case.check(50, received(73, heartbeat(0)), &[]);
}

#[test]
fn a_dial_that_cannot_be_right_is_turned_away() {
    let stranger = Hello { dialer: BootId(98), ..resumed(2, 0) };
    let never_sent = Violation::NeverSent { number: 1, sent: 0 };
    for (hello, violation) in [(stranger, Violation::WrongDialer), (resumed(2, 1), never_sent)] {
        let mut case = begun();
        case.check(10, accepted(72, hello), &[closed_for(72, Some(violation))]);
        case.check(20, received(71, message(1, 0, "x")), &[deliver("x")]);
    }
}

#[test]
fn much_input_is_acknowledged_without_delay() {
    let mut case = begun();
    for number in 1..ACKNOWLEDGE_MESSAGES {
        case.check(1, received(71, message(number, 0, "x")), &[deliver("x")]);
    }
    let last = ACKNOWLEDGE_MESSAGES;
    let actions = [deliver("x"), said(71, heartbeat(last))];
    case.check(1, received(71, message(last, 0, "x")), &actions);
}

#[test]
fn a_peer_that_acknowledges_nothing_holds_the_sender_back_and_then_ends_it() {
    let mut session = begun().session;
    let mut actions = Vec::new();
    for _ in 1..FULL_MESSAGES {
        session.handle(at(1), send("x"), &mut actions);
    }
    assert!(!session.is_full());
    session.handle(at(1), send("x"), &mut actions);
    assert!(session.is_full());
    session.handle(at(1), received(71, heartbeat(1)), &mut actions);
    assert!(!session.is_full());
    for _ in 0..=MAX_MESSAGES - FULL_MESSAGES {
        actions.clear();
        session.handle(at(1), send("x"), &mut actions);
    }
    assert_eq!(actions.last(), Some(&Action::Ended(EndReason::Overrun)));
}

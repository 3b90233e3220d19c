//! The dialling end of a session: which actions follow which events.

use crate::words::{
    Case, DIALER, LISTENER, SESSION, began, closed, closed_for, deliver, dial, ended, heartbeat,
    hello, message, opened, received, said, send, welcome,
};
use hurricane_core::Session;
use hurricane_core::id::{BootId, ConnectionId};
use hurricane_core::session::{Action, EndReason, Event, Frame, SessionId, Violation};

/// A dialer whose first dial was welcomed at 0 ms.
fn connected() -> Case {
    let mut case = Case::new(Session::dial(DIALER));
    case.check(0, Event::Tick, &[dial(1)]);
    case.check(0, opened(1), &[said(1, hello(1, None, 0))]);
    case.check(0, received(1, welcome(0)), &[said(1, heartbeat(0)), began()]);
    case
}

#[test]
fn it_dials_at_once_and_says_hello() {
    connected();
}

#[test]
fn it_dials_again_every_500_ms_until_it_is_welcomed() {
    let mut case = Case::new(Session::dial(DIALER));
    case.check(0, Event::Tick, &[dial(1)]);
    case.check(100, closed(1), &[]);
    case.check_deadline(500);
    case.check(500, Event::Tick, &[dial(2)]);
    case.check(1000, Event::Tick, &[dial(3)]);
    case.check(1000, opened(2), &[said(2, hello(2, None, 0))]);
    let answers =
        [said(2, heartbeat(0)), Action::Close { connection: ConnectionId(3), violation: None }];
    case.check(1100, received(2, welcome(0)), &[&answers[..], &[began()]].concat());
}

#[test]
fn the_oldest_dial_gives_way_to_a_fifth() {
    let mut case = Case::new(Session::dial(DIALER));
    for (at, number) in [(0, 1), (500, 2), (1000, 3), (1500, 4)] {
        case.check(at, Event::Tick, &[dial(number)]);
    }
    case.check(2000, Event::Tick, &[closed_for(1, None), dial(5)]);
}

#[test]
fn it_dials_after_a_second_of_silence_and_keeps_the_silent_connection() {
    let mut case = connected();
    for at in [250, 500, 750] {
        case.check(at, Event::Tick, &[said(1, heartbeat(0))]);
    }
    case.check(1000, Event::Tick, &[dial(2), said(1, heartbeat(0))]);
    case.check(1100, opened(2), &[said(2, hello(2, Some(SESSION), 0))]);
    let answers = [closed_for(1, None), said(2, heartbeat(0))];
    case.check(1200, received(2, welcome(0)), &answers);
}

#[test]
fn a_silent_connection_that_comes_to_life_ends_the_dialling() {
    let mut case = connected();
    for at in [250, 500, 750] {
        case.check(at, Event::Tick, &[said(1, heartbeat(0))]);
    }
    case.check(1000, Event::Tick, &[dial(2), said(1, heartbeat(0))]);
    case.check(1100, Event::Heard { connection: ConnectionId(1) }, &[closed_for(2, None)]);
    case.check(1200, received(2, welcome(0)), &[]);
}

#[test]
fn it_dials_at_once_when_its_connection_closes() {
    let mut case = connected();
    case.heartbeats(250, 600, 1);
    case.check(600, closed(1), &[dial(2)]);
    case.check(700, closed(2), &[]);
    case.check_deadline(1100);
}

#[test]
fn it_does_not_dial_faster_when_every_connection_closes_at_once() {
    let mut case = connected();
    case.check(10, closed(1), &[]);
    case.check_deadline(500);
}

#[test]
fn it_dials_soon_again_while_messages_come_through() {
    let mut case = connected();
    case.check(10, received(1, message(1, 0, "a")), &[deliver("a")]);
    case.check(20, closed(1), &[]);
    case.check_deadline(50);
    case.check(50, Event::Tick, &[dial(2)]);
    case.check(60, opened(2), &[said(2, hello(2, Some(SESSION), 1))]);
    case.check(70, send("b"), &[]);
    case.check(80, received(2, welcome(0)), &[said(2, message(1, 1, "b"))]);
    case.check(90, received(2, heartbeat(1)), &[]);
    case.check(200, closed(2), &[dial(3)]);
    case.check(210, closed(3), &[]);
    case.check_deadline(700);
}

#[test]
fn it_sends_again_what_was_not_acknowledged() {
    let mut case = connected();
    case.check(10, send("a"), &[said(1, message(1, 0, "a"))]);
    case.check(10, send("b"), &[said(1, message(2, 0, "b"))]);
    case.check(20, received(1, message(1, 1, "x")), &[deliver("x")]);
    case.check(30, closed(1), &[]);
    case.check(40, send("c"), &[]);
    case.check(50, Event::Tick, &[dial(2)]);
    case.check(500, opened(2), &[said(2, hello(2, Some(SESSION), 1))]);
    let again = [said(2, message(2, 1, "b")), said(2, message(3, 1, "c"))];
    case.check(510, received(2, welcome(1)), &again);
    assert_eq!(case.session.unacknowledged(), 2);
}

#[test]
fn what_an_older_connection_still_brings_is_dropped() {
    let mut case = connected();
    case.check(30, closed(1), &[]);
    case.check(40, received(1, message(1, 0, "late")), &[]);
    case.check(500, Event::Tick, &[dial(2)]);
    case.check(500, opened(2), &[said(2, hello(2, Some(SESSION), 0))]);
    case.check(510, received(2, welcome(0)), &[said(2, heartbeat(0))]);
    case.check(520, received(1, message(1, 0, "late")), &[]);
    case.check(530, received(2, message(1, 0, "late")), &[deliver("late")]);
    case.check(540, received(2, message(1, 0, "late")), &[]);
}

#[test]
fn another_session_in_the_answer_is_the_end() {
    let others = [
        SessionId { listener: BootId(99), first_dial: 1 },
        SessionId { listener: LISTENER, first_dial: 99 },
    ];
    for other in others {
        let mut case = connected();
        case.heartbeats(250, 600, 1);
        case.check(600, closed(1), &[dial(2)]);
        case.check(600, opened(2), &[said(2, hello(2, Some(SESSION), 0))]);
        let frame = Frame::Welcome { session: other, received: 0 };
        let over = [closed_for(2, None), ended(EndReason::Restarted)];
        case.check(610, received(2, frame), &over);
        assert_eq!(case.session.deadline(), None);
    }
}

#[test]
fn a_listener_that_refuses_ends_it() {
    let mut case = Case::new(Session::dial(DIALER));
    case.check(0, Event::Tick, &[dial(1)]);
    case.check(0, opened(1), &[said(1, hello(1, None, 0))]);
    let reason = EndReason::Refused("no more clients".into());
    let over = [closed_for(1, None), ended(reason.clone())];
    case.check(10, received(1, Frame::End(reason)), &over);
    case.check(20, Event::Tick, &[]);
}

#[test]
fn it_leaves_with_a_word() {
    let mut case = connected();
    let over =
        [said(1, Frame::End(EndReason::Closed)), closed_for(1, None), ended(EndReason::Closed)];
    case.check(10, Event::End(EndReason::Closed), &over);
}

#[test]
fn bad_input_costs_the_connection() {
    let (gap, never_sent) =
        (Violation::Gap { expected: 1, got: 2 }, Violation::NeverSent { number: 1, sent: 0 });
    let cases = [
        (message(2, 0, "x"), gap),
        (message(1, 1, "x"), never_sent),
        (heartbeat(1), never_sent),
        (hello(1, None, 0), Violation::OutOfPlace),
        (welcome(0), Violation::OutOfPlace),
    ];
    for (frame, violation) in cases {
        let mut case = connected();
        case.check(10, received(1, frame), &[closed_for(1, Some(violation))]);
        case.check_deadline(500);
    }
}

#[test]
fn bad_answers_cost_the_dial() {
    let never_sent = Violation::NeverSent { number: 1, sent: 0 };
    let cases = [
        (message(1, 0, "x"), Violation::OutOfPlace),
        (heartbeat(0), Violation::OutOfPlace),
        (welcome(1), never_sent),
    ];
    for (frame, violation) in cases {
        let mut case = Case::new(Session::dial(DIALER));
        case.check(0, Event::Tick, &[dial(1)]);
        case.check(0, opened(1), &[said(1, hello(1, None, 0))]);
        case.check(10, received(1, frame), &[closed_for(1, Some(violation))]);
        case.check(500, Event::Tick, &[dial(2)]);
    }
}

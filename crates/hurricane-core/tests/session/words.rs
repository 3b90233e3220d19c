//! The words in which the session's case tables are written.

use std::time::Duration;

use bytes::Bytes;
use hurricane_core::Session;
use hurricane_core::id::{BootId, ConnectionId};
use hurricane_core::session::{
    Action, EndReason, Event, Frame, HEARTBEAT_EVERY, Hello, SessionId, Violation,
};
use hurricane_core::time::Time;

pub(crate) const DIALER: BootId = BootId(10);
pub(crate) const LISTENER: BootId = BootId(20);
pub(crate) const SESSION: SessionId = SessionId { listener: LISTENER, first_dial: 1 };

/// One end of a session, and the checks of a table.
pub(crate) struct Case {
    pub(crate) session: Session,
}

impl Case {
    pub(crate) fn new(session: Session) -> Self {
        Self { session }
    }

    /// Checks which actions follow an event.
    #[track_caller]
    pub(crate) fn check(&mut self, at_ms: u64, event: Event, expected: &[Action]) {
        let mut actions = Vec::new();
        let described = format!("after {event:?} at {at_ms} ms");
        self.session.handle(at(at_ms), event, &mut actions);
        self.session.sanity_check();
        assert_eq!(actions, expected, "{described}");
    }

    #[track_caller]
    pub(crate) fn check_deadline(&self, at_ms: u64) {
        assert_eq!(self.session.deadline(), Some(at(at_ms)));
    }

    /// Lets time pass while the peer shows life over `connection`.
    #[track_caller]
    pub(crate) fn heartbeats(&mut self, from_ms: u64, to_ms: u64, connection: u64) {
        let step_ms = u64::try_from(HEARTBEAT_EVERY.as_millis()).expect("a short time");
        for at_ms in (from_ms..=to_ms).step_by(usize::try_from(step_ms).expect("a short time")) {
            let event = Event::Heard { connection: ConnectionId(connection) };
            self.check(at_ms, event, &[said(connection, heartbeat(0))]);
        }
    }
}

pub(crate) fn at(at_ms: u64) -> Time {
    Time::default() + Duration::from_millis(at_ms)
}

pub(crate) fn opened(connection: u64) -> Event {
    Event::Opened { connection: ConnectionId(connection) }
}

pub(crate) fn closed(connection: u64) -> Event {
    Event::Closed { connection: ConnectionId(connection) }
}

pub(crate) fn received(connection: u64, frame: Frame) -> Event {
    Event::Received { connection: ConnectionId(connection), frame }
}

pub(crate) fn send(payload: &'static str) -> Event {
    Event::Send(Bytes::from_static(payload.as_bytes()))
}

pub(crate) fn hello(dial: u64, session: Option<SessionId>, received: u64) -> Frame {
    Frame::Hello(Hello { dialer: DIALER, dial, session, received })
}

pub(crate) fn welcome(received: u64) -> Frame {
    Frame::Welcome { session: SESSION, received }
}

pub(crate) fn message(number: u64, acknowledged: u64, payload: &'static str) -> Frame {
    Frame::Message { number, acknowledged, payload: Bytes::from_static(payload.as_bytes()) }
}

pub(crate) fn heartbeat(acknowledged: u64) -> Frame {
    Frame::Heartbeat { acknowledged }
}

pub(crate) fn dial(connection: u64) -> Action {
    Action::Dial { connection: ConnectionId(connection) }
}

pub(crate) fn said(connection: u64, frame: Frame) -> Action {
    Action::Transmit { connection: ConnectionId(connection), frame }
}

pub(crate) fn closed_for(connection: u64, violation: Option<Violation>) -> Action {
    Action::Close { connection: ConnectionId(connection), violation }
}

pub(crate) fn began() -> Action {
    Action::Began
}

pub(crate) fn deliver(payload: &'static str) -> Action {
    Action::Deliver(Bytes::from_static(payload.as_bytes()))
}

pub(crate) fn ended(reason: EndReason) -> Action {
    Action::Ended(reason)
}

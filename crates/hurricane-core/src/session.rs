//! The session between a client or node and the scheduler: it outlives connections.
//!
//! Connections deliver in order until they are cut, and then lose any tail in each direction. A
//! session numbers its messages, keeps them until they are acknowledged and sends them again on the
//! next connection, so that each arrives exactly once and in order, for as long as both ends hold
//! the session. Its two ends differ in who dials and who waits: a client or node is the dialer, the
//! scheduler the listener. Whose key a peer holds is the runtime's to check, before a frame comes
//! here.

mod channel;
mod dialer;
mod frame;
mod listener;

use core::time::Duration;

use bytes::Bytes;

use self::channel::Channel;
use self::dialer::Dialer;
pub use self::frame::{EndReason, Frame, Hello, SessionId, Violation};
use self::listener::Listener;
use crate::id::{BootId, ConnectionId};
use crate::time::{Time, earliest};

/// How long an end sends nothing before it sends a heartbeat. Four fit into [`SILENCE_LIMIT`], so
/// that one late wake-up starts no dial.
pub const HEARTBEAT_EVERY: Duration = Duration::from_millis(250);

/// After how much silence the dialer tries another connection. TCP alone needs 7 s to notice the end
/// of a cut of 4 s, because it doubles its pauses.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(1);

/// How far apart dials are: the delay that the end of a cut adds, against the work of a handshake.
pub const DIAL_EVERY: Duration = Duration::from_millis(500);

/// How far apart dials are while connections are cut that messages came through: several within
/// [`Patience::NODE`] after a cut, since each may be cut as well. Where a bit flips now and then, no
/// node is lost by that.
pub const DIAL_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// How many dials wait for their answer at once. More than one, so that a handshake may take longer
/// than [`DIAL_EVERY`]; the oldest gives way.
pub const MAX_DIALS: usize = 4;

/// With so many messages unacknowledged, the sender is told to hold back: a quarter of a second at
/// 64,000 messages a second, which is as long as an idle peer takes to acknowledge.
pub const FULL_MESSAGES: usize = 16 << 10;

/// With so many bytes unacknowledged, the sender is told to hold back. Few enough for a hundred
/// clients that stop reading, enough for the largest frame.
pub const FULL_BYTES: usize = 64 << 20;

/// With so many messages unacknowledged the session is over: not everything can be held back, and a
/// peer that reads and never acknowledges must not take the memory.
pub const MAX_MESSAGES: usize = 1 << 20;

/// With so many bytes unacknowledged the session is over, for the same reason.
pub const MAX_BYTES: usize = 1 << 30;

/// So many messages are acknowledged at once: 16 times before the sender would have to hold back.
pub const ACKNOWLEDGE_MESSAGES: u64 = 1 << 10;

/// So many bytes are acknowledged at once, likewise.
pub const ACKNOWLEDGE_BYTES: usize = 4 << 20;

/// An event that comes so late after the deadline shows that this process itself was stopped or
/// starved: it learns nothing from the silence meanwhile.
pub const OVERSLEPT: Duration = Duration::from_millis(500);

/// How long a listener keeps the session of a dialer that it does not hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// After its connection was closed: the system says so when a process ends.
    pub closed: Duration,
    /// While its connection seems open.
    pub silent: Duration,
}

impl Patience {
    /// For a node: its tasks should run elsewhere soon.
    pub const NODE: Self =
        Self { closed: Duration::from_millis(200), silent: Duration::from_secs(5) };

    /// For a client: whatever it asked for ends with it, so there is less haste.
    pub const CLIENT: Self =
        Self { closed: Duration::from_secs(1), silent: Duration::from_secs(30) };
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This end has a message for the other. Better not while [`Session::is_full`].
    Send(Bytes),
    /// Dialer: the connection that was dialled is open.
    Opened {
        /// Which.
        connection: ConnectionId,
    },
    /// Listener: a connection is open and its first frame has come.
    Accepted {
        /// A new id.
        connection: ConnectionId,
        /// The first frame.
        hello: Hello,
    },
    /// A frame came.
    Received {
        /// Over which connection.
        connection: ConnectionId,
        /// The frame.
        frame: Frame,
    },
    /// Bytes came, and no whole frame yet.
    Heard {
        /// Over which connection.
        connection: ConnectionId,
    },
    /// A connection was closed by the peer or the system, or could not be opened.
    Closed {
        /// Which.
        connection: ConnectionId,
    },
    /// This end wants the session to end.
    End(EndReason),
    /// The deadline has come.
    Tick,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection. Answered by [`Event::Opened`] or [`Event::Closed`].
    Dial {
        /// Its name from now on.
        connection: ConnectionId,
    },
    /// Send a frame.
    Transmit {
        /// Over which connection.
        connection: ConnectionId,
        /// The frame.
        frame: Frame,
    },
    /// Close a connection, or stop opening it, once what was sent is on its way. Not answered.
    Close {
        /// Which.
        connection: ConnectionId,
        /// What the peer did, if that is why.
        violation: Option<Violation>,
    },
    /// Both ends hold the session: messages may be sent.
    Began,
    /// The other end sent a message.
    Deliver(Bytes),
    /// The session is over, whether it had begun or not. It is the last action.
    Ended(EndReason),
}

/// One end of a session.
#[derive(Debug)]
pub struct Session {
    channel: Channel,
    role: Role,
    is_over: bool,
}

#[derive(Debug)]
enum Role {
    Dialer(Dialer),
    Listener(Listener),
}

impl Session {
    /// The end of a client or node. Its first deadline is at once: it dials.
    pub fn dial(own: BootId) -> Self {
        Self::new(Role::Dialer(Dialer::new(own)), Time::default())
    }

    /// The scheduler's end for a dialer whose `hello` names no session that it holds, or why there
    /// can be none. The `hello` is to be handled next, as [`Event::Accepted`].
    pub fn accept(
        now: Time,
        own: BootId,
        hello: &Hello,
        patience: Patience,
    ) -> Result<Self, EndReason> {
        let listener = Listener::new(own, hello, patience)?;
        Ok(Self::new(Role::Listener(listener), now))
    }

    fn new(role: Role, now: Time) -> Self {
        Self { channel: Channel::new(now), role, is_over: false }
    }

    /// Applies one event at time `now`, and appends to `actions` what must be done about it.
    pub fn handle(&mut self, now: Time, event: Event, actions: &mut Vec<Action>) {
        if self.is_over {
            return;
        }
        self.forgive_own_pause(now);
        match event {
            Event::Send(payload) => self.channel.send(now, payload, actions),
            Event::Opened { connection } => self.on_opened(connection, actions),
            Event::Accepted { connection, hello } => {
                self.on_accepted(now, connection, &hello, actions);
            }
            Event::Received { connection, frame } => {
                self.on_received(now, connection, frame, actions);
            }
            Event::Heard { connection } => self.on_heard(now, connection, actions),
            Event::Closed { connection } => self.on_closed(now, connection),
            Event::End(reason) => self.end_and_say_so(reason, actions),
            Event::Tick => {}
        }
        self.do_what_is_due(now, actions);
    }

    /// When [`Event::Tick`] is due if nothing else happens first.
    pub fn deadline(&self) -> Option<Time> {
        if self.is_over {
            return None;
        }
        let due = match &self.role {
            Role::Dialer(dialer) => dialer.dials_at(&self.channel),
            Role::Listener(listener) => listener.gives_up_at(&self.channel),
        };
        earliest(Some(due), self.channel.beats_at())
    }

    /// Whether the user should send nothing more that can wait, until messages are acknowledged.
    pub fn is_full(&self) -> bool {
        self.channel.is_full()
    }

    /// Whether the session has ended: it does nothing more.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// How many messages have been sent and not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.channel.unacknowledged()
    }

    /// Panics if the state contradicts itself. For tests.
    pub fn sanity_check(&self) {
        self.channel.sanity_check();
        if let Role::Dialer(dialer) = &self.role {
            dialer.sanity_check();
        }
    }

    fn forgive_own_pause(&mut self, now: Time) {
        let overslept = self.deadline().map_or(Duration::ZERO, |due| now.since(due));
        if overslept <= OVERSLEPT {
            return;
        }
        self.channel.hear(now);
        if let Role::Listener(listener) = &mut self.role {
            listener.wait_anew(now);
        }
    }

    fn on_opened(&mut self, connection: ConnectionId, actions: &mut Vec<Action>) {
        if let Role::Dialer(dialer) = &self.role {
            dialer.greet(connection, self.channel.received(), actions);
        }
    }

    fn on_accepted(
        &mut self,
        now: Time,
        connection: ConnectionId,
        hello: &Hello,
        actions: &mut Vec<Action>,
    ) {
        let Role::Listener(listener) = &mut self.role else {
            return close(connection, Some(Violation::OutOfPlace), actions);
        };
        let greeted = listener.welcome(now, connection, hello, &mut self.channel, actions);
        if let Err(violation) = greeted {
            close(connection, Some(violation), actions);
        }
    }

    fn on_received(
        &mut self,
        now: Time,
        connection: ConnectionId,
        frame: Frame,
        actions: &mut Vec<Action>,
    ) {
        self.on_heard(now, connection, actions);
        let taken = match frame {
            Frame::Hello(_) => self.refuse(connection),
            Frame::Welcome { session, received } => {
                self.on_welcome(now, connection, session, received, actions)
            }
            Frame::Message { .. } | Frame::Heartbeat { .. } => {
                self.on_frame_in_session(now, connection, frame, actions)
            }
            Frame::End(reason) => {
                self.on_end(connection, reason, actions);
                Ok(())
            }
        };
        if let Err(violation) = taken {
            self.on_closed(now, connection);
            close(connection, Some(violation), actions);
        }
    }

    fn on_frame_in_session(
        &mut self,
        now: Time,
        connection: ConnectionId,
        frame: Frame,
        actions: &mut Vec<Action>,
    ) -> Result<(), Violation> {
        if !self.channel.uses(connection) {
            return self.refuse(connection);
        }
        if let Role::Listener(listener) = &mut self.role {
            listener.confirm(actions);
        }
        self.channel.receive(now, frame, actions)
    }

    fn on_welcome(
        &mut self,
        now: Time,
        connection: ConnectionId,
        session: SessionId,
        received: u64,
        actions: &mut Vec<Action>,
    ) -> Result<(), Violation> {
        let Role::Dialer(dialer) = &mut self.role else {
            return self.refuse(connection);
        };
        if !dialer.waits_for(connection) {
            return self.refuse(connection);
        }
        if dialer.is_in_another_session(session) {
            self.end_and_say_so(EndReason::Restarted, actions);
            return Ok(());
        }
        dialer.settle(now, connection, session, received, &mut self.channel, actions)
    }

    /// Any end of either end may come on whatever connection this end has open.
    fn on_end(&mut self, connection: ConnectionId, reason: EndReason, actions: &mut Vec<Action>) {
        if self.knows(connection) {
            self.end(reason, actions);
        }
    }

    fn on_heard(&mut self, now: Time, connection: ConnectionId, actions: &mut Vec<Action>) {
        if !self.channel.uses(connection) {
            return;
        }
        self.channel.hear(now);
        if let Role::Dialer(dialer) = &mut self.role {
            dialer.stop_dialling(actions);
        }
    }

    fn on_closed(&mut self, now: Time, connection: ConnectionId) {
        if self.channel.leave(connection)
            && let Role::Listener(listener) = &mut self.role
        {
            listener.miss(now);
        }
        if let Role::Dialer(dialer) = &mut self.role {
            dialer.forget(connection);
        }
    }

    fn do_what_is_due(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.is_over {
            return;
        }
        if self.channel.is_overrun() {
            return self.end_and_say_so(EndReason::Overrun, actions);
        }
        match &mut self.role {
            Role::Dialer(dialer) => dialer.dial_if_due(now, &self.channel, actions),
            Role::Listener(listener) if listener.gives_up_at(&self.channel) <= now => {
                return self.end_and_say_so(EndReason::Lost, actions);
            }
            Role::Listener(_) => {}
        }
        self.channel.beat_if_due(now, actions);
    }

    fn end_and_say_so(&mut self, reason: EndReason, actions: &mut Vec<Action>) {
        self.channel.transmit_last(Frame::End(reason.clone()), actions);
        self.end(reason, actions);
    }

    fn end(&mut self, reason: EndReason, actions: &mut Vec<Action>) {
        self.is_over = true;
        self.channel.close(actions);
        if let Role::Dialer(dialer) = &mut self.role {
            dialer.stop_dialling(actions);
        }
        actions.push(Action::Ended(reason));
    }

    /// A frame out of place is the peer's mistake on a connection that is open, and on any other
    /// what was still on its way when the connection was left.
    fn refuse(&self, connection: ConnectionId) -> Result<(), Violation> {
        if self.knows(connection) { Err(Violation::OutOfPlace) } else { Ok(()) }
    }

    fn knows(&self, connection: ConnectionId) -> bool {
        let waits = match &self.role {
            Role::Dialer(dialer) => dialer.waits_for(connection),
            Role::Listener(_) => false,
        };
        waits || self.channel.uses(connection)
    }
}

fn close(connection: ConnectionId, violation: Option<Violation>, actions: &mut Vec<Action>) {
    actions.push(Action::Close { connection, violation });
}

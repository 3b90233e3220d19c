//! The end that dials: keeps one connection in use, and looks for another when that is silent.

use std::collections::VecDeque;

use super::channel::Channel;
use super::{
    Action, DIAL_AGAIN_AFTER, DIAL_EVERY, Frame, Hello, MAX_DIALS, SILENCE_LIMIT, SessionId,
    Violation, close,
};
use crate::id::{BootId, ConnectionId};
use crate::time::Time;

/// What a dialer knows beyond its channel. A connection's id is the number of its dial.
#[derive(Debug)]
pub(super) struct Dialer {
    own: BootId,
    /// The session, once the listener has named it.
    session: Option<SessionId>,
    /// Dials that are not answered yet, oldest first.
    dials: VecDeque<ConnectionId>,
    last_dial: u64,
    last_dialled: Option<Time>,
    /// What the channel had got through by then.
    progress_then: u64,
}

impl Dialer {
    pub(super) fn new(own: BootId) -> Self {
        Self {
            own,
            session: None,
            dials: VecDeque::new(),
            last_dial: 0,
            last_dialled: None,
            progress_then: 0,
        }
    }

    pub(super) fn dial_if_due(&mut self, now: Time, channel: &Channel, actions: &mut Vec<Action>) {
        if self.dials_at(channel) > now {
            return;
        }
        if self.dials.len() == MAX_DIALS
            && let Some(oldest) = self.dials.pop_front()
        {
            close(oldest, None, actions);
        }
        self.last_dial += 1;
        self.last_dialled = Some(now);
        self.progress_then = channel.progress();
        let connection = ConnectionId(self.last_dial);
        self.dials.push_back(connection);
        actions.push(Action::Dial { connection });
    }

    /// A silent connection stays in use until another takes its place. To close it would tell the
    /// listener that this end is gone, and it may come to life again.
    pub(super) fn dials_at(&self, channel: &Channel) -> Time {
        let has_helped = channel.progress() > self.progress_then;
        let pause = if has_helped { DIAL_AGAIN_AFTER } else { DIAL_EVERY };
        let next = self.last_dialled.map_or(Time::default(), |last| last + pause);
        if channel.has_connection() { next.max(channel.heard() + SILENCE_LIMIT) } else { next }
    }

    /// Says the first word over a connection that is open now.
    pub(super) fn greet(&self, connection: ConnectionId, received: u64, actions: &mut Vec<Action>) {
        if self.waits_for(connection) {
            let (dialer, dial, session) = (self.own, connection.0, self.session);
            let frame = Frame::Hello(Hello { dialer, dial, session, received });
            actions.push(Action::Transmit { connection, frame });
        }
    }

    /// Takes a welcomed connection into use and gives up the other dials.
    pub(super) fn settle(
        &mut self,
        now: Time,
        connection: ConnectionId,
        session: SessionId,
        received: u64,
        channel: &mut Channel,
        actions: &mut Vec<Action>,
    ) -> Result<(), Violation> {
        channel.check_was_sent(received)?;
        channel.resume(now, connection, received, actions);
        self.forget(connection);
        self.stop_dialling(actions);
        if self.session.replace(session).is_none() {
            actions.push(Action::Began);
        }
        Ok(())
    }

    pub(super) fn is_in_another_session(&self, session: SessionId) -> bool {
        self.session.is_some_and(|known| known != session)
    }

    pub(super) fn waits_for(&self, connection: ConnectionId) -> bool {
        self.dials.contains(&connection)
    }

    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.dials.retain(|dial| *dial != connection);
    }

    pub(super) fn stop_dialling(&mut self, actions: &mut Vec<Action>) {
        for dial in self.dials.drain(..) {
            close(dial, None, actions);
        }
    }

    pub(super) fn sanity_check(&self) {
        assert!(self.dials.len() <= MAX_DIALS, "old dials give way");
        assert!(self.dials.iter().all(|dial| dial.0 <= self.last_dial), "each dial was made");
    }
}

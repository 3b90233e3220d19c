//! The end that is dialled: takes the newest connection, and gives the dialer up after a while.

use super::channel::Channel;
use super::{Action, EndReason, Frame, Hello, Patience, SessionId, Violation};
use crate::id::{BootId, ConnectionId};
use crate::time::Time;

/// What a listener knows beyond its channel.
#[derive(Debug)]
pub(super) struct Listener {
    id: SessionId,
    dialer: BootId,
    patience: Patience,
    newest_dial: Option<u64>,
    /// When the connection in use was closed.
    closed: Option<Time>,
    /// Whether the dialer has shown that it knows the session. Until then the session has not begun:
    /// else a late dial of a dialer that is gone would be taken for it.
    is_confirmed: bool,
}

impl Listener {
    pub(super) fn new(own: BootId, hello: &Hello, patience: Patience) -> Result<Self, EndReason> {
        match hello.session {
            Some(session) if session.listener == own => Err(EndReason::Forgotten),
            Some(_) => Err(EndReason::Restarted),
            None => Ok(Self {
                id: SessionId { listener: own, first_dial: hello.dial },
                dialer: hello.dialer,
                patience,
                newest_dial: None,
                closed: None,
                is_confirmed: false,
            }),
        }
    }

    /// Answers a dial. Whether it is for this session or an earlier one of the same dialer, it knows
    /// by the session that the dialer names.
    pub(super) fn welcome(
        &mut self,
        now: Time,
        connection: ConnectionId,
        hello: &Hello,
        channel: &mut Channel,
        actions: &mut Vec<Action>,
    ) -> Result<(), Violation> {
        if hello.dialer != self.dialer {
            return Err(Violation::WrongDialer);
        }
        if self.newest_dial.is_some_and(|newest| hello.dial <= newest) {
            return Err(Violation::Outdated);
        }
        if hello.session.is_some_and(|session| session != self.id) {
            let frame = Frame::End(self.reason_to_refuse(hello));
            actions.push(Action::Transmit { connection, frame });
            actions.push(Action::Close { connection, violation: None });
            return Ok(());
        }
        channel.check_was_sent(hello.received)?;
        self.newest_dial = Some(hello.dial);
        self.closed = None;
        let frame = Frame::Welcome { session: self.id, received: channel.received() };
        actions.push(Action::Transmit { connection, frame });
        channel.resume(now, connection, hello.received, actions);
        Ok(())
    }

    /// Any frame after the first shows that the dialer was welcomed.
    pub(super) fn confirm(&mut self, actions: &mut Vec<Action>) {
        if !self.is_confirmed {
            self.is_confirmed = true;
            actions.push(Action::Began);
        }
    }

    pub(super) fn miss(&mut self, now: Time) {
        self.closed = Some(now);
    }

    /// Begins to wait anew, if it waits.
    pub(super) fn wait_anew(&mut self, now: Time) {
        self.closed = self.closed.map(|_| now);
    }

    pub(super) fn gives_up_at(&self, channel: &Channel) -> Time {
        let silent = channel.heard() + self.patience.silent;
        self.closed.map_or(silent, |closed| silent.min(closed + self.patience.closed))
    }

    fn reason_to_refuse(&self, hello: &Hello) -> EndReason {
        let is_own = hello.session.is_some_and(|session| session.listener == self.id.listener);
        if is_own { EndReason::Forgotten } else { EndReason::Restarted }
    }
}

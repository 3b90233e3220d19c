//! What both ends of a session have in common: numbers, acknowledgements, and what must be sent
//! again, over the one connection in use, if there is one.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    ACKNOWLEDGE_BYTES, ACKNOWLEDGE_MESSAGES, Action, FULL_BYTES, FULL_MESSAGES, Frame,
    HEARTBEAT_EVERY, MAX_BYTES, MAX_MESSAGES, Violation, close,
};
use crate::id::ConnectionId;
use crate::time::Time;

/// The two streams of messages of a session, seen from one end.
#[derive(Debug)]
pub(super) struct Channel {
    connection: Option<ConnectionId>,
    /// When anything was last heard over a connection in use.
    heard: Time,
    /// When a frame was last sent over the connection in use.
    transmitted: Time,
    /// The number of the last message sent, over whatever connection.
    sent: u64,
    /// The last messages up to `sent`, for the next connection.
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
    /// The number of the last message received.
    received: u64,
    /// The part of `received` that the peer was told of.
    acknowledged: u64,
    received_bytes_since: usize,
}

impl Channel {
    pub(super) fn new(now: Time) -> Self {
        Self {
            connection: None,
            heard: now,
            transmitted: now,
            sent: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            received: 0,
            acknowledged: 0,
            received_bytes_since: 0,
        }
    }

    /// Goes over to a new connection, whose other end has received messages up to `received`, which
    /// were sent: sends it those that follow, or at least a sign of life.
    pub(super) fn resume(
        &mut self,
        now: Time,
        connection: ConnectionId,
        received: u64,
        actions: &mut Vec<Action>,
    ) {
        self.close(actions);
        self.connection = Some(connection);
        self.heard = now;
        self.drop_acknowledged(received);
        let first = self.first_kept();
        for (number, payload) in (first..).zip(self.kept.clone()) {
            self.transmit_message(now, number, payload, actions);
        }
        if self.kept.is_empty() {
            self.transmit_heartbeat(now, actions);
        }
    }

    /// Takes a message or a heartbeat.
    pub(super) fn receive(
        &mut self,
        now: Time,
        frame: Frame,
        actions: &mut Vec<Action>,
    ) -> Result<(), Violation> {
        match frame {
            Frame::Message { number, acknowledged, payload } => {
                self.take_acknowledgement(acknowledged)?;
                self.take_message(number, payload, actions)?;
                self.acknowledge_if_much_came(now, actions);
                Ok(())
            }
            Frame::Heartbeat { acknowledged } => self.take_acknowledgement(acknowledged),
            Frame::Hello(_) | Frame::Welcome { .. } | Frame::End(_) => Err(Violation::OutOfPlace),
        }
    }

    pub(super) fn check_was_sent(&self, number: u64) -> Result<(), Violation> {
        let sent = self.sent;
        if number > sent { Err(Violation::NeverSent { number, sent }) } else { Ok(()) }
    }

    /// Numbers and keeps a message, and sends it if there is a connection.
    pub(super) fn send(&mut self, now: Time, payload: Bytes, actions: &mut Vec<Action>) {
        self.sent += 1;
        self.kept_bytes += payload.len();
        self.kept.push_back(payload.clone());
        self.transmit_message(now, self.sent, payload, actions);
    }

    /// Sends one more frame, which is no part of the streams.
    pub(super) fn transmit_last(&mut self, frame: Frame, actions: &mut Vec<Action>) {
        if let Some(connection) = self.connection {
            actions.push(Action::Transmit { connection, frame });
        }
    }

    /// Closes the connection in use, if there is one.
    pub(super) fn close(&mut self, actions: &mut Vec<Action>) {
        if let Some(connection) = self.connection.take() {
            close(connection, None, actions);
        }
    }

    /// Notes that a connection is closed; whether it was the one in use.
    pub(super) fn leave(&mut self, connection: ConnectionId) -> bool {
        let was_used = self.uses(connection);
        if was_used {
            self.connection = None;
        }
        was_used
    }

    /// How many messages of both directions are known to have got through.
    pub(super) fn progress(&self) -> u64 {
        self.received + self.sent - self.kept.len() as u64
    }

    pub(super) fn hear(&mut self, now: Time) {
        self.heard = now;
    }

    pub(super) fn beat_if_due(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.beats_at().is_some_and(|due| due <= now) {
            self.transmit_heartbeat(now, actions);
        }
    }

    pub(super) fn beats_at(&self) -> Option<Time> {
        self.connection.map(|_| self.transmitted + HEARTBEAT_EVERY)
    }

    pub(super) fn uses(&self, connection: ConnectionId) -> bool {
        self.connection == Some(connection)
    }

    pub(super) fn has_connection(&self) -> bool {
        self.connection.is_some()
    }

    pub(super) fn heard(&self) -> Time {
        self.heard
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn unacknowledged(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.kept.len() >= FULL_MESSAGES || self.kept_bytes >= FULL_BYTES
    }

    pub(super) fn is_overrun(&self) -> bool {
        self.kept.len() >= MAX_MESSAGES || self.kept_bytes >= MAX_BYTES
    }

    pub(super) fn sanity_check(&self) {
        assert_eq!(self.kept_bytes, self.kept.iter().map(Bytes::len).sum::<usize>());
        assert!(self.kept.len() as u64 <= self.sent, "only what was sent is kept");
        assert!(self.acknowledged <= self.received, "only what came is acknowledged");
    }

    fn take_message(
        &mut self,
        number: u64,
        payload: Bytes,
        actions: &mut Vec<Action>,
    ) -> Result<(), Violation> {
        let expected = self.received + 1;
        if number > expected {
            return Err(Violation::Gap { expected, got: number });
        }
        // What came over the last connection while this one was dialled comes here once more.
        if number == expected {
            self.received = number;
            self.received_bytes_since += payload.len();
            actions.push(Action::Deliver(payload));
        }
        Ok(())
    }

    fn take_acknowledgement(&mut self, number: u64) -> Result<(), Violation> {
        self.check_was_sent(number)?;
        self.drop_acknowledged(number);
        Ok(())
    }

    fn drop_acknowledged(&mut self, number: u64) {
        while self.first_kept() <= number
            && let Some(payload) = self.kept.pop_front()
        {
            self.kept_bytes -= payload.len();
        }
    }

    fn first_kept(&self) -> u64 {
        self.sent - self.kept.len() as u64 + 1
    }

    fn acknowledge_if_much_came(&mut self, now: Time, actions: &mut Vec<Action>) {
        let messages = self.received - self.acknowledged;
        if messages >= ACKNOWLEDGE_MESSAGES || self.received_bytes_since >= ACKNOWLEDGE_BYTES {
            self.transmit_heartbeat(now, actions);
        }
    }

    fn transmit_message(
        &mut self,
        now: Time,
        number: u64,
        payload: Bytes,
        actions: &mut Vec<Action>,
    ) {
        let acknowledged = self.received;
        self.transmit(now, Frame::Message { number, acknowledged, payload }, actions);
    }

    fn transmit_heartbeat(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.transmit(now, Frame::Heartbeat { acknowledged: self.received }, actions);
    }

    /// Every frame of the streams acknowledges all that came.
    fn transmit(&mut self, now: Time, frame: Frame, actions: &mut Vec<Action>) {
        if let Some(connection) = self.connection {
            self.transmitted = now;
            self.acknowledged = self.received;
            self.received_bytes_since = 0;
            actions.push(Action::Transmit { connection, frame });
        }
    }
}

//! One client of this program: its session with the scheduler, and what goes both ways over it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hurricane_core::id::{BootId, ObjectId};
use hurricane_core::member::{FromClient, Piece, Read, ToClient};
use hurricane_core::message::{ClientToScheduler, SchedulerToClient};
use hurricane_core::session::{EndReason, Patience};

use super::exchange::{Exchange, size_of};
use super::reading::{Outcome, Reading};
use crate::client::{ConnectionError, Mailbox};
use crate::dialing::{DialError, Dialer};
use crate::uplink::{Event, Uplink};

/// Within this time the scheduler hears what was let go, for which nobody waits: mostly with the
/// next task.
const RELEASE_TIME: Duration = Duration::from_millis(50);

/// How long a wait may be silent.
const SILENCE_TIME: Duration = Duration::from_secs(5);

/// One client, as the thread sees it.
pub(super) struct Client {
    uplink: Uplink<ToClient>,
    exchange: Arc<Exchange>,
    reading: Reading,
    /// What was given to the uplink and counts as queued still.
    handed_bytes: usize,
    /// What the scheduler said and the mailbox has not got yet.
    heard: Vec<SchedulerToClient>,
    absence: Absence,
}

/// What follows from what has happened.
#[derive(Debug)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// Ask again for a value, later: it is not where it should be.
    ReadLater(ObjectId),
    /// People should know.
    Notice(Box<str>),
    /// The client is over, and why.
    Over(EndReason),
}

impl Client {
    /// Begins a session; `tell` hears what happens to it.
    pub(super) fn start(
        dialer: Rc<Dialer>,
        boot: BootId,
        exchange: Arc<Exchange>,
        tell: impl Fn(Event<ToClient>) + 'static,
    ) -> Self {
        Self {
            uplink: Uplink::start(dialer, boot, Box::new(tell)),
            exchange,
            reading: Reading::default(),
            handed_bytes: 0,
            heard: Vec::new(),
            absence: Absence::default(),
        }
    }

    pub(super) fn say(&mut self, message: ClientToScheduler) {
        self.handed_bytes += size_of(&message);
        let is_release = matches!(message, ClientToScheduler::Release { .. });
        let message = FromClient::Scheduling(message);
        if is_release {
            self.uplink.send_within(RELEASE_TIME, &message);
        } else {
            self.uplink.send(&message);
        }
    }

    /// Reads a value, if somebody still wants it.
    pub(super) fn fetch(&mut self, object: ObjectId) {
        if self.exchange.is_wanted(object) {
            let reads = self.reading.begin(object);
            self.ask(reads);
        }
    }

    pub(super) fn on_event(&mut self, event: Event<ToClient>) -> Effect {
        match event {
            Event::Began => Effect::None,
            Event::Message(ToClient::Scheduling(message)) => {
                self.heard.push(message);
                Effect::None
            }
            Event::Message(ToClient::Piece(piece)) => self.on_piece(piece),
            Event::Reached(_) => {
                self.absence = Absence::default();
                Effect::None
            }
            Event::NotReached(error) => self.absence.go_on(&error, Instant::now()),
            Event::Ended(reason) => Effect::Over(reason),
        }
    }

    /// Gives the mailbox what was heard, and the program room for what was taken over.
    pub(super) fn settle(&mut self, mailbox: Option<&dyn Mailbox>) {
        let heard = std::mem::take(&mut self.heard);
        let has_room = self.exchange.has_room();
        self.uplink.flush();
        if self.handed_bytes > 0 && !self.uplink.is_waiting() {
            self.exchange.take_from_queue(std::mem::take(&mut self.handed_bytes));
        }
        let Some(mailbox) = mailbox else { return };
        if !heard.is_empty() {
            mailbox.deliver(heard);
        }
        if !has_room && self.exchange.has_room() {
            mailbox.make_room();
        }
    }

    /// Whether it must be settled again soon, though nothing may happen that is told.
    pub(super) fn is_unsettled(&self) -> bool {
        self.handed_bytes > 0
    }

    /// Ends the session for a reason of this end; what is left of it is to be flushed.
    pub(super) fn end(self) -> Uplink<ToClient> {
        // Whatever was asked for ends with the session, so nothing is waited for.
        self.uplink.end(EndReason::Closed);
        self.exchange.end();
        self.uplink
    }

    /// The session is over; the mailbox hears why.
    pub(super) fn lose(mut self, reason: EndReason, mailbox: Option<&dyn Mailbox>) {
        self.settle(mailbox);
        self.exchange.end();
        if let Some(mailbox) = mailbox {
            mailbox.close(ConnectionError::Lost(reason));
        }
    }

    fn on_piece(&mut self, piece: Piece) -> Effect {
        match self.reading.take(piece) {
            Outcome::Ask(reads) => self.ask(reads),
            Outcome::Whole(object, bytes) => self.exchange.bring(object, bytes),
            Outcome::Missing(object) => return Effect::ReadLater(object),
        }
        Effect::None
    }

    fn ask(&self, reads: Vec<Read>) {
        for read in reads {
            self.uplink.send(&FromClient::Read(read));
        }
    }
}

/// For how long the scheduler has not been reached.
#[derive(Debug, Default)]
struct Absence {
    since: Option<Instant>,
    is_told: bool,
}

impl Absence {
    /// Another dial has failed.
    fn go_on(&mut self, error: &DialError, now: Instant) -> Effect {
        if error.is_refusal() {
            return Effect::Over(EndReason::Refused(error.to_string().into()));
        }
        let lasted = now - *self.since.get_or_insert(now);
        // By then the scheduler has given this client up, if it is there at all.
        if lasted >= Patience::CLIENT.silent {
            return Effect::Over(EndReason::Lost);
        }
        if lasted >= SILENCE_TIME && !self.is_told {
            self.is_told = true;
            return Effect::Notice(format!("{error}; waiting for the scheduler").into());
        }
        Effect::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_is_told_once_and_ends_the_client_when_it_was_given_up() {
        let began = Instant::now();
        let mut absence = Absence::default();
        let mut after = |seconds| {
            let now = began + Duration::from_secs(seconds);
            absence.go_on(&DialError::NotHere { port: 1 }, now)
        };
        assert!(matches!(after(0), Effect::None));
        assert!(matches!(after(4), Effect::None));
        assert!(matches!(after(5), Effect::Notice(_)));
        assert!(matches!(after(29), Effect::None));
        assert!(matches!(after(30), Effect::Over(EndReason::Lost)));
    }
}

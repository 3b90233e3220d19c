//! A node's or client's session with its scheduler, carried out: dials, resumes, and carries messages
//! both ways. What they say is its user's.
//!
//! To be used in a tokio `LocalSet`, in one thread.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hurricane_core::id::{BootId, ConnectionId};
use hurricane_core::parts::{self, Gatherer, PartError};
use hurricane_core::session::{self, Action, EndReason, Session};
use hurricane_core::time::{Time, micros};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};

use crate::dialing::{DialError, Dialed, Dialer, Reached};
use crate::framed::{Framed, Incoming};

/// The largest message that a member takes from its scheduler: the arguments of a task, or an inline
/// value.
const MAX_MESSAGE_BYTES: usize = 4 << 30;

/// So many unacknowledged messages leave room for what is not urgent: pieces of objects.
const MAX_UNACKNOWLEDGED_FOR_MORE: usize = 32;

/// What happens.
#[derive(Debug)]
pub(crate) enum Event<M> {
    /// The session has begun: messages may be sent.
    Began,
    /// The scheduler says something.
    Message(M),
    /// A connection is there, or is there again.
    Reached(Reached),
    /// The scheduler could not be reached; it is tried again.
    NotReached(DialError),
    /// It is over. The last.
    Ended(EndReason),
}

/// The session's end on this side. Dropped, everything of it is dropped.
pub(crate) struct Uplink<M> {
    shared: Rc<Shared<M>>,
    tasks: [AbortHandle; 2],
}

struct Shared<M> {
    state: RefCell<State>,
    dial: Box<dyn Fn() -> Dialing>,
    began: Instant,
    /// When the session is looked at by itself.
    alarm: Cell<Option<Time>>,
    /// That is too late.
    changed: Notify,
    /// Something is to be sent.
    gathered: Notify,
    /// Nothing is under way any more.
    acknowledged: Notify,
    /// What happened and was not told yet, in its order.
    untold: RefCell<VecDeque<Event<M>>>,
    is_telling: Cell<bool>,
    /// Nobody is there to be told any more.
    is_dropped: Cell<bool>,
    tell: Box<dyn Fn(Event<M>)>,
}

/// A connection that is being made.
pub(crate) type Dialing = Pin<Box<dyn Future<Output = Result<Dialed, DialError>>>>;

/// The parts of a message, made when their time has come.
type Later = Box<dyn FnOnce() -> Vec<Bytes>>;

struct State {
    session: Session,
    connections: BTreeMap<ConnectionId, Line>,
    joiner: parts::Joiner,
    /// What waits until the session takes more, or until all that is sent now is gathered.
    gatherer: Gatherer,
    /// When that is to go out, if there is any.
    due: Option<Due>,
    /// The parts of what is sent before it, and waits until the session takes more.
    waiting: VecDeque<Bytes>,
    /// What may wait until everything else was sent.
    later: VecDeque<Later>,
    actions: Vec<Action>,
    /// Connections that are closed from here, until what was sent is on its way.
    closing: Vec<JoinHandle<()>>,
}

/// When something is to go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// As soon as this thread has nothing else to do.
    Now,
    /// Then at the latest: with what is sent before that.
    By(Instant),
}

impl State {
    fn is_waiting(&self) -> bool {
        let is_held_up = self.due == Some(Due::Now) && !self.gatherer.is_empty();
        is_held_up || !self.waiting.is_empty()
    }

    /// What of the gathered is to go out next.
    fn pop_due(&mut self) -> Option<Bytes> {
        let is_due = match self.due? {
            Due::Now => true,
            Due::By(latest) => self.gatherer.has_full() || latest <= Instant::now(),
        };
        let part = if is_due { self.gatherer.pop() } else { None };
        if self.gatherer.is_empty() {
            self.due = None;
        }
        part
    }
}

enum Line {
    Dialing(AbortHandle),
    Open(Framed),
}

impl<M: serde::de::DeserializeOwned + 'static> Uplink<M> {
    /// Begins to look for the scheduler. `tell` hears what happens, one thing after the other; it may
    /// call any method here.
    pub(crate) fn start(dialer: Rc<Dialer>, boot: BootId, tell: Box<dyn Fn(Event<M>)>) -> Self {
        let dial = move || -> Dialing {
            let dialer = Rc::clone(&dialer);
            Box::pin(async move { dialer.dial().await })
        };
        Self::start_with(Box::new(dial), boot, tell)
    }

    /// The same, dialing as a test likes.
    pub(crate) fn start_with(
        dial: Box<dyn Fn() -> Dialing>,
        boot: BootId,
        tell: Box<dyn Fn(Event<M>)>,
    ) -> Self {
        let shared = Rc::new(Shared {
            state: RefCell::new(State {
                session: Session::dial(boot),
                connections: BTreeMap::new(),
                joiner: parts::Joiner::new(MAX_MESSAGE_BYTES),
                gatherer: Gatherer::default(),
                due: None,
                waiting: VecDeque::new(),
                later: VecDeque::new(),
                actions: Vec::new(),
                closing: Vec::new(),
            }),
            dial,
            began: Instant::now(),
            alarm: Cell::default(),
            changed: Notify::new(),
            gathered: Notify::new(),
            acknowledged: Notify::new(),
            untold: RefCell::default(),
            is_telling: Cell::new(false),
            is_dropped: Cell::new(false),
            tell,
        });
        let ticking = tokio::task::spawn_local(Rc::clone(&shared).tick()).abort_handle();
        let flushing = tokio::task::spawn_local(Rc::clone(&shared).flush()).abort_handle();
        Self { shared, tasks: [ticking, flushing] }
    }

    /// Sends a message, in the order of the calls: together with all that is sent until this thread
    /// has nothing else to do, or until it is flushed.
    pub(crate) fn send(&self, message: &impl Serialize) {
        let state = &mut *self.shared.state.borrow_mut();
        state.gatherer.push(message);
        if state.due.replace(Due::Now) != Some(Due::Now) {
            self.shared.gathered.notify_one();
        }
    }

    /// Sends a message, in the order of the calls, with what is sent within this time, or when much
    /// has gathered: each time that something goes out, both ends wake for it.
    pub(crate) fn send_within(&self, time: Duration, message: &impl Serialize) {
        let state = &mut *self.shared.state.borrow_mut();
        state.gatherer.push(message);
        let latest = Instant::now() + time;
        let is_sooner = match state.due {
            None => true,
            Some(Due::Now) => false,
            Some(Due::By(due)) => latest < due,
        };
        if is_sooner {
            state.due = Some(Due::By(latest));
        }
        if is_sooner || state.gatherer.has_full() {
            self.shared.gathered.notify_one();
        }
    }

    /// Has what was gathered go out, unless it may wait.
    pub(crate) fn flush(&self) {
        self.shared.pump();
    }

    /// Sends a message when nothing else is to be sent. Until then it takes no more memory than it
    /// does already: a piece of an object none of its own.
    pub(crate) fn send_later(&self, message: impl Serialize + 'static) {
        let later = Box::new(move || parts::cut(&message));
        self.shared.state.borrow_mut().later.push_back(later);
        self.shared.pump();
    }

    /// Whether messages wait until the session takes more.
    pub(crate) fn is_waiting(&self) -> bool {
        self.shared.state.borrow().is_waiting()
    }

    /// Ends the session, and says so to the scheduler. What was sent before is on its way.
    pub(crate) fn end(&self, reason: EndReason) {
        self.hurry();
        self.shared.handle(session::Event::End(reason));
    }

    /// Has all that was gathered go out.
    fn hurry(&self) {
        let mut state = self.shared.state.borrow_mut();
        state.due = state.due.map(|_| Due::Now);
        drop(state);
        self.shared.pump();
    }

    /// Whether all that was sent has arrived.
    fn is_acknowledged(&self) -> bool {
        let state = self.shared.state.borrow();
        let has_gathered = !(state.gatherer.is_empty() && state.waiting.is_empty());
        !has_gathered && state.later.is_empty() && state.session.unacknowledged() == 0
    }

    /// Waits until all that was sent has arrived.
    pub(crate) async fn acknowledged(&self) {
        self.hurry();
        while !self.is_acknowledged() {
            self.shared.acknowledged.notified().await;
        }
    }

    /// Waits until what was sent over closed connections is on its way, the session's end among it.
    pub(crate) async fn flushed(&self) {
        let closing = std::mem::take(&mut self.shared.state.borrow_mut().closing);
        for connection in closing {
            // Whether it could be sent is nothing that can be helped.
            let _ = connection.await;
        }
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self) -> bool {
        self.shared.state.borrow().session.is_over()
    }
}

impl<M> Drop for Uplink<M> {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.shared.is_dropped.set(true);
        // What was sent is still written; what comes is told to nobody.
        for line in std::mem::take(&mut self.shared.state.borrow_mut().connections).into_values() {
            line.close();
        }
    }
}

impl Line {
    /// Ends it; if it was open, what was sent is on its way when the task ends.
    fn close(self) -> Option<JoinHandle<()>> {
        match self {
            Self::Dialing(dialing) => {
                dialing.abort();
                None
            }
            Self::Open(framed) => Some(framed.close()),
        }
    }
}

impl<M: serde::de::DeserializeOwned + 'static> Shared<M> {
    fn now(&self) -> Time {
        Time(micros(self.began.elapsed()))
    }

    async fn tick(self: Rc<Self>) {
        loop {
            let deadline = self.state.borrow().session.deadline();
            let Some(deadline) = deadline else { return };
            self.alarm.set(Some(deadline));
            let due = self.began + deadline.since(Time::default());
            let is_due = tokio::time::timeout_at(due.into(), self.changed.notified()).await;
            if is_due.is_err() && self.is_tick_due() {
                self.handle(session::Event::Tick);
            }
        }
    }

    /// Frames have moved the deadline since, mostly.
    fn is_tick_due(&self) -> bool {
        let deadline = self.state.borrow().session.deadline();
        deadline.is_some_and(|deadline| deadline <= self.now())
    }

    /// Sends what was gathered when that is due: whenever everything else that there was to do is
    /// done, or a little later.
    async fn flush(self: Rc<Self>) {
        loop {
            let gathered = self.gathered.notified();
            let due = self.state.borrow().due;
            match due {
                Some(Due::By(latest)) if latest > Instant::now() => {
                    let _ = tokio::time::timeout_at(latest.into(), gathered).await;
                }
                // What is due and was not sent waits for the session.
                _ => gathered.await,
            }
            self.pump();
        }
    }

    /// Gives the session what waits, as far as it takes it.
    fn pump(self: &Rc<Self>) {
        loop {
            let mut state = self.state.borrow_mut();
            if state.session.is_over() || state.session.is_full() {
                return;
            }
            let has_room = state.session.unacknowledged() < MAX_UNACKNOWLEDGED_FOR_MORE;
            if state.waiting.is_empty() {
                let due = state.pop_due();
                state.waiting.extend(due);
            }
            if state.waiting.is_empty()
                && let Some(more) = state.later.pop_front_if(|_| has_room)
            {
                state.waiting.extend(more());
            }
            let next = state.waiting.pop_front();
            drop(state);
            let Some(part) = next else { return };
            self.apply(session::Event::Send(part));
        }
    }

    fn handle(self: &Rc<Self>, event: session::Event) {
        self.apply(event);
        self.pump();
    }

    fn apply(self: &Rc<Self>, event: session::Event) {
        let mut state = self.state.borrow_mut();
        let mut actions = std::mem::take(&mut state.actions);
        state.session.handle(self.now(), event, &mut actions);
        for action in actions.drain(..) {
            self.carry_out(&mut state, action);
        }
        state.actions = actions;
        if state.session.unacknowledged() == 0 {
            self.acknowledged.notify_one();
        }
        let deadline = state.session.deadline();
        drop(state);
        if deadline.is_none_or(|deadline| self.alarm.get().is_none_or(|alarm| deadline < alarm)) {
            self.changed.notify_one();
        }
        self.tell_all();
    }

    fn carry_out(self: &Rc<Self>, state: &mut State, action: Action) {
        match action {
            Action::Dial { connection } => {
                let dialing = tokio::task::spawn_local(Rc::clone(self).dial(connection));
                state.connections.insert(connection, Line::Dialing(dialing.abort_handle()));
            }
            Action::Transmit { connection, frame } => {
                if let Some(Line::Open(framed)) = state.connections.get(&connection) {
                    framed.send(&frame);
                }
            }
            Action::Close { connection, .. } => {
                state.closing.retain(|closing| !closing.is_finished());
                let line = state.connections.remove(&connection);
                state.closing.extend(line.and_then(Line::close));
            }
            Action::Began => self.untold.borrow_mut().push_back(Event::Began),
            Action::Deliver(part) => self.deliver(state, part),
            Action::Ended(reason) => self.untold.borrow_mut().push_back(Event::Ended(reason)),
        }
    }

    fn deliver(self: &Rc<Self>, state: &mut State, part: Bytes) {
        match self.take_messages(&mut state.joiner, part) {
            Ok(()) => {}
            Err(error) => {
                let reason = EndReason::Refused(error.to_string().into());
                let shared = Rc::clone(self);
                // Not here: the session's actions are being carried out.
                tokio::task::spawn_local(async move { shared.handle(session::Event::End(reason)) });
            }
        }
    }

    fn take_messages(&self, joiner: &mut parts::Joiner, part: Bytes) -> Result<(), PartError> {
        let mut untold = self.untold.borrow_mut();
        joiner.push(part)?;
        while let Some(message) = joiner.pop()? {
            untold.push_back(Event::Message(message));
        }
        Ok(())
    }

    async fn dial(self: Rc<Self>, connection: ConnectionId) {
        match (self.dial)().await {
            Ok(dialed) => {
                let shared = Rc::clone(&self);
                let hear = move |incoming| shared.on_incoming(connection, incoming);
                let framed = Framed::carry(dialed.stream, hear);
                self.state.borrow_mut().connections.insert(connection, Line::Open(framed));
                self.untold.borrow_mut().push_back(Event::Reached(dialed.reached));
                self.handle(session::Event::Opened { connection });
            }
            Err(error) => {
                self.state.borrow_mut().connections.remove(&connection);
                self.untold.borrow_mut().push_back(Event::NotReached(error));
                self.handle(session::Event::Closed { connection });
            }
        }
    }

    fn on_incoming(self: &Rc<Self>, connection: ConnectionId, incoming: Incoming) {
        self.handle(match incoming {
            Incoming::Frame(frame) => session::Event::Received { connection, frame },
            Incoming::Heard => session::Event::Heard { connection },
            Incoming::Closed => {
                self.state.borrow_mut().connections.remove(&connection);
                session::Event::Closed { connection }
            }
        });
    }

    /// Tells what happened, unless it is being told already: then it comes in its turn.
    fn tell_all(&self) {
        if self.is_telling.replace(true) {
            return;
        }
        while !self.is_dropped.get() {
            let next = self.untold.borrow_mut().pop_front();
            let Some(event) = next else { break };
            (self.tell)(event);
        }
        self.is_telling.set(false);
    }
}

#[cfg(test)]
mod tests;

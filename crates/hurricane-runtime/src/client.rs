//! A client's connection to its scheduler: numbers what it submits, keeps to its allowance, and
//! gathers what comes back.
//!
//! The same type serves a program beside its local cluster, one far from its cluster, and a running
//! task inside a worker; what differs is where it sends to.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hurricane_core::id::{DefinitionNumber, Number, ObjectId};
use hurricane_core::message::{
    ClientToScheduler, Definition, Ending, INLINE_LIMIT_BYTES, Output, SchedulerToClient, Stall,
    Value,
};
use hurricane_core::session::EndReason;

use crate::platform::fork::ProcessMark;

pub(crate) use mailboxes::Mailboxes;
use state::{Live, State};

mod mailboxes;
mod state;

/// How much text of tasks waits for a client that does not receive. Beyond it lines are dropped and
/// counted: what a task prints never grows without bound.
pub const MAX_QUEUED_OUTPUT_BYTES: usize = 1 << 20;

/// A client's connection. Clones are the same connection.
///
/// `F` is what the caller wants back when a task ends: in Python, its future.
pub struct Connection<F> {
    shared: Arc<Shared<F>>,
}

/// What has come in.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<F> {
    /// A task ended. Unless its value was stored, it is released already.
    Ended {
        /// Which.
        number: Number,
        /// What was submitted with it.
        future: F,
        /// How it ended.
        ending: Ending,
    },
    /// The stored result of an ended task was lost with its node, and the task has run again. Unless
    /// its value was stored again, it is released already.
    Restored {
        /// Which.
        number: Number,
        /// How it ended this time.
        ending: Ending,
    },
    /// A task wrote something: one of this client, or a nested one below it.
    Output {
        /// Which, as its own client names it.
        number: Number,
        /// The name of its definition.
        name: Box<str>,
        /// The name of the node where it runs.
        node: Box<str>,
        /// What.
        output: Output,
    },
    /// No worker can be set up, now and later: everything submitted fails so.
    SetupFailed {
        /// The opaque description of the exception, or of the death.
        error: Bytes,
    },
    /// Tasks are ready and none has started for a while.
    Stalled(Stall),
    /// A sentence for people: what this end waits for.
    Notice(Box<str>),
    /// The scheduler is gone, and with it every task that has not ended.
    Lost(EndReason),
}

/// What became of asking for a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Here it is.
    Value(Bytes),
    /// It has not arrived, or is being computed again.
    NotYet,
    /// It is gone, and will not come back.
    Gone,
}

/// Why a connection did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// It was closed, or its cluster stopped.
    #[error("the connection is closed")]
    Closed,
    /// The scheduler ended it.
    #[error("the scheduler ended the connection: {reason}")]
    Refused {
        /// Why.
        reason: &'static str,
    },
    /// The session with the scheduler is over, and not by this end's wish.
    #[error("the connection to the scheduler is over: {0}")]
    Lost(EndReason),
    /// This is a forked child of the process that opened it.
    #[error("this client belongs to the process that made it: make a new one after fork")]
    Forked,
}

/// Why nothing was submitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// A dependency has ended and was released: its future is done now, or in a moment.
    #[error("a dependency has ended and was released")]
    DependencyReleased,
    /// The allowance is used up: [`Connection::wait_for_allowance`].
    #[error("the client's allowance is used up")]
    AllowanceUsedUp,
    /// Nothing can be submitted any more.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl<F> Connection<F> {
    /// Names a function and how to run it.
    pub fn define(&self, definition: Definition) -> Result<DefinitionNumber, ConnectionError> {
        let mut state = self.open_state()?;
        state.definitions += 1;
        let number = DefinitionNumber(state.definitions);
        self.shared.sink.send(ClientToScheduler::Define { number, definition });
        Ok(number)
    }

    /// No further task will name this definition.
    pub fn forget(&self, number: DefinitionNumber) -> Result<(), ConnectionError> {
        self.send(ClientToScheduler::Forget { number })
    }

    /// Submits a task; `future` comes back from [`Connection::receive`] when the task ended.
    pub fn submit(
        &self,
        future: F,
        definition: DefinitionNumber,
        arguments: Bytes,
        dependencies: Vec<Number>,
    ) -> Result<Number, SubmitError> {
        let mut state = self.open_state()?;
        if !dependencies.iter().all(|dependency| state.live.contains_key(dependency)) {
            return Err(SubmitError::DependencyReleased);
        }
        let number = self.reserve(&mut state, arguments.len())?;
        state.live.insert(number, Live::Pending(future));
        state.pending += 1;
        // Sent under the lock, so that numbers grow on the wire as they were given out.
        self.shared.sink.send(ClientToScheduler::Submit {
            number,
            definition,
            arguments,
            dependencies,
        });
        drop(state);
        self.shared.sink.nudge();
        Ok(number)
    }

    /// Makes an object of a value. It lives until it is released.
    pub fn put(&self, value: Bytes) -> Result<Number, SubmitError> {
        let mut state = self.open_state()?;
        // A large value goes into a store, and costs no allowance.
        let carried_bytes = if value.len() > INLINE_LIMIT_BYTES { 0 } else { value.len() };
        let number = self.reserve(&mut state, carried_bytes)?;
        state.live.insert(number, Live::Held);
        let value = Value::Inline(value);
        self.shared.sink.send(ClientToScheduler::Put { number, value });
        Ok(number)
    }

    /// Waits until something more may be submitted; false after `timeout`.
    pub fn wait_for_allowance(&self, timeout: Duration) -> Result<bool, ConnectionError> {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.open_state()?;
        while !(state.may_submit() && self.shared.sink.has_room()) {
            let Some(waited) = wait_once(&self.shared.allowed, state, deadline) else {
                return Ok(false);
            };
            state = waited;
            state.check_open()?;
        }
        Ok(true)
    }

    /// Waits until something is so, as the thread that reads what comes in, which costs the fewest
    /// wake-ups. Nothing, at once, if another thread reads: it will tell the handle that ends.
    pub fn drive(
        &self,
        is_met: &dyn Fn() -> bool,
        deadline: Option<Instant>,
    ) -> Result<Option<bool>, ConnectionError> {
        drop(self.open_state()?);
        Ok(self.shared.sink.drive(is_met, deadline))
    }

    /// Cancels a task, running or not.
    pub fn cancel(&self, number: Number) -> Result<(), ConnectionError> {
        self.send(ClientToScheduler::Cancel { number })
    }

    /// Cancels every task of this client that does not run yet.
    pub fn cancel_waiting(&self) -> Result<(), ConnectionError> {
        self.send(ClientToScheduler::CancelWaiting)
    }

    /// Lets go the values of objects and of tasks whose result was stored. Other numbers are passed
    /// over: they are released already, or will be when they end.
    pub fn release(&self, mut numbers: Vec<Number>) -> Result<(), ConnectionError> {
        let mut state = self.open_state()?;
        numbers.retain(|number| state.let_go(*number));
        if !numbers.is_empty() {
            self.shared.sink.send(ClientToScheduler::Release { numbers });
        }
        Ok(())
    }

    /// Whether a task has room on a node now.
    pub fn is_running(&self, number: Number) -> Result<bool, ConnectionError> {
        drop(self.open_state()?);
        Ok(self.shared.sink.is_running(number))
    }

    /// The value of a stored result. Waits for it to arrive: so long, if it comes over a network.
    pub fn fetch(&self, object: ObjectId, timeout: Duration) -> Result<Fetched, ConnectionError> {
        drop(self.open_state()?);
        Ok(self.shared.sink.fetch(object, timeout))
    }

    /// What has come in; waits for the first. Nothing after `timeout`. Once closed, the tasks that
    /// have not ended are given back, cancelled or as lost; then none.
    pub fn receive(
        &self,
        timeout: Option<Duration>,
    ) -> Result<Option<Vec<Received<F>>>, ConnectionError> {
        self.shared.check_process()?;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.shared.lock();
        while !state.has_arrived() {
            if state.closed.is_some() {
                return Ok(state.give_up());
            }
            let Some(waited) = wait_once(&self.shared.arrived, state, deadline) else {
                return Ok(Some(Vec::new()));
            };
            state = waited;
        }
        let (received, released) = state.take_incoming();
        if !released.is_empty() && state.closed.is_none() {
            self.shared.sink.send(ClientToScheduler::Release { numbers: released });
        }
        Ok(Some(received))
    }

    /// How many submitted tasks [`Connection::receive`] has not yet given back.
    pub fn pending(&self) -> Result<usize, ConnectionError> {
        self.shared.check_process()?;
        Ok(self.shared.lock().pending)
    }

    /// Whether it was closed, from either end.
    pub fn is_closed(&self) -> bool {
        self.shared.check_process().is_err() || self.shared.lock().closed.is_some()
    }

    /// Ends the client: its tasks are cancelled, its objects released. Does nothing when closed
    /// already, or in a forked child.
    pub fn close(&self) {
        if self.open_state().is_ok_and(|mut state| state.close(ConnectionError::Closed)) {
            self.shared.wake_all();
            self.shared.sink.close();
        }
    }

    /// The next number, within the allowance and what may be on its way.
    fn reserve(&self, state: &mut State<F>, bytes: usize) -> Result<Number, SubmitError> {
        if self.shared.sink.has_room() {
            state.reserve(bytes)
        } else {
            Err(SubmitError::AllowanceUsedUp)
        }
    }

    fn send(&self, message: ClientToScheduler) -> Result<(), ConnectionError> {
        let _state = self.open_state()?;
        self.shared.sink.send(message);
        Ok(())
    }

    fn open_state(&self) -> Result<MutexGuard<'_, State<F>>, ConnectionError> {
        self.shared.check_process()?;
        let state = self.shared.lock();
        state.check_open()?;
        Ok(state)
    }
}

impl<F: Send + 'static> Connection<F> {
    /// A connection that speaks to `sink`; what the scheduler answers is delivered to the mailbox.
    pub(crate) fn open(sink: Box<dyn Sink>) -> (Self, Weak<dyn Mailbox>) {
        let shared = Arc::new(Shared {
            process: ProcessMark::here(),
            sink,
            state: Mutex::new(State::default()),
            arrived: Condvar::new(),
            allowed: Condvar::new(),
        });
        let mailbox = Arc::downgrade(&shared);
        (Self { shared }, mailbox)
    }
}

impl<F> Clone for Connection<F> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<F> std::fmt::Debug for Connection<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connection").field("is_closed", &self.is_closed()).finish()
    }
}

/// Where a connection sends to. None of it may block, but `fetch`.
pub(crate) trait Sink: Send + Sync {
    /// Sends a message, in the order of the calls. What cannot be sent any more is dropped: the
    /// mailbox will be closed.
    fn send(&self, message: ClientToScheduler);
    /// Whether so little is on its way that more may be sent. When it is so again, the mailbox hears
    /// of it.
    fn has_room(&self) -> bool {
        true
    }
    /// What was sent may get under way in this thread. Called without the connection's lock.
    fn nudge(&self) {}
    /// Waits until something is so, and meanwhile reads what comes in, if no other thread does:
    /// otherwise returns nothing, at once. Whether it is so; false once the deadline has come.
    fn drive(&self, _is_met: &dyn Fn() -> bool, _deadline: Option<Instant>) -> Option<bool> {
        None
    }
    /// The bytes of an object.
    fn fetch(&self, object: ObjectId, timeout: Duration) -> Fetched;
    /// Whether a task runs now, as far as is known here.
    fn is_running(&self, number: Number) -> bool;
    /// The client is gone.
    fn close(&self);
}

/// Where what the scheduler says to a client is delivered.
pub(crate) trait Mailbox: Send + Sync {
    /// Takes messages in, and wakes who waits for them.
    fn deliver(&self, messages: Vec<SchedulerToClient>);
    /// A sentence for people: what this end waits for.
    fn notice(&self, sentence: Box<str>);
    /// More may be sent again.
    fn make_room(&self);
    /// Nothing more will come. What has come may still be received.
    fn close(&self, reason: ConnectionError);
}

/// A client is gone when nobody holds its connection any more.
impl<F> Drop for Shared<F> {
    fn drop(&mut self) {
        if self.check_process().is_ok() && self.lock().closed.is_none() {
            self.sink.close();
        }
    }
}

struct Shared<F> {
    process: ProcessMark,
    sink: Box<dyn Sink>,
    state: Mutex<State<F>>,
    /// Something to receive is there, or the connection was closed.
    arrived: Condvar,
    /// The allowance grew, or the connection was closed.
    allowed: Condvar,
}

impl<F> Shared<F> {
    /// A forked child must not touch the lock: whoever held it does not exist there.
    fn check_process(&self) -> Result<(), ConnectionError> {
        if self.process.is_here() { Ok(()) } else { Err(ConnectionError::Forked) }
    }

    fn lock(&self) -> MutexGuard<'_, State<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        self.arrived.notify_all();
        self.allowed.notify_all();
    }
}

impl<F: Send> Mailbox for Shared<F> {
    fn deliver(&self, messages: Vec<SchedulerToClient>) {
        let mut state = self.lock();
        if state.closed.is_some() {
            return;
        }
        let was_empty = !state.has_arrived();
        let allowance = state.allowance;
        for message in messages {
            state.deliver(message);
        }
        let has_arrived = was_empty && state.has_arrived();
        let has_grown = state.allowance != allowance;
        drop(state);
        if has_arrived {
            self.arrived.notify_all();
        }
        if has_grown {
            self.allowed.notify_all();
        }
    }

    fn notice(&self, sentence: Box<str>) {
        let mut state = self.lock();
        if state.closed.is_none() {
            state.notices.push(sentence);
            drop(state);
            self.arrived.notify_all();
        }
    }

    fn make_room(&self) {
        // Taken, so that nobody is between looking and waiting.
        drop(self.lock());
        self.allowed.notify_all();
    }

    fn close(&self, reason: ConnectionError) {
        if self.lock().close(reason) {
            self.wake_all();
        }
    }
}

/// Waits for a signal; none when the deadline has passed.
fn wait_once<'a, T>(
    signal: &Condvar,
    state: MutexGuard<'a, T>,
    deadline: Option<Instant>,
) -> Option<MutexGuard<'a, T>> {
    let Some(deadline) = deadline else {
        return Some(signal.wait(state).unwrap_or_else(PoisonError::into_inner));
    };
    let left = deadline.checked_duration_since(Instant::now())?;
    let waited = signal.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
    Some(waited.0)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use hurricane_core::id::{NodeId, ObjectNumber};
    use hurricane_core::message::{Allowance, Failure, Stored, Stream};

    use super::*;

    const DEFINITION: DefinitionNumber = DefinitionNumber(1);
    const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

    #[test]
    fn nothing_is_submitted_beyond_the_allowance() {
        let (client, scheduler) = pair();
        assert_eq!(submit(&client, &[]), Err(SubmitError::AllowanceUsedUp));
        assert_eq!(client.wait_for_allowance(Duration::ZERO), Ok(false));
        scheduler.says(SchedulerToClient::Allowance(Allowance { tasks: 2, bytes: 100 }));
        assert_eq!(client.wait_for_allowance(Duration::ZERO), Ok(true));
        assert_eq!(submit(&client, &[]), Ok(Number(1)));
        assert_eq!(client.put("x".into()), Ok(Number(2)));
        assert_eq!(submit(&client, &[]), Err(SubmitError::AllowanceUsedUp));
    }

    #[test]
    fn what_crosses_the_limit_of_bytes_is_submitted() {
        let (client, scheduler) = pair();
        scheduler.says(SchedulerToClient::Allowance(Allowance { tasks: 9, bytes: 10 }));
        assert_eq!(client.put("more than ten bytes".into()), Ok(Number(1)));
        assert_eq!(client.put("x".into()), Err(SubmitError::AllowanceUsedUp));
    }

    #[test]
    fn an_ended_task_is_given_back_once_and_released() {
        let (client, scheduler) = allowed_pair();
        let number = submit(&client, &[]).expect("it is allowed");
        let ending = Ending::Done(Value::Inline("x".into()));
        scheduler.ends(number, &ending);
        scheduler.ends(number, &ending);
        assert_eq!(client.pending(), Ok(1));
        let received = client.receive(AT_ONCE).expect("this is no child");
        assert_eq!(received, Some(vec![Received::Ended { number, future: 7, ending }]));
        assert_eq!(client.pending(), Ok(0));
        assert_eq!(scheduler.last(), ClientToScheduler::Release { numbers: vec![number] });
        assert_eq!(submit(&client, &[number]), Err(SubmitError::DependencyReleased));
    }

    #[test]
    fn a_stored_result_is_held_until_it_is_released() {
        let (client, scheduler) = allowed_pair();
        let number = submit(&client, &[]).expect("it is allowed");
        let object = ObjectId { node: NodeId(1), number: ObjectNumber(1) };
        scheduler.ends(number, &Ending::Done(Value::Stored(Stored { object, size_bytes: 1 })));
        client.receive(AT_ONCE).expect("this is no child");
        assert_eq!(submit(&client, &[number]), Ok(Number(2)));
        client.release(vec![number, number, Number(2)]).expect("it is open");
        assert_eq!(scheduler.last(), ClientToScheduler::Release { numbers: vec![number] });
        assert_eq!(submit(&client, &[number]), Err(SubmitError::DependencyReleased));
    }

    #[test]
    fn output_is_bounded_and_what_was_dropped_is_counted() {
        let (client, scheduler) = pair();
        let text = "line\n".repeat(100_000);
        for _ in 0..5 {
            scheduler.writes(&text);
        }
        assert_eq!(dropped_lines(&client), [0, 0]);
        scheduler.writes("after\n");
        assert_eq!(dropped_lines(&client), [300_000]);
    }

    #[test]
    fn a_closed_connection_gives_what_came_and_then_none() {
        let (client, scheduler) = allowed_pair();
        scheduler.writes("last words\n");
        scheduler.mailbox().close(ConnectionError::Refused { reason: "so" });
        assert_eq!(dropped_lines(&client), [0]);
        assert_eq!(client.receive(None), Ok(None));
        let refused = ConnectionError::Refused { reason: "so" };
        assert_eq!(submit(&client, &[]), Err(SubmitError::Connection(refused)));
        client.close();
        assert!(client.is_closed());
    }

    #[test]
    fn with_the_scheduler_every_task_is_lost() {
        let (client, scheduler) = allowed_pair();
        let number = submit(&client, &[]).expect("it is allowed");
        scheduler.mailbox().close(ConnectionError::Lost(EndReason::Restarted));
        let received = client.receive(None).expect("this is no child").expect("a task is pending");
        let reason = EndReason::Restarted.to_string().into();
        let failure = Box::new(Failure::SchedulerLost(reason));
        let ending = Ending::Failed { failure, cause: None };
        let lost = Received::Lost(EndReason::Restarted);
        assert_eq!(received, [Received::Ended { number, future: 7, ending }, lost]);
        assert_eq!(client.receive(None), Ok(None));
        let error = ConnectionError::Lost(EndReason::Restarted);
        assert_eq!(submit(&client, &[]), Err(SubmitError::Connection(error)));
    }

    #[test]
    fn nothing_is_submitted_while_too_much_is_on_its_way() {
        let (client, scheduler) = allowed_pair();
        scheduler.is_full.store(true, Ordering::Relaxed);
        assert_eq!(client.put("x".into()), Err(SubmitError::AllowanceUsedUp));
        let waiting = client.clone();
        let thread = thread::spawn(move || waiting.wait_for_allowance(Duration::MAX));
        scheduler.is_full.store(false, Ordering::Relaxed);
        scheduler.mailbox().make_room();
        assert_eq!(thread.join().expect("it ended well"), Ok(true));
        assert_eq!(client.put("x".into()), Ok(Number(1)));
    }

    #[test]
    fn notices_are_received() {
        let (client, scheduler) = pair();
        scheduler.mailbox().notice("so".into());
        assert_eq!(client.receive(AT_ONCE), Ok(Some(vec![Received::Notice("so".into())])));
        assert_eq!(client.receive(AT_ONCE), Ok(Some(Vec::new())));
    }

    #[test]
    fn a_closed_connection_gives_back_every_task() {
        let (client, _scheduler) = allowed_pair();
        let numbers = [(); 3].map(|()| submit(&client, &[]).expect("it is allowed"));
        client.close();
        let received = client.receive(None).expect("this is no child").expect("tasks are pending");
        let given_back = numbers.map(|number| {
            let ending = Ending::Cancelled { cause: None };
            Received::Ended { number, future: 7, ending }
        });
        assert_eq!(received, given_back);
        assert_eq!(client.pending(), Ok(0));
        assert_eq!(client.receive(None), Ok(None));
    }

    fn submit(client: &Connection<u32>, dependencies: &[Number]) -> Result<Number, SubmitError> {
        client.submit(7, DEFINITION, "arguments".into(), dependencies.to_vec())
    }

    fn dropped_lines(client: &Connection<u32>) -> Vec<u64> {
        let received = client.receive(AT_ONCE).expect("this is no child").expect("it is open");
        let lines = received.into_iter().filter_map(|one| match one {
            Received::Output { output, .. } => Some(output.dropped_lines),
            _ => None,
        });
        lines.collect()
    }

    /// The other end.
    struct Scheduler {
        mailbox: Weak<dyn Mailbox>,
        heard: Arc<Mutex<Vec<ClientToScheduler>>>,
        is_full: Arc<AtomicBool>,
    }

    impl Scheduler {
        fn mailbox(&self) -> Arc<dyn Mailbox> {
            self.mailbox.upgrade().expect("the client holds its connection")
        }

        fn says(&self, message: SchedulerToClient) {
            self.mailbox().deliver(vec![message]);
        }

        fn ends(&self, number: Number, ending: &Ending) {
            self.says(SchedulerToClient::Ended { number, ending: ending.clone() });
        }

        fn writes(&self, text: &str) {
            let text = Bytes::copy_from_slice(text.as_bytes());
            let output = Output { stream: Stream::Stdout, text, dropped_lines: 0 };
            let (name, node) = ("task".into(), "node".into());
            self.says(SchedulerToClient::Output { number: Number(1), name, node, output });
        }

        fn last(&self) -> ClientToScheduler {
            let heard = self.heard.lock().expect("no test panics with it");
            heard.last().expect("something was said").clone()
        }
    }

    #[derive(Default)]
    struct Recording {
        heard: Arc<Mutex<Vec<ClientToScheduler>>>,
        is_full: Arc<AtomicBool>,
    }

    impl Sink for Recording {
        fn send(&self, message: ClientToScheduler) {
            self.heard.lock().expect("no test panics with it").push(message);
        }

        fn has_room(&self) -> bool {
            !self.is_full.load(Ordering::Relaxed)
        }

        fn fetch(&self, _: ObjectId, _: Duration) -> Fetched {
            Fetched::Gone
        }

        fn is_running(&self, _: Number) -> bool {
            false
        }

        fn close(&self) {}
    }

    fn pair() -> (Connection<u32>, Scheduler) {
        let sink = Recording::default();
        let (heard, is_full) = (Arc::clone(&sink.heard), Arc::clone(&sink.is_full));
        let (client, mailbox) = Connection::open(Box::new(sink));
        (client, Scheduler { mailbox, heard, is_full })
    }

    fn allowed_pair() -> (Connection<u32>, Scheduler) {
        let (client, scheduler) = pair();
        scheduler.says(SchedulerToClient::Allowance(Allowance { tasks: 100, bytes: 1 << 20 }));
        (client, scheduler)
    }
}

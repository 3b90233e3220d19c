//! A client's connection to its scheduler: numbers what it submits, keeps to its allowance, and
//! gathers what comes back.
//!
//! The same type serves a program beside its local cluster, one far from its cluster, and a running
//! task inside a worker; what differs is where it sends to.

use std::mem::MaybeUninit;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hurricane_core::id::{DefinitionNumber, Number, ObjectId};
use hurricane_core::message::{
    ClientToScheduler, Definition, Ending, INLINE_LIMIT_BYTES, SchedulerToClient, Value,
};

use crate::platform::fork::ProcessMark;
use crate::platform::shared_memory::prefer_large_pages;
use crate::store::container;

pub use crate::store::StoreFull;
pub use crate::store::container::Part;
pub(crate) use ends::{Mailbox, Sink};
pub(crate) use mailboxes::Mailboxes;
pub use words::{ConnectionError, Fetched, Handle, KeepError, Received, SubmitError};

use kept::{Content, Mark};
use live::Entry;
use state::State;

mod ends;
mod kept;
mod live;
mod mailboxes;
mod state;
mod words;

/// Makes one value of parts, for where no memory is shared.
pub fn gather(parts: &[Part<'_>]) -> Bytes {
    container::gather(None, parts)
}

/// Copies a large value into memory that was just allocated.
///
/// # Panics
///
/// If one is longer than the other.
pub fn copy_into_new(memory: &mut [MaybeUninit<u8>], value: &[u8]) {
    prefer_large_pages(memory);
    memory.write_copy_of_slice(value);
}

/// How much text of tasks waits for a client that does not receive. Beyond it lines are dropped and
/// counted: what a task prints never grows without bound.
pub const MAX_QUEUED_OUTPUT_BYTES: usize = 1 << 20;

/// A client's connection. Clones are the same connection.
///
/// `F` is the caller's handle on a task: in Python, what its future has of it.
pub struct Connection<F> {
    shared: Arc<Shared<F>>,
}

impl<F: Handle> Connection<F> {
    /// Names a function and how to run it.
    pub fn define(&self, definition: Definition) -> Result<DefinitionNumber, ConnectionError> {
        let mut state = self.open_state()?;
        state.definitions += 1;
        let number = DefinitionNumber(state.definitions);
        let definition = Box::new(definition);
        self.shared.sink.send(ClientToScheduler::Define { number, definition });
        Ok(number)
    }

    /// No further task will name this definition.
    pub fn forget(&self, number: DefinitionNumber) -> Result<(), ConnectionError> {
        self.send(ClientToScheduler::Forget { number })
    }

    /// Submits a task; `future` is told when it ends.
    pub fn submit(
        &self,
        future: F,
        definition: DefinitionNumber,
        arguments: Bytes,
        dependencies: Vec<Number>,
    ) -> Result<Number, SubmitError> {
        let mut state = self.open_state()?;
        if !dependencies.iter().all(|dependency| state.live.get(*dependency).is_some()) {
            return Err(SubmitError::DependencyReleased);
        }
        let number = self.reserve(&mut state, arguments.len())?;
        state.live.insert(number, Entry::Pending(future));
        state.kept.submitted(number, &dependencies);
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
        self.put_in(&mut *self.open_state()?, value)
    }

    /// Makes an object of a large argument, or gives one again that is equal and still there. It
    /// lives until it was released as often as it was given, and the last task that depends on it has
    /// ended. Those `beside` which it is to stand are not given: each argument of a call is its own.
    pub fn keep(&self, argument: &[u8], beside: &[Number]) -> Result<Number, KeepError> {
        drop(self.open_state()?);
        let is_shared = self.shares_memory();
        let mark_of = if is_shared { Mark::of_sample } else { Mark::of_all };
        let found = self.open_state()?.kept.find(&mark_of(argument), beside);
        if let Some((number, content)) = found {
            if !is_shared || content.is(argument) {
                return Ok(number);
            }
            self.release(vec![number])?;
        }
        self.make_room(argument.len() as u64)?;
        let value = self.gather(&[Part::Bytes(argument)]);
        // Of what is sent: meanwhile another thread may have written to the argument.
        let mark = mark_of(&value);
        let (content, value) = Content::of(value);
        let mut state = self.open_state()?;
        let number = self.put_in(&mut state, value)?;
        state.kept.insert(number, mark, content);
        Ok(number)
    }

    fn put_in(&self, state: &mut State<F>, value: Bytes) -> Result<Number, SubmitError> {
        // A large value goes into a store, and costs no allowance.
        let carried_bytes = if value.len() > INLINE_LIMIT_BYTES { 0 } else { value.len() };
        let number = self.reserve(state, carried_bytes)?;
        state.live.insert(number, Entry::Object);
        let value = Value::Inline(value);
        self.shared.sink.send(ClientToScheduler::Put { number, value });
        Ok(number)
    }

    /// Whether the store has room for so much, as far as that is known here.
    pub fn make_room(&self, bytes: u64) -> Result<(), StoreFull> {
        if self.shared.check_process().is_ok() { self.shared.sink.make_room(bytes) } else { Ok(()) }
    }

    /// Makes one value of parts; in memory that is shared with the store, where that is so, if it is
    /// large. What lies there already and was not written to is not copied.
    pub fn gather(&self, parts: &[Part<'_>]) -> Bytes {
        let may_share = self.shared.check_process().is_ok();
        container::gather(self.shared.sink.memory().filter(|_| may_share), parts)
    }

    /// A fetched value for who may write to it, copy-on-write; none if it is not in shared memory.
    pub fn own_view(&self, value: &Bytes) -> Option<Bytes> {
        self.shared.check_process().ok()?;
        self.shared.sink.memory()?.own_view(value)
    }

    /// Whether large values lie in memory that is shared with the store.
    pub fn shares_memory(&self) -> bool {
        self.shared.sink.memory().is_some()
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

    /// Cancels every task that has not ended, running or not. Their handles are told at once.
    pub fn cancel_all(&self) -> Result<(), ConnectionError> {
        let mut state = self.open_state()?;
        let cancel = |number| self.shared.sink.send(ClientToScheduler::Cancel { number });
        state.end_pending(&Ending::Cancelled { cause: None }, cancel);
        let has_arrived = state.has_arrived();
        drop(state);
        if has_arrived {
            self.shared.arrived.notify_all();
        }
        Ok(())
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

    /// What has come in and handles did not see to; waits for the first. Nothing after `timeout`.
    /// Once closed, what came before that; then none.
    pub fn receive(
        &self,
        timeout: Option<Duration>,
    ) -> Result<Option<Vec<Received<F>>>, ConnectionError> {
        self.shared.check_process()?;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.shared.lock();
        let mut released = Vec::new();
        state.put_down(&mut released);
        self.shared.release(released);
        if state.waiting > 0 {
            self.shared.over.notify_all();
        }
        while !state.has_arrived() {
            if state.closed.is_some() {
                return Ok(None);
            }
            if state.is_to_look_around() {
                state.is_woken = false;
                return Ok(Some(vec![Received::Woken]));
            }
            let Some(waited) = wait_once(&self.shared.arrived, state, deadline) else {
                return Ok(Some(Vec::new()));
            };
            state = waited;
        }
        Ok(Some(state.take_incoming()))
    }

    /// Has [`Connection::receive`] return soon.
    pub fn wake(&self) -> Result<(), ConnectionError> {
        self.open_state()?.is_woken = true;
        self.shared.arrived.notify_all();
        Ok(())
    }

    /// From now on [`Connection::receive`] returns whenever no task is pending.
    pub fn finish(&self) -> Result<(), ConnectionError> {
        self.open_state()?.is_finishing = true;
        self.shared.arrived.notify_all();
        Ok(())
    }

    /// How many submitted tasks have not ended, or wait to be given back by
    /// [`Connection::receive`].
    pub fn pending(&self) -> Result<usize, ConnectionError> {
        self.shared.check_process()?;
        Ok(self.shared.lock().pending())
    }

    /// The number given out last.
    pub fn last_number(&self) -> Result<Number, ConnectionError> {
        self.shared.check_process()?;
        Ok(Number(self.shared.lock().numbers))
    }

    /// Waits until all tasks up to this one have ended, and those that were given back have been
    /// dealt with: [`Connection::receive`] was called again. False after `timeout`.
    pub fn wait_until_over(
        &self,
        last: Number,
        timeout: Option<Duration>,
    ) -> Result<bool, ConnectionError> {
        self.shared.check_process()?;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.shared.lock();
        while !state.is_over(last) {
            state.waiting += 1;
            // Counted down by hand: the lock comes and goes with each wait.
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                state.waiting -= 1;
                return Ok(false);
            }
            state = wait_for(&self.shared.over, state, left);
            state.waiting -= 1;
        }
        Ok(true)
    }

    /// The handles of tasks whose result is stored.
    pub fn stored(&self) -> Result<Vec<F>, ConnectionError> {
        Ok(self.open_state()?.stored())
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

    /// Whether this is the process that opened it, and not a forked child of it.
    pub fn is_here(&self) -> bool {
        self.shared.check_process().is_ok()
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

impl<F: Handle> Connection<F> {
    /// A connection that speaks to `sink`; what the scheduler answers is delivered to the mailbox.
    pub(crate) fn open(sink: Box<dyn Sink>) -> (Self, Weak<dyn Mailbox>) {
        let shared = Arc::new(Shared {
            process: ProcessMark::here(),
            sink,
            state: Mutex::new(State::default()),
            arrived: Condvar::new(),
            allowed: Condvar::new(),
            over: Condvar::new(),
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

impl<F: Handle> std::fmt::Debug for Connection<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connection").field("is_closed", &self.is_closed()).finish()
    }
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
    /// Tasks are over, or the connection was closed.
    over: Condvar,
}

impl<F> Shared<F> {
    /// A forked child must not touch the lock: whoever held it does not exist there.
    fn check_process(&self) -> Result<(), ConnectionError> {
        if self.process.is_here() { Ok(()) } else { Err(ConnectionError::Forked) }
    }

    fn lock(&self) -> MutexGuard<'_, State<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the scheduler forget what has ended; to be called under the lock.
    fn release(&self, numbers: Vec<Number>) {
        if !numbers.is_empty() {
            self.sink.send(ClientToScheduler::Release { numbers });
        }
    }

    fn wake_all(&self) {
        self.arrived.notify_all();
        self.allowed.notify_all();
        self.over.notify_all();
    }
}

impl<F: Handle> Mailbox for Shared<F> {
    fn deliver(&self, messages: Vec<SchedulerToClient>) {
        let mut state = self.lock();
        if state.closed.is_some() {
            return;
        }
        let was_quiet = !(state.has_arrived() || state.is_to_look_around());
        let allowance = state.allowance;
        let mut released = Vec::new();
        for message in messages {
            state.deliver(message, &mut released);
        }
        self.release(released);
        let has_arrived = was_quiet && (state.has_arrived() || state.is_to_look_around());
        let has_grown = state.allowance != allowance;
        let is_awaited = state.waiting > 0;
        drop(state);
        if has_arrived {
            self.arrived.notify_all();
        }
        if has_grown {
            self.allowed.notify_all();
        }
        if is_awaited {
            self.over.notify_all();
        }
    }

    fn notice(&self, sentence: Box<str>) {
        let mut state = self.lock();
        if state.closed.is_none() {
            state.notice(sentence);
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
    let left = match deadline {
        Some(deadline) => Some(deadline.checked_duration_since(Instant::now())?),
        None => None,
    };
    Some(wait_for(signal, state, left))
}

/// Waits for a signal, or until so much time has passed.
fn wait_for<'a, T>(
    signal: &Condvar,
    state: MutexGuard<'a, T>,
    timeout: Option<Duration>,
) -> MutexGuard<'a, T> {
    match timeout {
        None => signal.wait(state).unwrap_or_else(PoisonError::into_inner),
        Some(timeout) => {
            signal.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0
        }
    }
}

#[cfg(test)]
mod tests;

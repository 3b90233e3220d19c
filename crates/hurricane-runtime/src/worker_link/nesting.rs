//! The running task in the part of a client: what it waits for, and who hears the answers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use hurricane_core::id::{Number, ObjectId};
use hurricane_core::message::{ClientToScheduler, NodeToWorker, WorkerToNode};

use super::WaitError;
use super::sender::Sender;
use crate::client::{ConnectionError, Fetched, Mailbox, Sink};
use crate::store::shared::SharedMemory;

/// The running task's part as a client.
pub(super) struct Nesting {
    sender: Arc<Sender>,
    state: Mutex<State>,
    /// Something in the state changed that a thread of the task may wait for.
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    /// Counts the runs, so that a thread knows whether its task is the one that runs.
    run: u64,
    is_running: bool,
    /// Whether the task that runs has used any of this.
    is_used: bool,
    mailbox: Option<Weak<dyn Mailbox>>,
    /// Answers that nobody has taken yet, in their order.
    fetched: HashMap<ObjectId, VecDeque<Answer>>,
    waiting: Waiting,
}

/// An object's bytes; none if it is gone.
struct Answer(Option<Bytes>);

/// Whether the task waits for its children, without its resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Waiting {
    #[default]
    No,
    /// It asked whether it may.
    Asked,
    /// It may not: too many do.
    TooDeep {
        limit: u32,
    },
    Yes,
    /// It asked for its resources.
    Resuming,
}

impl Nesting {
    pub(super) fn new(sender: Arc<Sender>) -> Self {
        Self { sender, state: Mutex::default(), changed: Condvar::new() }
    }

    pub(super) fn begin_run(&self) {
        let mut state = self.lock();
        let run = state.run + 1;
        *state = State { run, is_running: true, ..State::default() };
    }

    /// The task is over: its connection closes, and threads that it left behind wait no more. Whether
    /// it had used any of this.
    pub(super) fn end_run(&self) -> bool {
        let mut state = self.lock();
        state.is_running = false;
        if !state.is_used {
            return false;
        }
        let mailbox = state.mailbox.take();
        drop(state);
        self.changed.notify_all();
        if let Some(mailbox) = mailbox.and_then(|mailbox| mailbox.upgrade()) {
            mailbox.close(ConnectionError::Closed);
        }
        true
    }

    /// The node is gone.
    pub(super) fn end(&self) {
        self.end_run();
    }

    /// While it is held, the running task does not end. An error if none runs.
    pub(super) fn running(&self) -> Result<MutexGuard<'_, State>, ConnectionError> {
        let mut state = self.lock();
        if !state.is_running {
            return Err(ConnectionError::Closed);
        }
        state.is_used = true;
        Ok(state)
    }

    pub(super) fn open_mailbox(&self, mailbox: Weak<dyn Mailbox>) -> Result<(), ConnectionError> {
        self.running()?.mailbox = Some(mailbox);
        Ok(())
    }

    /// Takes an answer in; gives back what is none.
    pub(super) fn deliver(&self, message: NodeToWorker) -> Option<NodeToWorker> {
        let mut state = self.lock();
        match message {
            NodeToWorker::Nested(answer) => {
                let mailbox = state.mailbox.as_ref().and_then(Weak::upgrade);
                drop(state);
                if let Some(mailbox) = mailbox {
                    mailbox.deliver(vec![answer]);
                }
                return None;
            }
            NodeToWorker::Object { object, value } => {
                let bytes = value.map(super::bytes_of);
                state.fetched.entry(object).or_default().push_back(Answer(bytes));
            }
            NodeToWorker::MayWait => state.waiting = Waiting::Yes,
            NodeToWorker::TooDeep { limit } => state.waiting = Waiting::TooDeep { limit },
            NodeToWorker::Granted => state.waiting = Waiting::No,
            order => return Some(order),
        }
        drop(state);
        self.changed.notify_all();
        None
    }

    /// Gives the task's resources back, unless another of its threads did.
    pub(super) fn wait_begin(&self) -> Result<(), WaitError> {
        let mut state = self.running()?;
        loop {
            match state.waiting {
                Waiting::No | Waiting::Resuming => {
                    state.waiting = Waiting::Asked;
                    self.send(&WorkerToNode::Waiting);
                }
                Waiting::Yes => return Ok(()),
                Waiting::TooDeep { limit } => {
                    state.waiting = Waiting::No;
                    return Err(WaitError::TooDeep { limit });
                }
                Waiting::Asked => state = self.wait(state)?,
            }
        }
    }

    /// Waits for the task's resources, unless another of its threads has them back.
    pub(super) fn wait_end(&self) -> Result<(), WaitError> {
        let mut state = self.running()?;
        loop {
            match state.waiting {
                Waiting::No | Waiting::TooDeep { .. } => return Ok(()),
                Waiting::Yes => {
                    state.waiting = Waiting::Resuming;
                    self.send(&WorkerToNode::Resume);
                }
                Waiting::Asked | Waiting::Resuming => state = self.wait(state)?,
            }
        }
    }

    /// Goes on without the task's resources; it has them again when there is room.
    pub(super) fn wait_break_off(&self) -> Result<(), WaitError> {
        let mut state = self.running()?;
        if state.waiting == Waiting::Yes {
            state.waiting = Waiting::Resuming;
            self.send(&WorkerToNode::Resume);
        }
        Ok(())
    }

    fn fetch(&self, object: ObjectId) -> Option<Bytes> {
        let mut state = self.running().ok()?;
        self.send(&WorkerToNode::Fetch { object });
        loop {
            if let Some(Answer(bytes)) = state.take_fetched(object) {
                return bytes;
            }
            state = self.wait(state).ok()?;
        }
    }

    /// Waits for a change; an error if the task has ended meanwhile.
    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>, ConnectionError> {
        let run = state.run;
        let state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        let goes_on = state.is_running && state.run == run;
        if goes_on { Ok(state) } else { Err(ConnectionError::Closed) }
    }

    fn send(&self, message: &WorkerToNode) {
        // A node that is gone takes this process along in a moment.
        let _ = self.sender.send(message);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_fetched(&mut self, object: ObjectId) -> Option<Answer> {
        let answers = self.fetched.get_mut(&object)?;
        let answer = answers.pop_front()?;
        if answers.is_empty() {
            self.fetched.remove(&object);
        }
        Some(answer)
    }
}

/// What a task's connection speaks to.
pub(super) struct TaskSink {
    nesting: Arc<Nesting>,
}

impl TaskSink {
    pub(super) fn new(nesting: &Arc<Nesting>) -> Self {
        Self { nesting: Arc::clone(nesting) }
    }
}

impl Sink for TaskSink {
    fn send(&self, message: ClientToScheduler) {
        self.nesting.send(&WorkerToNode::Nested(message));
    }

    fn memory(&self) -> Option<&Arc<SharedMemory>> {
        Some(self.nesting.sender.memory())
    }

    /// The node answers soon, whatever it has to say.
    fn fetch(&self, object: ObjectId, _: Duration) -> Fetched {
        self.nesting.fetch(object).map_or(Fetched::Gone, Fetched::Value)
    }

    /// Nobody here knows.
    fn is_running(&self, _: Number) -> bool {
        false
    }

    /// The client ends with its task.
    fn close(&self) {}
}

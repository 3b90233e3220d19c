//! The calling process in the place of a worker: tasks wait until it asks for one, and it says when
//! it has done it.
//!
//! Two threads meet here: the program's, at the [`Caller`], and the node's, at the [`Seat`], which
//! is there for as long as a session with the scheduler lasts.

use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hurricane_core::id::{DefinitionId, RunId, WorkerId};
use hurricane_core::message::{Death, NodeToWorker, Value, WorkerToNode};
use hurricane_core::node::{Event, WorkerKind};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Report;
use crate::store::Store;

/// So much of what happened is kept for a program that is busy; what is older is forgotten.
const MAX_REPORTS: usize = 64;

/// What the calling process and its node share.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    shared: Arc<Shared>,
}

/// What the calling process is told.
#[derive(Debug)]
pub enum Heard {
    /// Something happened to its node.
    Report(Report),
    /// It is to do this, until it has finished it or given it back.
    Work(Work),
}

/// A task, opaque as everything of it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The pickled function.
    pub function: Bytes,
    /// The pickled arguments.
    pub arguments: Bytes,
    /// The values that the arguments name.
    pub inputs: Vec<Bytes>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is more to be heard.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    reports: VecDeque<Report>,
    /// The seat of the session that lasts.
    seat: Option<Occupied>,
    seats: u64,
    /// Whether the program asks for no more.
    has_left: bool,
}

/// What there is during a session.
#[derive(Debug)]
struct Occupied {
    number: u64,
    /// To the node's thread.
    say: UnboundedSender<Said>,
    store: Arc<Store>,
    functions: BTreeMap<DefinitionId, Bytes>,
    /// What the node wants done, and nobody has begun.
    offered: Option<(Run, Work)>,
    in_hand: Option<(Run, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    worker: WorkerId,
    run: RunId,
}

/// What the program says to its node.
#[derive(Debug)]
enum Said {
    Message(WorkerId, WorkerToNode),
    /// It will not do it: as if a worker had died of it.
    GaveBack(Run),
}

/// The program's side.
impl Caller {
    /// Waits for the next thing to be heard; none after `timeout`. There is no work while some is in
    /// hand.
    pub fn hear(&self, timeout: Duration) -> Option<Heard> {
        let (mut state, _) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), timeout, |state| !state.has_more())
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(report) = state.reports.pop_front() {
            return Some(Heard::Report(report));
        }
        state.seat.as_mut()?.take_up().map(Heard::Work)
    }

    /// Says what came of what is in hand. False if nothing is, or if it is wanted no more.
    pub fn finish(&self, result: Bytes) -> bool {
        self.conclude(|run, ran| WorkerToNode::Finished { run, result, ran })
    }

    /// Says that what is in hand cannot be done, by the opaque description of an exception. False as
    /// in [`Self::finish`].
    pub fn fail(&self, exception: Bytes) -> bool {
        self.conclude(|run, ran| WorkerToNode::Raised { run, exception, ran })
    }

    /// Gives back what is in hand, unfinished. False if nothing is.
    pub fn give_back(&self) -> bool {
        let mut state = self.shared.lock();
        let Some(seat) = &mut state.seat else { return false };
        let Some((run, _)) = seat.in_hand.take() else { return false };
        seat.say(Said::GaveBack(run));
        true
    }

    /// Gives back what is in hand and whatever comes later: the program will ask for no more.
    pub fn leave(&self) {
        let mut state = self.shared.lock();
        state.has_left = true;
        let Some(seat) = &mut state.seat else { return };
        let in_hand = seat.in_hand.take().map(|(run, _)| run);
        for run in in_hand.into_iter().chain(seat.offered.take().map(|(run, _)| run)) {
            seat.say(Said::GaveBack(run));
        }
    }

    /// How much of what it has finished was fetched so far: it grows while somebody fetches.
    pub fn fetched(&self) -> u64 {
        self.shared.lock().seat.as_ref().map_or(0, |seat| seat.store.reads())
    }

    /// Has the program hear of something.
    pub fn report(&self, report: Report) {
        let mut state = self.shared.lock();
        state.reports.push_back(report);
        if state.reports.len() > MAX_REPORTS {
            state.reports.pop_front();
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    fn conclude(&self, conclusion: impl FnOnce(RunId, Duration) -> WorkerToNode) -> bool {
        let mut state = self.shared.lock();
        let Some(seat) = &mut state.seat else { return false };
        let Some((run, since)) = seat.in_hand.take() else { return false };
        seat.say(Said::Message(run.worker, conclusion(run.run, since.elapsed())));
        true
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_more(&self) -> bool {
        let is_offered = |seat: &Occupied| seat.offered.is_some() && seat.in_hand.is_none();
        !self.reports.is_empty() || self.seat.as_ref().is_some_and(is_offered)
    }

    /// The seat of this number, if its session still lasts.
    fn seat(&mut self, number: u64) -> Option<&mut Occupied> {
        self.seat.as_mut().filter(|seat| seat.number == number)
    }
}

impl Occupied {
    fn take_up(&mut self) -> Option<Work> {
        if self.in_hand.is_some() {
            return None;
        }
        let (run, work) = self.offered.take()?;
        self.in_hand = Some((run, Instant::now()));
        Some(work)
    }

    fn say(&self, said: Said) {
        // The node's thread may have ended meanwhile: then nobody wants to know.
        let _ = self.say.send(said);
    }

    /// Nobody wants what this worker runs, or was to run.
    fn abandon(&mut self, worker: WorkerId) {
        self.offered.take_if(|(run, _)| run.worker == worker);
        self.in_hand.take_if(|(run, _)| run.worker == worker);
    }
}

/// The calling process as a node sees it, for as long as a session lasts. It lives in the node's
/// thread, in a tokio `LocalSet`.
pub(crate) struct Seat {
    caller: Caller,
    number: u64,
    /// Where events go.
    report: Box<dyn Fn(Event)>,
}

/// The node's side.
impl Seat {
    pub(crate) fn new(caller: Caller, store: Arc<Store>, report: Box<dyn Fn(Event)>) -> Rc<Self> {
        let (say, said) = unbounded_channel();
        let mut state = caller.shared.lock();
        state.seats += 1;
        let number = state.seats;
        state.seat = Some(Occupied {
            number,
            say,
            store,
            functions: BTreeMap::new(),
            offered: None,
            in_hand: None,
        });
        drop(state);
        let seat = Rc::new(Self { caller, number, report });
        tokio::task::spawn_local(pass_on(Rc::downgrade(&seat), said));
        seat
    }

    /// The node wants a worker: to be answered by its `Ready`. The process is there already.
    pub(crate) fn start(&self, worker: WorkerId, _kind: &WorkerKind) {
        (self.report)(Event::FromWorker { worker, message: WorkerToNode::Ready });
    }

    /// What a worker is told, with the bytes of stored values in their place.
    pub(crate) fn tell(&self, worker: WorkerId, message: NodeToWorker) {
        match message {
            NodeToWorker::Stop => return self.kill(worker),
            // As if it were begun and given back: this node must not try it again.
            NodeToWorker::Run { run, .. } if self.caller.shared.lock().has_left => {
                return self.bury(worker, Some(run));
            }
            _ => {}
        }
        self.change(|seat| match message {
            NodeToWorker::Define { id, function, .. } => {
                seat.functions.insert(id, function);
            }
            NodeToWorker::Forget { id } => {
                seat.functions.remove(&id);
            }
            NodeToWorker::Run { run, definition, arguments, inputs } => {
                let function = seat.functions.get(&definition).cloned().unwrap_or_default();
                let inputs = inputs.into_iter().map(bytes_of).collect();
                seat.offered = Some((Run { worker, run }, Work { function, arguments, inputs }));
            }
            // The program asks for nothing, and so gets no answers.
            NodeToWorker::Nested(_)
            | NodeToWorker::Object { .. }
            | NodeToWorker::MayWait
            | NodeToWorker::Granted
            | NodeToWorker::TooDeep { .. }
            | NodeToWorker::Memory(_)
            | NodeToWorker::Stop => {}
        });
    }

    /// What was told since the last time may be seen to now.
    #[expect(
        clippy::unused_self,
        reason = "other crews gather what is told, and this one need not"
    )]
    pub(crate) fn flush(&self) {}

    /// What the worker runs is to end: to be answered by `WorkerDied`. The program may go on with
    /// it, and what it makes of it goes nowhere.
    pub(crate) fn kill(&self, worker: WorkerId) {
        self.change(|seat| seat.abandon(worker));
        self.bury(worker, None);
    }

    /// The session is over: what is run for it is of no use any more.
    #[expect(clippy::unused_async, reason = "other crews must wait for their processes")]
    pub(crate) async fn kill_all(&self) {
        self.leave();
    }

    fn bury(&self, worker: WorkerId, begun: Option<RunId>) {
        (self.report)(Event::WorkerDied { worker, begun, death: Death::default() });
    }

    fn change(&self, change: impl FnOnce(&mut Occupied)) {
        if let Some(seat) = self.caller.shared.lock().seat(self.number) {
            change(seat);
        }
        self.caller.shared.changed.notify_all();
    }

    fn leave(&self) {
        let mut state = self.caller.shared.lock();
        state.seat.take_if(|seat| seat.number == self.number);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Tells the node what the program says, until the session is over.
async fn pass_on(seat: Weak<Seat>, mut said: UnboundedReceiver<Said>) {
    while let Some(said) = said.recv().await {
        let Some(seat) = seat.upgrade() else { return };
        match said {
            Said::Message(worker, message) => (seat.report)(Event::FromWorker { worker, message }),
            Said::GaveBack(run) => seat.bury(run.worker, Some(run.run)),
        }
    }
}

fn bytes_of(input: Value) -> Bytes {
    match input {
        Value::Inline(bytes) => bytes,
        Value::Stored(_) => unreachable!("a run is told with the bytes of stored values"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::runtime;
    use tokio::task::{LocalSet, yield_now};

    use super::*;

    const WORKER: WorkerId = WorkerId(1);
    const NOW: Duration = Duration::ZERO;

    fn died(begun: Option<RunId>) -> Event {
        Event::WorkerDied { worker: WORKER, begun, death: Death::default() }
    }

    struct Setting {
        caller: Caller,
        seat: Rc<Seat>,
        events: Rc<RefCell<Vec<Event>>>,
    }

    impl Setting {
        fn sit(caller: &Caller) -> Self {
            let events = Rc::new(RefCell::new(Vec::new()));
            let reported = Rc::clone(&events);
            let report = Box::new(move |event| reported.borrow_mut().push(event));
            let seat = Seat::new(caller.clone(), Arc::default(), report);
            Self { caller: caller.clone(), seat, events }
        }

        fn offer(&self, run: u64) {
            let id = DefinitionId(1);
            let (name, function) = ("task".into(), Bytes::from_static(b"function"));
            self.seat.tell(WORKER, NodeToWorker::Define { id, name, function });
            let arguments = Bytes::from(run.to_string());
            let run = RunId(run);
            let inputs = vec![Value::Inline(Bytes::from_static(b"input"))];
            self.seat.tell(WORKER, NodeToWorker::Run { run, definition: id, arguments, inputs });
        }

        async fn events(&self) -> Vec<Event> {
            yield_now().await;
            self.events.take()
        }
    }

    fn work(run: u64) -> Work {
        Work {
            function: Bytes::from_static(b"function"),
            arguments: Bytes::from(run.to_string()),
            inputs: vec![Bytes::from_static(b"input")],
        }
    }

    fn heard(caller: &Caller) -> Option<Work> {
        caller.hear(NOW).map(|heard| match heard {
            Heard::Work(work) => work,
            Heard::Report(report) => panic!("{report:?}"),
        })
    }

    fn in_node_thread(test: impl AsyncFnOnce()) {
        let runtime = runtime::Builder::new_current_thread().build().expect("a runtime");
        LocalSet::new().block_on(&runtime, test());
    }

    #[test]
    fn a_task_is_taken_and_finished_once() {
        in_node_thread(async || {
            let caller = Caller::default();
            assert_eq!(heard(&caller), None);
            let setting = Setting::sit(&caller);
            setting.seat.start(WORKER, &WorkerKind { threads: 1, gpus: Vec::new() });
            let ready = Event::FromWorker { worker: WORKER, message: WorkerToNode::Ready };
            assert_eq!(setting.events().await, [ready]);
            setting.offer(1);
            assert_eq!(heard(&caller), Some(work(1)));
            assert_eq!(heard(&caller), None, "one at a time");
            assert!(caller.finish(Bytes::from_static(b"result")));
            assert!(!caller.finish(Bytes::from_static(b"result")), "nothing is in hand");
            let events = setting.events().await;
            let [Event::FromWorker { message: WorkerToNode::Finished { run, result, .. }, .. }] =
                &events[..]
            else {
                panic!("{events:?}")
            };
            assert_eq!((run, &result[..]), (&RunId(1), &b"result"[..]));
        });
    }

    #[test]
    fn what_is_given_back_looks_like_a_death() {
        in_node_thread(async || {
            let caller = Caller::default();
            let setting = Setting::sit(&caller);
            assert!(!caller.give_back());
            setting.offer(1);
            heard(&caller);
            assert!(caller.give_back());
            assert_eq!(setting.events().await, [died(Some(RunId(1)))]);
            assert!(!caller.finish(Bytes::new()));
        });
    }

    #[test]
    fn who_has_left_gives_everything_back() {
        in_node_thread(async || {
            let caller = Caller::default();
            let setting = Setting::sit(&caller);
            setting.offer(1);
            caller.leave();
            assert_eq!(setting.events().await, [died(Some(RunId(1)))]);
            setting.offer(2);
            assert_eq!(setting.events().await, [died(Some(RunId(2)))]);
            assert_eq!(heard(&caller), None);
        });
    }

    #[test]
    fn what_was_cancelled_goes_nowhere() {
        in_node_thread(async || {
            let caller = Caller::default();
            let setting = Setting::sit(&caller);
            setting.offer(1);
            setting.seat.kill(WORKER);
            assert_eq!(heard(&caller), None, "it was not begun");
            setting.offer(2);
            assert_eq!(heard(&caller), Some(work(2)));
            setting.seat.kill(WORKER);
            assert!(!caller.finish(Bytes::new()));
            assert_eq!(setting.events().await, [died(None), died(None)]);
        });
    }

    #[test]
    fn a_new_session_knows_nothing_of_the_last() {
        in_node_thread(async || {
            let caller = Caller::default();
            let first = Setting::sit(&caller);
            first.offer(1);
            assert_eq!(heard(&caller), Some(work(1)));
            first.seat.kill_all().await;
            let second = Setting::sit(&caller);
            drop(first);
            assert!(!caller.finish(Bytes::new()), "it belongs to the first");
            second.offer(1);
            assert_eq!(heard(&caller), Some(work(1)));
            assert!(caller.finish(Bytes::new()));
            assert_eq!(second.events().await.len(), 1);
        });
    }

    #[test]
    fn reports_come_first_and_are_bounded() {
        in_node_thread(async || {
            let caller = Caller::default();
            let setting = Setting::sit(&caller);
            setting.offer(1);
            for number in 0..=MAX_REPORTS {
                caller.report(Report::Refused(number.to_string()));
            }
            for number in 1..=MAX_REPORTS {
                let heard = caller.hear(NOW);
                let Some(Heard::Report(Report::Refused(text))) = heard else { panic!("{heard:?}") };
                assert_eq!(text, number.to_string());
            }
            assert_eq!(heard(&setting.caller), Some(work(1)));
        });
    }
}

//! What a connection does with what it is told, by both sides.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hurricane_core::id::{NodeId, ObjectNumber};
use hurricane_core::message::{Allowance, Failure, Output, Stored, Stream};
use hurricane_core::session::EndReason;

use super::*;
use crate::platform::shared_memory::{Access, Mapping, MemoryFile, Range, page_bytes};

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
fn equal_arguments_are_one_object_until_the_last_task_has_ended() {
    let (client, scheduler) = allowed_pair();
    let argument = vec![1; 1 << 20];
    let kept = client.keep(&argument, &[]).expect("there is room");
    assert_eq!(client.keep(&argument.clone(), &[]).expect("there is room"), kept);
    let tasks = [(); 2].map(|()| submit(&client, &[kept]).expect("it is allowed"));
    client.release(vec![kept]).expect("it is open");
    client.release(vec![kept]).expect("it is open");
    let puts = |message: &&ClientToScheduler| matches!(message, ClientToScheduler::Put { .. });
    let heard = || scheduler.heard.lock().expect("no test panics with it").clone();
    assert_eq!(heard().iter().filter(puts).count(), 1);
    for task in tasks {
        assert_eq!(client.keep(&argument, &[]).expect("there is room"), kept);
        client.release(vec![kept]).expect("it is open");
        scheduler.ends(task, &Ending::Done(Value::Inline("x".into())));
    }
    let numbers = vec![kept, tasks[1]];
    assert_eq!(scheduler.last(), ClientToScheduler::Release { numbers });
    assert_ne!(client.keep(&argument, &[]).expect("there is room"), kept);
    assert_eq!(heard().iter().filter(puts).count(), 2);
}

#[test]
fn arguments_that_differ_or_stand_beside_each_other_are_objects_of_their_own() {
    let (client, _scheduler) = allowed_pair();
    let mut argument = vec![1; 1 << 20];
    let first = client.keep(&argument, &[]).expect("there is room");
    let beside = client.keep(&argument, &[first]).expect("there is room");
    assert_ne!(first, beside);
    argument[12_345] = 2;
    let other = client.keep(&argument, &[]).expect("there is room");
    assert!(other != first && other != beside);
}

#[test]
fn an_argument_is_known_by_what_was_sent_of_it() {
    let (client, scheduler) = allowed_pair();
    // Another thread writes to it when it was looked at and not copied yet.
    let argument = Arc::new(shared_page());
    let written = Arc::clone(&argument);
    let write = move || written.write(0, b"after");
    *scheduler.before_copy.lock().expect("no test panics with it") = Some(Box::new(write));
    argument.write(0, b"before");
    let kept = client.keep(argument.bytes(page_bytes()), &[]).expect("there is room");
    let Some(ClientToScheduler::Put { value: Value::Inline(sent), .. }) =
        scheduler.heard.lock().expect("no test panics with it").pop()
    else {
        panic!("the argument was not sent");
    };
    assert!(sent.starts_with(b"after"));
    assert_eq!(client.keep(&sent, &[]).expect("there is room"), kept);
    argument.write(0, b"before");
    let other = client.keep(argument.bytes(page_bytes()), &[]).expect("there is room");
    assert_ne!(other, kept, "what was before was never sent");
}

fn shared_page() -> Mapping {
    let file = MemoryFile::create(page_bytes()).expect("there is memory");
    let whole = Range { file: &file, offset: 0, length: page_bytes() };
    Mapping::new(&[whole], Access::Write).expect("it is whole")
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
    before_copy: Arc<Mutex<Option<Interruption>>>,
}

/// What happens elsewhere in between.
type Interruption = Box<dyn FnOnce() + Send>;

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
        let output = Box::new(Output { stream: Stream::Stdout, text, dropped_lines: 0 });
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
    before_copy: Arc<Mutex<Option<Interruption>>>,
}

impl Sink for Recording {
    fn send(&self, message: ClientToScheduler) {
        self.heard.lock().expect("no test panics with it").push(message);
    }

    fn has_room(&self) -> bool {
        !self.is_full.load(Ordering::Relaxed)
    }

    fn make_room(&self, _: u64) -> Result<(), StoreFull> {
        let happens = self.before_copy.lock().expect("no test panics with it").take();
        if let Some(happens) = happens {
            happens();
        }
        Ok(())
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
    pair_of()
}

fn pair_of<F: Handle>() -> (Connection<F>, Scheduler) {
    let sink = Recording::default();
    let (heard, is_full) = (Arc::clone(&sink.heard), Arc::clone(&sink.is_full));
    let before_copy = Arc::clone(&sink.before_copy);
    let (client, mailbox) = Connection::open(Box::new(sink));
    (client, Scheduler { mailbox, heard, is_full, before_copy })
}

fn allowed_pair() -> (Connection<u32>, Scheduler) {
    let (client, scheduler) = pair();
    scheduler.says(SchedulerToClient::Allowance(Allowance { tasks: 100, bytes: 1 << 20 }));
    (client, scheduler)
}

#[test]
fn a_handle_that_keeps_its_ending_is_not_received() {
    let (client, scheduler) = kept_pair();
    let futures = [(); 3].map(|()| Kept::default());
    let numbers = futures.clone().map(|future| submit_kept(&client, future));
    let ending = Ending::Done(Value::Inline("x".into()));
    let ended = |number| SchedulerToClient::Ended { number, ending: ending.clone() };
    scheduler.mailbox().deliver(numbers.into_iter().take(2).map(ended).collect());
    assert_eq!(futures.clone().map(|future| future.endings()), [1, 1, 0]);
    // All of one delivery in one message.
    let released = numbers[..2].to_vec();
    assert_eq!(scheduler.last(), ClientToScheduler::Release { numbers: released });
    assert_eq!(client.receive(AT_ONCE), Ok(Some(Vec::new())));
    assert_eq!(client.pending(), Ok(1));
    client.close();
    assert_eq!(futures.map(|future| future.endings()), [1, 1, 1]);
    assert_eq!(client.receive(None), Ok(None));
}

#[test]
fn a_stored_value_that_nobody_wants_is_released_at_once() {
    let (client, scheduler) = kept_pair();
    let future = Kept::default();
    future.is_dropped.store(true, Ordering::Relaxed);
    let number = submit_kept(&client, future.clone());
    scheduler.ends(number, &stored_at(1));
    assert_eq!(scheduler.last(), ClientToScheduler::Release { numbers: vec![number] });
    scheduler.says(SchedulerToClient::Restored { number, ending: stored_at(2) });
    assert_eq!(future.endings(), 1);
}

#[test]
fn a_handle_is_told_where_its_value_is_now() {
    let (client, scheduler) = kept_pair();
    let future = Kept::default();
    let number = submit_kept(&client, future.clone());
    scheduler.ends(number, &stored_at(1));
    scheduler.says(SchedulerToClient::Restored { number, ending: stored_at(2) });
    assert_eq!(client.stored().map(|stored| stored.len()), Ok(1));
    assert_eq!(*future.ended.lock().expect("no test panics with it"), [stored_at(1), stored_at(2)]);
}

#[test]
fn cancelling_all_ends_what_is_pending_and_nothing_twice() {
    let (client, scheduler) = kept_pair();
    let future = Kept::default();
    let number = submit_kept(&client, future.clone());
    client.cancel_all().expect("it is open");
    assert_eq!(scheduler.last(), ClientToScheduler::Cancel { number });
    assert_eq!((future.endings(), client.pending()), (1, Ok(1)));
    scheduler.ends(number, &Ending::Cancelled { cause: None });
    assert_eq!(client.pending(), Ok(0));
}

#[test]
fn who_receives_is_woken() {
    let (client, scheduler) = allowed_pair();
    client.wake().expect("it is open");
    assert_eq!(client.receive(None), Ok(Some(vec![Received::Woken])));
    let number = submit(&client, &[]).expect("it is allowed");
    client.finish().expect("it is open");
    assert_eq!(client.receive(AT_ONCE), Ok(Some(Vec::new())));
    scheduler.ends(number, &Ending::Cancelled { cause: None });
    assert_eq!(client.receive(None).map(|received| received.map(|ends| ends.len())), Ok(Some(1)));
    // Nothing is pending any more: it need not wait.
    assert_eq!(client.receive(None), Ok(Some(vec![Received::Woken])));
}

#[test]
fn tasks_are_over_when_their_ends_were_dealt_with() {
    let (client, scheduler) = allowed_pair();
    let first = submit(&client, &[]).expect("it is allowed");
    let second = submit(&client, &[]).expect("it is allowed");
    let is_over = |number| client.wait_until_over(number, AT_ONCE);
    assert_eq!(client.last_number(), Ok(second));
    scheduler.ends(first, &Ending::Cancelled { cause: None });
    assert_eq!(is_over(first), Ok(false));
    client.receive(AT_ONCE).expect("this is no child");
    assert_eq!(is_over(first), Ok(false));
    client.receive(AT_ONCE).expect("this is no child");
    assert_eq!((is_over(first), is_over(second)), (Ok(true), Ok(false)));
    let waiting = client.clone();
    let thread = thread::spawn(move || waiting.wait_until_over(second, None));
    client.close();
    client.receive(None).expect("this is no child");
    client.receive(None).expect("this is no child");
    assert_eq!(thread.join().expect("it ended well"), Ok(true));
}

/// A handle that keeps what it is told.
#[derive(Clone, Debug, Default)]
struct Kept {
    ended: Arc<Mutex<Vec<Ending>>>,
    is_dropped: Arc<AtomicBool>,
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ended, &other.ended)
    }
}

impl Kept {
    fn endings(&self) -> usize {
        self.ended.lock().expect("no test panics with it").len()
    }
}

impl Handle for Kept {
    fn end(&self, ending: Ending) -> Option<Ending> {
        self.ended.lock().expect("no test panics with it").push(ending);
        None
    }

    fn is_wanted(&self) -> bool {
        !self.is_dropped.load(Ordering::Relaxed)
    }
}

fn kept_pair() -> (Connection<Kept>, Scheduler) {
    let (client, scheduler) = pair_of();
    scheduler.says(SchedulerToClient::Allowance(Allowance { tasks: 100, bytes: 1 << 20 }));
    (client, scheduler)
}

fn submit_kept(client: &Connection<Kept>, future: Kept) -> Number {
    let submitted = client.submit(future, DEFINITION, "arguments".into(), Vec::new());
    submitted.expect("it is allowed")
}

fn stored_at(node: u64) -> Ending {
    let object = ObjectId { node: NodeId(node), number: ObjectNumber(1) };
    Ending::Done(Value::Stored(Stored { object, size_bytes: 1 }))
}

#[test]
fn lines_of_a_task_come_before_its_end() {
    let (client, scheduler) = kept_pair();
    let futures = [(); 2].map(|()| Kept::default());
    let numbers = futures.clone().map(|future| submit_kept(&client, future));
    let endings = || futures.clone().map(|future| future.endings());
    scheduler.writes("a line\n");
    scheduler.ends(numbers[0], &stored_at(1));
    assert_eq!(pieces_of_output(&client), 1);
    // What was received is not printed yet.
    scheduler.ends(numbers[1], &stored_at(1));
    assert_eq!(endings(), [0, 0]);
    assert_eq!(client.receive(AT_ONCE), Ok(Some(Vec::new())));
    assert_eq!((endings(), client.pending()), ([1, 1], Ok(0)));
}

#[test]
fn what_ended_before_the_connection_did_is_not_lost_with_it() {
    let (client, scheduler) = kept_pair();
    let future = Kept::default();
    let number = submit_kept(&client, future.clone());
    scheduler.writes("a line\n");
    scheduler.ends(number, &stored_at(1));
    scheduler.mailbox().close(ConnectionError::Closed);
    assert_eq!(*future.ended.lock().expect("no test panics with it"), [stored_at(1)]);
}

/// How many pieces of output there are.
fn pieces_of_output(client: &Connection<Kept>) -> usize {
    let received = client.receive(AT_ONCE).expect("this is no child").expect("it is open");
    received.iter().filter(|one| matches!(one, Received::Output { .. })).count()
}

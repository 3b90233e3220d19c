//! A client's process: a random program, and its end of the session.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use hurricane_core::Session;
use hurricane_core::id::{BootId, ClientId, ConnectionId, DefinitionNumber, Number};
use hurricane_core::member::{FromClient, PIECE_BYTES, ToClient};
use hurricane_core::message::{
    Allowance, ClientToScheduler, Ending, INLINE_LIMIT_BYTES, Output, SchedulerToClient, Stored,
    Value,
};
use hurricane_core::parts::{self, Joiner};
use hurricane_core::session::{self, EndReason, MAX_MESSAGES};
use hurricane_core::time::Time;

use crate::checks::{Execution, Key, decode_value, encode_key, encode_value};
use crate::cluster::{Happening, Place, World};
use crate::dice::Dice;
use crate::network::{End, Parcel};
use crate::program::{Kind, Script};
use crate::reads::Subject;
use crate::scheduler::{new_joiner, taken};

/// How many tasks and objects a task depends on at most.
const MAX_FAN_IN: u64 = 4;

/// The process.
pub(crate) struct Client {
    /// What the scheduler calls it.
    pub(crate) id: Option<ClientId>,
    index: usize,
    session: Session,
    joiner: Joiner,
    state: State,
    definitions: BTreeMap<DefinitionNumber, Kind>,
    last_definition: u32,
    pub(crate) futures: BTreeMap<Number, Future>,
    /// What it reads.
    pub(crate) readings: BTreeMap<u64, Subject>,
    requests: u64,
    last_number: u64,
    /// How many tasks and objects it is still to submit.
    left: u64,
    allowance: Allowance,
    submitted: Allowance,
    /// Whether something happened that may end its session.
    pub(crate) is_disturbed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its program runs.
    Running,
    /// It has left by its own wish.
    Left,
    /// Its process was killed.
    Killed,
    /// The scheduler gave it up.
    Lost,
}

/// A task or an object that it has not released.
#[derive(Debug)]
pub(crate) struct Future {
    /// The task; none for an object.
    pub(crate) key: Option<Key>,
    /// What it stands for, if all goes well.
    pub(crate) value: u64,
    pub(crate) state: FutureState,
    /// Whether it was cancelled by name.
    is_cancelled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FutureState {
    Pending,
    /// With a value that came or was read, or that must be read.
    Done(Option<Stored>),
    /// Failed or cancelled.
    Bad,
}

impl Future {
    fn is_to_be_read(&self) -> bool {
        matches!(self.state, FutureState::Done(Some(_)))
    }
}

impl Client {
    pub(crate) fn new(index: usize, tasks: u64, dice: &mut Dice) -> Self {
        Self {
            id: None,
            index,
            session: Session::dial(BootId(dice.roll())),
            joiner: new_joiner(),
            state: State::Running,
            definitions: BTreeMap::new(),
            last_definition: 0,
            futures: BTreeMap::new(),
            readings: BTreeMap::new(),
            requests: 0,
            last_number: 0,
            left: dice.between(1, tasks),
            allowance: Allowance::default(),
            submitted: Allowance::default(),
            is_disturbed: false,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        if self.is_over() { None } else { self.session.deadline() }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state != State::Running
    }

    pub(crate) fn check(&self) {
        self.session.sanity_check();
        assert!(self.session.unacknowledged() < MAX_MESSAGES, "queues are bounded");
    }

    pub(crate) fn describe(&self) -> String {
        let pending = self.futures.iter().filter(|(_, it)| it.state == FutureState::Pending);
        let pending: Vec<_> = pending.map(|(number, it)| (number.0, it.key)).collect();
        format!("client {} is to submit {}, and waits for {pending:?}", self.index, self.left)
    }

    fn may_submit(&self) -> bool {
        self.submitted.tasks < self.allowance.tasks
            && self.submitted.bytes < self.allowance.bytes
            && !self.session.is_full()
    }

    pub(crate) fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    fn next_number(&mut self, bytes: usize) -> Number {
        self.left -= 1;
        self.submitted.tasks += 1;
        self.submitted.bytes += bytes as u64;
        self.last_number += 1;
        Number(self.last_number)
    }

    fn numbers(&self, wanted: impl Fn(&Future) -> bool) -> Vec<Number> {
        let wanted = self.futures.iter().filter(|(_, future)| wanted(future));
        wanted.map(|(number, _)| *number).collect()
    }
}

impl World {
    pub(crate) fn tick_client(&mut self, index: usize) {
        self.tell_client_session(index, session::Event::Tick);
    }

    /// A client's process ends without a word of its own.
    pub(crate) fn kill_client(&mut self, index: usize, is_told: bool) {
        self.clients[index].state = State::Killed;
        self.pauses.remove(&Place::Client(index));
        self.network.abandon(self.now, Place::Client(index), is_told, &mut self.agenda);
    }

    pub(crate) fn on_client_acts(&mut self, index: usize) {
        if self.clients[index].is_over() {
            return;
        }
        let is_busy = self.clients[index].left > 0;
        if is_busy {
            self.take_program_step(index);
        } else {
            self.finish_program(index);
        }
        let pause = if is_busy { self.dice.micros(1, 8000) } else { self.dice.millis(10, 60) };
        self.after(pause, Happening::ClientActs { client: index });
    }

    pub(crate) fn on_arrival_at_client(
        &mut self,
        index: usize,
        connection: ConnectionId,
        parcel: Parcel,
    ) {
        self.tell_client_session(index, parcel.event(connection));
    }

    fn take_program_step(&mut self, index: usize) {
        if !self.clients[index].may_submit() {
            return;
        }
        let has_definition = !self.clients[index].definitions.is_empty();
        match self.dice.below(100) {
            _ if !has_definition => self.define(index),
            0..=11 => self.define(index),
            12..=17 => self.put(index),
            18..=24 => self.cancel_any(index),
            25 => self.cancel_waiting(index),
            26..=36 => self.release_any(index),
            37 => self.forget_any(index),
            38 | 39 => self.read_any(index),
            40 => self.read_foreign(index),
            _ => self.submit(index),
        }
    }

    fn define(&mut self, index: usize) {
        let kind = Kind::any(&mut self.dice, self.plan.pace);
        let client = &mut self.clients[index];
        client.last_definition += 1;
        let number = DefinitionNumber(client.last_definition);
        let definition = kind.definition().into();
        client.definitions.insert(number, kind);
        self.say_as_client(index, ClientToScheduler::Define { number, definition });
    }

    fn forget_any(&mut self, index: usize) {
        let known: Vec<DefinitionNumber> =
            self.clients[index].definitions.keys().copied().collect();
        if let Some(number) = self.dice.pick_if_any(&known) {
            self.forget(index, number);
        }
    }

    fn forget(&mut self, index: usize, number: DefinitionNumber) {
        self.clients[index].definitions.remove(&number);
        self.say_as_client(index, ClientToScheduler::Forget { number });
    }

    /// Submits a task; of a short one, often many, so that nodes have something to queue.
    fn submit(&mut self, index: usize) {
        let definitions = &self.clients[index].definitions;
        let known: Vec<DefinitionNumber> = definitions.keys().copied().collect();
        let definition = self.dice.pick(&known);
        let is_burst = definitions[&definition].is_short && self.dice.chance(50);
        let count = if is_burst { self.dice.between(5, 50) } else { 1 };
        for _ in 0..count {
            let client = &self.clients[index];
            if client.left > 0 && client.may_submit() {
                self.submit_of(index, definition);
            }
        }
    }

    fn submit_of(&mut self, index: usize, definition: DefinitionNumber) {
        let client = &mut self.clients[index];
        let dependencies = choose_dependencies(client, &mut self.dice);
        let futures = dependencies.iter().map(|number| &client.futures[number]);
        let (keys, inputs): (Vec<_>, Vec<_>) = futures.map(|it| (it.key, it.value)).unzip();
        let named = dependencies.iter().copied().zip(keys).collect();
        let kind = client.definitions[&definition].clone();
        let script = Arc::new(Script::any(&mut self.dice, &kind, self.plan.pace));
        let key = self.ledger.open(kind, script, named, inputs);
        let arguments = encode_key(key);
        let number = client.next_number(arguments.len());
        let value = self.ledger.get(key).result;
        let state = FutureState::Pending;
        client.futures.insert(number, Future { key: Some(key), value, state, is_cancelled: false });
        let message = ClientToScheduler::Submit { number, definition, arguments, dependencies };
        self.say_as_client(index, message);
    }

    fn put(&mut self, index: usize) {
        let value = self.dice.roll();
        let size = match self.dice.below(60) {
            0 if !self.plan.is_one_machine => PIECE_BYTES + 1,
            1..=9 if !self.plan.is_one_machine => INLINE_LIMIT_BYTES + 1,
            10..=24 => 1000,
            _ => 16,
        };
        let bytes = encode_value(value, Execution(0), size);
        let client = &mut self.clients[index];
        // A large value goes into a store, and costs no allowance.
        let carried_bytes = if size > INLINE_LIMIT_BYTES { 0 } else { size };
        let number = client.next_number(carried_bytes);
        let state = FutureState::Done(None);
        client.futures.insert(number, Future { key: None, value, state, is_cancelled: false });
        self.say_as_client(index, ClientToScheduler::Put { number, value: Value::Inline(bytes) });
    }

    fn cancel_any(&mut self, index: usize) {
        let tasks = self.clients[index].numbers(|future| future.key.is_some());
        if let Some(number) = self.dice.pick_if_any(&tasks) {
            self.cancel(index, number);
        }
    }

    fn cancel(&mut self, index: usize, number: Number) {
        let future = self.clients[index].futures.get_mut(&number).expect("it names what it holds");
        future.is_cancelled = true;
        if let Some(key) = future.key {
            self.ledger.get_mut(key).was_cancelled = true;
        }
        self.say_as_client(index, ClientToScheduler::Cancel { number });
    }

    fn cancel_waiting(&mut self, index: usize) {
        for future in self.clients[index].futures.values() {
            if let Some(key) = future.key.filter(|_| future.state == FutureState::Pending) {
                self.ledger.get_mut(key).was_cancelled = true;
            }
        }
        self.say_as_client(index, ClientToScheduler::CancelWaiting);
    }

    fn release_any(&mut self, index: usize) {
        let mut numbers = self.clients[index].numbers(|it| it.state != FutureState::Pending);
        numbers.retain(|_| self.dice.chance(40));
        self.release(index, numbers);
    }

    fn release(&mut self, index: usize, numbers: Vec<Number>) {
        for number in &numbers {
            self.clients[index].futures.remove(number);
        }
        if !numbers.is_empty() {
            self.say_as_client(index, ClientToScheduler::Release { numbers });
        }
    }

    /// Everything is submitted: the program waits for all of it, and leaves.
    fn finish_program(&mut self, index: usize) {
        self.cancel_what_hangs(index);
        if !self.clients[index].numbers(|it| it.state == FutureState::Pending).is_empty() {
            return;
        }
        let unread = self.clients[index].numbers(Future::is_to_be_read);
        if !unread.is_empty() {
            // What cannot be had was lost, and will be told of again.
            return unread.into_iter().for_each(|number| self.read_result(index, number));
        }
        if self.dice.chance(70) {
            let numbers = self.clients[index].numbers(|_| true);
            self.release(index, numbers);
            for number in self.clients[index].definitions.keys().copied().collect::<Vec<_>>() {
                self.forget(index, number);
            }
        }
        self.tell_client_session(index, session::Event::End(EndReason::Closed));
    }

    fn cancel_what_hangs(&mut self, index: usize) {
        for number in self.clients[index].numbers(|it| it.state == FutureState::Pending) {
            let future = &self.clients[index].futures[&number];
            let record = future.key.map(|key| self.ledger.get(key));
            let hangs = record.is_some_and(|it| it.script.hangs() && it.kind.timeout.is_none());
            if hangs && !future.is_cancelled {
                self.cancel(index, number);
            }
        }
    }

    fn read_any(&mut self, index: usize) {
        let unread = self.clients[index].numbers(Future::is_to_be_read);
        if let Some(number) = self.dice.pick_if_any(&unread) {
            self.read_result(index, number);
        }
    }

    fn say_as_client(&mut self, index: usize, message: ClientToScheduler) {
        self.send_from_client(index, &FromClient::Scheduling(message));
    }

    pub(crate) fn send_from_client(&mut self, index: usize, message: &FromClient) {
        for part in parts::cut(message) {
            self.tell_client_session(index, session::Event::Send(part));
        }
    }

    fn tell_client_session(&mut self, index: usize, event: session::Event) {
        let client = &mut self.clients[index];
        if client.is_over() {
            return;
        }
        let mut actions = Vec::new();
        client.session.handle(self.now, event, &mut actions);
        for action in actions {
            self.do_for_client_session(index, action);
        }
    }

    fn do_for_client_session(&mut self, index: usize, action: session::Action) {
        let place = Place::Client(index);
        match action {
            session::Action::Dial { connection } => self.dial(place, connection),
            session::Action::Transmit { connection, frame } => {
                let connection = self.network.index(place, connection);
                self.transmit(connection, End::Listener, frame);
            }
            session::Action::Close { connection, violation } => {
                assert_eq!(violation, None, "the scheduler keeps to the protocol");
                self.hang_up(self.network.index(place, connection), End::Dialer);
            }
            session::Action::Began => {}
            session::Action::Deliver(payload) => {
                let told = taken(&mut self.clients[index].joiner, &payload);
                match told.expect("the scheduler keeps to the protocol") {
                    Some(ToClient::Scheduling(message)) => self.on_client_told(index, message),
                    Some(ToClient::Piece(piece)) => self.on_piece_at_client(index, &piece),
                    None => {}
                }
            }
            session::Action::Ended(reason) => self.on_client_session_ended(index, &reason),
        }
    }

    fn on_client_session_ended(&mut self, index: usize, reason: &EndReason) {
        self.note(format_args!("client {index} is over: {reason}"));
        let client = &mut self.clients[index];
        client.state = if *reason == EndReason::Closed { State::Left } else { State::Lost };
        assert!(client.state == State::Left || client.is_disturbed, "client {index}: {reason}");
    }

    fn on_client_told(&mut self, index: usize, message: SchedulerToClient) {
        self.note(format_args!("client {index} <- {message:?}"));
        match message {
            SchedulerToClient::Ended { number, ending } => {
                let future = self.clients[index].futures.get(&number);
                let key = future.and_then(|future| future.key).expect("a task that it submitted");
                self.ledger.end(key, &ending, false);
                self.on_future_ended(index, number, &ending);
            }
            SchedulerToClient::Restored { number, ending } => {
                // It may have been released meanwhile.
                let future = self.clients[index].futures.get(&number);
                if let Some(key) = future.and_then(|future| future.key) {
                    self.ledger.end(key, &ending, true);
                    self.on_future_ended(index, number, &ending);
                }
            }
            SchedulerToClient::Output { output, .. } => self.check_output(&output),
            SchedulerToClient::Allowance(allowance) => {
                let former = self.clients[index].allowance;
                assert!(former.tasks <= allowance.tasks && former.bytes <= allowance.bytes);
                self.clients[index].allowance = allowance;
            }
            SchedulerToClient::Stalled(_) => {}
            SchedulerToClient::SetupFailed { error } => panic!("workers can be set up: {error:?}"),
        }
    }

    fn on_future_ended(&mut self, index: usize, number: Number, ending: &Ending) {
        let future = self.clients[index].futures.get_mut(&number).expect("it was looked up");
        future.state = match ending {
            Ending::Done(Value::Inline(bytes)) => {
                assert_eq!(decode_value(bytes).0, future.value, "of {:?}", future.key);
                FutureState::Done(None)
            }
            Ending::Done(Value::Stored(stored)) => FutureState::Done(Some(*stored)),
            Ending::Failed { .. } | Ending::Cancelled { .. } => FutureState::Bad,
        };
    }

    /// Whole lines that some task wrote.
    fn check_output(&self, output: &Output) {
        for line in output.text.split_inclusive(|byte| *byte == b'\n') {
            let line = Bytes::copy_from_slice(line);
            let text = str::from_utf8(&line).ok().and_then(|line| line.strip_suffix('\n'));
            let key = text.and_then(|text| text.rsplit(' ').next()?.parse::<usize>().ok());
            assert!(key.is_some_and(|key| key < self.ledger.len()), "some task wrote {line:?}");
        }
    }
}

fn choose_dependencies(client: &Client, dice: &mut Dice) -> Vec<Number> {
    let known: Vec<Number> = client.futures.keys().copied().collect();
    let count = if dice.chance(55) { 0 } else { dice.between(1, MAX_FAN_IN) };
    (0..count).filter_map(|_| dice.pick_if_any(&known)).collect()
}

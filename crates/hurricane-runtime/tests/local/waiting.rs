//! Threads that wait for results read what comes in themselves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hurricane_core::id::{DefinitionNumber, Number};
use hurricane_core::message::{Definition, Ending, Exit, Failure, Value};
use hurricane_core::resources::Resources;
use hurricane_runtime::client::{ConnectionError, Received};
use hurricane_runtime::{Connection, Local};

use crate::cluster::{PATIENCE, Scratch, config, eventually, is_alive, processes_in};
use crate::kill;

/// A program whose threads submit, and wait as Python's do.
struct Program {
    local: Local,
    connection: Connection<u32>,
    received: Mutex<Parts>,
    /// A thread reads, or would if another did not.
    is_waiting: AtomicBool,
}

#[derive(Default)]
struct Parts {
    ended: HashMap<Number, Ending>,
    output: Vec<u8>,
}

impl Program {
    fn start(slots: u64) -> Arc<Self> {
        let local = Local::start(config(slots, "")).expect("nothing is in the way");
        let connection = local.connect().expect("it has just been started");
        let (received, is_waiting) = Default::default();
        Arc::new(Self { local, connection, received, is_waiting })
    }

    fn define(&self, function: &str) -> DefinitionNumber {
        let definition = Definition {
            function: Bytes::copy_from_slice(function.as_bytes()),
            name: function.into(),
            resources: Resources::cpus(1),
            retries: 0,
            timeout: None,
            priority: 0,
        };
        self.connection.define(definition).expect("the connection is open")
    }

    fn submit(&self, definition: DefinitionNumber, arguments: impl Into<Bytes>) -> Number {
        assert_eq!(self.connection.wait_for_allowance(PATIENCE), Ok(true));
        let submitted = self.connection.submit(7, definition, arguments.into(), Vec::new());
        submitted.expect("it is allowed")
    }

    /// Waits in the reader's role if it is free; none if the connection is closed.
    fn end_of(&self, number: Number) -> Option<Ending> {
        let is_met = || {
            self.is_waiting.store(true, Ordering::Relaxed);
            self.collect().ended.contains_key(&number)
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(ending) = self.collect().ended.remove(&number) {
                return Some(ending);
            }
            assert!(Instant::now() < deadline, "task {number} does not end");
            match self.connection.drive(&is_met, None) {
                Ok(Some(_)) => {}
                // Whoever reads, or the loop after it, will bring it.
                Ok(None) => thread::park_timeout(Duration::from_millis(1)),
                Err(error) => {
                    assert_eq!(error, ConnectionError::Closed);
                    return None;
                }
            }
        }
    }

    fn result_of(&self, number: Number) -> Bytes {
        match self.end_of(number) {
            Some(Ending::Done(Value::Inline(bytes))) => bytes,
            other => panic!("task {number} ended so: {other:?}"),
        }
    }

    /// What came in so far; it is taken under a lock, so that who looks next finds it here.
    fn collect(&self) -> MutexGuard<'_, Parts> {
        let mut parts = self.received.lock().expect("no thread panics with it");
        let received = self.connection.receive(Some(Duration::ZERO)).expect("this is no child");
        for one in received.unwrap_or_default() {
            match one {
                Received::Ended { number, ending, .. } => {
                    let twice = parts.ended.insert(number, ending);
                    assert_eq!(twice, None, "task {number} ended twice");
                }
                Received::Output { output, .. } => parts.output.extend_from_slice(&output.text),
                _ => {}
            }
        }
        parts
    }
}

#[test]
fn two_threads_lose_no_wake_up_in_ten_thousand_rounds() {
    let program = Program::start(2);
    let echo = program.define("echo");
    thread::scope(|scope| {
        for thread in 0..2 {
            let program = &program;
            scope.spawn(move || {
                for round in 0..5_000 {
                    let text = format!("{thread} {round}");
                    assert_eq!(program.result_of(program.submit(echo, text.clone())), text);
                }
            });
        }
    });
    assert_eq!(program.connection.pending(), Ok(0));
}

#[test]
fn many_threads_submit_at_once() {
    let program = Program::start(2);
    let echo = program.define("echo");
    thread::scope(|scope| {
        for thread in 0..8 {
            let program = &program;
            scope.spawn(move || {
                let text = |index: u32| format!("{thread} {index}");
                let numbers: Vec<_> =
                    (0..500).map(|index| program.submit(echo, text(index))).collect();
                for (index, number) in (0..).zip(numbers) {
                    assert_eq!(program.result_of(number), text(index));
                }
            });
        }
    });
    let snapshot = program.local.snapshot().expect("this is no child");
    assert_eq!(snapshot.tasks.done, 4_000);
}

#[test]
fn what_others_wait_for_comes_after_the_reader_has_left() {
    let scratch = [Scratch::new("reader-first"), Scratch::new("reader-second")];
    let program = Program::start(2);
    let append = program.define("append");
    let first = program.submit(append, scratch[0].bytes());
    eventually("the first runs", || scratch[0].0.exists());
    let second = program.submit(append, scratch[1].bytes());
    thread::scope(|scope| {
        let reading = scope.spawn(|| program.result_of(first));
        eventually("it waits", || program.is_waiting.load(Ordering::Relaxed));
        assert_eq!(program.connection.drive(&|| false, None), Ok(None), "one reads at a time");
        assert_eq!(reading.join().expect("it ended well"), "done");
    });
    // No thread reads but the loop.
    eventually("the second ends", || program.collect().ended.contains_key(&second));
}

#[test]
fn what_was_printed_comes_first_when_a_waiting_thread_reads() {
    let program = Program::start(1);
    let print = program.define("print");
    for _ in 0..20 {
        let text = "some line\n".repeat(5_000);
        program.result_of(program.submit(print, text.clone()));
        let output = std::mem::take(&mut program.collect().output);
        assert_eq!(output.len(), text.len());
    }
}

#[test]
fn closing_and_stopping_end_a_wait() {
    type Step = fn(&Program);
    let steps: [Step; 2] = [|program| program.connection.close(), |program| program.local.stop()];
    for step in steps {
        let scratch = Scratch::new("end-of-wait");
        let program = Program::start(1);
        let number = program.submit(program.define("stay"), scratch.bytes());
        processes_in(&scratch.0);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| program.end_of(number));
            eventually("it waits", || program.is_waiting.load(Ordering::Relaxed));
            step(&program);
            let ending = waiting.join().expect("it ended well");
            assert!(matches!(ending, None | Some(Ending::Cancelled { .. })), "{ending:?}");
        });
    }
}

#[test]
fn cancelling_ends_the_wait_of_another_thread() {
    let scratch = Scratch::new("cancelled-wait");
    let program = Program::start(1);
    let number = program.submit(program.define("stay"), scratch.bytes());
    processes_in(&scratch.0);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| program.end_of(number));
        eventually("it waits", || program.is_waiting.load(Ordering::Relaxed));
        program.connection.cancel(number).expect("the connection is open");
        let ending = waiting.join().expect("it ended well");
        assert_eq!(ending, Some(Ending::Cancelled { cause: None }));
    });
}

#[test]
fn a_worker_that_dies_while_a_thread_reads_costs_its_task_an_attempt() {
    let scratch = Scratch::new("killed-while-read");
    let program = Program::start(1);
    let number = program.submit(program.define("stay"), scratch.bytes());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| program.end_of(number));
        for _ in 0..3 {
            let tree = processes_in(&scratch.0);
            drop(Scratch(scratch.0.clone()));
            kill(*tree.last().expect("the worker is the last of them"), "KILL");
            eventually("its tree is gone", || !tree.iter().any(|process| is_alive(*process)));
        }
        let Some(Ending::Failed { failure, .. }) = waiting.join().expect("it ended well") else {
            panic!("three deaths are the end");
        };
        let Failure::WorkerLost { deaths, .. } = *failure else {
            panic!("its worker died: {failure:?}");
        };
        let exits: Vec<Exit> = deaths.iter().map(|death| death.exit).collect();
        assert_eq!(exits, [Exit::Signal(9); 3]);
    });
    assert_eq!(program.result_of(program.submit(program.define("echo"), "on")), "on");
}

#[test]
fn a_wait_ends_at_its_deadline() {
    let program = Program::start(1);
    let deadline = Instant::now() + Duration::from_millis(20);
    assert_eq!(program.connection.drive(&|| false, Some(deadline)), Ok(Some(false)));
    assert!(Instant::now() >= deadline);
    assert_eq!(program.connection.drive(&|| true, None), Ok(Some(true)));
}

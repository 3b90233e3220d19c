//! A local cluster under test, with the test program as its workers.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hurricane_core::id::{DefinitionNumber, Number};
use hurricane_core::message::{Definition, Ending, Stream, Value};
use hurricane_core::resources::Resources;
use hurricane_runtime::client::{Fetched, Received};
use hurricane_runtime::{Connection, Local, LocalConfig};

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_test-program");

/// A local cluster and a client of it.
pub(crate) struct Cluster {
    pub(crate) connection: Connection<u32>,
    pub(crate) local: Local,
    definitions: HashMap<String, DefinitionNumber>,
    /// What was received and not yet asked for, by task.
    ended: HashMap<Number, Ending>,
    pub(crate) output: Vec<(Number, Stream, String)>,
}

impl Cluster {
    pub(crate) fn start(slots: u64) -> Self {
        Self::with_setup(slots, "")
    }

    pub(crate) fn with_setup(slots: u64, setup: &'static str) -> Self {
        let local = Local::start(config(slots, setup)).expect("nothing is in the way");
        let connection = local.connect().expect("it has just been started");
        let (definitions, ended, output) = Default::default();
        Self { connection, local, definitions, ended, output }
    }

    /// Submits a call of a function of the test program.
    pub(crate) fn submit(&mut self, function: &str, arguments: impl Into<Bytes>) -> Number {
        self.submit_after(function, arguments, &[])
    }

    pub(crate) fn submit_after(
        &mut self,
        function: &str,
        arguments: impl Into<Bytes>,
        dependencies: &[Number],
    ) -> Number {
        let definition = self.define(function, |_| {});
        self.submit_as(definition, arguments, dependencies)
    }

    pub(crate) fn submit_as(
        &mut self,
        definition: DefinitionNumber,
        arguments: impl Into<Bytes>,
        dependencies: &[Number],
    ) -> Number {
        assert_eq!(self.connection.wait_for_allowance(PATIENCE), Ok(true));
        let submitted =
            self.connection.submit(7, definition, arguments.into(), dependencies.to_vec());
        submitted.expect("it is allowed, and what it depends on is there")
    }

    /// Defines a function once, with options other than the usual.
    pub(crate) fn define(
        &mut self,
        function: &str,
        change: impl FnOnce(&mut Definition),
    ) -> DefinitionNumber {
        let mut definition = Definition {
            function: Bytes::copy_from_slice(function.as_bytes()),
            name: function.into(),
            resources: Resources::cpus(1),
            retries: 0,
            timeout: None,
            priority: 0,
        };
        change(&mut definition);
        let key = format!("{definition:?}");
        let connection = &self.connection;
        let define = || connection.define(definition).expect("the connection is open");
        *self.definitions.entry(key).or_insert_with(define)
    }

    /// Waits for the end of a task.
    pub(crate) fn end_of(&mut self, number: Number) -> Ending {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(ending) = self.ended.remove(&number) {
                return ending;
            }
            assert!(Instant::now() < deadline, "task {number} does not end");
            self.receive();
        }
    }

    /// Waits for the result of a task, wherever it is.
    pub(crate) fn result_of(&mut self, number: Number) -> Bytes {
        match self.end_of(number) {
            Ending::Done(Value::Inline(bytes)) => bytes,
            Ending::Done(Value::Stored(stored)) => {
                let fetched = self.connection.fetch(stored.object, PATIENCE);
                match fetched.expect("the connection is open") {
                    Fetched::Value(bytes) => bytes,
                    other => panic!("it was not released: {other:?}"),
                }
            }
            other => panic!("task {number} ended so: {other:?}"),
        }
    }

    pub(crate) fn call(&mut self, function: &str, arguments: impl Into<Bytes>) -> String {
        let number = self.submit(function, arguments);
        String::from_utf8(self.result_of(number).to_vec()).expect("the test asks for text")
    }

    fn receive(&mut self) {
        let received = self.connection.receive(Some(Duration::from_secs(1)));
        for one in received.expect("this is no child").expect("the connection is open") {
            match one {
                Received::Ended { number, future, ending } => {
                    assert_eq!(future, 7);
                    self.ended.insert(number, ending);
                }
                Received::Output { number, output, .. } => {
                    let text = String::from_utf8_lossy(&output.text).into_owned();
                    self.output.push((number, output.stream, text));
                }
                _ => {}
            }
        }
    }
}

pub(crate) fn config(slots: u64, setup: &'static str) -> LocalConfig {
    let worker_command = vec![PROGRAM.into(), "worker".into()];
    LocalConfig { slots: Some(slots), worker_command, setup: Bytes::from_static(setup.as_bytes()) }
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// A process that is there and no zombie.
pub(crate) fn is_alive(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// Waits until the function `stay` has written the processes of its tree, and reads them.
pub(crate) fn processes_in(file: &Path) -> Vec<u32> {
    eventually("the tree stands", || file.exists());
    let list = fs::read_to_string(file).expect("it is there");
    list.lines().map(|line| line.parse().expect("a process id")).collect()
}

/// A path that is free now and after the test.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(test: &str) -> Self {
        let name = format!("hurricane-local-{}-{test}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    pub(crate) fn bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self.0.as_os_str().as_encoded_bytes())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_file(self.0.with_added_extension("part"));
    }
}

//! A cluster under test: a scheduler, processes with nodes that could as well be on other machines,
//! and clients, all in the process of the test; the workers are the test program.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hurricane_core::id::{DefinitionNumber, Number};
use hurricane_core::message::{Definition, Ending, Value};
use hurricane_core::resources::{Amount, Resources};
use hurricane_runtime::Connection;
use hurricane_runtime::client::{Fetched, Received};
use hurricane_runtime::dialing::{Choice, Target};
use hurricane_runtime::identity::{Name, State};
use hurricane_runtime::node::{Nodes, NodesConfig, Report, WorkerSource};
use hurricane_runtime::remote::Remote;
use hurricane_runtime::scheduler::{Server, ServerConfig};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

const PROGRAM: &str = env!("CARGO_BIN_EXE_test-program");

/// A scheduler and a place for the keys of several machines.
pub(crate) struct Site {
    pub(crate) server: Server,
    config: ServerConfig,
    scratch: Scratch,
}

impl Site {
    pub(crate) fn new(test: &str) -> Self {
        let scratch = Scratch::new(test);
        let config = ServerConfig {
            name: Name::near(test),
            port: 0,
            bind: vec![[127, 0, 0, 1].into()],
            state: state(&scratch, "scheduler"),
            python_minor: None,
        };
        let server = Self::start(&config);
        let config = ServerConfig { port: server.port(), ..config };
        Self { server, config, scratch }
    }

    fn start(config: &ServerConfig) -> Server {
        Server::start(config.clone(), Box::new(|_| {})).expect("nothing is in the way")
    }

    /// Stops the scheduler and starts another in its place.
    pub(crate) fn restart(&mut self) {
        self.server.stop();
        self.server = Self::start(&self.config);
    }

    /// Starts nodes in a process of a machine of this name.
    pub(crate) fn nodes(&self, machine: &str, shares: Vec<Resources>) -> Machine {
        let config = NodesConfig {
            state: state(&self.scratch, machine),
            target: self.target(),
            choice: Choice::default(),
            shares,
            workers: WorkerSource::Processes {
                command: vec![PROGRAM.into(), "worker".into()],
                setup: Bytes::new(),
            },
            python_minor: None,
        };
        let told = Arc::<Mutex<Vec<(usize, Report)>>>::default();
        let telling = Arc::clone(&told);
        let report = move |index, report| {
            telling.lock().expect("nobody panics with it").push((index, report));
        };
        let nodes = Nodes::start(config, Box::new(report)).expect("nothing is in the way");
        Machine { nodes, told }
    }

    /// A node for one task at a time that asks for what only it has.
    pub(crate) fn node_with(&self, name: &str) -> Machine {
        let named = BTreeMap::from([(name.into(), Amount::whole(1))]);
        self.nodes(name, vec![Resources { named, ..Resources::cpus(1) }])
    }

    pub(crate) fn client(&self) -> Client {
        let state = state(&self.scratch, "client");
        let remote = Remote::start(&state, self.target(), None).expect("nothing is in the way");
        let connection = remote.connect().expect("it has just been started");
        Client { connection, _remote: remote, ended: BTreeMap::new() }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.scratch.0.join(name)
    }

    /// How many nodes the scheduler knows.
    pub(crate) fn members(&self) -> usize {
        self.server.snapshot().nodes.len()
    }

    fn target(&self) -> Target {
        Target::Here { port: self.server.port() }
    }
}

/// The nodes of a process.
pub(crate) struct Machine {
    pub(crate) nodes: Nodes,
    told: Arc<Mutex<Vec<(usize, Report)>>>,
}

impl Machine {
    /// What was told of the nodes, as words: `joined`, `lost`, …
    pub(crate) fn told(&self) -> Vec<&'static str> {
        let word = |(_, report): &(usize, Report)| match report {
            Report::Looking(_) => "looking",
            Report::Joined { .. } => "joined",
            Report::Lost(_) => "lost",
            Report::Refused(_) => "refused",
            Report::SetupFailed(_) => "failed",
        };
        self.told.lock().expect("nobody panics with it").iter().map(word).collect()
    }

    pub(crate) fn joined(&self) -> usize {
        self.told().iter().filter(|word| **word == "joined").count()
    }
}

/// A program that submits.
pub(crate) struct Client {
    pub(crate) connection: Connection<u32>,
    _remote: Remote,
    ended: BTreeMap<Number, Ending>,
}

impl Client {
    /// A function of the test program that needs a cpu.
    pub(crate) fn define(&self, function: &str) -> DefinitionNumber {
        self.define_on(function, None)
    }

    /// The same, on the node that has this.
    pub(crate) fn define_on(&self, function: &str, name: Option<&str>) -> DefinitionNumber {
        let named = name.map(|name| (name.into(), Amount::whole(1))).into_iter().collect();
        let definition = Definition {
            function: Bytes::copy_from_slice(function.as_bytes()),
            name: function.into(),
            resources: Resources { named, ..Resources::cpus(1) },
            retries: 0,
            timeout: None,
            priority: 0,
        };
        self.connection.define(definition).expect("the connection is open")
    }

    pub(crate) fn submit(
        &self,
        definition: DefinitionNumber,
        arguments: impl Into<Bytes>,
        dependencies: &[Number],
    ) -> Number {
        assert_eq!(self.connection.wait_for_allowance(PATIENCE), Ok(true));
        let submitted =
            self.connection.submit(7, definition, arguments.into(), dependencies.to_vec());
        submitted.expect("it is allowed, and what it depends on is there")
    }

    /// Waits for the end of a task.
    pub(crate) fn end_of(&mut self, number: Number) -> Ending {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(ending) = self.ended.get(&number) {
                return ending.clone();
            }
            assert!(Instant::now() < deadline, "task {number} does not end");
            self.receive();
        }
    }

    /// Waits for the result of a task, wherever it is.
    pub(crate) fn result_of(&mut self, number: Number) -> Bytes {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.end_of(number) {
                Ending::Done(Value::Inline(bytes)) => return bytes,
                Ending::Done(Value::Stored(stored)) => {
                    let fetched = self.connection.fetch(stored.object, Duration::from_secs(1));
                    match fetched.expect("the connection is open") {
                        Fetched::Value(bytes) => return bytes,
                        // It may be computed again, and be elsewhere then.
                        Fetched::NotYet | Fetched::Gone => self.receive(),
                    }
                }
                other => panic!("task {number} ended so: {other:?}"),
            }
            assert!(Instant::now() < deadline, "the value of task {number} does not come");
        }
    }

    fn receive(&mut self) {
        let received = self.connection.receive(Some(Duration::from_millis(100)));
        for one in received.expect("this is no child").expect("the connection is open") {
            match one {
                Received::Ended { number, ending, .. }
                | Received::Restored { number, ending, .. } => {
                    self.ended.insert(number, ending);
                }
                _ => {}
            }
        }
    }
}

fn state(scratch: &Scratch, machine: &str) -> State {
    State::open_at(scratch.0.join(machine)).expect("nothing is in the way")
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

/// Waits until a function has written processes into a file, and reads them.
pub(crate) fn processes_in(file: &Path) -> Vec<u32> {
    let mut list = String::new();
    eventually("something runs", || {
        list = fs::read_to_string(file).unwrap_or_default();
        list.ends_with('\n')
    });
    list.lines().map(|line| line.parse().expect("a process id")).collect()
}

/// A path as arguments.
pub(crate) fn path(file: &Path) -> Bytes {
    Bytes::copy_from_slice(file.as_os_str().as_encoded_bytes())
}

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let name = format!("hurricane-nodes-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("the name is free");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

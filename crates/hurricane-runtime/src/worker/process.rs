//! How a worker process is started: its command, its environment, and what it is told first.

use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hurricane_core::id::WorkerId;
use hurricane_core::node::WorkerKind;
use rustix::process::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::wire::Wire;
use super::wires::Wires;
use crate::ledger::{self, NodeLedger};
use crate::link::{self, Hello};
use crate::marks::Nonce;
use crate::platform::fork::Unshared;
use crate::platform::signals::{self, Mask};
use crate::platform::{machine, processes};
use crate::randomness;
use crate::store::exchange::WithWorker;

/// Libraries read these when they are loaded, for how many threads to start.
const THREAD_VARIABLES: [&str; 6] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
];

const GPU_VARIABLE: &str = "CUDA_VISIBLE_DEVICES";

/// Variables with this beginning are for hurricane's own processes, and may be secret: no task sees
/// them.
const OWN_VARIABLES: &str = "HURRICANE_";

/// What is run as a worker.
#[derive(Clone)]
pub(crate) struct Program {
    command: Vec<OsString>,
    /// The program's variables as they were at the start: a program that changes them later does so
    /// without a lock.
    environment: Vec<(OsString, OsString)>,
    gpus: Vec<Box<str>>,
    node_name: Box<str>,
    setup: Bytes,
    mark: String,
    /// The signals that this program had blocked when it started the node.
    mask: Mask,
}

/// Why a worker process is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the worker program `{}` is missing", program.display())]
    ProgramMissing { program: PathBuf },
    #[error("no more processes may be started here: see `ulimit -u`")]
    TooManyProcesses,
    #[error("no more file descriptors may be opened here: see `ulimit -n`")]
    TooManyDescriptors,
    #[error("a worker process could not be started: {0}")]
    Other(#[source] io::Error),
}

/// A process that has just been started, and told what comes first.
pub(super) struct Started {
    pub(super) wire: Arc<Wire>,
    /// Becomes readable when it has ended.
    pub(super) handle: AsyncFd<Unshared>,
    pub(super) mark: String,
}

impl Program {
    /// A command that is started with the environment and the blocked signals of the caller.
    pub(crate) fn new(
        command: Vec<OsString>,
        node_name: Box<str>,
        setup: Bytes,
        mask: Mask,
    ) -> Self {
        let is_own = |name: &OsString| name.as_bytes().starts_with(OWN_VARIABLES.as_bytes());
        let environment: Vec<_> = std::env::vars_os().filter(|(name, _)| !is_own(name)).collect();
        let visible = environment.iter().find(|(name, _)| name == GPU_VARIABLE);
        let gpus = machine::gpus(visible.map(|(_, list)| list));
        Self { command, environment, gpus, node_name, setup, mark: unique_mark(), mask }
    }

    /// The same for one of several nodes of a process: under a name of its own, and with a part of
    /// the graphics processors.
    pub(crate) fn of_node(&self, node_name: Box<str>, gpus: Range<usize>) -> Self {
        let there = self.gpus.len();
        let gpus = self.gpus[gpus.start.min(there)..gpus.end.min(there)].to_vec();
        Self { node_name, gpus, mark: unique_mark(), ..self.clone() }
    }

    /// What marks all its workers, in the environment of everything they start: this, and a dash.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// How many graphics processors its workers may use.
    pub(crate) fn gpus(&self) -> u64 {
        self.gpus.len() as u64
    }

    /// Whether there is something to run.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let program = self.command.first().map(PathBuf::from).unwrap_or_default();
        let is_searched_for = program.components().count() == 1 && !program.is_absolute();
        if program.as_os_str().is_empty() || (!is_searched_for && !program.is_file()) {
            return Err(StartError::ProgramMissing { program });
        }
        Ok(())
    }

    pub(super) fn start(
        &self,
        id: WorkerId,
        kind: &WorkerKind,
        stack_path: &Path,
        wires: &Wires,
    ) -> Result<Started, StartError> {
        let mark = format!("{}-{id}", self.mark);
        let (ours, theirs) = link::pair().map_err(|error| self.failed(error.into()))?;
        let (ledger, file) = NodeLedger::make().map_err(|error| self.failed(error))?;
        ledger::send(&file, &ours).map_err(|error| self.failed(error))?;
        let mut command = self.command_for(kind, &mark);
        command.stdin(theirs).stdout(Stdio::piped()).stderr(Stdio::piped());
        let own_mask = self.mask.apply();
        let spawned = command.spawn();
        own_mask.apply();
        let mut child = spawned.map_err(|error| self.failed(error))?;
        let process = Pid::from_child(&child);
        let stdout = child.stdout.take().expect("it was asked for").into();
        let stderr = child.stderr.take().expect("it was asked for").into();
        let connected = || {
            let handle = Unshared::new(processes::open(process)?).watched(Interest::READABLE)?;
            let pipes = [pipe(stdout)?, pipe(stderr)?];
            let nonce = Nonce(randomness::bytes());
            let memory = WithWorker::new(Arc::clone(wires.store()));
            let ends = (Unshared::new(ours), pipes);
            let wire = Arc::new(Wire::new(id, process, ends, (ledger, nonce), memory));
            wires.add(&wire)?;
            wire.greet(&self.hello(stack_path, nonce));
            wire.flush();
            Ok(Started { wire, handle, mark })
        };
        connected().map_err(|error| {
            processes::kill_trees(&[process]);
            processes::reap(process);
            self.failed(error)
        })
    }

    fn command_for(&self, kind: &WorkerKind, mark: &str) -> Command {
        let (program, arguments) = self.command.split_first().expect("it was checked at the start");
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.envs(THREAD_VARIABLES.map(|name| (name, kind.threads.to_string())));
        command.env(processes::MARK_VARIABLE, mark);
        if !kind.gpus.is_empty() {
            let names = kind.gpus.iter().filter_map(|index| self.gpus.get(usize::from(*index)));
            let names: Vec<&str> = names.map(AsRef::as_ref).collect();
            command.env(GPU_VARIABLE, names.join(","));
        }
        command
    }

    fn hello(&self, stack_path: &Path, nonce: Nonce) -> Hello {
        Hello {
            node_process: std::process::id(),
            node_name: self.node_name.clone(),
            setup: self.setup.clone(),
            stack_path: Bytes::copy_from_slice(stack_path.as_os_str().as_bytes()),
            stack_signal: signals::stack_signal(),
            nonce,
        }
    }

    fn failed(&self, error: io::Error) -> StartError {
        match error.raw_os_error() {
            Some(libc::ENOENT) => {
                StartError::ProgramMissing { program: PathBuf::from(&self.command[0]) }
            }
            Some(libc::EAGAIN) => StartError::TooManyProcesses,
            Some(libc::EMFILE | libc::ENFILE) => StartError::TooManyDescriptors,
            _ => StartError::Other(error),
        }
    }
}

fn pipe(descriptor: OwnedFd) -> io::Result<Unshared> {
    rustix::io::ioctl_fionbio(&descriptor, true)?;
    Ok(Unshared::new(descriptor))
}

/// A beginning for the marks of the workers of one program, of which no two ever live together.
fn unique_mark() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}-{count}", std::process::id(), now.as_nanos())
}

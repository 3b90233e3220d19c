//! `--detach`: the command goes on in a new process, in the background.
//!
//! Until it is ready, that process prints into pipes, and this one passes on what it prints; then it
//! goes over to its log. Nothing forks: it is the same command, started anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::failure::Failure;
use super::{Host, Outcome, tell};
use crate::identity::State;
use crate::platform::interruption::Told;

/// The last that the process in the background prints for the other one.
const READY: u8 = 0;

/// A log that has grown larger is put aside at the next start, in the place of an earlier one.
const MAX_LOG_BYTES: u64 = 1 << 20;

/// Whether a command goes on in the background.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Detach {
    /// Go on in the background as soon as it is ready
    #[arg(long)]
    pub detach: bool,
    /// This is the process in the background
    #[arg(long, hide = true)]
    pub detached: bool,
}

impl Detach {
    /// Whether the command is to be done by another process.
    pub(super) fn is_for_another(self) -> bool {
        self.detach && !self.detached
    }
}

/// Starts the command anew, and returns when it is ready or over. `input` is what it reads.
pub(super) fn start(
    host: &Host,
    arguments: Vec<std::ffi::OsString>,
    input: &str,
) -> Result<Outcome, Failure> {
    let [program, first @ ..] = &host.own_command[..] else {
        return Err(Failure::new("hurricane does not know how it was started"));
    };
    let mut arguments = arguments.into_iter();
    let mut child = Command::new(program)
        .args(first)
        // The verb, and what only this process says.
        .args(arguments.next())
        .arg("--detached")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::of(&error))?;
    let process = Pid::from_child(&child);
    // It hears nothing of this terminal's Ctrl-C. If it is gone, that is what was wanted.
    let pass_on = move || {
        let _ = kill_process(process, Signal::TERM);
    };
    let _told = Told::begin(pass_on).map_err(|error| Failure::of(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read it has something to say about that.
        let _ = stdin.write_all(input.as_bytes());
    }
    follow(child)
}

/// Passes on what it prints until it is ready or over.
fn follow(mut child: Child) -> Result<Outcome, Failure> {
    let errors = child.stderr.take().map(|errors| thread::spawn(|| pass_on(errors)));
    let is_ready = child.stdout.take().is_some_and(pass_on_until_ready);
    if let Some(errors) = errors {
        // Whatever was read was passed on.
        let _ = errors.join();
    }
    if is_ready {
        return Ok(Outcome::Done);
    }
    let status = child.wait().map_err(|error| Failure::of(&error))?;
    outcome(status)
}

fn outcome(status: ExitStatus) -> Result<Outcome, Failure> {
    match status.code() {
        Some(0) => Ok(Outcome::Done),
        Some(1) => Ok(Outcome::BrokenOff),
        Some(_) => Ok(Outcome::Failed),
        None => Err(Failure::new(format!("the process in the background ended by {status}"))),
    }
}

fn pass_on(mut from: impl Read) {
    // Either end may be gone.
    let _ = io::copy(&mut from, &mut io::stderr());
}

fn pass_on_until_ready(mut from: ChildStdout) -> bool {
    let mut buffer = [0; 4096];
    loop {
        let count = from.read(&mut buffer).unwrap_or(0);
        let printed = &buffer[..count];
        let (text, is_ready) = match printed.iter().position(|byte| *byte == READY) {
            Some(end) => (&printed[..end], true),
            None => (printed, false),
        };
        // As in `print_line`.
        let _ = io::stdout().write_all(text).and_then(|()| io::stdout().flush());
        if is_ready || count == 0 {
            return is_ready;
        }
    }
}

/// The process in the background, before it is ready.
#[derive(Debug)]
pub(super) struct InBackground {
    log: Option<File>,
}

impl InBackground {
    /// If this process is not the one in the background, nothing comes of this.
    pub(super) fn begin(detach: Detach, state: &State, log: &str) -> Result<Self, Failure> {
        if !detach.detached {
            return Ok(Self { log: None });
        }
        // One that leads a group, as when people type the option, stays in its session.
        let _ = rustix::process::setsid();
        let path = log_path(state, log)?;
        let opened = open_log(&path);
        let log = opened.map_err(|error| {
            Failure::of(&error).hint(format!("look at the permissions of `{}`", path.display()))
        })?;
        tell(format_args!("log: {}", path.display()));
        Ok(Self { log: Some(log) })
    }

    /// Lets the other process end; whatever is printed from now on goes to the log.
    pub(super) fn ready(&mut self) {
        let Some(log) = self.log.take() else { return };
        // If the other one is gone, nobody waits.
        let _ = io::stdout().write_all(&[READY]).and_then(|()| io::stdout().flush());
        let replaced =
            rustix::stdio::dup2_stdout(&log).and_then(|()| rustix::stdio::dup2_stderr(&log));
        // It cannot fail on open descriptors, and there would be nowhere to say so.
        let _ = replaced;
    }
}

fn log_path(state: &State, name: &str) -> Result<PathBuf, Failure> {
    let directory = state.logs().map_err(|error| Failure::of(&error).hint(error.hint()))?;
    Ok(directory.join(format!("{name}.log")))
}

fn open_log(path: &PathBuf) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|log| log.len() > MAX_LOG_BYTES) {
        fs::rename(path, path.with_added_extension("old"))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

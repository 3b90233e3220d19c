//! Process trees: who descends from whom, ending all of them, and learning how one ended.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use hurricane_core::message::Exit;
use rustix::process::{Pid, PidfdFlags, Signal};

/// The variable that marks a worker and everything it starts, by a value of its own.
pub(crate) const MARK_VARIABLE: &str = "HURRICANE_WORKER";

/// How a process ended, and what it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Obituary {
    pub(crate) exit: Exit,
    /// The largest resident memory it ever had; zero where nobody knows.
    pub(crate) peak_memory_bytes: u64,
}

/// A handle on a process, which becomes readable when the process has ended.
pub(crate) fn open(process: Pid) -> rustix::io::Result<OwnedFd> {
    rustix::process::pidfd_open(process, PidfdFlags::empty())
}

/// Asks a worker to write its stacks.
pub(crate) fn ask_for_stacks(process: impl AsFd) {
    let number = super::signals::stack_signal();
    #[expect(unsafe_code, reason = "rustix has no safe name for real-time signals")]
    // SAFETY: the number lies between SIGRTMIN and SIGRTMAX, and libc keeps none of those.
    let signal = unsafe { Signal::from_raw_unchecked(number) };
    // Whoever has ended meanwhile has no stacks.
    let _ = rustix::process::pidfd_send_signal(process, signal);
}

/// Ends processes and everything that descends from them.
pub(crate) fn kill_trees(roots: &[Pid]) {
    for root in roots {
        // While it stands still it starts nothing, and while it lives its orphans come to it.
        let _ = rustix::process::kill_process(*root, Signal::STOP);
    }
    kill_until_none(|processes| processes.descendants(roots));
    for root in roots {
        let _ = rustix::process::kill_process(*root, Signal::KILL);
    }
}

/// Ends everything that descends from this process.
pub(crate) fn kill_own_descendants() {
    let own = rustix::process::getpid();
    kill_until_none(|processes| processes.descendants(&[own]));
}

/// Ends what is left of the tree of a worker that has ended but was not reaped.
///
/// Its orphans have another parent by now; they are known by its session or, if they made one of
/// their own, by the mark in their environment.
pub(crate) fn kill_leftovers(worker: Pid, mark: &str) {
    let entry = format!("{MARK_VARIABLE}={mark}\0");
    kill_until_none(|processes| processes.leftovers(worker, entry.as_bytes()));
}

/// Ends everything that carries a mark with this beginning in its environment.
pub(crate) fn kill_marked(beginning: &str) {
    let entry = format!("{MARK_VARIABLE}={beginning}");
    kill_until_none(|processes| {
        let marked = processes.list.iter().filter(|process| process.is_marked(entry.as_bytes()));
        marked.map(|process| process.id).collect()
    });
}

/// Learns how a child of this process ended, which it did.
pub(crate) fn reap(child: Pid) -> Obituary {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    #[expect(unsafe_code, reason = "libc alone offers wait4, which tells the memory used")]
    // SAFETY: both pointers are valid for the types that the call writes, and a `rusage` of zeros
    // is a valid one, should the call write nothing.
    let (reaped, usage) = unsafe {
        let pid = child.as_raw_nonzero().get();
        let reaped = libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr());
        (reaped == pid, usage.assume_init())
    };
    if !reaped {
        // The program itself waits for all its children, or ignores how they end.
        return Obituary::default();
    }
    let peak_kibibytes = u64::try_from(usage.ru_maxrss).unwrap_or(0);
    Obituary { exit: exit_of(status), peak_memory_bytes: peak_kibibytes << 10 }
}

/// The largest resident memory that this process ever had.
pub(crate) fn own_peak_memory_bytes() -> u64 {
    peak_memory_bytes(rustix::process::getpid())
}

/// The largest resident memory that a living process has had since its program began; zero where
/// nobody knows.
pub(crate) fn peak_memory_bytes(process: Pid) -> u64 {
    let file = format!("/proc/{}/status", process.as_raw_nonzero());
    let status = fs::read_to_string(file).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    number.unwrap_or(0) << 10
}

fn exit_of(status: i32) -> Exit {
    if libc::WIFEXITED(status) {
        Exit::Code(libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status))
    } else {
        Exit::Unknown
    }
}

/// Kills what `select` finds until it finds nothing new, but never this process. What was killed can
/// start nothing more.
fn kill_until_none(select: impl Fn(&Processes) -> Vec<Pid>) {
    let mut killed = HashSet::from([rustix::process::getpid()]);
    loop {
        let found = select(&Processes::now());
        let new: Vec<Pid> = found.into_iter().filter(|process| killed.insert(*process)).collect();
        if new.is_empty() {
            return;
        }
        for process in new {
            let _ = rustix::process::kill_process(process, Signal::KILL);
        }
    }
}

/// The living processes of the machine at a moment.
struct Processes {
    list: Vec<Process>,
}

struct Process {
    id: Pid,
    parent: i32,
    group: i32,
    session: i32,
    /// In ticks since the machine started.
    started: u64,
}

impl Processes {
    fn now() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self { list: ids.filter_map(Process::read).collect() }
    }

    fn descendants(&self, roots: &[Pid]) -> Vec<Pid> {
        let mut children: HashMap<i32, Vec<Pid>> = HashMap::new();
        for process in &self.list {
            children.entry(process.parent).or_default().push(process.id);
        }
        let mut found = Vec::new();
        let mut parents = roots.to_vec();
        while let Some(parent) = parents.pop() {
            let born = children.remove(&parent.as_raw_nonzero().get()).unwrap_or_default();
            parents.extend(&born);
            found.extend(born);
        }
        found
    }

    fn leftovers(&self, worker: Pid, mark: &[u8]) -> Vec<Pid> {
        let id = worker.as_raw_nonzero().get();
        let began = Process::read(id).map_or(0, |worker| worker.started);
        let is_left = |process: &&Process| {
            process.id != worker
                && (process.session == id
                    || process.group == id
                    || (process.started >= began && process.is_marked(mark)))
        };
        self.list.iter().filter(is_left).map(|process| process.id).collect()
    }
}

impl Process {
    /// None once it is gone.
    fn read(id: i32) -> Option<Self> {
        let line = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        Self::parse(Pid::from_raw(id)?, &line)
    }

    /// Fields count from after the name, which may hold anything.
    fn parse(id: Pid, line: &str) -> Option<Self> {
        let mut fields = line[line.rfind(')')? + 1..].split_ascii_whitespace();
        let _state = fields.next()?;
        let mut number = || fields.next()?.parse().ok();
        let (parent, group, session) = (number()?, number()?, number()?);
        let started = fields.nth(15)?.parse().ok()?;
        Some(Self { id, parent, group, session, started })
    }

    /// Whether an entry of its environment begins so.
    fn is_marked(&self, beginning: &[u8]) -> bool {
        let file = format!("/proc/{}/environ", self.id.as_raw_nonzero());
        let environment = fs::read(file).unwrap_or_default();
        environment.split_inclusive(|byte| *byte == 0).any(|entry| entry.starts_with(beginning))
    }
}

//! What a worker process does so that it ends when its node does, and takes its whole tree with it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal};

use super::fork::Unshared;
use super::processes;
use super::signals::Mask;

/// How much more likely than its node a worker is to be killed when memory runs out.
const OOM_SCORE_ADDED: i32 = 500;

/// How long the child that ends the tree may take to come and to do so: a hundred times what it does.
const FORK_WAIT: Duration = Duration::from_millis(500);

/// A worker's own descriptors keep above those that programs expect to get first.
const LOWEST_OWN: i32 = 100;

/// Makes this process a worker: it will not outlive the thread that started it, has a session of
/// its own, gains no privileges, leaves no core files, and is the first to go when memory runs out.
pub(crate) fn become_worker() -> rustix::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    match rustix::process::setsid() {
        // Whoever started it made it a leader of its own group already.
        Ok(_) | Err(Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    rustix::thread::set_no_new_privs(true)?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none)?;
    add_to_oom_score();
    // Whatever a task leaves behind becomes this process's child, and can be found when it ends.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
}

/// Takes the link out of standard input's place, which becomes empty.
pub(crate) fn take_standard_input() -> io::Result<OwnedFd> {
    let link = out_of_the_way(rustix::stdio::stdin())?;
    let nothing = fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(link)
}

/// Starts the thread that ends this process and its tree when the node is gone.
///
/// `node` must be the parent, or this process was started by another and has no business here.
pub(crate) fn watch(node: u32, link: impl AsFd + Send + 'static) -> io::Result<()> {
    let node = i32::try_from(node).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let node_process = Unshared::new(out_of_the_way(processes::open(node)?)?);
    // Asked after the handle was opened: so it is the parent's, and not that of a later process.
    if rustix::process::getppid() != Some(node) {
        return Err(Errno::SRCH.into());
    }
    let mask = Mask::block_all();
    let watcher = thread::Builder::new().name("hurricane-watch".into());
    let started = watcher.spawn(move || {
        wait_for_hang_up(&link, &node_process);
        end_tree();
    });
    mask.apply();
    started?;
    // From here on the watcher ends the whole tree; the kernel would end this process alone. But a
    // task may have stopped this process, and the watcher with it: the kernel makes it go on.
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::CONT))?)
}

/// A copy of a descriptor where programs do not expect the first that they open.
fn out_of_the_way(descriptor: impl AsFd) -> rustix::io::Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(descriptor, LOWEST_OWN)
}

/// The link may be held by a forked child of the node, so the node's process is watched as well.
fn wait_for_hang_up(link: impl AsFd, node_process: impl AsFd) {
    loop {
        let mut watched =
            [PollFd::new(&link, PollFlags::RDHUP), PollFd::new(&node_process, PollFlags::IN)];
        match rustix::event::poll(&mut watched, None) {
            Err(Errno::INTR) | Ok(0) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Ends this process and its tree.
///
/// That is done by a child, because this process must stand still meanwhile: its task, which sees
/// its own children die, could end the process before all of them are found.
fn end_tree() {
    let worker = rustix::process::getpid();
    // Libraries may have a say in a fork, and wait there for what a task is just doing. Where there
    // is no thread to be had, the fork must do.
    let _ = thread::Builder::new().name("hurricane-end".into()).spawn(move || {
        thread::sleep(FORK_WAIT);
        end_tree_from_within(worker);
    });
    #[expect(unsafe_code, reason = "a program that is to be killed cannot be asked to spawn one")]
    // SAFETY: the child calls nothing but what reads directories, allocates and sends signals; the
    // C library keeps its allocator usable across a fork. It ends without unwinding.
    let child = unsafe {
        let child = libc::fork();
        if child == 0 {
            processes::kill_trees(&[worker]);
            libc::_exit(0);
        }
        child
    };
    match child {
        1.. => loop {
            thread::park();
        },
        _ => end_tree_from_within(worker),
    }
}

/// The second best: where there is no room for another process, or it does not come.
fn end_tree_from_within(worker: Pid) {
    processes::kill_own_descendants();
    // The group last: it is this process's own, and the call does not return.
    let _ = rustix::process::kill_current_process_group(Signal::KILL);
    let _ = rustix::process::kill_process(worker, Signal::KILL);
}

/// A favour to the rest of the machine: where it is not allowed, nothing is lost.
fn add_to_oom_score() {
    let file = "/proc/self/oom_score_adj";
    let current = fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<i32>().ok());
    let raised = (current.unwrap_or(0) + OOM_SCORE_ADDED).min(1000);
    let _ = fs::write(file, raised.to_string());
}

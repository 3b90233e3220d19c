//! How fast a local cluster is without Python: a task's round trip, and a stream of tasks. Beside
//! it, what the machine allows: messages between two processes that wait for each other. And how
//! often threads fall asleep and are woken meanwhile.
//!
//! `cargo bench -p hurricane-runtime --bench local`; `ONLY=round` chooses one of them.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use bytes::Bytes;
use hurricane_core::id::{DefinitionNumber, Number};
use hurricane_runtime::client::{Connection, Received};
use hurricane_runtime::worker_link::Job;
use hurricane_runtime::{Local, WorkerLink};

mod cluster;

const ROUNDS: usize = 10_000;
const STREAM: usize = 20_000;
const REPEATS: usize = 5;
const MESSAGE_BYTES: usize = 64;
const IDLE: Duration = Duration::from_secs(5);

fn main() {
    match env::args().nth(1).as_deref() {
        Some("worker") => work(),
        Some("pong") => pong(),
        _ => measure(),
    }
}

fn measure() {
    let only = env::var("ONLY").unwrap_or_default();
    let is_chosen = |what: &str| only.is_empty() || only == what;
    for _ in 0..REPEATS {
        if is_chosen("ping") {
            println!("ping-pong   {:8.1} µs", ping_pong());
        }
        let cluster = Cluster::start();
        if is_chosen("round") {
            let (microseconds, sleeps) = cluster.round_trip();
            println!("round trip  {microseconds:8.1} µs, {sleeps:.2} wake-ups");
        }
        if is_chosen("stream") {
            let (accepted, drained) = cluster.stream();
            println!("stream      {accepted:8.0} submits/s, {drained:8.0} tasks/s");
        }
        if only == "idle" {
            println!("idle        {:8} wake-ups in {IDLE:?}", cluster.idle());
        }
    }
}

/// Microseconds that a message takes there and back.
fn ping_pong() -> f64 {
    let (mut ours, theirs) = UnixStream::pair().expect("there are descriptors left");
    let mut child = own_program()
        .arg("pong")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .expect("this program is there");
    let mut message = [7; MESSAGE_BYTES];
    let began = Instant::now();
    for _ in 0..ROUNDS {
        ours.write_all(&message).expect("the child reads");
        ours.read_exact(&mut message).expect("the child answers");
    }
    let elapsed = began.elapsed();
    drop(ours);
    child.wait().expect("it is a child of this process");
    microseconds(elapsed) / count(ROUNDS)
}

fn pong() {
    let descriptor = rustix::io::dup(rustix::stdio::stdin()).expect("there are descriptors left");
    let mut link = UnixStream::from(descriptor);
    let mut message = [0; MESSAGE_BYTES];
    while link.read_exact(&mut message).is_ok() && link.write_all(&message).is_ok() {}
}

struct Cluster {
    connection: Connection<()>,
    echo: DefinitionNumber,
    local: Local,
}

impl Cluster {
    fn start() -> Self {
        let (local, connection, echo) = cluster::start();
        let cluster = Self { connection, echo, local };
        for _ in 0..100 {
            cluster.submit();
            cluster.wait_for(1);
        }
        // Until the workers that start ahead have done so.
        thread::sleep(Duration::from_millis(200));
        cluster
    }

    /// Microseconds, and how often a thread of this process or of a worker was woken.
    fn round_trip(&self) -> (f64, f64) {
        let slept = self.sleeps();
        let began = Instant::now();
        for _ in 0..ROUNDS {
            self.submit();
            self.wait_for(1);
        }
        let elapsed = began.elapsed();
        let slept = self.sleeps() - slept;
        (microseconds(elapsed) / count(ROUNDS), count(slept) / count(ROUNDS))
    }

    /// How often a thread was woken while nothing was to be done: by now, figures about what ran
    /// last are not looked at any more.
    fn idle(&self) -> usize {
        thread::sleep(IDLE);
        let slept = self.sleeps();
        thread::sleep(IDLE);
        // This thread slept once.
        self.sleeps() - slept - 1
    }

    /// How often the threads of this process and of the workers fell asleep so far.
    fn sleeps(&self) -> usize {
        let workers = self.local.worker_pids().into_iter().map(|process| process.to_string());
        workers.chain(["self".to_owned()]).map(|process| sleeps_of(&process)).sum()
    }

    /// Submits and results a second.
    fn stream(&self) -> (f64, f64) {
        let began = Instant::now();
        for _ in 0..STREAM {
            self.submit();
        }
        let accepted = began.elapsed();
        self.wait_for(STREAM);
        let rate = |elapsed: Duration| count(STREAM) / elapsed.as_secs_f64();
        (rate(accepted), rate(began.elapsed()))
    }

    fn submit(&self) -> Number {
        let arguments = Bytes::from_static(&[7; MESSAGE_BYTES]);
        loop {
            match self.connection.submit((), self.echo, arguments.clone(), Vec::new()) {
                Ok(number) => return number,
                Err(_) => {
                    self.connection.wait_for_allowance(Duration::from_secs(1)).expect("it is open");
                }
            }
        }
    }

    fn wait_for(&self, tasks: usize) {
        let ended = std::cell::Cell::new(0);
        let is_met = || {
            ended.set(ended.get() + self.receive(Duration::ZERO));
            ended.get() >= tasks
        };
        while ended.get() < tasks {
            if self.connection.drive(&is_met, None).expect("it is open").is_none() {
                ended.set(ended.get() + self.receive(Duration::from_secs(10)));
            }
        }
    }

    /// How many tasks ended.
    fn receive(&self, timeout: Duration) -> usize {
        let received = self.connection.receive(Some(timeout)).expect("this is no child");
        let is_end = |one: &&Received<()>| matches!(one, Received::Ended { .. });
        received.expect("it is open").iter().filter(is_end).count()
    }
}

fn work() {
    let link = WorkerLink::<()>::take().expect("a node started this process");
    link.ready().expect("the node is there");
    while let Ok(Some(job)) = link.receive() {
        if let Job::Run { run, arguments, .. } = job {
            link.finished(run, arguments, Duration::from_micros(1)).expect("the node is there");
        }
    }
}

fn sleeps_of(process: &str) -> usize {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("the process is there");
    let statuses = threads.flatten().map(|thread| fs::read_to_string(thread.path().join("status")));
    let number = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    };
    statuses.flatten().map(number).sum()
}

fn own_program() -> Command {
    Command::new(env::current_exe().expect("this program has a path"))
}

fn microseconds(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts here are small")]
fn count(number: usize) -> f64 {
    number as f64
}

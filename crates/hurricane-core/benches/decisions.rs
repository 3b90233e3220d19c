//! How many decisions a second the scheduler makes alone, on clusters of 10 to 10,000 nodes, and
//! what a queued task costs in memory. `make bench-core` prints both.
//!
//! A decision is all there is to one task: its submission, its assignment, its end, and its release
//! by the client, which releases several at a time. The nodes are simulated: whatever was assigned
//! first ends first, after a millisecond as the node says. In a stream, twice as many tasks are
//! submitted and not ended as run at a time; else all are submitted before the first one ends. To
//! profile one of these, name it: `WAY=streaming` or `WAY=queued`.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use hurricane_core::Scheduler;
use hurricane_core::id::{Attempt, ClientId, DefinitionNumber, NodeId, Number, TaskId};
use hurricane_core::message::{
    ClientToScheduler, Definition, NodeToScheduler, SchedulerToClient, SchedulerToNode, Value,
};
use hurricane_core::resources::Resources;
use hurricane_core::scheduler::{Action, Config, Event};
use hurricane_core::time::Time;

/// How many tasks each measurement is of, unless `TASKS` says otherwise.
const TASKS: u64 = 1_000_000;

/// The sizes of the clusters, unless `NODES` names one.
const NODES: [u64; 4] = [10, 100, 1_000, 10_000];

const CPUS: u64 = 4;

const ARGUMENT_BYTES: usize = 100;

/// How many tasks are released by one message: a client does so with all that it hears of at once.
const RELEASED_TOGETHER: usize = 16;

const CLIENT: ClientId = ClientId(1);

const DEFINITION: DefinitionNumber = DefinitionNumber(1);

/// A cluster that is nothing but its scheduler.
struct Cluster {
    scheduler: Scheduler,
    now: Time,
    /// What was assigned and has not ended, the oldest first.
    assigned: VecDeque<(NodeId, TaskId, Attempt)>,
    /// What nodes were asked to give back, which they do.
    wanted_back: Vec<(NodeId, TaskId, Attempt)>,
    /// What was given back and stands in `assigned` still.
    gone: BTreeSet<(TaskId, Attempt)>,
    ended: Vec<Number>,
    actions: Vec<Action>,
    submitted: u64,
    finished: u64,
}

impl Cluster {
    fn new(nodes: u64) -> Self {
        let mut cluster = Self {
            scheduler: Scheduler::new(Config { is_one_machine: false }),
            now: Time(0),
            assigned: VecDeque::new(),
            wanted_back: Vec::new(),
            gone: BTreeSet::new(),
            ended: Vec::new(),
            actions: Vec::new(),
            submitted: 0,
            finished: 0,
        };
        cluster.handle(Event::ClientJoined { client: CLIENT });
        for index in 1..=nodes {
            let resources = Resources::cpus(CPUS);
            let name = format!("node-{index}").into();
            cluster.handle(Event::NodeJoined { node: node_id(index), name, resources });
        }
        let definition = Definition {
            function: Bytes::from_static(b"function"),
            name: "work".into(),
            resources: Resources::cpus(1),
            retries: 0,
            timeout: None,
            priority: 0,
        };
        cluster
            .say(ClientToScheduler::Define { number: DEFINITION, definition: definition.into() });
        cluster
    }

    fn submit(&mut self, arguments: Bytes) {
        self.submitted += 1;
        self.now.0 += 1;
        self.say(ClientToScheduler::Submit {
            number: Number(self.submitted),
            definition: DEFINITION,
            arguments,
            dependencies: Vec::new(),
        });
    }

    /// Ends the oldest task, and releases what has ended.
    fn finish(&mut self) {
        let (node, task, attempt) = loop {
            let next = self.assigned.pop_front().expect("what is not assigned is never ended");
            if self.gone.is_empty() || !self.gone.remove(&(next.1, next.2)) {
                break next;
            }
        };
        self.now.0 += 1;
        let value = Value::Inline(Bytes::from_static(b"value"));
        let ran = Duration::from_millis(1);
        let message = NodeToScheduler::Finished { task, attempt, value, ran };
        self.handle(Event::FromNode { node, message });
        while let Some((node, task, attempt)) = self.wanted_back.pop() {
            self.gone.insert((task, attempt));
            let message = NodeToScheduler::TakenBack { task, attempt };
            self.handle(Event::FromNode { node, message });
        }
        if self.ended.len() >= RELEASED_TOGETHER || self.assigned.is_empty() {
            let numbers = self.ended.drain(..).collect();
            self.say(ClientToScheduler::Release { numbers });
        }
    }

    fn say(&mut self, message: ClientToScheduler) {
        self.handle(Event::FromClient { client: CLIENT, message });
    }

    fn handle(&mut self, event: Event) {
        self.scheduler.handle(self.now, event, &mut self.actions);
        for action in &self.actions {
            match action {
                Action::ToNode { node, message: SchedulerToNode::Assign { task, attempt, .. } } => {
                    self.assigned.push_back((*node, *task, *attempt));
                }
                Action::ToNode { node, message: SchedulerToNode::TakeBack { task, attempt } } => {
                    self.wanted_back.push((*node, *task, *attempt));
                }
                Action::ToClient { message: SchedulerToClient::Ended { number, .. }, .. } => {
                    self.ended.push(*number);
                    self.finished += 1;
                }
                _ => {}
            }
        }
        self.actions.clear();
    }
}

/// Ids are random; these look it.
fn node_id(index: u64) -> NodeId {
    NodeId(index.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
}

fn main() {
    let tasks = number("TASKS").unwrap_or(TASKS);
    let sizes = number("NODES").map_or(NODES.to_vec(), |nodes| vec![nodes]);
    print_bytes_per_task(tasks);
    println!("\ndecisions a second, {tasks} tasks\n");
    println!("{:>8} {:>12} {:>14}", "nodes", "streaming", "queued first");
    let mut rates = Vec::new();
    for nodes in sizes {
        let in_flight = 2 * CPUS * nodes;
        let rate = match std::env::var("WAY").as_deref() {
            Ok("streaming") => (decisions(nodes, in_flight, tasks), 0),
            Ok("queued") => (0, decisions(nodes, tasks, tasks)),
            _ => (decisions(nodes, in_flight, tasks), decisions(nodes, tasks, tasks)),
        };
        println!("{nodes:>8} {:>12} {:>14}", rate.0, rate.1);
        rates.push(rate);
    }
    if let [(stream, queued), .., (last_stream, last_queued)] = rates[..] {
        let cost = |first: u64, last: u64| {
            let hundredths = first * 100 / last.max(1);
            format!("{}.{:02} x", hundredths / 100, hundredths % 100)
        };
        println!("\ncost of a decision at 10,000 nodes over that at 10:");
        println!("{:>8} {:>12} {:>14}", "", cost(stream, last_stream), cost(queued, last_queued));
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// How many decisions a second are made with at most so many tasks not ended.
fn decisions(nodes: u64, in_flight: u64, tasks: u64) -> u64 {
    let mut cluster = Cluster::new(nodes);
    let arguments = Bytes::from_static(&[7; ARGUMENT_BYTES]);
    let start = clock();
    while cluster.finished < tasks {
        while cluster.submitted < tasks && cluster.submitted - cluster.finished < in_flight {
            cluster.submit(arguments.clone());
        }
        cluster.finish();
    }
    let micros = u64::try_from(start.elapsed().as_micros()).expect("it does not take that long");
    tasks * 1_000_000 / micros.max(1)
}

#[expect(clippy::disallowed_types, reason = "a benchmark measures time, and is no core")]
fn clock() -> std::time::Instant {
    std::time::Instant::now()
}

/// By how much the process grows for each task that is queued, with its arguments, as they come
/// from a connection: each in memory of its own.
fn print_bytes_per_task(tasks: u64) {
    let mut cluster = Cluster::new(10);
    let before = resident_bytes();
    for _ in 0..tasks {
        cluster.submit(Bytes::copy_from_slice(&[7; ARGUMENT_BYTES]));
    }
    let grown = resident_bytes().saturating_sub(before);
    println!("a queued task with {ARGUMENT_BYTES} bytes of arguments: {} bytes", grown / tasks);
}

/// How much memory this process has; nothing where the system does not say.
#[expect(clippy::disallowed_methods, reason = "a benchmark looks at its process, and is no core")]
fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4_096;
    let numbers = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = numbers.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * PAGE_BYTES
}

//! What one step of each layer of the core takes: the scheduler by kind of event, the node, the
//! codec by message, and a session. Times are for [`STEPS`] steps each; the rates are of steps.

use divan::Bencher;
use divan::counter::ItemsCount;

const STEPS: u64 = 1_000;

fn main() {
    divan::main();
}

fn steps() -> ItemsCount {
    ItemsCount::new(STEPS)
}

mod scheduler {
    use std::time::Duration;

    use bytes::Bytes;
    use hurricane_core::Scheduler;
    use hurricane_core::id::{Attempt, ClientId, DefinitionNumber, NodeId, Number, TaskId};
    use hurricane_core::message::{
        ClientToScheduler, Definition, NodeToScheduler, SchedulerToNode, Value,
    };
    use hurricane_core::resources::Resources;
    use hurricane_core::scheduler::{Action, Config, Event};
    use hurricane_core::time::Time;

    use super::{Bencher, STEPS, steps};

    const CLIENT: ClientId = ClientId(1);

    /// A scheduler with one client and a node, and the events to measure.
    struct World {
        scheduler: Scheduler,
        actions: Vec<Action>,
        events: Vec<Event>,
    }

    impl World {
        fn new(cpus: u64) -> Self {
            let scheduler = Scheduler::new(Config { is_one_machine: true });
            let mut world = Self { scheduler, actions: Vec::new(), events: Vec::new() };
            world.handle(Event::ClientJoined { client: CLIENT });
            let resources = Resources::cpus(cpus);
            world.handle(Event::NodeJoined { node: NodeId(1), name: "node".into(), resources });
            let number = DefinitionNumber(1);
            let definition = definition().into();
            world.handle(said(ClientToScheduler::Define { number, definition }));
            world
        }

        fn handle(&mut self, event: Event) {
            self.scheduler.handle(Time(0), event, &mut self.actions);
        }

        /// Submits as many tasks as there are steps.
        fn submit_all(&mut self) {
            (1..=STEPS).for_each(|number| self.handle(submit(number, 0)));
        }

        /// Says that each assigned task has ended.
        fn ends(&self) -> Vec<Event> {
            let assigned = self.actions.iter().filter_map(|action| match action {
                Action::ToNode {
                    message: SchedulerToNode::Assign { task, attempt, .. }, ..
                } => Some((*task, *attempt)),
                _ => None,
            });
            assigned.map(|(task, attempt)| finished(task, attempt)).collect()
        }
    }

    pub(super) fn definition() -> Definition {
        Definition {
            function: Bytes::from_static(b"function"),
            name: "work".into(),
            resources: Resources::cpus(1),
            retries: 0,
            timeout: None,
            priority: 0,
        }
    }

    fn said(message: ClientToScheduler) -> Event {
        Event::FromClient { client: CLIENT, message }
    }

    /// A task that depends on the last few before it.
    fn submit(number: u64, dependencies: u64) -> Event {
        said(ClientToScheduler::Submit {
            number: Number(number),
            definition: DefinitionNumber(1),
            arguments: Bytes::from_static(&[7; 100]),
            dependencies: (number.saturating_sub(dependencies).max(1)..number)
                .map(Number)
                .collect(),
        })
    }

    fn finished(task: TaskId, attempt: Attempt) -> Event {
        let value = Value::Inline(Bytes::from_static(b"value"));
        let ran = Duration::from_millis(1);
        let message = NodeToScheduler::Finished { task, attempt, value, ran };
        Event::FromNode { node: NodeId(1), message }
    }

    fn bench(bencher: Bencher, prepare: impl Fn() -> World) {
        let prepare = || {
            let mut world = prepare();
            world.actions = Vec::with_capacity(4 * world.events.len());
            world
        };
        bencher.counter(steps()).with_inputs(prepare).bench_local_refs(|world| {
            for event in std::mem::take(&mut world.events) {
                world.scheduler.handle(Time(0), event, &mut world.actions);
            }
        });
    }

    #[divan::bench(args = [0, 1, 4])]
    fn submit_queued(bencher: Bencher, dependencies: u64) {
        bench(bencher, || {
            let mut world = World::new(1);
            world.events = (1..=STEPS).map(|number| submit(number, dependencies)).collect();
            world
        });
    }

    #[divan::bench]
    fn submit_assigned(bencher: Bencher) {
        bench(bencher, || {
            let mut world = World::new(STEPS);
            world.events = (1..=STEPS).map(|number| submit(number, 0)).collect();
            world
        });
    }

    #[divan::bench]
    fn finish(bencher: Bencher) {
        bench(bencher, || {
            let mut world = World::new(STEPS);
            world.submit_all();
            world.events = world.ends();
            world
        });
    }

    #[divan::bench]
    fn release(bencher: Bencher) {
        bench(bencher, || {
            let mut world = World::new(STEPS);
            world.submit_all();
            world.ends().into_iter().for_each(|end| world.handle(end));
            let numbers = (1..=STEPS).map(|number| vec![Number(number)]);
            let releases = numbers.map(|numbers| said(ClientToScheduler::Release { numbers }));
            world.events = releases.collect();
            world
        });
    }

    /// The whole way of short tasks on one machine of two slots, where events come in batches: so
    /// many are submitted, end and are released at a time.
    #[divan::bench(args = [1, 64])]
    fn one_machine(bencher: Bencher, batch: u64) {
        bencher.counter(steps()).with_inputs(|| World::new(2)).bench_local_refs(|world| {
            let mut next = 1;
            while next <= STEPS {
                let numbers: Vec<Number> =
                    (next..=STEPS.min(next + batch - 1)).map(Number).collect();
                next += batch;
                for number in &numbers {
                    world.handle(submit(number.0, 0));
                }
                loop {
                    let ends = world.ends();
                    world.actions.clear();
                    if ends.is_empty() {
                        break;
                    }
                    for end in ends {
                        world.handle(end);
                    }
                }
                world.handle(said(ClientToScheduler::Release { numbers }));
            }
            let tasks = world.scheduler.snapshot().tasks;
            assert_eq!(tasks.done, STEPS, "each has run");
        });
    }

    #[divan::bench]
    fn cancel_queued(bencher: Bencher) {
        bench(bencher, || {
            let mut world = World::new(1);
            world.submit_all();
            let numbers = (1..=STEPS).map(Number);
            let cancels = numbers.map(|number| said(ClientToScheduler::Cancel { number }));
            world.events = cancels.collect();
            world
        });
    }
}

mod node {
    use std::time::Duration;

    use bytes::Bytes;
    use hurricane_core::Node;
    use hurricane_core::id::{Attempt, DefinitionId, NodeId, TaskId};
    use hurricane_core::message::{NodeToWorker, SchedulerToNode, WorkerToNode};
    use hurricane_core::node::{Action, Config, Event};
    use hurricane_core::resources::Resources;
    use hurricane_core::time::Time;

    use super::{Bencher, STEPS, scheduler, steps};

    /// A node whose workers are ready, and that knows the definition 1.
    fn node() -> Node {
        let resources = Resources::cpus(4);
        let mut node = Node::new(Config {
            id: NodeId(7),
            name: "node".into(),
            resources,
            queues_after: Some(1),
        });
        let mut actions = Vec::new();
        node.handle(Time(0), Event::Tick, &mut actions);
        for action in std::mem::take(&mut actions) {
            if let Action::StartWorker { worker, .. } = action {
                let message = WorkerToNode::Ready;
                node.handle(Time(0), Event::FromWorker { worker, message }, &mut actions);
            }
        }
        let definition = scheduler::definition().into();
        let define = SchedulerToNode::Define { id: DefinitionId(1), definition };
        node.handle(Time(0), Event::FromScheduler(define), &mut actions);
        node
    }

    fn assign(task: u64) -> Event {
        Event::FromScheduler(SchedulerToNode::Assign {
            task: TaskId(task),
            attempt: Attempt(1),
            definition: DefinitionId(1),
            arguments: Bytes::from_static(&[7; 100]),
            inputs: Vec::new(),
        })
    }

    /// Short tasks with a backlog of so many: assigned, run and finished.
    #[divan::bench(args = [4, 100, 1_000])]
    fn short_tasks(bencher: Bencher, backlog: u64) {
        bencher.counter(steps()).with_inputs(node).bench_local_refs(|node| {
            let mut actions = Vec::new();
            let mut running = std::collections::VecDeque::new();
            let (mut assigned, mut ended) = (0, 0);
            while ended < STEPS {
                if assigned < STEPS && assigned - ended < backlog {
                    assigned += 1;
                    node.handle(Time(0), assign(assigned), &mut actions);
                } else if let Some((worker, run)) = running.pop_front() {
                    ended += 1;
                    let result = Bytes::from_static(b"value");
                    let ran = Duration::from_micros(10);
                    let message = WorkerToNode::Finished { run, result, ran };
                    node.handle(Time(0), Event::FromWorker { worker, message }, &mut actions);
                }
                running.extend(actions.drain(..).filter_map(|action| match action {
                    Action::ToWorker { worker, message: NodeToWorker::Run { run, .. } } => {
                        Some((worker, run))
                    }
                    _ => None,
                }));
            }
        });
    }
}

mod codec {
    use std::time::Duration;

    use bytes::Bytes;
    use hurricane_core::frame::{Decoder, MAX_CONTROL_FRAME_BYTES, encode};
    use hurricane_core::id::{Attempt, DefinitionId, DefinitionNumber, Number, RunId, TaskId};
    use hurricane_core::message::{
        ClientToScheduler, NodeToScheduler, NodeToWorker, SchedulerToNode, Value,
    };
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::{Bencher, STEPS, steps};

    const ARGUMENTS: Bytes = Bytes::from_static(&[7; 100]);

    fn submit() -> ClientToScheduler {
        ClientToScheduler::Submit {
            number: Number(1_000),
            definition: DefinitionNumber(1),
            arguments: ARGUMENTS,
            dependencies: Vec::new(),
        }
    }

    fn assign() -> SchedulerToNode {
        SchedulerToNode::Assign {
            task: TaskId(1_000),
            attempt: Attempt(1),
            definition: DefinitionId(1),
            arguments: ARGUMENTS,
            inputs: Vec::new(),
        }
    }

    fn run() -> NodeToWorker {
        NodeToWorker::Run {
            run: RunId(1_000),
            definition: DefinitionId(1),
            arguments: ARGUMENTS,
            inputs: Vec::new(),
        }
    }

    fn finished() -> NodeToScheduler {
        NodeToScheduler::Finished {
            task: TaskId(1_000),
            attempt: Attempt(1),
            value: Value::Inline(Bytes::from_static(b"value")),
            ran: Duration::from_micros(10),
        }
    }

    fn encode_all<T: Serialize>(bencher: Bencher, message: &T) {
        bencher.counter(steps()).with_inputs(|| Vec::with_capacity(1 << 20)).bench_local_refs(
            |buffer| {
                for _ in 0..STEPS {
                    encode(message, buffer);
                }
            },
        );
    }

    fn decode_all<T: Serialize + DeserializeOwned>(bencher: Bencher, message: &T) {
        let mut bytes = Vec::new();
        (0..STEPS).for_each(|_| encode(message, &mut bytes));
        let prepare = || {
            let mut decoder = Decoder::new(MAX_CONTROL_FRAME_BYTES);
            decoder.buffer().extend_from_slice(&bytes);
            decoder
        };
        bencher.counter(steps()).with_inputs(prepare).bench_local_refs(|decoder| {
            for _ in 0..STEPS {
                let message = decoder.next_message::<T>().expect("it was encoded here");
                divan::black_box(message.expect("all of it is there"));
            }
        });
    }

    #[divan::bench]
    fn encode_submit(bencher: Bencher) {
        encode_all(bencher, &submit());
    }

    #[divan::bench]
    fn encode_assign(bencher: Bencher) {
        encode_all(bencher, &assign());
    }

    #[divan::bench]
    fn encode_run(bencher: Bencher) {
        encode_all(bencher, &run());
    }

    #[divan::bench]
    fn encode_finished(bencher: Bencher) {
        encode_all(bencher, &finished());
    }

    #[divan::bench]
    fn decode_submit(bencher: Bencher) {
        decode_all(bencher, &submit());
    }

    #[divan::bench]
    fn decode_assign(bencher: Bencher) {
        decode_all(bencher, &assign());
    }

    #[divan::bench]
    fn decode_run(bencher: Bencher) {
        decode_all(bencher, &run());
    }

    #[divan::bench]
    fn decode_finished(bencher: Bencher) {
        decode_all(bencher, &finished());
    }
}

mod session {
    use std::collections::VecDeque;

    use bytes::Bytes;
    use hurricane_core::Session;
    use hurricane_core::id::{BootId, ConnectionId};
    use hurricane_core::session::{Action, Event, Frame, Patience};
    use hurricane_core::time::Time;

    use super::{Bencher, STEPS, steps};

    const CONNECTION: ConnectionId = ConnectionId(1);

    /// Both ends of a session over one connection.
    struct Pair {
        dialer: Session,
        listener: Session,
        delivered: u64,
    }

    impl Pair {
        fn new() -> Self {
            let mut dialer = Session::dial(BootId(1));
            let mut actions = Vec::new();
            dialer.handle(Time(0), Event::Tick, &mut actions);
            let opened = Event::Opened { connection: CONNECTION };
            dialer.handle(Time(0), opened, &mut actions);
            let hello = actions.into_iter().find_map(|action| match action {
                Action::Transmit { frame: Frame::Hello(hello), .. } => Some(hello),
                _ => None,
            });
            let hello = hello.expect("a dialer greets");
            let listener = Session::accept(Time(0), BootId(2), &hello, Patience::CLIENT);
            let listener = listener.expect("it names no session");
            let mut pair = Self { dialer, listener, delivered: 0 };
            pair.pass(Event::Accepted { connection: CONNECTION, hello }, false);
            pair
        }

        /// Lets something happen to one end, and all that follows from it to both.
        fn pass(&mut self, event: Event, is_dialer: bool) {
            let mut events = VecDeque::from([(event, is_dialer)]);
            let mut actions = Vec::new();
            while let Some((event, is_dialer)) = events.pop_front() {
                let end = if is_dialer { &mut self.dialer } else { &mut self.listener };
                end.handle(Time(0), event, &mut actions);
                for action in actions.drain(..) {
                    match action {
                        Action::Transmit { connection, frame } => {
                            events.push_back((Event::Received { connection, frame }, !is_dialer));
                        }
                        Action::Deliver(_) => self.delivered += 1,
                        _ => {}
                    }
                }
            }
        }
    }

    /// Messages from the dialer to the listener, with what is acknowledged of them.
    #[divan::bench]
    fn messages(bencher: Bencher) {
        bencher.counter(steps()).with_inputs(Pair::new).bench_local_refs(|pair| {
            for _ in 0..STEPS {
                pair.pass(Event::Send(Bytes::from_static(&[7; 100])), true);
            }
            assert_eq!(pair.delivered, STEPS, "all arrive");
        });
    }
}

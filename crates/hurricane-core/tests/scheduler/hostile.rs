//! Nodes that lie: what they say costs the cluster nothing, and the tasks of others stay exact.

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;
use hurricane_core::id::{Attempt, NodeId, Number, ObjectId, ObjectNumber, TaskId};
use hurricane_core::message::{
    ClientToScheduler, Death, Definition, Failure, INLINE_LIMIT_BYTES, NodeToScheduler, Output,
    Stream, Value,
};
use hurricane_core::resources::{Amount, Resources};
use hurricane_core::scheduler::Event;
use hurricane_core::time::Time;

use crate::world::{World, kept, plain, stored, submission};

const NOTHING: [&str; 0] = [];

/// Node 2 says something.
fn say(world: &mut World, message: NodeToScheduler) -> Vec<String> {
    world.handle(Event::FromNode { node: NodeId(2), message })
}

/// Two nodes, of which the second lies, with a task each: 1 on node 1 and 2 on node 2.
fn world() -> World {
    let mut world = World::new(&[1, 1]);
    world.submit(1, &[]);
    world.submit(2, &[]);
    world
}

fn inline() -> Value {
    Value::Inline(Bytes::new())
}

/// What nodes say to end an attempt.
fn endings(task: TaskId, attempt: Attempt) -> Vec<NodeToScheduler> {
    let failure = Box::new(Failure::Raised(Bytes::new()));
    let (ran, death) = (Duration::ZERO, Box::new(Death::default()));
    let object = ObjectId { node: NodeId(1), number: ObjectNumber(1) };
    vec![
        NodeToScheduler::Finished { task, attempt, value: inline(), ran },
        NodeToScheduler::Failed { task, attempt, failure, ran },
        NodeToScheduler::Died { task, attempt, death },
        NodeToScheduler::TakenBack { task, attempt },
        NodeToScheduler::InputLost { task, attempt, object },
        NodeToScheduler::Waiting { task, attempt },
        NodeToScheduler::Resumed { task, attempt },
        NodeToScheduler::Kept { task, attempt },
    ]
}

#[test]
fn one_that_claims_what_no_machine_has_is_refused() {
    let most = Amount(u64::MAX);
    let named = |count: u64, amount: Amount| Resources {
        named: (0..count).map(|index| (format!("r{index}").into(), amount)).collect(),
        ..Resources::cpus(1)
    };
    let claims = [
        Resources { cpus: most, ..Resources::default() },
        Resources { gpus: most, ..Resources::cpus(1) },
        Resources { memory_bytes: u64::MAX, ..Resources::cpus(1) },
        named(1, most),
        named(1_000, Amount::whole(1)),
        Resources::cpus((1 << 16) + 1),
    ];
    for resources in claims {
        let mut world = World::new(&[1]);
        let refused = ["node 2 refused: it claims resources that no machine has"];
        assert_eq!(world.join_node(2, resources), refused);
        assert_eq!(world.submit(1, &[]), ["node 1: run 1#1"]);
        assert_eq!(world.scheduler.snapshot().nodes.len(), 1);
    }
}

#[test]
fn the_most_that_one_may_claim_can_be_counted() {
    let most = Resources {
        cpus: Amount::whole(1 << 16),
        gpus: Amount::whole(1 << 16),
        memory_bytes: 1 << 54,
        named: BTreeMap::from([("disk".into(), Amount(1 << 54))]),
    };
    let mut world = World::new(&[]);
    world.join_node(1, most.clone());
    let all = Definition { resources: most, ..plain() };
    let all = world.define(all);
    assert_eq!(world.submit_as(all, 1, &[]), ["node 1: run 1#1"]);
    assert_eq!(world.submit_as(all, 2, &[]), NOTHING);
    assert_eq!(world.finish(1), ["client 1: 1 done", "node 1: run 2#1"]);
}

#[test]
fn what_is_said_of_a_task_it_was_never_given_has_no_effect() {
    let mut world = world();
    let (task, attempt) = world.attempt_of(1);
    for message in endings(task, attempt) {
        assert_eq!(say(&mut world, message), NOTHING);
    }
    for message in endings(TaskId(1 << 40), Attempt(1)) {
        assert_eq!(say(&mut world, message), NOTHING);
    }
    assert_eq!(world.finish(1), ["client 1: 1 done"]);
    assert_eq!(world.finish(2), ["client 1: 2 done"]);
}

#[test]
fn what_is_said_of_an_older_attempt_or_one_to_come_has_no_effect() {
    let mut world = world();
    let (task, former) = world.attempt_of(2);
    assert_eq!(world.die(2), ["node 1: run 2#2"]);
    assert_eq!(world.finish(1), ["client 1: 1 done"]);
    for attempt in [former, Attempt(2), Attempt(3), Attempt(u32::MAX)] {
        for message in endings(task, attempt) {
            assert_eq!(say(&mut world, message), NOTHING);
        }
    }
    assert_eq!(world.finish(2), ["client 1: 2 done"]);
    for message in endings(task, former) {
        assert_eq!(say(&mut world, message), NOTHING);
    }
}

#[test]
fn one_that_names_what_it_does_not_hold_is_ended() {
    let elsewhere = "it claims to have stored a value elsewhere than with itself";
    let twice = "it claims to have stored two values as one object";
    let large = "it sent a value that is too large for a message";
    let cases = [
        (stored(1, 1), elsewhere),
        (stored(3, 1), elsewhere),
        (kept(1), elsewhere),
        (stored(2, 7), twice),
        (Value::Inline(vec![0; INLINE_LIMIT_BYTES + 1].into()), large),
    ];
    for (value, lie) in cases {
        for is_put in [false, true] {
            check_value_is_refused(value.clone(), is_put, lie);
        }
    }
}

/// Lets node 2, whose object 7 is a result, finish a task with this value or put it in its part.
fn check_value_is_refused(value: Value, is_put: bool, lie: &str) {
    let mut world = World::new(&[1, 2]);
    for number in 1..=3 {
        world.submit(number, &[]);
    }
    let number_on = |world: &World, node| (1..=3).find(|it| world.node_of(*it) == node);
    let honest = number_on(&world, 1).expect("one of three is on the small node");
    let first = number_on(&world, 2).expect("two of three are on the large node");
    world.finish_stored(first, 7);
    let (task, attempt) = world.attempt_of(6 - honest - first);
    let ran = Duration::ZERO;
    let message = if is_put {
        let message = ClientToScheduler::Put { number: Number(1), value };
        NodeToScheduler::Nested { task, attempt, message }
    } else {
        NodeToScheduler::Finished { task, attempt, value, ran }
    };
    let lines = say(&mut world, message);
    assert_eq!(lines.first(), Some(&format!("node 2 refused: {lie}")));
    let lines = world.finish(honest);
    assert_eq!(lines.first(), Some(&format!("client 1: {honest} done")));
}

#[test]
fn it_speaks_only_for_the_attempts_that_it_has() {
    let mut world = world();
    let (task, attempt) = world.attempt_of(1);
    let messages = [
        ClientToScheduler::CancelWaiting,
        ClientToScheduler::Cancel { number: Number(1) },
        ClientToScheduler::Release { numbers: vec![Number(1)] },
        submission(1, 3, &[]),
        ClientToScheduler::Put { number: Number(3), value: inline() },
    ];
    for message in messages {
        let message = NodeToScheduler::Nested { task, attempt, message };
        assert_eq!(say(&mut world, message), NOTHING);
    }
    // What it says to have stored for one of them is dropped there.
    let put = ClientToScheduler::Put { number: Number(3), value: stored(2, 9) };
    let message = NodeToScheduler::Nested { task, attempt, message: put };
    assert_eq!(say(&mut world, message), ["node 2: drop [ObjectNumber(9)]"]);
    assert_eq!(world.finish(1), ["client 1: 1 done"]);
}

#[test]
fn in_the_part_of_its_own_task_it_reaches_nothing_of_the_client() {
    let mut world = world();
    let messages = [
        ClientToScheduler::Cancel { number: Number(1) },
        ClientToScheduler::Release { numbers: vec![Number(1)] },
        ClientToScheduler::CancelWaiting,
    ];
    for message in messages {
        assert_eq!(world.say_nested(2, message), NOTHING);
    }
    assert_eq!(world.finish(1), ["client 1: 1 done"]);
    assert_eq!(world.finish(2), ["client 1: 2 done"]);
}

#[test]
fn one_that_gives_back_unasked_is_ended() {
    let mut world = world();
    world.finish(1);
    let lines = world.report(2, |task, attempt| NodeToScheduler::TakenBack { task, attempt });
    let lie = "node 2 refused: it gives a task back that it was not asked for";
    assert_eq!(lines, [lie, "node 1: run 2#2"]);
}

#[test]
fn one_that_reports_what_only_the_scheduler_can_find_is_ended() {
    let failures = [
        Failure::ObjectLost,
        Failure::SetupFailed(Bytes::new()),
        Failure::SchedulerLost("no".into()),
        Failure::WorkerLost { deaths: Vec::new(), is_poison: true },
    ];
    for failure in failures {
        let mut world = world();
        world.finish(1);
        let (failure, ran) = (Box::new(failure), Duration::ZERO);
        let failed = |task, attempt| NodeToScheduler::Failed { task, attempt, failure, ran };
        let lie = "node 2 refused: it reports a failure that is not its to find";
        assert_eq!(world.report(2, failed), [lie, "node 1: run 2#2"]);
    }
}

#[test]
fn one_whose_tasks_all_claim_to_wait_does_not_get_every_task() {
    let mut world = World::new(&[1]);
    for number in 1..=100 {
        world.submit(number, &[]);
    }
    for number in 1..=64 {
        assert_eq!(world.wait(number), [format!("node 1: run {}#1", number + 1)]);
    }
    let lie = "node 1 refused: it lets more tasks wait for their children than may";
    assert_eq!(world.wait(65), [lie]);
}

#[test]
fn a_flood_of_output_is_cut() {
    let mut world = world();
    let write = |world: &mut World, bytes: usize| {
        let text = Bytes::from(vec![b'\n'; bytes]);
        let output = Output { stream: Stream::Stdout, text, dropped_lines: 0 };
        world.report(2, |task, attempt| NodeToScheduler::Output { task, attempt, output }).len()
    };
    let passed: usize = (0..10_000).map(|_| write(&mut world, 1 << 14)).sum();
    assert_eq!(passed, (32 << 20) / ((1 << 14) + 64));
    let passed: usize = (0..10_000).map(|_| write(&mut world, 0)).sum();
    assert_eq!(passed, 0);
    world.pass(Duration::from_secs(1));
    let passed: usize = (0..10_000).map(|_| write(&mut world, 1 << 14)).sum();
    assert_eq!(passed, (8 << 20) / ((1 << 14) + 64));
    assert_eq!(world.finish(1), ["client 1: 1 done"]);
}

#[test]
fn whose_death_it_was_is_not_its_to_say() {
    let mut world = World::new(&[1]);
    world.submit(1, &[]);
    world.die(1);
    world.die(1);
    let (task, attempt) = world.attempt_of(1);
    let death = Box::new(Death { node: "another".into(), ..Death::default() });
    let message = NodeToScheduler::Died { task, attempt, death };
    let mut actions = Vec::new();
    let event = Event::FromNode { node: NodeId(1), message };
    world.scheduler.handle(Time(0), event, &mut actions);
    let said = format!("{actions:?}");
    assert!(!said.contains("another") && said.contains("node-1"), "{said}");
}

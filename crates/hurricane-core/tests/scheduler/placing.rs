//! Where tasks go.

use core::time::Duration;

use hurricane_core::message::{Definition, NodeToScheduler};
use hurricane_core::resources::{Amount, Resources};

use crate::world::{PLAIN, World, plain};

#[test]
fn tasks_spread_over_the_nodes() {
    let mut world = World::new(&[2, 2]);
    let lines: Vec<String> = (1..=5).flat_map(|number| world.submit(number, &[])).collect();
    let expected = ["node 1: run 1#1", "node 2: run 2#1", "node 1: run 3#1", "node 2: run 4#1"];
    assert_eq!(lines, expected);
}

#[test]
fn a_node_is_never_given_more_than_it_has() {
    let mut world = World::new(&[]);
    let mut resources = Resources::cpus(4);
    resources.gpus = Amount::whole(1);
    world.join_node(1, resources);
    let half_gpu = Resources { gpus: Amount(5_000), ..Resources::cpus(1) };
    let definition = world.define(Definition { resources: half_gpu, ..plain() });
    let lines: Vec<String> =
        (1..=3).flat_map(|number| world.submit_as(definition, number, &[])).collect();
    assert_eq!(lines, ["node 1: run 1#1", "node 1: run 2#1"]);
    assert_eq!(world.submit(4, &[]), ["node 1: run 4#1"]);
    assert_eq!(world.finish(1), ["client 1: 1 done", "node 1: run 3#1"]);
}

#[test]
fn a_node_of_named_resources_alone_takes_only_what_asks_for_them() {
    let mut world = World::new(&[]);
    let named =
        Resources { named: [("license".into(), Amount::whole(1))].into(), ..Resources::default() };
    let nothing = Resources::default();
    let mut define = |resources| world.define(Definition { resources, ..plain() });
    let (modest, special) = (define(nothing), define(named.clone()));
    world.join_node(1, named);
    let refused = world.submit_as(modest, 1, &[]);
    assert_eq!(refused, ["client 1: 1 failed: 0 cpus of 0 cpus, 1 license"]);
    assert_eq!(world.submit_as(special, 2, &[]), ["node 1: run 2#1"]);
    world.join_node(2, Resources::cpus(1));
    assert_eq!(world.submit_as(modest, 3, &[]), ["node 2: run 3#1"]);
}

#[test]
fn short_tasks_wait_on_the_node_and_long_ones_do_not() {
    let mut world = World::new(&[1]);
    for number in 1..=50 {
        world.submit(number, &[]);
    }
    let first = world.finish_after(1, Duration::from_millis(1));
    // One runs, and about thirty milliseconds' worth of a millisecond each waits behind it.
    assert_eq!(first.len(), 1 + 1 + 30);
    let long = world.define(plain());
    world.submit_as(long, 51, &[]);
    world.submit_as(long, 52, &[]);
    assert_eq!(world.scheduler.snapshot().nodes[0].backlog, 30);
}

#[test]
fn an_idle_node_gets_half_of_the_longest_backlog() {
    let mut world = World::new(&[1]);
    for number in 1..=6 {
        world.submit(number, &[]);
    }
    world.finish_after(1, Duration::from_millis(1));
    assert_eq!(world.scheduler.snapshot().nodes[0].backlog, 4);
    let recalls = world.join_node(2, Resources::cpus(1));
    assert_eq!(recalls, ["node 1: take back 6#1", "node 1: take back 5#1"]);
    let back = |task, attempt| NodeToScheduler::TakenBack { task, attempt };
    assert_eq!(world.report(6, back), ["node 2: run 6#2"]);
    let kept = |task, attempt| NodeToScheduler::Kept { task, attempt };
    assert_eq!(world.report(5, kept), [""; 0]);
}

#[test]
fn what_a_node_keeps_is_not_asked_for_again() {
    let mut world = World::new(&[1]);
    for number in 1..=3 {
        world.submit(number, &[]);
    }
    world.finish_after(1, Duration::from_millis(1));
    assert_eq!(world.join_node(2, Resources::cpus(1)), ["node 1: take back 3#1"]);
    // It fits there, whatever the scheduler counted.
    let kept = |task, attempt| NodeToScheduler::Kept { task, attempt };
    assert_eq!(world.report(3, kept), [""; 0]);
    let nodes = world.scheduler.snapshot().nodes;
    assert_eq!((nodes[0].running, nodes[0].backlog), (2, 0));
    assert_eq!(world.finish(3), ["client 1: 3 done"]);
    assert_eq!(world.finish(2), ["client 1: 2 done"]);
}

#[test]
fn a_large_task_is_not_passed_for_ever() {
    let mut world = World::new(&[2]);
    let resources = Resources::cpus(2);
    let large = world.define(Definition { resources, ..plain() });
    world.submit(1, &[]);
    assert_eq!(world.submit_as(large, 2, &[]), [""; 0]);
    assert_eq!(world.submit(3, &[]), ["node 1: run 3#1"]);
    world.pass(Duration::from_secs(11));
    world.submit(4, &[]);
    assert_eq!(world.finish(1), ["client 1: 1 done"]);
    assert_eq!(world.finish(3), ["client 1: 3 done", "node 1: run 2#1"]);
    let end = world.finish(2);
    assert_eq!(end, ["client 1: 2 done", "node 1: run 4#1"]);
}

#[test]
fn a_lost_node_s_tasks_run_elsewhere_and_its_late_results_are_dropped() {
    let mut world = World::new(&[1, 1]);
    world.submit(1, &[]);
    world.submit(2, &[]);
    assert_eq!(world.lose_node(1), [""; 0]);
    assert_eq!(world.finish(1), [""; 0]);
    assert_eq!(world.finish(2), ["client 1: 2 done", "node 2: run 1#2"]);
    assert_eq!(world.finish(1), ["client 1: 1 done"]);
}

#[test]
fn no_nodes_is_not_an_error_and_not_silent() {
    let mut world = World::new(&[]);
    assert_eq!(world.submit_as(PLAIN, 1, &[]), [""; 0]);
    assert_eq!(world.pass(Duration::from_secs(6)), ["client 1: stalled: NoNodes"]);
    assert_eq!(world.pass(Duration::from_secs(61)), ["client 1: stalled: NoNodes"]);
    assert_eq!(world.join_node(1, Resources::cpus(1)), ["node 1: run 1#1"]);
}

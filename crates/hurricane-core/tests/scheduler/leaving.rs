//! Nodes that will leave.

use core::time::Duration;

use hurricane_core::message::{Definition, NodeToScheduler};
use hurricane_core::resources::Resources;

use crate::world::{World, plain};

fn give_back(world: &mut World, number: u64) -> Vec<String> {
    world.report(number, |task, attempt| NodeToScheduler::TakenBack { task, attempt })
}

fn keep(world: &mut World, number: u64) -> Vec<String> {
    world.report(number, |task, attempt| NodeToScheduler::Kept { task, attempt })
}

#[test]
fn one_with_nothing_to_do_may_leave_at_once() {
    let mut world = World::new(&[1]);
    assert_eq!(world.leave_node(1), ["node 1 may leave"]);
    assert_eq!(world.leave_node(1), [""; 0]);
    assert_eq!(world.lose_node(1), [""; 0]);
    assert_eq!(world.leave_node(1), [""; 0]);
}

#[test]
fn what_it_runs_ends_there() {
    let mut world = World::new(&[1]);
    world.submit(1, &[]);
    assert_eq!(world.leave_node(1), ["node 1: take back 1#1"]);
    assert_eq!(world.leave_node(1), [""; 0]);
    assert_eq!(keep(&mut world, 1), [""; 0]);
    assert!(world.scheduler.snapshot().nodes[0].is_leaving);
    assert_eq!(world.finish(1), ["node 1 may leave", "client 1: 1 done"]);
    assert_eq!(world.leave_node(1), [""; 0]);
}

#[test]
fn what_it_has_not_begun_goes_elsewhere() {
    let mut world = World::new(&[1, 1]);
    world.submit(1, &[]);
    world.submit(2, &[]);
    // Tasks are short: two more wait behind those that run.
    world.finish_after(1, Duration::from_millis(1));
    for number in 3..=6 {
        world.submit(number, &[]);
    }
    let there: Vec<u64> = (3..=6).filter(|number| world.node_of(*number) == 1).collect();
    let lines = world.leave_node(1);
    assert_eq!(lines.len(), there.len(), "{lines:?}");
    assert_eq!(keep(&mut world, there[0]), [""; 0]);
    for &number in &there[1..] {
        assert_eq!(give_back(&mut world, number), [format!("node 2: run {number}#2")]);
    }
    let lines = world.finish(there[0]);
    assert_eq!(lines.first().map(String::as_str), Some("node 1 may leave"));
}

#[test]
fn nothing_new_is_assigned_to_it() {
    let mut world = World::new(&[4, 1]);
    world.leave_node(1);
    assert_eq!(world.submit(1, &[]), ["node 2: run 1#1"]);
    assert_eq!(world.submit(2, &[]), [""; 0]);
    world.lose_node(2);
    assert_eq!(world.pass(Duration::from_secs(6)), ["client 1: stalled: NoNodes"]);
    assert_eq!(world.join_node(3, Resources::cpus(2)), ["node 3: run 1#2", "node 3: run 2#1"]);
}

#[test]
fn a_parent_that_waits_has_begun() {
    let mut world = World::new(&[1, 1]);
    world.submit(1, &[]);
    world.submit(2, &[]);
    world.nest(1, 101);
    assert_eq!(world.wait(1), ["node 1: run 101#1"]);
    assert_eq!(world.leave_node(1), ["node 1: take back 101#1"]);
    assert_eq!(give_back(&mut world, 101), [""; 0]);
    let lines = world.finish(2);
    assert_eq!(lines, ["client 1: 2 done", "node 2: run 101#2"]);
    assert_eq!(world.finish(101), ["node 1: tell 1: 101 done"]);
    world.resume(1);
    assert_eq!(world.finish(1), ["node 1 may leave", "client 1: 1 done"]);
}

#[test]
fn it_drains_for_no_task_any_more() {
    let mut world = World::new(&[2, 2]);
    let wide = world.define(Definition { resources: Resources::cpus(2), ..plain() });
    for number in 1..=4 {
        world.submit(number, &[]);
    }
    world.submit_as(wide, 5, &[]);
    world.pass(Duration::from_secs(11));
    // One of the nodes is reserved for the wide task; whichever it is, both must be able to leave.
    for node in [1, 2] {
        world.leave_node(node);
    }
    for number in 1..=4 {
        world.finish(number);
    }
    let lines = world.join_node(3, Resources::cpus(2));
    assert_eq!(lines, ["node 3: run 5#1"]);
}

#[test]
fn it_counts_as_one_that_left() {
    let mut world = World::new(&[4, 2]);
    let large = world.define(Definition { resources: Resources::cpus(3), ..plain() });
    world.leave_node(1);
    // Until it is back, or has been away for long.
    assert_eq!(world.submit_as(large, 1, &[]), [""; 0]);
    assert_eq!(world.lose_node(1), [""; 0]);
    let lines = world.pass(Duration::from_secs(3_700));
    let last = lines.last().map(String::as_str);
    assert_eq!(last, Some("client 1: 1 failed: 3 cpus of 2 cpus"));
}

#[test]
fn one_that_is_lost_meanwhile_is_lost() {
    let mut world = World::new(&[1, 1]);
    world.submit(1, &[]);
    world.leave_node(1);
    assert_eq!(world.lose_node(1), ["node 2: run 1#2"]);
}

#[test]
fn cancelling_what_it_was_asked_for_lets_it_go() {
    let mut world = World::new(&[1]);
    world.submit(1, &[]);
    world.leave_node(1);
    let lines = world.cancel(1);
    assert_eq!(lines, ["node 1: cancel 1#1", "node 1 may leave", "client 1: 1 cancelled"]);
}

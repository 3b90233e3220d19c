//! A task goes where most of its stored input is, unless waiting there costs more than moving it.
//! Moving a megabyte is taken to cost ten milliseconds.

use core::time::Duration;

use hurricane_core::message::{Definition, NodeToScheduler};
use hurricane_core::resources::Resources;

use crate::world::{PLAIN, World, plain};

const MEGABYTE: u64 = 1_000_000;

const SECOND: Duration = Duration::from_secs(1);

/// Two nodes of one cpu: the value of task 2, so large, is on node 2, and nothing runs.
fn with_value(size_bytes: u64) -> World {
    let mut world = World::new(&[1, 1]);
    world.submit(1, &[]);
    world.submit(2, &[]);
    world.finish_large(2, size_bytes, SECOND);
    world.finish(1);
    world
}

/// And node 2 runs task 3, which takes about a second.
fn with_busy_holder(size_bytes: u64) -> World {
    let mut world = with_value(size_bytes);
    assert_eq!(world.submit(3, &[2]), ["node 2: run 3#1 with object 2/2"]);
    world
}

#[test]
fn a_task_goes_where_its_input_is() {
    let mut world = with_value(MEGABYTE);
    assert_eq!(world.submit(3, &[2]), ["node 2: run 3#1 with object 2/2"]);
}

#[test]
fn a_task_goes_where_most_of_its_input_is() {
    let mut world = World::new(&[1, 1, 1]);
    (1..=3).for_each(|number| drop(world.submit(number, &[])));
    world.finish_large(1, MEGABYTE, SECOND);
    world.finish_large(2, 2 * MEGABYTE, SECOND);
    world.finish_large(3, 4 * MEGABYTE, SECOND);
    let with_all = ["node 3: run 4#1 with object 1/1, object 2/2, object 3/3"];
    assert_eq!(world.submit(4, &[1, 2, 3]), with_all);
    assert_eq!(world.submit(5, &[1, 2]), ["node 2: run 5#1 with object 1/1, object 2/2"]);
}

#[test]
fn input_is_moved_if_that_is_sooner_than_waiting() {
    let mut world = with_busy_holder(MEGABYTE);
    assert_eq!(world.submit(4, &[2]), ["node 1: run 4#1 with object 2/2"]);
}

#[test]
fn a_task_waits_where_its_input_is_if_that_is_sooner_than_moving() {
    let mut world = with_busy_holder(1_000 * MEGABYTE);
    // Another node is idle, and it is not taken back for that one.
    assert_eq!(world.submit(4, &[2]), ["node 2: run 4#1 with object 2/2"]);
    assert_eq!(world.scheduler.snapshot().nodes[1].backlog, 1);
    // What needs nothing of it goes past.
    assert_eq!(world.submit(5, &[]), ["node 1: run 5#1"]);
    assert_eq!(world.finish(3), ["client 1: 3 done"]);
    assert_eq!(world.finish(4), ["client 1: 4 done"]);
}

#[test]
fn it_waits_there_only_as_long_as_moving_takes() {
    // Ten seconds to move: some of a second each wait, and then it is sooner elsewhere.
    let mut world = with_busy_holder(1_000 * MEGABYTE);
    let nodes = (4..15).map(|number| {
        world.submit(number, &[2]);
        world.node_of(number)
    });
    let nodes: Vec<u64> = nodes.collect();
    let stayed = nodes.iter().take_while(|node| **node == 2).count();
    assert_eq!((stayed, nodes[stayed]), (10, 1));
}

#[test]
fn where_all_are_busy_it_is_given_to_the_holder_only_if_it_would_wait_there_for_an_idle_one() {
    let mut world = with_busy_holder(1_000 * MEGABYTE);
    world.submit(4, &[]);
    assert_eq!(world.submit(5, &[2]), ["node 2: run 5#1 with object 2/2"]);
    let mut world = with_busy_holder(MEGABYTE);
    world.submit(4, &[]);
    assert_eq!(world.submit(5, &[2]), [""; 0]);
    // Whoever has room first gets it.
    assert_eq!(world.finish(4), ["client 1: 4 done", "node 1: run 5#1 with object 2/2"]);
}

#[test]
fn nobody_waits_for_what_takes_nobody_knows_how_long() {
    let mut world = with_value(1_000 * MEGABYTE);
    let unknown = world.define(plain());
    assert_eq!(world.submit_as(unknown, 3, &[2]), ["node 2: run 3#1 with object 2/2"]);
    assert_eq!(world.submit(4, &[2]), ["node 1: run 4#1 with object 2/2"]);
}

#[test]
fn a_holder_that_cannot_take_it_is_no_choice() {
    let mut world = with_value(1_000 * MEGABYTE);
    let wide = world.define(Definition { resources: Resources::cpus(2), ..plain() });
    world.join_node(3, Resources::cpus(2));
    assert_eq!(world.submit_as(wide, 3, &[2]), ["node 3: run 3#1 with object 2/2"]);
    world.leave_node(2);
    assert_eq!(world.submit_as(PLAIN, 4, &[2]), ["node 1: run 4#1 with object 2/2"]);
}

#[test]
fn what_an_idle_node_gets_back_is_what_it_can_start_sooner() {
    let short = Duration::from_millis(1);
    let mut world = World::new(&[1]);
    for number in 1..=3 {
        world.submit(number, &[]);
    }
    world.finish_large(1, 1_000 * MEGABYTE, short);
    // 2 runs, 3 waits; so does what needs the large value, and three that need nothing.
    world.submit(4, &[1]);
    (5..=7).for_each(|number| drop(world.submit(number, &[])));
    let recalls = world.join_node(2, Resources::cpus(1));
    assert_eq!(recalls, ["node 1: take back 7#1", "node 1: take back 6#1"]);
    let back = |task, attempt| NodeToScheduler::TakenBack { task, attempt };
    assert_eq!(world.report(7, back), ["node 2: run 7#2"]);
}

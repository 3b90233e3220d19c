//! Running tasks that submit others.

use core::time::Duration;

use crate::world::World;

#[test]
fn a_child_runs_in_the_room_of_the_parent_that_waits() {
    let mut world = World::new(&[1]);
    world.submit(1, &[]);
    world.submit(2, &[]);
    assert_eq!(world.nest(1, 101), [""; 0]);
    assert_eq!(world.wait(1), ["node 1: run 101#1"]);
    let lines = world.finish(101);
    assert_eq!(lines.first().map(String::as_str), Some("node 1: tell 1: 101 done"));
    world.resume(1);
    assert_eq!(world.finish(1).first().map(String::as_str), Some("client 1: 1 done"));
}

#[test]
fn parents_do_not_start_before_the_children_of_others() {
    let mut world = World::new(&[1]);
    for number in 1..=4 {
        world.submit(number, &[]);
    }
    world.nest(1, 101);
    world.wait(1);
    world.finish(101);
    // It was short, as others like it will be: but for its children, they would join the backlog.
    world.finish_after(1, Duration::from_millis(1));
    assert_eq!(world.scheduler.snapshot().nodes[0].backlog, 0);
    world.nest(2, 201);
    assert_eq!(world.wait(2), ["node 1: run 201#1"]);
}

#[test]
fn children_end_with_their_parent() {
    let mut world = World::new(&[2]);
    world.submit(1, &[]);
    assert_eq!(world.nest(1, 101), ["node 1: run 101#1"]);
    assert_eq!(world.finish(1), ["node 1: cancel 101#1", "client 1: 1 done"]);
}

#[test]
fn children_end_with_their_parent_s_attempt() {
    let mut world = World::new(&[2]);
    world.submit(1, &[]);
    world.nest(1, 101);
    assert_eq!(world.die(1), ["node 1: cancel 101#1", "node 1: run 1#2"]);
}

#[test]
fn cancelling_a_parent_cancels_its_children() {
    let mut world = World::new(&[2]);
    world.submit(1, &[]);
    world.nest(1, 101);
    world.nest(101, 1_001);
    let lines = world.cancel(1);
    let all = ["node 1: cancel 1#1", "node 1: cancel 101#1", "client 1: 1 cancelled"];
    assert_eq!(lines, all);
}

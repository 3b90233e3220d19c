//! Cancellation in every state.

use core::time::Duration;

use hurricane_core::message::{ClientToScheduler, Definition, NodeToScheduler};

use crate::world::{World, plain};

#[test]
fn a_waiting_task() {
    let mut world = World::new(&[1]);
    world.submit(1, &[]);
    world.submit(2, &[1]);
    assert_eq!(world.cancel(2), ["client 1: 2 cancelled"]);
    assert_eq!(world.finish(1), ["client 1: 1 done"]);
}

#[test]
fn a_ready_task() {
    let mut world = World::new(&[1]);
    world.submit(1, &[]);
    world.submit(2, &[]);
    assert_eq!(world.cancel(2), ["client 1: 2 cancelled"]);
    assert_eq!(world.finish(1), ["client 1: 1 done"]);
}

#[test]
fn a_running_task_frees_its_room() {
    let mut world = World::new(&[1]);
    world.submit(1, &[]);
    world.submit(2, &[]);
    let all = ["node 1: cancel 1#1", "client 1: 1 cancelled", "node 1: run 2#1"];
    assert_eq!(world.cancel(1), all);
    assert_eq!(world.finish(1), [""; 0]);
}

#[test]
fn a_task_that_waits_to_be_tried_again() {
    let mut world = World::new(&[1]);
    let retried = world.define(Definition { retries: 1, ..plain() });
    world.submit_as(retried, 1, &[]);
    world.raise(1);
    assert_eq!(world.cancel(1), ["client 1: 1 cancelled"]);
    assert_eq!(world.pass(Duration::from_secs(1)), [""; 0]);
}

#[test]
fn what_has_ended_stays_as_it_is() {
    let mut world = World::new(&[1]);
    world.submit(1, &[]);
    world.finish(1);
    assert_eq!(world.cancel(1), [""; 0]);
    assert_eq!(world.cancel(99), [""; 0]);
}

#[test]
fn what_depends_on_it_is_cancelled() {
    let mut world = World::new(&[1]);
    world.submit(1, &[]);
    world.submit(2, &[1]);
    let all = ["node 1: cancel 1#1", "client 1: 1 cancelled", "client 1: 2 cancelled because of 1"];
    assert_eq!(world.cancel(1), all);
}

#[test]
fn all_that_does_not_run() {
    let mut world = World::new(&[1]);
    for number in 1..=3 {
        world.submit(number, &[]);
    }
    // 2 runs now, and 3 waits behind it on the node.
    world.finish_after(1, Duration::from_millis(1));
    world.submit(4, &[3]);
    let lines = world.say(1, ClientToScheduler::CancelWaiting);
    assert_eq!(lines, ["node 1: take back 3#1", "client 1: 4 cancelled"]);
    let back = |task, attempt| NodeToScheduler::TakenBack { task, attempt };
    assert_eq!(world.report(3, back), ["client 1: 3 cancelled"]);
    assert_eq!(world.finish(2), ["client 1: 2 done"]);
}

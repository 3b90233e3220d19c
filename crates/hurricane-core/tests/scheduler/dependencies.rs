//! Tasks that wait for others.

use crate::world::World;

#[test]
fn a_task_starts_with_the_value_of_what_it_waited_for() {
    let mut world = World::new(&[2]);
    assert_eq!(world.submit(1, &[]), ["node 1: run 1#1"]);
    assert_eq!(world.submit(2, &[1]), [""; 0]);
    let both = ["client 1: 1 done", "node 1: run 2#1 with value 1"];
    assert_eq!(world.finish(1), both);
    assert_eq!(world.finish(2), ["client 1: 2 done"]);
}

#[test]
fn what_has_ended_can_be_named_until_it_is_released() {
    let mut world = World::new(&[2]);
    world.submit(1, &[]);
    world.finish(1);
    assert_eq!(world.submit(2, &[1]), ["node 1: run 2#1 with value 1"]);
    world.release(1);
    let refused = "client 1: 3 failed: it depends on a task or an object that was released";
    assert_eq!(world.submit(3, &[1]), [refused]);
}

#[test]
fn a_released_value_lives_while_a_task_needs_it() {
    let mut world = World::new(&[1]);
    world.submit(1, &[]);
    world.finish(1);
    world.submit(2, &[]);
    assert_eq!(world.submit(3, &[1]), [""; 0]);
    world.release(1);
    let both = ["client 1: 2 done", "node 1: run 3#1 with value 1"];
    assert_eq!(world.finish(2), both);
}

#[test]
fn the_same_dependency_may_be_named_twice() {
    let mut world = World::new(&[2]);
    world.submit(1, &[]);
    world.submit(2, &[1, 1]);
    let both = ["client 1: 1 done", "node 1: run 2#1 with value 1, value 1"];
    assert_eq!(world.finish(1), both);
}

#[test]
fn what_depends_on_a_failed_task_fails_likewise() {
    let mut world = World::new(&[2]);
    world.submit(1, &[]);
    world.submit(2, &[1]);
    world.submit(3, &[2]);
    let all = [
        "client 1: 1 failed: raised",
        "client 1: 2 failed: raised because of 1",
        "client 1: 3 failed: raised because of 1",
    ];
    assert_eq!(world.raise(1), all);
    assert_eq!(world.submit(4, &[3]), ["client 1: 4 failed: raised because of 1"]);
}

#[test]
fn nothing_is_left_when_all_is_released() {
    let mut world = World::new(&[2]);
    world.submit(1, &[]);
    world.submit(2, &[1]);
    world.finish(1);
    world.finish_stored(2, 1);
    world.release(1);
    assert_eq!(world.release(2), ["node 1: drop [ObjectNumber(1)]"]);
    world.handle(hurricane_core::scheduler::Event::ClientGone {
        client: hurricane_core::id::ClientId(1),
    });
    assert!(world.scheduler.is_empty());
}

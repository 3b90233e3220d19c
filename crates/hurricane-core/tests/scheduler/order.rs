//! What goes first.

use hurricane_core::id::DefinitionNumber;
use hurricane_core::message::{ClientToScheduler, Definition};

use crate::world::{PLAIN, World, plain, submission};

#[test]
fn larger_priority_first_and_older_first_among_equals() {
    let mut world = World::new(&[1]);
    let urgent = world.define(Definition { priority: 5, ..plain() });
    world.submit(1, &[]);
    world.submit(2, &[]);
    world.submit(3, &[]);
    world.submit_as(urgent, 4, &[]);
    // An exception measures no duration of the urgent ones: each waits for room.
    assert_eq!(world.cancel(1).last().map(String::as_str), Some("node 1: run 4#1"));
    assert_eq!(world.cancel(4).last().map(String::as_str), Some("node 1: run 2#1"));
    assert_eq!(world.cancel(2).last().map(String::as_str), Some("node 1: run 3#1"));
}

#[test]
fn what_an_urgent_task_depends_on_is_as_urgent() {
    let mut world = World::new(&[1]);
    let urgent = world.define(Definition { priority: 5, ..plain() });
    world.submit(1, &[]);
    world.submit(2, &[]);
    world.submit(3, &[]);
    world.submit_as(urgent, 4, &[3]);
    assert_eq!(world.cancel(1).last().map(String::as_str), Some("node 1: run 3#1"));
}

#[test]
fn clients_share_the_cpus_equally() {
    let mut world = World::new(&[4]);
    world.join_client(2);
    let number = DefinitionNumber(PLAIN);
    world.say(2, ClientToScheduler::Define { number, definition: plain().into() });
    for number in 1..=8 {
        world.submit(number, &[]);
    }
    for number in 101..=104 {
        world.say(2, submission(PLAIN, number, &[]));
    }
    let next: Vec<String> =
        (1..=2).map(|number| world.cancel(number).pop().unwrap_or_default()).collect();
    assert_eq!(next, ["node 1: run 101#1", "node 1: run 102#1"]);
}

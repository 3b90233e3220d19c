//! Values that are kept on nodes.

use core::time::Duration;

use hurricane_core::id::{NodeId, ObjectId, ObjectNumber};
use hurricane_core::message::NodeToScheduler;
use hurricane_core::resources::Resources;

use crate::world::{ONE_MACHINE, World, stored};

#[test]
fn an_object_is_an_input_and_goes_when_released() {
    let mut world = World::with_config(ONE_MACHINE, &[1]);
    world.put(1, stored(1, 7));
    assert_eq!(world.submit(2, &[1]), ["node 1: run 2#1 with object 1/7"]);
    assert_eq!(world.release(1), [""; 0]);
    assert_eq!(world.finish(2), ["client 1: 2 done", "node 1: drop [ObjectNumber(7)]"]);
}

#[test]
fn a_lost_result_is_computed_again_for_what_needs_it() {
    let mut world = World::new(&[1, 1]);
    world.submit(1, &[]);
    world.finish_stored(1, 7);
    world.submit(2, &[]);
    world.submit(3, &[]);
    assert_eq!(world.submit(4, &[1]), [""; 0]);
    world.release(1);
    assert_eq!(world.node_of(2), 1);
    // Number 1 and 2 go to the front of what waits; the other node is busy.
    assert_eq!(world.lose_node(1), [""; 0]);
    assert_eq!(world.finish(3), ["client 1: 3 done", "node 2: run 1#2"]);
    let lines = world.finish(1);
    assert_eq!(lines.first().map(String::as_str), Some("node 2: run 2#2"));
}

#[test]
fn a_lost_result_that_is_held_is_computed_again_with_what_it_came_from() {
    let mut world = World::new(&[1]);
    world.submit(1, &[]);
    world.finish_stored(1, 7);
    world.submit(2, &[1]);
    world.finish_stored(2, 8);
    assert_eq!(world.release(1), ["node 1: drop [ObjectNumber(7)]"]);
    world.lose_node(1);
    assert_eq!(world.join_node(2, Resources::cpus(1)), ["node 2: run 1#2"]);
    assert_eq!(world.finish_stored(1, 1), ["node 2: run 2#2 with object 2/1"]);
    let again = world.finish_stored(2, 2);
    assert_eq!(again, ["client 1: 2 again done and stored", "node 2: drop [ObjectNumber(1)]"]);
}

#[test]
fn a_lost_object_that_was_put_cannot_be_computed_again() {
    let mut world = World::with_config(ONE_MACHINE, &[1]);
    world.put(1, stored(1, 7));
    world.submit(2, &[]);
    world.submit(3, &[1]);
    let lines = world.lose_node(1);
    let all =
        ["client 1: 1 again failed: object lost", "client 1: 3 failed: object lost because of 1"];
    assert_eq!(lines, all);
}

#[test]
fn an_input_that_could_not_be_fetched_is_tried_again() {
    let mut world = World::with_config(ONE_MACHINE, &[1, 1]);
    world.put(1, stored(1, 7));
    world.submit(2, &[]);
    assert_eq!(world.submit(3, &[1]), ["node 2: run 3#1 with object 1/7"]);
    let object = ObjectId { node: NodeId(1), number: ObjectNumber(7) };
    let lost = |task, attempt| NodeToScheduler::InputLost { task, attempt, object };
    assert_eq!(world.report(3, lost), [""; 0]);
    let again = world.pass(Duration::from_millis(100));
    assert_eq!(again, ["node 1: run 3#2 with object 1/7"]);
    assert_eq!(world.finish(2), ["client 1: 2 done"]);
    assert_eq!(world.finish(3), ["client 1: 3 done"]);
}

#[test]
fn a_late_stored_result_is_dropped_where_it_is() {
    let mut world = World::new(&[1]);
    world.submit(1, &[]);
    world.cancel(1);
    assert_eq!(world.finish_stored(1, 7), ["node 1: drop [ObjectNumber(7)]"]);
}

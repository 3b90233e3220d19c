//! Values that are kept beside the scheduler.

use core::time::Duration;

use hurricane_core::id::{ClientId, NodeId, Number, ObjectId, ObjectNumber};
use hurricane_core::message::{ClientToScheduler, NodeToScheduler};
use hurricane_core::resources::Resources;
use hurricane_core::scheduler::Event;

use crate::world::{ONE_MACHINE, World, kept, stored};

const KEPT: ObjectId = ObjectId { node: NodeId::SCHEDULER, number: ObjectNumber(7) };

fn miss(world: &mut World, number: u64, object: ObjectId) -> Vec<String> {
    let lost = |task, attempt| NodeToScheduler::InputLost { task, attempt, object };
    world.report(number, lost)
}

#[test]
fn one_is_an_input_and_goes_when_released() {
    let mut world = World::new(&[1]);
    assert_eq!(world.put(1, kept(7)), [""; 0]);
    assert_eq!(world.submit(2, &[1]), ["node 1: run 2#1 with kept object 7"]);
    assert_eq!(world.release(1), [""; 0]);
    assert_eq!(world.finish(2), ["client 1: 2 done", "scheduler: drop [ObjectNumber(7)]"]);
}

#[test]
fn one_goes_with_its_client() {
    let mut world = World::new(&[1]);
    world.put(1, kept(7));
    let lines = world.handle(Event::ClientGone { client: ClientId(1) });
    assert_eq!(lines, ["scheduler: drop [ObjectNumber(7)]"]);
    // What was on its way when the client went is dropped as well.
    assert_eq!(world.put(2, kept(8)), ["scheduler: drop [ObjectNumber(8)]"]);
}

#[test]
fn none_is_lost_with_a_node() {
    let mut world = World::new(&[1]);
    world.put(1, kept(7));
    world.submit(2, &[1]);
    assert_eq!(world.lose_node(1), [""; 0]);
    let lines = world.join_node(2, Resources::cpus(1));
    assert_eq!(lines, ["node 2: run 2#2 with kept object 7"]);
}

#[test]
fn one_that_a_node_could_not_get_is_tried_elsewhere_and_later() {
    let mut world = World::new(&[2, 1]);
    world.put(1, kept(7));
    assert_eq!(world.submit(2, &[1]), ["node 1: run 2#1 with kept object 7"]);
    assert_eq!(miss(&mut world, 2, KEPT), [""; 0]);
    assert_eq!(world.pass(Duration::from_millis(99)), [""; 0]);
    let again = world.pass(Duration::from_millis(1));
    assert_eq!(again, ["node 2: run 2#2 with kept object 7"]);
    assert_eq!(miss(&mut world, 2, KEPT), [""; 0]);
    assert_eq!(world.pass(Duration::from_millis(199)), [""; 0]);
    let again = world.pass(Duration::from_millis(1));
    assert_eq!(again, ["node 1: run 2#3 with kept object 7"]);
    assert_eq!(world.finish(2), ["client 1: 2 done"]);
}

#[test]
fn one_that_no_node_can_get_fails_its_task_in_the_end() {
    let mut world = World::new(&[1]);
    world.put(1, kept(7));
    world.submit(2, &[1]);
    for attempt in 2..=16 {
        assert_eq!(miss(&mut world, 2, KEPT), [""; 0]);
        let again = world.pass(Duration::from_secs(10));
        assert_eq!(again, [format!("node 1: run 2#{attempt} with kept object 7")]);
    }
    let reason = "no node could get a value that it needs from the scheduler";
    assert_eq!(miss(&mut world, 2, KEPT), [format!("client 1: 2 failed: {reason}")]);
    // The object is as good as before.
    assert_eq!(world.submit(3, &[1]), ["node 1: run 3#1 with kept object 7"]);
}

#[test]
fn the_runtime_keeps_what_clients_of_a_cluster_put_and_nobody_else() {
    let lie = "client 1 refused: it names an object that is not its own";
    let mut world = World::new(&[1]);
    assert_eq!(world.put(1, stored(1, 7)), [lie]);
    let mut world = World::with_config(ONE_MACHINE, &[1]);
    assert_eq!(world.put(1, kept(7)), [lie]);
    let mut world = World::new(&[1]);
    world.put(1, kept(7));
    let both = [lie, "scheduler: drop [ObjectNumber(7)]"];
    assert_eq!(world.put(2, kept(7)), both);
}

#[test]
fn a_node_that_names_one_is_ended() {
    let lie = "node 1 refused: it claims to have stored a value elsewhere than with itself";
    let mut world = World::new(&[1]);
    world.put(1, kept(7));
    world.submit(2, &[]);
    let ran = Duration::ZERO;
    for value in [kept(7), kept(8)] {
        world.join_node(1, Resources::cpus(1));
        let finished = |task, attempt| NodeToScheduler::Finished { task, attempt, value, ran };
        assert_eq!(world.report(2, finished), [lie]);
    }
    for value in [kept(7), kept(8)] {
        world.join_node(1, Resources::cpus(1));
        let message = ClientToScheduler::Put { number: Number(1), value };
        assert_eq!(world.say_nested(2, message), [lie]);
    }
    world.join_node(1, Resources::cpus(1));
    assert_eq!(world.submit(3, &[1]), [""; 0]);
    assert_eq!(world.finish(2), ["client 1: 2 done", "node 1: run 3#1 with kept object 7"]);
}

//! Which values a client may read.

use hurricane_core::id::{ClientId, NodeId, Number, ObjectId, ObjectNumber};
use hurricane_core::message::ClientToScheduler;
use hurricane_core::scheduler::Event;

use crate::world::{World, kept, stored};

fn may_read(world: &World, client: u64, node: u64, object: u64) -> bool {
    let object = ObjectId { node: NodeId(node), number: ObjectNumber(object) };
    world.scheduler.may_read(ClientId(client), object)
}

#[test]
fn the_result_of_an_own_task_until_it_is_released() {
    let mut world = World::new(&[1]);
    world.join_client(2);
    world.submit(1, &[]);
    assert!(!may_read(&world, 1, 1, 7));
    world.finish_stored(1, 7);
    assert!(may_read(&world, 1, 1, 7) && !may_read(&world, 2, 1, 7));
    assert!(!may_read(&world, 1, 1, 8) && !may_read(&world, 1, 2, 7) && !may_read(&world, 1, 0, 7));
    // A task needs it still.
    world.submit(2, &[1]);
    world.release(1);
    assert!(!may_read(&world, 1, 1, 7));
}

#[test]
fn an_own_object() {
    let mut world = World::new(&[1]);
    world.join_client(2);
    world.put(1, kept(7));
    assert!(may_read(&world, 1, 0, 7) && !may_read(&world, 2, 0, 7));
    world.release(1);
    assert!(!may_read(&world, 1, 0, 7));
}

#[test]
fn what_is_lost_no_more() {
    let mut world = World::new(&[1]);
    world.submit(1, &[]);
    world.finish_stored(1, 7);
    world.lose_node(1);
    assert!(!may_read(&world, 1, 1, 7));
}

#[test]
fn what_running_tasks_of_it_put() {
    let mut world = World::new(&[1]);
    world.join_client(2);
    world.submit(1, &[]);
    let message = ClientToScheduler::Put { number: Number(1), value: stored(1, 7) };
    world.say_nested(1, message);
    assert!(may_read(&world, 1, 1, 7) && !may_read(&world, 2, 1, 7));
    world.handle(Event::ClientGone { client: ClientId(1) });
    assert!(!may_read(&world, 1, 1, 7));
}

//! Exceptions, timeouts and deaths.

use core::time::Duration;

use hurricane_core::message::Definition;

use crate::world::{World, plain};

#[test]
fn an_exception_is_final_without_retries() {
    let mut world = World::new(&[1]);
    world.submit(1, &[]);
    assert_eq!(world.raise(1), ["client 1: 1 failed: raised"]);
}

#[test]
fn retries_wait_longer_each_time() {
    let mut world = World::new(&[1]);
    let retried = world.define(Definition { retries: 2, ..plain() });
    world.submit_as(retried, 1, &[]);
    assert_eq!(world.raise(1), [""; 0]);
    assert_eq!(world.pass(Duration::from_millis(99)), [""; 0]);
    assert_eq!(world.pass(Duration::from_millis(1)), ["node 1: run 1#2"]);
    assert_eq!(world.raise(1), [""; 0]);
    assert_eq!(world.pass(Duration::from_millis(199)), [""; 0]);
    assert_eq!(world.pass(Duration::from_millis(1)), ["node 1: run 1#3"]);
    assert_eq!(world.raise(1), ["client 1: 1 failed: raised"]);
}

#[test]
fn three_deaths_end_a_task_and_are_no_retries() {
    let mut world = World::new(&[1]);
    world.submit(1, &[]);
    assert_eq!(world.die(1), ["node 1: run 1#2"]);
    assert_eq!(world.die(1), ["node 1: run 1#3"]);
    assert_eq!(world.die(1), ["client 1: 1 failed: 3 deaths"]);
}

#[test]
fn a_task_that_alone_dies_is_poison() {
    let mut world = World::new(&[2]);
    world.submit(1, &[]);
    world.submit(2, &[]);
    world.die(1);
    world.finish(2);
    world.die(1);
    assert_eq!(world.die(1), ["client 1: 1 failed: poison, 3 deaths"]);
}

#[test]
fn a_worker_s_killer_tries_another_node_if_there_is_one() {
    let mut world = World::new(&[1, 1]);
    world.submit(1, &[]);
    assert_eq!(world.die(1), ["node 2: run 1#2"]);
    assert_eq!(world.die(1), ["node 1: run 1#3"]);
}

#[test]
fn it_waits_for_another_node_and_is_not_taken_back_for_the_same() {
    let mut world = World::new(&[1, 1]);
    world.submit(1, &[]);
    world.submit(2, &[]);
    assert_eq!(world.die(1), ["node 2: run 1#2"]);
    assert_eq!(world.finish(2), ["client 1: 2 done"]);
    assert_eq!(world.finish(1), ["client 1: 1 done"]);
}

#[test]
fn the_loss_of_nodes_counts_against_nothing() {
    let mut world = World::new(&[1]);
    world.submit(1, &[]);
    for node in 2..10 {
        world.lose_node(node - 1);
        let resources = hurricane_core::resources::Resources::cpus(1);
        assert_eq!(world.join_node(node, resources), [format!("node {node}: run 1#{node}")]);
    }
    assert_eq!(world.finish(1), ["client 1: 1 done"]);
}

#[test]
fn an_older_attempt_has_no_say() {
    let mut world = World::new(&[1]);
    let mut other = World::new(&[1]);
    for world in [&mut world, &mut other] {
        world.submit(1, &[]);
    }
    world.die(1);
    // The other world still names the first attempt.
    let mut stale = None;
    other.report(1, |task, attempt| {
        let death = Box::new(hurricane_core::message::Death::default());
        let message = hurricane_core::message::NodeToScheduler::Died { task, attempt, death };
        stale = Some(message.clone());
        message
    });
    let message = stale.expect("it was just said");
    let node = hurricane_core::id::NodeId(1);
    let answer = world.handle(hurricane_core::scheduler::Event::FromNode { node, message });
    assert_eq!(answer, [""; 0]);
    assert_eq!(world.finish(1), ["client 1: 1 done"]);
}

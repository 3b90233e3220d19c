//! What is refused: requests that nothing can meet, and peers that break the protocol.

use core::time::Duration;

use bytes::Bytes;
use hurricane_core::message::{Definition, NodeToScheduler};
use hurricane_core::resources::Resources;

use crate::world::{ONE_MACHINE, PLAIN, World, plain, stored};

#[test]
fn more_than_one_machine_has_is_refused_at_once() {
    let mut world = World::with_config(ONE_MACHINE, &[2]);
    let large = world.define(Definition { resources: Resources::cpus(3), ..plain() });
    let refused = "client 1: 1 failed: 3 cpus of 2 cpus";
    assert_eq!(world.submit_as(large, 1, &[]), [refused]);
}

#[test]
fn in_a_cluster_what_left_within_the_hour_is_expected_back() {
    let mut world = World::new(&[2, 4]);
    let large = world.define(Definition { resources: Resources::cpus(3), ..plain() });
    world.lose_node(2);
    assert_eq!(world.submit_as(large, 1, &[]), [""; 0]);
    let lines = world.pass(Duration::from_secs(3_700));
    let last = lines.last().map(String::as_str);
    assert_eq!(last, Some("client 1: 1 failed: 3 cpus of 2 cpus"));
    assert_eq!(world.submit_as(large, 2, &[]), ["client 1: 2 failed: 3 cpus of 2 cpus"]);
}

#[test]
fn a_client_that_breaks_the_protocol_is_ended() {
    let breaches: [(u32, u64); 3] = [(99, 2), (PLAIN, 1), (PLAIN, 5_000)];
    for (definition, number) in breaches {
        let mut world = World::new(&[1]);
        world.submit(1, &[]);
        let reason = "a submission is out of order, undefined, or over its allowance";
        let lines = world.submit_as(definition, number, &[]);
        assert_eq!(lines, [format!("client 1 refused: {reason}"), "node 1: cancel 1#1".to_owned()]);
        assert!(world.scheduler.snapshot().clients.is_empty());
    }
}

#[test]
fn a_node_that_lies_about_where_a_result_is_is_ended() {
    let mut world = World::new(&[1, 1]);
    world.submit(1, &[]);
    let lines = world.report(1, |task, attempt| {
        let ran = Duration::ZERO;
        NodeToScheduler::Finished { task, attempt, value: stored(2, 1), ran }
    });
    let reason = "it claims to have stored a value elsewhere than with itself";
    assert_eq!(lines, [format!("node 1 refused: {reason}"), "node 2: run 1#2".to_owned()]);
}

#[test]
fn in_a_cluster_a_node_whose_workers_cannot_be_set_up_is_refused() {
    let mut world = World::new(&[1, 1]);
    world.submit(1, &[]);
    let error = Bytes::from_static(b"no");
    let lines = world.report(1, |_, _| NodeToScheduler::SetupFailed { error });
    let both = ["node 1 refused: its workers cannot be set up", "node 2: run 1#2"];
    assert_eq!(lines, both);
    assert_eq!(world.finish(1), ["client 1: 1 done"]);
}

#[test]
fn on_one_machine_workers_that_cannot_be_set_up_fail_everything() {
    let mut world = World::with_config(ONE_MACHINE, &[1]);
    world.submit(1, &[]);
    let error = Bytes::from_static(b"no");
    let lines = world.report(1, |_, _| NodeToScheduler::SetupFailed { error });
    let all = ["client 1: setup failed", "node 1: cancel 1#1", "client 1: 1 failed: setup failed"];
    assert_eq!(lines, all);
    assert_eq!(world.submit(2, &[]), ["client 1: 2 failed: setup failed"]);
}

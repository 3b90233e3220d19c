//! Room: who may run beside whom, and on which graphics processors.

use std::collections::BTreeMap;

use hurricane_core::Node;
use hurricane_core::node::Action;
use hurricane_core::resources::{Amount, Resources};

use crate::case::*;

#[test]
fn a_task_passes_one_that_has_no_room() {
    check(
        cpu_node(2),
        [
            row(define(2, Resources::cpus(2)), []),
            row(assign(1, 1), [teach(2, 1), run(2, 1, 1)]),
            row(assign(2, 2), []),
            row(assign(3, 1), [teach(1, 1), run(1, 2, 1)]),
            row(finished(1, 2), [done(3)]),
            // The one that waited longest is first when there is room for it.
            at(1, finished(2, 1), [done(1), stop(1), start_kind(3, 2, [])]),
            at(1, assign(4, 1), []),
            at(2, ready(3), [teach(3, 2), run(3, 3, 2)]),
            at(3, finished(3, 3), [done(2), run(2, 4, 1)]),
        ],
    );
}

#[test]
fn memory_and_named_resources_count() {
    let license = BTreeMap::from([("license".into(), Amount::whole(1))]);
    let resources = Resources { memory_bytes: 100, named: license.clone(), ..Resources::cpus(4) };
    let memory = Resources { memory_bytes: 60, ..Resources::cpus(1) };
    let license = Resources { named: license, ..Resources::cpus(1) };
    check(
        node(resources),
        [
            row(define(1, memory), []),
            row(define(2, license), []),
            row(assign(1, 1), [teach(4, 1), run(4, 1, 1)]),
            row(assign(2, 1), []),
            row(assign(3, 2), [teach(3, 2), run(3, 2, 2)]),
            row(assign(4, 2), []),
            row(finished(3, 2), [done(3), run(3, 3, 2)]),
            row(finished(4, 1), [done(1), run(4, 4, 1)]),
        ],
    );
}

#[test]
fn a_name_in_the_amount_of_nothing_leaves_no_trace() {
    let named = BTreeMap::from([("nothing".into(), Amount::default())]);
    let node = check(
        node(Resources::cpus(1)),
        [
            row(define(1, Resources { named, ..Resources::cpus(1) }), []),
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(finished(1, 1), [done(1)]),
        ],
    );
    node.sanity_check();
}

#[test]
fn what_asks_for_nothing_still_has_a_limit() {
    let mut node = check(cpu_node(1), [row(define(2, Resources::default()), [])]);
    let mut started = 0;
    for task in 0..100 {
        let mut actions = Vec::new();
        node.handle(ms(0), assign(task, 2), &mut actions);
        started += actions.iter().filter(|it| matches!(it, Action::StartWorker { .. })).count();
        node.sanity_check();
    }
    assert_eq!(started, 15, "sixteen workers for a slot, one of which was there");
}

/// A node with two graphics processors and a definition 1 that asks for this much of them.
fn gpu_node(asked: Amount) -> Node {
    let resources = Resources { gpus: Amount::whole(2), ..Resources::cpus(2) };
    check(node(resources), [row(define(1, gpus(asked)), [])])
}

#[test]
fn a_whole_processor_serves_one_task() {
    check(
        gpu_node(Amount::whole(1)),
        [
            row(assign(1, 1), [stop(1), start_kind(3, 1, [0])]),
            row(assign(2, 1), [stop(2), start_kind(4, 1, [1])]),
            row(assign(3, 1), []),
            row(ready(4), [teach(4, 1), run(4, 1, 1)]),
            row(ready(3), [teach(3, 1), run(3, 2, 1)]),
            row(finished(3, 2), [done(1), run(3, 3, 1)]),
        ],
    );
}

#[test]
fn fractions_share_the_first_processor_with_room() {
    check(
        gpu_node(hundredths(40)),
        [
            row(assign(1, 1), [stop(1), start_kind(3, 1, [0])]),
            row(assign(2, 1), [stop(2), start_kind(4, 1, [0])]),
            row(assign(3, 1), [start_kind(5, 1, [1])]),
        ],
    );
}

#[test]
fn more_than_one_processor_is_whole_ones() {
    check(
        gpu_node(hundredths(150)),
        [
            row(define(2, gpus(hundredths(10))), []),
            row(assign(1, 2), [stop(1), start_kind(3, 1, [0])]),
            row(ready(3), [teach(3, 2), run(3, 1, 2)]),
            // The second processor alone is not enough.
            row(assign(2, 1), []),
            row(finished(3, 1), [done(1), stop(2), start_kind(4, 1, [0, 1])]),
        ],
    );
}

#[test]
fn a_worker_never_sees_another_processor() {
    check(
        gpu_node(Amount::whole(1)),
        [
            row(assign(1, 1), [stop(1), start_kind(3, 1, [0])]),
            row(ready(3), [teach(3, 1), run(3, 1, 1)]),
            row(assign(2, 1), [stop(2), start_kind(4, 1, [1])]),
            row(ready(4), [teach(4, 1), run(4, 2, 1)]),
            row(finished(4, 2), [done(2)]),
            row(assign(3, 1), [run(4, 3, 1)]),
            row(finished(3, 1), [done(1)]),
            row(assign(4, 1), [run(3, 4, 1)]),
        ],
    );
}

#[test]
fn a_wide_task_gets_a_worker_with_as_many_threads() {
    let wide = Resources { cpus: hundredths(250), ..Resources::default() };
    check(
        cpu_node(4),
        [row(define(2, wide), []), row(assign(1, 2), [stop(1), start_kind(5, 3, [])])],
    );
}

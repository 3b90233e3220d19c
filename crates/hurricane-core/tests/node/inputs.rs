//! The values that tasks need, before they start and while they run.

use bytes::Bytes;
use hurricane_core::id::{DefinitionId, ObjectId};
use hurricane_core::message::{NodeToWorker, Stored, Value, WorkerToNode};
use hurricane_core::node::{Action, Event};

use crate::case::*;

fn fetch(object: ObjectId) -> Action {
    Action::Fetch { object }
}

fn drop(object: ObjectId) -> Action {
    Action::Drop { object }
}

fn asks(worker: u64, object: ObjectId) -> Event {
    said(worker, WorkerToNode::Fetch { object })
}

fn gives(worker: u64, object: ObjectId, size_bytes: u64) -> Action {
    let value = Some(Value::Stored(Stored { object, size_bytes }));
    tell(worker, NodeToWorker::Object { object, value })
}

fn refuses(worker: u64, object: ObjectId) -> Action {
    tell(worker, NodeToWorker::Object { object, value: None })
}

fn assign_with<const N: usize>(task: u64, inputs: [Value; N]) -> Event {
    assign_attempt(task, 1, 1, inputs)
}

#[test]
fn inputs_that_are_here_are_handed_over() {
    let small = Value::Inline(Bytes::from_static(b"small"));
    let inputs = [small, stored(own(1))];
    check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(returned(1, 1, large()), [store(1), done_with(1, stored(own(1)))]),
            row(assign_with(2, inputs.clone()), [run_with(1, 2, 1, inputs)]),
        ],
    );
}

#[test]
fn an_own_object_that_is_gone_is_a_lost_input() {
    let node = check(
        cpu_node(1),
        [row(assign_with(1, [stored(own(1))]), [lost_input(1, own(1))]), row(forget(1), [])],
    );
    assert!(node.is_idle());
}

#[test]
fn an_own_object_dropped_before_its_task_starts_is_a_lost_input() {
    check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(returned(1, 1, large()), [store(1), done_with(1, stored(own(1)))]),
            row(assign(2, 1), [run(1, 2, 1)]),
            row(assign_with(3, [stored(own(1))]), []),
            row(drop_own(1), [drop(own(1))]),
            row(finished(1, 2), [done(2), lost_input(3, own(1))]),
        ],
    );
}

#[test]
fn an_object_of_another_node_is_fetched_once_for_all_and_dropped_after_the_last() {
    let node = check(
        cpu_node(1),
        [
            row(assign_with(1, [stored(others(1)), stored(others(1))]), [fetch(others(1))]),
            row(assign_with(2, [stored(others(1))]), []),
            row(
                fetched(others(1), true),
                [teach(1, 1), run_with(1, 1, 1, [stored(others(1)), stored(others(1))])],
            ),
            row(fetched(others(1), true), []),
            row(fetched(others(1), false), []),
            row(finished(1, 1), [done(1), run_with(1, 2, 1, [stored(others(1))])]),
            row(finished(1, 2), [drop(others(1)), done(2)]),
            row(forget(1), [tell(1, NodeToWorker::Forget { id: DefinitionId(1) })]),
        ],
    );
    assert!(node.is_idle());
}

#[test]
fn a_task_waits_for_all_its_inputs_and_for_no_other_task() {
    let inputs = [stored(others(1)), stored(others(2))];
    check(
        cpu_node(1),
        [
            row(assign_with(1, inputs.clone()), [fetch(others(1)), fetch(others(2))]),
            row(assign(2, 1), [teach(1, 1), run(1, 1, 1)]),
            row(assign(3, 1), []),
            row(fetched(others(2), true), []),
            row(fetched(others(1), true), []),
            // It was assigned before the other that waits, and so it is first.
            row(finished(1, 1), [done(2), run_with(1, 2, 1, inputs)]),
        ],
    );
}

#[test]
fn a_lost_input_gives_back_each_task_that_waits_for_it() {
    let node = check(
        cpu_node(1),
        [
            row(
                assign_with(1, [stored(others(1)), stored(others(2))]),
                [fetch(others(1)), fetch(others(2))],
            ),
            row(assign_with(2, [stored(others(2))]), []),
            row(fetched(others(1), true), []),
            row(
                fetched(others(2), false),
                [drop(others(1)), lost_input(1, others(2)), lost_input(2, others(2))],
            ),
            row(forget(1), []),
        ],
    );
    assert!(node.is_idle());
}

#[test]
fn a_copy_that_comes_too_late_is_dropped() {
    let node = check(
        cpu_node(1),
        [
            row(assign_with(1, [stored(others(1))]), [fetch(others(1))]),
            row(take_back(1), [taken_back(1)]),
            row(forget(1), []),
        ],
    );
    assert!(!node.is_idle(), "it is still on its way");
    let node = check(node, [row(fetched(others(1), true), [drop(others(1))])]);
    assert!(node.is_idle());
}

#[test]
fn a_copy_on_its_way_serves_the_next_task_that_needs_it() {
    check(
        cpu_node(1),
        [
            row(assign_with(1, [stored(others(1))]), [fetch(others(1))]),
            row(cancel(1), []),
            row(assign_with(2, [stored(others(1))]), []),
            row(fetched(others(1), true), [teach(1, 1), run_with(1, 1, 1, [stored(others(1))])]),
        ],
    );
}

#[test]
fn a_copy_is_dropped_when_the_worker_of_its_task_dies() {
    check(
        cpu_node(1),
        [
            row(assign_with(1, [stored(others(1))]), [fetch(others(1))]),
            row(fetched(others(1), true), [teach(1, 1), run_with(1, 1, 1, [stored(others(1))])]),
            row(died_in(1, 1), [drop(others(1)), death(1, ""), start(2)]),
        ],
    );
}

#[test]
fn objects_that_nobody_asked_for_are_ignored() {
    check(cpu_node(1), [row(fetched(others(1), true), []), row(fetched(own(1), false), [])]);
}

#[test]
fn a_running_task_gets_the_objects_of_this_node() {
    let size_bytes = large().len() as u64;
    check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(returned(1, 1, large()), [store(1), done_with(1, stored(own(1)))]),
            row(assign(2, 1), [run(1, 2, 1)]),
            row(asks(1, own(1)), [gives(1, own(1), size_bytes)]),
            row(asks(1, own(2)), [refuses(1, own(2))]),
        ],
    );
}

#[test]
fn a_running_task_gets_the_objects_of_others_and_keeps_them_to_its_end() {
    check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(asks(1, others(1)), [fetch(others(1))]),
            row(asks(1, others(1)), []),
            row(fetched(others(1), true), [gives(1, others(1), 0)]),
            row(asks(1, others(1)), [gives(1, others(1), 0)]),
            row(asks(1, others(2)), [fetch(others(2))]),
            row(fetched(others(2), false), [refuses(1, others(2))]),
            row(asks(1, others(2)), [fetch(others(2))]),
            row(finished(1, 1), [drop(others(1)), done(1)]),
            row(fetched(others(2), false), []),
        ],
    );
}

#[test]
fn only_a_running_task_may_ask() {
    check(
        cpu_node(2),
        [
            row(asks(1, others(1)), []),
            row(assign(1, 1), [teach(2, 1), run(2, 1, 1)]),
            row(asks(2, others(1)), [fetch(others(1))]),
            row(cancel(1), [kill(2), start(3)]),
            row(asks(2, others(2)), []),
            row(fetched(others(1), true), [drop(others(1))]),
        ],
    );
}

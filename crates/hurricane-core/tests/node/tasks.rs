//! Tasks from assignment to their end, and back.

use std::time::Duration;

use bytes::Bytes;
use hurricane_core::id::{Attempt, DefinitionId, TaskId};
use hurricane_core::message::{
    Failure, INLINE_LIMIT_BYTES, NodeToScheduler, NodeToWorker, SchedulerToNode, Value,
};
use hurricane_core::node::{Action, Event};
use hurricane_core::resources::Resources;

use crate::case::*;

#[test]
fn a_task_runs_and_nothing_is_left() {
    let node = check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(finished(1, 1), [done(1)]),
            row(forget(1), [tell(1, NodeToWorker::Forget { id: DefinitionId(1) })]),
        ],
    );
    assert!(node.is_idle());
}

#[test]
fn tasks_run_in_the_order_of_their_assignment() {
    check(
        cpu_node(1),
        [
            row(assign(3, 1), [teach(1, 1), run(1, 1, 1)]),
            row(assign(2, 1), []),
            row(assign(1, 1), []),
            row(finished(1, 1), [done(3), run(1, 2, 1)]),
            row(finished(1, 2), [done(2), run(1, 3, 1)]),
            row(finished(1, 3), [done(1)]),
        ],
    );
}

#[test]
fn a_worker_is_told_a_definition_once() {
    check(
        cpu_node(2),
        [
            row(assign(1, 1), [teach(2, 1), run(2, 1, 1)]),
            row(assign(2, 1), [teach(1, 1), run(1, 2, 1)]),
            row(finished(2, 1), [done(1)]),
            row(assign(3, 1), [run(2, 3, 1)]),
        ],
    );
}

#[test]
fn a_second_definition_under_a_name_is_not_taken() {
    check(
        cpu_node(1),
        [row(define(1, Resources::cpus(9)), []), row(assign(1, 1), [teach(1, 1), run(1, 1, 1)])],
    );
}

#[test]
fn forgetting_reaches_the_workers_that_were_told() {
    check(
        cpu_node(2),
        [
            row(assign(1, 1), [teach(2, 1), run(2, 1, 1)]),
            row(finished(2, 1), [done(1)]),
            row(forget(1), [tell(2, NodeToWorker::Forget { id: DefinitionId(1) })]),
            row(forget(1), []),
        ],
    );
}

#[test]
fn a_task_that_raises_fails() {
    let failure = Failure::Raised(Bytes::from_static(b"exception"));
    check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(raised(1, 1), [failed(1, failure, RAN)]),
        ],
    );
}

#[test]
fn a_large_result_stays_here_until_it_is_dropped() {
    let node = check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(returned(1, 1, large()), [store(1), done_with(1, stored(own(1)))]),
            row(drop_own(2), []),
            row(drop_own(1), [Action::Drop { object: own(1) }]),
            row(drop_own(1), []),
            row(forget(1), [tell(1, NodeToWorker::Forget { id: DefinitionId(1) })]),
        ],
    );
    assert!(node.is_idle());
}

#[test]
fn a_result_at_the_limit_travels_inside_the_message() {
    let result = Bytes::from(vec![1; INLINE_LIMIT_BYTES]);
    check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(returned(1, 1, result.clone()), [done_with(1, Value::Inline(result))]),
        ],
    );
}

#[test]
fn an_end_of_another_run_is_ignored() {
    check(
        cpu_node(2),
        [
            row(assign(1, 1), [teach(2, 1), run(2, 1, 1)]),
            row(finished(2, 2), []),
            row(finished(1, 1), []),
            row(raised(2, 9), []),
            row(finished(9, 1), []),
            row(finished(2, 1), [done(1)]),
            row(finished(2, 1), []),
        ],
    );
}

#[test]
fn a_task_that_has_not_started_is_given_back() {
    check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(assign(2, 1), []),
            row(take_back(1), [kept(1)]),
            row(take_back(2), [taken_back(2)]),
            row(take_back(2), []),
            row(finished(1, 1), [done(1)]),
            row(take_back(1), []),
        ],
    );
}

#[test]
fn only_the_attempt_that_is_here_is_given_back_or_cancelled() {
    let (task, attempt) = (TaskId(1), Attempt(2));
    check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(told(SchedulerToNode::TakeBack { task, attempt }), []),
            row(told(SchedulerToNode::Cancel { task, attempt }), []),
            row(finished(1, 1), [done(1)]),
        ],
    );
}

#[test]
fn a_cancelled_task_leaves_the_backlog() {
    check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(assign(2, 1), []),
            row(assign(3, 1), []),
            row(cancel(2), []),
            row(finished(1, 1), [done(1), run(1, 2, 1)]),
            row(finished(1, 2), [done(3)]),
        ],
    );
}

#[test]
fn a_cancelled_run_frees_its_room_when_its_worker_is_gone() {
    let node = check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(assign(2, 1), []),
            row(cancel(1), [kill(1), start(2)]),
            row(cancel(1), []),
            row(ready(2), []),
            row(finished(1, 1), []),
            row(died(1), [teach(2, 1), run(2, 2, 1)]),
            row(finished(2, 2), [done(2)]),
            row(forget(1), [tell(2, NodeToWorker::Forget { id: DefinitionId(1) })]),
        ],
    );
    assert!(node.is_idle());
}

#[test]
fn a_newer_attempt_takes_the_place_of_an_older_one() {
    let value = Value::Inline(Bytes::from_static(b"result"));
    let (task, attempt) = (TaskId(1), Attempt(2));
    let newer = NodeToScheduler::Finished { task, attempt, value, ran: RAN };
    check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(assign(1, 1), []),
            row(assign_attempt(1, 2, 1, []), [kill(1), start(2)]),
            row(assign(1, 1), []),
            row(ready(2), []),
            row(died(1), [teach(2, 1), run(2, 2, 1)]),
            row(finished(2, 2), [report(newer)]),
        ],
    );
}

#[test]
fn a_task_that_cannot_be_run_fails_at_once() {
    let unknown = Failure::Refused("the node was not told its definition".into());
    let most = Resources::cpus(2);
    let too_much = Failure::Infeasible { asked: Resources::cpus(3), most };
    check(
        cpu_node(2),
        [
            row(assign(1, 9), [failed(1, unknown, Duration::ZERO)]),
            row(define(2, Resources::cpus(3)), []),
            row(assign(2, 2), [failed(2, too_much, Duration::ZERO)]),
        ],
    );
}

#[test]
fn a_task_assigned_before_the_first_tick_starts_with_the_first_worker() {
    check(
        new_node(Resources::cpus(2)),
        [
            row(define(1, Resources::cpus(1)), []),
            row(assign(1, 1), []),
            row(Event::Tick, [start(1)]),
            row(ready(1), [teach(1, 1), run(1, 1, 1), start(2)]),
            row(ready(2), []),
        ],
    );
}

#[test]
fn what_a_client_beside_the_node_puts_is_kept_if_it_is_large() {
    let mut node = cpu_node(1);
    let mut actions = Vec::new();
    let small = Bytes::from_static(b"small");
    assert_eq!(node.keep(small.clone(), &mut actions), Value::Inline(small));
    assert_eq!(node.keep(large(), &mut actions), stored(own(1)));
    assert_eq!(actions, [store(1)]);
    check(node, [row(drop_own(1), [Action::Drop { object: own(1) }])]);
}

#[test]
fn what_happens_at_once_is_seen_together() {
    let mut node = cpu_node(1);
    let mut actions = Vec::new();
    // The task that was cancelled meanwhile never gets to the worker.
    let events = [assign(1, 1), assign(2, 1), cancel(1), assign(3, 1)];
    node.handle_all(ms(0), events, &mut actions);
    node.sanity_check();
    assert_eq!(actions, [teach(1, 1), run(1, 1, 1)]);
    actions.clear();
    node.handle_all(ms(0), [finished(1, 1), assign(4, 1)], &mut actions);
    node.sanity_check();
    assert_eq!(actions, [done(2), run(1, 2, 1)]);
}

//! Nested tasks: a running task in the part of a client.

use bytes::Bytes;
use hurricane_core::id::{Attempt, DefinitionNumber, Number, TaskId};
use hurricane_core::message::{
    Allowance, ClientToScheduler, NodeToScheduler, NodeToWorker, SchedulerToClient,
    SchedulerToNode, Value, WorkerToNode,
};
use hurricane_core::node::{Action, Event, MAX_WAITING};
use hurricane_core::resources::{Amount, Resources};

use crate::case::*;

fn waits(worker: u64) -> Event {
    said(worker, WorkerToNode::Waiting)
}

fn may_wait(worker: u64) -> Action {
    tell(worker, NodeToWorker::MayWait)
}

fn resumes(worker: u64) -> Event {
    said(worker, WorkerToNode::Resume)
}

fn granted(worker: u64) -> Action {
    tell(worker, NodeToWorker::Granted)
}

#[test]
fn a_task_and_its_child_share_one_slot() {
    let node = check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(assign(2, 1), []),
            row(waits(1), [may_wait(1), waiting(1), start(2)]),
            row(ready(2), [teach(2, 1), run(2, 2, 1)]),
            row(resumes(1), []),
            row(finished(2, 2), [done(2), granted(1), resumed(1)]),
            // One idle worker is enough for one slot, but the other may soon be of use again.
            at(1, finished(1, 1), [done(1)]),
            at(1999, Event::Tick, []),
            at(2000, Event::Tick, [stop(2)]),
        ],
    );
    assert!(!node.is_idle(), "the definition is held");
}

#[test]
fn a_task_goes_on_at_once_if_its_room_is_free() {
    check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(waits(1), [may_wait(1), waiting(1)]),
            row(resumes(1), [granted(1), resumed(1)]),
        ],
    );
}

#[test]
fn what_has_waited_comes_before_what_has_not_started() {
    check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(waits(1), [may_wait(1), waiting(1)]),
            row(assign(2, 1), [start(2)]),
            row(ready(2), [teach(2, 1), run(2, 2, 1)]),
            row(assign(3, 1), []),
            row(resumes(1), []),
            row(finished(2, 2), [done(2), granted(1), resumed(1)]),
            row(finished(1, 1), [done(1), run(1, 3, 1)]),
        ],
    );
}

#[test]
fn what_has_waited_and_needs_much_room_is_not_passed() {
    check(
        cpu_node(2),
        [
            row(define(2, Resources::cpus(2)), []),
            row(assign(1, 2), [stop(1), start_kind(3, 2, [])]),
            row(ready(3), [teach(3, 2), run(3, 1, 2)]),
            row(waits(3), [may_wait(3), waiting(1)]),
            row(assign(2, 1), [teach(2, 1), run(2, 2, 1)]),
            row(assign(3, 1), [start(4)]),
            row(ready(4), [teach(4, 1), run(4, 3, 1)]),
            row(assign(4, 1), []),
            row(resumes(3), []),
            row(finished(2, 2), [done(2)]),
            row(finished(4, 3), [done(3), granted(3), resumed(1)]),
        ],
    );
}

#[test]
fn a_task_goes_on_with_the_processors_that_its_worker_sees() {
    let resources = Resources { gpus: Amount::whole(2), ..Resources::cpus(2) };
    check(
        node(resources),
        [
            row(define(1, gpus(Amount::whole(1))), []),
            row(assign(1, 1), [stop(1), start_kind(3, 1, [0])]),
            row(ready(3), [teach(3, 1), run(3, 1, 1)]),
            row(waits(3), [may_wait(3), waiting(1)]),
            row(assign(2, 1), [start_kind(4, 1, [0])]),
            row(ready(4), [teach(4, 1), run(4, 2, 1)]),
            // Processor 1 is free, but of no use to it.
            row(resumes(3), []),
            row(finished(4, 2), [done(2), granted(3), resumed(1)]),
        ],
    );
}

#[test]
fn a_task_that_goes_on_without_room_may_wait_again() {
    check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(waits(1), [may_wait(1), waiting(1)]),
            row(assign(2, 1), [start(2)]),
            row(ready(2), [teach(2, 1), run(2, 2, 1)]),
            row(resumes(1), []),
            row(waits(1), [may_wait(1)]),
            row(finished(2, 2), [done(2)]),
            row(resumes(1), [granted(1), resumed(1)]),
        ],
    );
}

#[test]
fn a_task_may_end_while_it_waits() {
    let node = check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(waits(1), [may_wait(1), waiting(1)]),
            row(finished(1, 1), [done(1)]),
            row(assign(2, 1), [run(1, 2, 1)]),
            row(waits(1), [may_wait(1), waiting(2)]),
            row(assign(3, 1), [start(2)]),
            row(ready(2), [teach(2, 1), run(2, 3, 1)]),
            row(resumes(1), []),
            row(cancel(2), [kill(1)]),
            row(died(1), []),
            row(finished(2, 3), [done(3)]),
            row(
                forget(1),
                [tell(2, NodeToWorker::Forget { id: hurricane_core::id::DefinitionId(1) })],
            ),
        ],
    );
    assert!(node.is_idle());
}

#[test]
fn a_worker_that_dies_while_it_waits_holds_nothing() {
    check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(waits(1), [may_wait(1), waiting(1)]),
            row(died_in(1, 1), [death(1, ""), start(2)]),
            row(ready(2), []),
            row(assign(2, 1), [teach(2, 1), run(2, 2, 1)]),
        ],
    );
}

#[test]
fn words_out_of_turn_are_ignored() {
    check(
        cpu_node(1),
        [
            row(waits(1), []),
            row(resumes(1), []),
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(resumes(1), []),
            row(waits(1), [may_wait(1), waiting(1)]),
            row(waits(1), []),
            row(resumes(1), [granted(1), resumed(1)]),
            row(resumes(1), []),
            row(cancel(1), [kill(1), start(2)]),
            row(waits(1), []),
            row(resumes(1), []),
        ],
    );
}

#[test]
fn too_many_may_not_wait() {
    let mut node = cpu_node(1);
    let limit = u64::from(MAX_WAITING);
    for depth in 1..=limit {
        let mut actions = Vec::new();
        if depth > 1 {
            node.handle(ms(0), ready(depth), &mut actions);
        }
        node.handle(ms(0), assign(depth, 1), &mut actions);
        node.handle(ms(0), assign(depth + 1, 1), &mut actions);
        node.handle(ms(0), waits(depth), &mut actions);
        assert_eq!(actions[actions.len() - 2..], [waiting(depth), start(depth + 1)]);
        node.sanity_check();
    }
    let deepest = limit + 1;
    check(
        node,
        [
            row(ready(deepest), [teach(deepest, 1), run(deepest, deepest, 1)]),
            row(waits(deepest), [tell(deepest, NodeToWorker::TooDeep { limit: MAX_WAITING })]),
            row(finished(deepest, deepest), [done(deepest)]),
            row(resumes(limit), [granted(limit), resumed(limit)]),
        ],
    );
}

#[test]
fn a_child_whose_worker_cannot_start_is_no_silent_end() {
    let reason = "A worker process could not be started: there are too many processes";
    check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(assign(2, 1), []),
            row(waits(1), [may_wait(1), waiting(1), start(2)]),
            row(not_started(2), []),
            at(100, Event::Tick, [start(3)]),
            at(100, not_started(3), []),
            at(300, Event::Tick, [start(4)]),
            at(300, not_started(4), [setup_failed(reason)]),
        ],
    );
}

fn says(worker: u64, message: ClientToScheduler) -> Event {
    said(worker, WorkerToNode::Nested(message))
}

fn passed_on(task: u64, message: ClientToScheduler) -> Action {
    let (task, attempt) = (TaskId(task), Attempt(1));
    report(NodeToScheduler::Nested { task, attempt, message })
}

fn answers(task: u64, attempt: u32, message: SchedulerToClient) -> Event {
    let (task, attempt) = (TaskId(task), Attempt(attempt));
    told(SchedulerToNode::Nested { task, attempt, message })
}

#[test]
fn what_a_running_task_says_is_passed_on_in_its_name() {
    let submit = ClientToScheduler::Submit {
        number: Number(1),
        definition: DefinitionNumber(1),
        arguments: Bytes::from_static(b"arguments"),
        dependencies: Vec::new(),
    };
    let answer = SchedulerToClient::Allowance(Allowance { tasks: 1, bytes: 1 });
    let told_worker = tell(1, NodeToWorker::Nested(answer.clone()));
    check(
        cpu_node(1),
        [
            row(says(1, submit.clone()), []),
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(assign(2, 1), []),
            row(says(1, submit.clone()), [passed_on(1, submit.clone())]),
            row(answers(1, 1, answer.clone()), [told_worker.clone()]),
            row(answers(1, 2, answer.clone()), []),
            row(answers(2, 1, answer.clone()), []),
            row(answers(9, 1, answer.clone()), []),
            row(waits(1), [may_wait(1), waiting(1), start(2)]),
            row(answers(1, 1, answer.clone()), [told_worker]),
            row(cancel(1), [kill(1)]),
            row(answers(1, 1, answer), []),
            row(says(1, submit), []),
        ],
    );
}

#[test]
fn a_large_value_that_is_put_stays_here() {
    let put = |value| ClientToScheduler::Put { number: Number(1), value };
    let small = Value::Inline(Bytes::from_static(b"small"));
    check(
        cpu_node(1),
        [
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(says(1, put(small.clone())), [passed_on(1, put(small))]),
            row(
                says(1, put(Value::Inline(large()))),
                [store(1), passed_on(1, put(stored(own(1))))],
            ),
            // A task cannot name what it did not store.
            row(says(1, put(stored(own(1)))), []),
            row(finished(1, 1), [done(1)]),
            row(drop_own(1), [Action::Drop { object: own(1) }]),
        ],
    );
}

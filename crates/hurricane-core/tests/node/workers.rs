//! Supervising workers: started ahead, replaced, stopped, and given up.

use bytes::Bytes;
use hurricane_core::Node;
use hurricane_core::id::WorkerId;
use hurricane_core::message::{Death, Exit, Stream, WorkerToNode};
use hurricane_core::node::Event;
use hurricane_core::resources::Resources;
use hurricane_core::time::Time;

use crate::case::*;

#[test]
fn one_worker_for_each_cpu_is_started_ahead_one_after_the_other() {
    let node = new_node(Resources::cpus(2));
    assert_eq!(node.deadline(), Some(Time(0)));
    let node = check(
        node,
        [
            row(Event::Tick, [start(1)]),
            row(Event::Tick, []),
            row(ready(1), [start(2)]),
            row(ready(2), []),
        ],
    );
    assert_eq!(node.deadline(), None);
}

#[test]
fn as_many_workers_as_tasks_are_started_at_once() {
    check(
        new_node(Resources::cpus(3)),
        [
            row(Event::Tick, [start(1)]),
            row(define(1, Resources::cpus(1)), []),
            row(assign(1, 1), []),
            row(assign(2, 1), [start(2)]),
            row(ready(1), [teach(1, 1), run(1, 1, 1)]),
            row(ready(2), [teach(2, 1), run(2, 2, 1), start(3)]),
        ],
    );
}

#[test]
fn less_than_one_cpu_is_a_slot_too() {
    let half = Resources { cpus: hundredths(50), ..Resources::default() };
    check(new_node(half), [row(Event::Tick, [start(1)])]);
}

#[test]
fn a_starting_worker_serves_the_task_that_waits_for_it() {
    check(
        new_node(Resources::cpus(1)),
        [
            row(Event::Tick, [start(1)]),
            row(define(1, Resources::cpus(1)), []),
            row(assign(1, 1), []),
            row(take_back(1), [taken_back(1)]),
            row(assign(2, 1), []),
            row(ready(1), [teach(1, 1), run(1, 1, 1)]),
            row(ready(1), []),
        ],
    );
}

#[test]
fn a_task_takes_the_first_worker_of_its_kind() {
    check(
        new_node(Resources::cpus(2)),
        [
            row(Event::Tick, [start(1)]),
            row(define(1, Resources::cpus(1)), []),
            row(assign(1, 1), []),
            row(assign(2, 1), [start(2)]),
            row(ready(2), [teach(2, 1), run(2, 1, 1)]),
            row(ready(1), [teach(1, 1), run(1, 2, 1)]),
        ],
    );
}

#[test]
fn a_worker_of_another_kind_takes_the_place_of_the_longest_idle_one() {
    check(
        cpu_node(2),
        [
            row(define(2, Resources::cpus(2)), []),
            row(assign(1, 1), [teach(2, 1), run(2, 1, 1)]),
            at(1, finished(2, 1), [done(1)]),
            at(2, assign(2, 2), [stop(1), start_kind(3, 2, [])]),
            at(3, ready(3), [teach(3, 2), run(3, 2, 2)]),
            at(4, died(1), []),
            at(5, finished(3, 2), [done(2)]),
            at(6, assign(3, 1), [run(2, 3, 1)]),
        ],
    );
}

#[test]
fn tasks_of_less_than_a_cpu_have_a_worker_each() {
    let half = Resources { cpus: hundredths(50), ..Resources::default() };
    check(
        cpu_node(1),
        [
            row(define(2, half), []),
            row(assign(1, 2), [teach(1, 2), run(1, 1, 2)]),
            row(assign(2, 2), [start(2)]),
            row(assign(3, 2), []),
            row(ready(2), [teach(2, 2), run(2, 2, 2)]),
            row(finished(1, 1), [done(1), run(1, 3, 2)]),
            row(finished(1, 3), [done(3)]),
            // One idle worker is enough for one slot, but the other may soon be of use again.
            at(1, finished(2, 2), [done(2)]),
            at(2000, Event::Tick, [stop(1)]),
        ],
    );
}

#[test]
fn an_idle_worker_that_dies_is_replaced() {
    check(cpu_node(1), [row(died(1), [start(2)]), row(died(1), [])]);
}

#[test]
fn a_worker_that_was_stopped_is_not_replaced() {
    check(
        cpu_node(1),
        [
            row(define(2, gpus(hundredths(0))), []),
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(assign(2, 2), [start(2)]),
            row(ready(2), [teach(2, 2), run(2, 2, 2)]),
            row(finished(2, 2), [done(2)]),
            at(1, finished(1, 1), [done(1)]),
            at(2000, Event::Tick, [stop(2)]),
            at(2001, died(2), []),
        ],
    );
}

#[test]
fn a_death_costs_the_task_that_ran_and_no_other() {
    check(
        cpu_node(2),
        [
            row(assign(1, 1), [teach(2, 1), run(2, 1, 1)]),
            row(assign(2, 1), [teach(1, 1), run(1, 2, 1)]),
            row(assign(3, 1), []),
            row(wrote(2, Stream::Stderr, "out of memory"), []),
            row(
                died_in(2, 1),
                [
                    output(1, Stream::Stderr, "out of memory\n"),
                    death(1, "out of memory\n"),
                    start(3),
                ],
            ),
            row(died(2), []),
            row(finished(1, 2), [done(2), run(1, 3, 1)]),
        ],
    );
}

#[test]
fn a_replacement_is_of_the_kind_that_was_lost() {
    check(
        cpu_node(2),
        [
            row(define(2, Resources::cpus(2)), []),
            row(assign(1, 2), [stop(1), start_kind(3, 2, [])]),
            row(ready(3), [teach(3, 2), run(3, 1, 2)]),
            row(died_in(3, 1), [death(1, ""), start_kind(4, 2, [])]),
        ],
    );
}

/// A node of one slot whose first worker is starting.
fn starting() -> Node {
    check(new_node(Resources::cpus(1)), [row(Event::Tick, [start(1)])])
}

#[test]
fn workers_that_do_not_start_are_tried_again_after_pauses_that_double() {
    let node = check(starting(), [row(not_started(1), []), row(not_started(1), [])]);
    assert_eq!(node.deadline(), Some(ms(100)));
    let node = check(
        node,
        [at(99, Event::Tick, []), at(100, Event::Tick, [start(2)]), at(150, not_started(2), [])],
    );
    assert_eq!(node.deadline(), Some(ms(350)));
    let node = check(
        node,
        [
            at(350, Event::Tick, [start(3)]),
            at(400, ready(3), []),
            // One that got ready ends the row of failures.
            at(500, died(3), [start(4)]),
            at(600, not_started(4), []),
        ],
    );
    assert_eq!(node.deadline(), Some(ms(700)));
}

#[test]
fn three_failures_in_a_row_are_reported_and_the_next_task_tries_again() {
    let reason = "A worker process could not be started: there are too many processes";
    let node = check(
        starting(),
        [
            row(not_started(1), []),
            at(100, Event::Tick, [start(2)]),
            at(100, not_started(2), []),
            at(300, Event::Tick, [start(3)]),
            at(300, not_started(3), [setup_failed(reason)]),
            at(9000, Event::Tick, []),
        ],
    );
    assert_eq!(node.deadline(), None);
    check(
        node,
        [
            at(9000, define(1, Resources::cpus(1)), []),
            at(9000, assign(1, 1), [start(4)]),
            at(9001, ready(4), [teach(4, 1), run(4, 1, 1)]),
        ],
    );
}

#[test]
fn a_death_before_ready_says_what_happened() {
    let exited = |worker| {
        let death = Death { exit: Exit::Code(3), ..Death::default() };
        Event::WorkerDied { worker: WorkerId(worker), begun: None, death }
    };
    let silent = "A worker process exited with code 3 before it was ready, and wrote nothing.";
    let wordy = "A worker process exited with code 3 before it was ready. It wrote:\nno space left";
    for (text, error) in [("", silent), ("no space left", wordy)] {
        check(
            starting(),
            [
                row(exited(1), []),
                at(100, Event::Tick, [start(2)]),
                at(100, exited(2), []),
                at(300, Event::Tick, [start(3)]),
                at(300, wrote(3, Stream::Stderr, text), []),
                at(300, exited(3), [setup_failed(error)]),
            ],
        );
    }
}

#[test]
fn starting_workers_that_are_killed_do_not_disprove_a_setup_that_worked() {
    let mut node = check(starting(), [row(ready(1), []), row(died(1), [start(2)])]);
    let mut now = Time(0);
    for worker in 2..11 {
        let mut actions = Vec::new();
        node.handle(now, died(worker), &mut actions);
        now = node.deadline().expect("another try follows");
        node.handle(now, Event::Tick, &mut actions);
        assert_eq!(actions, [start(worker + 1)]);
    }
    let mut actions = Vec::new();
    node.handle(now, died(11), &mut actions);
    let error = "A worker process was ended by signal 9 before it was ready, and wrote nothing.";
    assert_eq!(actions, [setup_failed(error)]);
}

#[test]
fn failures_are_no_news_while_other_workers_serve() {
    check(
        new_node(Resources::cpus(4)),
        [
            row(define(1, Resources::cpus(1)), []),
            row(assign(1, 1), []),
            row(assign(2, 1), []),
            row(assign(3, 1), []),
            row(assign(4, 1), []),
            row(Event::Tick, [start(1), start(2), start(3), start(4)]),
            row(not_started(1), []),
            row(not_started(2), []),
            row(not_started(3), []),
            row(ready(4), [teach(4, 1), run(4, 1, 1)]),
        ],
    );
}

#[test]
fn a_kind_that_cannot_start_is_reported_though_others_live() {
    let reason = "A worker process could not be started: there are too many processes";
    check(
        cpu_node(2),
        [
            row(define(2, Resources::cpus(2)), []),
            row(assign(1, 2), [stop(1), start_kind(3, 2, [])]),
            row(not_started(3), []),
            at(100, Event::Tick, [start_kind(4, 2, [])]),
            at(100, not_started(4), []),
            at(300, Event::Tick, [start_kind(5, 2, [])]),
            at(300, not_started(5), [setup_failed(reason)]),
        ],
    );
}

#[test]
fn the_pause_grows_to_five_seconds() {
    let mut node = check(cpu_node(2), [row(died(1), [start(3)])]);
    let mut now = Time(0);
    let mut pauses_ms = Vec::new();
    for worker in 3..11 {
        node.handle(now, not_started(worker), &mut Vec::new());
        let due = node.deadline().expect("another try follows");
        pauses_ms.push(due.since(now).as_millis());
        now = due;
        let mut actions = Vec::new();
        node.handle(now, Event::Tick, &mut actions);
        assert_eq!(actions, [start(worker + 1)]);
    }
    assert_eq!(pauses_ms, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
}

fn says_setup_failed(worker: u64) -> Event {
    said(worker, WorkerToNode::SetupFailed { error: Bytes::from_static(b"initializer") })
}

#[test]
fn what_a_worker_says_of_its_setup_is_passed_on_once() {
    check(
        new_node(Resources::cpus(2)),
        [
            row(define(1, Resources::cpus(1)), []),
            row(assign(1, 1), []),
            row(assign(2, 1), []),
            row(Event::Tick, [start(1), start(2)]),
            row(says_setup_failed(1), [setup_failed("initializer")]),
            row(says_setup_failed(1), []),
            row(says_setup_failed(2), []),
            row(died(1), []),
            row(died(2), []),
            at(9000, Event::Tick, []),
            at(9000, cancel(1), []),
            at(9000, cancel(2), []),
            at(9000, assign(3, 1), [start(3)]),
        ],
    );
}

#[test]
fn a_worker_that_works_cannot_fail_its_setup() {
    check(
        cpu_node(1),
        [
            row(says_setup_failed(1), []),
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(says_setup_failed(1), []),
            row(not_started(1), []),
            row(finished(1, 1), [done(1)]),
        ],
    );
}

#[test]
fn workers_that_nobody_started_are_ignored() {
    check(
        cpu_node(1),
        [
            row(ready(9), []),
            row(died(9), []),
            row(not_started(9), []),
            row(says_setup_failed(9), []),
            row(wrote(9, Stream::Stdout, "text\n"), []),
            row(said(9, WorkerToNode::Waiting), []),
            row(said(9, WorkerToNode::Resume), []),
            row(said(9, WorkerToNode::Fetch { object: others(1) }), []),
        ],
    );
}

#[test]
fn what_a_stopped_worker_says_is_ignored() {
    check(
        cpu_node(2),
        [
            row(define(2, Resources::cpus(2)), []),
            row(assign(1, 2), [stop(1), start_kind(3, 2, [])]),
            row(ready(1), []),
            row(finished(1, 1), []),
            row(define(3, Resources::cpus(1)), []),
            row(cancel(1), []),
            // The two-cpu worker that was started for it stays for the next one.
            row(ready(3), []),
            row(assign(2, 3), [teach(2, 3), run(2, 1, 3)]),
        ],
    );
}

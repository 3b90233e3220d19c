//! Queues: short tasks are sent to workers that run others, and taken back when need be.

use std::time::Duration;

use hurricane_core::Node;
use hurricane_core::id::{Attempt, TaskId};
use hurricane_core::message::{
    ClientToScheduler, NodeToScheduler, NodeToWorker, Stream, WorkerToNode,
};
use hurricane_core::node::Event;
use hurricane_core::resources::Resources;

use crate::case::*;

/// A node with so many idle workers, of which the last knows definition 1: its tasks take so long.
/// The next run is the second.
fn measured_node(cpus: u64, ran_micros: u64) -> Node {
    let last = cpus;
    check(
        cpu_node(cpus),
        [
            row(assign(100, 1), [teach(last, 1), run(last, 1, 1)]),
            row(finished_in(last, 1, ran_micros), [done_in(100, ran_micros)]),
        ],
    )
}

/// A worker that runs task 1, as run 2, and has tasks 2 and 3 in its queue, as runs 3 and 4.
fn queueing_node() -> Node {
    check(
        measured_node(1, 100),
        [
            row(assign(1, 1), [run(1, 2, 1)]),
            row(assign(2, 1), [run(1, 3, 1)]),
            row(assign(3, 1), [run(1, 4, 1)]),
        ],
    )
}

#[test]
fn tasks_of_unknown_duration_are_not_queued() {
    check(cpu_node(1), [row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]), row(assign(2, 1), [])]);
}

#[test]
fn short_tasks_are_queued_up_to_a_limit_and_in_bulk() {
    check(
        measured_node(1, 600),
        [
            row(assign(1, 1), [run(1, 2, 1)]),
            row(assign(2, 1), [run(1, 3, 1)]),
            row(assign(3, 1), [run(1, 4, 1)]),
            row(assign(4, 1), [run(1, 5, 1)]),
            row(assign(5, 1), []),
            row(assign(6, 1), []),
            row(finished_in(1, 2, 600), [done_in(1, 600)]),
            row(finished_in(1, 3, 600), [done_in(2, 600), run(1, 6, 1), run(1, 7, 1)]),
        ],
    );
}

#[test]
fn a_queue_has_a_largest_length() {
    let mut node = measured_node(1, 0);
    let mut actions = Vec::new();
    for task in 1..=1000 {
        node.handle(ms(0), assign(task, 1), &mut actions);
        node.sanity_check();
    }
    assert_eq!(actions.len(), 257);
}

#[test]
fn one_that_is_not_so_short_is_queued_alone() {
    check(
        measured_node(1, 1_200),
        [
            row(assign(1, 1), [run(1, 2, 1)]),
            row(assign(2, 1), [run(1, 3, 1)]),
            row(assign(3, 1), []),
            row(finished_in(1, 2, 1_200), [done_in(1, 1_200), run(1, 4, 1)]),
        ],
    );
}

#[test]
fn long_ones_are_not_queued() {
    check(measured_node(1, 1_600), [row(assign(1, 1), [run(1, 2, 1)]), row(assign(2, 1), [])]);
}

#[test]
fn while_some_take_long_none_is_queued() {
    check(
        measured_node(1, 2_000),
        [
            row(assign(1, 1), [run(1, 2, 1)]),
            row(finished_in(1, 2, 10), [done_in(1, 10)]),
            row(assign(2, 1), [run(1, 3, 1)]),
            row(assign(3, 1), []),
        ],
    );
}

#[test]
fn what_has_a_timeout_stands_alone() {
    check(
        measured_node(1, 100),
        [
            row(define_limited(2, Duration::from_secs(1)), []),
            row(assign(1, 2), [teach(1, 2), run(1, 2, 2)]),
            row(assign(2, 2), []),
            row(assign(3, 1), []),
            row(finished_in(1, 2, 100), [done_in(1, 100), run(1, 3, 2)]),
            row(finished_in(1, 3, 100), [done_in(2, 100), run(1, 4, 1)]),
        ],
    );
}

#[test]
fn idle_workers_come_first_and_others_take_turns() {
    check(
        measured_node(2, 600),
        [
            row(assign(1, 1), [run(2, 2, 1)]),
            row(assign(2, 1), [teach(1, 1), run(1, 3, 1)]),
            row(assign(3, 1), [run(2, 4, 1)]),
            row(assign(4, 1), [run(1, 5, 1)]),
        ],
    );
}

#[test]
fn what_may_not_be_queued_is_not_overtaken() {
    check(
        measured_node(1, 100),
        [
            row(define(2, Resources::cpus(1)), []),
            row(assign(1, 1), [run(1, 2, 1)]),
            row(assign(2, 2), []),
            row(assign(3, 1), []),
            row(finished_in(1, 2, 100), [done_in(1, 100), teach(1, 2), run(1, 3, 2)]),
            row(finished_in(1, 3, 100), [done_in(2, 100), run(1, 4, 1)]),
        ],
    );
}

#[test]
fn an_idle_worker_has_its_share_of_a_long_queue() {
    check(
        measured_node(2, 600),
        [
            row(assign(1, 1), [run(2, 2, 1)]),
            row(assign(2, 1), [teach(1, 1), run(1, 3, 1)]),
            row(assign(3, 1), [run(2, 4, 1)]),
            row(finished_in(1, 3, 600), [done_in(2, 600), revoke(2, 4)]),
            row(revoked(2, 4, 2), [run(1, 5, 1)]),
        ],
    );
}

/// Two workers that run tasks 1 and 2, as runs 2 and 3, and have tasks 3 and 5, and 4 and 6, in their
/// queues, as runs 4 to 7.
fn two_queues() -> Node {
    check(
        measured_node(2, 100),
        [
            row(assign(1, 1), [run(2, 2, 1)]),
            row(assign(2, 1), [teach(1, 1), run(1, 3, 1)]),
            row(assign(3, 1), [run(2, 4, 1)]),
            row(assign(4, 1), [run(1, 5, 1)]),
            row(assign(5, 1), [run(2, 6, 1)]),
            row(assign(6, 1), [run(1, 7, 1)]),
        ],
    )
}

#[test]
fn one_whose_queue_is_full_keeps_its_turn() {
    check(
        measured_node(2, 1_200),
        [
            row(assign(1, 1), [run(2, 2, 1)]),
            row(assign(2, 1), [teach(1, 1), run(1, 3, 1)]),
            row(assign(3, 1), [run(2, 4, 1)]),
            row(assign(4, 1), [run(1, 5, 1)]),
            row(assign(5, 1), []),
            row(finished_in(1, 3, 1_200), [done_in(2, 1_200)]),
            row(finished_in(2, 2, 1_200), [done_in(1, 1_200), run(2, 6, 1)]),
            row(assign(6, 1), [run(1, 7, 1)]),
        ],
    );
}

#[test]
fn what_stands_behind_a_silent_run_goes_to_others_in_order() {
    let node = check(
        two_queues(),
        [
            at(5, Event::Tick, []),
            at(9, finished_in(2, 2, 100), [done_in(1, 100)]),
            at(11, Event::Tick, [revoke(1, 7), revoke(2, 6)]),
            at(11, revoked(1, 7, 3), []),
            at(11, revoked(2, 6, 4), [run(2, 8, 1), run(2, 9, 1), run(2, 10, 1)]),
            // Nothing is queued behind it until it is over; then it has its turns again.
            at(11, assign(7, 1), [run(2, 11, 1)]),
            at(12, finished_in(1, 3, 100), [done_in(2, 100), revoke(2, 11)]),
            at(12, revoked(2, 11, 8), [run(1, 12, 1), run(2, 13, 1), run(1, 14, 1)]),
        ],
    );
    assert_eq!(node.deadline(), Some(ms(16)));
}

#[test]
fn what_stands_behind_silent_runs_waits_for_who_is_free_first() {
    check(
        two_queues(),
        [
            at(11, Event::Tick, [revoke(1, 7), revoke(2, 6)]),
            at(11, revoked(1, 7, 3), []),
            at(11, revoked(2, 6, 2), []),
            at(
                12,
                finished_in(1, 3, 100),
                [done_in(2, 100), run(1, 8, 1), run(1, 9, 1), run(1, 10, 1), run(1, 11, 1)],
            ),
        ],
    );
}

#[test]
fn what_a_dead_worker_leaves_does_not_stand_behind_later_ones() {
    check(
        two_queues(),
        [
            row(died_in(2, 2), [death(1, ""), revoke(1, 7), start(3)]),
            // The first of them waits for the new worker.
            row(revoked(1, 7, 3), [run(1, 8, 1), run(1, 9, 1), run(1, 10, 1)]),
            row(ready(3), [teach(3, 1), run(3, 11, 1)]),
        ],
    );
}

#[test]
fn what_has_begun_is_not_taken_back_again_and_again() {
    check(
        two_queues(),
        [
            row(cancel(6), [revoke(1, 7), revoke(2, 6)]),
            row(revoked(1, 7, 5), []),
            row(revoked(2, 6, 6), []),
            row(finished_in(1, 3, 100), [done_in(2, 100)]),
            row(finished_in(1, 5, 100), [done_in(4, 100)]),
            row(assign(7, 1), [run(1, 8, 1)]),
        ],
    );
}

#[test]
fn a_silent_worker_keeps_its_queue_if_there_is_nobody_else() {
    check(queueing_node(), [at(20, Event::Tick, []), at(40, Event::Tick, [])]);
}

#[test]
fn a_worker_that_had_begun_nothing_is_idle() {
    check(
        queueing_node(),
        [row(cancel(3), [revoke(1, 4)]), row(revoked(1, 4, 1), [run(1, 5, 1), run(1, 6, 1)])],
    );
}

#[test]
fn a_cancelled_task_leaves_the_queue() {
    check(
        queueing_node(),
        [
            row(cancel(2), [revoke(1, 4)]),
            row(revoked(1, 4, 2), [run(1, 5, 1)]),
            row(finished_in(1, 2, 100), [done_in(1, 100)]),
            row(finished_in(1, 5, 100), [done_in(3, 100)]),
        ],
    );
}

#[test]
fn what_was_void_stays_void() {
    check(
        queueing_node(),
        [
            row(cancel(3), [revoke(1, 4)]),
            row(revoked(1, 4, 3), []),
            // Were it asked up to run 3, it could begin run 4 after all.
            row(cancel(2), [revoke(1, 4)]),
            row(revoked(1, 4, 3), [kill(1), start(2)]),
        ],
    );
}

#[test]
fn a_cancelled_task_that_has_begun_is_killed_alone() {
    check(
        queueing_node(),
        [
            row(cancel(2), [revoke(1, 4)]),
            row(revoked(1, 4, 3), [kill(1), start(2)]),
            row(finished_in(1, 2, 100), [done_in(1, 100)]),
            row(died_in(1, 3), []),
            row(ready(2), [teach(2, 1), run(2, 5, 1)]),
        ],
    );
}

#[test]
fn of_a_cancelled_task_that_is_over_nobody_hears() {
    check(
        queueing_node(),
        [
            row(cancel(2), [revoke(1, 4)]),
            row(revoked(1, 4, 4), []),
            row(finished_in(1, 2, 100), [done_in(1, 100)]),
            row(finished_in(1, 3, 100), []),
            row(finished_in(1, 4, 100), [done_in(3, 100)]),
        ],
    );
}

#[test]
fn the_first_of_several_is_cancelled_as_the_others_are() {
    check(
        queueing_node(),
        [
            row(cancel(1), [revoke(1, 4)]),
            row(cancel(3), []),
            row(revoked(1, 4, 2), [kill(1), start(2)]),
            row(died_in(1, 2), []),
            row(ready(2), [teach(2, 1), run(2, 5, 1)]),
        ],
    );
}

#[test]
fn a_queued_task_is_given_back_if_it_has_not_begun() {
    check(
        queueing_node(),
        [row(take_back(2), [revoke(1, 4)]), row(revoked(1, 4, 2), [taken_back(2), run(1, 5, 1)])],
    );
    check(
        queueing_node(),
        [
            row(take_back(2), [revoke(1, 4)]),
            row(revoked(1, 4, 3), [kept(2), run(1, 5, 1)]),
            row(finished_in(1, 2, 100), [done_in(1, 100)]),
            row(finished_in(1, 3, 100), [done_in(2, 100)]),
        ],
    );
}

#[test]
fn a_worker_that_dies_leaves_what_is_wanted_back() {
    check(
        queueing_node(),
        [
            row(take_back(3), [revoke(1, 4)]),
            row(died_in(1, 2), [death(1, ""), taken_back(3), start(2)]),
            row(ready(2), [teach(2, 1), run(2, 5, 1)]),
        ],
    );
}

#[test]
fn the_run_begun_last_is_to_blame_and_no_other() {
    check(
        queueing_node(),
        [
            row(died_in(1, 3), [death(2, ""), start(2)]),
            row(ready(2), [teach(2, 1), run(2, 5, 1), run(2, 6, 1)]),
            row(finished_in(2, 5, 100), [done_in(1, 100)]),
            row(finished_in(2, 6, 100), [done_in(3, 100)]),
        ],
    );
}

#[test]
fn a_worker_that_had_begun_nothing_has_died_of_itself() {
    check(
        queueing_node(),
        [
            row(died_in(1, 1), [start(2)]),
            row(ready(2), [teach(2, 1), run(2, 5, 1), run(2, 6, 1), run(2, 7, 1)]),
            row(died(2), [start(3)]),
            row(ready(3), [teach(3, 1), run(3, 8, 1), run(3, 9, 1), run(3, 10, 1)]),
            // The same thrice is no chance.
            row(died(3), [death(1, ""), start(4)]),
        ],
    );
}

#[test]
fn a_worker_that_says_what_cannot_be_has_died_of_the_first() {
    check(queueing_node(), [row(died_in(1, 99), [death(1, ""), start(2)])]);
}

#[test]
fn nothing_stands_behind_a_task_that_waits() {
    check(
        queueing_node(),
        [
            row(said(1, WorkerToNode::Waiting), [revoke(1, 4)]),
            row(revoked(1, 4, 2), [tell(1, NodeToWorker::MayWait), waiting(1), start(2)]),
            // None like it is queued again.
            row(ready(2), [teach(2, 1), run(2, 5, 1)]),
            row(said(1, WorkerToNode::Resume), []),
            row(
                finished_in(2, 5, 100),
                [done_in(2, 100), tell(1, NodeToWorker::Granted), resumed(1)],
            ),
        ],
    );
}

#[test]
fn nothing_stands_behind_a_task_that_speaks() {
    let message = || ClientToScheduler::CancelWaiting;
    let (task, attempt) = (TaskId(1), Attempt(1));
    let nested = NodeToScheduler::Nested { task, attempt, message: message() };
    check(
        queueing_node(),
        [
            row(said(1, WorkerToNode::Nested(message())), [revoke(1, 4), report(nested)]),
            row(revoked(1, 4, 2), []),
            row(finished_in(1, 2, 100), [done_in(1, 100), run(1, 5, 1)]),
        ],
    );
}

#[test]
fn each_task_is_told_by_what_it_wrote() {
    check(
        queueing_node(),
        [
            row(wrote(1, Stream::Stdout, "one\n"), [output(1, Stream::Stdout, "one\n")]),
            row(wrote_in(1, 3, "two\n"), [output(2, Stream::Stdout, "two\n")]),
            row(wrote_in(1, 4, "thr"), []),
            row(finished_in(1, 2, 100), [done_in(1, 100)]),
            row(finished_in(1, 3, 100), [done_in(2, 100)]),
            row(finished_in(1, 4, 100), [output(3, Stream::Stdout, "thr\n"), done_in(3, 100)]),
            // Of a run that is over, nobody hears any more.
            row(wrote_in(1, 3, "late\n"), []),
        ],
    );
}

#[test]
fn the_last_lines_are_those_of_the_run_to_blame() {
    check(
        queueing_node(),
        [
            row(wrote_in(1, 2, "one\n"), [output(1, Stream::Stdout, "one\n")]),
            row(died_in(1, 3), [death(2, ""), start(2)]),
        ],
    );
}

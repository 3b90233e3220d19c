//! Timeouts of one attempt's run.

use std::time::Duration;

use hurricane_core::Node;
use hurricane_core::message::{NodeToWorker, Stream, WorkerToNode};
use hurricane_core::node::Event;
use hurricane_core::resources::Resources;

use crate::case::*;

/// A node whose definition 1 may run for a second.
fn limited_node() -> Node {
    check(node(Resources::cpus(1)), [row(define_limited(1, Duration::from_secs(1)), [])])
}

#[test]
fn a_run_whose_time_is_up_fails_with_its_stack() {
    let node = check(
        limited_node(),
        [
            at(0, assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            at(1, assign(2, 1), []),
            at(999, Event::Tick, []),
        ],
    );
    assert_eq!(node.deadline(), Some(ms(1000)));
    let node = check(
        node,
        [
            at(1002, Event::Tick, [kill_with_stack(1), start(2)]),
            at(1003, Event::Tick, []),
            at(1003, finished(1, 1), []),
            at(1003, take_back(1), [kept(1)]),
            at(1003, wrote(1, Stream::Stdout, "last words"), []),
            at(1004, ready(2), []),
            at(
                1005,
                died(1),
                [
                    output(1, Stream::Stdout, "last words\n"),
                    timed_out(1, 1000, 1002),
                    teach(2, 1),
                    run(2, 2, 1),
                ],
            ),
        ],
    );
    assert_eq!(node.deadline(), Some(ms(2005)), "the time counts from the run, not before");
}

#[test]
fn a_run_that_ends_in_time_leaves_no_deadline() {
    let node = check(
        limited_node(),
        [
            at(0, assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            at(999, finished(1, 1), [done(1)]),
            at(1000, Event::Tick, []),
        ],
    );
    assert_eq!(node.deadline(), None);
}

#[test]
fn a_run_cancelled_after_its_time_was_up_is_not_reported() {
    let node = check(
        limited_node(),
        [
            at(0, assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            at(1000, Event::Tick, [kill_with_stack(1), start(2)]),
            at(1001, cancel(1), []),
            at(1002, wrote(1, Stream::Stdout, "late\n"), []),
            at(1003, died(1), []),
            at(1003, forget(1), []),
        ],
    );
    assert!(node.is_idle());
}

#[test]
fn a_newer_attempt_starts_when_the_one_whose_time_was_up_is_gone() {
    check(
        limited_node(),
        [
            at(0, assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            at(1000, Event::Tick, [kill_with_stack(1), start(2)]),
            at(1001, ready(2), []),
            at(1002, assign_attempt(1, 2, 1, []), []),
            at(1003, died(1), [teach(2, 1), run(2, 2, 1)]),
        ],
    );
}

#[test]
fn the_time_goes_on_while_a_run_waits_for_its_children() {
    check(
        limited_node(),
        [
            at(0, assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            at(1, said(1, WorkerToNode::Waiting), [tell(1, NodeToWorker::MayWait), waiting(1)]),
            at(2, assign(2, 1), [start(2)]),
            at(3, ready(2), [teach(2, 1), run(2, 2, 1)]),
            // Its room is the other's: nothing but the worker goes with it.
            at(1000, Event::Tick, [kill_with_stack(1)]),
            at(1001, died(1), [timed_out(1, 1000, 1000)]),
            at(1002, finished(2, 2), [done(2)]),
        ],
    );
}

#[test]
fn a_timeout_of_forever_is_no_overflow() {
    let node = check(
        node(Resources::cpus(1)),
        [
            row(define_limited(1, Duration::MAX), []),
            at(5, assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
        ],
    );
    assert_eq!(node.deadline(), Some(hurricane_core::time::Time(u64::MAX)));
}

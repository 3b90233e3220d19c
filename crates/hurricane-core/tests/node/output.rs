//! What tasks write: whole lines, live, and not without bounds.

use std::ops::Range;

use hurricane_core::Node;
use hurricane_core::message::Stream::{Stderr, Stdout};
use hurricane_core::node::Event;

use crate::case::*;

const LINE_LIMIT: usize = 8 << 10;

/// A node whose worker 1 runs task 1.
fn running() -> Node {
    check(cpu_node(1), [row(assign(1, 1), [teach(1, 1), run(1, 1, 1)])])
}

#[test]
fn lines_are_sent_when_they_are_whole() {
    check(
        running(),
        [
            row(wrote(1, Stdout, "one\ntw"), [output(1, Stdout, "one\n")]),
            row(wrote(1, Stderr, "error\n"), [output(1, Stderr, "error\n")]),
            row(wrote(1, Stdout, "o\n\nthree\n"), [output(1, Stdout, "two\n\nthree\n")]),
            row(wrote(1, Stdout, ""), []),
            row(finished(1, 1), [done(1)]),
        ],
    );
}

#[test]
fn an_unfinished_line_is_sent_before_the_end_of_its_run() {
    let rest = [output(1, Stdout, "out\n"), output(1, Stderr, "error\n")];
    let [stdout, stderr] = rest;
    check(
        running(),
        [
            row(wrote(1, Stderr, "error"), []),
            row(wrote(1, Stdout, "out"), []),
            row(finished(1, 1), [stdout, stderr, done(1)]),
        ],
    );
}

#[test]
fn a_long_line_is_cut() {
    let limit = "x".repeat(LINE_LIMIT);
    let cut = format!("{limit}\n");
    check(
        running(),
        [
            row(wrote(1, Stdout, &limit), []),
            row(wrote(1, Stdout, "\n"), [output(1, Stdout, &cut)]),
            row(wrote(1, Stdout, &limit), []),
            row(wrote(1, Stdout, "yy\n"), [output(1, Stdout, &format!("{cut}yy\n"))]),
            row(wrote(1, Stdout, &limit.repeat(3)), [output(1, Stdout, &cut.repeat(2))]),
        ],
    );
}

#[test]
fn output_belongs_to_the_task_that_runs_now() {
    check(
        cpu_node(1),
        [
            row(wrote(1, Stdout, "nobody's\nno"), []),
            row(assign(1, 1), [teach(1, 1), run(1, 1, 1)]),
            row(wrote(1, Stdout, "first\n"), [output(1, Stdout, "first\n")]),
            row(assign(2, 1), []),
            row(finished(1, 1), [done(1), run(1, 2, 1)]),
            row(wrote(1, Stdout, "second\n"), [output(2, Stdout, "second\n")]),
        ],
    );
}

#[test]
fn the_output_of_a_cancelled_task_is_of_no_interest() {
    check(
        running(),
        [
            row(wrote(1, Stdout, "unfinished"), []),
            row(cancel(1), [kill(1), start(2)]),
            row(wrote(1, Stdout, "line\n"), []),
            row(died(1), []),
        ],
    );
}

/// Sixteen thousand bytes in lines of a thousand.
fn page() -> String {
    format!("{}\n", "x".repeat(999)).repeat(16)
}

#[test]
fn what_comes_too_fast_is_dropped_and_counted() {
    let mut node = running();
    let mut sent = 0;
    for _ in 0..1000 {
        let mut actions = Vec::new();
        node.handle(ms(0), wrote(1, Stdout, &page()), &mut actions);
        sent += actions.len();
    }
    let burst_bytes = 4 << 20;
    assert_eq!(sent, burst_bytes / 16_000 + 1);
    let lines_sent = burst_bytes as u64 / 1000;
    let dropped = 16_000 - lines_sent;
    check(
        node,
        [
            row(wrote(1, Stderr, &page()), []),
            // A millisecond would pay for it, but output goes on in pieces, not in single lines.
            at(1, wrote(1, Stdout, "short\n"), []),
            at(250, wrote(1, Stdout, "late\n"), [output_after(1, Stdout, dropped + 1, "late\n")]),
            at(250, Event::Tick, []),
            at(250, finished(1, 1), [output_after(1, Stderr, 16, ""), done(1)]),
        ],
    );
}

#[test]
fn silence_fills_the_budget_again() {
    let mut node = running();
    for _ in 0..1000 {
        node.handle(ms(0), wrote(1, Stdout, &page()), &mut Vec::new());
    }
    let mut actions = Vec::new();
    for _ in 0..100 {
        node.handle(ms(1000), wrote(1, Stdout, &page()), &mut actions);
    }
    assert_eq!(actions.len(), (1 << 20) / 16_000 + 1, "a second pays for a mebibyte");
}

#[test]
fn what_follows_a_line_that_was_too_much_is_dropped_with_it() {
    let mut node = running();
    let line = format!("{}\n", "x".repeat(LINE_LIMIT - 1));
    for _ in 0..(4 << 20) / LINE_LIMIT - 1 {
        node.handle(ms(0), wrote(1, Stdout, &line), &mut Vec::new());
    }
    let longer = format!("a\nb{line}c\nd{line}e\n");
    check(
        node,
        [
            row(wrote(1, Stdout, &longer), [output(1, Stdout, "a\n")]),
            row(finished(1, 1), [output_after(1, Stdout, 4, ""), done(1)]),
        ],
    );
}

#[test]
fn a_death_shows_the_last_lines_of_both_streams_in_their_order() {
    check(
        running(),
        [
            row(wrote(1, Stdout, "one\n"), [output(1, Stdout, "one\n")]),
            row(wrote(1, Stderr, "two\n"), [output(1, Stderr, "two\n")]),
            row(wrote(1, Stdout, "three\nfo"), [output(1, Stdout, "three\n")]),
            row(
                died_in(1, 1),
                [output(1, Stdout, "fo\n"), death(1, "one\ntwo\nthree\nfo\n"), start(2)],
            ),
        ],
    );
}

#[test]
fn a_death_shows_fifty_lines_at_most() {
    let numbered =
        |range: Range<u32>| range.fold(String::new(), |lines, number| format!("{lines}{number}\n"));
    check(
        running(),
        [
            row(wrote(1, Stdout, &numbered(0..60)), [output(1, Stdout, &numbered(0..60))]),
            row(died_in(1, 1), [death(1, &numbered(10..60)), start(2)]),
        ],
    );
}

#[test]
fn a_death_shows_eight_kibibytes_at_most() {
    let page = page();
    check(
        running(),
        [
            row(wrote(1, Stdout, &page), [output(1, Stdout, &page)]),
            row(died_in(1, 1), [death(1, &page[page.len() - LINE_LIMIT..]), start(2)]),
        ],
    );
}

#[test]
fn a_death_shows_nothing_of_earlier_tasks() {
    check(
        running(),
        [
            row(wrote(1, Stdout, "secret\n"), [output(1, Stdout, "secret\n")]),
            row(finished(1, 1), [done(1)]),
            row(assign(2, 1), [run(1, 2, 1)]),
            row(wrote(1, Stdout, "own\n"), [output(2, Stdout, "own\n")]),
            row(died_in(1, 2), [death(2, "own\n"), start(2)]),
        ],
    );
}

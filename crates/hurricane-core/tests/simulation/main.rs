//! Seeded simulation of whole clusters: the real machines of scheduler, nodes and sessions, under
//! programs, workers and a network that are drawn from a seed, with a clock that jumps to whatever
//! comes next. Invariants are checked after every step; at the end every task of every client that
//! lived on has ended exactly once, as it must, and nothing is left over.
//!
//! `SEEDS=10000 make simulate` runs so many seeds; `SEED=7 make simulate` runs one, and
//! `TRACE=1 SEED=7 make simulate` shows all that happens in it.

mod checks;
mod client;
mod cluster;
mod dice;
mod faults;
mod network;
mod node;
mod program;
mod reads;
mod scheduler;
mod trace;
mod worker;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cluster::World;
use crate::trace::Fnv;

/// How many seeds are run if nobody says otherwise.
const DEFAULT_SEEDS: u64 = 2000;

/// Two find twice as much in the same time, on any machine of today.
const THREADS: usize = 2;

/// What is left of a run.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    seed: u64,
    steps: u64,
    hash: u64,
}

#[test]
fn every_task_ends_exactly_once_and_nothing_is_left() {
    let seeds = seeds();
    let mut outcomes = run_all(seeds.clone());
    outcomes.sort_unstable_by_key(|outcome| outcome.seed);
    assert_eq!(outcomes.len() as u64, seeds.end - seeds.start, "a seed failed");
    let steps: u64 = outcomes.iter().map(|outcome| outcome.steps).sum();
    let hash = match &outcomes[..] {
        [only] => only.hash,
        many => hash_of(many),
    };
    println!("seeds {}..{}, steps {steps}, trace hash {hash:016x}", seeds.start, seeds.end);
}

/// The seeds to run: the one of `SEED`, or as many as `SEEDS` says.
fn seeds() -> Range<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not `{text}`")))
    };
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(DEFAULT_SEEDS),
    }
}

/// Runs all seeds until one fails. Who runs which has no influence on any of them.
#[expect(clippy::disallowed_methods, reason = "the threads are the test's; the core knows none")]
fn run_all(seeds: Range<u64>) -> Vec<Outcome> {
    let next = AtomicU64::new(seeds.start);
    let take = || {
        let mut outcomes = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return outcomes;
            }
            match run(seed) {
                Some(outcome) => outcomes.push(outcome),
                None => next.store(seeds.end, Ordering::Relaxed),
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(take)).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("runs are caught"));
        joined.flatten().collect()
    })
}

/// Runs one seed; none if it failed, which is explained.
fn run(seed: u64) -> Option<Outcome> {
    let is_shown = std::env::var_os("TRACE").is_some();
    let mut world = World::new(seed, is_shown);
    // The world is looked at after a panic, and no more than that.
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    if ended.is_err() {
        explain(seed, &world);
        return None;
    }
    Some(Outcome { seed, steps: world.steps, hash: world.trace.hash() })
}

fn explain(seed: u64, world: &World) {
    let lines: Vec<&str> = world.trace.last_lines().collect();
    eprintln!(
        "\nseed {seed} failed at step {}; the last that happened:\n{}\n\
         Replay it with: SEED={seed} make simulate",
        world.steps,
        lines.join("\n"),
    );
}

fn hash_of(outcomes: &[Outcome]) -> u64 {
    let mut all = Fnv::new();
    for outcome in outcomes {
        all.add(&outcome.hash.to_le_bytes());
    }
    all.0
}

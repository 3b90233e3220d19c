//! How many tasks end a second, for people to look at.

use core::time::Duration;
use std::collections::VecDeque;

use hurricane_core::resources::{Amount, PARTS};
use hurricane_core::time::{Time, micros};

/// Over how long it is measured.
const WINDOW: Duration = Duration::from_secs(10);

/// How far apart samples are.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// A count, and what it was lately.
#[derive(Debug, Default)]
pub(super) struct Rate {
    ended: u64,
    samples: VecDeque<(Time, u64)>,
}

impl Rate {
    /// One more has ended.
    pub(super) fn count(&mut self) {
        self.ended += 1;
    }

    /// Remembers the count, if it is time to. Before what is about to be counted.
    pub(super) fn sample(&mut self, now: Time) {
        if self.samples.back().is_some_and(|(last, _)| now.since(*last) < SAMPLE_EVERY) {
            return;
        }
        // One that is older than the window stays, to measure from.
        while self.samples.get(1).is_some_and(|(time, _)| now.since(*time) >= WINDOW) {
            self.samples.pop_front();
        }
        self.samples.push_back((now, self.ended));
    }

    /// How many ended a second.
    pub(super) fn per_second(&mut self, now: Time) -> Amount {
        self.sample(now);
        let is_old = |sample: &&(Time, u64)| now.since(sample.0) >= WINDOW;
        let oldest = self.samples.iter().rev().find(is_old).or_else(|| self.samples.front());
        let Some((time, ended)) = oldest else { return Amount::default() };
        let elapsed = now.since(*time).max(SAMPLE_EVERY);
        let parts = u128::from(self.ended - ended) * u128::from(PARTS) * 1_000_000;
        Amount(u64::try_from(parts / u128::from(micros(elapsed))).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_lately_counts() {
        let (mut rate, mut now) = (Rate::default(), Time(1_000_000));
        assert_eq!(rate.per_second(now), Amount::whole(0));
        for _ in 0..30 {
            rate.sample(now);
            (0..50).for_each(|_| rate.count());
            now = now + Duration::from_secs(1);
        }
        assert_eq!(rate.per_second(now), Amount::whole(50));
        assert!(rate.samples.len() <= 12, "old samples go");
        rate.sample(now + WINDOW);
        assert_eq!(rate.per_second(now + WINDOW * 2), Amount::whole(0));
    }

    #[test]
    fn a_short_life_is_not_taken_for_a_fast_one() {
        let mut rate = Rate::default();
        rate.sample(Time(5));
        rate.count();
        assert_eq!(rate.per_second(Time(6)), Amount::whole(1));
    }
}

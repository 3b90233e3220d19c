//! How much may pass in a time: a bucket that time fills.

use crate::time::{Time, micros};

const MICROS_PER_SECOND: u64 = 1_000_000;

/// What a bucket is like, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// How many are earned in a second.
    pub(crate) rate: u64,
    /// How many it holds: what may pass at once after a silence.
    pub(crate) burst: u64,
    /// How many must have been earned before anything passes after something did not.
    pub(crate) resume: u64,
}

/// What may pass now.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    /// In millionths of a byte, so that no time is lost to rounding.
    credit: u64,
    counted_at: Time,
    /// Whether something did not pass and too little was earned since.
    is_spent: bool,
}

impl Budget {
    /// A full one.
    pub(crate) fn new(limits: Limits) -> Self {
        let credit = limits.burst * MICROS_PER_SECOND;
        Self { limits, credit, counted_at: Time::default(), is_spent: false }
    }

    /// Whether so many bytes may pass now; if so, they are paid for.
    pub(crate) fn pays_for(&mut self, bytes: usize, now: Time) -> bool {
        let Limits { rate, burst, resume } = self.limits;
        let earned = micros(now.since(self.counted_at)).saturating_mul(rate);
        self.counted_at = self.counted_at.max(now);
        self.credit = self.credit.saturating_add(earned).min(burst * MICROS_PER_SECOND);
        let cost = (bytes as u64).saturating_mul(MICROS_PER_SECOND);
        let needed = if self.is_spent { cost.max(resume * MICROS_PER_SECOND) } else { cost };
        self.is_spent = self.credit < needed;
        if !self.is_spent {
            self.credit -= cost;
        }
        !self.is_spent
    }
}

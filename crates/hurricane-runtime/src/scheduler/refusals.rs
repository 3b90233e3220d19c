//! How often people are told of those who were not let in: whoever dials can cause that.

use core::time::Duration;

use hurricane_core::time::Time;

/// So many are told within [`WITHIN`]; of the others, the count is.
const MAX_TOLD: u32 = 20;

/// See [`MAX_TOLD`].
const WITHIN: Duration = Duration::from_secs(10);

/// Counts what is told.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    since: Time,
    told: u32,
    untold: u64,
}

impl Refusals {
    /// Whether one is told; if so, with how many that were not since the last.
    pub(super) fn count(&mut self, now: Time) -> Option<u64> {
        if now.since(self.since) >= WITHIN {
            (self.since, self.told) = (now, 0);
        }
        if self.told >= MAX_TOLD {
            self.untold += 1;
            return None;
        }
        self.told += 1;
        Some(core::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_told_and_all_are_counted() {
        let mut refusals = Refusals::default();
        let now = Time(1_000_000);
        let told = (0..100).filter(|_| refusals.count(now).is_some()).count();
        assert_eq!(told, 20);
        assert_eq!(refusals.count(now + WITHIN), Some(80));
        assert_eq!(refusals.count(now + WITHIN), Some(0));
    }
}

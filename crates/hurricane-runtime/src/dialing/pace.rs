//! How often a scheduler is dialed that is not there. Pure: time is a parameter.

use std::time::{Duration, Instant};

use super::DialError;

/// For so long every wish to dial is granted: what was there a moment ago soon is again.
const EAGER: Duration = Duration::from_mins(1);

/// Later so often: a link that comes back is used within 5 s.
const PATIENT_EVERY: Duration = Duration::from_secs(2);

/// A scheduler that let nobody in is asked so often: each time costs it a handshake, and only
/// somebody's doing changes its mind.
const REFUSED_EVERY: Duration = Duration::from_secs(10);

/// What is known of the tries so far.
#[derive(Debug, Default)]
pub(super) struct Pace {
    failing: Option<Failing>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    last: Instant,
    error: DialError,
}

impl Pace {
    /// Whether it is time for another try; else why the last one failed.
    pub(super) fn begin(&mut self, now: Instant) -> Result<(), DialError> {
        let Some(failing) = &mut self.failing else { return Ok(()) };
        let pause = match &failing.error {
            error if error.is_refusal() => REFUSED_EVERY,
            // To see that a file is not there costs nothing.
            DialError::NotHere { .. } => Duration::ZERO,
            _ if now.duration_since(failing.since) > EAGER => PATIENT_EVERY,
            _ => Duration::ZERO,
        };
        if now.duration_since(failing.last) < pause {
            return Err(failing.error.clone());
        }
        // Of several that ask at the same time, one tries for all.
        failing.last = now;
        Ok(())
    }

    /// Something is known now that was not before: to wait would be a pity.
    pub(super) fn hurry(&mut self) {
        if let Some(failing) = self.failing.as_mut().filter(|failing| !failing.error.is_refusal()) {
            failing.since = failing.last;
        }
    }

    /// A try failed that was begun then.
    pub(super) fn fail(&mut self, begun: Instant, error: &DialError) {
        let since = self.failing.as_ref().map_or(begun, |failing| failing.since);
        let last = self.failing.as_ref().map_or(begun, |failing| failing.last.max(begun));
        self.failing = Some(Failing { since, last, error: error.clone() });
    }

    /// A try succeeded.
    pub(super) fn succeed(&mut self) {
        self.failing = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::HandshakeError;

    const EVERY: Duration = Duration::from_millis(500);

    fn not_found() -> DialError {
        DialError::NotFound { cluster: "lab".into(), port: 1 }
    }

    /// How many of the wishes of a minute, one every half second, are granted from then on.
    fn granted(pace: &mut Pace, from: Instant, error: &DialError) -> u32 {
        let wishes = (0..120).map(|number| from + EVERY * number);
        let granted = wishes.filter(|now| {
            let is_granted = pace.begin(*now).is_ok();
            if is_granted {
                pace.fail(*now, error);
            }
            is_granted
        });
        u32::try_from(granted.count()).expect("they are few")
    }

    #[test]
    fn what_is_not_there_is_looked_for_less_often_later() {
        let (start, error) = (Instant::now(), not_found());
        let mut pace = Pace::default();
        assert_eq!(granted(&mut pace, start, &error), 120);
        assert_eq!(granted(&mut pace, start + 2 * EAGER, &error), 30);
        pace.succeed();
        assert_eq!(granted(&mut pace, start + 4 * EAGER, &error), 120);
    }

    #[test]
    fn news_are_worth_another_try_at_once() {
        let (start, error) = (Instant::now(), not_found());
        let mut pace = Pace::default();
        pace.fail(start, &error);
        let late = start + 2 * EAGER;
        assert!(pace.begin(late).is_ok());
        pace.fail(late, &error);
        assert!(pace.begin(late + EVERY).is_err());
        pace.hurry();
        assert!(pace.begin(late + EVERY).is_ok());
    }

    #[test]
    fn what_is_here_is_looked_for_as_often_as_anybody_likes() {
        let (start, error) = (Instant::now(), DialError::NotHere { port: 1 });
        let mut pace = Pace::default();
        assert_eq!(granted(&mut pace, start, &error), 120);
        assert_eq!(granted(&mut pace, start + 2 * EAGER, &error), 120);
    }

    #[test]
    fn who_was_refused_asks_rarely() {
        let error =
            DialError::Handshake { address: "rack".into(), error: HandshakeError::NotAuthorized };
        assert_eq!(granted(&mut Pace::default(), Instant::now(), &error), 6);
    }
}

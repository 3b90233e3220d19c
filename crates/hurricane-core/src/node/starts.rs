//! Whether workers may be started now: not before the first tick, not again and again in a moment
//! when they die of it, and not at all when it is hopeless.

use core::time::Duration;

use crate::time::Time;

/// The pause after a worker died before it was ready; doubled with each one more. What is wrong for
/// a moment, as memory or process ids that are short, is right again after a few of these.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: a person who has set it right does not wait longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How many such deaths in a row are no accident.
const MAX_FAILURES: u32 = 3;

/// How many are no accident where others have been ready before and these were killed: that says
/// nothing of the setup, but much of a system short of memory, which has half a minute to recover.
const MAX_KILLED: u32 = 10;

/// How the starting of workers goes.
#[derive(Debug)]
pub(super) struct Starts {
    state: State,
    /// How many died in a row before they were ready.
    failures: u32,
    /// Whether a worker was ever ready.
    has_succeeded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first tick has not come.
    NotBegun,
    /// Workers may be started.
    Open,
    /// They may be, from this moment on.
    Paused(Time),
    /// They may not be until another task is assigned.
    GivenUp,
}

impl Starts {
    /// Before the first tick.
    pub(super) fn new() -> Self {
        Self { state: State::NotBegun, failures: 0, has_succeeded: false }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.state == State::GivenUp
    }

    /// When a tick changes something.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.state {
            State::NotBegun => Some(Time::default()),
            State::Paused(until) => Some(until),
            State::Open | State::GivenUp => None,
        }
    }

    pub(super) fn on_tick(&mut self, now: Time) {
        if self.deadline().is_some_and(|due| due <= now) {
            self.state = State::Open;
        }
    }

    /// A task was assigned: what was hopeless for those before it is tried again.
    pub(super) fn on_assigned(&mut self) {
        if self.is_given_up() {
            self.state = State::Open;
            self.failures = 0;
        }
    }

    /// A worker is ready.
    pub(super) fn on_ready(&mut self) {
        self.failures = 0;
        self.has_succeeded = true;
    }

    /// A worker died before it was ready. True if that is no accident any more.
    pub(super) fn on_failed(&mut self, now: Time, was_killed: bool) -> bool {
        self.failures = self.failures.saturating_add(1);
        if !self.is_given_up() {
            let doublings = (self.failures - 1).min(u32::BITS - 1);
            let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
            self.state = State::Paused(now + pause);
        }
        let is_chance = was_killed && self.has_succeeded;
        self.failures >= if is_chance { MAX_KILLED } else { MAX_FAILURES }
    }

    /// It is hopeless. False if that was known.
    pub(super) fn give_up(&mut self) -> bool {
        let is_news = !self.is_given_up();
        self.state = State::GivenUp;
        is_news
    }
}

//! How many tasks are in which state.

use crate::scheduler::task::{Room, State};
use crate::snapshot::TaskCounts;

/// Under what a task is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tally {
    Waiting,
    Ready,
    Assigned,
    Running,
    Done,
    Failed,
    Cancelled,
}

impl Tally {
    #[inline]
    pub(super) fn of(state: &State) -> Self {
        match state {
            State::Waiting { .. } | State::Retrying => Self::Waiting,
            State::Ready => Self::Ready,
            State::Assigned(place) if place.room == Room::Backlog => Self::Assigned,
            State::Assigned(_) => Self::Running,
            State::Done { .. } => Self::Done,
            State::Failed { .. } => Self::Failed,
            State::Cancelled { .. } => Self::Cancelled,
        }
    }
}

/// How many tasks are counted under what.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts([u64; 7]);

impl Counts {
    /// One more is in this state.
    #[inline]
    pub(super) fn enter(&mut self, tally: Tally) {
        self.0[tally as usize] += 1;
    }

    /// One less is in this state.
    #[inline]
    pub(super) fn leave(&mut self, tally: Tally) {
        self.0[tally as usize] -= 1;
    }

    #[inline]
    pub(super) fn of(&self, tally: Tally) -> u64 {
        self.0[tally as usize]
    }
}

impl From<Counts> for TaskCounts {
    fn from(Counts(counts): Counts) -> Self {
        let [waiting, ready, assigned, running, done, failed, cancelled] = counts;
        Self { waiting, ready, assigned, running, done, failed, cancelled }
    }
}

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

    /// One that was in a state is in another.
    #[inline]
    pub(super) fn change(&mut self, former: Tally, present: Tally) {
        self.0[former as usize] -= 1;
        self.0[present as usize] += 1;
    }

    /// These and those of another.
    pub(super) fn with(self, other: Self) -> Self {
        Self(core::array::from_fn(|index| self.0[index] + other.0[index]))
    }
}

impl From<Counts> for TaskCounts {
    fn from(Counts(counts): Counts) -> Self {
        let [waiting, ready, assigned, running, done, failed, cancelled] = counts;
        Self { waiting, ready, assigned, running, done, failed, cancelled }
    }
}

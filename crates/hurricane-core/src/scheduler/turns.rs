//! Whose turn it is: the clients at the top that have ready tasks, the one with the fewest cpus in
//! use first. They are few, and mostly one, so they lie in a sorted list.

use crate::id::ClientId;
use crate::resources::Amount;
use crate::scheduler::clients::ClientKey;

/// A client that has ready tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    pub(super) cpus_in_use: Amount,
    pub(super) client: ClientId,
    pub(super) key: ClientKey,
}

/// The clients that have ready tasks, in the order of their turns.
#[derive(Debug, Default)]
pub(super) struct Turns(Vec<Turn>);

impl Turns {
    /// Puts a turn in the place of another.
    #[inline]
    pub(super) fn change(&mut self, former: Option<Turn>, present: Option<Turn>) {
        if let (Some(former), Some(present), [only]) = (former, present, &mut self.0[..]) {
            // Mostly there is but one client.
            debug_assert_eq!(*only, former, "who has a turn is listed");
            *only = present;
        } else if former != present {
            self.move_turn(former, present);
        }
    }

    fn move_turn(&mut self, former: Option<Turn>, present: Option<Turn>) {
        if let Some(index) = former.and_then(|former| self.0.binary_search(&former).ok()) {
            self.0.remove(index);
        }
        if let Some(present) = present
            && let Err(index) = self.0.binary_search(&present)
        {
            self.0.insert(index, present);
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = Turn> {
        self.0.iter().copied()
    }
}

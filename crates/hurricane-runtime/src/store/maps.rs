//! How many mappings the views of values may take. The system gives a process so many and no more:
//! when all are taken, nothing in it can get memory or start a thread any longer.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::platform::machine;

/// Which share of those that the system gives is for views; the rest is the program's own.
const VIEWS_SHARE: usize = 4;

/// So many may be taken at once.
#[derive(Debug)]
pub(super) struct MapQuota {
    limit: usize,
    taken: AtomicUsize,
}

/// Mappings that count for as long as it lives.
#[derive(Debug)]
pub(super) struct TakenMaps {
    quota: Arc<MapQuota>,
    count: usize,
}

impl MapQuota {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, taken: AtomicUsize::new(0) })
    }

    /// The one of all values of this process.
    pub(super) fn of_process() -> Arc<Self> {
        static QUOTA: OnceLock<Arc<MapQuota>> = OnceLock::new();
        Arc::clone(QUOTA.get_or_init(|| Self::new(machine::max_mappings() / VIEWS_SHARE)))
    }

    /// Takes some. Fails, as the system does, if there are not so many.
    pub(super) fn take(self: &Arc<Self>, count: usize) -> io::Result<TakenMaps> {
        let more = |taken: usize| taken.checked_add(count).filter(|taken| *taken <= self.limit);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(TakenMaps { quota: Arc::clone(self), count })
    }
}

impl Drop for TakenMaps {
    fn drop(&mut self) {
        self.quota.taken.fetch_sub(self.count, Ordering::Relaxed);
    }
}

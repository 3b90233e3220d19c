//! How many file descriptors this process may open, and whether that is enough.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For the loop itself, the runtime directory, and a worker that is being started.
const BASE: u64 = 24;

/// Link, standard output, standard error, the handle on the process, and the values it has made.
const PER_WORKER: u64 = 5;

/// Too few file descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hurricane needs {needed} file descriptors here, and this process may open {allowed}")]
pub struct TooFewDescriptors {
    /// What the process has open now and what hurricane will add to it.
    pub needed: u64,
    /// The limit.
    pub allowed: u64,
}

/// Makes sure that so many workers can be served; raises the soft limit if that is what it takes.
pub(crate) fn reserve_for(workers: u64) -> Result<(), TooFewDescriptors> {
    let needed = open_now() + BASE + PER_WORKER.saturating_mul(workers);
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.current.unwrap_or(u64::MAX);
    if allowed >= needed {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        return Err(TooFewDescriptors { needed, allowed });
    }
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(|_| TooFewDescriptors { needed, allowed })
}

/// Lets this process open so many, or as many as it may. What it may not shows when it is tried.
pub(crate) fn raise(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = wanted.min(limit.maximum.unwrap_or(u64::MAX));
    if limit.current.is_some_and(|current| current < wanted) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit });
    }
}

fn open_now() -> u64 {
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_hard_limit_is_refused_with_the_number() {
        let error = reserve_for(1 << 40).expect_err("no process may open so many");
        assert!(error.needed > 1 << 40, "{error}");
    }
}

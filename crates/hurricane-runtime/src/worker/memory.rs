//! How much memory workers take: looked at when one is ready, and about once a second while any runs
//! something, so that the figure is there when a worker dies.
//!
//! What the system tells of a process that has ended is not enough: it counts what the process took
//! that started it, which is the user's program.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::wires::Wires;

/// How long between two looks: a task that takes all memory there is needs longer.
const PERIOD: Duration = Duration::from_secs(1);

impl Wires {
    /// Looks at the workers for as long as the thread lives. While nothing runs, it sleeps.
    pub(super) async fn watch_memory(&self) {
        loop {
            self.run_began.notified().await;
            self.is_watching_memory.store(true, Ordering::Relaxed);
            tokio::time::sleep(PERIOD).await;
            while self.look_at_running() {
                tokio::time::sleep(PERIOD).await;
            }
            self.is_watching_memory.store(false, Ordering::Relaxed);
        }
    }

    /// Looks at each worker that runs something; false if none does.
    fn look_at_running(&self) -> bool {
        let living = self.living();
        let running = living.iter().filter(|wire| wire.ledger.is_busy());
        running.map(|wire| wire.look_at_memory()).count() > 0
    }
}

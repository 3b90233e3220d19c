//! The thread of `mdns-sd`, watched: what it keeps has no limit of its own, so that whoever floods
//! the network makes it grow. It is stopped then for a while, and started anew.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use mdns_sd::{IfKind, RecvTimeoutError, ServiceDaemon};

use super::DiscoveryError;
use crate::platform::signals::Mask;

/// How often the addresses of this host are looked at, in seconds: an interface that comes is used
/// so soon.
const INTERFACES_EVERY_SECONDS: u32 = 1;

/// How often it is asked how much it keeps.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How many records it may keep, of some 500 bytes each. It keeps those of this service and what
/// belongs to them: a network with more is under attack, or is better served with an address.
const MAX_RECORDS: i64 = 4096;

/// How many moments it may have to remember, of 16 bytes each. Each record that it hears adds some,
/// which go when the record would have expired.
const MAX_TIMERS: i64 = 1 << 18;

/// How long it may take to answer, or to stop.
const PATIENCE: Duration = Duration::from_millis(500);

/// A running thread of `mdns-sd`. Dropped, it takes back what it announces, and stops.
pub(super) struct Responder {
    daemon: ServiceDaemon,
    looked: Instant,
}

impl Responder {
    pub(super) fn start() -> Result<Self, DiscoveryError> {
        let daemon = unsignalled(ServiceDaemon::new)?;
        daemon.set_ip_check_interval(INTERFACES_EVERY_SECONDS)?;
        // This host is dialed without being told of it.
        daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        Ok(Self { daemon, looked: Instant::now() })
    }

    pub(super) fn daemon(&self) -> &ServiceDaemon {
        &self.daemon
    }

    /// Whether it can go on. Looks at most every half second.
    pub(super) fn is_well(&mut self) -> bool {
        if self.looked.elapsed() < LOOK_EVERY {
            return true;
        }
        self.looked = Instant::now();
        // One that does not come to answer is flooded as well.
        let Ok(asked) = self.daemon.get_metrics() else { return false };
        let Ok(metrics) = asked.recv_timeout(PATIENCE) else { return false };
        let records = metrics.iter().filter(|(name, _)| name.starts_with("cached-"));
        let records: i64 = records.map(|(_, count)| count).sum();
        let timers = metrics.get("timer").copied().unwrap_or(0);
        records <= MAX_RECORDS && timers <= MAX_TIMERS
    }

    /// Stops it, and waits until its thread is gone, however long that takes while the network is
    /// flooded: two of them would keep twice as much. Until `is_over` nobody wants to wait.
    pub(super) fn stop(&self, is_over: impl Fn() -> bool) {
        let Ok(stopped) = self.daemon.shutdown() else { return };
        while !is_over() {
            match stopped.recv_timeout(PATIENCE) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(_) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        // Until it has said its goodbyes: others would find out far later. It may be gone already.
        if let Ok(stopped) = self.daemon.shutdown() {
            let _ = stopped.recv_timeout(PATIENCE);
        }
    }
}

impl From<mdns_sd::Error> for DiscoveryError {
    fn from(error: mdns_sd::Error) -> Self {
        Self(Box::new(error))
    }
}

/// Starts a thread that serves discovery.
pub(super) fn spawn(
    serve: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, DiscoveryError> {
    let thread = thread::Builder::new().name("hurricane-mdns".into());
    unsignalled(|| thread.spawn(serve)).map_err(|error: io::Error| DiscoveryError(Box::new(error)))
}

/// Signals are the program's business, so a thread is born with all of them blocked.
fn unsignalled<T>(start: impl FnOnce() -> T) -> T {
    let mask = Mask::block_all();
    let started = start();
    mask.apply();
    started
}

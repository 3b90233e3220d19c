//! Finding schedulers on the networks of this machine, by mDNS and DNS-SD (`_hurricane._tcp`).
//!
//! What is found is a hint: whoever is dialed must show the key that is expected, and only addresses
//! that this key has signed are dialed. `HURRICANE_DISCOVERY=off` turns it off, where a network
//! must not see multicast.

mod announcing;
mod browsing;
mod interfaces;
mod record;
mod responder;
mod sightings;

use std::env;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;

use crate::identity::{KeyPair, Name, PublicKey};
use crate::platform::fork::ProcessMark;
use crate::tls::Pin;

use announcing::Announcing;
use browsing::Browsing;

/// The type of the service, as DNS-SD names it.
const SERVICE: &str = "_hurricane._tcp.local.";

/// Says where a scheduler is, on all interfaces, also those that come later. Dropped, it takes that
/// back.
#[derive(Debug)]
pub struct Announcement {
    /// Nothing where discovery is turned off.
    _announcing: Option<Announcing>,
}

impl Announcement {
    /// Announces a scheduler that listens on a port of this host.
    pub fn start(cluster: &KeyPair, name: &Name, port: u16) -> Result<Self, DiscoveryError> {
        if is_off() {
            return Ok(Self { _announcing: None });
        }
        let announcing = Announcing::start(cluster.clone(), name.clone(), port)?;
        Ok(Self { _announcing: Some(announcing) })
    }
}

/// Listens for announcements of one scheduler. Dropped, it ends.
#[derive(Debug)]
pub struct Browser {
    scheduler: Pin,
    browsing: Arc<Browsing>,
    found: watch::Receiver<Vec<Found>>,
}

impl Browser {
    /// Begins, with a question to all networks.
    pub fn start(scheduler: Pin) -> Result<Self, DiscoveryError> {
        if is_off() {
            return Err(DiscoveryError("HURRICANE_DISCOVERY is `off`".into()));
        }
        let browsing = shared(scheduler)?;
        let found = browsing.found();
        Ok(Self { scheduler, browsing, found })
    }

    /// What the scheduler announces, as far as it was heard.
    pub fn found(&mut self) -> Vec<Found> {
        let mut found = self.found.borrow_and_update().clone();
        found.retain(|one| self.scheduler.holds(&one.key));
        found
    }

    /// Whether something was found since the last look.
    pub fn has_news(&self) -> bool {
        self.found.has_changed().unwrap_or(false)
    }

    /// Waits until something was found since the last look. May be dropped at any time.
    pub async fn changed(&mut self) {
        if self.found.changed().await.is_err() {
            // Nothing more will be: discovery has failed.
            std::future::pending::<()>().await;
        }
    }
}

impl Clone for Browser {
    fn clone(&self) -> Self {
        let Self { scheduler, browsing, found } = self;
        browsing.want(*scheduler);
        Self { scheduler: *scheduler, browsing: Arc::clone(browsing), found: found.clone() }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.browsing.want_no_more(self.scheduler);
    }
}

/// A scheduler that is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The key that signed this.
    pub key: PublicKey,
    /// What people call the cluster.
    pub name: Name,
    /// Its initialization port.
    pub port: u16,
    /// Where it is.
    pub addresses: Vec<SocketAddr>,
}

/// Why there is no discovery on this machine.
#[derive(Debug, thiserror::Error)]
#[error("multicast cannot be used on this machine")]
pub struct DiscoveryError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Whether the user wants none.
fn is_off() -> bool {
    env::var_os("HURRICANE_DISCOVERY").is_some_and(|value| value == "off")
}

/// What listens for all browsers of this process, for one more now.
fn shared(scheduler: Pin) -> Result<Arc<Browsing>, DiscoveryError> {
    static SHARED: Mutex<Option<(ProcessMark, Weak<Browsing>)>> = Mutex::new(None);
    // A fork may have come while another thread had the lock: its child shares with nobody then.
    let Ok(mut shared) = SHARED.try_lock().or_else(|error| match error {
        std::sync::TryLockError::Poisoned(poisoned) => Ok(poisoned.into_inner()),
        std::sync::TryLockError::WouldBlock => Err(()),
    }) else {
        return Browsing::start(scheduler);
    };
    // What a parent had lives in a thread that is not there in its forked child.
    let running = shared.as_ref().filter(|(process, _)| process.is_here());
    if let Some(running) = running.and_then(|(_, browsing)| browsing.upgrade()) {
        running.want(scheduler);
        return Ok(running);
    }
    let browsing = Browsing::start(scheduler)?;
    *shared = Some((ProcessMark::here(), Arc::downgrade(&browsing)));
    Ok(browsing)
}

/// Locks are held for a few instructions that do not panic.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Finding schedulers on the networks of this machine, by mDNS and DNS-SD (`_hurricane._tcp`).
//!
//! What is found is a hint: whoever is dialed must show the key that is expected, and only addresses
//! that this key has signed are dialed.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::identity::{KeyPair, Name, PublicKey};

/// Says where a scheduler is, on all interfaces, also those that come later. Dropped, it takes that
/// back.
#[derive(Debug)]
pub struct Announcement {}

impl Announcement {
    /// Announces a scheduler that listens on a port of this host.
    pub fn start(cluster: &KeyPair, name: &Name, port: u16) -> Result<Self, DiscoveryError> {
        let _ = (cluster, name, port);
        Err(DiscoveryError("not yet".into()))
    }
}

/// Listens for announcements. Dropped, it ends.
#[derive(Debug)]
pub struct Browser {
    found: watch::Sender<Vec<Found>>,
}

impl Browser {
    /// The one of this process, which begins with a question to all networks.
    pub fn shared() -> Result<Arc<Self>, DiscoveryError> {
        Err(DiscoveryError("not yet".into()))
    }

    /// The schedulers that are announced now, each with what its key has signed.
    pub fn found(&self) -> Vec<Found> {
        self.found.borrow().clone()
    }

    /// What is announced, and word of each change.
    pub fn watch(&self) -> watch::Receiver<Vec<Found>> {
        self.found.subscribe()
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

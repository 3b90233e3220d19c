//! Finding schedulers on the networks of this machine, by mDNS and DNS-SD (`_hurricane._tcp`).
//!
//! What is found is a hint: whoever is dialed must show the key that is expected, and only addresses
//! that this key has signed are dialed.

use std::net::SocketAddr;

use crate::identity::{KeyPair, Name, PublicKey};

/// Says where a scheduler is, on all interfaces, also those that come later. Dropped, it takes that
/// back.
#[derive(Debug)]
pub struct Announcement {}

impl Announcement {
    /// Announces a scheduler that listens on a port of this host.
    pub fn start(cluster: &KeyPair, name: &Name, port: u16) -> Result<Self, DiscoveryError> {
        let _ = (cluster, name, port);
        todo!()
    }
}

/// Listens for announcements. Dropped, it ends.
#[derive(Debug)]
pub struct Browser {}

impl Browser {
    /// Begins, with a question to all networks.
    pub fn start() -> Result<Self, DiscoveryError> {
        todo!()
    }

    /// The schedulers that are announced now, each with what its key has signed.
    pub fn found(&self) -> Vec<Found> {
        todo!()
    }

    /// Waits until what is found has changed since the last call.
    pub async fn changed(&self) {
        todo!()
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

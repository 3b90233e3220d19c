//! A scheduler's announcement, and the thread that keeps it true while addresses come and go.

use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use mdns_sd::ServiceInfo;

use super::record::{MAX_ADDRESSES, Record};
use super::responder::{Responder, spawn};
use super::{DiscoveryError, SERVICE};
use crate::identity::{KeyPair, Name};
use crate::platform::fork::ProcessMark;
use crate::platform::machine;

/// How often the addresses of this host are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long the network is left to who floods it.
const PAUSE: Duration = Duration::from_secs(5);

/// The longest label in DNS.
const MAX_LABEL_BYTES: usize = 63;

/// The thread. Dropped, it takes back the announcement, and ends.
#[derive(Debug)]
pub(super) struct Announcing {
    /// Dropped to end it.
    alive: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    process: ProcessMark,
}

impl Announcing {
    pub(super) fn start(cluster: KeyPair, name: Name, port: u16) -> Result<Self, DiscoveryError> {
        let (alive, ended) = channel();
        let mut announcer = Announcer { cluster, name, port, announced: Vec::new() };
        let mut responder = Responder::start()?;
        announcer.look(&responder)?;
        let thread = spawn(move || {
            while wait(&ended, LOOK_EVERY) {
                // What cannot be said now is said at the next look.
                let said = announcer.look(&responder);
                if said.is_ok() && responder.is_well() {
                    continue;
                }
                responder.stop(|| !wait(&ended, Duration::ZERO));
                announcer.announced.clear();
                if !wait(&ended, PAUSE) {
                    return;
                }
                match Responder::start() {
                    Ok(started) => responder = started,
                    // Its thread is gone: this look fails, and the next one tries again.
                    Err(_) => {}
                }
            }
        })?;
        Ok(Self { alive: Some(alive), thread: Some(thread), process: ProcessMark::here() })
    }
}

impl Drop for Announcing {
    fn drop(&mut self) {
        self.alive = None;
        if let Some(thread) = self.thread.take().filter(|_| self.process.is_here()) {
            // It ends within a second, and its panic would be a bug that was reported already.
            let _ = thread.join();
        }
    }
}

/// Waits; false if it is to end.
fn wait(ended: &Receiver<()>, time: Duration) -> bool {
    matches!(ended.recv_timeout(time), Err(RecvTimeoutError::Timeout))
}

/// What is to be announced, and what was.
struct Announcer {
    cluster: KeyPair,
    name: Name,
    port: u16,
    announced: Vec<IpAddr>,
}

impl Announcer {
    /// Announces the addresses of this host, if they are others than before.
    fn look(&mut self, responder: &Responder) -> Result<(), DiscoveryError> {
        let addresses = own_addresses().map_err(|error| DiscoveryError(Box::new(error)))?;
        if addresses != self.announced && !addresses.is_empty() {
            responder.daemon().register(self.service(&addresses)?)?;
            self.announced = addresses;
        }
        Ok(())
    }

    fn service(&self, addresses: &[IpAddr]) -> Result<ServiceInfo, DiscoveryError> {
        let key = self.cluster.public();
        let (name, addresses) = (self.name.clone(), addresses.to_vec());
        let record = Record { key, name, port: self.port, addresses };
        let strings = record.sign(&self.cluster);
        // Each interface gets the addresses that lead there, as records of their own.
        let host = format!("{}.local.", self.host());
        let service =
            ServiceInfo::new(SERVICE, &self.instance(), &host, (), self.port, &strings[..])?;
        let mut service = service.enable_addr_auto();
        // Both names hold a fingerprint and this host's name: nobody else has them.
        service.set_requires_probe(false);
        Ok(service)
    }

    /// What network tools show: the same after a restart, so that nothing of before lingers.
    fn instance(&self) -> String {
        let fingerprint = self.cluster.public().fingerprint().to_string();
        let shown = format!("{}-{}", self.name, machine::name());
        label(&shown, &fingerprint[..13])
    }

    /// A name of its own for each scheduler: those of one host listen on different interfaces.
    fn host(&self) -> String {
        let fingerprint = self.cluster.public().fingerprint().to_string();
        label(&format!("hurricane-{}", machine::name()), &fingerprint[..13])
    }
}

/// A label of DNS.
fn label(shown: &str, unique: &str) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || character == '-';
    let shown = shown.chars().map(|character| if allowed(character) { character } else { '-' });
    let shown: String = shown.take(MAX_LABEL_BYTES - 1 - unique.len()).collect();
    format!("{shown}-{unique}")
}

/// The addresses of this host at which others may reach it, the likeliest first.
fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs()?;
    let up = interfaces.iter().filter(|interface| interface.is_oper_up());
    let mut addresses: Vec<IpAddr> =
        up.map(if_addrs::Interface::ip).filter(|address| !address.is_loopback()).collect();
    addresses.sort_by_key(|address| (is_of_link(address), *address));
    addresses.dedup();
    addresses.truncate(MAX_ADDRESSES);
    Ok(addresses)
}

fn is_of_link(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short_and_plain() {
        assert_eq!(label("lab-rack.local", "0123456789abc"), "lab-rack-local-0123456789abc");
        let longest = label(&"x".repeat(200), "0123456789abc");
        assert_eq!(longest.len(), MAX_LABEL_BYTES);
    }

    #[test]
    fn a_service_can_be_made_of_what_is_announced() {
        let cluster = KeyPair::generate().expect("the system is random");
        let name = Name::near("lab.of.ours");
        let announcer = Announcer { cluster, name, port: 12222, announced: Vec::new() };
        let address = "10.0.0.1".parse().expect("it is one");
        let service = announcer.service(&[address]).expect("the form is right");
        assert_eq!(service.get_port(), 12222);
        assert_eq!(service.get_property_val_str("addresses"), Some("10.0.0.1"));
        assert!(!service.requires_probe() && service.is_addr_auto());
    }

    #[test]
    fn loopback_is_not_announced() {
        let addresses = own_addresses().expect("the system says");
        assert!(addresses.iter().all(|address| !address.is_loopback()));
        assert!(addresses.is_sorted_by_key(is_of_link));
    }
}

//! A scheduler's announcement, and the thread that keeps it true while addresses come and go.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mdns_sd::ServiceInfo;

use super::interfaces::Interfaces;
use super::record::Record;
use super::responder::{Responder, spawn};
use super::{DiscoveryError, SERVICE};
use crate::identity::{KeyPair, Name};
use crate::platform::fork::ProcessMark;
use crate::platform::machine;

/// How often the thread looks at what there is to do.
const TICK: Duration = Duration::from_millis(500);

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
        let mut announcer = Announcer { cluster, name, port, interfaces: Interfaces::default() };
        let mut responder = Responder::start()?;
        announcer.look(&responder)?;
        let thread = spawn(move || {
            while wait(&ended, TICK) {
                if announcer.look(&responder).is_ok() && responder.is_well() {
                    continue;
                }
                responder.stop(|| !wait(&ended, Duration::ZERO));
                announcer.interfaces = Interfaces::default();
                if !wait(&ended, PAUSE) {
                    return;
                }
                // One that cannot be started is found not to be well.
                if let Ok(started) = Responder::start() {
                    responder = started;
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

/// What is to be announced.
struct Announcer {
    cluster: KeyPair,
    name: Name,
    port: u16,
    interfaces: Interfaces,
}

impl Announcer {
    /// Announces the addresses of this host, if they have changed.
    fn look(&mut self, responder: &Responder) -> Result<(), DiscoveryError> {
        if self.interfaces.have_changed(Instant::now()) {
            responder.daemon().register(self.service()?)?;
        }
        Ok(())
    }

    fn service(&self) -> Result<ServiceInfo, DiscoveryError> {
        let key = self.cluster.public();
        let addresses = self.interfaces.addresses().to_vec();
        let record = Record { key, name: self.name.clone(), port: self.port, addresses };
        let strings = record.sign(&self.cluster);
        let host = format!("{}.local.", self.host());
        let service =
            ServiceInfo::new(SERVICE, &self.instance(), &host, (), self.port, &strings[..])?;
        // Beside what is signed, each network gets the addresses that lead there.
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
        let interfaces = Interfaces::default();
        let announcer = Announcer { cluster, name, port: 12222, interfaces };
        let service = announcer.service().expect("the form is right");
        assert_eq!(service.get_port(), 12222);
        assert_eq!(service.get_property_val_str("name"), Some("lab.of.ours"));
        assert!(!service.requires_probe() && service.is_addr_auto());
    }
}

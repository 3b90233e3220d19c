//! The addresses of a machine's name, as the system knows them.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::thread;

use tokio::sync::{Mutex, oneshot};

use crate::platform::signals::Mask;

/// Looks a name up, once at a time: the system may take as long as it likes, and its answer serves
/// whoever asks then.
#[derive(Debug)]
pub(super) struct Lookup {
    host: String,
    port: u16,
    pending: Mutex<Option<oneshot::Receiver<io::Result<Vec<SocketAddr>>>>>,
}

impl Lookup {
    pub(super) fn new(host: String, port: u16) -> Self {
        Self { host, port, pending: Mutex::default() }
    }

    /// The name, for people.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Asks the system, or waits for what it was asked already. May be dropped at any time.
    pub(super) async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let mut pending = self.pending.lock().await;
        let answer = match pending.as_mut() {
            Some(answer) => answer,
            None => pending.insert(self.ask()?),
        };
        let answered = answer.await;
        *pending = None;
        answered.unwrap_or_else(|_| Err(io::Error::other("the system did not answer")))
    }

    /// In a thread of its own: nobody waits for it when this process ends.
    fn ask(&self) -> io::Result<oneshot::Receiver<io::Result<Vec<SocketAddr>>>> {
        let (host, port) = (self.host.clone(), self.port);
        let (answer, answered) = oneshot::channel();
        let mask = Mask::block_all();
        let started = thread::Builder::new().name("hurricane-names".into()).spawn(move || {
            let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            // Nobody may be interested any more.
            let _ = answer.send(addresses);
        });
        mask.apply();
        started.map(|_| answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_and_addresses_are_looked_up() {
        let lookup = Lookup::new("127.0.0.1".into(), 7);
        let expected: SocketAddr = "127.0.0.1:7".parse().expect("it is one");
        assert_eq!(lookup.addresses().await.expect("it needs no network"), [expected]);
        assert_eq!(lookup.addresses().await.expect("it may be asked again"), [expected]);
    }
}

//! Where the clients of one cluster hear.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hurricane_core::id::ClientId;

use super::{ConnectionError, Mailbox};

/// The mailboxes of clients, for as long as somebody speaks to them.
#[derive(Default)]
pub(crate) struct Mailboxes {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    by_client: BTreeMap<ClientId, Weak<dyn Mailbox>>,
    /// Nobody will speak any more.
    is_closed: bool,
}

impl Mailboxes {
    /// Remembers a client's.
    pub(crate) fn open(
        &self,
        client: ClientId,
        mailbox: Weak<dyn Mailbox>,
    ) -> Result<(), ConnectionError> {
        let mut inner = self.lock();
        if inner.is_closed {
            return Err(ConnectionError::Closed);
        }
        inner.by_client.insert(client, mailbox);
        Ok(())
    }

    /// A client's, if anybody listens there.
    pub(crate) fn of(&self, client: ClientId) -> Option<Arc<dyn Mailbox>> {
        self.lock().by_client.get(&client)?.upgrade()
    }

    /// Whether a client may hear something yet.
    pub(crate) fn has(&self, client: ClientId) -> bool {
        self.lock().by_client.contains_key(&client)
    }

    /// The client hears nothing more.
    pub(crate) fn remove(&self, client: ClientId) {
        self.lock().by_client.remove(&client);
    }

    /// Ends all connections, now and later.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.is_closed = true;
        let closed = std::mem::take(&mut inner.by_client);
        drop(inner);
        for mailbox in closed.into_values().filter_map(|mailbox| mailbox.upgrade()) {
            mailbox.close(ConnectionError::Closed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Mailboxes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.lock().by_client.keys()).finish()
    }
}

//! The clients by name, and by the short key that everything in here holds of them.

use core::ops::Index;
use std::collections::BTreeMap;

use crate::id::ClientId;
use crate::scheduler::client::Client;
use crate::scheduler::slab::Slab;

/// A client's key in [`Clients`]; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClientKey(u64);

/// All clients.
#[derive(Debug, Default)]
pub(super) struct Clients {
    entries: Slab<Client>,
    by_id: BTreeMap<ClientId, ClientKey>,
    /// The one that was looked up last, which mostly is the next one as well.
    last: Option<(ClientId, ClientKey)>,
}

impl Clients {
    /// Adds a client whose id is new. A client at the top is its own root.
    pub(super) fn insert(&mut self, client: Client) -> ClientKey {
        let id = client.id;
        let key = ClientKey(self.entries.insert(client));
        self.by_id.insert(id, key);
        let client = self.get_mut(key).expect("it was inserted just now");
        client.root.get_or_insert(key);
        key
    }

    pub(super) fn remove(&mut self, key: ClientKey) -> Option<Client> {
        let client = self.entries.take(key.0)?;
        self.by_id.remove(&client.id);
        self.last = None;
        Some(client)
    }

    /// The same as [`Self::key`], for who asks again and again.
    #[inline]
    pub(super) fn look_up(&mut self, id: ClientId) -> Option<ClientKey> {
        match self.last {
            Some((last, key)) if last == id => Some(key),
            _ => {
                let key = self.key(id)?;
                self.last = Some((id, key));
                Some(key)
            }
        }
    }

    pub(super) fn key(&self, id: ClientId) -> Option<ClientKey> {
        self.by_id.get(&id).copied()
    }

    #[inline]
    pub(super) fn get(&self, key: ClientKey) -> Option<&Client> {
        self.entries.get(key.0)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: ClientKey) -> Option<&mut Client> {
        self.entries.get_mut(key.0)
    }

    /// The client at the top, for one that is there.
    #[inline]
    pub(super) fn root(&self, key: ClientKey) -> ClientKey {
        self[key].root.unwrap_or(key)
    }

    /// The client at the top, for one that is there.
    #[inline]
    pub(super) fn root_mut(&mut self, key: ClientKey) -> &mut Client {
        let root = self.root(key);
        self.get_mut(root).expect("a root outlives what is nested in it")
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All of them, in the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ClientKey, &Client)> {
        self.by_id.values().map(|&key| (key, &self[key]))
    }
}

impl Index<ClientKey> for Clients {
    type Output = Client;

    #[inline]
    fn index(&self, key: ClientKey) -> &Client {
        self.get(key).expect("what names a client in here goes before it does")
    }
}

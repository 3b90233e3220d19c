//! Who may join: the list in its file, and what handshakes look at. A change is on the disk before
//! it holds, and writing it holds nobody up but the next change.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::identity::{Authorized, Entry, Grant, IdentityError, Name, PublicKey, Roles};
use crate::tls::AuthorizedKeys;

/// The keys that are let in.
#[derive(Debug)]
pub(super) struct Roll {
    keys: AuthorizedKeys,
    entries: RefCell<BTreeMap<PublicKey, Entry>>,
    /// Held while it is changed.
    file: Arc<Mutex<Authorized>>,
}

impl Roll {
    /// What a file says. The scheduler's own machine has no key here, and its name for itself.
    pub(super) fn new(mut file: Authorized, own_name: Name) -> Self {
        file.reserve(own_name);
        let entries = entries_of(&file);
        let keys = entries.values().map(|entry| (entry.key, entry.roles)).collect();
        Self { keys, entries: RefCell::new(entries), file: Arc::new(Mutex::new(file)) }
    }

    /// What handshakes look at.
    pub(super) fn keys(&self) -> AuthorizedKeys {
        self.keys.clone()
    }

    /// What a key may do; nothing if it is not let in.
    pub(super) fn roles_of(&self, key: &PublicKey) -> Option<Roles> {
        self.keys.roles_of(key)
    }

    /// What a key is called.
    pub(super) fn name_of(&self, key: &PublicKey) -> Option<Name> {
        self.entries.borrow().get(key).map(|entry| entry.name.clone())
    }

    /// What all keys are called.
    pub(super) fn names(&self) -> BTreeSet<Name> {
        self.entries.borrow().values().map(|entry| entry.name.clone()).collect()
    }

    /// All of it.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.entries.borrow().values().cloned().collect()
    }

    /// Begins a change: nobody else changes the list until it is dropped.
    pub(super) async fn begin(&self) -> Change<'_> {
        Change { roll: self, file: Some(Arc::clone(&self.file).lock_owned().await) }
    }
}

/// The right to change the list.
pub(super) struct Change<'a> {
    roll: &'a Roll,
    /// There but while it is written.
    file: Option<OwnedMutexGuard<Authorized>>,
}

impl Change<'_> {
    /// Lets a key in.
    pub(super) async fn authorize(&mut self, grant: Grant) -> Result<Entry, IdentityError> {
        let entry = self.write(move |file| file.authorize(grant)).await?;
        self.roll.keys.insert(entry.key, entry.roles);
        Ok(entry)
    }

    /// Takes out the key of a name; nothing if there is none. One whose line somebody has removed
    /// from the file before is still to be cut off.
    pub(super) async fn revoke(&mut self, name: Name) -> Result<Option<Entry>, IdentityError> {
        let known = self.roll.entries().into_iter().find(|entry| entry.name == name);
        let removed = self.write(move |file| file.revoke(&name)).await?.or(known);
        if let Some(entry) = &removed {
            self.roll.keys.remove(&entry.key);
        }
        Ok(removed)
    }

    /// Changes the file, in another thread: a disk may take its time.
    async fn write<T: Send + 'static>(
        &mut self,
        change: impl FnOnce(&mut Authorized) -> Result<T, IdentityError> + Send + 'static,
    ) -> Result<T, IdentityError> {
        let mut file = self.file.take().expect("it is put back after each change");
        let written = tokio::task::spawn_blocking(move || {
            let written = change(&mut file);
            (file, written)
        });
        let (file, written) = written.await.expect("it does not panic, and nobody aborts it");
        let before = self.roll.entries.replace(entries_of(&file));
        // Somebody may have removed lines.
        let entries = self.roll.entries.borrow();
        for key in before.keys().filter(|key| !entries.contains_key(key)) {
            self.roll.keys.remove(key);
        }
        self.file = Some(file);
        written
    }
}

fn entries_of(file: &Authorized) -> BTreeMap<PublicKey, Entry> {
    file.entries().map(|entry| (entry.key, entry.clone())).collect()
}

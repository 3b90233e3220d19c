//! The state directory: one key for each machine, since homes are shared, and for each cluster one
//! with its list of authorized keys.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{
    Authorized, DirectoryError, FileError, IdentityError, KeyPair, Name, Place, PublicKey,
};
use crate::platform::directories::{make_private, make_private_with_parents, state};
use crate::platform::hold::Hold;
use crate::platform::private_files::{Changing, read};

/// The name of a key's file.
const KEY: &str = "key";

/// The directory of what each machine has, and that in which it keeps where it is a member.
const MACHINES: &str = "machines";
const MEMBERSHIPS: &str = "memberships";
const LOGS: &str = "logs";

/// The directory of what is kept of each cluster whose scheduler runs here.
const CLUSTERS: &str = "clusters";

/// The name of what the running scheduler of a cluster holds.
const RUNNING: &str = "running.lock";

/// Several times the size of a key.
const MAX_KEY_BYTES: u64 = 1024;

/// The state directory of this user.
#[derive(Clone, Debug)]
pub struct State {
    root: PathBuf,
}

impl State {
    /// The one that the environment chooses, made if need be.
    pub fn open() -> Result<Self, IdentityError> {
        Self::open_at(state()?)
    }

    /// The same, if it is there: who holds no key is left without one.
    pub fn open_if_any() -> Result<Option<Self>, IdentityError> {
        let root = state()?;
        if fs::symlink_metadata(&root).is_err() {
            return Ok(None);
        }
        Self::open_at(root).map(Some)
    }

    /// One that was chosen otherwise.
    pub fn open_at(root: PathBuf) -> Result<Self, IdentityError> {
        make_private_with_parents(Place::State, &root)?;
        Ok(Self { root })
    }

    /// The key of this machine, made at the first use.
    pub fn machine_key(&self) -> Result<KeyPair, IdentityError> {
        key_in(&self.directory(MACHINES, &host())?)
    }

    /// The clusters of this user, in the order of their names, with their keys as far as they can be
    /// read: those whose scheduler runs here, or ran, or does on another machine with this home.
    pub fn clusters(&self) -> Result<Vec<(Name, Option<PublicKey>)>, IdentityError> {
        let directory = self.root.join(CLUSTERS);
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(FileError::Unreadable { file: directory, source }.into()),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let key_of = |name: &Name| {
            let key = read(&directory.join(name.as_str()).join(KEY), MAX_KEY_BYTES).ok()??;
            KeyPair::from_pkcs8(&key).map(|key| key.public())
        };
        let mut clusters: Vec<_> = names
            .map(|name: Name| {
                let key = key_of(&name);
                (name, key)
            })
            .collect();
        clusters.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(clusters)
    }

    /// Where this machine's memberships are, made if need be.
    pub(super) fn memberships_directory(&self) -> Result<PathBuf, DirectoryError> {
        let directory = self.directory(MACHINES, &host())?.join(MEMBERSHIPS);
        make_private(Place::State, &directory)?;
        Ok(directory)
    }

    /// The same, if it is there: who only looks makes nothing.
    pub(super) fn memberships_directory_if_any(&self) -> Result<Option<PathBuf>, DirectoryError> {
        let directory = self.root.join(MACHINES).join(host().as_str()).join(MEMBERSHIPS);
        if fs::symlink_metadata(&directory).is_err() {
            return Ok(None);
        }
        self.memberships_directory().map(Some)
    }

    /// Where what runs in the background on this machine writes its logs, made if need be.
    pub(crate) fn logs(&self) -> Result<PathBuf, DirectoryError> {
        let directory = self.directory(MACHINES, &host())?.join(LOGS);
        make_private(Place::State, &directory)?;
        Ok(directory)
    }

    /// What is kept of a cluster whose scheduler runs here, made if need be.
    pub fn cluster(&self, name: &Name) -> Result<ClusterState, IdentityError> {
        Ok(ClusterState { directory: self.directory(CLUSTERS, name)? })
    }

    fn directory(&self, kind: &str, name: &Name) -> Result<PathBuf, DirectoryError> {
        let of_kind = self.root.join(kind);
        make_private(Place::State, &of_kind)?;
        let directory = of_kind.join(name.as_str());
        make_private(Place::State, &directory)?;
        Ok(directory)
    }
}

/// What this machine is called: homes may be shared by several.
fn host() -> Name {
    Name::near(&rustix::system::uname().nodename().to_string_lossy())
}

/// What is kept of one cluster.
#[derive(Clone, Debug)]
pub struct ClusterState {
    directory: PathBuf,
}

impl ClusterState {
    /// The key of the cluster, made at the first use.
    pub fn key(&self) -> Result<KeyPair, IdentityError> {
        key_in(&self.directory)
    }

    /// Takes the right to run its scheduler; nothing if another process has it.
    pub(crate) fn hold(&self) -> Result<Option<Hold>, IdentityError> {
        let file = self.directory.join(RUNNING);
        Ok(Hold::take(file.clone()).map_err(|error| FileError::writing(&file, error))?)
    }

    /// Who may join.
    pub fn authorized(&self) -> Result<Authorized, IdentityError> {
        Authorized::open(&self.directory)
    }
}

/// The key in a directory; of several processes that find none, one makes it for all.
fn key_in(directory: &Path) -> Result<KeyPair, IdentityError> {
    let file = directory.join(KEY);
    if let Some(key) = read(&file, MAX_KEY_BYTES)? {
        return KeyPair::from_pkcs8(&key).ok_or(IdentityError::NotAKey { file });
    }
    let changing = Changing::begin(directory)?;
    let key = if let Some(key) = read(&file, MAX_KEY_BYTES)? {
        key
    } else {
        let key = KeyPair::generate_pkcs8().ok_or(IdentityError::NoRandomness)?;
        changing.replace(KEY, &key)?;
        key
    };
    KeyPair::from_pkcs8(&key).ok_or(IdentityError::NotAKey { file })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::thread;

    use super::*;
    use crate::platform::directories::Scratch;

    fn open(scratch: &Scratch) -> State {
        State::open_at(scratch.0.join("deep/hurricane")).expect("nothing is in the way")
    }

    #[test]
    fn keys_stay_and_differ() {
        let scratch = Scratch::new("keys-stay");
        let state = open(&scratch);
        let machine = state.machine_key().expect("it can be made").public();
        assert_eq!(state.machine_key().expect("it is there").public(), machine);
        let cluster = |name: &str| {
            let state = state.cluster(&Name::near(name)).expect("it can be made");
            state.key().expect("it can be made").public()
        };
        assert_ne!(cluster("one"), machine);
        assert_ne!(cluster("one"), cluster("two"));
    }

    #[test]
    fn starting_at_once_gives_the_same_key() {
        let scratch = Scratch::new("keys-at-once");
        let state = open(&scratch);
        let made: Vec<_> = thread::scope(|scope| {
            let start = || scope.spawn(|| state.machine_key().expect("it can be made").public());
            let started: Vec<_> = (0..8).map(|_| start()).collect();
            started.into_iter().map(|thread| thread.join().expect("it ended well")).collect()
        });
        assert!(made.iter().all(|key| *key == made[0]), "{made:?}");
    }

    #[test]
    fn s16_a_key_that_others_can_read_is_refused() {
        let scratch = Scratch::new("key-open");
        let state = open(&scratch);
        let cluster = state.cluster(&Name::near("lab")).expect("it can be made");
        cluster.key().expect("it can be made");
        let file = cluster.directory.join(KEY);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).expect("it is ours");
        let error = cluster.key().expect_err("the mode is wrong");
        assert!(error.to_string().ends_with("is open to other users (mode 604)"), "{error}");
    }

    #[test]
    fn s16_a_directory_that_others_can_enter_is_refused() {
        let scratch = Scratch::new("state-open");
        let state = open(&scratch);
        fs::set_permissions(&state.root, fs::Permissions::from_mode(0o710)).expect("it is ours");
        let error = State::open_at(state.root.clone()).expect_err("the mode is wrong");
        let name = state.root.display();
        let sentence = format!("the state directory `{name}` is open to other users (mode 710)");
        assert_eq!(error.to_string(), sentence);
        assert_eq!(error.hint(), format!("chmod 700 {name}"));
    }

    #[test]
    fn what_is_no_key_is_refused_and_kept() {
        let scratch = Scratch::new("key-broken");
        let cluster = open(&scratch).cluster(&Name::near("lab")).expect("it can be made");
        let changing = Changing::begin(&cluster.directory).expect("nobody else is here");
        changing.replace(KEY, b"not a key").expect("there is space");
        drop(changing);
        assert!(matches!(cluster.key(), Err(IdentityError::NotAKey { .. })));
        assert_eq!(fs::read(cluster.directory.join(KEY)).expect("it is there"), b"not a key");
    }
}

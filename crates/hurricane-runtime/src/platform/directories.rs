//! Directories that no other user may enter: the runtime directory, where a running process keeps
//! files that go when it ends, and the state directory, where keys stay.

use std::env;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::fork::Unshared;

/// Held by the owner of a directory for as long as it lives.
const LOCK: &str = "lock";

/// Held while directories are made and removed, so that none is taken for a leftover before its
/// owner has locked it.
const START_LOCK: &str = "start.lock";

/// What is written into each lock, so that a full disk shows at start and not in mid-work.
const PAGE: [u8; 4096] = [b'\n'; 4096];

/// What a directory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// What running processes need, until they end.
    Runtime,
    /// Keys, and who may join: what stays.
    State,
}

impl Place {
    /// The environment variable that chooses it.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Runtime => "HURRICANE_RUNTIME_DIR",
            Self::State => "HURRICANE_STATE_DIR",
        }
    }

    fn chosen(self) -> Option<PathBuf> {
        set(self.variable())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Runtime => "runtime",
            Self::State => "state",
        })
    }
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It cannot be made or written.
    #[error("cannot write into the {place} directory `{}`", directory.display())]
    Unwritable {
        /// What it is for.
        place: Place,
        /// Which.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its file system is full.
    #[error("no space is left for the {place} directory `{}`", directory.display())]
    Full {
        /// What it is for.
        place: Place,
        /// Which.
        directory: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("the {place} directory `{}` is not a directory", directory.display())]
    NotADirectory {
        /// What it is for.
        place: Place,
        /// Which.
        directory: PathBuf,
    },
    /// Another user could change what is in it.
    #[error("the {place} directory `{}` belongs to user {owner}, not to user {user}", directory.display())]
    WrongOwner {
        /// What it is for.
        place: Place,
        /// Which.
        directory: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who runs this process.
        user: u32,
    },
    /// Other users may enter it.
    #[error("the {place} directory `{}` is open to other users (mode {mode:03o})", directory.display())]
    WrongMode {
        /// What it is for.
        place: Place,
        /// Which.
        directory: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// This user has no home in which it could be.
    #[error("there is no {place} directory: this user has no home directory")]
    Homeless {
        /// What it is for.
        place: Place,
    },
}

impl DirectoryError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unwritable { place, .. }
            | Self::NotADirectory { place, .. }
            | Self::WrongOwner { place, .. }
            | Self::Homeless { place } => {
                format!("set {} to a directory of your own", place.variable())
            }
            Self::Full { place, .. } => {
                let variable = place.variable();
                format!("make space there, or set {variable} to a directory that has some")
            }
            Self::WrongMode { directory, .. } => format!("chmod 700 {}", directory.display()),
        }
    }

    fn of(place: Place, directory: &Path, source: io::Error) -> Self {
        let directory = directory.to_owned();
        if is_full(&source) {
            Self::Full { place, directory, source }
        } else {
            Self::Unwritable { place, directory, source }
        }
    }
}

/// Whether an error means that the file system, or this user's share of it, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}

/// A directory of this process's own, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct OwnDirectory {
    path: PathBuf,
    /// Locked for as long as this process lives, whatever children it forks.
    _lock: Unshared,
}

impl OwnDirectory {
    /// Makes one, and removes those of processes that are gone.
    pub(crate) fn make() -> Result<Self, DirectoryError> {
        Self::make_in(&runtime())
    }

    fn make_in(root: &Path) -> Result<Self, DirectoryError> {
        make_private(Place::Runtime, root)?;
        let made = || {
            let _starting = lock(&root.join(START_LOCK), FlockOperation::LockExclusive)?;
            remove_leftovers(root)?;
            Self::make_locked(root)
        };
        made().map_err(|error| DirectoryError::of(Place::Runtime, root, error))
    }

    fn make_locked(root: &Path) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = root.join(format!("{}-{count}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                // Processes in other namespaces may share the directory and the process id.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            let locked = lock(&path.join(LOCK), FlockOperation::NonBlockingLockExclusive);
            let written = locked.and_then(|mut lock| lock.write_all(&PAGE).map(|()| lock));
            return match written {
                Ok(lock) => Ok(Self { path, _lock: Unshared::new(lock.into()) }),
                Err(error) => {
                    let _ = fs::remove_dir_all(&path);
                    Err(error)
                }
            };
        }
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for OwnDirectory {
    fn drop(&mut self) {
        // What cannot be removed now is a leftover for a later start.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The runtime directory, in which each process makes one of its own; not made, and not looked at.
pub(crate) fn runtime() -> PathBuf {
    // A login that ended leaves the variable behind in what it started, without its directory.
    let of_login = || set("XDG_RUNTIME_DIR").filter(|directory| directory.is_dir());
    Place::Runtime.chosen().or_else(|| Some(of_login()?.join("hurricane"))).unwrap_or_else(|| {
        let user = rustix::process::geteuid().as_raw();
        PathBuf::from(format!("/tmp/hurricane-{user}"))
    })
}

/// Where keys stay; not made, and not looked at.
pub(crate) fn state() -> Result<PathBuf, DirectoryError> {
    let of_home = || Some(env::home_dir()?.join(".local/state"));
    Place::State
        .chosen()
        .or_else(|| Some(set("XDG_STATE_HOME").or_else(of_home)?.join("hurricane")))
        .ok_or(DirectoryError::Homeless { place: Place::State })
}

/// An environment variable that is not empty, as a path.
fn set(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Makes sure that a directory exists which no other user can enter. What it lies in must be there.
pub(crate) fn make_private(place: Place, directory: &Path) -> Result<(), DirectoryError> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(DirectoryError::of(place, directory, error));
        }
        Ok(()) | Err(_) => {}
    }
    // Not followed: a link planted in a shared directory leads to somebody else's.
    let found = fs::symlink_metadata(directory)
        .map_err(|error| DirectoryError::of(place, directory, error))?;
    let directory = directory.to_owned();
    if !found.is_dir() {
        return Err(DirectoryError::NotADirectory { place, directory });
    }
    let (owner, user) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner != user {
        return Err(DirectoryError::WrongOwner { place, directory, owner, user });
    }
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(DirectoryError::WrongMode { place, directory, mode });
    }
    Ok(())
}

/// The same, with everything it lies in.
pub(crate) fn make_private_with_parents(
    place: Place,
    directory: &Path,
) -> Result<(), DirectoryError> {
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent).map_err(|error| DirectoryError::of(place, parent, error))?;
    }
    make_private(place, directory)
}

/// Opens a file, making it if need be, and locks it.
pub(crate) fn lock(file: &Path, how: FlockOperation) -> io::Result<File> {
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file)?;
    rustix::fs::flock(&file, how)?;
    Ok(file)
}

/// Removes the directories that nobody holds any more.
fn remove_leftovers(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() && lock(&path.join(LOCK), FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            // Best effort: what stays is tried again by the next start.
            let _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

/// A name in the system's directory for such, free now and after the test.
#[cfg(test)]
pub(crate) struct Scratch(pub(crate) PathBuf);

#[cfg(test)]
impl Scratch {
    pub(crate) fn new(test: &str) -> Self {
        let name = format!("hurricane-test-{}-{test}", std::process::id());
        Self(env::temp_dir().join(name))
    }
}

#[cfg(test)]
impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0).or_else(|_| fs::remove_file(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_directory_is_private_and_goes_when_dropped() {
        let root = Scratch::new("private");
        let own = OwnDirectory::make_in(&root.0).expect("nothing is in the way");
        let path = own.path.clone();
        assert_eq!(fs::metadata(&path).expect("it is there").mode() & 0o777, 0o700);
        drop(own);
        assert!(!path.exists());
    }

    #[test]
    fn leftovers_go_and_what_is_held_stays() {
        let root = Scratch::new("leftovers");
        let held = OwnDirectory::make_in(&root.0).expect("nothing is in the way");
        let leftover = root.0.join("1-0");
        fs::create_dir(&leftover).expect("the root is writable");
        let _other = OwnDirectory::make_in(&root.0).expect("nothing is in the way");
        assert!(!leftover.exists());
        assert!(held.path.exists());
    }

    #[test]
    fn what_others_can_enter_is_refused() {
        let root = Scratch::new("open");
        fs::create_dir(&root.0).expect("the name is free");
        fs::set_permissions(&root.0, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let error = OwnDirectory::make_in(&root.0).expect_err("the mode is wrong");
        let name = root.0.display();
        let sentence = format!("the runtime directory `{name}` is open to other users (mode 755)");
        assert_eq!(error.to_string(), sentence);
        assert_eq!(error.hint(), format!("chmod 700 {name}"));
    }

    #[test]
    fn links_and_files_are_refused() {
        let root = Scratch::new("link");
        symlink("/tmp", &root.0).expect("the name is free");
        let error = OwnDirectory::make_in(&root.0).expect_err("it is a link");
        assert!(matches!(error, DirectoryError::NotADirectory { .. }), "{error}");
    }

    #[test]
    fn what_cannot_be_made_is_refused() {
        let error =
            OwnDirectory::make_in(Path::new("/proc/hurricane")).expect_err("no files there");
        assert!(matches!(error, DirectoryError::Unwritable { .. }), "{error}");
    }
}

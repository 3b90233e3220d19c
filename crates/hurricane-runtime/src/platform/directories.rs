//! The runtime directory: where a running process keeps files that nobody else may see, and that go
//! when it ends.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::fork::Unshared;

/// Chooses the runtime directory.
const VARIABLE: &str = "HURRICANE_RUNTIME_DIR";

/// Held by the owner of a directory for as long as it lives.
const LOCK: &str = "lock";

/// Held while directories are made and removed, so that none is taken for a leftover before its
/// owner has locked it.
const START_LOCK: &str = "start.lock";

/// What is written into each lock, so that a full disk shows at start and not in mid-work.
const PAGE: [u8; 4096] = [b'\n'; 4096];

/// Why there is no runtime directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It cannot be made or written.
    #[error("cannot write into the runtime directory `{}`", directory.display())]
    Unwritable {
        /// Which.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its file system is full.
    #[error("no space is left for the runtime directory `{}`", directory.display())]
    Full {
        /// Which.
        directory: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("the runtime directory `{}` is not a directory", directory.display())]
    NotADirectory {
        /// Which.
        directory: PathBuf,
    },
    /// Another user could change what is in it.
    #[error("the runtime directory `{}` belongs to user {owner}, not to user {user}", directory.display())]
    WrongOwner {
        /// Which.
        directory: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who runs this process.
        user: u32,
    },
    /// Other users may enter it.
    #[error("the runtime directory `{}` is open to other users (mode {mode:03o})", directory.display())]
    WrongMode {
        /// Which.
        directory: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

impl DirectoryError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unwritable { .. } | Self::NotADirectory { .. } | Self::WrongOwner { .. } => {
                format!("set {VARIABLE} to a directory of your own")
            }
            Self::Full { .. } => {
                format!("make space there, or set {VARIABLE} to a directory that has some")
            }
            Self::WrongMode { directory, .. } => format!("chmod 700 {}", directory.display()),
        }
    }

    fn of(directory: &Path, source: io::Error) -> Self {
        let directory = directory.to_owned();
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::Full { directory, source },
            _ => Self::Unwritable { directory, source },
        }
    }
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
        Self::make_in(&root())
    }

    fn make_in(root: &Path) -> Result<Self, DirectoryError> {
        make_private(root)?;
        let made = || {
            let _starting = lock(&root.join(START_LOCK), FlockOperation::LockExclusive)?;
            remove_leftovers(root)?;
            Self::make_locked(root)
        };
        made().map_err(|error| DirectoryError::of(root, error))
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

/// The directory in which each process makes its own.
fn root() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // A login that ended leaves the variable behind in what it started, without its directory.
    let of_login = || set("XDG_RUNTIME_DIR").filter(|directory| directory.is_dir());
    set(VARIABLE).or_else(|| Some(of_login()?.join("hurricane"))).unwrap_or_else(|| {
        let user = rustix::process::geteuid().as_raw();
        PathBuf::from(format!("/tmp/hurricane-{user}"))
    })
}

/// Makes sure that a directory exists which no other user can enter.
fn make_private(directory: &Path) -> Result<(), DirectoryError> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(DirectoryError::of(directory, error));
        }
        Ok(()) | Err(_) => {}
    }
    // Not followed: a link planted in a shared directory leads to somebody else's.
    let found =
        fs::symlink_metadata(directory).map_err(|error| DirectoryError::of(directory, error))?;
    let directory = directory.to_owned();
    if !found.is_dir() {
        return Err(DirectoryError::NotADirectory { directory });
    }
    let (owner, user) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner != user {
        return Err(DirectoryError::WrongOwner { directory, owner, user });
    }
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(DirectoryError::WrongMode { directory, mode });
    }
    Ok(())
}

/// Opens a file, making it if need be, and locks it.
fn lock(file: &Path, how: FlockOperation) -> io::Result<File> {
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

    /// A name in the system's directory for such, free now and after the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(test: &str) -> Self {
            let name = format!("hurricane-test-{}-{test}", std::process::id());
            Self(env::temp_dir().join(name))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0).or_else(|_| fs::remove_file(&self.0));
        }
    }
}

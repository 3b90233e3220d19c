//! Files that no other user may read or change: keys, and the list of who may join.
//!
//! A file is replaced whole, by exclusive creation and rename, under a lock of its directory: who
//! reads sees the old or the new one, and of two processes that start at once the second finds what
//! the first has made.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};

use super::directories::{is_full, lock};

/// Held while files of a directory are changed.
const LOCK: &str = "lock";

/// Why a private file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read `{}`", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write `{}`", file.display())]
    Unwritable {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its file system is full.
    #[error("no space is left to write `{}`", file.display())]
    Full {
        /// Which.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is a directory, a link, a pipe.
    #[error("`{}` is not a regular file", file.display())]
    NotAFile {
        /// Which.
        file: PathBuf,
    },
    /// Another user could change it.
    #[error("`{}` belongs to user {owner}, not to user {user}", file.display())]
    WrongOwner {
        /// Which.
        file: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who runs this process.
        user: u32,
    },
    /// Other users may read or change it.
    #[error("`{}` is open to other users (mode {mode:03o})", file.display())]
    WrongMode {
        /// Which.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is larger than any that hurricane writes.
    #[error("`{}` is larger than {limit} bytes", file.display())]
    TooLarge {
        /// Which.
        file: PathBuf,
        /// What it may be.
        limit: u64,
    },
}

impl FileError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { file, .. } | Self::Unwritable { file, .. } => {
                format!("look at the permissions of `{}` and of what it lies in", file.display())
            }
            Self::Full { .. } => "make space there, or set HURRICANE_STATE_DIR to a directory \
                                  that has some"
                .to_owned(),
            Self::WrongMode { file, .. } => {
                let file = file.display();
                format!("chmod 600 {file}; if others may have read a key in it, remove it instead")
            }
            Self::NotAFile { file }
            | Self::WrongOwner { file, .. }
            | Self::TooLarge { file, .. } => {
                format!("move `{}` out of the way", file.display())
            }
        }
    }

    pub(crate) fn writing(file: &Path, source: io::Error) -> Self {
        let file = file.to_owned();
        if is_full(&source) {
            Self::Full { file, source }
        } else {
            Self::Unwritable { file, source }
        }
    }

    fn reading(file: &Path, source: io::Error) -> Self {
        Self::Unreadable { file: file.to_owned(), source }
    }
}

/// The content of a file of at most `limit` bytes; nothing if there is none.
pub(crate) fn read(file: &Path, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
    // Neither following a link nor waiting for a pipe's writer.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(file);
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(_) if fs::symlink_metadata(file).is_ok_and(|found| found.is_symlink()) => {
            return Err(FileError::NotAFile { file: file.to_owned() });
        }
        Err(error) => return Err(FileError::reading(file, error)),
    };
    check(file, &opened)?;
    let mut content = Vec::new();
    opened
        .take(limit.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(|error| FileError::reading(file, error))?;
    if content.len() as u64 > limit {
        return Err(FileError::TooLarge { file: file.to_owned(), limit });
    }
    Ok(Some(content))
}

/// Refuses what others can read or change. Looks at what was opened, not at what now has its name.
fn check(file: &Path, opened: &File) -> Result<(), FileError> {
    let found = opened.metadata().map_err(|error| FileError::reading(file, error))?;
    let file = file.to_owned();
    if !found.is_file() {
        return Err(FileError::NotAFile { file });
    }
    let (owner, user) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner != user {
        return Err(FileError::WrongOwner { file, owner, user });
    }
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::WrongMode { file, mode });
    }
    Ok(())
}

/// The right to change the files of a directory, which one thread of one process has at a time.
#[derive(Debug)]
pub(crate) struct Changing {
    directory: PathBuf,
    lock: File,
}

impl Changing {
    /// Waits until nobody else changes them.
    pub(crate) fn begin(directory: &Path) -> Result<Self, FileError> {
        let file = directory.join(LOCK);
        let lock = lock(&file, FlockOperation::LockExclusive)
            .map_err(|error| FileError::writing(&file, error))?;
        Ok(Self { directory: directory.to_owned(), lock })
    }

    /// Replaces a file, or makes it, so that it is whole even after a power cut.
    pub(crate) fn replace(&self, name: &str, content: &[u8]) -> Result<(), FileError> {
        let file = self.directory.join(name);
        self.replace_file(&file, content).map_err(|error| FileError::writing(&file, error))
    }

    /// Removes a file, for good; whether it was there.
    pub(crate) fn remove(&self, name: &str) -> Result<bool, FileError> {
        let file = self.directory.join(name);
        let removed = fs::remove_file(&file).and_then(|()| File::open(&self.directory)?.sync_all());
        match removed {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(FileError::writing(&file, error)),
        }
    }

    fn replace_file(&self, file: &Path, content: &[u8]) -> io::Result<()> {
        let new = file.with_added_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // What a process left that was killed in here.
            Ok(()) | Err(_) => {}
        }
        let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let written = written.write_all(content).and_then(|()| written.sync_all());
        if let Err(error) = written.and_then(|()| fs::rename(&new, file)) {
            // Best effort: the next change removes it as well.
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        File::open(&self.directory)?.sync_all()
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        // Said, and not left to the descriptor's end: a forked child may hold a copy of it.
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::super::directories::Scratch;
    use super::*;

    fn directory(test: &str) -> Scratch {
        let scratch = Scratch::new(test);
        fs::create_dir(&scratch.0).expect("the name is free");
        scratch
    }

    #[test]
    fn what_was_written_is_read_and_private() {
        let scratch = directory("file");
        let file = scratch.0.join("key");
        assert!(read(&file, 10).expect("nothing is wrong").is_none());
        let changing = Changing::begin(&scratch.0).expect("nobody else is here");
        changing.replace("key", b"one").expect("there is space");
        changing.replace("key", b"two").expect("there is space");
        assert_eq!(read(&file, 3).expect("it is ours").as_deref(), Some(&b"two"[..]));
        assert_eq!(fs::metadata(&file).expect("it is there").mode() & 0o777, 0o600);
        assert!(matches!(read(&file, 2), Err(FileError::TooLarge { .. })));
    }

    #[test]
    fn a_leftover_is_no_hindrance() {
        let scratch = directory("leftover-file");
        fs::write(scratch.0.join("key.new"), b"half").expect("it is writable");
        let changing = Changing::begin(&scratch.0).expect("nobody else is here");
        changing.replace("key", b"whole").expect("there is space");
        assert!(!scratch.0.join("key.new").exists());
    }

    #[test]
    fn what_others_can_read_is_refused() {
        let scratch = directory("open-file");
        let file = scratch.0.join("key");
        fs::write(&file, b"secret").expect("it is writable");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("it is ours");
        let error = read(&file, 10).expect_err("the mode is wrong");
        let name = file.display();
        assert_eq!(error.to_string(), format!("`{name}` is open to other users (mode 640)"));
        assert!(error.hint().starts_with(&format!("chmod 600 {name}")));
    }

    #[test]
    fn links_and_directories_are_refused() {
        let scratch = directory("not-a-file");
        let link = scratch.0.join("link");
        symlink("/etc/passwd", &link).expect("the name is free");
        assert!(matches!(read(&link, 10), Err(FileError::NotAFile { .. })));
        assert!(matches!(read(&scratch.0, 10), Err(FileError::NotAFile { .. })));
    }

    #[test]
    fn a_directory_that_takes_no_files_is_a_sentence() {
        let error = Changing::begin(Path::new("/proc")).expect_err("no files there");
        assert_eq!(error.to_string(), "cannot write `/proc/lock`");
    }

    #[test]
    fn a_full_disk_is_named() {
        let full = io::Error::from(rustix::io::Errno::NOSPC);
        let error = FileError::writing(Path::new("/state/key"), full);
        assert_eq!(error.to_string(), "no space is left to write `/state/key`");
        assert!(error.hint().starts_with("make space"));
    }
}

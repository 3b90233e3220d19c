//! Locks that one process at a time has, for as long as it lives.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::directories::lock;
use super::fork::{ProcessMark, Unshared};

/// A lock, named by a file in a private directory. Dropped, it is free, and the file is gone.
#[derive(Debug)]
pub(crate) struct Hold {
    file: PathBuf,
    process: ProcessMark,
    /// Whatever children this process forks, they do not keep it.
    _lock: Unshared,
}

impl Hold {
    /// Takes it; nothing if another has it.
    pub(crate) fn take(file: PathBuf) -> io::Result<Option<Self>> {
        loop {
            match lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(lock) if is_named(&lock, &file) => {
                    let (process, lock) = (ProcessMark::here(), Unshared::new(lock.into()));
                    return Ok(Some(Self { file, process, _lock: lock }));
                }
                // Whoever had it has just removed it.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.process.is_here() {
            // Before the lock goes. Best effort: a leftover hinders nobody.
            let _ = fs::remove_file(&self.file);
        }
    }
}

fn is_named(opened: &File, file: &Path) -> bool {
    let (Ok(opened), Ok(named)) = (opened.metadata(), fs::metadata(file)) else { return false };
    (opened.dev(), opened.ino()) == (named.dev(), named.ino())
}

#[cfg(test)]
mod tests {
    use super::super::directories::Scratch;
    use super::*;

    #[test]
    fn one_has_it_at_a_time() {
        let scratch = Scratch::new("hold");
        let take = || Hold::take(scratch.0.clone()).expect("the file can be made");
        let held = take().expect("nobody has it");
        assert!(take().is_none());
        drop(held);
        assert!(!scratch.0.exists());
        assert!(take().is_some());
    }
}

//! Where the processes of one user on one host meet their scheduler: a unix socket in the runtime
//! directory, named after the initialization port. One scheduler at a time has it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

use super::directories::{DirectoryError, Place, make_private, runtime};
use super::fork::HiddenFromChildren;
use super::hold::Hold;

/// Where the scheduler on a port is met, whether there is one or not.
pub(crate) fn path(port: u16) -> PathBuf {
    runtime().join(format!("scheduler-{port}.sock"))
}

/// Whether whoever is at the other end runs as this user.
pub(crate) fn is_of_this_user(stream: &UnixStream) -> bool {
    let user = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|credentials| credentials.uid() == user)
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum LocalSocketError {
    /// The runtime directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The socket cannot be made.
    #[error("cannot listen at `{}`", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl LocalSocketError {
    fn at(path: &Path, source: io::Error) -> Self {
        Self::Socket { path: path.to_owned(), source }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Directory(error) => error.hint(),
            // The system's limit is some 100 bytes.
            Self::Socket { .. } => {
                "set HURRICANE_RUNTIME_DIR to a directory of your own with a short name".to_owned()
            }
        }
    }
}

/// The right to be this user's scheduler on a port of this host.
#[derive(Debug)]
pub(crate) struct PortClaim {
    port: u16,
    _hold: Hold,
}

impl PortClaim {
    /// Claims a port; nothing if another scheduler has it.
    pub(crate) fn make(port: u16) -> Result<Option<Self>, LocalSocketError> {
        let directory = runtime();
        make_private(Place::Runtime, &directory)?;
        let file = directory.join(format!("scheduler-{port}.lock"));
        let hold = Hold::take(file.clone()).map_err(|error| LocalSocketError::at(&file, error))?;
        Ok(hold.map(|hold| Self { port, _hold: hold }))
    }

    /// Listens, in the place of a socket that a killed scheduler left.
    pub(crate) fn listen(self) -> Result<LocalSocket, LocalSocketError> {
        let path = path(self.port);
        let listen = || {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        match listen() {
            Ok(listener) => {
                let listener = HiddenFromChildren::new(listener);
                Ok(LocalSocket { listener, path, _claim: self })
            }
            Err(error) => Err(LocalSocketError::at(&path, error)),
        }
    }
}

/// A socket that is listened at. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct LocalSocket {
    listener: HiddenFromChildren<UnixListener>,
    path: PathBuf,
    /// Given back last.
    _claim: PortClaim,
}

impl LocalSocket {
    /// For the loop that answers.
    pub(crate) fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(self.listener.get_ref().try_clone()?)
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        // Best effort: the next scheduler on this port replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

//! What runs on this machine, as files in the runtime directory tell: which schedulers, whether other
//! processes have nodes, and when a cluster that goes down is gone.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::failure::Failure;
use crate::platform::directories::{Place, lock, make_private, runtime};

/// Held in common by all processes with nodes.
const NODES: &str = "nodes.lock";

/// Between two looks at what is to go.
const PAUSE: Duration = Duration::from_millis(20);

/// The lock of a process that runs; it goes with the process.
#[derive(Debug)]
pub(super) struct Presence {
    _lock: File,
}

/// Says that this process has nodes. The second value tells whether another one has as well.
pub(super) fn of_nodes() -> Result<(Presence, bool), Failure> {
    let file = file(NODES)?;
    let are_others = is_held(&file)?;
    Ok((hold(&file)?, are_others))
}

/// Says that this process is a cluster's.
pub(super) fn of_cluster(port: u16) -> Result<Presence, Failure> {
    hold(&file(&cluster_lock(port))?)
}

/// The ports of this user's schedulers. One that was killed may be among them.
pub(super) fn ports() -> Vec<u16> {
    // Without the directory nothing runs.
    let entries = fs::read_dir(runtime()).into_iter().flatten().flatten();
    let port_of = |name: &str| name.strip_prefix("scheduler-")?.strip_suffix(".sock")?.parse().ok();
    let mut ports: Vec<u16> =
        entries.filter_map(|entry| port_of(entry.file_name().to_str()?)).collect();
    ports.sort_unstable();
    ports
}

/// Waits until no process is the cluster's on a port; false after `timeout`.
pub(super) fn wait_for_end(port: u16, timeout: Duration) -> Result<bool, Failure> {
    let file = file(&cluster_lock(port))?;
    let end = Instant::now() + timeout;
    while ports().contains(&port) || is_held(&file)? {
        if Instant::now() >= end {
            return Ok(false);
        }
        thread::sleep(PAUSE);
    }
    Ok(true)
}

fn cluster_lock(port: u16) -> String {
    format!("cluster-{port}.lock")
}

fn file(name: &str) -> Result<PathBuf, Failure> {
    let directory = runtime();
    make_private(Place::Runtime, &directory)?;
    Ok(directory.join(name))
}

fn hold(file: &Path) -> Result<Presence, Failure> {
    let lock = lock(file, FlockOperation::LockShared).map_err(|error| Failure::of(&error))?;
    Ok(Presence { _lock: lock })
}

/// Of two processes that look and then hold, at once, neither may see the other: what is told of
/// that is a remark and nothing more.
fn is_held(file: &Path) -> Result<bool, Failure> {
    match lock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(Failure::of(&error)),
    }
}

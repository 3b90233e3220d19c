//! What the system may write to the disk when this process crashes.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Neither a core file, for which a page is the least, nor, on Linux, a core for the program that
/// the system has for them: that is given out whatever the limit, except for this one.
const NONE: u64 = 1;

/// Sees to it that the keys in this process's memory are never written out. For processes of
/// hurricane's own: in a program of the user's, that is the user's affair.
pub(crate) fn forbid() {
    let none = Rlimit { current: Some(NONE), ..getrlimit(Resource::Core) };
    // It fails where the limit is lower, and that will do.
    let _ = setrlimit(Resource::Core, none);
}

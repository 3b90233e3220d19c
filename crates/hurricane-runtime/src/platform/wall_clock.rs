//! The time of day where this machine is, for people: nothing depends on it.

use std::mem::MaybeUninit;
use std::time::{SystemTime, UNIX_EPOCH};

/// As `14:03:59`.
pub(crate) fn time_of_day() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = libc::time_t::try_from(since.as_secs()).unwrap_or_default();
    let mut local = MaybeUninit::<libc::tm>::zeroed();
    #[expect(unsafe_code, reason = "libc alone knows the time zone")]
    // SAFETY: both pointers are valid, and all zeros are a valid `tm` should the call fail.
    let local = unsafe {
        libc::localtime_r(&raw const seconds, local.as_mut_ptr());
        local.assume_init()
    };
    format!("{:02}:{:02}:{:02}", local.tm_hour, local.tm_min, local.tm_sec)
}

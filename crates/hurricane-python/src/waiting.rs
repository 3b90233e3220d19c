//! How Python waits for Rust: without the GIL, and so that Ctrl-C is never held up.

use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The longest that a signal's Python handler waits to be run.
const SLICE: Duration = Duration::from_millis(50);

/// As `SLICE`, in threads where no handler ever runs: there is nothing to wake for.
const LONG_SLICE: Duration = Duration::from_hours(1);

/// Calls `wait` with parts of `timeout` until it has something or all of it has passed.
pub(crate) fn wait_in_slices<T: Send>(
    py: Python<'_>,
    timeout: Option<Duration>,
    mut wait: impl FnMut(Duration) -> Option<T> + Send,
) -> PyResult<Option<T>> {
    // A timeout beyond the clock's range is none.
    let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut slice = SLICE;
    loop {
        let rest = end.map_or(slice, |end| end.saturating_duration_since(Instant::now()));
        let outcome = py.detach(|| wait(rest.min(slice)));
        if outcome.is_some() || rest.is_zero() {
            return Ok(outcome);
        }
        py.check_signals()?;
        slice = if runs_signal_handlers(py)? { SLICE } else { LONG_SLICE };
    }
}

/// A timeout in seconds as Python gives it; what has passed already is none at all.
pub(crate) fn timeout_duration(seconds: f64) -> PyResult<Duration> {
    if seconds.is_nan() {
        return Err(PyValueError::new_err("a timeout is not a number"));
    }
    Ok(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

/// Whether this is the interpreter's main thread.
fn runs_signal_handlers(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    threading.call_method0("get_ident")?.eq(main)
}

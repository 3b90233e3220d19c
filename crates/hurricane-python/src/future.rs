//! `NativeFuture`: what a future is as long as nobody watches it.
//!
//! The connection ends it without Python, in whatever thread learned of the end. Once somebody has
//! asked for its condition, its end goes through the thread that receives, which takes the condition
//! for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hurricane_core::id::Number;
use hurricane_core::message::{Cause, Ending, Value};
use hurricane_runtime::client::ConnectionError;
use pyo3::exceptions::{PyException, PyTimeoutError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use crate::collector;
use crate::connection::{Connection, python_error};
use crate::imports;
use crate::slot::{Locked, Own, Phase, Slot, Task};
use crate::waiting::{timeout_duration, wait_in_slices};
use crate::{incoming, simple};

/// The part of a future that costs little; `hurricane.Future` is the rest.
#[pyclass(frozen, subclass, module = "hurricane._native")]
pub(crate) struct NativeFuture {
    slot: Arc<Slot>,
    /// What the connection calls the task; zero before it was submitted.
    number: AtomicU64,
    /// Nothing where tests end it themselves.
    connection: Option<Py<Connection>>,
    delivery: Py<PyAny>,
    name: Py<PyString>,
    /// The result or the exception, once somebody has asked for it.
    opened: Mutex<Option<Opened>>,
}

/// What people get for an ending.
enum Opened {
    Value(Py<PyAny>),
    Error(Py<PyAny>),
}

impl NativeFuture {
    /// What the connection is to tell of the end.
    pub(crate) fn task(&self) -> Task {
        Task(Arc::clone(&self.slot))
    }

    pub(crate) fn set_number(&self, number: Number) {
        self.number.store(number.0, Ordering::Relaxed);
    }

    /// How far the task is. In a forked child another thread, which is not there, may hold that.
    fn phase(&self) -> PyResult<Locked<'_>> {
        let connection = self.connection.as_ref().map(Py::get);
        if connection.is_none_or(|connection| connection.inner().is_here()) {
            return Ok(self.slot.lock());
        }
        self.slot.try_lock().ok_or_else(|| python_error(ConnectionError::Forked))
    }

    fn opened(&self) -> MutexGuard<'_, Option<Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was opened before, be it by another thread at this moment.
    fn known(&self, py: Python<'_>) -> Option<Opened> {
        self.opened().as_ref().map(|opened| opened.clone_ref(py))
    }

    /// Keeps what was opened, unless another thread was faster; what is kept.
    fn keep(slf: &Bound<'_, Self>, opened: Opened) -> Opened {
        let py = slf.py();
        if opened.may_refer(py) {
            collector::show(slf);
        }
        let mut kept = slf.get().opened();
        if let Some(first) = &*kept {
            let first = first.clone_ref(py);
            // Before what was made in vain is dropped, which may run code of the user.
            drop(kept);
            return first;
        }
        kept.insert(opened).clone_ref(py)
    }

    /// Waits natively for so long; none where the wait is Python's business: in a task, whose
    /// resources are free meanwhile, and in the thread that receives, which must go on.
    fn wait(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Option<bool>> {
        match &self.connection {
            Some(connection) if connection.get().is_waited_for_plainly() => {
                self.park(py, duration(timeout)?).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn park(&self, py: Python<'_>, timeout: Option<Duration>) -> PyResult<bool> {
        let connection = self.connection.as_ref().map(|connection| connection.get().inner());
        let slot = &*self.slot;
        let waited =
            wait_in_slices(py, timeout, |slice| slot.wait(connection, slice).then_some(()))?;
        Ok(waited.is_some())
    }

    /// What the ending gives; none if only Python can tell.
    fn open_here(slf: &Bound<'_, Self>) -> PyResult<Option<Opened>> {
        let (py, this) = (slf.py(), slf.get());
        if let Some(opened) = this.known(py) {
            return Ok(Some(opened));
        }
        let read = match &*this.phase()? {
            Phase::Ended(Ending::Done(Value::Inline(bytes))) => {
                simple::loads(py, bytes).ok_or_else(|| PyBytes::new(py, bytes).into_any())
            }
            Phase::Brought(brought) => match &brought.value {
                Some(value) => Err(this.own_view(py, value)?),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        // Outside of any lock: it runs code of the user.
        let opened = match read {
            Ok(value) => Opened::Value(value.unbind()),
            Err(pickled) => this.load(py, &pickled)?,
        };
        Ok(Some(Self::keep(slf, opened)))
    }

    /// A stored value that is here, for this one's holder alone.
    fn own_view<'py>(&self, py: Python<'py>, value: &Bytes) -> PyResult<Bound<'py, PyAny>> {
        match &self.connection {
            Some(connection) => connection.get().own_view(py, value),
            None => Ok(PyBytes::new(py, value).into_any()),
        }
    }

    fn load(&self, py: Python<'_>, pickled: &Bound<'_, PyAny>) -> PyResult<Opened> {
        match imports::loads_result(py)?.call1((pickled,)) {
            Ok(value) => Ok(Opened::Value(value.unbind())),
            Err(error) if error.is_instance_of::<PyException>(py) => {
                let unreadable = imports::ending(py, "unreadable")?;
                Ok(Opened::Error(unreadable.call1((error, &self.name))?.unbind()))
            }
            Err(error) => Err(error),
        }
    }

    /// The cause that what depends on this one names.
    fn cause(&self, py: Python<'_>) -> PyResult<Cause> {
        let number = Number(self.number.load(Ordering::Relaxed));
        Ok(Cause { number, name: self.name.bind(py).to_str()?.into() })
    }

    /// How what depends on this one ends, if that is not by an exception of this process.
    fn passed_on(&self, py: Python<'_>) -> PyResult<Option<Ending>> {
        let own = self.cause(py)?;
        Ok(match &*self.phase()? {
            Phase::Ended(Ending::Failed { failure, cause }) => Some(Ending::Failed {
                failure: failure.clone(),
                cause: Some(cause.clone().unwrap_or(own)),
            }),
            Phase::Ended(Ending::Cancelled { cause }) => {
                Some(Ending::Cancelled { cause: Some(cause.clone().unwrap_or(own)) })
            }
            Phase::Own(Own::Cancelled | Own::CancelledAndNotified) => {
                Some(Ending::Cancelled { cause: Some(own) })
            }
            _ => None,
        })
    }
}

#[pymethods]
impl NativeFuture {
    #[new]
    #[pyo3(signature = (delivery, name, connection = None))]
    fn new(delivery: Py<PyAny>, name: Py<PyString>, connection: Option<Py<Connection>>) -> Self {
        Self {
            slot: Arc::default(),
            number: AtomicU64::new(0),
            connection,
            delivery,
            name,
            opened: Mutex::new(None),
        }
    }

    /// Stands before the standard library's, which makes all that is made late here.
    #[expect(clippy::unused_self, reason = "Python calls it with one")]
    #[pyo3(signature = (*_positional, **_named))]
    fn __init__(&self, _positional: &Bound<'_, PyTuple>, _named: Option<&Bound<'_, PyDict>>) {}

    #[expect(clippy::needless_pass_by_value, reason = "PyO3 gives it so")]
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.delivery)?;
        if let Ok(opened) = self.opened.try_lock()
            && let Some(Opened::Value(object) | Opened::Error(object)) = &*opened
        {
            visit.call(object)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        // Dropped after the lock was given back: that may run code of the user.
        let opened = self.opened().take();
        drop(opened);
    }

    /// Whether the task has ended, be it by being cancelled.
    fn done(&self) -> bool {
        self.slot.is_ended()
    }

    /// Whether the task was cancelled.
    fn cancelled(&self) -> PyResult<bool> {
        Ok(self.slot.is_ended() && self.phase()?.is_cancelled())
    }

    /// Wait for the task and return what it returned, or raise what it raised.
    ///
    /// Parameters
    /// ----------
    /// timeout
    ///     Seconds to wait at most.
    ///
    /// Raises
    /// ------
    /// TimeoutError
    ///     If the task has not ended by then.
    /// concurrent.futures.CancelledError
    ///     If it was cancelled.
    #[expect(clippy::doc_markdown, reason = "Python shows it as it stands")]
    #[pyo3(signature = (timeout = None))]
    fn result<'py>(
        slf: &Bound<'py, Self>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        if !this.slot.is_ended() && this.wait(py, timeout)? == Some(false) {
            return Err(PyTimeoutError::new_err(()));
        }
        let opened = if this.slot.is_ended() { Self::open_here(slf)? } else { None };
        match opened {
            Some(Opened::Value(value)) => Ok(value.into_bound(py)),
            Some(Opened::Error(error)) => Err(PyErr::from_value(error.into_bound(py))),
            None => slf.call_method1("_result_in_time", (timeout,)),
        }
    }

    /// What the connection calls the task.
    #[getter(number)]
    fn number_for_python(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    #[setter(number)]
    fn number_from_python(&self, number: u64) {
        self.set_number(Number(number));
    }

    #[getter]
    fn _delivery<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.delivery.bind(py)
    }

    #[getter]
    fn _name<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        self.name.bind(py)
    }

    /// As the standard library names it.
    #[getter(_state)]
    fn state(&self) -> PyResult<&'static str> {
        Ok(self.phase()?.state().name())
    }

    /// For the standard library's methods by which a future is ended from outside.
    #[setter(_state)]
    fn set_state(&self, name: &str) -> PyResult<()> {
        let state = Own::of_name(name).ok_or_else(|| PyValueError::new_err(name.to_owned()))?;
        self.slot.set_own(state);
        Ok(())
    }

    /// How it ended, as `hurricane._ending` has it; None before, or if it was ended from outside.
    #[getter]
    fn _ending<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let ending = match &*self.phase()? {
            Phase::Ended(ending) => Some(ending.clone()),
            Phase::Brought(brought) => Some(brought.ending()),
            Phase::Own(Own::Finished) => None,
            _ => return Ok(None),
        };
        // Outside of the lock, as it runs Python.
        match ending {
            Some(ending) => incoming::ending(py, &ending).map(Some),
            None => self.raised(py),
        }
    }

    /// What was opened: a value and an exception, one of them None; None if nothing was.
    #[getter(_opened)]
    fn opened_before<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        self.known(py).map(|opened| opened.into_tuple(py)).transpose()
    }

    /// Keeps what was opened.
    #[setter(_opened)]
    fn keep_from_python(&self, opened: (Py<PyAny>, Option<Py<PyAny>>)) {
        let opened = match opened {
            (_, Some(error)) => Opened::Error(error),
            (value, None) => Opened::Value(value),
        };
        // What was there is dropped after the lock was given back.
        let before = self.opened().replace(opened);
        drop(before);
    }

    /// Keeps what was opened, unless another thread was faster; what is kept.
    fn _keep_opened<'py>(
        slf: &Bound<'py, Self>,
        opened: (Py<PyAny>, Option<Py<PyAny>>),
    ) -> PyResult<Bound<'py, PyTuple>> {
        let opened = match opened {
            (_, Some(error)) => Opened::Error(error),
            (value, None) => Opened::Value(value),
        };
        // A stored value is here now, whatever becomes of it in the cluster.
        slf.get().slot.bring(None);
        Self::keep(slf, opened).into_tuple(slf.py())
    }

    /// Opens what needs no help of Python's; as `_opened`.
    fn _open_here<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let py = slf.py();
        Self::open_here(slf)?.map(|opened| opened.into_tuple(py)).transpose()
    }

    /// From now on the collector of garbage looks at it: it may refer to itself.
    fn _track(slf: &Bound<'_, Self>) {
        collector::show(slf);
    }

    /// From now on, whoever ends it takes its condition. It is kept alive until then.
    fn _watch(slf: &Bound<'_, Self>) {
        slf.get().slot.watch(|| slf.clone().into_any().unbind());
    }

    /// From now on, whoever ends it without a value takes its condition. False if it has ended.
    fn _watch_for_failure(&self) -> bool {
        self.slot.watch_for_failure()
    }

    /// Ends it as has arrived; whether that was the end. Its condition is held.
    fn _settle(&self) -> bool {
        self.slot.settle()
    }

    /// Ends it as cancelled; false if it has ended. Its condition is held.
    fn _end_cancelled(&self) -> bool {
        let (is_first, before) = self.slot.cancel(true);
        drop(before);
        is_first == Some(true)
    }

    /// Cancels a task that nobody watches; whether it is cancelled. None: somebody watches.
    fn _cancel_unwatched(&self) -> PyResult<Option<bool>> {
        let Some(connection) = &self.connection else {
            return Ok(None);
        };
        match self.slot.cancel(false).0 {
            Some(true) => {
                // All may be over.
                let number = Number(self.number.load(Ordering::Relaxed));
                let _ = connection.get().inner().cancel(number);
                Ok(Some(true))
            }
            Some(false) => self.cancelled().map(Some),
            None => Ok(None),
        }
    }

    /// Ends it before it was submitted: with an exception, or as the future that it depends on.
    fn _end_before(slf: &Bound<'_, Self>, why: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let error = match why.cast::<NativeFuture>() {
            Ok(first) => {
                if let Some(ending) = first.get().passed_on(py)? {
                    this.slot.end_with(ending);
                    return Ok(());
                }
                match first.get().known(py) {
                    Some(Opened::Error(error)) => error,
                    _ => {
                        return Err(PyTypeError::new_err("a future that has a value ends nothing"));
                    }
                }
            }
            Err(_) => why.clone().unbind(),
        };
        *this.opened() = Some(Opened::Error(error));
        this.slot.set_own(Own::Finished);
        Ok(())
    }

    /// Waits without the GIL; whether the task has ended.
    #[pyo3(signature = (timeout = None))]
    fn _park(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        self.park(py, duration(timeout)?)
    }
}

impl NativeFuture {
    /// The exception of this process with which it ended.
    fn raised<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.known(py) {
            Some(Opened::Error(error)) => imports::ending(py, "Raised")?.call1((error,)).map(Some),
            _ => Ok(None),
        }
    }
}

/// It may go anywhere, also in the middle of other code of this thread: nothing here runs Python,
/// or holds a lock within which Python runs elsewhere.
impl Drop for NativeFuture {
    fn drop(&mut self) {
        let connection = self.connection.as_ref().map(Py::get);
        if connection.is_some_and(|connection| !connection.inner().is_here()) {
            // In a forked child others may hold the locks for ever.
            return;
        }
        let left = self.slot.leave();
        if left.holds_value()
            && let Some(connection) = connection
        {
            let number = Number(self.number.load(Ordering::Relaxed));
            // All may be over.
            let _ = connection.inner().release(vec![number]);
        }
    }
}

impl Opened {
    fn may_refer(&self, py: Python<'_>) -> bool {
        match self {
            Self::Value(object) | Self::Error(object) => collector::may_refer(object.bind(py)),
        }
    }

    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Value(value) => Self::Value(value.clone_ref(py)),
            Self::Error(error) => Self::Error(error.clone_ref(py)),
        }
    }

    fn into_tuple(self, py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        match self {
            Self::Value(value) => (value, py.None()).into_pyobject(py),
            Self::Error(error) => (py.None(), error).into_pyobject(py),
        }
    }
}

fn duration(timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    let Some(timeout) = timeout.filter(|timeout| !timeout.is_none()) else {
        return Ok(None);
    };
    timeout_duration(timeout.extract()?).map(Some)
}

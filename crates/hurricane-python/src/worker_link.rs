//! `WorkerLink`: a worker process's link to its node.

use std::ffi::OsString;

use hurricane_core::id::RunId;
use hurricane_runtime::worker_link::{self, Job, WaitError, WorkerLinkError};
use pyo3::exceptions::{PyRecursionError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::connection::{Connection, python_error, shared};
use crate::waiting::timeout_duration;

/// A worker process's link to its node.
#[pyclass(frozen, module = "hurricane._native")]
pub(crate) struct WorkerLink(worker_link::WorkerLink<Py<PyAny>>);

#[pymethods]
impl WorkerLink {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        let link = py.detach(worker_link::WorkerLink::take);
        link.map(Self).map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    fn setup<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.setup())
    }

    fn node_name(&self) -> &str {
        self.0.node_name()
    }

    fn stack_path(&self) -> OsString {
        self.0.stack_path().into()
    }

    fn stack_signal(&self) -> i32 {
        self.0.stack_signal()
    }

    fn ready(&self) {
        unless_gone(self.0.ready());
    }

    fn setup_failed(&self, error: PyBackedBytes) {
        unless_gone(self.0.setup_failed(shared(error)));
    }

    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        match py.detach(|| self.0.receive()) {
            Ok(Some(job)) => tuple(py, job).map(Some),
            Ok(None) | Err(_) => Ok(None),
        }
    }

    fn finished(&self, py: Python<'_>, run: u64, result: PyBackedBytes, ran: f64) -> PyResult<()> {
        let (result, ran) = (shared(result), timeout_duration(ran)?);
        py.detach(|| unless_gone(self.0.finished(RunId(run), result, ran)));
        Ok(())
    }

    fn raised(&self, py: Python<'_>, run: u64, exception: PyBackedBytes, ran: f64) -> PyResult<()> {
        let (exception, ran) = (shared(exception), timeout_duration(ran)?);
        py.detach(|| unless_gone(self.0.raised(RunId(run), exception, ran)));
        Ok(())
    }

    fn connect(&self) -> PyResult<Connection> {
        self.0.connect().map(Connection::new).map_err(python_error)
    }

    fn wait_begin(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.0.wait_begin()).map_err(wait_error)
    }

    fn wait_end(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.0.wait_end()).map_err(wait_error)
    }
}

/// What cannot be said any more because the node is gone is dropped: `receive` says that this is
/// the end, and a thread of the link ends the process in a moment.
fn unless_gone(said: Result<(), WorkerLinkError>) {
    drop(said);
}

fn wait_error(error: WaitError) -> PyErr {
    match error {
        WaitError::TooDeep { limit } => PyRecursionError::new_err(limit),
        WaitError::Connection(error) => python_error(error),
    }
}

fn tuple(py: Python<'_>, job: Job) -> PyResult<Bound<'_, PyTuple>> {
    match job {
        Job::Run { run, definition, arguments, inputs } => {
            let arguments = PyBytes::new(py, &arguments);
            let inputs = PyList::new(py, inputs.iter().map(|input| PyBytes::new(py, input)))?;
            ("run", run.0, definition.0, arguments, inputs).into_pyobject(py)
        }
        Job::Define { id, name, function } => {
            ("define", id.0, &*name, PyBytes::new(py, &function)).into_pyobject(py)
        }
        Job::Forget { id } => ("forget", id.0).into_pyobject(py),
    }
}

//! `WorkerLink`: a worker process's link to its node.

use std::ffi::OsString;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hurricane_core::id::RunId;
use hurricane_runtime::worker_link::{self, Job, WaitError, WorkerLinkError};
use pyo3::exceptions::{PyRecursionError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::connection::{Connection, python_error, shared};
use crate::sentence;
use crate::slot::Task;
use crate::waiting::timeout_duration;

/// A worker process's link to its node.
#[pyclass(frozen, module = "hurricane._native")]
pub(crate) struct WorkerLink {
    link: worker_link::WorkerLink<Task>,
    /// What the running task was given: within a run it is one object for Python, too.
    connection: Mutex<Option<Py<Connection>>>,
}

impl WorkerLink {
    fn end_run(&self) {
        // Taken first and dropped after: what Python drops may run Python.
        let ended = self.connection().take();
        drop(ended);
    }

    fn connection(&self) -> MutexGuard<'_, Option<Py<Connection>>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl WorkerLink {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        let link = py.detach(worker_link::WorkerLink::take);
        link.map(|link| Self { link, connection: Mutex::new(None) })
            .map_err(|error| PyRuntimeError::new_err(sentence::of(&error)))
    }

    fn setup<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.link.setup())
    }

    fn node_name(&self) -> &str {
        self.link.node_name()
    }

    fn stack_path(&self) -> OsString {
        self.link.stack_path().into()
    }

    fn stack_signal(&self) -> i32 {
        self.link.stack_signal()
    }

    fn ready(&self) {
        unless_gone(self.link.ready());
    }

    fn setup_failed(&self, error: PyBackedBytes) {
        unless_gone(self.link.setup_failed(shared(error)));
    }

    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        match py.detach(|| self.link.receive()) {
            Ok(Some(job)) => tuple(py, job).map(Some),
            Ok(None) | Err(_) => Ok(None),
        }
    }

    fn finished(&self, py: Python<'_>, run: u64, result: PyBackedBytes, ran: f64) -> PyResult<()> {
        self.end_run();
        let (result, ran) = (shared(result), timeout_duration(ran)?);
        py.detach(|| unless_gone(self.link.finished(RunId(run), result, ran)));
        Ok(())
    }

    fn raised(&self, py: Python<'_>, run: u64, exception: PyBackedBytes, ran: f64) -> PyResult<()> {
        self.end_run();
        let (exception, ran) = (shared(exception), timeout_duration(ran)?);
        py.detach(|| unless_gone(self.link.raised(RunId(run), exception, ran)));
        Ok(())
    }

    fn connect(&self, py: Python<'_>) -> PyResult<Py<Connection>> {
        let mut connection = self.connection();
        if let Some(open) = &*connection {
            return Ok(open.clone_ref(py));
        }
        let opened = Connection::of_task(self.link.connect().map_err(python_error)?);
        Ok(connection.insert(Py::new(py, opened)?).clone_ref(py))
    }

    fn wait_begin(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.link.wait_begin()).map_err(wait_error)
    }

    fn wait_end(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.link.wait_end()).map_err(wait_error)
    }

    fn wait_break_off(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.link.wait_break_off()).map_err(wait_error)
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

//! `WorkerLink`: a worker process's link to its node.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hurricane_core::id::RunId;
use hurricane_core::message::Stream;
use hurricane_runtime::worker_link::{self, WaitError, WorkerLinkError};
use pyo3::exceptions::{PyRecursionError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::connection::{Connection, python_error, shared};
use crate::sentence;
use crate::serving::{Serving, Tools};
use crate::slot::Task;

const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// A worker process's link to its node.
#[pyclass(frozen, module = "hurricane._native")]
pub(crate) struct WorkerLink {
    link: worker_link::WorkerLink<Task>,
    /// What the running task was given: within a run it is one object for Python, too.
    connection: Mutex<Option<Py<Connection>>>,
    /// The run; zero between runs.
    run: AtomicU64,
    /// Whether the run has written to standard output and error.
    wrote: [AtomicBool; 2],
}

impl WorkerLink {
    pub(crate) fn link(&self) -> &worker_link::WorkerLink<Task> {
        &self.link
    }

    pub(crate) fn begin_run(&self, run: RunId) {
        self.run.store(run.0, Ordering::Relaxed);
    }

    /// The task is over, but for what it printed.
    pub(crate) fn stop_running(&self) {
        self.run.store(0, Ordering::Relaxed);
        // Taken first and dropped after: what Python drops may run Python.
        let ended = self.connection().take();
        drop(ended);
    }

    /// Whether the run has written anything that was noted.
    pub(crate) fn wrote(&self) -> bool {
        self.wrote.iter().any(|wrote| wrote.load(Ordering::Relaxed))
    }

    /// What is written from here on is not that of the run.
    pub(crate) fn end_output(&self, py: Python<'_>) {
        for (wrote, stream) in self.wrote.iter().zip(STREAMS) {
            if wrote.swap(false, Ordering::Relaxed) {
                py.detach(|| self.link.mark_output(stream, None));
            }
        }
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
        let link = link.map_err(|error| PyRuntimeError::new_err(sentence::of(&error)))?;
        Ok(Self {
            link,
            connection: Mutex::new(None),
            run: AtomicU64::default(),
            wrote: Default::default(),
        })
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

    fn serve(slf: &Bound<'_, Self>, tools: Tools) -> PyResult<()> {
        Serving::new(slf.py(), slf.get(), tools)?.serve()
    }

    fn is_running(&self) -> bool {
        self.run.load(Ordering::Relaxed) != 0
    }

    fn note_output(&self, py: Python<'_>, is_stderr: bool) {
        let run = self.run.load(Ordering::Relaxed);
        let index = usize::from(is_stderr);
        if run != 0 && !self.wrote[index].swap(true, Ordering::Relaxed) {
            py.detach(|| self.link.mark_output(STREAMS[index], Some(RunId(run))));
        }
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
pub(crate) fn unless_gone(said: Result<(), WorkerLinkError>) {
    drop(said);
}

fn wait_error(error: WaitError) -> PyErr {
    match error {
        WaitError::TooDeep { limit } => PyRecursionError::new_err(limit),
        WaitError::Connection(error) => python_error(error),
    }
}

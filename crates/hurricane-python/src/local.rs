//! `Local`: a cluster on one machine.

use std::ffi::OsString;

use hurricane_runtime::LocalConfig;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyDict;

use crate::connection::{Connection, python_error, shared};
use crate::{sentence, snapshot};

/// Scheduler and node of a one-machine cluster, in threads of this process.
#[pyclass(frozen, module = "hurricane._native")]
pub(crate) struct Local(hurricane_runtime::Local);

#[pymethods]
impl Local {
    #[new]
    #[pyo3(signature = (*, slots, worker_command, setup))]
    fn new(
        py: Python<'_>,
        slots: Option<u64>,
        worker_command: Vec<OsString>,
        setup: PyBackedBytes,
    ) -> PyResult<Self> {
        let config = LocalConfig { slots, worker_command, setup: shared(setup) };
        let started = py.detach(|| hurricane_runtime::Local::start(config));
        started
            .map(Self)
            .map_err(|error| PyOSError::new_err(sentence::with_hint(&error, error.hint())))
    }

    fn connect(&self) -> PyResult<Connection> {
        self.0.connect().map(Connection::new).map_err(python_error)
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let snapshot = py.detach(|| self.0.snapshot()).map_err(python_error)?;
        snapshot::to_dict(py, &snapshot)
    }

    fn worker_pids(&self) -> Vec<u32> {
        self.0.worker_pids()
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.0.stop());
    }
}

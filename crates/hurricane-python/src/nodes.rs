//! `Nodes`: the node of a cluster whose scheduler is in this process, too.

use std::ffi::OsString;

use hurricane_runtime::dialing::{Choice, Target};
use hurricane_runtime::identity::State;
use hurricane_runtime::node::{self, NodesConfig, Report, WorkerSource, whole_machine};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::connection::shared;
use crate::sentence;
use crate::waiting::{timeout_duration, wait_in_slices};

/// A node that has this machine's resources.
#[pyclass(frozen, module = "hurricane._native")]
pub(crate) struct Nodes(node::Nodes);

#[pymethods]
impl Nodes {
    #[new]
    #[pyo3(signature = (*, port, cpus, worker_command, setup))]
    fn new(
        py: Python<'_>,
        port: u16,
        cpus: Option<u64>,
        worker_command: Vec<OsString>,
        setup: PyBackedBytes,
    ) -> PyResult<Self> {
        let state = State::open()
            .map_err(|error| PyOSError::new_err(sentence::with_hint(&error, Some(error.hint()))))?;
        let workers = WorkerSource::Processes { command: worker_command, setup: shared(setup) };
        let config = NodesConfig {
            state,
            target: Target::Here { port },
            choice: Choice::default(),
            shares: vec![whole_machine(cpus)],
            workers,
            python_minor: Some(py.version_info().minor),
        };
        let started = py.detach(|| node::Nodes::start(config, Box::new(tell)));
        started
            .map(Self)
            .map_err(|error| PyOSError::new_err(sentence::with_hint(&error, error.hint())))
    }

    fn worker_pids(&self) -> Vec<u32> {
        self.0.worker_pids()
    }

    fn drain(&self) {
        self.0.drain();
    }

    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = timeout.map(timeout_duration).transpose()?;
        let over = wait_in_slices(py, timeout, |slice| self.0.wait(Some(slice)).then_some(()))?;
        Ok(over.is_some())
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.0.stop());
    }
}

/// What becomes of the node itself is known to the scheduler beside it. Not through Python: this is
/// the node's thread, which must not wait.
fn tell(_: usize, report: Report) {
    if let Report::SetupFailed(error) = report {
        eprintln!("hurricane: no worker can be set up here: {}", String::from_utf8_lossy(&error));
    }
}

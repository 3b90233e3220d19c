//! `Remote`: a program's way to a cluster, and how it is found.

use hurricane_runtime::dialing::Choice;
use hurricane_runtime::remote::{self, FindError, Search};
use pyo3::exceptions::{PyConnectionError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::connection::{Connection, python_error};
use crate::waiting::wait_in_slices;
use crate::{sentence, snapshot};

/// The way to a cluster, and the thread that carries connections to it.
#[pyclass(frozen, module = "hurricane._native")]
pub(crate) struct Remote(remote::Remote);

impl Remote {
    pub(crate) fn new(remote: remote::Remote) -> Self {
        Self(remote)
    }
}

#[pymethods]
impl Remote {
    fn connect(&self) -> PyResult<Connection> {
        self.0.connect().map(Connection::new).map_err(python_error)
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let mut asked = self.0.ask_for_snapshot().map_err(find_error)?;
        let answer = wait_in_slices(py, None, |slice| asked.wait(slice))?;
        let answer = answer.expect("without a timeout it waits for something");
        snapshot::to_dict(py, &answer.map_err(find_error)?)
    }

    fn slots(&self) -> u64 {
        self.0.slots()
    }

    /// They are on the nodes.
    #[expect(clippy::unused_self, reason = "it has the shape of `Local`")]
    fn worker_pids(&self) -> Vec<u32> {
        Vec::new()
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.0.stop());
    }
}

/// Find the cluster that is there or was chosen; whether this user holds a key of any.
#[pyfunction]
#[pyo3(signature = (*, cluster, address, port))]
pub(crate) fn find_cluster(
    py: Python<'_>,
    cluster: Option<&str>,
    address: Option<String>,
    port: Option<u16>,
) -> PyResult<(Option<Remote>, bool)> {
    let cluster = cluster.map(str::parse).transpose();
    let cluster = cluster.map_err(|error| PyValueError::new_err(format!("cluster: {error}")))?;
    let choice = Choice { cluster, address, port };
    let python_minor = Some(py.version_info().minor);
    let mut searching =
        py.detach(|| remote::Remote::search(choice, python_minor)).map_err(find_error)?;
    let outcome = wait_in_slices(py, None, |slice| searching.wait(slice))?;
    let outcome = outcome.expect("without a timeout it waits for something");
    Ok(match outcome.map_err(find_error)? {
        Search::Found(remote) => (Some(Remote(remote)), true),
        Search::NotFound => (None, true),
        Search::NoKey => (None, false),
    })
}

pub(crate) fn find_error(error: FindError) -> PyErr {
    match error {
        FindError::Choice(error) => PyValueError::new_err(error.to_string()),
        FindError::Connection(error) => python_error(error),
        error => PyConnectionError::new_err(sentence::with_hint(&error, error.hint())),
    }
}

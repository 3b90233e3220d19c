//! `Server`: a cluster's scheduler inside of this process.

use std::net::IpAddr;
use std::time::Duration;

use hurricane_runtime::dialing::{Choice, DEFAULT_PORT, Target};
use hurricane_runtime::identity::{Name, Roles, State};
use hurricane_runtime::remote;
use hurricane_runtime::scheduler::{self, ServerConfig, ServerError};
use pyo3::exceptions::{PyFileExistsError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::remote::{Remote, find_error};
use crate::waiting::{timeout_duration, wait_in_slices};
use crate::{sentence, snapshot};

/// A cluster's scheduler, in a thread of this process.
#[pyclass(frozen, module = "hurricane._native")]
pub(crate) struct Server {
    scheduler: scheduler::Server,
    state: State,
    python_minor: u8,
}

#[pymethods]
impl Server {
    #[new]
    #[pyo3(signature = (*, port, name, bind))]
    fn new(
        py: Python<'_>,
        port: Option<u16>,
        name: Option<&str>,
        bind: Vec<String>,
    ) -> PyResult<Self> {
        let python_minor = py.version_info().minor;
        let port = initialization_port(port)?;
        let name = match name {
            Some(name) => name.parse().map_err(|error| value_error("name", &error))?,
            None => Name::near(&format!("port-{port}")),
        };
        let bind =
            bind.into_iter().map(|address| address.parse::<IpAddr>()).collect::<Result<_, _>>();
        let bind = bind.map_err(|error| value_error("bind", &error))?;
        let state = State::open()
            .map_err(|error| PyOSError::new_err(sentence::with_hint(&error, Some(error.hint()))))?;
        let python = Some(python_minor);
        let config = ServerConfig { name, port, bind, state: state.clone(), python_minor: python };
        // What happens is seen in `snapshot`, and by whoever it concerns.
        let report = Box::new(drop);
        let started = py.detach(|| scheduler::Server::start(config, report));
        let scheduler = started.map_err(|error| server_error(&error))?;
        Ok(Self { scheduler, state, python_minor })
    }

    #[getter]
    fn port(&self) -> u16 {
        self.scheduler.port()
    }

    #[getter]
    fn addresses(&self) -> Vec<String> {
        self.scheduler.addresses().iter().map(ToString::to_string).collect()
    }

    fn invite(&self, py: Python<'_>, uses: u32, ttl_seconds: f64, roles: &str) -> PyResult<String> {
        let ttl = positive(ttl_seconds)?;
        let roles: Roles = roles.parse().map_err(|error| value_error("role", &error))?;
        let ticket = py.detach(|| self.scheduler.invite(uses, ttl, roles));
        Ok(ticket.map_err(|error| server_error(&error))?.to_line())
    }

    fn remote(&self, py: Python<'_>) -> PyResult<Remote> {
        let target = Target::Here { port: self.scheduler.port() };
        let python = Some(self.python_minor);
        let remote = py.detach(|| remote::Remote::start(&self.state, target, python));
        remote.map(Remote::new).map_err(find_error)
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let snapshot = py.detach(|| self.scheduler.snapshot());
        snapshot::to_dict(py, &snapshot)
    }

    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = timeout.map(timeout_duration).transpose()?;
        let over =
            wait_in_slices(py, timeout, |slice| self.scheduler.wait(Some(slice)).then_some(()))?;
        Ok(over.is_some())
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.scheduler.stop());
    }
}

/// The port that was chosen, by argument or environment, or the usual one.
fn initialization_port(port: Option<u16>) -> PyResult<u16> {
    let choice = Choice { port, ..Choice::default() }.or_environment();
    let choice = choice.map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(choice.port.unwrap_or(DEFAULT_PORT))
}

fn positive(seconds: f64) -> PyResult<Duration> {
    let time = timeout_duration(seconds)?;
    if time.is_zero() {
        return Err(PyValueError::new_err("a ticket must be good for some time"));
    }
    Ok(time)
}

fn value_error(argument: &str, error: &dyn std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("{argument}: {error}"))
}

fn server_error(error: &ServerError) -> PyErr {
    let sentence = sentence::with_hint(error, error.hint());
    match error {
        // Told apart for who would as well be a client of it.
        ServerError::AlreadyHere { .. } | ServerError::Running { .. } => {
            PyFileExistsError::new_err(sentence)
        }
        _ => PyOSError::new_err(sentence),
    }
}

//! `command_line`: the command line of the runtime, and what of it Python must do.

use std::ffi::OsString;

use hurricane_runtime::cli::{self, Command, Host};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyDict;

use crate::connection::shared;

/// Run a command of the command line; an exit code, or a verb and its options for Python.
#[pyfunction]
pub(crate) fn command_line(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<Bound<'_, PyAny>> {
    let exit_code = match cli::parse(arguments.clone()) {
        Ok(Command::Demo(options)) => {
            let keywords = PyDict::new(py);
            keywords.set_item("slots", options.slots)?;
            return Ok(("demo", keywords).into_pyobject(py)?.into_any());
        }
        Ok(Command::Service(service)) => {
            let host = host(py, arguments)?;
            py.detach(|| service.run(&host))
        }
        Ok(Command::Errand(errand)) => py.detach(|| errand.run()),
        Err(exit_code) => exit_code,
    };
    Ok(exit_code.into_pyobject(py)?.into_any())
}

/// What nodes and their workers need of this interpreter.
fn host(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<Host> {
    let launch = py.import("hurricane._launch")?;
    Ok(Host {
        own_command: launch.call_method0("cli_command")?.extract()?,
        arguments,
        worker_command: launch.call_method0("worker_command")?.extract()?,
        setup: shared(launch.call_method0("node_setup")?.extract::<PyBackedBytes>()?),
        python_minor: py.version_info().minor,
    })
}

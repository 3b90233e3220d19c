//! `command_line`: the command line of the runtime, and what of it Python must do.

use std::ffi::OsString;

use hurricane_runtime::cli::{self, Command};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Run a command of the command line; an exit code, or a verb and its options for Python.
#[pyfunction]
pub(crate) fn command_line(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<Bound<'_, PyAny>> {
    match cli::parse(arguments) {
        Ok(Command::Demo(options)) => {
            let keywords = PyDict::new(py);
            keywords.set_item("slots", options.slots)?;
            Ok(("demo", keywords).into_pyobject(py)?.into_any())
        }
        Err(exit_code) => Ok(exit_code.into_pyobject(py)?.into_any()),
    }
}

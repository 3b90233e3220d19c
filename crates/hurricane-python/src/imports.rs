//! What is asked of Python's side often enough to be looked up once.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

/// `pickle.loads`, and what reads the containers that hold large buffers.
pub(crate) fn loads_result(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    LOADS.import(py, "hurricane._serialize", "loads_result")
}

/// Something of `hurricane._ending`.
pub(crate) fn ending<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import(intern!(py, "hurricane._ending"))?.getattr(PyString::new(py, name))
}

//! The Python face of hurricane: bindings only.

use pyo3::prelude::*;

#[pymodule]
mod _native {}

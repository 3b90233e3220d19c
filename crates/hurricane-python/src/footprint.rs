//! `Footprint`: of what the bytes of a function were made, to tell whether they still say it.

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PyString, PyTuple};

/// Checks that cost next to nothing and run no code of the user: whether everything is still the
/// same object.
#[pyclass(frozen, module = "hurricane._native")]
pub(crate) struct Footprint {
    checks: Vec<Check>,
    /// What stands in `sys`: to import that each time takes as long as the rest of a submit.
    system: Py<PyDict>,
}

enum Check {
    /// An attribute of a function or a cell.
    Attribute { holder: Py<PyAny>, name: Py<PyString>, value: Py<PyAny> },
    /// What stands in a dictionary; `None` if nothing does.
    Item { dictionary: Py<PyDict>, key: Py<PyString>, value: Option<Py<PyAny>> },
    /// How much stands in a dictionary.
    Length { dictionary: Py<PyDict>, length: usize },
    /// What a name in a module means.
    Global { module: Py<PyString>, name: Py<PyString>, value: Py<PyAny> },
}

impl Footprint {
    pub(crate) fn is_unchanged(&self, py: Python<'_>) -> PyResult<bool> {
        let mut modules = None;
        for check in &self.checks {
            let holds = match check {
                Check::Attribute { holder, name, value } => {
                    matches!(holder.bind(py).getattr(name), Ok(found) if found.is(value))
                }
                Check::Item { dictionary, key, value } => {
                    match (dictionary.bind(py).get_item(key)?, value) {
                        (Some(found), Some(value)) => found.is(value),
                        (found, value) => found.is_none() && value.is_none(),
                    }
                }
                Check::Length { dictionary, length } => dictionary.bind(py).len() == *length,
                Check::Global { module, name, value } => {
                    let modules = match &modules {
                        Some(modules) => modules,
                        None => modules.insert(self.loaded_modules(py)?),
                    };
                    match modules.get_item(module)? {
                        Some(module) => match module.cast::<PyModule>() {
                            Ok(module) => {
                                module.dict().get_item(name)?.is_some_and(|found| found.is(value))
                            }
                            Err(_) => false,
                        },
                        None => false,
                    }
                }
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn loaded_modules<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let modules = self.system.bind(py).get_item(intern!(py, "modules"))?;
        let modules = modules.ok_or_else(|| PyRuntimeError::new_err("lost sys.modules"))?;
        Ok(modules.cast_into::<PyDict>()?)
    }
}

#[pymethods]
impl Footprint {
    #[new]
    #[expect(clippy::needless_pass_by_value, reason = "Python's binding wants it so")]
    fn new(py: Python<'_>, checks: Vec<Bound<'_, PyTuple>>) -> PyResult<Self> {
        let checks = checks.iter().map(check).collect::<PyResult<_>>()?;
        let system = py.import(intern!(py, "sys"))?.dict().unbind();
        Ok(Self { checks, system })
    }

    /// Whether everything is as it was.
    #[pyo3(name = "is_unchanged")]
    fn is_unchanged_for_python(&self, py: Python<'_>) -> PyResult<bool> {
        self.is_unchanged(py)
    }
}

fn check(check: &Bound<'_, PyTuple>) -> PyResult<Check> {
    let kind: String = check.get_item(0)?.extract()?;
    let (first, second) = (check.get_item(1)?, check.get_item(2)?);
    let last = || check.get_item(3);
    Ok(match &*kind {
        "attribute" => Check::Attribute {
            holder: first.unbind(),
            name: second.extract()?,
            value: last()?.unbind(),
        },
        "item" => Check::Item {
            dictionary: first.extract()?,
            key: second.extract()?,
            value: Some(last()?.unbind()),
        },
        "no item" => {
            Check::Item { dictionary: first.extract()?, key: second.extract()?, value: None }
        }
        "length" => Check::Length { dictionary: first.extract()?, length: second.extract()? },
        _ => Check::Global {
            module: first.extract()?,
            name: second.extract()?,
            value: last()?.unbind(),
        },
    })
}

//! `Connection`: a client's connection, with Python's futures in it.

use std::collections::BTreeMap;

use bytes::Bytes;
use hurricane_core::id::{DefinitionNumber, NodeId, Number, ObjectId, ObjectNumber};
use hurricane_core::message::{Definition, INLINE_LIMIT_BYTES, MAX_NAME_BYTES};
use hurricane_core::resources::Resources;
use hurricane_runtime::client::{self, ConnectionError, Fetched, Received, SubmitError};
use pyo3::exceptions::{PyKeyError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::waiting::{timeout_duration, wait_in_slices};
use crate::{incoming, resources};

/// What `submit` and `put` return when a dependency was released.
const DEPENDENCY_RELEASED: i64 = 0;
/// What `submit` and `put` return when the allowance is used up.
const ALLOWANCE_USED_UP: i64 = -1;

/// A client's connection to its scheduler, or that of a running task through its worker.
#[pyclass(frozen, module = "hurricane._native")]
pub(crate) struct Connection(client::Connection<Py<PyAny>>);

impl Connection {
    pub(crate) fn new(connection: client::Connection<Py<PyAny>>) -> Self {
        Self(connection)
    }
}

#[pymethods]
impl Connection {
    #[pyo3(signature = (
        function, name, *, cpus, gpus, memory, resources, retries, timeout, priority
    ))]
    #[expect(clippy::too_many_arguments, reason = "in Python they are keywords")]
    fn define(
        &self,
        function: PyBackedBytes,
        name: &str,
        cpus: f64,
        gpus: f64,
        memory: u64,
        resources: BTreeMap<String, f64>,
        retries: u32,
        timeout: Option<f64>,
        priority: i32,
    ) -> PyResult<u32> {
        let definition = Definition {
            function: shared(function),
            name: name[..name.floor_char_boundary(MAX_NAME_BYTES)].into(),
            resources: Resources {
                cpus: resources::amount(cpus)?,
                gpus: resources::amount(gpus)?,
                memory_bytes: memory,
                named: resources::named(resources)?,
            },
            retries,
            timeout: timeout.map(timeout_duration).transpose()?,
            priority,
        };
        Ok(self.0.define(definition).map_err(python_error)?.0)
    }

    fn forget(&self, definition: u32) -> PyResult<()> {
        self.0.forget(DefinitionNumber(definition)).map_err(python_error)
    }

    fn submit(
        &self,
        future: Py<PyAny>,
        definition: u32,
        arguments: PyBackedBytes,
        dependencies: Vec<u64>,
    ) -> PyResult<i64> {
        let dependencies = dependencies.into_iter().map(Number).collect();
        let definition = DefinitionNumber(definition);
        number_or_reason(self.0.submit(future, definition, shared(arguments), dependencies))
    }

    fn put(&self, py: Python<'_>, value: PyBackedBytes) -> PyResult<i64> {
        // A large value is copied into the node's store here.
        number_or_reason(py.detach(|| self.0.put(shared(value))))
    }

    fn wait_for_allowance(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let timeout = Some(timeout_duration(timeout)?);
        let outcome = wait_in_slices(py, timeout, |slice| {
            self.0.wait_for_allowance(slice).map(|may_submit| may_submit.then_some(())).transpose()
        })?;
        Ok(outcome.transpose().map_err(python_error)?.is_some())
    }

    fn cancel(&self, number: u64) -> PyResult<()> {
        self.0.cancel(Number(number)).map_err(python_error)
    }

    fn cancel_waiting(&self) -> PyResult<()> {
        self.0.cancel_waiting().map_err(python_error)
    }

    fn release(&self, numbers: Vec<u64>) -> PyResult<()> {
        self.0.release(numbers.into_iter().map(Number).collect()).map_err(python_error)
    }

    fn is_running(&self, py: Python<'_>, number: u64) -> PyResult<bool> {
        py.detach(|| self.0.is_running(Number(number))).map_err(python_error)
    }

    fn fetch<'py>(
        &self,
        py: Python<'py>,
        node: u64,
        object: u64,
        timeout: f64,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let id = ObjectId { node: NodeId(node), number: ObjectNumber(object) };
        let timeout = Some(timeout_duration(timeout)?);
        let outcome = wait_in_slices(py, timeout, |slice| {
            let fetched = self.0.fetch(id, slice);
            (!matches!(fetched, Ok(Fetched::NotYet))).then_some(fetched)
        })?;
        match outcome.transpose().map_err(python_error)? {
            Some(Fetched::Value(value)) => Ok(Some(PyBytes::new(py, &value))),
            Some(Fetched::Gone) => Err(PyKeyError::new_err(object)),
            Some(Fetched::NotYet) | None => Ok(None),
        }
    }

    fn receive<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        let timeout = timeout.map(timeout_duration).transpose()?;
        let outcome = wait_in_slices(py, timeout, |slice| {
            let received = self.0.receive(Some(slice));
            let has_passed = matches!(&received, Ok(Some(batch)) if batch.is_empty());
            (!has_passed).then_some(received)
        })?;
        match outcome.transpose().map_err(python_error)? {
            Some(None) => Ok(None),
            Some(Some(batch)) => tuples(py, batch).map(Some),
            None => Ok(Some(PyList::empty(py))),
        }
    }

    fn pending(&self) -> PyResult<usize> {
        self.0.pending().map_err(python_error)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}

/// Python's bytes for Rust: small ones are copied, as that is cheaper than sharing them.
pub(crate) fn shared(bytes: PyBackedBytes) -> Bytes {
    if bytes.len() > INLINE_LIMIT_BYTES {
        Bytes::from_owner(bytes)
    } else {
        Bytes::copy_from_slice(&bytes)
    }
}

pub(crate) fn python_error(error: ConnectionError) -> PyErr {
    match error {
        ConnectionError::Lost(reason) => scheduler_lost(&reason.to_string()),
        other => PyRuntimeError::new_err(other.to_string()),
    }
}

/// Made in Python, where all of hurricane's errors are.
fn scheduler_lost(reason: &str) -> PyErr {
    Python::attach(|py| {
        let made = py
            .import("hurricane._broken")
            .and_then(|module| module.getattr("SchedulerLost")?.call1((reason,)));
        made.map_or_else(|error| error, PyErr::from_value)
    })
}

fn number_or_reason(outcome: Result<Number, SubmitError>) -> PyResult<i64> {
    match outcome {
        Ok(number) => Ok(number.0.cast_signed()),
        Err(SubmitError::DependencyReleased) => Ok(DEPENDENCY_RELEASED),
        Err(SubmitError::AllowanceUsedUp) => Ok(ALLOWANCE_USED_UP),
        Err(SubmitError::Connection(error)) => Err(python_error(error)),
    }
}

fn tuples(py: Python<'_>, batch: Vec<Received<Py<PyAny>>>) -> PyResult<Bound<'_, PyList>> {
    let list = PyList::empty(py);
    for received in batch {
        list.append(tuple(py, received)?)?;
    }
    Ok(list)
}

fn tuple(py: Python<'_>, received: Received<Py<PyAny>>) -> PyResult<Bound<'_, PyTuple>> {
    match received {
        Received::Ended { future, ending, .. } => incoming::ended(py, &future, &ending),
        Received::Restored { number, ending } => incoming::restored(py, number, &ending),
        Received::Output { number, name, node, output } => {
            incoming::wrote(py, &name, number.0, &node, &output)
        }
        Received::SetupFailed { error } => incoming::setup_failed(py, &error),
        Received::Stalled(stall) => incoming::stalled(py, &stall),
        Received::Notice(sentence) => incoming::notice(py, &sentence),
        Received::Lost(reason) => incoming::lost(py, &reason),
    }
}

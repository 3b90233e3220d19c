//! `Connection`: a client's connection, with Python's futures in it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use std::{ptr, thread};

use bytes::Bytes;
use hurricane_core::id::{DefinitionNumber, NodeId, Number, ObjectId, ObjectNumber};
use hurricane_core::message::{Definition, Ending, INLINE_LIMIT_BYTES, MAX_NAME_BYTES, Value};
use hurricane_core::resources::Resources;
use hurricane_runtime::client::{
    self, ConnectionError, Fetched, KeepError, Received, StoreFull, SubmitError,
};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyKeyError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::future::NativeFuture;
use crate::memory::{Memory, Parts};
use crate::slot::{Task, Watcher};
use crate::waiting::{timeout_duration, wait_in_slices};
use crate::{incoming, memory, resources};

/// What `submit` and `put` return when a dependency was released.
const DEPENDENCY_RELEASED: i64 = 0;
/// What `submit` and `put` return when the allowance is used up.
const ALLOWANCE_USED_UP: i64 = -1;

/// How long a stored value that is to be brought here is waited for before it is looked where it is.
const FETCH: Duration = Duration::from_millis(100);

/// A client's connection to its scheduler, or that of a running task through its worker.
#[pyclass(frozen, module = "hurricane._native")]
pub(crate) struct Connection {
    inner: client::Connection<Task>,
    /// It is a running task's, whose resources are free while it waits.
    is_of_task: bool,
    /// The thread that receives; zero before it did.
    receiver: AtomicUsize,
    /// Whether calls may be submitted without asking Python.
    is_fast: AtomicBool,
    /// How many definitions were forgotten.
    forgotten: AtomicU64,
}

impl Connection {
    /// A program's.
    pub(crate) fn new(inner: client::Connection<Task>) -> Self {
        Self {
            inner,
            is_of_task: false,
            receiver: AtomicUsize::new(0),
            is_fast: AtomicBool::new(true),
            forgotten: AtomicU64::new(0),
        }
    }

    /// A running task's.
    pub(crate) fn of_task(inner: client::Connection<Task>) -> Self {
        Self { is_of_task: true, ..Self::new(inner) }
    }

    pub(crate) fn inner(&self) -> &client::Connection<Task> {
        &self.inner
    }

    pub(crate) fn is_fast(&self) -> bool {
        self.is_fast.load(Ordering::Relaxed)
    }

    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// A fetched value as Python gets it: where memory is shared, a view that is its holder's alone.
    pub(crate) fn own_view<'py>(
        &self,
        py: Python<'py>,
        value: &Bytes,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.inner.own_view(value) {
            Some(view) => Ok(Bound::new(py, Memory::new(view))?.into_any()),
            None => Ok(PyBytes::new(py, value).into_any()),
        }
    }

    /// Whether this thread may wait for a task and do nothing else.
    pub(crate) fn is_waited_for_plainly(&self) -> bool {
        let is_receiver = self.receiver.load(Ordering::Relaxed) == this_thread();
        !self.is_of_task && !is_receiver && self.inner.is_here()
    }
}

/// What no other thread that runs has.
fn this_thread() -> usize {
    thread_local!(static OWN: u8 = const { 0 });
    OWN.with(|own| ptr::from_ref(own).addr())
}

impl Connection {
    fn tuples<'py>(
        &self,
        py: Python<'py>,
        batch: Vec<Received<Task>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for received in batch {
            let stored = match &received {
                Received::Ended { number, ending: Ending::Done(Value::Stored(_)), .. } => {
                    Some(*number)
                }
                _ => None,
            };
            match (tuple(py, received)?, stored) {
                (Some(tuple), _) => list.append(tuple)?,
                // Its future was cancelled meanwhile. If the connection is over, so is this.
                (None, Some(number)) => drop(self.inner.release(vec![number])),
                (None, None) => {}
            }
        }
        Ok(list)
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
        Ok(self.inner.define(definition).map_err(python_error)?.0)
    }

    fn forget(&self, definition: u32) -> PyResult<()> {
        // First: who looks sees that it may be gone.
        self.forgotten.fetch_add(1, Ordering::Relaxed);
        self.inner.forget(DefinitionNumber(definition)).map_err(python_error)
    }

    fn submit(
        &self,
        future: &Bound<'_, NativeFuture>,
        definition: u32,
        arguments: PyBackedBytes,
        dependencies: Vec<u64>,
    ) -> PyResult<i64> {
        let dependencies = dependencies.into_iter().map(Number).collect();
        let definition = DefinitionNumber(definition);
        let future = future.get();
        let submitted =
            self.inner.submit(future.task(), definition, shared(arguments), dependencies);
        if let Ok(number) = submitted {
            future.set_number(number);
        }
        number_or_reason(submitted)
    }

    fn put(&self, py: Python<'_>, value: Parts) -> PyResult<i64> {
        // A large value is copied into the node's store here.
        let bytes = value.length_bytes();
        let put = value.with(py, |parts| {
            if bytes > INLINE_LIMIT_BYTES as u64 {
                self.inner.make_room(bytes)?;
            }
            Ok::<_, StoreFull>(self.inner.put(self.inner.gather(parts)))
        });
        number_or_reason(put.map_err(store_full)?)
    }

    fn keep(&self, py: Python<'_>, argument: PyBuffer<u8>, beside: Vec<u64>) -> PyResult<i64> {
        let beside: Vec<Number> = beside.into_iter().map(Number).collect();
        match memory::with_bytes(py, argument, |argument| self.inner.keep(argument, &beside)) {
            Ok(number) => number_or_reason(Ok(number)),
            Err(KeepError::Submit(error)) => number_or_reason(Err(error)),
            Err(KeepError::StoreFull(full)) => Err(store_full(full)),
        }
    }

    fn wait_for_allowance(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let timeout = Some(timeout_duration(timeout)?);
        let outcome = wait_in_slices(py, timeout, |slice| {
            self.inner
                .wait_for_allowance(slice)
                .map(|may_submit| may_submit.then_some(()))
                .transpose()
        })?;
        Ok(outcome.transpose().map_err(python_error)?.is_some())
    }

    fn cancel(&self, number: u64) -> PyResult<()> {
        self.inner.cancel(Number(number)).map_err(python_error)
    }

    fn cancel_waiting(&self) -> PyResult<()> {
        self.inner.cancel_waiting().map_err(python_error)
    }

    fn cancel_all(&self) -> PyResult<()> {
        self.inner.cancel_all().map_err(python_error)
    }

    fn release(&self, numbers: Vec<u64>) -> PyResult<()> {
        self.inner.release(numbers.into_iter().map(Number).collect()).map_err(python_error)
    }

    fn is_running(&self, py: Python<'_>, number: u64) -> PyResult<bool> {
        py.detach(|| self.inner.is_running(Number(number))).map_err(python_error)
    }

    fn fetch<'py>(
        &self,
        py: Python<'py>,
        node: u64,
        object: u64,
        timeout: f64,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let id = ObjectId { node: NodeId(node), number: ObjectNumber(object) };
        let timeout = Some(timeout_duration(timeout)?);
        let outcome = wait_in_slices(py, timeout, |slice| {
            let fetched = self.inner.fetch(id, slice);
            (!matches!(fetched, Ok(Fetched::NotYet))).then_some(fetched)
        })?;
        match outcome.transpose().map_err(python_error)? {
            Some(Fetched::Value(value)) => self.own_view(py, &value).map(Some),
            Some(Fetched::Gone) => Err(PyKeyError::new_err(object)),
            Some(Fetched::NotYet) | None => Ok(None),
        }
    }

    fn receive<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        self.receiver.store(this_thread(), Ordering::Relaxed);
        let timeout = timeout.map(timeout_duration).transpose()?;
        let outcome = wait_in_slices(py, timeout, |slice| {
            let received = self.inner.receive(Some(slice));
            let has_passed = matches!(&received, Ok(Some(batch)) if batch.is_empty());
            (!has_passed).then_some(received)
        })?;
        match outcome.transpose().map_err(python_error)? {
            Some(None) => Ok(None),
            Some(Some(batch)) => self.tuples(py, batch).map(Some),
            None => Ok(Some(PyList::empty(py))),
        }
    }

    fn slow_down(&self) {
        self.is_fast.store(false, Ordering::Relaxed);
    }

    fn wake(&self) -> PyResult<()> {
        self.inner.wake().map_err(python_error)
    }

    fn finish(&self) -> PyResult<()> {
        self.inner.finish().map_err(python_error)
    }

    fn last_number(&self) -> PyResult<u64> {
        self.inner.last_number().map(|number| number.0).map_err(python_error)
    }

    fn wait_until_over(&self, py: Python<'_>, last: u64, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = timeout.map(timeout_duration).transpose()?;
        let outcome = wait_in_slices(py, timeout, |slice| {
            let waited = self.inner.wait_until_over(Number(last), Some(slice));
            waited.map(|is_over| is_over.then_some(())).transpose()
        })?;
        Ok(outcome.transpose().map_err(python_error)?.is_some())
    }

    fn bring_stored(&self, py: Python<'_>, is_far: bool) {
        py.detach(|| {
            for task in self.inner.stored().unwrap_or_default() {
                bring(&self.inner, &task, is_far);
            }
        });
    }

    fn pending(&self) -> PyResult<usize> {
        self.inner.pending().map_err(python_error)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.inner.close());
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

fn scheduler_lost(reason: &str) -> PyErr {
    made_in_python("hurricane._broken", "SchedulerLost", reason)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what becomes of it")]
fn store_full(full: StoreFull) -> PyErr {
    made_in_python("hurricane._exceptions", "StoreFull", &full.to_string())
}

/// Where all of hurricane's errors are.
fn made_in_python(module: &str, name: &str, reason: &str) -> PyErr {
    Python::attach(|py| {
        let made = py.import(module).and_then(|module| module.getattr(name)?.call1((reason,)));
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

/// Brings a stored value here, unless it is gone for ever.
fn bring(connection: &client::Connection<Task>, task: &Task, is_far: bool) {
    while let Some(stored) = task.0.stored() {
        match connection.fetch(stored.object, FETCH) {
            Ok(Fetched::Value(value)) => task.0.bring(Some(value)),
            // Its node is lost, and the scheduler will say what becomes of the value.
            Ok(Fetched::Gone) if is_far => thread::sleep(FETCH),
            Ok(Fetched::NotYet) => {}
            Ok(Fetched::Gone) | Err(_) => return,
        }
    }
}

fn tuple(py: Python<'_>, received: Received<Task>) -> PyResult<Option<Bound<'_, PyTuple>>> {
    match received {
        Received::Ended { number, future, ending } => match future.0.arrive(ending) {
            Some(Watcher::Future(future)) => ("ended", future).into_pyobject(py).map(Some),
            Some(Watcher::OfFailures) => ("failed", number.0).into_pyobject(py).map(Some),
            None => Ok(None),
        },
        Received::Restored { future, ending, .. } => {
            // It has arrived before, and can be told now.
            client::Handle::end(&future, ending);
            Ok(None)
        }
        Received::Output { number, name, node, output } => {
            incoming::wrote(py, &name, number.0, &node, &output).map(Some)
        }
        Received::SetupFailed { error } => incoming::setup_failed(py, &error).map(Some),
        Received::Stalled(stall) => incoming::stalled(py, &stall).map(Some),
        Received::Woken => Ok(None),
        Received::Notice(sentence) => incoming::notice(py, &sentence).map(Some),
        Received::Lost(reason) => incoming::lost(py, &reason).map(Some),
    }
}

//! `Calls`: submits calls of functions that are known already, with arguments that are simple.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hurricane_core::id::DefinitionNumber;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::connection::Connection;
use crate::footprint::Footprint;
use crate::future::NativeFuture;
use crate::simple;

/// Beyond so many functions all are learned anew: what is known is kept alive.
const MAX_KNOWN: usize = 1_000;

/// The short way to submit; whatever it does not take goes the long way, in Python.
#[pyclass(frozen, module = "hurricane._native")]
pub(crate) struct Calls {
    connection: Py<Connection>,
    future_type: Py<PyType>,
    /// Of all that stand beside each other.
    is_open: Arc<AtomicBool>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// How many definitions the connection had forgotten when the first of these was learned.
    forgotten: u64,
    by_address: HashMap<usize, Function>,
}

struct Function {
    /// Kept, so that nothing else gets its address.
    _object: Py<PyAny>,
    footprint: Py<Footprint>,
    definition: DefinitionNumber,
    /// What its futures are made of.
    parts: Py<PyTuple>,
}

impl Calls {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a function, if that may still be used.
    fn find<T>(&self, function: &Bound<'_, PyAny>, read: impl FnOnce(&Function) -> T) -> Option<T> {
        let known = self.known();
        if known.forgotten != self.connection.get().forgotten() {
            return None;
        }
        known.by_address.get(&address(function)).map(read)
    }
}

#[pymethods]
impl Calls {
    #[new]
    fn new(connection: Py<Connection>, future_type: Py<PyType>) -> Self {
        let known = Mutex::default();
        Self { connection, future_type, is_open: Arc::new(AtomicBool::new(true)), known }
    }

    /// Submits a call; none if that must go the long way.
    fn submit<'py>(
        &self,
        function: &Bound<'py, PyAny>,
        positional: &Bound<'py, PyTuple>,
        named: &Bound<'py, PyDict>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = function.py();
        let connection = self.connection.get();
        if !(self.is_open.load(Ordering::Relaxed) && connection.is_fast()) {
            return Ok(None);
        }
        let Some(arguments) = simple::dumps_arguments(positional, named) else {
            return Ok(None);
        };
        let Some(parts) = self.find(function, |found| found.parts.clone_ref(py)) else {
            return Ok(None);
        };
        let future = self.future_type.bind(py).call(parts, None)?;
        // Only now, as making the future may have run a finalizer, and that anything. From here on
        // no code of the user runs, so that the definition is not forgotten before it is used.
        let read = |found: &Function| (found.definition, found.footprint.clone_ref(py));
        let Some((definition, footprint)) = self.find(function, read) else {
            return Ok(None);
        };
        if !footprint.get().is_unchanged(py)? {
            return Ok(None);
        }
        let future = future.cast_into::<NativeFuture>()?;
        let native = future.get();
        let submitted = connection.inner().submit(native.task(), definition, arguments, Vec::new());
        let Ok(number) = submitted else {
            return Ok(None);
        };
        native.set_number(number);
        Ok(Some(future.into_any()))
    }

    /// From now on calls of this function are submitted here, as long as it does not change.
    fn learn(
        &self,
        function: &Bound<'_, PyAny>,
        footprint: Py<Footprint>,
        definition: u32,
        parts: Py<PyTuple>,
    ) {
        let forgotten = self.connection.get().forgotten();
        let learned = Function {
            _object: function.clone().unbind(),
            footprint,
            definition: DefinitionNumber(definition),
            parts,
        };
        let mut known = self.known();
        let is_stale = known.forgotten != forgotten || known.by_address.len() >= MAX_KNOWN;
        let before = is_stale.then(|| std::mem::take(&mut *known));
        known.forgotten = forgotten;
        let replaced = known.by_address.insert(address(function), learned);
        drop(known);
        // What Python drops may run Python.
        drop((before, replaced));
    }

    /// Whether this is known of a function.
    fn knows(&self, function: &Bound<'_, PyAny>, footprint: &Bound<'_, Footprint>) -> bool {
        self.find(function, |found| found.footprint.is(footprint)).unwrap_or_default()
    }

    /// One for other options, which closes with this one.
    fn beside(&self, py: Python<'_>) -> Self {
        Self {
            connection: self.connection.clone_ref(py),
            future_type: self.future_type.clone_ref(py),
            is_open: Arc::clone(&self.is_open),
            known: Mutex::default(),
        }
    }

    /// Everything goes the long way from now on.
    fn close(&self) {
        self.is_open.store(false, Ordering::Relaxed);
    }
}

fn address(function: &Bound<'_, PyAny>) -> usize {
    function.as_ptr().addr()
}

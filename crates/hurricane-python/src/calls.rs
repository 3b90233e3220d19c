//! `Calls`: submits calls of functions that are known already, with arguments that are simple.

use std::collections::HashMap;
use std::ffi::c_void;
use std::mem;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hurricane_core::id::DefinitionNumber;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::collector;
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
    future_type: Maker,
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

    /// What is known of a function, if that may still be used: as long as the connection has
    /// forgotten just so many definitions.
    fn find<T>(
        &self,
        function: &Bound<'_, PyAny>,
        forgotten: u64,
        read: impl FnOnce(&Function) -> T,
    ) -> Option<T> {
        let known = self.known();
        if known.forgotten != forgotten {
            return None;
        }
        known.by_address.get(&address(function)).map(read)
    }
}

#[pymethods]
impl Calls {
    #[new]
    fn new(py: Python<'_>, connection: Py<Connection>, future_type: Py<PyType>) -> Self {
        let known = Mutex::default();
        let is_open = Arc::new(AtomicBool::new(true));
        Self { connection, future_type: Maker::of(py, future_type), is_open, known }
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
        let forgotten = connection.forgotten();
        let read = |found: &Function| {
            (found.parts.clone_ref(py), found.definition, found.footprint.clone_ref(py))
        };
        let Some((parts, definition, footprint)) = self.find(function, forgotten, read) else {
            return Ok(None);
        };
        let future = self.future_type.make(parts.bind(py))?;
        // Only now, as making the future may have run a finalizer, and that anything. From here on
        // no code of the user runs, so that the definition is not forgotten before it is used.
        if connection.forgotten() != forgotten || !footprint.get().is_unchanged(py)? {
            return Ok(None);
        }
        let future = future.cast_into::<NativeFuture>()?;
        collector::hide(&future);
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
        let forgotten = self.connection.get().forgotten();
        self.find(function, forgotten, |found| found.footprint.is(footprint)).unwrap_or_default()
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

/// Makes instances of a class by its `__new__` alone: its `__init__` does nothing, and to call the
/// class takes twice as long.
struct Maker {
    class: Py<PyType>,
    new: ffi::newfunc,
}

impl Maker {
    fn of(py: Python<'_>, class: Py<PyType>) -> Self {
        // SAFETY: every class has this slot, a function of this type that lives as long as the class.
        let new = unsafe {
            let slot = ffi::PyType_GetSlot(class.bind(py).as_type_ptr(), ffi::Py_tp_new);
            mem::transmute::<*mut c_void, ffi::newfunc>(slot)
        };
        Self { class, new }
    }

    fn make<'py>(&self, parts: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        let py = parts.py();
        // SAFETY: the slot is that of this very class, and is called as Python does: with a tuple and
        // no dictionary. It returns a new reference, or none with an exception set.
        unsafe {
            let made = (self.new)(self.class.bind(py).as_type_ptr(), parts.as_ptr(), null_mut());
            Bound::from_owned_ptr_or_err(py, made)
        }
    }

    fn clone_ref(&self, py: Python<'_>) -> Self {
        Self { class: self.class.clone_ref(py), new: self.new }
    }
}

fn address(function: &Bound<'_, PyAny>) -> usize {
    function.as_ptr().addr()
}

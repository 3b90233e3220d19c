//! `Memory`: a large value as Python sees it, and the parts of one as Rust does.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;

use bytes::Bytes;
use hurricane_runtime::client::Part;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

/// A value in shared memory, copy-on-write: its holder's alone, who may write to it.
#[pyclass(frozen, module = "hurricane._native")]
pub(crate) struct Memory(Bytes);

impl Memory {
    /// Takes a view that is one's own: of which the runtime says so.
    pub(crate) fn new(own_view: Bytes) -> Self {
        Self(own_view)
    }
}

#[pymethods]
impl Memory {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    #[expect(clippy::needless_pass_by_value, reason = "this is how PyO3 gives it")]
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("there is no view to fill"));
        }
        let bytes = &slf.get().0;
        let address = bytes.as_ptr().cast_mut().cast();
        let length = bytes.len().cast_signed();
        // SAFETY: the pages are mapped for writing, copy-on-write, for as long as the bytes live, and
        // the view holds their owner. Nobody else has these bytes: Rust keeps them and reads no more
        // of them than what Python hands it, while Python does.
        let filled = unsafe {
            (*view).obj = ptr::null_mut();
            ffi::PyBuffer_FillInfo(view, slf.as_ptr(), address, length, 0, flags)
        };
        if filled == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}

/// The parts of a value, as Python gives them: one object that is bytes, or a list of such and of
/// places among the dependencies.
pub(crate) struct Parts(Vec<Held>);

enum Held {
    Bytes(PyBuffer<u8>),
    Input(u64),
}

impl<'py> FromPyObject<'_, 'py> for Parts {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let Ok(list) = value.cast::<PyList>() else {
            return Ok(Self(vec![Held::Bytes(PyBuffer::get(&value)?)]));
        };
        let parts = list.iter().map(|part| match part.extract::<u64>() {
            Ok(index) => Ok(Held::Input(index)),
            Err(_) => Ok(Held::Bytes(PyBuffer::get(&part)?)),
        });
        parts.collect::<PyResult<_>>().map(Self)
    }
}

impl Parts {
    /// All of them together.
    pub(crate) fn length_bytes(&self) -> u64 {
        self.0.iter().map(|held| held.part().length_bytes()).sum()
    }

    /// Has something done with the parts while other threads of Python run.
    pub(crate) fn with<R: Send>(
        self,
        py: Python<'_>,
        work: impl FnOnce(&[Part<'_>]) -> R + Send,
    ) -> R {
        let parts: Vec<Part<'_>> = self.0.iter().map(Held::part).collect();
        py.detach(|| work(&parts))
    }
}

impl Held {
    fn part(&self) -> Part<'_> {
        match self {
            // SAFETY: contiguous, which was asked for, and there for as long as `self` is. That a
            // thread writes to it meanwhile is the program's own race, as with all that releases the
            // GIL: what is read then is copied and no more.
            Self::Bytes(buffer) => Part::Bytes(unsafe {
                let address = match buffer.len_bytes() {
                    0 => ptr::NonNull::dangling().as_ptr(),
                    _ => buffer.buf_ptr().cast::<u8>(),
                };
                std::slice::from_raw_parts(address, buffer.len_bytes())
            }),
            Self::Input(index) => Part::Input(*index),
        }
    }
}

/// Has something done with what a buffer holds while other threads of Python run.
pub(crate) fn with_bytes<R: Send>(
    py: Python<'_>,
    buffer: PyBuffer<u8>,
    work: impl FnOnce(&[u8]) -> R + Send,
) -> R {
    Parts(vec![Held::Bytes(buffer)]).with(py, |parts| match parts {
        [Part::Bytes(bytes)] => work(bytes),
        _ => unreachable!("it is one buffer"),
    })
}

/// One value of parts: see `hurricane._serialize`.
#[pyfunction]
pub(crate) fn gather(py: Python<'_>, parts: Parts) -> Bound<'_, PyBytes> {
    let value = parts.with(py, hurricane_runtime::client::gather);
    PyBytes::new(py, &value)
}

/// A copy of what a buffer holds, as `bytes(buffer)` makes it, only faster where it is large.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "this is how Python gives arguments")]
pub(crate) fn copied(py: Python<'_>, buffer: PyBuffer<u8>) -> PyResult<Bound<'_, PyBytes>> {
    let length = buffer.len_bytes();
    // SAFETY: Python gives new bytes of that length, which nobody else has before they are returned,
    // and they are all written. Of the buffer the same holds as of a part.
    unsafe {
        let made = ffi::PyBytes_FromStringAndSize(ptr::null(), length.cast_signed());
        let made = Bound::from_owned_ptr_or_err(py, made)?.cast_into_unchecked::<PyBytes>();
        if length > 0 {
            let into = ffi::PyBytes_AsString(made.as_ptr()).cast::<MaybeUninit<u8>>();
            let into = std::slice::from_raw_parts_mut(into, length);
            let from = std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), length);
            py.detach(|| hurricane_runtime::client::copy_into_new(into, from));
        }
        Ok(made)
    }
}

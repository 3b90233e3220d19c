//! Python's collector of garbage: it goes through all objects that may be part of a cycle, again and
//! again while more are made. Of a million futures that takes as long as to submit them.

use pyo3::ffi;
use pyo3::prelude::*;

use crate::future::NativeFuture;

/// Has the collector pass over a future that refers to nothing by which it could refer to itself.
pub(crate) fn hide(future: &Bound<'_, NativeFuture>) {
    // SAFETY: it is an object of a class that the collector knows, as it has `__traverse__`; one that
    // is hidden already stays so.
    unsafe { ffi::PyObject_GC_UnTrack(future.as_ptr().cast()) }
}

/// Has the collector look at a future from now on.
pub(crate) fn show(future: &Bound<'_, NativeFuture>) {
    // SAFETY: as above; it is whole, and the GIL is held, so that nobody else shows it in between.
    unsafe {
        if ffi::PyObject_GC_IsTracked(future.as_ptr()) == 0 {
            ffi::PyObject_GC_Track(future.as_ptr().cast());
        }
    }
}

/// Whether the collector knows objects of this class: others refer to nothing.
pub(crate) fn may_refer(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a class outlives its objects.
    let flags = unsafe { ffi::PyType_GetFlags(object.get_type().as_type_ptr()) };
    flags & ffi::Py_TPFLAGS_HAVE_GC != 0
}

//! Lists of nothing but integers, or of nothing but floats, as bytes: how `map` brings back the
//! results of a group. The bytes travel in a pickle, which would take longer for the numbers.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyList, PyTuple};

// As Python's `array` calls them.
const INTEGERS: u8 = b'q';
const FLOATS: u8 = b'd';

/// What one number takes.
const NUMBER_BYTES: usize = 8;

/// Packs numbers that are all of one type; none if they are not, or do not fit.
#[pyfunction]
#[pyo3(signature = (values, /))]
pub(crate) fn pack_numbers<'py>(values: &Bound<'py, PyList>) -> Option<Bound<'py, PyBytes>> {
    // A tuple is read without counting references: that is quicker than to copy it takes.
    let values = &values.to_tuple();
    let first = values.get_item(0).ok()?;
    // Exact types: a subclass is more than its number, as `True` is.
    let packed = if first.cast_exact::<PyInt>().is_ok() {
        packed(values, INTEGERS, |value| {
            value.cast_exact::<PyInt>().ok()?.extract().ok().map(i64::to_le_bytes)
        })
    } else if first.cast_exact::<PyFloat>().is_ok() {
        packed(values, FLOATS, |value| {
            Some(value.cast_exact::<PyFloat>().ok()?.value().to_le_bytes())
        })
    } else {
        None
    };
    Some(PyBytes::new(values.py(), &packed?))
}

/// All of them after the letter, if there are bytes for each.
fn packed(
    values: &Bound<'_, PyTuple>,
    letter: u8,
    bytes_of: impl Fn(Borrowed<'_, '_, PyAny>) -> Option<[u8; NUMBER_BYTES]>,
) -> Option<Vec<u8>> {
    let mut packed = Vec::with_capacity(1 + values.len() * NUMBER_BYTES);
    packed.push(letter);
    for value in values.iter_borrowed() {
        packed.extend_from_slice(&bytes_of(value)?);
    }
    Some(packed)
}

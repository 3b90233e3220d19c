//! Amounts of resources between Python's floats and the core's fixed-point numbers.

use std::collections::BTreeMap;

use hurricane_core::resources::{Amount, PARTS, Resources};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The nearest amount to so many units; never nothing for something.
pub(crate) fn amount(units: f64) -> PyResult<Amount> {
    if !units.is_finite() || units < 0.0 {
        let message = format!("an amount of a resource must be finite and not negative: {units}");
        return Err(PyValueError::new_err(message));
    }
    if units == 0.0 {
        return Ok(Amount::default());
    }
    Ok(Amount(parts(units).max(1)))
}

/// The amounts of a mapping from names to units.
pub(crate) fn named(units: BTreeMap<String, f64>) -> PyResult<BTreeMap<Box<str>, Amount>> {
    units.into_iter().map(|(name, units)| Ok((name.into(), amount(units)?))).collect()
}

/// Resources as the snapshot shows them to Python.
pub(crate) fn to_dict<'py>(py: Python<'py>, resources: &Resources) -> PyResult<Bound<'py, PyDict>> {
    let named = PyDict::new(py);
    for (name, amount) in &resources.named {
        named.set_item(&**name, units(*amount))?;
    }
    let dict = PyDict::new(py);
    dict.set_item("cpus", units(resources.cpus))?;
    dict.set_item("gpus", units(resources.gpus))?;
    dict.set_item("memory", resources.memory_bytes)?;
    dict.set_item("resources", named)?;
    Ok(dict)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the caller checked the sign; what is too large becomes the largest amount"
)]
fn parts(units: f64) -> u64 {
    (units * PARTS as f64).round() as u64
}

/// An amount as people write it.
#[expect(clippy::cast_precision_loss, reason = "people read it; nothing is computed from it")]
pub(crate) fn units(amount: Amount) -> f64 {
    amount.0 as f64 / PARTS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_to_the_nearest_part() {
        let cases = [
            (0.0, 0),
            (-0.0, 0),
            (1.0, 10_000),
            (0.5, 5_000),
            (0.1 + 0.2, 3_000),
            (0.000_14, 1),
            (0.000_16, 2),
            (1e300, u64::MAX),
        ];
        for (units, parts) in cases {
            assert_eq!(amount(units).expect("it is a valid amount"), Amount(parts), "{units}");
        }
    }

    #[test]
    fn something_is_never_rounded_to_nothing() {
        assert_eq!(amount(1e-9).expect("it is a valid amount"), Amount(1));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for units in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(amount(units).is_err(), "{units}");
        }
    }
}

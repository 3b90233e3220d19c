//! What a client receives: endings, and the tuples that `_native.pyi` describes.

use hurricane_core::message::{Cause, Death, Ending, Exit, Failure, Output, Stall, Stream, Value};
use hurricane_core::session::EndReason;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::imports;

/// An ending, as `hurricane._ending` has it.
pub(crate) fn ending<'py>(py: Python<'py>, ending: &Ending) -> PyResult<Bound<'py, PyAny>> {
    match ending {
        Ending::Done(Value::Inline(result)) => Ok(PyBytes::new(py, result).into_any()),
        Ending::Done(Value::Stored(stored)) => {
            let location = (stored.object.node.0, stored.object.number.0);
            imports::ending(py, "Stored")?.call1((location,))
        }
        Ending::Failed { failure, cause } => {
            let failure = failed(py, failure)?;
            imports::ending(py, "Failed")?.call1((failure, cause.as_ref().map(named)))
        }
        Ending::Cancelled { cause } => {
            imports::ending(py, "Cancelled")?.call1((cause.as_ref().map(named),))
        }
    }
}

/// Lines that a task wrote.
pub(crate) fn wrote<'py>(
    py: Python<'py>,
    name: &str,
    number: u64,
    node: &str,
    output: &Output,
) -> PyResult<Bound<'py, PyTuple>> {
    let is_stderr = output.stream == Stream::Stderr;
    let text = PyBytes::new(py, &output.text);
    ("output", name, number, node, is_stderr, text, output.dropped_lines).into_pyobject(py)
}

/// No worker can be set up.
pub(crate) fn setup_failed<'py>(py: Python<'py>, error: &[u8]) -> PyResult<Bound<'py, PyTuple>> {
    ("setup_failed", PyBytes::new(py, error)).into_pyobject(py)
}

/// Tasks are ready and none has started for a while.
pub(crate) fn stalled<'py>(py: Python<'py>, stall: &Stall) -> PyResult<Bound<'py, PyTuple>> {
    let what = match stall {
        Stall::NoNodes => "there is no node".to_owned(),
        Stall::NoRoom { asked } => format!("no node has room for {asked} now"),
    };
    notice(py, &what)
}

/// A sentence for people: what is being waited for.
pub(crate) fn notice<'py>(py: Python<'py>, sentence: &str) -> PyResult<Bound<'py, PyTuple>> {
    ("stalled", sentence).into_pyobject(py)
}

/// The scheduler is gone.
pub(crate) fn lost<'py>(py: Python<'py>, reason: &EndReason) -> PyResult<Bound<'py, PyTuple>> {
    ("scheduler_lost", reason.to_string()).into_pyobject(py)
}

fn named(cause: &Cause) -> (u64, &str) {
    (cause.number.0, &cause.name)
}

fn failed<'py>(py: Python<'py>, failure: &Failure) -> PyResult<Bound<'py, PyTuple>> {
    match failure {
        Failure::Raised(exception) => ("raised", PyBytes::new(py, exception)).into_pyobject(py),
        Failure::TimedOut { limit, stack } => {
            ("timed_out", limit.as_secs_f64(), &**stack).into_pyobject(py)
        }
        Failure::WorkerLost { deaths, is_poison } => {
            ("worker_lost", *is_poison, deaths_list(py, deaths)?).into_pyobject(py)
        }
        Failure::Infeasible { asked, most } => {
            ("infeasible", asked.to_string(), most.to_string()).into_pyobject(py)
        }
        Failure::ObjectLost => ("object_lost",).into_pyobject(py),
        Failure::NestedTooDeep { limit } => ("nested_too_deep", *limit).into_pyobject(py),
        Failure::SetupFailed(error) => setup_failed(py, error),
        Failure::Refused(reason) => ("refused", &**reason).into_pyobject(py),
        Failure::SchedulerLost(reason) => ("scheduler_lost", &**reason).into_pyobject(py),
    }
}

fn deaths_list<'py>(py: Python<'py>, deaths: &[Death]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for death in deaths {
        list.append(death_dict(py, death)?)?;
    }
    Ok(list)
}

fn death_dict<'py>(py: Python<'py>, death: &Death) -> PyResult<Bound<'py, PyDict>> {
    let (exit_code, signal) = match death.exit {
        Exit::Code(code) => (Some(code), None),
        Exit::Signal(signal) => (None, Some(signal)),
        Exit::Unknown => (None, None),
    };
    let dict = PyDict::new(py);
    dict.set_item("node", &*death.node)?;
    dict.set_item("exit_code", exit_code)?;
    dict.set_item("signal", signal)?;
    dict.set_item("peak_memory", death.peak_memory_bytes)?;
    dict.set_item("last_output", &*death.last_output)?;
    dict.set_item("stack", &*death.stack)?;
    Ok(dict)
}

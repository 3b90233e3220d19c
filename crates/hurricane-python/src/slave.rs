//! `Slave`: a node whose tasks the calling program runs itself.

use std::collections::BTreeMap;

use hurricane_core::resources::{Amount, Resources};
use hurricane_runtime::dialing::{self, Choice, DialError};
use hurricane_runtime::identity::{Role, State};
use hurricane_runtime::node::{Caller, Heard, Nodes, NodesConfig, Report, Work, WorkerSource};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyTuple};

use crate::connection::shared;
use crate::sentence;
use crate::waiting::{timeout_duration, wait_in_slices};

/// A node with one slot, whose worker is this process.
#[pyclass(frozen, module = "hurricane._native")]
pub(crate) struct Slave {
    nodes: Nodes,
    caller: Caller,
}

#[pymethods]
impl Slave {
    #[new]
    #[pyo3(signature = (*, port, address, resource))]
    fn new(py: Python<'_>, port: u16, address: Option<String>, resource: String) -> PyResult<Self> {
        let choice = Choice { cluster: None, address, port: Some(port) };
        let named = BTreeMap::from([(resource.into(), Amount::whole(1))]);
        let share = Resources { named, ..Resources::default() };
        let caller = Caller::default();
        let python_minor = Some(py.version_info().minor);
        let nodes = py.detach(|| start(&caller, choice, share, python_minor))?;
        Ok(Self { nodes, caller })
    }

    fn hear<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let timeout = timeout.map(timeout_duration).transpose()?;
        let heard = wait_in_slices(py, timeout, |slice| self.caller.hear(slice))?;
        heard.map(|heard| tuple(py, heard)).transpose()
    }

    fn finish(&self, result: PyBackedBytes) -> bool {
        self.caller.finish(shared(result))
    }

    fn fail(&self, exception: PyBackedBytes) -> bool {
        self.caller.fail(shared(exception))
    }

    fn give_back(&self) -> bool {
        self.caller.give_back()
    }

    fn close(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let timeout = timeout_duration(timeout)?;
        py.detach(|| {
            // In this order, so that what goes back does not come here again.
            self.nodes.drain();
            self.caller.leave();
            let mut fetched = self.caller.fetched();
            while !self.nodes.wait(Some(timeout)) {
                let before = std::mem::replace(&mut fetched, self.caller.fetched());
                if fetched == before {
                    break;
                }
            }
            self.nodes.stop();
        });
        Ok(())
    }
}

fn start(
    caller: &Caller,
    choice: Choice,
    share: Resources,
    python_minor: Option<u8>,
) -> PyResult<Nodes> {
    let state = State::open().map_err(|error| os_error(&error, Some(error.hint())))?;
    let target = dialing::targets(&state, &choice, Role::Node)
        .map_err(|error| os_error(&error, error.hint()))?
        .pop()
        .expect("there is one for a node");
    let config = NodesConfig {
        state,
        target,
        choice,
        shares: vec![share],
        workers: WorkerSource::Caller(caller.clone()),
        python_minor,
    };
    let hearing = caller.clone();
    let report = Box::new(move |_, report| hearing.report(report));
    Nodes::start(config, report).map_err(|error| os_error(&error, error.hint()))
}

fn os_error(error: &dyn std::error::Error, hint: Option<String>) -> PyErr {
    PyOSError::new_err(sentence::with_hint(error, hint))
}

fn tuple(py: Python<'_>, heard: Heard) -> PyResult<Bound<'_, PyTuple>> {
    let report = match heard {
        Heard::Work(work) => return work_tuple(py, &work),
        Heard::Report(report) => report,
    };
    match report {
        Report::Looking(error) => ("looking", looking(&error)).into_pyobject(py),
        Report::Joined { name, cluster, .. } => ("joined", &*name, &*cluster).into_pyobject(py),
        Report::Lost(reason) => ("lost", reason.to_string()).into_pyobject(py),
        Report::Refused(reason) => ("refused", reason).into_pyobject(py),
        Report::SetupFailed(_) => ("lost", "it cannot run tasks").into_pyobject(py),
    }
}

fn looking(error: &DialError) -> String {
    let hint = match error {
        DialError::NotHere { .. } => Some(
            "start the master node on this machine, or let this machine join that of another with \
             `hurricane join`, and the ticket that `hurricane invite` prints there"
                .to_owned(),
        ),
        error => error.hint(),
    };
    sentence::with_hint(error, hint)
}

fn work_tuple<'py>(py: Python<'py>, work: &Work) -> PyResult<Bound<'py, PyTuple>> {
    let inputs: Vec<_> = work.inputs.iter().map(|input| PyBytes::new(py, input)).collect();
    let (function, arguments) =
        (PyBytes::new(py, &work.function), PyBytes::new(py, &work.arguments));
    ("work", function, arguments, inputs).into_pyobject(py)
}

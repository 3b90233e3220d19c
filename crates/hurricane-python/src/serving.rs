//! The worker's loop: takes runs from the node one after the other and answers for each, whatever it
//! does. The GIL is held for as long as there is something to do.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hurricane_core::id::{DefinitionId, RunId};
use hurricane_core::message::INLINE_LIMIT_BYTES;
use hurricane_runtime::worker_link::Job;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyList, PyTuple};

use crate::connection::shared;
use crate::memory::{Memory, Parts};
use crate::simple;
use crate::worker_link::{WorkerLink, unless_gone};

/// Answers do not wait for the end of a run that may take longer.
const SHORT: Duration = Duration::from_micros(300);

/// The first byte of a plain pickle; what begins otherwise is `_serialize`'s to read.
const PLAIN: u8 = 0x80;

/// What a result that names one of these is written by: others have it not.
const OWN_MODULES: [&[u8]; 2] = [b"__main__", b"__mp_main__"];

/// How results below this are searched for names: a call of Python's takes longer.
const SEARCHED_HERE_BYTES: usize = 256;

/// What the loop needs of Python.
#[derive(FromPyObject)]
pub(crate) struct Tools {
    /// Gives a function, and whether it serves for more than one call.
    load_for_calls: Py<PyAny>,
    loads_arguments: Py<PyAny>,
    dumps_parts: Py<PyAny>,
    describe_exception: Py<PyAny>,
    /// Sends on what was printed, and puts the streams back in their places.
    tidy_up: Py<PyAny>,
    /// Standard output and error, between tasks.
    streams: (Py<PyAny>, Py<PyAny>),
    /// Whether these say of themselves when something was written.
    are_noting: bool,
}

/// The loop.
pub(crate) struct Serving<'py> {
    py: Python<'py>,
    link: &'py WorkerLink,
    tools: Tools,
    loads: Bound<'py, PyAny>,
    dumps: Bound<'py, PyAny>,
    dumps_named: Bound<'py, PyDict>,
    /// The large buffers of the result that is being written.
    buffers: Bound<'py, PyList>,
    system: Bound<'py, PyDict>,
    definitions: HashMap<DefinitionId, Definition>,
    /// When the last run ended, if nothing was done since.
    now: Option<Instant>,
}

/// A function that runs will name; unpickled by the first of them, or by each if calls may change it.
struct Definition {
    name: Box<str>,
    pickled: Bytes,
    function: Option<Py<PyAny>>,
    is_short: bool,
}

impl<'py> Serving<'py> {
    pub(crate) fn new(py: Python<'py>, link: &'py WorkerLink, tools: Tools) -> PyResult<Self> {
        let pickle = py.import("_pickle")?;
        let buffers = PyList::empty(py);
        let dumps_named = PyDict::new(py);
        dumps_named.set_item("protocol", 5)?;
        dumps_named.set_item("buffer_callback", buffers.getattr("append")?)?;
        let system = py.import("sys")?.getattr("__dict__")?.cast_into::<PyDict>()?;
        Ok(Self {
            py,
            link,
            tools,
            loads: pickle.getattr("loads")?,
            dumps: pickle.getattr("dumps")?,
            dumps_named,
            buffers,
            system,
            definitions: HashMap::new(),
            now: None,
        })
    }

    /// Does so until the node says that this was all, or is gone.
    pub(crate) fn serve(mut self) -> PyResult<()> {
        while let Some(job) = self.next_job() {
            self.obey(job)?;
            if self.link.link().is_forked() {
                break;
            }
        }
        Ok(())
    }

    fn next_job(&mut self) -> Option<Job> {
        let link = self.link.link();
        link.receive_now().or_else(|| {
            self.now = None;
            self.py.detach(|| link.receive()).ok().flatten()
        })
    }

    /// A function of its own, so that no large argument outlives its task while the worker is idle.
    fn obey(&mut self, job: Job) -> PyResult<()> {
        match job {
            Job::Define { id, name, function } => {
                let definition =
                    Definition { name, pickled: function, function: None, is_short: false };
                self.definitions.insert(id, definition);
                Ok(())
            }
            Job::Forget { id } => {
                self.definitions.remove(&id);
                Ok(())
            }
            Job::Run { run, definition, arguments, inputs } => {
                self.run(run, definition, &arguments, &inputs)
            }
        }
    }

    fn run(
        &mut self,
        run: RunId,
        definition: DefinitionId,
        arguments: &[u8],
        inputs: &[Bytes],
    ) -> PyResult<()> {
        if !self.definitions.get(&definition).is_some_and(|definition| definition.is_short) {
            self.flush();
        }
        self.link.begin_run(run);
        let function = self.function(definition);
        let began = self.now.unwrap_or_else(Instant::now);
        let answer = function.and_then(|function| self.answer(&function, arguments, inputs));
        let answer = match answer {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.describe(error, definition)?),
        };
        self.link.stop_running();
        self.tidy_up()?;
        let ended = Instant::now();
        let ran = ended.saturating_duration_since(began);
        if let Some(definition) = self.definitions.get_mut(&definition) {
            definition.is_short = ran <= SHORT;
        }
        self.now = Some(ended);
        let link = self.link.link();
        match answer {
            Ok(answer) => {
                if link.finished_for_now(run, answer, ran, ended) {
                    self.flush();
                }
            }
            Err(description) => {
                self.now = None;
                self.py.detach(|| unless_gone(link.raised(run, description, ran)));
            }
        }
        Ok(())
    }

    /// Calls a function, and writes down what it returns.
    fn answer(
        &self,
        function: &Bound<'py, PyAny>,
        arguments: &[u8],
        inputs: &[Bytes],
    ) -> PyResult<Bytes> {
        let simple =
            if inputs.is_empty() { simple::loads_arguments(self.py, arguments) } else { None };
        let (positional, named) = match simple {
            Some(arguments) => arguments,
            None => self.loads_arguments(arguments, inputs)?,
        };
        let result = function.call(positional, named.as_ref())?;
        // What was given may be given back, or must at least be let go.
        if inputs.is_empty() { self.dumps_result(&result) } else { self.dumps_parts(&result) }
    }

    /// What is in shared memory is the run's own view of it.
    fn input(&self, input: &Bytes) -> PyResult<Bound<'py, PyAny>> {
        if self.link.link().is_own_view(input) {
            Ok(Bound::new(self.py, Memory::new(input.clone()))?.into_any())
        } else {
            Ok(PyBytes::new(self.py, input).into_any())
        }
    }

    fn loads_arguments(
        &self,
        arguments: &[u8],
        inputs: &[Bytes],
    ) -> PyResult<(Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>)> {
        let pickled = PyBytes::new(self.py, arguments);
        let loaded = if inputs.is_empty() && arguments.first() == Some(&PLAIN) {
            self.loads.call1((pickled,))?
        } else {
            let inputs = inputs.iter().map(|input| self.input(input));
            let inputs = PyList::new(self.py, inputs.collect::<PyResult<Vec<_>>>()?)?;
            self.tools.loads_arguments.bind(self.py).call1((pickled, inputs))?
        };
        let (positional, named): (_, Bound<'py, PyDict>) = loaded.extract()?;
        Ok((positional, (!named.is_empty()).then_some(named)))
    }

    /// As `dumps_parts` does, which is asked when there is more to it.
    fn dumps_result(&self, result: &Bound<'py, PyAny>) -> PyResult<Bytes> {
        if is_large(result) {
            return self.dumps_parts(result);
        }
        if let Some(pickle) = simple::dumps(result) {
            return Ok(pickle);
        }
        let pickled = self.dumps.call((result,), Some(&self.dumps_named));
        let is_plain = self.buffers.is_empty();
        if !is_plain {
            self.buffers.del_slice(0, self.buffers.len())?;
        }
        if is_plain
            && let Ok(pickled) = pickled
            && let Ok(pickled) = pickled.cast_into::<PyBytes>()
            && !self.names_own(&pickled)?
        {
            return Ok(shared(pickled.into()));
        }
        self.dumps_parts(result)
    }

    fn dumps_parts(&self, result: &Bound<'py, PyAny>) -> PyResult<Bytes> {
        let parts: Parts = self.tools.dumps_parts.bind(self.py).call1((result,))?.extract()?;
        let link = self.link.link();
        Ok(parts.with(self.py, |parts| link.gather(parts)))
    }

    /// Whether a pickle may name something that only this process has.
    fn names_own(&self, pickled: &Bound<'py, PyBytes>) -> PyResult<bool> {
        let bytes = pickled.as_bytes();
        if bytes.len() < SEARCHED_HERE_BYTES {
            let names = |name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
            return Ok(OWN_MODULES.into_iter().any(names));
        }
        for name in OWN_MODULES {
            if pickled.contains(PyBytes::new(self.py, name))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn function(&mut self, id: DefinitionId) -> PyResult<Bound<'py, PyAny>> {
        let definition = self.definitions.get_mut(&id).expect("a run's definition came before it");
        if let Some(function) = &definition.function {
            return Ok(function.bind(self.py).clone());
        }
        // First, since an initializer may come with it. It does not count as time of the task.
        self.now = None;
        let pickled = PyBytes::new(self.py, &definition.pickled);
        let loaded = self.tools.load_for_calls.bind(self.py).call1((pickled,))?;
        let (function, serves_again): (Bound<'py, PyAny>, bool) = loaded.extract()?;
        if serves_again {
            definition.pickled = Bytes::new();
            definition.function = Some(function.clone().unbind());
        }
        Ok(function)
    }

    fn describe(&self, error: PyErr, definition: DefinitionId) -> PyResult<Bytes> {
        let name = self.definitions.get(&definition).map_or("", |definition| &definition.name);
        let error = error.into_value(self.py);
        let node = self.link.link().node_name();
        let describe = self.tools.describe_exception.bind(self.py);
        Ok(shared(describe.call1((error, node, name))?.extract()?))
    }

    /// Sends on what the task printed: its lines must not follow its end.
    fn tidy_up(&self) -> PyResult<()> {
        let wrote = self.link.wrote();
        if wrote || !self.tools.are_noting || !self.has_its_streams()? {
            self.tools.tidy_up.bind(self.py).call0()?;
        }
        if wrote {
            self.link.end_output(self.py);
        }
        Ok(())
    }

    fn has_its_streams(&self) -> PyResult<bool> {
        let is = |stream: &Py<PyAny>, now: Option<Bound<'py, PyAny>>| {
            now.is_some_and(|now| now.is(stream))
        };
        let (stdout, stderr) = &self.tools.streams;
        Ok(is(stdout, self.system.get_item(intern!(self.py, "stdout"))?)
            && is(stderr, self.system.get_item(intern!(self.py, "stderr"))?))
    }

    fn flush(&mut self) {
        let link = self.link.link();
        if link.has_gathered() {
            self.now = None;
            self.py.detach(|| unless_gone(link.flush()));
        }
    }
}

/// Whether it is of the kind that pickle would copy, and large.
fn is_large(result: &Bound<'_, PyAny>) -> bool {
    let is_large = |length| length > INLINE_LIMIT_BYTES;
    result.cast_exact::<PyBytes>().is_ok_and(|bytes| is_large(bytes.as_bytes().len()))
        || result.cast_exact::<PyByteArray>().is_ok_and(|bytes| is_large(bytes.len()))
}

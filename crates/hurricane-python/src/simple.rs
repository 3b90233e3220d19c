//! Pickles of simple values, written and read without pickle: it costs more to set up than a short
//! task takes. What is written is what pickle's fifth protocol writes, byte for byte; what is not as
//! simple is left to pickle.

use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString, PyTuple};

const PROTOCOL: u8 = 0x80;
const VERSION: u8 = 5;
const FRAME: u8 = 0x95;
const STOP: u8 = b'.';
const NONE: u8 = b'N';
const TRUE: u8 = 0x88;
const FALSE: u8 = 0x89;
const ONE_BYTE: u8 = b'K';
const TWO_BYTES: u8 = b'M';
const FOUR_BYTES: u8 = b'J';
const LONG: u8 = 0x8a;
const FLOAT: u8 = b'G';
const SHORT_TEXT: u8 = 0x8c;
const SHORT_BYTES: u8 = b'C';
const MEMOIZE: u8 = 0x94;
const MARK: u8 = b'(';
const TUPLE: u8 = b't';
const EMPTY_TUPLE: u8 = b')';
const TUPLE_OF_1: u8 = 0x85;
const TUPLE_OF_2: u8 = 0x86;
const TUPLE_OF_3: u8 = 0x87;
const EMPTY_DICT: u8 = b'}';

/// Pickle puts what is shorter than this into no frame.
const SHORTEST_FRAME: usize = 4;

/// The longest text or bytes that count as simple, and the longest value: with its head, a frame and
/// the end.
const LONGEST: usize = u8::MAX as usize;
const LONGEST_PICKLE: usize = LONGEST + 32;

/// The pickle of a value, if it is simple. As pickle does, it looks at exact types only.
pub(crate) fn dumps(value: &Bound<'_, PyAny>) -> Option<Pickle> {
    let mut body = Pickle::default();
    if value.is_none() {
        body.push(NONE);
    } else if let Ok(truth) = value.cast_exact::<PyBool>() {
        body.push(if truth.is_true() { TRUE } else { FALSE });
    } else if let Ok(number) = value.cast_exact::<PyInt>() {
        push_int(&mut body, number.extract().ok()?);
    } else if let Ok(number) = value.cast_exact::<PyFloat>() {
        body.push(FLOAT);
        body.extend(&number.value().to_be_bytes());
    } else if let Ok(text) = value.cast_exact::<PyString>() {
        // A long one costs more to look at than it saves.
        (text.len().ok()? <= LONGEST).then_some(())?;
        push_counted(&mut body, SHORT_TEXT, text.to_str().ok()?.as_bytes())?;
    } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        push_counted(&mut body, SHORT_BYTES, bytes.as_bytes())?;
    } else {
        return None;
    }
    body.push(STOP);
    let mut whole = Pickle::default();
    whole.extend(&[PROTOCOL, VERSION]);
    if body.length >= SHORTEST_FRAME {
        whole.push(FRAME);
        whole.extend(&(body.length as u64).to_le_bytes());
    }
    whole.extend(body.as_bytes());
    Some(whole)
}

/// The positional arguments in a pickle of positional and named ones, if all of them are simple and
/// none is named.
pub(crate) fn loads_arguments<'py>(py: Python<'py>, pickle: &[u8]) -> Option<Bound<'py, PyTuple>> {
    if pickle.len() > LONGEST_PICKLE {
        return None;
    }
    let rest = pickle.strip_prefix(&[PROTOCOL, VERSION])?;
    let mut reading = Reading { py, rest, values: Vec::with_capacity(4), mark: None };
    loop {
        match reading.take()? {
            EMPTY_DICT => return reading.finish(),
            code => reading.obey(code)?,
        }
    }
}

/// A short pickle.
#[derive(Clone, Copy)]
pub(crate) struct Pickle {
    bytes: [u8; LONGEST_PICKLE],
    length: usize,
}

impl Default for Pickle {
    fn default() -> Self {
        Self { bytes: [0; LONGEST_PICKLE], length: 0 }
    }
}

impl Pickle {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, byte: u8) {
        self.extend(&[byte]);
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

fn push_int(body: &mut Pickle, number: i64) {
    if let Ok(number) = u8::try_from(number) {
        body.extend(&[ONE_BYTE, number]);
    } else if let Ok(number) = u16::try_from(number) {
        body.push(TWO_BYTES);
        body.extend(&number.to_le_bytes());
    } else if let Ok(number) = i32::try_from(number) {
        body.push(FOUR_BYTES);
        body.extend(&number.to_le_bytes());
    } else {
        let bytes = number.to_le_bytes();
        let count = length_of(number);
        body.extend(&[LONG, u8::try_from(count).unwrap_or(8)]);
        body.extend(&bytes[..count]);
    }
}

/// How many bytes hold a number and its sign.
fn length_of(number: i64) -> usize {
    let magnitude = if number < 0 { !number } else { number };
    let bits = (i64::BITS - magnitude.leading_zeros()) as usize + 1;
    bits.div_ceil(8)
}

fn push_counted(body: &mut Pickle, code: u8, bytes: &[u8]) -> Option<()> {
    body.extend(&[code, u8::try_from(bytes.len()).ok()?]);
    body.extend(bytes);
    body.push(MEMOIZE);
    Some(())
}

/// A pickle being read: pickle's own machine, as far as it is simple.
struct Reading<'py, 'a> {
    py: Python<'py>,
    rest: &'a [u8],
    values: Vec<Bound<'py, PyAny>>,
    /// How many values there were before those of the tuple that is being made.
    mark: Option<usize>,
}

impl<'py, 'a> Reading<'py, 'a> {
    fn obey(&mut self, code: u8) -> Option<()> {
        let py = self.py;
        match code {
            FRAME => {
                self.take_some(size_of::<u64>())?;
            }
            // Nothing that is simple stands for what came before.
            MEMOIZE => {}
            NONE => self.values.push(py.None().into_bound(py)),
            TRUE => self.push(true)?,
            FALSE => self.push(false)?,
            ONE_BYTE => {
                let number = self.take()?;
                self.push(number)?;
            }
            TWO_BYTES => {
                let number = u16::from_le_bytes(self.take_array()?);
                self.push(number)?;
            }
            FOUR_BYTES => {
                let number = i32::from_le_bytes(self.take_array()?);
                self.push(number)?;
            }
            FLOAT => {
                let number = f64::from_be_bytes(self.take_array()?);
                self.push(number)?;
            }
            SHORT_TEXT => {
                let length = self.take()?;
                let text = std::str::from_utf8(self.take_some(length.into())?).ok()?;
                self.values.push(PyString::new(py, text).into_any());
            }
            SHORT_BYTES => {
                let length = self.take()?;
                let bytes = PyBytes::new(py, self.take_some(length.into())?);
                self.values.push(bytes.into_any());
            }
            MARK if self.mark.is_none() => self.mark = Some(self.values.len()),
            TUPLE => {
                let first = self.mark.take()?;
                self.make_tuple(self.values.len() - first)?;
            }
            EMPTY_TUPLE => self.make_tuple(0)?,
            TUPLE_OF_1 => self.make_tuple(1)?,
            TUPLE_OF_2 => self.make_tuple(2)?,
            TUPLE_OF_3 => self.make_tuple(3)?,
            _ => return None,
        }
        Some(())
    }

    /// The names of the named arguments have begun: there are none if this is all.
    fn finish(mut self) -> Option<Bound<'py, PyTuple>> {
        // Pickle memorizes them, and `encoding` does not.
        let end = self.rest.strip_prefix(&[MEMOIZE]).unwrap_or(self.rest);
        let end = end.strip_prefix(&[TUPLE_OF_2])?;
        let end = end.strip_prefix(&[MEMOIZE]).unwrap_or(end);
        let positional = self.values.pop()?;
        let is_all = end == [STOP] && self.values.is_empty() && self.mark.is_none();
        is_all.then(|| positional.cast_into_exact().ok()).flatten()
    }

    fn make_tuple(&mut self, count: usize) -> Option<()> {
        let first = self.values.len().checked_sub(count)?;
        if self.mark.is_some_and(|mark| mark > first) {
            return None;
        }
        let tuple = PyTuple::new(self.py, self.values.drain(first..)).ok()?;
        self.values.push(tuple.into_any());
        Some(())
    }

    fn push(&mut self, value: impl IntoPyObject<'py>) -> Option<()> {
        self.values.push(value.into_bound_py_any(self.py).ok()?);
        Some(())
    }

    fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    fn take_some(&mut self, count: usize) -> Option<&'a [u8]> {
        let (some, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(some)
    }
}

//! Simple values as pickles, written and read without pickle: to set that up costs more than a short
//! task takes. Whatever is not simple is left to pickle, which reads what is written here.
//!
//! Simple are None, truths, integers of 64 bits, floats, short texts and bytes, tuples of such, and
//! the arguments of a call that are. None of these can hold itself, or be changed where it stands
//! twice: nothing here is memorized, and that pickle has memorized something is passed over.

use std::cell::Cell;

use bytes::Bytes;
use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyString, PyTuple};

/// More is better off with pickle itself, as are texts longer than 255 bytes.
const MAX_VALUES: usize = 64;
const MAX_DEPTH: usize = 4;

/// Longer pickles are read by pickle: what is not simple may come late in them.
const MAX_PICKLE_BYTES: usize = 1024;

// The opcodes of pickle's fifth protocol that are known here, by the names that `pickle` has for them.
const PROTO: &[u8] = b"\x80\x05";
const FRAME: u8 = 0x95;
const MEMOIZE: u8 = 0x94;
const STOP: u8 = b'.';
const MARK: u8 = b'(';
const NONE: u8 = b'N';
const NEWTRUE: u8 = 0x88;
const NEWFALSE: u8 = 0x89;
const BININT: u8 = b'J';
const BININT1: u8 = b'K';
const BININT2: u8 = b'M';
const LONG1: u8 = 0x8a;
const BINFLOAT: u8 = b'G';
const SHORT_BINUNICODE: u8 = 0x8c;
const SHORT_BINBYTES: u8 = b'C';
const EMPTY_TUPLE: u8 = b')';
const TUPLE: u8 = b't';
const TUPLE1: u8 = 0x85;
const TUPLE2: u8 = 0x86;
const TUPLE3: u8 = 0x87;
const EMPTY_DICT: u8 = b'}';
const SETITEM: u8 = b's';
const SETITEMS: u8 = b'u';

const NO_ARGUMENTS: &[u8] = b"\x80\x05)}\x86.";

/// How a pickle ends after the empty dictionary of named arguments: pickle's own, and ours.
const NONE_NAMED: [&[u8]; 2] = [b"\x94\x86\x94.", b"\x86."];

/// The pickle of a value, if that is simple. As pickle does, it looks at exact types only.
pub(crate) fn dumps(value: &Bound<'_, PyAny>) -> Option<Bytes> {
    write(|writer| writer.value(value, 0))
}

/// The arguments of a call, as `hurricane._serialize.dumps_arguments` writes them, if all of them
/// are simple.
pub(crate) fn dumps_arguments(
    positional: &Bound<'_, PyTuple>,
    named: &Bound<'_, PyDict>,
) -> Option<Bytes> {
    if positional.is_empty() && named.is_empty() {
        return Some(Bytes::from_static(NO_ARGUMENTS));
    }
    write(|writer| writer.call(positional, named))
}

/// A simple value; none if the pickle holds another.
pub(crate) fn loads<'py>(py: Python<'py>, pickle: &[u8]) -> Option<Bound<'py, PyAny>> {
    let mut reader = Reader::new(py, pickle)?;
    loop {
        match reader.take()? {
            STOP => return reader.finish(),
            code => reader.obey(code)?,
        }
    }
}

/// The arguments of a call, positional and named, if all of them are simple.
pub(crate) fn loads_arguments<'py>(
    py: Python<'py>,
    pickle: &[u8],
) -> Option<(Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>)> {
    if pickle == NO_ARGUMENTS {
        return Some((PyTuple::empty(py), None));
    }
    let mut reader = Reader::new(py, pickle)?;
    loop {
        match reader.take()? {
            EMPTY_DICT if NONE_NAMED.contains(&reader.rest) => {
                return Some((reader.finish()?.cast_into_exact().ok()?, None));
            }
            STOP => {
                let call = reader.finish()?.cast_into_exact::<PyTuple>().ok()?;
                let (positional, named) = call.extract().ok()?;
                return Some((positional, Some(named)));
            }
            code => reader.obey(code)?,
        }
    }
}

/// What is written by one who finds all of it simple.
fn write(work: impl FnOnce(&mut Writer) -> Option<()>) -> Option<Bytes> {
    // Kept for the next, and copied once at its end, to have the length that it needs. Taken out
    // meanwhile: Python may collect its garbage at any call, and so run anything.
    thread_local!(static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) });
    let mut writer = Writer { bytes: ROOM.take(), values: 0 };
    writer.bytes.clear();
    writer.bytes.extend_from_slice(PROTO);
    let written = work(&mut writer).map(|()| {
        writer.bytes.push(STOP);
        Bytes::copy_from_slice(&writer.bytes)
    });
    ROOM.set(writer.bytes);
    written
}

struct Writer {
    bytes: Vec<u8>,
    values: usize,
}

impl Writer {
    fn call(&mut self, positional: &Bound<'_, PyTuple>, named: &Bound<'_, PyDict>) -> Option<()> {
        self.tuple(positional, 0)?;
        self.bytes.push(EMPTY_DICT);
        if !named.is_empty() {
            self.bytes.push(MARK);
            for (name, value) in named.iter() {
                self.value(&name, 0)?;
                self.value(&value, 0)?;
            }
            self.bytes.push(SETITEMS);
        }
        self.bytes.push(TUPLE2);
        Some(())
    }

    fn value(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> Option<()> {
        self.values += 1;
        if self.values > MAX_VALUES || depth > MAX_DEPTH {
            return None;
        }
        if let Ok(integer) = value.cast_exact::<PyInt>() {
            self.integer(integer.extract().ok()?);
        } else if let Ok(text) = value.cast_exact::<PyString>() {
            // A long one costs more to look at than it saves.
            (text.len().ok()? <= u8::MAX.into()).then_some(())?;
            self.short(SHORT_BINUNICODE, text.to_str().ok()?.as_bytes())?;
        } else if value.is_none() {
            self.bytes.push(NONE);
        } else if let Ok(float) = value.cast_exact::<PyFloat>() {
            self.bytes.push(BINFLOAT);
            self.bytes.extend_from_slice(&float.value().to_be_bytes());
        } else if let Ok(truth) = value.cast_exact::<PyBool>() {
            self.bytes.push(if truth.is_true() { NEWTRUE } else { NEWFALSE });
        } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            self.short(SHORT_BINBYTES, bytes.as_bytes())?;
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.tuple(tuple, depth + 1)?;
        } else {
            return None;
        }
        Some(())
    }

    fn tuple(&mut self, tuple: &Bound<'_, PyTuple>, depth: usize) -> Option<()> {
        let end = match tuple.len() {
            0 => EMPTY_TUPLE,
            1 => TUPLE1,
            2 => TUPLE2,
            3 => TUPLE3,
            _ => {
                self.bytes.push(MARK);
                TUPLE
            }
        };
        for value in tuple.iter_borrowed() {
            self.value(&value, depth)?;
        }
        self.bytes.push(end);
        Some(())
    }

    fn integer(&mut self, integer: i64) {
        if let Ok(small) = u8::try_from(integer) {
            self.bytes.extend_from_slice(&[BININT1, small]);
        } else if let Ok(small) = u16::try_from(integer) {
            self.bytes.push(BININT2);
            self.bytes.extend_from_slice(&small.to_le_bytes());
        } else if let Ok(small) = i32::try_from(integer) {
            self.bytes.push(BININT);
            self.bytes.extend_from_slice(&small.to_le_bytes());
        } else {
            self.bytes.extend_from_slice(&[LONG1, 8]);
            self.bytes.extend_from_slice(&integer.to_le_bytes());
        }
    }

    fn short(&mut self, opcode: u8, bytes: &[u8]) -> Option<()> {
        let length = u8::try_from(bytes.len()).ok()?;
        self.bytes.extend_from_slice(&[opcode, length]);
        self.bytes.extend_from_slice(bytes);
        Some(())
    }
}

/// Pickle's own machine, as far as it is simple.
struct Reader<'py, 'a> {
    py: Python<'py>,
    rest: &'a [u8],
    /// The only value, as long as there is but one: no room is made for that.
    lone: Option<Bound<'py, PyAny>>,
    values: Vec<Bound<'py, PyAny>>,
    /// How many values there were before those of each tuple or dictionary that is being made.
    marks: Vec<usize>,
}

impl<'py, 'a> Reader<'py, 'a> {
    fn new(py: Python<'py>, pickle: &'a [u8]) -> Option<Self> {
        let rest = pickle.strip_prefix(PROTO).filter(|_| pickle.len() <= MAX_PICKLE_BYTES)?;
        Some(Self { py, rest, lone: None, values: Vec::new(), marks: Vec::new() })
    }

    fn obey(&mut self, code: u8) -> Option<()> {
        match code {
            FRAME => {
                self.take_some(size_of::<u64>())?;
            }
            MEMOIZE => {}
            MARK => {
                let count = self.spread().len();
                self.marks.push(count);
            }
            TUPLE => {
                let first = self.marks.pop()?;
                self.make_tuple(first)?;
            }
            EMPTY_TUPLE => self.push(PyTuple::empty(self.py).into_any()),
            TUPLE1 => self.make_tuple(self.place_of_last(1)?)?,
            TUPLE2 => self.make_tuple(self.place_of_last(2)?)?,
            TUPLE3 => self.make_tuple(self.place_of_last(3)?)?,
            EMPTY_DICT => self.push(PyDict::new(self.py).into_any()),
            SETITEM => self.set_items(self.place_of_last(2)?)?,
            SETITEMS => {
                let first = self.marks.pop()?;
                self.set_items(first)?;
            }
            code => {
                let value = self.scalar(code)?;
                self.push(value);
            }
        }
        Some(())
    }

    fn scalar(&mut self, code: u8) -> Option<Bound<'py, PyAny>> {
        let py = self.py;
        match code {
            NONE => Some(py.None().into_bound(py)),
            NEWTRUE => Some(PyBool::new(py, true).to_owned().into_any()),
            NEWFALSE => Some(PyBool::new(py, false).to_owned().into_any()),
            BININT1 => self.take()?.into_bound_py_any(py).ok(),
            BININT2 => u16::from_le_bytes(self.take_array()?).into_bound_py_any(py).ok(),
            BININT => i32::from_le_bytes(self.take_array()?).into_bound_py_any(py).ok(),
            LONG1 => self.long()?.into_bound_py_any(py).ok(),
            BINFLOAT => f64::from_be_bytes(self.take_array()?).into_bound_py_any(py).ok(),
            SHORT_BINUNICODE => {
                let text = std::str::from_utf8(self.take_counted()?).ok()?;
                Some(PyString::new(py, text).into_any())
            }
            SHORT_BINBYTES => Some(PyBytes::new(py, self.take_counted()?).into_any()),
            _ => None,
        }
    }

    /// An integer of up to eight bytes, the last of which has its sign.
    fn long(&mut self) -> Option<i64> {
        let bytes = self.take_counted()?;
        let is_negative = bytes.last().is_some_and(|last| last.leading_ones() > 0);
        let mut whole = [if is_negative { u8::MAX } else { 0 }; size_of::<i64>()];
        whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(i64::from_le_bytes(whole))
    }

    /// Where the last values begin, if there are so many that no mark stands among.
    fn place_of_last(&self, count: usize) -> Option<usize> {
        let all = self.values.len() + usize::from(self.lone.is_some());
        let first = all.checked_sub(count)?;
        self.marks.last().is_none_or(|mark| *mark <= first).then_some(first)
    }

    /// Makes one of the values from a place on.
    fn make_tuple(&mut self, first: usize) -> Option<()> {
        let tuple = PyTuple::new(self.py, self.spread().drain(first..)).ok()?;
        self.push(tuple.into_any());
        Some(())
    }

    /// Puts the values from a place on into the dictionary before them.
    fn set_items(&mut self, first: usize) -> Option<()> {
        let all = self.spread().len();
        let place = self.place_of_last(all - first + 1)?;
        let mut items = self.values.drain(place..);
        let dictionary = items.next()?.cast_into_exact::<PyDict>().ok()?;
        while let Some(key) = items.next() {
            let key = key.cast_into_exact::<PyString>().ok()?;
            dictionary.set_item(key, items.next()?).ok()?;
        }
        drop(items);
        self.push(dictionary.into_any());
        Some(())
    }

    /// The last value, if it is all that there is.
    fn finish(mut self) -> Option<Bound<'py, PyAny>> {
        let is_all = self.rest.is_empty() || NONE_NAMED.contains(&self.rest);
        let lone = self.lone.take().filter(|_| self.marks.is_empty());
        lone.filter(|_| is_all)
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

    /// What stands behind a byte that says how long it is.
    fn take_counted(&mut self) -> Option<&'a [u8]> {
        let count = self.take()?;
        self.take_some(count.into())
    }

    fn push(&mut self, value: Bound<'py, PyAny>) {
        if self.lone.is_none() && self.values.is_empty() {
            self.lone = Some(value);
        } else {
            self.spread().push(value);
        }
    }

    /// All values, in their room.
    fn spread(&mut self) -> &mut Vec<Bound<'py, PyAny>> {
        self.values.extend(self.lone.take());
        &mut self.values
    }
}

#[cfg(test)]
mod tests;

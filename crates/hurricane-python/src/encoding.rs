//! Pickles of simple values, written and read by hand: what most calls take and give costs a tenth
//! so. What is not simple is none of this file's business.

use std::cell::RefCell;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyString, PyTuple};

/// More is better off with pickle itself, as are texts longer than 255 bytes.
const MAX_VALUES: usize = 64;
const MAX_DEPTH: usize = 4;

// The opcodes of protocol 5 that are written here, by the names that `pickle` has for them.
const PROTO: &[u8] = b"\x80\x05";
const FRAME: u8 = 0x95;
const FRAME_BYTES: usize = 9;
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
const SETITEMS: u8 = b'u';

const NO_ARGUMENTS: &[u8] = b"\x80\x05)}\x86.";

/// The arguments of a call, as `hurricane._serialize.dumps_arguments` writes them; none if they are
/// not all simple.
pub(crate) fn arguments(
    positional: &Bound<'_, PyTuple>,
    named: &Bound<'_, PyDict>,
) -> Option<Bytes> {
    if positional.is_empty() && named.is_empty() {
        return Some(Bytes::from_static(NO_ARGUMENTS));
    }
    // Copied once at its end, to have the length that it needs.
    thread_local!(static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    ROOM.with_borrow_mut(|bytes| {
        bytes.clear();
        let mut writer = Writer { bytes, values: 0 };
        writer.call(positional, named)?;
        Some(Bytes::copy_from_slice(bytes))
    })
}

/// No code of the user runs in it.
struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
    values: usize,
}

impl Writer<'_> {
    fn call(&mut self, positional: &Bound<'_, PyTuple>, named: &Bound<'_, PyDict>) -> Option<()> {
        self.bytes.extend_from_slice(PROTO);
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
        self.bytes.extend_from_slice(&[TUPLE2, STOP]);
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

/// Reads a simple value; what is none is given back, as Python's bytes.
pub(crate) fn decode<'py>(
    py: Python<'py>,
    pickled: &[u8],
) -> Result<Bound<'py, PyAny>, Bound<'py, PyBytes>> {
    simple(py, pickled).ok_or_else(|| PyBytes::new(py, pickled))
}

fn simple<'py>(py: Python<'py>, pickled: &[u8]) -> Option<Bound<'py, PyAny>> {
    let mut rest = pickled.strip_prefix(PROTO)?.strip_suffix(&[STOP])?;
    if rest.first() == Some(&FRAME) {
        rest = rest.get(FRAME_BYTES..)?;
    }
    let (&opcode, payload) = rest.split_first()?;
    match opcode {
        NONE if payload.is_empty() => Some(py.None().into_bound(py)),
        NEWTRUE if payload.is_empty() => Some(PyBool::new(py, true).to_owned().into_any()),
        NEWFALSE if payload.is_empty() => Some(PyBool::new(py, false).to_owned().into_any()),
        BININT1 => integer(py, i64::from(u8::from_le_bytes(payload.try_into().ok()?))),
        BININT2 => integer(py, i64::from(u16::from_le_bytes(payload.try_into().ok()?))),
        BININT => integer(py, i64::from(i32::from_le_bytes(payload.try_into().ok()?))),
        BINFLOAT => {
            let float = f64::from_be_bytes(payload.try_into().ok()?);
            Some(PyFloat::new(py, float).into_any())
        }
        SHORT_BINUNICODE => {
            let text = std::str::from_utf8(short(payload)?).ok()?;
            Some(PyString::new(py, text).into_any())
        }
        SHORT_BINBYTES => Some(PyBytes::new(py, short(payload)?).into_any()),
        EMPTY_TUPLE if payload.is_empty() => Some(PyTuple::empty(py).into_any()),
        _ => None,
    }
}

fn integer(py: Python<'_>, integer: i64) -> Option<Bound<'_, PyAny>> {
    integer.into_pyobject(py).ok().map(Bound::into_any)
}

/// The bytes behind a length, which are memorized.
fn short(payload: &[u8]) -> Option<&[u8]> {
    let (&length, rest) = payload.split_first()?;
    let bytes = rest.strip_suffix(&[MEMOIZE])?;
    (bytes.len() == usize::from(length)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use pyo3::ffi::c_str;

    use super::*;

    /// Python's own pickle reads what is written here, and writes what is read here.
    #[test]
    fn simple_values_are_as_pickle_has_them() {
        Python::initialize();
        Python::attach(|py| {
            let pickle = py.import("pickle").expect("it is Python's");
            let loads = pickle.getattr("loads").expect("it is there");
            let dumps = pickle.getattr("dumps").expect("it is there");
            let cases = c_str!(
                "[None, True, False, 0, 255, 256, 65535, 65536, -1, 2**31 - 1, -2**31, 2**31, \
                 -2**63, 2**63 - 1, 0.0, -1.5, float('inf'), '', 'text', 'ö' * 100, b'', b'\\x00.', \
                 (), (1,), (1, 2), (1, 2, 3), (1, (2, 'x'), None, b'y'), 'x' * 255]"
            );
            let cases = py.eval(cases, None, None).expect("they are written right");
            for case in cases.try_iter().expect("it is a list") {
                let case = case.expect("it is there");
                let named = PyDict::new(py);
                named.set_item("name", &case).expect("it can be hashed");
                let call = PyTuple::new(py, [&case]).expect("it has one");
                let written = arguments(&call, &named).expect("it is simple");
                let read = loads.call1((PyBytes::new(py, &written),)).expect("it is a pickle");
                assert!(read.eq((call, named)).expect("they can be compared"), "{case}");
                let pickled = dumps.call1((&case, 5)).expect("it can be pickled");
                let pickled = pickled.cast::<PyBytes>().expect("they are bytes");
                if let Ok(read) = decode(py, pickled.as_bytes()) {
                    assert!(read.eq(&case).expect("they can be compared"), "{case}");
                    assert!(read.get_type().is(case.get_type()), "{case}");
                }
            }
        });
    }

    #[test]
    fn what_is_not_simple_is_left_to_pickle() {
        Python::initialize();
        Python::attach(|py| {
            let cases = c_str!(
                "[[1], {}, 2**63, 'x' * 256, '\\ud800', 1j, object, (((((1,),),),),), \
                 tuple(range(65)), type('T', (int,), {})(1)]"
            );
            let cases = py.eval(cases, None, None).expect("they are written right");
            for case in cases.try_iter().expect("it is a list") {
                let case = case.expect("it is there");
                let call = PyTuple::new(py, [&case]).expect("it has one");
                assert_eq!(arguments(&call, &PyDict::new(py)), None, "{case}");
            }
            for pickled in [&b""[..], b"\x80", b"\x80\x05.", b"\x80\x05K.", b"\x80\x05]."] {
                assert!(decode(py, pickled).is_err());
            }
        });
    }
}

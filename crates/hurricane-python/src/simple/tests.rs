//! Simple values beside Python's own pickle.

use proptest::prelude::*;
use pyo3::ffi::c_str;

use super::*;

#[derive(Clone, Debug)]
enum Value {
    None,
    Truth(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Value>),
}

impl Value {
    fn for_python<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        let made = match self {
            Self::None => py.None().into_bound_py_any(py),
            Self::Truth(truth) => truth.into_bound_py_any(py),
            Self::Integer(integer) => integer.into_bound_py_any(py),
            Self::Float(float) => float.into_bound_py_any(py),
            Self::Text(text) => text.into_bound_py_any(py),
            Self::Bytes(bytes) => PyBytes::new(py, bytes).into_bound_py_any(py),
            Self::Tuple(values) => {
                let values: Vec<_> = values.iter().map(|value| value.for_python(py)).collect();
                PyTuple::new(py, values).map(Bound::into_any)
            }
        };
        made.expect("Python has room for it")
    }
}

fn values() -> impl Strategy<Value = Value> {
    // Small, where one opcode ends and the next begins, and any.
    let integers = prop_oneof![
        -300..300_i64,
        65_500..65_600_i64,
        (0..63_u32, -2..3_i64).prop_map(|(bits, more)| (1_i64 << bits) + more),
        (0..64_u32, -2..3_i64).prop_map(|(bits, more)| (i64::MIN >> bits).saturating_add(more)),
        any::<i64>(),
    ];
    let leaves = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Truth),
        integers.prop_map(Value::Integer),
        any::<f64>().prop_map(Value::Float),
        any::<String>().prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
    ];
    leaves
        .prop_recursive(5, 80, 6, |inner| prop::collection::vec(inner, 0..6).prop_map(Value::Tuple))
}

/// Whether two values are the same with all their types, of which each shows itself in its own way.
fn assert_same(one: &Bound<'_, PyAny>, other: &Bound<'_, PyAny>) {
    assert!(one.get_type().is(other.get_type()), "{one} and {other}");
    let shown = |value: &Bound<'_, PyAny>| value.repr().expect("it can be shown").to_string();
    assert_eq!(shown(one), shown(other));
}

struct Pickle<'py>(Bound<'py, PyModule>);

impl<'py> Pickle<'py> {
    fn import(py: Python<'py>) -> Self {
        Self(py.import("pickle").expect("it is Python's"))
    }

    fn loads(&self, pickle: &[u8]) -> Bound<'py, PyAny> {
        self.0.call_method1("loads", (PyBytes::new(self.0.py(), pickle),)).expect("it is a pickle")
    }

    fn dumps(&self, value: &Bound<'py, PyAny>) -> Bound<'py, PyBytes> {
        let dumped = self.0.call_method1("dumps", (value, 5)).expect("it can be pickled");
        dumped.cast_into().expect("they are bytes")
    }
}

fn with_python(work: impl FnOnce(Python<'_>, &Pickle<'_>)) {
    Python::initialize();
    Python::attach(|py| work(py, &Pickle::import(py)));
}

proptest! {
    #[test]
    fn pickle_reads_what_is_written_here_and_the_other_way_round(value in values()) {
        with_python(|py, pickle| {
            let value = value.for_python(py);
            if let Some(written) = dumps(&value) {
                assert_same(&pickle.loads(&written), &value);
                if let Some(read) = loads(py, &written) {
                    assert_same(&read, &value);
                }
            }
            if let Some(read) = loads(py, pickle.dumps(&value).as_bytes()) {
                assert_same(&read, &value);
            }
        });
    }

    #[test]
    fn the_arguments_of_a_call_arrive(
        positional in prop::collection::vec(values(), 0..5),
        named in prop::collection::vec((".{0,9}", values()), 0..4),
    ) {
        with_python(|py, pickle| {
            let positional = Value::Tuple(positional).for_python(py).cast_into().expect("it is one");
            let arguments = PyDict::new(py);
            for (name, value) in named {
                arguments.set_item(name, value.for_python(py)).expect("it is a text");
            }
            let call = (&positional, &arguments).into_bound_py_any(py).expect("there is room");
            let own = dumps_arguments(&positional, &arguments);
            let other = pickle.dumps(&call);
            if let Some(own) = &own {
                assert_same(&pickle.loads(own), &call);
            }
            for written in own.as_deref().into_iter().chain([other.as_bytes()]) {
                if let Some((positional, named)) = loads_arguments(py, written) {
                    let named = named.unwrap_or_else(|| PyDict::new(py));
                    let read = (positional, named).into_bound_py_any(py);
                    assert_same(&read.expect("there is room"), &call);
                }
            }
        });
    }

    #[test]
    fn anything_may_be_read(body in prop::collection::vec(opcodes_and_others(), 0..24)) {
        with_python(|py, _| {
            let pickle = [PROTO, &body].concat();
            let _ = loads(py, &pickle);
            let _ = loads_arguments(py, &pickle);
        });
    }
}

fn opcodes_and_others() -> impl Strategy<Value = u8> {
    let structure = vec![
        FRAME,
        MEMOIZE,
        STOP,
        MARK,
        NONE,
        BININT1,
        LONG1,
        EMPTY_TUPLE,
        TUPLE,
        TUPLE1,
        TUPLE2,
        TUPLE3,
        EMPTY_DICT,
        SETITEM,
        SETITEMS,
        SHORT_BINUNICODE,
    ];
    prop_oneof![4 => prop::sample::select(structure), 1 => any::<u8>()]
}

/// What most calls take and give.
#[test]
fn simple_values_are_read_whoever_wrote_them() {
    with_python(|py, pickle| {
        let cases = c_str!(
            "[None, True, False, 0, 255, 256, 65535, 65536, -1, 2**31 - 1, -2**31, 2**31, \
             -2**63, 2**63 - 1, 0.0, -1.5, float('inf'), '', 'text', 'ö' * 100, b'', b'\\x00.', \
             (), (1,), (1, 2), (1, 2, 3), (1, (2, 'x'), None, b'y'), 'x' * 255, (1, 2, 3, 4)]"
        );
        let cases = py.eval(cases, None, None).expect("they are written right");
        for case in cases.try_iter().expect("it is a list") {
            let case = case.expect("it is there");
            let own = dumps(&case).expect("it is simple");
            for written in [&own[..], pickle.dumps(&case).as_bytes()] {
                assert_same(&loads(py, written).expect("it is simple"), &case);
            }
            let positional = PyTuple::new(py, [&case]).expect("it has one");
            let named = PyDict::new(py);
            let call = (&positional, &named).into_bound_py_any(py).expect("there is room");
            let (found, _) =
                loads_arguments(py, pickle.dumps(&call).as_bytes()).expect("it is simple");
            assert_same(&found, &positional);
            for count in 0..3 {
                let own = dumps_arguments(&positional, &named).expect("they are simple");
                let (found, with) = loads_arguments(py, &own).expect("they are simple");
                assert_same(&found, &positional);
                assert_eq!(with.map_or(0, |with| with.len()), count, "{case}");
                named.set_item(format!("name{count}"), &case).expect("it is a text");
            }
        }
    });
}

#[test]
fn what_is_not_simple_is_left_to_pickle() {
    with_python(|py, pickle| {
        let cases = c_str!(
            "[[1], {}, 2**63, 'x' * 256, '\\ud800', 1j, (((((1,),),),),), tuple(range(65)), \
             type('T', (int,), {})(1), object]"
        );
        let cases = py.eval(cases, None, None).expect("they are written right");
        for case in cases.try_iter().expect("it is a list") {
            let case = case.expect("it is there");
            let call = PyTuple::new(py, [&case]).expect("it has one");
            assert_eq!(dumps(&case), None, "{case}");
            assert_eq!(dumps_arguments(&call, &PyDict::new(py)), None, "{case}");
        }
        // What stands twice is one object, and a list may hold itself.
        let shared = c_str!("(lambda one: ((one, one), one.append(one)))({}.setdefault('a', []))");
        let shared = py.eval(shared, None, None).expect("it is written right");
        assert!(loads(py, pickle.dumps(&shared).as_bytes()).is_none());
        let shared = py.eval(c_str!("(lambda one: (one, one))({'a': 1})"), None, None);
        let shared = shared.expect("it is written right");
        assert!(loads(py, pickle.dumps(&shared).as_bytes()).is_none());
        for damaged in
            [&b""[..], b"\x80", b"\x80\x05.", b"\x80\x05K.", b"\x80\x05].", b"\x80\x05NN."]
        {
            assert!(loads(py, damaged).is_none());
            assert!(loads_arguments(py, damaged).is_none());
        }
    });
}

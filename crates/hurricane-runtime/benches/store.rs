//! How fast large values get into the store of a local cluster, through a worker and out of it,
//! without Python.
//!
//! `cargo bench -p hurricane-runtime --bench store`

use std::env;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hurricane_core::id::{DefinitionNumber, Number, ObjectId};
use hurricane_core::message::{Ending, Value};
use hurricane_runtime::client::{Connection, Fetched, Part, Received};
use hurricane_runtime::worker_link::Job;
use hurricane_runtime::{Local, WorkerLink};

mod cluster;

/// So much goes each way in one measurement.
const TOTAL_BYTES: usize = 256 << 20;
const SIZES_BYTES: [usize; 3] = [100_000, 1 << 20, 64 << 20];
const REPEATS: usize = 5;

fn main() {
    if env::args().nth(1).as_deref() == Some("worker") {
        return work();
    }
    let cluster = Cluster::start();
    for size in SIZES_BYTES {
        let value = vec![7; size];
        for _ in 0..REPEATS {
            let (put, echo, get) = cluster.measure(&value, TOTAL_BYTES / size);
            println!("{size:9} bytes: put {put:6.2}, echo {echo:6.2}, get {get:6.2} GB/s");
        }
    }
}

/// Gives back what it is given.
fn work() {
    let link = WorkerLink::<()>::take().expect("a node started this process");
    link.ready().expect("the node is there");
    while let Ok(Some(job)) = link.receive() {
        if let Job::Run { run, inputs, .. } = job {
            let result = link.gather(&[Part::Bytes(&inputs[0])]);
            link.finished(run, result, Duration::ZERO).expect("the node is there");
        }
    }
}

struct Cluster {
    connection: Connection<()>,
    echo: DefinitionNumber,
    _local: Local,
}

impl Cluster {
    fn start() -> Self {
        let (local, connection, echo) = cluster::start();
        Self { connection, echo, _local: local }
    }

    /// GB/s of putting a value so many times, of tasks that give these back, and of reading them.
    fn measure(&self, value: &[u8], count: usize) -> (f64, f64, f64) {
        let rate = |began: Instant| {
            let bytes = u32::try_from(value.len() * count / 1000).expect("it is not that much");
            f64::from(bytes) / began.elapsed().as_secs_f64() / 1e6
        };
        let began = Instant::now();
        let objects: Vec<Number> = (0..count).map(|_| self.put(value)).collect();
        let put = rate(began);
        let began = Instant::now();
        let results = self.echo(&objects);
        let echo = rate(began);
        let began = Instant::now();
        for (_, object) in &results {
            assert_eq!(self.read(*object), value);
        }
        let get = rate(began);
        let numbers = objects.into_iter().chain(results.into_iter().map(|(number, _)| number));
        self.connection.release(numbers.collect()).expect("it is open");
        (put, echo, get)
    }

    fn put(&self, value: &[u8]) -> Number {
        loop {
            match self.connection.put(self.connection.gather(&[Part::Bytes(value)])) {
                Ok(number) => return number,
                Err(_) => self.wait_for_allowance(),
            }
        }
    }

    fn echo(&self, objects: &[Number]) -> Vec<(Number, ObjectId)> {
        for object in objects {
            while self.connection.submit((), self.echo, Bytes::new(), vec![*object]).is_err() {
                self.wait_for_allowance();
            }
        }
        let mut results = Vec::new();
        while results.len() < objects.len() {
            let received = self.connection.receive(None).expect("it is open").expect("it is open");
            results.extend(received.into_iter().filter_map(|one| match one {
                Received::Ended { number, ending: Ending::Done(Value::Stored(at)), .. } => {
                    Some((number, at.object))
                }
                _ => None,
            }));
        }
        results
    }

    fn read(&self, object: ObjectId) -> Bytes {
        match self.connection.fetch(object, Duration::ZERO) {
            Ok(Fetched::Value(value)) => {
                self.connection.own_view(&value).expect("it is in shared memory")
            }
            other => panic!("it is held: {other:?}"),
        }
    }

    fn wait_for_allowance(&self) {
        self.connection.wait_for_allowance(Duration::from_secs(1)).expect("it is open");
    }
}

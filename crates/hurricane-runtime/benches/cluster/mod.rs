//! A local cluster for benchmarks: two workers, which are the benchmark's own program.

use std::env;

use bytes::Bytes;
use hurricane_core::id::DefinitionNumber;
use hurricane_core::message::Definition;
use hurricane_core::resources::Resources;
use hurricane_runtime::client::Connection;
use hurricane_runtime::{Local, LocalConfig};

/// Starts it: with a connection, and what its tasks are instances of. The workers are this program
/// with the argument `worker`.
pub(crate) fn start() -> (Local, Connection<()>, DefinitionNumber) {
    let worker = env::current_exe().expect("this program has a path");
    let worker_command = vec![worker.into(), "worker".into()];
    let config = LocalConfig { slots: Some(2), worker_command, setup: Bytes::new() };
    let local = Local::start(config).expect("nothing is in the way");
    let connection = local.connect().expect("it has just been started");
    let definition = Definition {
        function: Bytes::new(),
        name: "echo".into(),
        resources: Resources::cpus(1),
        retries: 0,
        timeout: None,
        priority: 0,
    };
    let echo = connection.define(definition).expect("the connection is open");
    (local, connection, echo)
}

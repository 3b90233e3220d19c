//! The Python face of hurricane: bindings only. What they offer is told in `_native.pyi`.

mod calls;
mod collector;
mod command_line;
mod connection;
mod footprint;
mod future;
mod imports;
mod incoming;
mod local;
mod memory;
mod nodes;
mod numbers;
mod remote;
mod resources;
mod sentence;
mod server;
mod serving;
mod simple;
mod slave;
mod slot;
mod snapshot;
mod waiting;
mod worker_link;

use pyo3::prelude::*;

#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::calls::Calls;
    #[pymodule_export]
    use crate::command_line::command_line;
    #[pymodule_export]
    use crate::connection::Connection;
    #[pymodule_export]
    use crate::footprint::Footprint;
    #[pymodule_export]
    use crate::future::NativeFuture;
    #[pymodule_export]
    use crate::local::Local;
    #[pymodule_export]
    use crate::memory::{Memory, copied, gather};
    #[pymodule_export]
    use crate::nodes::Nodes;
    #[pymodule_export]
    use crate::numbers::pack_numbers;
    #[pymodule_export]
    use crate::remote::{Remote, find_cluster};
    #[pymodule_export]
    use crate::server::Server;
    #[pymodule_export]
    use crate::slave::Slave;
    #[pymodule_export]
    use crate::worker_link::WorkerLink;

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}

//! Everything that differs by operating system, and all unsafe code of this crate.

pub(crate) mod core_files;
pub(crate) mod descriptors;
pub(crate) mod directories;
pub(crate) mod fork;
pub(crate) mod hold;
pub(crate) mod interruption;
pub(crate) mod local_socket;
pub(crate) mod machine;
pub(crate) mod parent;
pub(crate) mod private_files;
pub(crate) mod processes;
pub(crate) mod readiness;
pub(crate) mod shared_memory;
pub(crate) mod shared_word;
pub(crate) mod signals;
pub(crate) mod standard_output;
pub(crate) mod tcp;
pub(crate) mod wall_clock;

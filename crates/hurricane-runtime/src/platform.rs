//! Everything that differs by operating system, and all unsafe code of this crate.

pub mod fork;

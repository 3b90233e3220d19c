//! What should happen in a hurricane cluster.
//!
//! This crate is pure: it holds no socket, clock, thread, file or random source. Each machine
//! ([`Scheduler`], [`Node`], [`Session`]) takes an event and the time it happened, and appends the
//! actions that must follow. The crate `hurricane-runtime` carries them out.
//!
//! It is not a library of algorithms for others: what is public here is what the runtime and the
//! simulation need.

#![forbid(unsafe_code)]

mod budget;
pub mod frame;
pub mod id;
pub mod member;
pub mod message;
pub mod node;
pub mod parts;
pub mod resources;
pub mod scheduler;
pub mod session;
pub mod snapshot;
pub mod time;

pub use node::Node;
pub use scheduler::Scheduler;
pub use session::Session;

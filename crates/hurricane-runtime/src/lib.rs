//! Makes happen what `hurricane-core` decides: threads, sockets, processes, files.
//!
//! The way in on one machine is [`Local`]: it runs the core's scheduler and node in a thread of this
//! process and their workers beside it, and hands out [`Connection`]s. A worker process holds the
//! other end, a [`WorkerLink`].
//!
//! This crate knows nothing of Python: functions, arguments and results are opaque bytes, and a
//! worker is any program that speaks through a [`WorkerLink`].

#![deny(unsafe_code)]

mod audience;
pub mod cli;
pub mod client;
pub mod dialing;
pub mod discovery;
pub mod enrolment;
mod framed;
pub mod greeting;
pub mod identity;
mod inbox;
pub mod joining;
mod ledger;
mod link;
pub mod local;
mod marks;
pub mod node;
pub mod operator;
mod platform;
mod randomness;
pub mod remote;
pub mod scheduler;
mod store;
pub mod strangers;
pub mod ticket;
pub mod tls;
mod transfer;
mod uplink;
mod worker;
pub mod worker_link;

pub use client::Connection;
pub use local::{Local, LocalConfig};
pub use worker_link::WorkerLink;

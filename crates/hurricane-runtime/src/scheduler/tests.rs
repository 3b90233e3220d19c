//! A scheduler on loopback, with nodes, clients and operators as they are, and strangers.

mod cluster;
mod operators;
mod site;
mod start;
mod strangers;

//! A scheduler on loopback, with nodes, clients and operators as they are, and strangers.

mod cluster;
mod site;

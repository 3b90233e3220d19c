//! The node, as tables of cases: what happens, and exactly what it leads to.

mod case;

mod hostile;
mod inputs;
mod nesting;
mod output;
mod queues;
mod room;
mod tasks;
mod timeouts;
mod workers;

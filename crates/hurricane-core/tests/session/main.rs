//! The session: case tables of either end, and what both together promise.

mod delivery;
mod dialer;
mod listener;
mod words;

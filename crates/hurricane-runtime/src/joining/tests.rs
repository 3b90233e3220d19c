//! Joining over loopback.

//! Dialing over loopback.

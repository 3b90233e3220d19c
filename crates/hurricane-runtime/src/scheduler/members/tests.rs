//! Sessions and messages in virtual time.

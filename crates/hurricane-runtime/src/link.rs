//! The link between a node and a worker: frames on a unix socket, which the worker finds in its
//! standard input's place.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use bytes::Bytes;
use hurricane_core::frame::{self, Decoder};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::marks::Nonce;

/// How much is read at once: a few hundred small messages, or a third of the socket's buffer.
const READ_BYTES: usize = 64 << 10;

/// An outgoing buffer that has grown larger for a large message is let go afterwards.
const KEPT_BUFFER_BYTES: usize = 1 << 20;

/// The first frame, from the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The process that the worker is to live and die with.
    pub(crate) node_process: u32,
    /// The name of the node.
    pub(crate) node_name: Box<str>,
    /// Opaque.
    pub(crate) setup: Bytes,
    /// The path of the file that stacks are to be written to.
    pub(crate) stack_path: Bytes,
    /// The signal on which they are.
    pub(crate) stack_signal: i32,
    /// How the marks in its output begin.
    pub(crate) nonce: Nonce,
}

/// The two ends of a new link.
pub(crate) fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// So much that there may be more.
    Full,
    /// All that was there.
    Short,
    /// Nothing is there now.
    Blocked,
    /// Nothing will ever come.
    Ended,
}

/// Reads what is there into the decoder, without waiting.
pub(crate) fn read_now(link: impl AsFd, decoder: &mut Decoder) -> Read {
    match read(link, decoder, RecvFlags::DONTWAIT) {
        Ok(0) => Read::Ended,
        Ok(READ_BYTES) => Read::Full,
        Ok(_) => Read::Short,
        Err(Errno::AGAIN) => Read::Blocked,
        // A reset link brings as little as one that was closed.
        Err(_) => Read::Ended,
    }
}

/// Waits for the next message.
pub(crate) fn next_message<T: DeserializeOwned>(
    link: impl AsFd,
    decoder: &mut Decoder,
) -> io::Result<T> {
    loop {
        let message = decoder.next_message();
        if let Some(message) =
            message.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
        {
            return Ok(message);
        }
        read_some(&link, decoder)?;
    }
}

/// Waits for bytes and reads them into the decoder.
fn read_some(link: impl AsFd, decoder: &mut Decoder) -> io::Result<()> {
    match read(link, decoder, RecvFlags::empty())? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

#[expect(clippy::large_stack_arrays, reason = "our threads' stacks have two megabytes")]
fn read(link: impl AsFd, decoder: &mut Decoder, flags: RecvFlags) -> rustix::io::Result<usize> {
    let mut chunk = [const { MaybeUninit::uninit() }; READ_BYTES];
    loop {
        match rustix::net::recv(&link, &mut chunk, flags) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok(((received, _), _)) => {
                decoder.buffer().extend_from_slice(received);
                return Ok(received.len());
            }
        }
    }
}

/// Frames that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
}

impl Outgoing {
    /// Adds a message.
    pub(crate) fn push(&mut self, message: &impl Serialize) {
        frame::encode(message, &mut self.bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How much waits.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Writes as much as the link takes without waiting; whether that was all.
    pub(crate) fn flush_now(&mut self, link: impl AsFd) -> rustix::io::Result<bool> {
        match self.flush(link, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Err(Errno::AGAIN) => Ok(false),
            flushed => flushed.map(|()| true),
        }
    }

    /// Writes everything.
    pub(crate) fn flush_all(&mut self, link: impl AsFd) -> rustix::io::Result<()> {
        self.flush(link, SendFlags::NOSIGNAL)
    }

    fn flush(&mut self, link: impl AsFd, flags: SendFlags) -> rustix::io::Result<()> {
        while self.written < self.bytes.len() {
            match rustix::net::send(&link, &self.bytes[self.written..], flags) {
                Ok(count) => self.written += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        self.written = 0;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BUFFER_BYTES);
        Ok(())
    }
}

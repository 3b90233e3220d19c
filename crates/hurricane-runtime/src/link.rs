//! The link between a node and a worker: frames on a unix socket, which the worker finds in its
//! standard input's place, and descriptors of shared memory that come with them.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use hurricane_core::frame::{self, Decoder, FrameError, MAX_WORKER_FRAME_BYTES};
use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::marks::Nonce;
use crate::platform::shared_memory::MemoryFile;

/// How much is read at once: a few hundred small messages, or a third of the socket's buffer.
const READ_BYTES: usize = 64 << 10;

/// An outgoing buffer that has grown larger for a large message is let go afterwards.
const KEPT_BUFFER_BYTES: usize = 1 << 20;

/// How many descriptors may wait for their frames. Each comes with the first byte of its own frame,
/// and so there are no more than one read can bring of the smallest frames.
const MAX_WAITING_DESCRIPTORS: usize = 1024;

/// How many descriptors one read can bring: the system gives no more with one piece of a stream
/// than were sent with it, which is one.
const DESCRIPTORS_AT_ONCE: usize = 4;

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

/// What comes in: frames, and the descriptors that came with them, in their order.
#[derive(Debug)]
pub(crate) struct Incoming {
    decoder: Decoder,
    descriptors: VecDeque<OwnedFd>,
    /// What is read into, made once: to clear it takes longer than to read a small message.
    chunk: Box<[u8]>,
}

impl Incoming {
    pub(crate) fn new() -> Self {
        let decoder = Decoder::new(MAX_WORKER_FRAME_BYTES);
        let chunk = vec![0; READ_BYTES].into_boxed_slice();
        Self { decoder, descriptors: VecDeque::new(), chunk }
    }

    /// The next message, if all of it is there.
    pub(crate) fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        self.decoder.next_message()
    }

    /// The descriptor that came with the frame that announces it.
    pub(crate) fn next_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }
}

/// Reads what is there, without waiting.
pub(crate) fn read_now(link: impl AsFd, incoming: &mut Incoming) -> Read {
    match read(link, incoming, RecvFlags::DONTWAIT) {
        Ok(read) => read,
        Err(Errno::AGAIN) => Read::Blocked,
        // A reset link brings as little as one that was closed.
        Err(_) => Read::Ended,
    }
}

/// Waits for the next message.
pub(crate) fn next_message<T: DeserializeOwned>(
    link: impl AsFd,
    incoming: &mut Incoming,
) -> io::Result<T> {
    loop {
        let message = incoming.next_message();
        if let Some(message) =
            message.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
        {
            return Ok(message);
        }
        read_some(&link, incoming)?;
    }
}

/// Waits for bytes and reads them.
pub(crate) fn read_some(link: impl AsFd, incoming: &mut Incoming) -> io::Result<()> {
    match read(link, incoming, RecvFlags::empty())? {
        Read::Ended => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn read(link: impl AsFd, incoming: &mut Incoming, flags: RecvFlags) -> rustix::io::Result<Read> {
    let Incoming { decoder, descriptors, chunk } = incoming;
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_AT_ONCE))];
    loop {
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(chunk)];
        match rustix::net::recvmsg(&link, into, &mut control, flags | RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok(received) => {
                let before = descriptors.len();
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(came) = message {
                        descriptors.extend(came);
                    }
                }
                // The system stops reading where a descriptor was.
                let may_be_more = received.bytes == READ_BYTES || descriptors.len() > before;
                // Whoever sends more than it announces gets no further.
                descriptors.truncate(MAX_WAITING_DESCRIPTORS);
                decoder.buffer().extend_from_slice(&chunk[..received.bytes]);
                return Ok(match received.bytes {
                    0 => Read::Ended,
                    _ if may_be_more => Read::Full,
                    _ => Read::Short,
                });
            }
        }
    }
}

/// Frames that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
    /// What goes with the byte at a place, the first of a frame.
    descriptors: VecDeque<(usize, Arc<MemoryFile>)>,
}

impl Outgoing {
    /// Adds a message.
    pub(crate) fn push(&mut self, message: &impl Serialize) {
        frame::encode(message, &mut self.bytes);
    }

    /// Adds a message with a descriptor.
    pub(crate) fn push_with(&mut self, message: &impl Serialize, file: Arc<MemoryFile>) {
        self.descriptors.push_back((self.bytes.len(), file));
        self.push(message);
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
            match self.send(&link, flags) {
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

    /// Sends what lies before the next place with a descriptor; if that is here, the descriptor and
    /// what follows it.
    fn send(&mut self, link: impl AsFd, flags: SendFlags) -> rustix::io::Result<usize> {
        let rest = |end: Option<&(usize, _)>| end.map_or(self.bytes.len(), |(place, _)| *place);
        match self.descriptors.front() {
            Some((place, file)) if *place == self.written => {
                let bytes = &self.bytes[self.written..rest(self.descriptors.get(1))];
                let descriptors = [file.as_fd()];
                let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                control.push(SendAncillaryMessage::ScmRights(&descriptors));
                let sent =
                    rustix::net::sendmsg(&link, &[IoSlice::new(bytes)], &mut control, flags)?;
                self.descriptors.pop_front();
                Ok(sent)
            }
            next => rustix::net::send(&link, &self.bytes[self.written..rest(next)], flags),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_come_in_order_with_their_frames() {
        let (ours, theirs) = pair().expect("a descriptor is free");
        let mut outgoing = Outgoing::default();
        outgoing.push(&0_u64);
        for size in [1_usize, 2, 3] {
            let file = MemoryFile::create(size << 12).expect("there is memory");
            outgoing.push_with(&(size as u64), Arc::new(file));
            outgoing.push(&0_u64);
        }
        assert_eq!(outgoing.flush_now(&ours), Ok(true));
        assert!(outgoing.is_empty());
        let mut incoming = Incoming::new();
        let mut came = Vec::new();
        for _ in 0..7 {
            let number: u64 = next_message(&theirs, &mut incoming).expect("it was sent");
            if number > 0 {
                let descriptor = incoming.next_descriptor().expect("it came with the frame");
                let length = rustix::fs::fstat(&descriptor).expect("it is open").st_size;
                came.push((number, length >> 12));
            }
        }
        assert_eq!(came, [(1, 1), (2, 2), (3, 3)]);
        assert!(incoming.next_descriptor().is_none());
    }
}

//! Frames of a session over a stream: what was gathered since the last write goes out in one, and
//! what comes in is told frame by frame.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use hurricane_core::frame::{self, Decoder};
use hurricane_core::parts::PART_BYTES;
use hurricane_core::session::Frame;
use serde::Serialize;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;

/// The largest frame between members: a part of a message, and what stands around it.
pub(crate) const MAX_MEMBER_FRAME_BYTES: u64 = PART_BYTES as u64 + 1024;

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;

/// For how long a connection that is closed from here may take to send what was gathered.
const LINGER: Duration = Duration::from_secs(5);

/// A buffer that has grown larger than this is let go after it was written.
const KEPT_BUFFER_BYTES: usize = 1 << 20;

/// A stream of bytes in both directions, secured or on one host.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Any of them.
pub(crate) type BoxedStream = Box<dyn Stream + Send>;

/// What comes in.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A frame.
    Frame(Frame),
    /// Bytes, and no whole frame yet.
    Heard,
    /// The end, by the peer, the system, or what is no frame. The last.
    Closed,
}

/// A connection that carries frames. Dropped, it closes once what was sent is on its way, and tells
/// nothing more. To be used in a tokio `LocalSet`.
#[derive(Debug)]
pub(crate) struct Framed {
    outgoing: Rc<Outgoing>,
    reading: AbortHandle,
    /// There until it is waited for.
    writing: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Outgoing {
    bytes: RefCell<Vec<u8>>,
    changed: Notify,
    is_closing: Cell<bool>,
}

impl Framed {
    /// Takes a stream over; `report` is told what comes in.
    pub(crate) fn carry(stream: BoxedStream, report: impl FnMut(Incoming) + 'static) -> Self {
        let (incoming, writing) = tokio::io::split(stream);
        let outgoing = Rc::new(Outgoing::default());
        let reading = tokio::task::spawn_local(read_all(incoming, report)).abort_handle();
        let writing = tokio::task::spawn_local(write_all(writing, Rc::clone(&outgoing)));
        Self { outgoing, reading, writing: Some(writing) }
    }

    /// Sends a frame, with what else is sent until the connection takes more.
    pub(crate) fn send(&self, frame: &impl Serialize) {
        let mut bytes = self.outgoing.bytes.borrow_mut();
        let was_empty = bytes.is_empty();
        frame::encode(frame, &mut bytes);
        if was_empty {
            self.outgoing.changed.notify_one();
        }
    }

    /// Closes the connection; what is returned ends when all that was sent is on its way.
    pub(crate) fn close(mut self) -> JoinHandle<()> {
        self.writing.take().expect("it is taken once")
    }
}

impl Drop for Framed {
    fn drop(&mut self) {
        self.reading.abort();
        self.outgoing.is_closing.set(true);
        self.outgoing.changed.notify_one();
    }
}

async fn read_all(mut stream: ReadHalf<BoxedStream>, mut report: impl FnMut(Incoming)) {
    let mut decoder = Decoder::new(MAX_MEMBER_FRAME_BYTES);
    loop {
        let buffer: &mut BytesMut = decoder.buffer();
        buffer.reserve(READ_BYTES);
        match stream.read_buf(buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let mut is_whole = false;
        loop {
            match decoder.next_message() {
                Ok(Some(frame)) => {
                    is_whole = true;
                    report(Incoming::Frame(frame));
                }
                Ok(None) => break,
                // What cannot be understood cannot be gone on from either.
                Err(_) => return report(Incoming::Closed),
            }
        }
        if !is_whole {
            report(Incoming::Heard);
        }
    }
    report(Incoming::Closed);
}

async fn write_all(mut stream: WriteHalf<BoxedStream>, outgoing: Rc<Outgoing>) {
    let mut writing = Vec::new();
    loop {
        std::mem::swap(&mut *outgoing.bytes.borrow_mut(), &mut writing);
        if writing.is_empty() {
            if outgoing.is_closing.get() {
                break;
            }
            outgoing.changed.notified().await;
            continue;
        }
        let written = async {
            stream.write_all(&writing).await?;
            stream.flush().await
        };
        let written = if outgoing.is_closing.get() {
            timeout(LINGER, written).await.unwrap_or(Err(std::io::ErrorKind::TimedOut.into()))
        } else {
            tokio::select! {
                // Mostly it is done at once, and nothing is to be waited for.
                biased;
                written = written => written,
                () = closed_for_long(&outgoing) => Err(std::io::ErrorKind::TimedOut.into()),
            }
        };
        if written.is_err() {
            // The reading half learns of it as well.
            return;
        }
        writing.clear();
        writing.shrink_to(KEPT_BUFFER_BYTES);
    }
    // The peer sees the end in any case.
    let _ = timeout(LINGER, stream.shutdown()).await;
}

/// Ends when the connection was closed from here and still has not sent everything.
async fn closed_for_long(outgoing: &Outgoing) {
    while !outgoing.is_closing.get() {
        outgoing.changed.notified().await;
    }
    tokio::time::sleep(LINGER).await;
}

//! A stream from which little is read until its other side has shown its key, and much at once when
//! much comes: rustls asks for 4 KiB at a time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a handshake may take of either side. Ours take less than 1 KiB; a client's first message of
/// 60 KiB costs rustls 71 KiB of memory.
pub const MAX_HANDSHAKE_BYTES: usize = 4096;

/// How much is read ahead of where more has come than was asked for.
const AHEAD_BYTES: usize = 64 << 10;

/// A stream that ends with an error after [`MAX_HANDSHAKE_BYTES`], unless the bound was lifted.
#[derive(Debug)]
pub struct Bounded<S> {
    stream: S,
    left: Option<usize>,
    ahead: Ahead,
}

/// What was read and not asked for yet. An idle stream has no room for it: there may be thousands.
#[derive(Debug, Default)]
struct Ahead {
    /// Whether the last read brought as much as it could.
    is_due: bool,
    bytes: Vec<u8>,
    begin: usize,
    end: usize,
}

impl Ahead {
    /// Reads ahead, if that is due, and gives what is there.
    fn poll_read(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.begin == self.end {
            if self.bytes.is_empty() {
                self.bytes.resize(AHEAD_BYTES, 0);
            }
            let mut room = ReadBuf::new(&mut self.bytes);
            let polled = stream.poll_read(context, &mut room);
            (self.begin, self.end) = (0, room.filled().len());
            if !matches!(polled, Poll::Ready(Ok(()))) {
                *self = Self::default();
                return polled;
            }
        }
        let end = self.end.min(self.begin + buffer.remaining());
        buffer.put_slice(&self.bytes[self.begin..end]);
        self.begin = end;
        Poll::Ready(Ok(()))
    }
}

/// The other side has sent more than a handshake takes.
#[derive(Debug, thiserror::Error)]
#[error("more than {MAX_HANDSHAKE_BYTES} bytes before the handshake ended")]
pub(super) struct TooMuch;

impl<S> Bounded<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, left: Some(MAX_HANDSHAKE_BYTES), ahead: Ahead::default() }
    }

    pub(super) fn lift(&mut self) {
        self.left = None;
    }

    /// The stream itself, for its addresses and options.
    pub fn stream(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(left) = self.left else {
            let Self { stream, ahead, .. } = &mut *self;
            let stream = Pin::new(stream);
            if ahead.is_due {
                return ahead.poll_read(stream, context, buffer);
            }
            ready!(stream.poll_read(context, buffer))?;
            ahead.is_due = buffer.remaining() == 0;
            return Poll::Ready(Ok(()));
        };
        if left == 0 {
            return Poll::Ready(Err(io::Error::other(TooMuch)));
        }
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(left.min(buffer.remaining())));
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        self.left = Some(left - read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_is_read_ahead_comes_in_order() {
        let sent: Vec<u8> = (0_u32..100_000).flat_map(u32::to_le_bytes).collect();
        let (mut far, near) = tokio::io::duplex(3 * AHEAD_BYTES / 2);
        let mut near = Bounded::new(near);
        near.lift();
        let content = sent.clone();
        let writing = tokio::spawn(async move {
            for part in content.chunks(70_001) {
                far.write_all(part).await.expect("somebody reads");
            }
        });
        let mut received = Vec::new();
        // As rustls asks, and otherwise.
        for room in [4096, 100, 4096, 4096, 1, 9000].into_iter().chain(iter::repeat(4096)) {
            let mut buffer = vec![0; room];
            let read = near.read(&mut buffer).await.expect("it is open");
            if read == 0 {
                break;
            }
            received.extend_from_slice(&buffer[..read]);
        }
        writing.await.expect("it ends well");
        assert_eq!(received, sent);
        assert_eq!(near.read(&mut [0; 8]).await.expect("it has ended well"), 0);
    }
}

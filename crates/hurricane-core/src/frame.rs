//! Frames on a byte stream: a length of eight bytes, little-endian, and a postcard message.
//!
//! Lengths are a peer's claim: nothing is reserved for them before the bytes are there.

use bytes::{Buf, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest frame between a node and its worker. They share a machine, and a result is as large
/// as its memory allows.
pub const MAX_WORKER_FRAME_BYTES: u64 = 1 << 40;

/// The largest frame between machines: an inline value or a function with room to spare.
pub const MAX_CONTROL_FRAME_BYTES: u64 = 64 << 20;

const HEADER_BYTES: usize = 8;

/// Why a frame was not taken. The connection is of no use after that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It claims to be larger than the link allows.
    #[error("a frame of {claimed_bytes} bytes is over the limit of {limit_bytes}")]
    TooLarge {
        /// Its claim.
        claimed_bytes: u64,
        /// The link's limit.
        limit_bytes: u64,
    },
    /// It holds no message of this protocol.
    #[error("a frame holds no message of this protocol")]
    Malformed(#[source] postcard::Error),
}

/// Appends a frame with `message` to `buffer`.
pub fn encode<T: Serialize>(message: &T, buffer: &mut Vec<u8>) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER_BYTES]);
    let encoded = postcard::to_extend(message, core::mem::take(buffer));
    *buffer = encoded.expect("messages hold nothing that postcard cannot write");
    let length = (buffer.len() - start - HEADER_BYTES) as u64;
    buffer[start..start + HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
}

/// Takes frames off a byte stream as they become whole.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    limit_bytes: u64,
}

impl Decoder {
    /// For a link whose frames are at most this large.
    pub fn new(limit_bytes: u64) -> Self {
        Self { buffer: BytesMut::new(), limit_bytes }
    }

    /// Where what the peer sent is to be appended.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next message, if all of it is there.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let claimed_bytes = u64::from_le_bytes(*header);
        if claimed_bytes > self.limit_bytes {
            let limit_bytes = self.limit_bytes;
            return Err(FrameError::TooLarge { claimed_bytes, limit_bytes });
        }
        let end = claimed_bytes.saturating_add(HEADER_BYTES as u64);
        if (self.buffer.len() as u64) < end {
            return Ok(None);
        }
        let body = HEADER_BYTES..usize::try_from(end).expect("the buffer is that long");
        let message = postcard::from_bytes(&self.buffer[body.clone()]);
        self.buffer.advance(body.end);
        message.map(Some).map_err(FrameError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_however_its_bytes_are_cut() {
        let mut bytes = Vec::new();
        encode(&(7_u32, "seven"), &mut bytes);
        encode(&(8_u32, "eight"), &mut bytes);
        let mut decoder = Decoder::new(100);
        let mut received: Vec<(u32, String)> = Vec::new();
        for byte in bytes {
            decoder.buffer().extend_from_slice(&[byte]);
            received.extend(decoder.next_message().expect("both frames are well formed"));
        }
        assert_eq!(received, [(7, "seven".to_owned()), (8, "eight".to_owned())]);
    }

    #[test]
    fn a_claim_over_the_limit_is_refused_before_the_bytes_come() {
        let mut decoder = Decoder::new(100);
        decoder.buffer().extend_from_slice(&101_u64.to_le_bytes());
        let error = FrameError::TooLarge { claimed_bytes: 101, limit_bytes: 100 };
        assert_eq!(decoder.next_message::<u32>(), Err(error));
    }

    #[test]
    fn nonsense_is_an_error() {
        let mut decoder = Decoder::new(100);
        decoder.buffer().extend_from_slice(&1_u64.to_le_bytes());
        decoder.buffer().extend_from_slice(&[2]);
        assert!(matches!(decoder.next_message::<bool>(), Err(FrameError::Malformed(_))));
    }
}

//! Cuts messages of any size into parts of a bounded one, and puts them together again, so that no
//! frame of a session is large and signs of life come between the parts of what is.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How much of a message a part holds: as much as a piece of an object, with room for what stands
/// around it.
pub const PART_BYTES: usize = (256 << 10) + 512;

/// The first byte of a part after which there are others of its message.
const MORE: u8 = 1;

/// The first byte of the last or only part of a message.
const LAST: u8 = 0;

/// Why parts are not taken. The session is of no use after that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// The message is larger than this end takes.
    #[error("a message is over the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// It is no part, or its message is none of this protocol.
    #[error("a message is not of this protocol")]
    Malformed,
}

/// The parts of a message, in their order.
pub fn cut(message: &impl Serialize) -> Vec<Bytes> {
    let whole = postcard::to_extend(message, vec![LAST]);
    let whole = whole.expect("messages hold nothing that postcard cannot write");
    if whole.len() <= PART_BYTES + 1 {
        return vec![whole.into()];
    }
    let mut chunks = whole[1..].chunks(PART_BYTES).peekable();
    let mut parts = Vec::with_capacity(chunks.len());
    while let Some(chunk) = chunks.next() {
        let mut part = BytesMut::with_capacity(chunk.len() + 1);
        part.put_u8(if chunks.peek().is_some() { MORE } else { LAST });
        part.put_slice(chunk);
        parts.push(part.freeze());
    }
    parts
}

/// Puts the parts of messages together.
#[derive(Debug)]
pub struct Joiner {
    gathered: Vec<u8>,
    limit_bytes: usize,
}

impl Joiner {
    /// For messages up to this size.
    pub fn new(limit_bytes: usize) -> Self {
        Self { gathered: Vec::new(), limit_bytes }
    }

    /// Takes the next part in; the message, if it is whole now.
    pub fn take<T: DeserializeOwned>(&mut self, part: &[u8]) -> Result<Option<T>, PartError> {
        let (&flag, content) = part.split_first().ok_or(PartError::Malformed)?;
        let limit_bytes = self.limit_bytes;
        if self.gathered.len() + content.len() > limit_bytes {
            return Err(PartError::TooLarge { limit_bytes });
        }
        match flag {
            MORE => {
                self.gathered.extend_from_slice(content);
                Ok(None)
            }
            LAST if self.gathered.is_empty() => decode(content).map(Some),
            LAST => {
                let mut whole = core::mem::take(&mut self.gathered);
                whole.extend_from_slice(content);
                decode(&whole).map(Some)
            }
            _ => Err(PartError::Malformed),
        }
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PartError> {
    postcard::from_bytes(bytes).map_err(|_| PartError::Malformed)
}

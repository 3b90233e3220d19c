//! Cuts messages of any size into parts of a bounded one, and puts them together again, so that no
//! frame of a session is large and signs of life come between the parts of what is. Small messages
//! that are sent together share a part: what a session does for each is done once for many.

use core::mem;
use std::collections::VecDeque;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How much of a message a part holds: as much as a piece of an object, with room for what stands
/// around it.
pub const PART_BYTES: usize = (256 << 10) + 512;

/// Messages are gathered up to about this size: as much as goes out at once.
pub const GATHERED_BYTES: usize = 16 << 10;

/// The first byte of a part after which there are others of its message.
const MORE: u8 = 1;

/// The first byte of the last or only part of a message.
const LAST: u8 = 0;

/// The first byte of a part with several whole messages, one after the other.
const SEVERAL: u8 = 2;

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
    let mut parts = VecDeque::new();
    cut_whole(append(message, vec![LAST]), &mut parts);
    parts.into()
}

/// Gathers messages that go out together.
#[derive(Debug, Default)]
pub struct Gatherer {
    /// A part that may take more messages, unless it is empty.
    open: Vec<u8>,
    messages: usize,
    /// Parts that take no more.
    full: VecDeque<Bytes>,
}

impl Gatherer {
    /// Adds a message behind the others.
    pub fn push(&mut self, message: &impl Serialize) {
        if self.messages == 0 {
            self.open.push(LAST);
        }
        let begin = self.open.len();
        self.open = append(message, mem::take(&mut self.open));
        if self.messages > 0 && self.open.len() > GATHERED_BYTES {
            let mut next = vec![LAST];
            next.extend_from_slice(&self.open[begin..]);
            self.open.truncate(begin);
            self.seal();
            self.open = next;
        }
        self.messages += 1;
        if self.open.len() > GATHERED_BYTES {
            self.seal();
        }
    }

    /// The next part. One that might take more messages comes last.
    pub fn pop(&mut self) -> Option<Bytes> {
        if self.full.is_empty() {
            self.seal();
        }
        self.full.pop_front()
    }

    /// Whether as much is gathered as goes out at once.
    pub fn has_full(&self) -> bool {
        !self.full.is_empty()
    }

    /// Whether nothing is gathered.
    pub fn is_empty(&self) -> bool {
        self.messages == 0 && self.full.is_empty()
    }

    fn seal(&mut self) {
        let mut whole = mem::take(&mut self.open);
        match mem::take(&mut self.messages) {
            0 => {}
            1 => cut_whole(whole, &mut self.full),
            _ => {
                whole[0] = SEVERAL;
                self.full.push_back(whole.into());
            }
        }
    }
}

fn append(message: &impl Serialize, buffer: Vec<u8>) -> Vec<u8> {
    let appended = postcard::to_extend(message, buffer);
    appended.expect("messages hold nothing that postcard cannot write")
}

/// Cuts a message that stands behind a first byte.
fn cut_whole(whole: Vec<u8>, parts: &mut VecDeque<Bytes>) {
    if whole.len() <= PART_BYTES + 1 {
        return parts.push_back(whole.into());
    }
    let mut chunks = whole[1..].chunks(PART_BYTES).peekable();
    while let Some(chunk) = chunks.next() {
        let mut part = BytesMut::with_capacity(chunk.len() + 1);
        part.put_u8(if chunks.peek().is_some() { MORE } else { LAST });
        part.put_slice(chunk);
        parts.push_back(part.freeze());
    }
}

/// Puts the parts of messages together.
#[derive(Debug)]
pub struct Joiner {
    gathered: Vec<u8>,
    /// Of the last part, what was not taken yet.
    rest: Bytes,
    /// Whether that may be more than one message.
    has_several: bool,
    limit_bytes: usize,
}

impl Joiner {
    /// For messages up to this size.
    pub fn new(limit_bytes: usize) -> Self {
        Self { gathered: Vec::new(), rest: Bytes::new(), has_several: false, limit_bytes }
    }

    /// Takes the next part in; the messages that are whole now come out by [`Joiner::pop`].
    pub fn push(&mut self, mut part: Bytes) -> Result<(), PartError> {
        if part.is_empty() {
            return Err(PartError::Malformed);
        }
        let flag = part.get_u8();
        let limit_bytes = self.limit_bytes;
        if self.gathered.len() + part.len() > limit_bytes {
            return Err(PartError::TooLarge { limit_bytes });
        }
        match flag {
            MORE => self.gathered.extend_from_slice(&part),
            LAST if self.gathered.is_empty() => (self.rest, self.has_several) = (part, false),
            LAST => {
                let mut whole = mem::take(&mut self.gathered);
                whole.extend_from_slice(&part);
                (self.rest, self.has_several) = (whole.into(), false);
            }
            SEVERAL if self.gathered.is_empty() => (self.rest, self.has_several) = (part, true),
            _ => return Err(PartError::Malformed),
        }
        Ok(())
    }

    /// The next message that is whole.
    pub fn pop<T: DeserializeOwned>(&mut self) -> Result<Option<T>, PartError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let taken = postcard::take_from_bytes(&self.rest).map_err(|_| PartError::Malformed);
        let (message, behind) = taken?;
        let length = self.rest.len() - behind.len();
        // A message of no bytes would come for ever.
        if length == 0 {
            return Err(PartError::Malformed);
        }
        self.rest.advance(if self.has_several { length } else { self.rest.len() });
        Ok(Some(message))
    }
}

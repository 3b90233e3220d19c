//! Reads values from the cluster's stores, piece by piece. Pure: no connection, no waiting.

use std::collections::BTreeMap;

use bytes::Bytes;
use hurricane_core::id::ObjectId;
use hurricane_core::member::{Content, PIECE_BYTES, Piece, Read};

/// So many pieces of a value are asked for at once: at 256 KiB each, what a fast connection carries
/// in the time of a way there and back over a slow one.
const WINDOW: usize = 16;

/// The reads that go on.
#[derive(Debug, Default)]
pub(super) struct Reading {
    last_request: u64,
    /// What each question that is not answered yet was for.
    open: BTreeMap<u64, (ObjectId, u64)>,
    values: BTreeMap<ObjectId, Value>,
}

/// A value that is being read.
#[derive(Debug, Default)]
struct Value {
    total_bytes: Option<u64>,
    /// What has come without a gap.
    bytes: Vec<u8>,
    /// What came before what stands in front of it.
    early: BTreeMap<u64, Bytes>,
    /// The offset of the next question.
    next: u64,
    unanswered: usize,
}

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// These questions.
    Ask(Vec<Read>),
    /// The value is whole.
    Whole(ObjectId, Bytes),
    /// It is not where it should be, now.
    Missing(ObjectId),
}

impl Reading {
    /// Begins to read a value; the first questions, unless it is being read already.
    pub(super) fn begin(&mut self, object: ObjectId) -> Vec<Read> {
        if self.values.contains_key(&object) {
            return Vec::new();
        }
        self.values.insert(object, Value::default());
        self.ask_more(object)
    }

    /// Takes an answer in.
    pub(super) fn take(&mut self, piece: Piece) -> Outcome {
        // Of a value that was given up since, perhaps.
        let Some((object, offset)) = self.open.remove(&piece.request) else {
            return Outcome::Ask(Vec::new());
        };
        let value = self.values.get_mut(&object).expect("what is open belongs to a value");
        value.unanswered -= 1;
        let is_taken = piece.content.is_some_and(|content| value.take(offset, content));
        if !is_taken {
            self.forget(object);
            return Outcome::Missing(object);
        }
        if value.is_whole() {
            let bytes = std::mem::take(&mut value.bytes);
            self.forget(object);
            return Outcome::Whole(object, bytes.into());
        }
        Outcome::Ask(self.ask_more(object))
    }

    fn ask_more(&mut self, object: ObjectId) -> Vec<Read> {
        let value = self.values.get_mut(&object).expect("it is being read");
        let mut reads = Vec::new();
        while value.unanswered < WINDOW && value.has_more_to_ask() {
            self.last_request += 1;
            let (request, offset) = (self.last_request, value.next);
            self.open.insert(request, (object, offset));
            reads.push(Read { request, object, offset });
            value.next += PIECE_BYTES as u64;
            value.unanswered += 1;
        }
        reads
    }

    fn forget(&mut self, object: ObjectId) {
        self.values.remove(&object);
        self.open.retain(|_, (asked, _)| *asked != object);
    }
}

impl Value {
    /// How large it is, is said by the first piece: until then there is one question.
    fn has_more_to_ask(&self) -> bool {
        self.total_bytes.map_or(self.next == 0, |total| self.next < total)
    }

    fn is_whole(&self) -> bool {
        self.total_bytes == Some(self.bytes.len() as u64)
    }

    /// Whether the piece is one of this value.
    fn take(&mut self, offset: u64, content: Content) -> bool {
        let total = *self.total_bytes.get_or_insert(content.total_bytes);
        let expected = total.saturating_sub(offset).min(PIECE_BYTES as u64);
        if content.total_bytes != total || content.bytes.len() as u64 != expected {
            return false;
        }
        self.early.insert(offset, content.bytes);
        while let Some(next) = self.early.remove(&(self.bytes.len() as u64)) {
            self.bytes.extend_from_slice(&next);
            if next.is_empty() {
                break;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use hurricane_core::id::{NodeId, ObjectNumber};

    use super::*;

    const OBJECT: ObjectId = ObjectId { node: NodeId(7), number: ObjectNumber(1) };

    #[test]
    fn a_value_of_any_size_is_put_together() {
        for size in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 40 * PIECE_BYTES + 5] {
            let stored = value_of(size);
            let mut reading = Reading::default();
            let mut asked = reading.begin(OBJECT);
            let whole = loop {
                // The last question is answered first.
                let read = asked.pop().expect("something is asked until it is whole");
                match reading.take(answer(&stored, read)) {
                    Outcome::Ask(more) => asked.extend(more),
                    Outcome::Whole(object, bytes) => break (object, bytes),
                    Outcome::Missing(_) => panic!("it is all there"),
                }
                assert!(asked.len() <= WINDOW);
            };
            assert_eq!(whole, (OBJECT, stored), "{size}");
            assert!(asked.is_empty());
        }
    }

    #[test]
    fn a_value_that_is_missing_can_be_asked_for_again() {
        let stored = value_of(3 * PIECE_BYTES);
        let mut reading = Reading::default();
        let first = reading.begin(OBJECT)[0];
        assert_eq!(reading.begin(OBJECT), []);
        let Outcome::Ask(more) = reading.take(answer(&stored, first)) else {
            panic!("it is there")
        };
        let missing = Piece { request: more[0].request, content: None };
        assert_eq!(reading.take(missing), Outcome::Missing(OBJECT));
        assert_eq!(reading.take(answer(&stored, more[1])), Outcome::Ask(Vec::new()));
        assert_eq!(reading.begin(OBJECT).len(), 1);
    }

    #[test]
    fn pieces_that_contradict_each_other_make_no_value() {
        let lies = [
            Content { total_bytes: 2 * PIECE_BYTES as u64, bytes: Bytes::from_static(b"short") },
            Content { total_bytes: 1, bytes: value_of(2) },
            Content { total_bytes: 1, bytes: Bytes::new() },
            Content { total_bytes: u64::MAX, bytes: Bytes::new() },
        ];
        for lie in lies {
            let mut reading = Reading::default();
            let request = reading.begin(OBJECT)[0].request;
            let outcome = reading.take(Piece { request, content: Some(lie) });
            assert_eq!(outcome, Outcome::Missing(OBJECT));
        }
    }

    fn value_of(size: usize) -> Bytes {
        (0..size).map(|index| u8::try_from(index % 251).expect("it is less")).collect()
    }

    fn answer(stored: &Bytes, read: Read) -> Piece {
        let offset = usize::try_from(read.offset).expect("it is small");
        let end = stored.len().min(offset + PIECE_BYTES);
        let content =
            Content { total_bytes: stored.len() as u64, bytes: stored.slice(offset..end) };
        Piece { request: read.request, content: Some(content) }
    }
}

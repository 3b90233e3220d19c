//! Marks in the output of a worker: whose lines follow. Several runs may be over before the node hears
//! of it, so that it could not know by itself.
//!
//! A mark begins with bytes that the node has chosen for this worker: what tasks print is taken for
//! one only if they mean it.

use bytes::{Bytes, BytesMut};
use hurricane_core::id::RunId;
use serde::{Deserialize, Serialize};

/// What nobody prints.
const FIRST: u8 = 0;

const NONCE_BYTES: usize = 15;
const MARK_BYTES: usize = 1 + NONCE_BYTES + size_of::<u64>();

/// How the marks of one worker begin, after the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Nonce(pub(crate) [u8; NONCE_BYTES]);

/// Takes the marks out of one output of a worker.
#[derive(Debug)]
pub(crate) struct Marks {
    nonce: Nonce,
    /// Whose output it is, by the last mark.
    run: Option<RunId>,
    /// What may be the beginning of a mark.
    rest: BytesMut,
}

impl Nonce {
    /// What is written before the first output of a run; before other output, with none.
    pub(crate) fn mark(self, run: Option<RunId>) -> [u8; MARK_BYTES] {
        let mut mark = [FIRST; MARK_BYTES];
        mark[1..=NONCE_BYTES].copy_from_slice(&self.0);
        mark[1 + NONCE_BYTES..].copy_from_slice(&run.unwrap_or_default().0.to_le_bytes());
        mark
    }
}

impl Marks {
    pub(crate) fn new(nonce: Nonce) -> Self {
        Self { nonce, run: None, rest: BytesMut::new() }
    }

    /// Takes bytes cut anywhere: what each run wrote, and what was written without a mark.
    pub(crate) fn take(&mut self, bytes: Bytes) -> Vec<(Option<RunId>, Bytes)> {
        if self.rest.is_empty() && !bytes.contains(&FIRST) {
            return vec![(self.run, bytes)];
        }
        self.rest.extend_from_slice(&bytes);
        let mut pieces = Vec::new();
        let mut searched = 0;
        while let Some(place) = self.rest[searched..].iter().position(|byte| *byte == FIRST) {
            let place = searched + place;
            match self.mark_at(place) {
                Mark::Whole(run) => {
                    self.push_before(place, &mut pieces);
                    drop(self.rest.split_to(MARK_BYTES));
                    self.run = run;
                    searched = 0;
                }
                Mark::Cut => {
                    self.push_before(place, &mut pieces);
                    return pieces;
                }
                Mark::None => searched = place + 1,
            }
        }
        self.push_before(self.rest.len(), &mut pieces);
        pieces
    }

    /// Nothing follows: what is left was no mark.
    pub(crate) fn finish(&mut self) -> Option<(Option<RunId>, Bytes)> {
        let rest = self.rest.split().freeze();
        (!rest.is_empty()).then_some((self.run, rest))
    }

    fn push_before(&mut self, place: usize, pieces: &mut Vec<(Option<RunId>, Bytes)>) {
        if place > 0 {
            pieces.push((self.run, self.rest.split_to(place).freeze()));
        }
    }

    fn mark_at(&self, place: usize) -> Mark {
        let found = &self.rest[place + 1..];
        let nonce = &self.nonce.0[..found.len().min(NONCE_BYTES)];
        if !found.starts_with(nonce) {
            return Mark::None;
        }
        match found.get(NONCE_BYTES..).and_then(<[u8]>::first_chunk) {
            None => Mark::Cut,
            Some(run) => {
                let run = u64::from_le_bytes(*run);
                Mark::Whole((run > 0).then_some(RunId(run)))
            }
        }
    }
}

/// What stands at a place.
enum Mark {
    Whole(Option<RunId>),
    /// The beginning of one, as far as it has come.
    Cut,
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: Nonce = Nonce(*b"0123456789abcde");

    /// What comes of these bytes if they come in pieces of this length.
    fn taken(bytes: &[u8], piece: usize) -> Vec<(Option<RunId>, Vec<u8>)> {
        let mut marks = Marks::new(NONCE);
        let mut all: Vec<(Option<RunId>, Vec<u8>)> = Vec::new();
        let mut add = |run, bytes: Bytes| match all.last_mut() {
            Some((last, text)) if *last == run => text.extend_from_slice(&bytes),
            _ => all.push((run, bytes.to_vec())),
        };
        for piece in bytes.chunks(piece) {
            for (run, bytes) in marks.take(Bytes::copy_from_slice(piece)) {
                add(run, bytes);
            }
        }
        if let Some((run, bytes)) = marks.finish() {
            add(run, bytes);
        }
        all
    }

    #[test]
    fn output_is_attributed_however_it_is_cut() {
        let (one, none) = (NONCE.mark(Some(RunId(1))), NONCE.mark(None));
        let two = NONCE.mark(Some(RunId(1 << 40)));
        let written = [
            b"before".as_slice(),
            &one,
            b"of one\n",
            &none,
            b"from C\0\n",
            &two,
            &none,
            b"\0end\0",
        ]
        .concat();
        for piece in 1..=written.len() {
            let expected = [
                (None, b"before".to_vec()),
                (Some(RunId(1)), b"of one\n".to_vec()),
                (None, b"from C\0\n\0end\0".to_vec()),
            ];
            assert_eq!(taken(&written, piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn another_workers_mark_is_text() {
        let mark = Nonce([7; NONCE_BYTES]).mark(Some(RunId(1)));
        assert_eq!(taken(&mark, 3), [(None, mark.to_vec())]);
    }
}

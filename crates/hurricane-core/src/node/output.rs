//! What workers write: cut into lines, limited in rate, its end kept as evidence of a death.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::budget::{Budget, Limits};
use crate::id::RunId;
use crate::message::{Output, Stream};
use crate::time::Time;

/// The longest line; a longer one is cut here. A terminal's screen holds about as much.
const MAX_LINE_BYTES: usize = 8 << 10;

/// How much of a worker's output is kept for the case that it dies: what fits on a screen or two.
const MAX_LAST_LINES: usize = 50;

/// The same in bytes: each death that is reported carries so much at most.
const MAX_LAST_BYTES: usize = 8 << 10;

/// What all tasks of a node together may write to their clients. At once after a silence: a long
/// traceback or a table of results, whole. In a second: far more than people read, and a hundredth of
/// what a link carries. After some was dropped: a flood arrives as pieces that can be read, four a
/// second, and not as single lines between counts of others.
pub(crate) const OUTPUT: Limits = Limits { rate: 1 << 20, burst: 4 << 20, resume: 1 << 18 };

/// What one worker writes.
#[derive(Debug, Default)]
pub(super) struct Writing {
    /// Whose output it is.
    run: Option<RunId>,
    stdout: Lines,
    stderr: Lines,
    last: Last,
}

/// One stream of one worker.
#[derive(Debug, Default)]
struct Lines {
    unfinished: Vec<u8>,
    dropped: u64,
}

/// The last bytes of both streams, whole lines in the order in which they came.
#[derive(Debug, Default)]
struct Last(VecDeque<u8>);

impl Writing {
    /// What is written from now on is that of this run; what was written before is not.
    pub(super) fn begin(&mut self, run: Option<RunId>) {
        *self = Self { run, ..Self::default() };
    }

    /// Whose output it is.
    pub(super) fn run(&self) -> Option<RunId> {
        self.run
    }

    /// Takes what a worker wrote while it ran nothing: it is kept as evidence only.
    pub(super) fn note(&mut self, stream: Stream, bytes: &[u8]) {
        let whole = self.lines(stream).push(bytes);
        self.last.push(&whole);
    }

    /// Takes what a running worker wrote; what is to be sent of it.
    pub(super) fn write(
        &mut self,
        stream: Stream,
        bytes: &[u8],
        now: Time,
        budget: &mut Budget,
    ) -> Vec<Output> {
        let whole = self.lines(stream).push(bytes);
        self.last.push(&whole);
        self.lines(stream).report(stream, &whole, now, budget)
    }

    /// The run ends: what is to be sent of its unfinished lines, and what was dropped unsaid.
    pub(super) fn finish(&mut self, now: Time, budget: &mut Budget) -> Vec<Output> {
        let mut outputs = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let whole = self.lines(stream).finish();
            self.last.push(&whole);
            let lines = self.lines(stream);
            outputs.append(&mut lines.report(stream, &whole, now, budget));
            if lines.dropped > 0 {
                outputs.push(lines.output(stream, Vec::new()));
            }
        }
        outputs
    }

    /// The last lines that it wrote, unfinished ones too.
    pub(super) fn last_lines(mut self) -> Box<str> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let whole = self.lines(stream).finish();
            self.last.push(&whole);
        }
        self.last.lines()
    }

    fn lines(&mut self, stream: Stream) -> &mut Lines {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

impl Lines {
    /// Takes bytes cut anywhere; the lines that are whole now.
    fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut whole = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let mut rest = piece;
            while rest.strip_suffix(b"\n").unwrap_or(rest).len() > self.left() {
                let (head, tail) = rest.split_at(self.left());
                self.unfinished.extend_from_slice(head);
                whole.append(&mut self.finish());
                rest = tail;
            }
            self.unfinished.extend_from_slice(rest);
            if rest.ends_with(b"\n") {
                whole.append(&mut self.unfinished);
            }
        }
        whole
    }

    /// The unfinished line, if there is one, finished.
    fn finish(&mut self) -> Vec<u8> {
        let mut line = core::mem::take(&mut self.unfinished);
        if !line.is_empty() {
            line.push(b'\n');
        }
        line
    }

    /// How much longer the unfinished line may get.
    fn left(&self) -> usize {
        MAX_LINE_BYTES - self.unfinished.len()
    }

    /// What is sent of whole lines: as many as the budget allows, and the others counted.
    fn report(
        &mut self,
        stream: Stream,
        whole: &[u8],
        now: Time,
        budget: &mut Budget,
    ) -> Vec<Output> {
        let mut outputs = Vec::new();
        let mut text = Vec::new();
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            if budget.pays_for(line.len(), now) {
                text.extend_from_slice(line);
                continue;
            }
            if !text.is_empty() {
                outputs.push(self.output(stream, core::mem::take(&mut text)));
            }
            self.dropped += 1;
        }
        if !text.is_empty() {
            outputs.push(self.output(stream, text));
        }
        outputs
    }

    fn output(&mut self, stream: Stream, text: Vec<u8>) -> Output {
        let dropped_lines = core::mem::take(&mut self.dropped);
        Output { stream, text: Bytes::from(text), dropped_lines }
    }
}

impl Last {
    fn push(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(MAX_LAST_BYTES)..];
        self.0.extend(kept);
        let surplus = self.0.len().saturating_sub(MAX_LAST_BYTES);
        self.0.drain(..surplus);
    }

    fn lines(mut self) -> Box<str> {
        let bytes: &[u8] = self.0.make_contiguous();
        let lines = bytes.split_inclusive(|byte| *byte == b'\n').rev().take(MAX_LAST_LINES);
        let length: usize = lines.map(<[u8]>::len).sum();
        String::from_utf8_lossy(&bytes[bytes.len() - length..]).into()
    }
}

//! What happened in a run: a hash over all of it, and its last lines for whoever must find out why
//! it failed.

use std::collections::VecDeque;
use std::fmt::{self, Write};

use hurricane_core::time::Time;

/// How many lines a failure shows.
const LINES_KEPT: usize = 60;

/// Longer lines are cut here: what follows are the bytes of a value.
const MAX_LINE: usize = 240;

/// The lines of a run.
pub(crate) struct Trace {
    hash: Fnv,
    last: VecDeque<Line>,
    is_shown: bool,
}

impl Trace {
    /// An empty one, which prints its lines as they come if they are to be shown.
    pub(crate) fn new(is_shown: bool) -> Self {
        Self { hash: Fnv::new(), last: VecDeque::with_capacity(LINES_KEPT), is_shown }
    }

    pub(crate) fn note(&mut self, now: Time, what: fmt::Arguments<'_>) {
        let mut line = if self.last.len() < LINES_KEPT {
            Line::default()
        } else {
            self.last.pop_front().unwrap_or_default()
        };
        line.0.clear();
        let seconds = (now.0 / 1_000_000, now.0 % 1_000_000);
        // An error means that the line is full.
        let _ = write!(line, "{:4}.{:06} {what}", seconds.0, seconds.1);
        self.hash.add(line.0.as_bytes());
        if self.is_shown {
            println!("{}", line.0);
        }
        self.last.push_back(line);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash.0
    }

    pub(crate) fn last_lines(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(|line| line.0.as_str())
    }
}

/// A line that takes no more than [`MAX_LINE`] bytes.
#[derive(Default)]
struct Line(String);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MAX_LINE {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// FNV-1a, 64 bits.
pub(crate) struct Fnv(pub(crate) u64);

impl Fnv {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

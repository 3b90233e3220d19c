//! What is to be said to a member and its session does not take yet. Messages wait as they are: what
//! they carry, the scheduler holds anyway, so that a member that does not read costs little more.

use std::collections::VecDeque;

use bytes::Bytes;
use hurricane_core::member::{Piece, ToClient, ToNode};
use hurricane_core::message::{Output, SchedulerToClient};
use hurricane_core::parts::Gatherer;
use hurricane_core::scheduler::MAX_TASKS;
use hurricane_core::session::Session;

/// Messages that wait for one member: all that a client may have under way ends, and as much again.
/// Beyond that the session is over.
const MAX_WAITING: u64 = 2 * MAX_TASKS;

/// So many pieces of objects are on their way to a member: two acknowledgements of 16 pieces each,
/// so that it need not wait for one.
const MAX_PIECES_ON_THEIR_WAY: usize = 32;

/// How much text of tasks waits for a client that does not read. Beyond it lines are dropped and
/// counted.
const MAX_OUTPUT_BYTES: usize = 1 << 20;

/// A message, to whichever kind of member.
#[derive(Debug)]
pub(super) enum Message {
    ToNode(ToNode),
    ToClient(ToClient),
}

impl From<ToNode> for Message {
    fn from(message: ToNode) -> Self {
        Self::ToNode(message)
    }
}

impl From<ToClient> for Message {
    fn from(message: ToClient) -> Self {
        Self::ToClient(message)
    }
}

impl Message {
    fn gather(&self, gatherer: &mut Gatherer) {
        match self {
            Self::ToNode(message) => gatherer.push(message),
            Self::ToClient(message) => gatherer.push(message),
        }
    }

    fn output(&mut self) -> Option<&mut Output> {
        match self {
            Self::ToClient(ToClient::Scheduling(SchedulerToClient::Output { output, .. })) => {
                Some(output)
            }
            _ => None,
        }
    }
}

/// What waits for one member.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// What is being sent: a message, or several small ones.
    sending: Gatherer,
    waiting: VecDeque<Message>,
    /// Pieces of objects, which may wait until everything else was sent.
    pieces: VecDeque<Message>,
    /// How many parts were ever given to the session, and which of them were pieces that may not
    /// have arrived.
    sent: u64,
    pieces_sent: VecDeque<u64>,
    output_bytes: usize,
    dropped_lines: u64,
}

impl Outgoing {
    /// Has a message wait for its turn.
    pub(super) fn push(&mut self, mut message: Message) {
        if let Some(output) = message.output()
            && !self.takes(output)
        {
            return;
        }
        self.waiting.push_back(message);
    }

    /// Has a piece wait until everything else was sent.
    pub(super) fn push_piece(&mut self, to: Message) {
        self.pieces.push_back(to);
    }

    /// How many pieces wait.
    pub(super) fn waiting_pieces(&self) -> usize {
        self.pieces.len()
    }

    /// How much text of tasks waits.
    #[cfg(test)]
    pub(super) fn waiting_output_bytes(&self) -> usize {
        self.output_bytes
    }

    /// Whether anything waits.
    pub(super) fn is_waiting(&self) -> bool {
        !(self.sending.is_empty() && self.waiting.is_empty() && self.pieces.is_empty())
    }

    /// Whether more waits than can be explained by slowness.
    pub(super) fn is_overrun(&self) -> bool {
        self.waiting.len() as u64 > MAX_WAITING
    }

    /// What comes next, if the session takes it now.
    pub(super) fn next(&mut self, session: &Session) -> Option<Bytes> {
        if session.is_over() || session.is_full() {
            return None;
        }
        if self.sending.is_empty() {
            self.begin_next(session);
        }
        let part = self.sending.pop()?;
        self.sent += 1;
        Some(part)
    }

    fn begin_next(&mut self, session: &Session) {
        while !self.sending.has_full()
            && let Some(mut message) = self.waiting.pop_front()
        {
            if let Some(output) = message.output() {
                self.output_bytes -= output.text.len();
            }
            message.gather(&mut self.sending);
        }
        if !self.sending.is_empty() {
            return;
        }
        let arrived = self.sent - session.unacknowledged() as u64;
        while self.pieces_sent.front().is_some_and(|piece| *piece <= arrived) {
            self.pieces_sent.pop_front();
        }
        if self.pieces_sent.len() < MAX_PIECES_ON_THEIR_WAY
            && let Some(piece) = self.pieces.pop_front()
        {
            piece.gather(&mut self.sending);
            // It is as large as one part.
            self.pieces_sent.push_back(self.sent + 1);
        }
    }

    /// Takes text of a task, with the count of the lines before that were not, unless too much
    /// waits.
    fn takes(&mut self, output: &mut Output) -> bool {
        let bytes = output.text.len();
        if self.output_bytes + bytes > MAX_OUTPUT_BYTES {
            let lines = output.text.split(|byte| *byte == b'\n').count() - 1;
            self.dropped_lines += output.dropped_lines + lines as u64;
            return false;
        }
        output.dropped_lines += core::mem::take(&mut self.dropped_lines);
        self.output_bytes += bytes;
        true
    }
}

/// A piece for a client or a node.
pub(super) fn piece_for_client(piece: Piece) -> Message {
    ToClient::Piece(piece).into()
}

/// See [`piece_for_client`].
pub(super) fn piece_for_node(piece: Piece) -> Message {
    ToNode::Piece(piece).into()
}

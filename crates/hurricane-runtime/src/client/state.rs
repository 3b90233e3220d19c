//! What a connection knows: the numbers it gave out, its allowance, and what came in.

use std::collections::VecDeque;

use hurricane_core::id::Number;
use hurricane_core::message::{Allowance, Ending, Failure, Output, SchedulerToClient, Value};

use super::kept::Kept;
use super::live::{Entry, Live};
use super::{ConnectionError, Handle, MAX_QUEUED_OUTPUT_BYTES, Received, SubmitError};

/// What a queued piece of output costs beside its text, so that empty lines are not free.
const OUTPUT_COST_BYTES: usize = 64;

/// What a connection knows.
pub(super) struct State<F> {
    pub(super) closed: Option<ConnectionError>,
    /// What came in and was not received.
    incoming: VecDeque<Received<F>>,
    /// How many ends of tasks are in `incoming`.
    ends: usize,
    /// The lowest number among the ends that were received last.
    in_hand: Option<Number>,
    /// What ended after a task wrote something that was not received, or is not dealt with: lines of
    /// a task come before its end.
    held_up: Vec<(Number, Ending)>,
    /// Bytes of output in `incoming`.
    output_bytes: usize,
    /// Whether there was any in what was received last.
    has_output_in_hand: bool,
    /// Lines dropped since output was last queued.
    dropped_lines: u64,
    /// Who receives is to look around, though nothing came in.
    pub(super) is_woken: bool,
    /// Who receives is to look around whenever nothing is pending.
    pub(super) is_finishing: bool,
    /// How many threads wait for tasks to be over.
    pub(super) waiting: usize,
    pub(super) allowance: Allowance,
    /// What was submitted in all, to be compared with the allowance.
    submitted: Allowance,
    pub(super) definitions: u32,
    pub(super) numbers: u64,
    pub(super) live: Live<F>,
    /// Which of the objects among them are arguments.
    pub(super) kept: Kept,
}

impl<F> Default for State<F> {
    fn default() -> Self {
        Self {
            closed: None,
            incoming: VecDeque::new(),
            ends: 0,
            in_hand: None,
            held_up: Vec::new(),
            output_bytes: 0,
            has_output_in_hand: false,
            dropped_lines: 0,
            is_woken: false,
            is_finishing: false,
            waiting: 0,
            allowance: Allowance::default(),
            submitted: Allowance::default(),
            definitions: 0,
            numbers: 0,
            live: Live::default(),
            kept: Kept::default(),
        }
    }
}

impl<F> State<F> {
    pub(super) fn check_open(&self) -> Result<(), ConnectionError> {
        self.closed.clone().map_or(Ok(()), Err)
    }

    /// Whether there is something to receive.
    pub(super) fn has_arrived(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// How many tasks have not ended, as far as was received.
    pub(super) fn pending(&self) -> usize {
        self.live.pending() + self.ends
    }

    /// Whether who receives has something to do beside what came in.
    pub(super) fn is_to_look_around(&self) -> bool {
        self.is_woken || self.is_finishing && self.pending() == 0
    }

    /// Whether all tasks up to this one have ended, and whoever received their ends is done with
    /// them.
    pub(super) fn is_over(&self, last: Number) -> bool {
        let queued = self.incoming.iter().filter_map(|one| match one {
            Received::Ended { number, .. } => Some(*number),
            _ => None,
        });
        let mut pending = self.live.iter().filter(|(_, entry)| entry.is_pending());
        let first = pending.next().map(|(number, _)| number);
        queued.chain(first).chain(self.in_hand).all(|number| number > last)
    }

    /// What crosses the limit of bytes may still be submitted: it may be larger than the limit.
    pub(super) fn may_submit(&self) -> bool {
        self.submitted.tasks < self.allowance.tasks && self.submitted.bytes < self.allowance.bytes
    }

    /// The next number, within the allowance.
    pub(super) fn reserve(&mut self, bytes: usize) -> Result<Number, SubmitError> {
        if !self.may_submit() {
            return Err(SubmitError::AllowanceUsedUp);
        }
        self.submitted.tasks += 1;
        self.submitted.bytes += bytes as u64;
        self.numbers += 1;
        Ok(Number(self.numbers))
    }

    /// Whether the number was held and is not any more.
    pub(super) fn let_go(&mut self, number: Number) -> bool {
        if self.kept.let_go(number) == Some(false) {
            return false;
        }
        let is_held = self.live.get(number).is_some_and(|entry| !entry.is_pending());
        if is_held {
            self.live.remove(number);
        }
        is_held
    }

    pub(super) fn notice(&mut self, sentence: Box<str>) {
        self.incoming.push_back(Received::Notice(sentence));
    }

    /// Everything that came in and is to be dealt with by who receives it.
    pub(super) fn take_incoming(&mut self) -> Vec<Received<F>> {
        self.has_output_in_hand = std::mem::take(&mut self.output_bytes) > 0;
        self.ends = 0;
        let received = Vec::from(std::mem::take(&mut self.incoming));
        self.in_hand = received.iter().filter_map(number_of_ended).min();
        received
    }

    /// Whether output may be queued; if not, its lines are counted and the next that may says so.
    fn has_room_for(&mut self, output: &mut Output) -> bool {
        let bytes = output.text.len() + OUTPUT_COST_BYTES;
        let has_room = self.output_bytes + bytes <= MAX_QUEUED_OUTPUT_BYTES;
        if has_room {
            self.output_bytes += bytes;
            output.dropped_lines += std::mem::take(&mut self.dropped_lines);
        } else {
            self.dropped_lines += output.dropped_lines + lines_in(&output.text);
        }
        has_room
    }

    /// How what is pending ends with the connection.
    fn last_ending(&self) -> Ending {
        match &self.closed {
            Some(ConnectionError::Lost(reason)) => Ending::Failed {
                failure: Box::new(Failure::SchedulerLost(reason.to_string().into())),
                cause: None,
            },
            _ => Ending::Cancelled { cause: None },
        }
    }
}

impl<F: Handle> State<F> {
    /// Who receives is done with what was received last.
    pub(super) fn put_down(&mut self, released: &mut Vec<Number>) {
        self.in_hand = None;
        self.has_output_in_hand = false;
        if self.output_bytes == 0 {
            self.end_held_up(released);
        }
    }

    fn end_held_up(&mut self, released: &mut Vec<Number>) {
        for (number, ending) in std::mem::take(&mut self.held_up) {
            self.end(number, ending, released);
        }
    }

    /// Takes a message in; what has ended and nobody need hold any more goes to `released`.
    pub(super) fn deliver(&mut self, message: SchedulerToClient, released: &mut Vec<Number>) {
        match message {
            SchedulerToClient::Allowance(allowance) => self.allowance = allowance,
            SchedulerToClient::Ended { number, ending } => {
                if self.output_bytes > 0 || self.has_output_in_hand {
                    self.hold_up(number, ending);
                } else {
                    self.end(number, ending, released);
                }
            }
            SchedulerToClient::Restored { number, ending } => {
                self.restore(number, ending, released);
            }
            SchedulerToClient::Output { number, name, node, mut output } => {
                if self.has_room_for(&mut output) {
                    let output = *output;
                    self.incoming.push_back(Received::Output { number, name, node, output });
                }
            }
            SchedulerToClient::SetupFailed { error } => {
                self.incoming.push_back(Received::SetupFailed { error });
            }
            SchedulerToClient::Stalled(stall) => self.incoming.push_back(Received::Stalled(stall)),
        }
    }

    /// Whether this was what closed it. Nothing will come any more: every task that was submitted
    /// and has not ended does so now.
    pub(super) fn close(&mut self, reason: ConnectionError) -> bool {
        if self.closed.is_some() {
            return false;
        }
        let lost = match &reason {
            ConnectionError::Lost(reason) => Some(Received::Lost(reason.clone())),
            _ => None,
        };
        self.closed = Some(reason);
        self.end_held_up(&mut Vec::new());
        let ending = self.last_ending();
        self.end_pending(&ending, |_| {});
        self.live = Live::default();
        self.kept = Kept::default();
        self.incoming.extend(lost);
        true
    }

    /// Ends every task, as far as its handle is concerned.
    pub(super) fn end_pending(&mut self, ending: &Ending, mut tell: impl FnMut(Number)) {
        for (number, entry) in self.live.iter() {
            if let Entry::Pending(future) = entry {
                tell(number);
                if let Some(ending) = future.end(ending.clone()) {
                    let future = future.clone();
                    self.incoming.push_back(Received::Ended { number, future, ending });
                    self.ends += 1;
                }
            }
        }
    }

    /// The handles of tasks whose result is stored.
    pub(super) fn stored(&self) -> Vec<F> {
        let stored = self.live.iter().filter_map(|(_, entry)| match entry {
            Entry::Stored(future) => Some(future.clone()),
            _ => None,
        });
        stored.collect()
    }

    fn hold_up(&mut self, number: Number, ending: Ending) {
        if let Some(Entry::Pending(future)) = self.live.get(number) {
            future.expect();
            self.held_up.push((number, ending));
        }
    }

    fn end(&mut self, number: Number, ending: Ending, released: &mut Vec<Number>) {
        let Some(Entry::Pending(future)) = self.live.get(number) else {
            return;
        };
        let future = future.clone();
        for argument in self.kept.ended(number) {
            self.live.remove(argument);
            released.push(argument);
        }
        let is_stored = is_stored(&ending);
        let given_back = future.end(ending);
        if is_stored && (given_back.is_some() || future.is_wanted()) {
            self.live.store(number);
        } else {
            self.live.remove(number);
            released.push(number);
        }
        if let Some(ending) = given_back {
            self.incoming.push_back(Received::Ended { number, future, ending });
            self.ends += 1;
        }
    }

    /// Nothing, if the client has let go the result meanwhile.
    fn restore(&mut self, number: Number, ending: Ending, released: &mut Vec<Number>) {
        let Some(Entry::Stored(future)) = self.live.get(number) else {
            return;
        };
        let future = future.clone();
        if !is_stored(&ending) {
            self.live.remove(number);
            released.push(number);
        }
        if let Some(ending) = future.end(ending) {
            self.incoming.push_back(Received::Restored { number, future, ending });
        }
    }
}

fn is_stored(ending: &Ending) -> bool {
    matches!(ending, Ending::Done(Value::Stored(_)))
}

fn number_of_ended<F>(received: &Received<F>) -> Option<Number> {
    match received {
        Received::Ended { number, .. } => Some(*number),
        _ => None,
    }
}

#[expect(clippy::naive_bytecount, reason = "it is output that is being dropped")]
fn lines_in(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

//! What a connection knows: the numbers it gave out, its allowance, and what came in.

use std::collections::{HashMap, VecDeque};

use hurricane_core::id::Number;
use hurricane_core::message::{Allowance, Ending, Failure, Output, SchedulerToClient, Value};
use hurricane_core::session::EndReason;

use super::{ConnectionError, MAX_QUEUED_OUTPUT_BYTES, Received, SubmitError};

/// What a queued piece of output costs beside its text, so that empty lines are not free.
const OUTPUT_COST_BYTES: usize = 64;

/// What a connection knows.
pub(super) struct State<F> {
    pub(super) closed: Option<ConnectionError>,
    /// That the scheduler is gone was received.
    is_loss_told: bool,
    pub(super) incoming: VecDeque<SchedulerToClient>,
    /// Sentences of this end's own.
    pub(super) notices: Vec<Box<str>>,
    /// Bytes of output in `incoming`.
    pub(super) output_bytes: usize,
    /// Lines dropped since output was last queued.
    pub(super) dropped_lines: u64,
    pub(super) allowance: Allowance,
    /// What was submitted in all, to be compared with the allowance.
    pub(super) submitted: Allowance,
    pub(super) definitions: u32,
    pub(super) numbers: u64,
    pub(super) live: HashMap<Number, Live<F>>,
    pub(super) pending: usize,
}

/// A number that the scheduler still knows.
pub(super) enum Live<F> {
    /// A task that has not ended, as far as was received.
    Pending(F),
    /// An object, or a task whose result was stored.
    Held,
}

impl<F> Default for State<F> {
    fn default() -> Self {
        Self {
            closed: None,
            is_loss_told: false,
            incoming: VecDeque::new(),
            notices: Vec::new(),
            output_bytes: 0,
            dropped_lines: 0,
            allowance: Allowance::default(),
            submitted: Allowance::default(),
            definitions: 0,
            numbers: 0,
            live: HashMap::new(),
            pending: 0,
        }
    }
}

impl<F> State<F> {
    pub(super) fn check_open(&self) -> Result<(), ConnectionError> {
        self.closed.clone().map_or(Ok(()), Err)
    }

    /// Whether this was what closed it.
    pub(super) fn close(&mut self, reason: ConnectionError) -> bool {
        let is_first = self.closed.is_none();
        self.closed.get_or_insert(reason);
        is_first
    }

    /// Whether there is something to receive.
    pub(super) fn has_arrived(&self) -> bool {
        !(self.incoming.is_empty() && self.notices.is_empty())
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
        let is_held = matches!(self.live.get(&number), Some(Live::Held));
        if is_held {
            self.live.remove(&number);
        }
        is_held
    }

    pub(super) fn deliver(&mut self, mut message: SchedulerToClient) {
        match &mut message {
            SchedulerToClient::Allowance(allowance) => self.allowance = *allowance,
            SchedulerToClient::Output { output, .. } => {
                if self.has_room_for(output) {
                    self.incoming.push_back(message);
                }
            }
            _ => self.incoming.push_back(message),
        }
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

    /// Everything that came in, and the tasks in it that are to be released.
    pub(super) fn take_incoming(&mut self) -> (Vec<Received<F>>, Vec<Number>) {
        let mut received = Vec::with_capacity(self.incoming.len());
        received.extend(self.notices.drain(..).map(Received::Notice));
        let mut released = Vec::new();
        self.output_bytes = 0;
        while let Some(message) = self.incoming.pop_front() {
            match message {
                SchedulerToClient::Ended { number, ending } => {
                    received.extend(self.end(number, ending, &mut released));
                }
                SchedulerToClient::Restored { number, ending } => {
                    received.extend(self.restore(number, ending, &mut released));
                }
                SchedulerToClient::Output { number, name, node, output } => {
                    received.push(Received::Output { number, name, node, output });
                }
                SchedulerToClient::SetupFailed { error } => {
                    received.push(Received::SetupFailed { error });
                }
                SchedulerToClient::Stalled(stall) => received.push(Received::Stalled(stall)),
                SchedulerToClient::Allowance(allowance) => self.allowance = allowance,
            }
        }
        (received, released)
    }

    /// Nothing will come any more: every task that was submitted and has not ended does so now, so
    /// that each comes back, whoever closed the connection and when. None after that.
    pub(super) fn give_up(&mut self) -> Option<Vec<Received<F>>> {
        self.pending = 0;
        let live = std::mem::take(&mut self.live).into_iter();
        let pending = live.filter_map(|(number, live)| match live {
            Live::Pending(future) => Some((number, future)),
            Live::Held => None,
        });
        let mut pending: Vec<(Number, F)> = pending.collect();
        pending.sort_unstable_by_key(|(number, _)| *number);
        let ending = self.last_ending();
        let mut received: Vec<_> = pending
            .into_iter()
            .map(|(number, future)| Received::Ended { number, future, ending: ending.clone() })
            .collect();
        received.extend(self.untold_loss().map(Received::Lost));
        (!received.is_empty()).then_some(received)
    }

    /// How what was pending ends with the connection.
    fn last_ending(&self) -> Ending {
        match &self.closed {
            Some(ConnectionError::Lost(reason)) => Ending::Failed {
                failure: Box::new(Failure::SchedulerLost(reason.to_string().into())),
                cause: None,
            },
            _ => Ending::Cancelled { cause: None },
        }
    }

    /// Why the scheduler is gone, the first time that this is asked.
    fn untold_loss(&mut self) -> Option<EndReason> {
        match &self.closed {
            Some(ConnectionError::Lost(reason)) if !self.is_loss_told => {
                self.is_loss_told = true;
                Some(reason.clone())
            }
            _ => None,
        }
    }

    fn end(
        &mut self,
        number: Number,
        ending: Ending,
        released: &mut Vec<Number>,
    ) -> Option<Received<F>> {
        let Some(Live::Pending(future)) = self.live.remove(&number) else {
            return None;
        };
        self.pending -= 1;
        self.live.insert(number, Live::Held);
        self.release_unless_stored(number, &ending, released);
        Some(Received::Ended { number, future, ending })
    }

    /// None if the client has let go the result meanwhile.
    fn restore(
        &mut self,
        number: Number,
        ending: Ending,
        released: &mut Vec<Number>,
    ) -> Option<Received<F>> {
        self.live.get(&number)?;
        self.release_unless_stored(number, &ending, released);
        Some(Received::Restored { number, ending })
    }

    fn release_unless_stored(
        &mut self,
        number: Number,
        ending: &Ending,
        released: &mut Vec<Number>,
    ) {
        if !matches!(ending, Ending::Done(Value::Stored(_))) {
            self.live.remove(&number);
            released.push(number);
        }
    }
}

#[expect(clippy::naive_bytecount, reason = "it is output that is being dropped")]
fn lines_in(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

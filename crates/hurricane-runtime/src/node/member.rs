//! One node of this process: a member of its cluster as long as it can be, again and again.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hurricane_core::resources::Resources;
use hurricane_core::session::EndReason;
use tokio::time::{Instant, timeout};

use super::service::Common;
use super::stay::{End, Stay};
use super::{Report, Wish};
use crate::dialing::DialError;
use crate::worker::{Wires, WorkerPids};

/// The pause before a session after one that has ended; doubled for each that did not last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest such pause: a node is to be back within 5 s of its scheduler.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// A session that lasted so long was worth it.
const LASTING: Duration = Duration::from_secs(10);

/// The pause after the scheduler has put the node out: only somebody's doing changes that.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(30);

/// The same reason for looking is told again after so long.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// A node.
pub(super) struct Member {
    pub(super) common: Rc<Common>,
    index: usize,
    pub(super) resources: Resources,
    /// Which of the machine's graphics processors are its own.
    pub(super) gpus: Range<usize>,
    pub(super) pids: WorkerPids,
    pub(super) wires: Arc<Wires>,
    pause: Duration,
    /// Why it looks, as it was last told.
    told: Option<(String, Instant)>,
}

impl Member {
    pub(super) fn new(
        common: Rc<Common>,
        index: usize,
        resources: Resources,
        gpus: Range<usize>,
        pids: WorkerPids,
        wires: Arc<Wires>,
    ) -> Self {
        let (pause, told) = (FIRST_PAUSE, None);
        Self { common, index, resources, gpus, pids, wires, pause, told }
    }

    /// Lives until somebody wishes the end.
    pub(super) async fn live(mut self) {
        while *self.common.wish.borrow() == Wish::Stay {
            let began = Instant::now();
            let (end, was_member) = Stay::begin(&mut self).run().await;
            if began.elapsed() >= LASTING {
                self.pause = FIRST_PAUSE;
            }
            match end {
                End::Wished => return,
                End::Over(reason) => self.on_over(reason, was_member).await,
                End::Refused(error) => self.report(Report::Refused(with_hint(&error))),
            }
        }
    }

    /// Tells something of this node.
    pub(super) fn report(&self, report: Report) {
        self.common.report(self.index, report);
    }

    /// Tells why the scheduler was not reached, unless that was just told.
    pub(super) fn report_not_reached(&mut self, error: DialError) {
        let sentence = error.to_string();
        let is_news =
            |(told, since): &(String, Instant)| *told != sentence || since.elapsed() >= TELL_EVERY;
        if self.told.as_ref().is_none_or(is_news) {
            self.told = Some((sentence, Instant::now()));
            self.report(if error.is_refusal() {
                Report::Refused(with_hint(&error))
            } else {
                Report::Looking(error)
            });
        }
    }

    /// The scheduler was reached: why it was not, once, is forgotten.
    pub(super) fn note_reached(&mut self) {
        self.told = None;
    }

    async fn on_over(&mut self, reason: EndReason, was_member: bool) {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        if let EndReason::Refused(reason) = reason {
            self.report(Report::Refused(reason.into()));
            return self.rest(PAUSE_AFTER_REFUSAL).await;
        }
        if was_member {
            self.report(Report::Lost(reason));
        }
        self.rest(pause).await;
    }

    /// Waits, unless somebody wishes something else.
    async fn rest(&self, pause: Duration) {
        let mut wish = self.common.wish.clone();
        // A wish that came before the clone is seen by whoever calls.
        let _ = timeout(pause, wish.wait_for(|wish| *wish != Wish::Stay)).await;
    }
}

fn with_hint(error: &DialError) -> String {
    let hint = error.hint().map(|hint| format!("; {hint}"));
    format!("{error}{}", hint.unwrap_or_default())
}

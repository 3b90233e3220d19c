//! What happens to a cluster and to nodes, told to people line by line, each with its time.

use std::error::Error as _;
use std::fmt::Display;
use std::time::{Duration, Instant};

use hurricane_core::session::EndReason;

use super::tell;
use crate::dialing::{DialError, Reached, Target};
use crate::node::Report;
use crate::platform::wall_clock::time_of_day;
use crate::scheduler;

/// Nodes that look for their scheduler say so this often at most.
const LOOKING_EVERY: Duration = Duration::from_mins(1);

/// Of more nodes in a process, one line tells of all that happens to all of them.
const MAX_LINES_AT_ONCE: usize = 16;

/// Tells what has just happened.
pub(super) fn log(line: impl Display) {
    tell(format_args!("{} {line}", time_of_day()));
}

/// What happened to a cluster, in a line.
pub(super) fn of_cluster(report: &scheduler::Report) -> String {
    use scheduler::Report;
    match report {
        Report::Enrolled { name, roles, address } => {
            format!("{name} is a member now ({roles}), enrolled from {address}")
        }
        Report::Joined { name, address, resources } => {
            format!("node {name} joined from {address}: {resources}")
        }
        Report::Left { name } => format!("node {name} left"),
        Report::Lost { name, reason } => format!("node {name} is lost: {reason}"),
        Report::Refused { address, reason } => format!("refused {address}: {reason}"),
        Report::Revoked { name } => format!("{name} is a member no more"),
        Report::Stalled(what) => format!("tasks wait: {what}"),
        Report::NotAnnounced(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}; on other machines, give this one's address with `--address`")
        }
    }
}

/// What the nodes of a process have told, as far as it decides what is worth a line.
#[derive(Debug)]
pub(super) struct OfNodes {
    /// Which of them are members.
    joined: Vec<bool>,
    /// When it was last said that they look, and what keeps them out.
    said: Option<(Instant, String)>,
}

impl OfNodes {
    /// Of so many nodes that begin to look, and the line to tell about it.
    pub(super) fn begin(now: Instant, count: usize, target: &Target) -> (Self, String) {
        let line = match target {
            Target::Here { port } => {
                format!("looking for your scheduler on this machine, port {port}")
            }
            Target::Member(membership) => {
                format!(
                    "looking for the scheduler of {}, port {}",
                    membership.cluster, membership.port
                )
            }
        };
        (Self { joined: vec![false; count], said: Some((now, String::new())) }, line)
    }

    /// Whether all of them are members.
    pub(super) fn are_all_joined(&self) -> bool {
        self.joined.iter().all(|joined| *joined)
    }

    /// The line to tell about a report, if it is worth one.
    pub(super) fn hear(&mut self, now: Instant, index: usize, report: &Report) -> Option<String> {
        match report {
            Report::Looking(error) => self.on_looking(now, error),
            Report::Joined { name, cluster, reached } => {
                self.on_joined(index, name, cluster, reached)
            }
            Report::Lost(reason) => self.on_lost(now, index, reason),
            Report::Refused(reason) => self.on_refused(now, reason),
            Report::SetupFailed(error) => Some(setup_failed(error)),
        }
    }

    fn on_looking(&mut self, now: Instant, error: &DialError) -> Option<String> {
        let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        let what_keeps_out = if is_absence(error) { String::new() } else { error.to_string() };
        self.is_due(now, what_keeps_out).then(|| format!("not joined: {error}{hint}"))
    }

    fn on_refused(&mut self, now: Instant, reason: &str) -> Option<String> {
        self.is_due(now, reason.to_owned()).then(|| format!("not joined: {reason}"))
    }

    /// At once when something else keeps them out, else once in a while.
    fn is_due(&mut self, now: Instant, what_keeps_out: String) -> bool {
        let is_due = self.said.as_ref().is_none_or(|(last, said)| {
            *said != what_keeps_out || now.duration_since(*last) >= LOOKING_EVERY
        });
        if is_due {
            self.said = Some((now, what_keeps_out));
        }
        is_due
    }

    fn on_joined(
        &mut self,
        index: usize,
        name: &str,
        cluster: &str,
        reached: &Reached,
    ) -> Option<String> {
        if let Some(joined) = self.joined.get_mut(index) {
            *joined = true;
        }
        let are_all = self.are_all_joined();
        if are_all {
            self.said = None;
        }
        let at = match reached {
            Reached::Here(_) => "on this machine".to_owned(),
            Reached::At(address) => format!("at {address}"),
        };
        let count = self.joined.len();
        if count <= MAX_LINES_AT_ONCE {
            return Some(format!("{name} joined {cluster}, {at}"));
        }
        are_all.then(|| format!("{count} nodes joined {cluster}, {at}"))
    }

    /// They have one scheduler: what one of them has lost, the others are about to lose.
    fn on_lost(&mut self, now: Instant, index: usize, reason: &EndReason) -> Option<String> {
        if let Some(joined) = self.joined.get_mut(index) {
            *joined = false;
        }
        let is_first = self.said.is_none();
        is_first.then(|| {
            self.said = Some((now, String::new()));
            format!("lost the scheduler: {reason}; looking for it again")
        })
    }
}

/// What is told of workers that cannot be set up; Python's own errors are for Python.
pub(super) fn setup_failed(error: &[u8]) -> String {
    match str::from_utf8(error) {
        Ok(sentence) => format!("no worker can be set up here: {sentence}"),
        Err(_) => "no worker can be set up here".to_owned(),
    }
}

/// Whether all that is known is that nobody is there.
fn is_absence(error: &DialError) -> bool {
    matches!(
        error,
        DialError::NotHere { .. } | DialError::NotFound { .. } | DialError::Unreachable { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Target = Target::Here { port: 12222 };

    fn looking(of_nodes: &mut OfNodes, now: Instant) -> Option<String> {
        let error = DialError::NotHere { port: 12222 };
        of_nodes.hear(now, 0, &Report::Looking(error))
    }

    fn joined(of_nodes: &mut OfNodes, now: Instant, index: usize) -> Option<String> {
        let report = Report::Joined {
            name: format!("box-{index}").into(),
            cluster: "lab".into(),
            reached: Reached::At(([10, 0, 0, 1], 12222).into()),
        };
        of_nodes.hear(now, index, &report)
    }

    #[test]
    fn who_looks_says_so_at_once_and_then_once_a_minute() {
        let start = Instant::now();
        let (mut of_nodes, line) = OfNodes::begin(start, 1, &HERE);
        assert_eq!(line, "looking for your scheduler on this machine, port 12222");
        let times = (0..=240).map(|half| start + Duration::from_millis(500 * half));
        let lines: Vec<_> = times.filter_map(|now| looking(&mut of_nodes, now)).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("not joined: no scheduler of this user runs"), "{lines:?}");
    }

    #[test]
    fn what_keeps_a_node_out_is_said_at_once() {
        let start = Instant::now();
        let (mut of_nodes, _) = OfNodes::begin(start, 1, &HERE);
        let refused = Report::Refused("its key was revoked".to_owned());
        let line = of_nodes.hear(start, 0, &refused);
        assert_eq!(line.as_deref(), Some("not joined: its key was revoked"));
        assert_eq!(of_nodes.hear(start + LOOKING_EVERY / 2, 0, &refused), None);
        assert_eq!(of_nodes.hear(start + LOOKING_EVERY, 0, &refused), line);
    }

    #[test]
    fn nodes_join_and_lose_their_scheduler() {
        let now = Instant::now();
        let (mut of_nodes, _) = OfNodes::begin(now, 2, &HERE);
        assert_eq!(
            joined(&mut of_nodes, now, 0).as_deref(),
            Some("box-0 joined lab, at 10.0.0.1:12222")
        );
        assert!(!of_nodes.are_all_joined());
        joined(&mut of_nodes, now, 1);
        assert!(of_nodes.are_all_joined());
        let lost = Report::Lost(EndReason::Restarted);
        let line = of_nodes.hear(now, 0, &lost).expect("it is news");
        assert_eq!(
            line,
            "lost the scheduler: the scheduler was started anew; looking for it again"
        );
        assert_eq!(of_nodes.hear(now, 1, &lost), None);
        assert_eq!(looking(&mut of_nodes, now + Duration::from_secs(1)), None);
    }

    #[test]
    fn many_nodes_join_in_one_line() {
        let now = Instant::now();
        let (mut of_nodes, _) = OfNodes::begin(now, 100, &HERE);
        let lines: Vec<_> =
            (0..100).filter_map(|index| joined(&mut of_nodes, now, index)).collect();
        assert_eq!(lines, ["100 nodes joined lab, at 10.0.0.1:12222"]);
    }
}

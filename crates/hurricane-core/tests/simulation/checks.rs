//! What is known of every task of a run, whoever submitted it: what it should return, what was seen
//! of it, and whether the end that its client was told can be right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use hurricane_core::id::{Attempt, Number, TaskId};
use hurricane_core::message::{Ending, Failure};
use hurricane_core::resources::Resources;

use crate::program::{Kind, Script};

/// How many workers a task may lose before it is set aside.
const MAX_DEATHS: u32 = 3;

/// How many workers may die that were about to begin one task, before that counts as one of those.
const MAX_FALSE_STARTS: u32 = 3;

/// A task of the run, as its arguments name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) u64);

/// One run of a task's function, as its result names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Execution(pub(crate) u64);

/// A task.
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) script: Arc<Script>,
    /// Its dependencies under the numbers of its client, and which of those are tasks.
    dependencies: Vec<(Number, Option<Key>)>,
    /// The values of its inputs and of its result, if all goes well.
    pub(crate) inputs: Vec<u64>,
    pub(crate) result: u64,
    /// How often it acted as its script says.
    pub(crate) acted: u32,
    pub(crate) raised: u32,
    pub(crate) timed_out: u32,
    pub(crate) deaths: u32,
    /// How often its worker died before it could begin, or before its answer was sent.
    pub(crate) false_starts: u32,
    pub(crate) went_too_deep: bool,
    pub(crate) was_cancelled: bool,
    task: Option<TaskId>,
    ending: Option<Ending>,
}

/// All tasks.
#[derive(Default)]
pub(crate) struct Ledger {
    records: Vec<Record>,
    executions: Vec<(TaskId, Attempt)>,
    /// The newest attempt of each task.
    attempts: BTreeMap<TaskId, Attempt>,
    /// What each node had that ever joined.
    pub(crate) joined: Vec<Resources>,
}

impl Ledger {
    /// A task that is about to be submitted.
    pub(crate) fn open(
        &mut self,
        kind: Kind,
        script: Arc<Script>,
        dependencies: Vec<(Number, Option<Key>)>,
        inputs: Vec<u64>,
    ) -> Key {
        let result = script.result(&inputs);
        self.records.push(Record {
            kind,
            script,
            dependencies,
            inputs,
            result,
            acted: 0,
            raised: 0,
            timed_out: 0,
            deaths: 0,
            false_starts: 0,
            went_too_deep: false,
            was_cancelled: false,
            task: None,
            ending: None,
        });
        Key(self.records.len() as u64 - 1)
    }

    pub(crate) fn get(&self, key: Key) -> &Record {
        &self.records[usize::try_from(key.0).expect("keys are few")]
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> &mut Record {
        &mut self.records[usize::try_from(key.0).expect("keys are few")]
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// The scheduler assigns a task: its attempts grow, and it keeps its name.
    pub(crate) fn assign(&mut self, key: Key, task: TaskId, attempt: Attempt) {
        let record = self.get_mut(key);
        assert_eq!(*record.task.get_or_insert(task), task, "{key:?} keeps its name");
        let last = self.attempts.insert(task, attempt);
        assert!(
            last.is_none_or(|last| last < attempt),
            "{key:?}: {attempt} of {task} after {last:?}"
        );
    }

    /// The scheduler is another, which names tasks anew and knows no node.
    pub(crate) fn forget_scheduler(&mut self) {
        self.attempts.clear();
        self.joined.clear();
    }

    /// A worker begins to run an attempt of a task.
    pub(crate) fn begin(&mut self, task: TaskId, attempt: Attempt) -> Execution {
        self.executions.push((task, attempt));
        Execution(self.executions.len() as u64 - 1)
    }

    /// The scheduler takes what an execution returned for the result of its task.
    pub(crate) fn check_fencing(&self, execution: Execution) {
        let index = usize::try_from(execution.0).expect("executions are few");
        let (task, attempt) = self.executions[index];
        let newest = self.attempts.get(&task);
        assert_eq!(newest, Some(&attempt), "the result is of the newest attempt of task {task}");
    }

    /// The scheduler says that nothing can run a task: no node that ever joined could.
    pub(crate) fn check_infeasible(&self, asked: &Resources) {
        let can_run = self.joined.iter().any(|node| node.covers(asked));
        assert!(!can_run, "a node has {asked}");
    }

    /// A client is told the end of a task, the first time or, if its value was lost, once more.
    pub(crate) fn end(&mut self, key: Key, ending: &Ending, is_again: bool) {
        let record = self.get(key);
        match (&record.ending, is_again) {
            (None, false) | (Some(Ending::Done(_)), true) => {}
            (before, _) => panic!("{key:?} ends as {ending:?} after {before:?}"),
        }
        match ending {
            Ending::Done(_) => {}
            Ending::Failed { failure, cause: None } => self.check_failure(key, failure),
            Ending::Failed { failure, cause: Some(cause) } => {
                let cause = self.ancestor(key, cause.number);
                self.check_failure(cause, failure);
            }
            Ending::Cancelled { cause } => {
                let cancelled = match cause {
                    Some(cause) => self.ancestor(key, cause.number),
                    None => key,
                };
                assert!(self.get(cancelled).was_cancelled, "nobody cancelled {cancelled:?}");
            }
        }
        self.get_mut(key).ending = Some(ending.clone());
    }

    /// Checks that a task may have failed so.
    fn check_failure(&self, key: Key, failure: &Failure) {
        let record = self.get(key);
        let is_used_up = record.raised + record.timed_out > record.kind.retries;
        let is_right = match failure {
            Failure::Raised(exception) => *exception == exception_of(key) && is_used_up,
            Failure::TimedOut { limit, .. } => record.kind.timeout == Some(*limit) && is_used_up,
            Failure::WorkerLost { deaths, .. } => {
                let could_be = record.deaths + record.false_starts / MAX_FALSE_STARTS;
                deaths.len() == MAX_DEATHS as usize && could_be >= MAX_DEATHS
            }
            Failure::Infeasible { asked, .. } => *asked == record.kind.resources,
            Failure::NestedTooDeep { .. } => record.went_too_deep,
            Failure::ObjectLost
            | Failure::SetupFailed(_)
            | Failure::Refused(_)
            | Failure::SchedulerLost(_) => false,
        };
        assert!(
            is_right,
            "{key:?} cannot have failed so: {failure:?}, retries {}",
            record.kind.retries
        );
    }

    /// The task that a client calls `number`, on which `key` depends over however many others.
    fn ancestor(&self, key: Key, number: Number) -> Key {
        let mut seen = BTreeSet::new();
        let mut open = vec![key];
        while let Some(key) = open.pop() {
            for (name, dependency) in &self.get(key).dependencies {
                let Some(dependency) = *dependency else { continue };
                if *name == number {
                    return dependency;
                }
                if seen.insert(dependency) {
                    open.push(dependency);
                }
            }
        }
        panic!("{key:?} does not depend on the task {number} that it blames");
    }
}

/// What a task raises.
pub(crate) fn exception_of(key: Key) -> Bytes {
    Bytes::from(format!("raised by {}", key.0))
}

/// The bytes of a value: what it stands for, and which execution made it.
pub(crate) fn encode_value(value: u64, execution: Execution, size: usize) -> Bytes {
    let mut bytes = vec![0; size];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    bytes[8..16].copy_from_slice(&execution.0.to_le_bytes());
    Bytes::from(bytes)
}

/// What the bytes of a value stand for.
pub(crate) fn decode_value(bytes: &Bytes) -> (u64, Execution) {
    let number = |range: std::ops::Range<usize>| {
        u64::from_le_bytes(bytes[range].try_into().expect("a value begins with two numbers"))
    };
    (number(0..8), Execution(number(8..16)))
}

/// The arguments of a task.
pub(crate) fn encode_key(key: Key) -> Bytes {
    Bytes::copy_from_slice(&key.0.to_le_bytes())
}

/// The task whose arguments these are.
pub(crate) fn decode_key(arguments: &Bytes) -> Key {
    Key(u64::from_le_bytes(arguments[..].try_into().expect("the arguments are a key")))
}

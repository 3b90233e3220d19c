//! A task as the scheduler knows it, and its states: each carries just what is valid in it.
//! An object that a client put is a task that was done when it came.

use bytes::Bytes;

use crate::id::{Attempt, DefinitionId, NodeId, Number, TaskId};
use crate::message::{Cause, Death, Ending, Failure, Value};
use crate::scheduler::clients::ClientKey;
use crate::scheduler::locality::Input;
use crate::scheduler::node::NodeKey;
use crate::scheduler::shape::ShapeId;
use crate::scheduler::tally::Tally;

/// A task or an object. A million may wait, so what few have is kept aside.
#[derive(Debug)]
pub(super) struct Task {
    /// Whose it is, and under which number.
    pub(super) client: ClientKey,
    pub(super) number: Number,
    /// What to run; [`PUT`] for an object that was put.
    definition: DefinitionId,
    pub(super) arguments: Bytes,
    pub(super) links: Option<Box<Links>>,
    pub(super) state: State,
    /// Under what it is counted, which follows from its state.
    pub(super) tally: Tally,
    /// The how-manieth submission of all it was.
    pub(super) age: u64,
    pub(super) attempt: Attempt,
    /// Exceptions of its own and timeouts.
    pub(super) failures: u32,
    /// The larger of its own and those of what depends on it.
    pub(super) priority: i32,
    /// How many tasks stand above it, each waiting for the next.
    pub(super) depth: u16,
    /// How many tasks would have to run one after the other to compute its value again.
    pub(super) lineage: u16,
    /// Whether its client may still name it.
    pub(super) is_held: bool,
    /// Whether its client was told its end.
    pub(super) is_told: bool,
    /// Whether it can run again if its value is lost.
    pub(super) is_repeatable: bool,
}

/// No definition.
const PUT: DefinitionId = DefinitionId(u64::MAX);

/// What a task depends on, and what depends on it.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub(super) dependencies: Box<[TaskId]>,
    /// Unfinished tasks that wait for this one.
    pub(super) dependents: Vec<TaskId>,
    /// Its claim on its dependencies.
    pub(super) claim: Claim,
    /// How many unfinished tasks claim its value.
    pub(super) users: u32,
    /// How many stored values could only be computed again with this one.
    pub(super) heirs: u32,
    /// While it is ready or on a node: what is stored of its input, if anything is.
    pub(super) input: Option<Box<Input>>,
}

/// Where a task is on its way.
#[derive(Debug)]
pub(super) enum State {
    /// Waits for so many of its dependencies.
    Waiting { missing: u32 },
    /// Waits to be tried again.
    Retrying,
    /// Waits for room.
    Ready,
    /// Is on a node.
    Assigned(Place),
    /// Returned; without a value if nobody needs it, or if it was lost.
    Done { value: Option<Value> },
    /// Failed.
    Failed { failure: Box<Failure>, cause: Option<Box<Cause>> },
    /// Was cancelled.
    Cancelled { cause: Option<Box<Cause>> },
}

/// A task's place on a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) node: NodeKey,
    /// Its index in the node's list of tasks.
    pub(super) position: u32,
    /// That of its definition.
    pub(super) shape: ShapeId,
    /// How long it is expected to run.
    pub(super) expected_us: u32,
    pub(super) room: Room,
    pub(super) recall: Recall,
}

/// Whether a task on a node has the resources it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Held,
    /// It waits behind others for them.
    Backlog,
    /// It gave them back while it waits for its children.
    GivenBack,
}

/// Whether a node was asked to give a task back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recall {
    No,
    ForOtherNode,
    ToCancel,
}

/// What a task wants of its dependencies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Claim {
    /// Their values, to run.
    Values,
    /// To be able to compute them again, in case its own value is lost.
    Heritage,
    #[default]
    Nothing,
}

/// The deaths of a task's workers. Few tasks have any, so they are kept aside.
#[derive(Debug)]
pub(super) struct Deaths {
    pub(super) all: Vec<Death>,
    /// Where the last one happened.
    pub(super) last_node: NodeId,
    /// How many tasks had ended in the cluster when the first one happened.
    pub(super) ended_before: u64,
}

/// How often nodes could not get what a task needs. Few tasks meet that, so it is kept aside.
#[derive(Debug)]
pub(super) struct Misses {
    pub(super) tries: u32,
    /// Where the last one happened.
    pub(super) last_node: NodeId,
}

impl Links {
    /// Those of a new task; none if it depends on nothing.
    pub(super) fn to(dependencies: Box<[TaskId]>) -> Option<Box<Self>> {
        let links = Self { dependencies, ..Self::default() };
        (!links.dependencies.is_empty()).then(|| Box::new(links))
    }
}

impl Task {
    /// A new one, which is remembered as long as its client may name it.
    pub(super) fn new(
        client: ClientKey,
        number: Number,
        definition: Option<DefinitionId>,
        age: u64,
    ) -> Self {
        Self {
            client,
            number,
            definition: definition.unwrap_or(PUT),
            arguments: Bytes::new(),
            links: None,
            state: State::Waiting { missing: 0 },
            tally: Tally::Waiting,
            age,
            attempt: Attempt(0),
            failures: 0,
            priority: 0,
            depth: 0,
            lineage: 0,
            is_held: true,
            is_told: false,
            is_repeatable: false,
        }
    }

    #[inline]
    pub(super) fn definition(&self) -> Option<DefinitionId> {
        (self.definition != PUT).then_some(self.definition)
    }

    #[inline]
    pub(super) fn dependencies(&self) -> &[TaskId] {
        self.links.as_ref().map_or(&[], |links| &links.dependencies)
    }

    #[inline]
    pub(super) fn claim(&self) -> Claim {
        self.links.as_ref().map_or(Claim::Nothing, |links| links.claim)
    }

    #[inline]
    pub(super) fn users(&self) -> u32 {
        self.links.as_ref().map_or(0, |links| links.users)
    }

    #[inline]
    pub(super) fn heirs(&self) -> u32 {
        self.links.as_ref().map_or(0, |links| links.heirs)
    }

    pub(super) fn links_mut(&mut self) -> &mut Links {
        self.links.get_or_insert_default()
    }

    pub(super) fn take_dependents(&mut self) -> Vec<TaskId> {
        self.links.as_mut().map(|links| core::mem::take(&mut links.dependents)).unwrap_or_default()
    }

    #[inline]
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.state, State::Done { .. } | State::Failed { .. } | State::Cancelled { .. })
    }

    #[inline]
    pub(super) fn is_put(&self) -> bool {
        self.definition == PUT
    }

    /// Its place, if it is on a node.
    #[inline]
    pub(super) fn place(&self) -> Option<Place> {
        match self.state {
            State::Assigned(place) => Some(place),
            _ => None,
        }
    }

    /// Its value, if it is there.
    #[inline]
    pub(super) fn value(&self) -> Option<&Value> {
        match &self.state {
            State::Done { value } => value.as_ref(),
            _ => None,
        }
    }

    /// How it ended, if it did and its value is there.
    pub(super) fn ending(&self) -> Option<Ending> {
        let unbox = |cause: &Option<Box<Cause>>| cause.as_ref().map(|cause| (**cause).clone());
        match &self.state {
            State::Done { value } => value.clone().map(Ending::Done),
            State::Failed { failure, cause } => {
                Some(Ending::Failed { failure: failure.clone(), cause: unbox(cause) })
            }
            State::Cancelled { cause } => Some(Ending::Cancelled { cause: unbox(cause) }),
            _ => None,
        }
    }
}

impl From<Ending> for State {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Done(value) => Self::Done { value: Some(value) },
            Ending::Failed { failure, cause } => {
                Self::Failed { failure, cause: cause.map(Box::new) }
            }
            Ending::Cancelled { cause } => Self::Cancelled { cause: cause.map(Box::new) },
        }
    }
}

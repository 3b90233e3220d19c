//! One node says anything at any time: the state never contradicts itself, no other node is blamed,
//! and once that node is gone every task of the others ends, once.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hurricane_core::Scheduler;
use hurricane_core::id::{
    Attempt, ClientId, DefinitionNumber, NodeId, Number, ObjectId, ObjectNumber, TaskId,
};
use hurricane_core::message::{
    ClientToScheduler, Failure, NodeToScheduler, SchedulerToClient, SchedulerToNode, Value,
};
use hurricane_core::resources::Resources;
use hurricane_core::scheduler::{Action, Config, Event};
use hurricane_core::time::Time;
use proptest::prelude::*;

use crate::world::{PLAIN, kept, plain, stored, submission};

const HONEST: NodeId = NodeId(1);
const HOSTILE: NodeId = NodeId(2);
const CLIENT: ClientId = ClientId(1);

/// Of which attempt the hostile node speaks.
#[derive(Clone, Copy, Debug)]
enum Name {
    /// One of those that it was ever given.
    Given(usize),
    Any(TaskId, Attempt),
}

/// What it says of it.
#[derive(Clone, Debug)]
enum Saying {
    Finished(Value),
    Failed(Failure),
    Died,
    TakenBack,
    Kept,
    Waiting,
    Resumed,
    InputLost(ObjectId),
    Nested(ClientToScheduler),
}

/// What happens next.
#[derive(Clone, Debug)]
enum Move {
    Lie(Name, Saying),
    Submit {
        depends: bool,
    },
    Put,
    Cancel(u64),
    Release(u64),
    /// The honest node ends one of its tasks.
    Finish {
        is_stored: bool,
    },
    /// It lets one of its tasks wait, or go on.
    Wait(usize),
    Resume(usize),
    Pass(u64),
    Leave(NodeId),
    Lose(NodeId),
}

impl Saying {
    fn of(self, task: TaskId, attempt: Attempt) -> NodeToScheduler {
        let ran = Duration::ZERO;
        match self {
            Self::Finished(value) => NodeToScheduler::Finished { task, attempt, value, ran },
            Self::Failed(failure) => {
                let failure = Box::new(failure);
                NodeToScheduler::Failed { task, attempt, failure, ran }
            }
            Self::Died => NodeToScheduler::Died { task, attempt, death: Box::default() },
            Self::TakenBack => NodeToScheduler::TakenBack { task, attempt },
            Self::Kept => NodeToScheduler::Kept { task, attempt },
            Self::Waiting => NodeToScheduler::Waiting { task, attempt },
            Self::Resumed => NodeToScheduler::Resumed { task, attempt },
            Self::InputLost(object) => NodeToScheduler::InputLost { task, attempt, object },
            Self::Nested(message) => NodeToScheduler::Nested { task, attempt, message },
        }
    }
}

fn inline() -> Value {
    Value::Inline(Bytes::new())
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => Just(inline()),
        8 => (1..5_u64).prop_map(|object| stored(HOSTILE.0, object)),
        1 => (0..4_u64, 1..4_u64).prop_map(|(node, object)| stored(node, object)),
    ]
}

fn name() -> impl Strategy<Value = Name> {
    let any = (0..6_u64, 0..3_u64, 0..4_u32);
    prop_oneof![
        4 => (0..8_usize).prop_map(Name::Given),
        1 => any.prop_map(|(index, generation, attempt)| {
            Name::Any(TaskId(generation << 32 | index), Attempt(attempt))
        }),
    ]
}

fn nested() -> impl Strategy<Value = ClientToScheduler> {
    let number = || (1..6_u64).prop_map(Number);
    let definition = DefinitionNumber(PLAIN);
    prop_oneof![
        4 => Just(ClientToScheduler::Define { number: definition, definition: plain().into() }),
        4 => (1..6_u64).prop_map(|number| submission(PLAIN, number, &[])),
        2 => (2..6_u64).prop_map(|number| submission(PLAIN, number, &[number - 1])),
        2 => (number(), value()).prop_map(|(number, value)| ClientToScheduler::Put { number, value }),
        1 => number().prop_map(|number| ClientToScheduler::Cancel { number }),
        1 => number().prop_map(|number| ClientToScheduler::Release { numbers: vec![number] }),
        1 => Just(ClientToScheduler::CancelWaiting),
        1 => Just(ClientToScheduler::Forget { number: definition }),
    ]
}

fn saying() -> impl Strategy<Value = Saying> {
    let object = (0..4_u64, 1..4_u64)
        .prop_map(|(node, object)| ObjectId { node: NodeId(node), number: ObjectNumber(object) });
    prop_oneof![
        6 => value().prop_map(Saying::Finished),
        2 => Just(Saying::Failed(Failure::Raised(Bytes::new()))),
        1 => Just(Saying::Failed(Failure::ObjectLost)),
        2 => Just(Saying::Died),
        1 => Just(Saying::TakenBack),
        1 => Just(Saying::Kept),
        4 => Just(Saying::Waiting),
        4 => Just(Saying::Resumed),
        2 => object.prop_map(Saying::InputLost),
        8 => nested().prop_map(Saying::Nested),
    ]
}

fn next_move() -> impl Strategy<Value = Move> {
    let node = || prop_oneof![Just(HONEST), Just(HOSTILE)];
    prop_oneof![
        24 => (name(), saying()).prop_map(|(name, saying)| Move::Lie(name, saying)),
        6 => any::<bool>().prop_map(|depends| Move::Submit { depends }),
        1 => Just(Move::Put),
        1 => (1..12_u64).prop_map(Move::Cancel),
        1 => (1..12_u64).prop_map(Move::Release),
        4 => any::<bool>().prop_map(|is_stored| Move::Finish { is_stored }),
        1 => (0..8_usize).prop_map(Move::Wait),
        1 => (0..8_usize).prop_map(Move::Resume),
        2 => (1..2_000_u64).prop_map(Move::Pass),
        1 => node().prop_map(Move::Leave),
        1 => node().prop_map(Move::Lose),
    ]
}

/// A scheduler, a client, an honest node and a hostile one.
struct World {
    scheduler: Scheduler,
    now: Time,
    numbers: u64,
    objects: u64,
    /// What the honest node has, and whether it waits for its children.
    honest: BTreeMap<TaskId, (Attempt, bool)>,
    /// What the hostile one was ever given.
    given: Vec<(TaskId, Attempt)>,
    /// The tasks of the client that have ended.
    ended: BTreeSet<Number>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            scheduler: Scheduler::new(Config { is_one_machine: false }),
            now: Time(0),
            numbers: 0,
            objects: 0,
            honest: BTreeMap::new(),
            given: Vec::new(),
            ended: BTreeSet::new(),
        };
        world.handle(Event::ClientJoined { client: CLIENT });
        let number = DefinitionNumber(PLAIN);
        world.say(ClientToScheduler::Define { number, definition: plain().into() });
        world.join(HONEST);
        world.join(HOSTILE);
        world
    }

    fn join(&mut self, node: NodeId) {
        let name = format!("node-{node}").into();
        self.handle(Event::NodeJoined { node, name, resources: Resources::cpus(2) });
    }

    fn lose(&mut self, node: NodeId) {
        if node == HONEST {
            self.honest.clear();
        }
        self.handle(Event::NodeLost { node });
    }

    fn say(&mut self, message: ClientToScheduler) {
        self.handle(Event::FromClient { client: CLIENT, message });
    }

    fn tell(&mut self, node: NodeId, message: NodeToScheduler) {
        self.handle(Event::FromNode { node, message });
    }

    fn go(&mut self, next: Move) {
        match next {
            Move::Lie(name, saying) => self.lie(name, saying),
            Move::Submit { depends } => self.submit(depends),
            Move::Put => {
                self.numbers += 1;
                let (number, value) = (Number(self.numbers), kept(self.numbers));
                self.say(ClientToScheduler::Put { number, value });
            }
            Move::Cancel(number) => self.say(ClientToScheduler::Cancel { number: Number(number) }),
            Move::Release(number) => {
                self.say(ClientToScheduler::Release { numbers: vec![Number(number)] });
            }
            Move::Finish { is_stored } => self.finish_any(is_stored),
            Move::Wait(nth) => self.set_waiting(nth, true),
            Move::Resume(nth) => self.set_waiting(nth, false),
            Move::Pass(millis) => self.pass(Duration::from_millis(millis)),
            Move::Leave(node) => self.handle(Event::NodeLeaving { node }),
            Move::Lose(node) => {
                self.lose(node);
                self.join(node);
            }
        }
    }

    fn lie(&mut self, name: Name, saying: Saying) {
        let (task, attempt) = match name {
            Name::Any(task, attempt) => (task, attempt),
            // The latest are the likeliest to be there.
            Name::Given(nth) => match self.given.iter().rev().nth(nth) {
                Some(&given) => given,
                None => return,
            },
        };
        self.tell(HOSTILE, saying.of(task, attempt));
    }

    fn submit(&mut self, depends: bool) {
        self.numbers += 1;
        let before = if depends && self.numbers > 1 { &[self.numbers - 1][..] } else { &[] };
        self.say(submission(PLAIN, self.numbers, before));
    }

    fn finish_any(&mut self, is_stored: bool) {
        let waits = |(_, (_, waits)): &(&TaskId, &(Attempt, bool))| *waits;
        let Some((&task, &(attempt, _))) = self.honest.iter().find(|it| !waits(it)) else { return };
        self.honest.remove(&task);
        self.objects += 1;
        let value = if is_stored { stored(HONEST.0, self.objects) } else { inline() };
        let ran = Duration::from_secs(1);
        self.tell(HONEST, NodeToScheduler::Finished { task, attempt, value, ran });
    }

    fn set_waiting(&mut self, nth: usize, is_waiting: bool) {
        let mut known = self.honest.iter_mut().filter(|(_, (_, waits))| *waits != is_waiting);
        let Some((&task, (attempt, waits))) = known.nth(nth) else { return };
        *waits = is_waiting;
        let attempt = *attempt;
        let waiting = NodeToScheduler::Waiting { task, attempt };
        let resumed = NodeToScheduler::Resumed { task, attempt };
        self.tell(HONEST, if is_waiting { waiting } else { resumed });
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.scheduler.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.handle(Event::Tick);
        }
        self.now = end;
    }

    fn handle(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.scheduler.handle(self.now, event, &mut actions);
        self.scheduler.sanity_check();
        for action in actions {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::ToClient { message: SchedulerToClient::Ended { number, .. }, .. } => {
                assert!(self.ended.insert(number), "{number} ends once");
            }
            Action::ToNode { node: HONEST, message } => self.on_honest_told(&message),
            Action::ToNode { message: SchedulerToNode::Assign { task, attempt, .. }, .. } => {
                self.given.push((task, attempt));
            }
            Action::RefuseNode { node, reason } => {
                assert_eq!(node, HOSTILE, "{reason}");
                self.join(HOSTILE);
            }
            Action::RefuseClient { reason, .. } => panic!("the client is refused: {reason}"),
            Action::NodeMayLeave { node } => {
                self.lose(node);
                self.join(node);
            }
            Action::ToClient { .. } | Action::ToNode { .. } | Action::DropKept { .. } => {}
        }
    }

    fn has(&self, task: TaskId, attempt: Attempt) -> bool {
        self.honest.get(&task).is_some_and(|(other, _)| *other == attempt)
    }

    fn on_honest_told(&mut self, message: &SchedulerToNode) {
        match *message {
            SchedulerToNode::Assign { task, attempt, .. } => {
                self.honest.insert(task, (attempt, false));
            }
            SchedulerToNode::Cancel { task, attempt } => {
                self.honest.retain(|known, (other, _)| (*known, *other) != (task, attempt));
            }
            SchedulerToNode::TakeBack { task, attempt } if self.has(task, attempt) => {
                self.tell(HONEST, NodeToScheduler::Kept { task, attempt });
            }
            _ => {}
        }
    }

    /// The hostile node is gone for good: the honest one ends all that there is to do.
    fn end(&mut self) {
        self.lose(HOSTILE);
        for nth in (0..self.honest.len()).rev() {
            self.set_waiting(nth, false);
        }
        for _ in 0..10 * (self.numbers + 10) {
            self.finish_any(false);
            self.pass(Duration::from_secs(1));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_scheduler_keeps_its_house_in_order(moves in prop::collection::vec(next_move(), 1..150)) {
        let mut world = World::new();
        for next in moves {
            world.go(next);
        }
        world.end();
        let counts = world.scheduler.snapshot().tasks;
        let left = counts.waiting + counts.ready + counts.assigned + counts.running;
        prop_assert_eq!(left, 0, "{:?}", world.scheduler.snapshot());
        world.handle(Event::ClientGone { client: CLIENT });
        prop_assert!(world.scheduler.is_empty());
    }
}

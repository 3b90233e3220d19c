//! What the clients' programs are made of: what their functions ask for, what their tasks do, and
//! what each must return, computed without the cluster.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hurricane_core::message::{Definition, INLINE_LIMIT_BYTES};
use hurricane_core::resources::{Amount, PARTS, Resources};

use crate::dice::{Dice, mix};

/// More cpus than any node has.
const TOO_MANY_CPUS: u64 = 1000;

/// How deep the deepest tasks go: more than the tasks that may wait on two nodes at once.
const CHAIN: u64 = 140;

/// What a function asks for and allows.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) resources: Resources,
    pub(crate) retries: u32,
    pub(crate) timeout: Option<Duration>,
    priority: i32,
    /// Whether most of its tasks are so short that nodes queue them.
    pub(crate) is_short: bool,
}

/// What one task does. It does so again in each attempt.
#[derive(Debug)]
pub(crate) struct Script {
    salt: u64,
    /// How long it runs before it acts, and after its children are done.
    pub(crate) before: Duration,
    pub(crate) after: Duration,
    pub(crate) act: Act,
    /// How many lines it writes.
    pub(crate) lines: u64,
    /// The size of what it returns.
    pub(crate) size: usize,
    pub(crate) children: Vec<Child>,
    /// Whether it waits for its children.
    pub(crate) waits: bool,
}

/// A task that a task submits.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(crate) kind: Kind,
    pub(crate) script: Arc<Script>,
    /// Whether it depends on the child before it.
    pub(crate) follows: bool,
}

/// What a task does before it returns, the first `times` times that it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Nothing.
    Return,
    /// It raises.
    Raise { times: u32 },
    /// It ends its worker.
    Die { times: u32 },
    /// It never returns.
    Hang { times: u32 },
}

impl Kind {
    /// A function whose tasks run `pace` times as long as most.
    pub(crate) fn any(dice: &mut Dice, pace: u32) -> Self {
        let retries = dice.pick(&[0, 0, 1, 2, 3]);
        let priority = dice.pick(&[0, 0, 0, 1, -1, 5]);
        if dice.chance(30) {
            let resources = if dice.chance(80) { Resources::cpus(1) } else { cpus(PARTS / 2) };
            return Self { resources, retries, timeout: None, priority, is_short: true };
        }
        Self {
            resources: request(dice),
            retries,
            timeout: dice.chance(25).then(|| dice.millis(100, 600) * pace),
            priority,
            is_short: false,
        }
    }

    fn of_child(dice: &mut Dice) -> Self {
        let resources = if dice.chance(80) { Resources::cpus(1) } else { cpus(PARTS / 2) };
        Self { resources, retries: dice.pick(&[0, 1]), timeout: None, priority: 0, is_short: false }
    }

    pub(crate) fn definition(&self) -> Definition {
        Definition {
            function: Bytes::from_static(b"function"),
            name: "function".into(),
            resources: self.resources.clone(),
            retries: self.retries,
            timeout: self.timeout,
            priority: self.priority,
        }
    }
}

/// How large results are that are kept in a node's store.
const LARGE: [usize; 4] = {
    let least = INLINE_LIMIT_BYTES + 1;
    [least, least, least, 8 * least]
};

impl Script {
    /// What a task of this function does, which runs `pace` times as long as most.
    pub(crate) fn any(dice: &mut Dice, kind: &Kind, pace: u32) -> Self {
        let act = Act::any(dice, kind);
        if kind.is_short && !dice.chance(2) {
            return Self {
                before: dice.micros(1, 500),
                after: dice.micros(1, 200),
                ..Self::to_depth(dice, act, 0, 1)
            };
        }
        match dice.below(300) {
            0 => Self::chain(dice, CHAIN),
            1..=45 => {
                let depth = dice.between(1, 3);
                Self::to_depth(dice, act, depth, pace)
            }
            _ => Self::to_depth(dice, act, 0, pace),
        }
    }

    fn to_depth(dice: &mut Dice, act: Act, depth: u64, pace: u32) -> Self {
        let children = if depth == 0 { 0 } else { dice.between(1, 3) };
        let is_large = dice.chance(12);
        Self {
            salt: dice.roll(),
            before: duration(dice) * pace,
            after: dice.micros(10, 3000),
            act,
            lines: if dice.chance(10) { dice.between(1, 5) } else { 0 },
            // Now and then it is worth to wait where it is rather than to move it.
            size: if is_large { dice.pick(&LARGE) } else { 16 },
            children: (0..children).map(|_| Child::any(dice, depth - 1, pace)).collect(),
            waits: dice.chance(85),
        }
    }

    /// A task that waits for one that waits for one, and so on.
    fn chain(dice: &mut Dice, depth: u64) -> Self {
        let mut script = Self::to_depth(dice, Act::Return, 0, 1);
        if depth > 0 {
            // Were it tried again on each level, there would be no end of it.
            let kind = Kind { retries: 0, ..Kind::of_child(dice) };
            let below = Arc::new(Self::chain(dice, depth - 1));
            script.children.push(Child { kind, script: below, follows: false });
            script.waits = true;
        }
        script
    }

    /// What it returns, given the values of its inputs.
    pub(crate) fn result(&self, inputs: &[u64]) -> u64 {
        let children = self.children_results();
        let values = inputs.iter().chain(if self.waits { &children[..] } else { &[] });
        values.fold(self.salt, |sum, value| mix(sum.rotate_left(7) ^ value))
    }

    /// What its children return, in their order.
    pub(crate) fn children_results(&self) -> Vec<u64> {
        let mut results: Vec<u64> = Vec::with_capacity(self.children.len());
        for child in &self.children {
            let input = results.last().filter(|_| child.follows).copied();
            results.push(child.script.result(input.as_slice()));
        }
        results
    }

    /// Whether it runs until somebody ends it.
    pub(crate) fn hangs(&self) -> bool {
        matches!(self.act, Act::Hang { .. })
    }
}

impl Child {
    fn any(dice: &mut Dice, depth: u64, pace: u32) -> Self {
        let kind = Kind::of_child(dice);
        let act = match dice.below(20) {
            0 => Act::Raise { times: 1 },
            1 => Act::Raise { times: u32::MAX },
            2 => Act::Die { times: 1 },
            _ => Act::Return,
        };
        let script = Arc::new(Script::to_depth(dice, act, depth, pace));
        Self { kind, script, follows: dice.chance(30) }
    }
}

impl Act {
    fn any(dice: &mut Dice, kind: &Kind) -> Self {
        let times = dice.pick(&[1, 1, 2, 3, u32::MAX]);
        match dice.below(20) {
            0..=2 => Self::Raise { times },
            3 => Self::Die { times },
            4 if kind.timeout.is_some() => Self::Hang { times },
            // Its client will cancel it.
            5 if dice.chance(30) => Self::Hang { times: u32::MAX },
            _ => Self::Return,
        }
    }
}

/// What a node has.
pub(crate) fn any_resources(dice: &mut Dice) -> Resources {
    let mut resources = cpus(dice.between(2, 16) * PARTS / 2);
    if dice.chance(30) {
        resources.gpus = Amount::whole(dice.between(1, 2));
    }
    resources.memory_bytes = dice.between(1, 16) << 30;
    if dice.chance(30) {
        resources.named.insert("license".into(), Amount::whole(dice.between(1, 3)));
    }
    resources
}

/// A node that can run whatever any node can.
pub(crate) fn ample_resources() -> Resources {
    let mut resources = Resources::cpus(8);
    resources.gpus = Amount::whole(2);
    resources.memory_bytes = 16 << 30;
    resources.named.insert("license".into(), Amount::whole(3));
    resources
}

fn request(dice: &mut Dice) -> Resources {
    let mut request = match dice.below(20) {
        0..=12 => Resources::cpus(1),
        13..=15 => cpus(PARTS / 2),
        16..=17 => Resources::cpus(2),
        18 => Resources::cpus(0),
        _ => Resources::cpus(dice.pick(&[1, 4, TOO_MANY_CPUS])),
    };
    if dice.chance(8) {
        request.gpus = Amount(dice.pick(&[PARTS / 4, PARTS / 2, PARTS, 2 * PARTS]));
    }
    if dice.chance(10) {
        request.memory_bytes = dice.between(1, 4) << 30;
    }
    if dice.chance(8) {
        request.named.insert("license".into(), Amount::whole(1));
    }
    request
}

fn cpus(parts: u64) -> Resources {
    Resources { cpus: Amount(parts), ..Resources::default() }
}

/// Mostly short, as tasks are.
fn duration(dice: &mut Dice) -> Duration {
    match dice.below(10) {
        0..=3 => dice.micros(10, 300),
        4..=7 => dice.millis(1, 10),
        8 => dice.millis(10, 60),
        _ => dice.micros(1, 10),
    }
}

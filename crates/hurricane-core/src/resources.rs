//! Resources of nodes and what tasks ask of them, in fixed-point numbers: no floats in the core.

use core::fmt;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The parts of one: amounts are exact to 1/10,000.
pub const PARTS: u64 = 10_000;

/// How many named resources a node or a task may have. Real machines have a handful; each one is
/// compared in every placement.
pub const MAX_NAMED: usize = 32;

/// How long a resource's name may be, in bytes. Names travel with every definition.
pub const MAX_NAME_BYTES: usize = 64;

/// More processors, of either kind, than any machine has.
const MAX_PROCESSORS: Amount = Amount::whole(1 << 16);

/// More of anything else than any machine has: sums of a thousand such are exact.
const MAX_ELSE: u64 = 1 << 54;

/// Memory as people read it, the largest unit first; as in `"8GB"` in Python, by the thousand.
const MEMORY_UNITS: [(u64, &str); 5] = [
    (1_000_000_000_000_000, "PB"),
    (1_000_000_000_000, "TB"),
    (1_000_000_000, "GB"),
    (1_000_000, "MB"),
    (1_000, "kB"),
];

/// An amount of a resource, counted in parts of 1/10,000.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Amount(pub u64);

impl Amount {
    /// A whole number of units.
    pub const fn whole(units: u64) -> Self {
        Self(units.saturating_mul(PARTS))
    }

    /// The whole units in it, rounded up.
    pub const fn units_rounded_up(self) -> u64 {
        self.0.div_ceil(PARTS)
    }

    /// This amount and `other`; the largest one if the sum does not fit.
    #[must_use]
    #[inline]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of it without `other`; nothing if `other` is more.
    #[must_use]
    #[inline]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Amount {
    /// Writes `2`, `0.5` or `1.25`: no more digits than there are.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = self.0 % PARTS;
        write!(formatter, "{}", self.0 / PARTS)?;
        if fraction == 0 {
            return Ok(());
        }
        let digits = format!("{fraction:04}");
        write!(formatter, ".{}", digits.trim_end_matches('0'))
    }
}

/// What a node has, or what a task asks for.
///
/// # Examples
///
/// ```
/// use hurricane_core::resources::{Amount, Resources};
///
/// let mut asked = Resources { cpus: Amount::whole(1), ..Resources::default() };
/// asked.memory_bytes = 25_276_514_304;
/// assert_eq!(asked.to_string(), "1 cpu, 25.28 GB memory");
/// asked.memory_bytes = 900_000_000_000_000;
/// asked.gpus = Amount::whole(2);
/// assert_eq!(asked.to_string(), "1 cpu, 2 gpus, 900 TB memory");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resources {
    /// Processors.
    pub cpus: Amount,
    /// Graphics processors.
    pub gpus: Amount,
    /// Memory in bytes, whole: not in parts.
    pub memory_bytes: u64,
    /// Any other resource, by its name.
    pub named: BTreeMap<Box<str>, Amount>,
}

impl Resources {
    /// A number of processors and nothing else.
    pub fn cpus(units: u64) -> Self {
        Self { cpus: Amount::whole(units), ..Self::default() }
    }

    /// Whether `request` fits into this.
    pub fn covers(&self, request: &Self) -> bool {
        self.cpus >= request.cpus
            && self.gpus >= request.gpus
            && self.memory_bytes >= request.memory_bytes
            && request.named.iter().all(|(name, amount)| self.amount_of(name) >= *amount)
    }

    /// Whether a node that has this may ever be given what asks for `request`. One without
    /// processors is there for its named resources alone: a license server, a program that takes
    /// tasks of its own kind. What asks for next to nothing fits there, and is not meant for it.
    pub fn serves(&self, request: &Self) -> bool {
        let is_special = self.cpus == Amount::default()
            && self.gpus == Amount::default()
            && !self.named.is_empty();
        let nothing = Amount::default();
        let mut asked = request.named.iter().filter(|(_, amount)| **amount > nothing);
        self.covers(request)
            && (!is_special || asked.any(|(name, _)| self.amount_of(name) > nothing))
    }

    /// Adds `other` to this.
    #[inline]
    pub fn add(&mut self, other: &Self) {
        self.cpus = self.cpus.plus(other.cpus);
        self.gpus = self.gpus.plus(other.gpus);
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        for (name, amount) in &other.named {
            let entry = self.named.entry(name.clone()).or_default();
            *entry = entry.plus(*amount);
        }
    }

    /// Takes `other` out of this; what is more than there was leaves nothing.
    #[inline]
    pub fn remove(&mut self, other: &Self) {
        self.cpus = self.cpus.minus(other.cpus);
        self.gpus = self.gpus.minus(other.gpus);
        self.memory_bytes = self.memory_bytes.saturating_sub(other.memory_bytes);
        for (name, amount) in &other.named {
            if let Some(entry) = self.named.get_mut(name) {
                *entry = entry.minus(*amount);
            }
        }
    }

    /// What is left of this when `used` is in use; nothing where more is in use than there is.
    #[must_use]
    pub fn without(&self, used: &Self) -> Self {
        let mut rest = self.clone();
        rest.remove(used);
        rest
    }

    /// Whether `request` fits into what is left of this when `used` is in use.
    #[inline]
    pub fn have_room(&self, used: &Self, request: &Self) -> bool {
        self.cpus.minus(used.cpus) >= request.cpus
            && self.gpus.minus(used.gpus) >= request.gpus
            && self.memory_bytes.saturating_sub(used.memory_bytes) >= request.memory_bytes
            && request
                .named
                .iter()
                .all(|(name, amount)| self.amount_of(name).minus(used.amount_of(name)) >= *amount)
    }

    /// Whether a peer may claim these: names and their number within the limits.
    pub fn is_within_limits(&self) -> bool {
        self.named.len() <= MAX_NAMED
            && self.named.keys().all(|name| !name.is_empty() && name.len() <= MAX_NAME_BYTES)
    }

    /// Whether a machine may have these. A node that claims more lies.
    pub fn is_credible(&self) -> bool {
        self.is_within_limits()
            && self.cpus <= MAX_PROCESSORS
            && self.gpus <= MAX_PROCESSORS
            && self.memory_bytes <= MAX_ELSE
            && self.named.values().all(|amount| amount.0 <= MAX_ELSE)
    }

    fn amount_of(&self, name: &str) -> Amount {
        self.named.get(name).copied().unwrap_or_default()
    }
}

impl fmt::Display for Resources {
    /// Writes `4 cpus, 1 gpu, 8 GB memory, 2 license`: what is zero is left out, but cpus.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.cpus, plural(self.cpus, "cpu", "cpus"))?;
        if self.gpus > Amount::default() {
            write!(formatter, ", {} {}", self.gpus, plural(self.gpus, "gpu", "gpus"))?;
        }
        if self.memory_bytes > 0 {
            formatter.write_str(", ")?;
            write_memory(formatter, self.memory_bytes)?;
        }
        for (name, amount) in &self.named {
            write!(formatter, ", {amount} {name}")?;
        }
        Ok(())
    }
}

fn plural(amount: Amount, one: &'static str, many: &'static str) -> &'static str {
    if amount == Amount::whole(1) { one } else { many }
}

/// Writes `64 bytes memory`, `25.28 GB memory` or `900 TB memory`: two digits, where there are any,
/// so that what is a little too much is told from what there is.
fn write_memory(formatter: &mut fmt::Formatter<'_>, bytes: u64) -> fmt::Result {
    let Some((unit_bytes, unit)) = MEMORY_UNITS.into_iter().find(|(least, _)| bytes >= *least)
    else {
        return write!(formatter, "{bytes} bytes memory");
    };
    let hundredths = (u128::from(bytes) * 100).div_ceil(u128::from(unit_bytes));
    write!(formatter, "{}", hundredths / 100)?;
    if !hundredths.is_multiple_of(100) {
        let digits = format!("{:02}", hundredths % 100);
        write!(formatter, ".{}", digits.trim_end_matches('0'))?;
    }
    write!(formatter, " {unit} memory")
}

//! What the nodes of a process have of this machine.

use std::collections::BTreeMap;

use hurricane_core::resources::{Amount, MAX_NAMED, PARTS, Resources};

use super::amounts::{self, Named, counted};
use super::failure::Failure;
use crate::platform::machine;

/// More in one process than any machine has use for.
const MAX_COUNT: u64 = 1000;

/// More than any machine has.
const MAX_UNITS: u64 = 1 << 20;

/// What nodes have, all of a process together.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Share {
    /// How many nodes; what they have is divided among them
    #[arg(
        long, value_name = "N", default_value = "1",
        value_parser = clap::value_parser!(u64).range(1..=MAX_COUNT)
    )]
    pub count: u64,
    /// Cpus; as many as this process may use if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_UNITS))]
    pub cpus: Option<u64>,
    /// Graphics processors; those that are found if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=MAX_UNITS))]
    pub gpus: Option<u64>,
    /// Memory, such as 8GB or 512MiB; what this process may use if not given
    #[arg(long, value_name = "BYTES", value_parser = amounts::memory)]
    pub memory: Option<u64>,
    /// Any other resource; may be given several times
    #[arg(long = "resource", value_name = "NAME=AMOUNT", value_parser = amounts::named)]
    pub resources: Vec<Named>,
}

/// What this process may use of its machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    cpus: u64,
    gpus: u64,
    memory_bytes: u64,
}

impl Machine {
    /// This one.
    pub(super) fn this() -> Self {
        let visible = std::env::var_os("CUDA_VISIBLE_DEVICES");
        let gpus = machine::gpus(visible.as_ref()).len() as u64;
        Self { cpus: machine::cpus(), gpus, memory_bytes: machine::memory_bytes() }
    }
}

impl Share {
    /// Whether what was asked for makes sense.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.named().map(drop)
    }

    /// What each node has: whole cpus and gpus, and never less than one cpu.
    pub(super) fn of_each(&self, machine: Machine) -> Result<Vec<Resources>, Failure> {
        let named = self.named()?;
        let of_one = |index: u64| Resources {
            cpus: self.part(Amount::whole(self.cpus(machine)), index).max(Amount::whole(1)),
            gpus: self.part(Amount::whole(self.gpus.unwrap_or(machine.gpus)), index),
            memory_bytes: self.memory.unwrap_or(machine.memory_bytes) / self.count,
            named: named
                .iter()
                .map(|(name, amount)| (name.clone(), self.part(*amount, index)))
                .filter(|(_, amount)| *amount > Amount::default())
                .collect(),
        };
        Ok((0..self.count).map(of_one).collect())
    }

    /// What people may not expect, a line for each.
    pub(super) fn remarks(&self, machine: Machine) -> Vec<String> {
        let cpus = self.cpus(machine);
        let mut remarks = Vec::new();
        if self.count > cpus {
            let (nodes, cpus) = (counted(self.count, "node"), counted(cpus, "cpu"));
            remarks
                .push(format!("{nodes} on {cpus}: each has one cpu, and they share what there is"));
        }
        if cpus > machine.cpus {
            let (given, there) = (counted(cpus, "cpu"), counted(machine.cpus, "cpu"));
            remarks.push(format!("{given}, as asked for; this machine has {there}"));
        }
        if let Some(memory_bytes) = self.memory.filter(|bytes| *bytes > machine.memory_bytes) {
            let shown = |bytes| Resources { memory_bytes: bytes, ..Resources::default() };
            let (given, there) = (shown(memory_bytes), shown(machine.memory_bytes));
            let (given, there) = (memory_words(&given), memory_words(&there));
            remarks.push(format!("{given}, as asked for; this machine has {there}"));
        }
        remarks
    }

    /// The same options, for another command line.
    pub(super) fn arguments(&self) -> Vec<String> {
        let option = |name: &str, value: Option<u64>| {
            value.map(|value| [format!("--{name}"), value.to_string()])
        };
        let given = [
            option("count", Some(self.count).filter(|count| *count != 1)),
            option("cpus", self.cpus),
            option("gpus", self.gpus),
            option("memory", self.memory),
        ];
        let resources = self
            .resources
            .iter()
            .map(|Named { name, amount }| ["--resource".to_owned(), format!("{name}={amount}")]);
        given.into_iter().flatten().chain(resources).flatten().collect()
    }

    fn cpus(&self, machine: Machine) -> u64 {
        self.cpus.unwrap_or(machine.cpus)
    }

    fn named(&self) -> Result<BTreeMap<Box<str>, Amount>, Failure> {
        let mut named = BTreeMap::new();
        for Named { name, amount } in &self.resources {
            if named.insert(name.clone(), *amount).is_some() {
                return Err(Failure::new(format!("the resource `{name}` was given twice")));
            }
        }
        if named.len() > MAX_NAMED {
            return Err(Failure::new(format!("a node has at most {MAX_NAMED} named resources")));
        }
        Ok(named)
    }

    /// What one node gets of an amount: whole units, as evenly as they go; the first ones get what
    /// is over.
    fn part(&self, amount: Amount, index: u64) -> Amount {
        let (units, rest) = (amount.0 / PARTS, amount.0 % PARTS);
        let one_more = u64::from(index < units % self.count);
        let whole = Amount::whole(units / self.count + one_more);
        if index == 0 { whole.plus(Amount(rest)) } else { whole }
    }
}

/// `8 GB memory`: resources write their cpus first, which are not what this is about.
pub(super) fn memory_words(resources: &Resources) -> String {
    let only = Resources { memory_bytes: resources.memory_bytes, ..Resources::default() };
    let words = only.to_string();
    words.split_once(", ").map_or_else(|| "no memory".to_owned(), |(_, memory)| memory.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAPTOP: Machine = Machine { cpus: 2, gpus: 1, memory_bytes: 8_000_000_000 };

    fn share(count: u64) -> Share {
        Share { count, cpus: None, gpus: None, memory: None, resources: Vec::new() }
    }

    fn words(share: &Share) -> Vec<String> {
        let of_each = share.of_each(LAPTOP).expect("nothing is wrong");
        of_each.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_node_has_its_machine_if_nothing_is_said() {
        assert_eq!(words(&share(1)), ["2 cpus, 1 gpu, 8 GB memory"]);
        assert!(share(1).remarks(LAPTOP).is_empty());
    }

    #[test]
    fn what_there_is_is_divided_in_whole_units() {
        let license = Named { name: "license".into(), amount: Amount(15_000) };
        let share = Share { cpus: Some(5), resources: vec![license], ..share(2) };
        let expected = ["3 cpus, 1 gpu, 4 GB memory, 1.5 license", "2 cpus, 4 GB memory"];
        assert_eq!(words(&share), expected);
    }

    #[test]
    fn sixteen_cpus_make_eight_nodes_of_two() {
        let share = Share { cpus: Some(16), gpus: Some(0), memory: Some(0), ..share(8) };
        assert_eq!(words(&share), ["2 cpus"; 8]);
        assert_eq!(share.remarks(LAPTOP), ["16 cpus, as asked for; this machine has 2 cpus"]);
    }

    #[test]
    fn more_nodes_than_cpus_have_one_each() {
        let share = Share { gpus: Some(0), memory: Some(0), ..share(8) };
        assert_eq!(words(&share), ["1 cpu"; 8]);
        let remark = "8 nodes on 2 cpus: each has one cpu, and they share what there is";
        assert_eq!(share.remarks(LAPTOP), [remark]);
    }

    #[test]
    fn more_memory_than_there_is_is_said() {
        let share = Share { memory: Some(64_000_000_000), ..share(1) };
        let remark = "64 GB memory, as asked for; this machine has 8 GB memory";
        assert_eq!(share.remarks(LAPTOP), [remark]);
    }

    #[test]
    fn a_resource_is_given_once() {
        let license = Named { name: "license".into(), amount: Amount::whole(1) };
        let share = Share { resources: vec![license.clone(), license], ..share(1) };
        let failure = share.of_each(LAPTOP).expect_err("it is given twice");
        assert_eq!(failure.to_string(), "error: the resource `license` was given twice");
    }

    #[test]
    fn options_can_be_passed_on() {
        let license = Named { name: "license".into(), amount: Amount(5_000) };
        let share = Share {
            count: 2,
            cpus: Some(4),
            gpus: Some(0),
            memory: None,
            resources: vec![license],
        };
        let expected = ["--count", "2", "--cpus", "4", "--gpus", "0", "--resource", "license=0.5"];
        assert_eq!(share.arguments(), expected);
    }
}

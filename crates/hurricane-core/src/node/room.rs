//! Room: how much of the node's resources is free, and which graphics processors are.

use crate::resources::{Amount, Resources};

use super::WorkerKind;

/// How many tasks may share one slot, however little each asks for. Each has a process of its own,
/// of some ten megabytes before it does anything.
pub(super) const MAX_TASKS_PER_SLOT: u64 = 16;

/// How many graphics processors a node may have; no machine comes near.
const MAX_GPUS: u64 = 1024;

const WHOLE: Amount = Amount::whole(1);

/// What is free.
#[derive(Debug)]
pub(super) struct Room {
    free: Resources,
    /// What is free of each graphics processor.
    gpus: Vec<Amount>,
    /// How many more tasks may run, whatever they ask for.
    tasks: u64,
}

/// What a task has while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    resources: Resources,
    gpus: Vec<u16>,
}

impl Grant {
    /// The kind of worker that can use this.
    pub(super) fn kind(&self) -> WorkerKind {
        let threads = self.resources.cpus.units_rounded_up().max(1);
        WorkerKind { threads, gpus: self.gpus.clone() }
    }

    /// Whether it is what this request leads to. What asks for graphics processors gets others each
    /// time.
    pub(super) fn is_for(&self, request: &Resources) -> bool {
        self.resources == *request && self.gpus.is_empty()
    }

    /// What it takes of each of its graphics processors.
    fn share(&self) -> Amount {
        self.resources.gpus.min(WHOLE)
    }
}

impl Room {
    /// All of `total` is free.
    pub(super) fn new(total: &Resources) -> Self {
        let gpus = total.gpus.units_rounded_up().min(MAX_GPUS);
        Self {
            free: total.clone(),
            gpus: (0..gpus).map(|_| WHOLE).collect(),
            tasks: slots(total).saturating_mul(MAX_TASKS_PER_SLOT),
        }
    }

    /// Whether [`Room::take`] would succeed.
    pub(super) fn fits(&self, request: &Resources) -> bool {
        self.tasks > 0 && self.free.covers(request) && self.choose_gpus(request.gpus).is_some()
    }

    /// Whether a request would fit if this grant were given back.
    pub(super) fn would_fit(&self, request: &Resources, grant: &Grant) -> bool {
        if grant.is_for(request) || self.fits(request) {
            return true;
        }
        let mut free = self.free.clone();
        free.add(&grant.resources);
        free.covers(request)
    }

    /// Whether as much as a grant is free beside it.
    pub(super) fn fits_again(&self, grant: &Grant) -> bool {
        self.fits(&grant.resources)
    }

    /// Takes what `request` asks for, if it is free.
    pub(super) fn take(&mut self, request: &Resources) -> Option<Grant> {
        let gpus = self.choose_gpus(request.gpus)?;
        let mut resources = request.clone();
        // A name asked for in the amount of nothing need not exist, and must not by being given back.
        resources.named.retain(|_, amount| *amount > Amount::default());
        let grant = Grant { resources, gpus };
        self.retake(&grant).then_some(grant)
    }

    /// Takes again exactly what was given back, if it is free: a worker cannot change its graphics
    /// processors.
    pub(super) fn retake(&mut self, grant: &Grant) -> bool {
        let share = grant.share();
        let has_gpus = grant.gpus.iter().all(|index| self.gpus[usize::from(*index)] >= share);
        if self.tasks == 0 || !has_gpus || !self.free.covers(&grant.resources) {
            return false;
        }
        self.tasks -= 1;
        self.free.remove(&grant.resources);
        for index in &grant.gpus {
            let free = &mut self.gpus[usize::from(*index)];
            *free = free.minus(share);
        }
        true
    }

    /// Gives back what was taken.
    pub(super) fn give_back(&mut self, grant: &Grant) {
        self.tasks += 1;
        self.free.add(&grant.resources);
        for index in &grant.gpus {
            let free = &mut self.gpus[usize::from(*index)];
            *free = free.plus(grant.share());
        }
    }

    /// Panics unless exactly `grants` are taken out of `total`.
    pub(super) fn sanity_check<'a>(
        &self,
        total: &Resources,
        grants: impl Iterator<Item = &'a Grant>,
    ) {
        let mut expected = Self::new(total);
        for grant in grants {
            assert!(expected.retake(grant), "more is in use than there is: {grant:?}");
        }
        assert_eq!(expected.free, self.free, "what is free and what is in use make the whole");
        assert_eq!(expected.gpus, self.gpus, "each graphics processor is accounted for");
        assert_eq!(expected.tasks, self.tasks, "each running task is counted");
    }

    /// The first processor with room for a fraction; as many wholly free ones for more.
    fn choose_gpus(&self, asked: Amount) -> Option<Vec<u16>> {
        let share = asked.min(WHOLE);
        let count = usize::try_from(asked.units_rounded_up()).ok()?;
        let with_room = (0..).zip(&self.gpus).filter(|(_, free)| **free >= share);
        let chosen: Vec<u16> = with_room.map(|(index, _)| index).take(count).collect();
        (chosen.len() == count).then_some(chosen)
    }
}

/// How many slots a node with these resources has: whole processors, but at least one.
pub(super) fn slots(resources: &Resources) -> u64 {
    (resources.cpus.0 / WHOLE.0).max(1)
}

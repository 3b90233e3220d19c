//! Whether the scheduler's state contradicts itself. Tests ask after every step.

use std::collections::BTreeMap;

use crate::id::{ClientId, NodeId, ObjectId, ObjectNumber, TaskId};
use crate::message::Value;
use crate::resources::{Amount, Resources};
use crate::scheduler::Scheduler;
use crate::scheduler::node::Stay;
use crate::scheduler::task::{Claim, Recall, Room, State, Task};

impl Scheduler {
    /// Panics if the state contradicts itself. For tests.
    pub fn sanity_check(&self) {
        self.check_claims();
        self.check_nodes();
        self.check_kept();
        self.check_clients();
        for (key, task) in self.tasks.iter() {
            self.check_task(TaskId(key), task);
        }
    }

    fn check_task(&self, id: TaskId, task: &Task) {
        let Some(client) = self.clients.get(&task.client) else {
            panic!("{id}: it outlives its client: {task:?}");
        };
        let is_named = client.numbers.get(task.number) == Some(id);
        assert_eq!(is_named, task.is_held, "{id}: its number stands for it while it is held");
        match &task.state {
            State::Waiting { missing } => {
                let pending = |one: &&TaskId| !self.task(**one).is_ended();
                let pending = task.dependencies.iter().filter(pending).count();
                assert_eq!(pending, *missing as usize, "{id}: what it waits for is pending");
            }
            State::Ready => {
                let is_here = |one: &TaskId| self.task(*one).value().is_some();
                assert!(task.dependencies.iter().all(is_here), "{id}: ready without its inputs");
            }
            State::Assigned(place) => {
                let node = self.nodes.get(place.node);
                assert_eq!(node.tasks[place.position as usize], id, "{id}: it is where it says");
            }
            State::Retrying => {}
            State::Done { .. } | State::Failed { .. } | State::Cancelled { .. } => {
                assert!(task.dependents.is_empty(), "{id}: all were told of its end");
                let is_needed = task.is_held || task.users > 0 || task.heirs > 0;
                assert!(is_needed, "{id}: nobody needs it");
                self.check_value(id, task);
            }
        }
    }

    /// What is stored is listed where it is kept, so that it is missed when that is lost.
    fn check_value(&self, id: TaskId, task: &Task) {
        let Some(Value::Stored(stored)) = task.value() else { return };
        let listed = self.objects_of(stored.object.node);
        let owner = listed.and_then(|objects| objects.get(&stored.object.number));
        assert_eq!(owner, Some(&id), "{id}: its value is listed");
    }

    fn check_claims(&self) {
        let mut users: BTreeMap<TaskId, u32> = BTreeMap::new();
        let mut heirs: BTreeMap<TaskId, u32> = BTreeMap::new();
        for (_, task) in self.tasks.iter() {
            let counters = match task.claim {
                Claim::Values => &mut users,
                Claim::Heritage => &mut heirs,
                Claim::Nothing => continue,
            };
            for &dependency in &task.dependencies {
                *counters.entry(dependency).or_default() += 1;
            }
        }
        for (key, task) in self.tasks.iter() {
            let counted =
                |counters: &BTreeMap<TaskId, u32>| counters.get(&TaskId(key)).copied().unwrap_or(0);
            assert_eq!(task.users, counted(&users), "{key}: its users are counted");
            assert_eq!(task.heirs, counted(&heirs), "{key}: its heirs are counted");
        }
    }

    fn check_nodes(&self) {
        for (key, node) in self.nodes.iter() {
            let places = node.tasks.iter().map(|id| {
                let place = self.task(*id).place().expect("a node's tasks are assigned");
                assert_eq!(place.node, key, "{id}: it is on the node that lists it");
                (*id, place)
            });
            let places: Vec<_> = places.collect();
            let mut used = Resources::default();
            for (id, _) in places.iter().filter(|(_, place)| place.room == Room::Held) {
                used.add(&self.request(*id));
            }
            let is_equal = used.without(&node.used) == used.without(&used)
                && node.used.without(&used) == node.used.without(&node.used);
            assert!(is_equal, "{}: what is used is used by tasks", node.id);
            let waiting = places.iter().filter(|(_, place)| place.room == Room::Backlog);
            let recalled = places.iter().filter(|(_, place)| place.recall != Recall::No);
            assert_eq!(waiting.count() as u64, node.backlog_length, "{}: backlog", node.id);
            assert_eq!(recalled.count() as u64, node.recalled, "{}: recalls", node.id);
            let given_back = places.iter().filter(|(_, place)| place.room == Room::GivenBack);
            assert_eq!(given_back.count(), node.waiting as usize, "{}: parents", node.id);
            self.check_objects(node.id, &node.objects);
            let is_empty = node.tasks.is_empty();
            assert!(node.stay != Stay::IsLetGo || is_empty, "{}: nothing is left there", node.id);
            assert!(node.stay != Stay::Leaves || !is_empty, "{}: it was let go", node.id);
        }
    }

    fn check_kept(&self) {
        self.check_objects(NodeId::SCHEDULER, &self.kept);
    }

    fn check_objects(&self, holder: NodeId, objects: &BTreeMap<ObjectNumber, TaskId>) {
        for (&number, id) in objects {
            let object = ObjectId { node: holder, number };
            let value = self.tasks.get(id.0).and_then(Task::value);
            let is_it = |value: &Value| matches!(value, Value::Stored(it) if it.object == object);
            assert!(value.is_some_and(is_it), "{object:?} is the value of {id}: {value:?}");
        }
    }

    fn check_clients(&self) {
        let mut all: BTreeMap<ClientId, Totals> = BTreeMap::new();
        for (_, task) in self.tasks.iter() {
            let totals = all.entry(self.clients[&task.client].root).or_default();
            totals.ready += u64::from(matches!(task.state, State::Ready));
            let (Some(definition), Some(place)) = (task.definition, task.place()) else { continue };
            totals.assigned += 1;
            if place.room != Room::GivenBack {
                let cpus = self.definition(definition).definition.resources.cpus;
                totals.cpus = totals.cpus.plus(cpus);
            }
        }
        for (id, client) in &self.clients {
            let (ready, assigned) = (client.ready.len(), client.assigned);
            let counted = Totals { ready, assigned, cpus: client.cpus_in_use };
            assert_eq!(all.remove(id).unwrap_or_default(), counted, "{id}: its tasks are counted");
        }
    }
}

/// What is counted of the tasks of a client and of those nested in them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    ready: u64,
    assigned: u64,
    cpus: Amount,
}

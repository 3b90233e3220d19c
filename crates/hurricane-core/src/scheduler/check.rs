//! Whether the scheduler's state contradicts itself. Tests ask after every step.

use std::collections::BTreeMap;

use crate::id::{NodeId, ObjectId, ObjectNumber, TaskId};
use crate::message::Value;
use crate::resources::{Amount, Resources};
use crate::scheduler::Scheduler;
use crate::scheduler::clients::ClientKey;
use crate::scheduler::node::Stay;
use crate::scheduler::placement::Choice;
use crate::scheduler::tally::Tally;
use crate::scheduler::task::{Claim, Recall, Room, State, Task};
use crate::scheduler::turns::Turn;

impl Scheduler {
    /// Panics if the state contradicts itself. For tests.
    pub fn sanity_check(&self) {
        self.check_claims();
        self.check_nodes();
        self.check_kept();
        self.check_clients();
        self.check_turns();
        self.check_settled();
        for (key, task) in self.tasks.iter() {
            self.check_task(TaskId(key), task);
        }
    }

    fn check_task(&self, id: TaskId, task: &Task) {
        let Some(client) = self.clients.get(task.client) else {
            panic!("{id}: it outlives its client: {task:?}");
        };
        let is_named = client.numbers.get(task.number) == Some(id);
        assert_eq!(is_named, task.is_held, "{id}: its number stands for it while it is held");
        assert_eq!(task.tally, Tally::of(&task.state), "{id}: it is counted as what it is");
        match &task.state {
            State::Waiting { missing } => {
                let pending = |one: &&TaskId| !self.task(**one).is_ended();
                let pending = task.dependencies().iter().filter(pending).count();
                assert_eq!(pending, *missing as usize, "{id}: what it waits for is pending");
            }
            State::Ready => {
                let is_here = |one: &TaskId| self.task(*one).value().is_some();
                assert!(task.dependencies().iter().all(is_here), "{id}: ready without its inputs");
            }
            State::Assigned(place) => {
                let node = self.nodes.get(place.node);
                assert_eq!(node.tasks[place.position as usize], id, "{id}: it is where it says");
                let standing = self.standing(task).map(|(_, shape)| shape);
                assert_eq!(standing, Some(place.shape), "{id}: it has room for what it asks for");
            }
            State::Retrying => {}
            State::Done { .. } | State::Failed { .. } | State::Cancelled { .. } => {
                let dependents = task.links.as_ref().map(|links| &links.dependents);
                assert!(dependents.is_none_or(Vec::is_empty), "{id}: all were told of its end");
                let is_needed = task.is_held || task.users() > 0 || task.heirs() > 0;
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
            let counters = match task.claim() {
                Claim::Values => &mut users,
                Claim::Heritage => &mut heirs,
                Claim::Nothing => continue,
            };
            for &dependency in task.dependencies() {
                *counters.entry(dependency).or_default() += 1;
            }
        }
        for (key, task) in self.tasks.iter() {
            let counted =
                |counters: &BTreeMap<TaskId, u32>| counters.get(&TaskId(key)).copied().unwrap_or(0);
            assert_eq!(task.users(), counted(&users), "{key}: its users are counted");
            assert_eq!(task.heirs(), counted(&heirs), "{key}: its heirs are counted");
        }
    }

    fn check_nodes(&self) {
        self.nodes.check_order();
        for (key, node) in self.nodes.iter() {
            let places = node.tasks.iter().map(|id| {
                let place = self.task(*id).place().expect("a node's tasks are assigned");
                assert_eq!(place.node, key, "{id}: it is on the node that lists it");
                (*id, place)
            });
            let places: Vec<_> = places.collect();
            let mut used = Resources::default();
            for (id, _) in places.iter().filter(|(_, place)| place.room == Room::Held) {
                let definition = self.task(*id).definition().expect("only tasks are assigned");
                used.add(&self.definition(definition).definition.resources);
            }
            let is_equal = used.without(&node.used) == used.without(&used)
                && node.used.without(&used) == node.used.without(&node.used);
            assert!(is_equal, "{}: what is used is used by tasks", node.id);
            let expected_us = |room| {
                let there = places.iter().filter(|(_, place)| place.room == room);
                there.map(|(_, place)| u64::from(place.expected_us)).sum::<u64>()
            };
            assert_eq!(expected_us(Room::Held), node.held_us, "{}: time of what runs", node.id);
            assert_eq!(expected_us(Room::Backlog), node.backlog_us, "{}: and waits", node.id);
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
        let mut all: BTreeMap<ClientKey, Totals> = BTreeMap::new();
        for (_, task) in self.tasks.iter() {
            let totals = all.entry(self.clients.root(task.client)).or_default();
            totals.ready += u64::from(matches!(task.state, State::Ready));
            let (Some(definition), Some(place)) = (task.definition(), task.place()) else {
                continue;
            };
            totals.assigned += 1;
            if place.room != Room::GivenBack {
                let cpus = self.definition(definition).definition.resources.cpus;
                totals.cpus = totals.cpus.plus(cpus);
            }
        }
        for (key, client) in self.clients.iter() {
            let id = client.id;
            let (ready, assigned) = (client.ready.len(), client.assigned);
            let counted = Totals { ready, assigned, cpus: client.cpus_in_use };
            assert_eq!(
                all.remove(&key).unwrap_or_default(),
                counted,
                "{id}: its tasks are counted"
            );
        }
    }

    /// Each client with ready tasks has its turn, and no other.
    fn check_turns(&self) {
        let ready = self.clients.iter().filter(|(_, client)| !client.ready.is_empty());
        let mut expected: Vec<Turn> = ready
            .map(|(key, client)| Turn { cpus_in_use: client.cpus_in_use, client: client.id, key })
            .collect();
        expected.sort_unstable();
        assert_eq!(self.turns.iter().collect::<Vec<_>>(), expected, "who has ready tasks");
    }

    /// Where nothing has happened since the last placement, none of those that go first has room.
    fn check_settled(&self) {
        if self.is_unsettled || self.nodes.have_changed {
            return;
        }
        let mut first = BTreeMap::new();
        for (key, task) in self.tasks.iter() {
            let (State::Ready, Some((rank, shape))) = (&task.state, self.standing(task)) else {
                continue;
            };
            let lane = (self.clients.root(task.client), shape, task.depth > 0);
            let order = (rank, task.age, TaskId(key));
            let best = first.entry(lane).or_insert(order);
            *best = order.min(*best);
        }
        // What may wait in a backlog may be missed: nodes of one bucket are not told apart, and what
        // went elsewhere in the same round changed which of them is looked at. Whatever ends on the
        // node, which runs something then, gets it looked at again.
        for ((_, shape, _), (_, _, id)) in first {
            let has_room = self.choose_for(id, shape).is_some_and(Choice::has_room);
            assert!(!has_room, "{id}: it has room and was not placed");
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

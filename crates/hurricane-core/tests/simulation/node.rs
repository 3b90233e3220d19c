//! A node's process: its machine, its end of the session, its store and its workers.

use std::collections::BTreeMap;
use std::mem;

use bytes::Bytes;
use hurricane_core::id::{
    Attempt, BootId, ConnectionId, NodeId, ObjectId, RunId, TaskId, WorkerId,
};
use hurricane_core::member::{FromNode, NodeDescription, ToNode};
use hurricane_core::message::{NodeToWorker, SchedulerToNode, Value};
use hurricane_core::node::{Action, Config, Event};
use hurricane_core::parts::{self, Joiner};
use hurricane_core::resources::Resources;
use hurricane_core::session::{self, EndReason, Frame, MAX_MESSAGES};
use hurricane_core::time::{Time, earliest};
use hurricane_core::{Node, Session};

use crate::checks::{Key, Ledger, decode_key};
use crate::cluster::{Happening, Place, World};
use crate::network::{End, Parcel};
use crate::program::any_resources;
use crate::reads::Reading;
use crate::scheduler::{new_joiner, taken};
use crate::worker::{Worker, WorkerName, WorkerStep};

/// The process. After its end it stays in the list, so that a place means one process.
pub(crate) struct NodeProcess {
    name: Box<str>,
    pub(crate) resources: Resources,
    pub(crate) is_alive: bool,
    /// Whether it has said that it will leave.
    pub(crate) is_leaving: bool,
    /// Its id and its machine, once it has joined.
    membership: Option<(NodeId, Node)>,
    /// What has happened, and its machine will be told at once.
    heard: Vec<Event>,
    session: Session,
    joiner: Joiner,
    pub(crate) store: BTreeMap<ObjectId, Bytes>,
    /// What it reads through the scheduler.
    pub(crate) readings: BTreeMap<u64, Reading>,
    pub(crate) readings_made: u64,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    /// The attempt of each task that it was last assigned.
    pub(crate) assigned: BTreeMap<Key, (TaskId, Attempt)>,
    /// How often it was assigned each task, less how often it ran it.
    unused: BTreeMap<Key, u64>,
    /// What each worker was last sent, and when.
    sent: BTreeMap<WorkerId, (Key, Time)>,
    /// Whether the next worker may fail to start. Several failures in a row are no accident.
    pub(crate) may_fail_start: bool,
}

impl NodeProcess {
    pub(crate) fn deadline(&self) -> Option<Time> {
        let machine = self.machine().and_then(Node::deadline);
        earliest(machine, self.session.deadline())
    }

    pub(crate) fn holds_nothing(&self) -> bool {
        self.machine().is_none_or(Node::is_idle)
    }

    fn is(&self, node: NodeId) -> bool {
        self.is_alive && self.membership.as_ref().is_some_and(|(id, _)| *id == node)
    }

    fn machine(&self) -> Option<&Node> {
        self.membership.as_ref().map(|(_, machine)| machine)
    }

    pub(crate) fn describe(&self) -> String {
        format!("{}, store {:?}, {:?}", self.name, self.store.keys(), self.membership)
    }

    pub(crate) fn check(&self, ledger: &Ledger) {
        if !self.is_alive {
            return;
        }
        self.machine().into_iter().for_each(Node::sanity_check);
        self.session.sanity_check();
        assert!(self.session.unacknowledged() < MAX_MESSAGES, "queues are bounded");
        let mut used = Resources::default();
        for key in self.workers.values().filter_map(Worker::holds_room_for) {
            used.add(&ledger.get(key).kind.resources);
        }
        assert!(self.resources.covers(&used), "{} runs more than it has: {used}", self.name);
    }
}

impl World {
    /// Starts a node of any size.
    pub(crate) fn on_node_starts(&mut self) {
        let resources = any_resources(&mut self.dice);
        self.start_node(resources);
    }

    pub(crate) fn start_node(&mut self, resources: Resources) {
        let index = self.nodes.len();
        let name: Box<str> = format!("node-{index}").into();
        self.note(format_args!("{name} starts with {resources}"));
        self.nodes.push(NodeProcess {
            name: name.clone(),
            resources: resources.clone(),
            is_alive: true,
            is_leaving: false,
            membership: None,
            heard: Vec::new(),
            joiner: new_joiner(),
            session: Session::dial(BootId(self.dice.roll())),
            store: BTreeMap::new(),
            readings: BTreeMap::new(),
            readings_made: 0,
            workers: BTreeMap::new(),
            assigned: BTreeMap::new(),
            unused: BTreeMap::new(),
            sent: BTreeMap::new(),
            may_fail_start: true,
        });
        let description =
            NodeDescription { resources, key: [0; 32], addresses: Vec::new(), port: 0, host: name };
        self.send_from_node(index, &FromNode::Join(description));
    }

    /// A node says that it will leave, and goes on until it is let go.
    pub(crate) fn drain_node(&mut self, index: usize) {
        if !self.nodes[index].is_leaving {
            self.nodes[index].is_leaving = true;
            self.send_from_node(index, &FromNode::Leave);
        }
    }

    /// A node's process ends, and its workers with it.
    pub(crate) fn end_node(&mut self, index: usize, is_told: bool) {
        let node = &mut self.nodes[index];
        node.is_alive = false;
        node.workers.clear();
        self.pauses.remove(&Place::Node(index));
        self.network.abandon(self.now, Place::Node(index), is_told, &mut self.agenda);
    }

    /// A node leaves, without waiting for anything.
    pub(crate) fn leave_node(&mut self, index: usize) {
        self.tell_node_session(index, session::Event::End(EndReason::Closed));
    }

    pub(crate) fn tick_node(&mut self, index: usize) {
        let node = &self.nodes[index];
        let is_due = |deadline: Option<Time>| deadline.is_some_and(|due| due <= self.now);
        let (machine, session) = (node.machine().and_then(Node::deadline), node.session.deadline());
        let (machine, session) = (is_due(machine), is_due(session));
        if machine {
            self.tell_node(index, Event::Tick);
        }
        if session {
            self.tell_node_session(index, session::Event::Tick);
        }
    }

    pub(crate) fn on_arrival_at_node(
        &mut self,
        index: usize,
        connection: ConnectionId,
        parcel: Parcel,
    ) {
        self.tell_node_session(index, parcel.event(connection));
    }

    pub(crate) fn on_node_hears(&mut self, index: usize, event: Event) {
        self.tell_node(index, event);
    }

    /// A copy is here at once if its holder lives and both can be reached; else it comes through the
    /// scheduler. Now and then a node gives up too early.
    pub(crate) fn on_fetch_ends(&mut self, index: usize, object: ObjectId) {
        if !self.nodes[index].is_alive {
            return;
        }
        if !self.network.is_healed() && self.dice.chance(20) {
            return self.end_fetch(index, object, None);
        }
        let holder = self.nodes.iter().position(|node| node.is(object.node));
        let is_reached = |node| self.network.is_up(self.now, Place::Node(node));
        let bytes = holder
            .filter(|holder| is_reached(*holder) && is_reached(index))
            .and_then(|holder| self.nodes[holder].store.get(&object).cloned());
        match bytes {
            Some(bytes) => self.end_fetch(index, object, Some(bytes)),
            None => self.fetch_through_scheduler(index, object),
        }
    }

    pub(crate) fn end_fetch(&mut self, index: usize, object: ObjectId, bytes: Option<Bytes>) {
        let is_here = bytes.is_some();
        if let Some(bytes) = bytes {
            self.nodes[index].store.insert(object, bytes);
        }
        self.tell_node(index, Event::Fetched { object, is_here });
    }

    /// The bytes of an object, if the node that holds it lives.
    pub(crate) fn stored_bytes(&self, object: ObjectId) -> Option<&Bytes> {
        if object.node == NodeId::SCHEDULER {
            return self.scheduler.store.get(&object.number);
        }
        let holder = self.nodes.iter().find(|node| node.is(object.node));
        holder?.store.get(&object)
    }

    fn tell_node_session(&mut self, index: usize, event: session::Event) {
        let node = &mut self.nodes[index];
        if !node.is_alive {
            return;
        }
        let mut actions = Vec::new();
        node.session.handle(self.now, event, &mut actions);
        for action in actions {
            self.do_for_node_session(index, action);
        }
    }

    fn do_for_node_session(&mut self, index: usize, action: session::Action) {
        let place = Place::Node(index);
        match action {
            session::Action::Dial { connection } => self.dial(place, connection),
            session::Action::Transmit { connection, frame } => {
                let connection = self.network.index(place, connection);
                self.transmit(connection, End::Listener, frame);
            }
            session::Action::Close { connection, violation } => {
                assert_eq!(violation, None, "the scheduler keeps to the protocol");
                self.hang_up(self.network.index(place, connection), End::Dialer);
            }
            session::Action::Began => {}
            session::Action::Deliver(payload) => {
                let told = taken(&mut self.nodes[index].joiner, &payload);
                if let Some(told) = told.expect("the scheduler keeps to the protocol") {
                    self.on_node_told(index, told);
                }
            }
            session::Action::Ended(reason) => self.on_node_session_ended(index, &reason),
        }
    }

    fn on_node_told(&mut self, index: usize, told: ToNode) {
        match told {
            ToNode::Joined { node: id, name, .. } => self.on_node_joined(index, id, name),
            ToNode::Scheduling(message) => {
                self.note_assignment(index, &message);
                self.tell_node(index, Event::FromScheduler(message));
            }
            ToNode::MayLeave => {
                let node = &self.nodes[index];
                assert!(node.is_leaving, "{}", node.describe());
                self.leave_node(index);
            }
            ToNode::Read(read) => self.on_read_at_node(index, read),
            ToNode::Piece(piece) => self.on_piece_at_node(index, &piece),
            ToNode::Here(_) | ToNode::Gone(_) | ToNode::Found(_) => {
                unreachable!("nodes are told of no others, and ask for none")
            }
        }
    }

    fn on_node_joined(&mut self, index: usize, id: NodeId, name: Box<str>) {
        let node = &mut self.nodes[index];
        let config = Config { id, name, resources: node.resources.clone(), queues_after: Some(1) };
        node.membership = Some((id, Node::new(config)));
    }

    /// What a node ran for a session ends with that; unless it was to leave, it looks for its
    /// scheduler anew.
    fn on_node_session_ended(&mut self, index: usize, reason: &EndReason) {
        self.note(format_args!("session of node-{index} ended: {reason}"));
        let resources = self.nodes[index].resources.clone();
        self.end_node(index, true);
        if *reason != EndReason::Closed && !self.nodes[index].is_leaving {
            self.start_node(resources);
        }
    }

    fn note_assignment(&mut self, index: usize, message: &SchedulerToNode) {
        if let SchedulerToNode::Assign { task, attempt, arguments, .. } = message {
            let node = &mut self.nodes[index];
            let key = decode_key(arguments);
            let last = node.assigned.insert(key, (*task, *attempt));
            assert!(last.is_none_or(|(_, last)| last < *attempt), "attempts of {key:?} grow");
            *node.unused.entry(key).or_default() += 1;
        }
    }

    /// Now and then the machine is told a little later, with what happens until then.
    fn tell_node(&mut self, index: usize, event: Event) {
        if !self.nodes[index].is_alive {
            return;
        }
        let is_told_later = event != Event::Tick && self.dice.chance(20);
        self.nodes[index].heard.push(event);
        if is_told_later {
            let delay = self.dice.micros(0, 200);
            return self.after(delay, Happening::NodeHasItsTurn { node: index });
        }
        self.on_node_has_its_turn(index);
    }

    pub(crate) fn on_node_has_its_turn(&mut self, index: usize) {
        let Self { trace, nodes, .. } = self;
        let node = &mut nodes[index];
        let events = mem::take(&mut node.heard);
        if !node.is_alive || events.is_empty() {
            return;
        }
        trace.note(self.now, format_args!("{} <- {events:?}", node.name));
        let mut actions = Vec::new();
        let Some((_, machine)) = &mut node.membership else { return };
        machine.handle_all(self.now, events, &mut actions);
        for action in actions {
            self.do_for_node(index, action);
        }
    }

    fn do_for_node(&mut self, index: usize, action: Action) {
        match action {
            Action::ToScheduler(message) => {
                self.send_from_node(index, &FromNode::Scheduling(message));
            }
            Action::StartWorker { worker, .. } => self.start_worker(index, worker),
            Action::ToWorker { worker, message } => self.send_to_worker(index, worker, message),
            Action::Revoke { worker, last } => self.revoke_queue(index, worker, last),
            Action::KillWorker { worker, dump_stack } => {
                if dump_stack {
                    self.note_timeout(index, worker);
                }
                let name = WorkerName { node: index, worker };
                self.after_worker_delay(name, WorkerStep::IsKilled { dump_stack });
            }
            Action::Store { object: number, bytes } => {
                let node = &mut self.nodes[index];
                let (id, _) = node.membership.as_ref().expect("its machine speaks");
                let last = node.store.insert(ObjectId { node: *id, number }, bytes);
                assert_eq!(last, None, "objects are named once");
            }
            Action::Drop { object } => {
                let last = self.nodes[index].store.remove(&object);
                assert!(last.is_some(), "what is dropped was there: {object:?}");
            }
            Action::Fetch { object } => {
                let delay = self.dice.micros(100, 5000);
                self.after(delay, Happening::FetchEnds { node: index, object });
            }
        }
    }

    fn start_worker(&mut self, index: usize, worker: WorkerId) {
        let fails =
            self.plan.workers_fail && self.nodes[index].may_fail_start && self.dice.chance(10);
        self.nodes[index].may_fail_start &= !fails;
        if fails && self.dice.chance(50) {
            let event = Event::WorkerNotStarted { worker, reason: "no memory".into() };
            let delay = self.dice.micros(10, 100);
            return self.after(delay, Happening::NodeHears { node: index, event });
        }
        let last = self.nodes[index].workers.insert(worker, Worker::new());
        assert!(last.is_none(), "workers are named once");
        let name = WorkerName { node: index, worker };
        let delay = self.dice.millis(1, 40);
        let step = if fails { WorkerStep::Dies } else { WorkerStep::IsSetUp };
        self.after(delay, Happening::Worker { name, step });
    }

    fn send_to_worker(&mut self, index: usize, worker: WorkerId, message: NodeToWorker) {
        let message = self.with_bytes(index, message);
        if let NodeToWorker::Run { run, arguments, .. } = &message {
            self.note_run(index, worker, (*run, decode_key(arguments)));
        }
        if let Some(process) = self.nodes[index].workers.get_mut(&worker)
            && matches!(message, NodeToWorker::Granted)
        {
            process.has_room = true;
        }
        let name = WorkerName { node: index, worker };
        self.after_worker_delay(name, WorkerStep::Hears(message));
    }

    /// Puts the bytes of stored values in their place.
    fn with_bytes(&self, index: usize, message: NodeToWorker) -> NodeToWorker {
        let store = &self.nodes[index].store;
        let bytes_of = |value: Value| match value {
            Value::Stored(stored) => {
                let bytes = store.get(&stored.object);
                Value::Inline(bytes.expect("what a run gets is in the store").clone())
            }
            inline @ Value::Inline(_) => inline,
        };
        match message {
            NodeToWorker::Run { run, definition, arguments, inputs } => {
                let inputs = inputs.into_iter().map(bytes_of).collect();
                NodeToWorker::Run { run, definition, arguments, inputs }
            }
            NodeToWorker::Object { object, value } => {
                NodeToWorker::Object { object, value: value.map(bytes_of) }
            }
            other => other,
        }
    }

    /// An attempt is sent once, and again only after it was not begun, or its answer was lost.
    fn note_run(&mut self, index: usize, worker: WorkerId, (run, key): (RunId, Key)) {
        let node = &mut self.nodes[index];
        let unused = node.unused.get_mut(&key).filter(|unused| **unused > 0);
        *unused.expect("each run was assigned") -= 1;
        node.sent.insert(worker, (key, self.now));
        match node.workers.get_mut(&worker) {
            Some(process) => process.take_run(run, key),
            // Its death is on its way to the node, to which this is as good as not sent; but if that
            // happens again and again, the task is to blame.
            None => self.give_run_back(index, key),
        }
    }

    /// What was sent has not begun, or its answer was lost: it may be sent again.
    pub(crate) fn give_run_back(&mut self, index: usize, key: Key) {
        *self.nodes[index].unused.entry(key).or_default() += 1;
        self.ledger.get_mut(key).false_starts += 1;
    }

    /// The ledger is shared memory: what it says holds at once, whatever is on its way.
    fn revoke_queue(&mut self, index: usize, worker: WorkerId, last: RunId) {
        let Some(process) = self.nodes[index].workers.get_mut(&worker) else { return };
        let (begun, keys) = process.declare_void(last);
        for key in keys {
            *self.nodes[index].unused.entry(key).or_default() += 1;
        }
        let delay = self.dice.micros(0, 50);
        let event = Event::Revoked { worker, last, begun };
        self.after(delay, Happening::NodeHears { node: index, event });
    }

    /// What is killed for its time has had that time.
    fn note_timeout(&mut self, index: usize, worker: WorkerId) {
        let (key, began) = self.nodes[index].sent[&worker];
        let record = self.ledger.get_mut(key);
        record.timed_out += 1;
        let timeout = record.kind.timeout.expect("only a timeout wants a stack");
        assert!(self.now.since(began) >= timeout, "{key:?} had not run for {timeout:?}");
    }

    pub(crate) fn send_from_node(&mut self, index: usize, message: &FromNode) {
        for part in parts::cut(message) {
            self.tell_node_session(index, session::Event::Send(part));
        }
    }
}

impl Parcel {
    /// What it is to the session at the dialer's end.
    pub(crate) fn event(self, connection: ConnectionId) -> session::Event {
        match self {
            Self::Opened => session::Event::Opened { connection },
            Self::Frame(frame @ Frame::Hello(_)) => panic!("a dialer gets no {frame:?}"),
            Self::Frame(frame) => session::Event::Received { connection, frame },
            Self::Closed => session::Event::Closed { connection },
        }
    }
}

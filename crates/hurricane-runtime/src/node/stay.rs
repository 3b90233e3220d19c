//! One session of a node with its scheduler, from the first dial to its end: its state machine, and
//! what must be done in the world.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hurricane_core::id::{BootId, NodeId, ObjectId};
use hurricane_core::member::{FromNode, ToNode};
use hurricane_core::message::NodeToScheduler;
use hurricane_core::node::{self, Action, Node};
use hurricane_core::session::EndReason;
use hurricane_core::time::{Time, micros};
use tokio::sync::watch;
use tokio::time::timeout;

use super::crew::Crew;
use super::member::Member;
use super::service::Common;
use super::{Report, Wish};
use crate::dialing::{DialError, Reached};
use crate::inbox::Inbox;
use crate::randomness::unique_number;
use crate::transfer::{Asker, Relay};
use crate::uplink::{self, Uplink};

/// After so many turns, whatever else the thread has to do comes first.
const TURNS_IN_A_ROW: u32 = 16;

/// How long a node that ends waits until what it has said has arrived: an idle peer acknowledges
/// after a quarter of a second.
const FAREWELL: Duration = Duration::from_secs(1);

/// While more is ready here than the workers have, the ends of short tasks wait so long for each
/// other: each time that some are sent, the scheduler and a client wake for them. A third of what a
/// node has to do by then, so that it gets more in time.
const GATHERED_FOR: Duration = Duration::from_millis(10);

/// So many are sent at once: a quarter of what a node has to do of tasks that take next to no time,
/// so that it gets more in time.
const MANY_GATHERED: u32 = 256;

/// Of tasks that take longer than this too few would gather.
const LONGEST_GATHERED: Duration = Duration::from_millis(2);

/// How a session has ended.
pub(super) enum End {
    /// As somebody here wished.
    Wished,
    /// Otherwise.
    Over(EndReason),
    /// The scheduler does not let this node in any more.
    Refused(DialError),
}

/// What happened.
enum Input {
    Uplink(uplink::Event<ToNode>),
    Node(node::Event),
}

/// It.
pub(super) struct Stay<'a> {
    member: &'a mut Member,
    common: Rc<Common>,
    inbox: Rc<Inbox<Input>>,
    uplink: Rc<Uplink<ToNode>>,
    relay: Rc<Relay>,
    reached: Option<Reached>,
    joined: Option<Joined>,
    /// How many ends of tasks were sent since one that did not wait for others.
    gathered: Cell<u32>,
    wish: watch::Receiver<Wish>,
    /// The scheduler was told that this node wants to leave.
    is_leaving: bool,
    /// The scheduler has nothing more for it.
    may_leave: bool,
}

/// What there is once the node is a member.
struct Joined {
    id: NodeId,
    machine: Node,
    began: Instant,
    crew: Crew,
    actions: Vec<Action>,
}

impl<'a> Stay<'a> {
    /// Begins to look for the scheduler.
    pub(super) fn begin(member: &'a mut Member) -> Self {
        let common = Rc::clone(&member.common);
        let inbox = Rc::new(Inbox::new());
        let telling = Rc::clone(&inbox);
        let tell = Box::new(move |event| telling.push(Input::Uplink(event)));
        let boot = BootId(unique_number());
        let uplink = Rc::new(Uplink::start(Rc::clone(&common.dialer), boot, tell));
        let asking = Rc::clone(&uplink);
        let relay = Relay::new(Box::new(move |message| asking.send(&message)));
        let wish = common.wish.clone();
        let (reached, joined, gathered) = (None, None, Cell::default());
        let (is_leaving, may_leave) = (false, false);
        Self {
            member,
            common,
            inbox,
            uplink,
            relay,
            reached,
            joined,
            gathered,
            wish,
            is_leaving,
            may_leave,
        }
    }

    /// Stays until the session ends or is ended, and leaves nothing of it behind. Also tells whether
    /// the node was a member.
    pub(super) async fn run(mut self) -> (End, bool) {
        let end = self.stay().await;
        if !self.uplink.is_over() {
            self.say_farewell().await;
        }
        let was_member = self.joined.is_some();
        if let Some(joined) = self.joined.take() {
            joined.crew.kill_all().await;
            self.relay.close();
            self.common.transfer.roster().leave(joined.id);
            self.common.transfer.forget(joined.id);
        }
        (end, was_member)
    }

    async fn stay(&mut self) -> End {
        let mut inputs = Vec::new();
        let mut turns = 0_u32;
        loop {
            if let Some(end) = self.turn(&mut inputs) {
                return end;
            }
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(TURNS_IN_A_ROW) {
                tokio::task::yield_now().await;
            }
            self.wait().await;
        }
    }

    /// Has everything handled that came in, and does what follows from it.
    fn turn(&mut self, inputs: &mut Vec<Input>) -> Option<End> {
        self.inbox.take(inputs);
        for input in inputs.drain(..) {
            match input {
                Input::Uplink(event) => {
                    let end = self.on_uplink(event);
                    if end.is_some() {
                        return end;
                    }
                }
                Input::Node(event) => self.apply(event),
            }
        }
        self.tick_if_due();
        if let Some(joined) = &self.joined {
            joined.crew.flush();
        }
        self.follow_wish()
    }

    async fn wait(&mut self) {
        let deadline = self.joined.as_ref().and_then(Joined::deadline);
        let something = async {
            tokio::select! {
                () = self.inbox.arrived() => {}
                // What is wished is looked at in each turn.
                _ = self.wish.changed() => {}
            }
        };
        match deadline {
            None => something.await,
            Some(deadline) => {
                let _ = tokio::time::timeout_at(deadline.into(), something).await;
            }
        }
    }

    fn follow_wish(&mut self) -> Option<End> {
        let wish = *self.wish.borrow_and_update();
        match wish {
            Wish::Stay => None,
            Wish::Drain if self.joined.is_some() => {
                if !self.is_leaving {
                    self.is_leaving = true;
                    self.uplink.send(&FromNode::Leave);
                }
                (self.may_leave && !self.has_unfetched()).then_some(End::Wished)
            }
            Wish::Drain | Wish::Stop => Some(End::Wished),
        }
    }

    /// Whether results lie here that somebody has still to fetch, and that it is worth waiting for.
    fn has_unfetched(&self) -> bool {
        let crew = self.joined.as_ref().map(|joined| &joined.crew);
        crew.is_some_and(Crew::ends_with_its_work) && !self.common.store.is_empty()
    }

    fn on_uplink(&mut self, event: uplink::Event<ToNode>) -> Option<End> {
        match event {
            uplink::Event::Began => {
                let description = self.common.describe(self.member.resources.clone());
                self.uplink.send(&FromNode::Join(description));
                None
            }
            uplink::Event::Message(message) => {
                self.on_message(message);
                None
            }
            uplink::Event::Reached(reached) => {
                self.reached = Some(reached);
                self.member.note_reached();
                None
            }
            uplink::Event::NotReached(error) if self.joined.is_some() && error.is_refusal() => {
                Some(End::Refused(error))
            }
            uplink::Event::NotReached(error) => {
                self.member.report_not_reached(error);
                None
            }
            uplink::Event::Ended(reason) => Some(End::Over(reason)),
        }
    }

    fn on_message(&mut self, message: ToNode) {
        if let ToNode::Joined { node, name, cluster } = message {
            return self.on_joined(node, name, cluster);
        }
        let Some(joined) = &self.joined else {
            return self.refuse("the scheduler spoke before it had let this node in");
        };
        match message {
            ToNode::Joined { .. } => unreachable!("it was dealt with"),
            ToNode::Scheduling(message) => self.apply(node::Event::FromScheduler(message)),
            ToNode::MayLeave => self.may_leave = self.is_leaving,
            ToNode::Here(place) => self.common.transfer.roster().here(joined.id, place),
            ToNode::Gone(node) => self.common.transfer.roster().gone(joined.id, node),
            ToNode::Read(read) => {
                let piece = self.common.transfer.answer(read);
                self.uplink.send_later(FromNode::Piece(piece));
            }
            ToNode::Piece(piece) => self.relay.on_piece(piece),
            ToNode::Found(found) => self.relay.on_found(found),
        }
    }

    fn on_joined(&mut self, id: NodeId, name: Box<str>, cluster: Box<str>) {
        if self.joined.is_some() {
            return self.refuse("the scheduler let this node in twice");
        }
        let inbox = Rc::clone(&self.inbox);
        let report = Box::new(move |event| inbox.push(Input::Node(event)));
        let crew = Crew::new(&self.common, self.member, name.clone(), report);
        let resources = self.member.resources.clone();
        let queues_after = crew.has_queues().then_some(node::QUEUES_AFTER);
        let machine = Node::new(node::Config { id, name: name.clone(), resources, queues_after });
        let (began, actions) = (Instant::now(), Vec::new());
        self.joined = Some(Joined { id, machine, began, crew, actions });
        self.common.transfer.roster().enter(id);
        let reached = self.reached.clone().expect("messages come over connections");
        self.member.report(Report::Joined { name, cluster, reached });
    }

    /// Ends a session in which the scheduler says what makes no sense.
    fn refuse(&self, reason: &str) {
        self.uplink.end(EndReason::Refused(reason.into()));
    }

    fn tick_if_due(&mut self) {
        let deadline = self.joined.as_ref().and_then(Joined::deadline);
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.apply(node::Event::Tick);
        }
    }

    fn apply(&mut self, event: node::Event) {
        let Some(joined) = &mut self.joined else { return };
        joined.machine.handle(Time(micros(joined.began.elapsed())), event, &mut joined.actions);
        let mut actions = std::mem::take(&mut joined.actions);
        for action in actions.drain(..) {
            self.carry_out(action);
        }
        if let Some(joined) = &mut self.joined {
            joined.actions = actions;
        }
    }

    fn carry_out(&self, action: Action) {
        let Some(Joined { id, crew, .. }) = &self.joined else { return };
        match action {
            Action::ToScheduler(message) => self.tell_scheduler(message),
            Action::StartWorker { worker, kind } => crew.start(worker, &kind),
            Action::ToWorker { worker, message } => crew.tell(worker, message),
            Action::Revoke { worker, last } => {
                if let Some(revoked) = crew.revoke(worker, last) {
                    self.inbox.push(Input::Node(revoked));
                }
            }
            Action::KillWorker { worker, dump_stack } => crew.kill(worker, dump_stack),
            Action::Store { object, bytes } => {
                self.common.store.insert(*id, ObjectId { node: *id, number: object }, bytes);
            }
            Action::Drop { object } => self.common.store.remove(*id, object),
            Action::Fetch { object } => self.fetch(*id, object),
        }
    }

    fn tell_scheduler(&self, message: NodeToScheduler) {
        if let NodeToScheduler::SetupFailed { error } = &message {
            self.member.report(Report::SetupFailed(error.clone()));
        }
        let may_wait = is_of_short_task(&message)
            && self.joined.as_ref().is_some_and(|joined| joined.machine.has_ready_tasks());
        let message = FromNode::Scheduling(message);
        if may_wait && self.gathered.get() < MANY_GATHERED {
            self.gathered.set(self.gathered.get() + 1);
            self.uplink.send_within(GATHERED_FOR, &message);
        } else {
            self.gathered.set(0);
            self.uplink.send(&message);
        }
    }

    fn fetch(&self, node: NodeId, object: ObjectId) {
        let inbox = Rc::clone(&self.inbox);
        let done = Rc::new(move |object, is_here| {
            inbox.push(Input::Node(node::Event::Fetched { object, is_here }));
        });
        let relay = Rc::clone(&self.relay);
        self.common.transfer.fetch(Asker { node, relay, done }, object);
    }

    /// Has what was said arrive, for a while, and says that this was all.
    async fn say_farewell(&self) {
        if self.joined.is_some() {
            let _ = timeout(FAREWELL, self.uplink.acknowledged()).await;
        }
        self.uplink.end(EndReason::Closed);
        let _ = timeout(FAREWELL, self.uplink.flushed()).await;
    }
}

/// Whether it is the end of a task of which there are many in a while.
fn is_of_short_task(message: &NodeToScheduler) -> bool {
    matches!(message, NodeToScheduler::Finished { ran, .. } if *ran <= LONGEST_GATHERED)
}

impl Joined {
    fn deadline(&self) -> Option<Instant> {
        Some(self.began + self.machine.deadline()?.since(Time::default()))
    }
}

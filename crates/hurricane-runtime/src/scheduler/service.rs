//! The thread of a scheduler: waits for what happens, has it decided, and does what must be done on
//! the connections.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hurricane_core::id::ConnectionId;
use hurricane_core::snapshot::{ClusterSnapshot, MemberSnapshot, Snapshot};
use hurricane_core::time::{Time, micros};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::listening::Listening;
use super::members::{Caller, Effect, Input, Members};
use super::refusals::Refusals;
use super::roll::Roll;
use super::{Command, Report, ServerConfig, ServerError, Shared};
use crate::discovery::{Announcement, DiscoveryError};
use crate::enrolment::{Invitation, Invitations};
use crate::framed::{BoxedStream, Framed};
use crate::greeting::{Greeting, Side};
use crate::identity::{Authorized, KeyPair, Name, PublicKey, Roles};
use crate::platform::hold::Hold;
use crate::platform::machine;
use crate::strangers::Strangers;
use crate::ticket::{Secret, Ticket};
use crate::tls::Doors;
use crate::transfer::own_addresses;

/// How long members may take to hear that the scheduler ends.
const GOODBYE: Duration = Duration::from_secs(1);

/// What the thread is born with.
pub(super) struct Start {
    pub(super) config: ServerConfig,
    pub(super) key: KeyPair,
    pub(super) authorized: Authorized,
    pub(super) listening: Listening,
    pub(super) announcement: Option<Result<Announcement, DiscoveryError>>,
    pub(super) report: Box<dyn Fn(Report) + Send>,
    pub(super) members: Members,
    pub(super) shared: Arc<Shared>,
    /// The right to run this cluster.
    pub(super) running: Hold,
}

/// The thread's state.
pub(super) struct Service {
    pub(super) config: ServerConfig,
    key: KeyPair,
    port: u16,
    listens_at: Vec<SocketAddr>,
    began: Instant,
    shared: Arc<Shared>,
    report: Box<dyn Fn(Report) + Send>,
    pub(super) greeting: Greeting,
    pub(super) doors: Doors,
    pub(super) roll: Roll,
    pub(super) strangers: RefCell<Strangers>,
    pub(super) invitations: RefCell<Invitations>,
    refusals: RefCell<Refusals>,
    members: RefCell<Members>,
    connections: RefCell<BTreeMap<ConnectionId, Framed>>,
    /// Connections that are closed from here, until what was sent is on its way.
    closing: RefCell<Vec<JoinHandle<()>>>,
    last_connection: Cell<u64>,
    effects: RefCell<Vec<Effect>>,
    /// The deadline may have come nearer.
    changed: Notify,
}

/// Serves until it is told to stop. To be run in a tokio `LocalSet`.
pub(super) async fn serve(start: Start) {
    let Start { config, key, authorized, listening, announcement, .. } = start;
    let Start { report, mut members, shared, running, .. } = start;
    let roll = Roll::new(authorized, Name::near(&machine::name()));
    members.set_names_of_keys(roll.names());
    let service = Rc::new(Service {
        greeting: Greeting::own(Side::Scheduler, config.python_minor),
        doors: Doors::new(&key, roll.keys()),
        roll,
        port: listening.port,
        listens_at: listening.addresses(),
        config,
        key,
        began: Instant::now(),
        shared,
        report,
        strangers: RefCell::default(),
        invitations: RefCell::default(),
        refusals: RefCell::default(),
        members: RefCell::new(members),
        connections: RefCell::default(),
        closing: RefCell::default(),
        last_connection: Cell::new(0),
        effects: RefCell::default(),
        changed: Notify::new(),
    });
    let announcement = announcement.and_then(|announced| match announced {
        Ok(announcement) => Some(announcement),
        Err(error) => {
            service.report(Report::NotAnnounced(error));
            None
        }
    });
    let accepting = service.accept(listening);
    let ticking = tokio::task::spawn_local(Rc::clone(&service).tick()).abort_handle();
    service.obey().await;
    drop(announcement);
    for accepting in accepting {
        accepting.abort();
        // With it, what it listens at is gone.
        let _ = accepting.await;
    }
    ticking.abort();
    service.say_goodbye().await;
    // From here on another may start. Those who wait for the end of a connection hear of it after.
    drop(running);
}

impl Service {
    fn accept(self: &Rc<Self>, listening: Listening) -> Vec<JoinHandle<()>> {
        let Listening { listeners, local, .. } = listening;
        let mut accepting = Vec::new();
        for listener in listeners {
            let listener = tokio::net::TcpListener::from_std(listener);
            let listener = listener.expect("it is a socket, and this is a loop for sockets");
            let accept = Rc::clone(self).accept_from_network(listener);
            accepting.push(tokio::task::spawn_local(accept));
        }
        let service = Rc::clone(self);
        accepting.push(tokio::task::spawn_local(async move {
            // Kept to the end: with it goes the socket's place in the directory.
            let local = local;
            let listener = local.listener();
            let listener = listener.expect("it is a socket, and this is a loop for sockets");
            service.accept_from_here(listener).await;
        }));
        accepting
    }

    /// Does what the server's handle asks, until that is to stop.
    async fn obey(&self) {
        let mut commands = Vec::new();
        loop {
            self.shared.inbox.take(&mut commands);
            for command in commands.drain(..) {
                match command {
                    Command::Stop => return,
                    // Who does not wait for the answer any more needs none.
                    Command::Invite { uses, ttl, roles, answer } => {
                        let _ = answer.send(self.invite(uses, ttl, roles));
                    }
                    Command::Snapshot { answer } => {
                        let _ = answer.send(self.snapshot(true));
                    }
                }
            }
            self.shared.inbox.arrived().await;
        }
    }

    pub(super) fn stop(&self) {
        self.shared.inbox.push(Command::Stop);
    }

    async fn say_goodbye(&self) {
        self.apply(Input::Stopping);
        let closing = std::mem::take(&mut *self.closing.borrow_mut());
        let all = async {
            for connection in closing {
                // Whether it could be sent is nothing that can be helped.
                let _ = connection.await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE, all).await;
    }

    pub(super) fn now(&self) -> Time {
        Time(micros(self.began.elapsed()))
    }

    async fn tick(self: Rc<Self>) {
        loop {
            let deadline = self.members.borrow().deadline();
            let changed = self.changed.notified();
            match deadline {
                None => changed.await,
                Some(deadline) => {
                    let due = self.began + deadline.since(Time::default());
                    if tokio::time::timeout_at(due.into(), changed).await.is_err() {
                        self.apply(Input::Tick);
                    }
                }
            }
        }
    }

    /// Takes a connection in whose two sides have greeted.
    pub(super) fn open(self: &Rc<Self>, stream: BoxedStream, caller: Caller) {
        let connection = ConnectionId(self.last_connection.get() + 1);
        self.last_connection.set(connection.0);
        let service = Rc::clone(self);
        let hear = move |incoming| service.apply(Input::Incoming { connection, incoming });
        let framed = Framed::carry(stream, hear);
        self.connections.borrow_mut().insert(connection, framed);
        self.apply(Input::Opened { connection, caller });
    }

    /// Has the members hear of something, and does what follows. What is sent goes out when the loop
    /// has heard all else that came in.
    pub(super) fn apply(&self, input: Input) {
        let mut members = self.members.borrow_mut();
        let mut effects = self.effects.take();
        let before = members.deadline();
        members.handle(self.now(), input, &mut effects);
        let after = members.deadline();
        drop(members);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.changed.notify_one();
        }
        for effect in effects.drain(..) {
            self.carry_out(effect);
        }
        self.effects.replace(effects);
    }

    fn carry_out(&self, effect: Effect) {
        match effect {
            Effect::Send { connection, frame } => {
                if let Some(framed) = self.connections.borrow().get(&connection) {
                    framed.send(&frame);
                }
            }
            Effect::Close { connection } => {
                let Some(framed) = self.connections.borrow_mut().remove(&connection) else {
                    return;
                };
                let mut closing = self.closing.borrow_mut();
                closing.retain(|connection| !connection.is_finished());
                closing.push(framed.close());
            }
            Effect::Report(Report::Refused { address, reason }) => self.refuse(&address, &reason),
            Effect::Report(report) => self.report(report),
        }
    }

    pub(super) fn report(&self, report: Report) {
        (self.report)(report);
    }

    /// Tells people of somebody who was not let in, if not too many were lately.
    pub(super) fn refuse(&self, address: &str, reason: &str) {
        let Some(untold) = self.refusals.borrow_mut().count(self.now()) else { return };
        let mut reason = reason.to_owned();
        if untold > 0 {
            reason = format!("{reason} (and {untold} more refusals before)");
        }
        self.report(Report::Refused { address: address.into(), reason: reason.into() });
    }

    pub(super) fn invite(
        &self,
        uses: u32,
        ttl: Duration,
        roles: Roles,
    ) -> Result<Ticket, ServerError> {
        let secret = Secret::generate().ok_or(ServerError::NoRandomness)?;
        let invitation = Invitation { secret: secret.clone(), roles, uses, ttl };
        self.invitations.borrow_mut().invite(self.now(), invitation)?;
        let scheduler = self.key.public().fingerprint();
        Ok(Ticket { scheduler, secret, roles, port: self.port })
    }

    /// Has nodes called otherwise than keys, after those have changed.
    pub(super) fn note_names(&self) {
        self.members.borrow_mut().set_names_of_keys(self.roll.names());
    }

    /// Why nobody with a name can be revoked: it is no machine's, but perhaps a node's.
    pub(super) fn explain_no_machine(&self, name: &Name) -> String {
        let members = self.members.borrow();
        match members.owner_of_node(name) {
            None => format!("no machine of this cluster is called `{name}`"),
            Some(owner) => match &owner.name {
                Some(machine) => format!("`{name}` is a node of the machine `{machine}`"),
                None => format!("`{name}` is a node of the scheduler's own machine"),
            },
        }
    }

    pub(super) fn connections_of(&self, key: &PublicKey) -> usize {
        self.members.borrow().connections_of(key)
    }

    pub(super) fn describe(&self) -> Snapshot {
        let mut members = self.members.borrow_mut();
        let cluster = ClusterSnapshot {
            name: self.config.name.as_str().into(),
            id: self.key.public().fingerprint().to_string().into(),
            port: self.port,
            addresses: self.listens_at.iter().flat_map(|address| reachable(*address)).collect(),
            uptime: self.began.elapsed(),
            rate: members.rate(self.now()),
            members: Vec::new(),
        };
        Snapshot { cluster: Some(cluster), ..members.snapshot() }
    }

    pub(super) fn describe_members(&self) -> Vec<MemberSnapshot> {
        let describe = |entry: crate::identity::Entry| MemberSnapshot {
            name: entry.name.as_str().into(),
            id: entry.key.fingerprint().to_string().into(),
            roles: entry.roles.to_string().into(),
            since: humantime::format_rfc3339_seconds(entry.date).to_string().into(),
            connections: self.connections_of(&entry.key) as u64,
        };
        self.roll.entries().into_iter().map(describe).collect()
    }
}

/// Where others reach what listens at an address, which may stand for all of this host.
fn reachable(address: SocketAddr) -> Vec<Box<str>> {
    if !address.ip().is_unspecified() {
        return vec![address.to_string().into()];
    }
    let own = own_addresses(address.port()).into_iter();
    own.filter(|own| {
        let own = own.parse::<SocketAddr>();
        own.is_ok_and(|own| !own.ip().is_loopback() && (own.is_ipv4() || address.is_ipv6()))
    })
    .collect()
}

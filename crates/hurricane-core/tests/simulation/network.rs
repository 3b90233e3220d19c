//! The network between dialers and the scheduler. A connection delivers in order until it is cut,
//! and then loses any tail in each direction; it may stall for a while, and what it held up comes
//! after what a newer connection brought.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hurricane_core::id::ConnectionId;
use hurricane_core::session::Frame;
use hurricane_core::time::{Time, micros};

use crate::cluster::{Agenda, Happening, Place};
use crate::dice::Dice;

/// How long what most connections carry takes at most.
const LATENCY: Duration = Duration::from_micros(400);

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Dialer,
    Listener,
}

impl End {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Listener,
            Self::Listener => Self::Dialer,
        }
    }
}

/// What is on its way to an end.
#[derive(Debug)]
pub(crate) enum Parcel {
    Opened,
    Frame(Frame),
    Closed,
}

/// How much of a cut the ends are told of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) until: Time,
    /// Whether the ends' systems say so, or leave them waiting.
    pub(crate) is_told: [bool; 2],
}

#[derive(Debug)]
struct Connection {
    dialer: Place,
    /// The dialer's name for it. The listener's is its index.
    name: ConnectionId,
    /// Towards the dialer, and towards the listener.
    directions: [Direction; 2],
    is_cut: bool,
    stalled_until: Time,
    /// How long what it carries takes at most.
    latency: Duration,
}

#[derive(Debug, Default)]
struct Direction {
    parcels: VecDeque<Parcel>,
    last_due: Time,
    /// Whether the end it leads to knows that it is closed.
    is_closed: bool,
}

/// All connections there ever were.
#[derive(Debug, Default)]
pub(crate) struct Network {
    connections: Vec<Connection>,
    by_name: BTreeMap<(Place, ConnectionId), usize>,
    /// Until when nobody can connect.
    down_until: BTreeMap<Place, Time>,
    is_healed: bool,
}

impl Network {
    /// Opens a connection to the scheduler, unless the network is down: then it fails, at once or
    /// never.
    pub(crate) fn dial(
        &mut self,
        now: Time,
        dialer: Place,
        name: ConnectionId,
        dice: &mut Dice,
        agenda: &mut Agenda,
    ) {
        let index = self.connections.len();
        let is_cut = !self.is_up(now, dialer);
        let is_slow = !self.is_healed && dice.chance(10);
        let latency = if is_slow { dice.millis(1, 200) } else { LATENCY };
        self.connections.push(Connection {
            dialer,
            name,
            directions: Default::default(),
            is_cut,
            stalled_until: Time::default(),
            latency,
        });
        self.by_name.insert((dialer, name), index);
        let round_trip = dice.micros(100, 1500) + latency * 2;
        if !is_cut {
            self.post(now + round_trip, index, End::Dialer, Parcel::Opened, agenda);
        } else if dice.chance(50) {
            self.post(now + round_trip, index, End::Dialer, Parcel::Closed, agenda);
        }
    }

    /// Sends a frame to an end.
    pub(crate) fn send(
        &mut self,
        now: Time,
        index: usize,
        to: End,
        frame: Frame,
        dice: &mut Dice,
        agenda: &mut Agenda,
    ) {
        let connection = &self.connections[index];
        if !connection.is_cut {
            let due = now + dice.micros(20, micros(connection.latency));
            self.post(due, index, to, Parcel::Frame(frame), agenda);
        }
    }

    /// An end closes a connection, or its process is gone. What has come to it by then may lie in a
    /// queue and reach it still.
    pub(crate) fn close(&mut self, now: Time, index: usize, by: End, agenda: &mut Agenda) {
        if !self.connections[index].is_cut {
            self.post(now + Duration::from_micros(100), index, by.other(), Parcel::Closed, agenda);
        }
    }

    /// What has arrived at an end now, unless it was lost, or is held up: then it arrives later.
    pub(crate) fn arrive(
        &mut self,
        now: Time,
        index: usize,
        to: End,
        agenda: &mut Agenda,
    ) -> Option<Parcel> {
        let connection = &mut self.connections[index];
        if connection.stalled_until > now {
            agenda.add(connection.stalled_until, Happening::Arrival { connection: index, to });
            return None;
        }
        let direction = &mut connection.directions[to as usize];
        let parcel = direction.parcels.pop_front().filter(|_| !direction.is_closed)?;
        direction.is_closed = matches!(parcel, Parcel::Closed);
        Some(parcel)
    }

    /// Cuts what a dialer is connected by.
    pub(crate) fn cut(
        &mut self,
        now: Time,
        dialer: Place,
        cut: Cut,
        dice: &mut Dice,
        agenda: &mut Agenda,
    ) {
        self.down_until.insert(dialer, cut.until);
        for index in self.open_connections(dialer) {
            let connection = &mut self.connections[index];
            connection.is_cut = true;
            for direction in &mut connection.directions {
                let kept = dice.below(direction.parcels.len() as u64 + 1);
                direction.parcels.truncate(usize::try_from(kept).expect("few parcels"));
            }
            for end in [End::Dialer, End::Listener] {
                if cut.is_told[end as usize] {
                    self.post(now + dice.millis(0, 100), index, end, Parcel::Closed, agenda);
                }
            }
        }
    }

    /// Holds up what a dialer's present connections carry.
    pub(crate) fn stall(&mut self, dialer: Place, until: Time) {
        for index in self.open_connections(dialer) {
            self.connections[index].stalled_until = until;
        }
    }

    /// A dialer's process is gone; its system says so, or is gone too.
    pub(crate) fn abandon(&mut self, now: Time, dialer: Place, is_told: bool, agenda: &mut Agenda) {
        for index in self.open_connections(dialer) {
            if !is_told {
                self.connections[index].is_cut = true;
            }
            self.close(now, index, End::Dialer, agenda);
        }
    }

    /// From now on nothing goes wrong any more, and what was held up comes. What is cut stays so.
    pub(crate) fn heal(&mut self, now: Time, agenda: &mut Agenda) {
        self.is_healed = true;
        self.down_until.clear();
        for (index, connection) in self.connections.iter_mut().enumerate() {
            connection.latency = LATENCY;
            if connection.stalled_until <= now {
                continue;
            }
            connection.stalled_until = now;
            for to in [End::Dialer, End::Listener] {
                for _ in &connection.directions[to as usize].parcels {
                    agenda.add(now, Happening::Arrival { connection: index, to });
                }
            }
        }
    }

    pub(crate) fn is_healed(&self) -> bool {
        self.is_healed
    }

    pub(crate) fn is_up(&self, now: Time, dialer: Place) -> bool {
        self.down_until.get(&dialer).is_none_or(|until| *until <= now)
    }

    /// Who dialled a connection, and under which name.
    pub(crate) fn dialer(&self, index: usize) -> (Place, ConnectionId) {
        (self.connections[index].dialer, self.connections[index].name)
    }

    pub(crate) fn index(&self, dialer: Place, name: ConnectionId) -> usize {
        self.by_name[&(dialer, name)]
    }

    fn open_connections(&self, dialer: Place) -> Vec<usize> {
        let of_dialer = self.by_name.range((dialer, ConnectionId(0))..);
        let of_dialer = of_dialer.take_while(|((place, _), _)| *place == dialer);
        let is_open = |index: &usize| !self.connections[*index].is_cut;
        of_dialer.map(|(_, index)| *index).filter(is_open).collect()
    }

    fn post(&mut self, due: Time, index: usize, to: End, parcel: Parcel, agenda: &mut Agenda) {
        let direction = &mut self.connections[index].directions[to as usize];
        if direction.is_closed {
            return;
        }
        direction.parcels.push_back(parcel);
        direction.last_due = direction.last_due.max(due);
        agenda.add(direction.last_due, Happening::Arrival { connection: index, to });
    }
}

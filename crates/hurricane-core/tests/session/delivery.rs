//! Two ends over connections that are cut at random and then lose any tail in each direction: each
//! payload arrives exactly once and in order.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use hurricane_core::Session;
use hurricane_core::id::{BootId, ConnectionId};
use hurricane_core::session::{Action, Event, Frame, Patience};
use hurricane_core::time::Time;
use proptest::prelude::*;

/// What happens next to the two ends or between them.
#[derive(Clone, Debug)]
enum Step {
    /// The dialer (0) or the listener (1) has a message.
    Send { end: usize },
    /// The oldest frame on its way to an end arrives.
    Arrive { end: usize },
    /// Time passes.
    Wait { ms: u64 },
    /// All connections are cut: the last `lost` frames to each end never arrive.
    Cut { lost: [usize; 2] },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..2_usize).prop_map(|end| Step::Send { end }),
        8 => (0..2_usize).prop_map(|end| Step::Arrive { end }),
        4 => (1..400_u64).prop_map(|ms| Step::Wait { ms }),
        1 => [0..6_usize, 0..6_usize].prop_map(|lost| Step::Cut { lost }),
    ];
    prop::collection::vec(step, 1..300)
}

/// What is on its way to an end.
#[derive(Clone, Debug)]
enum Parcel {
    Opened(ConnectionId),
    Frame(ConnectionId, Frame),
    Closed(ConnectionId),
}

impl Parcel {
    fn event(self) -> Event {
        match self {
            Self::Opened(connection) => Event::Opened { connection },
            Self::Frame(connection, Frame::Hello(hello)) => Event::Accepted { connection, hello },
            Self::Frame(connection, frame) => Event::Received { connection, frame },
            Self::Closed(connection) => Event::Closed { connection },
        }
    }
}

/// Two ends and what is between them. The listener is more patient than any test is long.
struct Pair {
    now: Time,
    ends: [Option<Session>; 2],
    on_the_way: [VecDeque<Parcel>; 2],
    /// How many connections were dialled, and the first how many of them are cut.
    dialled: u64,
    cut: u64,
    sent: [u64; 2],
    delivered: [Vec<Bytes>; 2],
}

const LISTENER: BootId = BootId(2);
const PATIENCE: Patience =
    Patience { closed: Duration::from_hours(24), silent: Duration::from_hours(24) };

impl Pair {
    fn new() -> Self {
        Self {
            now: Time::default(),
            ends: [Some(Session::dial(BootId(1))), None],
            on_the_way: Default::default(),
            dialled: 0,
            cut: 0,
            sent: [0; 2],
            delivered: Default::default(),
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Send { end } => self.send(*end),
            Step::Arrive { end } => self.arrive(*end),
            Step::Wait { ms } => self.wait(Duration::from_millis(*ms)),
            Step::Cut { lost } => self.cut(*lost),
        }
    }

    fn send(&mut self, end: usize) {
        if self.ends[end].is_some() {
            self.sent[end] += 1;
            let payload = Bytes::copy_from_slice(&self.sent[end].to_le_bytes());
            self.handle(end, Event::Send(payload));
        }
    }

    fn arrive(&mut self, end: usize) {
        let Some(parcel) = self.on_the_way[end].pop_front() else {
            return;
        };
        let event = parcel.event();
        if let (1, None, Event::Accepted { hello, .. }) = (end, &self.ends[1], &event) {
            let session = Session::accept(self.now, LISTENER, hello, PATIENCE);
            self.ends[1] = Some(session.expect("the listener never gives a session up"));
        }
        self.handle(end, event);
    }

    fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
        for end in 0..2 {
            let deadline = self.ends[end].as_ref().and_then(Session::deadline);
            if deadline.is_some_and(|deadline| deadline <= self.now) {
                self.handle(end, Event::Tick);
            }
        }
    }

    /// Nothing goes over a connection any more once it is cut, and both ends learn of that.
    fn cut(&mut self, lost: [usize; 2]) {
        for (parcels, lost) in self.on_the_way.iter_mut().zip(lost) {
            let kept = parcels.len().saturating_sub(lost);
            let tail = parcels.split_off(kept);
            parcels.extend(tail.into_iter().filter(|parcel| matches!(parcel, Parcel::Closed(_))));
            parcels.extend(
                (self.cut..self.dialled).map(|dial| Parcel::Closed(ConnectionId(dial + 1))),
            );
        }
        self.cut = self.dialled;
    }

    fn handle(&mut self, end: usize, event: Event) {
        let Some(session) = &mut self.ends[end] else {
            return;
        };
        let mut actions = Vec::new();
        session.handle(self.now, event, &mut actions);
        session.sanity_check();
        for action in actions {
            self.carry_out(end, action);
        }
    }

    fn carry_out(&mut self, end: usize, action: Action) {
        match action {
            Action::Dial { connection } => {
                self.dialled = connection.0;
                self.on_the_way[end].push_back(Parcel::Opened(connection));
            }
            Action::Transmit { connection, frame } if connection.0 > self.cut => {
                self.on_the_way[1 - end].push_back(Parcel::Frame(connection, frame));
            }
            Action::Transmit { .. } | Action::Began => {}
            Action::Close { connection, violation } => {
                assert_eq!(violation.filter(|_| end == 0), None, "the listener is correct");
                self.on_the_way[1 - end].push_back(Parcel::Closed(connection));
            }
            Action::Deliver(payload) => self.delivered[end].push(payload),
            Action::Ended(reason) => panic!("nobody ends it, but: {reason}"),
        }
    }

    /// Lets everything arrive, and time pass, until both ends are at rest.
    fn settle(&mut self) {
        self.cut([usize::MAX; 2]);
        for _ in 0..20 {
            self.wait(Duration::from_millis(250));
            while self.on_the_way.iter().any(|parcels| !parcels.is_empty()) {
                self.arrive(0);
                self.arrive(1);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_payload_arrives_exactly_once_and_in_order(steps in steps()) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.apply(step);
        }
        pair.settle();
        for end in 0..2 {
            let sent: Vec<Bytes> = (1..=pair.sent[1 - end])
                .map(|number| Bytes::copy_from_slice(&number.to_le_bytes()))
                .collect();
            prop_assert_eq!(&pair.delivered[end], &sent);
            let unacknowledged = pair.ends[end].as_ref().map_or(0, Session::unacknowledged);
            prop_assert_eq!(unacknowledged, 0);
        }
    }
}

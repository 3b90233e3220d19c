//! Both ends of a session over pipes in memory, which are cut at will.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use hurricane_core::session::{Frame, Patience};
use tokio::task::LocalSet;

use super::*;

/// Longer than anything takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);

type Told = Rc<RefCell<Vec<String>>>;

/// Runs a test where tasks of one thread run.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("there are descriptors"), test);
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The scheduler's end.
struct Far {
    began: Instant,
    session: RefCell<Option<Session>>,
    lines: RefCell<BTreeMap<ConnectionId, Framed>>,
    dialed: Cell<u64>,
    is_reachable: Cell<bool>,
    joiner: RefCell<parts::Joiner>,
    received: Told,
}

impl Far {
    fn new() -> Rc<Self> {
        let far = Rc::new(Self {
            began: Instant::now(),
            session: RefCell::default(),
            lines: RefCell::default(),
            dialed: Cell::new(0),
            is_reachable: Cell::new(true),
            joiner: parts::Joiner::new(64 << 20).into(),
            received: Told::default(),
        });
        let ticking = Rc::clone(&far);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                ticking.handle(session::Event::Tick);
            }
        });
        far
    }

    fn dial(self: &Rc<Self>) -> Result<Dialed, DialError> {
        self.dialed.set(self.dialed.get() + 1);
        if !self.is_reachable.get() {
            return Err(DialError::NotHere { port: 1 });
        }
        let (near, far) = tokio::io::duplex(64 << 10);
        let connection = ConnectionId(self.dialed.get());
        let hearing = Rc::clone(self);
        let hear = move |incoming| hearing.hear(connection, incoming);
        let framed = Framed::carry(Box::new(far), hear);
        self.lines.borrow_mut().insert(connection, framed);
        Ok(Dialed { stream: Box::new(near), reached: Reached::Here("socket".into()) })
    }

    fn hear(&self, connection: ConnectionId, incoming: Incoming) {
        match incoming {
            Incoming::Frame(Frame::Hello(hello)) => {
                let accept = || {
                    let accepted = Session::accept(self.now(), BootId(7), &hello, Patience::CLIENT);
                    accepted.expect("the dialer names no other session")
                };
                self.session.borrow_mut().get_or_insert_with(accept);
                self.handle(session::Event::Accepted { connection, hello });
            }
            Incoming::Frame(frame) => self.handle(session::Event::Received { connection, frame }),
            Incoming::Heard => self.handle(session::Event::Heard { connection }),
            Incoming::Closed => {
                self.lines.borrow_mut().remove(&connection);
                self.handle(session::Event::Closed { connection });
            }
        }
    }

    fn now(&self) -> Time {
        Time(micros(self.began.elapsed()))
    }

    fn handle(&self, event: session::Event) {
        let mut actions = Vec::new();
        if let Some(session) = &mut *self.session.borrow_mut() {
            session.handle(self.now(), event, &mut actions);
        }
        for action in actions {
            match action {
                Action::Transmit { connection, frame } => {
                    if let Some(line) = self.lines.borrow().get(&connection) {
                        line.send(&frame);
                    }
                }
                Action::Close { connection, .. } => {
                    self.lines.borrow_mut().remove(&connection);
                }
                Action::Deliver(part) => {
                    let joiner = &mut *self.joiner.borrow_mut();
                    joiner.push(part).expect("it is of the protocol");
                    let messages = std::iter::from_fn(|| joiner.pop::<String>().transpose());
                    let messages = messages.map(|it| it.expect("it is of the protocol"));
                    self.received.borrow_mut().extend(messages);
                }
                Action::Ended(reason) => self.received.borrow_mut().push(reason.to_string()),
                Action::Began | Action::Dial { .. } => {}
            }
        }
    }

    fn send(&self, message: &str) {
        for part in parts::cut(&message) {
            self.handle(session::Event::Send(part));
        }
    }

    /// Cuts whatever is open, as a network does.
    fn cut(&self) {
        let open = std::mem::take(&mut *self.lines.borrow_mut());
        for connection in open.into_keys() {
            self.handle(session::Event::Closed { connection });
        }
    }
}

/// The near end and what it told.
fn near(far: &Rc<Far>) -> (Uplink<String>, Told) {
    let told = Told::default();
    let (dialing, telling) = (Rc::clone(far), Rc::clone(&told));
    let dial = Box::new(move || -> Dialing {
        let dialing = Rc::clone(&dialing);
        Box::pin(async move { dialing.dial() })
    });
    let tell = Box::new(move |event| match event {
        Event::Message(message) => telling.borrow_mut().push(message),
        Event::Began => telling.borrow_mut().push("began".into()),
        Event::Ended(reason) => telling.borrow_mut().push(reason.to_string()),
        Event::Reached(_) | Event::NotReached(_) => {}
    });
    (Uplink::start_with(dial, BootId(3), tell), told)
}

#[test]
fn messages_of_any_size_go_both_ways_in_order() {
    run(async {
        let far = Far::new();
        let (uplink, told) = near(&far);
        let large = "x".repeat(3 << 20);
        for message in ["one", &large, "two"] {
            uplink.send(&message);
        }
        eventually("it began", || *told.borrow() == ["began"]).await;
        far.send(&large);
        far.send("three");
        eventually("all came", || far.received.borrow().len() == 3).await;
        assert_eq!(*far.received.borrow(), ["one", &large, "two"]);
        eventually("all came", || told.borrow().len() == 3).await;
        assert_eq!(*told.borrow(), ["began", &large, "three"]);
        eventually("all was acknowledged", || uplink.is_acknowledged()).await;
    });
}

#[test]
fn a_cut_loses_nothing_and_repeats_nothing() {
    run(async {
        let far = Far::new();
        let (uplink, told) = near(&far);
        eventually("it began", || *told.borrow() == ["began"]).await;
        let expected: Vec<String> = (0..300).map(|number| number.to_string()).collect();
        for (index, message) in expected.iter().enumerate() {
            uplink.send(message);
            far.send(message);
            if index % 100 == 50 {
                tokio::task::yield_now().await;
                far.cut();
            }
        }
        eventually("all came", || far.received.borrow().len() == 300).await;
        eventually("all came", || told.borrow().len() == 301).await;
        assert_eq!(*far.received.borrow(), expected);
        assert_eq!(told.borrow()[1..], expected);
        assert!(far.dialed.get() > 1);
    });
}

#[test]
fn what_can_wait_comes_last() {
    run(async {
        let far = Far::new();
        far.is_reachable.set(false);
        let (uplink, _told) = near(&far);
        for number in 0..100 {
            uplink.send_later(format!("later {number}"));
        }
        for number in 0..100 {
            uplink.send(&format!("now {number}"));
        }
        far.is_reachable.set(true);
        eventually("all came", || far.received.borrow().len() == 200).await;
        let received = far.received.borrow();
        let last_now = received.iter().position(|message| message == "now 99");
        // What was sent before there was anything better to do.
        assert!(last_now.expect("it came") <= 100 + MAX_UNACKNOWLEDGED_FOR_MORE);
        assert_eq!(received[199], "later 99");
    });
}

#[test]
fn what_may_wait_goes_with_what_may_not_or_when_much_has_gathered() {
    run(async {
        let far = Far::new();
        let (uplink, told) = near(&far);
        let long = Duration::from_hours(1);
        eventually("it began", || *told.borrow() == ["began"]).await;
        uplink.send_within(long, &"one");
        far.send("another way");
        eventually("it came", || told.borrow().len() == 2).await;
        assert!(far.received.borrow().is_empty());
        assert!(!uplink.is_waiting());
        uplink.send(&"two");
        eventually("both came", || far.received.borrow().len() == 2).await;
        assert_eq!(*far.received.borrow(), ["one", "two"]);
        for _ in 0..3 {
            uplink.send_within(long, &"x".repeat(parts::GATHERED_BYTES));
        }
        eventually("much came", || far.received.borrow().len() == 5).await;
    });
}

#[test]
fn what_may_wait_goes_in_its_time() {
    run(async {
        let far = Far::new();
        let (uplink, _told) = near(&far);
        uplink.send_within(Duration::from_hours(1), &"one");
        uplink.send_within(Duration::from_millis(1), &"two");
        eventually("both came", || far.received.borrow().len() == 2).await;
        uplink.send_within(Duration::from_hours(1), &"three");
        uplink.end(EndReason::Closed);
        eventually("it ended", || far.received.borrow().len() == 4).await;
        assert_eq!(far.received.borrow()[..3], ["one", "two", "three"]);
    });
}

#[test]
fn the_end_is_said_before_the_connection_goes() {
    run(async {
        let far = Far::new();
        let (uplink, told) = near(&far);
        eventually("it began", || *told.borrow() == ["began"]).await;
        uplink.send(&"last");
        uplink.end(EndReason::Closed);
        uplink.flushed().await;
        assert!(uplink.is_over());
        drop(uplink);
        eventually("it ended", || far.received.borrow().len() == 2).await;
        assert_eq!(*far.received.borrow(), ["last", &EndReason::Closed.to_string()]);
        assert_eq!(*told.borrow(), ["began", &EndReason::Closed.to_string()]);
    });
}

#[test]
fn what_is_no_message_ends_the_session() {
    run(async {
        let far = Far::new();
        let (_uplink, told) = near(&far);
        eventually("it began", || *told.borrow() == ["began"]).await;
        far.handle(session::Event::Send(Bytes::from_static(&[0, 200, 1])));
        eventually("it ended", || told.borrow().len() == 2).await;
        eventually("the other end heard", || far.received.borrow().len() == 1).await;
        assert_eq!(told.borrow()[1], "a message is not of this protocol");
    });
}

#[test]
fn dropped_it_dials_no_more_and_tells_nothing() {
    run(async {
        let far = Far::new();
        let told = Told::default();
        let (dialing, telling) = (Rc::clone(&far), Rc::clone(&told));
        let dial = Box::new(move || -> Dialing {
            let dialing = Rc::clone(&dialing);
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(30)).await;
                dialing.dial()
            })
        });
        let tell = Box::new(move |event: Event<String>| {
            telling.borrow_mut().push(format!("{event:?}"));
        });
        let uplink = Uplink::start_with(dial, BootId(3), tell);
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(uplink);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(far.dialed.get(), 0);
        assert!(told.borrow().is_empty(), "{:?}", told.borrow());
    });
}

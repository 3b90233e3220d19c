//! What listens for all browsers of a process: one thread, which ends with the last of them.

use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use mdns_sd::{ResolvedService, ScopedIp, ServiceEvent};
use tokio::sync::watch;

use super::interfaces::Interfaces;
use super::record::Record;
use super::responder::{Responder, spawn};
use super::sightings::{Heard, Sightings};
use super::{DiscoveryError, Found, SERVICE, locked};
use crate::tls::Pin;

/// How often the networks are asked anew, by a series of questions with growing pauses: an answer
/// may be lost, and whoever was cut off says nothing when it is back.
const ASK_EVERY: Duration = Duration::from_secs(30);

/// How long the thread waits before it looks at what else there is to do.
const TICK: Duration = Duration::from_millis(100);

/// How long the network is left to who floods it.
const PAUSE: Duration = Duration::from_secs(5);

type Events = mdns_sd::Receiver<ServiceEvent>;

/// The thread, as its browsers see it. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Browsing {
    found: watch::Sender<Vec<Found>>,
    /// Which schedulers are looked for; one as often as there are browsers for it.
    wanted: Mutex<Vec<Pin>>,
    /// Tells the thread that somebody looks for another one, and by its end that nobody does.
    asking: Sender<()>,
}

impl Browsing {
    /// Begins to look for one.
    pub(super) fn start(scheduler: Pin) -> Result<Arc<Self>, DiscoveryError> {
        let (asking, asked) = channel();
        let wanted = Mutex::new(vec![scheduler]);
        let browsing = Arc::new(Self { found: watch::Sender::default(), wanted, asking });
        let responder = Responder::start()?;
        let listener = Listener::new(Arc::downgrade(&browsing), asked);
        spawn(move || listener.serve(responder))?;
        Ok(browsing)
    }

    pub(super) fn found(&self) -> watch::Receiver<Vec<Found>> {
        self.found.subscribe()
    }

    pub(super) fn want(&self, scheduler: Pin) {
        let mut wanted = locked(&self.wanted);
        let is_new = !wanted.contains(&scheduler);
        wanted.push(scheduler);
        if is_new {
            // To a thread that has failed there is nothing to say.
            let _ = self.asking.send(());
        }
    }

    pub(super) fn want_no_more(&self, scheduler: Pin) {
        let mut wanted = locked(&self.wanted);
        if let Some(position) = wanted.iter().position(|pin| *pin == scheduler) {
            wanted.swap_remove(position);
        }
    }
}

/// The thread's state.
struct Listener {
    browsing: Weak<Browsing>,
    asked: Receiver<()>,
    interfaces: Interfaces,
    sightings: Sightings,
    /// Whether the responder has told of something that was not kept. Of what is said in one name it
    /// tells the newest only, and never again what was said before: a record that is wanted only now,
    /// or was in too large a crowd, may stay hidden behind a forged one.
    has_refused: bool,
}

/// Why it listens no longer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interrupted {
    /// The networks are to be asked anew.
    AskAgain,
    /// Something is wrong with the responder.
    Unwell,
    /// Nobody is interested any more.
    Over,
}

impl Listener {
    fn new(browsing: Weak<Browsing>, asked: Receiver<()>) -> Self {
        Self {
            browsing,
            asked,
            interfaces: Interfaces::known(),
            sightings: Sightings::default(),
            has_refused: false,
        }
    }

    fn serve(mut self, mut responder: Responder) {
        loop {
            let interrupted = match responder.daemon().browse(SERVICE) {
                Ok(events) => self.listen(&mut responder, &events),
                Err(_) => Interrupted::Unwell,
            };
            match interrupted {
                Interrupted::AskAgain if !self.has_refused => continue,
                Interrupted::Over => return,
                Interrupted::AskAgain | Interrupted::Unwell => {}
            }
            responder.stop(|| self.is_over());
            if interrupted == Interrupted::Unwell && self.is_over_after(PAUSE) {
                return;
            }
            // One that cannot be started is found not to be well.
            if let Ok(started) = Responder::start() {
                responder = started;
                self.has_refused = false;
            }
        }
    }

    fn listen(&mut self, responder: &mut Responder, events: &Events) -> Interrupted {
        let began = Instant::now();
        // The channel of one that does not keep up is closed without a word.
        while began.elapsed() < ASK_EVERY && !events.is_disconnected() {
            if let Ok(ServiceEvent::ServiceResolved(service)) = events.recv_timeout(TICK) {
                self.hear(&service);
            }
            // Many may ask within a moment.
            match self.asked.try_iter().last().map_or_else(|| self.asked.try_recv(), Ok) {
                Ok(()) => return Interrupted::AskAgain,
                Err(TryRecvError::Disconnected) => return Interrupted::Over,
                Err(TryRecvError::Empty) => {}
            }
            if self.interfaces.have_changed(Instant::now()) {
                return Interrupted::AskAgain;
            }
            if !responder.is_well() {
                return Interrupted::Unwell;
            }
        }
        Interrupted::AskAgain
    }

    fn is_over(&self) -> bool {
        self.browsing.strong_count() == 0
    }

    fn hear(&mut self, service: &ResolvedService) {
        let Some(browsing) = self.browsing.upgrade() else { return };
        let Some(said) = Record::read(|key| service.get_property_val(key).flatten()) else {
            self.has_refused = true;
            return;
        };
        let wanted = locked(&browsing.wanted).clone();
        self.sightings.keep(&wanted);
        match self.sightings.hear(Instant::now(), said, zones(service), &wanted) {
            Heard::New => {
                browsing.found.send_replace(self.sightings.found());
            }
            Heard::Known => {}
            Heard::Refused => self.has_refused = true,
        }
    }

    fn is_over_after(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            match self.asked.recv_timeout(left) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
        false
    }
}

/// On which interface each address was heard.
fn zones(service: &ResolvedService) -> Vec<(IpAddr, u32)> {
    let zone = |address: &ScopedIp| match address {
        ScopedIp::V6(scoped) => Some((address.to_ip_addr(), scoped.scope_id().index)),
        _ => None,
    };
    let mut zones: Vec<_> = service.get_addresses().iter().filter_map(zone).collect();
    zones.sort_unstable();
    zones
}

//! Where a scheduler may be, and the race to it: each place that is known is tried, the likeliest
//! first and the next ones without waiting long, until one answers as it should.

use std::collections::BTreeSet;
use std::future::{Future, pending};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::names::Lookup;
use super::{Address, DEFAULT_PORT};
use crate::discovery::{Browser, Found};
use crate::tls::Pin;

/// How long one place is tried alone. A scheduler on the same network answers within; more at once
/// would only be more half-open handshakes for it.
const NEXT_AFTER: Duration = Duration::from_millis(50);

/// How many places one race tries: the addresses of a machine with many networks, twice.
const MAX_PLACES: usize = 64;

/// What is known beside what is announced.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The initialization port.
    pub(crate) port: u16,
    /// What the user chose.
    pub(crate) chosen: Option<Address>,
    /// Where it was last.
    pub(crate) last: Option<SocketAddr>,
}

impl Default for Places {
    fn default() -> Self {
        Self { port: DEFAULT_PORT, chosen: None, last: None }
    }
}

/// From where a place is known. What comes first is tried first, and its failure told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// By the user.
    Chosen,
    /// From the last time.
    Last,
    /// This host, which is always worth a look.
    Loopback,
    /// From an announcement that the scheduler's key has signed.
    Announced,
}

/// Looks for one scheduler.
pub(crate) struct Search {
    scheduler: Pin,
    places: Places,
    /// If a name was chosen.
    lookup: Option<Lookup>,
    browser: Option<Arc<Browser>>,
}

/// When a race ends that nobody has won.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Whatever is still being tried.
    pub(crate) end: Instant,
    /// When nothing more is being tried: until then another place may become known.
    pub(crate) news: Instant,
}

/// A place that was tried, or could not be.
#[derive(Debug)]
pub(crate) struct Failure<E> {
    /// From where it was known.
    pub(crate) origin: Origin,
    /// What went wrong there.
    pub(crate) error: Wrong<E>,
}

/// What went wrong.
#[derive(Debug)]
pub(crate) enum Wrong<E> {
    /// The place.
    There(E),
    /// There was no answer until the end.
    Late(SocketAddr),
    /// The name leads nowhere.
    Unknown(Box<str>, io::Error),
}

impl Search {
    /// Begins to listen for announcements, if this machine can.
    pub(crate) fn new(scheduler: Pin, places: Places) -> Self {
        let lookup = places.chosen.as_ref().and_then(|address| {
            let port = address.port.unwrap_or(places.port);
            let is_name = address.host.parse::<IpAddr>().is_err();
            is_name.then(|| Lookup::new(address.host.clone(), port))
        });
        // Without multicast there are the other ways.
        let browser = Browser::shared().ok();
        Self { scheduler, places, lookup, browser }
    }

    /// Tries places until one succeeds, and gives up the others. An error that `is_final` ends the
    /// race as well: it would be the same anywhere.
    pub(crate) async fn race<T, E, F>(
        &self,
        limits: Limits,
        attempt: impl Fn(SocketAddr) -> F,
        is_final: impl Fn(&E) -> bool,
    ) -> Result<T, Vec<Failure<E>>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let mut race = Race::default();
        let mut announced = self.browser.as_ref().map(|browser| browser.watch());
        let mut looking_up = std::pin::pin!(self.look_up());
        let mut is_looking_up = self.lookup.is_some();
        loop {
            race.learn(self.known(announced.as_mut()));
            race.begin_next(&attempt);
            let is_idle = race.is_idle() && !is_looking_up;
            let end = if is_idle { limits.news.min(limits.end) } else { limits.end };
            tokio::select! {
                biased;
                ended = race.ended_or_due() => match ended {
                    Some((_, Ok(won))) => return Ok(won),
                    Some(((origin, _), Err(error))) => {
                        let is_over = is_final(&error);
                        race.fail(origin, Wrong::There(error));
                        if is_over {
                            return Err(race.failures);
                        }
                    }
                    None => {}
                },
                found = &mut looking_up, if is_looking_up => {
                    is_looking_up = false;
                    match found {
                        Ok(addresses) => {
                            race.learn(addresses.into_iter().map(|at| (Origin::Chosen, at)));
                        }
                        Err((host, error)) => {
                            race.fail(Origin::Chosen, Wrong::Unknown(host, error));
                        }
                    }
                }
                () = changed(announced.as_mut()) => {}
                () = sleep_until(end) => return Err(race.into_failures()),
            }
        }
    }

    /// The places that need no waiting for.
    fn known(
        &self,
        announced: Option<&mut watch::Receiver<Vec<Found>>>,
    ) -> Vec<(Origin, SocketAddr)> {
        let Places { port, chosen, last } = &self.places;
        let chosen = chosen.as_ref().and_then(|address| {
            let host: IpAddr = address.host.parse().ok()?;
            Some((Origin::Chosen, SocketAddr::new(host, address.port.unwrap_or(*port))))
        });
        let last = last.map(|last| (Origin::Last, last));
        let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let loopback =
            loopback.map(|host: IpAddr| (Origin::Loopback, SocketAddr::new(host, *port)));
        let announced = announced.map(|all| all.borrow_and_update().clone()).unwrap_or_default();
        let announced = announced.into_iter().filter(|found| self.scheduler.holds(&found.key));
        let announced = announced.flat_map(|found| found.addresses);
        let announced = announced.map(|address| (Origin::Announced, address));
        chosen.into_iter().chain(last).chain(loopback).chain(announced).collect()
    }

    async fn look_up(&self) -> Result<Vec<SocketAddr>, (Box<str>, io::Error)> {
        match &self.lookup {
            Some(lookup) => lookup.addresses().await.map_err(|error| (lookup.host().into(), error)),
            None => pending().await,
        }
    }
}

/// Ends when what is announced has changed; never where nobody listens.
async fn changed(announced: Option<&mut watch::Receiver<Vec<Found>>>) {
    if let Some(announced) = announced
        && announced.changed().await.is_ok()
    {
        return;
    }
    pending().await
}

/// What is under way.
struct Race<T, E> {
    /// What is to be tried, the likeliest first.
    waiting: BTreeSet<(Origin, SocketAddr)>,
    /// What was ever waiting.
    known: BTreeSet<SocketAddr>,
    trying: BTreeSet<(Origin, SocketAddr)>,
    attempts: JoinSet<((Origin, SocketAddr), Result<T, E>)>,
    next_at: Option<Instant>,
    failures: Vec<Failure<E>>,
}

impl<T, E> Default for Race<T, E> {
    fn default() -> Self {
        Self {
            waiting: BTreeSet::new(),
            known: BTreeSet::new(),
            trying: BTreeSet::new(),
            attempts: JoinSet::new(),
            next_at: None,
            failures: Vec::new(),
        }
    }
}

impl<T: Send + 'static, E: Send + 'static> Race<T, E> {
    fn learn(&mut self, places: impl IntoIterator<Item = (Origin, SocketAddr)>) {
        for place in places {
            if self.known.len() < MAX_PLACES && self.known.insert(place.1) {
                self.waiting.insert(place);
            }
        }
    }

    /// Begins to try the next place, if it is due.
    fn begin_next<F>(&mut self, attempt: impl Fn(SocketAddr) -> F)
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        if self.next_at.is_some_and(|due| Instant::now() < due) {
            return;
        }
        let Some(place) = self.waiting.pop_first() else { return };
        let attempt = attempt(place.1);
        self.trying.insert(place);
        self.attempts.spawn(async move { (place, attempt.await) });
        self.next_at = Some(Instant::now() + NEXT_AFTER);
    }

    /// Waits for the end of a try, or until the next place is to be tried.
    async fn ended_or_due(&mut self) -> Option<((Origin, SocketAddr), Result<T, E>)> {
        let due = self.next_at.filter(|_| !self.waiting.is_empty());
        tokio::select! {
            biased;
            Some(ended) = self.attempts.join_next() => {
                // There is nothing to wait for any more.
                self.next_at = None;
                // One that panicked says nothing.
                let (place, result) = ended.ok()?;
                self.trying.remove(&place);
                Some((place, result))
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => None,
            else => pending().await,
        }
    }

    fn is_idle(&self) -> bool {
        self.attempts.is_empty() && self.waiting.is_empty()
    }

    fn fail(&mut self, origin: Origin, error: Wrong<E>) {
        self.failures.push(Failure { origin, error });
    }

    fn into_failures(mut self) -> Vec<Failure<E>> {
        let late = self.trying.iter();
        let late = late.map(|(origin, at)| Failure { origin: *origin, error: Wrong::Late(*at) });
        self.failures.extend(late);
        self.failures
    }
}

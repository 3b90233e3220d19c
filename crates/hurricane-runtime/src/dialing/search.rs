//! Where a scheduler may be, and the race to it: each place that is known is tried, the likeliest
//! first and the next ones without waiting long, until one answers as it should.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::{Future, pending};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Address;
use super::names::Lookup;
use crate::discovery::Browser;
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
    /// While it is not found.
    browser: RefCell<Option<Browser>>,
}

/// When a race ends that nobody has won.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// When the networks are asked: not before what is known had its chance.
    pub(crate) ask: Instant,
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
    /// Does nothing yet.
    pub(crate) fn new(scheduler: Pin, places: Places) -> Self {
        let lookup = places.chosen.as_ref().and_then(|address| {
            let port = address.port.unwrap_or(places.port);
            let is_name = address.host.parse::<IpAddr>().is_err();
            is_name.then(|| Lookup::new(address.host.clone(), port))
        });
        Self { scheduler, places, lookup, browser: RefCell::default() }
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
        let mut race = Race::new(self, limits);
        let mut looking_up = pin!(self.look_up());
        loop {
            race.begin_next(&attempt);
            let news = tokio::select! {
                biased;
                news = race.next() => news,
                looked_up = &mut looking_up, if race.is_looking_up => News::LookedUp(looked_up),
            };
            match news {
                News::Ended(_, Ok(won)) => {
                    // Who is where it was needs no announcement.
                    self.browser.take();
                    return Ok(won);
                }
                News::Ended(place, Err(error)) => {
                    let is_over = is_final(&error);
                    race.failures.push(Failure::new(place.origin, Wrong::There(error)));
                    if is_over {
                        return Err(race.failures);
                    }
                }
                News::LookedUp(looked_up) => race.on_looked_up(looked_up),
                News::AskNow => race.on_asked(self.ask()),
                News::Found => race.learn_found(),
                News::NextIsDue => {}
                News::Over => return Err(race.into_failures()),
            }
        }
    }

    /// Whether something was announced since the last race began.
    pub(crate) fn has_news(&self) -> bool {
        self.browser.borrow().as_ref().is_some_and(Browser::has_news)
    }

    /// The browser of those races, with what it has found until now.
    fn browser(&self) -> Option<Browser> {
        let mut browser = self.browser.borrow_mut();
        let browser = browser.as_mut()?;
        browser.found();
        Some(browser.clone())
    }

    /// The places that need no waiting for.
    fn known(&self) -> Vec<(Origin, SocketAddr)> {
        let Places { port, chosen, last } = &self.places;
        let chosen = chosen.as_ref().and_then(|address| {
            let host: IpAddr = address.host.parse().ok()?;
            Some((Origin::Chosen, SocketAddr::new(host, address.port.unwrap_or(*port))))
        });
        let last = last.map(|last| (Origin::Last, last));
        let hosts = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        let loopback = hosts.map(|host| (Origin::Loopback, SocketAddr::new(host, *port)));
        chosen.into_iter().chain(last).chain(loopback).collect()
    }

    async fn look_up(&self) -> LookedUp {
        match &self.lookup {
            Some(lookup) => lookup.addresses().await.map_err(|error| (lookup.host().into(), error)),
            None => pending().await,
        }
    }

    /// Listens for announcements from now on until the scheduler is found, if this machine can:
    /// without multicast there are the other ways.
    fn ask(&self) -> Option<Browser> {
        let browser = Browser::start(self.scheduler).ok()?;
        self.browser.replace(Some(browser.clone()));
        Some(browser)
    }
}

/// The addresses of a name, or the name and what is wrong with it.
type LookedUp = Result<Vec<SocketAddr>, (Box<str>, io::Error)>;

/// A place in a race. What is known first is tried first, of one origin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    origin: Origin,
    order: usize,
    address: SocketAddr,
}

/// What happens in a race.
enum News<T, E> {
    Ended(Place, Result<T, E>),
    LookedUp(LookedUp),
    AskNow,
    Found,
    NextIsDue,
    Over,
}

/// What is under way.
struct Race<T, E> {
    limits: Limits,
    /// What is to be tried, the likeliest first.
    waiting: BTreeSet<Place>,
    /// What was ever waiting.
    known: BTreeSet<SocketAddr>,
    trying: BTreeSet<Place>,
    attempts: JoinSet<(Place, Result<T, E>)>,
    next_at: Option<Instant>,
    is_looking_up: bool,
    browser: Option<Browser>,
    has_asked: bool,
    failures: Vec<Failure<E>>,
}

impl<T: Send + 'static, E: Send + 'static> Race<T, E> {
    fn new(search: &Search, limits: Limits) -> Self {
        let browser = search.browser();
        let mut race = Self {
            limits,
            waiting: BTreeSet::new(),
            known: BTreeSet::new(),
            trying: BTreeSet::new(),
            attempts: JoinSet::new(),
            next_at: None,
            is_looking_up: search.lookup.is_some(),
            has_asked: browser.is_some(),
            browser,
            failures: Vec::new(),
        };
        race.learn(search.known());
        race.learn_found();
        race
    }

    fn learn(&mut self, places: impl IntoIterator<Item = (Origin, SocketAddr)>) {
        for (origin, address) in places {
            if self.known.len() < MAX_PLACES && self.known.insert(address) {
                self.waiting.insert(Place { origin, order: self.known.len(), address });
            }
        }
    }

    fn learn_found(&mut self) {
        let found = self.browser.as_mut().map(Browser::found).unwrap_or_default();
        let addresses = found.into_iter().flat_map(|found| found.addresses);
        self.learn(addresses.map(|address| (Origin::Announced, address)));
    }

    fn on_asked(&mut self, browser: Option<Browser>) {
        self.has_asked = true;
        self.browser = browser;
        self.learn_found();
    }

    fn on_looked_up(&mut self, looked_up: LookedUp) {
        self.is_looking_up = false;
        match looked_up {
            Ok(addresses) => self.learn(addresses.into_iter().map(|at| (Origin::Chosen, at))),
            Err((host, error)) => {
                self.failures.push(Failure::new(Origin::Chosen, Wrong::Unknown(host, error)));
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
        let attempt = attempt(place.address);
        self.trying.insert(place);
        self.attempts.spawn(async move { (place, attempt.await) });
        self.next_at = Some(Instant::now() + NEXT_AFTER);
    }

    /// Waits for whatever happens first.
    async fn next(&mut self) -> News<T, E> {
        let next_at = self.next_at.filter(|_| !self.waiting.is_empty());
        let is_idle = self.attempts.is_empty() && self.waiting.is_empty() && !self.is_looking_up;
        let end = if is_idle { self.limits.news.min(self.limits.end) } else { self.limits.end };
        tokio::select! {
            biased;
            Some(ended) = self.attempts.join_next() => {
                // There is nothing to wait for any more.
                self.next_at = None;
                // One that panicked says nothing.
                let Ok((place, result)) = ended else { return News::NextIsDue };
                self.trying.remove(&place);
                News::Ended(place, result)
            }
            () = until(next_at) => News::NextIsDue,
            () = changed(self.browser.as_mut()) => News::Found,
            () = sleep_until(end) => News::Over,
            () = sleep_until(self.limits.ask), if !self.has_asked => News::AskNow,
        }
    }

    fn into_failures(mut self) -> Vec<Failure<E>> {
        let late = self.trying.iter();
        let late = late.map(|place| Failure::new(place.origin, Wrong::Late(place.address)));
        self.failures.extend(late);
        self.failures
    }
}

impl<E> Failure<E> {
    fn new(origin: Origin, error: Wrong<E>) -> Self {
        Self { origin, error }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

/// Ends when more was found; never where nobody listens.
async fn changed(browser: Option<&mut Browser>) {
    match browser {
        Some(browser) => browser.changed().await,
        None => pending().await,
    }
}

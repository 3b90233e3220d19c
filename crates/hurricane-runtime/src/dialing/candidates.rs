//! The places at which a member looks for its scheduler, dialed with the key that is pinned.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::time::Instant;

use super::attempt::{tcp, unreachable};
use super::search::{Failure, Limits, Origin, Places, Search, Wrong};
use super::{ASK_AFTER, DIAL_TIMEOUT, DialError, Dialed, NEWS_WITHIN, Reached};
use crate::greeting::Greeting;
use crate::identity::{PublicKey, State};
use crate::tls::Pin;

/// Everything that is needed to dial a cluster in which this machine is a member.
pub(super) struct Candidates {
    state: State,
    scheduler: PublicKey,
    config: Arc<ClientConfig>,
    search: Search,
    remembered: Cell<Option<SocketAddr>>,
}

impl Candidates {
    pub(super) fn new(
        state: State,
        scheduler: PublicKey,
        config: Arc<ClientConfig>,
        places: Places,
    ) -> Self {
        let remembered = Cell::new(places.last);
        let search = Search::new(Pin::Key(scheduler), places);
        Self { state, scheduler, config, search, remembered }
    }

    pub(super) async fn dial(
        &self,
        greeting: Greeting,
        nowhere: DialError,
        begun: Instant,
    ) -> Result<Dialed, DialError> {
        let attempt = |address| tcp(address, Arc::clone(&self.config), greeting);
        let ask = if self.remembered.get().is_some() { begun + ASK_AFTER } else { begun };
        let limits = Limits { ask, end: begun + DIAL_TIMEOUT, news: begun + NEWS_WITHIN };
        let dialed = self.search.race(limits, attempt, DialError::is_refusal).await;
        let dialed = dialed.map_err(|failures| best(failures, nowhere))?;
        if let Reached::At(address) = dialed.reached {
            self.remember(address);
        }
        Ok(dialed)
    }

    /// Whether a place is known that no dial has tried yet.
    pub(super) fn have_news(&self) -> bool {
        self.search.has_news()
    }

    fn remember(&self, address: SocketAddr) {
        if self.remembered.replace(Some(address)) != Some(address) {
            // It serves the next start, and this one has succeeded: no reason to fail.
            let _ = self.state.remember_address(&self.scheduler.fingerprint(), address);
        }
    }
}

/// What is best worth telling.
fn best(mut failures: Vec<Failure<DialError>>, nowhere: DialError) -> DialError {
    failures.sort_by_key(|failure| failure.origin);
    let told = failures.into_iter().filter_map(told);
    told.fold(nowhere, DialError::better)
}

fn told(failure: Failure<DialError>) -> Option<DialError> {
    let error = match failure.error {
        Wrong::There(error) => error,
        Wrong::Late(address) => unreachable(address, io::ErrorKind::TimedOut.into()),
        Wrong::Unknown(host, error) => {
            DialError::Unreachable { address: host, source: Arc::new(error) }
        }
    };
    // That nobody listens on this host is no surprise.
    let is_expected =
        failure.origin == Origin::Loopback && matches!(error, DialError::Unreachable { .. });
    (!is_expected).then_some(error)
}

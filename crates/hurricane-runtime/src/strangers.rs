//! What those may cost who have not shown yet who they are: a bounded number of connections in all
//! and from each source, and few tries with tickets.
//!
//! Sources from which members come have room of their own, so that members never queue behind
//! strangers. Pure: no sockets, and time is a parameter.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hurricane_core::time::Time;

/// Strangers' connections whose handshake has not ended: 64 KiB each would be 16 MiB.
pub const MAX_HALF_OPEN: usize = 256;

/// Of these from one source. A device that starts more nodes at once dials again.
pub const MAX_HALF_OPEN_OF_SOURCE: usize = 8;

/// The same for a source of members: all nodes of a device return at once after a cut.
pub const MAX_HALF_OPEN_OF_MEMBERS: usize = 64;

/// Strangers' connections within [`STRANGERS_WITHIN`]: each may take a handshake's work of the
/// thread that members need, about a fifth of a millisecond.
pub const MAX_STRANGERS: usize = 256;

/// Of these from one source.
pub const MAX_STRANGERS_OF_SOURCE: usize = 32;

/// See [`MAX_STRANGERS`].
pub const STRANGERS_WITHIN: Duration = Duration::from_secs(1);

/// Sources of members that are remembered. Those beyond have the room of strangers.
pub const MAX_SOURCES_OF_MEMBERS: usize = 16_384;

/// Tries with tickets from one source in [`TRIES_WITHIN`].
pub const MAX_TRIES: usize = 5;

/// See [`MAX_TRIES`].
pub const TRIES_WITHIN: Duration = Duration::from_secs(1);

/// Sources whose tries are counted at the same time. More than that many within a second are an
/// attack, and are refused.
const MAX_TRYING_SOURCES: usize = 4096;

/// Where connections come from, as far as one attacker can choose: an IPv4 address, or the /64
/// network of an IPv6 address, since whoever has one address of that has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// An address.
    V4(Ipv4Addr),
    /// The first half of an address.
    V6([u16; 4]),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [first, second, third, fourth, ..] = address.segments();
                Self::V6([first, second, third, fourth])
            }
        }
    }
}

/// Counts connections whose handshake has not ended.
#[derive(Debug, Default)]
pub struct Strangers {
    half_open: usize,
    of_source: BTreeMap<Source, Connections>,
    sources_of_members: usize,
    lately: Lately,
}

/// Strangers' connections of the present second.
#[derive(Debug, Default)]
struct Lately {
    since: Time,
    all: usize,
    of_source: BTreeMap<Source, usize>,
}

/// Of one source.
#[derive(Debug, Default)]
struct Connections {
    half_open: usize,
    has_members: bool,
}

impl Strangers {
    /// Takes a new connection in, or says that it must be closed at once.
    #[must_use]
    pub fn enter(&mut self, now: Time, source: Source) -> bool {
        let connections = self.of_source.entry(source);
        let has_members = matches!(&connections, Entry::Occupied(of) if of.get().has_members);
        if !has_members && (self.half_open >= MAX_HALF_OPEN || !self.lately.count(now, source)) {
            return false;
        }
        let connections = connections.or_default();
        let limit = if has_members { MAX_HALF_OPEN_OF_MEMBERS } else { MAX_HALF_OPEN_OF_SOURCE };
        if connections.half_open >= limit {
            return false;
        }
        connections.half_open += 1;
        self.half_open += usize::from(!has_members);
        true
    }

    /// The handshake of one that entered has ended, in whatever way.
    pub fn leave(&mut self, source: Source) {
        let Entry::Occupied(mut connections) = self.of_source.entry(source) else { return };
        let of = connections.get_mut();
        if of.half_open == 0 {
            return;
        }
        of.half_open -= 1;
        self.half_open -= usize::from(!of.has_members);
        if of.half_open == 0 && !of.has_members {
            connections.remove();
        }
    }

    /// A member has shown itself there: from now on this source has room of its own.
    pub fn welcome(&mut self, source: Source) {
        if self.sources_of_members >= MAX_SOURCES_OF_MEMBERS {
            return;
        }
        let connections = self.of_source.entry(source).or_default();
        if !connections.has_members {
            connections.has_members = true;
            self.sources_of_members += 1;
            self.half_open -= connections.half_open;
        }
    }

    /// How many handshakes of strangers are under way.
    pub fn half_open(&self) -> usize {
        self.half_open
    }
}

impl Lately {
    /// Counts a connection, or says that it is one too many.
    fn count(&mut self, now: Time, source: Source) -> bool {
        if now.since(self.since) >= STRANGERS_WITHIN {
            *self = Self { since: now, ..Self::default() };
        }
        if self.all >= MAX_STRANGERS {
            return false;
        }
        let of_source = self.of_source.entry(source).or_default();
        if *of_source >= MAX_STRANGERS_OF_SOURCE {
            return false;
        }
        *of_source += 1;
        self.all += 1;
        true
    }
}

/// Counts tries with tickets.
#[derive(Debug, Default)]
pub struct Tries {
    /// When each source tried, as long as it counts.
    of_source: BTreeMap<Source, Vec<Time>>,
}

impl Tries {
    /// Counts a try, or says that it is one too many.
    #[must_use]
    pub fn count(&mut self, now: Time, source: Source) -> bool {
        self.of_source.retain(|_, tries| {
            tries.retain(|then| now.since(*then) < TRIES_WITHIN);
            !tries.is_empty()
        });
        let is_full = self.of_source.len() >= MAX_TRYING_SOURCES;
        match self.of_source.entry(source) {
            Entry::Vacant(_) if is_full => false,
            Entry::Occupied(tries) if tries.get().len() >= MAX_TRIES => false,
            tries => {
                tries.or_default().push(now);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_000_000);

    fn source(number: usize) -> Source {
        let number = u32::try_from(number).expect("tests have few sources");
        Source::V4(Ipv4Addr::from_bits(number))
    }

    #[test]
    fn sources_are_what_one_attacker_has() {
        let of = |address: &str| Source::from(address.parse::<IpAddr>().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }

    #[test]
    fn a_source_has_few_connections() {
        let mut strangers = Strangers::default();
        for _ in 0..MAX_HALF_OPEN_OF_SOURCE {
            assert!(strangers.enter(NOW, source(1)));
        }
        assert!(!strangers.enter(NOW, source(1)));
        assert!(strangers.enter(NOW, source(2)));
        strangers.leave(source(1));
        assert!(strangers.enter(NOW, source(1)));
    }

    #[test]
    fn all_strangers_together_have_few() {
        let mut strangers = Strangers::default();
        for number in 0..MAX_HALF_OPEN {
            assert!(strangers.enter(NOW, source(number)));
        }
        assert!(!strangers.enter(NOW, source(1000)));
        strangers.leave(source(3));
        assert!(strangers.enter(NOW + STRANGERS_WITHIN, source(1000)));
    }

    #[test]
    fn members_never_queue_behind_strangers() {
        let mut strangers = Strangers::default();
        let member = source(9999);
        assert!(strangers.enter(NOW, member));
        strangers.welcome(member);
        strangers.leave(member);
        assert_eq!(strangers.half_open(), 0);
        for number in 0..MAX_HALF_OPEN {
            assert!(strangers.enter(NOW + STRANGERS_WITHIN, source(number)));
        }
        for _ in 0..MAX_HALF_OPEN_OF_MEMBERS {
            assert!(strangers.enter(NOW, member));
        }
        assert!(!strangers.enter(NOW, member));
        assert_eq!(strangers.half_open(), MAX_HALF_OPEN);
    }

    #[test]
    fn s3_few_strangers_a_second_are_heard() {
        let mut strangers = Strangers::default();
        let mut heard = |source: usize, number: usize, now| {
            let mut enter = || {
                let entered = strangers.enter(now, self::source(source));
                strangers.leave(self::source(source));
                entered
            };
            (0..number).filter(|_| enter()).count()
        };
        assert_eq!(heard(1, 2000, NOW), MAX_STRANGERS_OF_SOURCE);
        let all: usize = (2..100).map(|source| heard(source, 20, NOW)).sum();
        assert_eq!(all, MAX_STRANGERS - MAX_STRANGERS_OF_SOURCE);
        assert_eq!(heard(1, 1, NOW + STRANGERS_WITHIN), 1);
    }

    #[test]
    fn s3_members_are_always_heard() {
        let mut strangers = Strangers::default();
        strangers.welcome(source(1));
        for _ in 0..2000 {
            assert!(strangers.enter(NOW, source(1)));
            strangers.leave(source(1));
        }
    }

    #[test]
    fn nothing_is_kept_of_strangers_that_left() {
        let mut strangers = Strangers::default();
        let mut now = NOW;
        for number in 0..100_000 {
            assert!(strangers.enter(now, source(number)));
            strangers.leave(source(number));
            now = now + STRANGERS_WITHIN / 100;
        }
        strangers.leave(source(1));
        assert_eq!((strangers.half_open(), strangers.of_source.len()), (0, 0));
        assert!(strangers.lately.of_source.len() <= MAX_STRANGERS);
    }

    #[test]
    fn s8_five_tries_a_second() {
        let mut tries = Tries::default();
        let now = Time(1_000_000);
        for _ in 0..MAX_TRIES {
            assert!(tries.count(now, source(1)));
        }
        assert!(!tries.count(now, source(1)));
        assert!(!tries.count(now + TRIES_WITHIN / 2, source(1)));
        assert!(tries.count(now, source(2)));
        assert!(tries.count(now + TRIES_WITHIN, source(1)));
    }

    #[test]
    fn s8_any_second_is_counted() {
        let mut tries = Tries::default();
        let every = Duration::from_millis(10);
        let counted = |at: &u32| tries.count(Time(0) + every * *at, source(1));
        // Five seconds, and the first moment of the sixth.
        assert_eq!((0..=500).filter(counted).count(), 5 * MAX_TRIES + 1);
    }

    #[test]
    fn many_sources_take_bounded_memory() {
        let mut tries = Tries::default();
        for number in 0..MAX_TRYING_SOURCES {
            assert!(tries.count(Time(0), source(number)));
        }
        assert!(!tries.count(Time(0), source(MAX_TRYING_SOURCES)));
        assert!(tries.count(Time(0), source(0)));
        assert!(tries.count(Time(0) + TRIES_WITHIN, source(MAX_TRYING_SOURCES)));
        assert_eq!(tries.of_source.len(), 1);
    }
}

//! What was heard of the schedulers that somebody looks for. Pure: no sockets, and time is a
//! parameter.
//!
//! Nothing is kept but what a wanted key has signed. That a scheduler takes its announcement back is
//! not believed: anybody can say so, and to dial where nobody is costs little.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use super::Found;
use super::record::{Record, Unverified};
use crate::tls::Pin;

/// Of one key, the last ones: the same cluster may be announced by the machine that it has left and
/// by the one that it is on now.
const MAX_SIGHTINGS_OF_KEY: usize = 4;

/// In all. A program looks for a few clusters.
const MAX_SIGHTINGS: usize = 256;

/// How many signatures are checked within [`CHECKS_WITHIN`]: each takes some 50 µs, so that whoever
/// floods the network with forged ones takes a hundredth of a processor.
const MAX_CHECKS: u32 = 200;

const CHECKS_WITHIN: Duration = Duration::from_secs(1);

/// What was heard, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    known: VecDeque<Sighting>,
    checks: u32,
    counting_since: Option<Instant>,
}

/// What came of a record that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Something is known now that was not before.
    New,
    /// It was known.
    Known,
    /// It is not kept: nobody wants it, or the key that it claims did not sign it.
    Refused,
}

#[derive(Debug)]
struct Sighting {
    said: Unverified,
    /// On which interface each address of one link was heard.
    zones: Vec<(IpAddr, u32)>,
}

impl Sightings {
    /// Hears a record.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        said: Unverified,
        zones: Vec<(IpAddr, u32)>,
        wanted: &[Pin],
    ) -> Heard {
        let key = said.claimed_key();
        if !wanted.iter().any(|pin| pin.holds(&key)) {
            return Heard::Refused;
        }
        if let Some(same) = self.known.iter_mut().find(|known| known.said == said) {
            let is_new = same.zones != zones;
            same.zones = zones;
            return if is_new { Heard::New } else { Heard::Known };
        }
        if !self.may_check(now) || said.verify().is_none() {
            return Heard::Refused;
        }
        let of_key = self.known.iter().filter(|known| known.said.claimed_key() == key).count();
        if of_key >= MAX_SIGHTINGS_OF_KEY {
            let oldest = self.known.iter().position(|known| known.said.claimed_key() == key);
            self.known.remove(oldest.expect("there are some"));
        } else if self.known.len() >= MAX_SIGHTINGS {
            self.known.pop_front();
        }
        self.known.push_back(Sighting { said, zones });
        Heard::New
    }

    /// Forgets what nobody wants any more.
    pub(super) fn keep(&mut self, wanted: &[Pin]) {
        self.known.retain(|known| wanted.iter().any(|pin| pin.holds(&known.said.claimed_key())));
    }

    /// What is known, the newest first.
    pub(super) fn found(&self) -> Vec<Found> {
        let verified = self.known.iter().rev();
        verified.filter_map(|known| Some(found(known.said.verify()?, &known.zones))).collect()
    }

    fn may_check(&mut self, now: Instant) -> bool {
        let is_counting =
            self.counting_since.is_some_and(|since| now.duration_since(since) < CHECKS_WITHIN);
        if !is_counting {
            self.counting_since = Some(now);
            self.checks = 0;
        }
        self.checks += 1;
        self.checks <= MAX_CHECKS
    }
}

fn found(record: &Record, zones: &[(IpAddr, u32)]) -> Found {
    let addresses =
        record.addresses.iter().flat_map(|address| placed(*address, record.port, zones));
    Found {
        key: record.key,
        name: record.name.clone(),
        port: record.port,
        addresses: addresses.collect(),
    }
}

/// Where an address leads from this host: one of a link alone leads nowhere but over the interface
/// on which it was heard.
fn placed(address: IpAddr, port: u16, zones: &[(IpAddr, u32)]) -> Vec<SocketAddr> {
    match address {
        IpAddr::V6(of_link) if of_link.is_unicast_link_local() => {
            let heard = zones.iter().filter(|(heard, _)| *heard == address);
            heard.map(|(_, zone)| SocketAddrV6::new(of_link, port, 0, *zone).into()).collect()
        }
        _ => vec![SocketAddr::new(address, port)],
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{read, record};
    use super::*;
    use crate::identity::KeyPair;

    fn key() -> KeyPair {
        KeyPair::generate().expect("the system is random")
    }

    fn said(key: &KeyPair, addresses: &[&str]) -> Unverified {
        read(&record(key, addresses).sign(key)).expect("it was just written")
    }

    fn pin(key: &KeyPair) -> Pin {
        Pin::Key(key.public())
    }

    fn places(sightings: &Sightings) -> Vec<String> {
        let found = sightings.found();
        let addresses = found.iter().flat_map(|found| &found.addresses);
        addresses.map(ToString::to_string).collect()
    }

    #[test]
    fn what_a_wanted_key_has_signed_is_kept() {
        let (mut sightings, now, key) = (Sightings::default(), Instant::now(), key());
        let wanted = [Pin::Fingerprint(key.public().fingerprint())];
        let here = said(&key, &["10.0.0.1", "fd00::1"]);
        assert_eq!(sightings.hear(now, here.clone(), Vec::new(), &wanted), Heard::New);
        assert_eq!(sightings.hear(now, here, Vec::new(), &wanted), Heard::Known);
        assert_eq!(places(&sightings), ["10.0.0.1:12222", "[fd00::1]:12222"]);
        sightings.keep(&[]);
        assert!(sightings.found().is_empty());
    }

    #[test]
    fn s13_what_nobody_wants_or_nobody_signed_is_not_kept() {
        let (mut sightings, now, wanted) = (Sightings::default(), Instant::now(), key());
        let other = key();
        let unwanted = said(&other, &["10.0.0.1"]);
        let forged = read(&record(&wanted, &["10.0.0.1"]).sign(&other)).expect("it can be read");
        for said in [unwanted, forged] {
            assert_eq!(sightings.hear(now, said, Vec::new(), &[pin(&wanted)]), Heard::Refused);
        }
        assert!(sightings.found().is_empty());
    }

    #[test]
    fn s13_forged_records_cost_few_checks_and_those_after_a_second_count() {
        let (mut sightings, now, wanted) = (Sightings::default(), Instant::now(), key());
        let forged = read(&record(&wanted, &["10.0.0.1"]).sign(&key())).expect("it can be read");
        for _ in 0..MAX_CHECKS {
            sightings.hear(now, forged.clone(), Vec::new(), &[pin(&wanted)]);
        }
        let good = said(&wanted, &["10.0.0.2"]);
        let mut hear_at =
            |moment| sightings.hear(moment, good.clone(), Vec::new(), &[pin(&wanted)]);
        assert_eq!(hear_at(now), Heard::Refused);
        assert_eq!(hear_at(now + CHECKS_WITHIN), Heard::New);
    }

    #[test]
    fn of_one_key_the_last_ones_are_kept() {
        let (mut sightings, now, key) = (Sightings::default(), Instant::now(), key());
        for number in 1..=6 {
            let address = format!("10.0.0.{number}");
            let heard = sightings.hear(now, said(&key, &[&address]), Vec::new(), &[pin(&key)]);
            assert_eq!(heard, Heard::New);
        }
        let expected = [6, 5, 4, 3].map(|number| format!("10.0.0.{number}:12222"));
        assert_eq!(places(&sightings), expected);
    }

    #[test]
    fn an_address_of_a_link_has_the_zone_where_it_was_heard() {
        let (mut sightings, now, key) = (Sightings::default(), Instant::now(), key());
        let said = said(&key, &["fe80::1"]);
        sightings.hear(now, said.clone(), Vec::new(), &[pin(&key)]);
        assert!(places(&sightings).is_empty());
        let of_link = "fe80::1".parse().expect("it is one");
        let zones = vec![(of_link, 3)];
        assert_eq!(sightings.hear(now, said.clone(), zones, &[pin(&key)]), Heard::New);
        assert_eq!(places(&sightings), ["[fe80::1%3]:12222"]);
    }
}

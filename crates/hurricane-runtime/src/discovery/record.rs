//! What a scheduler says of itself in its TXT record: strings that any network tool shows, and the
//! signature of its key over all of them.
//!
//! Anybody may send such a record. Reading one costs a bounded time, and gives nothing unless the
//! signature holds.

use std::net::IpAddr;

use data_encoding::HEXLOWER;

use crate::identity::{KeyPair, Name, PublicKey};

/// How many addresses are announced: a machine with more networks is found by these.
pub(super) const MAX_ADDRESSES: usize = 16;

/// What the signature is over begins with this, so that nothing else that the key signs is ever
/// taken for a record, nor a record of one version for another's.
const DOMAIN: &[u8] = b"hurricane announcement 1\0";

/// How much of a string of 255 bytes the addresses may take.
const MAX_ADDRESSES_BYTES: usize = 240;

/// The keys of the strings that hold addresses, as many as there may be need for.
const ADDRESS_KEYS: [&str; 4] = ["addresses", "addresses2", "addresses3", "addresses4"];

/// Where a scheduler is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Its key.
    pub(super) key: PublicKey,
    /// What people call the cluster.
    pub(super) name: Name,
    /// Its initialization port.
    pub(super) port: u16,
    /// Its addresses, without zones: those mean something on its own host alone.
    pub(super) addresses: Vec<IpAddr>,
}

impl Record {
    /// The strings of the TXT record, each a key and a value.
    pub(super) fn sign(&self, key: &KeyPair) -> Vec<(&'static str, String)> {
        let mut strings = vec![
            ("key", self.key.to_string()),
            ("name", self.name.to_string()),
            ("port", self.port.to_string()),
        ];
        strings.extend(ADDRESS_KEYS.into_iter().zip(lines(&self.addresses)));
        strings.push(("signature", HEXLOWER.encode(&key.sign(&self.signed()))));
        strings
    }

    /// What a TXT record says, whoever sent it; nothing if that is no record.
    pub(super) fn read<'a>(value: impl Fn(&str) -> Option<&'a [u8]>) -> Option<Unverified> {
        let text = |key: &str| str::from_utf8(value(key)?).ok();
        let mut addresses = Vec::new();
        for line in ADDRESS_KEYS.iter().filter_map(|key| text(key)) {
            for address in line.split(',') {
                addresses.push(address.parse().ok()?);
            }
        }
        let signature = HEXLOWER.decode(value("signature")?).ok()?;
        let record = Self {
            key: text("key")?.parse().ok()?,
            name: text("name")?.parse().ok()?,
            port: text("port")?.parse().ok()?,
            addresses,
        };
        let is_bounded = record.addresses.len() <= MAX_ADDRESSES && record.port != 0;
        is_bounded.then(|| Some(Unverified { record, signature: signature.try_into().ok()? }))?
    }

    fn signed(&self) -> Vec<u8> {
        let mut signed = DOMAIN.to_vec();
        signed.extend(self.key.as_bytes());
        signed.extend(self.port.to_be_bytes());
        let name = self.name.as_str().as_bytes();
        signed.push(u8::try_from(name.len()).expect("a name has at most 63 bytes"));
        signed.extend(name);
        for address in &self.addresses {
            match address {
                IpAddr::V4(address) => {
                    signed.push(4);
                    signed.extend(address.octets());
                }
                IpAddr::V6(address) => {
                    signed.push(6);
                    signed.extend(address.octets());
                }
            }
        }
        signed
    }
}

/// What somebody says in the name of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unverified {
    record: Record,
    signature: [u8; 64],
}

impl Unverified {
    /// In whose name.
    pub(super) fn claimed_key(&self) -> PublicKey {
        self.record.key
    }

    /// The record, if that key has signed it.
    pub(super) fn verify(&self) -> Option<&Record> {
        let Self { record, signature } = self;
        record.key.has_signed(&record.signed(), signature).then_some(record)
    }
}

/// Addresses in as few strings as hold them.
fn lines(addresses: &[IpAddr]) -> Vec<String> {
    let mut lines = vec![String::new()];
    for address in addresses.iter().take(MAX_ADDRESSES) {
        let address = address.to_string();
        let line = lines.last_mut().expect("there is always one");
        if line.is_empty() {
            *line = address;
        } else if line.len() + 1 + address.len() <= MAX_ADDRESSES_BYTES {
            line.push(',');
            line.push_str(&address);
        } else {
            lines.push(address);
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    pub(in crate::discovery) fn record(key: &KeyPair, addresses: &[&str]) -> Record {
        let parsed = addresses.iter().map(|address| address.parse().expect("it is one"));
        Record {
            key: key.public(),
            name: Name::near("lab"),
            port: 12222,
            addresses: parsed.collect(),
        }
    }

    pub(in crate::discovery) fn read(strings: &[(&'static str, String)]) -> Option<Unverified> {
        let strings: BTreeMap<_, _> = strings.iter().map(|(key, value)| (*key, value)).collect();
        Record::read(|key| strings.get(key).map(|value| value.as_bytes()))
    }

    fn key() -> KeyPair {
        KeyPair::generate().expect("the system is random")
    }

    #[test]
    fn a_record_is_read_as_it_was_signed() {
        let key = key();
        let record = record(&key, &["10.0.0.1", "fd00::1", "fe80::1"]);
        let strings = record.sign(&key);
        assert_eq!(strings[1..4].concat_values(), "lab 12222 10.0.0.1,fd00::1,fe80::1");
        let read = read(&strings).expect("it was just written");
        assert_eq!((read.claimed_key(), read.verify()), (key.public(), Some(&record)));
    }

    trait ConcatValues {
        fn concat_values(&self) -> String;
    }

    impl ConcatValues for [(&'static str, String)] {
        fn concat_values(&self) -> String {
            let values: Vec<&str> = self.iter().map(|(_, value)| value.as_str()).collect();
            values.join(" ")
        }
    }

    #[test]
    fn s13_nothing_can_be_changed_or_said_in_anothers_name() {
        let (key, other) = (key(), key());
        let strings = record(&key, &["10.0.0.1"]).sign(&key);
        let changed = |name: &str, value: &str| {
            let mut strings = strings.clone();
            let one = strings.iter_mut().find(|(key, _)| *key == name).expect("it is there");
            value.clone_into(&mut one.1);
            read(&strings).expect("it can be read").verify().cloned()
        };
        assert_eq!(changed("addresses", "10.0.0.2"), None);
        assert_eq!(changed("addresses", "10.0.0.1,10.0.0.2"), None);
        assert_eq!(changed("port", "12223"), None);
        assert_eq!(changed("name", "labs"), None);
        assert_eq!(changed("key", &other.public().to_string()), None);
        let by_another = record(&key, &["10.0.0.1"]).sign(&other);
        assert_eq!(read(&by_another).expect("it can be read").verify(), None);
    }

    #[test]
    fn the_longest_fits_into_its_strings() {
        let key = key();
        let long = "2001:db8:1111:2222:3333:4444:5555:6666";
        let mut record = record(&key, &[long; MAX_ADDRESSES]);
        record.name = Name::near(&"x".repeat(63));
        let strings = record.sign(&key);
        let lengths = strings.iter().map(|(key, value)| key.len() + 1 + value.len());
        assert!(lengths.clone().all(|length| length <= 255), "{strings:?}");
        // With the other records it fits into one packet of an Ethernet.
        assert!(lengths.sum::<usize>() < 1100, "{strings:?}");
        assert_eq!(read(&strings).expect("it is one").verify(), Some(&record));
        record.addresses.push(long.parse().expect("it is one"));
        assert_eq!(read(&record.sign(&key)).expect("it can be read").verify(), None);
    }

    #[test]
    fn what_is_no_record_is_nothing() {
        let key = key();
        let strings = record(&key, &["10.0.0.1"]).sign(&key);
        for left_out in ["key", "name", "port", "signature"] {
            let mut strings = strings.clone();
            strings.retain(|(key, _)| *key != left_out);
            assert_eq!(read(&strings), None, "{left_out}");
        }
        for (name, value) in [("port", "0"), ("addresses", "rack"), ("signature", "00")] {
            let mut strings = strings.clone();
            strings.iter_mut().filter(|(key, _)| *key == name).for_each(|one| one.1 = value.into());
            assert_eq!(read(&strings), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_strings_are_read_or_refused(
            values in proptest::collection::vec("[0-9a-f:.,]{0,140}|\\PC{0,60}", 5),
        ) {
            let keys = ["key", "name", "port", "addresses", "signature"];
            let strings: Vec<_> = keys.into_iter().zip(values).collect();
            if let Some(read) = read(&strings) {
                prop_assert_eq!(read.verify(), None);
            }
        }
    }
}

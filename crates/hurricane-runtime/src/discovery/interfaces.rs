//! The addresses of this host, which come and go.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use if_addrs::{Interface, get_if_addrs};

use super::record::MAX_ADDRESSES;

/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When the networks are told, or asked, once more after a change: a new IPv6 address cannot be used
/// until the system has made sure for some two seconds that nobody else has it.
const AGAIN_AFTER: Duration = Duration::from_secs(3);

/// The addresses at which others may reach this host, and when they change.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    addresses: Vec<IpAddr>,
    looked: Option<Instant>,
    again: Option<Instant>,
}

impl Interfaces {
    /// Those of now, which are no change.
    pub(super) fn known() -> Self {
        let mut interfaces = Self::default();
        interfaces.have_changed(Instant::now());
        interfaces.again = None;
        interfaces
    }

    /// Whether it is time to tell or to ask the networks: something has changed, a moment ago or
    /// just now. Looks once a second, however often it is asked.
    pub(super) fn have_changed(&mut self, now: Instant) -> bool {
        if self.looked.is_some_and(|looked| now.duration_since(looked) < LOOK_EVERY) {
            return false;
        }
        self.looked = Some(now);
        // While the system cannot say, nothing changes.
        let Ok(interfaces) = get_if_addrs() else { return false };
        self.have_become(now, reachable(&interfaces))
    }

    fn have_become(&mut self, now: Instant, addresses: Vec<IpAddr>) -> bool {
        if addresses != self.addresses {
            self.addresses = addresses;
            self.again = Some(now + AGAIN_AFTER);
            return true;
        }
        self.again.take_if(|again| *again <= now).is_some()
    }

    /// The likeliest first.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }
}

fn reachable(interfaces: &[Interface]) -> Vec<IpAddr> {
    let up = interfaces.iter().filter(|interface| interface.is_oper_up());
    let mut addresses: Vec<IpAddr> =
        up.map(Interface::ip).filter(|address| !address.is_loopback()).collect();
    addresses.sort_by_key(|address| (is_of_link(address), *address));
    addresses.dedup();
    addresses.truncate(MAX_ADDRESSES);
    addresses
}

fn is_of_link(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_not_named() {
        let addresses = reachable(&get_if_addrs().expect("the system says"));
        assert!(addresses.iter().all(|address| !address.is_loopback()));
        assert!(addresses.is_sorted_by_key(is_of_link));
    }

    #[test]
    fn a_change_is_told_and_a_little_later_again() {
        let (mut interfaces, now) = (Interfaces::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        let one: Vec<IpAddr> = vec!["10.0.0.1".parse().expect("it is one")];
        let told: Vec<u64> =
            (0..8).filter(|second| interfaces.have_become(at(*second), one.clone())).collect();
        assert_eq!(told, [0, 3]);
        assert!(interfaces.have_become(at(9), Vec::new()));
    }
}

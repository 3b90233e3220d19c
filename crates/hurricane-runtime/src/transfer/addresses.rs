//! Where other machines may reach this one.

use std::net::{IpAddr, SocketAddr};

use hurricane_core::member::MAX_ADDRESSES;

/// The addresses of this host with a port, as nodes name them to their scheduler: the likeliest
/// first. Those of one link alone are left out, since they mean something else on each host.
pub(crate) fn own_addresses(port: u16) -> Vec<Box<str>> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut addresses: Vec<IpAddr> =
        interfaces.iter().map(if_addrs::Interface::ip).filter(|ip| !is_of_link(*ip)).collect();
    addresses.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    addresses.dedup();
    let text = |ip| SocketAddr::new(ip, port).to_string().into();
    addresses.into_iter().take(MAX_ADDRESSES).map(text).collect()
}

fn is_of_link(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_comes_last_and_the_port_is_in_it() {
        let addresses = own_addresses(4711);
        let parsed: Vec<SocketAddr> =
            addresses.iter().map(|text| text.parse().expect("an address")).collect();
        assert!(parsed.iter().all(|address| address.port() == 4711));
        assert!(parsed.is_sorted_by_key(|address| address.ip().is_loopback()));
        assert!(addresses.contains(&"127.0.0.1:4711".into()));
    }
}

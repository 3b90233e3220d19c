//! Where a scheduler listens: TCP on its initialization port, and a unix socket for its own host.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use super::ServerError;
use crate::platform::local_socket::{LocalSocket, PortClaim};

/// Connections that wait to be accepted: all nodes of a cluster come back at once after a restart.
const BACKLOG: i32 = 1024;

/// How often any free port is tried, when several addresses must have the same one.
const TRIES: usize = 16;

/// Everything that is listened at.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) listeners: Vec<TcpListener>,
    pub(super) local: LocalSocket,
    pub(super) port: u16,
}

impl Listening {
    /// Listens on a port, or on any that is free if it is 0; everywhere if no address is named.
    pub(super) fn start(port: u16, addresses: &[IpAddr]) -> Result<Self, ServerError> {
        if port != 0 {
            // First, since it tells which of this user's schedulers has the port.
            let claim = PortClaim::make(port)?.ok_or(ServerError::AlreadyHere { port })?;
            let listeners = listen_at_all(port, addresses)?;
            return Ok(Self { listeners, local: claim.listen()?, port });
        }
        for _ in 0..TRIES {
            let first = listen_at_all(0, addresses.get(..1).unwrap_or_default())?;
            let port = port_of(&first)?;
            let rest = addresses.get(1..).filter(|rest| !rest.is_empty());
            let Ok(rest) = rest.map_or(Ok(Vec::new()), |rest| listen_at_all(port, rest)) else {
                continue;
            };
            if let Some(claim) = PortClaim::make(port)? {
                let listeners = first.into_iter().chain(rest).collect();
                return Ok(Self { listeners, local: claim.listen()?, port });
            }
        }
        Err(ServerError::Taken { port })
    }

    /// Where TCP is listened at.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }
}

fn port_of(listeners: &[TcpListener]) -> Result<u16, ServerError> {
    let address = listeners.first().map(TcpListener::local_addr);
    match address {
        Some(Ok(address)) => Ok(address.port()),
        Some(Err(source)) => Err(ServerError::Socket { address: "port 0".into(), source }),
        None => unreachable!("there is one listener for each address, or one for all"),
    }
}

fn listen_at_all(port: u16, addresses: &[IpAddr]) -> Result<Vec<TcpListener>, ServerError> {
    if addresses.is_empty() {
        return listen_everywhere(port).map(|listener| vec![listener]);
    }
    addresses.iter().map(|ip| listen_at(SocketAddr::new(*ip, port), true)).collect()
}

fn listen_everywhere(port: u16) -> Result<TcpListener, ServerError> {
    let any = |ip: IpAddr| SocketAddr::new(ip, port);
    match listen_at(any(Ipv6Addr::UNSPECIFIED.into()), false) {
        // There is no IPv6 on this host.
        Err(ServerError::Socket { .. }) => listen_at(any(Ipv4Addr::UNSPECIFIED.into()), true),
        result => result,
    }
}

/// An IPv6 socket for every address takes IPv4 as well, unless it is for IPv6 alone.
fn listen_at(address: SocketAddr, is_alone: bool) -> Result<TcpListener, ServerError> {
    open(address, is_alone).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServerError::Taken { port: address.port() },
        _ => ServerError::Socket { address: address.to_string().into(), source },
    })
}

fn open(address: SocketAddr, is_alone: bool) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // Connections of the scheduler before this one, which the system keeps for a minute, do not
    // hinder; one that listens does.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, is_alone)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

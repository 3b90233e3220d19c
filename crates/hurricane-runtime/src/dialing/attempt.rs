//! One try to reach a scheduler at one place.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::net::{TcpStream, UnixStream};

use super::{DialError, Dialed, Reached};
use crate::framed::BoxedStream;
use crate::greeting::{Greeting, greet_scheduler};
use crate::platform::fork::HiddenFromChildren;
use crate::platform::tcp::prepare;
use crate::tls::connect;

/// This user's own scheduler.
pub(super) async fn unix(path: &Path, greeting: &Greeting, port: u16) -> Result<Dialed, DialError> {
    let address = || path.to_string_lossy().into();
    let mut stream = UnixStream::connect(path).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => DialError::NotHere { port },
        _ => DialError::Unreachable { address: address(), source: Arc::new(error) },
    })?;
    let credentials = stream.peer_cred();
    let user = credentials
        .map_err(|error| DialError::Unreachable { address: address(), source: Arc::new(error) })?
        .uid();
    if user != rustix::process::geteuid().as_raw() {
        return Err(DialError::AnotherUser { path: path.to_owned(), user });
    }
    let greeted = greet_scheduler(&mut stream, greeting).await;
    greeted.map_err(|error| DialError::Greeting { address: address(), error })?;
    let stream: BoxedStream = Box::new(HiddenFromChildren::new(stream));
    Ok(Dialed { stream, reached: Reached::Here(path.to_owned()) })
}

/// A scheduler that shows the key which the configuration pins.
pub(super) async fn tcp(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    greeting: Greeting,
) -> Result<Dialed, DialError> {
    let stream = open(address).await.map_err(|error| unreachable(address, error))?;
    let stream = HiddenFromChildren::new(stream);
    let place = || address.to_string().into();
    let secured = connect(config, stream).await;
    let mut stream = secured.map_err(|error| DialError::Handshake { address: place(), error })?;
    let greeted = greet_scheduler(&mut stream, &greeting).await;
    greeted.map_err(|error| DialError::Greeting { address: place(), error })?;
    Ok(Dialed { stream: Box::new(stream), reached: Reached::At(address) })
}

pub(super) fn unreachable(address: SocketAddr, error: io::Error) -> DialError {
    DialError::Unreachable { address: address.to_string().into(), source: Arc::new(error) }
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    prepare(&stream)?;
    Ok(stream)
}

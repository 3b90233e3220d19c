//! The handshake of both sides, within limits of time and bytes.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, TlsStream};

use super::{
    AuthorizedKeys, Bounded, HandshakeError, Purpose, answering_joiners, answering_members,
};
use crate::enrolment::Joiner;
use crate::identity::{KeyPair, PublicKey};

/// How long a stranger may take to show its key, and to enrol.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// A stream whose other side has shown its key.
pub type Secured<S> = TlsStream<Bounded<S>>;

/// The two ways into a cluster, which share a port.
#[derive(Clone, Debug)]
pub struct Doors {
    members: Arc<ServerConfig>,
    joiners: Arc<ServerConfig>,
}

/// Somebody who came in.
#[derive(Debug)]
pub enum Accepted<S> {
    /// With a key that was authorized when it was shown. Look again when the connection is known
    /// to whoever would cut it: the key may have been revoked since.
    Member {
        /// The connection, of which no application byte was read yet.
        stream: Box<Secured<S>>,
        /// Whose it is.
        key: PublicKey,
    },
    /// To enrol, and to do nothing else.
    Joiner(Box<Joiner<S>>),
}

impl Doors {
    /// Those of a cluster.
    pub fn new(cluster: &KeyPair, authorized: AuthorizedKeys) -> Self {
        Self {
            members: answering_members(cluster, authorized),
            joiners: answering_joiners(cluster),
        }
    }

    /// Completes the handshake of somebody who dialed.
    pub async fn accept<S>(
        &self,
        stream: S,
        is_enrolling: bool,
    ) -> Result<Accepted<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let (stream, purpose) = within(deadline, self.handshake(stream, is_enrolling)).await?;
        let key = peer_key(&stream).ok_or(HandshakeError::NotHurricane)?;
        Ok(match purpose {
            Purpose::Main => Accepted::Member { stream: Box::new(stream), key },
            Purpose::Enrolment => Accepted::Joiner(Box::new(Joiner::new(stream, key, deadline))),
        })
    }

    async fn handshake<S>(
        &self,
        stream: S,
        is_enrolling: bool,
    ) -> Result<(Secured<S>, Purpose), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = LazyConfigAcceptor::new(Acceptor::default(), Bounded::new(stream)).await;
        let start = start.map_err(HandshakeError::of_answering)?;
        let asks_for = |purpose: Purpose| {
            let mut offered = start.client_hello().alpn().into_iter().flatten();
            offered.any(|protocol| protocol == purpose.protocol())
        };
        // To who asks for neither way, or for enrolment when there is none, the main one says no.
        let config = if is_enrolling && asks_for(Purpose::Enrolment) {
            &self.joiners
        } else {
            &self.members
        };
        let stream = start.into_stream(Arc::clone(config)).await;
        let mut stream = stream.map_err(HandshakeError::of_answering)?;
        let spoken = stream.get_ref().1.alpn_protocol();
        // TLS lets those through who ask for nothing at all.
        let purpose = [Purpose::Main, Purpose::Enrolment]
            .into_iter()
            .find(|purpose| spoken == Some(purpose.protocol()))
            .ok_or(HandshakeError::NotHurricane)?;
        stream.get_mut().0.lift();
        Ok((stream.into(), purpose))
    }
}

/// Dials: completes the handshake with a scheduler. That ours has ended says nothing yet about
/// whether it lets us in: it speaks first, and its refusal comes instead.
pub async fn connect<S>(config: Arc<ClientConfig>, stream: S) -> Result<Secured<S>, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = async {
        // Not sent: the key says who the scheduler is, whatever its address is called.
        let name = ServerName::try_from("hurricane").expect("it is a name");
        let stream = TlsConnector::from(config).connect(name, Bounded::new(stream)).await;
        let mut stream = stream.map_err(HandshakeError::of_dialing)?;
        if stream.get_ref().1.alpn_protocol().is_none() {
            return Err(HandshakeError::NotHurricane);
        }
        stream.get_mut().0.lift();
        Ok(stream.into())
    };
    within(Instant::now() + HANDSHAKE_TIMEOUT, handshake).await
}

pub(super) async fn within<T>(
    deadline: Instant,
    handshake: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, HandshakeError> {
    timeout_at(deadline, handshake).await.unwrap_or(Err(HandshakeError::TimedOut))
}

/// The key that the other side has shown.
pub fn peer_key<S>(stream: &Secured<S>) -> Option<PublicKey> {
    let [shown] = stream.get_ref().1.peer_certificates()? else { return None };
    PublicKey::from_spki(shown)
}

/// 32 bytes that only the two ends of this very connection know.
pub fn exporter<S>(stream: &Secured<S>, label: &[u8]) -> Result<[u8; 32], HandshakeError> {
    let bytes = [0; 32];
    let exported = match stream {
        TlsStream::Client(stream) => stream.get_ref().1.export_keying_material(bytes, label, None),
        TlsStream::Server(stream) => stream.get_ref().1.export_keying_material(bytes, label, None),
    };
    exported.map_err(HandshakeError::Tls)
}

/// Makes a handshake's error of what ended a first read.
pub(crate) fn refusal<S>(stream: &Secured<S>, error: io::Error) -> HandshakeError {
    match stream {
        TlsStream::Client(_) => HandshakeError::of_dialing(error),
        TlsStream::Server(_) => HandshakeError::of_answering(error),
    }
}

//! TLS 1.3 between machines that know each other by their Ed25519 keys, sent as raw public keys
//! (RFC 7250): no certificates, nothing that expires, nothing to turn off.
//!
//! There are two ways in. The main one is for [`AuthorizedKeys`]; the other, for enrolment, takes
//! any key, and leads to a [`Joiner`](crate::enrolment::Joiner), which can do one thing. Both sides
//! show their keys; the dialing side pins the scheduler's, and shows its own only after that held.

mod accept;
mod bounded;
mod verify;

pub(crate) use accept::refusal;
pub use accept::{Accepted, Doors, HANDSHAKE_TIMEOUT, Secured, connect, exporter, peer_key};
pub use bounded::{Bounded, MAX_HANDSHAKE_BYTES};
pub use verify::{AuthorizedKeys, Pin};

use std::io;
use std::sync::Arc;

use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{AlertDescription, CertificateError, ClientConfig, ServerConfig};

use crate::identity::KeyPair;
use verify::{Admitted, Admitting, Pinned};

/// What a connection is for. It is said in TLS itself (ALPN), before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A member's work.
    Main,
    /// To become a member.
    Enrolment,
}

impl Purpose {
    /// Its name in TLS. The version of the protocol is not in it: a mismatch must be a sentence,
    /// and TLS has none.
    fn protocol(self) -> &'static [u8] {
        match self {
            Self::Main => b"hurricane",
            Self::Enrolment => b"hurricane-enrolment",
        }
    }
}

/// How to dial a scheduler.
pub fn dialing(own: &KeyPair, scheduler: Pin, purpose: Purpose) -> Arc<ClientConfig> {
    let provider = provider();
    let verifier = Pinned::new(scheduler, &provider);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(shown(own))));
    config.alpn_protocols = vec![purpose.protocol().to_vec()];
    // Each connection proves both keys anew, and names nobody in the clear.
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config.enable_early_data = false;
    Arc::new(config)
}

/// How to answer members.
fn answering_members(own: &KeyPair, authorized: AuthorizedKeys) -> Arc<ServerConfig> {
    answering(own, Purpose::Main, Admitted::Authorized(authorized))
}

/// How to answer those who hold a ticket.
fn answering_joiners(own: &KeyPair) -> Arc<ServerConfig> {
    answering(own, Purpose::Enrolment, Admitted::Anybody)
}

fn answering(own: &KeyPair, purpose: Purpose, admitted: Admitted) -> Arc<ServerConfig> {
    let provider = provider();
    let verifier = Admitting::new(admitted, &provider);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3")
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(shown(own))));
    config.alpn_protocols = vec![purpose.protocol().to_vec()];
    // A ticket of resumption would let a revoked key back in, and early data can be replayed.
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Arc::new(config)
}

/// Named wherever one is needed: with two in a build, rustls cannot choose and panics.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn shown(own: &KeyPair) -> Arc<CertifiedKey> {
    let spki = own.public().to_spki();
    Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki.to_vec())], own.signing()))
}

/// Why two sides did not come together.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The other side was too slow.
    #[error("the other side did not answer within {} seconds", HANDSHAKE_TIMEOUT.as_secs())]
    TimedOut,
    /// It sent far more than a handshake needs.
    #[error(
        "the other side sent more than {MAX_HANDSHAKE_BYTES} bytes before it had shown its key"
    )]
    TooMuch,
    /// It is something else: a browser, a scanner, another server.
    #[error("the other side does not speak hurricane's protocol")]
    NotHurricane,
    /// Dialing: the key there is not the pinned one, and nothing was shown to it.
    #[error("the scheduler there belongs to another cluster: its key is not the expected one")]
    WrongScheduler,
    /// Dialing: the scheduler does not know our key.
    #[error(
        "the scheduler does not let this machine in: its key was never enrolled, or was revoked"
    )]
    NotAuthorized,
    /// Dialing: no ticket is valid there now.
    #[error("no ticket is valid there now: this one has expired, or the scheduler was restarted")]
    NoInvitation,
    /// Answering: a key that is not authorized.
    #[error("the other side's key is not authorized")]
    UnknownKey,
    /// Answering: the other side looks for another cluster.
    #[error("the other side expected another cluster")]
    ExpectedAnother,
    /// Answering: somebody wants to enrol, and no invitation is live.
    #[error("the other side wants to enrol, and no invitation is live")]
    NotInvited,
    /// The connection ended.
    #[error("the connection was cut")]
    Cut(#[source] Arc<io::Error>),
    /// Anything else that TLS found wrong.
    #[error("the connection could not be secured")]
    Tls(#[source] rustls::Error),
}

impl HandshakeError {
    /// What the dialing side can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotHurricane => Some("check the address and the port"),
            Self::WrongScheduler => {
                Some("check the address, or join this cluster with its own ticket")
            }
            Self::NotAuthorized | Self::NoInvitation => {
                Some("run `hurricane invite` on the scheduler's machine, and `hurricane join` here")
            }
            _ => None,
        }
    }

    /// What an error means to the side that dialed, be it of the handshake or of the first read:
    /// in TLS 1.3 the scheduler judges our key after our handshake has ended.
    pub fn of_dialing(error: io::Error) -> Self {
        match cause(error) {
            Ok(rustls::Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            )) => Self::WrongScheduler,
            Ok(rustls::Error::AlertReceived(AlertDescription::AccessDenied)) => Self::NotAuthorized,
            Ok(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                Self::NoInvitation
            }
            Ok(error) => Self::of_tls(error),
            Err(error) => error,
        }
    }

    /// What an error means where there is no TLS.
    pub(crate) fn of_cut(error: io::Error) -> Self {
        Self::Cut(Arc::new(error))
    }

    fn of_answering(error: io::Error) -> Self {
        match cause(error) {
            Ok(rustls::Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            )) => Self::UnknownKey,
            Ok(rustls::Error::AlertReceived(AlertDescription::AccessDenied)) => {
                Self::ExpectedAnother
            }
            Ok(rustls::Error::NoApplicationProtocol) => Self::NotInvited,
            Ok(error) => Self::of_tls(error),
            Err(error) => error,
        }
    }

    fn of_tls(error: rustls::Error) -> Self {
        use rustls::Error::{
            InappropriateHandshakeMessage, InappropriateMessage, InvalidMessage,
            NoApplicationProtocol, PeerIncompatible, PeerMisbehaved,
        };
        match error {
            InvalidMessage(_)
            | InappropriateMessage { .. }
            | InappropriateHandshakeMessage { .. }
            | PeerIncompatible(_)
            | PeerMisbehaved(_)
            | NoApplicationProtocol => Self::NotHurricane,
            other => Self::Tls(other),
        }
    }
}

/// What TLS found wrong, or what else it was.
fn cause(error: io::Error) -> Result<rustls::Error, HandshakeError> {
    if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<bounded::TooMuch>) {
        return Err(HandshakeError::TooMuch);
    }
    error.downcast::<rustls::Error>().map_err(HandshakeError::of_cut)
}

#[cfg(test)]
mod tests;

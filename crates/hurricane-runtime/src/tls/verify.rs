//! Whose keys hold, for the side that dials and for the side that answers.
//!
//! Both check the signature of the handshake in the same way; they differ in the keys they take.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    SignatureScheme,
};

use crate::identity::{Fingerprint, PublicKey, Roles};

/// The keys that the main way in is for. A change holds from the next handshake on; connections
/// that are open are cut by whoever makes the change.
#[derive(Clone, Default)]
pub struct AuthorizedKeys(Arc<RwLock<BTreeMap<PublicKey, Roles>>>);

impl AuthorizedKeys {
    /// Lets a key in.
    pub fn insert(&self, key: PublicKey, roles: Roles) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, roles);
    }

    /// Lets a key in no more.
    pub fn remove(&self, key: &PublicKey) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// What a key may do; nothing if it is not let in.
    pub fn roles_of(&self, key: &PublicKey) -> Option<Roles> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }
}

impl FromIterator<(PublicKey, Roles)> for AuthorizedKeys {
    fn from_iter<I: IntoIterator<Item = (PublicKey, Roles)>>(keys: I) -> Self {
        Self(Arc::new(RwLock::new(keys.into_iter().collect())))
    }
}

impl fmt::Debug for AuthorizedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        write!(f, "AuthorizedKeys({} of them)", keys.len())
    }
}

/// Which key a scheduler must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// The one that a ticket names.
    Fingerprint(Fingerprint),
    /// The one that is known since this machine was enrolled.
    Key(PublicKey),
}

impl Pin {
    pub(crate) fn holds(&self, key: &PublicKey) -> bool {
        match self {
            Self::Fingerprint(fingerprint) => key.fingerprint() == *fingerprint,
            Self::Key(pinned) => key == pinned,
        }
    }
}

/// Takes the pinned key of a scheduler.
#[derive(Debug)]
pub(super) struct Pinned {
    pin: Pin,
    signatures: Signatures,
}

impl Pinned {
    pub(super) fn new(pin: Pin, provider: &CryptoProvider) -> Self {
        Self { pin, signatures: Signatures::of(provider) }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = key_in(end_entity)?;
        if self.pin.holds(&key) { Ok(ServerCertVerified::assertion()) } else { Err(refused()) }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Signatures::schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Whom a scheduler answers, once the handshake's signature has shown that they have their key.
#[derive(Debug)]
pub(super) enum Admitted {
    /// Those whose key is authorized at this moment.
    Authorized(AuthorizedKeys),
    /// Everybody who has an Ed25519 key.
    Anybody,
}

impl Admitted {
    fn admits(&self, key: &PublicKey) -> bool {
        match self {
            Self::Authorized(keys) => keys.roles_of(key).is_some(),
            Self::Anybody => true,
        }
    }
}

/// Takes the keys of those who are admitted.
#[derive(Debug)]
pub(super) struct Admitting {
    admitted: Admitted,
    signatures: Signatures,
}

impl Admitting {
    pub(super) fn new(admitted: Admitted, provider: &CryptoProvider) -> Self {
        Self { admitted, signatures: Signatures::of(provider) }
    }
}

impl ClientCertVerifier for Admitting {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let key = key_in(end_entity)?;
        let admits = self.admitted.admits(&key);
        if admits { Ok(ClientCertVerified::assertion()) } else { Err(refused()) }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Signatures::schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Checks that who shows a key also has its secret part.
#[derive(Debug)]
struct Signatures(WebPkiSupportedAlgorithms);

impl Signatures {
    fn of(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }

    fn schemes() -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn verify(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(shown.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.0)
    }
}

/// The key that was shown in the place of a certificate.
fn key_in(shown: &CertificateDer<'_>) -> Result<PublicKey, Error> {
    let bad = Error::InvalidCertificate(CertificateError::BadEncoding);
    PublicKey::from_spki(shown).ok_or(bad)
}

fn refused() -> Error {
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}

fn too_old() -> Error {
    Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered)
}

//! Ed25519 keys. The public one is an identity; its fingerprint is what people compare and tickets
//! carry.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use rustls::SignatureScheme;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::SigningKey;

use super::text::TEXT;

/// What precedes the key itself in the structure that TLS sends. An Ed25519 key has no parameters,
/// so it is always the same.
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The public part of a machine's or a cluster's key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// What a ticket pins, and a cluster's id.
    pub fn fingerprint(&self) -> Fingerprint {
        let hash = digest(&SHA256, &self.0);
        let (first, _) = hash.as_ref().split_first_chunk().expect("SHA-256 has 32 bytes");
        Fingerprint(*first)
    }

    /// The key that has these 32 bytes. Whether anybody has its secret part, TLS shows.
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether a message carries this key's signature.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }

    /// The key in what TLS received, if that is an Ed25519 key and nothing besides.
    pub(crate) fn from_spki(spki: &[u8]) -> Option<Self> {
        spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok().map(Self)
    }

    /// The structure that TLS sends.
    pub(crate) fn to_spki(self) -> SubjectPublicKeyInfoDer<'static> {
        [&SPKI_PREFIX[..], &self.0].concat().into()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = NotAPublicKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| NotAPublicKey)?;
        bytes.try_into().map(Self).map_err(|_| NotAPublicKey)
    }
}

/// A text is not a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a public key is 64 hexadecimal digits")]
pub struct NotAPublicKey;

/// The first half of a public key's SHA-256. Finding another key for it takes 2¹²⁸ tries, no fewer
/// than breaking the key itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub(crate) [u8; 16]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&TEXT.encode(&self.0))
    }
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = TEXT.decode(text.as_bytes()).map_err(|_| NotAFingerprint)?;
        bytes.try_into().map(Self).map_err(|_| NotAFingerprint)
    }
}

/// A text is not a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 26 letters and digits")]
pub struct NotAFingerprint;

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A key with its secret part, which is never shown and never leaves the process but to its file.
#[derive(Clone)]
pub struct KeyPair {
    signing: Arc<dyn SigningKey>,
    public: PublicKey,
}

impl KeyPair {
    /// A new one, for tests and for processes whose identity ends with them.
    pub fn generate() -> Option<Self> {
        Self::from_pkcs8(&Self::generate_pkcs8()?)
    }

    /// A new one as it lies in its file.
    pub(super) fn generate_pkcs8() -> Option<Vec<u8>> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok()?;
        Some(document.as_ref().to_vec())
    }

    pub(super) fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let signing =
            rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8)).ok()?;
        let public = PublicKey::from_spki(signing.public_key()?.as_ref())?;
        Some(Self { signing, public })
    }

    /// Who it is.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs a message, which must begin with what it is for: nothing that is signed for one thing
    /// may ever mean another.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signer = self.signing.choose_scheme(&[SignatureScheme::ED25519]);
        let signature = signer.and_then(|signer| signer.sign(message).ok());
        let signature = signature.expect("an Ed25519 key signs anything");
        signature.try_into().expect("its signatures have 64 bytes")
    }

    pub(crate) fn signing(&self) -> Arc<dyn SigningKey> {
        Arc::clone(&self.signing)
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({}, …)", self.public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file_and_its_text() {
        let pkcs8 = KeyPair::generate_pkcs8().expect("the system is random");
        let key = KeyPair::from_pkcs8(&pkcs8).expect("it was just made");
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
        assert_eq!(PublicKey::from_spki(&key.public().to_spki()), Some(key.public()));
    }

    #[test]
    fn what_is_signed_is_signed_by_its_key_alone() {
        let [key, other] = [(); 2].map(|()| KeyPair::generate().expect("the system is random"));
        let signature = key.sign(b"message");
        assert!(key.public().has_signed(b"message", &signature));
        assert!(!key.public().has_signed(b"massage", &signature));
        assert!(!other.public().has_signed(b"message", &signature));
    }

    #[test]
    fn only_ed25519_keys_are_keys() {
        let mut spki = PublicKey([7; 32]).to_spki().to_vec();
        spki.push(0);
        assert_eq!(PublicKey::from_spki(&spki), None);
        // X25519 instead of Ed25519.
        spki.truncate(44);
        spki[8] = 0x6e;
        assert_eq!(PublicKey::from_spki(&spki), None);
        assert_eq!("beef".parse::<PublicKey>(), Err(NotAPublicKey));
    }

    #[test]
    fn what_is_shown_holds_no_secret() {
        let key = KeyPair::generate().expect("the system is random");
        assert_eq!(format!("{key:?}"), format!("KeyPair({}, …)", key.public()));
        let fingerprint = key.public().fingerprint();
        assert_eq!(fingerprint.to_string().len(), 26);
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert_eq!("lock".parse::<Fingerprint>(), Err(NotAFingerprint));
    }
}

//! New ids: numbers that nobody can guess, from one secret.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

/// A source of them; nothing if the system gives no randomness.
pub(super) fn dice() -> Option<Box<dyn FnMut() -> u64 + Send>> {
    let mut secret = [0; 32];
    SystemRandom::new().fill(&mut secret).ok()?;
    let mut rolls = 0_u64;
    Some(Box::new(move || {
        rolls += 1;
        let hash = digest(&SHA256, &[&secret[..], &rolls.to_le_bytes()].concat());
        u64::from_le_bytes(*hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
    }))
}

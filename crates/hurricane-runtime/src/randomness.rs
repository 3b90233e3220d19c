//! Random numbers of the system, for names that nobody else may have.

use ring::rand::{SecureRandom as _, SystemRandom};

/// A number that differs from all others ever made; never 0.
pub(crate) fn unique_number() -> u64 {
    loop {
        let mut bytes = [0; 8];
        SystemRandom::new().fill(&mut bytes).expect("a system that runs programs is random");
        let number = u64::from_ne_bytes(bytes);
        if number != 0 {
            return number;
        }
    }
}

/// So many random bytes.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("a system that runs programs is random");
    bytes
}

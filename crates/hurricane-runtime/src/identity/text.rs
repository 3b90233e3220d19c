//! How keys and secrets are written for people: lower-case base 32 without the letters that look
//! like digits or like each other.

use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};

/// Digits and letters but `i`, `l`, `o` and `u`. Strict: there is one text for each content.
pub(crate) static TEXT: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
    specification.encoding().expect("32 different symbols are an encoding")
});

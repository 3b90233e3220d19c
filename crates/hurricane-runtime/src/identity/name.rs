//! Names of clusters, machines and their keys: for people, and safe as the name of a file.

use std::fmt;
use std::str::FromStr;

/// The length of a label in DNS: a machine's first name always fits.
const MAX_BYTES: usize = 63;

/// 1 to 63 of the characters `A–Z a–z 0–9 . _ -`, but not `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name nearest to what somebody wants, which may be anything.
    pub fn near(wanted: &str) -> Self {
        let allowed = |character| if is_allowed(character) { character } else { '-' };
        let near: String = wanted.chars().take(MAX_BYTES).map(allowed).collect();
        near.parse().unwrap_or_else(|_| Self("unnamed".to_owned()))
    }

    /// This name with a number, shortened if need be.
    pub(crate) fn numbered(&self, number: usize) -> Self {
        let number = format!("-{number}");
        let kept = self.0.len().min(MAX_BYTES - number.len());
        Self(format!("{}{number}", &self.0[..kept]))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = (1..=MAX_BYTES).contains(&text.len())
            && text.chars().all(is_allowed)
            && text != "."
            && text != "..";
        if is_name { Ok(Self(text.to_owned())) } else { Err(InvalidName) }
    }
}

/// A text is not a [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 63 letters, digits, dots, underscores and hyphens")]
pub struct InvalidName;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_files() {
        for bad in ["", ".", "..", "a/b", "a b", "naïve", "a\n", &"x".repeat(64)] {
            assert_eq!(bad.parse::<Name>(), Err(InvalidName), "{bad:?}");
        }
        for good in ["a", "port-12222", "Rack_3.lab", &"x".repeat(63)] {
            assert_eq!(good.parse::<Name>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
    }

    #[test]
    fn anything_has_a_name_near_it() {
        assert_eq!(Name::near("laptop").as_str(), "laptop");
        assert_eq!(Name::near("../etc/é").as_str(), "..-etc--");
        assert_eq!(Name::near("").as_str(), "unnamed");
        assert_eq!(Name::near(&"é".repeat(100)).as_str(), "-".repeat(63));
        assert_eq!(Name::near(&"x".repeat(63)).numbered(10).as_str().len(), 63);
    }
}

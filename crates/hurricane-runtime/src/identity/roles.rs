//! What a key may do.

use std::fmt;
use std::str::FromStr;

/// One right of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Run tasks.
    Node = 1,
    /// Submit tasks.
    Submit = 2,
}

/// Each role with the word for it.
const WORDS: [(Role, &str); 2] = [(Role::Node, "node"), (Role::Submit, "submit")];

/// One or more roles.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// To run tasks: what a ticket gives if nothing else is said.
    pub const NODE: Self = Self(Role::Node as u8);
    /// To submit tasks.
    pub const SUBMIT: Self = Self(Role::Submit as u8);
    /// Both.
    pub const ALL: Self = Self(Self::NODE.0 | Self::SUBMIT.0);

    /// Whether a role is among them.
    pub fn contains(self, role: Role) -> bool {
        self.0 & role as u8 != 0
    }

    /// Whether all of them are among others.
    pub fn are_within(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    /// These and others.
    #[must_use]
    pub fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// As one byte, of a ticket or a message.
    pub fn to_byte(self) -> u8 {
        self.0
    }

    /// Those of a byte; none if it names no role or an unknown one.
    pub fn from_byte(byte: u8) -> Option<Self> {
        let roles = Self(byte);
        (byte != 0 && roles.are_within(Self::ALL)).then_some(roles)
    }
}

impl From<Role> for Roles {
    fn from(role: Role) -> Self {
        Self(role as u8)
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = WORDS.iter().filter(|(role, _)| self.contains(*role)).map(|(_, word)| word);
        f.write_str(words.next().copied().unwrap_or_default())?;
        words.try_for_each(|word| write!(f, ",{word}"))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roles({self})")
    }
}

impl FromStr for Roles {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let role = |text: &str| {
            let found = WORDS.iter().find(|(_, word)| *word == text);
            found.map(|(role, _)| *role as u8).ok_or_else(|| UnknownRole(text.to_owned()))
        };
        text.split(',').try_fold(0, |roles, text| Ok(roles | role(text)?)).map(Self)
    }
}

/// A word names no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role: the roles are `node` and `submit`")]
pub struct UnknownRole(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_survive_text_and_byte() {
        for roles in [Roles::NODE, Roles::SUBMIT, Roles::ALL] {
            assert_eq!(roles.to_string().parse(), Ok(roles));
            assert_eq!(Roles::from_byte(roles.to_byte()), Some(roles));
        }
        assert_eq!(Roles::ALL.to_string(), "node,submit");
    }

    #[test]
    fn unknown_roles_are_refused() {
        assert_eq!(Roles::from_byte(0), None);
        assert_eq!(Roles::from_byte(4), None);
        assert_eq!("node,king".parse::<Roles>(), Err(UnknownRole("king".to_owned())));
        assert!("".parse::<Roles>().is_err());
    }

    #[test]
    fn roles_are_compared_as_sets() {
        assert!(Roles::NODE.are_within(Roles::ALL));
        assert!(!Roles::ALL.are_within(Roles::NODE));
        assert!(!Roles::NODE.contains(Role::Submit));
    }
}

//! The keys that a cluster lets in, one line of text for each, as ssh does: people may read the
//! file, and remove a line.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;

use super::{IdentityError, Name, PublicKey, Roles};
use crate::platform::private_files::{Changing, read};
use crate::ticket::TicketId;

/// The name of the file.
const FILE: &str = "authorized";

/// More machines than a scheduler is built for.
pub const MAX_ENTRIES: usize = 16_384;

/// Every line at its longest, and as much again for comments.
const MAX_FILE_BYTES: u64 = (MAX_ENTRIES * 512) as u64;

/// What the file says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is.
    pub key: PublicKey,
    /// What it may do.
    pub roles: Roles,
    /// What people call its machine: unique in the cluster.
    pub name: Name,
    /// When it was enrolled, for people to know: nothing depends on it.
    pub date: SystemTime,
    /// With which ticket; none for the scheduler's own machine.
    pub ticket: Option<TicketId>,
}

/// A key that is to be let in.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Whose it is.
    pub key: PublicKey,
    /// What it may do, beside what it may already.
    pub roles: Roles,
    /// What it would like to be called.
    pub wanted_name: String,
    /// Now.
    pub date: SystemTime,
    /// With which ticket.
    pub ticket: Option<TicketId>,
}

/// The list, as it was when last read or changed.
#[derive(Debug)]
pub struct Authorized {
    directory: PathBuf,
    lines: Vec<Line>,
    /// A name that nobody gets.
    reserved: Option<Name>,
}

impl Authorized {
    /// Reads the list in a cluster's directory; an empty one if there is none.
    pub(super) fn open(directory: &Path) -> Result<Self, IdentityError> {
        let lines = read_lines(&directory.join(FILE))?;
        Ok(Self { directory: directory.to_owned(), lines, reserved: None })
    }

    /// Keeps a name for somebody without a key.
    pub fn reserve(&mut self, name: Name) {
        self.reserved = Some(name);
    }

    /// What it says, in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.lines.iter().filter_map(Line::entry)
    }

    /// Lets a key in, under a name that nobody else has. One that is in already keeps its name and
    /// adds to its roles.
    pub fn authorize(&mut self, grant: Grant) -> Result<Entry, IdentityError> {
        let changing = self.begin()?;
        let known = self.entries().find(|entry| entry.key == grant.key);
        let Grant { key, roles, wanted_name, date, ticket } = grant;
        let entry = match known {
            Some(known) => {
                let (roles, name) = (known.roles.with(roles), known.name.clone());
                Entry { key, roles, name, date, ticket }
            }
            None if self.entries().count() >= MAX_ENTRIES => return Err(IdentityError::TooMany),
            None => Entry { key, roles, name: self.free_name(&wanted_name), date, ticket },
        };
        self.lines.retain(|line| line.entry().is_none_or(|other| other.key != key));
        self.lines.push(Line::Entry(entry.clone()));
        self.write(&changing)?;
        Ok(entry)
    }

    /// Takes the key of a name out; nothing if there is none.
    pub fn revoke(&mut self, name: &Name) -> Result<Option<Entry>, IdentityError> {
        let changing = self.begin()?;
        let is_it = |line: &Line| line.entry().is_some_and(|entry| entry.name == *name);
        let Some(position) = self.lines.iter().position(is_it) else { return Ok(None) };
        let removed = self.lines.remove(position);
        self.write(&changing)?;
        Ok(removed.entry().cloned())
    }

    /// Begins a change with what the file says now: somebody may have edited it.
    fn begin(&mut self) -> Result<Changing, IdentityError> {
        let changing = Changing::begin(&self.directory)?;
        self.lines = read_lines(&self.directory.join(FILE))?;
        Ok(changing)
    }

    fn write(&mut self, changing: &Changing) -> Result<(), IdentityError> {
        let text = self.lines.iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{line}");
            text
        });
        let written = changing.replace(FILE, text.as_bytes());
        if written.is_err() {
            // What is not on the disk does not hold.
            self.lines = read_lines(&self.directory.join(FILE))?;
        }
        Ok(written?)
    }

    fn free_name(&self, wanted: &str) -> Name {
        let names = self.entries().map(|entry| &entry.name);
        let taken: BTreeSet<&Name> = names.chain(&self.reserved).collect();
        let wanted = Name::near(wanted);
        let numbered = (2..).map(|number| wanted.numbered(number));
        let mut candidates = std::iter::once(wanted.clone()).chain(numbered);
        candidates.find(|name| !taken.contains(name)).expect("there are more numbers than names")
    }
}

/// A line of the file. Comments are people's, and stay.
#[derive(Debug)]
enum Line {
    Entry(Entry),
    Comment(String),
}

impl Line {
    fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Entry(entry) => Some(entry),
            Self::Comment(_) => None,
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(entry) => entry.fmt(f),
            Self::Comment(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, roles, name, date, ticket } = self;
        let date = humantime::format_rfc3339_seconds(*date);
        write!(f, "{key} {roles} {name} {date} ")?;
        match ticket {
            Some(ticket) => ticket.fmt(f),
            None => f.write_str("-"),
        }
    }
}

impl FromStr for Entry {
    type Err = NotAnEntry;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [key, roles, name, date, ticket] = words[..] else { return Err(NotAnEntry) };
        Ok(Self {
            key: key.parse().map_err(|_| NotAnEntry)?,
            roles: roles.parse().map_err(|_| NotAnEntry)?,
            name: name.parse().map_err(|_| NotAnEntry)?,
            date: humantime::parse_rfc3339(date).map_err(|_| NotAnEntry)?,
            ticket: match ticket {
                "-" => None,
                ticket => Some(ticket.parse().map_err(|_| NotAnEntry)?),
            },
        })
    }
}

/// A line is neither an entry nor a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not of the form `key roles name date ticket`")]
pub struct NotAnEntry;

/// A line that cannot be read is an error, not skipped: a key that its owner believes revoked or
/// let in must be so.
fn read_lines(file: &Path) -> Result<Vec<Line>, IdentityError> {
    let content = read(file, MAX_FILE_BYTES)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&content);
    let (mut keys, mut names) = (BTreeSet::new(), BTreeSet::new());
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(text.lines()) {
        let (file, line) = (file.to_owned(), number);
        if text.trim().is_empty() || text.starts_with('#') {
            lines.push(Line::Comment(text.to_owned()));
            continue;
        }
        let Ok(entry) = text.parse::<Entry>() else {
            return Err(IdentityError::Malformed { file, line });
        };
        if !keys.insert(entry.key) || !names.insert(entry.name.clone()) {
            return Err(IdentityError::Repeated { file, line });
        }
        lines.push(Line::Entry(entry));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::identity::{KeyPair, State};
    use crate::platform::directories::Scratch;

    fn grant(roles: Roles, wanted: &str) -> Grant {
        Grant {
            key: KeyPair::generate().expect("the system is random").public(),
            roles,
            wanted_name: wanted.to_owned(),
            date: SystemTime::UNIX_EPOCH + Duration::from_mins(25_000_000),
            ticket: None,
        }
    }

    fn open(scratch: &Scratch) -> Authorized {
        let state = State::open_at(scratch.0.clone()).expect("nothing is in the way");
        let cluster = state.cluster(&Name::near("lab")).expect("it can be made");
        cluster.authorized().expect("it is empty")
    }

    #[test]
    fn what_is_let_in_is_read_again() {
        let scratch = Scratch::new("authorized");
        let mut authorized = open(&scratch);
        let entry = authorized.authorize(grant(Roles::NODE, "rack")).expect("there is space");
        assert_eq!(entry.to_string(), format!("{} node rack 2017-07-14T02:40:00Z -", entry.key));
        assert_eq!(open(&scratch).entries().collect::<Vec<_>>(), [&entry]);
        assert_eq!(authorized.revoke(&entry.name).expect("there is space"), Some(entry.clone()));
        assert_eq!(authorized.revoke(&entry.name).expect("there is space"), None);
        assert_eq!(open(&scratch).entries().count(), 0);
    }

    #[test]
    fn names_are_unique_and_roles_add_up() {
        let scratch = Scratch::new("authorized-names");
        let mut authorized = open(&scratch);
        let first = grant(Roles::NODE, "rack");
        let again = Grant { roles: Roles::SUBMIT, wanted_name: "other".into(), ..first.clone() };
        authorized.authorize(first).expect("there is space");
        let second = authorized.authorize(grant(Roles::NODE, "rack")).expect("there is space");
        assert_eq!(second.name.as_str(), "rack-2");
        let again = authorized.authorize(again).expect("there is space");
        assert_eq!((again.name.as_str(), again.roles), ("rack", Roles::ALL));
        assert_eq!(authorized.entries().count(), 2);
        authorized.reserve(Name::near("desk"));
        let third = authorized.authorize(grant(Roles::NODE, "desk")).expect("there is space");
        assert_eq!(third.name.as_str(), "desk-2");
    }

    #[test]
    fn what_people_edit_holds() {
        let scratch = Scratch::new("authorized-edited");
        let mut authorized = open(&scratch);
        authorized.authorize(grant(Roles::NODE, "rack")).expect("there is space");
        // The owner removes the line while the scheduler runs, and leaves a note.
        let file = authorized.directory.join(FILE);
        fs::write(&file, "# rack was lent\n\n").expect("it is ours");
        let other = authorized.authorize(grant(Roles::NODE, "desk")).expect("there is space");
        let text = fs::read_to_string(&file).expect("it is there");
        assert_eq!(text, format!("# rack was lent\n\n{other}\n"));
    }

    #[test]
    fn lines_that_cannot_be_read_are_named() {
        let scratch = Scratch::new("authorized-bad");
        let mut authorized = open(&scratch);
        let entry = authorized.authorize(grant(Roles::NODE, "rack")).expect("there is space");
        let file = authorized.directory.join(FILE);
        fs::write(&file, format!("{entry}\nnonsense\n")).expect("it is ours");
        let error = authorized.revoke(&entry.name).expect_err("a line is bad");
        assert!(error.to_string().starts_with("line 2 of "), "{error}");
        fs::write(&file, format!("{entry}\n{entry}\n")).expect("it is ours");
        let error = authorized.revoke(&entry.name).expect_err("a line is there twice");
        assert!(matches!(error, IdentityError::Repeated { line: 2, .. }), "{error}");
    }
}

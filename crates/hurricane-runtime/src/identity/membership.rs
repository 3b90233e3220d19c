//! What this machine remembers of the clusters in which its key was enrolled: one file for each,
//! named after the fingerprint of the scheduler's key. People may read it, copy it, remove it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use super::{FileError, Fingerprint, IdentityError, Name, PublicKey, Roles, State};
use crate::platform::private_files::{Changing, read};

/// What each line of a file begins with. A file has all of them once, but for the last.
const WORDS: [&str; 6] = ["scheduler", "cluster", "port", "name", "roles", "address"];

/// Several times the longest.
const MAX_FILE_BYTES: u64 = 4096;

/// More clusters than a machine is ever a member of: each costs every search a look.
pub const MAX_MEMBERSHIPS: usize = 256;

/// The membership of this machine in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The key that the scheduler must show.
    pub scheduler: PublicKey,
    /// What people call the cluster.
    pub cluster: Name,
    /// Its initialization port.
    pub port: u16,
    /// What this machine is called there.
    pub name: Name,
    /// What it may do there.
    pub roles: Roles,
    /// Where the scheduler was last reached.
    pub last_address: Option<SocketAddr>,
}

impl State {
    /// Those of this machine, in the order of the clusters' names.
    pub fn memberships(&self) -> Result<Vec<Membership>, IdentityError> {
        let Some(directory) = self.memberships_directory_if_any()? else { return Ok(Vec::new()) };
        let mut memberships = Vec::new();
        let entries = fs::read_dir(&directory).map_err(|source| unreadable(&directory, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| unreadable(&directory, source))?;
            // Locks, what an editor leaves behind, and what is half written have other names.
            let name = entry.file_name();
            if name.to_str().is_none_or(|name| name.parse::<Fingerprint>().is_err()) {
                continue;
            }
            memberships.extend(read_one(&entry.path())?);
            if memberships.len() > MAX_MEMBERSHIPS {
                return Err(IdentityError::TooManyMemberships { directory });
            }
        }
        memberships.sort_by(|one: &Membership, other| {
            (&one.cluster, one.scheduler).cmp(&(&other.cluster, other.scheduler))
        });
        Ok(memberships)
    }

    /// Remembers one, in the place of what was known of that cluster. Writes nothing if that is
    /// the same.
    pub fn remember(&self, membership: &Membership) -> Result<(), IdentityError> {
        let directory = self.memberships_directory()?;
        let name = membership.scheduler.fingerprint().to_string();
        let changing = Changing::begin(&directory)?;
        // What cannot be read is replaced.
        let known = read_one(&directory.join(&name)).ok().flatten();
        if known.as_ref() != Some(membership) {
            changing.replace(&name, membership.to_string().as_bytes())?;
        }
        Ok(())
    }

    /// Remembers where the scheduler of a cluster was reached, if its membership is still there.
    /// Writes nothing if that is known.
    pub fn remember_address(
        &self,
        cluster: &Fingerprint,
        address: SocketAddr,
    ) -> Result<(), IdentityError> {
        let Some(directory) = self.memberships_directory_if_any()? else { return Ok(()) };
        let name = cluster.to_string();
        let file = directory.join(&name);
        if read_one(&file)?.is_none_or(|known| known.last_address == Some(address)) {
            return Ok(());
        }
        let changing = Changing::begin(&directory)?;
        // Once more, since nobody else changes it now.
        if let Some(known) = read_one(&file)? {
            let changed = Membership { last_address: Some(address), ..known };
            changing.replace(&name, changed.to_string().as_bytes())?;
        }
        Ok(())
    }

    /// Forgets one; whether it was there.
    pub fn forget(&self, cluster: &Fingerprint) -> Result<bool, IdentityError> {
        let Some(directory) = self.memberships_directory_if_any()? else { return Ok(false) };
        let changing = Changing::begin(&directory)?;
        Ok(changing.remove(&cluster.to_string())?)
    }
}

fn unreadable(file: &Path, source: std::io::Error) -> FileError {
    FileError::Unreadable { file: file.to_owned(), source }
}

/// The membership in a file; nothing if there is none.
fn read_one(file: &Path) -> Result<Option<Membership>, IdentityError> {
    let Some(content) = read(file, MAX_FILE_BYTES)? else { return Ok(None) };
    let membership = str::from_utf8(&content).ok().and_then(|text| text.parse().ok());
    // Under another's name it would never be found again, nor replaced.
    let is_named_so = |membership: &Membership| {
        let name = membership.scheduler.fingerprint().to_string();
        file.file_name().is_some_and(|file| *file == *name)
    };
    match membership.filter(is_named_so) {
        Some(membership) => Ok(Some(membership)),
        None => Err(IdentityError::NotAMembership { file: file.to_owned() }),
    }
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheduler, cluster, port, name, roles, last_address } = self;
        let [key, of, at, called, may, reached] = WORDS;
        writeln!(f, "{key} {scheduler}\n{of} {cluster}\n{at} {port}")?;
        writeln!(f, "{called} {name}\n{may} {roles}")?;
        match last_address {
            Some(address) => writeln!(f, "{reached} {address}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Membership {
    type Err = NotAMembership;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut said = BTreeMap::new();
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            let (word, value) = line.split_once(' ').ok_or(NotAMembership)?;
            if !WORDS.contains(&word) || said.insert(word, value.trim()).is_some() {
                return Err(NotAMembership);
            }
        }
        let [scheduler, cluster, port, name, roles, address] = WORDS.map(|word| said.get(word));
        Ok(Self {
            scheduler: parsed(scheduler)?,
            cluster: parsed(cluster)?,
            port: parsed(port)?,
            name: parsed(name)?,
            roles: parsed(roles)?,
            last_address: if address.is_some() { Some(parsed(address)?) } else { None },
        })
    }
}

fn parsed<T: FromStr>(value: Option<&&str>) -> Result<T, NotAMembership> {
    value.and_then(|value| value.parse().ok()).ok_or(NotAMembership)
}

/// A text does not say what a membership is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a membership: it has a line for each of `scheduler`, `cluster`, `port`, `name`, `roles`"
)]
pub struct NotAMembership;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;
    use crate::identity::KeyPair;
    use crate::platform::directories::Scratch;

    fn membership(cluster: &str) -> Membership {
        Membership {
            scheduler: KeyPair::generate().expect("the system is random").public(),
            cluster: Name::near(cluster),
            port: 12222,
            name: Name::near("rack-2"),
            roles: Roles::NODE,
            last_address: None,
        }
    }

    fn open(test: &str) -> (Scratch, State) {
        let scratch = Scratch::new(test);
        let state = State::open_at(scratch.0.clone()).expect("nothing is in the way");
        (scratch, state)
    }

    fn file_of(state: &State, membership: &Membership) -> PathBuf {
        let directory = state.memberships_directory().expect("it can be made");
        directory.join(membership.scheduler.fingerprint().to_string())
    }

    #[test]
    fn what_is_remembered_is_read_again() {
        let (_scratch, state) = open("memberships");
        assert_eq!(state.memberships().expect("there are none"), []);
        let (lab, attic) = (membership("lab"), membership("attic"));
        state.remember(&lab).expect("there is space");
        state.remember(&attic).expect("there is space");
        assert_eq!(state.memberships().expect("both are there"), [attic.clone(), lab.clone()]);
        assert_eq!(fs::metadata(file_of(&state, &lab)).expect("it is there").mode() & 0o777, 0o600);
        let both = Membership { roles: Roles::ALL, ..lab };
        state.remember(&both).expect("there is space");
        assert!(state.forget(&attic.scheduler.fingerprint()).expect("it can be removed"));
        assert!(!state.forget(&attic.scheduler.fingerprint()).expect("it is not there"));
        assert_eq!(state.memberships().expect("one is left"), [both]);
    }

    #[test]
    fn an_address_is_written_when_it_changed() {
        let (_scratch, state) = open("membership-address");
        let lab = membership("lab");
        let (cluster, file) = (lab.scheduler.fingerprint(), file_of(&state, &lab));
        let inode = || fs::metadata(&file).expect("it is there").ino();
        state.remember(&lab).expect("there is space");
        for address in ["10.0.0.1:12222", "[fe80::1%3]:12222"] {
            let address: SocketAddr = address.parse().expect("it is one");
            state.remember_address(&cluster, address).expect("there is space");
            let written = inode();
            state.remember_address(&cluster, address).expect("there is nothing to do");
            assert_eq!(inode(), written, "the same address is not written again");
            let known = state.memberships().expect("it is there");
            assert_eq!(known[0].last_address, Some(address));
        }
    }

    #[test]
    fn an_address_brings_no_membership_back() {
        let (_scratch, state) = open("membership-left");
        let lab = membership("lab");
        let (cluster, address) = (lab.scheduler.fingerprint(), "10.0.0.1:1".parse());
        state.remember(&lab).expect("there is space");
        state.forget(&cluster).expect("it can be removed");
        state.remember_address(&cluster, address.expect("it is one")).expect("nothing is wrong");
        assert_eq!(state.memberships().expect("there are none"), []);
    }

    #[test]
    fn what_is_broken_is_named() {
        let (_scratch, state) = open("membership-broken");
        let lab = membership("lab");
        state.remember(&lab).expect("there is space");
        let file = file_of(&state, &lab);
        let text = fs::read_to_string(&file).expect("it is ours");
        for broken in ["", "nonsense", &text.replace("port 12222", "port 0x2"), &text.repeat(2)] {
            fs::write(&file, broken).expect("it is ours");
            let error = state.memberships().expect_err("it is broken");
            let name = file.display();
            assert_eq!(error.to_string(), format!("`{name}` does not hold a membership"));
            assert_eq!(
                error.hint(),
                format!("remove `{name}`, and run `hurricane join` with a new ticket")
            );
        }
        state.remember(&lab).expect("a new ticket repairs it");
        assert_eq!(state.memberships().expect("it is whole"), [lab]);
    }

    #[test]
    fn s16_a_membership_that_others_can_change_is_refused() {
        let (_scratch, state) = open("membership-open");
        let lab = membership("lab");
        state.remember(&lab).expect("there is space");
        let file = file_of(&state, &lab);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o620)).expect("it is ours");
        let error = state.memberships().expect_err("the mode is wrong");
        assert!(error.to_string().ends_with("is open to other users (mode 620)"), "{error}");
    }

    #[test]
    fn one_under_the_name_of_another_is_broken() {
        let (_scratch, state) = open("membership-name");
        let (lab, attic) = (membership("lab"), membership("attic"));
        state.remember(&lab).expect("there is space");
        let moved = file_of(&state, &attic);
        fs::rename(file_of(&state, &lab), &moved).expect("it is ours");
        let error = state.memberships().expect_err("it is another's");
        assert!(matches!(error, IdentityError::NotAMembership { file } if file == moved));
    }

    #[test]
    fn the_form_of_the_file_stays() {
        let key = "5".repeat(64);
        let text = format!(
            "scheduler {key}\ncluster lab\nport 12222\nname rack-2\nroles node,submit\n\
             address 10.0.0.1:12222\n"
        );
        let read: Membership = text.parse().expect("it is one");
        assert_eq!(read.to_string(), text);
        assert_eq!(format!("# lent\n\n{text}").parse(), Ok(read));
    }

    fn memberships() -> impl Strategy<Value = Membership> {
        let address = proptest::option::of(any::<SocketAddr>());
        let roles = prop_oneof![Just(Roles::NODE), Just(Roles::SUBMIT), Just(Roles::ALL)];
        (any::<[u8; 32]>(), "[A-Za-z0-9_-]{1,63}", any::<u16>(), roles, address).prop_map(
            |(key, name, port, roles, last_address)| {
                let key = data_encoding::HEXLOWER.encode(&key);
                let name: Name = name.parse().expect("it is a name");
                // A flow label is not written, and nobody has one.
                let last_address = last_address.map(|mut address| {
                    if let SocketAddr::V6(address) = &mut address {
                        address.set_flowinfo(0);
                    }
                    address
                });
                Membership {
                    scheduler: key.parse().expect("it is a key"),
                    cluster: name.clone(),
                    port,
                    name,
                    roles,
                    last_address,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn a_text_is_read_as_it_was_written(membership in memberships()) {
            prop_assert_eq!(membership.to_string().parse(), Ok(membership));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "((scheduler|port|name|\\PC{0,9}) \\PC{0,20}\n){0,8}") {
            let _ = text.parse::<Membership>();
        }
    }
}

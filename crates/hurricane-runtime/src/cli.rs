//! The command line: what `hurricane …` means, and all of it but what needs Python, which is handed
//! back as a [`Command`]. Each verb has a file of its own.

use std::ffi::OsString;
use std::io::Write as _;

use bytes::Bytes;
use clap::Parser as _;

use crate::platform::core_files;
use crate::platform::interruption::EndsAtOnce;
use failure::Failure;

mod amounts;
mod chronicle;
mod cluster_names;
pub mod demo;
pub mod deploy;
mod detaching;
pub mod down;
mod failure;
pub mod invite;
pub mod join;
mod json;
pub mod leave;
pub mod node;
pub mod nodes;
mod presence;
mod question;
pub mod revoke;
mod service;
mod share;
pub mod status;
mod table;
mod target;
pub mod up;

pub use cluster_names::{Anywhere, Here};
pub use detaching::Detach;
pub use share::Share;

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq, clap::Subcommand)]
pub enum Command {
    /// What runs until it is ended.
    #[command(flatten)]
    Service(Service),
    /// What is done at once.
    #[command(flatten)]
    Errand(Errand),
    /// Run real work on this machine and show what it gained
    Demo(demo::Options),
}

/// What runs until it is ended, and has workers.
#[derive(Clone, Debug, PartialEq, Eq, clap::Subcommand)]
pub enum Service {
    /// Start a cluster: its scheduler, and a node on this machine
    Up(up::Options),
    /// Become a member of a cluster with a ticket, and run a node of it
    Join(join::Options),
    /// Run a node of the cluster that this machine is a member of
    Node(node::Options),
}

/// What is done at once.
#[derive(Clone, Debug, PartialEq, Eq, clap::Subcommand)]
pub enum Errand {
    /// Make a ticket for other machines
    Invite(invite::Options),
    /// Start nodes on other machines over ssh
    Deploy(deploy::Options),
    /// Show what a cluster does
    Status(status::Options),
    /// Show the nodes and members of a cluster
    Nodes(nodes::Options),
    /// End the membership of this machine in a cluster
    Leave(leave::Options),
    /// End the membership of another machine: it is cut off at once
    Revoke(revoke::Options),
    /// End a cluster whose scheduler runs on this machine
    Down(down::Options),
}

/// What a process that serves needs of the one that calls.
#[derive(Clone, Debug)]
pub struct Host {
    /// Program and arguments that start this command line anew; what was typed follows.
    pub own_command: Vec<OsString>,
    /// What was typed, without the program's name.
    pub arguments: Vec<OsString>,
    /// Program and arguments that start a worker.
    pub worker_command: Vec<OsString>,
    /// Opaque; each worker gets it from [`crate::WorkerLink::setup`].
    pub setup: Bytes,
    /// Whose pickles the workers read and write.
    pub python_minor: u8,
}

/// Reads a command line without the program's name.
///
/// What needs nothing else, such as help and mistakes, is dealt with here: then it is the exit code
/// that comes back.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, u8> {
    let with_name = std::iter::once(OsString::from("hurricane")).chain(arguments);
    match CommandLine::try_parse_from(with_name) {
        Ok(line) => Ok(line.command),
        Err(answer) => Err(print(&answer)),
    }
}

impl Service {
    /// Runs it to its end; returns the exit code. To be called by the main thread.
    pub fn run(self, host: &Host) -> u8 {
        core_files::forbid();
        exit_code(match self {
            Self::Up(options) => up::run(&options, host),
            Self::Join(options) => join::run(&options, host),
            Self::Node(options) => node::run(&options, host),
        })
    }
}

impl Errand {
    /// Does it; returns the exit code.
    pub fn run(self) -> u8 {
        core_files::forbid();
        let _ends_at_once = EndsAtOnce::begin();
        exit_code(match self {
            Self::Invite(options) => invite::run(&options),
            Self::Deploy(options) => deploy::run(&options),
            Self::Status(options) => status::run(&options),
            Self::Nodes(options) => nodes::run(&options),
            Self::Leave(options) => leave::run(&options),
            Self::Revoke(options) => revoke::run(&options),
            Self::Down(options) => down::run(&options),
        })
    }
}

/// How a command ended that did what it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Outcome {
    /// It did what it was asked to.
    Done = 0,
    /// It was ended before what ran had ended.
    BrokenOff = 1,
    /// It has said already what did not work.
    Failed = 2,
}

fn exit_code(outcome: Result<Outcome, Failure>) -> u8 {
    match outcome {
        Ok(outcome) => outcome as u8,
        Err(failure) => {
            tell(&failure);
            Outcome::Failed as u8
        }
    }
}

/// Prints what was asked for.
fn print_line(line: impl std::fmt::Display) {
    // Nobody is left to tell when the terminal or the reader is gone.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Tells people something beside what they asked for.
fn tell(line: impl std::fmt::Display) {
    // As above.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Makes the machines on a network one Python supercomputer
#[derive(Debug, clap::Parser)]
#[command(name = "hurricane", version, disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

/// Prints help or a mistake where it belongs; returns the exit code.
fn print(answer: &clap::Error) -> u8 {
    let text = answer.render();
    // Nobody is left to tell when the terminal is gone.
    let _ = if answer.use_stderr() {
        write!(std::io::stderr(), "{text}")
    } else {
        write!(std::io::stdout(), "{text}")
    };
    u8::try_from(answer.exit_code()).unwrap_or(2)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::identity::Roles;

    fn parsed(line: &str) -> Result<Command, u8> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn demo_takes_a_number_of_slots() {
        assert_eq!(parsed("demo"), Ok(Command::Demo(demo::Options { slots: None })));
        assert_eq!(parsed("demo --slots 3"), Ok(Command::Demo(demo::Options { slots: Some(3) })));
    }

    #[test]
    fn mistakes_exit_with_2_and_help_with_0() {
        let mistakes = [
            "",
            "dance",
            "demo --slots 0",
            "demo --slot 1",
            "up --port 0",
            "up --port 65536",
            "up --bind nowhere",
            "up --name a/b",
            "up --no-node --cpus 2",
            "invite --uses 0",
            "invite --ttl 0s",
            "invite --role king",
            "invite --address 10.0.0.1",
            "join",
            "node --count 0",
            "node --count 1001",
            "node --cpus 0.5",
            "node --gpus -1",
            "node --memory much",
            "node --resource license",
            "revoke",
            "revoke a b",
            "deploy",
            "deploy -- -oProxyCommand=evil",
            "deploy rack --command a --python b",
            "status --yaml",
        ];
        for mistake in mistakes {
            assert_eq!(parsed(mistake), Err(2), "{mistake}");
        }
        for question in ["--version", "--help", "demo --help", "node --help", "deploy --help"] {
            assert_eq!(parsed(question), Err(0), "{question}");
        }
    }

    #[test]
    fn a_node_takes_its_share() {
        let line = "node --count 8 --cpus 16 --gpus 2 --memory 8GB --resource a=1 --resource b=0.5 \
                    --cluster lab --port 13000 --address rack:13000 --drain --detach";
        let Ok(Command::Service(Service::Node(options))) = parsed(line) else {
            panic!("it is not read: {line}")
        };
        let node::Options { cluster, share, drain, detach } = options;
        let Share { count, cpus, gpus, memory, resources } = share;
        assert_eq!((count, cpus, gpus, memory), (8, Some(16), Some(2), Some(8_000_000_000)));
        assert_eq!(resources.len(), 2);
        assert_eq!(cluster.here.port, Some(13000));
        assert_eq!(cluster.address.as_deref(), Some("rack:13000"));
        assert!(drain && detach.detach && !detach.detached);
    }

    #[test]
    fn an_invitation_is_for_one_node_and_a_quarter_of_an_hour() {
        let Ok(Command::Errand(Errand::Invite(options))) = parsed("invite") else {
            panic!("it is not read")
        };
        assert_eq!((options.uses, options.ttl), (1, Duration::from_mins(15)));
        assert_eq!(options.role, Roles::NODE);
        let Ok(Command::Errand(Errand::Invite(options))) = parsed("invite --role node,submit")
        else {
            panic!("it is not read")
        };
        assert_eq!(options.role, Roles::ALL);
    }

    #[test]
    fn a_ticket_may_be_anything_until_it_is_read() {
        for line in ["join h1", "join -", "join --detach -", "join let-me-in --address rack"] {
            assert!(matches!(parsed(line), Ok(Command::Service(Service::Join(_)))), "{line}");
        }
    }
}

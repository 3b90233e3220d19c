//! The command line: what `hurricane …` means. It parses and prints help; what needs Python is
//! handed back as a [`Command`].

use std::ffi::OsString;
use std::io::Write as _;

use clap::Parser as _;

pub mod demo;

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq, clap::Subcommand)]
pub enum Command {
    /// Run real work on this machine and show what it gained
    Demo(demo::Options),
}

/// Reads a command line without the program's name.
///
/// What needs no Python, such as help and mistakes, is dealt with here: then it is the exit code
/// that comes back.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, u8> {
    let with_name = std::iter::once(OsString::from("hurricane")).chain(arguments);
    match CommandLine::try_parse_from(with_name) {
        Ok(line) => Ok(line.command),
        Err(answer) => Err(print(&answer)),
    }
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
    use super::*;

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
        for mistake in ["demo --slots 0", "demo --slots x", "demo --slot 1", "dance", ""] {
            assert_eq!(parsed(mistake), Err(2), "{mistake}");
        }
        assert_eq!(parsed("--version"), Err(0));
        assert_eq!(parsed("demo --help"), Err(0));
    }
}

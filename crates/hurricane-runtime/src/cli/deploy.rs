//! `hurricane deploy`: nodes on other machines, started over ssh. The ticket goes over ssh's standard
//! input, so that no list of processes shows it.

use std::io::{self, Write as _};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::cluster_names::Here;
use super::failure::Failure;
use super::invite::invite;
use super::share::Share;
use super::{Outcome, print_line, target, tell};
use crate::dialing::Choice;
use crate::identity::{Roles, State};

/// Time for people to type what ssh may ask.
const TTL: Duration = Duration::from_mins(15);

/// Where to, and what for.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// The machines, as ssh knows them
    #[arg(value_name = "[USER@]HOST", required = true, value_parser = host)]
    pub hosts: Vec<String>,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: Here,
    /// Where those machines reach the scheduler, if they do not find it by themselves
    #[arg(long, value_name = "HOST[:PORT]")]
    pub address: Option<String>,
    /// What the nodes of each machine have.
    #[command(flatten)]
    pub share: Share,
    /// Have the nodes finish what runs when they are ended
    #[arg(long)]
    pub drain: bool,
    /// What starts hurricane there
    #[arg(long, value_name = "COMMAND", default_value = "hurricane", conflicts_with = "python")]
    pub command: String,
    /// The Python there that has hurricane
    #[arg(long, value_name = "PATH")]
    pub python: Option<String>,
    /// How many machines at a time; 1 if ssh asks for passwords
    #[arg(
        long, value_name = "N", default_value = "8",
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    pub at_once: u16,
}

/// Refused where ssh would take it for an option: that could run anything.
fn host(text: &str) -> Result<String, String> {
    let is_host = !text.is_empty() && !text.starts_with('-') && !text.contains(char::is_whitespace);
    is_host.then(|| text.to_owned()).ok_or_else(|| "this is not a host".to_owned())
}

pub(super) fn run(options: &Options) -> Result<Outcome, Failure> {
    // Mistakes are told before anything is done.
    options.share.check()?;
    Choice { address: options.address.clone(), ..Choice::default() }.or_environment()?;
    let state = State::open()?;
    let known = target::here(&state, &options.cluster)?;
    let uses = u32::try_from(options.hosts.len()).unwrap_or(u32::MAX);
    let ticket = invite(&state, &known, uses, TTL, Roles::NODE)?;
    let waiting = Mutex::new(options.hosts.iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let deploy_to_some = || {
        let hosts = std::iter::from_fn(next);
        hosts.filter(|host| !options.deploy_to(host, &ticket)).count()
    };
    let failed: usize = thread::scope(|scope| {
        let at_once = options.hosts.len().min(options.at_once.into());
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(deploy_to_some)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(1)).sum()
    });
    Ok(if failed == 0 { Outcome::Done } else { Outcome::Failed })
}

impl Options {
    /// Starts the nodes of a machine and tells what came of it; whether they run.
    fn deploy_to(&self, host: &str, ticket: &str) -> bool {
        let output = match self.run_there(host, ticket) {
            Ok(output) => output,
            Err(error) => {
                print_line(format_args!("{host}: failed: ssh cannot be run: {error}"));
                return false;
            }
        };
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            print_line(format_args!("{host}: {}", last_event(&said)));
        } else {
            print_line(format_args!("{host}: failed"));
            said.lines().for_each(|line| tell(format_args!("{host}: {line}")));
        }
        output.status.success()
    }

    fn run_there(&self, host: &str, ticket: &str) -> io::Result<Output> {
        let mut ssh = Command::new("ssh")
            .args(["-T", "--", host])
            .args(self.remote_command())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = ssh.stdin.take() {
            // What does not read it has ended, and says why.
            let _ = writeln!(stdin, "{ticket}");
        }
        ssh.wait_with_output()
    }

    /// What the shell there is to run.
    fn remote_command(&self) -> Vec<String> {
        let mut words = match &self.python {
            Some(python) => vec![quoted(python), "-m".to_owned(), "hurricane".to_owned()],
            None => vec![self.command.clone()],
        };
        words.extend(["join", "--detach"].map(str::to_owned));
        words.extend(self.share.arguments().iter().map(|word| quoted(word)));
        if let Some(address) = &self.address {
            words.extend(["--address".to_owned(), quoted(address)]);
        }
        if self.drain {
            words.push("--drain".to_owned());
        }
        words.push("-".to_owned());
        words
    }
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The last that was logged there, without its time.
fn last_event(said: &str) -> &str {
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("started");
    let is_time = |word: &str| word.len() == 8 && word.as_bytes()[2] == b':';
    last.split_once(' ').filter(|(word, _)| is_time(word)).map_or(last, |(_, event)| event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("--cpus"), "--cpus");
        assert_eq!(quoted("license=0.5"), "license=0.5");
        assert_eq!(quoted("rack 7=1"), "'rack 7=1'");
        assert_eq!(quoted("$(rm)'s"), r"'$(rm)'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn hosts_are_no_options() {
        for text in ["-oProxyCommand=x", "", "a b", "a\nb"] {
            assert!(host(text).is_err(), "{text:?}");
        }
        assert_eq!(host("ada@rack-2.lab"), Ok("ada@rack-2.lab".to_owned()));
    }

    #[test]
    fn what_was_logged_last_is_told() {
        let said = "14:03:58 looking\n14:03:59 rack joined lab, at 10.0.0.1:12222\n";
        assert_eq!(last_event(said), "rack joined lab, at 10.0.0.1:12222");
        assert_eq!(last_event(""), "started");
        assert_eq!(last_event("welcome\n\n"), "welcome");
    }
}

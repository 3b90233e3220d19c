//! What the user chose, by arguments or by the environment, and how an address is written.

use std::env;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::identity::Name;

/// The initialization port, unless another is chosen.
pub const DEFAULT_PORT: u16 = 12222;

/// The longest name in DNS.
const MAX_HOST_BYTES: usize = 253;

/// What the user chose, by arguments or environment; `None` is no choice.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The name of a cluster: `--cluster`, `HURRICANE_CLUSTER`.
    pub cluster: Option<Name>,
    /// Where the scheduler is, as `host` or `host:port`: `--address`, `HURRICANE_ADDRESS`.
    pub address: Option<String>,
    /// The initialization port: `--port`, `HURRICANE_PORT`.
    pub port: Option<u16>,
}

impl Choice {
    /// Fills in what was not chosen from the environment. What was chosen is readable after that.
    pub fn or_environment(self) -> Result<Self, ChoiceError> {
        self.or(|variable| env::var_os(variable).map(|value| value.to_string_lossy().into_owned()))
    }

    fn or(self, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ChoiceError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let cluster = match self.cluster {
            Some(cluster) => Some(cluster),
            None => read("HURRICANE_CLUSTER", set("HURRICANE_CLUSTER"))?,
        };
        let port = match self.port {
            Some(port) => Some(Port(port)),
            None => read("HURRICANE_PORT", set("HURRICANE_PORT"))?,
        };
        if port.as_ref().is_some_and(|port| port.0 == 0) {
            return Err(ChoiceError(InvalidPort.to_string()));
        }
        let address = match self.address {
            Some(address) => {
                address.parse::<Address>().map_err(|error| ChoiceError(error.to_string()))?;
                Some(address)
            }
            None => read::<Address>("HURRICANE_ADDRESS", set("HURRICANE_ADDRESS"))?
                .map(|address| address.to_string()),
        };
        Ok(Self { cluster, address, port: port.map(|port| port.0) })
    }

    /// The chosen address, which was found readable.
    pub(crate) fn parsed_address(&self) -> Result<Option<Address>, ChoiceError> {
        let parsed = self.address.as_ref().map(|address| address.parse()).transpose();
        parsed.map_err(|error: InvalidAddress| ChoiceError(error.to_string()))
    }

    /// Whether anything was chosen.
    pub(super) fn is_explicit(&self) -> bool {
        self.cluster.is_some() || self.address.is_some() || self.port.is_some()
    }
}

/// Why a choice cannot be followed: a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ChoiceError(pub String);

fn read<T: FromStr<Err: fmt::Display>>(
    variable: &str,
    value: Option<String>,
) -> Result<Option<T>, ChoiceError> {
    let Some(value) = value else { return Ok(None) };
    let value = value.trim();
    let wrong = |error| ChoiceError(format!("{variable} is `{value}`: {error}"));
    value.parse().map(Some).map_err(wrong)
}

struct Port(u16);

impl FromStr for Port {
    type Err = InvalidPort;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().ok().filter(|port| *port != 0).map(Self).ok_or(InvalidPort)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a port is a number from 1 to 65535")]
struct InvalidPort;

/// Where a scheduler may be, as people write it: `host`, `host:port`, `[v6]:port`, or `v6` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// A name or an address, with its zone if any.
    pub(crate) host: String,
    /// If another than the initialization port.
    pub(crate) port: Option<u16>,
}

impl Address {
    /// Whether it leads to this very host.
    pub(super) fn is_here(&self) -> bool {
        let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
        self.host == "localhost" || self.host.parse().is_ok_and(is_loopback)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match port {
            Some(port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Some(port) => write!(f, "{host}:{port}"),
            None => f.write_str(host),
        }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let invalid = || InvalidAddress(text.to_owned());
        let (host, port) = split(text).ok_or_else(invalid)?;
        let port = port.map(Port::from_str).transpose().map_err(|_| invalid())?;
        if !is_host(host) {
            return Err(invalid());
        }
        Ok(Self { host: host.to_owned(), port: port.map(|port| port.0) })
    }
}

/// Host and port, as far as brackets and colons tell.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']')?;
        let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
        return host.contains(':').then_some((host, port));
    }
    Some(match text.split_once(':') {
        // More than one colon: an IPv6 address, without a port.
        Some((_, rest)) if rest.contains(':') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    })
}

fn is_host(host: &str) -> bool {
    let (address, zone) = host.split_once('%').unwrap_or((host, ""));
    let of_address = |character: char| character.is_ascii_hexdigit() || ":.".contains(character);
    let of_name = |character: char| character.is_alphanumeric() || "-._".contains(character);
    let is_right = if address.contains(':') {
        address.parse::<std::net::Ipv6Addr>().is_ok() && address.chars().all(of_address)
    } else {
        zone.is_empty() && host.chars().all(of_name)
    };
    is_right && (1..=MAX_HOST_BYTES).contains(&host.len())
}

/// A text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address: write it as HOST, HOST:PORT or [IPV6]:PORT")]
pub(crate) struct InvalidAddress(String);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Option<(String, Option<u16>)> {
        text.parse::<Address>().ok().map(|address| (address.host, address.port))
    }

    #[test]
    fn addresses_are_written_in_these_ways() {
        for (text, host, port) in [
            ("rack", "rack", None),
            (" rack.lab:13000 ", "rack.lab", Some(13000)),
            ("192.168.1.5", "192.168.1.5", None),
            ("192.168.1.5:1", "192.168.1.5", Some(1)),
            ("fe80::1%eth0", "fe80::1%eth0", None),
            ("[fe80::1%3]:13000", "fe80::1%3", Some(13000)),
            ("[2001:db8::1]", "2001:db8::1", None),
        ] {
            assert_eq!(parsed(text), Some((host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_a_sentence() {
        for text in [
            "",
            ":12222",
            "rack:",
            "rack:0",
            "rack:70000",
            "http://rack",
            "rack/x",
            "a b",
            "[rack]:1",
            "[::1",
            "[::1]1",
            "1:2:3",
            "rack%eth0",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
        let error = "http://rack".parse::<Address>().expect_err("it is an URL");
        assert_eq!(
            error.to_string(),
            "`http://rack` is not an address: write it as HOST, HOST:PORT or [IPV6]:PORT"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}|\\[?[0-9a-f:.%]{0,20}\\]?(:[0-9]{0,6})?") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }

    fn environment(variable: &str) -> Option<String> {
        let values = [
            ("HURRICANE_CLUSTER", "lab"),
            ("HURRICANE_ADDRESS", "rack:13000"),
            ("HURRICANE_PORT", "13001"),
        ];
        values.into_iter().find(|(name, _)| *name == variable).map(|(_, value)| value.to_owned())
    }

    #[test]
    fn arguments_come_before_the_environment() {
        let choice = Choice::default().or(environment).expect("all is well");
        assert_eq!(choice.cluster, Some(Name::near("lab")));
        assert_eq!(choice.address.as_deref(), Some("rack:13000"));
        assert_eq!(choice.port, Some(13001));
        let chosen = Choice { port: Some(1), address: Some("desk".into()), ..Choice::default() };
        let choice = chosen.or(environment).expect("all is well");
        assert_eq!((choice.port, choice.address.as_deref()), (Some(1), Some("desk")));
        let none = Choice::default().or(|_| Some(String::new())).expect("empty is unset");
        assert!(!none.is_explicit());
    }

    #[test]
    fn bad_values_are_named() {
        let error = |variable: &'static str, value: &'static str| {
            let environment = |name: &str| (name == variable).then(|| value.to_owned());
            Choice::default().or(environment).expect_err("it is bad").to_string()
        };
        assert_eq!(
            error("HURRICANE_PORT", "many"),
            "HURRICANE_PORT is `many`: a port is a number from 1 to 65535"
        );
        assert!(
            error("HURRICANE_CLUSTER", "a/b").starts_with("HURRICANE_CLUSTER is `a/b`: a name")
        );
        assert!(error("HURRICANE_ADDRESS", "a b").starts_with("HURRICANE_ADDRESS is `a b`: "));
        let zero = Choice { port: Some(0), ..Choice::default() };
        assert!(zero.or(|_| None).is_err());
        let address = Choice { address: Some("a b".into()), ..Choice::default() };
        assert!(address.or(|_| None).is_err());
    }
}

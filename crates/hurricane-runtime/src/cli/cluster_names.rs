//! How people name the cluster that a command is about.

use crate::dialing::Choice;
use crate::identity::Name;

/// A cluster whose scheduler runs on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Here {
    /// The cluster's name, or its id
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<Name>,
    /// The cluster's initialization port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
}

/// A cluster wherever its scheduler runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Anywhere {
    /// Which.
    #[command(flatten)]
    pub here: Here,
    /// Where its scheduler is, if it is not found by itself: a host, with or without a port
    #[arg(long, value_name = "HOST[:PORT]")]
    pub address: Option<String>,
}

impl Here {
    pub(super) fn choice(&self) -> Choice {
        Choice { cluster: self.cluster.clone(), port: self.port, address: None }
    }
}

impl Anywhere {
    pub(super) fn choice(&self) -> Choice {
        Choice { address: self.address.clone(), ..self.here.choice() }
    }
}

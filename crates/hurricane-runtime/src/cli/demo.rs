//! `hurricane demo`: its options. The work itself is Python.

/// How the demonstration runs.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// How many tasks run at a time; as many as there are cpus if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub slots: Option<u16>,
}

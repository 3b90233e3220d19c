//! `hurricane leave`: this machine is a member of a cluster no more.

use hurricane_core::member::Request;

use super::cluster_names::Anywhere;
use super::failure::Failure;
use super::{Outcome, print_line, question, target, tell};
use crate::dialing::Target;
use crate::identity::State;

/// Which membership ends.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// In which cluster.
    #[command(flatten)]
    pub cluster: Anywhere,
}

pub(super) fn run(options: &Options) -> Result<Outcome, Failure> {
    let state = State::open()?;
    let choice = options.cluster.choice().or_environment()?;
    let membership = target::for_leaving(&state, &choice)?;
    let (cluster, name) = (membership.cluster.clone(), membership.name.clone());
    let id = membership.scheduler.fingerprint();
    let target = Target::Member(Box::new(membership));
    // The scheduler's word is not needed to forget it.
    let told = question::ask(&state, &target, &choice, &Request::Leave);
    state.forget(&id)?;
    print_line(format_args!("this machine is a member of {cluster} no more"));
    if let Err(failure) = told {
        tell(format_args!("its scheduler was not told:\n{failure}"));
        tell(format_args!("`hurricane revoke {name}` there takes it off the list"));
    }
    Ok(Outcome::Done)
}

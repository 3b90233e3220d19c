//! Where a program's connections lead: what it takes to dial there.

use std::fmt;
use std::rc::Rc;

use crate::dialing::{Choice, DialError, Dialer, Target};
use crate::greeting::{Greeting, Side};
use crate::identity::State;

/// A target, and with what it is dialed.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) state: State,
    pub(super) target: Target,
    pub(super) choice: Choice,
    pub(super) python_minor: Option<u8>,
}

impl Destination {
    /// Dials it in the part of somebody.
    pub(super) fn dialer(&self, side: Side) -> Result<Rc<Dialer>, DialError> {
        let greeting = Greeting::own(side, self.python_minor);
        Dialer::new(&self.state, self.target.clone(), &self.choice, greeting)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Here { port } => write!(f, "the cluster on port {port} of this machine"),
            Target::Member(membership) => write!(f, "the cluster `{}`", membership.cluster),
        }
    }
}

//! Why a command did not do what it was asked to, as people read it.

use std::error::Error;
use std::fmt;

/// Printed as `error: …`, `  caused by: …` for each cause, `hint: …`.
#[derive(Debug)]
pub(super) struct Failure {
    sentence: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// One without a cause.
    pub(super) fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), causes: Vec::new(), hint: None }
    }

    /// An error with its causes.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        let mut failure = Self::new(error.to_string());
        failure.causes = causes.map(ToString::to_string).collect();
        failure
    }

    /// An answer to another question, from a scheduler that is not like this version.
    pub(super) fn misunderstood() -> Self {
        Self::new("the scheduler's answer was not understood")
            .hint("install the same version of hurricane on both machines")
    }

    /// The same, with what to do about it.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        self.hint_if_any(Some(hint))
    }

    /// The same, where there may be nothing to do.
    pub(super) fn hint_if_any(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.sentence)?;
        self.causes.iter().try_for_each(|cause| write!(f, "\n  caused by: {cause}"))?;
        self.hint.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the list cannot be read")]
    struct Unreadable(#[source] std::fmt::Error);

    #[test]
    fn causes_and_hint_follow_the_error() {
        let failure = Failure::of(&Unreadable(std::fmt::Error)).hint("look at it");
        let told = "error: the list cannot be read\n  \
                    caused by: an error occurred when formatting an argument\n\
                    hint: look at it";
        assert_eq!(failure.to_string(), told);
    }
}

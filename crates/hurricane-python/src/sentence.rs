//! Errors as one sentence: a Python exception has no room for a chain of them.

use std::error::Error;

/// The error and what caused it.
pub(crate) fn of(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        sentence.push_str(": ");
        sentence.push_str(&cause.to_string());
        source = cause.source();
    }
    sentence
}

/// The error, what caused it, and what to do about it.
pub(crate) fn with_hint(error: &dyn Error, hint: Option<String>) -> String {
    match hint {
        Some(hint) => format!("{} (hint: {hint})", of(error)),
        None => of(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write")]
    struct CannotWrite(#[source] io::Error);

    #[test]
    fn causes_and_hint_follow_the_error() {
        let error = CannotWrite(io::Error::other("the disk is full"));
        assert_eq!(of(&error), "cannot write: the disk is full");
        let hinted = with_hint(&error, Some("make space".to_owned()));
        assert_eq!(hinted, "cannot write: the disk is full (hint: make space)");
        assert_eq!(with_hint(&error, None), of(&error));
    }
}

//! One question to a scheduler, and its answer.

use std::time::Duration;

use hurricane_core::member::{Answer, Request};
use tokio::runtime;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::failure::Failure;
use crate::dialing::{Choice, DialError, Dialer, Target};
use crate::greeting::{Greeting, Side};
use crate::identity::State;
use crate::operator::{self, AskError};

/// How long a scheduler is looked for. Discovery takes a second; one on this machine answers at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// Asks a scheduler that should be there.
pub(super) fn ask(
    state: &State,
    target: &Target,
    choice: &Choice,
    request: &Request,
) -> Result<Answer, Failure> {
    let question = Question { state, target, choice, request };
    match run(question.ask_until(PATIENCE))? {
        Ok(Answer::Refused(sentence)) => Err(Failure::new(sentence)),
        Ok(answer) => Ok(answer),
        Err(error) => Err(unanswered(&error)),
    }
}

/// Asks a scheduler that may not be there, once.
pub(super) fn ask_once(
    state: &State,
    target: &Target,
    choice: &Choice,
    request: &Request,
) -> Result<Result<Answer, AskError>, Failure> {
    run(Question { state, target, choice, request }.ask_until(Duration::ZERO))
}

struct Question<'a> {
    state: &'a State,
    target: &'a Target,
    choice: &'a Choice,
    request: &'a Request,
}

impl Question<'_> {
    async fn ask_until(&self, patience: Duration) -> Result<Answer, AskError> {
        let greeting = Greeting::own(Side::Operator, None);
        let dialer = Dialer::new(self.state, self.target.clone(), self.choice, greeting)?;
        let end = Instant::now() + patience;
        loop {
            match operator::ask(&dialer, self.request).await {
                Err(AskError::Dial(error)) if !is_final(&error) && Instant::now() < end => {}
                answer => return answer,
            }
            sleep(PAUSE).await;
        }
    }
}

/// Whether another try would bring the same. A scheduler on this host is there or not.
fn is_final(error: &DialError) -> bool {
    !matches!(error, DialError::NotFound { .. } | DialError::Unreachable { .. })
}

/// Why there is no answer, with what to do about it.
pub(super) fn unanswered(error: &AskError) -> Failure {
    let hint = match error {
        AskError::Dial(error) => error.hint(),
        AskError::Unanswered(_) => None,
    };
    Failure::of(error).hint_if_any(hint)
}

/// Runs what is asynchronous to its end, in this thread.
pub(super) fn run<T>(what: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::of(&error))?;
    Ok(LocalSet::new().block_on(&runtime, what))
}

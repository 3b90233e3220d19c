//! One question to a scheduler, on a connection of its own: what the commands and `status()` ask.

use std::io;
use std::time::Duration;

use hurricane_core::frame::{self, Decoder, FrameError, MAX_CONTROL_FRAME_BYTES};
use hurricane_core::member::{Answer, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::dialing::{DialError, Dialer};
use crate::framed::BoxedStream;

/// How long a scheduler may take to answer. It looks things up, or writes a line to its disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks, and waits for the answer. The dialer greets as [`crate::greeting::Side::Operator`]. Dials
/// once: who wants to wait for a scheduler asks again.
pub async fn ask(dialer: &Dialer, request: &Request) -> Result<Answer, AskError> {
    let mut stream = dialer.dial().await?.stream;
    let answered = timeout(ANSWER_TIMEOUT, exchange(&mut stream, request)).await;
    answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(AskError::Unanswered)
}

async fn exchange(stream: &mut BoxedStream, request: &Request) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    frame::encode(request, &mut bytes);
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    let mut decoder = Decoder::new(MAX_CONTROL_FRAME_BYTES);
    loop {
        let answer: Result<Option<Answer>, FrameError> = decoder.next_message();
        if let Some(answer) = answer.map_err(io::Error::other)? {
            return Ok(answer);
        }
        if stream.read_buf(decoder.buffer()).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The scheduler was not reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It was, and did not answer.
    #[error("the scheduler did not answer")]
    Unanswered(#[source] io::Error),
}

impl AskError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Dial(error) => error.hint(),
            Self::Unanswered(_) => Some("look at what the scheduler logs, and ask again".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    async fn answer_with(bytes: &[u8]) -> io::Result<Answer> {
        let (asking, mut answering) = UnixStream::pair().expect("there are descriptors");
        answering.write_all(bytes).await.expect("it is connected");
        let mut heard = Vec::new();
        frame::encode(&Request::Leave, &mut heard);
        let mut stream: BoxedStream = Box::new(asking);
        let hearing = async {
            answering.read_exact(&mut heard).await.expect("it asks");
            drop(answering);
        };
        let (answer, ()) = tokio::join!(exchange(&mut stream, &Request::Leave), hearing);
        answer
    }

    #[tokio::test]
    async fn an_answer_is_one_frame() {
        let mut bytes = Vec::new();
        frame::encode(&Answer::Revoked(3), &mut bytes);
        assert_eq!(answer_with(&bytes).await.expect("it is whole"), Answer::Revoked(3));
        for broken in [&bytes[..bytes.len() - 1], &[0xff; 16], &[]] {
            assert!(answer_with(broken).await.is_err(), "{broken:?}");
        }
    }
}

//! How a machine becomes a member: with the secret of a ticket, over a connection on which both
//! sides have shown their keys.
//!
//! The scheduler's key is pinned from the ticket before the joining side says anything. Then each
//! side greets, the joining side sends one message of fixed length, and gets one answer. The
//! message proves knowledge of the secret for this connection, this key and these roles alone:
//! nobody between can use it, and the secret itself is never sent.

mod invitations;
mod message;

pub use invitations::{Invitation, Invitations, Judgement, MAX_INVITATIONS, TooManyInvitations};
pub use message::{ANSWER_BYTES, Claim, Enrolled, REQUEST_BYTES, Refusal};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use crate::greeting::{Greeting, GreetingError, greet_dialer, greet_scheduler};
use crate::identity::{KeyPair, Name, PublicKey, Roles};
use crate::ticket::Ticket;
use crate::tls::{
    HANDSHAKE_TIMEOUT, HandshakeError, Pin, Purpose, Secured, connect, dialing, exporter, peer_key,
    refusal,
};
use message::Request;

/// Binds what is proven to the connection on which it is.
const EXPORTER: &[u8] = b"EXPORTER-hurricane-enrolment";

/// Why a machine was not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// The two sides did not come together.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// Their versions do not fit.
    #[error(transparent)]
    Greeting(#[from] GreetingError),
    /// The scheduler said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A message is not one of enrolment.
    #[error("the other side does not speak hurricane's protocol")]
    Malformed,
}

impl EnrolmentError {
    /// What the joining side can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Handshake(error) => error.hint(),
            Self::Greeting(error) => error.hint(),
            Self::Refused(refusal) => Some(refusal.hint()),
            Self::Malformed => Some("check the address and the port"),
        }
    }
}

/// What a machine asks for.
#[derive(Clone, Debug)]
pub struct Application<'a> {
    /// Its key, for which it asks.
    pub key: &'a KeyPair,
    /// With which ticket.
    pub ticket: &'a Ticket,
    /// What to do in the cluster; at most what the ticket gives.
    pub roles: Roles,
    /// What it would like to be called.
    pub wanted_name: &'a Name,
    /// What it says of itself.
    pub greeting: Greeting,
}

/// What a machine must remember of the cluster that it is now a member of.
#[derive(Clone, Debug)]
pub struct Admission {
    /// What it is called there, and what it may do.
    pub enrolled: Enrolled,
    /// The key to pin from now on.
    pub scheduler: PublicKey,
}

/// Asks a scheduler, over a connection that was just dialed, to make this machine a member.
pub async fn enrol<S>(stream: S, application: &Application<'_>) -> Result<Admission, EnrolmentError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let pin = Pin::Fingerprint(application.ticket.scheduler);
    let config = dialing(application.key, pin, Purpose::Enrolment);
    let mut stream = connect(config, stream).await?;
    let scheduler = peer_key(&stream).ok_or(HandshakeError::NotHurricane)?;
    greet_scheduler(&mut stream, &application.greeting).await?;
    let asked = timeout_at(Instant::now() + HANDSHAKE_TIMEOUT, ask(&mut stream, application));
    let enrolled = asked.await.map_err(|_| HandshakeError::TimedOut)??;
    Ok(Admission { enrolled, scheduler })
}

async fn ask<S>(
    stream: &mut Secured<S>,
    application: &Application<'_>,
) -> Result<Enrolled, EnrolmentError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Application { key, ticket, roles, wanted_name, .. } = application;
    let connection = exporter(stream, EXPORTER)?;
    let request = Request::new(&ticket.secret, &connection, &key.public(), *roles, wanted_name);
    let mut answer = [0; ANSWER_BYTES];
    let exchange = async {
        stream.write_all(&request.encode()).await?;
        stream.flush().await?;
        stream.read_exact(&mut answer).await
    };
    exchange.await.map_err(|error| refusal(stream, error))?;
    Ok(message::decode_answer(&answer).ok_or(EnrolmentError::Malformed)??)
}

/// Somebody with a key that nobody knows yet. All that can be done with it is to hear one message
/// and to answer that.
#[derive(Debug)]
pub struct Joiner<S> {
    stream: Secured<S>,
    key: PublicKey,
    deadline: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Joiner<S> {
    pub(crate) fn new(stream: Secured<S>, key: PublicKey, deadline: Instant) -> Self {
        Self { stream, key, deadline }
    }

    /// Hears what it asks for and answers as `decide` says, which must have done all that an answer
    /// promises: spent the ticket, and let the key in. Ends the connection.
    pub async fn answer(
        mut self,
        own: &Greeting,
        decide: impl AsyncFnOnce(&Claim) -> Result<Enrolled, Refusal>,
    ) -> Result<Enrolled, EnrolmentError> {
        let deadline = self.deadline;
        let answered = timeout_at(deadline, self.hear_and_answer(own, decide)).await;
        answered.unwrap_or(Err(HandshakeError::TimedOut.into()))
    }

    async fn hear_and_answer(
        &mut self,
        own: &Greeting,
        decide: impl AsyncFnOnce(&Claim) -> Result<Enrolled, Refusal>,
    ) -> Result<Enrolled, EnrolmentError> {
        greet_dialer(&mut self.stream, own).await?;
        let mut request = [0; REQUEST_BYTES];
        let heard = self.stream.read_exact(&mut request).await;
        heard.map_err(|error| refusal(&self.stream, error))?;
        let request = Request::decode(&request).ok_or(EnrolmentError::Malformed)?;
        let claim = Claim { request, key: self.key, connection: exporter(&self.stream, EXPORTER)? };
        let answer = decide(&claim).await;
        let said = self.say(&message::encode_answer(&answer)).await;
        said.map_err(|error| refusal(&self.stream, error))?;
        Ok(answer?)
    }

    async fn say(&mut self, answer: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(answer).await?;
        self.stream.shutdown().await
    }
}

#[cfg(test)]
mod tests;

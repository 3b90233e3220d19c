//! What an operator asks: one question on a connection of its own, and one answer.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use hurricane_core::frame::{self, Decoder};
use hurricane_core::member::{Answer, Request};
use hurricane_core::snapshot::Snapshot;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::Report;
use super::members::{Caller, Input, Who};
use super::service::Service;
use crate::framed::BoxedStream;
use crate::identity::{IdentityError, Name, PublicKey, Role, Roles};

/// The largest question: a name, or three numbers.
const MAX_REQUEST_BYTES: u64 = 1024;

/// How long an operator may take to ask.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the answer may take to be sent: that of a large cluster has megabytes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest that an invitation may hold: nobody remembers one for longer.
const MAX_TTL: Duration = Duration::from_hours(24 * 365);

impl Service {
    /// Hears the question, and answers.
    pub(super) async fn answer_operator(self: Rc<Self>, mut stream: BoxedStream, caller: Caller) {
        let heard = timeout(REQUEST_TIMEOUT, hear(&mut stream)).await;
        let Ok(Ok(request)) = heard else {
            return self.refuse(&caller.address(), "it asked nothing that is understood");
        };
        let answer = match may_ask(&caller, &request) {
            Ok(()) => self.decide(&caller, request).await,
            Err(reason) => {
                self.refuse(&caller.address(), &reason);
                Answer::Refused(reason)
            }
        };
        // Whether it is still heard is nothing that can be helped.
        let _ = timeout(ANSWER_TIMEOUT, say(&mut stream, &answer)).await;
        if answer == Answer::GoingDown {
            self.stop();
            // The end of the connection is that of the scheduler.
            std::future::pending::<()>().await;
        }
        let _ = timeout(ANSWER_TIMEOUT, stream.shutdown()).await;
    }

    async fn decide(&self, caller: &Caller, request: Request) -> Answer {
        match request {
            Request::Status => Answer::Status(Box::new(self.snapshot(caller.who == Who::Here))),
            Request::Invite { uses, ttl, roles } => self.on_invite(uses, ttl, roles),
            Request::Revoke { name } => self.on_revoke(&name).await,
            Request::Leave => self.on_leave(caller.who).await,
            Request::Down => Answer::GoingDown,
        }
    }

    fn on_invite(&self, uses: u32, ttl: Duration, roles: u8) -> Answer {
        let Some(roles) = Roles::from_byte(roles) else {
            return Answer::Refused("there are no such roles".into());
        };
        if uses == 0 || ttl.is_zero() || ttl > MAX_TTL {
            let reason = "a ticket is for one machine at least, and for a year at most";
            return Answer::Refused(reason.into());
        }
        match self.invite(uses, ttl, roles) {
            Ok(ticket) => Answer::Invited(ticket.to_line().into()),
            Err(error) => Answer::Refused(error.to_string().into()),
        }
    }

    async fn on_revoke(&self, name: &str) -> Answer {
        // What is not a name is not repeated: it may hold anything.
        let name = name.parse().unwrap_or_else(|_| Name::near(name));
        let mut change = self.roll.begin().await;
        match change.revoke(name.clone()).await {
            Ok(None) => Answer::Refused(self.explain_no_machine(&name).into()),
            Err(error) => not_written(&error),
            Ok(Some(entry)) => {
                self.note_names();
                // It could come back with a new key.
                self.invitations.borrow_mut().withdraw_known_to(&entry.key);
                let cut = self.expel(entry.key, "this machine's key was revoked");
                self.report(Report::Revoked { name: entry.name });
                Answer::Revoked(u32::try_from(cut).unwrap_or(u32::MAX))
            }
        }
    }

    async fn on_leave(&self, who: Who) -> Answer {
        let Who::Key(key) = who else {
            let reason = "the scheduler's own machine cannot leave its cluster: \
                          `hurricane down` ends that";
            return Answer::Refused(reason.into());
        };
        let mut change = self.roll.begin().await;
        let Some(name) = self.roll.name_of(&key) else { return Answer::Left };
        if let Err(error) = change.revoke(name.clone()).await {
            return not_written(&error);
        }
        self.note_names();
        self.invitations.borrow_mut().forget_answer_to(&key);
        self.expel(key, "this machine has left the cluster");
        self.report(Report::Revoked { name });
        Answer::Left
    }

    /// Ends all that a key has here; how many connections that was.
    fn expel(&self, key: PublicKey, reason: &str) -> usize {
        let connections = self.connections_of(&key);
        self.apply(Input::Expelled { key, reason: reason.into() });
        connections
    }

    /// What people are shown; who may join, only to those on this host.
    pub(super) fn snapshot(&self, with_members: bool) -> Snapshot {
        let mut snapshot = self.describe();
        if with_members && let Some(cluster) = &mut snapshot.cluster {
            cluster.members = self.describe_members();
        }
        snapshot
    }
}

/// Whether somebody may ask this; if not, a sentence.
fn may_ask(caller: &Caller, request: &Request) -> Result<(), Box<str>> {
    match request {
        Request::Status => caller.check_role(Role::Submit),
        Request::Leave => Ok(()),
        Request::Invite { .. } | Request::Revoke { .. } | Request::Down => match caller.who {
            Who::Here => Ok(()),
            Who::Key(_) => {
                Err("this is for the scheduler's user, on the scheduler's machine".into())
            }
        },
    }
}

async fn hear(stream: &mut BoxedStream) -> io::Result<Request> {
    let mut decoder = Decoder::new(MAX_REQUEST_BYTES);
    loop {
        match decoder.next_message() {
            Ok(Some(request)) => return Ok(request),
            Ok(None) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
        if stream.read_buf(decoder.buffer()).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn say(stream: &mut BoxedStream, answer: &Answer) -> io::Result<()> {
    let mut bytes = Vec::new();
    frame::encode(answer, &mut bytes);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

fn not_written(error: &IdentityError) -> Answer {
    Answer::Refused(format!("the list of keys could not be changed: {error}").into())
}

//! The way in: from a connection that somebody dialed to a member's session, an operator's question
//! or an enrolment. Nothing that comes before a key was shown is looked at but by TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::Report;
use super::members::Caller;
use super::service::Service;
use crate::enrolment::{Claim, Enrolled, Judgement, Refusal};
use crate::framed::BoxedStream;
use crate::greeting::{Greetable, GreetingError, Side, greet_dialer};
use crate::identity::{Grant, PublicKey};
use crate::platform::fork::HiddenFromChildren;
use crate::platform::local_socket::is_of_this_user;
use crate::platform::tcp;
use crate::strangers::Source;
use crate::tls::{Accepted, HandshakeError};

/// How long no connection is accepted after the system could not give one: it is out of descriptors
/// or memory, and trying on would take the cpu from those that are there.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Service {
    /// Takes connections from the network, for ever.
    pub(super) async fn accept_from_network(self: Rc<Self>, listener: TcpListener) {
        let listener = HiddenFromChildren::new(listener);
        loop {
            match listener.get_ref().accept().await {
                Ok((stream, address)) => self.on_dialed(stream, address),
                Err(error) => pause_after(&error).await,
            }
        }
    }

    /// Takes connections from this host, for ever.
    pub(super) async fn accept_from_here(self: Rc<Self>, listener: UnixListener) {
        let listener = HiddenFromChildren::new(listener);
        loop {
            match listener.get_ref().accept().await {
                Ok((stream, _)) if is_of_this_user(&stream) => {
                    tokio::task::spawn_local(Rc::clone(&self).greet_here(stream));
                }
                Ok(_) => self.refuse("this host", "it is not of this user"),
                Err(error) => pause_after(&error).await,
            }
        }
    }

    fn on_dialed(self: &Rc<Self>, stream: TcpStream, address: SocketAddr) {
        let source = Source::from(address.ip());
        if self.strangers.borrow_mut().enter(self.now(), source) {
            let half_open = HalfOpen { service: Rc::clone(self), source };
            tokio::task::spawn_local(half_open.receive(stream, address.ip()));
        } else {
            self.refuse(&text(address.ip()), "too many dial from there, or at all, at once");
        }
    }

    async fn greet_here(self: Rc<Self>, mut stream: UnixStream) {
        match greet_dialer(&mut stream, &self.greeting).await {
            Ok(greeting) => {
                let caller = Caller::here(greeting.side);
                self.let_in(Box::new(HiddenFromChildren::new(stream)), caller).await;
            }
            Err(error) => self.refuse_greeting("this host", &error),
        }
    }

    async fn greet_there(
        self: Rc<Self>,
        mut stream: impl Greetable + Send + 'static,
        key: PublicKey,
        ip: IpAddr,
    ) {
        let greeting = match greet_dialer(&mut stream, &self.greeting).await {
            Ok(greeting) => greeting,
            Err(error) => return self.refuse_greeting(&text(ip), &error),
        };
        // Its key may have been revoked since it was shown. From here on it is known to whoever
        // would cut it.
        let Some(roles) = self.roll.roles_of(&key) else { return };
        let caller = Caller::there(key, roles, self.roll.name_of(&key), greeting.side, ip);
        self.let_in(Box::new(stream), caller).await;
    }

    async fn let_in(self: Rc<Self>, stream: BoxedStream, caller: Caller) {
        match caller.side {
            Side::Node | Side::Client => self.open(stream, caller),
            Side::Operator => self.answer_operator(stream, caller).await,
            Side::Fetcher | Side::Scheduler => {
                self.refuse(&caller.address(), "a scheduler has no objects to fetch");
            }
        }
    }

    /// Decides on a machine that would become a member.
    async fn enrol(&self, claim: &Claim, ip: IpAddr) -> Result<Enrolled, Refusal> {
        let mut change = self.roll.begin().await;
        let judgement = self.invitations.borrow_mut().judge(self.now(), Source::from(ip), claim)?;
        let ticket = match judgement {
            Judgement::Good(ticket) => ticket,
            Judgement::Answered(answer) => return Ok(answer),
        };
        let grant = Grant {
            key: claim.key(),
            roles: claim.roles(),
            wanted_name: claim.wanted_name().to_string(),
            date: SystemTime::now(),
            ticket: Some(ticket),
        };
        let entry = change.authorize(grant).await.map_err(|error| {
            let reason = format!("its key could not be written down: {}", sentence(&error));
            self.refuse(&text(ip), &reason);
            Refusal::NotWritten
        })?;
        let answer = Enrolled {
            name: entry.name.clone(),
            roles: entry.roles,
            cluster: self.config.name.clone(),
        };
        self.note_names();
        self.invitations.borrow_mut().spend(ticket, claim.key(), answer.clone());
        let (name, roles, address) = (entry.name, entry.roles, text(ip));
        self.report(Report::Enrolled { name, roles, address });
        Ok(answer)
    }

    fn refuse_greeting(&self, address: &str, error: &GreetingError) {
        match error {
            // Who dials several addresses at once leaves all but one.
            GreetingError::Handshake(HandshakeError::Cut(_)) => {}
            error => self.refuse(address, &sentence(error)),
        }
    }
}

/// A connection whose other side has not shown a key. Dropped, it is counted as such no more.
struct HalfOpen {
    service: Rc<Service>,
    source: Source,
}

impl HalfOpen {
    async fn receive(self, stream: TcpStream, ip: IpAddr) {
        let service = Rc::clone(&self.service);
        // Without these it works as well, if worse.
        let _ = tcp::prepare(&stream);
        let is_enrolling = service.invitations.borrow().is_live(service.now());
        let stream = HiddenFromChildren::new(stream);
        match service.doors.accept(stream, is_enrolling).await {
            Ok(Accepted::Member { stream, key }) => {
                service.strangers.borrow_mut().welcome(self.source);
                drop(self);
                service.greet_there(stream, key, ip).await;
            }
            Ok(Accepted::Joiner(joiner)) => {
                let decide = async |claim: &Claim| service.enrol(claim, ip).await;
                if let Err(error) = joiner.answer(&service.greeting, decide).await {
                    service.refuse(&text(ip), &sentence(&error));
                }
            }
            Err(HandshakeError::Cut(_)) => {}
            Err(error) => service.refuse(&text(ip), &sentence(&error)),
        }
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.service.strangers.borrow_mut().leave(self.source);
    }
}

/// What concerns one connection alone is over with it.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if !matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

fn text(ip: IpAddr) -> Box<str> {
    ip.to_canonical().to_string().into()
}

/// An error with what caused it.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        sentence = format!("{sentence}: {error}");
        source = error.source();
    }
    sentence
}

//! Enrolment over loopback: both sides, and somebody between them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::time::Duration;

use hurricane_core::time::Time;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::greeting::Side;
use crate::strangers::Source;
use crate::ticket::Secret;
use crate::tls::{Accepted, AuthorizedKeys, Doors};

const NOW: Time = Time(1_000_000);
const TTL: Duration = Duration::from_mins(15);

fn key() -> KeyPair {
    KeyPair::generate().expect("the system is random")
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback is there");
    let address = listener.local_addr().expect("it is bound");
    let (dialed, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (dialed.expect("it listens"), accepted.expect("somebody dialed").0)
}

/// A scheduler that has invited one machine.
struct Scheduler {
    doors: Doors,
    authorized: AuthorizedKeys,
    invitations: Mutex<Invitations>,
    ticket: Ticket,
}

impl Scheduler {
    fn new() -> Self {
        let key = key();
        let authorized = AuthorizedKeys::default();
        let secret = Secret::generate().expect("the system is random");
        let mut invitations = Invitations::default();
        let invitation =
            Invitation { secret: secret.clone(), roles: Roles::NODE, uses: 1, ttl: TTL };
        invitations.invite(NOW, invitation).expect("it is the first");
        Self {
            doors: Doors::new(&key, authorized.clone()),
            authorized,
            invitations: Mutex::new(invitations),
            ticket: Ticket {
                scheduler: key.public().fingerprint(),
                secret,
                roles: Roles::NODE,
                port: 12222,
            },
        }
    }

    /// Answers one connection at a time.
    async fn answer(&self, now: Time, stream: TcpStream) -> Result<Enrolled, EnrolmentError> {
        let Accepted::Joiner(joiner) = self.doors.accept(stream, true).await? else {
            panic!("nobody is a member");
        };
        let source = Source::from(IpAddr::from(Ipv4Addr::LOCALHOST));
        let decide = async |claim: &Claim| {
            let mut invitations = self.invitations.lock().expect("no test panicked with it");
            match invitations.judge(now, source, claim)? {
                Judgement::Answered(answer) => Ok(answer),
                Judgement::Good(ticket) => {
                    self.authorized.insert(claim.key(), claim.roles());
                    let name = claim.wanted_name().clone();
                    let answer =
                        Enrolled { name, roles: claim.roles(), cluster: Name::near("lab") };
                    invitations.spend(ticket, claim.key(), answer.clone());
                    Ok(answer)
                }
            }
        };
        joiner.answer(&Greeting::own(Side::Scheduler, Some(11)), decide).await
    }

    /// What a machine is told that comes with a ticket.
    async fn enrol(
        &self,
        now: Time,
        key: &KeyPair,
        ticket: &Ticket,
    ) -> Result<Admission, EnrolmentError> {
        let (dialed, accepted) = pair().await;
        let (admission, answered) =
            tokio::join!(ask_with(dialed, key, ticket), self.answer(now, accepted));
        assert_eq!(admission.is_ok(), answered.is_ok(), "{admission:?}, {answered:?}");
        admission
    }
}

async fn ask_with(
    stream: TcpStream,
    key: &KeyPair,
    ticket: &Ticket,
) -> Result<Admission, EnrolmentError> {
    let application = Application {
        key,
        ticket,
        roles: ticket.roles,
        wanted_name: &Name::near("rack"),
        greeting: Greeting::own(Side::Node, Some(11)),
    };
    enrol(stream, &application).await
}

fn refusal_of(admission: Result<Admission, EnrolmentError>) -> Refusal {
    match admission {
        Err(EnrolmentError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_machine_with_a_ticket_becomes_a_member() {
    let (scheduler, machine) = (Scheduler::new(), key());
    let line = scheduler.ticket.to_line();
    let ticket = line.parse().expect("it was just written");
    let admission = scheduler.enrol(NOW, &machine, &ticket).await.expect("it is invited");
    assert_eq!(admission.scheduler.fingerprint(), ticket.scheduler);
    assert_eq!(admission.enrolled.name.as_str(), "rack");
    assert_eq!(admission.enrolled.cluster.as_str(), "lab");
    assert_eq!(scheduler.authorized.roles_of(&machine.public()), Some(Roles::NODE));
}

#[tokio::test]
async fn s8_a_wrong_secret_gets_nobody_in_and_burns_nothing() {
    let (scheduler, machine) = (Scheduler::new(), key());
    let secret = Secret::generate().expect("the system is random");
    let wrong = Ticket { secret, ..scheduler.ticket.clone() };
    assert_eq!(refusal_of(scheduler.enrol(NOW, &machine, &wrong).await), Refusal::Unknown);
    assert_eq!(scheduler.authorized.roles_of(&machine.public()), None);
    assert!(scheduler.enrol(NOW, &machine, &scheduler.ticket).await.is_ok());
}

#[tokio::test]
async fn s8_an_expired_ticket_gets_nobody_in() {
    let scheduler = Scheduler::new();
    let late = scheduler.enrol(NOW + TTL, &key(), &scheduler.ticket).await;
    assert_eq!(refusal_of(late), Refusal::Expired);
}

#[tokio::test]
async fn s8_a_used_ticket_gets_nobody_else_in() {
    let (scheduler, machine) = (Scheduler::new(), key());
    let first = scheduler.enrol(NOW, &machine, &scheduler.ticket).await.expect("it is invited");
    let again = scheduler.enrol(NOW, &machine, &scheduler.ticket).await.expect("it was enrolled");
    assert_eq!(again.enrolled, first.enrolled);
    let other = scheduler.enrol(NOW, &key(), &scheduler.ticket).await;
    assert_eq!(refusal_of(other), Refusal::Used);
}

#[tokio::test]
async fn s5_who_stands_between_gets_nothing() {
    let (scheduler, machine) = (Scheduler::new(), key());
    // Ends TLS with a key of its own, and answers as a scheduler does.
    let between = Doors::new(&key(), AuthorizedKeys::default());
    let (dialed, accepted) = pair().await;
    let (admission, accepted) =
        tokio::join!(ask_with(dialed, &machine, &scheduler.ticket), between.accept(accepted, true));
    let error = admission.expect_err("the pin does not hold");
    assert!(
        matches!(error, EnrolmentError::Handshake(HandshakeError::WrongScheduler)),
        "{error:?}"
    );
    // Its handshake never ended, so nothing came that it could have read.
    let error = accepted.expect_err("the other side left");
    assert!(matches!(error, HandshakeError::ExpectedAnother), "{error:?}");
}

#[tokio::test]
async fn other_versions_are_told_before_anything_is_asked() {
    let scheduler = Scheduler::new();
    let (dialed, accepted) = pair().await;
    let (machine, wanted_name) = (key(), Name::near("rack"));
    let greeting = Greeting { protocol: 9999, ..Greeting::own(Side::Node, Some(11)) };
    let application = Application {
        key: &machine,
        ticket: &scheduler.ticket,
        roles: Roles::NODE,
        wanted_name: &wanted_name,
        greeting,
    };
    let (asked, answered) =
        tokio::join!(enrol(dialed, &application), scheduler.answer(NOW, accepted));
    for error in [asked.map(drop), answered.map(drop)] {
        let error = error.expect_err("the protocols differ");
        assert!(
            matches!(error, EnrolmentError::Greeting(GreetingError::Protocol { .. })),
            "{error:?}"
        );
    }
}

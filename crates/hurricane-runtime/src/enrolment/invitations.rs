//! Which tickets are good, for how many machines and for how long. Pure: time is a parameter, and
//! nothing is kept but in memory, so that a restart ends every invitation.

use std::collections::BTreeMap;
use std::time::Duration;

use hurricane_core::time::Time;

use super::{Claim, Enrolled, Refusal};
use crate::identity::{PublicKey, Roles};
use crate::strangers::{Source, Tries};
use crate::ticket::{Secret, TicketId};

/// Far more than people hand out within an hour; each costs every try a comparison.
pub const MAX_INVITATIONS: usize = 256;

/// How long an expired one is remembered, so that who comes late is told so.
const REMEMBERED: Duration = Duration::from_hours(1);

/// What a ticket is good for.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// What shows that one was invited.
    pub secret: Secret,
    /// What the invited may do.
    pub roles: Roles,
    /// How many machines may use it.
    pub uses: u32,
    /// For how long.
    pub ttl: Duration,
}

/// All invitations of a cluster.
#[derive(Debug, Default)]
pub struct Invitations {
    given: BTreeMap<TicketId, Given>,
    tries: Tries,
}

#[derive(Debug)]
struct Given {
    invitation: Invitation,
    expires: Time,
    /// What each machine was told that used it; nothing if it has left since.
    answers: BTreeMap<PublicKey, Option<Enrolled>>,
}

/// What a claim is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is good for this ticket.
    Good(TicketId),
    /// It was good before: the answer of then is lost, or on its way.
    Answered(Enrolled),
}

/// There are [`MAX_INVITATIONS`] already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {MAX_INVITATIONS} invitations already: wait until one expires")]
pub struct TooManyInvitations;

impl Invitations {
    /// Invites. The name of the ticket is what may be shown of it.
    pub fn invite(
        &mut self,
        now: Time,
        invitation: Invitation,
    ) -> Result<TicketId, TooManyInvitations> {
        self.forget(now, REMEMBERED);
        if self.given.len() >= MAX_INVITATIONS {
            self.forget(now, Duration::ZERO);
        }
        if self.given.len() >= MAX_INVITATIONS {
            return Err(TooManyInvitations);
        }
        let id = invitation.secret.ticket_id();
        let expires = now + invitation.ttl;
        self.given.insert(id, Given { invitation, expires, answers: BTreeMap::new() });
        Ok(id)
    }

    /// Whether any ticket is good, and strangers are to be answered at all. A used one is until it
    /// expires, for machines that lost the answer.
    pub fn is_live(&self, now: Time) -> bool {
        self.given.values().any(|given| now < given.expires)
    }

    /// Ends an invitation; those who came with it stay.
    pub fn withdraw(&mut self, ticket: TicketId) -> bool {
        self.given.remove(&ticket).is_some()
    }

    /// Ends the invitations that a machine knows which is no longer trusted: it could come back
    /// with a new key.
    pub fn withdraw_known_to(&mut self, key: &PublicKey) {
        self.given.retain(|_, given| !given.answers.contains_key(key));
    }

    /// A machine is no member any more, by its own wish. If it comes back with its ticket, that is
    /// no further use of it.
    pub fn forget_answer_to(&mut self, key: &PublicKey) {
        for given in self.given.values_mut() {
            given.answers.entry(*key).and_modify(|answer| *answer = None);
        }
    }

    /// Judges a claim. For one that is good, let its key in, and [`spend`](Self::spend) its ticket
    /// before another claim is judged; if that fails, the ticket is as it was.
    pub fn judge(
        &mut self,
        now: Time,
        source: Source,
        claim: &Claim,
    ) -> Result<Judgement, Refusal> {
        if !self.tries.count(now, source) {
            return Err(Refusal::TooManyTries);
        }
        let (id, given) = self.known_to(claim).ok_or(Refusal::Unknown)?;
        given.check(now, claim)?;
        match given.answers.get(&claim.key()) {
            Some(Some(answer)) => Ok(Judgement::Answered(answer.clone())),
            None if given.is_used() => Err(Refusal::Used),
            Some(None) | None => Ok(Judgement::Good(id)),
        }
    }

    /// Counts a use of a ticket, by a key that was let in.
    pub fn spend(&mut self, ticket: TicketId, key: PublicKey, answer: Enrolled) {
        if let Some(given) = self.given.get_mut(&ticket) {
            given.answers.insert(key, Some(answer));
        }
    }

    /// The invitation whose secret a claim proves. Compares with every one, so that how long it
    /// takes says nothing.
    fn known_to(&mut self, claim: &Claim) -> Option<(TicketId, &mut Given)> {
        self.given.iter_mut().fold(None, |found, (id, given)| {
            if claim.knows(&given.invitation.secret) { Some((*id, given)) } else { found }
        })
    }

    /// Forgets those that expired so long ago.
    fn forget(&mut self, now: Time, ago: Duration) {
        self.given.retain(|_, given| now < given.expires + ago);
    }
}

impl Given {
    fn check(&self, now: Time, claim: &Claim) -> Result<(), Refusal> {
        if now >= self.expires {
            return Err(Refusal::Expired);
        }
        if !claim.roles().are_within(self.invitation.roles) {
            return Err(Refusal::RoleNotGiven);
        }
        Ok(())
    }

    fn is_used(&self) -> bool {
        self.answers.len() >= usize::try_from(self.invitation.uses).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::message::Request;
    use super::*;
    use crate::identity::{KeyPair, Name};

    const MINUTE: Duration = Duration::from_mins(1);
    const NOW: Time = Time(7_000_000);

    fn secret() -> Secret {
        Secret::generate().expect("the system is random")
    }

    fn key() -> PublicKey {
        KeyPair::generate().expect("the system is random").public()
    }

    fn claim(secret: &Secret, key: PublicKey, roles: Roles) -> Claim {
        let request = Request::new(secret, &[9; 32], &key, roles, &Name::near("rack"));
        Claim { request, key, connection: [9; 32] }
    }

    /// One invitation, and how claims on it are answered.
    struct Case {
        invitations: Invitations,
        secret: Secret,
        ticket: TicketId,
        enrolled: u32,
        tries: u16,
    }

    impl Case {
        fn new(uses: u32) -> Self {
            let (secret, mut invitations) = (secret(), Invitations::default());
            let invitation =
                Invitation { secret: secret.clone(), roles: Roles::NODE, uses, ttl: MINUTE };
            let ticket = invitations.invite(NOW, invitation).expect("it is the first");
            Self { invitations, secret, ticket, enrolled: 0, tries: 0 }
        }

        fn redeem(&mut self, now: Time, claim: &Claim) -> Result<Enrolled, Refusal> {
            // From another address each time: what limits tries has tests of its own.
            self.tries = self.tries.wrapping_add(1);
            let [high, low] = self.tries.to_be_bytes();
            let source = Source::from(IpAddr::from([10, 0, high, low]));
            match self.invitations.judge(now, source, claim)? {
                Judgement::Answered(answer) => Ok(answer),
                Judgement::Good(ticket) => {
                    self.enrolled += 1;
                    let name = Name::near(&format!("{}-{}", claim.wanted_name(), self.enrolled));
                    let answer =
                        Enrolled { name, roles: claim.roles(), cluster: Name::near("lab") };
                    self.invitations.spend(ticket, claim.key(), answer.clone());
                    Ok(answer)
                }
            }
        }

        /// As if nothing limited tries.
        fn redeem_as_often_as_wished(&mut self, claim: &Claim) -> Result<Enrolled, Refusal> {
            self.invitations.tries = Tries::default();
            self.redeem(NOW, claim)
        }

        fn redeem_by(&mut self, now: Time, key: PublicKey) -> Result<Enrolled, Refusal> {
            self.redeem(now, &claim(&self.secret.clone(), key, Roles::NODE))
        }
    }

    #[test]
    fn s8_a_ticket_is_good_for_so_many() {
        let mut case = Case::new(2);
        assert!(case.redeem_by(NOW, key()).is_ok());
        assert!(case.redeem_by(NOW, key()).is_ok());
        assert_eq!(case.redeem_by(NOW, key()), Err(Refusal::Used));
        assert_eq!(case.enrolled, 2);
    }

    #[test]
    fn s8_the_same_key_gets_the_same_answer() {
        let (mut case, machine) = (Case::new(1), key());
        let first = case.redeem_by(NOW, machine).expect("it is good");
        assert_eq!(case.redeem_by(NOW + MINUTE / 2, machine), Ok(first));
        assert_eq!(case.enrolled, 1);
        assert_eq!(case.redeem_by(NOW, key()), Err(Refusal::Used));
    }

    #[test]
    fn s8_a_ticket_expires() {
        let (mut case, machine) = (Case::new(2), key());
        assert!(case.redeem_by(NOW, machine).is_ok());
        assert!(case.invitations.is_live(NOW + MINUTE / 2));
        assert!(!case.invitations.is_live(NOW + MINUTE));
        assert_eq!(case.redeem_by(NOW + MINUTE, machine), Err(Refusal::Expired));
        assert_eq!(case.redeem_by(NOW + MINUTE, key()), Err(Refusal::Expired));
    }

    #[test]
    fn s8_misses_never_burn() {
        let mut case = Case::new(1);
        for _ in 0..1000 {
            let wrong = claim(&secret(), key(), Roles::NODE);
            assert_eq!(case.redeem(NOW, &wrong), Err(Refusal::Unknown));
        }
        assert!(case.redeem_by(NOW, key()).is_ok());
    }

    #[test]
    fn s8_a_hundred_thousand_guesses_find_nothing() {
        let (mut case, machine) = (Case::new(1), key());
        for _ in 0..100_000 {
            let guess = claim(&secret(), machine, Roles::NODE);
            let answer = case.redeem_as_often_as_wished(&guess);
            assert_eq!(answer, Err(Refusal::Unknown));
        }
        assert_eq!(case.enrolled, 0);
        assert!(case.redeem_by(NOW, machine).is_ok());
    }

    #[test]
    fn s8_few_tries_from_one_source() {
        let mut case = Case::new(1);
        let source = Source::from(IpAddr::from([10, 0, 0, 1]));
        let wrong = claim(&secret(), key(), Roles::NODE);
        for _ in 0..5 {
            assert_eq!(case.invitations.judge(NOW, source, &wrong), Err(Refusal::Unknown));
        }
        assert_eq!(case.invitations.judge(NOW, source, &wrong), Err(Refusal::TooManyTries));
    }

    #[test]
    fn s8_a_revoked_machine_does_not_return_with_its_ticket() {
        let (mut case, machine) = (Case::new(10), key());
        assert!(case.redeem_by(NOW, machine).is_ok());
        case.invitations.withdraw_known_to(&machine);
        assert_eq!(case.redeem_by(NOW, machine), Err(Refusal::Unknown));
        assert_eq!(case.redeem_by(NOW, key()), Err(Refusal::Unknown));
        assert!(!case.invitations.is_live(NOW));
    }

    #[test]
    fn a_withdrawn_ticket_is_unknown() {
        let mut case = Case::new(1);
        assert!(case.invitations.withdraw(case.ticket));
        assert!(!case.invitations.withdraw(case.ticket));
        assert_eq!(case.redeem_by(NOW, key()), Err(Refusal::Unknown));
    }

    #[test]
    fn roles_are_at_most_those_of_the_ticket() {
        let mut case = Case::new(1);
        let more = claim(&case.secret, key(), Roles::ALL);
        assert_eq!(case.redeem(NOW, &more), Err(Refusal::RoleNotGiven));
        assert_eq!(case.enrolled, 0);
    }

    #[test]
    fn what_could_not_be_written_spends_nothing() {
        let mut case = Case::new(1);
        let good = claim(&case.secret, key(), Roles::NODE);
        let source = Source::from(IpAddr::from([10, 0, 0, 1]));
        let judged = case.invitations.judge(NOW, source, &good);
        assert_eq!(judged, Ok(Judgement::Good(case.ticket)));
        assert!(case.redeem_by(NOW, key()).is_ok());
    }

    #[test]
    fn who_left_may_come_back_with_the_ticket_and_spends_nothing() {
        let (mut case, machine) = (Case::new(1), key());
        assert!(case.redeem_by(NOW, machine).is_ok());
        case.invitations.forget_answer_to(&machine);
        assert_eq!(case.redeem_by(NOW, key()), Err(Refusal::Used));
        assert!(case.redeem_by(NOW, machine).is_ok());
        assert_eq!(case.enrolled, 2);
    }

    #[test]
    fn invitations_are_bounded_and_expired_ones_make_room() {
        let mut invitations = Invitations::default();
        let invitation =
            || Invitation { secret: secret(), roles: Roles::NODE, uses: 1, ttl: MINUTE };
        for _ in 0..MAX_INVITATIONS {
            assert!(invitations.invite(NOW, invitation()).is_ok());
        }
        assert_eq!(invitations.invite(NOW, invitation()), Err(TooManyInvitations));
        assert!(invitations.invite(NOW + MINUTE, invitation()).is_ok());
    }
}

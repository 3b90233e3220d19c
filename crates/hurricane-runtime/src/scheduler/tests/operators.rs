//! Questions to a scheduler: who may ask what, and what comes of it.

use std::time::Duration;

use hurricane_core::member::{Answer, Request};

use super::site::{Client, Machine, Node, Site, Way, ask, eventually, run, soon};
use crate::enrolment::{EnrolmentError, Refusal};
use crate::greeting::Side;
use crate::identity::{Name, Roles};
use crate::ticket::Ticket;

fn requests() -> Vec<Request> {
    vec![
        Request::Status,
        Request::Invite { uses: 1, ttl: Duration::from_mins(1), roles: 1 },
        Request::Revoke { name: "nobody".into() },
        Request::Leave,
        Request::Down,
    ]
}

fn is_refused(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused(_))
}

#[test]
fn s10_operators_ask_what_their_roles_are_for() {
    run(async {
        let site = Site::new("roles");
        for roles in [Roles::NODE, Roles::SUBMIT, Roles::ALL] {
            for request in requests() {
                let machine = site.machine("machine", roles).await;
                let answer = ask(machine, &request).await;
                let is_allowed = match request {
                    Request::Status => roles != Roles::NODE,
                    Request::Leave => true,
                    _ => false,
                };
                assert_eq!(is_refused(&answer), !is_allowed, "{roles}: {request:?}: {answer:?}");
            }
        }
        assert!(site.reported("on the scheduler's machine"), "{:?}", site.reports);
        assert!(!site.server.wait(Some(Duration::ZERO)));
    });
}

#[test]
fn s10_sessions_are_for_their_roles() {
    run(async {
        let site = Site::new("sessions");
        let node = site.machine("node", Roles::NODE).await;
        let submitter = site.machine("submitter", Roles::SUBMIT).await;
        let client = Client::client(&node);
        let reason = client.end().await;
        assert!(reason.contains("`node`") && reason.contains("--role submit"), "{reason}");
        let wrong = Node::node(&submitter);
        let reason = wrong.end().await;
        assert!(reason.contains("`submit`") && reason.contains("--role node"), "{reason}");
        eventually("it is told", || site.reported("--role submit")).await;
        assert!(node.clone().dial(Side::Fetcher).await.is_err());
        eventually("it is told", || site.reported("the other side is a fetching node")).await;
    });
}

#[test]
fn the_status_says_what_there_is() {
    run(async {
        let site = Site::new("status");
        let laptop = site.machine("laptop", Roles::ALL).await;
        let node = Node::node(&laptop);
        node.join(3).await;
        let here = Node::node(&site.here());
        here.join(1).await;
        let Answer::Status(status) = ask(laptop, &Request::Status).await else {
            panic!("it may ask")
        };
        let mut nodes: Vec<_> =
            status.nodes.iter().map(|node| (&*node.name, &*node.address)).collect();
        nodes.sort_unstable();
        assert_eq!(nodes, [("host-1", "this host"), ("laptop", "127.0.0.1")]);
        let cluster = status.cluster.expect("it is one");
        assert_eq!((&*cluster.name, cluster.port), ("lab", site.server.port()));
        assert_eq!(*cluster.id, *site.key().fingerprint().to_string());
        assert_eq!(*cluster.addresses[0], *site.address().to_string());
        assert!(cluster.members.is_empty());
        let Answer::Status(status) = ask(site.here(), &Request::Status).await else {
            panic!("it may ask")
        };
        let members = status.cluster.expect("it is one").members;
        let [member] = &members[..] else { panic!("{members:?}") };
        assert_eq!(
            (&*member.name, &*member.roles, member.connections),
            ("laptop", "node,submit", 1)
        );
        assert_eq!(site.server.snapshot().cluster.expect("it is one").members.len(), 1);
    });
}

async fn invited(site: &Site, uses: u32) -> Ticket {
    let request = Request::Invite { uses, ttl: Duration::from_mins(1), roles: 1 };
    match ask(site.here(), &request).await {
        Answer::Invited(line) => line.parse().expect("it is a ticket"),
        other => panic!("{other:?}"),
    }
}

fn refusal(answer: Result<(), EnrolmentError>) -> Refusal {
    match answer {
        Err(EnrolmentError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_invitation_lets_machines_in() {
    run(async {
        let site = Site::new("invite");
        let ticket = invited(&site, 2).await;
        let (one, other, third) = (site.stranger(), site.stranger(), site.stranger());
        one.enrol(&ticket, "rack").await.expect("it is the first");
        other.enrol(&ticket, "rack").await.expect("it is the second");
        assert_eq!(refusal(third.enrol(&ticket, "rack").await), Refusal::Used);
        let authorized = site.state.cluster(&super::site::name()).expect("it is there");
        let authorized = authorized.authorized().expect("it can be read");
        let names: Vec<&str> = authorized.entries().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["rack", "rack-2"]);
        let (_, name) = Node::node(&other).join(1).await;
        assert_eq!(&*name, "rack-2");
        for (uses, ttl, roles) in [(0, 60, 1), (1, 0, 1), (1, 60, 0), (1, 60, 9), (1, u64::MAX, 1)]
        {
            let request = Request::Invite { uses, ttl: Duration::from_secs(ttl), roles };
            assert!(is_refused(&ask(site.here(), &request).await), "{request:?}");
        }
    });
}

#[test]
fn s9_a_revoked_machine_is_cut_off_at_once() {
    run(async {
        let site = Site::new("revoke");
        let ticket = invited(&site, 10).await;
        let machine = site.stranger();
        machine.enrol(&ticket, "rack").await.expect("it is invited");
        let (node, stays) = (Node::node(&machine), Node::node(&site.here()));
        node.join(1).await;
        stays.join(1).await;
        let revoked = ask(site.here(), &Request::Revoke { name: "rack".into() }).await;
        assert_eq!(revoked, Answer::Revoked(1));
        assert_eq!(node.end().await, "this machine's key was revoked");
        assert_eq!(site.server.snapshot().nodes.len(), 1);
        cannot_return(&machine).await;
        let others = site.invite(Roles::NODE);
        assert_eq!(refusal(site.stranger().enrol(&ticket, "rack").await), Refusal::Unknown);
        site.stranger().enrol(&others, "rack").await.expect("it has nothing to do with that");
        let nobody = ask(site.here(), &Request::Revoke { name: "nobody".into() }).await;
        assert!(is_refused(&nobody), "{nobody:?}");
        let nonsense = ask(site.here(), &Request::Revoke { name: "\u{1b}[2J".into() }).await;
        assert_eq!(nonsense, Answer::Refused("no machine of this cluster is called `--2J`".into()));
        assert!(site.reported("Revoked { name: Name(\"rack\") }"));
    });
}

async fn cannot_return(machine: &Machine) {
    let again = Node::node(machine);
    let reason = again.not_reached().await;
    assert!(reason.contains("was never enrolled, or was revoked"), "{reason}");
}

#[test]
fn a_name_means_one_machine() {
    run(async {
        let site = Site::new("names");
        let own = Node::node(&site.here());
        let (_, own_name) = own.join(1).await;
        assert_eq!(&*own_name, "host-1");
        let (rack, other) =
            (site.machine("rack", Roles::NODE).await, site.machine("rack", Roles::NODE).await);
        let nodes = [&rack, &rack, &other].map(Node::node);
        let mut names = Vec::new();
        for node in &nodes {
            names.push(node.join(1).await.1);
        }
        assert_eq!(names, ["rack".into(), "rack-3".into(), Box::<str>::from("rack-2")]);
        let revoke =
            async |name: &str| ask(site.here(), &Request::Revoke { name: name.into() }).await;
        let refused = |reason: &str| Answer::Refused(reason.into());
        let of_machine = refused("`rack-3` is a node of the machine `rack`");
        assert_eq!(revoke("rack-3").await, of_machine);
        let of_own = refused("`host-1` is a node of the scheduler's own machine");
        assert_eq!(revoke("host-1").await, of_own);
        assert_eq!(revoke("rack-2").await, Answer::Revoked(1));
        assert_eq!(nodes[2].end().await, "this machine's key was revoked");
        let this_host = String::from(crate::platform::machine::name());
        let namesake = site.machine(&this_host, Roles::NODE).await;
        let (_, name) = Node::node(&namesake).join(1).await;
        assert_eq!(*name, *format!("{}-2", Name::near(&this_host)));
    });
}

#[test]
fn who_leaves_may_come_back_with_its_ticket() {
    run(async {
        let site = Site::new("leave");
        let ticket = invited(&site, 1).await;
        let machine = site.stranger();
        machine.enrol(&ticket, "rack").await.expect("it is invited");
        let node = Node::node(&machine);
        node.join(1).await;
        assert_eq!(ask(machine.clone(), &Request::Leave).await, Answer::Left);
        assert_eq!(node.end().await, "this machine has left the cluster");
        cannot_return(&machine).await;
        let authorized = site.state.cluster(&super::site::name()).expect("it is there");
        assert_eq!(authorized.authorized().expect("it can be read").entries().count(), 0);
        machine.enrol(&ticket, "rack").await.expect("it was its ticket");
        let (_, name) = soon("a node", Node::node(&machine).join(1)).await;
        assert_eq!(&*name, "rack");
        assert!(is_refused(&ask(site.here(), &Request::Leave).await));
    });
}

#[test]
fn a_line_that_people_removed_lets_nobody_in() {
    run(async {
        let site = Site::new("removed");
        let machine = site.machine("rack", Roles::NODE).await;
        let cluster = site.state.cluster(&super::site::name()).expect("it is there");
        let mut authorized = cluster.authorized().expect("it can be read");
        authorized.revoke(&Name::near("rack")).expect("it can be written");
        // With the next change at the latest.
        site.machine("other", Roles::NODE).await;
        cannot_return(&machine).await;
    });
}

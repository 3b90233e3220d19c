//! How messages lie in bytes: what `docs/protocol.md` shows is so.

use core::time::Duration;

use bytes::Bytes;
use hurricane_core::frame;
use hurricane_core::id::{
    Attempt, BootId, DefinitionNumber, NodeId, Number, ObjectId, ObjectNumber, TaskId,
};
use hurricane_core::member::{
    Answer, Find, Following, Found, FromClient, FromDoor, FromNode, NodeDescription, Read, Request,
    ToClient, ToDoor, ToNode,
};
use hurricane_core::message::{
    ClientToScheduler, Definition, Ending, Failure, NodeToScheduler, SchedulerToClient,
    SchedulerToNode, Stored, Value,
};
use hurricane_core::parts::cut;
use hurricane_core::resources::Resources;
use hurricane_core::session::{EndReason, Frame, Hello, SessionId};
use serde::Serialize;

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

/// The bytes of a message whole in one frame, as on a connection without a session.
fn framed(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode(message, &mut bytes);
    bytes
}

/// The one part of a small message, as the payload of a session's message.
fn part(message: &impl Serialize) -> Vec<u8> {
    cut(message).concat()
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).expect("it is below 16");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn object(node: u64, number: u64) -> ObjectId {
    ObjectId { node: NodeId(node), number: ObjectNumber(number) }
}

fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let session = SessionId { listener: BootId(300), first_dial: 1 };
    let hello = Hello { dialer: BootId(5), dial: 2, session: Some(session), received: 7 };
    let payload = Bytes::from_static(b"\0\x02");
    let message = Frame::Message { number: 8, acknowledged: 7, payload };
    let refused = Frame::End(EndReason::Refused("no".into()));
    let read = Read { request: 1, object: object(3, 2), offset: 262_144 };
    let following =
        FromDoor::Piece { request: 1, content: Some(Following { total_bytes: 3, bytes: 3 }) };
    let find = Find { request: 1, object: object(3, 2), asker: NodeId(4), without: None };
    let found = Found { request: 1, others: vec![NodeId(7)], digest: None };
    vec![
        (
            "frame: `Hello`, dialer 5, dial 2, session (300, 1), received 7",
            framed(&Frame::Hello(hello)),
        ),
        ("frame: `Message` 8, acknowledged 7, with the part of `Leave`", framed(&message)),
        ("frame: `End`, refused: no", framed(&refused)),
        (
            "frame: `Read` 1 at a door, of object 2 of node 3, from 262,144 on",
            framed(&ToDoor::Read(read)),
        ),
        ("frame: `Piece` 1 of a door: 3 bytes of 3 follow", framed(&following)),
        ("frame: `Find` 1 at a door, object 2 of node 3, for node 4", framed(&ToDoor::Find(find))),
        ("frame: `Found` 1 of a door: node 7, no digest yet", framed(&FromDoor::Found(found))),
        ("frame: `Request::Revoke` of `rack`", framed(&Request::Revoke { name: "rack".into() })),
        ("frame: `Answer::Revoked`, 3 connections", framed(&Answer::Revoked(3))),
    ]
}

fn of_nodes() -> Vec<(&'static str, Vec<u8>)> {
    let join = FromNode::Join(NodeDescription {
        resources: Resources::cpus(2),
        key: [0xab; 32],
        addresses: vec!["10.0.0.9:1234".into()],
        port: 1234,
        host: "rack".into(),
    });
    let value = Value::Stored(Stored { object: object(3, 2), size_bytes: 1_000_000 });
    let (task, attempt, ran) = (TaskId(9), Attempt(1), Duration::from_millis(1500));
    let finished = NodeToScheduler::Finished { task, attempt, value, ran };
    let joined = ToNode::Joined { node: NodeId(3), name: "rack".into(), cluster: "lab".into() };
    let taken = ToNode::Scheduling(SchedulerToNode::TakeBack { task, attempt });
    vec![
        ("part: `Join` with 2 cpus, `10.0.0.9:1234`, port 1234, host `rack`", part(&join)),
        ("part: `Joined` as node 3, `rack` in `lab`", part(&joined)),
        ("part: `TakeBack` of task 9, attempt 1", part(&taken)),
        (
            "part: `Finished`, task 9, attempt 1, object 2 of node 3 with 1,000,000 bytes, in 1.5 s",
            part(&FromNode::Scheduling(finished)),
        ),
        ("part: `Leave`", part(&FromNode::Leave)),
        ("part: `MayLeave`", part(&ToNode::MayLeave)),
    ]
}

fn of_clients() -> Vec<(&'static str, Vec<u8>)> {
    let definition = Definition {
        function: Bytes::from_static(b"f"),
        name: "work".into(),
        resources: Resources::cpus(1),
        retries: 3,
        timeout: Some(Duration::from_mins(1)),
        priority: -1,
    };
    let definition = Box::new(definition);
    let define = ClientToScheduler::Define { number: DefinitionNumber(1), definition };
    let submit = ClientToScheduler::Submit {
        number: Number(2),
        definition: DefinitionNumber(1),
        arguments: Bytes::from_static(b"ab"),
        dependencies: vec![Number(1)],
    };
    let failure = Box::new(Failure::Refused("no".into()));
    let failed = Ending::Failed { failure, cause: None };
    let ended = SchedulerToClient::Ended { number: Number(2), ending: failed };
    vec![
        (
            "part: `Define` 1: function `f`, name `work`, 1 cpu, 3 retries, 60 s, priority −1",
            part(&FromClient::Scheduling(define)),
        ),
        (
            "part: `Submit` 2 of definition 1, arguments `ab`, depends on 1",
            part(&FromClient::Scheduling(submit)),
        ),
        ("part: `Ended` 2, refused: no", part(&ToClient::Scheduling(ended))),
    ]
}

#[test]
fn the_document_shows_what_is_sent() {
    for (what, bytes) in [frames(), of_nodes(), of_clients()].concat() {
        let line = format!("| {what} | `{}` |", hexadecimal(&bytes));
        assert!(DOCUMENT.contains(&line), "docs/protocol.md lacks this line:\n{line}");
    }
}

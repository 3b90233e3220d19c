//! What a cluster is for: tasks run, results come back, whatever the connections do.

use std::time::Duration;

use bytes::Bytes;
use hurricane_core::id::{Attempt, Number, ObjectId, ObjectNumber, TaskId};
use hurricane_core::member::{
    Content, FromClient, FromNode, PIECE_BYTES, Piece, Read, ToClient, ToNode,
};
use hurricane_core::message::{
    ClientToScheduler, Ending, NodeToScheduler, SchedulerToClient, SchedulerToNode, Stored, Value,
};

use super::site::{Client, Node, Site, Way, eventually, run};
use crate::identity::Roles;

#[test]
fn a_task_runs_on_this_host() {
    run(async {
        let site = Site::new("here");
        run_a_task(&site.here(), &site.here()).await;
    });
}

#[test]
fn a_task_runs_on_other_machines() {
    run(async {
        let site = Site::new("there");
        let rack = site.machine("rack", Roles::NODE).await;
        let laptop = site.machine("laptop", Roles::SUBMIT).await;
        run_a_task(&rack, &laptop).await;
        assert!(site.reported("Enrolled { name: Name(\"rack\")"), "{:?}", site.reports);
        assert!(site.reported("Joined { name: \"rack\", address: \"127.0.0.1\""));
    });
}

async fn run_a_task(node: &impl Way, client: &impl Way) {
    let (node, client) = (Node::node(node), Client::client(client));
    node.join(2).await;
    client.submit(1);
    let (task, attempt) = node.task().await;
    let (value, ran) = (Value::Inline("value".into()), Duration::from_millis(1));
    node.say(NodeToScheduler::Finished { task, attempt, value: value.clone(), ran });
    let ended = SchedulerToClient::Ended { number: Number(1), ending: Ending::Done(value) };
    assert_eq!(client.answer().await, ToClient::Scheduling(ended));
}

/// How a task ended.
async fn ending(client: &Client) -> (Number, Ending) {
    match client.answer().await {
        ToClient::Scheduling(SchedulerToClient::Ended { number, ending }) => (number, ending),
        other => panic!("{other:?}"),
    }
}

fn finish(node: &Node, (task, attempt): (TaskId, Attempt), value: &str) {
    let (value, ran) = (inline(value), Duration::from_millis(1));
    node.say(NodeToScheduler::Finished { task, attempt, value, ran });
}

fn inline(value: &str) -> Value {
    Value::Inline(Bytes::copy_from_slice(value.as_bytes()))
}

#[test]
fn a_cut_costs_nothing_and_nothing_runs_twice() {
    run(async {
        let site = Site::new("cut");
        let rack = site.machine("rack", Roles::NODE).await;
        let laptop = site.machine("laptop", Roles::SUBMIT).await;
        let (node, client) = (Node::node(&rack), Client::client(&laptop));
        node.join(1).await;
        client.submit(1);
        let first = node.task().await;
        rack.cut();
        laptop.cut();
        finish(&node, first, "one");
        client.submit(2);
        assert_eq!(ending(&client).await, (Number(1), Ending::Done(inline("one"))));
        let second = node.task().await;
        assert_ne!(first.0, second.0);
        finish(&node, second, "two");
        assert_eq!(ending(&client).await, (Number(2), Ending::Done(inline("two"))));
        assert!(!site.reported("Lost"), "{:?}", site.reports);
    });
}

#[test]
fn a_scheduler_that_restarts_is_another() {
    run(async {
        let mut site = Site::new("restart");
        let (rack, laptop) = (site.machine("rack", Roles::NODE).await, site.here());
        let (node, client) = (Node::node(&rack), Client::client(&laptop));
        node.join(1).await;
        client.submit(1);
        node.task().await;
        let key = site.key();
        site.restart();
        assert_eq!(site.key(), key);
        node.end().await;
        client.end().await;
        run_a_task(&rack, &laptop).await;
    });
}

#[test]
fn what_a_client_puts_is_read_by_it_and_by_nodes() {
    run(async {
        let site = Site::new("put");
        let (rack, laptop) = (site.machine("rack", Roles::NODE).await, site.here());
        let (node, client) = (Node::node(&rack), Client::client(&laptop));
        node.join(1).await;
        let bytes: Vec<u8> = (0..5 * PIECE_BYTES + 7)
            .map(|at| u8::try_from(at % 251).expect("it is small"))
            .collect();
        let value = Value::Inline(bytes.clone().into());
        client.say(ClientToScheduler::Put { number: Number(1), value });
        client.say(ClientToScheduler::Submit {
            number: Number(2),
            definition: hurricane_core::id::DefinitionNumber(1),
            arguments: "arguments".into(),
            dependencies: vec![Number(1)],
        });
        let input = loop {
            if let ToNode::Scheduling(SchedulerToNode::Assign { inputs, .. }) = node.message().await
            {
                break inputs[0].clone();
            }
        };
        let Value::Stored(Stored { object, size_bytes }) = input else { panic!("{input:?}") };
        assert_eq!(size_bytes, bytes.len() as u64);
        let (mut of_node, mut of_client) = (Vec::new(), Vec::new());
        for offset in (0..size_bytes).step_by(PIECE_BYTES) {
            node.uplink.send(&FromNode::Read(Read { request: offset, object, offset }));
            client.uplink.send(&FromClient::Read(Read { request: offset, object, offset }));
        }
        while of_node.len() < bytes.len() {
            match node.message().await {
                ToNode::Piece(piece) => of_node.extend(content(&piece, of_node.len())),
                other => panic!("{other:?}"),
            }
        }
        while of_client.len() < bytes.len() {
            match client.answer().await {
                ToClient::Piece(piece) => of_client.extend(content(&piece, of_client.len())),
                ToClient::Scheduling(other) => panic!("{other:?}"),
            }
        }
        assert!(of_node == bytes && of_client == bytes);
    });
}

fn content(piece: &Piece, at: usize) -> Bytes {
    assert_eq!(piece.request, at as u64);
    piece.content.as_ref().expect("it is there").bytes.clone()
}

#[test]
fn a_client_reads_a_value_from_the_node_that_has_it() {
    run(async {
        let site = Site::new("relay");
        let (rack, laptop) = (site.machine("rack", Roles::NODE).await, site.here());
        let (node, client) = (Node::node(&rack), Client::client(&laptop));
        let (id, _) = node.join(1).await;
        client.submit(1);
        let (task, attempt) = node.task().await;
        let object = ObjectId { node: id, number: ObjectNumber(5) };
        let value = Value::Stored(Stored { object, size_bytes: 100_000 });
        let ran = Duration::from_millis(1);
        node.say(NodeToScheduler::Finished { task, attempt, value: value.clone(), ran });
        assert_eq!(ending(&client).await, (Number(1), Ending::Done(value)));
        client.uplink.send(&FromClient::Read(Read { request: 70, object, offset: 0 }));
        let request = match node.message().await {
            ToNode::Read(read) => read.request,
            other => panic!("{other:?}"),
        };
        let content = Some(Content { total_bytes: 100_000, bytes: vec![9; 100_000].into() });
        let piece = Piece { request, content: content.clone() };
        node.uplink.send(&FromNode::Piece(piece));
        assert_eq!(client.answer().await, ToClient::Piece(Piece { request: 70, content }));
    });
}

#[test]
fn a_node_that_leaves_ends_what_it_runs() {
    run(async {
        let site = Site::new("drain");
        let rack = site.machine("rack", Roles::NODE).await;
        let (node, client) = (Node::node(&rack), Client::client(&site.here()));
        node.join(1).await;
        client.submit(1);
        let task = node.task().await;
        node.uplink.send(&FromNode::Leave);
        eventually("it is known", || site.server.snapshot().nodes[0].is_leaving).await;
        let (task, attempt) = task;
        let take_back = SchedulerToNode::TakeBack { task, attempt };
        assert_eq!(node.message().await, ToNode::Scheduling(take_back));
        node.say(NodeToScheduler::Kept { task, attempt });
        finish(&node, (task, attempt), "one");
        assert_eq!(node.message().await, ToNode::MayLeave);
        assert_eq!(ending(&client).await, (Number(1), Ending::Done(inline("one"))));
        node.uplink.end(hurricane_core::session::EndReason::Closed);
        eventually("it is told", || site.reported("Left { name: \"rack\" }")).await;
    });
}

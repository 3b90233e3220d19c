//! What a cluster is for: tasks run, results come back, whatever the connections do.

use std::time::Duration;

use hurricane_core::id::Number;
use hurricane_core::member::ToClient;
use hurricane_core::message::{Ending, NodeToScheduler, SchedulerToClient, Value};

use super::site::{Client, Node, Site, Way, run};
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

//! A snapshot for programs to read. The keys stay; new ones may come. They are those of
//! `Client.status()` in Python, and `queued` beside them.

use hurricane_core::resources::{Amount, PARTS, Resources};
use hurricane_core::snapshot::{
    ClientSnapshot, ClusterSnapshot, MemberSnapshot, NodeSnapshot, Snapshot, TaskCounts,
};
use serde_json::{Map, Value, json};

use super::status::queued;

/// The whole snapshot, in several lines.
pub(super) fn of(snapshot: &Snapshot) -> String {
    let cluster = snapshot.cluster.as_ref();
    let value = json!({
        "cluster": cluster.map(of_cluster),
        "nodes": snapshot.nodes.iter().map(of_node).collect::<Vec<_>>(),
        "clients": snapshot.clients.iter().map(of_client).collect::<Vec<_>>(),
        "tasks": of_counts(&snapshot.tasks),
    });
    format!("{value:#}")
}

fn of_cluster(cluster: &ClusterSnapshot) -> Value {
    json!({
        "name": cluster.name,
        "id": cluster.id,
        "port": cluster.port,
        "addresses": cluster.addresses,
        "uptime": cluster.uptime.as_secs_f64(),
        "rate": units(cluster.rate),
        "members": cluster.members.iter().map(of_member).collect::<Vec<_>>(),
    })
}

fn of_member(member: &MemberSnapshot) -> Value {
    json!({
        "name": member.name,
        "id": member.id,
        "roles": member.roles,
        "since": member.since,
        "connections": member.connections,
    })
}

fn of_node(node: &NodeSnapshot) -> Value {
    json!({
        "id": node.id.0,
        "name": node.name,
        "address": node.address,
        "leaving": node.is_leaving,
        "resources": of_resources(&node.resources),
        "used": of_resources(&node.used),
        "running": node.running,
        "backlog": node.backlog,
        "finished": node.finished,
    })
}

fn of_client(client: &ClientSnapshot) -> Value {
    json!({
        "id": client.id.0,
        "tasks": of_counts(&client.tasks),
        "held": client.held,
    })
}

fn of_counts(tasks: &TaskCounts) -> Value {
    json!({
        "queued": queued(tasks),
        "waiting": tasks.waiting,
        "ready": tasks.ready,
        "assigned": tasks.assigned,
        "running": tasks.running,
        "done": tasks.done,
        "failed": tasks.failed,
        "cancelled": tasks.cancelled,
    })
}

fn of_resources(resources: &Resources) -> Value {
    let named = resources.named.iter();
    let named: Map<_, _> =
        named.map(|(name, amount)| (name.to_string(), units(*amount).into())).collect();
    json!({
        "cpus": units(resources.cpus),
        "gpus": units(resources.gpus),
        "memory": resources.memory_bytes,
        "resources": named,
    })
}

#[expect(clippy::cast_precision_loss, reason = "people read it; nothing is computed from it")]
fn units(amount: Amount) -> f64 {
    amount.0 as f64 / PARTS as f64
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use hurricane_core::id::{ClientId, NodeId};

    use super::*;

    /// A cluster with two nodes that work for a client.
    pub(in crate::cli) fn snapshot() -> Snapshot {
        let tasks = TaskCounts {
            waiting: 1,
            ready: 4,
            assigned: 4,
            running: 3,
            done: 120,
            failed: 1,
            cancelled: 0,
        };
        let used = Resources { cpus: Amount(5_000), ..Resources::default() };
        let license = [("license".into(), Amount::whole(2))].into();
        let here = NodeSnapshot {
            id: NodeId(7),
            name: "box".into(),
            address: "this host".into(),
            resources: Resources { memory_bytes: 8_000_000_000, ..Resources::cpus(2) },
            used: Resources::cpus(2),
            running: 2,
            backlog: 4,
            finished: 120,
            ..NodeSnapshot::default()
        };
        let there = NodeSnapshot {
            id: NodeId(9),
            name: "rack".into(),
            address: "10.0.0.2:40112".into(),
            is_leaving: true,
            resources: Resources {
                gpus: Amount::whole(1),
                memory_bytes: 64_000_000_000,
                named: license,
                ..Resources::cpus(4)
            },
            used,
            running: 1,
            ..NodeSnapshot::default()
        };
        let member = MemberSnapshot {
            name: "rack".into(),
            id: "9w2k".into(),
            roles: "node".into(),
            since: "2026-11-22T14:03:59Z".into(),
            connections: 1,
        };
        let away = MemberSnapshot { name: "lap".into(), connections: 0, ..member.clone() };
        Snapshot {
            nodes: vec![here, there],
            clients: vec![ClientSnapshot { id: ClientId(3), tasks, held: 5 }],
            tasks,
            cluster: Some(ClusterSnapshot {
                name: "lab".into(),
                id: "5q7x".into(),
                port: 12222,
                addresses: vec!["10.0.0.1:12222".into()],
                uptime: Duration::from_mins(192),
                rate: Amount(125_000),
                members: vec![member, away],
            }),
        }
    }

    #[test]
    fn keys_stay() {
        let value: Value = serde_json::from_str(&of(&snapshot())).expect("it is JSON");
        let keys = |value: &Value| {
            let object = value.as_object().expect("it is an object");
            object.keys().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(keys(&value), "clients cluster nodes tasks");
        assert_eq!(keys(&value["cluster"]), "addresses id members name port rate uptime");
        assert_eq!(keys(&value["cluster"]["members"][0]), "connections id name roles since");
        let of_node = "address backlog finished id leaving name resources running used";
        assert_eq!(keys(&value["nodes"][1]), of_node);
        assert_eq!(keys(&value["nodes"][1]["used"]), "cpus gpus memory resources");
        assert_eq!(keys(&value["clients"][0]), "held id tasks");
        let counts = "assigned cancelled done failed queued ready running waiting";
        assert_eq!(keys(&value["tasks"]), counts);
    }

    #[test]
    fn amounts_are_numbers() {
        let value: Value = serde_json::from_str(&of(&snapshot())).expect("it is JSON");
        assert_eq!(value["nodes"][1]["used"]["cpus"], 0.5);
        assert_eq!(value["nodes"][1]["resources"]["resources"]["license"], 2.0);
        assert_eq!(value["tasks"]["queued"], 9);
        assert_eq!(value["cluster"]["uptime"], 11_520.0);
        assert_eq!(value["cluster"]["rate"], 12.5);
    }
}

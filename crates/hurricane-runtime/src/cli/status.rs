//! `hurricane status`: what a cluster does, at a glance.

use hurricane_core::member::{Answer, Request};
use hurricane_core::resources::{Amount, Resources};
use hurricane_core::snapshot::{ClusterSnapshot, NodeSnapshot, Snapshot, TaskCounts};

use super::amounts::{counted, duration};
use super::cluster_names::Anywhere;
use super::failure::Failure;
use super::{Outcome, json, print_line, question, table, target};
use crate::identity::State;

/// What is shown, and how.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// Print it for programs to read
    #[arg(long)]
    pub json: bool,
    /// Of which cluster.
    #[command(flatten)]
    pub cluster: Anywhere,
}

pub(super) fn run(options: &Options) -> Result<Outcome, Failure> {
    let snapshot = ask(&options.cluster)?;
    if options.json {
        print_line(json::of(&snapshot));
    } else {
        lines(&snapshot).into_iter().for_each(print_line);
    }
    Ok(Outcome::Done)
}

/// What the chosen cluster does now.
pub(super) fn ask(cluster: &Anywhere) -> Result<Snapshot, Failure> {
    let state = State::open()?;
    let choice = cluster.choice().or_environment()?;
    let known = target::for_status(&state, &choice)?;
    match question::ask(&state, &known.target, &choice, &Request::Status)? {
        Answer::Status(snapshot) => Ok(in_order(*snapshot)),
        _ => Err(Failure::misunderstood()),
    }
}

/// Nodes in the order of their names, in which `rack-10` comes after `rack-9`.
fn in_order(mut snapshot: Snapshot) -> Snapshot {
    snapshot.nodes.sort_by_cached_key(|node| {
        let first = node.name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = node.name[first.len()..].parse().unwrap_or(0);
        (first.to_owned(), number, node.id)
    });
    snapshot
}

fn lines(snapshot: &Snapshot) -> Vec<String> {
    let cluster = snapshot.cluster.clone().unwrap_or_default();
    let mut lines = heading(&cluster);
    lines.push(capacity(&snapshot.nodes));
    let rows: Vec<_> = snapshot.nodes.iter().map(row).collect();
    lines.extend(table::lines(&rows).into_iter().map(|line| format!("  {line}")));
    lines.push(counted(snapshot.clients.len() as u64, "client"));
    lines.push(tasks(&snapshot.tasks, cluster.rate));
    lines
}

fn heading(cluster: &ClusterSnapshot) -> Vec<String> {
    let ClusterSnapshot { name, id, port, addresses, uptime, .. } = cluster;
    let uptime = duration(*uptime);
    let first = format!("cluster {name}, port {port}, up for {uptime}, id {id}");
    let second = format!("scheduler at {}", addresses.join(", "));
    if addresses.is_empty() { vec![first] } else { vec![first, second] }
}

fn capacity(nodes: &[NodeSnapshot]) -> String {
    let (mut has, mut used) = (Resources::default(), Resources::default());
    for node in nodes {
        has.add(&node.resources);
        used.add(&node.used);
    }
    if nodes.is_empty() {
        return "no nodes".to_owned();
    }
    let nodes = counted(nodes.len() as u64, "node");
    let cpus = format!("{nodes}, {} of {} cpus in use", used.cpus, has.cpus);
    if has.gpus == Amount::default() {
        return cpus;
    }
    format!("{cpus}, {} of {} gpus in use", used.gpus, has.gpus)
}

fn row(node: &NodeSnapshot) -> [String; 4] {
    [node.name.to_string(), node.address.to_string(), node.resources.to_string(), work(node)]
}

/// What a node does: `2 running, 4 waiting, 120 finished`.
pub(super) fn work(node: &NodeSnapshot) -> String {
    let mut words = vec![format!("{} running", node.running)];
    if node.backlog > 0 {
        words.push(format!("{} waiting", node.backlog));
    }
    words.push(format!("{} finished", node.finished));
    if node.is_leaving {
        words.push("leaving".to_owned());
    }
    words.join(", ")
}

fn tasks(tasks: &TaskCounts, rate: Amount) -> String {
    let TaskCounts { running, done, failed, cancelled, .. } = tasks;
    let queued = queued(tasks);
    format!(
        "tasks: {queued} queued, {running} running, {done} done, {failed} failed, \
         {cancelled} cancelled; {rate} a second"
    )
}

/// Those that have not begun.
pub(super) fn queued(tasks: &TaskCounts) -> u64 {
    tasks.waiting + tasks.ready + tasks.assigned
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_cluster_is_shown_at_a_glance() {
        let snapshot = json::tests::snapshot();
        let expected = [
            "cluster lab, port 12222, up for 3 hours 12 minutes, id 5q7x",
            "scheduler at 10.0.0.1:12222",
            "2 nodes, 2.5 of 6 cpus in use, 0 of 1 gpus in use",
            "  box   this host       2 cpus, 8 GB memory                     2 running, 4 waiting, 120 finished",
            "  rack  10.0.0.2:40112  4 cpus, 1 gpu, 64 GB memory, 2 license  1 running, 0 finished, leaving",
            "1 client",
            "tasks: 9 queued, 3 running, 120 done, 1 failed, 0 cancelled; 12.5 a second",
        ];
        assert_eq!(lines(&snapshot), expected);
    }

    #[test]
    fn nodes_are_in_the_order_of_their_names() {
        let names = ["rack-10", "rack-9", "rack", "box"];
        let node = |name: &str| NodeSnapshot { name: name.into(), ..NodeSnapshot::default() };
        let snapshot = Snapshot { nodes: names.map(node).into(), ..Snapshot::default() };
        let nodes = in_order(snapshot).nodes;
        let names: Vec<_> = nodes.iter().map(|node| &*node.name).collect();
        assert_eq!(names, ["box", "rack", "rack-9", "rack-10"]);
    }

    #[test]
    fn a_cluster_without_nodes_says_so() {
        let cluster = ClusterSnapshot { uptime: Duration::from_secs(1), ..Default::default() };
        let snapshot = Snapshot { cluster: Some(cluster), ..Snapshot::default() };
        assert_eq!(lines(&snapshot)[1], "no nodes");
    }
}

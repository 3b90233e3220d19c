//! `hurricane nodes`: the nodes of a cluster, and who else may join it.

use hurricane_core::snapshot::{MemberSnapshot, NodeSnapshot, Snapshot};

use super::cluster_names::Anywhere;
use super::failure::Failure;
use super::{Outcome, print_line, status, table};

const TITLES: [&str; 5] = ["NAME", "ADDRESS", "CPUS", "STATE", "TASKS"];

/// Of which cluster.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// Which.
    #[command(flatten)]
    pub cluster: Anywhere,
}

pub(super) fn run(options: &Options) -> Result<Outcome, Failure> {
    let snapshot = status::ask(&options.cluster)?;
    lines(&snapshot).into_iter().for_each(print_line);
    Ok(Outcome::Done)
}

fn lines(snapshot: &Snapshot) -> Vec<String> {
    let cluster = snapshot.cluster.as_ref();
    let members = cluster.into_iter().flat_map(|cluster| &cluster.members);
    let absent = members.filter(|member| member.connections == 0);
    let titles = std::iter::once(TITLES.map(str::to_owned));
    let rows = titles.chain(snapshot.nodes.iter().map(present)).chain(absent.map(away));
    table::lines(&rows.collect::<Vec<_>>())
}

fn present(node: &NodeSnapshot) -> [String; 5] {
    let NodeSnapshot { name, address, resources, is_leaving, .. } = node;
    let state = if *is_leaving { "leaving" } else { "here" };
    let work = status::work(&NodeSnapshot { is_leaving: false, ..node.clone() });
    [name.to_string(), address.to_string(), resources.cpus.to_string(), state.to_owned(), work]
}

/// A member without a connection, and what it may do if it comes.
fn away(member: &MemberSnapshot) -> [String; 5] {
    let MemberSnapshot { name, roles, since, .. } = member;
    let day = since.split('T').next().unwrap_or_default();
    let what = format!("{roles}, since {day}");
    [name.to_string(), "-".to_owned(), "-".to_owned(), "away".to_owned(), what]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_come_first_and_then_who_is_away() {
        let expected = [
            "NAME  ADDRESS         CPUS  STATE    TASKS",
            "box   this host       2     here     2 running, 4 waiting, 120 finished",
            "rack  10.0.0.2:40112  4     leaving  1 running, 0 finished",
            "lap   -               -     away     node, since 2026-11-22",
        ];
        assert_eq!(lines(&crate::cli::json::tests::snapshot()), expected);
    }
}

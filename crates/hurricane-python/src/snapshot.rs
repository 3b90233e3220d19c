//! The snapshot as Python sees it: dicts, lists and numbers.

use hurricane_core::snapshot::{
    ClientSnapshot, ClusterSnapshot, MemberSnapshot, NodeSnapshot, Snapshot, TaskCounts,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::resources;

/// The whole snapshot.
pub(crate) fn to_dict<'py>(py: Python<'py>, snapshot: &Snapshot) -> PyResult<Bound<'py, PyDict>> {
    let nodes = PyList::empty(py);
    for node in &snapshot.nodes {
        nodes.append(node_dict(py, node)?)?;
    }
    let clients = PyList::empty(py);
    for client in &snapshot.clients {
        clients.append(client_dict(py, client)?)?;
    }
    let cluster = snapshot.cluster.as_ref().map(|cluster| cluster_dict(py, cluster)).transpose()?;
    let dict = PyDict::new(py);
    dict.set_item("cluster", cluster)?;
    dict.set_item("nodes", nodes)?;
    dict.set_item("clients", clients)?;
    dict.set_item("tasks", counts_dict(py, &snapshot.tasks)?)?;
    Ok(dict)
}

fn cluster_dict<'py>(py: Python<'py>, cluster: &ClusterSnapshot) -> PyResult<Bound<'py, PyDict>> {
    let addresses = cluster.addresses.iter().map(|address| &**address);
    let members = PyList::empty(py);
    for member in &cluster.members {
        members.append(member_dict(py, member)?)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("name", &*cluster.name)?;
    dict.set_item("id", &*cluster.id)?;
    dict.set_item("port", cluster.port)?;
    dict.set_item("addresses", PyList::new(py, addresses)?)?;
    dict.set_item("uptime", cluster.uptime.as_secs_f64())?;
    dict.set_item("rate", resources::units(cluster.rate))?;
    dict.set_item("members", members)?;
    Ok(dict)
}

fn member_dict<'py>(py: Python<'py>, member: &MemberSnapshot) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("name", &*member.name)?;
    dict.set_item("id", &*member.id)?;
    dict.set_item("roles", &*member.roles)?;
    dict.set_item("since", &*member.since)?;
    dict.set_item("connections", member.connections)?;
    Ok(dict)
}

fn node_dict<'py>(py: Python<'py>, node: &NodeSnapshot) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("id", node.id.0)?;
    dict.set_item("name", &*node.name)?;
    dict.set_item("address", &*node.address)?;
    dict.set_item("leaving", node.is_leaving)?;
    dict.set_item("resources", resources::to_dict(py, &node.resources)?)?;
    dict.set_item("used", resources::to_dict(py, &node.used)?)?;
    dict.set_item("running", node.running)?;
    dict.set_item("backlog", node.backlog)?;
    dict.set_item("finished", node.finished)?;
    Ok(dict)
}

fn client_dict<'py>(py: Python<'py>, client: &ClientSnapshot) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("id", client.id.0)?;
    dict.set_item("tasks", counts_dict(py, &client.tasks)?)?;
    dict.set_item("held", client.held)?;
    Ok(dict)
}

fn counts_dict<'py>(py: Python<'py>, counts: &TaskCounts) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("waiting", counts.waiting)?;
    dict.set_item("ready", counts.ready)?;
    dict.set_item("assigned", counts.assigned)?;
    dict.set_item("running", counts.running)?;
    dict.set_item("done", counts.done)?;
    dict.set_item("failed", counts.failed)?;
    dict.set_item("cancelled", counts.cancelled)?;
    Ok(dict)
}

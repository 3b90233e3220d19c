//! Nodes with their scheduler and their clients, with real connections and processes.

mod site;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hurricane_core::message::{Ending, Value};
use hurricane_core::resources::Resources;

use site::{Machine, Site, eventually, is_alive, path, processes_in};

/// Within that time a node is back at a scheduler that was started anew.
const BACK_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn tasks_run_on_all_nodes_and_are_exact() {
    let site = Site::new("exact");
    let machines = [
        site.nodes("one", vec![Resources::cpus(1)]),
        site.nodes("two", vec![Resources::cpus(1); 2]),
    ];
    eventually("all joined", || site.members() == 3);
    let mut client = site.client();
    let (echo, append) = (client.define("echo"), client.define("append"));
    let numbers: Vec<_> =
        (0..300).map(|index: u32| client.submit(echo, index.to_string(), &[])).collect();
    for (index, number) in numbers.into_iter().enumerate() {
        assert_eq!(client.result_of(number), index.to_string());
    }
    let file = site.file("processes");
    let numbers: Vec<_> = (0..9).map(|_| client.submit(append, path(&file), &[])).collect();
    for number in numbers {
        assert_eq!(client.result_of(number), "done");
    }
    let processes: BTreeSet<u32> = processes_in(&file).into_iter().collect();
    assert_eq!(processes.len(), 3, "each worker was of use");
    assert_eq!(machines.each_ref().map(Machine::told).concat(), ["joined"; 3]);
}

#[test]
fn large_results_go_from_node_to_node() {
    let site = Site::new("large");
    let machines = ["left", "right"].map(|name| site.node_with(name));
    eventually("both joined", || site.members() == 2);
    let mut client = site.client();
    let make = ["left", "right"].map(|name| client.define_on("size", Some(name)));
    let join = ["left", "right"].map(|name| client.define_on("join", Some(name)));
    let sizes = [100_000_usize, 20 << 20];
    let parts = make.map(|make| sizes.map(|size| client.submit(make, size.to_string(), &[])));
    let put = client.connection.put(vec![9; 1 << 20].into()).expect("it is allowed");
    let inputs = [parts[0][0], parts[0][1], put, parts[1][0], parts[1][1]];
    let expected: Vec<u8> = [vec![7; sizes[0] + sizes[1]], vec![9; 1 << 20]].concat();
    let expected = [expected, vec![7; sizes[0] + sizes[1]]].concat();
    let joined = join.map(|join| client.submit(join, "", &inputs));
    for number in joined {
        assert!(matches!(client.end_of(number), Ending::Done(Value::Stored(_))));
        assert!(client.result_of(number) == expected, "all bytes, in their order");
    }
    drop(machines);
}

#[test]
fn siblings_share_what_they_have() {
    let site = Site::new("siblings");
    let machine = site.nodes("device", vec![Resources::cpus(1); 2]);
    eventually("both joined", || site.members() == 2);
    let mut client = site.client();
    let (make, join) = (client.define("size"), client.define("join"));
    let parts: Vec<_> = (0..4).map(|_| client.submit(make, "5000000", &[])).collect();
    let joined: Vec<_> = (0..8).map(|_| client.submit(join, "", &parts)).collect();
    for number in joined {
        assert!(client.result_of(number) == vec![7; 20_000_000]);
        client.connection.release(vec![number]).expect("the connection is open");
    }
    // The copies went with the tasks that needed them; the originals are there.
    for number in parts {
        assert_eq!(client.result_of(number).len(), 5_000_000);
    }
    drop(machine);
}

#[test]
fn what_a_node_took_along_is_done_elsewhere() {
    let site = Site::new("lost");
    let first = site.nodes("first", vec![Resources::cpus(1)]);
    eventually("it joined", || site.members() == 1);
    let mut client = site.client();
    let make = client.define("size");
    let kept = client.submit(make, "300000", &[]);
    client.end_of(kept);
    let (stay, file) = (client.define("stay"), site.file("tree"));
    client.submit(stay, path(&file), &[]);
    let tree = processes_in(&file);
    first.nodes.stop();
    assert!(!tree.iter().any(|process| is_alive(*process)), "nothing is left of what it ran");
    assert_eq!(site.members(), 0);
    let second = site.nodes("second", vec![Resources::cpus(2)]);
    assert_eq!(client.result_of(kept), vec![7; 300_000]);
    eventually("it runs again", || processes_in(&file) != tree);
    second.nodes.stop();
    assert!(!processes_in(&file).iter().any(|process| is_alive(*process)));
}

#[test]
fn a_scheduler_that_restarts_finds_its_nodes_again() {
    let mut site = Site::new("restart");
    let machine = site.nodes("device", vec![Resources::cpus(1); 3]);
    eventually("all joined", || site.members() == 3);
    let client = site.client();
    let (stay, file) = (client.define("stay"), site.file("tree"));
    client.submit(stay, path(&file), &[]);
    let tree = processes_in(&file);
    site.restart();
    let began = Instant::now();
    eventually("all are back", || site.members() == 3);
    assert!(began.elapsed() < BACK_WITHIN, "{:?}", began.elapsed());
    println!("back within {:?}", began.elapsed());
    assert!(!tree.iter().any(|process| is_alive(*process)), "nobody wants it any more");
    let mut client = site.client();
    let echo = client.define("echo");
    let number = client.submit(echo, "still here", &[]);
    assert_eq!(client.result_of(number), "still here");
    eventually("that was told", || machine.joined() == 6);
    assert_eq!(machine.told().iter().filter(|word| **word == "lost").count(), 3);
}

#[test]
fn nodes_may_be_there_before_their_scheduler() {
    let mut site = Site::new("before");
    site.server.stop();
    let machine = site.nodes("early", vec![Resources::cpus(1)]);
    eventually("it looks", || machine.told() == ["looking"]);
    site.restart();
    eventually("it found it", || site.members() == 1);
    eventually("that was told", || machine.joined() == 1);
}

#[test]
fn a_node_that_drains_finishes_what_it_runs() {
    let site = Site::new("drain");
    let machine = site.nodes("device", vec![Resources::cpus(1)]);
    eventually("it joined", || site.members() == 1);
    let mut client = site.client();
    let (append, file) = (client.define("append"), site.file("began"));
    let running = client.submit(append, path(&file), &[]);
    let tree = processes_in(&file);
    let waiting = client.submit(append, path(&file), &[]);
    machine.nodes.drain();
    assert!(machine.nodes.wait(Some(Duration::from_secs(20))), "it ends by itself");
    assert!(!is_alive(tree[0]));
    assert_eq!(client.result_of(running), "done");
    assert_eq!(site.members(), 0);
    let other = site.nodes("other", vec![Resources::cpus(1)]);
    assert_eq!(client.result_of(waiting), "done");
    assert_eq!(processes_in(&file).len(), 2, "each ran once");
    drop(other);
}

#[test]
fn nodes_that_look_for_their_scheduler_stop_at_once() {
    let site = Site::new("nobody");
    site.server.stop();
    let machine = site.nodes("alone", vec![Resources::cpus(1); 2]);
    assert!(!machine.nodes.wait(Some(Duration::from_millis(10))));
    machine.nodes.drain();
    assert!(machine.nodes.wait(Some(Duration::from_secs(5))));
    machine.nodes.stop();
    assert!(machine.nodes.worker_pids().is_empty());
}

#[test]
fn what_was_finished_arrives_although_the_node_ends() {
    let site = Site::new("finished");
    let mut client = site.client();
    let (append, echo) = (client.define("append"), client.define("echo"));
    for round in 0..5 {
        let machine = site.nodes("device", vec![Resources::cpus(1)]);
        let file = site.file(&format!("began-{round}"));
        let number = client.submit(append, path(&file), &[]);
        let other = client.submit(echo, "x", &[]);
        // The two end in this order in one worker: when the second has, the first has as well.
        client.result_of(other);
        machine.nodes.stop();
        assert_eq!(client.result_of(number), "done");
        assert_eq!(processes_in(&file).len(), 1, "it ran once");
    }
}

//! The runtime on one machine, with real processes.

mod cluster;
mod waiting;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hurricane_core::message::{Ending, Exit, Failure, Stream, Value};
use hurricane_core::resources::Amount;
use hurricane_runtime::Local;
use hurricane_runtime::client::{ConnectionError, Fetched, SubmitError};

use cluster::{Cluster, PATIENCE, PROGRAM, Scratch, config, eventually, is_alive, processes_in};

#[test]
fn two_hundred_tasks_run_in_two_workers() {
    let mut cluster = Cluster::start(2);
    let numbers: Vec<_> =
        (0..200).map(|index: u32| cluster.submit("echo", index.to_string())).collect();
    for (index, number) in numbers.into_iter().enumerate() {
        assert_eq!(cluster.result_of(number), index.to_string());
    }
    assert_eq!(cluster.local.worker_pids().len(), 2);
    assert_eq!(cluster.connection.pending(), Ok(0));
    let snapshot = cluster.local.snapshot().expect("this is no child");
    assert_eq!(snapshot.tasks.done, 200);
}

#[test]
fn a_task_takes_the_results_of_others_and_objects() {
    let mut cluster = Cluster::start(2);
    let one = cluster.submit("size", "100000");
    let other = cluster.connection.put(vec![8; 200_000].into()).expect("it is allowed");
    let joined = cluster.submit_after("join", "", &[one, other, one]);
    let expected = [vec![7; 100_000], vec![8; 200_000], vec![7; 100_000]].concat();
    assert_eq!(cluster.result_of(joined), expected);
}

#[test]
fn a_large_result_stays_until_it_is_released() {
    let mut cluster = Cluster::start(1);
    let number = cluster.submit("size", (20 << 20).to_string());
    let Ending::Done(Value::Stored(stored)) = cluster.end_of(number) else {
        panic!("20 MiB travel in no message");
    };
    assert_eq!(stored.size_bytes, 20 << 20);
    let fetched = cluster.connection.fetch(stored.object, PATIENCE);
    assert_eq!(fetched, Ok(Fetched::Value(vec![7; 20 << 20].into())));
    cluster.connection.release(vec![number]).expect("the connection is open");
    eventually("it is gone", || {
        cluster.connection.fetch(stored.object, Duration::ZERO) == Ok(Fetched::Gone)
    });
    let definition = cluster.define("echo", |_| {});
    let outcome = cluster.connection.submit(7, definition, "".into(), vec![number]);
    assert_eq!(outcome, Err(SubmitError::DependencyReleased));
}

#[test]
fn an_exception_of_the_task_arrives() {
    let mut cluster = Cluster::start(1);
    let number = cluster.submit("raise", "oh");
    let Ending::Failed { failure, cause: None } = cluster.end_of(number) else {
        panic!("it raised");
    };
    assert_eq!(*failure, Failure::Raised("oh".into()));
}

#[test]
fn what_was_printed_precedes_the_end_line_by_line() {
    let mut cluster = Cluster::start(1);
    let text = (0..5_000).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n") + "\n";
    let number = cluster.submit("print", text.clone());
    cluster.end_of(number);
    assert!(cluster.output.iter().all(|(task, stream, lines)| {
        *task == number && *stream == Stream::Stdout && lines.ends_with('\n')
    }));
    let printed: String = cluster.output.drain(..).map(|(_, _, lines)| lines).collect();
    assert_eq!(printed, text);
}

#[test]
fn a_killed_worker_costs_its_task_an_attempt_and_nothing_else() {
    let scratch = Scratch::new("killed-worker");
    let mut cluster = Cluster::start(1);
    let number = cluster.submit("stay", scratch.bytes());
    for _ in 0..3 {
        let tree = processes_in(&scratch.0);
        let worker = *tree.last().expect("the worker is the last of them");
        assert_eq!(cluster.local.worker_pids(), [worker]);
        drop(Scratch(scratch.0.clone()));
        kill(worker, "KILL");
        eventually("its tree is gone", || !tree.iter().any(|process| is_alive(*process)));
    }
    let Ending::Failed { failure, .. } = cluster.end_of(number) else {
        panic!("three deaths are the end");
    };
    let Failure::WorkerLost { deaths, .. } = *failure else {
        panic!("its worker died: {failure:?}");
    };
    let exits: Vec<Exit> = deaths.iter().map(|death| death.exit).collect();
    assert_eq!(exits, [Exit::Signal(9); 3]);
    assert_eq!(cluster.call("echo", "still here"), "still here");
}

#[test]
fn cancelling_ends_the_whole_tree() {
    let scratch = Scratch::new("cancelled");
    let mut cluster = Cluster::start(1);
    let number = cluster.submit("stay", scratch.bytes());
    let tree = processes_in(&scratch.0);
    eventually("it runs", || cluster.connection.is_running(number) == Ok(true));
    cluster.connection.cancel(number).expect("the connection is open");
    assert_eq!(cluster.end_of(number), Ending::Cancelled { cause: None });
    eventually("its tree is gone", || !tree.iter().any(|process| is_alive(*process)));
    assert_eq!(cluster.call("echo", "next"), "next");
}

#[test]
fn a_timeout_ends_the_whole_tree() {
    let scratch = Scratch::new("timed-out");
    let mut cluster = Cluster::start(1);
    let limit = Duration::from_millis(500);
    let definition = cluster.define("stay", |definition| definition.timeout = Some(limit));
    let number = cluster.submit_as(definition, scratch.bytes(), &[]);
    let tree = processes_in(&scratch.0);
    let Ending::Failed { failure, .. } = cluster.end_of(number) else {
        panic!("it stays");
    };
    assert!(matches!(*failure, Failure::TimedOut { .. }), "{failure:?}");
    eventually("its tree is gone", || !tree.iter().any(|process| is_alive(*process)));
}

#[test]
fn stopping_leaves_no_process_and_closes_connections() {
    let scratch = Scratch::new("stopped");
    let mut cluster = Cluster::start(2);
    cluster.submit("stay", scratch.bytes());
    let mut tree = processes_in(&scratch.0);
    tree.extend(cluster.local.worker_pids());
    cluster.local.stop();
    assert!(!tree.iter().any(|process| is_alive(*process)));
    cluster.local.stop();
    while let Some(received) = cluster.connection.receive(None).expect("this is no child") {
        assert!(!received.is_empty());
    }
    let outcome = cluster.connection.put("late".into());
    assert_eq!(outcome, Err(SubmitError::Connection(ConnectionError::Closed)));
    assert!(cluster.local.connect::<u32>().is_err());
}

#[test]
fn killing_the_program_leaves_no_process() {
    let scratch = Scratch::new("killed-program");
    let mut program = Command::new(PROGRAM)
        .args(["parent".as_ref(), scratch.0.as_os_str()])
        .stdin(Stdio::null())
        .spawn()
        .expect("cargo built it");
    let tree = processes_in(&scratch.0);
    assert_eq!(tree.len(), 4);
    program.kill().expect("it runs");
    let killed = Instant::now();
    eventually("its trees are gone", || !tree.iter().any(|process| is_alive(*process)));
    assert!(killed.elapsed() < Duration::from_secs(2));
    program.wait().expect("it is this process's child");
}

#[test]
fn nested_tasks_run_with_a_single_slot() {
    let mut cluster = Cluster::start(1);
    assert_eq!(cluster.call("nest", "child"), "child");
    let large = "x".repeat(100_000);
    assert_eq!(cluster.call("nest", large.clone()), large);
    let numbers: Vec<_> =
        (0..20).map(|index: u32| cluster.submit("nest", index.to_string())).collect();
    for (index, number) in numbers.into_iter().enumerate() {
        assert_eq!(cluster.result_of(number), index.to_string());
    }
}

#[test]
fn workers_know_their_threads_and_no_secrets() {
    let mut cluster = Cluster::start(2);
    assert_eq!(cluster.call("variable", "OMP_NUM_THREADS"), "1");
    let wide = cluster.define("variable", |definition| {
        definition.resources.cpus = Amount(15_000);
    });
    let number = cluster.submit_as(wide, "MKL_NUM_THREADS", &[]);
    assert_eq!(cluster.result_of(number), "2");
    assert_eq!(cluster.call("variable", "HURRICANE_KEY"), "unset");
    assert_ne!(cluster.call("variable", "HURRICANE_WORKER"), "unset");
    assert_ne!(cluster.call("variable", "PATH"), "unset");
}

#[test]
fn a_worker_opens_its_first_files_where_programs_expect_them() {
    let mut cluster = Cluster::start(1);
    let descriptors = cluster.call("descriptors", "");
    assert!(descriptors.starts_with("[0, 1, 2, 3, 10"), "{descriptors}");
}

#[test]
fn a_child_that_a_task_forks_is_told_so() {
    let mut cluster = Cluster::start(1);
    let told = cluster.call("child", "");
    let sentence = "this client belongs to the process that made it: make a new one after fork";
    assert_eq!(told, format!("{sentence}|true|true"));
    assert_eq!(cluster.call("echo", "the parent goes on"), "the parent goes on");
}

#[test]
fn a_failing_setup_fails_everything() {
    let mut cluster = Cluster::with_setup(1, "fails");
    let number = cluster.submit("echo", "");
    let Ending::Failed { failure, .. } = cluster.end_of(number) else {
        panic!("no worker can run it");
    };
    assert_eq!(*failure, Failure::SetupFailed("no".into()));
}

#[test]
fn a_missing_worker_program_is_a_sentence() {
    let mut config = config(1, "");
    config.worker_command = vec!["/nowhere/python".into()];
    let error = Local::start(config).expect_err("there is no such program");
    assert_eq!(error.to_string(), "the worker program `/nowhere/python` is missing");
}

#[test]
fn more_slots_than_descriptors_is_a_sentence_with_a_number() {
    let error = Local::start(config(1 << 40, "")).expect_err("no machine has so many");
    assert!(error.hint().is_some_and(|hint| hint.starts_with("ulimit -n ")), "{error}");
}

#[test]
fn too_low_a_limit_of_descriptors_is_a_sentence_with_a_number() {
    let said = starting_after("ulimit -n 64");
    assert!(said.contains("this process may open 64\nulimit -n "), "{said}");
    // The soft limit alone is no obstacle.
    assert_eq!(starting_after("ulimit -S -n 64"), "started\n");
}

#[test]
fn a_runtime_directory_that_cannot_be_used_is_a_sentence_with_a_hint() {
    let said = starting_after("export HURRICANE_RUNTIME_DIR=/proc/none");
    let expected = "cannot write into the runtime directory `/proc/none`\n\
                    set HURRICANE_RUNTIME_DIR to a directory of your own\n";
    assert_eq!(said, expected);
}

/// What the program says that starts a cluster after a line of shell.
fn starting_after(line: &str) -> String {
    let script = format!("{line}; exec {PROGRAM} start");
    let output = Command::new("sh").args(["-c", &script]).output();
    String::from_utf8(output.expect("every machine has a shell").stdout).expect("it says text")
}

fn kill(process: u32, signal: &str) {
    let status = Command::new("kill").args(["-s", signal, &process.to_string()]).status();
    assert!(status.expect("every machine has it").success());
}

//! A program of the tests: `worker` serves a node with functions of few words, `parent` is a program
//! with a local cluster that waits to be killed, and `start` tries to start one.

use std::io::{self, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use bytes::Bytes;
use hurricane_core::id::{DefinitionNumber, Number};
use hurricane_core::message::{Definition, Ending, Value};
use hurricane_core::resources::Resources;
use hurricane_runtime::client::{Connection, Fetched, Received};
use hurricane_runtime::worker_link::Job;
use hurricane_runtime::{Local, LocalConfig, WorkerLink};

type Link = WorkerLink<()>;

fn main() {
    match env::args().nth(1).as_deref() {
        Some("worker") => work(),
        Some("parent") => wait_to_be_killed(),
        Some("start") => start(),
        other => panic!("no such part: {other:?}"),
    }
}

/// Serves the node until it says that this was all.
fn work() {
    let link = Link::take().expect("a node started this process");
    if link.setup() == "fails" {
        link.setup_failed(Bytes::from_static(b"no")).expect("the node is there");
        return;
    }
    link.ready().expect("the node is there");
    let mut functions = std::collections::HashMap::new();
    while let Ok(Some(job)) = link.receive() {
        match job {
            Job::Define { id, function, .. } => {
                functions.insert(id, function);
            }
            Job::Forget { id } => {
                functions.remove(&id);
            }
            Job::Run { run, definition, arguments, inputs } => {
                let began = Instant::now();
                let result = call(&link, &functions[&definition], &arguments, &inputs);
                let told = match result {
                    Ok(result) => link.finished(run, result, began.elapsed()),
                    Err(error) => link.raised(run, error, began.elapsed()),
                };
                told.expect("the node is there");
            }
        }
    }
}

fn call(link: &Link, function: &[u8], arguments: &Bytes, inputs: &[Bytes]) -> Result<Bytes, Bytes> {
    match std::str::from_utf8(function).expect("functions are named by words") {
        "echo" => Ok(arguments.clone()),
        "join" => Ok(inputs.concat().into()),
        "raise" => Err(arguments.clone()),
        "size" => Ok(vec![7; text(arguments).parse().expect("a number")].into()),
        "print" => Ok(print(arguments)),
        "process" => Ok(process::id().to_string().into()),
        "variable" => Ok(env::var(text(arguments)).unwrap_or_else(|_| "unset".into()).into()),
        "descriptors" => Ok(open_descriptors().into()),
        "stay" => Ok(stay(arguments)),
        "append" => Ok(append(arguments)),
        "nest" => nest(link, arguments),
        "child" => Ok(in_forked_child(link)),
        other => panic!("no such function: {other}"),
    }
}

fn print(arguments: &[u8]) -> Bytes {
    io::stdout().write_all(arguments).expect("the node reads");
    io::stdout().flush().expect("the node reads");
    Bytes::new()
}

/// Leaves a line with the process id in a file, and takes half a second more.
fn append(file: &[u8]) -> Bytes {
    let opened = fs::OpenOptions::new().create(true).append(true).open(text(file));
    let mut file = opened.expect("the directory is the test's");
    // In one write: others append to it at the same time.
    let line = format!("{}\n", process::id());
    file.write_all(line.as_bytes()).expect("there is space");
    thread::sleep(Duration::from_millis(500));
    Bytes::from_static(b"done")
}

/// Starts a child, and one that leaves its family; writes all three process ids into a file, and
/// never returns.
fn stay(file: &[u8]) -> Bytes {
    let line = "sleep 1000 & echo $! >&3; setsid sh -c 'echo $$ >&3; exec sleep 1000' & wait";
    let file = text(file);
    let script = format!("exec 3>>{file}.part; {line}");
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .spawn()
        .expect("every machine has a shell");
    while fs::read_to_string(format!("{file}.part")).unwrap_or_default().lines().count() < 2 {
        thread::park_timeout(Duration::from_millis(1));
    }
    let list = fs::read_to_string(format!("{file}.part")).expect("it was just read");
    let whole = format!("{list}{}\n{}\n", child.id(), process::id());
    fs::write(format!("{file}.whole"), whole).expect("the directory is the test's");
    fs::rename(format!("{file}.whole"), file).expect("the directory is the test's");
    child.wait().expect("it is this process's child");
    Bytes::new()
}

/// Has a child task echo the arguments, and waits for it without resources.
fn nest(link: &Link, arguments: &Bytes) -> Result<Bytes, Bytes> {
    let connection = link.connect().expect("a task runs");
    let echo = define(&connection, "echo");
    submit(&connection, echo, arguments.clone(), Vec::new());
    link.wait_begin().map_err(|error| Bytes::from(error.to_string()))?;
    let ended = first_end(&connection);
    link.wait_end().expect("a task runs");
    match ended {
        Ending::Done(Value::Inline(bytes)) => Ok(bytes),
        Ending::Done(Value::Stored(stored)) => {
            match connection.fetch(stored.object, Duration::from_secs(10)).expect("a task runs") {
                Fetched::Value(bytes) => Ok(bytes),
                other => panic!("it is held, and not {other:?}"),
            }
        }
        other => Err(format!("{other:?}").into()),
    }
}

/// What a forked child is told when it uses its parent's task.
fn in_forked_child(link: &Link) -> Bytes {
    let connection = link.connect().expect("a task runs");
    let before = open_descriptors();
    let (mut read, mut write) = io::pipe().expect("there are descriptors left");
    #[expect(unsafe_code, reason = "the test is about fork")]
    // SAFETY: the child only allocates, which glibc allows, and ends without unwinding.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let error = connection.cancel(Number(1)).expect_err("this is a child");
        let gone = link.wait_begin().is_err() && link.receive().is_err();
        let sentence = format!("{error}|{gone}|{}", before != open_descriptors());
        let _ = write.write_all(sentence.as_bytes());
        process::abort();
    }
    drop(write);
    let mut sentence = String::new();
    read.read_to_string(&mut sentence).expect("the child wrote text");
    sentence.into()
}

/// A program with a local cluster, whose one task stays. It is killed from outside.
fn wait_to_be_killed() {
    let local = Local::start(config()).expect("nothing is in the way");
    let connection = local.connect::<()>().expect("it has just been started");
    let file = env::args().nth(2).expect("a file for the process ids");
    let stay = define(&connection, "stay");
    submit(&connection, stay, file.into(), Vec::new());
    first_end(&connection);
}

/// Starts a local cluster; says why and what to do if there is none.
fn start() {
    match Local::start(config()) {
        Ok(_) => println!("started"),
        Err(error) => println!("{error}\n{}", error.hint().unwrap_or_default()),
    }
}

fn config() -> LocalConfig {
    let worker = env::current_exe().expect("this program has a path");
    LocalConfig {
        slots: Some(1),
        worker_command: vec![worker.into(), "worker".into()],
        setup: Bytes::new(),
    }
}

fn define(connection: &Connection<()>, function: &str) -> DefinitionNumber {
    let definition = Definition {
        function: Bytes::copy_from_slice(function.as_bytes()),
        name: function.into(),
        resources: Resources::cpus(1),
        retries: 0,
        timeout: None,
        priority: 0,
    };
    connection.define(definition).expect("the connection is open")
}

fn submit(
    connection: &Connection<()>,
    definition: DefinitionNumber,
    arguments: Bytes,
    dependencies: Vec<Number>,
) {
    assert_eq!(connection.wait_for_allowance(Duration::from_secs(10)), Ok(true));
    connection.submit((), definition, arguments, dependencies).expect("it is allowed");
}

fn first_end(connection: &Connection<()>) -> Ending {
    loop {
        let received = connection.receive(None).expect("this is no child").expect("it is open");
        for one in received {
            if let Received::Ended { ending, .. } = one {
                return ending;
            }
        }
    }
}

fn open_descriptors() -> String {
    let entries = fs::read_dir("/proc/self/fd").expect("there is a /proc");
    let mut numbers: Vec<u32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    format!("{numbers:?}")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("tests write text")
}

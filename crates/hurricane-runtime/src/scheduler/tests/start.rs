//! Where a scheduler starts and where it does not, and what is left of it.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use super::super::{Server, ServerConfig, ServerError};
use super::site::{Client, PYTHON, SOON, Site, ask, eventually, name, run};
use crate::identity::{Name, State};
use crate::platform::directories::Scratch;
use crate::platform::local_socket;
use hurricane_core::member::{Answer, Request};

fn config(state: &State, cluster: &str, port: u16) -> ServerConfig {
    ServerConfig {
        name: Name::near(cluster),
        port,
        bind: vec![Ipv4Addr::LOCALHOST.into()],
        state: state.clone(),
        python_minor: Some(PYTHON),
    }
}

fn error_of(config: ServerConfig) -> ServerError {
    Server::start(config, Box::new(|_| ())).expect_err("it cannot start")
}

#[test]
fn one_scheduler_has_a_port_and_a_cluster() {
    let site = Site::new("one");
    let port = site.server.port();
    let error = error_of(config(&site.state, "other", port));
    assert!(matches!(error, ServerError::AlreadyHere { .. }), "{error}");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    assert!(error.hint().expect("there is a way").contains("--port"));
    let error = error_of(config(&site.state, name().as_str(), 0));
    assert!(matches!(error, ServerError::Running { .. }), "{error}");
    assert!(error.hint().expect("there is a way").contains("--name"));
}

#[test]
fn a_port_that_another_program_has_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there are ports");
    let port = taken.local_addr().expect("it is bound").port();
    let scratch = Scratch::new("scheduler-taken");
    let state = State::open_at(scratch.0.clone()).expect("nothing is in the way");
    let error = error_of(config(&state, "lab", port));
    assert!(matches!(error, ServerError::Taken { .. }), "{error}");
    drop(taken);
    Server::start(config(&state, "lab", port), Box::new(|_| ())).expect("it is free again");
}

#[test]
fn an_address_of_another_machine_is_named() {
    let scratch = Scratch::new("scheduler-elsewhere");
    let state = State::open_at(scratch.0.clone()).expect("nothing is in the way");
    let bind = vec![[192, 0, 2, 1].into()];
    let error = error_of(ServerConfig { bind, ..config(&state, "lab", 0) });
    assert!(error.to_string().contains("192.0.2.1"), "{error}");
    assert!(error.hint().expect("there is a way").contains("--bind"));
}

#[test]
fn it_listens_on_several_addresses_with_one_port() {
    let scratch = Scratch::new("scheduler-several");
    let state = State::open_at(scratch.0.clone()).expect("nothing is in the way");
    let bind = vec![[127, 0, 0, 1].into(), [127, 0, 0, 2].into()];
    let config = ServerConfig { bind, ..config(&state, "lab", 0) };
    let server = Server::start(config, Box::new(|_| ())).expect("both are free");
    let ports: Vec<u16> = server.addresses().iter().map(std::net::SocketAddr::port).collect();
    assert_eq!(ports, [server.port(); 2]);
}

#[test]
fn a_killed_one_leaves_nothing_in_the_way() {
    let scratch = Scratch::new("scheduler-killed");
    let state = State::open_at(scratch.0.clone()).expect("nothing is in the way");
    let server = Server::start(config(&state, "lab", 0), Box::new(|_| ())).expect("it starts");
    let port = server.port();
    drop(server);
    let socket = local_socket::path(port);
    assert!(!socket.exists());
    // What one that was killed leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("nothing is there"));
    assert!(socket.exists());
    let server = Server::start(config(&state, "lab", port), Box::new(|_| ())).expect("it starts");
    drop(server);
    assert!(!socket.exists());
}

#[test]
fn s17_its_socket_is_its_users_alone() {
    use std::os::unix::fs::MetadataExt as _;
    let site = Site::new("socket");
    let socket = std::fs::metadata(local_socket::path(site.server.port())).expect("it is there");
    assert_eq!(socket.mode() & 0o777, 0o600);
}

#[test]
fn whoever_waits_hears_of_its_end() {
    run(async {
        let site = Site::new("end");
        assert!(!site.server.wait(Some(Duration::from_millis(10))));
        let client = Client::client(&site.here());
        client.answer_to_nothing().await;
        assert_eq!(ask(site.here(), &Request::Down).await, Answer::GoingDown);
        assert_eq!(client.end().await, "it was closed");
        eventually("it is over", || site.server.wait(Some(Duration::ZERO))).await;
        assert!(!local_socket::path(site.server.port()).exists());
        assert_eq!(site.server.snapshot().nodes.len(), 0);
        assert!(site.server.wait(Some(SOON)));
        site.server.stop();
    });
}

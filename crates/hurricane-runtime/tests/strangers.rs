//! What strangers cost a scheduler in memory, counted by the allocator of this test's process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process};

use hurricane_runtime::identity::{Name, State};
use hurricane_runtime::scheduler::{Server, ServerConfig};
use hurricane_runtime::strangers::{MAX_HALF_OPEN, MAX_HALF_OPEN_OF_SOURCE};
use hurricane_runtime::tls::MAX_HANDSHAKE_BYTES;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// What one stranger may cost.
const MAX_BYTES_OF_STRANGER: usize = 64 << 10;

/// Counts what is allocated.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// A server, and where its keys are.
struct Site {
    server: Server,
    directory: std::path::PathBuf,
}

impl Site {
    fn start() -> Self {
        let directory = env::temp_dir().join(format!("hurricane-test-{}-s12", process::id()));
        let config = ServerConfig {
            name: Name::near("lab"),
            port: 0,
            bind: vec![Ipv4Addr::LOCALHOST.into()],
            state: State::open_at(directory.clone()).expect("nothing is in the way"),
            python_minor: None,
        };
        let server = Server::start(config, Box::new(|_| ())).expect("it starts");
        Self { server, directory }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.stop();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Strangers from so many addresses that each may have its share of handshakes.
fn dial(address: SocketAddr, number: usize) -> TcpStream {
    let host = u8::try_from(2 + number / MAX_HALF_OPEN_OF_SOURCE).expect("they are few");
    let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
    let stream = socket(AddressFamily::INET, SocketType::STREAM, None).expect("there are some");
    bind(&stream, &source).expect("it is of this host");
    connect(&stream, &address).expect("it listens");
    stream.into()
}

/// The beginning of a first message that claims to be as long as one can be, with as much of it as
/// is read of a stranger, but for one byte.
fn endless_hello() -> Vec<u8> {
    let mut hello = vec![22, 3, 1, 0x3f, 0xff, 1, 0xff, 0xff, 0xff, 3, 3];
    hello.resize(MAX_HANDSHAKE_BYTES - 1, 0xff);
    hello
}

#[test]
fn s12_length_fields_of_strangers_cost_little() {
    let site = Site::start();
    let [address] = site.server.addresses()[..] else { panic!("it listens at one address") };
    // What is made when the first one comes is not theirs.
    drop(dial(address, 0));
    site.server.snapshot();
    let (before, hello) = (LIVE.load(Ordering::Relaxed), endless_hello());
    PEAK.store(before, Ordering::Relaxed);
    let mut strangers: Vec<TcpStream> = (0..MAX_HALF_OPEN).map(|it| dial(address, it)).collect();
    for stranger in &mut strangers {
        stranger.write_all(&hello).expect("it is open");
    }
    // All of it was read when each of them is half open: none can come any more.
    let deadline = Instant::now() + Duration::from_secs(4);
    let mut refused = false;
    while !refused && Instant::now() < deadline {
        site.server.snapshot();
        let mut one_more = dial(address, MAX_HALF_OPEN);
        one_more.set_read_timeout(Some(Duration::from_millis(20))).expect("it is a socket");
        let read = one_more.read(&mut [0; 1]);
        refused = read.is_ok_and(|bytes| bytes == 0);
    }
    assert!(refused, "there was room for more than {MAX_HALF_OPEN}");
    let cost = (PEAK.load(Ordering::Relaxed) - before) / MAX_HALF_OPEN;
    println!("a stranger costs {cost} bytes");
    assert!(cost <= MAX_BYTES_OF_STRANGER, "{cost}");
    // One byte more than is read of them.
    let mut impatient = strangers.pop().expect("there are some");
    let _ = impatient.write_all(&[0; 2]);
    impatient.set_read_timeout(Some(Duration::from_secs(20))).expect("it is a socket");
    let mut rest = Vec::new();
    let ended = impatient.read_to_end(&mut rest);
    let is_cut = ended.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
    assert!(ended.is_ok() || is_cut, "{ended:?}");
    assert!(rest.len() <= 7, "no more than an alert is said: {rest:?}");
}

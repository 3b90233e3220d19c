"""The core holds no clock, socket, thread, file, process or random order: a check that tries.

A copy of the core gets one function for each forbidden thing, and clippy must refuse each of them;
the core's dependencies must hold no runtime that could bring one in.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
CORE = CHECKOUT / "crates" / "hurricane-core"

FORBIDDEN = [
    "let _ = std::time::Instant::now();",
    "let _ = std::time::SystemTime::now();",
    "let _ = std::net::TcpListener::bind(address());",
    "let _ = std::net::TcpStream::connect(address());",
    "let _ = std::net::UdpSocket::bind(address());",
    'let _ = std::net::ToSocketAddrs::to_socket_addrs("localhost:80");',
    'let _ = std::os::unix::net::UnixListener::bind("socket");',
    'let _ = std::os::unix::net::UnixStream::connect("socket");',
    "let _ = std::thread::spawn(|| {});",
    "let _ = std::thread::Builder::new();",
    "std::thread::scope(|_| {});",
    "std::thread::sleep(core::time::Duration::ZERO);",
    "let _ = std::thread::current();",
    "let _ = std::collections::HashMap::<u8, u8>::new();",
    "let _ = std::collections::HashSet::<u8>::new();",
    "let _ = std::hash::RandomState::new();",
    'let _ = std::fs::File::open("file");',
    'let _ = std::fs::read("file");',
    'let _ = std::fs::write("file", "text");',
    'let _ = std::process::Command::new("true");',
    "std::process::exit(0);",
    "let _ = std::process::id();",
]

RUNTIMES = {"async-std", "futures", "getrandom", "libc", "mio", "nix", "pyo3", "rand", "rayon",
            "rustix", "smol", "socket2", "tokio"}  # fmt: skip

pytestmark = pytest.mark.skipif(
    shutil.which("cargo") is None or not CORE.is_dir(), reason="needs cargo and the core's sources"
)


def cargo(*arguments: str, directory: Path = CHECKOUT) -> str:
    """Run cargo without a network; what it printed, whether or not it was content."""
    environment = os.environ | {"CARGO_TARGET_DIR": str(CHECKOUT / "target")}
    done = subprocess.run(
        ["cargo", *arguments, "--offline"],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.stdout


def copy_core() -> Path:
    """Make a workspace of its own with the core's sources and settings as they stand.

    Always in the same place inside the checkout: there the toolchain is the checkout's, and what
    was compiled for one run serves the next. Under a name of its own, or cargo would take what it
    builds for the core's.
    """
    workspace = CHECKOUT / "target" / "purity"
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir(parents=True)
    manifest = (CHECKOUT / "Cargo.toml").read_text()
    (workspace / "Cargo.toml").write_text(
        manifest.replace('"crates/hurricane-runtime", "crates/hurricane-python"', "")
    )
    shutil.copy(CHECKOUT / "Cargo.lock", workspace)
    core = workspace / "crates" / "hurricane-core"
    shutil.copytree(CORE, core, ignore=shutil.ignore_patterns("tests"))
    core_manifest = core / "Cargo.toml"
    core_manifest.write_text(
        core_manifest.read_text().replace(CORE.name, "hurricane-core-probe", 1)
    )
    return core


def refused_lines(clippy_output: str, file: str) -> set[int]:
    """The lines of `file` at which the clippy configuration of the core took offence."""
    refused = set()
    for line in clippy_output.splitlines():
        message = json.loads(line).get("message", {})
        code = (message.get("code") or {}).get("code", "")
        if code in {"clippy::disallowed_types", "clippy::disallowed_methods"}:
            refused |= {
                span["line_start"] for span in message["spans"] if span["file_name"].endswith(file)
            }
    return refused


def test_clippy_refuses_each_forbidden_thing() -> None:
    core = copy_core()
    probe = ["use std::net::SocketAddr;", "fn address() -> SocketAddr { unreachable!() }"]
    first_line = len(probe) + 1
    probe += [f"fn probe_{i}() {{ {thing} }}" for i, thing in enumerate(FORBIDDEN)]
    (core / "src" / "probe.rs").write_text("\n".join(probe))
    with (core / "src" / "lib.rs").open("a") as library:
        library.write("\nmod probe;\n")

    output = cargo("clippy", "--lib", "--message-format", "json", directory=core)

    refused = refused_lines(output, "probe.rs")
    let_through = [
        thing for line, thing in enumerate(FORBIDDEN, start=first_line) if line not in refused
    ]
    assert let_through == []


def test_core_depends_on_no_runtime() -> None:
    tree = cargo("tree", "-p", "hurricane-core", "--edges", "normal,build", "--prefix", "none")
    dependencies = {line.split()[0] for line in tree.splitlines() if line}
    assert "serde" in dependencies
    assert dependencies & RUNTIMES == set()

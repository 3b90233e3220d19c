"""One large object to several nodes, each on a host of its own: what the owner sends, and how fast.

The hosts are network namespaces. Beside it, in the same run, the rate of one plain TLS stream
between two of the hosts. Prints one line of JSON.

    .ci/in-namespaces .venv/bin/python benchmarks/broadcast.py
"""

import argparse
import base64
import json
import math
import statistics
import sys
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from lan.cluster import PORT, Cluster
from lan.hosts import Host, Lan

#: Takes a stream from whoever dials, and prints how many bytes a second came. Neither side shows a
#: certificate, which changes nothing for what follows the handshake.
RECEIVER = """
import socket, ssl, sys, time

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.maximum_version = ssl.TLSVersion.TLSv1_2
context.set_ciphers("ADH-AES256-GCM-SHA384:@SECLEVEL=0")
context.load_dh_params(sys.argv[2])
with socket.create_server((sys.argv[1], 4433)) as server:
    print("listening", flush=True)
    stream = context.wrap_socket(server.accept()[0], server_side=True)
    buffer = bytearray(1 << 18)
    stream.recv_into(buffer, 1)
    began, received = time.perf_counter(), 1
    while read := stream.recv_into(buffer):
        received += read
    stream.unwrap()
    print(received / (time.perf_counter() - began), flush=True)
"""

SENDER = """
import os, socket, ssl, sys

context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.maximum_version = ssl.TLSVersion.TLSv1_2
context.set_ciphers("ADH-AES256-GCM-SHA384:@SECLEVEL=0")
content = os.urandom(int(sys.argv[2]))
with context.wrap_socket(socket.create_connection((sys.argv[1], 4433))) as stream:
    stream.sendall(content)
    stream.unwrap()
"""

#: Has an object made on one host, or by itself, and a task on each of the others need it; prints
#: how long that took.
PROGRAM = f"""
import sys, time
import hurricane

def make(size):
    import os
    return os.urandom(size)

def look(value, number):
    return len(value), value[0], value[-1]

whose, size, nodes = sys.argv[1], *map(int, sys.argv[2:])
with hurricane.Client(port={PORT}) as client:
    needs = client.options(resources={{"needed": 1}})
    makes = client.options(resources={{"made": 1}})
    # Workers are there, and know the function.
    for done in [needs.submit(look, b"  ", number) for number in range(8 * nodes)]:
        done.result()
    if whose == "made":
        value = makes.submit(make, size)
        expected = makes.submit(look, value, 0).result()
    else:
        content = make(size)
        value = client.put(content)
        expected = look(content, 0)
        client.submit(str).result()
    began = time.perf_counter()
    looked = [needs.submit(look, value, number) for number in range(nodes)]
    assert [each.result() for each in looked] == [expected] * nodes
    print(time.perf_counter() - began, flush=True)
    # Or the client would bring the value here before it ends: somebody might still ask for it.
    del value
"""


def write_group(path: Path) -> None:
    """Write the group ffdhe2048 of RFC 7919 where a TLS server finds it."""
    e = Fraction(sum(Fraction(1, math.factorial(number)) for number in range(400)))
    prime = 2**2048 - 2**1984 + (math.floor(2**1918 * e) + 560316) * 2**64 - 1
    content = b"\x02\x82\x01\x01\x00" + prime.to_bytes(256) + b"\x02\x01\x02"
    encoded = base64.encodebytes(b"\x30\x82" + len(content).to_bytes(2) + content).decode()
    path.write_text(f"-----BEGIN DH PARAMETERS-----\n{encoded}-----END DH PARAMETERS-----\n")


def sent_bytes(host: Host) -> int:
    """Return how much has gone out over a host's link."""
    shown = host.run("ip", "-s", "-j", "link", "show", "dev", host.links[0]).stdout
    sent: int = json.loads(shown)[0]["stats64"]["tx"]["bytes"]
    return sent


def stream_rate(sender: Host, receiver: Host, size: int) -> float:
    """Return how many bytes a second one TLS stream carries."""
    group = receiver.home / "group.pem"
    write_group(group)
    receiving = receiver.start_python(RECEIVER, receiver.address, str(group), name="receiver.py")
    receiving.wait_for_line("listening")
    sender.python(SENDER, receiver.address, str(size))
    match, _ = receiving.wait_for_line(r"^([0-9.]+)$")
    return float(match[1])


def measure(whose: str, size: int, nodes: int, repetitions: int) -> dict[str, object]:
    """Measure one cluster, again and again; medians."""
    lan = Lan()
    try:
        network = lan.network()
        scheduler, maker = lan.host("scheduler", network), lan.host("maker", network)
        others = [lan.host(f"node{number}", network) for number in range(nodes)]
        cluster = Cluster(scheduler, "--no-node")
        cluster.join(maker, "--cpus", "1", "--resource", "made=1")
        for other in others:
            cluster.join(other, "--cpus", "1", "--resource", "needed=1")
        cluster.wait_for_nodes("maker", *(other.name for other in others))
        owner = maker if whose == "made" else scheduler
        runs = []
        for _ in range(repetitions):
            stream = stream_rate(maker, others[0], size)
            before = sent_bytes(owner)
            done = scheduler.python(PROGRAM, whose, str(size), str(nodes), seconds=120)
            rate = nodes * size / float(done.stdout)
            runs.append((rate, (sent_bytes(owner) - before) / size, stream))
        rates, shares, streams = (list(each) for each in zip(*runs, strict=True))
        ratios = [rate / stream for rate, _, stream in runs]
        return {
            "work": "W10",
            "owner": "node" if whose == "made" else "scheduler",
            "object_bytes": size,
            "nodes": nodes,
            "repetitions": repetitions,
            "delivered_bytes_per_second": round(statistics.median(rates)),
            "stream_bytes_per_second": round(statistics.median(streams)),
            "ratio": round(statistics.median(ratios), 3),
            "owner_sent_per_object": round(max(shares), 3),
            "ratios": [round(ratio, 3) for ratio in ratios],
        }
    finally:
        lan.close()


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--put", action="store_true", help="by a client: the scheduler keeps it")
    parser.add_argument("--mebibytes", type=int, default=256)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=3)
    chosen = parser.parse_args()
    whose = "put" if chosen.put else "made"
    print(json.dumps(measure(whose, chosen.mebibytes << 20, chosen.nodes, chosen.repetitions)))


if __name__ == "__main__":
    main()

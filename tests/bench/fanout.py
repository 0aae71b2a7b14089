#!/usr/bin/env python3
"""fanout.py IPCFS FANOUT [--rounds N] [--messages N] [--size BYTES]: one publisher and 1, 10 and 100 subscribers, delivered messages
a second (medians), of a topic beside the brokers that are installed: Redis (PUBLISH) and NATS (core), each a server on this machine,
on a Unix socket where it has one. One run, rotated: each round asks all of them, in another order."""

import argparse
import contextlib
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

KINDS = {"topic": 512, "send": 1, "redis": 512, "nats": 512}


def wait_for(predicate, what):
    end = time.monotonic() + 20
    while not predicate():
        if time.monotonic() > end:
            raise SystemExit(f"fanout: {what} does not start")
        time.sleep(0.05)


def answers(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def server(*command, ready, what):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(ready, what)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def start_all(stack, program, directory):
    """Where each kind is to be found."""
    mount = os.path.join(directory, "mnt")
    os.mkdir(mount)
    stack.enter_context(server(program, "-f", "-o", "max_bytes=2G,uid_bytes=2G", mount, ready=lambda: os.path.ismount(mount),
                               what="ipcfs"))
    where = {"topic": mount, "send": mount}
    if shutil.which("redis-server"):
        path = os.path.join(directory, "redis")
        stack.enter_context(server("redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no",
                                   "--client-output-buffer-limit", "pubsub 0 0 0", "--dir", directory,
                                   ready=lambda: os.path.exists(path), what="Redis"))
        where["redis"] = path
    if shutil.which("nats-server"):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        stack.enter_context(server("nats-server", "-a", "127.0.0.1", "-p", str(port), ready=lambda: answers(port), what="NATS"))
        where["nats"] = str(port)
    return where


def measure(fanout, kind, where, n_subscribers, n_messages, size):
    topic = os.path.join(where, "topic", "bench") if kind in ("topic", "send") else None
    if topic:
        os.mkdir(topic)
    batch = KINDS[kind]
    try:
        out = subprocess.run([fanout, kind, topic or where, str(n_subscribers), str(n_messages), str(size), str(batch)],
                             stdout=subprocess.PIPE, check=True, timeout=120)
        return float(out.stdout)
    finally:
        if topic:
            for name in os.listdir(os.path.join(topic, "sub")):
                subscription = os.path.join(topic, "sub", name)
                for message in os.listdir(os.path.join(subscription, "queue")):
                    os.unlink(os.path.join(subscription, "queue", message))
                os.rmdir(subscription)
            os.rmdir(topic)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ipcfs")
    parser.add_argument("fanout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=200000, help="that are delivered in one measurement, about")
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fanout-") as directory, contextlib.ExitStack() as stack:
        where = start_all(stack, options.ipcfs, directory)
        results = {}
        for _ in range(options.rounds):
            cells = [(kind, n) for kind in where for n in (1, 10, 100)]
            random.shuffle(cells)
            for kind, n in cells:
                figure = measure(options.fanout, kind, where[kind], n, max(options.messages // n, 5120), options.size)
                results.setdefault((kind, n), []).append(figure)
    print(f"delivered messages a second of {options.size} bytes, medians of {options.rounds} rounds (least to most)")
    print(f"{'':8}" + "".join(f"{n:>34}" for n in (1, 10, 100)))
    for kind in where:
        cells = [results[kind, n] for n in (1, 10, 100)]
        print(f"{kind:8}" + "".join(f"{statistics.median(c):>14,.0f} ({min(c):,.0f} to {max(c):,.0f})".rjust(34) for c in cells))


main()

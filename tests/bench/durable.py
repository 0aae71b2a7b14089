#!/usr/bin/env python3
"""durable.py IPCFS DURABLE [--rounds N] [--directory DIR] [--recovery N,N...]: what it costs that messages are kept: mailboxes with durable=no,
daemon and disk, beside Redis (AOF everysec and always; a list, a stream), JetStream (file) and a queue in SQLite (WAL), of those that
are installed, all on the filesystem of DIR. Each round asks all, in another order; what is received is compared.

Then, of one store: how long a start takes with so many messages waiting and how large the store is, and its size before and after a
steady flow of a million messages through a mailbox with a hundred."""

import argparse
import contextlib
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time

import brokers


def mailbox(mount, name, **settings):
    path = os.path.join(mount, "mbox", name)
    os.mkdir(path)
    with open(os.path.join(path, "config"), "w", encoding="ascii") as config:
        config.write("".join(f"{key}={value}\n" for key, value in settings.items()))
    return path


def redis(stack, directory, fsync):
    beside = os.path.join(directory, f"redis-{fsync}")
    os.mkdir(beside)
    path = os.path.join(beside, "socket")
    stack.enter_context(brokers.server("redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "yes", "--appendfsync", fsync,
                                       "--dir", beside, ready=lambda: os.path.exists(path), what="Redis"))
    return path


def jetstream(stack, directory):
    with brokers.socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stack.enter_context(brokers.server("nats-server", "-js", "-sd", os.path.join(directory, "nats"), "-a", "127.0.0.1", "-p", str(port),
                                       ready=lambda: brokers.answers(port), what="NATS"))
    return str(port)


def start_all(stack, options, directory):
    """What is asked, by name: what ipcfs-durable calls it, where it is, and what it survives."""
    known = subprocess.run([options.durable], capture_output=True, text=True, check=False).stderr.split("kinds:")[1].split()
    mount = brokers.ipcfs(stack, options.ipcfs, directory, f"store={os.path.join(directory, 'store')}")
    found = {}
    for durable in ("no", "daemon", "disk"):
        path = mailbox(mount, durable, durable=durable, messages="max", bytes="2G")
        found[f"ipcfs {durable}"] = ("box", path)
        found[f"ipcfs lines {durable}"] = ("lines", path)
    if shutil.which("redis-server"):
        for fsync in ("everysec", "always"):
            path = redis(stack, directory, fsync)
            found[f"Redis list {fsync}"] = ("redis-list", path)
            found[f"Redis stream {fsync}"] = ("redis-stream", path)
    else:
        print("not here: redis-server (package redis-server)")
    if shutil.which("nats-server") and "nats" in known:
        found["JetStream"] = ("nats", jetstream(stack, directory))
    else:
        print("not here: nats-server, or libnats-dev when this was built")
    if "sqlite" in known:
        found["SQLite"] = ("sqlite", os.path.join(directory, "normal.db"))
        found["SQLite full"] = ("sqlite-full", os.path.join(directory, "full.db"))
    else:
        print("not here: libsqlite3-dev when this was built")
    return found


# Which wait for the disk: fewer messages do for them.
SLOW = ("disk", "always", "full")


def ask(options, found, name, size, senders):
    kind, where = found[name]
    n = options.messages // 10 if name.endswith(SLOW) or kind == "nats" else options.messages
    if kind == "lines":
        n = n // 10 if senders == 0 else n
    if senders:
        n = max(n, 64 * senders)
    out = subprocess.run([options.durable, kind, where, str(n), str(size), str(senders)], stdout=subprocess.PIPE, check=True, timeout=600).stdout
    return [float(figure) for figure in out.split()]


def compare(options, directory):
    results = {}
    cases = [(64, 0), (4096, 0), (64, 1), (64, 64)]
    with contextlib.ExitStack() as stack:
        found = start_all(stack, options, directory)
        for _ in range(options.rounds):
            for name in random.sample(list(found), len(found)):
                for case in cases:
                    results.setdefault((name, *case), []).append(ask(options, found, name, *case))
    print(f"medians of {options.rounds} rounds: a send and a receive by one caller (us, 99.9 % us), sends a second by 1 and by 64 callers")
    print(f"{'':24}{'64 B':>10}{'99.9 %':>10}{'4 KiB':>10}{'99.9 %':>10}{'by 1':>12}{'by 64':>12}")
    for name in found:
        columns = [[statistics.median(column) for column in zip(*results[name, *case])] for case in cases]
        print(f"{name:24}{columns[0][0]:>10,.1f}{columns[0][1]:>10,.1f}{columns[1][0]:>10,.1f}{columns[1][1]:>10,.1f}"
              f"{columns[2][0]:>12,.0f}{columns[3][0]:>12,.0f}")


def size_of(directory):
    return sum(os.stat(os.path.join(directory, name)).st_blocks * 512 for name in os.listdir(directory)) / 1e6


def n_waiting(box):
    with open(os.path.join(box, "stat"), encoding="ascii") as stat:
        return next(int(line.split("=")[1]) for line in stat if line.startswith("messages="))


def fill(box, n, size=64):
    with open(os.path.join(box, "send.lines"), "wb", buffering=0) as lines:
        for begin in range(0, n, 1000):
            lines.write((b"x" * (size - 1) + b"\n") * min(1000, n - begin))


def recovery(options, directory, n):
    store = os.path.join(directory, f"store-{n}")
    with contextlib.ExitStack() as stack:
        beside = tempfile.mkdtemp(dir=directory)
        # What a message costs the daemon itself counts too.
        mount = brokers.ipcfs(stack, options.ipcfs, beside, f"store={store}")
        fill(mailbox(mount, "box", messages="max", bytes="2G"), n)
        size = size_of(store)
    with contextlib.ExitStack() as stack:
        began = time.monotonic()
        mount = brokers.ipcfs(stack, options.ipcfs, tempfile.mkdtemp(dir=directory), f"store={store}")
        assert n_waiting(os.path.join(mount, "mbox", "box")) == n
        print(f"{n:>10,} messages of 63 bytes: a start takes {time.monotonic() - began:6.2f} s, the store {size:,.1f} MB")


def flow(options, directory, n):
    store = os.path.join(directory, "store-flow")
    with contextlib.ExitStack() as stack:
        mount = brokers.ipcfs(stack, options.ipcfs, tempfile.mkdtemp(dir=directory), f"store={store}")
        box = mailbox(mount, "box", messages="max", bytes="2G")
        fill(box, 100)
        before = size_of(store)
        with open(os.path.join(box, "send.lines"), "wb", buffering=0) as lines, \
                open(os.path.join(box, "recv.lines"), "rb", buffering=0) as recv:
            for _ in range(0, n, 100):
                lines.write((b"y" * 63 + b"\n") * 100)
                left = 100 * 64
                while left > 0:
                    left -= len(recv.read(min(left, 65536)))
        print(f"{n:,} messages through a mailbox with 100: the store had {before:.1f} MB and has {size_of(store):.1f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ipcfs")
    parser.add_argument("durable")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=20000, help="in one measurement; a tenth where the disk is waited for")
    parser.add_argument("--directory", default="/var/tmp")
    parser.add_argument("--recovery", default="10000,100000,1000000")
    parser.add_argument("--flow", type=int, default=1000000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="durable-", dir=options.directory) as directory:
        compare(options, directory)
        for n in options.recovery.split(","):
            recovery(options, directory, int(n))
        flow(options, directory, options.flow)


main()

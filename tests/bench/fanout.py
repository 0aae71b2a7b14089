#!/usr/bin/env python3
"""fanout.py IPCFS FANOUT [--rounds N] [--messages N] [--size BYTES] [--only NAME]: one publisher and 1, 10 and 100 subscribers, of a
topic beside the brokers that are installed: D-Bus signals of dbus-daemon and dbus-broker, Redis (PUBLISH), NATS (core), and ZeroMQ,
which has no broker; each on this machine, on a Unix socket where it has one. First delivered messages a second (medians); then how
long one message takes until all have it; and how long one takes through a second topic beside a publisher to 1,000 subscriptions. One run, rotated: each round asks all of them, in another order."""

import argparse
import contextlib
import os
import random
import signal
import statistics
import subprocess
import tempfile
import time

import brokers

N_DELAYS = 2000
SUBSCRIBERS = (1, 10, 100)
N_CROWD = 1000

# What ipcfs-fanout calls each, and how many messages are published at once.
KINDS = {
    "topic": ("topic", 512),
    "send": ("send", 1),
    "dbus-daemon": ("dbus", 512),
    "dbus-broker": ("dbus", 512),
    "zeromq": ("zeromq", 512),
    "redis": ("redis", 512),
    "nats": ("nats", 512),
}


def start_all(stack, options, directory):
    """Where each kind is to be found."""
    mount = brokers.ipcfs(stack, options.ipcfs, directory)
    where = {"topic": mount, "send": mount, **brokers.start(stack, directory, brokers.PEERS)}
    if subprocess.run([options.fanout, "zeromq", os.path.join(directory, "zeromq"), "1", "1", "1", "1"], check=False,
                      stdout=subprocess.DEVNULL, timeout=20).returncode == 0:
        where["zeromq"] = os.path.join(directory, "zeromq")
    else:
        print("not found when this was built: libzmq (package libzmq3-dev)")
    return {kind: where[kind] for kind in KINDS if kind in where and kind in (options.only or KINDS)}


def measure(options, kind, where, n_subscribers, n_messages, batch):
    topic = os.path.join(where, "topic", "bench") if kind in ("topic", "send") else None
    if topic:
        os.mkdir(topic)
    try:
        out = subprocess.run([options.fanout, KINDS[kind][0], topic or where, str(n_subscribers), str(n_messages), str(options.size),
                              str(batch)], stdout=subprocess.PIPE, check=True, timeout=120)
        return [float(figure) for figure in out.stdout.split()]
    finally:
        if topic:
            for name in os.listdir(os.path.join(topic, "sub")):
                subscription = os.path.join(topic, "sub", name)
                for message in os.listdir(os.path.join(subscription, "queue")):
                    os.unlink(os.path.join(subscription, "queue", message))
                os.rmdir(subscription)
            os.rmdir(topic)


def pass_through(topic, seconds):
    """Return: how long each of some messages takes, in us, from its publisher to the one who has subscribed."""
    delays = []
    send = os.open(os.path.join(topic, "send"), os.O_WRONLY)
    recv = os.open(os.path.join(topic, "recv"), os.O_RDONLY | os.O_DIRECT)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        os.write(send, b"x" * 64)
        os.read(recv, 4096)
        delays.append((time.perf_counter() - start) * 1e6)
    os.close(send)
    os.close(recv)
    return sorted(delays)


def beside_a_crowd(mount):
    crowd, second = (os.path.join(mount, "topic", name) for name in ("crowd", "second"))
    os.mkdir(second)
    idle = pass_through(second, 2)
    os.mkdir(crowd)
    for i in range(N_CROWD):
        os.mkdir(os.path.join(crowd, "sub", str(i)))
    with subprocess.Popen(["sh", "-c", f"yes | cat >{crowd}/send.lines"], start_new_session=True) as publisher:
        beside = pass_through(second, 4)
        os.killpg(publisher.pid, signal.SIGKILL)
    print(f"\na message through a second topic, in us: median, 99 %; idle and beside a publisher of lines to {N_CROWD:,} subscriptions")
    for what, delays in (("idle", idle), ("beside", beside)):
        print(f"{what:12}{median(delays):>14,.0f} {delays[len(delays) * 99 // 100]:>10,.0f}")


def median(figures):
    return statistics.median(figures)


def report(options, where, rates, delays):
    print(f"delivered messages a second of {options.size} bytes, medians of {options.rounds} rounds (least to most)")
    print(f"{'':12}" + "".join(f"{n:>34}" for n in SUBSCRIBERS))
    for kind in where:
        cells = [rates[kind, n] for n in SUBSCRIBERS]
        print(f"{kind:12}" + "".join(f"{median(c):>14,.0f} ({min(c):,.0f} to {max(c):,.0f})".rjust(34) for c in cells))
    print("\nfrom one message's publication to when all have it, in us: median, 99.9 % (medians of the rounds)")
    for kind in where:
        if kind != "send":
            cells = [delays[kind, n] for n in SUBSCRIBERS]
            print(f"{kind:12}" + "".join(f"{median(d[0] for d in c):>14,.0f} {median(d[1] for d in c):>10,.0f}".rjust(34) for c in cells))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ipcfs")
    parser.add_argument("fanout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=200000, help="that are delivered in one measurement, about")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--only", action="append", choices=KINDS)
    options = parser.parse_args()
    rates, delays = {}, {}
    with tempfile.TemporaryDirectory(prefix="fanout-") as directory, contextlib.ExitStack() as stack:
        where = start_all(stack, options, directory)
        for _ in range(options.rounds):
            cells = [(kind, n) for kind in where for n in SUBSCRIBERS]
            random.shuffle(cells)
            for kind, n in cells:
                rate = measure(options, kind, where[kind], n, max(options.messages // n, 5120), KINDS[kind][1])
                rates.setdefault((kind, n), []).append(rate[0])
                if kind != "send":
                    delays.setdefault((kind, n), []).append(measure(options, kind, where[kind], n, N_DELAYS // n, 0))
        report(options, where, rates, delays)
        if "topic" in where:
            beside_a_crowd(where["topic"])


main()

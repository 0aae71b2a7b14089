#!/usr/bin/env python3
"""nats.py [-n MESSAGES] [-r ROUNDS]: how many messages a second ipcfs-nats exports and imports, and how long one takes from mailbox to
mailbox, beside a loop of cnats on the same server. The contenders take turns at going first; what arrives is counted.

Needs IPCFS, IPCFS_NATS, NATS_LOOP (the programs) and PYTHONPATH with tests/fs, tests/lib/interop and tests/nats."""

import argparse
import os
import statistics
import subprocess
import time

from bridge import Bridge
from broker import Broker, connected
from harness import Mount, wait_until

SIZES = [64, 4096]
LOOP = os.environ["NATS_LOOP"]


def loop(*arguments):
    return [float(line) for line in subprocess.run([LOOP, *map(str, arguments)], check=True, capture_output=True, text=True,
                                                   timeout=120).stdout.split()]


class Round:
    """A fresh stream for each measurement."""

    def __init__(self, broker, mount, number, n, size):
        self.broker, self.mount, self.n, self.size = broker, mount, n, size
        self.subject = f"bench.{number}"
        self.stream = f"bench{number}"
        with connected(broker) as client:
            client.api(f"STREAM.CREATE.{self.stream}", name=self.stream, subjects=[self.subject])
        self.box = mount.box(0o700).path
        with open(self.box + "/config", "w", encoding="utf-8") as config:
            config.write(f"messages=max\nbytes={1 << 30}\n")

    def end(self):
        with connected(self.broker) as client:
            client.api(f"STREAM.DELETE.{self.stream}")
        for name in os.listdir(self.box + "/queue"):
            os.unlink(f"{self.box}/queue/{name}")
        os.rmdir(self.box)

    def n_stored(self, client):
        return client.api(f"STREAM.INFO.{self.stream}")["state"]["messages"]

    def stat(self, key):
        with open(self.box + "/stat", encoding="utf-8") as stat:
            return next(int(line.split("=")[1]) for line in stat if line.startswith(key + "="))

    def export_loop(self):
        return loop("publish", self.broker.url, self.subject, self.n, self.size)[0]

    def export_bridge(self):
        """From the first message that is stored to the last that is done."""
        line = b"x" * (self.size - 1) + b"\n"
        with open(self.box + "/send.lines", "wb") as lines:
            for _ in range(self.n):
                lines.write(line)
        start = time.monotonic()
        bridge = Bridge(self.mount.path, self.broker.url, f"export {os.path.basename(self.box)} {self.subject}")
        bridge.wait_for("connected")
        start = time.monotonic()
        wait_until(lambda: self.stat("messages") == self.stat("leased") == 0, "all is done", patience=120)
        seconds = time.monotonic() - start
        with connected(self.broker) as client:
            assert self.n_stored(client) == self.n
        assert bridge.stop() == 0
        return seconds

    def import_loop(self):
        self.fill()
        return loop("fetch", self.broker.url, self.subject, "d", self.n)[0]

    def import_bridge(self):
        self.fill()
        bridge = Bridge(self.mount.path, self.broker.url, f"import {self.subject} {os.path.basename(self.box)}")
        bridge.wait_for("connected")
        start = time.monotonic()
        wait_until(lambda: self.stat("messages") == self.n, "all have come", patience=120)
        seconds = time.monotonic() - start
        assert bridge.stop() == 0
        return seconds

    def fill(self):
        loop("publish", self.broker.url, self.subject, self.n, self.size)

    def latency_loop(self):
        return loop("latency", self.broker.url, self.subject + ".core", 500, self.size)

    def latency_bridge(self):
        other = self.mount.box(0o700).path
        bridge = Bridge(self.mount.path, self.broker.url, f"export {os.path.basename(self.box)} {self.subject}",
                        f"import {self.subject} {os.path.basename(other)}")
        bridge.wait_for("connected")
        times = []
        send = os.open(self.box + "/send", os.O_WRONLY)
        recv = os.open(other + "/recv", os.O_RDONLY | os.O_DIRECT)
        # Its pages are there: to get those of a new one for each message would take longer than all else.
        message = bytearray(b"x" * self.size)
        for _ in range(501):
            start = time.perf_counter()
            os.write(send, message)
            assert os.readv(recv, [message]) == self.size
            times.append((time.perf_counter() - start) * 1e6)
        os.close(send)
        os.close(recv)
        assert bridge.stop() == 0
        os.rmdir(other)
        return times[1:]


def measure(broker, mount, n, rounds, size, what):
    results = {"loop": [], "bridge": []}
    for i in range(rounds):
        for who in sorted(results, reverse=i % 2 == 1):
            number = f"{what}{size}-{i}-{who}"
            round = Round(broker, mount, number, n, size)
            results[who].append(getattr(round, f"{what}_{who}")())
            round.end()
    return results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=20000)
    parser.add_argument("-r", type=int, default=4)
    options = parser.parse_args()
    broker, mount = Broker(), Mount("-o", "max_bytes=2G")
    try:
        for size in SIZES:
            for what in ("export", "import"):
                results = measure(broker, mount, options.n, options.r, size, what)
                rate = {who: options.n / statistics.median(times) for who, times in results.items()}
                print(f"{what} {size:5} B  bridge {rate['bridge']:8.0f}/s  cnats {rate['loop']:8.0f}/s  "
                      f"ratio {rate['bridge'] / rate['loop']:.2f}", flush=True)
            results = measure(broker, mount, 1, options.r, size, "latency")
            for who, runs in results.items():
                times = sorted(t for run in runs for t in run)
                print(f"latency {size:5} B  {who:6} median {statistics.median(times):8.0f} us  "
                      f"p99 {times[len(times) * 99 // 100]:8.0f} us", flush=True)
    finally:
        broker.stop()
        mount.stop()


main()

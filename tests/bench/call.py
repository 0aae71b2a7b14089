#!/usr/bin/env python3
"""call.py IPCFS CALL [--rounds N] [--calls N] [--size BYTES]: how long a question and its answer take, of a mailbox's `call` over
/dev/fuse and over io_uring, beside a D-Bus method call of dbus-daemon and of dbus-broker, and two lists of Redis, of those that are
installed. One caller, one server. One run, rotated: each round asks all of them, in another order."""

import argparse
import contextlib
import os
import random
import statistics
import subprocess
import tempfile

import brokers


def start_all(stack, options, directory):
    """Where each is to be found, and what ipcfs-call calls it."""
    found = {}
    for transport in "dev", "uring":
        beside = os.path.join(directory, transport)
        os.mkdir(beside)
        try:
            mount = brokers.ipcfs(stack, options.ipcfs, beside, f"transport={transport}")
        except brokers.NotStarted:
            print(f"not here: ipcfs -o transport={transport}")
            continue
        box = os.path.join(mount, "mbox", "calc")
        os.mkdir(box)
        found[f"call, {transport}"] = ("call", box)
    for name, where in brokers.start(stack, directory, ["dbus-daemon", "dbus-broker", "redis"]).items():
        found[name] = (name.split("-", maxsplit=1)[0], where)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ipcfs")
    parser.add_argument("call")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=10000, help="in one measurement")
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(prefix="call-") as directory, contextlib.ExitStack() as stack:
        found = start_all(stack, options, directory)
        for _ in range(options.rounds):
            for name in random.sample(list(found), len(found)):
                kind, where = found[name]
                out = subprocess.run([options.call, kind, where, str(options.calls), str(options.size)], stdout=subprocess.PIPE,
                                     check=True, timeout=120).stdout
                results.setdefault(name, []).append([float(figure) for figure in out.split()])
    print(f"a call and its answer of {options.size} bytes, medians of {options.rounds} rounds")
    print(f"{'':14}{'median us':>12}{'99.9 % us':>12}{'a second':>12}")
    for name in found:
        print(f"{name:14}" + "".join(f"{statistics.median(column):>12,.{digits}f}"
                                     for column, digits in zip(zip(*results[name]), (1, 1, 0))))


main()

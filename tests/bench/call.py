#!/usr/bin/env python3
"""call.py IPCFS IPCCTL CALL [--rounds N] [--calls N] [--size BYTES]: how long a question and its answer take, of a mailbox's `call`,
answered by reply/ID and by work.json, over /dev/fuse and over io_uring, beside a D-Bus method call of dbus-daemon and of dbus-broker,
spoken by hand and by the client libraries that people use, and two lists of Redis; of those that are installed. One server, and 1 and
16 askers. Then whole programs: from the start of ipcctl call, of a shell, of dbus-send, busctl or gdbus until its end. One run,
rotated: each round asks all of them, in another order.

io_uring is measured as root, where the kernel can do it: /sys/module/fuse/parameters/enable_uring is set for the time of the run."""

import argparse
import contextlib
import os
import random
import statistics
import subprocess
import tempfile
import time

import brokers

ENABLE_URING = "/sys/module/fuse/parameters/enable_uring"
BUSES = "dbus-daemon", "dbus-broker"
LIBRARIES = "libdbus", "sdbus", "gdbus"
ASKERS = 1, 16


@contextlib.contextmanager
def uring_enabled():
    try:
        with open(ENABLE_URING, "r+", encoding="ascii") as file:
            before = file.read()
            file.seek(0)
            file.write("Y")
    except OSError:
        yield
        return
    try:
        yield
    finally:
        with open(ENABLE_URING, "w", encoding="ascii") as file:
            file.write(before)


def start_mounts(stack, options, directory):
    """A mailbox of each transport, called calc."""
    boxes = {}
    for transport in "dev", "uring":
        beside = os.path.join(directory, transport)
        os.mkdir(beside)
        try:
            with uring_enabled():
                mount = brokers.ipcfs(stack, options.ipcfs, beside, f"transport={transport}")
        except brokers.NotStarted:
            print(f"not here: ipcfs -o transport={transport}")
            continue
        boxes[transport] = os.path.join(mount, "mbox", "calc")
        os.mkdir(boxes[transport])
    return boxes


def ways_to_ask(boxes, peers):
    """By name: what ipcfs-call calls each, where it is, and how many may ask at once."""
    ways = {}
    for transport, box in boxes.items():
        ways[f"reply/ID, {transport}"] = ("call", box, max(ASKERS))
        ways[f"work.json, {transport}"] = ("work", box, max(ASKERS))
    for bus in BUSES:
        if bus in peers:
            ways[bus] = ("dbus", peers[bus], max(ASKERS))
            ways.update({f"{bus}, {library}": (library, peers[bus], max(ASKERS)) for library in LIBRARIES})
    if "redis" in peers:
        ways["redis"] = ("redis", peers["redis"], 1)
    return ways


def measure(options, kind, where, n_askers):
    out = subprocess.run([options.call, kind, where, str(options.calls), str(options.size), str(n_askers)], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, timeout=120, check=False)
    return [float(figure) for figure in out.stdout.split()] if out.returncode == 0 else None


def report_calls(options, ways):
    results = {}
    for _ in range(options.rounds):
        for name, n_askers in random.sample([(name, n) for name in ways for n in ASKERS], len(ways) * len(ASKERS)):
            kind, where, n_max = ways[name]
            figures = measure(options, kind, where, n_askers) if n_askers <= n_max else None
            if figures:
                results.setdefault((name, n_askers), []).append(figures)
    print(f"a call and its answer of {options.size} bytes, medians of {options.rounds} rounds; and of the quietest round")
    print(f"{'':24}{'1 asks: us':>12}{'quietest':>12}{'99 % us':>12}{'a second':>12}{'16 ask: us':>12}{'99 % us':>12}{'a second':>12}")
    for name in ways:
        if (name, 1) not in results:
            continue
        medians = [statistics.median(column) for n in ASKERS for column in zip(*results.get((name, n), []))]
        medians.insert(1, min(median for median, _, _ in results[name, 1]))
        print(f"{name:24}" + "".join(f"{figure:>12,.{digits}f}" for figure, digits in zip(medians, (1, 1, 1, 0, 1, 1, 0))))


# --- whole programs ---

@contextlib.contextmanager
def serving(options, kind, where):
    """A server of answers of three bytes. Gives what callers need to know."""
    process = subprocess.Popen([options.call, kind, where, "serve", "3"], stdout=subprocess.PIPE)
    try:
        yield process.stdout.readline().decode().strip()
    finally:
        process.kill()
        process.wait()


def programs_to_run(stack, options, boxes, peers):
    """By name: each a command that asks 2+2."""
    programs = {"a shell, asks nothing": ["sh", "-c", "echo 4"]}
    for transport, box in boxes.items():
        stack.enter_context(serving(options, "work", box))
        root = os.path.dirname(os.path.dirname(box))
        programs[f"ipcctl call, {transport}"] = [options.ipcctl, "-m", root, "call", "calc", "2+2"]
        programs[f"a shell, {transport}"] = ["sh", "-c", f"exec 3<>{box}/call; printf 2+2 >&3; read -r answer <&3; echo $answer"]
    for bus in BUSES:
        if bus not in peers:
            continue
        server = stack.enter_context(serving(options, "dbus", peers[bus]))
        address = f"unix:path={peers[bus]}"
        programs[f"{bus}, dbus-send"] = ["dbus-send", f"--bus={address}", "--print-reply", f"--dest={server}", "/calc",
                                         "org.example.Calc.Echo", "array:byte:50,43,50"]
        programs[f"{bus}, busctl"] = ["busctl", f"--address={address}", "call", server, "/calc", "org.example.Calc", "Echo", "ay", "3", "50",
                                      "43", "50"]
        programs[f"{bus}, gdbus"] = ["gdbus", "call", "--address", address, "--dest", server, "--object-path", "/calc", "--method",
                                     "org.example.Calc.Echo", "[byte 50, 43, 50]"]
    return programs


def run_program(command):
    """Return: how many milliseconds; None: it did not work."""
    begin = time.monotonic()
    process = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=False)
    return (time.monotonic() - begin) * 1e3 if process.returncode == 0 and process.stdout else None


def report_programs(programs, n_rounds):
    times = {name: [] for name in programs}
    for _ in range(n_rounds):
        for name in random.sample(list(programs), len(programs)):
            with contextlib.suppress(FileNotFoundError):
                times[name].append(run_program(programs[name]))
    print(f"a program that asks, from its start to its end, of {n_rounds}")
    print(f"{'':24}{'median ms':>12}{'99 % ms':>12}")
    for name, all_times in times.items():
        good = sorted(t for t in all_times if t)
        if good:
            print(f"{name:24}{statistics.median(good):>12.2f}{good[len(good) * 99 // 100]:>12.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ipcfs")
    parser.add_argument("ipcctl")
    parser.add_argument("call")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=8000, help="in one measurement, of all who ask together")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--programs", type=int, default=100, help="how often each is run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="call-") as directory, contextlib.ExitStack() as stack:
        boxes = start_mounts(stack, options, directory)
        peers = brokers.start(stack, directory, [*BUSES, "redis"])
        report_calls(options, ways_to_ask(boxes, peers))
        report_programs(programs_to_run(stack, options, boxes, peers), options.programs)


main()

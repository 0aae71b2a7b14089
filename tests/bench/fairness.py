#!/usr/bin/env python3
"""fairness.py [-n ROUNDS] [ATTACK...]: how long user A's send and receive take on its own mailbox while user B does something
hateful on the same mount, as a ratio to B doing nothing. Needs root, IPCFS (the program) and PYTHONPATH with tests/fs.

Each round measures three times: B stopped, on a mount of its own that B has never touched (idle); two processes that only burn
the processors, there too (spin: what any neighbour costs on this machine, for there are few processors); and B at it, on the
mount that B has had (busy). Aim: busy is at most 3 times idle, or not above spin."""

import argparse
import contextlib
import ctypes
import fcntl
import mmap
import os
import resource
import select
import signal
import statistics
import struct
import sys
import time

import pytest

import harness
from harness import Mount, Peer, libc

A, B = 1001, 1002
N_PROCESSES = 2
SECONDS = 0.4
SYS_IO_SETUP, SYS_IO_SUBMIT = 206, 209

ATTACKS = {}


def attack(function):
    """@function(root, me) prepares, and returns what is done over and over. @me is a directory's name of this process's own."""
    ATTACKS[function.__name__] = function
    return function


def write(path, data, flags=os.O_NONBLOCK):
    fd = os.open(path, os.O_WRONLY | flags)
    try:
        return os.write(fd, data)
    finally:
        os.close(fd)


def make_box(root, me, config=b""):
    path = os.path.join(root, "mbox", me)
    os.mkdir(path)
    if config:
        write(os.path.join(path, "config"), config)
    return path


def fill(path, n, data=b"x\n"):
    """With @n lines."""
    fd = os.open(os.path.join(path, "send.lines"), os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(OSError):
        while n > 0:
            n -= os.write(fd, data * min(n, 100_000)) // len(data)
    os.close(fd)


def fork(function):
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            function()
        os._exit(0)
    return pid


def end(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


# --- What B does ---

@attack
def ordinary_use(root, me):
    """Not hateful: sends and receives as fast as it can."""
    path = make_box(root, me)
    send = os.open(os.path.join(path, "send"), os.O_WRONLY | os.O_NONBLOCK)
    recv = os.open(os.path.join(path, "recv"), os.O_RDONLY | os.O_NONBLOCK | os.O_DIRECT)
    def step():
        os.write(send, b"x" * 64)
        os.read(recv, 100)
    return step


@attack
def asynchronous_writes(root, me):
    """io_submit to a full mailbox, killed and begun again."""
    path = make_box(root, me, b"messages=1\n")
    write(os.path.join(path, "send"), b"full")
    data = ctypes.create_string_buffer(64)
    def submit():
        fd = os.open(os.path.join(path, "send"), os.O_WRONLY)
        context = ctypes.c_ulong(0)
        libc.syscall(SYS_IO_SETUP, 64, ctypes.byref(context))
        blocks = [ctypes.create_string_buffer(struct.pack("<QIIHhIQQqQII", 0, 0, 0, 1, 0, fd, ctypes.addressof(data), 10, 0, 0, 0, 0))
                  for _ in range(40)]
        for block in blocks:
            pointer = (ctypes.c_void_p * 1)(ctypes.addressof(block))
            libc.syscall(SYS_IO_SUBMIT, context, ctypes.c_long(1), pointer)
        signal.pause()
    def step():
        pid = fork(submit)
        time.sleep(0.05)
        end(pid)
    return step


@attack
def hanging_in_execve(root, me):
    """A close that waits for room, of a process that is in execve, and holds claims in a ring."""
    path = make_box(root, me, b"messages=1\n")
    write(os.path.join(path, "send"), b"full")
    ring = os.path.join(root, "ring", me)
    os.mkdir(ring)
    def hang():
        with open(os.path.join(ring, "map"), "r+b", buffering=0) as file:
            memory = mmap.mmap(file.fileno(), 0)
            struct.pack_into("<Q", memory, 4096, 1)
            struct.pack_into("<Q", memory, 8192, (1 << 2 | 2) << 32 | os.getpid())
        fd = os.open(os.path.join(path, "send.lines"), os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, b"rest")
        os.execv("/bin/true", ["true"])
    reader = fork(lambda: os.read(os.open(os.path.join(ring, "recv"), os.O_RDONLY), 10))
    def step():
        pid = fork(hang)
        time.sleep(0.05)
        end(pid)
    return step


@attack
def all_descriptors(root, me):
    """Empty regions, until there are no more."""
    def step():
        n = 0
        with contextlib.suppress(OSError):
            while True:
                os.close(os.open(os.path.join(root, "shm", f"{me}.{n}"), os.O_CREAT | os.O_RDWR))
                n += 1
        for i in range(n):
            os.unlink(os.path.join(root, "shm", f"{me}.{i}"))
    return step


@attack
def closes_with_many_descriptors(root, me):
    path = make_box(root, me)
    held = []
    with contextlib.suppress(OSError):
        while len(held) < 19_000:
            held.append(os.open("/dev/null", 0))
    for fd in held[-100:]:
        os.close(fd)
    fd = os.open(os.path.join(path, "send.lines"), os.O_WRONLY)
    os.write(fd, b"rest")
    return lambda: os.close(os.dup(fd))


@attack
def many_ancestors(root, me):
    """Reads of what only a far ancestor and its descendants may open."""
    top = os.getpid()
    path = os.path.join(root, "proc", str(top))
    os.close(os.open(os.path.join(path, "send"), os.O_WRONLY))
    def descend(depth):
        if depth > 0:
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
                os._exit(0)
            descend(depth - 1)
        while True:
            with contextlib.suppress(OSError):
                os.close(os.open(os.path.join(path, "recv"), os.O_RDONLY | os.O_NONBLOCK))
    sys.setrecursionlimit(10_000)
    child = fork(lambda: descend(400))
    return lambda: time.sleep(1)


@attack
def large_envelopes(root, me):
    path = make_box(root, me, b"bytes=60M\n")
    def step():
        fd = os.open(os.path.join(path, "drop", "file"), os.O_CREAT | os.O_WRONLY)
        for _ in range(20):
            os.write(fd, b"\1" * (1 << 20))
        os.close(fd)
        recv = os.open(os.path.join(path, "recv.json"), os.O_RDONLY)
        os.read(recv, 1)
        os.close(recv)
    return step


def ring_of(root, me, config):
    path = os.path.join(root, "ring", me)
    os.mkdir(path)
    write(os.path.join(path, "config"), config)
    with open(os.path.join(path, "map"), "r+b", buffering=0) as file:
        return path, mmap.mmap(file.fileno(), 0)


@attack
def ring_of_skips(root, me):
    """A ring full of places given up: to be passed each time it is asked for a message."""
    slots = 1 << 20
    path, memory = ring_of(root, me, b"slots=%d\nslot_bytes=16\n" % slots)
    for i in range(slots):
        struct.pack_into("<Q", memory, 8192 + i * 16, (1 << 2) << 32)
    struct.pack_into("<Q", memory, 4096, slots)
    recv = os.open(os.path.join(path, "recv"), os.O_RDONLY | os.O_NONBLOCK)
    poller = select.poll()
    poller.register(recv, select.POLLIN)
    def step():
        poller.poll(0)
        with open(os.path.join(path, "stat"), "rb", buffering=0) as stat:
            stat.read()
        struct.pack_into("<Q", memory, 4224, 0)
    return step


@attack
def scribbled_ring(root, me):
    path, memory = ring_of(root, me, b"slots=%d\nslot_bytes=16\n" % (1 << 18))
    reader = fork(lambda: [os.read(os.open(os.path.join(path, "recv"), os.O_RDONLY), 10) for _ in range(1 << 20)])
    def step():
        struct.pack_into("<Q", memory, 4224, (1 << 64) - 1)
        struct.pack_into("<I", memory, 4352, 3)
        with contextlib.suppress(OSError):
            write(os.path.join(path, "send"), b"x")
        with open(os.path.join(path, "stat"), "rb", buffering=0) as stat:
            stat.read()
    return step


@attack
def writes_far_away(root, me):
    path = make_box(root, me, b"bytes=3G\n")
    def step():
        fd = os.open(os.path.join(path, "drop", "file"), os.O_CREAT | os.O_WRONLY)
        try:
            os.pwrite(fd, b"x", 2 << 30)
        finally:
            os.ftruncate(fd, 0)
            os.close(fd)
    return step


@attack
def messages_held(root, me):
    """Received in part, and never read to the end."""
    path = make_box(root, me, b"messages=max\n")
    held = []
    def step():
        with contextlib.suppress(OSError):
            write(os.path.join(path, "send"), b"x" * 60_000)
            fd = os.open(os.path.join(path, "recv"), os.O_RDONLY | os.O_NONBLOCK)
            held.append(fd)
            os.read(fd, 1)
        if len(held) > 500:
            os.close(held.pop(0))
    return step


@attack
def mailboxes_that_are_open_and_removed(root, me):
    held = []
    def step():
        path = make_box(root, me)
        held.append(os.open(os.path.join(path, "send"), os.O_WRONLY))
        os.rmdir(path)
        if len(held) > 500:
            os.close(held.pop(0))
    return step


@attack
def rings_that_are_open_and_removed(root, me):
    held = []
    path = os.path.join(root, "ring", me)
    def step():
        os.mkdir(path)
        held.append(os.open(os.path.join(path, "map"), os.O_RDWR))
        os.rmdir(path)
        if len(held) > 50:
            os.close(held.pop(0))
    return step


@attack
def places_taken(root, me):
    """Files in drop/ that are never written."""
    path = make_box(root, me)
    def step():
        fds = []
        with contextlib.suppress(OSError):
            for i in range(900):
                fds.append(os.open(os.path.join(path, "drop", str(i)), os.O_CREAT | os.O_WRONLY | os.O_NONBLOCK))
        for fd in fds:
            os.close(fd)
    return step


@attack
def a_hundred_thousand_names(root, me):
    """Made and removed, and looked up where they are not."""
    n = 0
    def step():
        nonlocal n
        with contextlib.suppress(OSError):
            os.mkdir(os.path.join(root, "mbox", f"{me}.{n}"))
        n += 1
        if n % 20_000 == 0:
            for i in range(n - 20_000, n):
                with contextlib.suppress(OSError):
                    os.rmdir(os.path.join(root, "mbox", f"{me}.{i}"))
    return step


@attack
def listing_of_names(root, me):
    for i in range(10_000):
        with contextlib.suppress(OSError):
            os.mkdir(os.path.join(root, "mbox", f"{me}.{i}"))
    return lambda: os.listdir(os.path.join(root, "mbox"))


@attack
def listing_of_a_queue(root, me):
    path = make_box(root, me, b"messages=max\n")
    fill(path, 100_000)
    return lambda: os.listdir(os.path.join(path, "queue"))


@attack
def removing_from_a_queue(root, me):
    path = make_box(root, me, b"messages=max\n")
    names = []
    def step():
        if not names:
            fill(path, 5000)
            names.extend(os.listdir(os.path.join(path, "queue")))
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(path, "queue", names.pop()))
    return step


@attack
def moving_between_queues(root, me):
    here, there = make_box(root, me, b"messages=max\n"), make_box(root, me + "2", b"messages=max\n")
    fill(here, 20_000)
    names = os.listdir(os.path.join(here, "queue"))
    def step():
        nonlocal here, there
        for name in names[:200]:
            with contextlib.suppress(OSError):
                os.rename(os.path.join(here, "queue", name), os.path.join(there, "queue", name))
        here, there = there, here
    return step


@attack
def polls(root, me):
    path = make_box(root, me)
    poller = select.poll()
    for _ in range(300):
        poller.register(os.open(os.path.join(path, "recv"), os.O_RDONLY | os.O_NONBLOCK), select.POLLIN)
    return lambda: poller.poll(0)


@attack
def wake_ups(root, me):
    """Hundreds who wait are woken, and wait again."""
    path = make_box(root, me)
    poller = select.epoll()
    for _ in range(300):
        poller.register(os.open(os.path.join(path, "recv"), os.O_RDONLY | os.O_NONBLOCK), select.EPOLLIN | select.EPOLLET)
    recv = os.open(os.path.join(path, "recv"), os.O_RDONLY | os.O_NONBLOCK | os.O_DIRECT)
    def step():
        write(os.path.join(path, "send"), b"x")
        poller.poll(0.01)
        os.read(recv, 10)
    return step


@attack
def waiting_and_interrupted(root, me):
    """Receivers that wait and are killed."""
    path = make_box(root, me)
    def step():
        pids = [fork(lambda: os.read(os.open(os.path.join(path, "recv"), os.O_RDONLY), 10)) for _ in range(10)]
        for pid in pids:
            end(pid)
    return step


@attack
def metrics(root, me):
    for i in range(2000):
        with contextlib.suppress(OSError):
            os.mkdir(os.path.join(root, "mbox", f"{me}.{i}"))
    def step():
        with open(os.path.join(root, ".ipcfs", "metrics"), "rb", buffering=0) as file:
            while file.read(1 << 20):
                pass
    return step


@attack
def changes_of_mode(root, me):
    path = make_box(root, me)
    def step():
        os.chmod(path, 0o711)
        os.chmod(path, 0o755)
    return step


@attack
def changes_of_limits(root, me):
    """Each judges anew those who wait."""
    path = make_box(root, me, b"messages=1\n")
    write(os.path.join(path, "send"), b"full")
    for _ in range(30):
        fork(lambda: os.write(os.open(os.path.join(path, "send"), os.O_WRONLY), b"waits"))
    return lambda: write(os.path.join(path, "config"), b"messages=1\n")


@attack
def locks(root, me):
    path = make_box(root, me)
    fds = [os.open(os.path.join(path, "send"), os.O_WRONLY) for _ in range(50)]
    def step():
        for fd in fds:
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        for fd in fds:
            fcntl.flock(fd, fcntl.LOCK_UN)
    return step


@attack
def regions_made_and_removed(root, me):
    path = os.path.join(root, "shm", me)
    def step():
        fd = os.open(path, os.O_CREAT | os.O_RDWR)
        os.ftruncate(fd, 1 << 20)
        os.close(fd)
        os.unlink(path)
    return step


@attack
def large_messages(root, me):
    path = make_box(root, me, b"message_bytes=1044480\n")
    data = b"x" * 1_044_480
    recv = os.open(os.path.join(path, "recv"), os.O_RDONLY | os.O_NONBLOCK | os.O_DIRECT)
    def step():
        write(os.path.join(path, "send"), data)
        os.read(recv, 1 << 20)
    return step


@attack
def processes_that_come_and_go(root, me):
    """Each with a directory in proc/ that is used."""
    def use():
        with contextlib.suppress(OSError):
            os.close(os.open(os.path.join(root, "proc", "self", "recv"), os.O_RDONLY | os.O_NONBLOCK))
    def step():
        os.waitpid(fork(use), 0)
    return step


# --- Measuring ---

class Group:
    """Processes that do one thing, and can be stopped."""

    def __init__(self, function, *args):
        self.pids = []
        for i in range(N_PROCESSES):
            self.ready, told = os.pipe()
            pid = os.fork()
            if pid == 0:
                self.run(told, function, *args, i)
            self.pids.append(pid)
            os.close(told)
            # A byte, or the end of one that failed.
            select.select([self.ready], [], [], 30)
            self.failed = os.read(self.ready, 500)
            os.close(self.ready)
            if self.failed != b"\n":
                break

    def run(self, told, function, *args):
        try:
            os.setpgid(0, 0)
            step = function(*args)
            os.write(told, b"\n")
            while True:
                with contextlib.suppress(OSError):
                    step()
        except BaseException as error:
            os.write(told, repr(error).encode()[:400])
        os._exit(1)

    def signal(self, number):
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)

    def stop(self):
        self.signal(signal.SIGSTOP)

    def go_on(self):
        self.signal(signal.SIGCONT)

    def end(self):
        self.signal(signal.SIGKILL)
        for pid in self.pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def attack_as_b(name, root, i):
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, 20_000))
    os.setgroups([])
    os.setgid(B)
    os.setuid(B)
    os.umask(0)
    return ATTACKS[name](root, f"b{i}")


def spin(_):
    def step():
        for _ in range(100_000):
            pass
    return step


class Client:
    """User A, in a process of its own."""

    def __init__(self, root):
        self.peer = Peer(uid=A, gid=A)
        self.peer.call(self.open, root)

    @staticmethod
    def open(root):
        path = os.path.join(root, "mbox", "a")
        os.mkdir(path, 0o700)
        global handles
        handles = (os.open(os.path.join(path, "send"), os.O_WRONLY | os.O_NONBLOCK),
                   os.open(os.path.join(path, "recv"), os.O_RDONLY | os.O_NONBLOCK | os.O_DIRECT))

    @staticmethod
    def measure():
        """In ns."""
        send, recv = handles
        times = []
        until = time.monotonic() + SECONDS
        while time.monotonic() < until or len(times) < 50:
            begin = time.perf_counter_ns()
            os.write(send, b"x" * 64)
            os.read(recv, 100)
            times.append(time.perf_counter_ns() - begin)
            # As somebody who has other things to do.
            if len(times) % 16 == 0:
                time.sleep(0.001)
        return times

    def times(self):
        return self.peer.call(self.measure)


def quantile(times, share):
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def run(name, n_rounds):
    clean, attacked = Mount(), Mount("-o", "uid_bytes=128M")
    idle_client, busy_client = Client(clean.path), Client(attacked.path)
    spinners = Group(spin)
    spinners.stop()
    attackers = Group(attack_as_b, name, attacked.path)
    idle, spun, busy = [], [], []
    try:
        if attackers.failed != b"\n":
            return f"{name:38} B fails: {attackers.failed.decode(errors='replace')}"
        for _ in range(n_rounds):
            attackers.stop()
            idle += idle_client.times()
            spinners.go_on()
            spun += idle_client.times()
            spinners.stop()
            attackers.go_on()
            busy += busy_client.times()
    finally:
        for group in (spinners, attackers):
            group.go_on()
            group.end()
        harness.kill_all()
        harness.stop_mounts()
    medians = [statistics.median(times) for times in (idle, spun, busy)]
    tails = [quantile(times, 0.99) for times in (idle, spun, busy)]
    return (f"{name:38} {medians[0] / 1000:7.0f} {medians[1] / medians[0]:7.1f} {medians[2] / medians[0]:7.1f} "
            f"{tails[0] / 1000:9.0f} {tails[1] / tails[0]:7.1f} {tails[2] / tails[0]:7.1f} {max(busy) / 1e6:9.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=4, metavar="ROUNDS", help="rounds of each (4)")
    parser.add_argument("attack", nargs="*", help=", ".join(ATTACKS))
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("fairness: only root can be several users")
    for name in args.attack:
        if name not in ATTACKS:
            sys.exit(f"fairness: there is no attack '{name}'")
    print(f"{'A sends and receives while B ...':38} {'median':>7} {'':7} {'':7} {'p99':>9} {'':7} {'':7} {'longest':>9}")
    print(f"{'':38} {'us':>7} {'spin':>7} {'busy':>7} {'us':>9} {'spin':>7} {'busy':>7} {'ms':>9}", flush=True)
    for name in args.attack or ATTACKS:
        try:
            print(run(name, args.n), flush=True)
        except (AssertionError, OSError, pytest.fail.Exception) as error:
            print(f"{name:38} {error}", flush=True)
            harness.kill_all()
            with contextlib.suppress(AssertionError):
                harness.stop_mounts()


if __name__ == "__main__":
    main()

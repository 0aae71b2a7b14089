"""Three users do whatever they can think of to one mount, and are killed in the midst of it; a fourth goes on with its work
meanwhile, and afterwards the daemon holds nothing of theirs.

Environment: IPCFS_FUZZ_SEEDS (first seeds of the tests; "1 2"), IPCFS_FUZZ_SECONDS (for each; 4)."""

import contextlib
import mmap
import os
import random
import select
import shutil
import signal
import time

import pytest

import hostile
from harness import PATIENCE, Call, Handle, Mount, process_state, wait_until

SEEDS = [int(seed) for seed in os.environ.get("IPCFS_FUZZ_SEEDS", "1 2").split()]
SECONDS = float(os.environ.get("IPCFS_FUZZ_SECONDS", "4"))
STEPS = 2000
USERS = [1001, 1002, 1003]
VICTIM = 1004


def work_on(root):
    """What a user does who has nothing to do with the others: all of it works."""
    path = os.path.join(root, "mbox", "victim")
    os.mkdir(path, 0o700)
    n = 0
    for _ in range(20):
        with Handle(os.path.join(path, "send.lines"), os.O_WRONLY) as send:
            send.write(b"one\nrest")
        with Handle(os.path.join(path, "recv"), os.O_RDONLY | os.O_DIRECT) as recv:
            poller = select.poll()
            poller.register(recv.fd, select.POLLIN)
            assert poller.poll(PATIENCE * 1000)
            assert recv.read() == b"one"
            assert recv.read() == b"rest"
        n += 1
    os.rmdir(path)
    use_other_rooms(root)
    return n


def use_other_rooms(root):
    path = os.path.join(root, "ring", "victim")
    os.mkdir(path, 0o700)
    for directory in (path, os.path.join(root, "proc", "self")):
        with Handle(os.path.join(directory, "send"), os.O_WRONLY) as send:
            send.write(b"hello")
        with Handle(os.path.join(directory, "recv"), os.O_RDONLY) as recv:
            assert recv.read() == b"hello"
    os.rmdir(path)
    path = os.path.join(root, "shm", "victim")
    with Handle(path, os.O_RDWR | os.O_CREAT | os.O_EXCL) as region:
        region.write(b"hello")
        assert os.pread(region.fd, 5, 0) == b"hello"
    os.unlink(path)


def remove_queued(path):
    with contextlib.suppress(OSError):
        for name in os.listdir(os.path.join(path, "queue")):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(path, "queue", name))


def drain_ring(path):
    with contextlib.suppress(OSError), Handle(os.path.join(path, "recv"), os.O_RDONLY | os.O_NONBLOCK | os.O_DIRECT) as recv:
        for _ in range(100_000):
            recv.read()


def why_not_empty(path):
    """What the ring's own reader is told, and its words."""
    said = []
    with contextlib.suppress(OSError):
        said += open(os.path.join(path, "stat"), encoding="ascii").read().split()
    try:
        with Handle(os.path.join(path, "recv"), os.O_RDONLY | os.O_NONBLOCK | os.O_DIRECT) as recv:
            recv.read()
    except OSError as error:
        said.append(str(error))
    with contextlib.suppress(OSError), open(os.path.join(path, "map"), "rb", buffering=0) as file:
        with mmap.mmap(file.fileno(), 8192 + 128, prot=mmap.PROT_READ) as memory:
            said.append({at: memory[at:at + 8].hex() for at in (8, 16, 4096, 4104, 4224, 4232, 4352, 4480, 8192)})
    return said


def remove_all(root):
    """By root. Return: what could not be removed."""
    left = []
    for room, empty in (("mbox", remove_queued), ("topic", remove_queued), ("ring", drain_ring)):
        if not os.path.isdir(os.path.join(root, room)):
            continue
        for name in os.listdir(os.path.join(root, room)):
            path = os.path.join(root, room, name)
            empty(path)
            try:
                os.rmdir(path)
            except OSError as error:
                left.append(f"{path}: {error}{why_not_empty(path) if room == 'ring' else ''}")
    for name in os.listdir(os.path.join(root, "shm")):
        path = os.path.join(root, "shm", name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    return left


def family(pgid):
    """The processes of a worker's group, zombies aside."""
    pids = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
                fields = stat.read().rpartition(")")[2].split()
            if int(fields[2]) == pgid and fields[0] != "Z":
                pids.append(int(pid))
    return pids


def end(worker):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.kill_family()
    wait_until(lambda: not family(worker.pid),
               lambda: f"killed, and still there: {[(pid, process_state(pid)) for pid in family(worker.pid)]}")
    worker.destroy()


def descriptors(mnt):
    """What the daemon has open, but for what its workers have, which come and go: /dev/fuse, or a ring of io_uring's."""
    names = []
    for fd in os.listdir(f"/proc/{mnt.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            name = os.readlink(f"/proc/{mnt.pid}/fd/{fd}")
            if name == "anon_inode:[pidfd]":
                with open(f"/proc/{mnt.pid}/fdinfo/{fd}", encoding="ascii") as info:
                    name += next(line for line in info if line.startswith("Pid:")).rstrip()
            names.append(name)
    # Threads that are called when they are needed have one each; the first ttl makes the timer that all mailboxes share.
    return sorted(name for name in names if name not in ("/dev/fuse", "anon_inode:[io_uring]", "anon_inode:[timerfd]"))


@pytest.mark.parametrize("seed", SEEDS)
def test_hostile_users(seed):
    mnt = Mount()
    rng = random.Random(seed)
    Call(work_on, mnt.path, uid=VICTIM).result()
    wait_until(lambda: mnt.metric("ipcfs_used_bytes") == 0 and mnt.metric("ipcfs_processes") == 0, "nothing is charged")
    wait_until(lambda: "pidfd" not in str(descriptors(mnt)), "the daemon watches no process")
    before = descriptors(mnt)
    n_threads = mnt.n_threads()
    peer = Call(signal.pause, uid=USERS[0])
    workers = []
    until = time.monotonic() + SECONDS
    n_started = 0
    while time.monotonic() < until:
        for uid in USERS:
            n_started += 1
            workers.append(Call(hostile.attack, mnt.path, peer.pid, rng.randrange(1 << 32), STEPS, uid=uid))
        assert Call(work_on, mnt.path, uid=VICTIM).result() == 20
        # Some in the midst of it.
        for worker in list(workers):
            if len(workers) > 2 and (rng.random() < 0.5 or worker.poll() is not None):
                workers.remove(worker)
                end(worker)
        assert mnt.process.poll() is None, mnt.log()
    for worker in workers:
        end(worker)
    peer.destroy()
    assert Call(work_on, mnt.path, uid=VICTIM).result() == 20
    print(f"seed {seed}: {n_started} attackers")
    wait_until(lambda: not remove_all(mnt.path), lambda: f"{remove_all(mnt.path)}")
    wait_until(lambda: mnt.metric("ipcfs_used_bytes") == 0, lambda: f"{mnt.metric('ipcfs_used_bytes')} bytes are charged for ever")
    wait_until(lambda: descriptors(mnt) == before, lambda: f"descriptors: {before} before, now {descriptors(mnt)}, {os.listdir(mnt.proc)}, {mnt.metric('ipcfs_processes')}")
    assert mnt.n_threads() <= n_threads + 10

"""flock(2) and record locks: what one process holds, no other is given."""

import contextlib
import ctypes
import errno
import fcntl
import os
import random
import signal
import struct
import tempfile

import pytest

import harness
from harness import ALICE, Call, Peer, expect_asleep

F_OFD_SETLK = 37
EVERY_FLOCK = ["send", "send.7", "send.lines", "recv", "recv.lines", "recv.json", "config", "stat", "owner"]


def flags_of(name):
    if name in ("config", "owner"):
        return os.O_RDONLY
    return os.O_WRONLY if name.startswith("send") else os.O_RDONLY


class Held:
    """What a peer has open."""
    files = {}


def open_it(key, path, flags):
    Held.files[key] = os.open(path, flags)


def close_it(key):
    os.close(Held.files.pop(key))


def dup_and_close(key):
    os.close(os.dup(Held.files[key]))


def flock(key, operation):
    try:
        fcntl.flock(Held.files[key], operation)
        return "granted"
    except OSError as error:
        return errno.errorcode[error.errno]


def record(key, kind, start, length, waits=False):
    """As fcntl(F_SETLK); a length of 0 reaches to the end."""
    lock = struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)
    try:
        fcntl.fcntl(Held.files[key], fcntl.F_SETLKW if waits else fcntl.F_SETLK, lock)
        return "granted"
    except OSError as error:
        return errno.errorcode[error.errno]


def ofd(key, kind, start, length):
    lock = struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)
    try:
        fcntl.fcntl(Held.files[key], F_OFD_SETLK, lock)
        return "granted"
    except OSError as error:
        return errno.errorcode[error.errno]


def test_of_record(key, kind, start, length):
    lock = struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)
    kind, _, start, length, pid = struct.unpack("hhqqi4x", fcntl.fcntl(Held.files[key], fcntl.F_GETLK, lock))
    return "free" if kind == fcntl.F_UNLCK else (kind, start, length, pid)


test_of_record.__test__ = False


@pytest.fixture
def peers():
    made = [Peer(), Peer(), Peer()]
    yield made
    for peer in made:
        with contextlib.suppress(ProcessLookupError):
            peer.kill()


@pytest.fixture
def region(mnt):
    path = os.path.join(mnt.path, "shm", "locked")
    with open(path, "wb"):
        pass
    yield path
    os.unlink(path)


@pytest.fixture
def reference():
    """A file of the kernel's own."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        yield file.name


# --- flock ---

def try_flock(peers, path, flags):
    for peer in peers[:2]:
        peer.call(open_it, path, path, flags)
    return [peer.call(flock, path, fcntl.LOCK_EX | fcntl.LOCK_NB) for peer in peers[:2]]


@pytest.mark.parametrize("name", EVERY_FLOCK)
def test_a_flock_on_a_file_of_a_mailbox_is_one_process_s(box, peers, name):
    assert try_flock(peers, box.file(name), flags_of(name)) == ["granted", "EAGAIN"]


def test_a_flock_on_a_message_is_one_process_s(box, peers):
    box.send(b"x")
    assert try_flock(peers, os.path.join(box.file("queue"), os.listdir(box.file("queue"))[0]),
                     os.O_RDONLY) == ["granted", "EAGAIN"]
    box.drain()


@pytest.mark.parametrize("name", ["send", "bell", "map"])
def test_a_flock_on_a_file_of_a_ring_is_one_process_s(mnt, peers, name):
    ring = os.path.join(mnt.path, "ring", "locked")
    os.mkdir(ring)
    assert try_flock(peers, os.path.join(ring, name), os.O_WRONLY if name == "send" else os.O_RDWR) == [
        "granted", "EAGAIN"]
    os.rmdir(ring)


def test_a_flock_on_send_of_a_process_is_one_process_s(mnt, peers):
    path = os.path.join(mnt.proc, str(os.getpid()), "send")
    assert try_flock(peers, path, os.O_WRONLY) == ["granted", "EAGAIN"]


def test_a_flock_on_drop_is_one_process_s(box, peers):
    assert try_flock(peers, box.file("drop"), os.O_RDONLY) == ["granted", "EAGAIN"]


def test_the_files_of_two_mailboxes_are_locked_apart(mnt, box, peers):
    other = mnt.box()
    for peer, path in zip(peers, (box.file("send"), other.file("send"))):
        peer.call(open_it, "f", path, os.O_WRONLY)
        assert peer.call(flock, "f", fcntl.LOCK_EX | fcntl.LOCK_NB) == "granted"
    other.remove()


def test_a_flock_goes_with_the_file_that_it_was_taken_through(box, peers):
    path = box.file("send")
    assert try_flock(peers, path, os.O_WRONLY) == ["granted", "EAGAIN"]
    # A duplicate is the same file.
    peers[0].call(dup_and_close, path)
    assert peers[1].call(flock, path, fcntl.LOCK_EX | fcntl.LOCK_NB) == "EAGAIN"
    peers[0].call(close_it, path)
    assert peers[1].call(flock, path, fcntl.LOCK_EX) == "granted"


def test_who_waits_for_a_flock_gets_it_when_its_holder_dies(box, peers):
    path = box.file("send")
    assert try_flock(peers, path, os.O_WRONLY) == ["granted", "EAGAIN"]
    peers[1].start(flock, path, fcntl.LOCK_EX)
    expect_asleep(peers[1], system_call="flock")
    peers[0].kill()
    assert peers[1].result() == "granted"


def test_shared_flocks_are_shared_and_become_exclusive(region, peers):
    a, b, c = peers
    for peer in peers:
        peer.call(open_it, "f", region, os.O_RDONLY)
    assert [peer.call(flock, "f", fcntl.LOCK_SH | fcntl.LOCK_NB) for peer in (a, b)] == ["granted"] * 2
    assert c.call(flock, "f", fcntl.LOCK_EX | fcntl.LOCK_NB) == "EAGAIN"
    a.start(flock, "f", fcntl.LOCK_EX)
    expect_asleep(a, system_call="flock")
    b.call(flock, "f", fcntl.LOCK_UN)
    assert a.result() == "granted"
    assert c.call(flock, "f", fcntl.LOCK_SH | fcntl.LOCK_NB) == "EAGAIN"
    assert a.call(flock, "f", fcntl.LOCK_SH) == "granted"
    assert c.call(flock, "f", fcntl.LOCK_SH | fcntl.LOCK_NB) == "granted"


def wait_for_flock(path):
    fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX)


def test_a_killed_waiter_takes_no_lock(region, peers):
    peers[0].call(open_it, "f", region, os.O_RDONLY)
    peers[0].call(flock, "f", fcntl.LOCK_EX)
    killed, waits = Call(wait_for_flock, region), Call(wait_for_flock, region)
    expect_asleep(killed, waits, system_call="flock")
    killed.kill()
    killed.wait()
    peers[0].call(flock, "f", fcntl.LOCK_UN)
    waits.result()


def interrupted_flock(path):
    """EINTR, told by a handler that does not have the call restarted."""
    fd = os.open(path, os.O_RDONLY)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.siginterrupt(signal.SIGUSR1, True)
    return harness.libc.flock(fd, fcntl.LOCK_EX), ctypes.get_errno()


def test_a_signal_ends_the_wait_for_a_lock(region, peers):
    peers[0].call(open_it, "f", region, os.O_RDONLY)
    peers[0].call(flock, "f", fcntl.LOCK_EX)
    waits = Call(interrupted_flock, region)
    expect_asleep(waits, system_call="flock")
    waits.kill(signal.SIGUSR1)
    assert waits.result() == (-1, errno.EINTR)


# --- Record locks ---

@pytest.mark.parametrize("name, kind", [("send", fcntl.F_WRLCK), ("recv", fcntl.F_RDLCK)])
def test_files_whose_closes_are_not_told_have_no_record_locks(box, peers, name, kind):
    peers[0].call(open_it, "f", box.file(name), flags_of(name))
    assert peers[0].call(record, "f", kind, 0, 0) == "ENOLCK"
    assert peers[0].call(record, "f", fcntl.F_UNLCK, 0, 0) == "granted"


def test_a_record_lock_on_send_lines_is_one_process_s(box, peers):
    for peer in peers[:2]:
        peer.call(open_it, "f", box.file("send.lines"), os.O_WRONLY)
    assert [peer.call(record, "f", fcntl.F_WRLCK, 0, 0) for peer in peers[:2]] == ["granted", "EAGAIN"]


def test_random_record_locks_are_as_the_kernel_s_own(region, reference, peers):
    """The same calls on both files: the same answers, and the same locks afterwards."""
    seed = int(os.environ.get("LOCKS_SEED", random.randrange(1 << 32)))
    rng = random.Random(seed)
    kinds = [fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK]
    for peer in peers:
        peer.call(open_it, "ours", region, os.O_RDWR)
        peer.call(open_it, "theirs", reference, os.O_RDWR)
    for step in range(400):
        peer = rng.choice(peers)
        start, length = rng.randrange(12), rng.choice([0, 1, 2, 3, 5, 8])
        args = rng.choice(kinds), start, length
        ours, theirs = [peer.call(record, key, *args) for key in ("ours", "theirs")]
        assert ours == theirs, f"seed {seed}, step {step}: {args}"
        if rng.random() < 0.02:
            for key in ("ours", "theirs"):
                peer.call(dup_and_close, key)
        asks = rng.choice(peers)
        wanted = fcntl.F_WRLCK, rng.randrange(16), 1
        ours, theirs = [asks.call(test_of_record, key, *wanted) for key in ("ours", "theirs")]
        assert (ours == "free") == (theirs == "free"), f"seed {seed}, step {step}: {wanted} is {ours}, not {theirs}"
        if ours != "free":
            assert ours[3] in [peer.pid for peer in peers]


def test_closing_any_descriptor_of_the_file_gives_record_locks_back(region, peers):
    a, b, _ = peers
    for key in ("first", "second"):
        a.call(open_it, key, region, os.O_RDWR)
    b.call(open_it, "f", region, os.O_RDWR)
    assert a.call(record, "first", fcntl.F_WRLCK, 0, 0) == "granted"
    assert b.call(record, "f", fcntl.F_WRLCK, 0, 1) == "EAGAIN"
    a.call(close_it, "second")
    assert b.call(record, "f", fcntl.F_WRLCK, 0, 1) == "granted"


def test_a_deadlock_of_record_locks_is_told(region, peers):
    a, b, _ = peers
    for at, peer in enumerate((a, b)):
        peer.call(open_it, "f", region, os.O_RDWR)
        assert peer.call(record, "f", fcntl.F_WRLCK, at, 1) == "granted"
    a.start(record, "f", fcntl.F_WRLCK, 1, 1, True)
    expect_asleep(a, system_call="fcntl")
    assert b.call(record, "f", fcntl.F_WRLCK, 0, 1, True) == errno.errorcode[errno.EDEADLK]
    b.call(record, "f", fcntl.F_UNLCK, 0, 0)
    assert a.result() == "granted"


def test_locks_of_an_open_file_go_with_it(region, peers):
    a, b, _ = peers
    for peer in (a, b):
        peer.call(open_it, "f", region, os.O_RDWR)
    assert a.call(ofd, "f", fcntl.F_WRLCK, 0, 0) == "granted"
    assert b.call(ofd, "f", fcntl.F_WRLCK, 3, 1) == "EAGAIN"
    a.call(close_it, "f")
    harness.wait_until(lambda: b.call(ofd, "f", fcntl.F_WRLCK, 3, 1) == "granted", "the lock is free")


def lock_many(path):
    fd = os.open(path, os.O_RDWR)
    Held.files["many"] = fd
    for n in range(1 << 22):
        told = record("many", fcntl.F_WRLCK, 2 * n, 1)
        if told != "granted":
            return n, told
    return None


def test_locks_count_for_who_has_them(mount):
    mnt = mount("-o", "uid_bytes=1M")
    path = os.path.join(mnt.path, "shm", "many")
    with open(path, "wb"):
        os.chmod(path, 0o666)
    before = mnt.metric("ipcfs_used_bytes")
    n, told = Call(lock_many, path, uid=ALICE).result()
    assert told in ("EDQUOT", "ENOLCK") and 1000 < n < 10000
    harness.wait_until(lambda: mnt.metric("ipcfs_used_bytes") == before, "its locks are given back")

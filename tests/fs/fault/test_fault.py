"""Each operation on a mount while the daemon's first, second, third ... allocation, descriptor or thread fails, until none is
left to fail. It does what it says or fails with an errno that says why, nothing that was acknowledged is lost, and in the end
the daemon holds what it held."""

import base64
import contextlib
import errno
import fcntl
import json
import mmap
import os
import select
import shutil
import signal
import struct
import subprocess

import pytest

from harness import IPCFS, PATIENCE, Call, Handle, Mount, process_state, wait_until
from shm_room import link_open

# What may be told of memory, descriptors or threads that are short.
NAMED = {errno.ENOMEM, errno.ENFILE, errno.EMFILE, errno.EAGAIN}

# More than any operation takes.
N_FAULTS_MAX = 300


def spared_range():
    """Where in the program libfuse takes a request in (preload.c)."""
    table = subprocess.run(["nm", "-S", IPCFS], stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in table.splitlines():
        words = line.split()
        if words[-1] == "fuse_session_process_buf_internal" and len(words) == 4:
            return int(words[0], 16), int(words[0], 16) + int(words[1], 16)
    return 0, 0


class Control:
    """What preload.c shares with us."""

    def __init__(self, path):
        self._file = open(path, "w+b", buffering=0)
        self._file.truncate(4096)
        self._map = mmap.mmap(self._file.fileno(), 4096)
        struct.pack_into("<QQ", self._map, 8, *spared_range())

    def arm(self, nth):
        """The nth from now fails."""
        struct.pack_into("<II", self._map, 0, nth, 0)

    def disarm(self):
        """Whether it came to the fault."""
        struct.pack_into("<I", self._map, 0, 0)
        return struct.unpack_from("<I", self._map, 4)[0] != 0


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    path = os.path.join(tmp_path_factory.mktemp("fault"), "control")
    shared = Control(path)
    os.environ["FAULT_CONTROL"] = str(path)
    return shared


class World:
    def __init__(self, mnt):
        self.mnt = mnt
        self.open = []
        self.box = self.ring = None

    def path(self, *names):
        return os.path.join(self.mnt.path, *names)

    def keep(self, fd):
        self.open.append(fd)
        return fd


@pytest.fixture
def mnt(control):
    preload = os.environ.get("LD_PRELOAD")
    os.environ["LD_PRELOAD"] = os.environ["FAULT_PRELOAD"]
    try:
        mount = Mount()
    finally:
        del os.environ["LD_PRELOAD"]
        if preload is not None:
            os.environ["LD_PRELOAD"] = preload
    return mount


def held(mnt):
    """What must be again what it was."""
    return mnt.metric("ipcfs_used_bytes"), mnt.n_fds()


def run_with_faults(mnt, control, operation):
    """One round for each fault, and at last one without."""
    run_once(mnt, control, operation, 0)
    wait_until(lambda: mnt.metric("ipcfs_used_bytes") == 0, "nothing is charged")
    before = held(mnt)
    n_threads = mnt.n_threads()
    nth = 0
    seen = set()
    while True:
        nth += 1
        assert nth < N_FAULTS_MAX, "the faults have no end"
        fired, error = run_once(mnt, control, operation, nth)
        seen.add(error)
        if os.environ.get("FAULT_TRACE"):
            print(nth, error and errno.errorcode[error], held(mnt))
        if not fired:
            break
    assert error is None, f"{errno.errorcode[error]} without a fault"
    wait_until(lambda: held(mnt) == before, lambda: f"held {before} before, {held(mnt)} after {nth} faults")
    # libfuse keeps some of its workers.
    assert mnt.n_threads() <= n_threads + 10
    print(f"{operation.__name__}: {nth - 1} faults, {[errno.errorcode.get(e) for e in seen if e]}")


def run_once(mnt, control, operation, nth):
    """Whether it came to the fault, and the errno with which the operation failed."""
    world = World(mnt)
    rounds = operation(world)
    next(rounds)
    control.arm(nth)
    error = None
    try:
        rounds.send(None)
    except OSError as raised:
        error = raised.errno
        rounds = None
    fired = control.disarm()
    try:
        assert mnt.process.poll() is None, f"fault {nth}: the daemon is gone"
        if error is not None:
            assert error in NAMED, f"fault {nth}: {errno.errorcode[error]}"
        world.verify(error)
    except BaseException:
        print(f"fault {nth}, {error and errno.errorcode[error]}")
        raise
    finally:
        for fd in world.open:
            with contextlib.suppress(OSError):
                os.close(fd)
    # It goes on for others, and for the same.
    world.clean()
    return fired, error


OPERATIONS = []


def operation(function):
    """A generator: it prepares, yields, and does what may fail. World.verify and World.clean are set before the yield."""
    OPERATIONS.append(function)
    return function


def with_box(world, *messages, **settings):
    world.box = world.mnt.box()
    world.verify = lambda error: None
    world.clean = world.box.remove
    if settings:
        world.box.configure(**settings)
    if messages:
        world.box.send(*messages)
    return world.box


def expect_sent(world, *messages):
    """All of them, or with an error none."""
    def verify(error):
        assert world.box.drain() == ([] if error else list(messages))
    world.verify = verify


def expect_left(world, *messages):
    """With an error the messages are still there, and else they are gone."""
    def verify(error):
        assert world.box.drain() == (list(messages) if error else [])
    world.verify = verify


# --- mailboxes ---

@operation
def make_mailbox(world):
    path = world.path("mbox", "new")
    world.verify = lambda error: None
    def clean():
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(path)
    world.clean = clean
    yield
    os.mkdir(path)
    yield


@operation
def rename_mailbox(world):
    old, new = world.path("mbox", "old"), world.path("mbox", "new")
    os.mkdir(old)
    def verify(error):
        assert (os.path.exists(old), os.path.exists(new)) == ((True, False) if error else (False, True))
        os.rmdir(old if error else new)
    world.verify = verify
    world.clean = lambda: None
    yield
    os.rename(old, new)
    yield


@operation
def remove_mailbox(world):
    box = with_box(world)
    world.clean = lambda: None
    def verify(error):
        if error:
            box.remove()
        assert not os.path.exists(box.path)
    world.verify = verify
    yield
    os.rmdir(box.path)
    yield


@operation
def list_mailboxes(world):
    for i in range(50):
        os.mkdir(world.path("mbox", f"one{i}"))
    world.verify = lambda error: None
    def clean():
        for i in range(50):
            os.rmdir(world.path("mbox", f"one{i}"))
    world.clean = clean
    yield
    assert len(os.listdir(world.path("mbox"))) == 50
    yield


@operation
def change_mode(world):
    box = with_box(world)
    yield
    os.chmod(box.path, 0o711)
    os.chown(box.path, 1001, 1001)
    os.utime(box.send_path)
    yield


@operation
def read_and_write_config(world):
    box = with_box(world)
    yield
    box.configure(messages=5)
    box.config()
    box.stat()
    yield


@operation
def own(world):
    box = with_box(world)
    # The mailbox goes with the owner.
    world.clean = lambda: None
    def verify(error):
        assert error or b"%d\n" % os.getpid() == world.told
        if error:
            box.remove()
    world.verify = verify
    yield
    fd = os.open(box.file("owner"), os.O_WRONLY)
    try:
        with open(box.file("owner"), "rb") as file:
            world.told = file.read()
    finally:
        os.close(fd)
        # An owner of a moment: it is gone now.
        world.verify = lambda error: wait_until(lambda: not os.path.exists(box.path), "it goes with its owner")
    yield


# --- sending ---

@operation
def send(world):
    box = with_box(world)
    expect_sent(world, b"hello")
    yield
    box.send(b"hello")
    yield


@operation
def send_at_a_priority(world):
    box = with_box(world)
    expect_sent(world, b"hello")
    yield
    box.send(b"hello", name="send.7")
    yield


@operation
def send_large(world):
    box = with_box(world, message_bytes="1000000")
    expect_sent(world, b"x" * 1_000_000)
    yield
    box.send(b"x" * 1_000_000)
    yield


@operation
def send_to_a_full_one(world):
    """Parked, and let in; or it fails."""
    box = with_box(world, messages=1)
    box.send(b"first")
    def verify(error):
        assert error is None
        # It may still be about to fail.
        wait_until(lambda: world.sender.poll() is not None or box.stat()["senders_waiting"] == 1, "it waits or has failed")
        assert box.drain()[:1] == [b"first"]
        try:
            world.sender.result()
        except OSError as failed:
            assert failed.errno in NAMED
            assert box.drain() == []
        else:
            # drain() above may have had it.
            assert box.stat()["sent"] == 2
        world.sender.destroy()
    world.verify = verify
    yield
    world.sender = Call(send_blocking, box.send_path, b"second")
    wait_until(lambda: world.sender.poll() is not None or process_state(world.sender.pid) == "S", "it waits or fails")
    yield


def send_blocking(path, data):
    with Handle(path, os.O_WRONLY) as file:
        file.write(data)


@operation
def send_lines(world):
    """Bytes that were taken are sent, the rest of them by a close that succeeds."""
    box = with_box(world)
    def verify(error):
        complete, _, rest = world.taken.rpartition(b"\n")
        expected = complete.split(b"\n") if complete else []
        if rest and not error:
            expected.append(rest)
        # Whether a close is the last can't always be told; then the rest is sent a little later.
        assert box.take(len(expected)) == expected
        # What a close could not send may be sent when the file goes.
        assert box.drain() == [] or error
    world.verify = verify
    world.taken = b""
    yield
    fd = os.open(box.file("send.lines"), os.O_WRONLY | os.O_NONBLOCK)
    try:
        for piece in (b"one\ntwo\nthree", b" and\nrest"):
            n = os.write(fd, piece)
            world.taken += piece[:n]
            if n < len(piece):
                break
    finally:
        os.close(fd)
    yield


def give_up(fd):
    """Nothing written, nothing sent: not half of it."""
    with contextlib.suppress(OSError):
        os.ftruncate(fd, 0)
    with contextlib.suppress(OSError):
        os.close(fd)


@operation
def drop(world):
    box = with_box(world)
    expect_sent(world, b"x" * 300_000)
    yield
    fd = os.open(box.file("drop/file"), os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o644)
    try:
        # In pieces, and with a gap.
        for i in range(3):
            assert os.pwrite(fd, b"x" * 100_000, i * 100_000) == 100_000
    except OSError:
        give_up(fd)
        raise
    os.close(fd)
    yield


def receive_stubbornly(path):
    while True:
        with contextlib.suppress(OSError), Handle(path, os.O_RDONLY) as file:
            return file.read()


@operation
def drop_into_a_rendezvous(world):
    box = with_box(world, messages=0)
    receiver = Call(receive_stubbornly, box.recv_path)
    box.wait_for(receivers_waiting=1)
    def verify(error):
        if not error:
            assert receiver.result() == b"hello"
        receiver.kill_family()
        receiver.destroy()
    world.verify = verify
    yield
    fd = os.open(box.file("drop/file"), os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o644)
    try:
        os.write(fd, b"hello")
    finally:
        os.close(fd)
    yield


@operation
def drop_and_truncate(world):
    box = with_box(world)
    expect_sent(world, b"hel")
    yield
    fd = os.open(box.file("drop/file"), os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o644)
    try:
        os.write(fd, b"hello")
        os.ftruncate(fd, 3)
    except OSError:
        give_up(fd)
        raise
    os.close(fd)
    yield


# --- receiving ---

@operation
def receive(world):
    box = with_box(world, b"hello")
    expect_left(world, b"hello")
    yield
    assert box.receive() == b"hello"
    yield


@operation
def receive_in_parts(world):
    box = with_box(world, b"hello")
    def verify(error):
        # What was read in part is gone with its handle.
        assert box.drain() == ([b"hello"] if error and not world.part else [])
    world.verify = verify
    world.part = b""
    yield
    with box.open_recv() as recv:
        world.part = recv.read(2)
        assert world.part + recv.read(10) == b"hello"
    yield


@operation
def receive_lines(world):
    box = with_box(world, b"one", b"two", b"three")
    def verify(error):
        assert error is None or box.drain() == [b"one", b"two", b"three"]
    world.verify = verify
    yield
    with box.open_recv(name="recv.lines") as recv:
        got = b""
        while len(got) < 14:
            got += recv.read()
        assert got == b"one\ntwo\nthree\n"
    yield


def body_of(envelope):
    return base64.b64decode(envelope["base64"]) if "base64" in envelope else envelope["text"].encode()


@operation
def receive_envelopes(world):
    box = with_box(world, b"one", b"\xff\xfe")
    def verify(error):
        assert error is None or box.drain() == [b"one", b"\xff\xfe"]
    world.verify = verify
    yield
    with box.open_recv(name="recv.json") as recv:
        got = b""
        while got.count(b"\n") < 2:
            got += recv.read()
        assert [body_of(json.loads(line)) for line in got.splitlines()] == [b"one", b"\xff\xfe"]
    yield


@operation
def wait_to_receive(world):
    box = with_box(world)
    world.verify = lambda error: None
    yield
    call = Call(receive_blocking, box.recv_path)
    try:
        wait_until(lambda: call.poll() is not None or process_state(call.pid) == "S", "it waits or fails")
        box.send(b"hello")
        if call.poll() is None:
            wait_until(lambda: call.poll() is not None or box.stat()["messages"] == 0, "it is received")
    finally:
        call.kill() if call.poll() is None else None
        call.destroy()
    yield


def receive_blocking(path):
    with Handle(path, os.O_RDONLY) as file:
        return file.read()


@operation
def poll_and_wake(world):
    box = with_box(world)
    recv = world.keep(os.open(box.recv_path, os.O_RDONLY | os.O_NONBLOCK))
    def verify(error):
        # A wake-up that was lost would be found here.
        box.send(b"more")
        poller = select.poll()
        poller.register(recv, select.POLLIN)
        assert poller.poll(PATIENCE * 1000), "it is not readable"
    world.verify = verify
    yield
    poller = select.poll()
    poller.register(recv, select.POLLIN)
    poller.poll(0)
    box.send(b"hello")
    poller.poll(1000)
    yield


# --- queue/ ---

@operation
def list_queue(world):
    box = with_box(world, *[b"%d" % i for i in range(200)])
    world.verify = lambda error: None
    yield
    assert len(os.listdir(box.file("queue"))) == 200
    yield


@operation
def read_queued(world):
    box = with_box(world, b"hello")
    world.verify = lambda error: None
    yield
    [name] = os.listdir(box.file("queue"))
    path = box.file(os.path.join("queue", name))
    assert os.stat(path).st_size == 5
    os.getxattr(path, "user.ipcfs.uid")
    os.listxattr(path)
    with Handle(path, os.O_RDONLY) as file:
        assert file.read() == b"hello"
    yield


@operation
def delete_queued(world):
    box = with_box(world, b"hello")
    [name] = os.listdir(box.file("queue"))
    expect_left(world, b"hello")
    yield
    os.unlink(box.file(os.path.join("queue", name)))
    yield


@operation
def move_queued(world):
    box = with_box(world, b"hello")
    other = world.mnt.box()
    [name] = os.listdir(box.file("queue"))
    def verify(error):
        assert (box.drain(), other.drain()) == (([b"hello"], []) if error else ([], [b"hello"]))
        other.remove()
    world.verify = verify
    yield
    os.rename(box.file(os.path.join("queue", name)), other.file(os.path.join("queue", name)))
    yield


# --- regions ---

def with_region(world, size=None):
    path = world.path("shm", "region")
    if size is not None:
        with open(path, "wb") as file:
            file.truncate(size)
    world.verify = lambda error: None
    def clean():
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    world.clean = clean
    return path


@operation
def make_region(world):
    path = with_region(world)
    yield
    with Handle(path, os.O_RDWR | os.O_CREAT | os.O_EXCL) as file:
        file.write(b"x" * 10_000)
        os.ftruncate(file.fd, 20_000)
    assert os.stat(path).st_size == 20_000
    yield


def with_directory(world):
    path = world.path("shm", "dir")
    os.mkdir(path)
    world.verify = lambda error: None
    world.clean = lambda: shutil.rmtree(path)
    return path


@operation
def make_what_is_in_directories(world):
    path = with_directory(world)
    made = []
    def make(function, name, *args):
        function(*args, os.path.join(path, name))
        made.append(name)
    def verify(error):
        # What has failed is not there.
        assert sorted(os.listdir(path)) == sorted(made)
    world.verify = verify
    yield
    make(os.mkdir, "sub")
    make(os.symlink, "link", "target")
    make(os.mknod, "file")
    make(os.link, "hard", os.path.join(path, "file"))
    yield


@operation
def link_region_without_name(world):
    path = with_directory(world)
    yield
    with Handle(path, os.O_TMPFILE | os.O_RDWR) as file:
        file.write(b"data")
        link_open(file.fd, os.path.join(path, "named"))
    yield


@operation
def set_attributes(world):
    path = with_directory(world)
    yield
    os.setxattr(path, "user.one", b"x" * 100)
    os.setxattr(path, "user.two", b"y")
    assert sorted(os.listxattr(path)) == ["user.one", "user.two"] and os.getxattr(path, "user.two") == b"y"
    os.setxattr(path, "user.one", b"", os.XATTR_REPLACE)
    os.removexattr(path, "user.two")
    yield


@operation
def move_directory(world):
    path = with_directory(world)
    old, new = os.path.join(path, "old", "moved"), os.path.join(path, "new", "moved")
    os.makedirs(old)
    os.mkdir(os.path.dirname(new))
    def verify(error):
        assert (os.path.exists(old), os.path.exists(new)) == ((True, False) if error else (False, True))
        assert os.stat(os.path.dirname(old)).st_nlink == (3 if error else 2)
    world.verify = verify
    yield
    os.rename(old, new)
    yield


@operation
def list_directory(world):
    path = with_directory(world)
    os.mkdir(os.path.join(path, "sub"))
    yield
    assert os.listdir(path) == ["sub"]
    yield


@operation
def map_region(world):
    path = with_region(world, 8192)
    yield
    with Handle(path, os.O_RDWR) as file, mmap.mmap(file.fileno(), 8192) as memory:
        memory[:5] = b"hello"
        assert os.pread(file.fd, 5, 0) == b"hello"
    yield


@operation
def rename_region(world):
    path = with_region(world, 100)
    new = path + "2"
    def verify(error):
        assert (os.path.exists(path), os.path.exists(new)) == ((True, False) if error else (False, True))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
    world.verify = verify
    yield
    os.rename(path, new)
    yield


@operation
def link_region(world):
    path = with_region(world, 100)
    new = path + "2"
    def verify(error):
        assert os.path.exists(new) == (error is None)
        if not error:
            os.unlink(new)
    world.verify = verify
    yield
    os.link(path, new)
    yield


# --- rings ---

def with_ring(world):
    path = world.path("ring", "ring")
    os.mkdir(path)
    world.verify = lambda error: None
    def clean():
        with contextlib.suppress(BlockingIOError), Handle(os.path.join(path, "recv"), os.O_RDONLY | os.O_NONBLOCK | os.O_DIRECT) as recv:
            while True:
                recv.read()
        os.rmdir(path)
    world.clean = clean
    return path


@operation
def make_ring(world):
    path = world.path("ring", "new")
    world.verify = lambda error: None
    def clean():
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(path)
    world.clean = clean
    yield
    os.mkdir(path)
    yield


@operation
def configure_ring(world):
    path = with_ring(world)
    yield
    with Handle(os.path.join(path, "config"), os.O_WRONLY) as config:
        config.write(b"slots=64\nslot_bytes=64\n")
    yield


@operation
def map_ring(world):
    path = with_ring(world)
    yield
    with Handle(os.path.join(path, "map"), os.O_RDWR) as file:
        mmap.mmap(file.fileno(), 4096).close()
    yield


@operation
def send_through_ring(world):
    path = with_ring(world)
    world.sent = False
    def verify(error):
        if error and world.sent:
            with Handle(os.path.join(path, "recv"), os.O_RDONLY | os.O_NONBLOCK) as recv:
                assert recv.read() == b"hello", "what was acknowledged is lost"
    world.verify = verify
    yield
    with Handle(os.path.join(path, "send"), os.O_WRONLY | os.O_NONBLOCK) as file:
        file.write(b"hello")
        world.sent = True
    with Handle(os.path.join(path, "recv"), os.O_RDONLY | os.O_NONBLOCK) as recv:
        assert recv.read() == b"hello"
    yield


@operation
def ring_bell(world):
    path = with_ring(world)
    yield
    with Handle(os.path.join(path, "bell"), os.O_RDWR | os.O_NONBLOCK) as bell:
        bell.write(b"x")
        bell.read()
    yield


# --- processes ---

@operation
def direct(world):
    world.verify = lambda error: None
    directory = world.path("proc", "self")
    def clean():
        with Handle(os.path.join(directory, "recv"), os.O_RDONLY | os.O_NONBLOCK | os.O_DIRECT) as recv:
            with contextlib.suppress(BlockingIOError):
                while True:
                    recv.read()
    world.clean = clean
    yield
    with Handle(os.path.join(directory, "recv"), os.O_RDONLY | os.O_NONBLOCK | os.O_DIRECT) as recv:
        with Handle(os.path.join(directory, "send"), os.O_WRONLY | os.O_NONBLOCK) as file:
            file.write(b"hello")
        assert recv.read() == b"hello"
    yield


@operation
def direct_to_another(world):
    """A process that comes and goes, whose directory is new each time."""
    other = Call(signal.pause)
    world.verify = lambda error: None
    world.clean = lambda: wait_until(lambda: str(other.pid) not in os.listdir(world.path("proc")), "its directory goes")
    def verify(error):
        other.kill()
        other.destroy()
    world.verify = verify
    yield
    with Handle(world.path("proc", str(other.pid), "send"), os.O_WRONLY | os.O_NONBLOCK) as file:
        file.write(b"hello")
    os.listdir(world.path("proc"))
    yield


@operation
def link(world):
    other = Call(signal.pause)
    def verify(error):
        other.kill()
        other.destroy()
    world.verify = verify
    world.clean = lambda: wait_until(lambda: str(other.pid) not in os.listdir(world.path("proc")), "its directory goes")
    yield
    with Handle(world.path("proc", "self", "link", str(other.pid)), os.O_RDWR | os.O_NONBLOCK) as end:
        end.write(b"hello")
    yield


# --- information ---

@operation
def read_metrics(world):
    with_box(world, b"x")
    yield
    with open(world.path(".ipcfs", "metrics"), "rb") as file:
        assert b"ipcfs_used_bytes" in file.read()
    with open(world.path(".ipcfs", "version"), "rb") as file:
        file.read()
    yield


@operation
def lock(world):
    path = with_region(world, 100)
    unlink = world.clean
    box = with_box(world)
    def clean():
        unlink()
        box.remove()
    world.clean = clean
    yield
    with Handle(path, os.O_RDWR) as file:
        fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with world.box.open_send() as file:
        fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    yield


@operation
def stat_filesystem(world):
    with_box(world)
    yield
    os.statvfs(world.mnt.path)
    yield


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda function: function.__name__)
def test_operation(mnt, control, operation):
    run_with_faults(mnt, control, operation)

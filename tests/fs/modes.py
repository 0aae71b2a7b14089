"""What tests of rings and regions share: the ways in which memory gets to those who map it, rings, and peers that
map them.

A test that asks for the fixture `mode` runs once for each way. The user's mount is for that user alone, so
there the test's body, though none of its fixtures, runs in a child process that has become the user.

Environment: RING_PEER, the program that maps a ring (ring_peer.c)."""

import contextlib
import ctypes
import os
import select
import shutil
import stat
import subprocess
import sys
import tempfile
import typing

import pytest

import harness
from harness import BOB, PATIENCE, Handle, Mailbox, start, wait_until
from ring_client import Ring as Client

CLONE_NEWNS = 0x20000

# Of publish().
IPCFS = RING_PEER = None

# What ring_abi.h calls them.
MAP_HEADER_BYTES = 8192
WAIT_WORDS = (4352, 4480)
CLOSED = 1 << 31

SLOTS, SLOT_BYTES = 1024, 1024


class Mode(typing.NamedTuple):
    name: str
    options: tuple
    uid: int  # None: root's; fusermount3 wants one with a name


PASSTHROUGH = Mode("passthrough", (), None)
NOPASSTHROUGH = Mode("nopassthrough", ("-o", "nopassthrough"), None)
USER = Mode("user", (), BOB)
ALL = [PASSTHROUGH, NOPASSTHROUGH, USER]


def only(*modes):
    return pytest.mark.parametrize("mode", modes, ids=lambda mode: mode.name, indirect=True)


# For tests with several users.
ROOTS = only(PASSTHROUGH, NOPASSTHROUGH)
# Nobody can truncate a ring's memory; or who may write to it can, because it is a file with a name.
SEALED = only(PASSTHROUGH, USER)
NAMED = only(NOPASSTHROUGH)


def publish(directory):
    """Copies the programs to where every user can get at them."""
    global IPCFS, RING_PEER
    os.chmod(directory, 0o755)
    IPCFS, RING_PEER = (shutil.copy(path, directory) for path in (harness.IPCFS, os.environ["RING_PEER"]))


class Mounts:
    """Mounts in one mode."""

    def __init__(self, mode):
        self.name, self.options, self.uid = mode

    def shared(self, shared_mounts):
        return shared_mounts[self.name].get(*self.options, uid=self.uid, program=IPCFS)

    def mount(self, *options):
        return harness.Mount(*self.options, *options, uid=self.uid, program=IPCFS)


def let_users_mount():
    """Where /dev/fuse is root's alone: gives this process and its children one that is not."""
    if os.stat("/dev/fuse").st_mode & 0o006 == 0o006:
        return
    if harness.libc.unshare(CLONE_NEWNS) < 0:
        raise OSError(ctypes.get_errno(), "unshare")
    with tempfile.TemporaryDirectory() as directory:
        device = os.path.join(directory, "fuse")
        for command in (["mount", "--make-rprivate", "/"], ["mount", "-t", "tmpfs", "none", directory],
                        ["mknod", "-m", "666", device, "c", "10", "229"], ["mount", "--bind", device, "/dev/fuse"],
                        ["umount", "-l", directory]):
            subprocess.run(command, check=True)


def run_as(uid, function, args):
    """Runs a test in a child process that becomes the user, and fails as it fails."""
    report = os.memfd_create("report")
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _run_as(uid, function, args, report)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _at_end.clear()
    with open(report, encoding="utf-8", errors="replace") as text:
        text.seek(0)
        said = text.read()
    if status == 2:
        pytest.skip(said)
    if status != 0:
        pytest.fail(said or f"ended with {status}", pytrace=False)


def _run_as(uid, function, args, report):
    status, text = 1, ""
    try:
        harness.forget_inherited()
        harness.become(uid)
        try:
            function(**args)
        finally:
            harness.kill_all()
            clean_up()
            harness.stop_mounts()
        status = 0
    except pytest.skip.Exception as skipped:
        status, text = 2, str(skipped)
    except BaseException:  # pylint: disable=broad-except
        text = str(pytest.ExceptionInfo.from_current().getrepr(style="short"))
    with contextlib.suppress(BaseException):
        os.write(report, text.encode(errors="replace"))
        sys.stderr.flush()
    os._exit(status)


_at_end = []


def at_end(function):
    """Calls it after the test, as who the test runs as."""
    _at_end.append(function)


def clean_up():
    harness.kill_all()
    while _at_end:
        _at_end.pop()()


# --- rings ---

class Ring(Mailbox):
    """A ring and what tests do with it."""

    def __init__(self, mnt, name):
        super().__init__(os.path.join(mnt.path, "ring", name))
        self.map_path = self.file("map")
        self.bell_path = self.file("bell")
        at_end(self.remove_if_there)

    def open_bell(self, flags=os.O_NONBLOCK, access=os.O_RDWR):
        return Handle(self.bell_path, access | flags)

    def ring_bell(self, _=None):
        with self.open_bell(access=os.O_WRONLY) as bell:
            bell.write(b"x")

    def remove(self):
        """Also when what is in it can't be received."""
        def removed():
            # A reader that was killed has its role until its descriptors are closed.
            with contextlib.suppress(OSError):
                self.drain()
            with contextlib.suppress(OSError):
                os.rmdir(self.path)
            return not os.path.exists(self.path)
        wait_until(removed, f"{self.path} can be removed")

    def remove_if_there(self):
        if os.path.exists(self.path):
            self.remove()

    def client(self):
        """Maps it here, in Python; one producer or one consumer."""
        return contextlib.closing(Client(self.map_path))

    def library(self, *prefix, **kwargs):
        """Maps it in a process of its own, with the library."""
        return Library(self.map_path, *prefix, **kwargs)

    def fill(self, *messages):
        """Makes the ring full: of two, if nothing else is said."""
        messages = messages or (b"first", b"second")
        if int(self.config()["slots"]) != len(messages):
            self.configure(slots=len(messages))
        self.send(*messages)


_n_rings = 0


def new_ring(mnt, mode=0o755, **config):
    global _n_rings
    _n_rings += 1
    ring = Ring(mnt, f"ring{_n_rings}").make(mode)
    if config:
        ring.configure(**config)
    return ring


class Library:
    """A process that maps a ring and does with libipcring what it is told; what may wait, in two steps."""

    def __init__(self, path, *prefix, **kwargs):
        self.process = start(*prefix, RING_PEER, path, stdin=subprocess.PIPE, **kwargs)
        self._answers = b""
        try:
            self.pid = int(self._line())
        except EOFError:
            raise AssertionError(self.process.stderr.read()) from None

    def _line(self):
        while b"\n" not in self._answers:
            assert self.has_answer(PATIENCE), f"peer {self.process.pid} does not answer"
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            if not data:
                raise EOFError
            self._answers += data
        line, _, self._answers = self._answers.partition(b"\n")
        return line

    def has_answer(self, seconds=0):
        if self._answers:
            return True
        poll = select.poll()
        poll.register(self.process.stdout, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def tell(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        return self

    def answer(self):
        """A message, or a number; an error is raised."""
        line = self._line()
        if line.startswith(b"="):
            return line[1:]
        value = int(line)
        if value < 0:
            raise OSError(-value, "ipcring")
        return value

    def call(self, *words):
        return self.tell(*words).answer()

    def produce(self, message):
        assert self.call("produce", message) == 0

    def consume(self):
        return self.call("consume")

    def kill(self):
        """As if it had crashed: no part of it is left, not even a zombie."""
        os.kill(self.pid, 9)
        self.process.wait()

    def close(self):
        """Ends it as a program should."""
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def reserving(ring, *prefix, **kwargs):
    """A process that has claimed the next slot."""
    peer = ring.library(*prefix, **kwargs)
    assert peer.call("reserve") == 0
    yield peer


def is_closed(client):
    """Whether who maps it is told that the ring is gone."""
    return all(client.u32[at // 4] & CLOSED for at in WAIT_WORDS)


def is_link(path):
    return stat.S_ISLNK(os.lstat(path).st_mode)

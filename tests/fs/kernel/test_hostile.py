"""What one user does must not hold up the others: each test is a way that once did."""

import contextlib
import ctypes
import os
import select
import signal
import struct
import subprocess
import tempfile

import pytest

import harness
from harness import ALICE, BOB, Call, expect_asleep, wait_until

SLOW_MEMORY = os.environ["SLOW_MEMORY"]

SYS_IO_SETUP, SYS_IO_SUBMIT = 206, 209
IOCB_CMD_PREAD, IOCB_CMD_PWRITE = 0, 1


def read_one(path):
    with harness.Handle(path, os.O_RDONLY) as handle:
        return handle.read()


def poll_for_input(path):
    with harness.Handle(path, os.O_RDONLY) as handle:
        waiting = select.poll()
        waiting.register(handle.fd, select.POLLIN)
        return waiting.poll() != []


def expect_others_are_served(mnt):
    """Somebody who waits is woken; so is who polls; who is killed ends; who claims a mailbox loses it."""
    with contextlib.closing(others_box(mnt)) as box:
        killed, received, polled = Call(read_one, box.file("recv")), Call(read_one, box.file("recv")), None
        expect_asleep(killed, received)
        killed.kill()
        killed.wait()
        box.send(b"for the second")
        assert received.result() == b"for the second"
        polled = Call(poll_for_input, box.file("recv"))
        expect_asleep(polled)
        box.send(b"wakes")
        assert polled.result()
        box.drain()
    claimed = mnt.box()
    os.close(os.open(claimed.file("owner"), os.O_WRONLY))
    wait_until(lambda: not os.path.exists(claimed.path), "the mailbox goes with its claim")


class others_box:
    def __init__(self, mnt):
        self._box = mnt.box()

    def __getattr__(self, name):
        return getattr(self._box, name)

    def close(self):
        self._box.remove()


# --- A listing into memory that never comes ---

@pytest.fixture
def slow_lister(users_may_mount):
    """Starts listing a directory, as ALICE, and returns once the kernel waits for the memory."""
    with contextlib.ExitStack() as stack:
        def start(directory):
            place = stack.enter_context(tempfile.TemporaryDirectory())
            os.chmod(place, 0o755)
            program = os.path.join(place, "slow_memory")
            with open(SLOW_MEMORY, "rb") as source, open(program, "wb") as target:
                target.write(source.read())
            os.chmod(program, 0o755)
            mount_point = os.path.join(place, "mnt")
            os.mkdir(mount_point)
            os.chown(mount_point, ALICE, ALICE)
            lister = subprocess.Popen([program, directory, mount_point], user=ALICE, group=ALICE, extra_groups=[],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            stack.callback(lister.wait, harness.PATIENCE)
            stack.callback(lister.stdin.close)
            stack.callback(lister.stdout.close)
            assert lister.stdout.readline() == b"waits\n"
            return lister
        yield start


def claim_and_list(mnt, slow_lister):
    """ALICE's mailbox ends while she lists its queue/: the kernel is to be told, and can't be."""
    box = mnt.mailbox("evil")
    Call(os.mkdir, box.path, uid=ALICE, gid=ALICE).result()
    os.chmod(box.file("queue"), 0o755)
    claim = os.open(box.file("owner"), os.O_WRONLY)
    # Who owns it lists it: this process, whose descendant the lister is.
    lister = slow_lister(box.file("queue"))
    os.close(claim)
    wait_until(lambda: not os.path.exists(box.path), "the mailbox ends")
    return lister


def test_a_listing_into_slow_memory_holds_nobody_up(mnt, slow_lister):
    claim_and_list(mnt, slow_lister)
    expect_others_are_served(mnt)


def test_a_daemon_ends_though_it_could_not_tell_the_kernel(mount, slow_lister):
    mnt = mount()
    claim_and_list(mnt, slow_lister)
    box = mnt.box()
    waiting = Call(read_one, box.file("recv"))
    expect_asleep(waiting)
    mnt.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not mnt.is_mounted(), "the mount is gone")
    waiting.wait()


# --- Asynchronous calls that wait ---

def submit(path, opcode, n):
    """io_submit(2) of @n calls on @path."""
    fd = os.open(path, os.O_WRONLY if opcode == IOCB_CMD_PWRITE else os.O_RDONLY)
    context = ctypes.c_ulong(0)
    assert harness.libc.syscall(SYS_IO_SETUP, n, ctypes.byref(context)) == 0
    buffer = ctypes.create_string_buffer(b"x" * 64, 64)
    iocb = struct.pack("<QIiHhIQQqQII", 0, 0, 0, opcode, 0, fd, ctypes.addressof(buffer), 8, 0, 0, 0, 0)
    iocbs = [ctypes.create_string_buffer(iocb, 64) for _ in range(n)]
    pointers = (ctypes.c_void_p * n)(*map(ctypes.addressof, iocbs))
    return harness.libc.syscall(SYS_IO_SUBMIT, context, n, pointers)


@pytest.mark.parametrize("room", ["mbox", "ring"])
def test_asynchronous_writes_that_wait_hold_nobody_up(mnt, room):
    full = mnt.mailbox("full") if room == "mbox" else harness.Mailbox(os.path.join(mnt.path, "ring", "full"))
    Call(os.mkdir, full.path, uid=BOB).result()
    full.write_config("messages=1\n" if room == "mbox" else "slots=2\n")
    full.send(*[b"1"] * (1 if room == "mbox" else 2))
    submitters = [Call(submit, full.file("send"), IOCB_CMD_PWRITE, 40, uid=BOB) for _ in range(2)]
    expect_asleep(*submitters)
    expect_others_are_served(mnt)
    for submitter in submitters:
        submitter.kill()
        submitter.wait()
    full.wait_for(senders_waiting=0)
    full.drain()
    full.remove()

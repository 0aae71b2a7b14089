"""Who sent it: the user that opened the file, whoever writes to it; and the process that writes.

A setuid program writes what its caller likes to a descriptor that its caller gave it (su, ping, their
messages on stderr): that must not arrive as root's."""

import contextlib
import errno
import json
import os
import shutil
import subprocess

import pytest

from harness import ALICE, BOB, Call, Handle, Peer, fails_with, wait_until

SENDING = ["send", "send.7", "send.lines"]

needs_su = pytest.mark.skipif(not shutil.which("su"), reason="there is no su")


def envelopes(box):
    lines = b""
    with Handle(box.file("recv.json"), os.O_RDONLY | os.O_NONBLOCK) as recv, contextlib.suppress(BlockingIOError):
        while part := recv.read():
            lines += part
    return [json.loads(line) for line in lines.splitlines()]


def senders(box):
    return [(envelope["uid"], envelope["gid"], envelope["pid"]) for envelope in envelopes(box)]


@contextlib.contextmanager
def opened_as(uid, path, flags=os.O_WRONLY | os.O_NONBLOCK):
    """What a child of this process gets to hold, which is root's again when it writes."""
    os.setegid(uid)
    os.seteuid(uid)
    try:
        handle = Handle(path, flags)
    finally:
        os.seteuid(0)
        os.setegid(0)
    with handle:
        yield handle


@pytest.mark.parametrize("name", SENDING)
def test_the_user_is_who_opened_and_the_process_who_writes(box, name):
    def write_twice():
        with opened_as(ALICE, box.file(name)) as send:
            send.write(b"as root\n")
            child = Call(send.write, b"from a child\n", uid=BOB)
            child.result()
            return os.getpid(), child.pid
    pid, child = Call(write_twice).result()
    assert senders(box) == [(ALICE, ALICE, pid), (ALICE, ALICE, child)]


def test_a_rest_that_is_sent_at_the_close_is_of_who_opened(box):
    def write():
        with opened_as(ALICE, box.file("send.lines")) as send:
            send.write(b"no newline")
        return os.getpid()
    pid = Call(write).result()
    assert senders(box) == [(ALICE, ALICE, pid)]


def test_a_rest_whose_last_holder_is_another_user_is_of_who_opened(box):
    send = Handle(box.file("send.lines"), os.O_WRONLY)
    send.write(b"no newline")
    with send:
        child = Call(os.close, send.fd, uid=BOB)
        child.result()
    assert senders(box) == [(0, 0, os.getpid())]


def test_a_message_that_waits_is_of_who_opened(box):
    box.fill()
    def write():
        with opened_as(ALICE, box.send_path, os.O_WRONLY) as send:
            send.write(b"late")
    waiting = Call(write)
    box.wait_for(senders_waiting=1)
    assert box.receive() == b"first"
    waiting.result()
    assert senders(box) == [(ALICE, ALICE, waiting.pid)]


def test_a_file_in_drop_is_of_who_created_it(box):
    def write():
        with opened_as(ALICE, box.file("drop/x"), os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK) as drop:
            drop.write(b"as root")
        return os.getpid()
    pid = Call(write).result()
    assert senders(box) == [(ALICE, ALICE, pid)]


def test_a_queued_messages_attributes_say_who_opened(box):
    def write():
        with opened_as(ALICE, box.send_path) as send:
            send.write(b"as root")
    Call(write).result()
    name, = os.listdir(box.file("queue"))
    assert [os.getxattr(box.file(f"queue/{name}"), f"user.ipcfs.{key}") for key in ("uid", "gid")] == [b"%d" % ALICE] * 2


@pytest.mark.parametrize("name", ["send", "send.lines"])
def test_quota_is_that_of_who_opened(mount, name):
    box = mount("-o", "max_bytes=1M,uid_bytes=64K").box()
    def write_until_refused():
        with opened_as(ALICE, box.file(name)) as send, fails_with(errno.EDQUOT):
            while True:
                send.write(b"x" * 4095 + b"\n")
    # Not of root, who writes.
    Call(write_until_refused).result()
    box.send(b"of root there is room")
    with fails_with(errno.EDQUOT):
        Call(box.send, b"x" * 4096, uid=ALICE).result()


def test_root_writing_to_anothers_end_of_a_link_is_a_stranger(mnt):
    """Nothing is queued for an end that was never opened, but by its own user: that is who opened the other one."""
    peer = Peer()
    def write():
        # Its own directory is root's.
        path = f"{mnt.proc}/self/link/{peer.pid}"
        os.setgroups([])
        os.setresuid(ALICE, ALICE, 0)
        wait_until(lambda: os.path.exists(path), path)
        end = Handle(path, os.O_RDWR | os.O_NONBLOCK)
        os.setresuid(0, 0, 0)
        with end, fails_with(errno.ENXIO):
            end.write(b"as root")
    Call(write).result()


@needs_su
def test_what_su_complains_of_is_not_roots(box):
    def complain():
        with Handle(box.file("send.lines"), os.O_WRONLY) as send:
            subprocess.run(["su", "x\nshutdown -h now\n"], stderr=send.fd, stdin=subprocess.DEVNULL, check=False)
    Call(complain, uid=ALICE).result()
    got = envelopes(box)
    assert got and {envelope["uid"] for envelope in got} == {ALICE}

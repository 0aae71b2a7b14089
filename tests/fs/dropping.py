"""What the tests of drop/ share."""

import contextlib
import os

import pytest

from harness import TOOLS, Call, Handle, kill_all, wait_until

KIB = 1024
MIB = 1 << 20
BYTES_DEFAULT = 16777216


def create(box, name="file", flags=0):
    return Handle(box.file(f"drop/{name}"), os.O_WRONLY | os.O_CREAT | flags)


def drop(box, *writes, name="file"):
    with create(box, name) as file:
        for data in writes:
            assert file.write(data) == len(data)


def start_create(box, data=b"second"):
    """A process that creates, waiting for a place if it must, and writes."""
    return Call(drop, box, data)


def receive_all(box):
    """All messages that are there, however large."""
    messages = []
    with contextlib.suppress(BlockingIOError):
        while True:
            # One open, one message.
            with box.open_recv() as recv:
                messages.append(b"".join(iter(recv.read, b"")))
    return messages


def expect_free_and_nothing_sent(box):
    """A mailbox of one place has it, and is empty."""
    def is_free():
        assert box.stat()["messages"] == 0
        with contextlib.suppress(BlockingIOError):
            box.send(b"probe")
            return True
        return False
    wait_until(is_free, "the place is free")
    assert box.drain() == [b"probe"]


@pytest.fixture(name="box")
def large_box(box):
    """A mailbox in which large messages may stay behind."""
    yield box
    kill_all()
    with contextlib.suppress(OSError):
        receive_all(box)


@pytest.fixture
def single(box):
    """A mailbox with one place."""
    box.configure(messages=1)
    return box


@pytest.fixture
def file(tmp_path):
    """A file to be copied, with 5 MiB in it."""
    path = tmp_path / "report.pdf"
    path.write_bytes(os.urandom(5 * MIB))
    return path


@pytest.fixture(params=TOOLS)
def maker(request):
    """Whose tools are used: what comes before a command's name."""
    return TOOLS[request.param]

"""What the tests of send.lines and recv.lines share."""

import contextlib
import os
import select

import pytest

from harness import Call, Handle

MESSAGE_BYTES_DEFAULT = 65536
MESSAGE_BYTES_MAX = 1044480
MIB = 1 << 20


def open_sender(box, flags=os.O_NONBLOCK):
    return box.open_send(flags, "send.lines")


def open_reader(box, flags=os.O_NONBLOCK):
    return Handle(box.file("recv.lines"), os.O_RDONLY | flags)


def send_lines(box, *writes):
    """All through one handle; by the end of it everything is in the mailbox."""
    with open_sender(box) as lines:
        for data in writes:
            assert lines.write(data) == len(data)


def start_write(box, data):
    """A process that writes and waits where it must; its result is how much was written."""
    def write():
        with open_sender(box, 0) as lines:
            return lines.write(data)
    return Call(write)


def read_all(handle, size=MIB):
    """What there is to read now."""
    parts = []
    with contextlib.suppress(BlockingIOError):
        while part := handle.read(size):
            parts.append(part)
    return b"".join(parts)


def events_of(handle, events=select.POLLIN | select.POLLOUT):
    poll = select.poll()
    poll.register(handle.fd, events)
    return sum(ready for _, ready in poll.poll(0)) & (events | select.POLLERR | select.POLLHUP)


def numbered(n, first=0):
    return [b"%d" % i for i in range(first, first + n)]


def as_lines(messages):
    return b"".join(message + b"\n" for message in messages)


@pytest.fixture
def large(box):
    """A mailbox that takes the largest messages."""
    box.configure(message_bytes=MESSAGE_BYTES_MAX)
    return box

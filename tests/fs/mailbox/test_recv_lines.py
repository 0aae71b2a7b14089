"""recv.lines: a read gives lines that are whole messages, or the parts of a long one."""

import errno
import os
import random
import select
import signal
import time

import pytest

from harness import Call, Handle, expect_asleep, fails_with, interruptible
from linewise import (MESSAGE_BYTES_MAX, MIB, as_lines, events_of, numbered, open_reader, open_sender, read_all,
                      send_lines)
from linewise import large  # pylint: disable=unused-import

# --- recv.lines ---

MIXED = [b"plain", b"with newline\n", b"", b"\n", b"two\nlines", b"two\nlines\n", b"\n\n", b"\0", b"last"]
MIXED_LINES = b"plain\nwith newline\n\n\ntwo\nlines\ntwo\nlines\n\n\n\0\nlast\n"


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7, 18, 19, 20, 50, MIB])
def test_newline_is_added_where_there_is_none(box, size):
    # An empty message comes from a line.
    for message in MIXED:
        if message:
            box.send(message)
        else:
            send_lines(box, b"\n")
    with open_reader(box) as reader:
        assert read_all(reader, size) == MIXED_LINES


@pytest.mark.parametrize("size, n", [(9, 0), (10, 1), (11, 1), (19, 1), (20, 2), (35, 3), (99, 9), (100, 10), (4096, 10)])
def test_read_takes_as_many_messages_as_it_can_carry_and_no_more(box, size, n):
    """A message of nine bytes takes ten; one of ten with its newline too."""
    messages = [b"message %d" % i if i % 2 else b"message %d\n" % i for i in range(10)]
    box.send(*messages)
    with open_reader(box) as reader:
        data = reader.read(size)
        # If it can't carry one, that one is cut.
        taken = max(n, 1)
        box.wait_for(messages=10 - taken, received=taken)
        assert data == b"".join(b"message %d\n" % i for i in range(taken))[:size]
    assert box.drain() == messages[taken:]


def test_read_does_not_pass_over_a_message_that_does_not_fit(box):
    box.send(b"1234", b"12345678", b"1")
    with open_reader(box) as reader:
        assert reader.read(10) == b"1234\n"
        box.wait_for(messages=2)
        assert reader.read(10) == b"12345678\n"
        assert reader.read(10) == b"1\n"


def test_message_longer_than_the_buffer_goes_on_in_the_next_reads(box):
    box.send(b"x" * 25, b"next")
    with open_reader(box) as reader:
        for expected in (b"x" * 10, b"x" * 10, b"x" * 5 + b"\n"):
            assert events_of(reader) == select.POLLIN
            assert reader.read(10) == expected
            box.wait_for(messages=1, received=1)
        assert reader.read(10) == b"next\n"
        box.wait_for(messages=0)
        assert events_of(reader) == 0


def test_rest_of_a_long_message_goes_with_its_handle_and_nothing_else(box):
    box.send(b"x" * 25, b"next")
    with open_reader(box) as reader:
        assert reader.read(10) == b"x" * 10
    assert box.drain() == [b"next"]


def test_largest_message_comes_through(large):
    data = os.urandom(MESSAGE_BYTES_MAX - 1).replace(b"\n", b"x")
    large.send(data, data, b"end")
    with open_reader(large) as reader:
        assert read_all(reader) == data + b"\n" + data + b"\nend\n"


def test_end_is_a_wait(box):
    box.send(b"one")
    with open_reader(box) as reader:
        assert reader.read() == b"one\n"
        with fails_with(errno.EAGAIN):
            reader.read()
        reader.set_flags(0)
        for message in (b"two", b"three"):
            waiting = Call(reader.read)
            box.wait_for(receivers_waiting=1)
            expect_asleep(waiting)
            box.send(message)
            assert waiting.result() == message + b"\n"


def test_urgent_messages_come_first(box):
    box.send(b"slow")
    box.send(b"soon", name="send.5")
    box.send(b"now", name="send.31")
    with open_reader(box) as reader:
        assert reader.read() == b"now\nsoon\nslow\n"


def test_readv_fills_its_buffers(box):
    box.send(b"one", b"two", b"three")
    buffers = [bytearray(3), bytearray(2), bytearray(5)]
    with open_reader(box) as reader:
        assert os.readv(reader.fd, buffers) == 8
        assert b"".join(buffers)[:8] == b"one\ntwo\n"
    assert box.drain() == [b"three"]


def test_waiting_readers_of_one_descriptor_can_each_be_killed(box):
    with open_reader(box, 0) as reader:
        readers = [Call(reader.read) for _ in range(3)]
        box.wait_for(receivers_waiting=3)
        expect_asleep(*readers)
        readers[1].kill()
        readers[1].wait()
        box.wait_for(receivers_waiting=2)
        box.send(b"one")
        box.send(b"two")
        assert sorted([readers[0].result(), readers[2].result()]) == [b"one\n", b"two\n"]


@pytest.mark.parametrize("name", ["recv.lines", "recv.json"])
def test_signal_ends_a_waiting_read_with_eintr(box, name):
    def read():
        signal.signal(signal.SIGUSR1, lambda *_: None)
        return interruptible("read", os.open(box.file(name), os.O_RDONLY), bytes(100), 100)
    reader = Call(read)
    box.wait_for(receivers_waiting=1)
    reader.kill(signal.SIGUSR1)
    with fails_with(errno.EINTR):
        reader.result()
    box.send(b"message")
    assert box.drain() == [b"message"]


@pytest.mark.parametrize("name", ["recv.lines", "recv.json"])
def test_removed_mailbox_is_the_end_of_the_file(mnt, name):
    box = mnt.box()
    path = box.file(name)
    used, fresh, late = [Handle(path, os.O_RDONLY | flags) for flags in (0, 0, os.O_NONBLOCK)]
    box.send(b"message")
    assert b"message" in used.read()
    waiting = [Call(used.read), Call(fresh.read)]
    box.wait_for(receivers_waiting=2)
    os.rmdir(box.path)
    assert [reader.result() for reader in waiting] == [b"", b""]
    for handle in (used, fresh, late):
        assert [handle.read(), handle.read(1)] == [b"", b""]
        assert events_of(handle) & (select.POLLERR | select.POLLHUP)
        handle.close()


def test_rest_of_a_message_can_be_read_before_the_end(mnt):
    box = mnt.box()
    box.send(b"message")
    with open_reader(box) as reader:
        assert reader.read(4) == b"mess"
        box.wait_for(messages=0)
        os.rmdir(box.path)
        assert reader.read() == b"age\n"
        assert reader.read() == b""


# --- poll ---

@pytest.mark.parametrize("name", ["recv.lines", "recv.json"])
def test_stream_is_readable_when_a_message_waits(box, name):
    with Handle(box.file(name), os.O_RDONLY | os.O_NONBLOCK) as reader:
        assert events_of(reader) == 0
        box.send(b"message")
        assert events_of(reader) == select.POLLIN
        # Of what is longer than the buffer the rest is there.
        reader.read(3)
        box.wait_for(messages=0)
        assert events_of(reader) == select.POLLIN
        reader.read()
        assert events_of(reader) == 0


def test_send_lines_is_writable_while_there_is_room(box):
    box.configure(messages=1)
    with open_sender(box) as lines:
        assert events_of(lines) == select.POLLOUT
        lines.write(b"one\n")
        assert events_of(lines) == 0
        box.receive()
        box.wait_for(messages=0)
        assert events_of(lines) == select.POLLOUT


@pytest.mark.parametrize("name", ["recv.lines", "recv.json"])
def test_watcher_of_a_stream_wakes_when_a_message_comes(box, name):
    def watch():
        with Handle(box.file(name), os.O_RDONLY | os.O_NONBLOCK) as reader:
            select.select([reader.fd], [], [])
            return reader.read()
    watcher = Call(watch)
    expect_asleep(watcher)
    box.send(b"message")
    assert b"message" in watcher.result()


def test_watcher_of_send_lines_wakes_when_there_is_room(box):
    box.fill()

    def watch():
        with open_sender(box) as lines:
            select.select([], [lines.fd], [])
            return lines.write(b"second\n")

    watcher = Call(watch)
    expect_asleep(watcher)
    assert box.receive() == b"first"
    assert watcher.result() == 7
    assert box.drain() == [b"second"]


# --- readers that are killed ---

def start_read(path, size=MIB):
    def read():
        with Handle(path, os.O_RDONLY) as reader:
            return reader.read(size)
    return Call(read)


@pytest.mark.parametrize("name", ["recv.lines", "recv.json"])
def test_readers_that_are_killed_while_they_wait_take_nothing(box, name):
    for i in range(100):
        reader = start_read(box.file(name))
        box.wait_for(receivers_waiting=1)
        reader.kill()
        assert reader.wait() == -signal.SIGKILL
        box.send(b"%d" % i)
        assert box.drain() == [b"%d" % i]


def test_message_for_a_reader_that_is_being_killed_goes_to_it_or_stays(box):
    for i in range(200):
        reader = start_read(box.file("recv.lines"))
        box.wait_for(receivers_waiting=1)
        reader.kill()
        box.send(b"%d" % i)
        reader.wait()
        # What the kernel had accepted for it died with it.
        assert box.drain() in ([], [b"%d" % i])
        assert box.counts("sent", "received") == (i + 1, i + 1)


def test_readers_killed_at_any_moment_lose_no_more_than_a_read_each(box, tmp_path):
    n_kills, n_lines = 300, 8
    chance = random.Random(1)
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def send():
        with open_sender(box, 0) as lines:
            for first in range(0, 100_000_000, 50):
                lines.write(b"".join(b"%07d\n" % i for i in range(first, first + 50)))

    def read_for_ever():
        with open_reader(box, 0) as reader:
            while True:
                os.write(log, reader.read(n_lines * 8))

    sender = Call(send)
    readers = []
    for _ in range(n_kills):
        readers.append(Call(read_for_ever))
        if len(readers) > 2:
            victim = readers.pop(chance.randrange(3))
            time.sleep(chance.random() / 500)
            victim.kill()
            victim.wait()
    for process in (*readers, sender):
        process.kill()
        process.wait()
    box.wait_for(receivers_waiting=0, senders_waiting=0)
    n_sent = box.stat()["sent"]
    os.close(log)
    received = [int(line) for line in [*(tmp_path / "log").read_bytes().splitlines(), *box.drain()]]
    box.wait_for(received=n_sent)
    assert len(set(received)) == len(received), "nothing comes twice"
    assert set(received) <= set(range(n_sent))
    n_lost = n_sent - len(received)
    assert n_lost <= n_kills * n_lines, f"{n_lost} of {n_sent} lost"
    assert n_sent > n_kills


# --- many lines ---

def test_million_lines_take_few_calls_of_the_system(mount):
    """Some 7 MB: a call can carry one, in each direction."""
    data = as_lines(numbered(1_000_000))
    box = mount("-o", "max_bytes=1G,uid_bytes=1G").box()
    box.configure(messages="max", bytes="1G")
    n_writes = n_reads = done = 0
    with open_sender(box) as lines:
        while done < len(data):
            done += lines.write(data[done:done + MIB])
            n_writes += 1
    box.wait_for(messages=1_000_000)
    received = []
    with open_reader(box) as reader:
        while done > 0:
            received.append(reader.read(MIB))
            done -= len(received[-1])
            n_reads += 1
    assert b"".join(received) == data
    assert n_writes + n_reads < 300


def test_million_lines_pass_through_a_small_mailbox(box):
    """The writer waits within one call, however often."""
    data = as_lines(numbered(1_000_000))
    box.configure(messages=10000)

    def write():
        with open_sender(box, 0) as lines:
            return sum(lines.write(data[i:i + MIB]) for i in range(0, len(data), MIB))

    writer = Call(write)
    received = []
    left = len(data)
    with open_reader(box, 0) as reader:
        while left > 0:
            received.append(reader.read(MIB))
            left -= len(received[-1])
    assert writer.result() == len(data)
    assert b"".join(received) == data
    assert len(received) < 20000

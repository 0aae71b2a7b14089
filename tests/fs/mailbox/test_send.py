"""Sending: a write is a message, whole, in its place, or not at all."""

import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import signal
import tempfile
import threading

import pytest

from harness import Call, Handle, expect_asleep, fails_with, interruptible, try_open, wait_until

MESSAGE_BYTES_DEFAULT = 65536
MESSAGE_BYTES_MAX = 1044480
MIB = 1 << 20
PAGE = mmap.PAGESIZE


@pytest.fixture
def large(box):
    """A mailbox that takes the largest messages."""
    box.configure(message_bytes=MESSAGE_BYTES_MAX)
    return box


# --- a write is a message ---

def test_every_byte_arrives(box):
    data = bytes(range(256)) * 3 + b"\0\n\0"
    box.send(data, b"\0", b"\n", b"x")
    assert box.drain() == [data, b"\0", b"\n", b"x"]


def test_each_write_of_a_handle_is_a_message(box):
    with box.open_send() as send:
        for message in (b"one", b"two", b"three"):
            send.write(message)
    assert box.drain() == [b"one", b"two", b"three"]


@pytest.mark.parametrize("flags", [os.O_APPEND, os.O_TRUNC, os.O_CREAT, os.O_APPEND | os.O_TRUNC | os.O_CREAT,
                                   os.O_SYNC, os.O_DIRECT], ids=oct)
def test_flags_of_open_do_not_matter(box, flags):
    box.send(b"waiting")
    with box.open_send(os.O_NONBLOCK | flags) as send:
        send.write(b"one")
        send.write(b"two")
    assert box.drain() == [b"waiting", b"one", b"two"]


def test_writev_is_one_message(box):
    with box.open_send() as send:
        assert os.writev(send.fd, [b"one ", b"", b"two ", b"three"]) == 13
    assert box.drain() == [b"one two three"]


def expect_one_message_of_many_pieces(box, flags):
    """It may be short, as a write may, and then says so: a second message it is never."""
    with box.open_send(os.O_NONBLOCK | flags) as send:
        size = os.writev(send.fd, [b"0123456789"] * 300)
    assert box.drain() == [(b"0123456789" * 300)[:size]]


def test_writev_of_more_pieces_than_the_kernel_passes_on_is_one_message(box):
    expect_one_message_of_many_pieces(box, 0)


@pytest.mark.xfail(strict=True, reason="Linux sends the parts of an O_APPEND write like writes of their own")
def test_writev_of_more_pieces_to_append_is_one_message(box):
    expect_one_message_of_many_pieces(box, os.O_APPEND)


def test_open_and_close_send_nothing(box):
    box.open_send().close()
    box.open_send(os.O_TRUNC | os.O_CREAT).close()
    assert box.counts("sent", "messages") == (0, 0)


def test_thread_that_is_not_the_main_one_sends(box):
    """The kernel names the thread that sends; the process may be asked for."""
    def send_from_threads():
        threads = [threading.Thread(target=box.send, args=(b"%d" % i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    Call(send_from_threads).result()
    assert sorted(box.drain()) == [b"%d" % i for i in range(8)]


def test_sender_may_be_gone_before_its_message_is_received(box):
    Call(box.send, b"testament").result()
    assert box.drain() == [b"testament"]


# --- whatever other senders do ---

def test_messages_of_many_senders_arrive_whole_and_in_each_senders_order(box):
    n_senders, n_each = 12, 100
    box.configure(messages=64)

    def message(sender, number):
        body = (b"%d.%d " % (sender, number)) * (1 + number * 37 % 3000)
        return b"%d %d %s " % (sender, number, hashlib.sha1(body).hexdigest().encode()) + body

    def send_all(sender):
        # One handle for half of them; an open each for the others.
        with box.open_send(0) as send:
            for number in range(n_each):
                if sender % 2:
                    send.write(message(sender, number))
                else:
                    with box.open_send(0) as own:
                        own.write(message(sender, number))

    senders = [Call(send_all, sender) for sender in range(n_senders)]
    received = []
    with box.open_recv(os.O_DIRECT) as recv:
        while len(received) < n_senders * n_each:
            received.append(recv.read())
    for sender in senders:
        sender.result()
    numbers = {sender: [] for sender in range(n_senders)}
    for data in received:
        sender, number, digest, body = data.split(b" ", 3)
        assert hashlib.sha1(body).hexdigest().encode() == digest
        numbers[int(sender)].append(int(number))
    assert all(seen == list(range(n_each)) for seen in numbers.values())
    box.wait_for(messages=0, bytes=0, sent=1200, received=1200)


def test_many_senders_and_many_receivers_move_each_message_once(box):
    n_each = 150
    box.configure(messages=4)

    def send_all(sender):
        with box.open_send(0) as send:
            for number in range(n_each):
                send.write(b"%d %d" % (sender, number))

    def receive_some():
        with box.open_recv(os.O_DIRECT) as recv:
            return [recv.read() for _ in range(n_each)]

    calls = [Call(send_all, sender) for sender in range(4)]
    receivers = [Call(receive_some) for _ in range(4)]
    received = [message for receiver in receivers for message in receiver.result()]
    assert sorted(received) == sorted(b"%d %d" % (sender, number) for sender in range(4)
                                      for number in range(n_each))
    for call in calls:
        call.result()


# --- size ---

def test_message_of_message_bytes_is_taken_and_no_larger_one(box):
    box.send(bytes(MESSAGE_BYTES_DEFAULT))
    with fails_with(errno.EMSGSIZE):
        box.send(bytes(MESSAGE_BYTES_DEFAULT + 1))
    assert box.counts("messages", "sent") == (1, 1)
    assert box.drain() == [bytes(MESSAGE_BYTES_DEFAULT)]


@pytest.mark.parametrize("size", [MESSAGE_BYTES_MAX - 1, MESSAGE_BYTES_MAX])
def test_largest_message_arrives(large, size):
    data = os.urandom(size)
    large.send(data)
    assert large.drain() == [data]


@pytest.mark.parametrize("flags", [0, os.O_APPEND, os.O_DIRECT], ids=["plain", "append", "direct"])
@pytest.mark.parametrize("size", [
    MESSAGE_BYTES_MAX + 1, MESSAGE_BYTES_MAX + PAGE - 1, MIB - 1, MIB, MIB + 1, MIB + PAGE, MIB + 65536,
    2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 3 * MIB + 5,
])
def test_write_that_the_kernel_may_split_is_refused_whole(large, size, flags):
    data = bytes(size)
    with large.open_send(os.O_NONBLOCK | flags) as send:
        for _ in range(2):
            with fails_with(errno.EMSGSIZE):
                send.write(data)
        assert large.counts("messages", "bytes", "sent") == (0, 0, 0)
        send.write(b"the handle is good")
    assert large.drain() == [b"the handle is good"]


def test_blocking_write_of_too_much_is_refused_too(box):
    box.fill()
    with fails_with(errno.EMSGSIZE):
        box.start_send(bytes(2 * MIB)).result()


@pytest.fixture
def few_pages(mount):
    """A mount whose kernel is set to send no more than 32 pages at once."""
    limit = "/proc/sys/fs/fuse/max_pages_limit"
    if not os.access(limit, os.W_OK):
        pytest.skip("this kernel has no such setting, or it can't be changed here")
    with open(limit, "r+", encoding="ascii") as file:
        before = file.read()
        try:
            file.seek(0)
            file.write("32")
            file.flush()
            mnt = mount()
            # The limit counts when the mount's first request comes.
            os.stat(mnt.mbox)
        finally:
            file.seek(0)
            file.write(before)
            file.flush()
    return mnt


def test_nothing_is_queued_of_a_message_that_this_kernel_must_split(few_pages):
    box = few_pages.box()
    box.configure(message_bytes=MESSAGE_BYTES_MAX)
    for size in (32 * PAGE, 32 * PAGE + 1, 64 * PAGE, MESSAGE_BYTES_MAX):
        with fails_with(errno.EMSGSIZE):
            box.send(bytes(size))
    assert box.counts("messages", "sent") == (0, 0)
    box.send(bytes(65536))
    assert box.drain() == [bytes(65536)]


@pytest.mark.parametrize("start", [1, 7, 2048, PAGE - 1])
def test_memory_need_not_be_aligned(large, start):
    memory = mmap.mmap(-1, 3 * MIB)
    memory[:] = os.urandom(3 * MIB)
    view = memoryview(memory)
    with large.open_send() as send:
        for size in (MESSAGE_BYTES_MAX, 1, PAGE, 100001):
            assert send.write(view[start:start + size]) == size
            assert large.receive() == memory[start:start + size]
        for size in (MESSAGE_BYTES_MAX + 1, MIB - start, MIB - 1, MIB, MIB + 1, 2 * MIB):
            with fails_with(errno.EMSGSIZE):
                send.write(view[start:start + size])
    large.wait_for(messages=0, bytes=0)


def test_memory_that_is_not_there_is_efault(box):
    with box.open_send() as send:
        with fails_with(errno.EFAULT):
            interruptible("write", send.fd, ctypes.c_void_p(8), 100)
    assert box.counts("messages", "sent") == (0, 0)


def test_message_larger_than_the_mailbox_is_refused_and_does_not_wait(box):
    box.configure(bytes=1000)
    box.send(b"x" * 1000)
    with fails_with(errno.EMSGSIZE):
        box.start_send(b"x" * 1001).result()
    assert box.drain() == [b"x" * 1000]


# --- full ---

def test_full_mailbox_lets_writers_wait_and_then_in_by_arrival(box):
    box.fill(b"0")
    senders = []
    for i in range(1, 6):
        senders.append(box.start_send(b"%d" % i))
        box.wait_for(senders_waiting=i)
    expect_asleep(*senders)
    for i in range(6):
        assert box.take(1) == [b"%d" % i]
        box.wait_for(messages=min(1, 5 - i), senders_waiting=max(0, 4 - i))
        if i < 5:
            assert senders[i].result() == 1


def test_message_of_a_waiting_sender_can_not_be_received_before_its_turn(box):
    box.fill(b"first")
    box.start_send(b"second")
    box.wait_for(senders_waiting=1, messages=1, bytes=5, sent=1)


def test_nonblocking_write_to_a_full_mailbox_is_eagain(box):
    box.fill()
    with fails_with(errno.EAGAIN):
        box.send(b"second")
    with box.open_send(0) as send:
        send.set_flags(os.O_NONBLOCK)
        with fails_with(errno.EAGAIN):
            send.write(b"third")
    assert box.counts("messages", "senders_waiting", "sent") == (1, 0, 1)
    assert box.drain() == [b"first"]


def test_o_nonblock_can_be_taken_off_again(box):
    box.fill()
    with box.open_send(os.O_NONBLOCK) as send:
        send.set_flags(0)
        sender = Call(send.write, b"second")
        box.wait_for(senders_waiting=1)
        assert box.take(2) == [b"first", b"second"]
        assert sender.result() == 6


def test_bytes_are_a_bound_too(box):
    box.configure(bytes=100)
    box.send(b"x" * 60)
    with fails_with(errno.EAGAIN):
        box.send(b"y" * 41)
    box.send(b"z" * 40)
    sender = box.start_send(b"!")
    box.wait_for(senders_waiting=1, bytes=100)
    assert box.take(3) == [b"x" * 60, b"z" * 40, b"!"]
    assert sender.result() == 1


def test_small_message_does_not_overtake_a_large_one_that_waits(box):
    box.configure(bytes=100)
    box.send(b"x" * 60)
    large = box.start_send(b"y" * 60)
    box.wait_for(senders_waiting=1)
    small = box.start_send(b"z")
    box.wait_for(senders_waiting=2)
    assert box.take(3) == [b"x" * 60, b"y" * 60, b"z"]
    assert (large.result(), small.result()) == (60, 1)


def test_room_is_free_once_a_receive_has_returned(box):
    """As in a pipe: who has received can send without waiting."""
    box.configure(messages=1)
    with box.open_send() as send, box.open_recv(os.O_NONBLOCK | os.O_DIRECT) as recv:
        for _ in range(3000):
            send.write(b"x")
            recv.read()


# --- signals ---

@pytest.mark.parametrize("restart", [False, True], ids=["plain", "SA_RESTART"])
def test_signal_ends_a_waiting_write_with_eintr(box, restart):
    def write():
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.siginterrupt(signal.SIGALRM, not restart)
        with box.open_send(0) as send:
            interruptible("write", send.fd, b"second", 6)

    box.fill()
    sender = Call(write)
    box.wait_for(senders_waiting=1)
    sender.kill(signal.SIGALRM)
    with fails_with(errno.EINTR):
        sender.result()
    assert box.counts("senders_waiting", "messages", "sent") == (0, 1, 1)
    assert box.drain() == [b"first"]


def test_interrupted_writes_are_not_sent_and_others_are(box):
    """Signals that race with room: what write(2) says is what happens."""
    n = 600
    box.configure(messages=2)

    def send_all():
        sent = []
        signal.signal(signal.SIGUSR1, lambda *_: None)
        with box.open_send(0) as send:
            for i in range(n):
                message = b"%d" % i
                try:
                    interruptible("write", send.fd, message, len(message))
                    sent.append(message)
                except InterruptedError:
                    pass
        return sent

    sender = Call(send_all)
    box.wait_for(senders_waiting=1)
    received = []
    while sender.poll() is None:
        try:
            sender.kill(signal.SIGUSR1)
            received.append(box.receive())
        except (BlockingIOError, ProcessLookupError):
            pass
    sent = sender.result()
    received += box.take(len(sent) - len(received))
    assert received == sent
    assert box.drain() == []


# --- priority ---

def test_delivery_is_by_priority_and_then_by_arrival(box):
    for number in (3, 0, 31, 3, 17, 0, 31):
        box.send(b"%d" % number, name=f"send.{number}")
    box.send(b"plain")
    assert box.drain() == [b"31", b"31", b"17", b"3", b"3", b"0", b"0", b"plain"]


def test_each_priority_has_a_file(box):
    for number in range(32):
        box.send(b"%d" % number, name=f"send.{number}")
    assert box.drain() == [b"%d" % number for number in range(31, -1, -1)]


def test_send_is_priority_0(box):
    box.send(b"a")
    box.send(b"b", name="send.0")
    box.send(b"c")
    assert box.drain() == [b"a", b"b", b"c"]


@pytest.mark.parametrize("name", ["send.32", "send.01", "send.00", "send.", "send.-1", "send.+1", "send.x", "send.1x",
                                  "send.1.", "send. 1", "send.1 ", "send.031", "send.4294967296",
                                  "send.18446744073709551616", "send1", "Send", "recv.1", "stat.0"])
def test_other_numbers_do_not_exist(box, name):
    for flags in (os.O_WRONLY, os.O_RDONLY):
        with fails_with(errno.ENOENT):
            try_open(box.file(name), flags)


def test_numbered_files_are_not_listed(box):
    box.send(b"x", name="send.3")
    assert not [name for name in os.listdir(box.path) if name.startswith("send.") and name[5:].isdigit()]
    box.drain()


def test_more_urgent_sender_is_let_in_first(box):
    box.fill(b"first")
    slow = box.start_send(b"slow", "send.1")
    box.wait_for(senders_waiting=1)
    urgent = box.start_send(b"urgent", "send.2")
    box.wait_for(senders_waiting=2)
    assert box.take(3) == [b"first", b"urgent", b"slow"]
    assert (slow.result(), urgent.result()) == (4, 6)


def test_urgent_message_finds_full_what_is_full(box):
    box.fill(b"first")
    with fails_with(errno.EAGAIN):
        box.send(b"urgent", name="send.31")


# --- odd calls ---

@pytest.mark.parametrize("name", ["send", "send.5"])
def test_each_splice_is_a_message(box, name):
    source, sink = os.pipe()
    with Handle(box.file(name), os.O_WRONLY) as send:
        for message in (b"one", b"two", b"three"):
            os.write(sink, message)
            assert os.splice(source, send.fd, PAGE) == len(message)
    os.close(source)
    os.close(sink)
    assert box.drain() == [b"one", b"two", b"three"]


def test_each_sendfile_is_a_message(box):
    with tempfile.TemporaryFile() as source, Handle(box.file("send"), os.O_WRONLY) as send:
        source.write(b"0123456789")
        source.flush()
        assert [os.sendfile(send.fd, source.fileno(), at, 4) for at in (0, 4, 8)] == [4, 4, 2]
    assert box.drain() == [b"0123", b"4567", b"89"]


def test_send_can_not_be_mapped(box):
    with box.open_send() as send:
        with pytest.raises(OSError):
            mmap.mmap(send.fd, PAGE, mmap.MAP_SHARED, mmap.PROT_WRITE)
    assert box.counts("messages", "sent") == (0, 0)


def test_fsync_and_locks_do_no_harm(box):
    with box.open_send() as send:
        send.write(b"x")
        try:
            os.fsync(send.fd)
        except OSError as error:
            assert error.errno in (errno.EINVAL, errno.ENOSYS)
        fcntl.flock(send.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert box.drain() == [b"x"]


def test_descriptor_that_children_inherit_sends_once_each(box):
    """Their closing is not the end of it, and sends nothing."""
    with box.open_send(0) as send:
        for i in range(3):
            Call(send.write, b"%d" % i).result()
        assert box.counts("messages") == (3,)
        send.write(b"parent")
    wait_until(lambda: box.counts("messages") == (4,), "four messages")
    assert box.drain() == [b"0", b"1", b"2", b"parent"]

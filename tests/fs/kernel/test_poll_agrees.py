"""poll and a call that must not wait agree, for each file that has a poll, in each state that it comes into.

What poll says without a wait is compared with what a read, and a write, says then: POLLIN, POLLERR or POLLHUP where a
read is EAGAIN makes an epoll loop spin; a read that has something, or an end, where poll says nothing sleeps for ever.
Each state is walked to its end: read after read until there is nothing more."""

import contextlib
import errno
import itertools
import os
import select
import signal
import subprocess
import time

import pytest

from harness import Call, Handle, Mailbox, Peer, try_open, wait_until

IN, OUT = select.POLLIN, select.POLLOUT
ENDS = select.POLLERR | select.POLLHUP
# No walk is longer: an end of file may come again and again.
STEPS = 4

_names = (f"agree{n}" for n in itertools.count())


def says(handle):
    poll = select.poll()
    poll.register(handle.fileno(), IN | OUT)
    return dict(poll.poll(0)).get(handle.fileno(), 0)


def waits(call, *args):
    """Whether it would."""
    try:
        call(*args)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def expect_reads_agree(handle, state, size=1 << 20):
    for step in range(STEPS):
        said = says(handle)
        waited = waits(handle.read, size)
        assert bool(said & (IN | ENDS)) != waited, (state, step, said)
        if waited:
            break


def expect_writes_agree(handle, state, data=b"x\n"):
    for step in range(STEPS):
        said = says(handle)
        waited = waits(handle.write, data)
        assert bool(said & (OUT | ENDS)) != waited, (state, step, said)
        if waited:
            break


# --- a mailbox, or a subscription ---

@contextlib.contextmanager
def expired(box):
    box.configure(ttl="0.001")
    box.send_to(b"old")
    time.sleep(0.005)
    yield


@contextlib.contextmanager
def waited_for(box):
    receiver = box.start_receive()
    box.wait_for(receivers_waiting=1)
    yield
    receiver.destroy()


@contextlib.contextmanager
def taken_by_another(box):
    receiver = box.start_receive()
    box.wait_for(receivers_waiting=1)
    box.send_to(b"message")
    assert receiver.result() == b"message"
    yield


@contextlib.contextmanager
def on_lease(box):
    box.send_to(b"message")
    with Handle(box.file("work"), os.O_RDWR | os.O_NONBLOCK) as worker:
        assert worker.read() == b"message"
        yield


@contextlib.contextmanager
def back_from_lease(box):
    box.send_to(b"message")
    with Handle(box.file("work"), os.O_RDWR) as worker:
        worker.read()
        worker.write(b"again")
    yield


@contextlib.contextmanager
def looked_at_and_removed(box):
    box.send_to(b"one", b"two")
    for name in os.listdir(box.file("queue")):
        os.unlink(os.path.join(box.file("queue"), name))
    yield


@contextlib.contextmanager
def bounded_and_refused(box):
    box.configure(messages=1, overflow="reject")
    box.send_to(b"one")
    with contextlib.suppress(OSError):
        box.send_to(b"two")
    yield


@contextlib.contextmanager
def missed(box):
    box.configure(messages=1, overflow="drop-oldest")
    box.send_to(b"one")
    box.send_to(b"two")
    yield


@contextlib.contextmanager
def removed(box):
    os.rmdir(box.path)
    yield


def after(*messages):
    @contextlib.contextmanager
    def state(box):
        box.send_to(*messages)
        yield
    state.__name__ = f"after_{len(messages)}"
    return state


READ_STATES = [after(), after(b""), after(b"a"), after(b"a", b"\n", b"c\n"), expired, waited_for, taken_by_another, on_lease,
               back_from_lease, looked_at_and_removed, bounded_and_refused, missed, removed]

RECEIVING = [("recv", os.O_RDONLY), ("recv", os.O_RDONLY | os.O_DIRECT), ("recv.lines", os.O_RDONLY),
             ("recv.json", os.O_RDONLY), ("work", os.O_RDWR)]


def new_box(mnt):
    box = mnt.box()
    box.send_to = box.send
    return box


def new_subscription(mnt):
    topic = Mailbox(os.path.join(mnt.path, "topic", next(_names))).make()
    box = Mailbox(os.path.join(topic.path, "sub", "me")).make()
    box.send_to = topic.send
    return box


@pytest.mark.parametrize("make", [new_box, new_subscription])
@pytest.mark.parametrize("name, flags", RECEIVING)
def test_receiving_from(mnt, make, name, flags):
    for enter in READ_STATES:
        for size in (1, 1 << 20):
            box = make(mnt)
            with Handle(box.file(name), flags | os.O_NONBLOCK) as handle, enter(box):
                expect_reads_agree(handle, (enter.__name__, size), size)
            # It goes on after that, once all that was closed is.
            if os.path.exists(box.path):
                box.wait_for(leased=0, receivers_waiting=0)
                with Handle(box.file(name), flags | os.O_NONBLOCK) as handle:
                    expect_reads_agree(handle, (enter.__name__, "again"))


@pytest.mark.parametrize("make", [new_box, new_subscription])
@pytest.mark.parametrize("name, flags", RECEIVING)
def test_the_rest_of_a_message_whose_mailbox_goes(mnt, make, name, flags):
    box = make(mnt)
    box.send_to(b"message")
    with Handle(box.file(name), flags | os.O_NONBLOCK) as handle:
        with contextlib.suppress(OSError):
            handle.read(1)
        # One that takes no part of a message has taken none; a lease keeps the mailbox.
        with contextlib.suppress(OSError):
            os.rmdir(box.path)
        expect_reads_agree(handle, "rest")


@pytest.mark.parametrize("name, flags", RECEIVING)
def test_receiving_at_a_rendezvous(mnt, name, flags):
    box = new_box(mnt)
    box.configure(messages=0)
    with Handle(box.file(name), flags | os.O_NONBLOCK) as handle:
        expect_reads_agree(handle, "nobody sends")
        sender = box.start_send(b"message")
        box.wait_for(senders_waiting=1)
        expect_reads_agree(handle, "somebody sends")
        sender.destroy()
        box.wait_for(senders_waiting=0)
        expect_reads_agree(handle, "the sender is gone")


@pytest.mark.parametrize("name, flags", RECEIVING)
def test_two_who_share_an_open_file(mnt, name, flags):
    box = new_box(mnt)
    with Handle(box.file(name), flags) as handle:
        other = Call(handle.read)
        box.wait_for(receivers_waiting=1)
        handle.set_flags(os.O_NONBLOCK | flags & os.O_DIRECT)
        expect_reads_agree(handle, "another waits")
        box.send(b"message")
        assert b"message" in other.result()
        expect_reads_agree(handle, "another has it")
        other = Call(lambda: (handle.set_flags(flags & os.O_DIRECT), handle.read()))
        other.kill()
        other.wait()
        handle.set_flags(os.O_NONBLOCK | flags & os.O_DIRECT)
        expect_reads_agree(handle, "another is dead")


@pytest.mark.parametrize("word", ["done", "again", "dead", "nonsense"])
def test_a_lease_after_its_word(mnt, word):
    box = new_box(mnt)
    box.send(b"one")
    with Handle(box.file("work"), os.O_RDWR | os.O_NONBLOCK) as worker:
        expect_writes_agree(worker, "no lease", word.encode())
        for size in (1, 100):
            waits(worker.read, size)
            expect_writes_agree(worker, "lease", word.encode())
            expect_reads_agree(worker, (word, size), size)


# --- sending ---

SENDING = ["send", "send.7", "send.lines", "send.json"]


@contextlib.contextmanager
def full(box):
    box.fill()
    yield


@contextlib.contextmanager
def full_of_bytes(box):
    box.configure(bytes=4)
    box.send(b"1234")
    yield


@contextlib.contextmanager
def rejecting(box):
    box.fill()
    box.configure(overflow="reject")
    yield


@contextlib.contextmanager
def dropping(box):
    box.fill()
    box.configure(overflow="drop-oldest")
    yield


@contextlib.contextmanager
def behind_another(box):
    box.configure(bytes=100)
    box.send(b"x" * 60)
    waiting = box.start_send(b"y" * 60)
    box.wait_for(senders_waiting=1)
    yield
    waiting.destroy()


@contextlib.contextmanager
def full_of_places(box):
    box.configure(messages=1)
    with Handle(box.file("drop/file"), os.O_WRONLY | os.O_CREAT):
        yield


@contextlib.contextmanager
def full_of_leases(box):
    box.configure(messages=1)
    with on_lease(box):
        yield


@contextlib.contextmanager
def rendezvous(box):
    box.configure(messages=0)
    yield


@contextlib.contextmanager
def rendezvous_met(box):
    box.configure(messages=0)
    with waited_for(box):
        yield


WRITE_STATES = [after(), full, full_of_bytes, rejecting, dropping, behind_another, full_of_places, full_of_leases, rendezvous,
                rendezvous_met, waited_for, expired, removed]


@pytest.mark.parametrize("name", SENDING)
def test_sending_to(mnt, name):
    data = b'{"text":"x"}\n' if name == "send.json" else b"x\n"
    for enter in WRITE_STATES:
        box = new_box(mnt)
        with box.open_send(name=name) as handle, enter(box):
            expect_writes_agree(handle, enter.__name__, data)


@pytest.mark.parametrize("name", SENDING)
def test_publishing(mnt, name):
    data = b'{"text":"x"}\n' if name == "send.json" else b"x\n"
    for overflow, messages in ("block", 0), ("block", 1), ("reject", 1), ("drop-oldest", 1):
        box = new_subscription(mnt)
        topic = Mailbox(os.path.dirname(os.path.dirname(box.path)))
        with topic.open_send(name=name) as handle:
            expect_writes_agree(handle, "room", data)
            box.drain()
            box.configure(messages=messages, overflow=overflow)
            expect_writes_agree(handle, (overflow, messages), data)
            box.drain()
            expect_writes_agree(handle, (overflow, messages, "drained"), data)
            box.remove()
            expect_writes_agree(handle, "nobody", data)
            os.rmdir(topic.path)
            expect_writes_agree(handle, "removed", data)


@pytest.mark.parametrize("name, flags", RECEIVING[:-1])
def test_listening(mnt, name, flags):
    topic = Mailbox(os.path.join(mnt.path, "topic", next(_names))).make()
    topic.configure(history=2)
    with Handle(topic.file(name), flags | os.O_NONBLOCK) as handle:
        expect_reads_agree(handle, "nothing")
        topic.send(b"one", b"two", b"three")
        expect_reads_agree(handle, "three", 2)
        expect_reads_agree(handle, "the rest")
        with Handle(topic.file(name), flags | os.O_NONBLOCK) as late:
            expect_reads_agree(late, "history")
        os.rmdir(topic.path)
        expect_reads_agree(handle, "removed")


# --- calls ---

def answer(box, id_):
    with Handle(box.file(f"reply/{id_}"), os.O_WRONLY) as reply:
        reply.write(b"answer")


def asked(box):
    return os.listdir(box.file("queue"))[-1]


CALL_ENDS = {
    "nothing": lambda box, other, asker: None,
    "asked": lambda box, other, asker: asker.write(b"?"),
    "answered": lambda box, other, asker: (asker.write(b"?"), answer(box, asked(box))),
    "read": lambda box, other, asker: (asker.write(b"?"), answer(box, asked(box)), asker.read(2)),
    "cancelled": lambda box, other, asker: (asker.write(b"?"), os.unlink(box.file(f"queue/{asked(box)}"))),
    "expired": lambda box, other, asker: (box.configure(ttl="0.001"), asker.write(b"?"), time.sleep(0.005)),
    "removed": lambda box, other, asker: os.rmdir(box.path),
    "taken, removed": lambda box, other, asker: (asker.write(b"?"), box.drain(), os.rmdir(box.path)),
    "answered, removed": lambda box, other, asker: (
        asker.write(b"?"), answer(box, asked(box)), box.drain(), os.rmdir(box.path)),
    "moved": lambda box, other, asker: move(box, other, asker),
    "moved, removed": lambda box, other, asker: (move(box, other, asker), os.rmdir(box.path)),
    "moved, removed, answered": lambda box, other, asker: (
        move(box, other, asker), os.rmdir(box.path), answer(other, asked(other))),
    "moved, both removed": lambda box, other, asker: (
        move(box, other, asker), os.rmdir(box.path), other.drain(), os.rmdir(other.path)),
    "full": lambda box, other, asker: box.fill(),
    "full, removed": lambda box, other, asker: (box.fill(), box.remove()),
}


def move(box, other, asker):
    asker.write(b"?")
    name = asked(box)
    os.rename(box.file(f"queue/{name}"), other.file(f"queue/{name}"))


@pytest.mark.parametrize("state", CALL_ENDS)
def test_call(mnt, state):
    for expect in expect_reads_agree, expect_writes_agree:
        box, other = new_box(mnt), new_box(mnt)
        with Handle(box.file("call"), os.O_RDWR | os.O_NONBLOCK) as asker:
            CALL_ENDS[state](box, other, asker)
            expect(asker, (state, expect.__name__))


# --- rings ---

def new_ring(mnt, **config):
    ring = Mailbox(os.path.join(mnt.path, "ring", next(_names))).make()
    ring.configure(slots=4, **config)
    return ring


@pytest.mark.parametrize("consumers", ["many", "one", "each"])
@pytest.mark.parametrize("name, flags", [*RECEIVING[:3], ("bell", os.O_RDONLY)])
def test_consuming(mnt, consumers, name, flags):
    for n in (0, 1, 3, 4, 9 if consumers == "each" else 4):
        for size in (1, 1 << 20):
            ring = new_ring(mnt, consumers=consumers)
            with Handle(ring.file(name), flags | os.O_NONBLOCK) as handle:
                expect_reads_agree(handle, "empty")
                ring.send(*[b"message"] * n)
                expect_reads_agree(handle, (n, size), size)
                with contextlib.suppress(OSError):
                    ring.drain()
                expect_reads_agree(handle, (n, size, "drained"))
                os.rmdir(ring.path)
                expect_reads_agree(handle, (n, size, "removed"))


@pytest.mark.parametrize("consumers", ["many", "one", "each"])
@pytest.mark.parametrize("name", ["send", "send.lines", "bell"])
def test_producing(mnt, consumers, name):
    ring = new_ring(mnt, consumers=consumers)
    with ring.open_send(name=name) as handle:
        for n in range(5):
            expect_writes_agree(handle, n)
            with contextlib.suppress(BlockingIOError):
                ring.send(b"message")
        ring.drain()
        expect_writes_agree(handle, "drained")
        ring.drain()
        os.rmdir(ring.path)
        expect_writes_agree(handle, "removed")


# --- links ---

# In the process of a peer.
ends = []


def open_end(path, flags):
    ends.append(Handle(path, os.O_RDWR | os.O_NONBLOCK | flags))


def expect_end_agrees(state):
    expect_reads_agree(ends[0], state)
    expect_writes_agree(ends[0], state)


def send_to_peer():
    ends[0].write(b"message")


def close_end():
    ends.pop().close()


@pytest.mark.parametrize("direct", [0, os.O_DIRECT])
@pytest.mark.parametrize("how", ["open", "sent", "closed", "sent and closed", "dead", "sent and dead"])
def test_link(mnt, direct, how):
    def link(peer):
        return f"{mnt.path}/proc/self/link/{peer.pid}"

    one, two = Peer(), Peer()
    one.call(open_end, link(two), direct)
    one.call(expect_end_agrees, "alone")
    two.call(open_end, link(one), direct)
    one.call(expect_end_agrees, "both")
    if how.startswith("sent"):
        two.call(send_to_peer)
    if how.endswith("closed"):
        two.call(close_end)
    if how.endswith("dead"):
        two.kill()
        wait_until(lambda: not os.path.exists(f"{mnt.path}/proc/{two.pid}"), "it is gone")
    one.call(expect_end_agrees, how)


# --- a process that ends ---

def test_sending_to_a_process_that_ends(mnt):
    child = subprocess.Popen(["sleep", "1000"])
    path = f"{mnt.path}/proc/{child.pid}"
    with Handle(f"{path}/send", os.O_WRONLY | os.O_NONBLOCK) as send, \
            Handle(f"{path}/call", os.O_RDWR | os.O_NONBLOCK) as asker:
        expect_writes_agree(send, "alive")
        asker.write(b"?")
        expect_reads_agree(asker, "alive")
        child.kill()
        child.wait()
        wait_until(lambda: not os.path.exists(path), "it is gone")
        expect_writes_agree(send, "gone")
        expect_reads_agree(asker, "gone")
        expect_writes_agree(asker, "gone")

"""poll, select, epoll: who watches learns at once what would not wait, and nothing else."""

import contextlib
import errno
import os
import select
import signal

import pytest

from harness import PATIENCE, WHILE, Call, expect_asleep, fails_with, interruptible, wait_until
from polling import ERR, HUP, IN, OUT, WAITS, poll_now, start_wait, wait_epoll, wait_poll, wait_select

# --- what is ready ---

RECVS = pytest.mark.parametrize("name", ["recv", "recv.lines", "recv.json"])
SENDS = pytest.mark.parametrize("name", ["send", "send.5", "send.lines"])


@RECVS
def test_recv_is_readable_when_a_message_waits(box, name):
    with box.open_recv(name=name) as recv:
        assert poll_now(recv) == 0
        box.send(b"message")
        assert poll_now(recv) == IN
        box.receive()
        box.wait_for(messages=0)
        assert poll_now(recv) == 0


@SENDS
def test_send_is_writable_while_there_is_room(box, name):
    box.configure(messages=1)
    with box.open_send(name=name) as send:
        assert poll_now(send) == OUT
        send.write(b"message\n")
        assert poll_now(send) == 0
        box.receive()
        box.wait_for(messages=0)
        assert poll_now(send) == OUT


def test_rest_of_a_message_and_its_end_are_readable(box):
    box.send(b"message")
    with box.open_recv() as recv:
        for expected in (b"mess", b"age", b"", b""):
            assert poll_now(recv) == IN
            assert recv.read(4) == expected
        box.wait_for(messages=0)
        assert poll_now(recv) == IN


def test_who_polls_a_shared_descriptor_learns_that_another_has_read_its_message(box):
    with box.open_recv() as recv:
        watcher = start_wait(wait_poll, recv, IN)
        box.send(b"message")
        assert watcher.result() == IN
        assert recv.read() == b"message"
        assert Call(wait_poll, recv, IN).result() == IN


def test_packet_mode_is_readable_message_by_message(box):
    box.send(b"one", b"two")
    with box.open_recv(os.O_NONBLOCK | os.O_DIRECT) as recv:
        for expected in (b"one", b"two"):
            assert poll_now(recv) == IN
            assert recv.read() == expected
        box.wait_for(messages=0)
        assert poll_now(recv) == 0


def test_only_what_was_asked_for_is_told(box):
    box.send(b"message")
    with box.open_recv() as recv, box.open_send() as send:
        assert poll_now(recv, OUT) == 0
        assert poll_now(send, IN) == 0


@pytest.mark.parametrize("name", ["send", "send.31"])
@pytest.mark.parametrize("overflow, messages, expected", [
    ("block", 1, 0), ("reject", 1, OUT), ("drop-oldest", 1, OUT), ("block", 2, OUT),
    ("block", 0, 0), ("reject", 0, OUT),
])
def test_send_is_writable_when_a_write_would_not_wait(box, overflow, messages, expected, name):
    """An error at once is no wait either."""
    box.send(b"first")
    box.configure(messages=messages, overflow=overflow)
    with box.open_send(name=name) as send:
        assert poll_now(send) == expected
        assert (expected == OUT) == (write_result(send) != errno.EAGAIN)


def write_result(send):
    try:
        return send.write(b"x")
    except OSError as error:
        return error.errno


def test_poll_and_a_smallest_write_agree(box):
    """In whatever state: POLLOUT means that a byte would not wait, its absence that it would."""
    def expect_agreement(expected):
        with box.open_send() as send:
            assert poll_now(send) == (OUT if expected else 0)
            assert (write_result(send) == 1) == expected

    box.configure(bytes=100, messages=4)
    expect_agreement(True)
    box.send(b"x" * 98)
    expect_agreement(True)
    expect_agreement(False)
    box.drain()
    box.wait_for(messages=0)
    box.send(b"x" * 60)
    waiting = box.start_send(b"y" * 60)
    box.wait_for(senders_waiting=1)
    # Room for a byte there is, but another is before it.
    expect_agreement(False)
    waiting.kill()
    waiting.wait()
    box.wait_for(senders_waiting=0)
    expect_agreement(True)
    box.configure(messages=2)
    expect_agreement(False)
    box.configure(messages=3)
    expect_agreement(True)


def test_rendezvous_is_ready_when_the_other_side_waits(box):
    box.configure(messages=0)
    with box.open_send() as send, box.open_recv() as recv:
        assert (poll_now(send), poll_now(recv)) == (0, 0)
        receiver = box.start_receive()
        box.wait_for(receivers_waiting=1)
        assert (poll_now(send), poll_now(recv)) == (OUT, 0)
        receiver.destroy()
        box.wait_for(receivers_waiting=0)
        assert (poll_now(send), poll_now(recv)) == (0, 0)
        sender = box.start_send(b"message")
        box.wait_for(senders_waiting=1)
        assert (poll_now(send), poll_now(recv)) == (0, IN)
        assert recv.read() == b"message"
        assert sender.result() == 7


# --- waking up ---

@WAITS
@RECVS
def test_watcher_of_recv_wakes_when_another_process_sends(box, wait, name):
    with box.open_recv(name=name) as recv:
        watcher = start_wait(wait, recv, IN)
        Call(box.send, b"message").result()
        assert watcher.result() == IN
        assert b"message" in recv.read()


@WAITS
@SENDS
def test_watcher_of_send_wakes_when_another_process_receives(box, wait, name):
    box.fill()
    with box.open_send(name=name) as send:
        watcher = start_wait(wait, send, OUT)
        assert Call(box.receive).result() == b"first"
        assert watcher.result() == OUT
        assert send.write(b"second\n") == 7


@WAITS
def test_watcher_waits_as_long_as_it_asked_for_when_nothing_happens(box, wait):
    box.fill()
    with box.open_send() as send:
        assert wait(send, OUT, WHILE) == 0
    box.drain()
    box.wait_for(messages=0)
    with box.open_recv() as recv:
        assert wait(recv, IN, WHILE) == 0


@pytest.fixture
def doomed(mnt):
    """A mailbox that the test removes, in which nothing is ready."""
    box = mnt.box()
    box.configure(messages=0)
    return box


@WAITS
@RECVS
def test_watcher_of_recv_learns_that_the_mailbox_is_removed(doomed, wait, name):
    with doomed.open_recv(name=name) as recv:
        watcher = start_wait(wait, recv, IN)
        os.rmdir(doomed.path)
        # select knows no other word than ready.
        assert watcher.result() == (IN if wait is wait_select else ERR | HUP)
        assert poll_now(recv) & (ERR | HUP) == ERR | HUP


@WAITS
@SENDS
def test_watcher_of_send_learns_that_the_mailbox_is_removed(doomed, wait, name):
    with doomed.open_send(name=name) as send:
        watcher = start_wait(wait, send, OUT)
        os.rmdir(doomed.path)
        assert watcher.result() == (OUT if wait is wait_select else ERR | HUP)
        assert poll_now(send) & (ERR | HUP) == ERR | HUP


def test_watcher_of_send_wakes_when_capacity_grows(box):
    box.fill()
    with box.open_send() as send:
        for change in ({"messages": 2}, {"overflow": "reject"}):
            watcher = start_wait(wait_poll, send, OUT)
            box.configure(**change)
            assert watcher.result() == OUT
            write_result(send)


def test_watcher_of_send_wakes_when_a_large_message_made_way_for_its_byte(box):
    box.configure(bytes=10)
    box.send(b"1234567890")
    with box.open_send() as send:
        watcher = start_wait(wait_poll, send, OUT)
        box.receive()
        assert watcher.result() == OUT


def test_watcher_of_send_wakes_when_the_sender_before_it_is_killed(box):
    box.configure(bytes=100)
    box.send(b"x" * 60)
    before = box.start_send(b"y" * 60)
    box.wait_for(senders_waiting=1)
    with box.open_send() as send:
        watcher = start_wait(wait_poll, send, OUT)
        before.kill()
        assert watcher.result() == OUT


def test_an_urgent_sender_is_behind_no_other(box):
    """Who waits at a lower priority needs more room than its smallest message."""
    box.configure(bytes=100)
    box.send(b"x" * 50, b"x" * 50)
    before = box.start_send(b"y" * 60)
    box.wait_for(senders_waiting=1)
    with box.open_send(name="send.7") as urgent, box.open_send() as send:
        watcher = start_wait(wait_poll, urgent, OUT)
        box.receive()
        assert watcher.result() == OUT
        assert (poll_now(urgent), poll_now(send)) == (OUT, 0)
        assert (write_result(urgent), write_result(send)) == (1, errno.EAGAIN)
    before.destroy()


def test_watchers_of_a_rendezvous_wake_when_the_other_side_comes(box):
    box.configure(messages=0)
    with box.open_send() as send, box.open_recv() as recv:
        watcher = start_wait(wait_poll, recv, IN)
        sender = box.start_send(b"message")
        assert watcher.result() == IN
        assert recv.read() == b"message"
        assert sender.result() == 7
        watcher = start_wait(wait_poll, send, OUT)
        receiver = box.start_receive()
        assert watcher.result() == OUT
        assert send.write(b"back") == 4
        assert receiver.result() == b"back"


def test_watcher_of_recv_wakes_when_a_message_passes_a_packet_reader_it_does_not_fit(box):
    def read_little():
        with box.open_recv(os.O_DIRECT) as recv:
            return recv.read(1)
    reader = Call(read_little)
    box.wait_for(receivers_waiting=1)
    with box.open_recv() as recv:
        watcher = start_wait(wait_poll, recv, IN)
        box.send(b"message")
        assert watcher.result() == IN
        with fails_with(errno.EMSGSIZE):
            reader.result()


def test_all_watchers_of_a_mailbox_wake(box):
    handles = [box.open_recv() for _ in range(20)]
    watchers = [start_wait(wait_poll, handle, IN) for handle in handles]
    box.send(b"message")
    assert [watcher.result() for watcher in watchers] == [IN] * 20
    for handle in handles:
        handle.close()


def test_two_processes_watch_one_handle(box):
    with box.open_recv() as recv:
        watchers = [start_wait(wait, recv, IN) for wait in (wait_poll, wait_epoll)]
        box.send(b"message")
        assert [watcher.result() for watcher in watchers] == [IN, IN]


def test_one_process_watches_many_mailboxes(mnt):
    boxes = [mnt.box() for _ in range(50)]
    handles = [box.open_recv(os.O_NONBLOCK | os.O_DIRECT) for box in boxes]
    with select.epoll() as epoll:
        for handle in handles:
            epoll.register(handle.fd, select.EPOLLIN)
        for i in (17, 3, 42):
            assert epoll.poll(0) == []
            Call(boxes[i].send, b"message").result()
            assert epoll.poll(PATIENCE) == [(handles[i].fd, select.EPOLLIN)]
            assert handles[i].read() == b"message"
            boxes[i].wait_for(messages=0)
    for box, handle in zip(boxes, handles):
        handle.close()
        box.remove()


def test_watcher_that_came_too_late_watches_on(box):
    """Another was faster: the read says EAGAIN, and the next message wakes again."""
    with box.open_recv() as recv:
        for i in range(20):
            watcher = start_wait(wait_poll, recv, IN)
            box.send(b"%d" % i)
            assert watcher.result() == IN
            assert box.receive() == b"%d" % i
            with fails_with(errno.EAGAIN):
                recv.read()


def test_watching_takes_no_turn_among_receivers(box):
    with box.open_recv() as recv:
        start_wait(wait_poll, recv, IN)
        receiver = box.start_receive()
        box.wait_for(receivers_waiting=1)
        box.send(b"message")
        assert receiver.result() == b"message"


# --- epoll ---

@pytest.mark.parametrize("drains", [True, False], ids=["drained", "undrained"])
def test_each_message_is_an_edge(box, drains):
    with box.open_recv(os.O_NONBLOCK | os.O_DIRECT) as recv, select.epoll() as epoll:
        epoll.register(recv.fd, select.EPOLLIN | select.EPOLLET)
        assert epoll.poll(0) == []
        for i in range(10):
            Call(box.send, b"%d" % i).result()
            assert epoll.poll(PATIENCE) == [(recv.fd, select.EPOLLIN)]
            if drains:
                assert recv.read() == b"%d" % i
                box.wait_for(messages=0)
            # No edge without something new.
            assert epoll.poll(0) == []


def test_each_time_there_is_room_again_is_an_edge(box):
    box.fill()
    with box.open_send() as send, select.epoll() as epoll:
        epoll.register(send.fd, select.EPOLLOUT | select.EPOLLET)
        assert epoll.poll(0) == []
        for _ in range(10):
            Call(box.receive).result()
            assert epoll.poll(PATIENCE) == [(send.fd, select.EPOLLOUT)]
            box.wait_for(messages=0)
            assert epoll.poll(0) == []
            send.write(b"x")


def test_level_is_told_again_and_again(box):
    with box.open_recv() as recv, select.epoll() as epoll:
        epoll.register(recv.fd, select.EPOLLIN)
        box.send(b"message")
        for _ in range(3):
            assert epoll.poll(PATIENCE) == [(recv.fd, select.EPOLLIN)]
        box.receive()
        box.wait_for(messages=0)
        assert epoll.poll(0) == []


def test_oneshot_tells_once(box):
    with box.open_recv() as recv, select.epoll() as epoll:
        epoll.register(recv.fd, select.EPOLLIN | select.EPOLLONESHOT)
        box.send(b"one")
        assert epoll.poll(PATIENCE) == [(recv.fd, select.EPOLLIN)]
        box.send(b"two")
        assert epoll.poll(WHILE) == []
        epoll.modify(recv.fd, select.EPOLLIN | select.EPOLLONESHOT)
        assert epoll.poll(PATIENCE) == [(recv.fd, select.EPOLLIN)]


def test_echo_server_on_epoll(mnt):
    """Two processes that only ever wait in epoll, both ways: no wake-up is missed."""
    n = 500
    there, back = mnt.box(), mnt.box()

    def await_ready(epoll):
        assert epoll.poll(PATIENCE), "a wake-up was missed"

    def serve():
        with there.open_recv(os.O_NONBLOCK | os.O_DIRECT) as recv, back.open_send() as send, select.epoll() as epoll:
            epoll.register(recv.fd, select.EPOLLIN | select.EPOLLET)
            n_served = 0
            while n_served < n:
                await_ready(epoll)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        send.write(recv.read())
                        n_served += 1

    server = Call(serve)
    with back.open_recv(os.O_NONBLOCK | os.O_DIRECT) as recv, select.epoll() as epoll:
        epoll.register(recv.fd, select.EPOLLIN)
        for i in range(n):
            there.send(b"%d" % i)
            await_ready(epoll)
            assert recv.read() == b"%d" % i
    server.result()
    there.remove()
    back.remove()


def test_full_mailbox_and_slow_reader_on_poll(box):
    """A writer that waits by poll, and a reader that waits by poll, move all messages."""
    n = 1000
    box.configure(messages=2)

    def send_all():
        with box.open_send() as send:
            for i in range(n):
                while write_result(send) == errno.EAGAIN:
                    assert wait_poll(send, OUT) == OUT, "a wake-up was missed"

    sender = Call(send_all)
    received = []
    with box.open_recv(os.O_NONBLOCK | os.O_DIRECT) as recv:
        while len(received) < n:
            try:
                received.append(recv.read())
            except BlockingIOError:
                assert wait_poll(recv, IN) == IN, "a wake-up was missed"
    sender.result()
    assert len(received) == n


def test_closing_a_handle_that_is_watched_does_no_harm(box):
    with select.epoll() as epoll:
        for _ in range(50):
            recv = box.open_recv()
            epoll.register(recv.fd, select.EPOLLIN | select.EPOLLET)
            recv.close()
            box.send(b"x")
        assert epoll.poll(0) == []
    assert len(box.drain()) == 50


def test_watcher_that_is_killed_does_no_harm(box):
    with box.open_recv(os.O_NONBLOCK | os.O_DIRECT) as recv:
        for i in range(20):
            watcher = start_wait(wait_poll, recv, IN)
            watcher.kill()
            watcher.destroy()
            box.send(b"%d" % i)
            assert poll_now(recv) == IN
            assert recv.read() == b"%d" % i
            box.wait_for(messages=0)


def test_poll_of_libc_is_ended_by_a_signal(box):
    def watch():
        with box.open_recv() as recv:
            pollfd = recv.fd.to_bytes(4, "little") + IN.to_bytes(2, "little") + bytes(2)
            interruptible("poll", pollfd, 1, -1)

    signal.signal(signal.SIGALRM, lambda *_: None)
    watcher = Call(watch)
    def is_ended():
        # It may not be there yet.
        watcher.kill(signal.SIGALRM)
        return watcher.poll() is not None
    expect_asleep(watcher)
    wait_until(is_ended, "poll is interrupted")
    with fails_with(errno.EINTR):
        watcher.result()

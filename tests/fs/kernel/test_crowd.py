"""Ten thousand callers wait at once, for the daemon's few threads."""

import errno
import os
import resource
import signal

import pytest

from harness import SLOW, Call, fails_with, in_threads, run, wait_until

# Python's threads slow each other down when many wake at once, so there are many processes of few.
N_PROCESSES = 50
N_THREADS = 200
N = N_PROCESSES * N_THREADS

# For what takes the whole crowd a while.
PATIENCE = 30 * SLOW


class Crowd:
    """N callers of function(i)."""

    def __init__(self, function):
        self.calls = [Call(in_threads, function, range(first, first + N_THREADS))
                      for first in range(0, N, N_THREADS)]

    def has_ended(self):
        return all([call.poll() is not None for call in self.calls])

    def results(self):
        wait_until(self.has_ended, "the crowd ends", PATIENCE)
        return [result for call in self.calls for result in call.result()]

    def kill(self):
        for call in self.calls:
            call.kill()


@pytest.fixture
def open_many():
    """Opens N handles: here and one after another, since senders that look `send` up at the same
    moment take each other's node away (fs/box.c) and try again."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (N + 1000, max(N + 1000, limits[1])))
    handles = []

    def open_them(open_one):
        handles.extend(open_one() for _ in range(N))
        return handles

    yield open_them
    for handle in handles:
        handle.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def start_receivers(open_many):
    def start(box):
        handles = open_many(lambda: box.open_recv(0))

        def receive(i):
            try:
                return handles[i].read(100)
            except OSError as error:
                return error.errno

        crowd = Crowd(receive)
        box.wait_for(receivers_waiting=N, patience=PATIENCE)
        return crowd
    return start


@pytest.fixture
def start_senders(open_many):
    def start(box):
        handles = open_many(lambda: box.open_send(0))
        crowd = Crowd(lambda i: handles[i].write(b"%d" % i))
        box.wait_for(senders_waiting=N, patience=PATIENCE)
        return crowd
    return start


@pytest.fixture
def crowd_box(mnt, box):
    """A mailbox that takes a message for each, and is found as quick as ever afterwards."""
    box.configure(messages=N)
    n_threads = mnt.n_threads()
    yield box
    assert mnt.n_threads() <= n_threads + 4


def expect_few_threads(mnt):
    assert mnt.n_threads() <= 8 + 2 * os.cpu_count()


def expect_answers(mnt):
    """Another mailbox answers beside the crowd. How fast: tests/bench."""
    other = mnt.box()
    for _ in range(20):
        other.send(b"x")
        other.receive()
    other.remove()


def test_ten_thousand_receivers_wait_and_are_all_served(mnt, crowd_box, start_receivers):
    crowd = start_receivers(crowd_box)
    expect_few_threads(mnt)
    expect_answers(mnt)
    crowd_box.send(*[b"%d" % i for i in range(N)])
    assert sorted(map(int, crowd.results())) == list(range(N))
    crowd_box.wait_for(receivers_waiting=0, messages=0, received=N)


def test_ten_thousand_senders_wait_and_are_all_let_in(mnt, crowd_box, start_senders):
    crowd_box.fill(b"first")
    crowd = start_senders(crowd_box)
    expect_few_threads(mnt)
    expect_answers(mnt)
    with fails_with(errno.EAGAIN):
        crowd_box.send(b"at once")
    received = []
    def all_received():
        received.extend(crowd_box.drain())
        return len(received) == N + 1
    wait_until(all_received, lambda: f"all messages; {len(received)} came", PATIENCE)
    assert sum(crowd.results()) == sum(len(str(i)) for i in range(N))
    assert received[0] == b"first"
    assert sorted(map(int, received[1:])) == list(range(N))


def test_raising_the_capacity_lets_ten_thousand_in_at_once(crowd_box, start_senders):
    crowd_box.fill(b"first")
    crowd = start_senders(crowd_box)
    crowd_box.configure(messages="max")
    crowd.results()
    assert crowd_box.counts("messages", "senders_waiting") == (N + 1, 0)


def test_ten_thousand_that_are_killed_leave_nothing_behind(mnt, crowd_box, start_receivers):
    crowd = start_receivers(crowd_box)
    crowd.kill()
    wait_until(crowd.has_ended, "the crowd dies", PATIENCE)
    assert {call.status for call in crowd.calls} == {-signal.SIGKILL}
    crowd_box.wait_for(receivers_waiting=0, patience=PATIENCE)
    expect_few_threads(mnt)
    crowd_box.send(b"message")
    assert crowd_box.drain() == [b"message"]


def test_ten_thousand_learn_that_the_mailbox_is_gone(mnt, start_receivers):
    box = mnt.box()
    crowd = start_receivers(box)
    os.rmdir(box.path)
    assert set(crowd.results()) == {errno.EIDRM}


def test_ten_thousand_open_handles_cost_no_thread(mnt, crowd_box, open_many):
    open_many(crowd_box.open_recv)
    expect_few_threads(mnt)
    assert run("ls", crowd_box.path).returncode == 0

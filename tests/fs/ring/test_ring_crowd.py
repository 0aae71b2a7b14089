"""Many rings, many who wait: threads by rings and not by waiters, and nobody who waits costs time."""

import os
import resource
import select
import time

import pytest

from harness import SLOW, Call, in_threads, start, wait_until
from modes import PASSTHROUGH, new_ring, only

PATIENCE = 30 * SLOW

# Words that one thread sleeps on (ring_waiter.h); a ring has two.
RINGS_PER_THREAD = 63

# Who waits does so in the same way in all modes.
pytestmark = only(PASSTHROUGH)


@pytest.fixture
def mnt(mode):
    """A mount of its own, whose threads and time are counted."""
    mount = mode.mount("-o", "max_bytes=2G,uid_bytes=2G")
    resource.prlimit(mount.pid, resource.RLIMIT_NOFILE, (20000, 20000))
    return mount


@pytest.fixture
def many_files():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (20000, max(20000, limits[1])))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def expect_idle(mnt):
    """The daemon takes next to no time while all wait."""
    before, begin = mnt.cpu_ticks(), time.monotonic()
    time.sleep(1)
    share = (mnt.cpu_ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begin)
    assert share < 0.2


def test_idle_waiting_costs_no_time(mnt):
    rings = [new_ring(mnt, slots=2) for _ in range(20)]
    readers = [ring.start_receive() for ring in rings]
    for ring in rings[10:]:
        ring.wait_for(receivers_waiting=1)
    with rings[0].open_recv() as recv, rings[1].open_bell() as bell:
        # A bell can always be written to; who watches it for reading sleeps all the same.
        watcher = Call(lambda: select.select([recv.fd, bell.fd], [], [], 60))
        sleepers = [ring.library().tell("consume") for ring in rings[:3]]
        expect_idle(mnt)
        for sleeper in sleepers:
            with open(f"/proc/{sleeper.pid}/stat", encoding="utf-8") as stat:
                user, system = map(int, stat.read().rpartition(")")[2].split()[11:13])
            assert user + system < 0.2 * os.sysconf("SC_CLK_TCK")
        watcher.kill()
    for reader in readers:
        reader.kill()


def test_a_thousand_rings_with_a_waiting_cat_each(mnt, many_files):
    """Each wakes for its own ring's message, and for no other's."""
    n = 1000
    before = mnt.n_threads()
    rings = [new_ring(mnt, slots=2, slot_bytes=64) for _ in range(n)]
    with open("/dev/null", "rb") as null:
        cats = [start("cat", ring.recv_path, stdin=null) for ring in rings]
    for ring in rings:
        ring.wait_for(PATIENCE, receivers_waiting=1)
    # One for each 63, and what libfuse and its requests need besides.
    assert mnt.n_threads() - before <= n / RINGS_PER_THREAD + 1 + 10
    expect_idle(mnt)
    for i in range(0, n, 97):
        rings[i].library().produce(f"mapped {i}")
        assert cats[i].output() == f"mapped {i}"
    woken = set(range(0, n, 97))
    assert all(cat.poll() is None for i, cat in enumerate(cats) if i not in woken)
    for i, ring in enumerate(rings):
        if i not in woken:
            ring.send(b"%d" % i)
    assert [cat.output() for i, cat in enumerate(cats) if i not in woken] == [str(i) for i in range(n) if i not in woken]


def test_thousands_who_wait_on_one_ring_cost_no_thread(mnt, many_files):
    n_processes, n_threads = 10, 220
    n = n_processes * n_threads
    ring = new_ring(mnt, slots=64, slot_bytes=64)
    before = mnt.n_threads()
    handles = [ring.open_recv(0) for _ in range(n)]
    calls = [Call(in_threads, lambda i: handles[i].read(100), range(first, first + n_threads))
             for first in range(0, n, n_threads)]
    ring.wait_for(PATIENCE, receivers_waiting=n)
    assert mnt.n_threads() - before <= 10
    expect_idle(mnt)
    peer = ring.library()
    for i in range(n):
        peer.produce(str(i))
    wait_until(lambda: all([call.poll() is not None for call in calls]), "all are served", PATIENCE)
    assert sorted(int(m) for call in calls for m in call.result()) == list(range(n))
    for handle in handles:
        handle.close()
    ring.wait_for(receivers_waiting=0, messages=0)


def test_rings_that_go_give_their_threads_places_back(mnt):
    """Made and removed again and again, a ring needs no more threads than one."""
    new_ring(mnt)
    before = mnt.n_threads()
    for _ in range(RINGS_PER_THREAD * 4):
        os.rmdir(new_ring(mnt, slots=2).path)
    assert mnt.n_threads() - before <= 4

"""The Python package's rings: the library's calls, threads and forks, views."""

import os
import random
import signal
import subprocess
import sys
import threading

import pytest

import ipcfs
from harness import PATIENCE, Call, sh, wait_until


@pytest.fixture
def ticks(mnt):
    ring = ipcfs.Mount(mnt.path).ring("ticks", create=True, slots=8, slot_bytes=72)
    yield ring
    ring.close()
    if os.path.exists(ring.path):
        run = subprocess.run(["timeout", "0.2", "cat", os.path.join(ring.path, "recv.lines")], stdout=subprocess.DEVNULL, check=False)
        assert run.returncode in (0, 1, 124)
        ring.remove()


def test_bytes_come_as_they_went(ticks):
    assert ticks.message_bytes == 64
    for data in b"", b"\0", b"x" * 64, "caf\u00e9", memoryview(b"view"):
        ticks.produce(data)
        assert ticks.consume() == (data.encode() if isinstance(data, str) else bytes(data))
    with pytest.raises(ipcfs.MessageTooLong):
        ticks.produce(b"x" * 65)


def test_the_shell_takes_part(ticks):
    ticks.produce(b"from python\n")
    assert sh("dash", f"cat {ticks.path}/recv") == "from python\n"
    sh("dash", f"echo from the shell > {ticks.path}/send")
    assert ticks.consume(timeout=PATIENCE) == b"from the shell\n"


def test_full_and_empty(ticks):
    assert ticks.try_consume() is None
    for timeout in 0, 0.05:
        with pytest.raises(TimeoutError):
            ticks.consume(timeout=timeout)
    for i in range(8):
        assert ticks.try_produce(b"%d" % i)
    assert not ticks.try_produce(b"no")
    for timeout in 0, 0.05:
        with pytest.raises(TimeoutError):
            ticks.produce(b"no", timeout=timeout)
    assert [ticks.consume() for _ in range(8)] == [b"%d" % i for i in range(8)]


def test_many_a_call(ticks):
    n = 1000
    messages = [random.Random(i).randbytes(i % 65) for i in range(n)]
    got = []

    def consume():
        while len(got) < n:
            got.extend(ticks.consume_many(5, timeout=PATIENCE))
    consumer = threading.Thread(target=consume)
    consumer.start()
    ticks.produce_many(messages, timeout=PATIENCE)
    consumer.join(PATIENCE)
    assert got == messages
    with pytest.raises(TimeoutError):
        ticks.produce_many([b"x"] * 9, timeout=0.05)
    assert ticks.consume_many() == [b"x"] * 8
    with pytest.raises(ipcfs.MessageTooLong):
        ticks.produce_many([b"x" * 65])


def test_long_messages_a_call(mnt):
    ring = ipcfs.Mount(mnt.path).ring("long", create=True, slots=4, slot_bytes=1 << 20)
    ring.produce_many([b"x" * ring.message_bytes, b"y"])
    assert ring.consume_many() == [b"x" * ring.message_bytes]
    assert ring.consume_many() == [b"y"]
    ring.close()
    ring.remove()


def test_threads_have_handles_of_their_own(ticks):
    n = 400
    got = []

    def produce(first):
        for i in range(first, n, 2):
            ticks.produce(b"%d" % i, timeout=PATIENCE)

    def consume():
        for _ in range(n // 2):
            got.append(int(ticks.consume(timeout=PATIENCE)))
    threads = [threading.Thread(target=produce, args=(i,)) for i in (0, 1)] + [threading.Thread(target=consume) for _ in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(got) == list(range(n))


def test_a_child_opens_its_own(ticks):
    ticks.produce(b"to the child")
    assert Call(lambda: (ticks.consume(timeout=PATIENCE), ticks.produce(b"back"))[0]).result() == b"to the child"
    assert ticks.consume(timeout=PATIENCE) == b"back"


def test_in_place(ticks):
    ticks.close()
    ticks.configure(consumers="one")
    view = ticks.reserve()
    assert (len(view), view.readonly) == (64, False)
    view[:5] = b"place"
    ticks.commit(5)
    with pytest.raises(ValueError):
        view[0] = 1
    shown = ticks.peek(timeout=PATIENCE)
    assert (bytes(shown), shown.readonly) == (b"place", True)
    assert bytes(ticks.peek()) == b"place"
    ticks.release()
    with pytest.raises(ValueError):
        bytes(shown)
    with pytest.raises(OSError):
        ticks.release()
    assert ticks.try_consume() is None


def test_a_place_that_is_given_up(ticks):
    ticks.reserve()[:4] = b"half"
    with pytest.raises(ipcfs.MessageTooLong):
        ticks.commit(65)
    ticks.cancel()
    ticks.produce(b"whole")
    assert ticks.consume(timeout=PATIENCE) == b"whole"
    with pytest.raises(OSError):
        ticks.commit(1)


def test_roles_and_removal(ticks, mnt):
    ticks.configure(producers="one")
    ticks.produce(b"x")
    assert Call(lambda: pytest.raises(ipcfs.Busy, ipcfs.Mount(mnt.path).ring("ticks").produce, b"y").type.__name__).result() == "Busy"
    assert ticks.consume(timeout=PATIENCE) == b"x"
    got = []
    waiter = threading.Thread(target=lambda: got.extend(ticks))
    waiter.start()
    ticks.produce(b"last")
    wait_until(lambda: got == [b"last"], "it is consumed")
    os.rmdir(ticks.path)
    waiter.join(PATIENCE)
    assert not waiter.is_alive()
    with pytest.raises(ipcfs.Removed):
        ticks.produce(b"x")


def test_a_producer_that_is_killed_holds_nobody_up(ticks):
    script = ("import ipcfs, os\nring = ipcfs.Mount().ring('ticks')\nring.produce(b'before')\nring.reserve()[:4] = b'half'\n"
              "print('reserved', flush=True)\nos.read(0, 1)\n")
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as dying:
        assert dying.stdout.readline() == "reserved\n"
        ticks.produce(b"after")
        dying.send_signal(signal.SIGKILL)
    assert [ticks.consume(timeout=PATIENCE) for _ in range(2)] == [b"before", b"after"]

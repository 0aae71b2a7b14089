"""The Python package's leases: done, again, dead, and what becomes of them with the worker."""

import os
import signal
import sys
import threading

import pytest

import ipcfs
from harness import PATIENCE, start, wait_until


@pytest.fixture
def jobs(mnt, box):
    return ipcfs.Mount(mnt.path).mailbox(os.path.basename(box.path))


def test_done_when_the_block_is_left(jobs, box):
    jobs.send("wash", priority=2, headers={"at": "60"})
    with jobs.work(timeout=PATIENCE) as message:
        assert (message.text, message.priority, message.headers, message.pid) == ("wash", 2, {"at": "60"}, os.getpid())
        assert box.counts("messages", "leased") == (0, 1)
    assert box.counts("messages", "leased") == (0, 0)


def test_again_after_an_exception(jobs, box):
    jobs.send("first")
    jobs.send("second")
    with pytest.raises(ZeroDivisionError):
        with jobs.work(timeout=PATIENCE) as message:
            assert message.text == "first"
            print(1 / 0)
    assert box.counts("messages", "leased") == (2, 0)
    with jobs.work(timeout=PATIENCE) as message:
        assert (message.text, message.attempts) == ("first", 1)


def test_one_worker_goes_on_with_one_handle(jobs, box):
    for i in range(20):
        jobs.send(str(i))
    got = []
    for _ in range(20):
        with jobs.work(timeout=PATIENCE) as message:
            got.append(message.text)
    assert got == [str(i) for i in range(20)]
    with pytest.raises(TimeoutError):
        with jobs.work(timeout=0):
            pytest.fail("there is no more")


def test_said_by_hand(jobs, mnt):
    dead = ipcfs.Mount(mnt.path).mailbox("dead-letters", create=True)
    jobs.configure(dead="dead-letters")
    jobs.send("x")
    lease = jobs.lease(timeout=PATIENCE)
    lease.again()
    assert lease.is_settled
    lease.done()  # once is enough
    lease = jobs.lease(timeout=PATIENCE)
    lease.dead()
    message = dead.receive(timeout=PATIENCE)
    assert (message.text, message.headers["dead-from"]) == ("x", jobs.name)
    dead.remove()


def test_two_workers_never_have_the_same(jobs, box):
    n = 100
    got = []

    def work():
        while True:
            try:
                with jobs.work(timeout=0.2) as message:
                    got.append(int(message.text))
            except TimeoutError:
                return
    for i in range(n):
        jobs.send(str(i))
    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
    assert sorted(got) == list(range(n))
    assert box.counts("messages", "leased") == (0, 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_killed(jobs, box, number):
    jobs.send("survives")
    script = (f"import ipcfs, time\nwith ipcfs.Mount().mailbox({jobs.name!r}).work() as message:\n"
              "    print(message.text, flush=True)\n    time.sleep(1000)\n")
    worker = start(sys.executable, "-c", script)
    assert worker.stdout.readline() == "survives\n"
    os.kill(worker.pid, number)
    worker.communicate(timeout=PATIENCE)
    wait_until(lambda: box.counts("messages", "leased") == (1, 0), "it is back")
    with jobs.work(timeout=PATIENCE) as message:
        assert (message.text, message.attempts) == ("survives", 1)

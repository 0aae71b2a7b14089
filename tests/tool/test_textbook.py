"""The lectures make things of their own and take them away again, and nothing else."""

import os
import signal

import pytest

from harness import run, start, wait_until

TEXTBOOK = os.environ["TEXTBOOK"]


@pytest.mark.parametrize("lecture, name", [
    ("bounded-buffer", "ring/B"), ("buffering", "A"), ("indirect", "B"), ("notification", "M"), ("owners", "process"),
    ("shared-memory", "shm/board"),
])
def test_what_is_there_already_is_left_alone(ctl, mnt, lecture, name):
    path = os.path.join(mnt.path, name if "/" in name else f"mbox/{name}")
    ctl.ok("new", name)
    if os.path.isdir(path):
        ctl.ok("send", name, "somebody's")
    else:
        with open(path, "w", encoding="utf-8") as region:
            region.write("somebody's")
    done = run(os.path.join(TEXTBOOK, lecture), mnt.path)
    assert (done.returncode, done.stdout) == (1, f"there is {path} already, which this lecture would make and remove\n")
    if os.path.isdir(path):
        assert ctl.ok("recv", name, "--timeout", "0") == "somebody's"
    else:
        with open(path, encoding="utf-8") as region:
            assert region.read() == "somebody's"
    ctl.ok("rm", name)


@pytest.mark.parametrize("lecture, begun", [("bounded-buffer", "ring/B"), ("buffering", "mbox/A"), ("notification", "mbox/M")])
def test_stopped_it_leaves_nothing(mnt, lecture, begun):
    """As a terminal's Ctrl-C does, which all but what waits in the background is told."""
    path = os.path.join(mnt.path, begun)
    running = start(os.path.join(TEXTBOOK, lecture), mnt.path)
    wait_until(lambda: os.path.exists(path), "it has begun")
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait() == 130
    wait_until(lambda: not os.path.exists(path), "it is removed")
    assert os.listdir(mnt.mbox) == os.listdir(os.path.join(mnt.path, "ring")) == []

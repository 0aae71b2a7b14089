"""ipcctl poll: the files of many, in lines of JSON."""

import json
import os
import subprocess

import pytest

from harness import PATIENCE


class Poller:
    def __init__(self, ctl):
        self.process = subprocess.Popen(ctl.args("poll"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def hear(self):
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(PATIENCE) == 0


@pytest.fixture
def poller(ctl):
    process = Poller(ctl)
    yield process
    process.close()


def test_a_message_is_told_of_and_not_taken(poller, box):
    poller.ask(id=1, watch=box.recv_path, **{"for": "read"})
    box.send(b"x")
    assert poller.hear() == {"id": 1, "event": True}
    assert box.receive() == b"x"
    box.send(b"y")
    assert poller.hear() == {"id": 1, "event": True}
    assert box.drain() == [b"y"]


def test_room_is_told_of(poller, box):
    box.fill(b"first")
    poller.ask(id=7, watch=box.send_path, **{"for": "write"})
    # Whatever it finds at first: only then there is a change.
    box.wait_for(messages=1)
    assert box.drain() == [b"first"]
    assert poller.hear() == {"id": 7, "event": True}


def test_a_watch_that_is_dropped_is_silent(poller, box, mnt):
    other = mnt.box()
    poller.ask(id=1, watch=box.recv_path, **{"for": "read"})
    poller.ask(id=1, drop=True)
    poller.ask(id=2, watch=other.recv_path, **{"for": "read"})
    poller.ask(id=3, xattr="/nowhere", name="user.x")
    assert poller.hear() == {"id": 3, "error": "ENOENT", "errno": 2}
    box.send(b"x")
    other.send(b"y")
    assert poller.hear() == {"id": 2, "event": True}
    box.drain()
    other.drain()
    other.remove()


def test_attributes(poller, box):
    box.send(b"x", name="send.9")
    [name] = os.listdir(box.file("queue"))
    poller.ask(id=4, xattr=box.file(f"queue/{name}"), name="user.ipcfs.prio")
    assert poller.hear() == {"id": 4, "value": "9"}
    box.drain()


def test_what_can_not_be_watched(poller, box):
    poller.ask(id=1, watch="/nowhere", **{"for": "read"})
    assert poller.hear() == {"id": 1, "error": "ENOENT", "errno": 2}
    poller.ask(id=2, watch=box.send_path, **{"for": "read"})
    assert poller.hear() == {"id": 2, "error": "EACCES", "errno": 13}


def test_nonsense_is_passed_over(ctl):
    done = subprocess.run(ctl.args("poll"), input='{"id": "x"}\nno json\n{"id":3,"xattr":"/nowhere","name":"user.x"}\n', capture_output=True,
                          text=True, timeout=PATIENCE, check=True)
    assert done.stdout == '{"id":3,"error":"ENOENT","errno":2}\n'
    assert done.stderr == "ipcctl: that is no request, and passed over\n" * 2


def test_many_at_a_time(poller, mnt):
    boxes = [mnt.box() for _ in range(50)]
    for i, box in enumerate(boxes):
        poller.ask(id=i + 1, watch=box.recv_path, **{"for": "read"})
    for box in boxes:
        box.send(b"x")
    assert sorted(poller.hear()["id"] for _ in boxes) == list(range(1, 51))
    for box in boxes:
        box.drain()
        box.remove()

"""ipcctl call: a question, and its answer; nobody waits for longer than he says."""

import json
import os

import pytest

from ctl import complaint
from harness import Call, Handle, expect_asleep, wait_until


@pytest.fixture
def name(box):
    return os.path.basename(box.path)


def take_question(box):
    with Handle(box.file("recv.json"), os.O_RDONLY) as reader:
        envelope = json.loads(reader.read().splitlines()[0])
    assert envelope["call"]
    return envelope


def serve(box, *pieces):
    """Answers the next question. Its text."""
    envelope = take_question(box)
    with Handle(os.path.join(box.file("reply"), str(envelope["id"])), os.O_WRONLY) as reply:
        for piece in pieces:
            reply.write(piece)
    return envelope["text"]


@pytest.mark.parametrize("data", [b"4", b"two\nlines\n", bytes(range(256)) * 100], ids=["digit", "lines", "bytes"])
def test_an_answer_byte_for_byte(ctl, box, name, data):
    server = Call(serve, box, data)
    assert ctl.bytes("call", name, "2+2") == data
    assert server.result() == "2+2"


def test_a_long_answer(ctl, box, name):
    server = Call(serve, box, *[b"x" * 65536] * 40)
    assert ctl.bytes("call", name, "?") == b"x" * (40 * 65536)
    server.result()


def test_the_question_from_a_file(ctl, box, name, tmp_path):
    path = tmp_path / "question"
    path.write_text("2+2\n")
    server = Call(serve, box, b"4\n")
    assert ctl.ok("call", name, "--file", path) == "4\n"
    assert server.result() == "2+2\n"


def test_no_answer_in_time(ctl, box, name):
    said = ctl.fails("call", name, "?", "-t", "0.1", status=3)
    assert said == f"mailbox '{name}' gave no answer within 0.1 s"
    # Nobody can answer any more.
    assert os.listdir(box.file("reply")) == []
    take_question(box)


def test_no_room_in_time(ctl, box, name):
    box.configure(messages=1)
    box.send(b"first")
    said = ctl.fails("call", name, "?", "-t", "0.1", status=3)
    assert "it was not asked" in said
    assert box.drain() == [b"first"]


def test_a_question_that_is_dropped(ctl, box, name):
    asker = ctl.start("call", name, "?")
    queue = box.file("queue")
    os.unlink(os.path.join(queue, wait_until(lambda: os.listdir(queue), "a question")[0]))
    _, err = asker.communicate(timeout=30)
    assert asker.returncode == 1
    assert complaint(err) == f"mailbox '{name}' has dropped the question; nobody will answer it"


def test_a_mailbox_that_goes(ctl, mnt):
    box = mnt.box()
    asker = ctl.start("call", os.path.basename(box.path), "?")
    take_question(box)
    expect_asleep(asker)
    os.rmdir(box.path)
    _, err = asker.communicate(timeout=30)
    assert asker.returncode == 1
    assert os.path.basename(box.path) in complaint(err)


@pytest.mark.parametrize("args", [("call",), ("call", "box", "a", "b"), ("call", "ring/x", "?"), ("call", "box", ""),
                                  ("call", "box", "?", "-t", "soon")])
def test_misuse(ctl, args):
    ctl.misused(*args)


def test_a_question_too_long(ctl, box, name):
    box.configure(message_bytes=10)
    said = ctl.fails("call", name, "01234567890")
    assert "message_bytes" in said

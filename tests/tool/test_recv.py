"""ipcctl recv: messages, byte for byte or in envelopes; none is taken that is not printed."""

import base64
import json
import os
import signal
import time

import pytest

from ctl import complaint
from harness import ALICE, PATIENCE, expect_asleep, process_state, run, start, wait_until


@pytest.fixture
def name(box):
    return os.path.basename(box.path)


# --- messages ---

@pytest.mark.parametrize("data", [b"x", b"no newline", b"two\nlines\n", bytes(range(256)) * 100, b""],
                         ids=["letter", "words", "lines", "bytes", "empty"])
def test_one_byte_for_byte(ctl, box, name, data):
    box.send(data or b"\n", name="send" if data else "send.lines")
    box.send(b"next")
    assert ctl.bytes("recv", name) == data
    assert box.drain() == [b"next"]


def test_several_end_in_newlines(ctl, box, name):
    box.send(b"one", b"two\n", b"three", b"four")
    assert ctl.ok("recv", name, "--count", "3") == "one\ntwo\nthree\n"
    assert box.drain() == [b"four"]


def test_none(ctl, box, name):
    box.send(b"one")
    assert ctl.ok("recv", name, "-n", "0") == ""
    assert box.drain() == [b"one"]


def test_waits(ctl, box, name):
    receiver = ctl.start("recv", name)
    box.wait_for(receivers_waiting=1)
    expect_asleep(receiver)
    box.send(b"hello")
    assert receiver.output() == "hello"


def test_have_their_turn(ctl, box, name):
    first = ctl.start("recv", name, "--timeout", "30")
    box.wait_for(receivers_waiting=1)
    second = box.start_receive()
    box.wait_for(receivers_waiting=2)
    box.send(b"first", b"second")
    assert (first.output(), second.result()) == ("first", b"second")


# --- timeouts ---

def test_does_not_wait(ctl, box, name):
    assert ctl.fails("recv", name, "--timeout", "0", status=3) == f"no message waits in mailbox '{name}'"
    box.send(b"x")
    assert ctl.ok("recv", name, "--timeout", "0") == "x"


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_gives_up_in_time(ctl, box, name, option):
    begun = time.monotonic()
    assert ctl.fails("recv", name, "--timeout", "0.3", *option, status=3) == f"no message came to mailbox '{name}' within 0.3 s"
    assert time.monotonic() - begun >= 0.3
    assert box.counts("receivers_waiting") == (0,)


def test_the_timeout_is_for_each_message(ctl, box, name):
    box.send(b"one")
    done = ctl.run("recv", name, "--count", "2", "--timeout", "100ms")
    assert (done.returncode, done.stdout) == (3, "one\n")
    assert complaint(done.stderr) == f"no message came to mailbox '{name}' within 0.1 s"


def test_sleeps_while_it_waits(ctl, box, name):
    receiver = ctl.start("recv", name, "--timeout", "30")
    box.wait_for(receivers_waiting=1)
    expect_asleep(receiver)
    with open(f"/proc/{receiver.pid}/status", encoding="utf-8") as status:
        before = [line for line in status if "ctxt_switches" in line]
    time.sleep(0.5)
    with open(f"/proc/{receiver.pid}/status", encoding="utf-8") as status:
        assert [line for line in status if "ctxt_switches" in line] == before
    box.send(b"x")
    assert receiver.output() == "x"


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_nothing_is_lost_around_the_timeout(ctl, box, name, option):
    """What nobody has printed is still there."""
    receivers = [ctl.start("recv", name, "--timeout", f"{20 + 2 * i}ms", *option) for i in range(40)]
    for i in range(20):
        box.send(b"%d" % i)
        time.sleep(0.004)
    outs = [receiver.communicate(timeout=PATIENCE)[0] for receiver in receivers]
    printed = [out for receiver, out in zip(receivers, outs) if receiver.returncode == 0]
    assert [out for receiver, out in zip(receivers, outs) if receiver.returncode != 0 and out] == []
    if option:
        printed = [json.loads(out)["text"] for out in printed]
    assert sorted([*map(int, printed), *map(int, box.drain())]) == list(range(20))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_and_takes_nothing(ctl, box, name, number):
    receiver = ctl.start("recv", name)
    box.wait_for(receivers_waiting=1)
    os.kill(receiver.pid, number)
    assert receiver.wait() == -number
    box.send(b"x")
    assert box.drain() == [b"x"]


def test_a_stopped_receiver_goes_on_waiting(ctl, box, name):
    receiver = ctl.start("recv", name)
    box.wait_for(receivers_waiting=1)
    os.kill(receiver.pid, signal.SIGSTOP)
    wait_until(lambda: process_state(receiver.pid) == "T", "it stops")
    os.kill(receiver.pid, signal.SIGCONT)
    box.wait_for(receivers_waiting=1)
    box.send(b"x")
    assert receiver.output() == "x"


# --- envelopes ---

def test_envelope(ctl, box, name):
    box.send(b"caf\xc3\xa9\n", name="send.7")
    envelope = ctl.json("recv", name, "--json")
    assert envelope.pop("time") == box.stat()["last_send"]
    assert isinstance(envelope.pop("id"), int)
    assert envelope == {"pid": os.getpid(), "uid": 0, "gid": 0, "prio": 7, "size": 6, "text": "café\n"}


def test_envelope_of_bytes(ctl, box, name):
    box.send(b"\xff\0")
    envelope = ctl.json("recv", name, "--json")
    assert base64.b64decode(envelope["base64"]) == b"\xff\0" and "text" not in envelope


@pytest.mark.parametrize("size", [0, 1, 65536])
def test_as_many_envelopes_as_asked_for_are_taken(ctl, box, name, size):
    for _ in range(4):
        box.send(b"x" * size + b"\n", name="send.lines")
    out = ctl.ok("recv", name, "--json", "--count", "2")
    assert [json.loads(line)["text"] for line in out.splitlines()] == 2 * ["x" * size]
    assert out.endswith("}\n")
    assert box.counts("messages") == (2,)


# --- without end ---

def test_follow(ctl, box, name):
    box.send(b"one", b"two\n")
    receiver = ctl.start("recv", name, "--follow")
    assert [receiver.stdout.readline(), receiver.stdout.readline()] == ["one\n", "two\n"]
    box.send(b"three")
    assert receiver.stdout.readline() == "three\n"
    assert receiver.poll() is None


def test_follow_envelopes(ctl, box, name):
    receiver = ctl.start("recv", name, "--follow", "--json")
    for text in "one", "two":
        box.send(text.encode())
        assert json.loads(receiver.stdout.readline())["text"] == text


@pytest.mark.parametrize("time_", ["0", "0.2"])
def test_follow_until_nothing_comes(ctl, box, name, time_):
    box.send(b"one", b"two")
    assert ctl.ok("recv", name, "--follow", "--timeout", time_) == "one\ntwo\n"


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_follow_says_that_nothing_came(ctl, box, name, option):
    assert ctl.fails("recv", name, "--follow", "--timeout", "0", *option, status=3) == f"no message waits in mailbox '{name}'"


# --- what goes wrong ---

@pytest.mark.parametrize("option", [[], ["--json"], ["--follow"], ["--follow", "--json"]])
def test_removed(ctl, box, name, option):
    receiver = ctl.start("recv", name, *option)
    box.wait_for(receivers_waiting=1)
    os.rmdir(box.path)
    out, err = receiver.communicate(timeout=PATIENCE)
    assert (receiver.returncode, out, complaint(err)) == (1, "", f"mailbox '{name}' is gone: it was removed")


@pytest.mark.parametrize("option", [[], ["--json"], ["--follow"]])
def test_owned_by_another(ctl, box, name, option):
    owner = start("sh", "-c", 'exec 3>"$0/owner"; echo; read x', box.path, stdin=-1)
    owner.stdout.readline()
    assert ctl.fails("recv", name, *option) == (
        f"can't receive from mailbox '{name}': process {owner.pid} (sh) owns it, and only that and its descendants may")


def test_child_of_the_owner_receives(ctl, box, name):
    box.send(b"x")
    done = run("sh", "-c", 'exec 3>"$0/owner"; "$@"; exit', box.path, *ctl.args("recv", name))
    assert (done.returncode, done.stdout) == (0, "x"), done.stderr


def test_another_user(ctl, box, name):
    box.send(b"x")
    assert ctl.fails("recv", name, uid=ALICE) == (
        f"user {ALICE} may not receive from mailbox '{name}': its recv is -r--------, of root:root")
    assert "its recv.json is -r--------" in ctl.fails("recv", name, "--json", uid=ALICE)
    assert box.drain() == [b"x"]


def test_a_user_of_a_mailbox_of_its_own(ctl, mnt):
    ctl.ok("new", "alices", uid=ALICE)
    ctl.ok("send", "alices", "x", uid=ALICE)
    assert ctl.ok("recv", "alices", uid=ALICE) == "x"
    ctl.ok("rm", "alices", uid=ALICE)


def test_no_such_mailbox(ctl):
    assert ctl.fails("recv", "nothing") == (
        f"can't receive from mailbox 'nothing': there is none on {ctl.mount}; to make it: ipcctl -m {ctl.mount} new nothing")


def test_output_that_can_not_be_written(ctl, box, name):
    box.send(b"x")
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = run(*ctl.args("recv", name), stdout=full)
    assert done.returncode == 1
    assert complaint(done.stderr) == "can't write the output: No space left on device; the message is taken and lost"


def test_an_output_that_does_not_block_is_waited_for(ctl, box, name):
    """Or what does not fit the pipe at once is lost."""
    data = b"x" * 500000
    box.configure(message_bytes=len(data))
    box.send(data)
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    receiver = ctl.start("recv", name, stdout=write_end)
    os.close(write_end)
    wait_until(lambda: box.counts("messages") == (0,), "it is taken")
    expect_asleep(receiver)
    with open(read_end, "rb") as pipe:
        assert pipe.read() == data
    assert receiver.wait() == 0


@pytest.mark.parametrize("args, said", [
    ([], "ipcctl recv: say where to receive: a NAME"),
    (["box", "box"], "ipcctl recv: one NAME at a time"),
    (["box", "--count", "3", "--follow"], "ipcctl recv: choose: --count or --follow"),
    (["box", "--count", "x"], "ipcctl recv: 'x' is no count: a number from 0 to 9223372036854775807"),
    (["box", "--timeout", "x"], "ipcctl recv: 'x' is no time: seconds, or a number with ms, s, m or h"),
    (["shm/x"], "ipcctl: region 'x' holds no messages; read its file"),
    (["ring/x", "--json"], "ipcctl: messages of ring 'x' have no envelopes"),
])
def test_misuse(ctl, args, said):
    assert ctl.misused("recv", *args) == said

"""recv.json: a message and who sent it, as an object on a line."""

import base64
import calendar
import contextlib
import errno
import json
import os
import re
import shutil
import signal
import threading
import time

import pytest

from harness import ALICE, BOB, Call, Handle, as_user, expect_asleep, fails_with, run, sh, start_sh

MESSAGE_BYTES_MAX = 1044480
MIB = 1 << 20

KEYS = ["id", "time", "pid", "uid", "gid", "prio", "size"]
NUMBERS = [key for key in KEYS if key != "time"]
TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})Z", re.ASCII)

needs_jq = pytest.mark.skipif(not shutil.which("jq"), reason="there is no jq")


def open_reader(box, flags=os.O_NONBLOCK):
    return Handle(box.file("recv.json"), os.O_RDONLY | flags)


def read_all(handle, size=MIB):
    """What there is to read now."""
    parts = []
    with contextlib.suppress(BlockingIOError):
        while part := handle.read(size):
            parts.append(part)
    return b"".join(parts)


def parse(data):
    """The envelopes in @data, each of which is a line and has what it must have."""
    assert data.endswith(b"\n")
    envelopes = []
    for line in data.decode("utf-8").split("\n")[:-1]:
        # No key twice.
        envelope = json.loads(line, object_pairs_hook=unique)
        assert set(envelope) in (set(KEYS) | {"text"}, set(KEYS) | {"base64"})
        assert all(type(envelope[key]) is int and envelope[key] >= 0 for key in NUMBERS)
        assert TIME.fullmatch(envelope["time"])
        assert len(body_of(envelope)) == envelope["size"]
        envelopes.append(envelope)
    return envelopes


def unique(pairs):
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def receive(box, n=1):
    """The next n envelopes; or the one."""
    with open_reader(box) as reader:
        envelopes = parse(read_all(reader))
    assert len(envelopes) == n
    return envelopes if n > 1 else envelopes[0]


def body_of(envelope):
    if "text" in envelope:
        return envelope["text"].encode("utf-8")
    return base64.b64decode(envelope["base64"], validate=True)


def time_ns(envelope):
    seconds, ns = TIME.fullmatch(envelope["time"]).groups()
    return calendar.timegm(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S")) * 10**9 + int(ns)


# --- what an envelope says ---

def test_envelope_has_its_keys_in_one_line(box):
    box.send(b"hello\n")
    with open_reader(box) as reader:
        data = read_all(reader)
    assert data.count(b"\n") == 1
    [envelope] = parse(data)
    assert list(envelope) == [*KEYS, "text"]
    assert (envelope["text"], envelope["size"], envelope["prio"]) == ("hello\n", 6, 0)


def test_time_is_that_of_arrival_in_ns(box):
    before = time.time_ns()
    box.send(b"message")
    after = time.time_ns()
    assert before <= time_ns(receive(box)) <= after


def test_times_and_ids_rise(box):
    box.send(*[b"%d" % i for i in range(50)])
    envelopes = receive(box, 50)
    for key in ("id", "time"):
        values = [envelope[key] for envelope in envelopes]
        assert values == sorted(values)
    assert len({envelope["id"] for envelope in envelopes}) == 50


def test_time_is_utc_whatever_the_time_zone(mount, monkeypatch):
    monkeypatch.setenv("TZ", "America/St_Johns")
    box = mount().box()
    before = time.time_ns()
    box.send(b"message")
    assert 0 <= time_ns(receive(box)) - before < 60 * 10**9


def test_pid_is_that_of_the_sending_process(box):
    sender = Call(box.send, b"message")
    sender.result()
    assert receive(box)["pid"] == sender.pid


def test_pid_is_the_process_when_another_thread_sends(box):
    def send():
        threads = [threading.Thread(target=box.send, args=(b"x",), kwargs={"name": name})
                   for name in ("send", "send.3", "send.lines")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sender = Call(send)
    sender.result()
    assert {envelope["pid"] for envelope in receive(box, 3)} == {sender.pid}


def test_pid_is_the_process_on_a_handle_that_threads_share(box):
    def send():
        with box.open_send() as handle:
            for _ in range(20):
                thread = threading.Thread(target=handle.write, args=(b"x",))
                thread.start()
                handle.write(b"x")
                thread.join()
    sender = Call(send)
    sender.result()
    assert {envelope["pid"] for envelope in receive(box, 40)} == {sender.pid}


@pytest.mark.parametrize("name", ["send", "send.lines"])
def test_pid_is_the_childs_when_it_sends_on_an_inherited_descriptor(box, name):
    def send():
        with box.open_send(name=name) as handle:
            handle.write(b"parent\n")
            child = Call(handle.write, b"child\n")
            child.result()
            handle.write(b"parent\n")
            return child.pid
    parent = Call(send)
    child_pid = parent.result()
    assert [envelope["pid"] for envelope in receive(box, 3)] == [parent.pid, child_pid, parent.pid]


def test_pid_of_a_waiting_sender_is_its_own(box):
    box.fill()
    sender = box.start_send(b"second")
    box.wait_for(senders_waiting=1)
    # The first makes room for the second, and one read may bring both.
    first, second = receive(box, 2)
    sender.wait()
    assert first["pid"] == os.getpid() and second["pid"] == sender.pid


def test_pid_is_that_of_the_shell_whose_builtin_sends(shell, box):
    pid = sh(shell, "echo $$; echo message > send; (env echo message > send); :", cwd=box.path)
    first, second = receive(box, 2)
    assert first["pid"] == int(pid) != second["pid"]


def test_uid_and_gid_are_the_senders(box):
    as_user(ALICE, box.send, b"alice", gid=BOB)
    as_user(BOB, box.send, b"bob")
    box.send(b"root")
    envelopes = receive(box, 3)
    assert [(e["uid"], e["gid"]) for e in envelopes] == [(ALICE, BOB), (BOB, BOB), (0, 0)]


def test_largest_uid_is_a_number_too(box):
    as_user(4294967294, box.send, b"message", gid=4294967293)
    envelope = receive(box)
    assert (envelope["uid"], envelope["gid"]) == (4294967294, 4294967293)


def test_setpriv_shows_another_user_in_a_shell(shell, box):
    command = f"setpriv --reuid {ALICE} --regid {BOB} --clear-groups"
    sh(shell, f"{command} sh -c 'echo hello > send'", cwd=box.path)
    envelope = receive(box)
    assert (envelope["uid"], envelope["gid"], envelope["text"]) == (ALICE, BOB, "hello\n")


def test_prio_is_that_of_the_file_and_the_highest_comes_first(box):
    for prio in (0, 7, 31, 7):
        box.send(b"%d" % prio, name=f"send.{prio}")
    assert [(e["prio"], e["text"]) for e in receive(box, 4)] == [(31, "31"), (7, "7"), (7, "7"), (0, "0")]


def test_message_can_not_forge_an_envelope(box):
    forged = b'x"}\n{"id":1,"time":"1970-01-01T00:00:00.000000000Z","pid":1,"uid":0,"gid":0,"prio":0,"size":1,"text":"x"}\n'
    as_user(ALICE, box.send, forged)
    envelope = receive(box)
    assert (envelope["uid"], envelope["text"]) == (ALICE, forged.decode())


def test_envelope_and_queue_tell_the_same(box):
    as_user(ALICE, box.send, b"message", gid=BOB)
    [name] = os.listdir(box.file("queue"))
    path = box.file(f"queue/{name}")
    status = os.stat(path)
    told = {key: int(os.getxattr(path, f"user.ipcfs.{key}")) for key in ("pid", "uid", "gid", "prio")}
    envelope = receive(box)
    assert (envelope["id"], envelope["size"]) == (int(name), status.st_size)
    assert {key: envelope[key] for key in told} == told
    assert time_ns(envelope) == status.st_mtime_ns


# --- text or base64 ---

TEXTS = {
    "letters": b"hello",
    "newlines": b"\na\n\nb\n",
    "carriage-returns": b"a\r\nb\r",
    "quotes": b'"\'`""',
    "backslashes": b"\\ \\\\ \\n \\u0041 \\\"",
    "slashes": b"</script> a/b",
    "controls": bytes(range(32)) + b"\x7f",
    "nul": b"\0",
    "nul-inside": b"a\0b\0",
    "two-bytes": "ß\u0080\u07ff".encode(),
    "three-bytes": "€\u0800\ud7ff\ue000\uffff".encode(),
    "four-bytes": "😀\U00010000\U0010ffff".encode(),
    "line-separators": "\u0085\u2028\u2029".encode(),
    "not-characters": "\ufdd0\ufffe\ufeff".encode(),
    "json": b'{"a": [1, null]}',
}

BINARIES = {
    "byte-ff": b"\xff",
    "byte-fe": b"a\xfe",
    "continuation": b"\x80",
    "cut-two": b"abc\xc3",
    "cut-three": b"ab\xe2\x82",
    "cut-four": b"a\xf0\x9f\x98",
    "cut-inside": b"\xe2\x82 \xe2\x82\xac",
    "overlong-two": b"\xc0\x80",
    "overlong-c1": b"\xc1\xbf",
    "overlong-three": b"\xe0\x9f\xbf",
    "overlong-four": b"\xf0\x8f\xbf\xbf",
    "surrogate": b"\xed\xa0\x80",
    "surrogate-pair": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond": b"\xf4\x90\x80\x80",
    "f5": b"\xf5\x80\x80\x80",
    "five-bytes": b"\xf8\x88\x80\x80\x80",
    "latin-1": b"gr\xfc\xdfe",
    "utf-16": "grüße".encode("utf-16"),
    "all": bytes(range(256)),
}


@pytest.mark.parametrize("data", TEXTS.values(), ids=TEXTS.keys())
def test_valid_utf8_is_text(box, data):
    box.send(data)
    envelope = receive(box)
    assert envelope["text"].encode("utf-8") == data


@pytest.mark.parametrize("data", BINARIES.values(), ids=BINARIES.keys())
def test_all_else_is_base64(box, data):
    box.send(data)
    envelope = receive(box)
    assert "base64" in envelope
    assert envelope["base64"] == base64.b64encode(data).decode()


@pytest.mark.parametrize("size", range(1, 10))
def test_base64_of_each_length_is_padded(box, size):
    data = b"\xff" * size
    box.send(data)
    assert receive(box)["base64"] == base64.b64encode(data).decode()


def test_empty_message_is_an_empty_text(box):
    box.send(b"\n", name="send.lines")
    envelope = receive(box)
    assert (envelope["text"], envelope["size"]) == ("", 0)


@pytest.mark.parametrize("data", [b"x" * MESSAGE_BYTES_MAX, bytes(MESSAGE_BYTES_MAX), os.urandom(MESSAGE_BYTES_MAX),
                                  "€".encode() * (MESSAGE_BYTES_MAX // 3), b"\"" * MESSAGE_BYTES_MAX],
                         ids=["letters", "nul", "random", "euro", "quotes"])
@pytest.mark.parametrize("size", [4096, MIB])
def test_largest_message_in_reads_of_any_size(box, data, size):
    box.configure(message_bytes=MESSAGE_BYTES_MAX)
    box.send(data, b"next")
    with open_reader(box) as reader:
        first, second = parse(read_all(reader, size))
    assert body_of(first) == data
    assert body_of(second) == b"next"


def test_whole_file_from_drop(box, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(os.urandom(3 * MIB))
    assert run("cp", file, box.file("drop/")).returncode == 0
    envelope = receive(box)
    assert body_of(envelope) == file.read_bytes()


# --- a stream ---

def test_read_takes_as_many_as_it_can_carry_and_no_more(box):
    box.send(b"message", b"message", b"message")
    with open_reader(box) as reader:
        size = len(reader.read(20)) + len(reader.read())
        box.wait_for(received=1, messages=2)
        data = reader.read(2 * size - 2)
        # The ids and times are as long as the first ones', or a digit longer.
        box.wait_for(received=2, messages=1)
        assert len(parse(data)) == 1
        assert reader.read(1) == b"{"
        box.wait_for(received=3, messages=0)


def test_several_come_in_one_read(box):
    box.send(*[b"%d" % i for i in range(100)])
    with open_reader(box) as reader:
        assert [body_of(e) for e in parse(reader.read())] == [b"%d" % i for i in range(100)]


def test_reads_of_one_byte_make_up_an_envelope(box):
    box.send(b"message", b"other")
    with open_reader(box) as reader:
        data = b""
        while not data.endswith(b"\n"):
            data += reader.read(1)
    assert parse(data)[0]["text"] == "message"
    assert box.drain() == [b"other"]


def test_reader_waits_for_the_next(box):
    with open_reader(box, 0) as reader:
        for i in range(3):
            waiting = Call(reader.read)
            box.wait_for(receivers_waiting=1)
            expect_asleep(waiting)
            box.send(b"%d" % i)
            assert parse(waiting.result())[0]["text"] == str(i)


def test_nonblocking_reader_does_not_wait(box):
    with open_reader(box) as reader, fails_with(errno.EAGAIN):
        reader.read()


def test_killed_reader_takes_nothing(box):
    with open_reader(box, 0) as reader:
        waiting = Call(reader.read)
        box.wait_for(receivers_waiting=1)
        waiting.kill()
        assert waiting.wait() == -signal.SIGKILL
        box.wait_for(receivers_waiting=0)
    box.send(b"message")
    assert box.drain() == [b"message"]


def test_readers_of_all_three_kinds_share_the_messages(box):
    box.send(b"one", b"two", b"three")
    with open_reader(box) as envelopes, Handle(box.file("recv.lines"), os.O_RDONLY | os.O_NONBLOCK) as lines:
        assert [e["text"] for e in parse(envelopes.read(200))] == ["one"]
        assert box.receive() == b"two"
        assert lines.read() == b"three\n"


def test_other_user_may_not_read(box):
    box.send(b"secret")
    with fails_with(errno.EACCES):
        as_user(ALICE, open_reader, box)
    assert box.drain() == [b"secret"]


# --- in the shell ---

@needs_jq
def test_jq_picks_from_the_stream(shell, mnt):
    box = mnt.box()
    pipeline = start_sh(shell, "jq --unbuffered -r 'select(.prio > 5) | \"\\(.prio) \\(.text)\"' < recv.json",
                        cwd=box.path)
    box.wait_for(receivers_waiting=1)
    box.send(b"slow")
    box.send(b"urgent \"x\"", name="send.9")
    box.wait_for(messages=0, receivers_waiting=1)
    os.rmdir(box.path)
    assert pipeline.output() == "9 urgent \"x\"\n"


@needs_jq
def test_one_envelope_is_read_and_the_next_stays(shell, box):
    sh(shell, "echo one > send; echo two > send", cwd=box.path)
    script = "IFS= read -r e < recv.json; printf '%s\\n' \"$e\" | jq -c '[.text, .uid, .prio, .size]'"
    assert sh(shell, script, cwd=box.path) == '["one\\n",0,0,4]\n'
    assert box.drain() == [b"two\n"]


@needs_jq
def test_jq_decodes_base64(shell, box):
    sh(shell, "printf 'a\\377b' > send", cwd=box.path)
    assert sh(shell, "head -n 1 recv.json | jq -r '.base64, .text'", cwd=box.path) == "Yf9i\nnull\n"


@needs_jq
@pytest.mark.parametrize("data", [*TEXTS.values(), *BINARIES.values()], ids=[*TEXTS, *BINARIES])
def test_jq_and_python_agree(box, data):
    box.send(data)
    with open_reader(box) as reader:
        line = reader.read()
    done = run("jq", "-c", "-a", ".", stdin=memory_file(line))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(line)


def memory_file(data):
    file = os.fdopen(os.memfd_create("data"), "w+b", buffering=0)
    file.write(data)
    file.seek(0)
    return file

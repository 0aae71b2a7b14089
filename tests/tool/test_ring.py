"""ipcctl ring: into and out of a ring through its map, and what a map shows."""

import base64
import contextlib
import fcntl
import mmap
import os
import signal
import struct
import subprocess
import termios
import time

import pytest

from ctl import complaint
from harness import PATIENCE, expect_asleep, start, wait_until

FILE = os.environ["RING_FILE"]
CLIENT = os.environ["RING_CLIENT"]
SLOT_BYTES = 72
MESSAGE_BYTES = SLOT_BYTES - 8
ONE_PRODUCER = 1
ONE_CONSUMER = 2
EACH = 4
FULL, CLAIMED = 1, 2
FOREIGN = 1 << 31

# Seconds until a run counts as long.
PROGRESS_AFTER = 2


class RingFile:
    """A ring in a plain file, without a daemon."""

    def __init__(self, path, slots, flags, wrap):
        self.path = path
        self.slots = slots
        assert start(FILE, "make", path, *map(str, (slots, SLOT_BYTES, flags, wrap))).wait() == 0

    def client(self, verb, *args):
        """A program with libipcring, that produces from lines or consumes to lines."""
        return start(CLIENT, self.path, verb, *args, stdin=-1)

    def produce(self, line):
        """A client that has produced this, and keeps the producer's role."""
        client = self.client("produce")
        client.stdin.write(line + "\n")
        client.stdin.flush()
        wait_until(lambda: self.peek(4096, "Q") == 1, "it has produced")
        return client

    def end(self):
        assert start(FILE, "end", self.path).wait() == 0

    def poke(self, at, data):
        with open(self.path, "r+b") as file, mmap.mmap(file.fileno(), 0) as map_:
            map_[at:at + len(data)] = data

    def peek(self, at, format_):
        with open(self.path, "rb") as file:
            file.seek(at)
            return struct.unpack("<" + format_, file.read(struct.calcsize("<" + format_)))[0]

    def poke_slot(self, index, lap, state, low):
        self.poke(8192 + index * SLOT_BYTES, struct.pack("<II", low, lap << 2 | state))


@pytest.fixture
def make_ring(tmp_path):
    n = 0

    def make(slots=8, flags=0, wrap=0):
        nonlocal n
        n += 1
        return RingFile(str(tmp_path / f"map{n}"), slots, flags, wrap)

    return make


@pytest.fixture
def ring(make_ring):
    return make_ring()


def prefixed(*messages):
    return b"".join(struct.pack("<I", len(message)) + message for message in messages)


# --- put and get ---

def test_lines_in_lines_out(ctl, ring):
    assert ctl.ok("ring", "put", ring.path, stdin=b"one\n\nthree, without newline") == ""
    assert ctl.ok("ring", "get", ring.path, "--timeout", "0") == "one\n\nthree, without newline\n"


def test_bytes_in_bytes_out(ctl, ring):
    data = prefixed(b"", b"\n", bytes(range(MESSAGE_BYTES)), b"last\n")
    ctl.ok("ring", "put", "--prefixed", ring.path, stdin=data)
    assert ctl.bytes("ring", "get", "--prefixed", ring.path, "-t", "0") == data


def test_a_line_gets_one_newline(ctl, ring):
    ctl.ok("ring", "put", "--prefixed", ring.path, stdin=prefixed(b"with\n", b"without", b""))
    assert ctl.ok("ring", "get", ring.path, "-t", "0") == "with\nwithout\n\n"


def test_no_more_than_asked_for(ctl, ring):
    ctl.ok("ring", "put", ring.path, stdin=b"1\n2\n3\n")
    assert ctl.ok("ring", "get", ring.path, "--count", "2") == "1\n2\n"
    assert ctl.ok("ring", "get", ring.path, "-n", "0") == ""
    assert ctl.ok("ring", "get", ring.path, "-n1") == "3\n"


@pytest.mark.parametrize("wrap", range(4))
@pytest.mark.parametrize("flags", [0, ONE_PRODUCER, ONE_CONSUMER, ONE_PRODUCER | ONE_CONSUMER])
def test_many_through_few_slots(ctl, make_ring, tmp_path, flags, wrap):
    ring = make_ring(flags=flags, wrap=wrap)
    lines = b"".join(b"%d\n" % i for i in range(20000))
    with open(tmp_path / "out", "w+b") as out:
        getter = ctl.start("ring", "get", ring.path, "--count", "20000", stdout=out)
        ctl.ok("ring", "put", ring.path, stdin=lines)
        assert getter.wait() == 0
        out.seek(0)
        assert out.read() == lines


def test_pipeline_longer_than_any_buffer(ctl, make_ring, tmp_path):
    ring = make_ring(slots=1024)
    script = (f"seq 500000 > {tmp_path}/in; $IPCCTL ring put {ring.path} < {tmp_path}/in & "
              f"$IPCCTL ring get {ring.path} --count 500000 | cmp - {tmp_path}/in; r=$?; wait; exit $r")
    done = start("sh", "-c", script, env={**os.environ, "IPCCTL": ctl.program})
    assert done.output() == ""


def test_several_put_and_get(ctl, ring):
    getters = [ctl.start("ring", "get", ring.path, "--count", "1000", "-t", "20") for _ in range(2)]
    putters = [start("sh", "-c", 'seq "$1" "$2" | "$3" ring put "$4"', "sh", str(first), str(first + 999), ctl.program, ring.path)
               for first in (1, 1001)]
    assert [putter.output() for putter in putters] == ["", ""]
    got = [int(line) for getter in getters for line in getter.output().split()]
    assert sorted(got) == list(range(1, 2001))


def test_what_is_there_goes_out_at_once(ctl, ring):
    putter = ctl.start("ring", "put", ring.path, stdin=-1)
    getter = ctl.start("ring", "get", ring.path)
    for line in ("one\n", "two\n"):
        putter.stdin.write(line)
        putter.stdin.flush()
        assert getter.stdout.readline() == line
    expect_asleep(putter, getter)


def test_with_the_library(ctl, ring):
    client = ring.client("consume", "3")
    ctl.ok("ring", "put", ring.path, stdin=b"one\n\nthree\n")
    assert client.output() == "one\n\nthree\n"
    client = ring.client("produce")
    client.stdin.write("four\n")
    client.stdin.close()
    assert ctl.ok("ring", "get", ring.path, "-n1") == "four\n"


def test_empty(ctl, ring):
    assert ctl.ok("ring", "get", ring.path, "--timeout", "0") == ""
    assert ctl.ok("ring", "get", ring.path, "--timeout", "50ms") == ""
    assert ctl.ok("ring", "put", ring.path) == ""


def test_fewer_than_asked_for(ctl, ring):
    ctl.ok("ring", "put", ring.path, stdin=b"1\n")
    done = ctl.run("ring", "get", ring.path, "-n", "3", "-t", "0")
    assert (done.returncode, done.stdout) == (3, "1\n")
    assert complaint(done.stderr) == f"ring '{ring.path}' is empty; 2 messages are missing"
    assert ctl.fails("ring", "get", ring.path, "-n", "3", "-t", "0.1", status=3) == (
        f"no message came to ring '{ring.path}' within 0.1 s; 3 are missing")


def test_full(ctl, ring):
    lines = b"".join(b"%d\n" % i for i in range(10))
    assert ctl.fails("ring", "put", ring.path, "--timeout", "0", stdin=lines) == f"ring '{ring.path}' is full; 8 messages are in"
    assert ctl.fails("ring", "put", ring.path, "-t", "0.1", stdin=b"x") == f"ring '{ring.path}' stayed full for 0.1 s; 0 messages are in"
    assert ctl.ok("ring", "get", ring.path, "-t", "0") == "".join(f"{i}\n" for i in range(8))


@pytest.mark.parametrize("length", [MESSAGE_BYTES + 1, 3 << 20])
def test_a_line_that_is_too_long(ctl, ring, length):
    lines = b"a\n" + b"b" * MESSAGE_BYTES + b"\n" + b"c" * length + b"\nd\n"
    assert ctl.fails("ring", "put", ring.path, stdin=lines) == (
        f"line 3 is too long for ring '{ring.path}', which takes {MESSAGE_BYTES} bytes; those before it are in")
    assert ctl.ok("ring", "get", ring.path, "-t", "0") == "a\n" + "b" * MESSAGE_BYTES + "\n"


@pytest.mark.parametrize("tail, said", [
    (struct.pack("<I", MESSAGE_BYTES + 1), "message 2 is too long for ring '{}', which takes 64 bytes; those before it are in"),
    (struct.pack("<I", 5) + b"abcd", "standard input ends within message 2; those before it are in ring '{}'"),
    (b"\0\0", "standard input ends within message 2; those before it are in ring '{}'"),
])
def test_bytes_that_are_no_messages(ctl, ring, tail, said):
    assert ctl.fails("ring", "put", "--prefixed", ring.path, stdin=prefixed(b"good") + tail) == said.format(ring.path)
    assert ctl.ok("ring", "get", ring.path, "-t", "0") == "good\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_getter(ctl, ring, number):
    getter = ctl.start("ring", "get", ring.path)
    expect_asleep(getter)
    os.kill(getter.pid, number)
    assert getter.wait() == -number


def test_a_getter_that_is_stopped_has_written_what_it_took(ctl, ring, tmp_path):
    """However often: each message is printed or still there."""
    path = tmp_path / "out"
    for i in range(20):
        with open(path, "ab") as out:
            size = os.path.getsize(path)
            getter = ctl.start("ring", "get", ring.path, stdout=out)
            putter = start("sh", "-c", 'seq "$1" "$2" | "$3" ring put "$4"', "sh", str(100 * i), str(100 * i + 99), ctl.program,
                           ring.path)
            wait_until(lambda: os.path.getsize(path) > size, "it writes")
            os.kill(getter.pid, signal.SIGTERM)
            assert getter.wait() == -signal.SIGTERM
            rest = ctl.start("ring", "get", ring.path, stdout=out)
            assert putter.wait() == 0
            wait_until(lambda: path.read_bytes().count(b"\n") == 100 * (i + 1), lambda: f"all is there: {path.read_text()}")
            os.kill(rest.pid, signal.SIGTERM)
            assert rest.wait() == -signal.SIGTERM
    assert [*map(int, path.read_text().split())] == list(range(2000))


def test_removed(ctl, ring):
    getter = ctl.start("ring", "get", ring.path)
    expect_asleep(getter)
    ring.end()
    _, err = getter.communicate(timeout=PATIENCE)
    assert (getter.returncode, complaint(err)) == (
        1, f"ring '{ring.path}' is gone: it was removed, or made anew with other settings")


def test_another_produces(ctl, make_ring):
    ring = make_ring(flags=ONE_PRODUCER)
    client = ring.produce("x")
    assert ctl.fails("ring", "put", ring.path, stdin=b"x") == (
        f"can't put into ring '{ring.path}': it has one producer, process {client.pid} (ring_client)")


def test_another_consumes(ctl, make_ring):
    ring = make_ring(flags=ONE_CONSUMER)
    client = ring.client("consume")
    wait_until(lambda: ring.peek(4232, "I"), "it consumes")
    assert ctl.fails("ring", "get", ring.path) == (
        f"can't get from ring '{ring.path}': it has one consumer, process {client.pid} (ring_client)")


def test_no_ring(ctl, tmp_path):
    path = str(tmp_path / "text")
    assert ctl.fails("ring", "get", path) == f"can't get from ring '{path}': No such file or directory"
    (tmp_path / "text").write_text("x" * 10000)
    for verb, word in ("get", "get from"), ("put", "put into"):
        assert ctl.fails("ring", verb, path) == f"can't {word} ring '{path}': its map is no ring, or damaged"
    assert ctl.fails("ring", "dump", path) == f"ring '{path}' is none: it does not begin with IPCFRING"
    (tmp_path / "text").write_text("x")
    assert ctl.fails("ring", "dump", path) == f"ring '{path}' is none: it is too short"


def test_output_that_can_not_be_written(ctl, ring):
    ctl.ok("ring", "put", ring.path, stdin=b"1\n2\n")
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = ctl.run("ring", "get", ring.path, stdout=full)
    assert (done.returncode, complaint(done.stderr)) == (
        1, "can't write the output: No space left on device; 2 messages are taken and lost")


# --- progress ---

def test_progress_is_for_terminals_and_long_runs(ctl, ring):
    """A terminal as stderr, and a producer that is slow."""
    master, slave = os.openpty()
    getter = subprocess.Popen(ctl.args("ring", "get", ring.path, "--count", "3"), stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    begin = time.monotonic()
    try:
        ctl.ok("ring", "put", ring.path, stdin=b"1\n")
        fcntl.ioctl(master, termios.FIONREAD, size := bytearray(4))
        assert struct.unpack("i", size)[0] == 0 or time.monotonic() - begin >= PROGRESS_AFTER
        # From when on it may be shown, for the messages that come then.
        time.sleep(PROGRESS_AFTER + 0.5)
        ctl.ok("ring", "put", ring.path, stdin=b"2\n3\n")
        assert getter.wait(PATIENCE) == 0
        text = b""
        with contextlib.suppress(OSError):
            while more := os.read(master, 4096):
                text += more
    finally:
        getter.kill()
        getter.wait()
        os.close(master)
    assert b"3 messages, 6 bytes in " in text and text.endswith(b"\r\n")


# --- dump ---

def table(text):
    """The lines of the header, and those of the slots in words."""
    header, _, slots = text.partition("\n\n")
    return header.splitlines(), [line.split(None, 4) for line in slots.splitlines()[1:]]


def test_dump(ctl, make_ring):
    ring = make_ring(slots=1024)
    ctl.ok("ring", "put", ring.path, stdin=b"one\ntwo\nit's three\n" + b"x" * 64 + b"\n")
    ctl.ok("ring", "get", ring.path, "-n1")
    header, slots = table(ctl.ok("ring", "dump", ring.path))
    assert header == [f"ring '{ring.path}', version 1: 1024 slots of 72 bytes", "producers: many", "consumers: many",
                      "head 4, tail 1: 3 taken up", "asleep: nobody"]
    assert slots == [["1", "1", "full", "3", "'two'"], ["2", "2", "full", "10", "$'it\\'s three'"],
                     ["3", "3", "full", "64", "'" + 40 * "x" + "'..."], ["1021", "free"]]


def test_dump_changes_nothing(ctl, ring):
    ctl.ok("ring", "put", ring.path, stdin=b"one\n")
    with open(ring.path, "rb") as file:
        before = file.read()
    ctl.ok("ring", "dump", ring.path)
    ctl.json("ring", "dump", ring.path, "--json")
    with open(ring.path, "rb") as file:
        assert file.read() == before
    os.chmod(ring.path, 0o444)


@pytest.mark.parametrize("wrap", range(4))
def test_dump_all_near_every_wrap(ctl, make_ring, wrap):
    ring = make_ring(wrap=wrap)
    tail = ring.peek(4224, "Q")
    ctl.ok("ring", "put", ring.path, stdin=b"1\n2\n3\n4\n5\n")
    _, slots = table(ctl.ok("ring", "dump", "--all", ring.path))
    expected = [[str((tail + i) % 2**64 % 8), str((tail + i) % 2**64), *(["full", "1", f"'{i + 1}'"] if i < 5 else ["free"])]
                for i in range(8)]
    assert slots == expected


def test_dump_names_who_claims(ctl, make_ring):
    ring = make_ring(slots=4)
    dead = start("true")
    dead.wait()
    ring.poke_slot(0, 1, CLAIMED, os.getpid())
    ring.poke_slot(1, 1, CLAIMED, dead.pid)
    ring.poke_slot(2, 1, CLAIMED, 4711 | FOREIGN)
    ring.poke_slot(3, 1, 0, 0)
    with open("/proc/self/comm", encoding="utf-8") as comm:
        name = comm.read().rstrip("\n")
    _, slots = table(ctl.ok("ring", "dump", ring.path))
    assert [" ".join(slot[2:]) for slot in slots] == [
        f"claimed by process {os.getpid()} ({name})", f"claimed by process {dead.pid}, dead",
        "claimed by process 4711 of another pid namespace", "skipped"]
    states = [(slot["state"], slot.get("claimer")) for slot in ctl.json("ring", "dump", ring.path, "--json")["list"]]
    assert states == [("claimed", {"pid": os.getpid(), "lives": True}), ("claimed", {"pid": dead.pid, "lives": False}),
                      ("claimed", {"pid": 4711, "lives": None}), ("skipped", None)]


def test_dump_knows_a_pid_that_is_used_again(ctl, ring):
    with open("/proc/self/stat", encoding="utf-8") as stat:
        start_time = int(stat.read().rpartition(")")[2].split()[19])
    ring.poke_slot(0, 1, CLAIMED, os.getpid() | (1 + start_time % 511) << 22)
    ring.poke_slot(1, 1, CLAIMED, os.getpid() | (1 + (start_time + 1) % 511) << 22)
    claimers = [slot["claimer"]["lives"] for slot in ctl.json("ring", "dump", ring.path, "--json")["list"]]
    assert claimers == [True, False]


def test_dump_of_a_zombie_and_of_roles(ctl, make_ring):
    ring = make_ring(flags=ONE_PRODUCER | ONE_CONSUMER)
    client = ring.produce("x")
    header, _ = table(ctl.ok("ring", "dump", ring.path))
    assert header[1:3] == [f"producers: one, process {client.pid} (ring_client)", "consumers: one, nobody now"]
    # Nobody has waited for it yet.
    os.kill(client.pid, signal.SIGKILL)
    wait_until(lambda: ctl.json("ring", "dump", ring.path, "--json")["producer"] == {"pid": client.pid, "lives": False},
               "it is seen to be dead")


def test_dump_of_what_was_scribbled_over(ctl, ring):
    ring.poke_slot(0, 1, FULL, MESSAGE_BYTES + 1)
    ring.poke_slot(1, 7, FULL, 1)
    ring.poke_slot(2, 1, 3, 1)
    assert [slot["state"] for slot in ctl.json("ring", "dump", ring.path, "--json")["list"]] == 3 * ["damaged"]


IMPOSSIBLE = "its geometry is impossible"


@pytest.mark.parametrize("at, data, wrong", [
    (0, b"X", "it does not begin with IPCFRING"), (8, b"\x63", "it is of a version that this ipcctl does not know"), (8, b"\2", IMPOSSIBLE),
    (12, b"\4", IMPOSSIBLE), (16, b"\7", IMPOSSIBLE), (16, b"\0", IMPOSSIBLE), (20, b"\1", IMPOSSIBLE), (22, b"\xff", IMPOSSIBLE),
    (18, b"\xff", IMPOSSIBLE), (16, b"\0\0\x10", "it is shorter than its geometry says"),
])
def test_dump_of_an_impossible_header(ctl, ring, at, data, wrong):
    ring.poke(at, data)
    assert ctl.fails("ring", "dump", ring.path) == f"ring '{ring.path}' is none: {wrong}"


def test_dump_as_json(ctl, ring):
    ctl.ok("ring", "put", "--prefixed", ring.path, stdin=prefixed(b"caf\xc3\xa9", b"\xff"))
    dump = ctl.json("ring", "dump", ring.path, "--json")
    first, second = dump.pop("list")
    assert dump == {"version": 1, "slots": 8, "slot_bytes": 72, "producers": "many", "consumers": "many", "producer": None,
                    "consumer": None, "head": 2, "tail": 0, "removed": False, "consumers_asleep": False, "producers_asleep": False}
    assert first == {"slot": 0, "position": 0, "state": "full", "size": 5, "text": "café"}
    assert base64.b64decode(second.pop("base64")) == b"\xff"
    assert second == {"slot": 1, "position": 1, "state": "full", "size": 1}
    assert len(ctl.json("ring", "dump", ring.path, "--json", "--all")["list"]) == 8


def test_dump_tells_who_sleeps_and_that_it_is_removed(ctl, ring):
    getter = ctl.start("ring", "get", ring.path)
    wait_until(lambda: ctl.json("ring", "dump", ring.path, "--json")["consumers_asleep"], "the getter sleeps")
    getter.kill()
    ring.end()
    assert ctl.json("ring", "dump", ring.path, "--json")["removed"]
    assert table(ctl.ok("ring", "dump", ring.path))[0][0].endswith("72 bytes, removed")


# --- where each consumer sees everything ---

@pytest.mark.parametrize("producer", [0, ONE_PRODUCER])
def test_each_getter_gets_everything(ctl, make_ring, producer):
    ring = make_ring(flags=EACH | producer)
    getters = [ctl.start("ring", "get", ring.path, "--count", "3") for _ in range(2)]
    expect_asleep(*getters)
    ctl.ok("ring", "put", ring.path, stdin=b"1\n2\n3\n")
    for getter in getters:
        assert getter.output() == "1\n2\n3\n"


def test_a_getter_that_is_overtaken_says_so_and_goes_on(ctl, make_ring):
    ring = make_ring(flags=EACH)
    getter = ctl.start("ring", "get", ring.path, "--count", "8")
    expect_asleep(getter)
    os.kill(getter.pid, signal.SIGSTOP)
    ctl.ok("ring", "put", ring.path, stdin=b"".join(b"%d\n" % i for i in range(20)))
    os.kill(getter.pid, signal.SIGCONT)
    out, err = getter.communicate(timeout=PATIENCE)
    assert out == "".join(f"{i}\n" for i in range(12, 20))
    assert "12 messages are missed" in err


def test_dump_of_what_is_held_for_each(ctl, make_ring):
    ring = make_ring(slots=4, flags=EACH | ONE_PRODUCER)
    ctl.ok("ring", "put", ring.path, stdin=b"1\n2\n3\n4\n5\n6\n")
    shown = ctl.json("ring", "dump", "--json", ring.path)
    assert (shown["version"], shown["consumers"], shown["producers"]) == (2, "each", "one")
    assert [slot["text"] for slot in shown["list"]] == ["3", "4", "5", "6"]
    assert "head 6: 4 held, from 2" in ctl.ok("ring", "dump", ring.path)


@pytest.mark.parametrize("args, said", [
    (["put"], "ipcctl ring put: say into which ring: a NAME"),
    (["get"], "ipcctl ring get: say from which ring: a NAME"),
    (["dump"], "ipcctl ring dump: say which ring: a NAME"),
    (["get", "a", "b"], "ipcctl ring get: one NAME at a time"),
    (["get", "a", "--count", "-1"], "ipcctl ring get: '-1' is no count: a number from 0 to 9223372036854775807"),
    (["put", "a", "--timeout", "x"], "ipcctl ring put: 'x' is no time: seconds, or a number with ms, s, m or h"),
    (["dump", "mbox/orders"], "ipcctl: mailbox 'orders' is no ring"),
])
def test_misuse(ctl, args, said):
    assert ctl.misused("ring", *args) == said

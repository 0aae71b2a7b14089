"""Receiving: a message once, whole, to whom it is due."""

import ctypes
import errno
import mmap
import os
import random
import signal
import sys
import time

import pytest

from harness import (SHELLS, Call, Handle, expect_asleep, fails_with, interruptible, receive_message, run, start_sh,
                     wait_until)

MESSAGE_BYTES_MAX = 1044480


def read_once(recv):
    return recv.read()


# --- one message, then end of file ---

def test_small_buffers_get_the_rest_and_then_the_end_for_ever(box):
    box.send(b"first message", b"second")
    with box.open_recv(0) as recv:
        assert [recv.read(5) for _ in range(6)] == [b"first", b" mess", b"age", b"", b"", b""]
    assert box.drain() == [b"second"]


def test_buffer_of_just_the_size_is_followed_by_the_end(box):
    box.send(b"12345", b"67890")
    with box.open_recv(0) as recv:
        assert [recv.read(5) for _ in range(3)] == [b"12345", b"", b""]
    assert box.drain() == [b"67890"]


def test_single_bytes_make_up_the_message(box):
    box.send(b"abc")
    with box.open_recv() as recv:
        assert [recv.read(1) for _ in range(4)] == [b"a", b"b", b"c", b""]


@pytest.mark.parametrize("message", [b"first", b""], ids=["message", "empty"])
def test_end_stays(box, message):
    with box.open_recv(0) as recv:
        waiting = Call(recv.read)
        box.wait_for(receivers_waiting=1)
        # Only so is a message empty.
        box.send(message + b"\n", name="send.lines")
        assert waiting.result() == message
        box.send(b"second")
        assert [recv.read() for _ in range(3)] == [b"", b"", b""]
        # Whoever shares the descriptor.
        assert Call(recv.read).result() == b""
        assert box.counts("messages", "receivers_waiting") == (1, 0)


def test_what_did_not_come_yet_comes_to_the_same_handle(box):
    with box.open_recv() as recv:
        for _ in range(3):
            with fails_with(errno.EAGAIN):
                recv.read()
        box.send(b"message", b"next")
        assert (recv.read(), recv.read()) == (b"message", b"")
    assert box.drain() == [b"next"]


def test_end_stays_where_the_mailbox_has_gone(mnt):
    box = mnt.box()
    box.send(b"message")
    with box.open_recv() as recv:
        assert recv.read() == b"message"
        box.wait_for(messages=0)
        os.rmdir(box.path)
        assert (recv.read(), recv.read()) == (b"", b"")


def test_reader_of_a_shared_descriptor_is_called_to_the_rest(box):
    """It waits for a message, and another has taken that: it gets what is left of it."""
    with box.open_recv(0) as recv:
        first = Call(recv.read, 3)
        box.wait_for(receivers_waiting=1)
        second = Call(recv.read, 100)
        box.wait_for(receivers_waiting=2)
        third = Call(recv.read, 100)
        box.wait_for(receivers_waiting=3)
        box.send(b"message")
        assert first.result() == b"mes"
        assert sorted([second.result(), third.result()]) == [b"", b"sage"]
        assert recv.read() == b""
    box.wait_for(messages=0, received=1, receivers_waiting=0)


@pytest.mark.parametrize("n_readers", [2, 5])
def test_readers_of_one_descriptor_share_one_message(box, n_readers):
    n = 3000

    def read_all(recv):
        pieces = []
        while piece := recv.read(1 + len(pieces) % 7):
            pieces.append(piece)
        return pieces

    message = b"".join(b"%04d" % i for i in range(n))
    with box.open_recv(0) as recv:
        readers = [Call(read_all, recv) for _ in range(n_readers)]
        box.wait_for(receivers_waiting=n_readers)
        box.send(message)
        pieces = [piece for reader in readers for piece in reader.result()]
        box.send(b"next")
    assert sum(map(len, pieces)) == len(message)
    assert sorted(b"".join(pieces)) == sorted(message)
    assert box.drain() == [b"next"]


def test_two_handles_read_two_messages_side_by_side(box):
    box.send(b"first", b"second")
    with box.open_recv() as one, box.open_recv() as two:
        assert (one.read(3), two.read(3)) == (b"fir", b"sec")
        assert (one.read(3), two.read(4)) == (b"st", b"ond")
        assert (one.read(), two.read()) == (b"", b"")


def test_read_of_nothing_takes_nothing(box):
    box.send(b"message")
    with box.open_recv() as recv:
        assert recv.read(0) == b""
        assert box.counts("messages") == (1,)
        assert recv.read() == b"message"


def test_largest_message_comes_in_one_read(box):
    data = os.urandom(MESSAGE_BYTES_MAX)
    box.configure(message_bytes=MESSAGE_BYTES_MAX)
    for size in (MESSAGE_BYTES_MAX, 1 << 20, 3 << 20):
        box.send(data)
        with box.open_recv() as recv:
            assert recv.read(size) == data
            assert recv.read(size) == b""


def test_largest_message_in_odd_pieces(box):
    data = os.urandom(MESSAGE_BYTES_MAX)
    box.configure(message_bytes=MESSAGE_BYTES_MAX)
    box.send(data, b"next")
    pieces = []
    with box.open_recv() as recv:
        while piece := recv.read(99991):
            pieces.append(piece)
        assert b"".join(pieces) == data
    assert box.drain() == [b"next"]


@pytest.mark.parametrize("start", [1, 2047, 4095])
@pytest.mark.parametrize("flags", [0, os.O_DIRECT], ids=["stream", "packet"])
def test_memory_need_not_be_aligned(box, start, flags):
    data = os.urandom(MESSAGE_BYTES_MAX)
    memory = memoryview(mmap.mmap(-1, 4 << 20))
    box.configure(message_bytes=MESSAGE_BYTES_MAX)
    for room in (MESSAGE_BYTES_MAX, 1 << 20, (1 << 20) + 1, 2 << 20):
        box.send(data, b"next")
        with box.open_recv(os.O_NONBLOCK | flags) as recv:
            assert os.readv(recv.fd, [memory[start:start + room]]) == len(data)
            assert memory[start:start + len(data)] == data
        assert box.drain() == [b"next"]


def test_readv_fills_several_buffers_with_one_message(box):
    box.send(b"one two", b"next")
    with box.open_recv() as recv:
        parts = [bytearray(4), bytearray(2), bytearray(100)]
        assert os.readv(recv.fd, parts) == 7
        assert (bytes(parts[0]), bytes(parts[1]), bytes(parts[2][:1])) == (b"one ", b"tw", b"o")


def test_unread_rest_is_gone_on_close(box):
    box.send(b"first message", b"second")
    with box.open_recv() as recv:
        assert recv.read(5) == b"first"
    box.wait_for(messages=1, received=1)
    assert box.drain() == [b"second"]


def test_opening_recv_takes_nothing(box):
    box.send(b"message")
    for flags in (0, os.O_NONBLOCK, os.O_DIRECT):
        Handle(box.recv_path, flags).close()
    assert box.drain() == [b"message"]


def test_empty_mailbox_is_eagain_for_a_nonblocking_reader(box):
    for flags in (os.O_NONBLOCK, os.O_NONBLOCK | os.O_DIRECT):
        with box.open_recv(flags) as recv:
            with fails_with(errno.EAGAIN):
                recv.read()
    with box.open_recv(0) as recv:
        recv.set_flags(os.O_NONBLOCK)
        with fails_with(errno.EAGAIN):
            recv.read()
    assert box.counts("receivers_waiting", "received") == (0, 0)


# --- loops that read to the end, of many languages ---

PYTHON = {
    "for": "with open(path, 'rb') as file:\n    for line in file: out(line)",
    "for-text": "with open(path) as file:\n    for line in file: out(line.encode())",
    "readlines": "with open(path, 'rb') as file: out(b''.join(file.readlines()))",
    "read": "with open(path, 'rb') as file: out(file.read())",
    "read-twice": "with open(path, 'rb') as file: out(file.read() + file.read())",
    "unbuffered": "with open(path, 'rb', buffering=0) as file: out(file.read() + file.readall())",
    "pieces": "with open(path, 'rb', buffering=0) as file:\n    while piece := file.read(3): out(piece)",
    "copyfileobj": "import shutil\nwith open(path, 'rb') as file: shutil.copyfileobj(file, sys.stdout.buffer)",
    "digest": "import hashlib\nbuffer = bytearray(1 << 18)\ndigest = hashlib.sha256()\n"
              "with open(path, 'rb', buffering=0) as file:\n"
              "    while n := file.readinto(buffer): digest.update(buffer[:n]); out(buffer[:n])",
    "path": "import pathlib\nout(pathlib.Path(path).read_bytes())",
    "os": "import os\nfd = os.open(path, os.O_RDONLY)\nwhile piece := os.read(fd, 1 << 20): out(piece)",
    "fileinput": "import fileinput\nfor line in fileinput.input([path], mode='rb'): out(line)",
    "csv": "import csv\nfor row in csv.reader(open(path)): out((row[0] + '\\n').encode())",
}

COMMANDS = {
    "cat": 'cat "$1"',
    "redirection": 'cat < "$1"',
    "busybox-dd": 'busybox dd bs=4k 2> /dev/null < "$1"',
    "busybox-sed": 'busybox sed "" "$1"',
    "dd": 'dd if="$1" bs=4k status=none',
    "dd-fullblock": 'dd if="$1" bs=1M iflag=fullblock status=none',
    "dd-count": 'dd if="$1" bs=7 count=100 status=none',
    "head-bytes": 'head -c 1000000 "$1"',
    "head-lines": 'head -n 1000 "$1"',
    "tail": 'tail -n +1 "$1"',
    "mapfile": 'mapfile lines < "$1"; printf %s "${lines[@]}"',
    "substitution": 'm=$(< "$1"); printf "%s\\n" "$m"',
    "while-read": 'while IFS= read -r line; do printf "%s\\n" "$line"; done < "$1"',
    "sed": 'sed "" "$1"',
    "awk": 'awk 1 "$1"',
    "grep": 'grep . "$1"',
    "sort": 'sort -n -s -k 1,1 "$1" | sort -n',
    "tee": 'tee /dev/null < "$1"',
    "wc": 'test "$(wc -c < "$1")" = 14 && printf "1 a\\n2 b\\n3 cde\\n"',
    "cp": 'cp "$1" "$2" && cat "$2"',
    "cp-null": 'cp "$1" /dev/stdout',
    "split": 'split -b 100 "$1" "$2." && cat "$2".*',
    "base64": 'base64 "$1" | base64 -d',
    "gzip": 'gzip -c < "$1" | gzip -d',
    "perl": 'perl -ne print "$1"',
    "perl-slurp": 'perl -0777 -ne print "$1"',
    "perl-list": """perl -e 'open my $fh, "<", $ARGV[0]; print <$fh>; print <$fh>' "$1" """,
}
MESSAGE = b"1 a\n2 b\n3 cde\n"


def takes_one_message(box, command, *args):
    box.send(MESSAGE, b"the next\n")
    done = run(*command, box.recv_path, *args)
    assert (done.stdout.encode(), done.returncode) == (MESSAGE, 0), done.stderr
    box.wait_for(messages=1)
    assert box.drain() == [b"the next\n"]


@pytest.mark.parametrize("program", PYTHON.values(), ids=PYTHON.keys())
def test_python_takes_one_message_and_ends(box, program):
    start = "import sys\npath = sys.argv[1]\nout = sys.stdout.buffer.write\n"
    takes_one_message(box, [sys.executable, "-c", start + program])


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_tools_take_one_message_and_end(box, command, tmp_path):
    takes_one_message(box, ["bash", "-c", command, "bash"], tmp_path / "copy")


# --- packet mode ---

def test_packet_mode_has_a_message_a_read_and_no_end_between(box):
    box.send(b"one", b"two", b"three")
    with box.open_recv(os.O_NONBLOCK | os.O_DIRECT) as recv:
        assert [recv.read() for _ in range(3)] == [b"one", b"two", b"three"]
        with fails_with(errno.EAGAIN):
            recv.read()


def test_packet_mode_can_be_switched_by_fcntl(box):
    with box.open_recv() as recv:
        recv.set_flags(os.O_NONBLOCK | os.O_DIRECT)
        box.send(b"one", b"two", b"three")
        assert [recv.read(), recv.read()] == [b"one", b"two"]
        recv.set_flags(os.O_NONBLOCK)
        assert [recv.read(), recv.read(), recv.read()] == [b"three", b"", b""]
        # Message after message again, and again one message and its end.
        recv.set_flags(os.O_NONBLOCK | os.O_DIRECT)
        box.send(b"four", b"five")
        assert recv.read() == b"four"
        recv.set_flags(os.O_NONBLOCK)
        assert [recv.read(), recv.read(), recv.read()] == [b"five", b"", b""]


def test_packet_mode_leaves_a_message_that_does_not_fit(box):
    box.send(b"too long", b"next")
    with box.open_recv(os.O_NONBLOCK | os.O_DIRECT) as recv:
        for size in (1, 7):
            with fails_with(errno.EMSGSIZE):
                recv.read(size)
        assert box.counts("messages", "received") == (2, 0)
        assert recv.read(8) == b"too long"
        assert recv.read(100) == b"next"


def test_packet_reader_that_waits_learns_of_a_message_that_does_not_fit(box):
    def read():
        with box.open_recv(os.O_DIRECT) as recv:
            return recv.read(3)

    reader = Call(read)
    box.wait_for(receivers_waiting=1)
    box.send(b"too long")
    with fails_with(errno.EMSGSIZE):
        reader.result()
    assert box.drain() == [b"too long"]


def test_message_that_fits_one_waiting_packet_reader_passes_the_other(box):
    """The first learns that its buffer is too small; the second must not wait on beside a message."""
    def read(size):
        with box.open_recv(os.O_DIRECT) as recv:
            return recv.read(size)

    small = Call(read, 3)
    box.wait_for(receivers_waiting=1)
    large = Call(read, 100)
    box.wait_for(receivers_waiting=2)
    box.send(b"too long")
    with fails_with(errno.EMSGSIZE):
        small.result()
    assert large.result() == b"too long"


# --- several receivers ---

def test_waiting_receivers_are_served_in_the_order_they_came(box):
    receivers = []
    for i in range(8):
        receivers.append(box.start_receive())
        box.wait_for(receivers_waiting=i + 1)
    expect_asleep(*receivers)
    for i, receiver in enumerate(receivers):
        box.send(b"%d" % i)
        assert receiver.result() == b"%d" % i
        box.wait_for(receivers_waiting=7 - i)


def test_burst_is_shared_out_among_those_who_wait(box):
    receivers = [box.start_receive() for _ in range(8)]
    box.wait_for(receivers_waiting=8)
    box.send(*[b"%d" % i for i in range(10)])
    received = [receiver.result() for receiver in receivers]
    assert sorted(received) == [b"%d" % i for i in range(8)]
    assert box.drain() == [b"8", b"9"]


def test_two_readers_of_one_descriptor_get_a_message_each_in_packet_mode(box):
    with box.open_recv(os.O_DIRECT) as recv:
        readers = [Call(read_once, recv), Call(read_once, recv)]
        box.wait_for(receivers_waiting=2)
        expect_asleep(*readers)
        box.send(b"one", b"two")
        assert sorted(reader.result() for reader in readers) == [b"one", b"two"]


@pytest.mark.parametrize("victim", [0, 1], ids=["first", "second"])
def test_two_readers_of_one_descriptor_can_each_be_killed(box, victim):
    with box.open_recv(0) as recv:
        readers = []
        for i in range(2):
            readers.append(Call(read_once, recv))
            box.wait_for(receivers_waiting=i + 1)
        readers[victim].kill()
        assert readers[victim].wait() == -signal.SIGKILL
        box.wait_for(receivers_waiting=1)
        box.send(b"for the other")
        assert readers[1 - victim].result() == b"for the other"


@pytest.mark.parametrize("shell", SHELLS)
def test_two_cats_of_one_descriptor_can_each_be_killed(box, shell):
    script = "exec 5<recv; cat <&5 & echo $!; cat <&5 & echo $!; exec 5<&-; wait"
    family = start_sh(shell, script, cwd=box.path)
    pids = [int(family.stdout.readline()) for _ in range(2)]
    box.wait_for(receivers_waiting=2)
    for left, pid in ((1, pids[1]), (0, pids[0])):
        os.kill(pid, signal.SIGTERM)
        box.wait_for(receivers_waiting=left)
    assert family.wait() == 0
    box.send(b"nobody took it")
    assert box.drain() == [b"nobody took it"]


# --- signals ---

@pytest.mark.parametrize("restart", [False, True], ids=["plain", "SA_RESTART"])
def test_signal_ends_a_waiting_read_with_eintr(box, restart):
    def read():
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.siginterrupt(signal.SIGALRM, not restart)
        with box.open_recv(0) as recv:
            interruptible("read", recv.fd, bytes(100), 100)

    reader = Call(read)
    box.wait_for(receivers_waiting=1)
    reader.kill(signal.SIGALRM)
    with fails_with(errno.EINTR):
        reader.result()
    assert box.counts("receivers_waiting", "received") == (0, 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_receiver_that_is_killed_while_it_waits_takes_nothing(box, number):
    victim = box.start_receive()
    box.wait_for(receivers_waiting=1)
    next_one = box.start_receive()
    box.wait_for(receivers_waiting=2)
    victim.kill(number)
    assert victim.wait() == -number
    box.wait_for(receivers_waiting=1)
    box.send(b"message")
    assert next_one.result() == b"message"
    box.wait_for(sent=1, received=1, messages=0)


def test_interrupted_reads_lose_nothing(box):
    """Signals that race with messages: an interrupted read has taken nothing."""
    n = 1500

    def receive_all():
        received = []
        buffer = ctypes.create_string_buffer(100)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        with box.open_recv(os.O_DIRECT) as recv:
            while len(received) < n:
                try:
                    size = interruptible("read", recv.fd, buffer, 100)
                    received.append(buffer.raw[:size])
                except InterruptedError:
                    pass
        return received

    reader = Call(receive_all)
    box.wait_for(receivers_waiting=1)
    expect_asleep(reader)
    with box.open_send() as send:
        for i in range(n):
            reader.kill(signal.SIGUSR1)
            send.write(b"%d" % i)
            if i % 3 == 0:
                # Lets it wait again, so that it is the wait that is interrupted.
                wait_until(lambda: box.counts("messages") == (0,), "the reader goes on")
    assert reader.result() == [b"%d" % i for i in range(n)]
    box.wait_for(sent=n, received=n, messages=0)


def test_reader_killed_while_a_message_is_on_its_way_loses_no_other(box, tmp_path):
    """What was handed over dies with the reader, and is counted as received. All else is still there,
    and nothing comes twice."""
    seen = tmp_path / "seen"
    rand = random.Random(1)
    n_handed_over = 0

    def receive():
        message = receive_message(box.recv_path)
        with open(seen, "ab", buffering=0) as file:
            file.write(message + b"\n")

    for i in range(400):
        message = b"%d" % i
        reader = Call(receive)
        box.wait_for(receivers_waiting=1)
        delay = time.perf_counter() + rand.uniform(0, 0.0003)
        if i % 2:
            reader.kill()
        with box.open_send() as send:
            while time.perf_counter() < delay:
                pass
            send.write(message)
        if reader.poll() is None:
            reader.kill()
        reader.destroy()
        left = []
        def settled():
            left.extend(box.drain())
            return box.stat()["received"] == i + 1
        wait_until(settled, lambda: f"{message}: we have {left}, stat says {box.stat()}")
        assert left in ([], [message])
        n_handed_over += not left
    box.wait_for(sent=400, received=400, messages=0, receivers_waiting=0)
    told = seen.read_bytes().split() if seen.exists() else []
    assert len(set(told)) == len(told) <= n_handed_over
    assert 0 < n_handed_over < 400, "the race was never run both ways"


def test_readers_killed_at_random_among_others_lose_no_more_than_they_were_given(box, tmp_path):
    n = 2000
    rand = random.Random(2)
    files = []

    def receive_for_ever(path):
        with box.open_recv(os.O_DIRECT) as recv, open(path, "ab", buffering=0) as file:
            while True:
                file.write(recv.read() + b"\n")

    def start_reader():
        files.append(tmp_path / str(len(files)))
        return Call(receive_for_ever, files[-1])

    readers = [start_reader() for _ in range(3)]
    with box.open_send() as send:
        for i in range(n):
            send.write(b"%d" % i)
            if i % 5 == 0:
                victim = rand.randrange(3)
                readers[victim].kill()
                readers[victim] = start_reader()
            if i % 100 == 0:
                # Not more than the mailbox holds.
                wait_until(lambda: box.counts("messages") == (0,), "the readers keep up")
    wait_until(lambda: box.counts("messages") == (0,), "all is received")
    for reader in readers:
        reader.kill()
        reader.wait()
    seen = [line for path in files if path.exists() for line in path.read_bytes().split()]
    assert len(set(seen)) == len(seen)
    n_killed = len(files)
    # Each died with at most the one message that it had not written down yet.
    assert n - n_killed <= len(seen) <= n
    box.wait_for(sent=n, received=n)


# --- odd calls ---

def test_recv_looks_empty_like_a_file_of_proc(box):
    """Tools then read to the end of file, and don't trust a size."""
    box.send(b"message")
    assert os.stat(box.recv_path).st_size == 0


def test_readahead_and_mapping_take_nothing(box):
    box.send(b"message")
    with box.open_recv() as recv:
        os.posix_fadvise(recv.fd, 0, 4096, os.POSIX_FADV_WILLNEED)
        with pytest.raises((OSError, ValueError)):
            mmap.mmap(recv.fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
    assert box.drain() == [b"message"]

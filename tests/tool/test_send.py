"""ipcctl send: one message, whole, in time or not at all."""

import os
import signal
import subprocess
import threading
import time

import pytest

from ctl import complaint, odd_names
from harness import ALICE, PATIENCE, expect_asleep, process_state, run, start, wait_until

MIB = 1 << 20


@pytest.fixture
def name(box):
    return os.path.basename(box.path)


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        return sum(map(int, stat.read().rpartition(")")[2].split()[11:13]))


def open_owner(box):
    """A process that owns it."""
    owner = start("sh", "-c", 'exec 3>"$0/owner"; echo; read x', box.path, stdin=-1)
    owner.stdout.readline()
    return owner


# --- what is sent ---

def test_a_text(ctl, box, name):
    assert ctl.ok("send", name, "two teas") == ""
    assert box.drain() == [b"two teas"]


@pytest.mark.parametrize("data", [b"x", b"two\nlines\n", bytes(range(256)) * 100, b"\0"],
                         ids=["letter", "lines", "bytes", "nul"])
def test_standard_input_to_its_end(ctl, box, name, data):
    ctl.ok("send", name, stdin=data)
    assert box.drain() == [data]


def test_a_file(ctl, box, name, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\xff\0\n")
    for args in (["--file", path], ["-f", path]):
        ctl.ok("send", name, *args)
    ctl.ok("send", name, "--file", "-", stdin=b"input")
    assert box.drain() == [b"\xff\0\n", b"\xff\0\n", b"input"]


def test_input_that_comes_in_pieces_is_one_message(ctl, box, name):
    sender = ctl.start("send", name, stdin=-1)
    for piece in "one ", "two ", "three":
        sender.stdin.write(piece)
        sender.stdin.flush()
        time.sleep(0.02)
    assert sender.communicate(timeout=PATIENCE) == ("", "")
    assert box.drain() == [b"one two three"]


@pytest.mark.parametrize("verb", [["send"], ["ring", "put"]], ids=" ".join)
def test_an_input_that_does_not_block_is_waited_for(ctl, box, name, verb):
    to = "ring/lines" if verb[0] == "ring" else name
    ctl.ok("new", "ring/lines")
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    sender = ctl.start(*verb, to, stdin=read_end)
    os.close(read_end)
    expect_asleep(sender)
    with open(write_end, "wb") as pipe:
        pipe.write(b"a line")
    assert sender.output() == ""
    assert ctl.ok("recv", to) == "a line"
    ctl.ok("rm", "ring/lines")


def test_an_empty_message(ctl, box, name):
    ctl.ok("send", name, "")
    ctl.ok("send", name)
    ctl.ok("send", name, "--prio", "0", "")
    assert box.drain() == [b"", b"", b""]


def test_an_empty_message_has_no_priority(ctl, box, name):
    assert ctl.fails("send", name, "--prio", "1", "") == f"can't send to mailbox '{name}': an empty message has no priority"
    assert box.drain() == []


def test_priorities(ctl, box, name):
    for prio in ("0", "31", "9"):
        ctl.ok("send", name, "--prio", prio, prio)
    ctl.ok("send", name, "-p9", "9 again")
    assert box.drain() == [b"31", b"9", b"9 again", b"0"]


@pytest.mark.parametrize("size", [65537, 2 * MIB + 1])
def test_longer_than_a_write_goes_as_a_file(ctl, box, name, size):
    ctl.ok("send", name, stdin=b"x" * size)
    assert ctl.json("ls", "--json", name)[0]["bytes"] == size
    assert ctl.ok("recv", name) == "x" * size


@odd_names
def test_odd_names(ctl, mnt, name):
    path = os.path.join(os.fsencode(mnt.mbox), name)
    os.mkdir(path)
    ctl.ok("send", "--", name, "hello")
    assert ctl.ok("recv", "--", name) == "hello"
    os.rmdir(path)


# --- what is not ---

def test_longer_than_all_it_holds(ctl, box, name):
    box.configure(bytes=100000)
    assert ctl.fails("send", name, stdin=b"x" * 100001) == (
        f"can't send to mailbox '{name}': the message is longer than all it holds (bytes)")
    assert box.counts("messages", "bytes") == (0, 0)


@pytest.mark.parametrize("to, said", [
    ("mbox/few", "can't send to mailbox 'few': the message is longer than all it holds (bytes)"),
    ("ring/small", "can't send to ring 'small': the message is too long; a slot has room for 64 bytes"),
    ("nothing", "can't send to mailbox 'nothing': there is none on {}; to make it: ipcctl -m {} new nothing"),
])
def test_no_more_is_read_than_can_be_sent(ctl, tmp_path, to, said):
    ctl.ok("new", "few", "bytes=1000", "message_bytes=1000")
    ctl.ok("new", "ring/small", "slot_bytes=72")
    with open(tmp_path / "long", "w+b") as long:
        long.truncate(64 * MIB)
        # The position is shared.
        done = run(*ctl.args("send", to), stdin=long)
        assert (done.returncode, complaint(done.stderr)) == (1, said.format(ctl.mount, ctl.mount))
        assert os.lseek(long.fileno(), 0, os.SEEK_CUR) <= MIB
    ctl.ok("rm", "few", "ring/small")


def test_long_with_a_priority(ctl, box, name):
    assert ctl.fails("send", name, "--prio", "3", stdin=b"x" * 65537) == (
        f"can't send to mailbox '{name}': the message is too long; it takes 65536 bytes (message_bytes)")


def test_a_file_that_can_not_be_read(ctl, box, name):
    assert ctl.fails("send", name, "--file", "/no such") == "can't read '/no such': No such file or directory; nothing was sent"
    assert ctl.fails("send", name, "--file", "/") == "can't read '/': Is a directory; nothing was sent"
    assert box.drain() == []


def test_no_such_mailbox(ctl):
    assert ctl.fails("send", "nothing", "x") == (
        f"can't send to mailbox 'nothing': there is none on {ctl.mount}; to make it: ipcctl -m {ctl.mount} new nothing")


def test_the_way_to_make_one_with_a_name_like_an_option(ctl):
    assert ctl.fails("send", "--", "-l", "x").endswith(f"; to make it: ipcctl -m {ctl.mount} new -- -l")


def test_no_such_process(ctl):
    pid = start("true")
    pid.wait()
    assert "process" in ctl.fails("send", f"proc/{pid.pid}", "x")


def test_another_user_who_may_not(ctl, box, name):
    os.chmod(box.send_path, 0o200)
    assert ctl.fails("send", name, "x", uid=ALICE) == (
        f"user {ALICE} may not send to mailbox '{name}': its send is --w-------, of root:root")


def test_another_user_who_may_not_even_enter(ctl, box, name):
    os.chmod(box.path, 0o700)
    assert ctl.fails("send", name, "x", uid=ALICE) == (
        f"user {ALICE} may not send to mailbox '{name}': its directory is drwx------, of root:root")


def test_another_user_who_may(ctl, box, name):
    os.chmod(box.path, 0o755)
    os.chmod(box.send_path, 0o222)
    ctl.ok("send", name, "hello", uid=ALICE)
    assert box.drain() == [b"hello"]


def test_the_owner_only_receives(ctl, box, name):
    done = run("sh", "-c", 'exec 3>"$0/owner"; exec "$@"', box.path, *ctl.args("send", name, "x"))
    assert done.returncode == 1
    assert complaint(done.stderr) == f"can't send to mailbox '{name}': its owner only receives"


def test_quota_of_a_user(mount, ipcctl):
    other = mount("-o", "uid_bytes=100K")
    box = other.box()
    os.chmod(box.send_path, 0o222)
    done = run(ipcctl, "-m", other.path, "send", "box1", "x" * 60000, uid=ALICE)
    assert done.returncode == 0
    done = run(ipcctl, "-m", other.path, "send", "box1", "x" * 60000, uid=ALICE)
    assert done.returncode == 1
    assert complaint(done.stderr) == (f"can't send to mailbox 'box1': what user {ALICE} holds on {other.path} has reached "
                                      "the quota (uid_bytes); receive or remove some of it")


def test_quota_of_the_mount(mount, ipcctl):
    other = mount("-o", "max_bytes=100K,uid_bytes=100K")
    other.box().send(b"x" * 60000)
    done = run(ipcctl, "-m", other.path, "send", "box1", "x" * 60000)
    assert done.returncode == 1
    assert complaint(done.stderr) in (
        f"can't send to mailbox 'box1': the ipcfs on {other.path} is full (max_bytes)",
        f"can't send to mailbox 'box1': what user root holds on {other.path} has reached the quota (uid_bytes); "
        "receive or remove some of it")


# --- full ---

def test_waits_for_room_and_has_its_turn(ctl, box, name):
    box.fill(b"first")
    sender = ctl.start("send", name, "second")
    box.wait_for(senders_waiting=1)
    expect_asleep(sender)
    third = box.start_send(b"third")
    box.wait_for(senders_waiting=2)
    assert box.take(3) == [b"first", b"second", b"third"]
    assert sender.output() == ""
    third.result()


@pytest.mark.parametrize("size", [5, 100000])
def test_does_not_wait(ctl, box, name, size):
    box.fill(b"first")
    assert ctl.fails("send", name, "--timeout", "0", stdin=b"x" * size) == (
        f"mailbox '{name}' has no room for the message (1 of 1 messages, 5 of 16777216 bytes); nothing was sent")
    assert box.drain() == [b"first"]


@pytest.mark.parametrize("size", [5, 100000])
def test_gives_up_in_time(ctl, box, name, size):
    box.fill(b"first")
    begun = time.monotonic()
    assert ctl.fails("send", name, "--timeout", "0.3", stdin=b"x" * size) == (
        f"mailbox '{name}' had no room for the message within 0.3 s (1 of 1 messages, 5 of 16777216 bytes); nothing was sent")
    assert time.monotonic() - begun >= 0.3
    assert box.counts("senders_waiting") == (0,)
    assert box.drain() == [b"first"]


@pytest.mark.parametrize("size", [5, 100000])
def test_room_in_time(ctl, box, name, size):
    box.fill(b"first")
    with open("/dev/zero", "rb") as zeros:
        data = zeros.read(size)
    with pipe_of(data) as stdin:
        sender = ctl.start("send", name, "-t", "30s", stdin=stdin)
        box.wait_for(senders_waiting=1)
        assert box.take(1) == [b"first"]
        assert sender.output() == ""
    assert ctl.ok("recv", name) == data.decode()


class pipe_of:
    """The read end of a pipe that somebody fills."""

    def __init__(self, data):
        self.data = data

    def __enter__(self):
        self.fd, out = os.pipe()
        self.thread = threading.Thread(target=self.fill, args=(out,))
        self.thread.start()
        return self.fd

    def fill(self, out):
        with open(out, "wb") as file:
            file.write(self.data)

    def __exit__(self, *_):
        os.close(self.fd)
        self.thread.join()


def test_room_for_something_but_not_for_this_is_waited_for_asleep(ctl, box, name):
    """poll(2) would say that there is room."""
    box.configure(bytes=100)
    box.send(b"x" * 60)
    sender = ctl.start("send", name, "y" * 50, "--timeout", "30")
    box.wait_for(senders_waiting=1)
    expect_asleep(sender)
    before = cpu_ticks(sender.pid)
    time.sleep(0.5)
    assert process_state(sender.pid) == "S" and cpu_ticks(sender.pid) - before <= 2
    assert box.take(1) == [b"x" * 60]
    assert sender.output() == ""
    assert box.drain() == [b"y" * 50]


def test_rendezvous_of_two_with_timeouts(ctl, box, name):
    box.configure(messages=0)
    receiver = ctl.start("recv", name, "--timeout", "30")
    sender = ctl.start("send", name, "met", "--timeout", "30")
    assert (sender.output(), receiver.output()) == ("", "met")


@pytest.mark.parametrize("size", [5, 100000])
@pytest.mark.parametrize("timeout", ["0.2", "0"])
def test_rendezvous_with_nobody(ctl, box, name, size, timeout):
    box.configure(messages=0)
    said = ctl.fails("send", name, "--timeout", timeout, stdin=b"x" * size)
    assert said.endswith("(it holds none: no receiver took it); nothing was sent")
    assert box.counts("messages", "senders_waiting") == (0, 0)


@pytest.mark.parametrize("size", [5, 100000])
@pytest.mark.parametrize("timeout", ["30", "0"])
def test_rendezvous_with_one_who_waits(ctl, box, name, size, timeout):
    box.configure(messages=0)
    receiver = ctl.start("recv", name)
    box.wait_for(receivers_waiting=1)
    assert ctl.ok("send", name, "--timeout", timeout, stdin=b"x" * size) == ""
    assert receiver.output() == "x" * size


def test_nothing_is_lost_or_doubled_around_the_timeout(ctl, box, name):
    """Whoever says that it has sent has, and the others have not."""
    box.fill(b"first")
    senders = [ctl.start("send", name, str(i), "--timeout", f"{20 + i}ms") for i in range(40)]
    time.sleep(0.04)
    box.configure(messages=20)
    done = [sender.wait() for sender in senders]
    assert set(done) <= {0, 1}
    sent = [str(i).encode() for i, status in enumerate(done) if status == 0]
    assert sorted(box.drain()) == sorted([b"first", *sent])


def test_a_timeout_that_is_over_before_the_wait_begins(ctl, box, name):
    box.fill(b"first")
    for _ in range(20):
        assert "nothing was sent" in ctl.fails("send", name, "--timeout", "0.000001", "x")
        assert "no message came" in ctl.fails("recv", name, "--count", "2", "--timeout", "0.000001", stdout=subprocess.DEVNULL,
                                                status=3)
        box.send(b"first")


def test_rejected(ctl, box, name):
    box.fill(b"first")
    box.configure(overflow="reject")
    assert ctl.fails("send", name, "x") == (
        f"can't send to mailbox '{name}': it is full (1 of 1 messages, 5 of 16777216 bytes) and rejects more (overflow=reject)")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait(ctl, box, name, number):
    box.fill(b"first")
    sender = ctl.start("send", name, "second")
    box.wait_for(senders_waiting=1)
    os.kill(sender.pid, number)
    assert sender.wait() == -number
    assert box.drain() == [b"first"]


def test_a_stopped_sender_goes_on_waiting(ctl, box, name):
    box.fill(b"first")
    sender = ctl.start("send", name, "second", "--timeout", "30")
    box.wait_for(senders_waiting=1)
    os.kill(sender.pid, signal.SIGSTOP)
    wait_until(lambda: process_state(sender.pid) == "T", "it stops")
    os.kill(sender.pid, signal.SIGCONT)
    box.wait_for(senders_waiting=1)
    assert box.take(2) == [b"first", b"second"]
    assert sender.output() == ""


# --- the mailbox goes meanwhile ---

def test_removed(ctl, box, name):
    box.configure(messages=0)
    sender = ctl.start("send", name, "second")
    box.wait_for(senders_waiting=1)
    os.rmdir(box.path)
    _, err = sender.communicate(timeout=PATIENCE)
    assert (sender.returncode, complaint(err)) == (1, f"mailbox '{name}' is gone: it was removed")


def test_its_owner_has_ended(ctl, box, name):
    box.fill(b"first")
    owner = open_owner(box)
    sender = ctl.start("send", name, "second")
    box.wait_for(senders_waiting=1)
    owner.kill()
    owner.wait()
    _, err = sender.communicate(timeout=PATIENCE)
    assert (sender.returncode, complaint(err)) == (
        1, f"mailbox '{name}' is gone: its owner, process {owner.pid} (sh), has ended")


def test_its_owner_has_given_it_up(ctl, box, name):
    box.fill(b"first")
    owner = start("sh", "-c", 'exec 3>"$0/owner"; echo; read x; exec 3>&-; echo; read x', box.path, stdin=-1)
    owner.stdout.readline()
    sender = ctl.start("send", name, "second")
    box.wait_for(senders_waiting=1)
    owner.stdin.write("\n")
    owner.stdin.flush()
    _, err = sender.communicate(timeout=PATIENCE)
    assert (sender.returncode, complaint(err)) == (
        1, f"mailbox '{name}' is gone: its owner, process {owner.pid} (sh), has given it up")


def test_the_daemon_has_ended(mount, ipcctl):
    other = mount()
    box = other.box()
    box.fill(b"first")
    sender = start(ipcctl, "-m", other.path, "send", "box1", "x")
    box.wait_for(senders_waiting=1)
    other.expected_status = -signal.SIGKILL
    os.kill(other.pid, signal.SIGKILL)
    _, err = sender.communicate(timeout=PATIENCE)
    assert (sender.returncode, complaint(err)) == (1, f"can't send to mailbox 'box1': the ipcfs on {other.path} has ended")


@pytest.mark.parametrize("args, said", [
    ([], "ipcctl send: say where to send it: a NAME"),
    (["box", "two", "teas"], "ipcctl send: one message at a time; a text with spaces needs quotes"),
    (["box", "x", "--file", "y"], "ipcctl send: choose: a TEXT or a --file"),
    (["box", "--prio", "32"], "ipcctl send: '32' is no priority: a number from 0 to 31"),
    (["box", "--prio", "-1"], "ipcctl send: '-1' is no priority: a number from 0 to 31"),
    (["box", "--prio", ""], "ipcctl send: '' is no priority: a number from 0 to 31"),
    *[(["box", "--timeout", time_], f"ipcctl send: '{time_}' is no time: seconds, or a number with ms, s, m or h")
      for time_ in ("", "x", "-1", "1x", "inf", "0x10", "1e3", "1 s", ".", "1.2.3")],
    (["shm/x", "y"], "ipcctl: region 'x' takes no messages; write to its file"),
])
def test_misuse(ctl, args, said):
    assert ctl.misused("send", *args) == said

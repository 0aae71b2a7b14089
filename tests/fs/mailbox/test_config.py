"""config and stat: what can be set, what it does at once, what is counted."""

import datetime
import errno
import os
import signal
import time

import pytest

from harness import TOOLS, Call, Handle, expect_asleep, fails_with, run, sh, wait_until

DEFAULTS = {"messages": "1024", "bytes": "16777216", "message_bytes": "65536", "overflow": "block", "ttl": "0",
            "attempts": "0", "dead": "", "durable": "no"}

STAT_KEYS = ("messages", "bytes", "sent", "received", "dropped", "rejected", "expired", "dead", "leased", "reserved",
             "senders_waiting", "receivers_waiting", "owner_pid")


# --- reading and writing config ---

def test_new_mailbox_has_the_defaults(box):
    assert box.config() == DEFAULTS


@pytest.mark.parametrize("key, value", [
    ("messages", "1"), ("messages", "0"), ("messages", "max"), ("messages", "1000000"), ("bytes", "1"),
    ("bytes", "1000000000"), ("message_bytes", "1"), ("message_bytes", "1044480"), ("overflow", "reject"),
    ("overflow", "drop-oldest"), ("overflow", "block"),
])
def test_each_key_can_be_set_alone(box, key, value):
    box.write_config(f"{key}={value}\n")
    assert box.config() == {**DEFAULTS, key: value}


def test_last_line_needs_no_newline(box):
    box.write_config("messages=5")
    assert box.config()["messages"] == "5"


def test_several_keys_can_be_set_at_once(box):
    box.write_config("overflow=reject\nmessages=3\nbytes=300\nmessage_bytes=30\n")
    assert box.config() == {**DEFAULTS, "messages": "3", "bytes": "300", "message_bytes": "30", "overflow": "reject"}


def test_of_a_key_that_comes_twice_the_last_counts(box):
    box.write_config("messages=3\nmessages=4\n")
    assert box.config()["messages"] == "4"


def test_what_is_read_can_be_written(box):
    box.configure(messages="max", bytes=12345, overflow="drop-oldest")
    text = "".join(f"{key}={value}\n" for key, value in box.config().items())
    box.write_config("messages=1\nbytes=1\noverflow=block\n")
    box.write_config(text)
    assert box.config() == {**DEFAULTS, "messages": "max", "bytes": "12345", "overflow": "drop-oldest"}


@pytest.mark.parametrize("text", [
    "messages=", "messages=-1", "messages=+1", "messages=abc", "messages=1.5", "messages=0x10", "messages=1 ",
    "messages=1;", "messages=Max", "messages=18446744073709551616", "messages=99999999999999999999999", "messages",
    "messages 5", "messages:5", "messages==5", "bytes=", "bytes=-1", "bytes=max", "bytes=lots",
    "bytes=18446744073709551616", "bytes=99999999999G", "message_bytes=", "message_bytes=-1", "message_bytes=1044481",
    "message_bytes=max",
    "message_bytes=1048576", "message_bytes=99999999999999999999", "overflow=", "overflow=wait", "overflow=BLOCK",
    "overflow=block,reject", "durable=daemon", "durable=disk", "durable=yes", "overflow=drop_oldest", "=5", "=", "x", "color=blue", "MESSAGES=5", "message=5", "sent=0",
    "owner_pid=1", "messages=5\0", "\0", "messages=5\r", "#messages=5", "ümlaut=5",
], ids=repr)
def test_bad_line_is_einval_and_changes_nothing(box, text):
    box.configure(messages=7, overflow="reject")
    for around in ("{}", "{}\n", "messages=9\nbytes=99\n{}\n", "{}\nmessages=9\noverflow=block\n"):
        with fails_with(errno.EINVAL):
            box.write_config(around.format(text))
    assert box.config() == {**DEFAULTS, "messages": "7", "overflow": "reject"}


def test_config_that_is_refused_tells_the_shell(box):
    with pytest.raises(AssertionError):
        sh("dash", "echo messages=many > config", cwd=box.path)
    assert box.config() == DEFAULTS


def test_bad_line_far_behind_changes_nothing_either(box):
    """Though the kernel would split so long a write, just between two lines."""
    text = b"messages=5\n".ljust(1 << 20, b"\n") + b"nonsense\n"
    with fails_with(errno.EINVAL):
        box.write_config(text)
    assert box.config() == DEFAULTS


def test_handle_writes_and_reads_config_again_and_again(box):
    with Handle(box.config_path, os.O_RDWR) as config:
        for i in range(1, 4):
            assert config.write(b"messages=%d\n" % i) == 11
            assert box.config()["messages"] == str(i)


@pytest.mark.parametrize("name", ["config", "stat"])
def test_handle_is_read_again_from_its_start_and_sees_what_is_new(box, name):
    with open(box.file(name), encoding="ascii") as file, Handle(box.file(name), os.O_RDONLY) as handle:
        old = file.read()
        box.configure(messages=1)
        box.send(b"x")
        new = os.pread(handle.fd, 4096, 0)
        assert new.decode() != old
        assert os.pread(handle.fd, 4096, 3) == new[3:]
        with Handle(box.file(name), os.O_RDONLY) as late:
            assert os.pread(late.fd, 4096, 3) == new[3:]
        file.seek(0)
        assert file.read() == new.decode()


def test_config_can_be_opened_to_be_read_and_written(box):
    with open(box.config_path, "r+", encoding="ascii") as config:
        assert "messages=1024\n" in config.read()
        config.write("messages=7\n")
    assert box.config()["messages"] == "7"


@pytest.mark.parametrize("name", ["config", "stat"])
@pytest.mark.parametrize("maker", TOOLS)
def test_head_and_tail_show_lines(box, name, maker):
    with open(box.file(name), encoding="ascii") as file:
        lines = file.read().splitlines(keepends=True)
    for command, expected in (("head -n 2", lines[:2]), ("tail -n 2", lines[-2:]), ("tail -n +2", lines[1:]),
                              ("cat", lines)):
        done = run(*TOOLS[maker], *command.split(), box.file(name))
        assert (done.stdout, done.stderr, done.returncode) == ("".join(expected), "", 0)


@pytest.mark.parametrize("name", ["config", "stat"])
@pytest.mark.parametrize("command", ["cat {} > {}", "cp {} {}", "dd if={} of={} status=none"])
@pytest.mark.parametrize("maker", TOOLS)
def test_tools_copy(box, tmp_path, name, command, maker):
    to = tmp_path / "copy"
    for n in (1, 22, 333):
        box.configure(messages=n)
        done = run("sh", "-c", " ".join([*TOOLS[maker], command.format(box.file(name), to)]))
        assert done.returncode == 0, done.stderr
        with open(box.file(name), encoding="ascii") as file:
            assert to.read_text() == file.read()


@pytest.mark.parametrize("name", ["config", "stat"])
def test_small_reads_see_one_state(box, name):
    box.configure(messages=111)
    with Handle(box.file(name), os.O_RDONLY) as file:
        text = file.read(1)
        box.configure(messages=999999)
        box.send(b"changes stat")
        while piece := file.read(1):
            text += piece
    assert text.decode().count("\n") == len(box.config() if name == "config" else box.stat())
    assert b"messages=111\n" in text or b"messages=0\n" in text


def test_many_writers_of_config_each_have_all_or_nothing(box):
    def configure(i):
        for _ in range(100):
            box.write_config(f"messages={i}\nbytes={i}00\nmessage_bytes={i}\n")
    writers = [Call(configure, i) for i in range(1, 5)]
    while any(writer.poll() is None for writer in writers):
        config = box.config()
        if config != DEFAULTS:
            assert (config["bytes"], config["message_bytes"]) == (config["messages"] + "00", config["messages"])
    for writer in writers:
        writer.result()


# --- capacity ---

def test_messages_bounds_how_many_wait(box):
    box.configure(messages=3)
    box.send(b"1", b"2", b"3")
    with fails_with(errno.EAGAIN):
        box.send(b"4")


def test_max_is_no_bound(box):
    box.configure(messages="max")
    with box.open_send() as send:
        for i in range(5000):
            send.write(b"%d" % i)
    assert box.stat()["messages"] == 5000
    assert box.drain() == [b"%d" % i for i in range(5000)]


def test_raising_messages_lets_in_as_many_as_wait_and_fit(box):
    box.fill(b"0")
    senders = []
    for i in range(1, 5):
        senders.append(box.start_send(b"%d" % i))
        box.wait_for(senders_waiting=i)
    box.configure(messages=3)
    box.wait_for(messages=3, senders_waiting=2)
    assert [senders[i].result() for i in range(2)] == [1, 1]
    box.configure(messages="max")
    box.wait_for(messages=5, senders_waiting=0)
    assert box.drain() == [b"0", b"1", b"2", b"3", b"4"]


def test_raising_bytes_lets_waiters_in(box):
    box.configure(bytes=10)
    box.send(b"0123456789")
    sender = box.start_send(b"ten bytes!")
    box.wait_for(senders_waiting=1)
    box.configure(bytes=19)
    box.wait_for(senders_waiting=1)
    box.configure(bytes=20)
    assert sender.result() == 10
    assert box.drain() == [b"0123456789", b"ten bytes!"]


def test_lowering_capacity_keeps_what_is_there(box):
    box.send(*[b"%d" % i for i in range(6)])
    box.configure(messages=2, bytes=2, message_bytes=1)
    assert box.counts("messages", "dropped") == (6, 0)
    for i in range(4):
        with fails_with(errno.EAGAIN):
            box.send(b"x")
        assert box.receive() == b"%d" % i
    assert box.receive() == b"4"
    box.wait_for(messages=1)
    box.send(b"6")
    assert box.drain() == [b"5", b"6"]


def test_changing_overflow_lets_waiters_in(box):
    box.fill(b"first")
    sender = box.start_send(b"second")
    box.wait_for(senders_waiting=1)
    box.configure(overflow="drop-oldest")
    assert sender.result() == 6
    assert box.drain() == [b"second"]


def test_smaller_message_bytes_counts_for_new_messages(box):
    box.send(b"ten bytes!")
    box.configure(message_bytes=5)
    with fails_with(errno.EMSGSIZE):
        box.send(b"sixsix")
    box.send(b"five!")
    assert box.drain() == [b"ten bytes!", b"five!"]


# --- rendezvous ---

@pytest.fixture
def meeting(box):
    box.configure(messages=0)
    return box


def test_rendezvous_send_returns_when_a_receiver_has_it(meeting):
    sender = meeting.start_send(b"message")
    meeting.wait_for(senders_waiting=1, messages=0, bytes=0, sent=0)
    time.sleep(0.05)
    assert sender.poll() is None
    expect_asleep(sender)
    assert Call(meeting.receive).result() == b"message"
    assert sender.result() == 7
    meeting.wait_for(senders_waiting=0, messages=0, sent=1, received=1)


def test_rendezvous_send_to_a_waiting_receiver_does_not_wait(meeting):
    receiver = meeting.start_receive()
    meeting.wait_for(receivers_waiting=1)
    assert meeting.start_send(b"message").result() == 7
    assert receiver.result() == b"message"


def test_rendezvous_without_a_partner_is_eagain_for_who_does_not_wait(meeting):
    with fails_with(errno.EAGAIN):
        meeting.send(b"x")
    with fails_with(errno.EAGAIN):
        meeting.receive()
    assert meeting.counts("sent", "received", "messages") == (0, 0, 0)


def test_rendezvous_with_a_waiting_receiver_takes_a_nonblocking_send(meeting):
    receiver = meeting.start_receive()
    meeting.wait_for(receivers_waiting=1)
    Call(meeting.send, b"message").result()
    assert receiver.result() == b"message"
    with fails_with(errno.EAGAIN):
        meeting.send(b"nobody waits any more")


@pytest.mark.parametrize("policy, code", [("block", errno.EAGAIN), ("reject", errno.ENOBUFS)])
def test_rendezvous_with_a_receiver_of_too_small_a_buffer_does_not_wait(meeting, policy, code):
    meeting.configure(overflow=policy)

    def read_four():
        with meeting.open_recv(os.O_DIRECT) as recv:
            recv.read(4)
    receiver = Call(read_four)
    meeting.wait_for(receivers_waiting=1)
    sender = Call(meeting.send, b"longer than four")
    with fails_with(code):
        sender.result()
    with fails_with(errno.EMSGSIZE):
        receiver.result()
    meeting.wait_for(senders_waiting=0, receivers_waiting=0)


def test_rendezvous_serves_senders_by_priority_and_arrival(meeting):
    senders = []
    for name, data in [("send", b"a"), ("send", b"b"), ("send.9", b"urgent")]:
        senders.append(meeting.start_send(data, name))
        meeting.wait_for(senders_waiting=len(senders))
    assert [meeting.start_receive().result() for _ in range(3)] == [b"urgent", b"a", b"b"]
    assert [sender.result() for sender in senders] == [1, 1, 6]


def test_rendezvous_many_times(meeting):
    def send_all():
        with meeting.open_send(0) as send:
            for i in range(300):
                send.write(b"%d" % i)
    sender = Call(send_all)
    with meeting.open_recv(os.O_DIRECT) as recv:
        assert [recv.read() for _ in range(300)] == [b"%d" % i for i in range(300)]
    sender.result()
    with fails_with(errno.EAGAIN):
        meeting.receive()


def test_interrupted_rendezvous_send_was_not_received(meeting):
    sender = meeting.start_send(b"message")
    meeting.wait_for(senders_waiting=1)
    sender.kill(signal.SIGTERM)
    assert sender.wait() == -signal.SIGTERM
    with fails_with(errno.EAGAIN):
        meeting.receive()


def test_rendezvous_with_a_receiver_that_is_being_killed(meeting):
    """It has the message or it has not; the sender waits on in the second case."""
    for i in range(50):
        message = b"%d" % i
        victim = meeting.start_receive()
        meeting.wait_for(receivers_waiting=1)
        victim.kill()
        sender = meeting.start_send(message)
        victim.wait()
        received = []
        def is_over():
            received.extend(meeting.drain())
            return sender.poll() is not None
        wait_until(is_over, "the sender returns")
        assert sender.result() == len(message)
        assert received in ([], [message])
        meeting.wait_for(sent=i + 1, received=i + 1, senders_waiting=0, receivers_waiting=0)


def test_turning_into_a_rendezvous_keeps_what_waits(box):
    box.send(b"one", b"two")
    box.configure(messages=0)
    with fails_with(errno.EAGAIN):
        box.send(b"three")
    sender = box.start_send(b"three")
    box.wait_for(senders_waiting=1)
    assert box.take(3) == [b"one", b"two", b"three"]
    assert sender.result() == 5


def test_turning_a_rendezvous_into_a_queue_lets_senders_in(meeting):
    sender = meeting.start_send(b"message")
    meeting.wait_for(senders_waiting=1)
    meeting.configure(messages=1)
    assert sender.result() == 7
    assert meeting.drain() == [b"message"]


# --- overflow ---

@pytest.mark.parametrize("flags", [0, os.O_NONBLOCK], ids=["blocking", "nonblocking"])
def test_reject_is_enobufs_and_counted(box, flags):
    box.configure(messages=1, overflow="reject")
    box.send(b"first")
    with box.open_send(flags) as send:
        for i in range(3):
            with fails_with(errno.ENOBUFS):
                Call(send.write, b"second").result()
            assert box.counts("rejected", "messages", "sent") == (i + 1, 1, 1)
    assert box.drain() == [b"first"]


def test_reject_by_bytes(box):
    box.configure(bytes=10, overflow="reject")
    box.send(b"123456")
    with fails_with(errno.ENOBUFS):
        box.send(b"12345")
    box.send(b"1234")
    assert box.stat()["rejected"] == 1


def test_reject_in_a_rendezvous_means_nobody_waits(box):
    box.configure(messages=0, overflow="reject")
    with fails_with(errno.ENOBUFS):
        Call(box.send, b"x").result()
    receiver = box.start_receive()
    box.wait_for(receivers_waiting=1)
    assert box.start_send(b"message").result() == 7
    assert receiver.result() == b"message"


def test_drop_oldest_makes_room_and_counts(box):
    box.configure(messages=3, overflow="drop-oldest")
    for i in range(8):
        box.start_send(b"%d" % i).result()
    assert box.counts("messages", "dropped", "sent") == (3, 5, 8)
    assert box.drain() == [b"5", b"6", b"7"]


def test_drop_oldest_takes_the_oldest_of_the_lowest_priority(box):
    box.configure(messages=5, overflow="drop-oldest")
    for name, data in [("send.5", b"p5"), ("send.2", b"p2 old"), ("send.2", b"p2 new"), ("send.9", b"p9"),
                       ("send.5", b"p5 new")]:
        box.send(data, name=name)
    box.send(b"p7", name="send.7")
    assert box.stat()["dropped"] == 1
    box.send(b"p7 too", name="send.7")
    assert box.stat()["dropped"] == 2
    assert box.drain() == [b"p9", b"p7", b"p7 too", b"p5", b"p5 new"]


def test_drop_oldest_drops_as_many_as_the_bytes_take(box):
    box.configure(bytes=10, overflow="drop-oldest")
    box.send(b"aaa", b"bbb", b"ccc", b"ddddddd")
    assert box.counts("messages", "bytes", "dropped") == (2, 10, 2)
    assert box.drain() == [b"ccc", b"ddddddd"]


@pytest.mark.parametrize("overflow", ["block", "reject", "drop-oldest"])
def test_message_that_can_never_fit_is_emsgsize_under_each_policy(box, overflow):
    box.configure(bytes=10, overflow=overflow)
    box.send(b"1234567890")
    with fails_with(errno.EMSGSIZE):
        Call(box.send, b"12345678901").result()
    assert box.counts("dropped", "rejected", "messages") == (0, 0, 1)


# --- stat ---

def test_stat_has_its_keys(box):
    stat = box.stat()
    assert set(STAT_KEYS) <= set(stat)
    assert len(stat) == len(STAT_KEYS) + 2
    assert box.counts(*STAT_KEYS[:-1]) == (0,) * (len(STAT_KEYS) - 1)


def test_stat_counts_messages_and_bytes(box):
    box.send(b"12345", b"123", name="send.3")
    assert box.counts("messages", "bytes", "sent", "received") == (2, 8, 2, 0)
    box.receive()
    box.wait_for(messages=1, bytes=3, sent=2, received=1)
    box.receive()
    box.wait_for(messages=0, bytes=0, sent=2, received=2)


def test_stat_counts_who_waits(box):
    box.fill()
    senders = [box.start_send(b"x") for _ in range(3)]
    box.wait_for(senders_waiting=3, receivers_waiting=0)
    box.take(4)
    box.wait_for(senders_waiting=0)
    receivers = [box.start_receive() for _ in range(2)]
    box.wait_for(receivers_waiting=2, senders_waiting=0)
    for caller in senders + receivers:
        caller.destroy()
    box.wait_for(receivers_waiting=0)


def test_stat_tells_when_the_last_message_came_and_went(box):
    def parse(text):
        assert text.endswith("Z") and len(text.partition(".")[2]) == len("123456789Z")
        return datetime.datetime.fromisoformat(text[:26] + "+00:00").timestamp()

    assert (box.stat()["last_send"], box.stat()["last_receive"]) == ("", "")
    before = time.time() - 0.001
    box.send(b"x")
    sent = parse(box.stat()["last_send"])
    assert before <= sent <= time.time() + 0.001 and box.stat()["last_receive"] == ""
    box.receive()
    box.wait_for(received=1)
    assert sent <= parse(box.stat()["last_receive"]) <= time.time() + 0.001
    assert parse(box.stat()["last_send"]) == sent


def test_stat_of_one_mailbox_does_not_count_another(mnt, box):
    other = mnt.box()
    other.send(b"x")
    assert box.counts("sent", "messages", "bytes") == (0, 0, 0)
    other.remove()


def test_waiting_sender_counts_as_sent_once_it_is_in(box):
    box.fill(b"first")
    sender = box.start_send(b"second")
    box.wait_for(senders_waiting=1, sent=1)
    box.receive()
    assert sender.result() == 6
    wait_until(lambda: box.counts("sent", "messages") == (2, 1), "it is in")

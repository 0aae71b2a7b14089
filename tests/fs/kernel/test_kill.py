"""Signals: whoever waits ends at once, and what it wanted has not happened."""

import os
import signal

import pytest

from harness import Command, SHELLS, TOOLS, expect_asleep, process_state, wait_until

DEADLY = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL, signal.SIGUSR1]


def expect_death(command, number):
    expect_asleep(command)
    command.send_signal(number)
    # A shell may still say what has happened and end by itself.
    assert command.wait() != 0


@pytest.mark.parametrize("number", DEADLY, ids=lambda number: number.name)
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", ["send", "send.31", "send.lines"])
def test_waiting_echo_dies_at_once(box, shell, name, number):
    box.fill(b"first")
    echo = Command([*SHELLS[shell], "-c", f"echo second > {name}"], cwd=box.path)
    box.wait_for(senders_waiting=1)
    expect_death(echo, number)
    box.wait_for(senders_waiting=0, messages=1, sent=1)
    assert box.drain() == [b"first"]


@pytest.mark.parametrize("number", DEADLY, ids=lambda number: number.name)
@pytest.mark.parametrize("maker", TOOLS)
@pytest.mark.parametrize("name", ["recv", "recv.lines", "recv.json"])
def test_waiting_cat_dies_at_once(box, maker, name, number):
    # Not into a pipe, to which busybox would splice.
    with open("/dev/null", "wb") as null:
        cat = Command([*TOOLS[maker], "cat", box.file(name)], stdout=null)
    box.wait_for(receivers_waiting=1)
    expect_death(cat, number)
    box.wait_for(receivers_waiting=0)
    box.send(b"message")
    assert box.drain() == [b"message"]


@pytest.mark.parametrize("shell", SHELLS)
def test_waiting_read_builtin_dies_at_once(box, shell):
    reader = Command([*SHELLS[shell], "-c", "read line < recv"], cwd=box.path)
    # That of busybox waits in poll, where `stat` does not count it.
    wait_until(lambda: os.readlink(f"/proc/{reader.pid}/fd/0") == box.recv_path, "recv is open")
    expect_death(reader, signal.SIGTERM)
    box.wait_for(receivers_waiting=0)


def test_sender_of_a_rendezvous_dies_at_once_and_its_message_with_it(box):
    box.configure(messages=0)
    sender = box.start_send(b"message")
    box.wait_for(senders_waiting=1)
    sender.kill()
    assert sender.wait() == -signal.SIGKILL
    box.wait_for(senders_waiting=0, sent=0, messages=0)
    assert box.drain() == []


def test_thread_group_dies_with_all_its_waiting_threads(box):
    script = ("import os, sys, threading\n"
              "def receive(): os.read(os.open(sys.argv[1], os.O_RDONLY), 100)\n"
              "for _ in range(20): threading.Thread(target=receive).start()\n")
    process = Command(["/usr/bin/python3", "-c", script, box.recv_path])
    box.wait_for(receivers_waiting=20)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    box.wait_for(receivers_waiting=0)
    box.send(b"message")
    assert box.drain() == [b"message"]


def test_stopped_and_continued_receiver_can_still_be_killed(box):
    """Whether it then waits on is its own affair (EINTR); nothing may hang or get lost."""
    reader = box.start_receive()
    box.wait_for(receivers_waiting=1)
    reader.kill(signal.SIGSTOP)
    wait_until(lambda: process_state(reader.pid) == "T", "it stops")
    box.send(b"message")
    reader.kill(signal.SIGCONT)
    try:
        assert reader.result() == b"message"
    except InterruptedError:
        assert box.drain() == [b"message"]


def test_killing_half_of_those_who_wait_leaves_the_order_of_the_others(box):
    box.fill(b"first")
    senders = []
    for i in range(10):
        senders.append(box.start_send(b"%d" % i))
        box.wait_for(senders_waiting=i + 1)
    for sender in senders[::2]:
        sender.kill()
        assert sender.wait() == -signal.SIGKILL
    box.wait_for(senders_waiting=5)
    assert box.take(6) == [b"first", b"1", b"3", b"5", b"7", b"9"]


def test_killing_the_first_lets_in_who_waited_behind_it(box):
    """The large message found no room and held up the small one; now nothing does."""
    box.configure(bytes=100)
    box.send(b"x" * 60)
    large = box.start_send(b"y" * 60)
    box.wait_for(senders_waiting=1)
    small = box.start_send(b"z")
    box.wait_for(senders_waiting=2)
    large.kill()
    assert small.result() == 1
    assert box.drain() == [b"x" * 60, b"z"]

"""What the close of a file that is sent at its end waits for, and knows: whether it is the last of its process."""

import os
import resource
import signal
import subprocess
import sys

import pytest

from harness import ALICE, BOB, PATIENCE, Call, Handle, wait_until


def is_readable_now(path):
    """A process in execve makes whoever reads some of its files in /proc wait."""
    subprocess.run([sys.executable, "-c", f"open({path!r}).read()"], timeout=PATIENCE, check=True)


# --- execve closes files too ---

@pytest.mark.parametrize("name, settings", [("send.lines", {"messages": 1}), ("drop/x", {"messages": 0})],
                         ids=["lines", "drop"])
def test_who_closes_in_execve_is_not_held_up(box, name, settings):
    """Who looks at a process that is in execve waits for it: ps, top, a debugger."""
    box.configure(**settings)
    if settings["messages"]:
        box.send(b"first")

    def close_in_execve():
        # Handles are O_CLOEXEC.
        file = Handle(box.file(name), os.O_WRONLY | os.O_CREAT)
        file.write(b"the rest")
        os.execv("/bin/sleep", ["sleep", "1000"])
    call = Call(close_in_execve)
    box.wait_for(senders_waiting=1)
    wait_until(lambda: os.readlink(f"/proc/{call.pid}/exe").endswith(("sleep", "coreutils")), "sleep runs")
    is_readable_now(f"/proc/{call.pid}/stat")
    assert box.take(2 if settings["messages"] else 1)[-1] == b"the rest"
    call.kill()


# --- which close is the last ---

N_DESCRIPTORS = 5000


def fill_descriptors(n):
    """So many that the one that counts is far behind."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (n + 1000, n + 1000))
    for _ in range(n):
        os.open("/dev/null", os.O_RDONLY)


def open_sent_at_the_end(box, name):
    return Handle(box.file(name), os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK)


ENDS = pytest.mark.parametrize("name", ["send.lines", "drop/x"])


@ENDS
def test_a_file_elsewhere_with_the_same_inode_number_does_not_spoil_the_close(mount, name):
    """Two mounts of our own number their files alike."""
    box, elsewhere = mount().box(), mount().box()
    file, other = open_sent_at_the_end(box, name), open_sent_at_the_end(elsewhere, name)
    assert os.fstat(file.fd).st_ino == os.fstat(other.fd).st_ino
    assert os.fstat(file.fd).st_dev != os.fstat(other.fd).st_dev
    file.write(b"all")
    # It keeps the RELEASE away: only the close can send.
    holder = Call(signal.pause)
    file.close()
    assert box.counts("messages") == (1,)
    holder.kill()
    other.close()


def test_another_open_of_the_same_name_does_not_spoil_the_close(box):
    first, second = open_sent_at_the_end(box, "send.lines"), open_sent_at_the_end(box, "send.lines")
    first.write(b"all")
    holder = Call(signal.pause)
    first.close()
    assert box.counts("messages") == (1,)
    holder.kill()
    second.close()


@ENDS
@pytest.mark.parametrize("moved", [False, True], ids=["gone", "moved"])
def test_one_among_many_descriptors_is_found(box, name, moved):
    def close():
        fill_descriptors(N_DESCRIPTORS)
        file = open_sent_at_the_end(box, name)
        file.write(b"all")
        last = os.dup(file.fd)
        holder = Call(signal.pause)
        os.close(file.fd)
        before = box.counts("messages")
        if not moved:
            os.close(last)
        after = box.counts("messages")
        holder.kill()
        holder.wait()
        return before, after
    assert Call(close).result() == ((0,), (int(not moved),))


def test_many_who_close_with_many_descriptors_hold_up_nobody(box):
    """Each of them is served a bit at a time, beside those of others."""
    def close_for_ever():
        fill_descriptors(N_DESCRIPTORS)
        file = open_sent_at_the_end(box, "send.lines")
        file.write(b"rest")
        while True:
            os.close(os.dup(file.fd))
    callers = [Call(close_for_ever, uid=ALICE) for _ in range(3)]
    other = Call(send_at_closes, box, 50, uid=BOB)
    assert other.result() == 50
    assert all(caller.poll() is None for caller in callers)


def send_at_closes(box, n):
    for i in range(n):
        with open_sent_at_the_end(box, "send.lines") as file:
            file.write(b"%d" % i)
    return n


def test_who_is_killed_while_it_is_found_out_ends(box):
    def close_for_ever():
        fill_descriptors(N_DESCRIPTORS)
        file = open_sent_at_the_end(box, "send.lines")
        file.write(b"rest")
        while True:
            os.close(os.dup(file.fd))
    callers = [Call(close_for_ever) for _ in range(8)]
    for caller in callers:
        wait_until(lambda: len(os.listdir(f"/proc/{caller.pid}/fd")) > N_DESCRIPTORS, "it has opened them all")
    for caller in callers:
        caller.kill()
    for caller in callers:
        caller.wait()
    assert box.take(8) == [b"rest"] * 8

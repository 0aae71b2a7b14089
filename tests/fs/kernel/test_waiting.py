"""Who waits holds up nobody: not a second sender, not one that won't wait, not who looks or administers."""

import errno
import os
import signal
import stat
import time

import pytest

from harness import (PATIENCE, SHELLS, SLOW, WHILE, Call, expect_asleep, fails_with, run, sh, start, start_sh, try_open,
                     wait_until)


def start_echo(shell, box, name, text, number):
    """An echo that waits, the number'th in the mailbox."""
    echo = start_sh(shell, f"printf %s {text} > {name}", cwd=box.path)
    box.wait_for(senders_waiting=number)
    return echo


def expect_kill(caller, number=signal.SIGTERM):
    os.kill(caller.pid, number)
    assert caller.wait() == -number


# --- senders ---

@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("victim", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize("name", ["send", "send.1"])
def test_two_blocked_echos_and_a_writer_that_does_not_wait(box, shell, name, victim):
    box.fill(b"full")
    echos = [start_echo(shell, box, name, i, i + 1) for i in range(2)]
    expect_asleep(*echos)
    for _ in range(3):
        with fails_with(errno.EAGAIN):
            Call(box.send, b"at once").result()
    expect_kill(echos[victim])
    box.wait_for(senders_waiting=1)
    expect_asleep(echos[1 - victim])
    with fails_with(errno.EAGAIN):
        Call(box.send, b"at once").result()
    assert box.take(2) == [b"full", b"%d" % (1 - victim)]
    assert echos[1 - victim].wait() == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_two_writers_of_one_inherited_descriptor_can_each_be_killed(box, shell):
    box.fill(b"full\n")
    script = "exec 3>send; echo a >&3 & echo $!; echo b >&3 & echo $!; exec 3>&-; wait"
    family = start_sh(shell, script, cwd=box.path)
    pids = [int(family.stdout.readline()) for _ in range(2)]
    box.wait_for(senders_waiting=2)
    with fails_with(errno.EAGAIN):
        Call(box.send, b"at once").result()
    for left, pid in ((1, pids[1]), (0, pids[0])):
        os.kill(pid, signal.SIGTERM)
        box.wait_for(senders_waiting=left)
    assert family.wait() == 0
    assert box.drain() == [b"full\n"]


def expect_side_by_side(box, flags, patience=PATIENCE):
    box.fill(b"full")
    with box.open_send(flags) as send:
        writers = [Call(send.write, b"%d" % i) for i in range(4)]
        box.wait_for(senders_waiting=4, patience=patience)
        expect_asleep(*writers)
        # The flag is the descriptor's: it holds for all from now on.
        send.set_flags(flags | os.O_NONBLOCK)
        with fails_with(errno.EAGAIN):
            Call(send.write, b"at once").result()
    assert sorted(box.take(5)) == [b"0", b"1", b"2", b"3", b"full"]
    assert [writer.result() for writer in writers] == [1] * 4


@pytest.mark.parametrize("flags", [0, os.O_TRUNC, os.O_CREAT | os.O_TRUNC], ids=["plain", "truncate", "create"])
def test_writers_of_one_inherited_descriptor_wait_side_by_side(box, flags):
    expect_side_by_side(box, flags)


@pytest.mark.xfail(strict=True, reason="Linux locks the inode for each O_APPEND write, whatever FOPEN_* says")
def test_writers_of_one_inherited_descriptor_to_append_wait_side_by_side(box):
    expect_side_by_side(box, os.O_APPEND, 2 * SLOW)


def test_large_messages_wait_side_by_side_on_one_descriptor(box):
    largest = 1044480
    box.configure(messages=1, message_bytes=largest)
    box.send(b"full")
    with box.open_send(0) as send:
        writers = [Call(send.write, bytes([i]) * largest) for i in range(3)]
        box.wait_for(senders_waiting=3)
        expect_asleep(*writers)
        expect_kill(writers[1], signal.SIGKILL)
        box.wait_for(senders_waiting=2)
    assert sorted(box.take(3)) == [bytes(largest), b"\2" * largest, b"full"]


@pytest.mark.xfail(strict=True, reason="Linux locks the inode to truncate it, and the other write holds that lock")
def test_open_of_a_descriptor_anew_does_not_wait_for_its_writer(box):
    """What `echo > /dev/fd/3` does: open and truncate the very file in which another write waits."""
    box.fill()
    with box.open_send(0) as send:
        Call(send.write, b"waits")
        box.wait_for(senders_waiting=1)
        again = Call(try_open, f"/proc/self/fd/{send.fd}", os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK)
        wait_until(lambda: again.poll() is not None, "it opens", 2 * SLOW)


def test_hundred_blocked_echos_are_all_let_in(box):
    box.fill(b"full\n")
    echos = [start("sh", "-c", f"echo {i} > {box.send_path}") for i in range(100)]
    box.wait_for(senders_waiting=100)
    assert sorted(box.take(101)) == sorted([b"full\n"] + [b"%d\n" % i for i in range(100)])
    assert [echo.wait() for echo in echos] == [0] * 100


def test_senders_of_other_mailboxes_go_on(mnt, box):
    box.fill()
    blocked = [box.start_send(b"x") for _ in range(10)]
    box.wait_for(senders_waiting=10)
    other = mnt.box()
    for _ in range(100):
        other.send(b"y")
        assert other.receive() == b"y"
    other.remove()
    expect_asleep(*blocked)


# --- receivers ---

def test_blocked_cats_and_a_reader_that_does_not_wait(box):
    cats = []
    for i in range(2):
        cats.append(start("cat", box.recv_path))
        box.wait_for(receivers_waiting=i + 1)
    expect_asleep(*cats)
    with fails_with(errno.EAGAIN):
        Call(box.receive).result()
    expect_kill(cats[0])
    box.wait_for(receivers_waiting=1)
    box.send(b"message")
    assert cats[1].output() == "message"


def test_reader_that_does_not_wait_on_a_descriptor_on_which_another_waits(box):
    with box.open_recv(0) as recv:
        waiting = Call(recv.read)
        box.wait_for(receivers_waiting=1)
        recv.set_flags(os.O_NONBLOCK)
        with fails_with(errno.EAGAIN):
            Call(recv.read).result()
        expect_asleep(waiting)


# --- everybody else ---

@pytest.fixture
def busy(mnt):
    """A mailbox in which a sender waits, and one in which a receiver does."""
    full, empty = mnt.box(), mnt.box()
    full.fill()
    callers = [full.start_send(b"second"), empty.start_receive()]
    full.wait_for(senders_waiting=1)
    empty.wait_for(receivers_waiting=1)
    yield full, empty
    expect_asleep(*callers)
    for caller in callers:
        caller.destroy()
    full.remove()
    empty.remove()


def each_file(boxes):
    return [box.file(name) for box in boxes for name in ("", "send", "send.4", "recv", "config", "stat")]


def test_looking_and_listing_do_not_wait(busy, mnt):
    def look():
        for path in each_file(busy):
            os.stat(path)
        for box in busy:
            os.listdir(box.path)
            box.config()
            box.stat()
        os.statvfs(mnt.path)
    Call(look).result()
    assert run("ls", "-lR", mnt.path).returncode == 0


def test_changing_modes_owners_and_times_does_not_wait(busy):
    def change():
        for path in each_file(busy):
            mode = stat.S_IMODE(os.stat(path).st_mode)
            os.chmod(path, 0o777)
            os.chmod(path, mode)
            os.chown(path, 0, 0)
            os.utime(path)
    Call(change).result()


def test_opening_truncating_and_closing_do_not_wait(busy):
    def open_all():
        for box in busy:
            for flags in (os.O_TRUNC, os.O_APPEND, os.O_CREAT | os.O_TRUNC):
                box.open_send(flags).close()
            box.open_recv(0).close()
            os.truncate(box.send_path, 0)
    Call(open_all).result()


def test_configuring_does_not_wait(busy):
    def configure():
        for box in busy:
            box.configure(message_bytes=1000)
    Call(configure).result()


def test_mv_and_back_does_not_wait(busy):
    def move():
        for box in busy:
            os.rename(box.path, box.path + "2")
            os.rename(box.path + "2", box.path)
    Call(move).result()


def test_mkdir_and_rmdir_beside_do_not_wait(busy, mnt):
    def make():
        for i in range(20):
            os.mkdir(os.path.join(mnt.mbox, f"beside{i}"))
        for i in range(20):
            os.rmdir(os.path.join(mnt.mbox, f"beside{i}"))
    Call(make).result()


def test_rmdir_of_a_full_mailbox_does_not_wait(busy):
    full, _ = busy
    with fails_with(errno.ENOTEMPTY):
        Call(os.rmdir, full.path).result()


def test_syncfs_does_not_wait(busy, mnt):
    assert run("sync", "-f", mnt.path).returncode == 0


def test_closing_a_handle_on_which_another_process_waits_does_not_wait(box):
    box.fill()
    send = box.open_send(0)
    writer = Call(send.write, b"second")
    box.wait_for(senders_waiting=1)
    send.close()
    assert box.take(2) == [b"first", b"second"]
    assert writer.result() == 6


def test_fork_and_exit_of_a_family_that_shares_a_waiting_handle(box):
    """Only the last close is one; each flush in between must neither wait nor end the wait."""
    with box.open_recv(0) as recv:
        reader = Call(recv.read)
        box.wait_for(receivers_waiting=1)
        for _ in range(10):
            assert run("true", pass_fds=[recv.fd]).returncode == 0
        expect_asleep(reader)
        box.send(b"message")
        assert reader.result() == b"message"


def test_waiting_costs_the_daemon_no_thread(mnt, box):
    before = mnt.n_threads()
    callers = [box.start_receive() for _ in range(50)]
    box.wait_for(receivers_waiting=50)
    assert mnt.n_threads() <= before + 2
    expect_asleep(*callers)


def test_daemon_sleeps_while_callers_wait(mnt, box):
    """No polling: what waits costs no time."""
    def is_idle():
        before = mnt.cpu_ticks()
        time.sleep(WHILE)
        return mnt.cpu_ticks() == before

    box.fill()
    box.start_send(b"second")
    box.wait_for(senders_waiting=1)
    wait_until(is_idle, "the daemon is idle")


@pytest.mark.parametrize("shell", SHELLS)
def test_shell_waits_for_its_waiting_children(box, shell):
    script = "echo a > send & echo b > send & cat recv > /dev/null; cat recv > /dev/null; wait; echo done"
    assert sh(shell, script, cwd=box.path) == "done\n"

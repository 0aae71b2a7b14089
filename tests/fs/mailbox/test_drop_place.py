"""drop/ and the mailbox: the place that a file takes in it, a rendezvous, what stays, a mailbox that goes."""

import contextlib
import errno
import os
import platform
import re
import signal

import pytest

from dropping import create, drop, expect_free_and_nothing_sent, start_create
from dropping import file, large_box, single  # pylint: disable=unused-import
from harness import (ALICE, BOB, SLOW, Call, Handle, as_user, expect_asleep, fails_with, interruptible, run, sh,
                     start, start_sh, wait_until)

# --- the place in the mailbox ---

def test_creating_takes_the_place_until_the_message_is_received(single):
    with create(single) as file:
        for _ in range(2):
            with fails_with(errno.EAGAIN):
                create(single, flags=os.O_NONBLOCK)
            with fails_with(errno.EAGAIN):
                single.send(b"at once")
        file.write(b"message")
    with fails_with(errno.EAGAIN):
        create(single, flags=os.O_NONBLOCK)
    assert single.receive() == b"message"
    single.wait_for(messages=0)
    with create(single, flags=os.O_NONBLOCK) as file:
        file.write(b"next")
    assert single.drain() == [b"next"]


def test_place_that_is_taken_can_be_filled_however_full_it_is(box):
    box.configure(bytes=1000)
    with create(box) as file:
        box.send(b"x" * 600)
        file.write(b"y" * 900)
    assert [len(message) for message in box.drain()] == [600, 900]


def test_second_creator_waits_for_the_place(single):
    with create(single) as file:
        second = start_create(single)
        single.wait_for(senders_waiting=1)
        expect_asleep(second)
        file.write(b"first")
    expect_asleep(second)
    assert single.take(2) == [b"first", b"second"]
    second.result()


def test_place_of_a_writer_that_is_killed_goes_to_who_waits(single):
    def hold():
        create(single).write(b"never sent")
        signal.pause()
    holder = Call(hold)
    wait_until(lambda: not can_create(single), "the place is taken")
    second = start_create(single)
    sender = single.start_send(b"third")
    single.wait_for(senders_waiting=2)
    holder.kill()
    assert sorted(single.take(2)) == [b"second", b"third"]
    second.result()
    sender.result()


def can_create(box):
    with contextlib.suppress(BlockingIOError):
        create(box, flags=os.O_NONBLOCK).close()
        return True
    return False


def test_place_of_a_file_without_a_write_goes_to_who_waits(single, tmp_path):
    (tmp_path / "file").write_text("second")
    with create(single):
        # A process that does not inherit the first one's file.
        second = start("cp", tmp_path / "file", single.file("drop/"))
        single.wait_for(senders_waiting=1)
    assert second.wait() == 0
    assert single.drain() == [b"second"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_creators_that_wait_can_each_be_killed_and_hold_up_nobody(shell, single, file, number):
    single.send(b"full")
    copies = []
    for i in range(2):
        copies.append(start_sh(shell, f"exec cp {file} drop/", cwd=single.path))
        single.wait_for(senders_waiting=i + 1)
    expect_asleep(*copies)
    with fails_with(errno.EAGAIN):
        Call(create, single, "file", os.O_NONBLOCK).result()
    assert run("ls", "-lR", single.path).returncode == 0
    for left in (1, 0):
        copies[left].send_signal(number)
        assert copies[left].wait() == -number
        single.wait_for(senders_waiting=left)
    assert single.drain() == [b"full"]


@pytest.mark.xfail(strict=True, reason="Linux locks the directory that a file is made in, and these two share its inode")
def test_creators_that_stand_in_drop_hold_up_nobody(single, file):
    single.send(b"full")
    family = start_sh("dash", f"cp {file} a & cp {file} b & wait", cwd=single.file("drop"))
    try:
        single.wait_for(senders_waiting=2, patience=2 * SLOW)
    finally:
        family.kill_family()
        single.drain()


def test_signal_ends_a_waiting_creation_with_eintr(single):
    single.send(b"full")

    def wait():
        signal.signal(signal.SIGUSR1, lambda *_: None)
        return interruptible("open", os.fsencode(single.file("drop/file")), os.O_WRONLY | os.O_CREAT, 0o600)

    creator = Call(wait)
    single.wait_for(senders_waiting=1)
    creator.kill(signal.SIGUSR1)
    with fails_with(errno.EINTR):
        creator.result()
    single.wait_for(senders_waiting=0)
    assert single.drain() == [b"full"]
    expect_free_and_nothing_sent(single)


def test_creators_killed_while_they_wait_leave_no_place_taken(single):
    for _ in range(50):
        single.send(b"full")
        creator = start_create(single)
        single.wait_for(senders_waiting=1)
        creator.kill()
        assert single.receive() == b"full"
        creator.wait()
        expect_free_and_nothing_sent(single)


def test_full_mailbox_that_rejects_takes_no_file(single):
    single.configure(overflow="reject")
    single.send(b"full")
    with fails_with(errno.ENOBUFS):
        create(single)
    assert single.stat()["rejected"] == 1
    assert single.drain() == [b"full"]


def test_mailbox_that_drops_the_oldest_takes_a_file(single):
    single.configure(overflow="drop-oldest")
    single.send(b"oldest")
    drop(single, b"newest")
    assert single.drain() == [b"newest"]
    assert single.stat()["dropped"] == 1


def test_file_waits_for_its_turn_behind_other_senders(single):
    single.send(b"first")
    sender = single.start_send(b"second")
    single.wait_for(senders_waiting=1)
    creator = start_create(single, b"third")
    single.wait_for(senders_waiting=2)
    assert single.take(3) == [b"first", b"second", b"third"]
    sender.result()
    creator.result()


# --- a rendezvous ---

def test_close_waits_for_the_receiver_in_a_rendezvous(shell, box, tmp_path):
    box.configure(messages=0)
    (tmp_path / "file").write_text("hello\n")
    copy = start_sh(shell, f"cp {tmp_path}/file drop/ && echo sent", cwd=box.path)
    box.wait_for(senders_waiting=1)
    assert sh(shell, "cat recv", cwd=box.path) == "hello\n"
    assert copy.output() == "sent\n"


def test_close_that_waits_can_be_killed(box):
    box.configure(messages=0)
    creator = start_create(box)
    box.wait_for(senders_waiting=1)
    expect_asleep(creator)
    creator.kill()
    assert creator.wait() == -signal.SIGKILL
    box.wait_for(senders_waiting=0)
    assert box.counts("sent", "messages") == (0, 0)


def test_exit_that_closes_does_not_hang_in_a_rendezvous(box):
    """Ending, a process is deaf to signals: it can't be the one that waits."""
    box.configure(messages=0)

    def leave():
        create(box).write(b"message")
        os._exit(0)

    process = Call(leave)
    try:
        wait_until(lambda: process.poll() is not None, "it ends")
    finally:
        if process.poll() is None:
            box.take(1)
            process.wait()
    assert box.take(1) == [b"message"]


# --- what stays ---

def kernel_is(*version):
    return tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2]) >= version


@pytest.mark.skipif(not kernel_is(6, 18), reason="this kernel can't be asked to forget a file by its node")
@pytest.mark.skipif(SLOW > 1, reason="a sanitizer keeps memory of its own")
def test_nothing_is_kept_of_files_that_were_sent_side_by_side(mount):
    # A daemon that has no freed memory from elsewhere.
    mnt = mount()
    box = mnt.box()
    box.configure(overflow="drop-oldest")

    def send_many(n):
        for _ in range(n):
            drop(box, b"message")

    def send_side_by_side(n):
        for sender in [Call(send_many, n) for _ in range(4)]:
            sender.result()

    # As many messages as the mailbox holds.
    send_side_by_side(300)
    before = mnt.rss_kib()
    send_side_by_side(2000)
    # Kept, each would take more than 600 bytes.
    assert mnt.rss_kib() < before + 1500


# --- a mailbox that goes ---

def test_creator_that_waits_and_writer_learn_that_the_mailbox_has_gone(mnt):
    box = mnt.box()
    box.configure(messages=1)

    def own():
        with Handle(box.file("owner"), os.O_WRONLY):
            signal.pause()

    owner = Call(own)
    wait_until(lambda: box.stat()["owner_pid"] == owner.pid, "it is owned")
    file = create(box)
    file.write(b"message")
    waiting = start_create(box)
    box.wait_for(senders_waiting=1)
    owner.kill()
    with fails_with(errno.EIDRM):
        waiting.result()
    for call in (lambda: file.write(b"more"), file.close):
        with fails_with(errno.EIDRM):
            call()


def test_open_file_does_not_keep_the_mailbox(mnt):
    box = mnt.box()
    with create(box, "untouched"), Handle(box.file("drop/both"), os.O_RDWR | os.O_CREAT) as file:
        file.write(b"message")
        assert box.counts("messages", "reserved") == (0, 2)
        os.rmdir(box.path)
        for call in (lambda: os.pwrite(file.fd, b"M", 0), lambda: os.pread(file.fd, 7, 0), lambda: file.write(b"more"),
                     lambda: os.ftruncate(file.fd, 3)):
            with fails_with(errno.EIDRM):
                call()
        with fails_with(errno.EIDRM):
            file.close()
        file.fd = os.open("/dev/null", os.O_RDONLY)
    assert not os.path.exists(box.path)


def test_close_tells_that_the_mailbox_has_gone(mnt):
    box = mnt.box()
    file = create(box)
    file.write(b"message")
    os.rmdir(box.path)
    with fails_with(errno.EIDRM):
        file.close()


def test_files_of_another_user_do_not_keep_the_mailbox(mnt):
    box = mnt.box(0o711)

    def hold():
        files = [create(box, str(i), os.O_NONBLOCK) for i in range(1000)]
        signal.pause()
        return files

    holder = Call(hold, uid=ALICE)
    box.wait_for(reserved=1000)
    assert os.listdir(box.file("queue")) == []
    os.rmdir(box.path)
    holder.kill()


def test_files_of_one_user_keep_no_other_from_sending(mnt):
    box = mnt.box(0o711)

    def hold():
        files = []
        with contextlib.suppress(BlockingIOError):
            while True:
                files.append(create(box, str(len(files)), os.O_NONBLOCK))
                files[-1].write(b"x")
        # Waits, and is not in the way of others.
        create(box, "one more")
        return files

    holder = Call(hold, uid=ALICE)
    box.wait_for(reserved=1024, senders_waiting=1)
    for uid in (BOB, ALICE + 1):
        as_user(uid, box.send, b"message")
        as_user(uid, drop, box, b"file")
    assert box.drain() == [b"message", b"file"] * 2
    assert box.counts("reserved", "senders_waiting") == (1024, 1)
    holder.kill()
    box.wait_for(reserved=0, senders_waiting=0)
    os.rmdir(box.path)


def test_many_who_make_files_where_there_is_hardly_room_all_send_theirs(box):
    box.configure(messages=2)

    def send_all(who):
        for n in range(15):
            drop(box, b"%d-%d" % (who, n))

    senders = [Call(send_all, who) for who in range(12)]
    assert sorted(box.take(12 * 15)) == sorted(b"%d-%d" % (who, n) for who in range(12) for n in range(15))
    for sender in senders:
        sender.result()


def test_places_that_are_taken_are_told(box):
    files = [create(box) for _ in range(3)]
    assert box.counts("messages", "reserved") == (0, 3)
    files[0].write(b"message")
    for left, file in zip((2, 1, 0), files):
        file.close()
        box.wait_for(reserved=left)
    assert box.drain() == [b"message"]


def test_what_was_dropped_counts_as_waiting_for_rmdir(box):
    drop(box, b"message")
    with fails_with(errno.ENOTEMPTY):
        os.rmdir(box.path)
    assert box.drain() == [b"message"]

"""What the whole mount and each user may hold: an error at once, never a wait."""

import errno
import os

import pytest

from harness import ALICE, BOB, Call, Handle, as_user, fails_with, wait_until

KIB = 1024
BLOCK = bytes(4 * KIB)


def send_until_refused(box):
    """How many blocks there was room for, and the error then; it blocks if it has to wait."""
    n = 0
    with box.open_send(0) as send:
        try:
            while True:
                n += send.write(BLOCK) // len(BLOCK)
        except OSError as error:
            return n, error.errno


def test_max_bytes_bounds_what_is_queued_with_enospc(mount):
    mnt = mount("-o", "max_bytes=64K,uid_bytes=1M")
    box = mnt.box()
    assert Call(send_until_refused, box).result() == (16, errno.ENOSPC)
    assert box.counts("messages", "rejected", "senders_waiting") == (16, 0, 0)


def test_max_bytes_is_over_all_mailboxes_and_users(mount):
    mnt = mount("-o", "max_bytes=64K,uid_bytes=40K")
    first, second = mnt.box(), mnt.box()
    assert as_user(ALICE, send_until_refused, first) == (10, errno.EDQUOT)
    assert as_user(BOB, send_until_refused, second) == (6, errno.ENOSPC)


@pytest.mark.parametrize("uid", [0, ALICE], ids=["root", "alice"])
def test_uid_bytes_bounds_what_one_user_holds_with_edquot(mount, uid):
    mnt = mount("-o", "max_bytes=1M,uid_bytes=64K")
    first, second = mnt.box(), mnt.box()
    for _ in range(5):
        as_user(uid, first.send, BLOCK)
    assert as_user(uid, send_until_refused, second) == (11, errno.EDQUOT)
    # Another may still.
    as_user(BOB, second.send, BLOCK)


def test_uid_bytes_is_a_quarter_where_it_is_not_given(mount):
    box = mount("-o", "max_bytes=256K").box()
    assert as_user(ALICE, send_until_refused, box) == (16, errno.EDQUOT)


def test_defaults_are_256_mib_and_a_quarter_of_it(mnt, box):
    size = os.statvfs(mnt.path)
    assert size.f_blocks * size.f_frsize == 256 << 20
    box.configure(messages="max", bytes=1 << 30, message_bytes=1 << 19)
    with box.open_send() as send:
        for _ in range(128):
            send.write(bytes(1 << 19))
        with fails_with(errno.EDQUOT):
            send.write(bytes(1 << 19))


def test_receiving_gives_back(mount):
    box = mount("-o", "max_bytes=64K,uid_bytes=32K").box()
    for _ in range(3):
        assert as_user(ALICE, send_until_refused, box) == (8, errno.EDQUOT)
        for _ in range(4):
            box.receive()
        box.wait_for(messages=4)
        assert as_user(ALICE, send_until_refused, box) == (4, errno.EDQUOT)
        box.drain()
        box.wait_for(messages=0)


def test_a_message_counts_for_its_sender_not_for_who_owns_the_mailbox(mount):
    mnt = mount("-o", "max_bytes=1M,uid_bytes=32K")
    box = mnt.mailbox("bobs")
    as_user(BOB, os.mkdir, box.path, 0o755)
    assert as_user(ALICE, send_until_refused, box) == (8, errno.EDQUOT)
    as_user(BOB, box.send, BLOCK)


def test_quota_that_is_used_up_never_means_a_wait_even_where_the_mailbox_is_full(mount):
    box = mount("-o", "max_bytes=1M,uid_bytes=32K").box()
    box.configure(messages=8)
    assert as_user(ALICE, send_until_refused, box) == (8, errno.EDQUOT)
    with fails_with(errno.EDQUOT):
        box.start_send(BLOCK, uid=ALICE).result()


def test_message_larger_than_the_quota_is_an_error_at_once(mount):
    box = mount("-o", "max_bytes=1M,uid_bytes=16K").box()
    with fails_with(errno.EDQUOT):
        Call(box.send, bytes(16 * KIB + 1)).result()
    box.send(bytes(16 * KIB))


def test_what_is_not_queued_is_not_held(mount):
    box = mount("-o", "max_bytes=1M,uid_bytes=16K").box()
    for _ in range(20):
        with fails_with(errno.EMSGSIZE):
            box.send(bytes(100 * KIB))
    box.configure(messages=1, overflow="reject")
    box.send(BLOCK)
    for _ in range(20):
        with fails_with(errno.ENOBUFS):
            box.send(BLOCK)
    box.configure(overflow="block")
    for _ in range(20):
        with fails_with(errno.EAGAIN):
            box.send(BLOCK)
    box.configure(messages=100)
    assert Call(send_until_refused, box).result() == (3, errno.EDQUOT)


def test_dropped_messages_are_not_held(mount):
    box = mount("-o", "max_bytes=1M,uid_bytes=16K").box()
    box.configure(messages=2, overflow="drop-oldest")
    for _ in range(20):
        box.send(BLOCK)
    assert box.stat()["dropped"] == 18


def test_waits_that_ended_hold_nothing(mount):
    mnt = mount("-o", "max_bytes=1M,uid_bytes=16K")
    full, meeting = mnt.box(), mnt.box()
    full.fill(BLOCK)
    meeting.configure(messages=0)
    for _ in range(8):
        for box in (full, meeting):
            sender = box.start_send(BLOCK)
            box.wait_for(senders_waiting=1)
            sender.kill()
            sender.destroy()
            box.wait_for(senders_waiting=0)
    full.configure(messages=100)
    assert Call(send_until_refused, full).result() == (3, errno.EDQUOT)


def test_rendezvous_messages_are_given_back_when_received_or_removed(mount):
    mnt = mount("-o", "max_bytes=1M,uid_bytes=16K")
    for _ in range(8):
        box = mnt.box()
        box.configure(messages=0)
        sender = box.start_send(BLOCK)
        assert box.start_receive().result() == BLOCK
        assert sender.result() == len(BLOCK)
        sender = box.start_send(BLOCK)
        box.wait_for(senders_waiting=1)
        os.rmdir(box.path)
        with fails_with(errno.EIDRM):
            sender.result()
    assert Call(send_until_refused, mnt.box()).result() == (4, errno.EDQUOT)


def test_statvfs_tells_what_is_left(mount):
    mnt = mount("-o", "max_bytes=1M,uid_bytes=1M")
    box = mnt.box()

    def left():
        size = os.statvfs(box.path)
        assert size.f_blocks * size.f_frsize == 1024 * KIB
        return size.f_bavail * size.f_frsize
    assert left() == 1024 * KIB
    box.send(BLOCK, BLOCK)
    assert left() == 1016 * KIB
    box.drain()
    box.wait_for(messages=0)
    assert left() == 1024 * KIB


def test_tiny_messages_cost_something_too(mount):
    """Else messages of a byte would take memory without bound."""
    box = mount("-o", "max_bytes=64K,uid_bytes=64K").box()
    box.configure(messages="max")
    with box.open_send() as send:
        with fails_with(errno.EDQUOT, errno.ENOSPC):
            for _ in range(64 * KIB):
                send.write(b"x")
    assert box.stat()["messages"] < 4 * KIB


# --- what was received and is kept ---

def can_send(box, n):
    """Whether the user has room for just so many blocks."""
    return Call(send_until_refused, box).result() == (n, errno.EDQUOT)


@pytest.mark.parametrize("name", ["recv", "recv.json", "recv.lines"])
def test_a_message_that_is_read_in_part_is_held(mount, name):
    """Else a user could keep any number of them in open files."""
    box = mount("-o", "max_bytes=1M,uid_bytes=64K").box()
    box.configure(messages="max")
    readers = []
    for _ in range(3):
        box.send(b"x" * (16 * KIB))
        readers.append(Handle(box.file(name), os.O_RDONLY))
        assert len(readers[-1].read(1)) == 1
    with fails_with(errno.EDQUOT):
        box.send(bytes(17 * KIB))
    for reader in readers:
        reader.close()
    wait_until(lambda: used(box) == 0, lambda: f"{used(box)} bytes are held")


def used(box):
    size = os.statvfs(box.path)
    return (size.f_blocks - size.f_bavail) * size.f_frsize


def test_a_message_that_is_open_in_queue_is_held(mount):
    box = mount("-o", "max_bytes=1M,uid_bytes=64K").box()
    looking = []
    for _ in range(4):
        box.send(bytes(16 * KIB))
        [name] = os.listdir(box.file("queue"))
        looking.append(Handle(box.file(f"queue/{name}"), os.O_RDONLY))
        box.receive()
    with fails_with(errno.EDQUOT):
        box.send(bytes(16 * KIB))
    for handle in looking:
        assert len(os.pread(handle.fd, 32 * KIB, 0)) == 16 * KIB
        handle.close()
    wait_until(lambda: used(box) == 0, lambda: f"{used(box)} bytes are held")


def test_what_a_reader_keeps_counts_for_the_reader(mount):
    mnt = mount("-o", "max_bytes=1M,uid_bytes=64K")
    box = mnt.mailbox("bobs")
    as_user(BOB, os.mkdir, box.path, 0o755)
    as_user(ALICE, box.send, bytes(64 * KIB))
    with Handle(box.recv_path, os.O_RDONLY) as recv:
        assert recv.read(1) == b"\0"
        as_user(ALICE, box.send, BLOCK)
        with fails_with(errno.EDQUOT):
            box.send(BLOCK)


def test_who_has_received_all_of_it_may_send_at_once(mount):
    """The receiver's next call may come before the daemon has done with the last."""
    box = mount("-o", "max_bytes=1M,uid_bytes=16K").box()
    data = bytes(16 * KIB)
    for flags in (0, os.O_DIRECT):
        for _ in range(200):
            box.send(data)
            with box.open_recv(flags) as recv:
                assert len(recv.read(len(data))) == len(data)
    for _ in range(200):
        box.send(data)
        with box.open_recv() as recv:
            assert len(recv.read(9 * KIB)) + len(recv.read(9 * KIB)) == len(data)
            box.send(data)
        box.drain()


def test_nothing_is_held_after_removal_with_messages_open(mount):
    mnt = mount("-o", "max_bytes=1M,uid_bytes=64K")
    box = mnt.box()
    box.send(bytes(16 * KIB), bytes(16 * KIB))
    name = os.listdir(box.file("queue"))[1]
    with Handle(box.file(f"queue/{name}"), os.O_RDONLY) as looking, box.open_recv() as recv:
        assert len(recv.read(1)) == 1
        os.unlink(box.file(f"queue/{name}"))
        os.rmdir(box.path)
        other = mnt.box()
        assert can_send(other, 8)
        other.drain()
        assert len(os.pread(looking.fd, 32 * KIB, 0)) == 16 * KIB
    wait_until(lambda: used(other) == 0, lambda: f"{used(other)} bytes are held")


# --- lines ---

def test_a_rest_counts_for_who_opened_the_file(mount):
    """So does what it costs beside its bytes: nobody keeps a thousand of them for nothing."""
    box = mount("-o", "max_bytes=1M,uid_bytes=64K").box()

    def write_rests(size):
        files = []
        with fails_with(errno.EDQUOT):
            while True:
                files.append(box.open_send(0, "send.lines"))
                assert files[-1].write(b"x" * size) == size
        n = len(files) - 1
        for file in files:
            file.close()
        return n
    assert Call(write_rests, 30000, uid=ALICE).result() == 2
    assert box.counts("messages") == (2,)
    box.drain()
    assert 50 < Call(write_rests, 1, uid=ALICE).result() < 600
    box.drain()
    # All was given back.
    assert as_user(ALICE, send_until_refused, box) == (16, errno.EDQUOT)


def test_of_a_write_whose_rest_has_no_room_the_lines_are_counted(mount):
    box = mount("-o", "max_bytes=1M,uid_bytes=64K").box()
    def write():
        with box.open_send(0, "send.lines") as lines:
            # The rest alone would be too much.
            assert lines.write(b"one\ntwo\n" + b"x" * 65530) == 8
            assert lines.write(b"three\n") == 6
    Call(write, uid=ALICE).result()
    assert box.drain() == [b"one", b"two", b"three"]


def test_what_a_waiting_write_holds_counts_for_who_opened_the_file(mount):
    box = mount("-o", "max_bytes=8M,uid_bytes=2M").box()
    box.fill()
    data = b"x\n" * 400000

    def write():
        with box.open_send(0, "send.lines") as lines:
            return lines.write(data)
    waiting = [Call(write, uid=ALICE) for _ in range(2)]
    box.wait_for(senders_waiting=2)
    with fails_with(errno.EDQUOT):
        Call(write, uid=ALICE).result()
    for call in waiting:
        call.kill()
        call.wait()
    box.drain()
    box.configure(messages="max")
    assert as_user(ALICE, send_until_refused, box) == (512, errno.EDQUOT)

"""Names: which are good, what rename does, what can be made and removed where."""

import ctypes
import errno
import os
import socket

import pytest

from harness import ALICE, Mailbox, as_user, expect_asleep, fails_with, interruptible, run

AT_FDCWD = -100
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

FILES = ("send", "send.lines", "send.json", "recv", "recv.lines", "recv.json", "work", "call", "owner", "config", "stat")
DIRECTORIES = ("drop", "queue", "reply")


def rename_with(old, new, flags):
    interruptible("renameat2", AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), ctypes.c_uint(flags))


@pytest.fixture
def two(mnt):
    """Two mailboxes, removed under whatever names they have then."""
    before = set(os.listdir(mnt.mbox))
    yield mnt.box(), mnt.box()
    for name in set(os.listdir(mnt.mbox)) - before:
        mnt.mailbox(name).remove()


# --- good names ---

@pytest.mark.parametrize("name", [
    b"a", b"x" * 255, "é".encode() * 127 + b"x", b"two words", b" ", b"  leading and trailing  ",
    "grüße-日本語-🙂".encode(), b"line\nbreak", b"\n", b"\xff\xfe not utf-8", b"tab\t", b"-rf", b".hidden", b"...",
    b"*?[a]'\"\\$(x)", b"\x01\x7f", b"send", b"mbox", b"a=b,c:d",
], ids=repr)
def test_any_bytes_but_slash_and_nul_make_a_name(mnt, name):
    box = Mailbox(os.path.join(os.fsencode(mnt.mbox), name).decode(errors="surrogateescape")).make()
    assert name in os.listdir(os.fsencode(mnt.mbox))
    box.send(b"hello")
    assert box.drain() == [b"hello"]
    os.rmdir(box.path)
    assert name not in os.listdir(os.fsencode(mnt.mbox))


def test_name_of_256_bytes_is_too_long(mnt, box):
    long = os.path.join(mnt.mbox, "x" * 256)
    for call, *args in [(os.mkdir, long), (os.stat, long), (os.rmdir, long), (os.rename, box.path, long),
                        (os.mkdir, os.path.join(mnt.mbox, "é" * 128)), (os.mknod, long),
                        (os.symlink, "x", long), (os.stat, box.file("x" * 256))]:
        with fails_with(errno.ENAMETOOLONG):
            call(*args)
    assert os.path.basename(box.path) in os.listdir(mnt.mbox)


def test_longest_name_is_told_by_statvfs(mnt):
    assert os.statvfs(mnt.mbox).f_namemax == 255


def test_names_differ_by_case(mnt):
    upper, lower = mnt.mailbox("CASE").make(), mnt.mailbox("case").make()
    upper.send(b"upper")
    assert lower.drain() == []
    upper.remove()
    lower.remove()


def test_a_thousand_mailboxes_are_listed_once_each(mnt):
    names = {f"many{i}" for i in range(1000)}
    for name in names:
        mnt.mailbox(name).make()
    try:
        listed = [name for name in os.listdir(mnt.mbox) if name.startswith("many")]
        assert len(listed) == 1000 and set(listed) == names
    finally:
        for name in names:
            os.rmdir(os.path.join(mnt.mbox, name))


def test_listing_says_what_is_what(mnt, box):
    entries = {entry.name: entry for entry in os.scandir(box.path)}
    assert set(entries) == {*FILES, *DIRECTORIES}
    assert all(entries[name].is_file(follow_symlinks=False) for name in FILES)
    assert all(entries[name].is_dir(follow_symlinks=False) for name in DIRECTORIES)
    for name in entries:
        # The same whenever one looks, though each open of `send` may be a matter of its own.
        assert os.stat(box.file(name)).st_ino == entries[name].inode() == os.stat(box.file(name)).st_ino
    assert len({entry.inode() for entry in entries.values()}) == len(entries)
    assert all(entry.is_dir(follow_symlinks=False) for entry in os.scandir(mnt.mbox))


def test_every_inode_number_fits_a_program_of_32_bits(mnt, box):
    with open(os.path.join(mnt.path, "shm", "numbered"), "wb"):
        box.send(b"waits")
        os.mkdir(os.path.join(mnt.path, "ring", "numbered"))
        process = os.path.join(mnt.path, "proc", str(os.getpid()))
        tops = [mnt.path, process]
        places = [os.path.join(process, "link", str(os.getppid()))]
        places += [os.path.join(root, name) for top in tops for root, dirs, files in os.walk(top) for name in dirs + files]
        numbers = [(path, os.lstat(path).st_ino) for path in places]
        listed = [(entry.path, entry.inode()) for top in tops for root, _, _ in os.walk(top) for entry in os.scandir(root)]
        os.unlink(os.path.join(mnt.path, "shm", "numbered"))
        os.rmdir(os.path.join(mnt.path, "ring", "numbered"))
    assert len(numbers) > 40
    assert [found for found in numbers + listed if not 0 < found[1] < 2**32] == []


def test_existing_and_missing_mailboxes(mnt, box):
    with fails_with(errno.EEXIST):
        os.mkdir(box.path)
    for call in (os.stat, os.rmdir, os.listdir):
        with fails_with(errno.ENOENT):
            call(os.path.join(mnt.mbox, "missing"))
    with fails_with(errno.ENOENT):
        os.stat(box.file("missing"))


# --- rename ---

def test_mv_renames_and_messages_stay(mnt, two):
    box, _ = two
    box.send(b"waiting")
    box.configure(messages=7)
    renamed = mnt.mailbox("renamed")
    assert run("mv", box.path, renamed.path).returncode == 0
    assert not os.path.exists(box.path)
    assert renamed.drain() == [b"waiting"]
    assert renamed.config()["messages"] == "7"


def test_open_handles_follow_a_rename(mnt, two):
    box, _ = two
    renamed = mnt.mailbox("renamed")
    with box.open_send() as send, box.open_recv() as recv, open(box.stat_path, encoding="utf-8") as stat:
        os.rename(box.path, renamed.path)
        send.write(b"by the old handle")
        assert renamed.drain() == [b"by the old handle"]
        renamed.send(b"by the new name")
        assert recv.read() == b"by the new name"
        assert "sent=2" in stat.read().splitlines()


def test_who_waits_follows_a_rename(mnt, two):
    box, full = two
    full.fill()
    receiver, sender = box.start_receive(), full.start_send(b"second")
    box.wait_for(receivers_waiting=1)
    full.wait_for(senders_waiting=1)
    os.rename(box.path, mnt.mailbox("renamed").path)
    os.rename(full.path, mnt.mailbox("renamed full").path)
    expect_asleep(receiver, sender)
    mnt.mailbox("renamed").send(b"found")
    assert receiver.result() == b"found"
    assert mnt.mailbox("renamed full").take(2) == [b"first", b"second"]
    assert sender.result() == 6


def test_a_new_mailbox_may_take_the_old_name(two):
    box, _ = two
    renamed = Mailbox(box.path + " old")
    with box.open_send() as send:
        os.rename(box.path, renamed.path)
        box.make()
        send.write(b"to the old one")
    assert (box.drain(), renamed.drain()) == ([], [b"to the old one"])


def test_rename_replaces_an_empty_mailbox(two):
    box, target = two
    box.send(b"moves")
    with target.open_send() as send:
        os.rename(box.path, target.path)
        with fails_with(errno.EIDRM):
            send.write(b"too late")
    assert not os.path.exists(box.path)
    assert target.drain() == [b"moves"]


def test_rename_does_not_replace_a_mailbox_with_messages(two):
    box, target = two
    target.send(b"stays")
    with fails_with(errno.ENOTEMPTY, errno.EEXIST):
        os.rename(box.path, target.path)
    assert os.path.exists(box.path)
    assert target.drain() == [b"stays"]


def test_rename_noreplace_refuses_a_name_that_is_taken(mnt, two):
    box, target = two
    box.send(b"mine")
    with fails_with(errno.EEXIST):
        rename_with(box.path, target.path, RENAME_NOREPLACE)
    assert target.drain() == []
    rename_with(box.path, mnt.mailbox("free").path, RENAME_NOREPLACE)
    assert mnt.mailbox("free").drain() == [b"mine"]


def test_rename_exchange_swaps_two_mailboxes(mnt, two):
    first, second = two
    first.send(b"first")
    rename_with(first.path, second.path, RENAME_EXCHANGE)
    assert (first.drain(), second.drain()) == ([], [b"first"])
    with fails_with(errno.ENOENT):
        rename_with(first.path, mnt.mailbox("missing").path, RENAME_EXCHANGE)


def test_rename_onto_itself_changes_nothing(two):
    box, _ = two
    box.send(b"waiting")
    os.rename(box.path, box.path)
    assert box.drain() == [b"waiting"]


def test_a_mailbox_does_not_go_into_another_or_out(mnt, two):
    first, second = two
    for target in (second.file("inside"), os.path.join(mnt.path, "beside")):
        with fails_with(errno.EPERM):
            os.rename(first.path, target)
    with fails_with(errno.EXDEV):
        os.rename(first.path, "/tmp/ipcfs-outside")
    with fails_with(errno.ENOENT):
        os.rename(mnt.mailbox("missing").path, mnt.mailbox("renamed").path)


# --- what can't be made ---

def test_only_mkdir_makes_anything_in_mbox(mnt, box):
    path = os.path.join(mnt.mbox, "thing")
    unix = socket.socket(socket.AF_UNIX)
    for call, *args in [
            (os.open, path, os.O_CREAT | os.O_WRONLY), (os.open, path, os.O_CREAT | os.O_EXCL | os.O_RDWR),
            (os.symlink, "/etc/passwd", path), (os.mkfifo, path), (os.mknod, path, 0o100644),
            (os.mknod, path, 0o020666, os.makedev(1, 3)), (os.link, box.send_path, path), (unix.bind, path)]:
        with fails_with(errno.EPERM):
            call(*args)
    unix.close()
    assert "thing" not in os.listdir(mnt.mbox)


def test_nothing_can_be_made_in_a_mailbox(box):
    before = sorted(os.listdir(box.path))
    path = box.file("thing")
    for call, *args in [(os.mkdir, path), (os.open, path, os.O_CREAT | os.O_WRONLY), (os.symlink, "x", path),
                        (os.mkfifo, path), (os.link, box.send_path, path)]:
        with fails_with(errno.EPERM):
            call(*args)
    assert sorted(os.listdir(box.path)) == before


def test_nothing_can_be_made_or_removed_at_the_top(mnt):
    before = sorted(os.listdir(mnt.path))
    with fails_with(errno.EPERM, errno.EACCES):
        os.mkdir(os.path.join(mnt.path, "thing"))
    for call, *args in [(os.rmdir, mnt.mbox), (os.rename, mnt.mbox, os.path.join(mnt.path, "renamed"))]:
        with pytest.raises(OSError):
            call(*args)
    assert sorted(os.listdir(mnt.path)) == before


def test_files_of_a_mailbox_can_not_be_removed_or_renamed(box):
    for name in (*FILES, "send.4", *DIRECTORIES):
        remove = os.rmdir if name in DIRECTORIES else os.unlink
        for call, *args in [(remove, box.file(name)), (os.rename, box.file(name), box.file("thing"))]:
            with fails_with(errno.EPERM):
                call(*args)
    with fails_with(errno.EPERM):
        os.rename(box.send_path, box.recv_path)
    assert set(FILES) <= set(os.listdir(box.path))


# --- rmdir ---

def test_rmdir_refuses_a_mailbox_with_messages(mnt):
    box = mnt.box()
    box.send(b"one", b"two")
    for expected in (b"one", b"two"):
        with fails_with(errno.ENOTEMPTY):
            os.rmdir(box.path)
        assert box.receive() == expected
    box.remove()


def test_mailbox_is_empty_once_its_last_message_was_received(mnt):
    for _ in range(1000):
        box = mnt.mailbox("emptied").make()
        box.send(b"x")
        box.receive()
        os.rmdir(box.path)


def test_rmdir_of_a_message_that_is_half_read_is_allowed(mnt):
    """It has left the mailbox; the handle keeps what it has received."""
    box = mnt.box()
    box.send(b"first and rest")
    with box.open_recv() as recv:
        assert recv.read(5) == b"first"
        box.wait_for(messages=0)
        os.rmdir(box.path)
        assert recv.read(100) == b" and rest"


def test_a_removed_name_is_free_for_a_new_mailbox(mnt):
    box = mnt.box()
    box.configure(messages=3)
    os.rmdir(box.path)
    box.make()
    assert box.config()["messages"] == "1024"
    assert box.counts("sent", "messages") == (0, 0)
    os.rmdir(box.path)


@pytest.mark.parametrize("command", [["rm", "-r"], ["rm", "-rf"], ["busybox", "rm", "-rf"]], ids=" ".join)
def test_rm_r_fails_and_leaves_a_mailbox_that_works(box, command):
    """It may empty queue/, as `rm queue/*` does, but a mailbox goes by rmdir alone."""
    done = run(*command, box.path)
    assert done.returncode != 0
    assert "not permitted" in done.stderr
    assert {*FILES, *DIRECTORIES} == set(os.listdir(box.path))
    box.send(b"hello")
    assert box.drain() == [b"hello"]


def test_other_users_mailboxes_side_by_side(mnt):
    mine, hers = mnt.box(), mnt.mailbox("alices")
    as_user(ALICE, os.mkdir, hers.path)
    with fails_with(errno.EPERM):
        as_user(ALICE, os.rename, hers.path, mine.path)
    with fails_with(errno.EPERM):
        as_user(ALICE, os.rmdir, mine.path)
    as_user(ALICE, os.rename, hers.path, hers.path + "2")
    as_user(ALICE, os.rmdir, hers.path + "2")
    mine.remove()

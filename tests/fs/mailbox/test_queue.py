"""queue/: the waiting messages as files, to look at, pick, delete and move."""

import contextlib
import ctypes
import errno
import multiprocessing
import os
import pathlib
import random
import re
import select
import shutil
import signal
import stat
import time

import pytest

from harness import ALICE, BOB, PATIENCE, SHELLS, TOOLS, Call, Handle, as_user, fails_with, libc, run, sh, wait_until

MIB = 1 << 20

PRIOS = [3, 0, 31, 0, 3, 7, 31]


class Queue:
    """The queue/ of a mailbox."""

    def __init__(self, box):
        self.box = box
        self.path = box.file("queue")

    def ids(self):
        """In the order in which the directory lists them."""
        with os.scandir(self.path) as entries:
            return [entry.name for entry in entries]

    def file(self, name):
        return os.path.join(self.path, name)

    def files(self):
        return [self.file(name) for name in self.ids()]

    def open(self, name):
        return Handle(self.file(name), os.O_RDONLY)

    def read(self, name):
        return pathlib.Path(self.file(name)).read_bytes()

    def contents(self):
        return [self.read(name) for name in self.ids()]


@pytest.fixture
def queue(box):
    return Queue(box)


@pytest.fixture
def other(mnt):
    """A second mailbox."""
    box = mnt.box(0o755)
    yield Queue(box)
    box.remove()


@pytest.fixture
def three(queue):
    """A queue of three messages."""
    queue.box.send(b"one", b"two", b"three")
    return queue


def move(queue, name, to):
    os.rename(queue.file(name), to.file(name))


def try_remove(path):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        return True
    return False


# --- looking ---

def test_empty_queue_lists_nothing(queue):
    assert queue.ids() == []
    assert stat.S_IMODE(os.stat(queue.path).st_mode) == 0o700


def test_queue_lists_in_delivery_order(queue):
    box = queue.box
    for i, prio in enumerate(PRIOS):
        box.send(b"%d of %d" % (i, prio), name=f"send.{prio}")
    contents = queue.contents()
    assert contents == [b"2 of 31", b"6 of 31", b"5 of 7", b"0 of 3", b"4 of 3", b"1 of 0", b"3 of 0"]
    assert box.drain() == contents


def test_names_are_ids_of_twenty_digits(three):
    ids = three.ids()
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"[0-9]{20}", name, re.ASCII) for name in ids)
    assert ids == sorted(ids)


def test_ls_lists_by_arrival_and_cat_shows_all(shell, box):
    sh(shell, "echo one > send; echo two > send; echo three > send", cwd=box.path)
    assert sh(shell, "ls queue | wc -l; cat queue/*", cwd=box.path).split() == ["3", "one", "two", "three"]
    assert box.drain() == [b"one\n", b"two\n", b"three\n"]


def test_size_time_mode_and_owner_are_true(queue):
    box = queue.box
    before = time.time_ns()
    box.send(b"x" * 12345)
    after = time.time_ns()
    [path] = queue.files()
    status = os.stat(path)
    assert stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o400
    assert (status.st_size, status.st_uid, status.st_gid, status.st_nlink) == (12345, 0, 0, 1)
    assert before <= status.st_mtime_ns <= after
    # It belongs to who owns the mailbox.
    os.chown(box.path, ALICE, BOB)
    status = os.stat(path)
    assert (status.st_uid, status.st_gid) == (ALICE, BOB)
    assert as_user(ALICE, queue.contents) == [b"x" * 12345]


def test_mtime_is_when_a_waiting_message_arrived(queue):
    """It came into the queue when there was room."""
    box = queue.box
    box.fill()
    sender = box.start_send(b"second")
    box.wait_for(senders_waiting=1)
    assert len(queue.ids()) == 1
    between = time.time_ns()
    assert box.receive() == b"first"
    sender.result()
    [path] = queue.files()
    assert between <= os.stat(path).st_mtime_ns <= time.time_ns()


def test_xattrs_tell_the_sender(queue):
    sender = send_as_alice(queue)
    [path] = queue.files()
    expected = {"pid": sender.pid, "uid": ALICE, "gid": BOB, "prio": 9}
    assert {key: os.getxattr(path, f"user.ipcfs.{key}") for key in expected} == \
        {key: b"%d" % value for key, value in expected.items()}
    assert sorted(os.listxattr(path)) == sorted(f"user.ipcfs.{key}" for key in expected)


def send_as_alice(queue):
    def send():
        queue.box.send(b"message", name="send.9")
    sender = Call(send, uid=ALICE, gid=BOB)
    sender.result()
    return sender


@pytest.mark.skipif(not shutil.which("getfattr"), reason="there is no getfattr")
def test_getfattr_shows_them(shell, queue):
    sender = send_as_alice(queue)
    shown = sh(shell, "getfattr -d queue/*", cwd=queue.box.path).splitlines()
    assert shown[0] == f"# file: queue/{queue.ids()[0]}"
    assert sorted(filter(None, shown[1:])) == sorted([
        f'user.ipcfs.pid="{sender.pid}"', f'user.ipcfs.uid="{ALICE}"', f'user.ipcfs.gid="{BOB}"', 'user.ipcfs.prio="9"'])
    pid = sh(shell, "getfattr --only-values -n user.ipcfs.pid queue/*", cwd=queue.box.path)
    assert pid == str(sender.pid)


def test_xattrs_can_not_be_changed_and_others_do_not_exist(three):
    path = three.files()[0]
    for name in ("user.ipcfs.uid", "user.x"):
        with fails_with(errno.EOPNOTSUPP, errno.EPERM):
            os.setxattr(path, name, b"1")
        with fails_with(errno.EOPNOTSUPP, errno.EPERM):
            os.removexattr(path, name)
    for name in ("user.x", "user.ipcfs", "user.ipcfs.pi"):
        with fails_with(errno.ENODATA):
            os.getxattr(path, name)


def test_short_buffer_for_an_xattr_is_erange(three):
    send_as_alice(three)
    path = os.fsencode(three.files()[0])
    assert libc.getxattr(path, b"user.ipcfs.uid", None, 0) == len(str(ALICE))
    for call, *args in ((libc.getxattr, path, b"user.ipcfs.uid"), (libc.listxattr, path)):
        ctypes.set_errno(0)
        assert call(*args, ctypes.create_string_buffer(4), 4) == -1
        assert ctypes.get_errno() == errno.ERANGE


def test_cat_takes_nothing(three):
    for _ in range(3):
        assert three.contents() == [b"one", b"two", b"three"]
    assert three.box.counts("messages", "received") == (3, 0)
    assert three.box.drain() == [b"one", b"two", b"three"]


@pytest.mark.parametrize("maker", TOOLS)
def test_tools_read_a_message(queue, tmp_path, maker):
    data = os.urandom(3 * MIB)
    (tmp_path / "file").write_bytes(data)
    assert run("cp", tmp_path / "file", queue.box.file("drop/")).returncode == 0
    [path] = queue.files()
    for command in (f"cat {path} > out", f"cp {path} out", f"dd if={path} of=out bs=777 2> /dev/null", f"cat < {path} > out"):
        sh("dash", "rm -f out; " + " ".join([*TOOLS[maker], command]), cwd=tmp_path)
        assert (tmp_path / "out").read_bytes() == data
    assert sh("dash", f"{' '.join(TOOLS[maker])} wc -c < {path}") .strip() == str(len(data))
    assert sh("dash", f"{' '.join(TOOLS[maker])} tail -c 5 {path} | od -An -tx1").split() == \
        [f"{byte:02x}" for byte in data[-5:]]
    os.unlink(path)


def test_any_part_of_a_message_can_be_read(queue):
    queue.box.send(b"0123456789")
    with queue.open(queue.ids()[0]) as file:
        assert os.pread(file.fd, 3, 4) == b"456"
        assert os.pread(file.fd, 100, 8) == b"89"
        assert os.pread(file.fd, 100, 10) == os.pread(file.fd, 100, 100) == b""
        assert file.read(4) + file.read() + file.read() == b"0123456789"
        os.lseek(file.fd, -2, os.SEEK_END)
        assert file.read() == b"89"


def test_empty_message_is_an_empty_file(queue):
    queue.box.send(b"\n", name="send.lines")
    assert queue.contents() == [b""]
    assert os.stat(queue.files()[0]).st_size == 0


def test_poll_tells_that_a_message_can_be_read(three):
    with three.open(three.ids()[0]) as file:
        assert select.select([file.fd], [], [], 0)[0]


# --- taking ---

def test_rm_takes_exactly_one(three):
    first, second, third = three.ids()
    os.unlink(three.file(second))
    assert three.ids() == [first, third]
    assert three.box.counts("messages", "bytes", "received") == (2, 8, 1)
    for action in (os.unlink, os.stat):
        with fails_with(errno.ENOENT):
            action(three.file(second))
    assert three.box.drain() == [b"one", b"three"]


def test_received_message_is_gone_from_the_queue(three):
    first, *others = three.ids()
    assert three.box.receive() == b"one"
    wait_until(lambda: three.ids() == others, "it is gone")
    with fails_with(errno.ENOENT):
        three.open(first)
    with fails_with(errno.ENOENT):
        os.unlink(three.file(first))


def test_work_is_done_and_then_removed(shell, box, tmp_path):
    sh(shell, "for i in 1 2 3; do echo $i > send; done", cwd=box.path)
    script = f"for f in queue/*; do cat $f >> {tmp_path}/done && rm $f; done; ls queue | wc -l"
    assert int(sh(shell, script, cwd=box.path)) == 0
    assert (tmp_path / "done").read_text() == "1\n2\n3\n"


@pytest.mark.parametrize("maker", TOOLS)
@pytest.mark.parametrize("command", ["rm queue/*", "rm -f queue/*", "find queue -type f -delete",
                                     "find queue -type f | xargs rm"], ids=["rm", "rm-f", "find", "xargs"])
def test_queue_is_emptied(mnt, maker, command):
    box = mnt.box()
    box.configure(messages=3000)
    box.send(b"x\n" * 2000, name="send.lines")
    prefix = f"busybox sh -c '{command}'" if maker == "busybox" else command
    sh("dash", prefix, cwd=box.path)
    assert box.counts("messages", "bytes", "received") == (0, 0, 2000)
    os.rmdir(box.path)


def test_rm_lets_a_waiting_sender_in(queue):
    queue.box.fill()
    sender = queue.box.start_send(b"second")
    queue.box.wait_for(senders_waiting=1)
    os.unlink(queue.files()[0])
    sender.result()
    assert queue.box.drain() == [b"second"]


def test_message_of_a_waiting_sender_is_not_in_the_queue(queue):
    queue.box.fill()
    queue.box.start_send(b"second")
    queue.box.wait_for(senders_waiting=1)
    assert queue.contents() == [b"first"]


@pytest.mark.parametrize("how", ["received", "removed", "moved", "mailbox removed"])
def test_open_message_stays_readable(mnt, other, how):
    queue = Queue(mnt.box())
    data = os.urandom(50000)
    queue.box.send(data)
    [name] = queue.ids()
    with queue.open(name) as fresh, queue.open(name) as begun:
        assert begun.read(10) == data[:10]
        if how == "received":
            assert queue.box.receive() == data
        elif how == "moved":
            move(queue, name, other)
        else:
            os.unlink(queue.file(name))
        queue.box.wait_for(messages=0)
        if how == "mailbox removed":
            os.rmdir(queue.box.path)
        assert fresh.read() == data
        assert begun.read() == data[10:]
        assert os.fstat(fresh.fd).st_size == len(data)
        assert os.pread(begun.fd, 5, 100) == data[100:105]
    if how != "mailbox removed":
        os.rmdir(queue.box.path)


def test_worker_that_dies_before_rm_loses_nothing(three):
    def work():
        with three.open(three.ids()[0]) as file:
            file.read()
            os.kill(os.getpid(), signal.SIGKILL)
    for _ in range(20):
        assert Call(work).wait() == -signal.SIGKILL
    assert three.box.drain() == [b"one", b"two", b"three"]


def test_workers_that_crash_lose_nothing_and_do_nothing_twice(queue, tmp_path):
    """Each message is marked as done at once with its removal, or not at all, where no worker dies between."""
    box = queue.box
    box.configure(messages=1000)
    box.send(*[b"%d" % i for i in range(200)])
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    chance = random.Random(1)

    def work(seed):
        chance.seed(seed)
        for name in queue.ids():
            with contextlib.suppress(FileNotFoundError):
                data = queue.read(name)
                if chance.random() < 0.1:
                    os.kill(os.getpid(), signal.SIGKILL)
                os.unlink(queue.file(name))
                os.write(log, data + b"\n")

    for first in range(0, 1000, 4):
        for worker in [Call(work, first + i) for i in range(4)]:
            worker.wait()
        if not queue.ids():
            break
    os.close(log)
    assert sorted(map(int, (tmp_path / "log").read_text().split())) == list(range(200))


# --- what can't be done ---

def test_names_that_are_no_ids_do_not_exist(three):
    name = three.ids()[0]
    number = int(name)
    for wrong in (str(number), f"{number:019}", f"{number:021}", "0" * 20, f"+{number:019}", f" {number:019}", "x" * 20,
                  name + " ", f"{10**20 - 1}", "x"):
        for action in (os.stat, os.unlink, lambda path: os.open(path, os.O_RDONLY)):
            with fails_with(errno.ENOENT):
                action(three.file(wrong))
    with fails_with(errno.ENAMETOOLONG):
        os.stat(three.file("0" * 256))


def test_other_user_sees_nothing(three):
    path = three.files()[0]
    for action in (lambda: os.listdir(three.path), lambda: os.stat(path), lambda: os.open(path, os.O_RDONLY),
                   lambda: os.unlink(path), lambda: os.getxattr(path, "user.ipcfs.uid"),
                   lambda: os.rename(path, three.file("x"))):
        with fails_with(errno.EACCES):
            as_user(BOB, action)
    assert three.contents() == [b"one", b"two", b"three"]


def test_group_may_look_and_delete_but_not_read_when_queue_is_given_to_it(three):
    path = three.files()[0]
    os.chown(three.path, -1, ALICE)
    os.chmod(three.path, 0o750)
    assert as_user(BOB, three.ids, gid=ALICE) == three.ids()
    for action in (lambda: os.open(path, os.O_RDONLY), lambda: os.unlink(path)):
        with fails_with(errno.EACCES):
            as_user(BOB, action, gid=ALICE)
    os.chmod(three.path, 0o770)
    as_user(BOB, os.unlink, path, gid=ALICE)
    assert three.contents() == [b"two", b"three"]


# --- moving ---

@pytest.mark.parametrize("maker", TOOLS)
def test_mv_moves_a_message_and_keeps_its_name(three, other, maker):
    first, second, third = three.ids()
    before = os.stat(three.file(second))
    xattrs = {name: os.getxattr(three.file(second), name) for name in os.listxattr(three.file(second))}
    done = run(*TOOLS[maker], "mv", three.file(second), other.path + "/")
    assert done.returncode == 0, done.stderr
    assert (three.ids(), other.ids()) == ([first, third], [second])
    after = os.stat(other.file(second))
    assert (after.st_size, after.st_mtime_ns, after.st_mode) == (before.st_size, before.st_mtime_ns, before.st_mode)
    assert {name: os.getxattr(other.file(second), name) for name in os.listxattr(other.file(second))} == xattrs
    assert three.box.counts("messages", "bytes", "received") == (2, 8, 1)
    assert other.box.counts("messages", "bytes", "sent") == (1, 3, 1)
    assert three.box.drain() == [b"one", b"three"]
    assert other.box.drain() == [b"two"]


def test_mv_of_all(shell, three, other):
    ids = three.ids()
    sh(shell, f"mv queue/* {other.path}/", cwd=three.box.path)
    assert (three.ids(), other.ids()) == ([], ids)
    assert other.box.drain() == [b"one", b"two", b"three"]


def test_moved_messages_queue_by_priority_and_then_by_arrival_there(queue, other):
    for prio in (0, 5):
        queue.box.send(b"moved %d" % prio, name=f"send.{prio}")
        other.box.send(b"there %d" % prio, name=f"send.{prio}")
    for name in queue.ids():
        move(queue, name, other)
    assert other.box.drain() == [b"there 5", b"moved 5", b"there 0", b"moved 0"]


def test_move_and_back_again(three, other):
    name = three.ids()[0]
    for _ in range(50):
        move(three, name, other)
        move(other, name, three)
    assert three.box.drain() == [b"two", b"three", b"one"]


def test_move_onto_itself_changes_nothing(three):
    ids = three.ids()
    os.rename(three.file(ids[0]), three.file(ids[0]))
    assert three.ids() == ids


def test_ids_are_unique_in_a_mount(mnt, queue, other):
    def send(box):
        for i in range(300):
            box.send(b"%d" % i)
    for sender in [Call(send, box) for box in (queue.box, other.box) * 2]:
        sender.result()
    queue.box.send(b"x\ny\n", name="send.lines")
    with Handle(other.box.file("drop/x"), os.O_WRONLY | os.O_CREAT) as file:
        file.write(b"file")
    ids = queue.ids() + other.ids()
    assert len(set(ids)) == len(ids) == 1203


def test_message_keeps_its_name_through_other_messages_of_both(three, other):
    """No id of the target can be the same."""
    other.box.send(*[b"%d" % i for i in range(20)])
    for name in three.ids():
        move(three, name, other)
    assert len(set(other.ids())) == 23


def test_user_moves_between_mailboxes_of_his_own(mnt):
    a, b = Queue(mnt.box()), Queue(mnt.box())
    a.box.send(b"message")
    for queue in (a, b):
        os.chown(queue.box.path, ALICE, ALICE)
    as_user(ALICE, move, a, a.ids()[0], b)
    assert b.contents() == [b"message"]
    for queue in (a, b):
        queue.box.remove()


@pytest.mark.parametrize("owned", ["source", "target"])
def test_mailbox_of_another_user_neither_takes_nor_gives(three, other, owned):
    name = three.ids()[0]
    mine, other_one = (three, other) if owned == "source" else (other, three)
    os.chown(mine.box.path, ALICE, ALICE)
    with fails_with(errno.EACCES):
        as_user(ALICE, move, three, name, other)
    # Permission bits don't make him own it.
    os.chmod(other_one.path, 0o777)
    with fails_with(errno.EPERM):
        as_user(ALICE, move, three, name, other)
    assert (len(three.ids()), other.ids()) == (3, [])


@pytest.mark.parametrize("settings, error", [
    ({"messages": 1}, errno.EAGAIN),
    ({"messages": 1, "overflow": "reject"}, errno.ENOBUFS),
    ({"bytes": 6}, errno.EAGAIN),
    ({"bytes": 4, "overflow": "drop-oldest"}, errno.EMSGSIZE),
    ({"messages": 0}, errno.EAGAIN),
], ids=["full", "reject", "bytes", "too-large", "rendezvous"])
def test_target_without_room_refuses_and_nothing_is_lost(three, other, settings, error):
    other.box.send(b"there")
    other.box.configure(**settings)
    ids = three.ids()
    with fails_with(error):
        move(three, ids[2], other)
    assert (three.ids(), other.contents()) == (ids, [b"there"])
    assert three.box.drain() == [b"one", b"two", b"three"]


def test_mv_into_a_full_mailbox_says_so(shell, three, other):
    other.box.fill()
    done = run(*SHELLS[shell], "-c", f"mv queue/* {other.path}/", cwd=three.box.path)
    assert done.returncode != 0 and done.stderr
    assert (len(three.ids()), len(other.ids())) == (3, 1)


def test_target_that_drops_the_oldest_makes_room(three, other):
    other.box.configure(messages=1, overflow="drop-oldest")
    other.box.send(b"there")
    move(three, three.ids()[0], other)
    assert other.contents() == [b"one"]
    assert other.box.stat()["dropped"] == 1


@pytest.mark.parametrize("messages", [10, 0], ids=["queue", "rendezvous"])
def test_move_wakes_a_waiting_receiver(three, other, messages):
    other.box.configure(messages=messages)
    receiver = other.box.start_receive()
    other.box.wait_for(receivers_waiting=1)
    move(three, three.ids()[1], other)
    assert receiver.result() == b"two"
    other.box.wait_for(messages=0, received=1)


def test_move_wakes_who_polls(three, other):
    def watch():
        with other.box.open_recv() as recv:
            select.select([recv.fd], [], [])
            return recv.read()
    watcher = Call(watch)
    wait_until(lambda: watcher_sleeps(watcher), "it watches")
    move(three, three.ids()[0], other)
    assert watcher.result() == b"one"


def watcher_sleeps(watcher):
    with open(f"/proc/{watcher.pid}/syscall", encoding="utf-8") as syscall:
        return syscall.read().split()[0] not in ("running", "-1")


def test_move_makes_room_for_a_waiting_sender(queue, other):
    queue.box.fill()
    sender = queue.box.start_send(b"second")
    queue.box.wait_for(senders_waiting=1)
    move(queue, queue.ids()[0], other)
    sender.result()
    assert queue.box.drain() == [b"second"]


def test_move_does_not_pass_senders_that_wait(three, other):
    other.box.fill()
    sender = other.box.start_send(b"second")
    other.box.wait_for(senders_waiting=1)
    other.box.configure(bytes=7)
    with fails_with(errno.EAGAIN):
        move(three, three.ids()[0], other)
    assert other.box.take(2) == [b"first", b"second"]
    sender.result()


@pytest.mark.parametrize("maker", TOOLS)
def test_mv_out_of_the_mount_copies_and_removes(queue, tmp_path, maker):
    data = os.urandom(100000)
    queue.box.configure(message_bytes=200000)
    queue.box.send(data, b"stays")
    path = queue.files()[0]
    done = run(*TOOLS[maker], "mv", path, tmp_path / "file")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "file").read_bytes() == data
    assert queue.contents() == [b"stays"]


def test_nothing_else_goes_into_a_queue(three, other, tmp_path):
    (tmp_path / "file").write_text("x")
    assert run("mv", tmp_path / "file", other.path + "/").returncode != 0
    assert (tmp_path / "file").exists()
    name = three.ids()[0]
    other.box.send(b"there")
    for source, target in ((three.box.file("recv"), other.file(name)), (three.file(name), other.file("x")),
                           (three.file(name), other.file("0" * 20)), (three.file(name), three.box.file(name)),
                           (three.file(name), other.files()[0]), (three.path, other.path)):
        with fails_with(errno.EPERM, errno.ENOTEMPTY):
            os.rename(source, target)
    assert (len(three.ids()), len(other.ids())) == (3, 1)


@pytest.mark.parametrize("target", ["shm", "drop"])
def test_message_moved_to_where_files_are_is_copied_and_removed(mnt, three, other, target):
    name = three.ids()[0]
    moved = f"{mnt.path}/shm/{name}" if target == "shm" else other.box.file("drop/x")
    with fails_with(errno.EXDEV):
        os.rename(three.file(name), moved)
    assert len(three.ids()) == 3
    assert run("mv", three.file(name), moved).returncode == 0
    assert three.contents() == [b"two", b"three"]
    if target == "shm":
        with open(moved, "rb") as file:
            assert file.read() == b"one"
        os.unlink(moved)
    else:
        assert other.box.drain() == [b"one"]


def test_exchange_is_refused(three, other):
    exchange, at_fdcwd = 2, -100
    other.box.send(b"there")
    assert libc.renameat2(at_fdcwd, os.fsencode(three.files()[0]), at_fdcwd, os.fsencode(other.files()[0]), exchange) == -1
    assert ctypes.get_errno() in (errno.EPERM, errno.EINVAL)
    assert (len(three.ids()), len(other.ids())) == (3, 1)


# --- many ---

def send_lines(box, n):
    with box.open_send(name="send.lines") as lines:
        data = b"x\n" * n
        while data:
            data = data[lines.write(data[:MIB]):]


def test_hundred_thousand_are_listed(queue):
    """How the work grows with the number is counted in unit/test_cost."""
    queue.box.configure(messages="max")
    send_lines(queue.box, 100_000)
    assert len(queue.ids()) == 100_000
    with Handle(queue.box.file("recv.lines"), os.O_RDONLY) as reader:
        while queue.box.stat()["messages"]:
            reader.read()


def test_each_of_many_is_found_and_removed(queue):
    queue.box.configure(messages="max")
    send_lines(queue.box, 5000)
    for path in queue.files():
        os.stat(path)
        os.unlink(path)
    assert queue.ids() == []


def test_listing_shows_what_stays_exactly_once(queue):
    """While others come and go."""
    box = queue.box
    box.configure(messages="max")
    box.send(*[b"stays"] * 3000)
    staying = set(queue.ids())

    def churn():
        with box.open_send(name="send.1") as send:
            while True:
                for _ in range(30):
                    send.write(b"goes")
                with contextlib.suppress(FileNotFoundError):
                    for name in queue.ids()[:30]:
                        if name not in staying:
                            os.unlink(queue.file(name))

    churner = Call(churn)
    for _ in range(50):
        listed = queue.ids()
        assert len(set(listed)) == len(listed)
        assert staying <= set(listed)
        assert churner.poll() is None


def test_each_message_ends_in_exactly_one_place(queue, other, tmp_path):
    """Receivers, removers and movers are after the same messages at once."""
    box, n = queue.box, 2000
    box.configure(messages="max")
    other.box.configure(messages="max")
    send_lines(box, n)
    ids = set(queue.ids())

    # Each has one before anybody goes on, however late it was started.
    one_each = multiprocessing.Barrier(5)

    def receive(log):
        is_first = True
        with Handle(box.file("recv.json"), os.O_RDONLY | os.O_NONBLOCK) as reader, contextlib.suppress(BlockingIOError):
            while True:
                envelope = reader.read(200)
                name = envelope.partition(b'"id":')[2].partition(b",")[0]
                os.write(log, b"%020d\n" % int(name))
                if is_first:
                    one_each.wait(PATIENCE)
                is_first = False

    def remove(log, seed):
        pick(log, seed, try_remove)

    def move_them(log, seed):
        pick(log, seed, lambda path: try_move(path, other))

    def pick(log, seed, action):
        is_first = True
        while names := queue.ids():
            random.Random(seed).shuffle(names)
            for name in names[:100]:
                if action(queue.file(name)):
                    os.write(log, name.encode() + b"\n")
                    if is_first:
                        one_each.wait(PATIENCE)
                    is_first = False

    logs = {kind: os.open(tmp_path / kind, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for kind in ("received", "removed", "moved")}
    workers = [Call(remove, logs["removed"], 1), Call(remove, logs["removed"], 2), Call(move_them, logs["moved"], 3),
               Call(move_them, logs["moved"], 4), Call(receive, logs["received"])]
    for worker in workers:
        worker.result()
    for log in logs.values():
        os.close(log)
    outcome = {kind: (tmp_path / kind).read_text().split() for kind in logs}
    assert all(outcome.values()), "each had its share"
    everything = sum(outcome.values(), [])
    assert len(everything) == len(set(everything)) == n
    assert set(everything) == ids
    assert sorted(outcome["moved"]) == sorted(other.ids())
    box.wait_for(messages=0, sent=n, received=n)
    assert other.box.stat()["sent"] == len(outcome["moved"])


def try_move(path, to):
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, to.file(os.path.basename(path)))
        return True
    return False


def test_messages_moved_to_and_fro_by_many_are_received_once(queue, other):
    n = 300
    queue.box.send(*[b"%d" % i for i in range(n)])

    def shuttle(a, b):
        while True:
            for path in a.files():
                try_move(path, b)

    movers = [Call(shuttle, *pair) for pair in ((queue, other), (other, queue)) * 2]
    received = []
    def all_received():
        received.extend(queue.box.drain(3) + other.box.drain(3))
        assert all(mover.poll() is None for mover in movers)
        return len(received) >= n
    wait_until(all_received, lambda: f"{n} messages; {len(received)} came")
    for mover in movers:
        mover.kill()
        mover.wait()
    assert sorted(map(int, received)) == list(range(n))
    assert queue.ids() == other.ids() == []


# --- long queues are listed part by part ---

def fill_long(box, n):
    box.configure(messages="max")
    with box.open_send(name="send.lines") as send:
        send.write(b"x\n" * n)


def test_each_message_is_met_once_by_who_removes_while_listing(box):
    """find -delete does so: what it was told last is gone when it asks for more."""
    fill_long(box, 5000)
    met = []
    with os.scandir(box.file("queue")) as entries:
        for entry in entries:
            met.append(entry.name)
            os.unlink(entry.path)
    assert len(met) == len(set(met)) == 5000
    assert met == sorted(met)
    assert box.counts("messages") == (0,)


def test_each_message_that_stays_is_met_once_whatever_comes_and_goes(box):
    fill_long(box, 5000)
    met = []
    with os.scandir(box.file("queue")) as entries:
        for i, entry in enumerate(entries):
            met.append(int(entry.name))
            if i % 10 == 0:
                box.receive()
                box.send(b"later")
                box.send(b"urgent", name="send.9")
    assert len(met) == len(set(met)) and met == sorted(met)
    # All but the first were there all the time, and what came later is not met: it ends.
    assert 4000 <= len(met) <= 5000
    box.configure(messages=1, overflow="drop-oldest")


def test_listing_can_be_read_from_any_place_again(box):
    fill_long(box, 3000)
    script = r"""opendir my $d, $ARGV[0] or die; my (@names, @at);
        while (1) { push @at, telldir $d; defined(my $name = readdir $d) or last; push @names, $name; }
        for my $i (2500, 7, 2999, 0, 300, 3001, 1, 2) { seekdir $d, $at[$i]; readdir($d) eq $names[$i] or die "at $i"; }
        rewinddir $d; my @again = readdir $d; "@again" eq "@names" or die "not the same";
        print scalar @names;"""
    done = run("perl", "-e", script, box.file("queue"))
    assert (done.stdout, done.stderr) == ("3002", "")
    run("find", box.file("queue"), "-type", "f", "-delete")
    assert box.counts("messages") == (0,)


def test_open_listings_count_for_who_opened_them(mount):
    mnt = mount("-o", "max_bytes=64M,uid_bytes=4M")
    box = mnt.mailbox("alices")
    as_user(ALICE, os.mkdir, box.path, 0o700)

    def open_and_read():
        fill_long(box, 1000)
        handles = []
        try:
            while True:
                handles.append(os.open(box.file("queue"), os.O_RDONLY | os.O_DIRECTORY))
                os.listdir(handles[-1])
        except OSError as error:
            return len(handles), error.errno
    n, error = as_user(ALICE, open_and_read)
    assert error == errno.EDQUOT and n < 4096
    # As much as it was before.
    assert as_user(ALICE, open_and_read)[0] >= n // 2

"""drop/: a name that was sent goes on answering for a while, to its sender alone, and changes nothing."""

import contextlib
import errno
import os
import signal
import stat

import pytest

from harness import ALICE, BOB, Call, Handle, Peer, as_user, expect_asleep, fails_with, interruptible, run, sh

NAME = "drop/file"


def send(box, data=b"message", name=NAME, flags=0, mode=0o644):
    with contextlib.closing(os.fdopen(os.open(box.file(name), os.O_WRONLY | os.O_CREAT | flags, mode), "wb", 0)) as file:
        file.write(data)


TOUCHES = {
    "stat": os.stat,
    "chmod": lambda path: os.chmod(path, 0o600),
    "chown": lambda path: os.chown(path, os.getuid(), -1),
    "utime": lambda path: os.utime(path, (1, 2)),
    "utime now": os.utime,
    "access": lambda path: os.access(path, os.W_OK) or os.stat(path),
    "rename": lambda path: os.rename(path, path + "2"),
    "rename to itself": lambda path: os.rename(path, path),
}

OTHERS = {
    "read": lambda path: os.close(os.open(path, os.O_RDONLY)),
    "write": lambda path: os.close(os.open(path, os.O_WRONLY)),
    "truncate": lambda path: os.truncate(path, 0),
    "unlink": os.unlink,
    "link": lambda path: os.link(path, path + "2"),
    "xattr": lambda path: os.getxattr(path, "user.x"),
}


@pytest.fixture(params=[0, ALICE], ids=["root", "alice"])
def uid(request):
    return request.param


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES.keys())
def test_sender_may_touch_what_it_has_sent(box, touch, uid):
    def send_and_touch():
        send(box)
        touch(box.file(NAME))
    as_user(uid, send_and_touch)
    assert box.drain() == [b"message"]
    assert box.counts("sent", "reserved") == (1, 0)


def test_name_tells_what_was_sent(box):
    def look():
        send(box, b"x" * 100000, mode=0o640)
        status = os.stat(box.file(NAME))
        os.chmod(box.file(NAME), 0o600)
        os.utime(box.file(NAME), (1, 2))
        return status, os.stat(box.file(NAME))
    old, new = as_user(ALICE, look)
    assert (old.st_size, old.st_uid, old.st_gid, stat.S_IMODE(old.st_mode)) == (100000, ALICE, ALICE, 0o640)
    assert stat.S_ISREG(old.st_mode)
    assert (new.st_size, new.st_mode, new.st_mtime_ns) == (old.st_size, old.st_mode, old.st_mtime_ns)
    assert [len(message) for message in box.drain()] == [100000]


def test_children_of_the_sender_may_touch_it_too(box, uid):
    def send_and_start():
        send(box)
        os.chdir(box.path)
        return run("sh", "-c", "stat -c %s drop/file && sh -c 'chmod 600 drop/file && mv drop/file drop/file2; :' && "
                   "stat -c %s drop/file2").stdout
    assert as_user(uid, send_and_start) == "7\n7\n"
    assert box.drain() == [b"message"]


@pytest.mark.parametrize("act", [*TOUCHES.values(), *OTHERS.values()], ids=[*TOUCHES, *OTHERS])
def test_nobody_else_finds_it(box, act):
    with contextlib.ExitStack() as stack:
        sender, relative, stranger = Peer(uid=ALICE), Peer(uid=ALICE), Peer(uid=BOB)
        stack.callback(sender.kill)
        sender.call(send, box)
        assert sender.call(os.stat, box.file(NAME)).st_size == 7
        for other in (relative, stranger):
            with fails_with(errno.ENOENT):
                other.call(os.stat, box.file(NAME))
        # The parent of all of them, root.
        with fails_with(errno.ENOENT):
            act(box.file(NAME))
        with fails_with(errno.ENOENT):
            as_user(ALICE, act, box.file(NAME))
        assert sender.call(os.stat, box.file(NAME)).st_size == 7
        assert os.listdir(box.file("drop")) == []
    assert box.drain() == [b"message"]


def test_name_is_known_in_its_mailbox_alone(mnt, box):
    other = mnt.box()
    send(box)
    with fails_with(errno.ENOENT):
        os.stat(other.file(NAME))
    with fails_with(errno.EXDEV):
        os.rename(box.file(NAME), other.file(NAME))
    assert os.stat(box.file(NAME)).st_size == 7
    assert box.drain() == [b"message"]
    other.remove()


def test_process_with_the_same_pid_inherits_no_names(box):
    sender = Peer()
    sender.call(send, box)
    assert sender.call(os.stat, box.file(NAME)).st_size == 7
    sender.kill()
    heir = Peer.with_pid(sender.pid)
    if heir:
        with fails_with(errno.ENOENT):
            heir.call(os.stat, box.file(NAME))
    assert box.drain() == [b"message"]


def test_rename_replaces_and_leaves_nothing(box):
    for data in (b"one", b"second"):
        send(box, data, "drop/.tmp", os.O_EXCL)
        os.replace(box.file("drop/.tmp"), box.file("drop/name"))
        assert os.stat(box.file("drop/name")).st_size == len(data)
        with fails_with(errno.ENOENT):
            os.stat(box.file("drop/.tmp"))
    os.chmod(box.file("drop/name"), 0o600)
    assert box.drain() == [b"one", b"second"]


def test_rename_in_a_directory_that_one_stands_in(box, uid):
    def send_and_rename():
        os.chdir(box.file("drop"))
        with open("a", "wb") as file:
            file.write(b"message")
        os.rename("a", "b")
        return os.stat("b").st_size
    assert as_user(uid, send_and_rename) == 7
    assert box.drain() == [b"message"]


def test_name_does_not_leave_drop(mnt, box):
    send(box)
    for target in (box.file("file"), os.path.join(mnt.path, "shm", "file"), os.path.join(mnt.mbox, "file")):
        with fails_with(errno.EXDEV):
            os.rename(box.file(NAME), target)
    assert box.drain() == [b"message"]


def test_message_stays_when_its_name_is_removed(box):
    send(box)
    os.unlink(box.file(NAME))
    for act in (os.stat, os.unlink):
        with fails_with(errno.ENOENT):
            act(box.file(NAME))
    assert box.drain() == [b"message"]


def test_what_was_sent_can_be_neither_read_nor_cut(box, uid):
    def try_it():
        send(box)
        with fails_with(errno.EACCES):
            os.open(box.file(NAME), os.O_RDONLY)
        with fails_with(errno.EPERM):
            os.truncate(box.file(NAME), 3)
        for act in (os.rmdir, os.listdir):
            with fails_with(errno.ENOTDIR):
                act(box.file(NAME))
    as_user(uid, try_it)
    assert box.drain() == [b"message"]


def test_user_can_not_give_it_away(box):
    def try_it():
        send(box)
        with fails_with(errno.EPERM):
            os.chown(box.file(NAME), BOB, -1)
    as_user(ALICE, try_it)
    assert box.drain() == [b"message"]


@pytest.mark.parametrize("data, bytes_max", [(b"", 1000), (b"x" * 2000, 1000)], ids=["empty", "too large"])
def test_what_was_not_sent_does_not_answer(box, data, bytes_max):
    box.configure(bytes=bytes_max)
    with contextlib.suppress(OSError):
        send(box, data)
    with fails_with(errno.ENOENT):
        os.stat(box.file(NAME))
    assert box.drain() == []


def test_file_that_is_open_does_not_answer(box):
    with Handle(box.file(NAME), os.O_WRONLY | os.O_CREAT) as file:
        file.write(b"message")
        with fails_with(errno.ENOENT):
            os.stat(box.file(NAME))
    assert os.stat(box.file(NAME)).st_size == 7
    assert box.drain() == [b"message"]


def test_mailbox_of_a_process_has_such_names_too(mnt):
    direct = mnt.direct("self")
    send(direct)
    assert os.stat(direct.file(NAME)).st_size == 7
    os.chmod(direct.file(NAME), 0o600)
    assert direct.drain() == [b"message"]


# --- another file by the same name ---

FLAGS = {"create": os.O_CREAT, "truncate": os.O_CREAT | os.O_TRUNC, "append": os.O_CREAT | os.O_APPEND,
         "truncate alone": os.O_TRUNC, "write": 0}


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
@pytest.mark.parametrize("mode", [0o644, 0o400, 0o000], ids=oct)
def test_next_file_of_that_name_is_another_message(box, uid, flags, mode):
    def send_all():
        send(box, b"first, longer", mode=mode)
        for i in range(5):
            with Handle(box.file(NAME), os.O_RDWR if i % 2 else os.O_WRONLY | flags) as file:
                assert os.fstat(file.fd).st_size == 0
                file.write(b"%d" % i)
                file.write(b"+")
                assert os.fstat(file.fd).st_size == 2
                os.fchmod(file.fd, mode)
            assert box.counts("messages", "reserved") == (i + 2, 0)
            assert os.stat(box.file(NAME)).st_size == 2
    as_user(uid, send_all)
    assert box.drain() == [b"first, longer", b"0+", b"1+", b"2+", b"3+", b"4+"]


def test_two_more_files_of_that_name_at_once_do_not_meet(box):
    send(box, b"first")
    with Handle(box.file(NAME), os.O_WRONLY | os.O_CREAT) as one:
        with Handle(box.file(NAME), os.O_WRONLY | os.O_CREAT) as two:
            one.write(b"o")
            two.write(b"two")
            one.write(b"ne")
            os.ftruncate(one.fd, 2)
            assert os.fstat(one.fd).st_ino != os.fstat(two.fd).st_ino
        assert box.counts("messages", "reserved") == (2, 1)
    assert box.drain() == [b"first", b"two", b"on"]


def test_child_of_the_sender_sends_by_that_name(box, tmp_path):
    (tmp_path / "src").write_bytes(b"child")
    send(box, b"parent")
    for command in (["cp", "-p"], ["mv"], ["busybox", "cp", "-p"]):
        source = tmp_path / "copy"
        source.write_bytes(b"child")
        assert run(*command, source, box.file(NAME)).returncode == 0
    assert box.drain() == [b"parent"] + [b"child"] * 3


@pytest.mark.parametrize("script", [
    "for i in 1 2 3; do echo $i > drop/x; done",
    "for i in 1 2 3; do echo $i >> drop/x; done",
    "for i in 1 2 3; do { echo $i; } > drop/x; done",
    "for i in 1 2 3; do (echo $i > drop/x); done",
], ids=["new", "append", "group", "subshell"])
def test_shell_sends_by_one_name_again_and_again(shell, box, script):
    sh(shell, script, cwd=box.path)
    assert box.drain() == [b"1\n", b"2\n", b"3\n"]


def test_next_file_waits_for_its_place(box):
    box.configure(messages=1)
    sender = Peer()
    sender.call(send, box, b"first")
    with fails_with(errno.EAGAIN):
        sender.call(send, box, b"never", NAME, os.O_NONBLOCK)
    sender.start(send, box, b"second")
    box.wait_for(senders_waiting=1)
    expect_asleep(sender)
    assert box.take(2) == [b"first", b"second"]
    sender.result()


def test_signal_ends_the_wait_of_the_next_file(box):
    box.configure(messages=1)

    def wait():
        signal.signal(signal.SIGUSR1, lambda *_: None)
        send(box, b"first")
        return interruptible("open", os.fsencode(box.file(NAME)), os.O_WRONLY | os.O_CREAT, 0o600)

    creator = Call(wait)
    box.wait_for(senders_waiting=1)
    creator.kill(signal.SIGUSR1)
    with fails_with(errno.EINTR):
        creator.result()
    box.wait_for(senders_waiting=0, reserved=0)
    assert box.drain() == [b"first"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_next_file_can_be_killed_while_it_waits(box, number):
    box.configure(messages=1)

    def wait():
        send(box, b"first")
        send(box, b"second")

    creator = Call(wait)
    box.wait_for(senders_waiting=1)
    creator.kill(number)
    assert creator.wait() == -number
    box.wait_for(senders_waiting=0, reserved=0)
    assert box.drain() == [b"first"]


def test_next_file_that_is_killed_is_not_sent(box):
    def die():
        send(box, b"first")
        Handle(box.file(NAME), os.O_WRONLY | os.O_CREAT).write(b"second")
        os.kill(os.getpid(), signal.SIGKILL)
    Call(die).wait()
    box.wait_for(reserved=0)
    assert box.drain() == [b"first"]


def test_file_by_an_answering_name_can_not_be_opened_anew_through_its_descriptor(box):
    send(box, b"first")
    with Handle(box.file(NAME), os.O_RDWR) as file:
        file.write(b"second")
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
            with fails_with(errno.EACCES, errno.EPERM, errno.ENOENT):
                os.open(f"/proc/self/fd/{file.fd}", flags)
    assert box.drain() == [b"first", b"second"]


def test_names_and_places_end_with_the_mailbox(mnt):
    box = mnt.box()
    send(box)
    with Handle(box.file(NAME), os.O_WRONLY) as file:
        assert box.drain() == [b"message"]
        os.rmdir(box.path)
        with fails_with(errno.ENOENT):
            os.stat(box.file(NAME))
        with fails_with(errno.EIDRM):
            file.write(b"more")
        with fails_with(errno.EIDRM):
            file.close()
        file.fd = os.open("/dev/null", os.O_RDONLY)


# --- what names cost ---

def test_many_names_cost_little_and_the_last_ones_answer(mount):
    mnt = mount()
    box = mnt.box()
    box.configure(overflow="drop-oldest", messages=10)
    free, fds = os.statvfs(mnt.path).f_bfree, mnt.n_fds()
    for i in range(1000):
        send(box, b"%d" % i, f"drop/{i:0200}")
    with fails_with(errno.ENOENT):
        os.stat(box.file(f"drop/{0:0200}"))
    for i in range(900, 1000):
        assert os.stat(box.file(f"drop/{i:0200}")).st_size == 3
    box.drain()
    assert (os.statvfs(mnt.path).f_bfree, mnt.n_fds()) == (free, fds)

"""owner: a mailbox that belongs to a process, and goes when that goes."""

import contextlib
import ctypes
import errno
import os
import select
import signal
import struct
import threading

import pytest

from harness import (ALICE, BOB, PATIENCE, SHELLS, Call, Handle, as_user, expect_asleep, fails_with, kill_all, libc,
                     process_state, receive_message, run, sh, start_sh, try_open, wait_until)

KIB = 1024
RECEIVERS = ["recv", "recv.lines", "recv.json", "queue"]
STREAMS = ["recv", "recv.lines", "recv.json"]


@pytest.fixture(name="box")
def mortal_box(mnt):
    """A mailbox that may go by itself."""
    box = mnt.box(0o755)
    yield box
    kill_all()
    if mnt.process.poll() is None:
        wait_until(lambda: is_gone(box) or remove(box), "it is gone")


def remove(box):
    with contextlib.suppress(OSError):
        box.drain()
        os.rmdir(box.path)


def is_gone(box):
    return not os.path.lexists(box.path)


def wait_gone(box):
    wait_until(lambda: is_gone(box), "the mailbox disappears")


def claim(box, flags=os.O_WRONLY):
    return Handle(box.file("owner"), flags)


def owner_of(box):
    with open(box.file("owner"), encoding="ascii") as owner:
        return owner.read()


def start_owner(box, action=signal.pause, uid=None):
    """A process that owns the mailbox and then does something."""
    def own():
        with claim(box):
            return action()
    owner = Call(own, uid=uid)
    wait_until(lambda: owner.poll() is not None or is_gone(box) or box.stat()["owner_pid"] == owner.pid, "it is owned")
    return owner


@pytest.fixture
def owned(box):
    """A mailbox that another process owns, with a message in it."""
    box.send(b"message")
    start_owner(box)
    return box


def in_child(function, *args):
    """What the function returns in a child of the calling process."""
    return Call(function, *args).result()


def receive_first(box, name):
    """What the first message looks like there."""
    path = box.file(name)
    if name == "queue":
        with open(os.path.join(path, os.listdir(path)[0]), "rb") as message:
            return message.read()
    with Handle(path, os.O_RDONLY) as receiver:
        # One message and no more fits, if it has five bytes.
        return receiver.read(200 if name == "recv.json" else 6)


# --- claiming ---

def test_owner_is_empty_when_there_is_none(shell, box):
    assert sh(shell, "cat owner", cwd=box.path) == ""
    assert box.stat()["owner_pid"] == 0
    assert os.stat(box.file("owner")).st_mode & 0o7777 == 0o644


def test_shell_claims_with_exec(shell, box):
    script = "exec 3> owner; echo $$; cat owner; grep owner_pid stat"
    pid, told, status = sh(shell, script, cwd=box.path).split()
    assert told == pid and status == f"owner_pid={pid}"
    wait_gone(box)


def test_everybody_may_read_who_owns(box):
    owner = start_owner(box)
    assert owner_of(box) == as_user(ALICE, owner_of, box) == f"{owner.pid}\n"
    assert box.stat()["owner_pid"] == owner.pid


def test_thread_claims_for_its_process(box):
    def own():
        thread = threading.Thread(target=claim_and_keep)
        thread.start()
        thread.join()
        assert int(owner_of(box)) == os.getpid()
        return box.stat()["owner_pid"]

    def claim_and_keep():
        claim(box)

    owner = Call(own)
    assert owner.result() == owner.pid
    wait_gone(box)


def test_handle_for_both_ways_claims_and_tells(shell, box):
    script = "exec 3<> owner; echo $$; cat <&3"
    pid, *told = sh(shell, script, cwd=box.path).split()
    assert told == [pid]
    wait_gone(box)


@pytest.mark.parametrize("uid", [0, ALICE], ids=["root", "alice"])
def test_second_claim_is_ebusy(box, uid):
    os.chown(box.path, uid, uid)

    def own():
        with claim(box):
            with fails_with(errno.EBUSY):
                claim(box)
            with fails_with(errno.EBUSY):
                in_child(claim, box)
            signal.pause()

    owner = Call(own, uid=uid)
    wait_until(lambda: box.stat()["owner_pid"], "it is owned")
    for other in (uid, 0):
        with fails_with(errno.EBUSY):
            as_user(other, claim, box)
    assert box.stat()["owner_pid"] == owner.pid
    assert owner.poll() is None


def test_second_claim_from_the_shell_fails_and_says_so(shell, owned):
    done = run(*SHELLS[shell], "-c", "exec 3> owner && echo mine", cwd=owned.path)
    assert done.stdout == "" and "busy" in done.stderr.lower()


def test_other_user_may_not_claim(box):
    with fails_with(errno.EACCES):
        as_user(ALICE, claim, box)
    os.chmod(box.file("owner"), 0o666)
    as_user(ALICE, claim, box)
    wait_gone(box)


def test_of_many_who_claim_at_once_one_succeeds(mnt):
    for _ in range(20):
        box = mnt.box()

        def try_claim(box=box):
            try:
                with claim(box):
                    signal.pause()
            except OSError as error:
                return error.errno

        claimers = [Call(try_claim) for _ in range(5)]
        wait_until(lambda: sum(c.poll() is not None for c in claimers) == 4, "four fail")
        [winner] = [c for c in claimers if c.poll() is None]
        assert box.stat()["owner_pid"] == winner.pid
        assert {c.result() for c in claimers if c is not winner} == {errno.EBUSY}
        winner.kill()
        wait_gone(box)


# --- who may receive ---

@pytest.mark.parametrize("name", RECEIVERS)
def test_owner_receives(box, name):
    box.send(b"first")
    owner = Call(own_and, box, lambda: receive_first(box, name))
    assert b"first" in owner.result()
    wait_gone(box)


def own_and(box, action):
    with claim(box):
        return action()


@pytest.mark.parametrize("name", RECEIVERS)
def test_child_and_grandchild_of_the_owner_receive(box, name):
    box.send(b"first", b"other")
    owner = Call(own_and, box, lambda: [in_child(receive_first, box, name), in_child(in_child, receive_first, box, name)])
    assert all(b"first" in data or b"other" in data for data in owner.result())


def test_thread_of_the_owner_receives(box):
    box.send(b"first")

    def receive():
        received = []
        thread = threading.Thread(target=lambda: received.append(receive_first(box, "recv")))
        thread.start()
        thread.join()
        return received

    assert Call(own_and, box, receive).result() == [b"first"]


def test_programs_of_the_owner_receive(shell, box):
    sh(shell, "echo one > send; echo two > send; echo three > send", cwd=box.path)
    script = "exec 3> owner; cat recv; (read -r m < recv.lines; echo $m); cat queue/*; ls queue | wc -l"
    assert sh(shell, script, cwd=box.path).split() == ["one", "two", "three", "1"]
    wait_gone(box)


def test_owner_that_becomes_another_program_still_owns(shell, box):
    sh(shell, "echo one > send", cwd=box.path)
    assert sh(shell, "exec 3> owner; exec cat recv", cwd=box.path) == "one\n"
    wait_gone(box)


@pytest.mark.parametrize("uid", [0, ALICE], ids=["root", "same-uid"])
@pytest.mark.parametrize("name", RECEIVERS)
def test_others_may_not_open_to_receive(box, name, uid):
    os.chown(box.path, ALICE, ALICE)
    box.send(b"message")
    start_owner(box, uid=ALICE)
    with fails_with(errno.EBUSY):
        as_user(uid, try_open, box.file(name), os.O_RDONLY | os.O_NONBLOCK)
    assert box.counts("messages", "received") == (1, 0)


def test_another_user_is_eacces_as_ever(owned):
    for name in RECEIVERS:
        with fails_with(errno.EACCES):
            as_user(BOB, try_open, owned.file(name), os.O_RDONLY | os.O_NONBLOCK)


def test_parent_and_sibling_of_the_owner_are_others(box):
    """All of this test's processes but the owner's own children."""
    box.send(b"message")
    start_owner(box)
    for attempt in (lambda: receive_first(box, "recv"), lambda: in_child(receive_first, box, "recv")):
        with fails_with(errno.EBUSY):
            attempt()


def test_cat_of_another_says_busy(shell, owned):
    done = run(*SHELLS[shell], "-c", "cat recv || cat recv.lines || ls queue", cwd=owned.path)
    assert done.returncode != 0 and done.stdout == ""
    assert done.stderr.lower().count("busy") == 3


def test_messages_of_an_owned_mailbox_can_not_be_picked_or_moved(mnt, box):
    other = mnt.box()
    other.send(b"other")
    box.send(b"message")
    path = box.file(f"queue/{os.listdir(box.file('queue'))[0]}")
    theirs = other.file(f"queue/{os.listdir(other.file('queue'))[0]}")
    start_owner(box)
    for action in (lambda: os.open(path, os.O_RDONLY), lambda: os.unlink(path),
                   lambda: os.rename(path, other.file("queue/" + os.path.basename(path))),
                   lambda: os.rename(theirs, box.file("queue/" + os.path.basename(theirs)))):
        with fails_with(errno.EBUSY):
            action()
    assert (box.stat()["messages"], other.drain()) == (1, [b"other"])
    other.remove()


@pytest.mark.parametrize("flags", [0, os.O_NONBLOCK], ids=["blocking", "nonblocking"])
@pytest.mark.parametrize("name", STREAMS)
def test_handle_that_was_opened_before_the_claim_does_not_receive(box, name, flags):
    with Handle(box.file(name), os.O_RDONLY | flags) as receiver:
        start_owner(box)
        with fails_with(errno.EBUSY):
            receiver.read()
        box.send(b"message")
        with fails_with(errno.EBUSY):
            receiver.read()
    assert box.counts("messages", "received") == (1, 0)


def test_queue_that_was_opened_before_the_claim_is_not_listed(box):
    box.send(b"message")
    with Handle(box.file("queue"), os.O_RDONLY | os.O_DIRECTORY) as directory:
        start_owner(box)
        with fails_with(errno.EBUSY):
            os.listdir(directory.fd)


@pytest.mark.parametrize("name", STREAMS)
def test_receiver_that_waits_when_another_claims_is_sent_away(box, name):
    receiver = Call(receive_first, box, name)
    box.wait_for(receivers_waiting=1)
    start_owner(box)
    with fails_with(errno.EBUSY):
        receiver.result()
    box.wait_for(receivers_waiting=0)
    box.send(b"message")
    assert box.stat()["messages"] == 1


@pytest.mark.parametrize("name", STREAMS)
def test_descendant_that_waits_when_the_owner_claims_waits_on(box, name):
    def own():
        receiver = Call(receive_first, box, name)
        box.wait_for(receivers_waiting=1)
        with claim(box):
            in_child(box.send, b"first")
            return receiver.result()
    assert b"first" in Call(own).result()


# --- who may send ---

SENDERS = ["send", "send.31", "send.lines", "drop/file"]


def send_one(box, name):
    flags = os.O_WRONLY | os.O_NONBLOCK | (os.O_CREAT if name.startswith("drop") else 0)
    with Handle(box.file(name), flags) as sender:
        sender.write(b"message\n")


@pytest.mark.parametrize("name", SENDERS)
def test_owner_may_not_send_but_its_child_may(box, name):
    def own():
        with fails_with(errno.EPERM):
            send_one(box, name)
        in_child(send_one, box, name)
        return box.receive()
    assert Call(own_and, box, own).result().strip() == b"message"


@pytest.mark.parametrize("name", SENDERS[:3])
def test_owner_may_not_send_on_a_handle_from_before_either(box, name):
    def own():
        with box.open_send(name=name) as sender, claim(box):
            with fails_with(errno.EPERM):
                sender.write(b"message\n")
            # Whose handle it is does not matter.
            in_child(sender.write, b"message\n")
            return box.receive()
    assert Call(own).result().strip() == b"message"


def test_thread_of_the_owner_may_not_send(box):
    def own():
        errors = []

        def send():
            with contextlib.suppress(PermissionError):
                send_one(box, "send")
                errors.append("sent")

        thread = threading.Thread(target=send)
        thread.start()
        thread.join()
        return errors
    assert Call(own_and, box, own).result() == []


def test_shell_that_owns_may_not_echo_but_its_children_may(shell, box):
    script = ("exec 3> owner; (echo child > send); sh -c 'echo program > send'; cat recv; cat recv; "
              "{ echo owner > send; } 2> /dev/null || echo no; grep ^messages= stat")
    assert sh(shell, script, cwd=box.path).split() == ["child", "program", "no", "messages=0"]
    wait_gone(box)


@pytest.mark.parametrize("uid", [0, ALICE], ids=["root", "alice"])
@pytest.mark.parametrize("name", SENDERS)
def test_others_send(box, name, uid):
    box.send(b"first")
    owner = Call(own_and, box, lambda: [receive_message(box.recv_path) for _ in range(2)])
    box.wait_for(received=1, receivers_waiting=1)
    as_user(uid, send_one, box, name)
    assert [data.strip() for data in owner.result()] == [b"first", b"message"]


def test_server_in_the_shell_answers_its_clients(shell, mnt, box):
    answers = mnt.box(0o777)
    script = f"exec 3> owner; echo ready; while IFS= read -r m; do echo \"<$m>\" > {answers.send_path}; done < recv.lines"
    server = start_sh(shell, script, cwd=box.path)
    wait_until(lambda: box.stat()["owner_pid"] == server.pid, "it owns")
    for text in ("one", "two"):
        sh(shell, f"echo {text} > send", cwd=box.path, uid=ALICE)
        assert answers.take(1) == [b"<%s>\n" % text.encode()]
    server.kill_family()
    wait_gone(box)
    answers.remove()


# --- the end ---

def test_closing_the_claim_is_the_end(shell, mnt, box):
    name = os.path.basename(box.path)
    sh(shell, f"exec 3> {name}/owner; echo x | cat > {name}/send; exec 3>&-", cwd=mnt.mbox)
    wait_gone(box)


def test_close_of_a_duplicate_is_not_the_end(box):
    with claim(box) as handle:
        os.close(os.dup(handle.fd))
        Call(handle.close).result()
        assert run("true", pass_fds=[handle.fd]).returncode == 0
        assert box.stat()["owner_pid"] == os.getpid()
        in_child(box.send, b"message")
        assert box.receive() == b"message"
    wait_gone(box)


def test_hundred_killed_owners_take_their_mailboxes_along(mnt):
    free = os.statvfs(mnt.path).f_bfree
    for _ in range(100):
        box = mnt.mailbox("mortal").make()
        box.send(b"x" * 10000, b"waiting")
        owner = start_owner(box)
        owner.kill()
        assert owner.wait() == -signal.SIGKILL
        wait_gone(box)
        for path in (box.path, box.send_path, box.recv_path, box.stat_path, box.file("owner"), box.file("queue")):
            with fails_with(errno.ENOENT):
                os.open(path, os.O_RDONLY)
        assert "mortal" not in os.listdir(mnt.mbox)
    wait_until(lambda: os.statvfs(mnt.path).f_bfree == free, "what the messages took is free")


@pytest.mark.parametrize("how", ["exit", "SIGTERM", "SIGSEGV", "close", "exec"])
def test_however_the_owner_ends_its_mailbox_goes(box, how):
    box.send(b"waiting")

    def own():
        handle = claim(box)
        if how == "exit":
            os._exit(1)
        elif how == "close":
            handle.close()
        elif how == "exec":
            # The descriptor is closed on exec.
            os.execlp("sleep", "sleep", "100")
        os.kill(os.getpid(), getattr(signal, how))

    owner = Call(own)
    wait_gone(box)
    owner.kill()


def test_owned_mailbox_can_be_removed_when_empty(owned):
    with fails_with(errno.ENOTEMPTY):
        os.rmdir(owned.path)


def test_rmdir_before_the_end_does_no_harm(mnt, box):
    owner = start_owner(box)
    os.rmdir(box.path)
    new = mnt.mailbox(os.path.basename(box.path)).make()
    new.send(b"message")
    owner.kill()
    owner.wait()
    # The name is another mailbox's now.
    assert run("ls", mnt.mbox).returncode == 0
    assert new.drain() == [b"message"]
    new.remove()


def test_mailbox_that_was_renamed_goes_under_its_new_name(mnt, box):
    owner = start_owner(box)
    new = mnt.mailbox("renamed")
    os.rename(box.path, new.path)
    new.send(b"message")
    owner.kill()
    wait_gone(new)


def test_name_is_free_at_once(mnt, box):
    owner = start_owner(box)
    owner.kill()
    wait_gone(box)
    os.mkdir(box.path)
    assert box.counts("messages", "owner_pid") == (0, 0)
    box.send(b"new")
    assert box.drain() == [b"new"]


def test_claim_that_a_child_inherited_keeps_the_mailbox(box):
    receiver, sender = os.pipe()

    def own():
        claim(box)
        Call(wait_for_end, sender)
        os.kill(os.getpid(), signal.SIGKILL)

    def wait_for_end(unused):
        os.close(unused)
        os.read(receiver, 1)

    owner = Call(own)
    assert owner.wait() == -signal.SIGKILL
    # It is another's now, and yet not there to be received from by strangers.
    box.send(b"message")
    assert box.stat()["messages"] == 1
    with fails_with(errno.EBUSY):
        box.receive()
    os.close(sender)
    wait_gone(box)
    os.close(receiver)


def test_background_child_of_a_shell_keeps_the_mailbox(shell, box):
    family = start_sh(shell, "exec 3> owner; sleep 100 & exec sleep 0", cwd=box.path)
    assert family.wait() == 0
    box.send(b"message")
    assert not is_gone(box)
    family.kill_family()
    wait_gone(box)


@pytest.mark.parametrize("name", SENDERS)
def test_senders_that_wait_get_eidrm(box, name):
    box.fill()
    flags = os.O_WRONLY | (os.O_CREAT if name.startswith("drop") else 0)

    def send():
        with Handle(box.file(name), flags) as sender:
            return sender.write(b"second\n")

    senders = [Call(send) for _ in range(3)]
    box.wait_for(senders_waiting=3)
    start_owner(box).kill()
    for sender in senders:
        with fails_with(errno.EIDRM):
            sender.result()
    wait_gone(box)


def test_waiting_echo_ends_and_says_why(shell, box):
    box.fill()
    echo = start_sh(shell, "echo second > send", cwd=box.path)
    box.wait_for(senders_waiting=1)
    start_owner(box).kill()
    assert echo.wait() != 0
    assert echo.stderr.read() != ""


@pytest.mark.parametrize("name", STREAMS)
def test_descendants_that_wait_to_receive_learn_of_the_end(box, name):
    outcome = os.memfd_create("outcome")

    def own():
        handle = claim(box)
        Call(receive, handle)
        signal.pause()

    def receive(handle):
        handle.close()
        try:
            os.write(outcome, b"read %d" % len(receive_first(box, name)))
        except OSError as error:
            os.write(outcome, errno.errorcode[error.errno].encode())

    owner = Call(own)
    box.wait_for(receivers_waiting=1)
    owner.kill()
    wait_gone(box)
    # On the streams that is the end of the file.
    expected = b"EIDRM" if name == "recv" else b"read 0"
    wait_until(lambda: os.pread(outcome, 100, 0) == expected, lambda: f"{expected}, not {os.pread(outcome, 100, 0)}")
    os.close(outcome)


@pytest.mark.parametrize("name", ["send", "send.lines"])
def test_senders_that_hold_it_open_get_eidrm(box, name):
    with box.open_send(name=name) as used, box.open_send(name=name) as fresh:
        used.write(b"message\n")
        start_owner(box).kill()
        wait_gone(box)
        for sender in (used, fresh, used):
            with fails_with(errno.EIDRM):
                sender.write(b"message\n")


@pytest.mark.parametrize("name", ["send", "send.lines", "recv", "recv.lines", "recv.json"])
def test_pollers_get_err_and_hup(box, name):
    box.configure(messages=0)
    flags = os.O_WRONLY if name.startswith("send") else os.O_RDONLY

    def watch():
        with Handle(box.file(name), flags | os.O_NONBLOCK) as handle:
            poll = select.poll()
            poll.register(handle.fd, select.POLLIN if flags == os.O_RDONLY else select.POLLOUT)
            return poll.poll()[0][1]

    watcher = Call(watch)
    wait_until(lambda: process_state(watcher.pid) == "S", "it watches")
    expect_asleep(watcher)
    start_owner(box).kill()
    ready = watcher.result()
    assert ready & select.POLLERR and ready & select.POLLHUP


def test_quota_of_its_messages_is_free_again(mount):
    mnt = mount("-o", "max_bytes=1M,uid_bytes=64K")
    box, other = mnt.box(), mnt.box()
    box.send(b"x" * 60 * KIB)
    with fails_with(errno.EDQUOT):
        other.send(b"x" * 60 * KIB)
    start_owner(box).kill()
    wait_gone(box)
    wait_until(lambda: os.statvfs(mnt.path).f_bfree == os.statvfs(mnt.path).f_blocks, "all is free")
    other.send(b"x" * 60 * KIB)


# --- inotify ---

IN_DELETE_SELF = 0x400
IN_IGNORED = 0x8000
INOTIFY_EVENT = struct.Struct("iIII")


class Inotify:
    """Watches one path."""

    def __init__(self, path, mask):
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if libc.inotify_add_watch(self.fd, os.fsencode(path), mask) < 0:
            raise OSError(ctypes.get_errno(), path)

    def wait_for(self, mask):
        """Until one of the events has come."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        seen = 0
        while not seen & mask:
            assert poll.poll(PATIENCE * 1000), f"events {seen:#x} only"
            data = os.read(self.fd, 4096)
            while data:
                _, event, _, length = INOTIFY_EVENT.unpack_from(data)
                seen |= event
                data = data[INOTIFY_EVENT.size + length:]
        return seen

    def close(self):
        os.close(self.fd)


@pytest.mark.parametrize("how", ["killed", "closed"])
def test_inotify_tells_the_delete(box, how):
    watch = Inotify(box.path, IN_DELETE_SELF)
    owner = start_owner(box, action=(lambda: None) if how == "closed" else signal.pause)
    owner.kill() if how == "killed" else owner.wait()
    assert watch.wait_for(IN_DELETE_SELF | IN_IGNORED) & IN_DELETE_SELF
    wait_gone(box)
    watch.close()


def test_inotify_tells_the_delete_when_a_sender_waited(box):
    box.fill()
    watch = Inotify(box.path, IN_DELETE_SELF)
    waiting = box.start_send(b"second")
    box.wait_for(senders_waiting=1)
    start_owner(box).kill()
    with fails_with(errno.EIDRM):
        waiting.result()
    assert watch.wait_for(IN_DELETE_SELF) & IN_DELETE_SELF
    watch.close()


def test_hundred_ends_are_all_told(mnt):
    for _ in range(100):
        box = mnt.mailbox("watched").make()
        watch = Inotify(box.path, IN_DELETE_SELF)
        claim(box).close()
        watch.wait_for(IN_DELETE_SELF)
        watch.close()
        wait_gone(box)

"""rmdir while others wait in the mailbox or hold it open: they learn it."""

import errno
import os

import pytest

from harness import Call, Handle, fails_with, interruptible, receive_message, run, start, wait_until

EIDRM = errno.EIDRM


@pytest.fixture
def doomed(mnt):
    """A mailbox that the test removes itself."""
    return mnt.box()


@pytest.mark.parametrize("flags", [0, os.O_DIRECT], ids=["stream", "packet"])
def test_waiting_receivers_get_eidrm(doomed, flags):
    def receive():
        with doomed.open_recv(flags) as recv:
            return recv.read()
    receivers = [Call(receive) for _ in range(5)]
    doomed.wait_for(receivers_waiting=5)
    os.rmdir(doomed.path)
    for receiver in receivers:
        with fails_with(EIDRM):
            receiver.result()


@pytest.mark.parametrize("name", ["recv.lines", "recv.json"])
def test_waiting_readers_of_streams_get_end_of_file(doomed, name):
    with doomed.open_recv(0, name) as recv:
        readers = [Call(recv.read) for _ in range(3)]
        doomed.wait_for(receivers_waiting=3)
        os.rmdir(doomed.path)
        assert [reader.result() for reader in readers] == [b""] * 3
        assert Call(recv.read).result() == b""


def test_waiting_senders_of_a_rendezvous_get_eidrm(doomed):
    doomed.configure(messages=0)
    senders = [doomed.start_send(b"x") for _ in range(5)]
    doomed.wait_for(senders_waiting=5)
    os.rmdir(doomed.path)
    for sender in senders:
        with fails_with(EIDRM):
            sender.result()


def test_waiting_cat_ends_and_says_why(doomed):
    cat = start("cat", doomed.recv_path)
    doomed.wait_for(receivers_waiting=1)
    os.rmdir(doomed.path)
    assert cat.wait() == 1
    assert "Identifier removed" in cat.stderr.read()


def test_mailbox_whose_senders_wait_because_it_is_full_is_not_empty(doomed):
    doomed.fill()
    sender = doomed.start_send(b"second")
    doomed.wait_for(senders_waiting=1)
    with fails_with(errno.ENOTEMPTY):
        os.rmdir(doomed.path)
    assert doomed.take(2) == [b"first", b"second"]
    assert sender.result() == 6
    doomed.remove()


@pytest.mark.parametrize("flags", [0, os.O_NONBLOCK], ids=["blocking", "nonblocking"])
def test_open_handles_get_eidrm_on_every_file(doomed, flags):
    with doomed.open_send(flags) as send, doomed.open_recv(flags) as recv, \
            doomed.open_recv(flags | os.O_DIRECT) as packets, doomed.open_send(flags, "send.9") as urgent, \
            Handle(doomed.config_path, os.O_RDWR) as config, Handle(doomed.stat_path, os.O_RDONLY) as stat:
        os.rmdir(doomed.path)
        for _ in range(2):
            for call, *args in [(send.write, b"x"), (urgent.write, b"x"), (recv.read,), (packets.read,),
                                (config.read,), (stat.read,), (config.write, b"messages=1\n")]:
                with fails_with(EIDRM):
                    Call(call, *args).result()


def test_handle_that_has_been_used_gets_eidrm_too(doomed):
    with doomed.open_send() as send, doomed.open_recv(os.O_NONBLOCK | os.O_DIRECT) as recv:
        send.write(b"message")
        assert recv.read() == b"message"
        doomed.wait_for(messages=0)
        os.rmdir(doomed.path)
        with fails_with(EIDRM):
            recv.read()
        with fails_with(EIDRM):
            send.write(b"x")


def test_new_opens_find_nothing(doomed):
    directory = os.open(doomed.path, os.O_RDONLY)
    os.rmdir(doomed.path)
    with fails_with(errno.ENOENT):
        os.open(doomed.send_path, os.O_WRONLY)
    for name, flags in [("send", os.O_WRONLY), ("recv", os.O_RDONLY), ("send.3", os.O_WRONLY)]:
        with fails_with(errno.ENOENT):
            os.open(name, flags, dir_fd=directory)
    os.close(directory)


def test_handles_of_a_removed_mailbox_can_be_looked_at_and_closed(doomed):
    with doomed.open_send() as send, doomed.open_recv() as recv:
        os.rmdir(doomed.path)
        for handle in (send, recv):
            assert os.fstat(handle.fd).st_uid == 0


def test_shell_that_stands_in_a_removed_mailbox_can_leave(mnt, doomed):
    done = run("sh", "-c", f"rmdir ../{os.path.basename(doomed.path)}; echo x > send; cd {mnt.path} && ls mbox",
               cwd=doomed.path)
    assert done.returncode == 0
    assert os.path.basename(doomed.path) not in done.stdout.split()


def test_old_handles_do_not_reach_a_new_mailbox_of_the_same_name(doomed):
    with doomed.open_send() as send, doomed.open_recv() as recv:
        os.rmdir(doomed.path)
        doomed.make()
        doomed.send(b"new")
        with fails_with(EIDRM):
            send.write(b"old")
        with fails_with(EIDRM):
            recv.read()
    assert doomed.drain() == [b"new"]
    doomed.remove()


def test_removal_races_with_senders_and_receivers(mnt):
    """Each ends with a message, an error that says so, or nothing to do; none hangs."""
    def send_until_gone(path):
        try:
            with Handle(path, os.O_WRONLY) as send:
                while True:
                    send.write(b"x")
        except OSError as error:
            return error.errno

    def receive_until_gone(path):
        try:
            while True:
                receive_message(path)
        except OSError as error:
            return error.errno

    def remove(path):
        while True:
            try:
                return os.rmdir(path)
            except OSError as error:
                assert error.errno == errno.ENOTEMPTY

    for capacity, n_senders in ((0, 3), (0, 3), (1, 1), (1, 1)):
        box = mnt.box()
        box.configure(messages=capacity)
        callers = [Call(send_until_gone, box.send_path) for _ in range(n_senders)]
        callers += [Call(receive_until_gone, box.recv_path) for _ in range(3)]
        wait_until(lambda: box.stat()["received"] > 100, "they are at it")
        Call(remove, box.path).result()
        assert {caller.result() for caller in callers} <= {EIDRM, errno.ENOENT}


def test_interrupted_calls_of_libc_see_eidrm(doomed):
    """As a C program does: from the call itself, not from Python's second try."""
    def receive():
        with doomed.open_recv(0) as recv:
            return interruptible("read", recv.fd, bytes(10), 10)
    receiver = Call(receive)
    doomed.wait_for(receivers_waiting=1)
    os.rmdir(doomed.path)
    with fails_with(EIDRM):
        receiver.result()


def test_what_is_held_open_of_a_removed_mailbox_is_told_so(mnt):
    """The kernel may keep its names in there for long; the daemon has forgotten the mailbox."""
    box = mnt.box()
    fd = os.open(box.path, os.O_RDONLY | os.O_DIRECTORY)
    config, queue = (os.open(name, os.O_RDONLY, dir_fd=fd) for name in ("config", "queue"))
    ino = os.fstat(fd).st_ino
    os.rmdir(box.path)
    for _ in range(2):
        assert (os.fstat(fd).st_ino, os.fstat(fd).st_nlink) == (ino, 0)
        assert os.fstat(config).st_ino not in (0, ino)
        for name in ("send", "config", "new"):
            with fails_with(errno.ENOENT, errno.ESTALE):
                os.stat(name, dir_fd=fd)
        with fails_with(errno.ENOENT, errno.ESTALE):
            os.open(f"/proc/self/fd/{config}", os.O_RDONLY)
        with fails_with(errno.ENOENT, errno.ESTALE):
            os.fchmod(fd, 0o700)
        assert os.listdir(queue) == []
    for held in (fd, config, queue):
        os.close(held)

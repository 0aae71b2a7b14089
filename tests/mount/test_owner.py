"""A mailbox that a process owns: who may do what meanwhile, and how it ends with the last handle of the claim."""

import errno
import os
import select

import pytest

from harness import ALICE, Call, Peer, fails_with, receive_message, send_message, start_sh, try_open, wait_until

RECEIVING = ("recv", "recv.lines", "recv.json")

CLOSED = pytest.mark.parametrize("how", ["close", "death"])


class Owner(Peer):
    """A process that owns a mailbox until it is told otherwise."""

    def __init__(self, box, flags=os.O_WRONLY, **kwargs):
        super().__init__(**kwargs)
        self.claim = self.call(os.open, box.file("owner"), flags)

    def end(self, how):
        if how == "close":
            self.call(os.close, self.claim)
        else:
            self.kill()


@pytest.fixture
def box(mnt):
    """Goes with its owner."""
    return mnt.box(0o755)


def read_owner(box):
    with open(box.file("owner"), encoding="ascii") as owner:
        return owner.read()


def wait_gone(box):
    wait_until(lambda: not os.path.exists(box.path), "the mailbox is gone")


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC], ids=["w", "rw", "trunc"])
def test_who_opens_owner_for_writing_owns_the_mailbox(box, flags):
    assert (read_owner(box), box.stat()["owner_pid"]) == ("", 0)
    owner = Owner(box, flags)
    assert (read_owner(box), box.stat()["owner_pid"]) == (f"{owner.pid}\n", owner.pid)


def test_second_claim_is_ebusy_for_everybody(box):
    owner = Owner(box)
    with fails_with(errno.EBUSY):
        try_open(box.file("owner"), os.O_WRONLY)
    with fails_with(errno.EBUSY):
        owner.call(try_open, box.file("owner"), os.O_RDWR)
    assert read_owner(box) == f"{owner.pid}\n"


def test_of_many_that_claim_one_gets_it(box):
    peers = [Peer() for _ in range(8)]
    for peer in peers:
        peer.start(os.open, box.file("owner"), os.O_WRONLY)
    owners = []
    for peer in peers:
        try:
            peer.result()
            owners.append(peer.pid)
        except OSError as error:
            assert error.errno == errno.EBUSY
    assert owners == [box.stat()["owner_pid"]]


@pytest.mark.parametrize("uid", [0, ALICE], ids=["root", "user"])
def test_only_the_owner_receives(box, uid):
    os.chown(box.path, uid, uid)
    owner = Owner(box, uid=uid)
    other = Peer(uid=uid)
    box.send(b"x")
    for name in RECEIVING:
        with fails_with(errno.EBUSY):
            other.call(try_open, box.file(name), os.O_RDONLY)
    with fails_with(errno.EBUSY):
        other.call(os.listdir, box.file("queue"))
    message, = owner.call(os.listdir, box.file("queue"))
    with fails_with(errno.EBUSY):
        other.call(try_open, box.file(f"queue/{message}"), os.O_RDONLY)
    with fails_with(errno.EBUSY):
        other.call(os.unlink, box.file(f"queue/{message}"))
    assert owner.call(receive_message, box.recv_path) == b"x"


def test_owner_may_not_send(box):
    owner = Owner(box)
    for name in ("send", "send.7", "send.lines"):
        with fails_with(errno.EPERM):
            owner.call(send_message, box.file(name), b"x\n")
    with fails_with(errno.EPERM):
        owner.call(try_open, box.file("drop/x"), os.O_WRONLY | os.O_CREAT)
    assert box.stat()["messages"] == 0


def test_descendants_of_the_owner_receive_and_send(box, shell):
    script = f"exec 3> {box.file('owner')}; (echo hi > {box.send_path}); (cat {box.recv_path}; true); true"
    assert start_sh(shell, script).output() == "hi\n"
    wait_gone(box)


def test_claim_ends_the_waiting_of_strangers(box):
    reader = box.start_receive()
    box.wait_for(receivers_waiting=1)
    Owner(box)
    with fails_with(errno.EBUSY):
        reader.result()


@CLOSED
def test_senders_that_wait_get_eidrm(box, how):
    box.fill()
    owner = Owner(box)
    waiting = [box.start_send(b"x"), box.start_send(b"x\n", "send.lines"),
               Call(try_open, box.file("drop/x"), os.O_WRONLY | os.O_CREAT)]
    box.wait_for(senders_waiting=3)
    owner.end(how)
    for sender in waiting:
        with fails_with(errno.EIDRM):
            sender.result()
    wait_gone(box)


@CLOSED
@pytest.mark.parametrize("name", RECEIVING)
def test_who_could_not_receive_any_more_learns_that_the_mailbox_has_gone(box, name, how):
    with box.open_recv(name=name) as recv:
        owner = Owner(box)
        with fails_with(errno.EBUSY):
            recv.read()
        owner.end(how)
        wait_gone(box)
        if name == "recv":
            with fails_with(errno.EIDRM):
                recv.read()
        else:
            assert recv.read() == b""


@pytest.mark.parametrize("name", RECEIVING)
def test_owner_that_gives_up_learns_that_the_mailbox_has_gone(box, name):
    owner = Owner(box)
    recv = owner.call(os.open, box.file(name), os.O_RDONLY)
    owner.end("close")
    wait_gone(box)
    if name == "recv":
        with fails_with(errno.EIDRM):
            owner.call(os.read, recv, 100)
    else:
        assert owner.call(os.read, recv, 100) == b""


def test_loop_of_an_owner_s_child_ends_with_the_mailbox(box, shell):
    """Also when the child was not waiting at that moment."""
    script = (f"exec 3> {box.file('owner')}; exec 4< {box.file('recv.lines')}; exec 3>&-; "
              f"while [ -e {box.path} ]; do sleep 0.01; done; cat <&4; echo $?")
    assert start_sh(shell, script).output() == "0\n"


@CLOSED
@pytest.mark.parametrize("flags", [select.EPOLLOUT, select.EPOLLOUT | select.EPOLLET], ids=["level", "edge"])
def test_pollers_are_told(box, flags, how):
    box.fill()
    owner = Owner(box)
    with box.open_send() as send, select.epoll() as epoll:
        epoll.register(send, flags)
        assert epoll.poll(0) == []
        owner.end(how)
        events, = wait_until(lambda: epoll.poll(0), "the poller is told")
        assert events[1] & (select.EPOLLERR | select.EPOLLHUP) == select.EPOLLERR | select.EPOLLHUP


def test_claim_lives_in_a_duplicate_and_in_a_child(box):
    claim = os.open(box.file("owner"), os.O_WRONLY)
    duplicate = os.dup(claim)
    os.close(claim)
    Call(send_message, box.send_path, b"x").result()
    assert Call(receive_message, box.recv_path).result() == b"x"
    heir = Peer()
    os.close(duplicate)
    assert box.stat()["owner_pid"] == os.getpid()
    heir.kill()
    wait_gone(box)


def test_name_is_free_for_another_when_an_owned_mailbox_was_removed(box):
    owner = Owner(box)
    os.rmdir(box.path)
    box.make()
    owner.end("close")
    box.send(b"another's")
    assert box.receive() == b"another's"


def test_renamed_mailbox_still_goes_with_its_owner(box, mnt):
    owner = Owner(box)
    moved = mnt.mailbox("moved")
    os.rename(box.path, moved.path)
    owner.end("death")
    wait_gone(moved)

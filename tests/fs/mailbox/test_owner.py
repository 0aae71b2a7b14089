"""A mailbox that a process owns: who may do what meanwhile, and how it ends with the last handle of the claim."""

import errno
import os
import pickle
import select
import signal

import pytest

from harness import ALICE, Call, Peer, fails_with, libc, receive_message, send_message, start_sh, try_open, wait_until

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


# --- caller after caller, each the child of the one before ---

N_GENERATIONS = 50
PR_SET_PDEATHSIG = 1


def in_a_late_generation(n, function, *args):
    """Calls it in a descendant, n generations down; the result as far as pickle can carry it."""
    if n == 0:
        return function(*args)
    read_end, write_end = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            # All end with the first of them.
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(0)
            try:
                outcome = (None, in_a_late_generation(n - 1, function, *args))
            except OSError as error:
                outcome = (error.errno, None)
            os.write(write_end, pickle.dumps(outcome))
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as result:
        code, value = pickle.loads(result.read())
    os.waitpid(pid, 0)
    if code:
        raise OSError(code, "in a late generation")
    return value


def receive_in_every_way(box):
    """What each gave, or how it failed."""
    def attempt(function, *args):
        try:
            return function(*args)
        except OSError as error:
            return errno.errorcode[error.errno]
    names = attempt(os.listdir, box.file("queue"))
    first = box.file(f"queue/{names[0]}" if isinstance(names, list) else "queue/x")
    return (names if isinstance(names, str) else len(names), attempt(open_and_read, first),
            attempt(os.unlink, first), attempt(receive_message, box.recv_path),
            attempt(open_and_read, box.file("recv.lines"), os.O_NONBLOCK))


def open_and_read(path, flags=0):
    fd = os.open(path, os.O_RDONLY | flags)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def test_a_late_descendant_of_the_owner_receives(box):
    def own():
        with open(box.file("owner"), "w", encoding="ascii"):
            box_sender = os.fork()
            if box_sender == 0:
                box.send(b"one", b"two", b"three")
                os._exit(0)
            os.waitpid(box_sender, 0)
            return in_a_late_generation(N_GENERATIONS, receive_in_every_way, box)
    assert Call(own).result() == (3, b"one", None, b"two", b"three\n")


def test_a_late_descendant_of_somebody_else_does_not(box):
    box.send(b"one")
    with box.open_recv() as recv:
        owner = Owner(box)
        got = Call(in_a_late_generation, N_GENERATIONS, receive_in_every_way, box).result()
        assert got[0] == got[3] == got[4] == "EBUSY"
        with fails_with(errno.EBUSY):
            Call(in_a_late_generation, N_GENERATIONS, recv.read).result()
    owner.end("close")


def test_late_descendants_that_ask_all_the_time_hold_up_nobody(box, mnt):
    other = mnt.box()
    owner = Owner(box)

    def ask_for_ever():
        while True:
            try:
                os.listdir(box.file("queue"))
            except OSError:
                pass
    askers = [Call(in_a_late_generation, N_GENERATIONS, ask_for_ever) for _ in range(2)]
    for i in range(50):
        other.send(b"%d" % i)
        assert other.receive() == b"%d" % i
    assert all(asker.poll() is None for asker in askers)
    owner.end("close")


def test_who_is_killed_while_its_ancestors_are_looked_at_ends(box):
    owner = Owner(box)
    pids = os.pipe()

    def ask_for_ever():
        os.write(pids[1], b"%d\n" % os.getpid())
        while True:
            try:
                os.listdir(box.file("queue"))
            except OSError:
                pass
    asker = Call(in_a_late_generation, N_GENERATIONS, ask_for_ever)
    os.kill(int(os.read(pids[0], 20)), signal.SIGKILL)
    asker.wait()
    for end in pids:
        os.close(end)
    owner.end("close")


def test_claim_leaves_those_waiting_who_descend_from_the_owner(box):
    def own():
        child = os.fork()
        if child == 0:
            try:
                os._exit(receive_message(box.recv_path) != b"x")
            finally:
                os._exit(2)
        box.wait_for(receivers_waiting=1)
        with open(box.file("owner"), "w", encoding="ascii"):
            sender = os.fork()
            if sender == 0:
                box.send(b"x")
                os._exit(0)
            os.waitpid(sender, 0)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert Call(own).result() == 0


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

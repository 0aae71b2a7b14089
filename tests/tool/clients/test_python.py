"""The Python package: mailboxes, topics and links, by programs that wait in their threads."""

import doctest
import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

import ipcfs
import ipcfs._mounts
import ipcfs.aio
from harness import ALICE, PATIENCE, as_user, expect_asleep, fails_with, start, wait_until, Call


@pytest.fixture
def mount(mnt):
    return ipcfs.Mount(mnt.path)


@pytest.fixture
def orders(mount, box):
    """The mailbox, as the package has it."""
    return mount.mailbox(os.path.basename(box.path))


@pytest.mark.parametrize("module", [ipcfs, ipcfs.aio], ids=lambda module: module.__name__)
def test_examples(module):
    failed, tried = doctest.testmod(module)
    assert failed == 0 and tried > 0


def test_types_are_told():
    assert os.path.exists(os.path.join(os.path.dirname(ipcfs.__file__), "py.typed"))
    for name in ipcfs.__all__:
        thing = getattr(ipcfs, name)
        assert thing.__doc__, name
        methods = [method for key, method in vars(thing).items() if callable(method) and not key.startswith("_")]
        assert [method.__name__ for method in methods if "return" not in method.__annotations__] == []


# --- the mount ---

def test_the_mount_is_found(mnt, monkeypatch):
    assert ipcfs.Mount().path == mnt.path
    monkeypatch.setenv("IPCFS_MOUNT", "/nowhere")
    with pytest.raises(ipcfs.NotMounted, match="there is no ipcfs on /nowhere"):
        ipcfs.Mount()
    monkeypatch.chdir(os.path.join(mnt.path, "mbox"))
    assert ipcfs.Mount().path == mnt.path
    assert ipcfs.Mount(mnt.path + "/").path == mnt.path


def test_without_a_mount(monkeypatch, tmp_path):
    monkeypatch.delenv("IPCFS_MOUNT")
    mounts = tmp_path / "mountinfo"
    mounts.write_text("1 1 0:1 / / rw - ext4 none rw\n")
    monkeypatch.setattr(ipcfs._mounts, "MOUNTINFO", str(mounts))
    with pytest.raises(FileNotFoundError, match="ipcfs is not mounted"):
        ipcfs.Mount()


def test_rooms_are_listed(mount, orders):
    assert mount.mailboxes() == [orders.name]
    assert mount.version["version"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "x" * 256])
def test_what_is_no_name(mount, name):
    with pytest.raises(ValueError):
        mount.mailbox(name)


# --- life and settings ---

def test_created_once_with_settings(mount):
    box = mount.mailbox("made", create=True, mode=0o711, messages=3, overflow="reject")
    assert (box.config["messages"], box.config["overflow"]) == (3, "reject")
    assert os.stat(box.path).st_mode & 0o777 == 0o711
    box.configure(messages="max")
    assert mount.mailbox("made", create=True, messages=3).config["messages"] == "max"
    box.send("x")
    with fails_with(errno.ENOTEMPTY):
        box.remove()
    assert [message.text for message in box.waiting()] == ["x"]
    box.discard(next(box.waiting()))
    box.remove()
    assert not os.path.exists(box.path)


def test_what_is_not_taken_makes_nothing(mount):
    with fails_with(errno.EINVAL):
        mount.mailbox("made", create=True, messages="many")
    assert mount.mailboxes() == []


def test_a_name_of_any_bytes(mount):
    box = mount.mailbox("odd \udcff\n", create=True)
    box.send("x")
    assert box.receive(timeout=PATIENCE).text == "x"
    box.remove()


# --- send and receive ---

@pytest.mark.parametrize("data", [b"", b"\0", "caf\u00e9", b"\xff\xfe", b"x\n\n", b'"\\' * 1000, b"z" * 65536, b"long" * 100000,
                                  bytearray(b"array"), memoryview(b"view")], ids=lambda data: f"{type(data).__name__}{len(data)}")
def test_bytes_come_as_they_went(orders, data):
    orders.send(data)
    message = orders.receive(timeout=PATIENCE)
    assert message.data == (data.encode() if isinstance(data, str) else bytes(data))
    assert (message.pid, message.uid, message.gid) == (os.getpid(), os.getuid(), os.getgid())


def test_priority_headers_and_time(orders):
    orders.send("low")
    orders.send("high", priority=31, headers={"content-type": "text/plain", "table": "\u6771 7"})
    orders.send("", priority=2)
    waiting = list(orders.waiting())
    received = [orders.receive(timeout=PATIENCE) for _ in range(3)]
    assert [(message.text, message.priority) for message in received] == [("high", 31), ("", 2), ("low", 0)]
    assert received[0].headers == {"content-type": "text/plain", "table": "\u6771 7"} and received[1].headers == {}
    assert received == waiting
    assert received[2].id < received[0].id and received[2].time <= received[0].time
    with pytest.raises(ValueError):
        orders.send("x", priority=32)


def test_a_receive_takes_one_message_and_no_more(orders, box):
    for i in range(100):
        orders.send(str(i))
    assert orders.receive(timeout=PATIENCE).text == "0"
    assert box.stat()["messages"] == 99
    assert orders.receive_bytes(timeout=PATIENCE) == b"1"
    assert box.stat()["messages"] == 98
    orders.close()
    assert [box.receive() for _ in range(98)] == [b"%d" % i for i in range(2, 100)]


def test_iteration_ends_with_the_mailbox(mount):
    box = mount.mailbox("short", create=True)
    got = []

    def receive_all():
        got.extend(message.text for message in mount.mailbox("short"))
    receiver = threading.Thread(target=receive_all)
    receiver.start()
    for i in range(10):
        box.send(str(i))
    wait_until(lambda: got == [str(i) for i in range(10)], "all are received")
    box.remove()
    receiver.join(PATIENCE)
    assert not receiver.is_alive()
    with pytest.raises(FileNotFoundError):
        box.send("x")


def test_who_waits_when_it_is_removed(mount, box, orders):
    orders.send("opens it")
    orders.receive(timeout=PATIENCE)
    caught = []

    def wait():
        try:
            orders.receive(timeout=PATIENCE)
        except OSError as error:
            caught.append(error)
    waiter = threading.Thread(target=wait)
    waiter.start()
    wait_until(lambda: box.stat()["receivers_waiting"] == 0 and waiter.is_alive(), "it waits")
    os.rmdir(box.path)
    waiter.join(PATIENCE)
    assert [(type(error), error.errno) for error in caught] in ([(ipcfs.Removed, errno.EIDRM)], [(FileNotFoundError, errno.ENOENT)])
    os.mkdir(box.path)


def test_nothing_comes_in_time(orders, box):
    for timeout in 0, 0.05:
        with pytest.raises(TimeoutError):
            orders.receive(timeout=timeout)
    box.fill(b"first")
    with pytest.raises(TimeoutError):
        orders.send("second", timeout=0.05)
    assert orders.receive(timeout=PATIENCE).data == b"first"
    with pytest.raises(TimeoutError):
        orders.receive(timeout=0)
    assert box.counts("messages", "senders_waiting", "receivers_waiting") == (0, 0, 0)


def test_room_that_a_small_message_would_have_is_no_reason_to_spin(orders, box):
    box.configure(bytes=1000, message_bytes=1000)
    orders.send(b"x" * 600)
    before = os.times()
    with pytest.raises(TimeoutError):
        orders.send(b"y" * 600, timeout=1)
    after = os.times()
    assert after.user + after.system - before.user - before.system < 0.5
    sender = threading.Thread(target=orders.send, args=(b"y" * 600,), kwargs={"timeout": PATIENCE})
    sender.start()
    assert orders.receive(timeout=PATIENCE).data == b"x" * 600
    sender.join(PATIENCE)
    assert orders.receive(timeout=PATIENCE).data == b"y" * 600


def test_many_threads_share_one_object(orders):
    n = 200
    got = []

    def receive():
        for _ in range(n // 4):
            got.append(int(orders.receive(timeout=PATIENCE).text))

    def send(first):
        for i in range(first, n, 4):
            orders.send(str(i), timeout=PATIENCE)
    threads = [threading.Thread(target=receive) for _ in range(4)] + [threading.Thread(target=send, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(got) == list(range(n))


def test_a_child_has_files_of_its_own(orders, box):
    orders.send("opens")
    orders.receive(timeout=PATIENCE)
    child = Call(lambda: (orders.send("from the child"), orders.receive(timeout=PATIENCE).pid)[1])
    assert child.result() == child.pid
    assert box.stat()["messages"] == 0


@pytest.mark.parametrize("call", ["box.receive()", "box.receive(timeout=100)", "box.send('x')", "box.send('x', timeout=100)",
                                  "mount.ring('ticks').consume()"])
def test_a_signal_ends_the_wait(mount, box, call):
    if "send" in call:
        box.fill(b"full")
    ring = mount.ring("ticks", create=True)
    script = (f"import ipcfs\nmount = ipcfs.Mount()\nbox = mount.mailbox({os.path.basename(box.path)!r})\n"
              f"print('waits', flush=True)\ntry:\n    {call}\nexcept KeyboardInterrupt:\n    print('stopped')\n")
    waiter = start(sys.executable, "-c", script)
    assert waiter.stdout.readline() == "waits\n"
    expect_asleep(waiter)
    os.kill(waiter.pid, signal.SIGINT)
    out, err = waiter.communicate(timeout=PATIENCE)
    assert (out, err, waiter.returncode) == ("stopped\n", "", 0)
    assert box.counts("senders_waiting", "receivers_waiting") == (0, 0)
    ring.remove()
    box.drain()


# --- kinds of errors ---

def test_errors_are_of_their_kind(orders, box, mount):
    box.fill(b"first")
    box.configure(overflow="reject")
    with pytest.raises(ipcfs.Full) as caught:
        orders.send("x")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOBUFS, box.file("send"))
    box.drain()
    with pytest.raises(ipcfs.MessageTooLong):
        orders.send(b"x" * 65537, priority=1)
    box.configure(bytes=1000)
    with pytest.raises(ipcfs.MessageTooLong):
        orders.send(b"x" * 70000)
    with pytest.raises(FileNotFoundError):
        mount.mailbox("nothing").receive()
    os.chmod(box.path, 0o700)
    for method in "send", "receive":
        with fails_with(errno.EACCES):
            as_user(ALICE, lambda method=method: getattr(orders, method)(*["x"] * (method == "send")))


def test_a_mailbox_of_its_own(mount):
    box = mount.mailbox("mine", create=True)
    with box.own():
        Call(lambda: mount.mailbox("mine").send("a note")).result()
        assert box.receive(timeout=PATIENCE).text == "a note"
        with pytest.raises(PermissionError):
            box.send("an owner does not send")
        other = subprocess.run(["setsid", "-w", sys.executable, "-c", "import ipcfs\ntry:\n    with ipcfs.Mount().mailbox('mine').own(): pass\n"
                                "except ipcfs.Busy: print('busy')"], stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True)
        assert other.stdout == "busy\n"
    wait_until(lambda: not os.path.exists(box.path), "it goes with its owner")


# --- processes ---

def test_to_a_process_by_its_number(mount):
    mine = mount.process()
    Call(lambda: mount.process(os.getppid()).send("by number")).result()
    assert mine.receive(timeout=PATIENCE).text == "by number"


def test_a_link(mount):
    def answer():
        with mount.link(os.getppid()) as link:
            link.send(link.receive(timeout=PATIENCE) + b"!")
    other = Call(answer)
    with mount.link(other.pid) as link:
        link.send("hello")
        assert link.receive(timeout=PATIENCE) == b"hello!"
        other.result()
        with pytest.raises(EOFError):
            link.receive(timeout=PATIENCE)


# --- questions ---

def test_a_question_and_its_answer(mount, orders):
    def serve():
        for _ in range(3):
            message = orders.receive(timeout=PATIENCE)
            assert message.is_call
            orders.reply(message, message.text.upper())
    server = threading.Thread(target=serve)
    server.start()
    assert [orders.call(word, timeout=PATIENCE) for word in ("one", b"two", "three" * 1000)] == [b"ONE", b"TWO", b"THREE" * 1000]
    server.join(PATIENCE)


def test_an_answer_that_does_not_come(mount, orders, box):
    with pytest.raises(TimeoutError):
        orders.call("anybody?", timeout=0.05)
    message = orders.receive(timeout=PATIENCE)
    with pytest.raises((BrokenPipeError, FileNotFoundError)):
        orders.reply(message, "too late")
    asked = Call(lambda: pytest.raises(ipcfs.Canceled, orders.call, "dropped?").type.__name__)
    wait_until(lambda: box.stat()["messages"] == 1, "it is asked")
    orders.discard(next(orders.waiting()))
    assert asked.result() == "Canceled"

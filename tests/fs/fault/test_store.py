"""The store, and a daemon or a disk that fails at whatever call."""

import contextlib
import ctypes
import errno
import fcntl
import itertools
import json
import mmap
import os
import random
import re
import shutil
import signal
import stat
import struct
import subprocess
import tempfile
import threading

import pytest

import harness
from harness import IPCFS, Call, Handle, Mount, expect_asleep, fails_with, wait_until

# Every call under a sanitizer would take long: then each of these.
STEP = int(harness.SLOW)


class Control(ctypes.Structure):
    """struct control of store_preload.c."""
    _fields_ = [(name, ctypes.c_int32) for name in
                ("n_calls", "kill_at", "commit_error", "disk_error", "gate", "n_at_gate", "no_fallocate", "head_error")]


class Store:
    """A directory for a store, and one mount after another that uses it; with faults in it, if asked."""

    def __init__(self, top):
        self.path = os.path.join(top, "store")
        self.fault_path = os.path.join(top, "fault")
        self.record = None
        self.mount = None
        with open(self.fault_path, "wb") as file:
            file.truncate(ctypes.sizeof(Control))
        self._file = open(self.fault_path, "r+b")
        self._map = mmap.mmap(self._file.fileno(), ctypes.sizeof(Control))
        self.control = Control.from_buffer(self._map)

    def start(self, faulty=True):
        """Return: the mount; None: the daemon was killed before it was one."""
        variables = {"LD_PRELOAD": os.environ["STORE_FAULT_PRELOAD"], "STORE_FAULT": self.fault_path} if faulty else {}
        if faulty and self.record:
            variables["STORE_RECORD"] = self.record
        with environment(variables):
            try:
                self.mount = Mount("-o", f"store={self.path}")
            except AssertionError:
                if not self.control.kill_at:
                    raise
                # It was added before it mounted.
                self.mount = harness.started_last()
                self.kill()
        return self.mount

    def kill(self):
        if self.mount:
            if self.mount.process.poll() != 0:
                self.mount.expected_status = -signal.SIGKILL
            with contextlib.suppress(ProcessLookupError):
                self.mount.process.kill()
            self.mount.process.wait()
            self.mount.stop()
            self.mount = None

    def stop(self):
        if self.mount:
            self.mount.stop()
            self.mount = None

    @contextlib.contextmanager
    def slow_disk(self):
        """Syncs do not come back."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self.control.gate = 1
        try:
            yield
        finally:
            self.control.gate = 0
            fcntl.flock(self._file, fcntl.LOCK_UN)


@contextlib.contextmanager
def environment(variables):
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture(name="store")
def fixture_store():
    with tempfile.TemporaryDirectory(prefix="ipcfs-store-") as top:
        store = Store(top)
        yield store
        store.control.gate = store.control.commit_error = store.control.disk_error = 0
        harness.kill_all()
        store.kill()


def waiting(box):
    """What waits in @box, in its order."""
    found = []
    with os.scandir(box.file("queue")) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        with open(os.path.join(box.file("queue"), name), "rb") as file:
            found.append(file.read())
    return found


# --- killed at each call ---

class World:
    """What should be there: of each mailbox the mode of recv, messages= of its config, and what waits."""

    def __init__(self, boxes=None, received=()):
        self.boxes = boxes or {}
        self.received = set(received)  # may come again

    def copy(self):
        return World({name: (mode, bound, list(data)) for name, (mode, bound, data) in self.boxes.items()}, self.received)

    def allows(self, seen):
        if set(seen) != set(self.boxes):
            return False
        for name, (mode, bound, data) in seen.items():
            if (mode, bound) != self.boxes[name][:2]:
                return False
            if [d for d in data if d not in self.received] != [d for d in self.boxes[name][2] if d not in self.received]:
                return False
        return True


def look(mount):
    seen = {}
    for name in os.listdir(mount.mbox):
        box = mount.mailbox(name)
        seen[name] = (stat.S_IMODE(os.stat(box.file("recv")).st_mode), int(box.config()["messages"]), waiting(box))
    return seen


def place(box, data):
    """The file in @box's queue that holds @data."""
    for name in os.listdir(box.file("queue")):
        path = os.path.join(box.file("queue"), name)
        with open(path, "rb") as file:
            if file.read() == data:
                return path
    raise AssertionError(data)


LARGE = bytes(range(256)) * 90


def script(mount, durable):
    """Steps: each does one thing, and yields the worlds that may be found if the daemon ends in it; the last is what it
    leaves."""
    a, b, c = (mount.mailbox(name) for name in "abc")
    world = World()

    def changed(change):
        after = world.copy()
        change(after)
        return after

    def step(do, *changes):
        nonlocal world
        worlds = [world, *(changed(change) for change in changes)]
        yield worlds, do
        world = worlds[-1]

    def data(of, name):
        return of.boxes[name][2]

    def send(box, *messages, name="send", at=None):
        with Handle(box.file(name), os.O_WRONLY) as handle:
            handle.write(b"".join(messages))

    def drop(box):
        with open(os.path.join(box.file("drop"), "large"), "wb") as file:
            file.write(LARGE)

    def work():
        with Handle(a.file("work"), os.O_RDWR) as handle:
            assert handle.read() == b"4"
            handle.write(b"done")

    yield from step(lambda: os.mkdir(a.path, 0o700), lambda w: w.boxes.update(a=(0o400, 1024, [])))
    yield from step(lambda: os.mkdir(b.path, 0o700), lambda w: w.boxes.update(b=(0o400, 1024, [])))
    yield from step(lambda: a.configure(messages=77, durable=durable), lambda w: w.boxes.update(a=(0o400, 77, [])))
    yield from step(lambda: b.configure(messages=88, durable=durable), lambda w: w.boxes.update(b=(0o400, 88, [])))
    for i in (b"1", b"2", b"3"):
        yield from step(lambda i=i: send(a, i), lambda w, i=i: data(w, "a").append(i))
    yield from step(lambda: send(a, b"4\n", b"5\n", b"6\n", name="send.lines"),
                    *(lambda w, n=n: data(w, "a").extend([b"4", b"5", b"6"][:n]) for n in (1, 2, 3)))
    yield from step(lambda: os.rename(place(a, b"2"), os.path.join(b.file("queue"), os.path.basename(place(a, b"2")))),
                    lambda w: (data(w, "a").remove(b"2"), data(w, "b").append(b"2")))
    yield from step(lambda: os.unlink(place(a, b"3")), lambda w: data(w, "a").remove(b"3"))
    yield from step(lambda: a.receive(), lambda w: w.received.add(b"1"))
    yield from step(lambda: os.chmod(a.file("recv"), 0o440), lambda w: w.boxes.update(a=(0o440, 77, data(w, "a"))))
    yield from step(work, lambda w: data(w, "a").remove(b"4"))
    yield from step(lambda: os.rename(b.path, c.path), lambda w: w.boxes.update(c=w.boxes.pop("b")))
    yield from step(lambda: send(a, b"urgent", name="send.9"), lambda w: data(w, "a").insert(0, b"urgent"))
    yield from step(lambda: drop(c), lambda w: data(w, "c").append(LARGE))
    yield from step(lambda: os.unlink(place(c, b"2")), lambda w: data(w, "c").remove(b"2"))
    yield from step(lambda: os.unlink(place(c, LARGE)), lambda w: data(w, "c").remove(LARGE))
    yield from step(lambda: os.rmdir(c.path), lambda w: w.boxes.pop("c"))


# ECANCELED: io_uring's word for what was under way.
GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.ECANCELED)


def run_script(store, durable):
    """Return: the worlds that may be found, and whether the daemon lived through it."""
    worlds = [World()]
    for worlds, do in script(store.mount, durable):
        try:
            do()
        except OSError as error:
            assert error.errno in GONE, error
            return worlds, False
    return worlds[-1:], True


# The second is written by write(2), for live.mdb is not in place, and makes more calls than all need.
@pytest.mark.parametrize("durable, no_fallocate, step", [("daemon", 0, 1), ("disk", 1, 3)])
def test_killed_at_each_call(store, durable, no_fallocate, step):
    """What was done is there, and of what was being done all or nothing."""
    store.control.no_fallocate = no_fallocate
    for n in itertools.count(1, step * STEP):
        store.control.kill_at = 0
        store.start()
        store.control.n_calls = 0
        store.control.kill_at = n
        worlds, lived = run_script(store, durable)
        store.kill()
        store.control.kill_at = 0
        mount = store.start()
        seen = look(mount)
        assert any(world.allows(seen) for world in worlds), (n, seen, [world.boxes for world in worlds])
        # It goes on as if nothing had been.
        probe = mount.mailbox("probe").make()
        probe.send(b"x")
        assert probe.receive() == b"x"
        store.stop()
        if lived:
            assert n > 30
            break
        shutil.rmtree(store.path)


@pytest.mark.parametrize("way", ["live", "from-disk", "new"])
def test_killed_at_each_call_of_a_start(store, way):
    there = [] if way == "new" else [b"1", b"2", LARGE]
    if way != "new":
        box = store.start().mailbox("box").make()
        box.configure(durable="disk")
        box.send(*there)
        store.stop()
    for n in itertools.count(1, STEP):
        if way == "from-disk":
            set_boot(store)
        store.control.n_calls = 0
        store.control.kill_at = n
        lived = store.start()
        store.control.kill_at = 0
        store.kill()
        mount = store.start()
        assert os.listdir(mount.mbox) == ([] if way == "new" else ["box"]), n
        if way == "new":
            os.mkdir(mount.mailbox("box").path)
            store.kill()
            assert os.listdir(store.start().mbox) == ["box"], n
        else:
            assert waiting(mount.mailbox("box")) == there, n
        store.stop()
        if lived:
            assert n > 3
            break
        if way == "new":
            shutil.rmtree(store.path)


def test_killed_at_each_call_of_an_end(store):
    for n in itertools.count(1, STEP):
        mount = store.start()
        box = mount.mailbox(f"box{n}").make()
        box.configure(durable="disk")
        box.send(b"1", b"2")
        store.control.n_calls = 0
        store.control.kill_at = n
        mount.process.terminate()
        lived = mount.process.wait(harness.PATIENCE) == 0
        store.control.kill_at = 0
        if lived:
            store.stop()
        else:
            store.kill()
        assert waiting(store.start().mailbox(f"box{n}")) == [b"1", b"2"], n
        store.stop()
        if lived:
            assert n > 3
            break


# --- the machine's end ---

def set_boot(store, boot="00000000-0000-0000-0000-000000000000"):
    """As after the machine's end."""
    state = os.path.join(store.path, "state")
    with open(state, encoding="ascii") as file:
        text = file.read()
    with open(state, "w", encoding="ascii") as file:
        file.write(re.sub("boot=.*", f"boot={boot}", text))


RECORD = struct.Struct("=QQQ")
WRITE, SYNC, DURABLE_WRITE = range(3)


def read_records(path):
    with open(path, "rb") as file:
        while head := file.read(RECORD.size):
            kind, offset, n = RECORD.unpack(head)
            yield kind, offset, file.read(n)


SECTOR = 512


def crash_images(records, chance):
    """After each record: how many there were, and what may be on the disk then, of writes that were not synced any part."""
    durable, pending = bytearray(), []

    def write(image, offset, data):
        if len(image) < offset + len(data):
            image.extend(bytes(offset + len(data) - len(image)))
        image[offset:offset + len(data)] = data

    for number, (kind, offset, data) in enumerate(records, 1):
        if kind == WRITE:
            pending += [(offset + at, data[at:at + SECTOR]) for at in range(0, len(data), SECTOR)]
        elif kind == SYNC:
            for piece in pending:
                write(durable, *piece)
            pending = []
        else:
            write(durable, offset, data)
        image = bytearray(durable)
        for piece in pending:
            if chance.random() < 0.5:
                write(image, *piece)
        yield number, image


def n_records(store):
    return sum(1 for _ in read_records(store.record))


def dump(path):
    done = subprocess.run([IPCFS, f"--store-dump={path}"], capture_output=True, text=True, check=False,
                          timeout=harness.PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line)["text"] for line in done.stdout.splitlines()]


def test_what_a_send_to_the_disk_returned_for_survives_the_machine(store):
    """The disk at each moment, from the writes up to each sync and any of those since."""
    store.record = os.path.join(os.path.dirname(store.path), "record")
    mount = store.start()
    box = mount.box()
    box.configure(durable="disk", messages="max")
    began = n_records(store)
    told = []  # what was done when so many records were there
    for i in range(12):
        box.send(b"%d" % i)
        told.append((n_records(store), "sent", {str(i)}))
        if i % 4 == 3:
            with Handle(box.file("send.lines"), os.O_WRONLY) as handle:
                handle.write(b"".join(b"%d.%d\n" % (i, k) for k in range(20)))
            told.append((n_records(store), "sent", {f"{i}.{k}" for k in range(20)}))
            os.unlink(place(box, b"%d" % (i - 1)))
            told.append((n_records(store), "gone", {str(i - 1)}))
    store.kill()
    set_boot(store)
    chance = random.Random(1)
    image_path = os.path.join(store.path, "disk.mdb")
    os.unlink(os.path.join(store.path, "live.mdb"))
    for number, image in crash_images(read_records(store.record), chance):
        if number < began or number % STEP:
            continue
        with open(image_path, "wb") as file:
            file.write(image)
        there = dump(store.path)
        assert len(set(there)) == len(there)
        sent = set().union(*(what for at, how, what in told if how == "sent" and at <= number))
        gone = set().union(*(what for at, how, what in told if how == "gone" and at <= number))
        unsure = set().union(*(what for at, how, what in told if how == "gone" and at > number))
        assert sent - gone - unsure <= set(there), (number, sent - gone - set(there))
        assert not gone & set(there), number
    assert [data.decode() for data in waiting(store.start(faulty=False).mailbox(os.path.basename(box.path)))] == there


# --- a disk that is slow ---

def test_a_slow_disk_holds_up_those_who_wait_for_it_alone(store):
    mount = store.start()
    disk, daemon, light = (mount.mailbox(name).make() for name in ("disk", "daemon", "light"))
    disk.configure(durable="disk")
    light.configure(durable="no")
    disk.send(b"early")
    with store.slow_disk():
        senders = [disk.start_send(b"late %d" % i) for i in range(3)]
        wait_until(lambda: store.control.n_at_gate > 0, "a sync waits")
        wait_until(lambda: disk.stat()["storing"] == 3, "all have sent")
        expect_asleep(*senders)
        for _ in range(20):
            for box in (daemon, light):
                box.send(b"x")
                assert box.receive() == b"x"
        assert disk.receive() == b"early"
        assert disk.stat()["messages"] == 0
        # Names are written down without the disk's help.
        os.rmdir(mount.mailbox("other").make().path)
        assert all(sender.poll() is None for sender in senders)
    for sender in senders:
        sender.result()
    assert sorted(waiting(disk)) == [b"late 0", b"late 1", b"late 2"]


def test_a_sender_that_is_killed_while_the_disk_is_slow_sends_nothing(store):
    mount = store.start()
    disk = mount.mailbox("disk").make()
    disk.configure(durable="disk")
    with store.slow_disk():
        sender = disk.start_send(b"never")
        wait_until(lambda: store.control.n_at_gate > 0, "a sync waits")
        sender.kill()
        sender.wait()
    disk.send(b"after")
    assert waiting(disk) == [b"after"]
    store.kill()
    assert waiting(store.start().mailbox("disk")) == [b"after"]


def start_move(box, data, to):
    path = place(box, data)
    return Call(os.rename, path, os.path.join(to.file("queue"), os.path.basename(path)))


def test_who_moves_a_message_to_a_slow_disk_waits_for_it(store):
    mount = store.start()
    a, disk, other = (mount.mailbox(name).make() for name in ("a", "disk", "other"))
    disk.configure(durable="disk")
    a.send(b"1", b"2")
    with store.slow_disk():
        mover = start_move(a, b"1", disk)
        wait_until(lambda: disk.stat()["messages"] == 1, "it has moved")
        wait_until(lambda: store.control.n_at_gate > 0, "a sync waits")
        for _ in range(20):
            other.send(b"x")
            assert other.receive() == b"x"
        os.rename(other.path, mount.mailbox("renamed").path)
        assert a.receive() == b"2"
        assert mover.poll() is None
        expect_asleep(mover)
    mover.result()
    assert waiting(disk) == [b"1"]
    store.kill()
    set_boot(store)
    assert waiting(store.start().mailbox("disk")) == [b"1"]


def test_who_is_killed_while_a_move_waits_for_a_slow_disk_waits_no_longer(store):
    mount = store.start()
    a, disk = (mount.mailbox(name).make() for name in ("a", "disk"))
    disk.configure(durable="disk")
    a.send(b"1", b"2")
    with store.slow_disk():
        mover = start_move(a, b"1", disk)
        wait_until(lambda: store.control.n_at_gate > 0, "a sync waits")
        expect_asleep(mover)
        mover.kill()
        mover.wait()
        assert (a.stat()["messages"], waiting(disk)) == (1, [b"1"])
    start_move(a, b"2", disk).result()
    assert waiting(disk) == [b"1", b"2"]


# --- a disk that fails ---

def store_metric(mount, name):
    with open(os.path.join(mount.path, ".ipcfs", "metrics"), encoding="utf-8") as file:
        return next((line.rpartition(" ")[2] for line in file if line.startswith(name)), None)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS], ids=errno.errorcode.get)
def test_a_commit_that_fails_is_that_senders_error(store, code):
    mount = store.start()
    box, light = (mount.mailbox(name).make() for name in ("box", "light"))
    light.configure(durable="no")
    box.send(b"1", b"2", b"3")
    told = errno.ENOSPC if code == errno.ENOSPC else errno.EIO
    store.control.commit_error = code
    for name, data in (("send", b"x"), ("send.lines", b"x\ny\n"), ("send.json", b'{"text":"x"}\n')):
        with Handle(box.file(name), os.O_WRONLY) as handle, fails_with(told):
            handle.write(data)
    light.send(b"goes on")
    assert light.receive() == b"goes on"
    # What there is can be received, though it may come again.
    assert box.receive() == b"1"
    with fails_with(told):
        os.unlink(place(box, b"2"))
    assert waiting(box) == [b"2", b"3"]
    assert box.stat()["storing"] == 0
    assert int(store_metric(mount, "ipcfs_store_failures_total ")) > 0
    assert 'error="' in next(line for line in open(os.path.join(mount.path, ".ipcfs", "metrics"), encoding="utf-8")
                             if line.startswith("ipcfs_store_last_failure_seconds"))
    store.control.commit_error = 0
    box.send(b"4")
    assert waiting(box) == [b"2", b"3", b"4"]
    store.kill()
    assert waiting(store.start().mailbox("box")) == [b"2", b"3", b"4"]


@pytest.mark.parametrize("what", ["disk_error", "head_error"])
def test_a_disk_that_fails_is_the_error_of_those_who_wait_for_it(store, what):
    mount = store.start()
    disk, daemon, light = (mount.mailbox(name).make() for name in ("disk", "daemon", "light"))
    disk.configure(durable="disk")
    light.configure(durable="no")
    disk.send(b"1")
    setattr(store.control, what, errno.EIO)
    for _ in range(3):
        with Handle(disk.file("send"), os.O_WRONLY) as handle, fails_with(errno.EIO):
            handle.write(b"x")
    for box in (daemon, light):
        box.send(b"x")
        assert box.receive() == b"x"
    assert waiting(disk) == [b"1"]
    setattr(store.control, what, 0)
    disk.send(b"2")
    assert waiting(disk) == [b"1", b"2"]
    store.kill()
    set_boot(store)
    assert waiting(store.start().mailbox("disk")) == [b"1", b"2"]


# --- beside it ---

def mdb_copy(path, to):
    """As mdb_copy -n does."""
    no_subdir, read_only = 0x4000, 0x20000
    lmdb = ctypes.CDLL("liblmdb.so.0")
    env = ctypes.c_void_p()
    for done in (lmdb.mdb_env_create(ctypes.byref(env)),
                 lmdb.mdb_env_open(env, path.encode(), no_subdir | read_only, 0o600),
                 lmdb.mdb_env_copy(env, to.encode())):
        assert done == 0, done
    lmdb.mdb_env_close(env)


def test_a_copy_of_a_store_in_use_opens(store):
    """mdb_copy, as ipcfs-store(5) says, of both files, while messages come and go."""
    mount = store.start(faulty=False)
    box = mount.mailbox("box").make()
    box.configure(durable="disk", messages="max")
    box.send(*[b"%d" % i for i in range(500)])
    copy = os.path.join(os.path.dirname(store.path), "copy")
    os.mkdir(copy, 0o700)
    ends = threading.Event()

    def traffic():
        while not ends.is_set():
            box.send(b"x")
            os.unlink(place_of_last(box))

    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        for name in ("live.mdb", "disk.mdb"):
            Call(mdb_copy, os.path.join(store.path, name), os.path.join(copy, name)).result()
    finally:
        ends.set()
        thread.join(harness.PATIENCE)
    for name in ("lock", "state"):
        shutil.copy(os.path.join(store.path, name), copy)
    store.stop()
    store.path = copy
    texts = dump(copy)
    assert texts[:500] == [str(i) for i in range(500)] and len(texts) <= 501
    assert waiting(store.start().mailbox("box"))[:500] == [b"%d" % i for i in range(500)]
    store.stop()
    set_boot(store)
    assert waiting(store.start().mailbox("box"))[:500] == [b"%d" % i for i in range(500)]


def place_of_last(box):
    return os.path.join(box.file("queue"), sorted(os.listdir(box.file("queue")))[-1])

"""store=DIR: what outlives the daemon, and what does not."""

import contextlib
import errno
import json
import os
import random
import re
import signal
import subprocess
import threading
import time

import pytest

import harness
from harness import IPCFS, Call, Handle, Mount, expect_asleep, fails_with, wait_until
from store_room import Store, send_lines_of_numbers, send_numbers, store_metrics

root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


def envelopes(box):
    """What waits in @box, as recv.json has it, without taking it."""
    found = []
    for name in sorted(os.listdir(box.file("queue"))):
        path = os.path.join(box.file("queue"), name)
        with open(path, "rb") as message:
            found.append((int(name), message.read()))
    return found


def in_order(box):
    with os.scandir(box.file("queue")) as entries:
        return [int(entry.name) for entry in entries]


both_ends = pytest.mark.parametrize("killed", [True, False], ids=["killed", "ended"])


# --- what comes back ---

@both_ends
def test_messages_come_back_as_they_were(store, killed):
    box = store.start().box()
    sent = [b"one", b"\0\xff\n", os.urandom(60000), b"late"]
    for data in sent:
        box.send(data)
    box.send(b"urgent", name="send.9")
    with open(box.file("send.json"), "w", encoding="utf-8") as file:
        file.write(json.dumps({"text": "told", "prio": 3, "headers": {"colour": "blue", "n": "1"}}) + "\n")
    before = [(i, os.stat(os.path.join(box.file("queue"), f"{i:020}")).st_mtime_ns) for i in in_order(box)]
    contents = envelopes(box)
    store.restart(killed)
    assert [(i, os.stat(os.path.join(box_again(store, box).file("queue"), f"{i:020}")).st_mtime_ns)
            for i in in_order(box_again(store, box))] == before
    box = box_again(store, box)
    assert envelopes(box) == contents
    received = []
    with open(box.file("recv.json"), encoding="utf-8") as file:
        while len(received) < len(sent) + 2:
            received.append(json.loads(file.readline()))
    assert [message["prio"] for message in received] == [9, 3, 0, 0, 0, 0]
    assert received[1]["headers"] == {"colour": "blue", "n": "1"}
    assert {message["uid"] for message in received} == {os.getuid()}
    assert {message["pid"] for message in received} == {os.getpid()}


def box_again(store, box):
    return store.mount.mailbox(os.path.basename(box.path))


@both_ends
def test_names_modes_owners_and_configs_come_back(store, killed):
    mount = store.start()
    names = [b"plain", b"new\nline", b"x" * 255, "ümläut".encode(), b"\xff\xfe"]
    for name in names:
        os.mkdir(os.path.join(mount.mbox.encode(), name), 0o711)
    box = mount.mailbox("plain")
    box.configure(messages=7, bytes=70000, message_bytes=700, overflow="reject", durable="disk")
    os.chmod(box.file("recv"), 0o440)
    os.chmod(box.path, 0o2750)
    if os.getuid() == 0:
        os.chown(box.file("send"), 12, 34)
        os.chown(os.path.join(mount.mbox.encode(), names[1]), 1234, 4321)
    os.mkdir(os.path.join(mount.mbox, "gone"))
    os.rmdir(os.path.join(mount.mbox, "gone"))
    os.mkdir(os.path.join(mount.mbox, "old"))
    os.rename(os.path.join(mount.mbox, "old"), os.path.join(mount.mbox, "new"))

    def look():
        found = {}
        for name in os.listdir(store.mount.mbox.encode()):
            path = os.path.join(store.mount.mbox.encode(), name)
            for file in [b"", *os.listdir(path)]:
                attr = os.stat(os.path.join(path, file))
                found[name, file] = (attr.st_mode, attr.st_uid, attr.st_gid)
        return found, store.mount.mailbox("plain").config()

    before = look()
    assert len(os.listdir(mount.mbox)) == len(names) + 1
    store.restart(killed)
    assert look() == before


def test_every_key_of_config_comes_back(store):
    box = store.start().box()
    box.configure(messages="max", overflow="drop-oldest")
    before = box.config()
    store.restart()
    assert box_again(store, box).config() == before
    box_again(store, box).configure(messages=0, overflow="block", durable="no")
    before = box_again(store, box).config()
    store.restart()
    assert box_again(store, box).config() == before


def test_ids_go_on(store):
    box = store.start().box()
    seen = set()
    for _ in range(4):
        box.send(b"x")
        new = set(in_order(box))
        assert not new & seen
        for i in new:
            os.unlink(os.path.join(box.file("queue"), f"{i:020}"))
        seen |= new
        store.restart()
        box = box_again(store, box)
        assert not in_order(box)


def test_quotas_are_rebuilt(store):
    mount = store.start("-o", "max_bytes=1M")
    box = mount.box()
    box.configure(messages="max", bytes="10M")
    n = 0
    with contextlib.suppress(OSError):
        while True:
            box.send(b"x" * 10000)
            n += 1
    assert n > 5
    store.kill()
    box = store.start("-o", "max_bytes=1M").mailbox(os.path.basename(box.path))
    with fails_with(errno.EDQUOT):
        box.send(b"x" * 10000)
    assert box.receive() == b"x" * 10000
    box.send(b"x" * 10000)


def test_what_was_received_or_removed_does_not_come_again(store):
    box = store.start().box()
    for i in range(9):
        box.send(b"%d" % i)
    assert box.receive() == b"0"
    os.unlink(os.path.join(box.file("queue"), f"{in_order(box)[0]:020}"))
    store.wait_for_noted(7)
    store.restart()
    assert [data for _, data in envelopes(box_again(store, box))] == [b"%d" % i for i in range(2, 9)]


def lease(box, word=None):
    """A handle that has the next message, and has said what became of it, if anything."""
    work = Handle(box.file("work"), os.O_RDWR | os.O_NONBLOCK)
    work.read()
    if word:
        work.write(word)
    return work


def test_what_is_on_lease_comes_back_and_what_is_done_does_not(store):
    box = store.start().box()
    for i in range(6):
        box.send(b"%d" % i)
    handles = [lease(box, b"done"), lease(box), lease(box, b"done"), lease(box)]
    store.kill()
    for handle in handles:
        handle.close()
    store.start()
    assert [data for _, data in envelopes(box_again(store, box))] == [b"1", b"3", b"4", b"5"]


def attempts(box):
    with Handle(box.file("work"), os.O_RDWR | os.O_NONBLOCK) as work:
        work.read()
        return int(os.getxattr(f"/proc/self/fd/{work.fileno()}", "user.ipcfs.attempts"))


def test_attempts_go_on(store):
    box = store.start().box()
    box.send(b"job")
    for _ in range(2):
        lease(box, b"again").close()
    store.restart()
    assert attempts(box_again(store, box)) == 2


def test_the_dead_stay_where_they_went(store):
    mount = store.start()
    box, failed = mount.box(), mount.box()
    box.write_config(f"dead={os.path.basename(failed.path)}\n")
    box.send(b"job")
    lease(box, b"dead").close()
    store.restart()
    assert envelopes(box_again(store, box)) == []
    failed = box_again(store, failed)
    assert [data for _, data in envelopes(failed)] == [b"job"]
    name = os.path.join(failed.file("queue"), os.listdir(failed.file("queue"))[0])
    assert os.getxattr(name, "user.ipcfs.h.dead-from").decode() == os.path.basename(box.path)


def test_what_one_write_gives_up_stays_where_it_went(store):
    n = 2000
    mount = store.start()
    box, failed = mount.box(), mount.box()
    for some in (box, failed):
        some.configure(messages="max", bytes="1G")
    box.write_config(f"dead={os.path.basename(failed.path)}\n")
    with Handle(box.file("send.lines"), os.O_WRONLY) as lines:
        lines.write(b"job\n" * n)
    with Handle(box.file("work.json"), os.O_RDWR | os.O_NONBLOCK) as work:
        ids = []
        while len(ids) < n:
            ids += [json.loads(line)["id"] for line in work.read(1 << 20).splitlines()]
        words = b"".join(b"dead %d\n" % i for i in ids)
        assert work.write(words) == len(words)
        store.kill()
    store.start()
    assert in_order(box_again(store, box)) == []
    assert len(in_order(box_again(store, failed))) == n


def test_a_move_is_in_one_place(store):
    mount = store.start()
    one, other = mount.box(), mount.box()
    for i in range(20):
        one.send(b"%d" % i)
    moved = in_order(one)[::2]
    for i in moved:
        os.rename(os.path.join(one.file("queue"), f"{i:020}"), os.path.join(other.file("queue"), f"{i:020}"))
    left = in_order(one)
    store.restart()
    assert in_order(box_again(store, one)) == left
    assert in_order(box_again(store, other)) == moved


def test_an_owned_mailbox_does_not_come_back(store):
    mount = store.start()
    kept, owned = mount.box(), mount.box()
    owned.send(b"x")
    fd = os.open(owned.file("owner"), os.O_WRONLY)
    assert owned.config()["durable"] == "no"
    with fails_with(errno.EINVAL):
        owned.configure(durable="disk")
    store.kill()
    os.close(fd)
    mount = store.start()
    assert os.listdir(mount.mbox) == [os.path.basename(kept.path)]


def test_durable_no_keeps_the_mailbox_alone(store):
    box = store.start().box()
    assert box.config()["durable"] == "daemon"
    box.send(b"kept")
    box.configure(durable="no")
    box.send(b"lost")
    store.restart()
    assert [data for _, data in envelopes(box_again(store, box))] == [b"kept"]
    assert box_again(store, box).config()["durable"] == "no"


@pytest.mark.parametrize("before, after", [("no", "daemon"), ("no", "disk"), ("daemon", "disk")])
def test_what_waits_is_kept_once_the_mailbox_is(store, before, after):
    box = store.start().box()
    box.write_config(f"durable={before}\n")
    box.send(b"leased", b"waits", b"received")
    job = lease(box)
    box.write_config(f"durable={after}\n")
    box.send(b"new")
    assert [data for _, data in envelopes(box)[:1]] == [b"waits"]
    os.unlink(os.path.join(box.file("queue"), sorted(os.listdir(box.file("queue")))[1]))
    store.restart()
    job.close()
    assert [data for _, data in envelopes(box_again(store, box))] == [b"leased", b"waits", b"new"]


def test_a_file_that_is_dropped_is_kept(store):
    box = store.start().box()
    box.configure(bytes="100M")
    data = os.urandom(3 << 20)
    with open(os.path.join(box.file("drop"), "large"), "wb") as file:
        file.write(data)
    store.restart()
    assert [found for _, found in envelopes(box_again(store, box))] == [data]


def test_lines_are_kept_in_their_order(store):
    box = store.start().box()
    box.configure(messages="max")
    lines = b"".join(b"line %d\n" % i for i in range(5000))
    fd = os.open(box.file("send.lines"), os.O_WRONLY)
    assert os.write(fd, lines + b"rest") == len(lines) + 4
    os.close(fd)
    store.restart()
    assert [data for _, data in envelopes(box_again(store, box))] == lines.split(b"\n")[:-1] + [b"rest"]


def test_a_write_of_lines_waits_for_room(store):
    box = store.start().box()
    box.configure(messages=3)
    lines = b"".join(b"%d\n" % i for i in range(20))
    fd = os.open(box.file("send.lines"), os.O_WRONLY)
    sender = threading.Thread(target=lambda: os.write(fd, lines))
    sender.start()
    assert box.take(20) == [b"%d" % i for i in range(20)]
    sender.join(harness.PATIENCE)
    assert not sender.is_alive()
    os.close(fd)


def test_lines_that_find_no_room_are_a_short_count(store):
    box = store.start().box()
    box.configure(messages=3)
    fd = os.open(box.file("send.lines"), os.O_WRONLY | os.O_NONBLOCK)
    assert os.write(fd, b"1\n2\n3\n4\n5\n") == 6
    with fails_with(errno.EAGAIN):
        os.write(fd, b"4\n5\n")
    os.close(fd)
    assert [data for _, data in envelopes(box)] == [b"1", b"2", b"3"]


# --- what is told of it ---

def kept(box):
    stat = box.stat()
    return int(stat["kept"]), int(stat["kept_bytes"]), int(stat["storing"])


def test_stat_tells_what_is_kept(store):
    mount = store.start()
    box, other, light = (mount.mailbox(name).make() for name in ("box", "other", "light"))
    light.configure(durable="no")
    box.send(b"12", b"345", b"6789")
    light.send(b"0")
    assert (kept(box), kept(other), kept(light)) == ((3, 9, 0), (0, 0, 0), (0, 0, 0))
    box.configure(durable="no")
    box.send(b"memory")
    assert kept(box) == (3, 9, 0)
    ids = in_order(box)
    for number, to in ((0, other), (1, light), (3, other)):
        os.rename(os.path.join(box.file("queue"), f"{ids[number]:020}"), os.path.join(to.file("queue"), f"{ids[number]:020}"))
    assert (kept(box), kept(other), kept(light)) == ((1, 4, 0), (2, 8, 0), (0, 0, 0))
    assert box.receive() == b"6789"
    assert kept(box) == (0, 0, 0)
    store.wait_for_noted(2)
    store.restart()
    assert (kept(box_again(store, box)), kept(box_again(store, other))) == ((0, 0, 0), (2, 8, 0))


def test_metrics_tell_what_the_store_holds(store):
    mount = store.start()
    box = mount.box()
    before = store_metrics(mount)
    box.configure(durable="disk", messages="max", bytes="10M")
    box.send(*[b"x" * 10000] * 300)
    after = store_metrics(mount)
    assert (after["messages"], after["mailboxes"], after["failures_total"]) == (300, 1, 0)
    assert after["commits_total"] >= before["commits_total"] + 300
    assert after["syncs_total"] > before["syncs_total"]
    assert 300 * 10000 <= after["used_bytes"] - before["used_bytes"] <= 300 * 3 * 4096 + 65536
    assert after["used_bytes"] <= after["map_bytes"] == os.stat(os.path.join(store.path, "live.mdb")).st_size
    assert after["map_bytes"] > before["map_bytes"]
    store.restart()
    again = store_metrics(store.mount)
    assert (again["messages"], again["mailboxes"], again["used_bytes"]) == (300, 1, after["used_bytes"])
    with open(box_again(store, box).file("recv"), "rb") as file:
        file.read()
    store.wait_for_noted(299)
    plain = Mount()
    try:
        assert not store_metrics(plain)
    finally:
        plain.stop()


# --- killed at whatever moment ---

class Traffic:
    """Senders, receivers, movers and removers, until the daemon is gone. What each was told is in lists."""

    def __init__(self, mount, durable, number):
        self.one, self.other = (mount.mailbox(f"{name}{number}").make() for name in ("one", "other"))
        for box in (self.one, self.other):
            box.configure(messages=50, durable=durable)
        self.sent, self.received, self.removed = [], [], []
        self.n_noted = 0  # so many had been received before a change that was answered, and what is answered is noted in its order
        self.unsure = set()  # whose end nobody was told
        work = [self._send] * 3 + [self._send_lines, self._receive, self._move, self._remove]
        self.threads = [threading.Thread(target=self._run, args=(job, i), daemon=True) for i, job in enumerate(work)]
        for thread in self.threads:
            thread.start()

    def _run(self, job, number):
        try:
            job(number)
        except OSError as error:
            assert error.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.ECANCELED, errno.EIDRM, errno.ENOENT), error

    def _send(self, number):
        send_numbers(self.one.file("send"), number, self.unsure, self.sent)

    def _send_lines(self, number):
        send_lines_of_numbers(self.one.file("send.lines"), number, self.unsure, self.sent)

    def _receive(self, _number):
        fd = os.open(self.other.file("recv"), os.O_RDONLY | os.O_DIRECT)
        while True:
            self.received.append(os.read(fd, 65536))

    def _move(self, _number):
        while True:
            for name in os.listdir(self.one.file("queue")):
                with contextlib.suppress(FileNotFoundError, BlockingIOError):
                    os.rename(os.path.join(self.one.file("queue"), name), os.path.join(self.other.file("queue"), name))

    def _remove(self, _number):
        while True:
            for name in os.listdir(self.one.file("queue"))[-3:]:
                with contextlib.suppress(FileNotFoundError):
                    path = os.path.join(self.one.file("queue"), name)
                    with open(path, "rb") as file:
                        data = file.read()
                    n = len(self.received)
                    os.unlink(path)
                    self.n_noted = n
                    self.removed.append(data)

    def join(self):
        for thread in self.threads:
            thread.join(harness.PATIENCE)
            assert not thread.is_alive()


def check_traffic(store, traffic):
    """Nothing is lost or comes twice, but for what nobody was told of."""
    one, other = (box_again(store, box) for box in (traffic.one, traffic.other))
    waiting = [data for box in (one, other) for _, data in envelopes(box)]
    there = set(waiting)
    assert len(waiting) == len(there), "something is there twice"
    told_gone = set(traffic.received) | set(traffic.removed)
    # The last unlink may have been done without an answer, and the last read's message may be lost with its reader.
    lost = set(traffic.sent) - there - told_gone
    assert len(lost) <= 2, lost
    assert not there & set(traffic.removed), "what was removed is there again"
    # Whose receive had not been noted comes again: the daemon does that when the reader has it already.
    assert there & set(traffic.received) <= set(traffic.received[max(0, traffic.n_noted - 50):])
    assert there <= traffic.unsure
    by_sender = {}
    for _, data in envelopes(one):
        sender, number = data.split(b".")
        by_sender.setdefault(sender, []).append(int(number))
    for numbers in by_sender.values():
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("durable", ["daemon", "disk"])
def test_killed_at_random(store, durable):
    store.start()
    for number in range(6):
        traffic = Traffic(store.mount, durable, number)
        wait_until(lambda t=traffic: len(t.received) > 3 and len(t.removed) > 3, "there is traffic")
        time.sleep(random.uniform(0, 0.1))
        store.mount.expected_status = -signal.SIGKILL
        store.mount.process.kill()
        traffic.join()
        store.kill()
        store.start()
        check_traffic(store, traffic)


# --- what is refused ---

def refusal(store, *options, uid=None):
    """The line with which ipcfs does not use the store."""
    user = [] if uid is None else ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
    with harness.mount_point() as point:
        if uid is not None:
            os.chown(point, uid, uid)
        done = subprocess.run([*user, IPCFS, "-f", "-o", f"store={store.path}", *options, point], capture_output=True,
                              text=True, timeout=harness.PATIENCE, check=False)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.count("\n") == 1 and done.stderr.startswith(f"ipcfs: store '{store.path}': "), done.stderr
        assert not harness.mount_line(point)
    return done.stderr


def contents(store):
    found = {}
    for name in os.listdir(store.path):
        with open(os.path.join(store.path, name), "rb") as file:
            found[name] = file.read()
    return found


def test_a_second_daemon_says_who_has_it(store):
    mount = store.start()
    assert f"process {mount.pid} has it" in refusal(store)
    assert mount.box().config()


def test_the_next_daemon_waits_for_the_one_that_ends(store):
    box = store.start().box()
    box.configure(messages="max", bytes="1G")
    with open(box.file("send.lines"), "wb") as file:
        file.write(b"".join(b"%d\n" % i for i in range(2000)))
    for _ in range(5):
        before = store.mount
        harness.run("umount", before.path)
        store.start()
        before.stop()
        assert len(envelopes(box_again(store, box))) == 2000


def test_questions_end_with_the_daemon(store):
    box = store.start().box()
    with Handle(box.file("call"), os.O_RDWR) as asker:
        asker.write(b"?")
        answer = Call(asker.read)
        expect_asleep(answer)
        # What is asked after it on each processor is answered: the daemon has it, too.
        store.mount.wake_all()
        store.mount.process.terminate()
        with fails_with(errno.ECANCELED):
            answer.result()
    store.stop()


def test_a_newer_version_is_not_touched(store):
    store.start().box().send(b"x")
    store.stop()
    state = os.path.join(store.path, "state")
    with open(state, encoding="ascii") as file:
        text = file.read()
    with open(state, "w", encoding="ascii") as file:
        file.write(re.sub("format=[0-9]+", "format=9", text))
    before = contents(store)
    assert "newer" in refusal(store)
    assert contents(store) == before


def test_a_damaged_store_is_not_touched(store):
    box = store.start().box()
    sent = [os.urandom(5000) for _ in range(200)]
    box.send(*sent)
    store.stop()
    path = os.path.join(store.path, "live.mdb")
    with open(path, "rb") as file:
        sound = file.read()
    for offset in (16, 4096 + 20, *(sound.index(data) - gap for data in sent[::50] for gap in (-100, 2, 60))):
        spoilt = sound[:offset] + os.urandom(40) + sound[offset + 40:]
        with open(path, "wb") as file:
            file.write(spoilt)
        before = contents(store)
        assert "damaged" in refusal(store), offset
        assert contents(store) == before
    with open(path, "wb") as file:
        file.write(sound)
    store.start()
    assert len(envelopes(box_again(store, box))) == 200


@pytest.mark.parametrize("name", ["live.mdb", "disk.mdb", "state"])
def test_a_store_that_lacks_a_part_is_not_touched(store, name):
    store.start().box().send(b"x")
    store.kill()
    path = os.path.join(store.path, name)
    with open(path, "rb") as file:
        sound = file.read()
    # The state is short: without its last byte one can't tell whether that was all.
    for left in (b"", sound[:5000] if len(sound) > 5000 else sound[:-1], os.urandom(len(sound)), None):
        os.unlink(path)
        if left is not None:
            with open(path, "wb") as file:
                file.write(left)
        before = contents(store)
        assert "damaged" in refusal(store), left and len(left)
        assert contents(store) == before
        if left is None:
            continue
        done = subprocess.run([IPCFS, f"--store-check={store.path}"], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and done.stdout == "" and "damaged" in done.stderr


@root
def test_another_users_directory_is_refused(store):
    os.mkdir(store.path, 0o700)
    os.chown(store.path, 1000, 1000)
    assert "belongs to user 1000" in refusal(store)


def test_links_are_not_followed(store):
    real = store.path + "-real"
    os.mkdir(real, 0o700)
    os.symlink(real, store.path)
    assert "symbolic link" in refusal(store)
    os.unlink(store.path)
    os.mkdir(store.path, 0o700)
    os.symlink("/etc/hostname", os.path.join(store.path, "live.mdb"))
    assert "live.mdb" in refusal(store)


def test_other_files_are_left_alone(store):
    os.mkdir(store.path, 0o700)
    with open(os.path.join(store.path, "letter"), "w", encoding="ascii") as file:
        file.write("dear")
    assert "no store" in refusal(store)
    assert os.listdir(store.path) == ["letter"]


def test_a_filesystem_of_fuse_is_refused(store):
    mount = Mount()
    try:
        over = Store(os.path.join(mount.path, "shm", "store"))
        os.mkdir(over.path, 0o700)
        assert "FUSE" in refusal(over)
    finally:
        mount.stop()


def test_the_directory_is_made_for_its_user_alone(store):
    store.start()
    assert os.stat(store.path).st_mode & 0o7777 == 0o700
    for name in os.listdir(store.path):
        assert os.stat(os.path.join(store.path, name)).st_mode & 0o777 == 0o600


# --- a filesystem that is full ---

@pytest.fixture(name="full")
def fixture_full(store):
    if os.getuid() != 0:
        pytest.skip("needs root")
    os.mkdir(store.path, 0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", store.path], check=True)
    try:
        yield store
    finally:
        # Also when the daemon did not end well: whatever has the store open then, it is no file of any path any more.
        subprocess.run(["umount", "-l", store.path], check=True)
        if store.mount:
            store.mount.stop()


def test_a_full_store_refuses_and_can_be_emptied(full):
    mount = full.start()
    box, light = mount.box(), mount.box()
    box.configure(messages="max", bytes="1G")
    light.configure(durable="no")
    n = 0
    with fails_with(errno.ENOSPC):
        while True:
            box.send(b"%06d" % n + b"x" * 20000)
            n += 1
    assert n > 50
    with fails_with(errno.ENOSPC):
        box.send(b"x" * 50000)
    light.send(b"goes on")
    assert light.receive() == b"goes on"
    for i in range(n // 2):
        assert box.receive()[:6] == b"%06d" % i
    box.send(b"%06d" % n)
    full.wait_for_noted(n + 1 - n // 2)
    full.restart()
    box = box_again(full, box)
    assert [data[:6] for _, data in envelopes(box)] == [b"%06d" % i for i in range(n // 2, n + 1)]


def test_nothing_of_a_line_for_which_there_is_no_room_is_told(full):
    box = full.start().box()
    box.configure(messages="max", bytes="1G")
    lines = [b"%04d" % i + b"x" * 30000 for i in range(300)]
    fd = os.open(box.file("send.lines"), os.O_WRONLY)
    told = 0
    with fails_with(errno.ENOSPC):
        for line in lines:
            told += os.write(fd, line + b"\n") == len(line) + 1
    os.close(fd)
    full.restart()
    assert [data for _, data in envelopes(box_again(full, box))] == lines[:told]


# --- looked into without a daemon ---

def test_check_and_dump_tell_what_waits(store):
    box = store.start().box()
    box.send(b"one", b"\xff")
    assert "has it" in subprocess.run([IPCFS, f"--store-check={store.path}"], capture_output=True, text=True, check=False).stderr
    store.kill()
    told = harness.run(IPCFS, f"--store-check={store.path}").stdout
    assert "mailboxes=1\ntopics=0\nsubscriptions=0\nmessages=2\nbytes=4\n" in told
    lines = [json.loads(line) for line in harness.run(IPCFS, f"--store-dump={store.path}").stdout.splitlines()]
    assert [line.get("text") or line["base64"] for line in lines] == ["one", "/w=="]
    store.start()
    assert len(envelopes(box_again(store, box))) == 2

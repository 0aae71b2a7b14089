"""work.json: many messages on lease through one handle, a line each, and words with their ids."""

import contextlib
import errno
import json
import os
import select
import signal
import stat

import pytest

from harness import ALICE, Command, Handle, as_user, fails_with, try_open, wait_until


def work_on(box, flags=os.O_NONBLOCK):
    return Handle(box.file("work.json"), os.O_RDWR | flags)


def parse(data):
    return [json.loads(line) for line in data.splitlines()]


def lease(work, size=1 << 20):
    """What one read gives: ids and texts."""
    envelopes = parse(work.read(size))
    return [e["id"] for e in envelopes], [e["text"] for e in envelopes]


def words(word, ids):
    return b"".join(b"%s %d\n" % (word, i) for i in ids)


def numbers(n):
    return [b"%d" % i for i in range(n)]


def texts(n):
    return [str(i) for i in range(n)]


# --- reading ---

def test_a_read_leases_as_many_as_it_can_carry(box):
    box.send(*numbers(50))
    with work_on(box) as work:
        ids, got = lease(work, 1000)
        assert 2 < len(ids) < 20 and got == texts(len(ids))
        assert box.counts("messages", "leased") == (50 - len(ids), len(ids))
        assert lease(work)[1] == texts(50)[len(ids):]
        assert box.counts("messages", "leased", "received") == (0, 50, 50)
        with fails_with(errno.EAGAIN):
            work.read()


def test_a_read_waits_for_the_first(box):
    with work_on(box, 0) as work:
        poll = select.poll()
        poll.register(work.fileno(), select.POLLIN | select.POLLOUT)
        assert poll.poll(0) == [(work.fileno(), select.POLLOUT)]
        sender = Command(["sh", "-c", f"echo hi > {box.file('send')}"])
        assert lease(work)[1] == ["hi\n"]
        sender.wait()


def test_a_message_longer_than_a_read_comes_in_parts_and_has_a_word_then(box):
    box.send(b"x" * 5000, b"after")
    with work_on(box) as work:
        line = work.read(1000)
        (i,) = [json.loads(line[:line.index(b",")] + b"}")["id"]]
        assert box.counts("messages", "leased") == (1, 1)
        with fails_with(errno.ENODATA):
            work.write(words(b"done", [i]))
        while not line.endswith(b"\n"):
            line += work.read(1000)
        assert parse(line)[0]["text"] == "x" * 5000
        work.write(words(b"done", [i]))
        assert lease(work)[1] == ["after"]
    box.wait_for(messages=1, leased=0)


def test_attempts_and_headers_are_told(box):
    box.send(b'{"text":"a","headers":{"k":"v"}}\n', name="send.json")
    with work_on(box) as work:
        (first,) = parse(work.read())
        assert first["headers"] == {"k": "v"} and "attempts" not in first
        work.write(words(b"again", [first["id"]]))
        (second,) = parse(work.read())
        assert second["attempts"] == 1 and second["id"] == first["id"]


# --- words ---

def test_words_are_about_the_messages_that_they_name(box, mnt):
    dead = mnt.box()
    box.write_config(f"dead={os.path.basename(dead.path)}\n")
    box.send(*numbers(6))
    with work_on(box) as work:
        ids, _ = lease(work)
        data = words(b"done", [ids[4], ids[0]]) + words(b"again", [ids[3], ids[1]]) + words(b"dead", [ids[2]])
        assert work.write(data) == len(data)
        assert box.counts("messages", "leased") == (2, 1)
        assert lease(work)[1] == ["1", "3"]
    assert dead.drain() == [b"2"]
    box.wait_for(leased=0, messages=3)
    assert box.drain() == [b"1", b"3", b"5"]


def test_a_line_without_newline_and_padded_ids_are_taken(box):
    box.send(b"a", b"b")
    with work_on(box) as work:
        ids, _ = lease(work)
        assert work.write(b"done %d" % ids[0]) and work.write(b"done %020d\n" % ids[1])
        assert box.counts("messages", "leased") == (0, 0)


@pytest.mark.parametrize("bad, error", [
    (b"done", errno.EINVAL), (b"\n", errno.EINVAL), (b"gone 1\n", errno.EINVAL),
    (b"done x\n", errno.ENODATA), (b"done 1 \n", errno.ENODATA), (b"done " + b"9" * 40, errno.ENODATA), (b"done 0\n", errno.ENODATA)])
def test_bad_lines_change_nothing_and_those_before_took_effect(box, bad, error):
    box.send(b"a", b"b")
    with work_on(box) as work:
        ids, _ = lease(work)
        with fails_with(error):
            work.write(bad)
        assert box.counts("messages", "leased") == (0, 2)
        good = words(b"done", ids[:1])
        assert work.write(good + bad + b"\n" + words(b"done", ids[1:])) == len(good)
        assert box.counts("messages", "leased") == (0, 1)
        with fails_with(errno.ENODATA):
            work.write(good)


def test_a_line_that_is_cut_at_the_end_of_a_write_waits_for_its_rest(box):
    box.send(*numbers(2))
    with work_on(box) as work:
        ids, _ = lease(work)
        whole = words(b"done", ids[:1])
        assert work.write(whole + b"done 1") == len(whole)
        assert box.counts("messages", "leased") == (0, 1)


def test_each_handle_has_its_own(box):
    box.send(*numbers(20))
    with work_on(box) as one, work_on(box) as other:
        mine, theirs = lease(one, 600)[0], lease(other, 600)[0]
        assert mine and theirs and not set(mine) & set(theirs)
        with fails_with(errno.ENODATA):
            one.write(words(b"done", theirs))
        assert other.write(words(b"done", theirs))


# --- ends ---

def test_close_returns_all_to_their_places(box):
    box.send(*numbers(30))
    with work_on(box) as work:
        ids, _ = lease(work)
        work.write(words(b"done", ids[1::2]))
        box.send(b"later")
        box.send(b"urgent", name="send.5")
    box.wait_for(leased=0, messages=17)
    assert box.drain() == [b"urgent", *numbers(30)[::2], b"later"]


def test_close_returns_one_that_is_read_in_part(box):
    box.send(b"x" * 5000, b"after")
    with work_on(box) as work:
        work.read(1000)
    box.wait_for(leased=0, messages=2)
    assert box.drain() == [b"x" * 5000, b"after"]


def test_death_returns_all(box):
    box.send(*numbers(10))
    worker = Command(["sh", "-c", f"exec 3<>{box.file('work.json')}; dd bs=64k count=1 <&3 >/dev/null 2>&1; read x"],
                     stdin=-1)
    box.wait_for(leased=10)
    worker.kill()
    box.wait_for(leased=0, messages=10)
    assert box.drain() == numbers(10)


def test_a_mailbox_with_leases_stays_and_one_that_goes_is_eidrm(box, mnt):
    box.send(b"a")
    with work_on(box) as work:
        lease(work)
        with fails_with(errno.ENOTEMPTY):
            os.rmdir(box.path)
    other = mnt.mailbox("goes").make(0o700)
    work = work_on(other)
    other.remove()
    with work:
        with fails_with(errno.EIDRM):
            work.read()
    with fails_with(errno.ENOENT):
        os.stat(other.file("work.json"))


def test_leases_of_an_owner_that_dies_are_gone_with_it(mnt):
    box = mnt.mailbox("owned").make(0o777)
    owner = Handle(box.file("owner"), os.O_WRONLY)
    with contextlib.suppress(OSError):
        box.send(b"mine")
    work = work_on(box)
    Command(["sh", "-c", f"echo a > {box.file('send')}"]).wait()
    ids, _ = lease(work)
    owner.close()
    wait_until(lambda: not os.path.exists(box.path), "the mailbox is gone")
    with work, fails_with(errno.EIDRM):
        work.write(words(b"done", ids))


# --- the file ---

def test_it_is_work_by_another_name(box):
    assert "work.json" not in os.listdir(box.path)
    os.chmod(box.file("work.json"), 0o640)
    one, other = os.stat(box.file("work")), os.stat(box.file("work.json"))
    assert (one.st_ino, one.st_mode) == (other.st_ino, other.st_mode) and stat.S_IMODE(one.st_mode) == 0o640


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY])
def test_it_is_opened_to_read_and_write(box, flags):
    with fails_with(errno.EACCES):
        try_open(box.file("work.json"), flags)


def test_it_is_for_the_owner(box):
    with fails_with(errno.EACCES):
        as_user(ALICE, try_open, box.file("work.json"), os.O_RDWR)


def test_words_survive_the_daemon(mount, tmp_path):
    options = ("-o", f"store={tmp_path}/store")
    mnt = mount(*options)
    box = mnt.mailbox("kept").make(0o700)
    box.send(*numbers(100))
    with work_on(box) as work:
        ids, _ = lease(work)
        data = words(b"done", ids[:40]) + words(b"again", ids[40:50])
        assert work.write(data) == len(data)
        mnt.expected_status = -signal.SIGKILL
        mnt.process.kill()
        mnt.process.wait()
        mnt.stop()
    box = mount(*options).mailbox("kept")
    assert box.counts("messages", "leased") == (60, 0)
    assert box.drain() == numbers(100)[40:]

"""work: a message on lease, and a word that says what became of it."""

import collections
import contextlib
import errno
import json
import os
import random
import resource
import select
import signal
import time

import pytest

from harness import ALICE, BOB, SHELLS, Call, Command, Handle, as_user, fails_with, start_sh, try_open, wait_until


def work_on(box, flags=os.O_NONBLOCK):
    return Handle(box.file("work"), os.O_RDWR | flags)


def lease(box, expected):
    """A handle that has the next message."""
    work = work_on(box)
    assert work.read() == expected
    return work


def returned(box, n=1):
    """A close is answered before the kernel tells of it."""
    box.wait_for(leased=0, messages=n)


def envelopes(box):
    with box.open_recv(name="recv.json") as recv:
        lines = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                lines += recv.read()
    return [json.loads(line) for line in lines.splitlines()]


# --- one message, its end, and a word ---

def test_first_read_takes_a_message_on_lease_and_its_end_stays(box):
    box.send(b"first", b"second")
    with work_on(box) as work:
        assert [work.read(3), work.read(3), work.read(), work.read()] == [b"fir", b"st", b"", b""]
        assert box.counts("messages", "leased", "received") == (1, 1, 1)
        assert os.listdir(box.file("queue")) and len(os.listdir(box.file("queue"))) == 1
        assert box.drain() == [b"second"]


@pytest.mark.parametrize("word", [b"done", b"done\n"])
def test_done_is_gone_for_good_and_the_next_read_leases_the_next(box, word):
    box.send(b"first", b"second")
    with work_on(box) as work:
        assert work.read() == b"first"
        assert work.write(word) == len(word)
        assert box.counts("messages", "leased") == (1, 0)
        assert work.read(3) == b"sec"
        assert work.write(word) == len(word)
        with fails_with(errno.EAGAIN):
            work.read()
    assert box.counts("messages", "leased", "received") == (0, 0, 2)


def test_again_returns_it_to_the_place_it_had(box):
    box.send(b"low")
    box.send(b"one", b"two", b"three", name="send.5")
    handles = [work_on(box) for _ in range(3)]
    assert [work.read() for work in handles] == [b"one", b"two", b"three"]
    for i in (2, 0, 1):
        handles[i].write(b"again")
    assert box.counts("messages", "leased", "received") == (4, 0, 0)
    for work in handles:
        work.close()
    assert box.drain() == [b"one", b"two", b"three", b"low"]


def test_close_without_a_word_is_again(box):
    box.send(b"job")
    for attempts in range(3):
        with work_on(box) as work:
            assert work.read() == b"job"
            assert os.getxattr(work.fd, "user.ipcfs.attempts") == b"%d" % attempts
        returned(box)
    envelope, = envelopes(box)
    assert envelope["attempts"] == 3


def test_attempts_are_seen_in_queue_too(box):
    box.send(b"job")
    lease(box, b"job").close()
    returned(box)
    name, = os.listdir(box.file("queue"))
    path = os.path.join(box.file("queue"), name)
    assert os.getxattr(path, "user.ipcfs.attempts") == b"1"
    assert "user.ipcfs.attempts" in os.listxattr(path)


@pytest.mark.parametrize("word", [b"don", b"Done", b"done ", b"done\n\n", b"\n", b"again done", b"d" * 5000, b"done\0"])
def test_another_word_is_einval_and_changes_nothing(box, word):
    box.send(b"job")
    with work_on(box) as work:
        with fails_with(errno.EINVAL):
            work.write(word)
        assert work.read(1) == b"j"
        with fails_with(errno.EINVAL):
            work.write(word)
        assert box.counts("messages", "leased") == (0, 1)
        assert work.read() == b"ob"
        work.write(b"done")


@pytest.mark.parametrize("word", [b"done", b"again\n", b"dead"])
def test_word_without_a_lease_is_enodata(box, word):
    with work_on(box) as work:
        with fails_with(errno.ENODATA):
            work.write(word)
        box.send(b"job")
        with fails_with(errno.ENODATA):
            work.write(word)
        assert work.read() == b"job"
        work.write(b"done")
        with fails_with(errno.ENODATA):
            work.write(word)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY])
@pytest.mark.parametrize("uid", [0, ALICE])
def test_it_is_opened_both_ways_or_not_at_all(box, flags, uid):
    os.chown(box.path, uid, uid)
    with fails_with(errno.EACCES):
        as_user(uid, try_open, box.file("work"), flags)
    as_user(uid, try_open, box.file("work"), os.O_RDWR)
    with fails_with(errno.EACCES):
        as_user(BOB, try_open, box.file("work"), os.O_RDWR)


def test_packet_mode_takes_a_whole_message_or_leaves_it(box):
    box.send(b"12345", b"678")
    with work_on(box, os.O_NONBLOCK | os.O_DIRECT) as work:
        with fails_with(errno.EMSGSIZE):
            work.read(4)
        assert box.counts("messages", "leased") == (2, 0)
        for message in (b"12345", b"678"):
            assert [work.read(5), work.read(5)] == [message, b""]
            work.write(b"done")


def test_two_workers_never_have_the_same_message(box):
    box.send(*(b"%d" % i for i in range(10)))
    workers = [work_on(box) for _ in range(12)]
    got = []
    for work in workers:
        with contextlib.suppress(BlockingIOError):
            got.append(work.read())
    assert got == [b"%d" % i for i in range(10)]
    for work in workers:
        work.close()
    returned(box, 10)


# --- waiting ---

def test_first_read_waits_and_is_interrupted(box):
    waiting = Call(lambda: work_on(box, 0).read())
    box.wait_for(receivers_waiting=1)
    box.send(b"job")
    assert waiting.result() == b"job"
    returned(box)
    box.drain()
    for number in (signal.SIGKILL, signal.SIGTERM):
        waiting = Call(lambda: work_on(box, 0).read())
        box.wait_for(receivers_waiting=1)
        waiting.kill(number)
        assert waiting.wait() == -number
        box.wait_for(receivers_waiting=0)
    box.send(b"job")
    envelope, = envelopes(box)
    assert "attempts" not in envelope


def ready(handle, events=select.POLLIN | select.POLLOUT):
    poll = select.poll()
    poll.register(handle, events)
    return dict(poll.poll(0)).get(handle.fileno(), 0)


def test_poll_says_whether_a_read_would_wait(box):
    with work_on(box) as work:
        assert ready(work) == select.POLLOUT
        with select.epoll() as epoll:
            epoll.register(work, select.EPOLLIN)
            assert epoll.poll(0) == []
            box.send(b"job", b"next")
            assert epoll.poll(10) == [(work.fd, select.EPOLLIN)]
        assert work.read() == b"job"
        assert box.drain() == [b"next"]
        assert ready(work) & select.POLLIN, "its end can be read"
        work.write(b"done")
        assert ready(work) == select.POLLOUT


# --- the lease is the open file's ---

def test_who_inherited_the_handle_says_the_word(box):
    box.send(b"job", b"next")
    with work_on(box) as work:
        assert Call(work.read).result() == b"job"
        assert box.counts("leased") == (1,)
        assert Call(work.write, b"done").result() == 4
        assert work.read() == b"next"
        work.write(b"done")
    assert box.counts("messages", "leased") == (0, 0)


def test_it_lasts_until_the_last_descriptor_is_closed(box):
    box.send(b"job")
    work = lease(box, b"job")
    other = os.dup(work.fd)
    work.close()
    assert box.counts("messages", "leased") == (0, 1)
    os.write(other, b"done")
    os.close(other)
    assert box.counts("messages", "leased") == (0, 0)


def test_it_outlives_who_opened_it(box):
    box.send(b"job")
    with start_sh("bash", 'exec 3<> work 4<&0; read -r job <&3; { read -r _ <&4; echo done >&3; } & exec 3>&-; wait',
                  cwd=box.path, stdin=-1) as shell:
        box.wait_for(leased=1)
        shell.stdin.write("go\n")
        shell.stdin.close()
        box.wait_for(leased=0, messages=0)


def test_getfattr_tells_what_the_handle_has(box):
    box.send(b'{"text": "job", "prio": 3, "headers": {"kind": "resize"}}\n', name="send.json")
    with work_on(box) as work:
        assert os.listxattr(work.fd) == []
        with fails_with(errno.ENODATA):
            os.getxattr(work.fd, "user.ipcfs.id")
        work.read()
        told = {name: os.getxattr(work.fd, name) for name in os.listxattr(work.fd)}
        envelope = json.loads(told["user.ipcfs.envelope"])
        assert envelope["headers"] == {"kind": "resize"} and "text" not in envelope
        assert told["user.ipcfs.h.kind"] == b"resize"
        for key in ("id", "pid", "uid", "gid", "prio", "size", "time"):
            assert told[f"user.ipcfs.{key}"].decode() == str(envelope[key])
        work.write(b"done")
        assert os.listxattr(work.fd) == []


# --- attempts and the dead ---

@pytest.fixture
def failed(mnt):
    box = mnt.box()
    yield box
    box.remove()


def name_of(box):
    return os.path.basename(box.path)


def test_after_so_many_returns_it_goes_to_the_dead(box, failed):
    box.configure(attempts=3, dead=name_of(failed))
    box.send(b"job", name="send.7")
    with work_on(box) as work:
        for word in (b"again", b"again", b"again"):
            assert work.read() == b"job"
            work.write(word)
        with fails_with(errno.EAGAIN):
            work.read()
    assert box.counts("messages", "leased", "dead", "dropped") == (0, 0, 1, 0)
    envelope, = envelopes(failed)
    assert (envelope["text"], envelope["prio"], envelope["attempts"]) == ("job", 7, 3)
    assert envelope["headers"] == {"dead-from": name_of(box)}


def test_word_dead_sends_it_there_at_once(box, failed):
    box.configure(dead=name_of(failed))
    box.send(b"job")
    with lease(box, b"job") as work:
        work.write(b"dead\n")
        assert failed.counts("messages") == (1,)
    name, = os.listdir(failed.file("queue"))
    assert os.getxattr(os.path.join(failed.file("queue"), name), "user.ipcfs.h.dead-from") == name_of(box).encode()
    assert box.counts("messages", "leased", "dead") == (0, 0, 1)


def test_dead_that_can_not_take_it_gets_nothing_and_nothing_is_lost(box, failed):
    def expect_back():
        work = lease(box, b"job")
        work.write(b"dead")
        work.close()
        assert box.counts("messages", "leased", "dead") == (2, 0, 0)

    box.send(b"job", b"next")
    expect_back()
    for name in ("nowhere", name_of(box)):
        box.configure(dead=name)
        expect_back()
    box.configure(dead=name_of(failed))
    failed.configure(messages=1)
    failed.send(b"other")
    expect_back()
    assert failed.drain() == [b"other"]
    failed.configure(overflow="reject", messages=1)
    failed.send(b"other")
    expect_back()
    failed.drain()
    os.chown(failed.path, ALICE, ALICE)
    expect_back()
    assert failed.counts("messages") == (0,)
    os.chown(failed.path, 0, 0)
    work = lease(box, b"job")
    work.write(b"dead")
    work.close()
    assert failed.drain() == [b"job"]
    assert box.drain() == [b"next"]


def test_header_is_beside_those_of_the_sender(box, failed):
    box.configure(attempts=1, dead=name_of(failed))
    box.send(b'{"text": "job", "headers": {"kind": "resize", "dead-from": "me"}}\n', name="send.json")
    lease(box, b"job").close()
    failed.wait_for(messages=1)
    envelope, = envelopes(failed)
    assert envelope["headers"] == {"kind": "resize", "dead-from": name_of(box)}


@pytest.mark.parametrize("line", ["attempts=-1", "attempts=", "attempts=max", "dead=a/b", "dead=.", "dead=" + 256 * "x",
                                  "ttl=-1", "ttl=", "ttl=1s", "ttl=.5"])
def test_bad_settings_are_einval(box, line):
    before = box.config()
    with fails_with(errno.EINVAL):
        box.write_config(line)
    assert box.config() == before


# --- ttl ---

def test_what_waits_too_long_is_dropped_and_counted(box):
    box.configure(ttl="0.1")
    box.send(b"one", b"two")
    box.wait_for(expired=2)
    assert box.counts("messages", "bytes", "dead", "received") == (0, 0, 0, 0)
    with fails_with(errno.EAGAIN):
        box.receive()


def test_what_waits_too_long_goes_to_the_dead(box, failed):
    box.configure(ttl="0.1", dead=name_of(failed))
    box.send(b"one")
    failed.wait_for(messages=1)
    assert box.counts("expired", "dead", "messages") == (1, 1, 0)
    envelope, = envelopes(failed)
    assert "attempts" not in envelope and envelope["headers"] == {"dead-from": name_of(box)}


def test_senders_that_wait_get_the_room(box):
    box.configure(messages=1, ttl="0.2")
    box.send(b"first")
    senders = [box.start_send(b"later") for _ in range(3)]
    for sender in senders:
        sender.result()
    box.wait_for(expired=4, messages=0)


def test_ttl_is_no_lease_time(box):
    box.configure(ttl="0.2")
    box.send(b"job", b"other")
    with lease(box, b"job") as work:
        box.wait_for(expired=1)
        assert box.counts("leased") == (1,)
        work.write(b"again")
        box.wait_for(expired=2)
    assert box.counts("messages", "leased") == (0, 0)


def test_it_is_one_thread_for_all(mount):
    mnt = mount()
    boxes = [mnt.box() for _ in range(50)]
    boxes[0].configure(ttl="0.001")
    mnt.wake_all()
    n_threads = mnt.n_threads()
    for box in boxes:
        box.configure(ttl="0.1")
        box.send(b"x")
    for box in boxes:
        box.wait_for(expired=1)
    assert mnt.n_threads() == n_threads


# --- the mailbox goes ---

def test_rmdir_is_enotempty_while_one_is_on_lease(box):
    box.send(b"job")
    with lease(box, b"job") as work:
        with fails_with(errno.ENOTEMPTY):
            os.rmdir(box.path)
        work.write(b"done")
        os.rmdir(box.path)
        with fails_with(errno.EIDRM):
            work.read()
    box.make()


@pytest.mark.parametrize("word", [b"done", b"again", b"dead"])
def test_owners_end_is_eidrm_for_who_has_a_lease(mnt, word):
    box = mnt.box()
    claim = Handle(box.file("owner"), os.O_WRONLY)
    Call(box.send, b"job", b"next").result()
    work = lease(box, b"job")
    claim.close()
    wait_until(lambda: not os.path.exists(box.path), "it is gone")
    with fails_with(errno.EIDRM):
        work.write(word)
    with fails_with(errno.EIDRM):
        work.read()
    assert ready(work) & select.POLLHUP
    work.close()


def test_processes_have_it_too(mnt):
    box = mnt.direct(os.getpid())
    box.send(b"job")
    with lease(box, b"job") as work:
        work.write(b"again")
        assert work.read() == b"job"
        work.write(b"done")
    assert box.counts("messages", "leased") == (0, 0)


def test_rings_have_none(mnt):
    ring = os.path.join(os.path.dirname(mnt.mbox), "ring", "without-work")
    os.mkdir(ring)
    with fails_with(errno.ENOENT):
        os.stat(os.path.join(ring, "work"))
    os.rmdir(ring)


def test_rendezvous_ends_with_the_lease(box):
    box.configure(messages=0)
    sender = box.start_send(b"job")
    box.wait_for(senders_waiting=1)
    with work_on(box) as work:
        assert work.read() == b"job"
        sender.result()
        work.write(b"again")
        assert work.read() == b"job"
        work.write(b"done")


# --- many, and those that die ---

def test_ten_thousand_leases(mount):
    n = 10000
    mnt = mount()
    box = mnt.box()
    box.configure(messages="max")
    box.send(*(b"%d" % i for i in range(n)))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, n + 100), hard))
    fds = [os.open(box.file("work"), os.O_RDWR | os.O_NONBLOCK) for _ in range(n)]
    assert [os.read(fd, 100) for fd in fds] == [b"%d" % i for i in range(n)]
    assert box.counts("leased", "messages") == (n, 0)
    random.Random(1).shuffle(fds)
    for fd in fds:
        os.close(fd)
    box.wait_for(leased=0, messages=n)
    assert box.drain() == [b"%d" % i for i in range(n)]


LOOP = 'while exec 3<> work && job=$(cat <&3); do [ "$job" = stop ] && exit 0; echo "$job" >> "$LOG" && echo done >&3; exec 3>&-; done'


@pytest.mark.parametrize("shell", [*SHELLS.values(), ["zsh", "-f"]], ids=[*SHELLS, "zsh"])
def test_shell_loop_does_each_job(box, shell, tmp_path):
    log = tmp_path / "log"
    box.send(*(b"%d" % i for i in range(20)), b"stop")
    loop = Command([*shell, "-c", LOOP], cwd=box.path, env={**os.environ, "LOG": str(log)})
    assert loop.wait() == 0
    assert log.read_text().split() == [str(i) for i in range(20)]
    returned(box)


@pytest.mark.parametrize("shell", SHELLS)
def test_each_job_is_done_however_many_workers_are_killed(box, shell, tmp_path):
    n = 100
    chance = random.Random(3)
    log = tmp_path / "log"
    env = {**os.environ, "LOG": str(log)}
    box.send(*(b"%d" % i for i in range(n)))
    workers = [start_sh(shell, LOOP, cwd=box.path, env=env) for _ in range(4)]
    n_killed = 0
    while box.counts("messages", "leased") != (0, 0):
        victim = chance.randrange(len(workers))
        workers[victim].kill_family()
        workers[victim].wait()
        n_killed += 1
        workers[victim] = start_sh(shell, LOOP, cwd=box.path, env=env)
        time.sleep(chance.random() * 0.05)
    for worker in workers:
        worker.kill_family()
    # Twice only where it was killed between the work and the word.
    done = collections.Counter(log.read_text().split())
    assert set(done) == {str(i) for i in range(n)}
    assert sum(done.values()) <= n + n_killed
    assert box.counts("sent", "received", "expired", "dead") == (n, n, 0, 0)


def work_until_stopped(box, seed):
    chance = random.Random(seed)
    while True:
        with work_on(box, 0) as work:
            work.read(chance.randrange(1, 8))
            word = chance.choice([b"done", b"again", b"", b"dead"])
            if word:
                work.write(word)


def test_none_is_lost_or_doubled_whatever_workers_do(box, failed):
    """Words, closes and deaths at once: what was not done is here or with the dead."""
    n = 300
    chance = random.Random(5)
    box.configure(messages="max", attempts=4, dead=name_of(failed))
    failed.configure(messages="max")
    box.send(*(b"%d" % i for i in range(n)))
    workers = [Call(work_until_stopped, box, i) for i in range(6)]
    for i in range(60):
        victim = chance.randrange(len(workers))
        workers[victim].kill()
        workers[victim].wait()
        workers[victim] = Call(work_until_stopped, box, 100 + i)
    for worker in workers:
        worker.kill()
        worker.wait()
    box.wait_for(leased=0)
    received, dead, here = box.counts("received", "dead", "messages")
    there, = failed.counts("messages")
    # Those that are done were received, and so were those that went to the dead.
    assert received - dead + here + there == n
    left = box.drain() + failed.drain()
    assert len(left) == len(set(left)) == here + there

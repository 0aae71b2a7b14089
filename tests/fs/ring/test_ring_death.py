"""Who maps a ring may die, hold on, or scribble: the others go on, and the daemon in any case."""

import contextlib
import errno
import mmap
import multiprocessing
import os
import random
import signal
import time

import pytest

from harness import (SLOW, WHILE, Call, Handle, expect_asleep, fails_with, process_state, run, start, wait_until)
from modes import MAP_HEADER_BYTES, ROOTS, is_closed, new_ring, reserving
from polling import IN, OUT, poll_now, start_wait, wait_poll


@pytest.fixture
def mnt(mode, shared_mounts):
    return mode.shared(shared_mounts)


def expect_works(ring):
    """For the shell, for who maps it, and between the two."""
    peer = ring.library()
    peer.produce("mapped")
    assert ring.receive() == b"mapped"
    peer.close()
    peer = ring.library()
    ring.send(b"shell")
    assert peer.consume() == b"shell"
    peer.close()


# --- the one producer, the one consumer ---

ENDS = pytest.mark.parametrize("end", ["close", "kill"])


@ENDS
def test_sole_producer_keeps_its_role_until_it_ends(mnt, end, shell):
    ring = new_ring(mnt, producers="one")
    peer, other = ring.library(), ring.library()
    peer.produce("first")
    assert ring.counts("producer_pid", "consumer_pid") == (peer.pid, 0)
    for _ in range(2):
        with fails_with(errno.EBUSY):
            other.call("try_produce", "second")
        with fails_with(errno.EBUSY):
            ring.send(b"second")
    assert run("sh", "-c", "echo second > send", cwd=ring.path).returncode != 0
    with ring.client() as client, fails_with(errno.EBUSY):
        client.try_produce(b"second")
    getattr(peer, end)()
    ring.send(b"second")
    other.produce("third")
    assert ring.drain() == [b"first", b"second", b"third"]
    other.close()
    assert ring.counts("producer_pid") == (0,)


@ENDS
def test_sole_consumer_keeps_its_role_until_it_ends(mnt, end):
    ring = new_ring(mnt, consumers="one")
    ring.send(b"first", b"second", b"third")
    peer, other = ring.library(), ring.library()
    assert peer.consume() == b"first"
    assert ring.counts("producer_pid", "consumer_pid") == (0, peer.pid)
    with fails_with(errno.EBUSY):
        other.call("try_consume")
    for name in ("recv", "recv.lines"):
        with ring.open_recv(name=name) as recv, fails_with(errno.EBUSY):
            recv.read()
    with ring.client() as client, fails_with(errno.EBUSY):
        client.try_consume()
    getattr(peer, end)()
    assert ring.receive() == b"second"
    assert other.consume() == b"third"


def test_waiting_receiver_of_the_shell_does_not_hold_the_role(mnt):
    """It takes it for the moment of a message: a mapped consumer may come in between."""
    ring = new_ring(mnt, consumers="one", producers="one")
    reader = ring.start_receive()
    ring.wait_for(receivers_waiting=1)
    assert ring.counts("consumer_pid") == (0,)
    peer = ring.library()
    peer.produce("message")
    assert reader.result() == b"message"
    assert ring.counts("consumer_pid") == (0,)


def test_message_that_was_only_shown_is_not_taken_by_who_dies(mnt):
    ring = new_ring(mnt, consumers="one")
    ring.send(b"first", b"second")
    peer = ring.library()
    assert peer.call("peek") == b"first"
    peer.kill()
    assert ring.drain() == [b"first", b"second"]


# --- the dead hold nothing up ---

def test_claim_of_the_living_is_waited_for(mnt):
    ring = new_ring(mnt)
    with reserving(ring) as slow:
        ring.send(b"second")
        with ring.open_recv() as recv, fails_with(errno.EAGAIN):
            recv.read()
        reader = ring.start_receive()
        ring.wait_for(receivers_waiting=1)
        time.sleep(WHILE)
        assert reader.poll() is None
        assert slow.call("commit", "first") == 0
        assert reader.result() == b"first"
        assert ring.drain() == [b"second"]


def test_claim_of_the_stopped_is_waited_for(mnt):
    ring = new_ring(mnt)
    with reserving(ring) as slow:
        os.kill(slow.pid, signal.SIGSTOP)
        wait_until(lambda: process_state(slow.pid) == "T", "it stops")
        reader = ring.start_receive()
        ring.wait_for(receivers_waiting=1)
        time.sleep(WHILE)
        os.kill(slow.pid, signal.SIGCONT)
        assert slow.call("commit", "message") == 0
        assert reader.result() == b"message"


def test_reader_that_comes_later_skips_the_claim_of_the_dead(mnt, shell):
    ring = new_ring(mnt)
    with reserving(ring) as dead:
        dead.kill()
    ring.send(b"message")
    assert run("cat", ring.recv_path).stdout == "message"
    expect_works(ring)


def test_reader_that_waits_skips_the_claim_of_the_dead(mnt):
    ring = new_ring(mnt)
    with reserving(ring) as dead:
        reader = ring.start_receive()
        lines = start("head", "-n", "1", ring.file("recv.lines"))
        ring.wait_for(receivers_waiting=2)
        ring.library().produce("one")
        ring.library().produce("two")
        assert reader.poll() is None
        dead.kill()
    # Whoever was first.
    assert sorted([reader.result(), lines.output().strip().encode()]) == [b"one", b"two"]


def test_nonblocking_reader_skips_the_claim_of_the_dead(mnt):
    ring = new_ring(mnt)
    for _ in range(3):
        with reserving(ring) as dead:
            dead.kill()
    with ring.open_recv() as recv, fails_with(errno.EAGAIN):
        recv.read()
    ring.send(b"message")
    with reserving(ring) as dead:
        dead.kill()
    assert ring.receive() == b"message"


def test_poller_is_told_of_what_is_behind_the_claim_of_the_dead(mnt):
    ring = new_ring(mnt)
    with reserving(ring) as dead:
        ring.library().produce("message")
        with ring.open_recv() as recv:
            assert poll_now(recv) == 0
            watcher = start_wait(wait_poll, recv, IN)
            dead.kill()
            assert watcher.result() == IN
            assert recv.read() == b"message"


def test_poller_that_comes_later_is_told_too(mnt):
    ring = new_ring(mnt)
    with reserving(ring) as dead:
        ring.library().produce("message")
        dead.kill()
    with ring.open_recv() as recv:
        assert wait_poll(recv, IN) == IN
        assert recv.read() == b"message"


def test_sender_into_a_ring_that_the_dead_have_filled_gets_in(mnt):
    ring = new_ring(mnt, slots=2)
    for _ in range(2):
        with reserving(ring) as dead:
            dead.kill()
    with ring.open_send() as send:
        assert wait_poll(send, OUT) == OUT
    with_time = ring.start_send(b"message")
    assert with_time.result() == 7
    assert ring.take(1) == [b"message"]


def test_waiting_sender_gets_in_when_who_filled_the_ring_dies(mnt):
    ring = new_ring(mnt, slots=2)
    with reserving(ring) as one, reserving(ring) as other:
        sender = ring.start_send(b"message")
        ring.wait_for(senders_waiting=1)
        reader = ring.start_receive()
        one.kill()
        other.kill()
    assert sender.result() == 7
    assert reader.result() == b"message"


def test_sole_producer_that_dies_amid_a_message_has_published_none(mnt):
    ring = new_ring(mnt, producers="one", consumers="one")
    with reserving(ring) as dead:
        dead.kill()
    expect_works(ring)


def test_what_the_dead_had_published_arrives_once(mnt):
    ring = new_ring(mnt)
    peer = ring.library()
    for i in range(5):
        peer.produce(str(i))
    assert peer.call("reserve") == 0
    peer.kill()
    ring.send(b"5")
    assert ring.take(6) == [b"%d" % i for i in range(6)]


def test_ring_that_holds_nothing_but_claims_of_the_dead_can_be_removed_and_configured(mnt):
    ring = new_ring(mnt)
    with reserving(ring) as dead:
        # A living one is at work.
        with fails_with(errno.EBUSY):
            ring.configure(slots=4)
        dead.kill()
    ring.configure(slots=4)
    with reserving(ring) as dead:
        dead.kill()
    os.rmdir(ring.path)


def test_what_was_given_up_is_no_message(mnt):
    ring = new_ring(mnt)
    with reserving(ring) as peer:
        peer.close()
    with ring.open_recv() as recv:
        assert poll_now(recv) == 0
    with reserving(ring) as peer:
        peer.close()
    ring.configure(slots=4)
    with reserving(ring) as peer:
        peer.close()
    os.rmdir(ring.path)


def test_random_deaths_lose_nothing_that_was_published(mnt):
    """Producers are killed wherever they are; each message has come once, and of each the ones before it."""
    ring = new_ring(mnt, slots=8, slot_bytes=64)
    rng = random.Random(1)

    def receive():
        got = []
        with ring.open_recv(os.O_DIRECT) as recv:
            while got[-1:] != [b"end"]:
                got.append(recv.read())
        return got

    def produce(who):
        peer = ring.library()
        i = 0
        while True:
            peer.produce(f"{who} {i}")
            i += 1

    reader = Call(receive)
    for who in range(12):
        producer = Call(produce, who)
        time.sleep(rng.random() * 0.05)
        producer.kill()
        producer.wait()
    # Those whom they had started are dead too once their pipes are closed.
    ring.wait_for(messages=0)
    ring.send(b"end")
    by_producer = {}
    for message in reader.result()[:-1]:
        who, i = map(int, message.split())
        by_producer.setdefault(who, []).append(i)
    for numbers in by_producer.values():
        assert numbers == list(range(len(numbers)))


# --- the living who look dead, and the dead who can't be looked at ---

def claim_of(pid):
    """The word of the first slot of a new ring, claimed by a process that knows nothing of its start."""
    return (1 << 2 | 2) << 32 | pid


@contextlib.contextmanager
def in_execve(other, ring):
    """A process that has claimed a slot and hangs in execve: on its way a file of another mount is closed, which does not
    answer."""
    box = other.box()

    def claim_and_execute():
        with ring.client() as client:
            client.u64[4096 // 8] = 1
            client.u64[client.slot(0) // 8] = claim_of(os.getpid()) | (1 << 22)
        os.open(box.file("send.lines"), os.O_WRONLY | os.O_CLOEXEC)
        os.kill(other.pid, signal.SIGSTOP)
        os.execv("/bin/true", ["true"])

    claimer = Call(claim_and_execute)
    try:
        wait_until(lambda: vm_exe(claimer.pid) == 0, "it is in execve")
        yield claimer
    finally:
        os.kill(other.pid, signal.SIGCONT)
        claimer.kill()
        claimer.wait()


def vm_exe(pid):
    """How much code a process has, in KiB. /proc/PID/status does not wait."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        return next((int(line.split()[1]) for line in status if line.startswith("VmExe:")), None)


def test_claimer_that_hangs_in_execve_holds_up_no_other_ring(mode, mnt):
    """Who looks at /proc/PID/stat waits for it."""
    evil, rings = new_ring(mnt), [new_ring(mnt) for _ in range(3)]
    with in_execve(mode.mount(), evil):
        held_up = evil.start_receive()
        evil.wait_for(receivers_waiting=1)
        time.sleep(WHILE)
        for ring in rings:
            reader = ring.start_receive()
            ring.wait_for(receivers_waiting=1)
            ring.library().produce("mapped")
            assert reader.result() == b"mapped"
        # Nor who looks for himself.
        peer = evil.library()
        for _ in range(3):
            with fails_with(errno.EAGAIN):
                peer.call("try_consume")
            time.sleep(WHILE / 10)
    evil.library().produce("after")
    assert held_up.result() == b"after"
    assert evil.counts("messages") == (0,)


NEW_TIME = ("unshare", "--time", "--boottime", "1000", "--fork", "--kill-child")


@ROOTS
@pytest.mark.parametrize("where", ["inside", "outside"])
def test_living_producer_of_another_time_namespace_is_not_taken_for_dead(mnt, where):
    """Start times are others there."""
    ring = new_ring(mnt, producers="one")
    inside, outside = ring.library(*NEW_TIME), ring.library()
    one, other = (inside, outside) if where == "inside" else (outside, inside)
    one.produce("first")
    for _ in range(3):
        with fails_with(errno.EBUSY):
            other.call("try_produce", "stolen")
        with fails_with(errno.EBUSY):
            ring.send(b"stolen")
        time.sleep(WHILE / 10)
    one.produce("second")
    assert ring.drain() == [b"first", b"second"]


@ROOTS
@pytest.mark.parametrize("where", ["inside", "outside"])
def test_claim_of_the_living_of_another_time_namespace_is_waited_for(mnt, where):
    ring = new_ring(mnt)
    with reserving(ring, *(NEW_TIME if where == "inside" else ())) as slow:
        reader = ring.start_receive()
        ring.wait_for(receivers_waiting=1)
        peer = ring.library(*(() if where == "inside" else NEW_TIME)).tell("consume")
        time.sleep(WHILE)
        assert slow.call("commit", "message") == 0
        ring.send(b"message")
        assert reader.result() == b"message"
        assert peer.answer() == b"message"


# --- other pid namespaces ---

# Only from the first one are all processes seen; a daemon elsewhere takes no foreign claimer for dead.
FIRST_PIDS = pytest.mark.skipif(os.stat("/proc/self/ns/pid").st_ino != 0xeffffffc, reason="not in the first pid namespace")

NEW_PIDS = ("unshare", "--pid", "--fork", "--kill-child")


def inner_pid(peer):
    """The process that unshare has forked, by its pid here."""
    with open(f"/proc/{peer.process.pid}/task/{peer.process.pid}/children", encoding="utf-8") as children:
        return int(children.read().split()[0])


@ROOTS
def test_peer_in_another_pid_namespace_exchanges_with_all(mnt):
    ring = new_ring(mnt)
    peer = ring.library(*NEW_PIDS)
    assert peer.pid == 1
    peer.produce("from inside")
    assert ring.receive() == b"from inside"
    peer.tell("consume")
    expect_asleep(peer.process)
    ring.send(b"from outside")
    assert peer.answer() == b"from outside"


@FIRST_PIDS
@ROOTS
@pytest.mark.parametrize("who", ["waiting", "later", "nonblocking", "poll"])
def test_claim_of_a_dead_one_of_another_pid_namespace_is_skipped(mnt, who):
    """Its pid there, 1, is that of a living process here."""
    ring = new_ring(mnt)
    with reserving(ring, *NEW_PIDS) as dead:
        ring.send(b"message")
        with ring.open_recv() as recv, fails_with(errno.EAGAIN):
            recv.read()
        reader = ring.start_receive() if who == "waiting" else None
        os.kill(inner_pid(dead), signal.SIGKILL)
        dead.process.wait()
    if who == "waiting":
        assert reader.result() == b"message"
    elif who == "later":
        assert ring.start_receive().result() == b"message"
    elif who == "poll":
        with ring.open_recv() as recv:
            assert wait_poll(recv, IN) == IN
            assert recv.read() == b"message"
    else:
        wait_until(lambda: ring.drain() == [b"message"], "the claim is judged")


@ROOTS
def test_claim_of_a_living_one_of_another_pid_namespace_is_waited_for(mnt):
    ring = new_ring(mnt)
    with reserving(ring, *NEW_PIDS) as slow:
        reader = ring.start_receive()
        ring.wait_for(receivers_waiting=1)
        time.sleep(WHILE)
        assert slow.call("commit", "message") == 0
        assert reader.result() == b"message"


@FIRST_PIDS
@ROOTS
def test_role_of_a_dead_one_of_another_pid_namespace_is_free(mnt):
    ring = new_ring(mnt, producers="one")
    peer = ring.library(*NEW_PIDS)
    peer.produce("first")
    with fails_with(errno.EBUSY):
        ring.send(b"second")
    os.kill(inner_pid(peer), signal.SIGKILL)
    peer.process.wait()

    def sent():
        try:
            ring.send(b"second")
        except OSError as error:
            assert error.errno == errno.EBUSY
            return False
        return True

    wait_until(sent, "the role is free")
    assert ring.drain() == [b"first", b"second"]


# --- a map outlives its ring, and the daemon ---

def test_map_stays_mapped_after_rmdir(mnt):
    ring = new_ring(mnt)
    peer = ring.library()
    with ring.client() as client:
        os.rmdir(ring.path)
        assert is_closed(client)
        client.bytes[MAP_HEADER_BYTES:] = b"x" * (len(client.bytes) - MAP_HEADER_BYTES)
        for words in (("produce", "x"), ("try_produce", "x"), ("consume",), ("try_consume",), ("reserve",)):
            with fails_with(errno.EIDRM):
                peer.call(*words)
    expect_works(new_ring(mnt))


def test_ring_removed_while_a_slot_is_reserved(mnt):
    ring = new_ring(mnt)
    with reserving(ring) as slow:
        try:
            os.rmdir(ring.path)
        except OSError as error:
            # A message is about to be there.
            assert error.errno == errno.ENOTEMPTY
            assert slow.call("commit", "message") == 0
            assert ring.receive() == b"message"
            os.rmdir(ring.path)
        with fails_with(errno.EIDRM):
            slow.call("produce", "x")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_map_stays_mapped_after_the_end_of_the_daemon(mode, number):
    mnt = mode.mount()
    ring = new_ring(mnt)
    ring.send(b"before")
    producer, consumer = ring.library(), ring.library()
    with ring.client() as client:
        mnt.expected_status = 0 if number == signal.SIGTERM else -number
        mnt.process.send_signal(number)
        mnt.wait_end()
        if number == signal.SIGKILL:
            # Nobody could tell them; they go on among themselves.
            producer.produce("after")
            assert [consumer.consume(), consumer.consume()] == [b"before", b"after"]
            return
        wait_until(lambda: is_closed(client), "they are told")
        for peer, words in ((producer, ("produce", "after")), (consumer, ("consume",))):
            with fails_with(errno.EIDRM):
                peer.call(*words)


ENDS_OF_DAEMON = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV],
                                         ids=lambda n: n.name)


def end_daemon(mnt, number):
    mnt.expected_status = 0 if number == signal.SIGTERM else -number
    mnt.process.send_signal(number)
    mnt.wait_end()


@ENDS_OF_DAEMON
def test_sleepers_learn_of_the_end_of_the_daemon(mode, number):
    if number == signal.SIGSEGV and SLOW > 1:
        number = signal.SIGKILL
    mnt = mode.mount()
    # Some were removed or have got new memory; those that are left are told.
    rings = [new_ring(mnt) for _ in range(5)]
    rings[1].remove()
    rings[3].configure(slots=4)
    sleepers = [ring.library().tell("consume") for ring in (rings[0], rings[2], rings[3], rings[4])]
    full = new_ring(mnt, slots=2, consumers="one")
    full.send(b"1", b"2")
    producer = full.library().tell("produce", "3")
    idle = rings[0].library()
    for peer in [*sleepers, producer]:
        expect_asleep(peer.process)
    end_daemon(mnt, number)
    for peer in [*sleepers, producer]:
        with fails_with(errno.EIDRM):
            peer.answer()
    # Nobody is left to get that.
    with fails_with(errno.EIDRM):
        idle.call("produce", "x")


def test_what_is_in_a_ring_is_there_for_its_consumers_after_the_death_of_the_daemon(mode):
    mnt = mode.mount()
    ring = new_ring(mnt, slots=2)
    producer, consumer = ring.library(), ring.library()
    producer.produce("1")
    producer.produce("2")
    producer.tell("produce", "3")
    expect_asleep(producer.process)
    end_daemon(mnt, signal.SIGKILL)
    with fails_with(errno.EIDRM):
        producer.answer()
    assert [consumer.consume(), consumer.consume()] == [b"1", b"2"]
    with fails_with(errno.EIDRM):
        consumer.consume()


# --- hostile ---

N_ROUNDS_BESIDE_RUBBISH = 30


def scribble(path, enough, seed):
    """Random bytes all over, until it is enough; leaves rubbish."""
    rng = random.Random(seed)
    with open(path, "r+b", buffering=0) as file, mmap.mmap(file.fileno(), 0) as memory:
        rubbish = rng.randbytes(len(memory))
        while not enough.is_set():
            # All of it, the words that matter over and over, and now and then what looks right.
            start_at = rng.randrange(64)
            memory[:] = rubbish[start_at:] + rubbish[:start_at]
            for _ in range(200):
                at = rng.choice([0, 8, 12, 16, 20, 24, 32, 4096, 4104, 4224, 4232, 4352, 4480])
                memory[at:at + 8] = rng.choice([rng.randbytes(8), bytes(8), b"\xff" * 8, b"\0\0\0\x80" * 2])


def use(path, enough):
    """Whatever the shell could do there, whatever comes of it."""
    n = 0
    while n == 0 or not enough.is_set():
        for name, flags in (("send", os.O_WRONLY), ("recv", os.O_RDONLY), ("send.lines", os.O_WRONLY),
                            ("recv.lines", os.O_RDONLY), ("stat", os.O_RDONLY), ("bell", os.O_RDWR),
                            ("config", os.O_RDWR)):
            try:
                with Handle(os.path.join(path, name), flags | os.O_NONBLOCK) as handle:
                    poll_now(handle)
                    if flags != os.O_RDONLY:
                        handle.write(b"slots=512\n" if name == "config" else b"message\n")
                    if flags != os.O_WRONLY:
                        handle.read()
            except OSError as error:
                assert error.errno in (errno.EAGAIN, errno.EIO, errno.EBUSY, errno.EIDRM, errno.EMSGSIZE), error
            n += 1
    return n


def wait_in(path, name, enough):
    """Waits there again and again; whether it gets anything is its own affair."""
    flags = os.O_WRONLY if name.startswith("send") else os.O_RDONLY
    while not enough.is_set():
        try:
            with Handle(os.path.join(path, name), flags) as handle:
                handle.write(b"x") if flags == os.O_WRONLY else handle.read()
        except OSError as error:
            assert error.errno in (errno.EIO, errno.EBUSY, errno.EIDRM), error


@pytest.mark.parametrize("roles", ["many", "one"])
def test_scribbling_spoils_that_ring_alone(mnt, roles):
    ring = new_ring(mnt, slots=512, producers=roles, consumers=roles)
    neighbour = new_ring(mnt)
    box = mnt.box()
    enough = multiprocessing.Event()
    bad = [Call(scribble, ring.map_path, enough, seed) for seed in range(2)]
    users = [Call(use, ring.path, enough) for _ in range(2)]
    waiting = [Call(wait_in, ring.path, name, enough) for name in ("recv", "send", "recv.lines", "bell")]
    producer = neighbour.library()
    for n in range(N_ROUNDS_BESIDE_RUBBISH):
        reader = neighbour.start_receive()
        producer.produce(str(n))
        assert reader.result() == b"%d" % n
        box.send(b"mail")
        assert box.receive() == b"mail"
    assert all(call.poll() is None for call in bad)
    enough.set()
    for call in bad:
        assert call.result() is None
    for call in users:
        assert call.result() > 0
    # Those that wait in a ring that is rubbish can still be killed.
    for call in waiting:
        call.kill()
        call.wait()
    box.remove()
    expect_works(neighbour)
    # What can be received goes first; rubbish is no message, and does not keep the ring.
    ring.remove()


@pytest.mark.parametrize("roles", ["many", "one"])
def test_ring_that_was_scribbled_over_gets_new_memory_by_config(mnt, roles):
    ring = new_ring(mnt, slots=8, producers=roles, consumers=roles)
    for seed in range(10):
        with open(ring.map_path, "r+b", buffering=0) as file, mmap.mmap(file.fileno(), 0) as memory:
            memory[:] = random.Random(seed).randbytes(len(memory))
        assert ring.config()["slots"] == str(8 << seed)
        ring.configure(slots=16 << seed)
        expect_works(ring)


def test_rubbish_in_one_slot_is_an_error_for_who_receives_and_not_a_wait(mnt):
    ring = new_ring(mnt, slots=4)
    ring.send(b"message")
    with ring.client() as client:
        client.u64[client.slot(0) // 8] = (client.lap(0) << 2 | 1) << 32 | 0xFFFFFFFF
    with fails_with(errno.EIO):
        ring.receive()
    reader = ring.start_receive()
    with fails_with(errno.EIO):
        reader.result()


@pytest.mark.parametrize("foreign", [0, 1 << 31], ids=["own", "foreign"])
def test_idle_daemon_does_not_spin_over_rubbish(mode, foreign):
    """With somebody waiting in it, and a claim of one who lives, here or in another pid namespace."""
    mnt = mode.mount()
    ring = new_ring(mnt, slots=8)
    waiting = [Call(wait_in, ring.path, name, multiprocessing.Event()) for name in ("recv", "recv.lines", "bell")]
    ring.wait_for(receivers_waiting=2)
    with open(ring.map_path, "r+b", buffering=0) as file, mmap.mmap(file.fileno(), 0) as memory:
        for at in (4352, 4480):
            memory[at:at + 4] = b"\x03\0\0\0"
        memory[4096:4104] = b"\xff" * 8
        memory[MAP_HEADER_BYTES:MAP_HEADER_BYTES + 8] = b"\x01\0\0\0\x06\0\0\0"
        memory[MAP_HEADER_BYTES:MAP_HEADER_BYTES + 4] = (os.getpid() | foreign).to_bytes(4, "little")
        before = mnt.cpu_ticks()
        time.sleep(1)
        assert mnt.cpu_ticks() - before < 0.25 * os.sysconf("SC_CLK_TCK") * SLOW
    for call in waiting:
        call.kill()

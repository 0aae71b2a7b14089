"""consumers=each: every consumer, mapped or by recv, sees everything; producers wait for nobody."""

import errno
import os
import select

import pytest

from harness import SHELLS, Call, Handle, expect_asleep, fails_with, sh, start, start_sh, wait_until
from modes import new_ring

SLOTS = 8


@pytest.fixture
def mnt(mode, shared_mounts):
    return mode.shared(shared_mounts)


def ring_of(mnt, producers="many", slots=SLOTS):
    return new_ring(mnt, slots=slots, consumers="each", producers=producers)


def expect_nothing(peer, code=errno.EAGAIN):
    with fails_with(code):
        peer.call("try_consume")


def seq(first, last):
    return [str(i) for i in range(first, last + 1)]


def open_reader(ring, name="recv.lines", flags=os.O_NONBLOCK):
    return Handle(ring.file(name), os.O_RDONLY | flags)


def read_lines(reader):
    """All that is there."""
    data = b""
    try:
        while True:
            data += reader.read(4096)
    except BlockingIOError:
        return data.decode().split()


def ready(handle, events=select.POLLIN):
    poll = select.poll()
    poll.register(handle, events)
    return dict(poll.poll(0)).get(handle.fileno(), 0)


PRODUCERS = pytest.mark.parametrize("producers", ["one", "many"])


@pytest.mark.parametrize("shell", SHELLS)
def test_three_terminals_and_a_fourth(shell, mnt):
    ring = ring_of(mnt)
    cats = [start_sh(shell, "sed 3q recv.lines", cwd=ring.path) for _ in range(3)]
    ring.wait_for(receivers_waiting=3)
    sh(shell, "echo one > send; printf 'two\\nthree\\n' > send.lines", cwd=ring.path)
    for cat in cats:
        assert cat.output() == "one\ntwo\nthree\n"


@PRODUCERS
def test_mapped_and_read_all_see_everything(producers, mnt):
    ring = ring_of(mnt, producers)
    mapped = [ring.library() for _ in range(2)]
    with open_reader(ring) as lines:
        producer = ring.library()
        for i in seq(1, 3):
            producer.produce(i)
        producer.close()
        ring.send(b"4", b"5")
        assert read_lines(lines) == seq(1, 5)
        for peer in mapped:
            assert [peer.consume().decode() for _ in range(5)] == seq(1, 5)
            expect_nothing(peer)


def test_who_comes_later_begins_there(mnt):
    ring = ring_of(mnt)
    ring.send(b"before")
    peer = ring.library()
    with open_reader(ring) as lines:
        ring.send(b"after")
        assert read_lines(lines) == ["after"]
        assert peer.consume() == b"after"


@PRODUCERS
def test_producers_wait_for_nobody(producers, mnt):
    ring = ring_of(mnt, producers)
    peer = ring.library()
    with open_reader(ring):
        for i in range(5 * SLOTS):
            ring.send(b"%d" % i)
        with ring.open_send() as sender:
            assert ready(sender, select.POLLOUT)
    expect_nothing(peer, errno.EOVERFLOW)


def test_who_was_overtaken_goes_on_with_the_oldest(mnt):
    ring = ring_of(mnt)
    peer = ring.library()
    with open_reader(ring) as lines:
        sh("dash", "seq 20 > send.lines", cwd=ring.path)
        assert read_lines(lines) == seq(20 - SLOTS + 1, 20)
    assert ring.stat()["missed"] == 20 - SLOTS
    expect_nothing(peer, errno.EOVERFLOW)
    assert [peer.consume().decode() for _ in range(SLOTS)] == seq(20 - SLOTS + 1, 20)
    expect_nothing(peer)


def test_stat(mnt):
    ring = ring_of(mnt)
    with open_reader(ring) as lines:
        ring.send(*[b"x"] * 3)
        read_lines(lines)
        stat = ring.stat()
        assert (stat["messages"], stat["sent"], stat["received"], stat["missed"]) == (3, 3, 3, 0)
        ring.send(*[b"x"] * 20)
        assert ring.stat()["messages"] == SLOTS


def test_missed_is_of_such_rings_alone(mnt):
    assert "missed" not in new_ring(mnt).stat()


def test_recv_takes_the_next_and_ends(mnt):
    ring = ring_of(mnt)
    with open_reader(ring, "recv") as one, open_reader(ring, "recv") as two:
        ring.send(b"first", b"second")
        for reader in (one, two):
            assert reader.read() == b"first"
            assert reader.read() == b""


def test_packet_mode(mnt):
    ring = ring_of(mnt)
    with open_reader(ring, "recv", os.O_NONBLOCK | os.O_DIRECT) as one, \
            open_reader(ring, "recv", os.O_NONBLOCK | os.O_DIRECT) as two:
        ring.send(b"first", b"second")
        for reader in (one, two):
            assert [reader.read(), reader.read()] == [b"first", b"second"]
            with fails_with(errno.EAGAIN):
                reader.read()


def test_those_who_share_an_open_file_share_its_place(mnt):
    ring = ring_of(mnt)
    with open_reader(ring, "recv", os.O_DIRECT) as reader:
        sharers = [Call(reader.read) for _ in range(3)]
        expect_asleep(*sharers)
        ring.wait_for(receivers_waiting=3)
        ring.send(b"1", b"2", b"3")
        assert sorted(sharer.result() for sharer in sharers) == [b"1", b"2", b"3"]


def test_a_reader_that_is_killed_takes_nothing_from_others(mnt):
    ring = ring_of(mnt)
    killed = start("cat", ring.file("recv.lines"))
    other = start("cat", ring.file("recv.lines"))
    ring.wait_for(receivers_waiting=2)
    killed.kill()
    killed.wait()
    ring.send(b"hello")
    assert other.stdout.readline() == "hello\n"


def test_poll(mnt):
    ring = ring_of(mnt)
    peer = ring.library()
    with open_reader(ring) as one, open_reader(ring) as two:
        assert not ready(one)
        waiter = Call(lambda: select.select([two], [], [])[0] == [two])
        expect_asleep(waiter)
        peer.produce("hello")
        assert waiter.result()
        assert ready(one) & select.POLLIN
        assert read_lines(one) == ["hello"]
        assert not ready(one)
        assert ready(two) & select.POLLIN
        assert read_lines(two) == ["hello"]


def test_epoll_is_told_of_each_message(mnt):
    ring = ring_of(mnt)
    peer = ring.library()
    with open_reader(ring) as reader, select.epoll() as epoll:
        epoll.register(reader, select.EPOLLIN | select.EPOLLET)
        for i in range(20):
            peer.produce(f"{i}")
            assert epoll.poll(30)
            assert read_lines(reader) == [f"{i}"]


def test_a_waiting_mapped_consumer_is_woken_by_echo(mnt):
    ring = ring_of(mnt)
    peers = [ring.library() for _ in range(2)]
    for peer in peers:
        peer.tell("consume")
    expect_asleep(*peers)
    sh("dash", "echo hello > send", cwd=ring.path)
    for peer in peers:
        assert peer.answer() == b"hello"


def test_it_is_removed_whatever_it_holds(mnt):
    ring = ring_of(mnt)
    ring.send(b"x")
    with open_reader(ring) as reader, open_reader(ring, flags=0) as waiting:
        waiter = Call(waiting.read)
        expect_asleep(waiter)
        os.rmdir(ring.path)
        assert waiter.result() == b""
        assert reader.read() == b""


def test_config(mnt):
    ring = new_ring(mnt)
    peer = ring.library()
    ring.configure(consumers="each")
    assert ring.config()["consumers"] == "each"
    expect_nothing(peer, errno.EIDRM)
    ring.send(b"x")
    with open_reader(ring) as reader:
        # Nobody in particular waits for what it holds.
        ring.configure(slots=16)
        ring.send(b"y")
        assert read_lines(reader) == ["y"]
        ring.configure(consumers="many")
        ring.send(b"z")
        assert read_lines(reader) == ["z"]
    with fails_with(errno.EINVAL):
        ring.write_config("consumers=some\n")


@PRODUCERS
def test_a_producer_that_died_while_it_filled_a_place(producers, mnt):
    ring = ring_of(mnt, producers)
    peer = ring.library()
    with open_reader(ring) as lines:
        victim = ring.library()
        victim.produce("1")
        victim.call("reserve")
        victim.kill()
        ring.send(b"2", b"3")
        wait_until(lambda: ready(lines), "something to read")
        got = []
        wait_until(lambda: got.extend(read_lines(lines)) or got == ["1", "2", "3"], lambda: got)
    assert [peer.consume().decode() for _ in range(3)] == ["1", "2", "3"]


def test_a_dead_claim_a_lap_ago_is_in_nobodys_way(mnt):
    ring = ring_of(mnt)
    victim = ring.library()
    victim.call("reserve")
    victim.kill()
    with open_reader(ring) as lines:
        for i in range(3 * SLOTS):
            ring.send(b"%d" % i)
        got = read_lines(lines)
        assert got == seq(3 * SLOTS - len(got), 3 * SLOTS - 1)

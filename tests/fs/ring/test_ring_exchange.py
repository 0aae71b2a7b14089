"""One ring, two kinds of users: the shell's files and those who map it exchange messages, and wait for each other."""

import contextlib
import errno
import os
import select
import signal
import time

import pytest

from harness import (PATIENCE, SHELLS, WHILE, Call, Command, Handle, expect_asleep, fails_with, interruptible, run, sh,
                     start, start_sh, wait_until)
from modes import SLOT_BYTES, is_closed, new_ring
from polling import ERR, HUP, IN, OUT, WAITS, poll_now, start_wait, wait_poll

ROLES = pytest.mark.parametrize("roles", ["many", "one"])
FULL_BYTES = SLOT_BYTES - 8


@pytest.fixture
def mnt(mode, shared_mounts):
    return mode.shared(shared_mounts)


def ring_of(mnt, roles, **config):
    return new_ring(mnt, producers=roles, consumers=roles, **config)


# --- mapped producer, shell that receives ---

@ROLES
def test_cat_recv_prints_what_a_mapped_producer_has_published(mnt, roles, shell):
    ring = ring_of(mnt, roles)
    peer = ring.library()
    peer.produce("one")
    peer.produce("two words")
    assert sh(shell, "cat recv; echo; cat recv", cwd=ring.path) == "one\ntwo words"


@ROLES
def test_waiting_cat_gets_the_message_of_a_mapped_producer(mnt, roles, shell):
    ring = ring_of(mnt, roles)
    peer = ring.library()
    cat = start_sh(shell, "cat recv", cwd=ring.path)
    ring.wait_for(receivers_waiting=1)
    peer.produce("hello")
    assert cat.output() == "hello"


def test_cat_recv_lines_prints_line_after_line(mnt):
    ring = new_ring(mnt)
    peer = ring.library()
    cat = start("cat", ring.file("recv.lines"))
    for i in range(5):
        ring.wait_for(receivers_waiting=1)
        peer.produce(f"line {i}")
        assert cat.stdout.readline() == f"line {i}\n"


def test_while_read_loop_takes_what_is_mapped(mnt, shell):
    ring = new_ring(mnt)
    loop = start_sh(shell, "while IFS= read -r m; do printf '<%s>\\n' \"$m\"; done < recv.lines", cwd=ring.path)
    peer = ring.library()
    for i in range(20):
        peer.produce(f"  {i}\\n")
    assert [loop.stdout.readline() for _ in range(20)] == [f"<  {i}\\n>\n" for i in range(20)]
    ring.wait_for(messages=0)
    os.rmdir(ring.path)
    assert loop.wait() == 0


def test_messages_of_any_bytes_and_length(mnt):
    ring = new_ring(mnt, producers="one", slots=4)
    messages = [b"", b"\0", b"\n", bytes(range(256)), b"x" * FULL_BYTES]
    with ring.client() as client:
        for message in messages * 3:
            assert client.try_produce(message)
            assert ring.receive() == message


def test_small_buffers_get_a_message_in_parts(mnt):
    ring = new_ring(mnt)
    peer = ring.library()
    peer.produce("message")
    peer.produce("next")
    with ring.open_recv() as recv:
        assert [recv.read(4) for _ in range(5)] == [b"mess", b"age", b"", b"", b""]
    with ring.open_recv() as recv:
        assert [recv.read(4) for _ in range(2)] == [b"next", b""]
    with ring.open_recv() as recv, fails_with(errno.EAGAIN):
        recv.read(4)


def test_packet_mode_returns_whole_messages(mnt):
    ring = new_ring(mnt)
    peer = ring.library()
    for message in ("one", "two", "three"):
        peer.produce(message)
    with ring.open_recv(os.O_NONBLOCK | os.O_DIRECT) as recv:
        assert [recv.read(), recv.read()] == [b"one", b"two"]
        with fails_with(errno.EMSGSIZE):
            recv.read(4)
        assert recv.read(5) == b"three"
        with fails_with(errno.EAGAIN):
            recv.read()


@ROLES
def test_nonblocking_receiver_of_an_empty_ring_gets_eagain(mnt, roles):
    ring = ring_of(mnt, roles)
    for name in ("recv", "recv.lines"):
        with ring.open_recv(name=name) as recv, fails_with(errno.EAGAIN):
            recv.read()


# --- shell that sends, mapped consumer ---

@ROLES
def test_echo_reaches_a_mapped_consumer_that_sleeps(mnt, roles, shell):
    ring = ring_of(mnt, roles)
    peer = ring.library()
    for i in range(3):
        peer.tell("consume")
        expect_asleep(peer.process)
        sh(shell, f"echo {i} > send", cwd=ring.path)
        # Newline and all: one line of its answer is the message, the next is empty.
        assert peer.answer() == b"%d" % i
        assert peer._line() == b""


def test_send_lines_sends_line_by_line(mnt, shell):
    ring = new_ring(mnt)
    peer = ring.library()
    sh(shell, "printf 'one\\ntwo\\nthree' > send.lines", cwd=ring.path)
    assert [peer.consume() for _ in range(3)] == [b"one", b"two", b"three"]
    with fails_with(errno.EAGAIN):
        peer.call("try_consume")


def test_message_too_long_is_refused_and_nothing_is_sent(mnt, shell):
    ring = new_ring(mnt, slot_bytes=32)
    with ring.open_send() as send:
        for size in (25, 1000, 1 << 20, 3 << 20):
            with fails_with(errno.EMSGSIZE):
                send.write(b"x" * size)
        assert send.write(b"x" * 24) == 24
    assert run(*SHELLS[shell], "-c", f"echo {'y' * 24} > send", cwd=ring.path).returncode != 0
    with ring.open_send(name="send.lines") as send:
        assert send.write(b"a\n" + b"b" * 25 + b"\nc\n") == 2
        with fails_with(errno.EMSGSIZE):
            send.write(b"b" * 25 + b"\nc\n")
    assert ring.drain() == [b"x" * 24, b"a"]
    peer = ring.library()
    with fails_with(errno.EMSGSIZE):
        peer.call("produce", "z" * 25)


@ROLES
def test_waiting_consumer_on_an_empty_ring_wakes_at_once(mnt, roles):
    """No pause of 200 ms, after which sleepers look by themselves."""
    ring = ring_of(mnt, roles)
    peer, echo = ring.library(), ring.library()
    n = 20
    of_shell, of_peer = [], []
    with Handle(ring.recv_path, os.O_RDONLY | os.O_DIRECT) as recv, ring.open_send(0) as send:
        reader = Call(lambda: [recv.read() for _ in range(n)])
        ring.wait_for(receivers_waiting=1)
        for i in range(n):
            begin = time.monotonic()
            echo.produce(str(i))
            ring.wait_for(received=i + 1)
            of_shell.append(time.monotonic() - begin)
        assert reader.result() == [b"%d" % i for i in range(n)]
        if roles == "one":
            echo.close()
        for i in range(n):
            peer.tell("consume")
            expect_asleep(peer.process)
            begin = time.monotonic()
            send.write(b"%d" % i)
            assert peer.answer() == b"%d" % i
            of_peer.append(time.monotonic() - begin)
    # On a busy machine some take that long; with a pause most would.
    for times in (of_shell, of_peer):
        assert sorted(times)[n // 2] < 0.2 / 2, times


# --- full ---

@ROLES
def test_echo_waits_while_the_ring_is_full_until_a_mapped_consumer_frees(mnt, roles, shell):
    ring = ring_of(mnt, roles, slots=2)
    ring.fill()
    peer = ring.library()
    echo = start_sh(shell, "echo third > send", cwd=ring.path)
    ring.wait_for(senders_waiting=1)
    assert echo.poll() is None
    assert [peer.consume() for _ in range(2)] == [b"first", b"second"]
    assert peer.consume() == b"third"
    assert echo.wait() == 0
    ring.wait_for(senders_waiting=0)


@ROLES
def test_echo_waits_while_a_mapped_producer_has_filled_the_ring(mnt, roles):
    ring = ring_of(mnt, roles, slots=2)
    peer = ring.library()
    peer.produce("first")
    peer.produce("second")
    if roles == "one":
        # The only producer holds on to its role: nobody waits for that.
        with fails_with(errno.EBUSY):
            ring.send(b"third")
        peer.close()
    with fails_with(errno.EAGAIN):
        ring.send(b"third")
    echo = ring.start_send(b"third")
    ring.wait_for(senders_waiting=1)
    assert ring.take(3) == [b"first", b"second", b"third"]
    assert echo.result() == 5


@ROLES
def test_mapped_producer_that_sleeps_on_a_full_ring_wakes_when_cat_frees(mnt, roles):
    ring = ring_of(mnt, roles, slots=2)
    peer = ring.library()
    peer.produce("first")
    peer.produce("second")
    peer.tell("produce", "third")
    expect_asleep(peer.process)
    assert not peer.has_answer(WHILE)
    assert run("cat", ring.recv_path).stdout == "first"
    assert peer.answer() == 0
    assert ring.drain() == [b"second", b"third"]


def test_nonblocking_sender_of_a_full_ring_gets_eagain(mnt):
    ring = new_ring(mnt)
    ring.fill()
    for name in ("send", "send.lines"):
        with ring.open_send(name=name) as send, fails_with(errno.EAGAIN):
            send.write(b"x\n")
    # One that waits holds up neither it nor those who come to receive.
    waiting = ring.start_send(b"third")
    ring.wait_for(senders_waiting=1)
    with fails_with(errno.EAGAIN):
        ring.send(b"fourth")
    assert ring.take(3) == [b"first", b"second", b"third"]
    assert waiting.result() == 5


def test_send_lines_goes_on_as_there_is_room(mnt):
    ring = new_ring(mnt, slots=2)
    peer = ring.library()
    lines = "".join(f"{i}\n" for i in range(50))
    sender = start("sh", "-c", "cat > send.lines", cwd=ring.path, stdin=-1)
    sender.stdin.write(lines)
    sender.stdin.close()
    sender.stdin = None
    assert [peer.consume() for _ in range(50)] == [b"%d" % i for i in range(50)]
    assert sender.wait() == 0


def test_full_ring_lets_waiting_senders_in_in_their_order(mnt):
    ring = new_ring(mnt)
    ring.fill()
    senders = []
    for i in range(8):
        senders.append(ring.start_send(b"%d" % i))
        ring.wait_for(senders_waiting=i + 1)
    peer = ring.library()
    assert [peer.consume() for _ in range(10)] == [b"first", b"second", *(b"%d" % i for i in range(8))]
    assert [sender.result() for sender in senders] == [1] * 8


# --- one order ---

def test_shell_and_mapped_peers_are_in_one_order(mnt):
    ring = new_ring(mnt)
    mapped = ring.library()
    for i in range(0, 20, 2):
        ring.send(b"%d" % i)
        mapped.produce(str(i + 1))
    for i in range(0, 20, 2):
        assert mapped.consume() == b"%d" % i
        assert ring.receive() == b"%d" % (i + 1)
    assert ring.counts("messages", "sent", "received") == (0, 20, 20)


def test_everything_arrives_once_from_many_of_both_kinds(mnt):
    """Small, so that all wait for each other all the time."""
    ring = new_ring(mnt, slots=2, slot_bytes=64)
    n = 150

    def send(who):
        with ring.open_send(0) as handle:
            for i in range(n):
                handle.write(b"%d %d" % (who, i))

    def produce(who):
        peer = ring.library()
        for i in range(n):
            peer.produce(f"{who} {i}")

    def receive(count):
        with ring.open_recv(os.O_DIRECT) as handle:
            return [handle.read() for _ in range(count)]

    def consume(count):
        peer = ring.library()
        return [peer.consume() for _ in range(count)]

    givers = [Call(send, 0), Call(send, 1), Call(produce, 2), Call(produce, 3)]
    takers = [Call(receive, n), Call(receive, n), Call(consume, n), Call(consume, n)]
    taken = [[tuple(map(int, m.split())) for m in taker.result()] for taker in takers]
    for giver in givers:
        giver.result()
    assert sorted(sum(taken, [])) == [(who, i) for who in range(4) for i in range(n)]
    for one in taken:
        for who in range(4):
            mine = [i for w, i in one if w == who]
            assert mine == sorted(mine)


# --- signals ---

@pytest.mark.parametrize("name", ["recv", "recv.lines"])
def test_signal_ends_a_waiting_read_with_eintr(mnt, name):
    ring = new_ring(mnt)

    def read():
        signal.signal(signal.SIGUSR1, lambda *_: None)
        with ring.open_recv(0, name) as recv:
            return interruptible("read", recv.fd, b"\0" * 100, 100)

    reader = Call(read)
    ring.wait_for(receivers_waiting=1)
    reader.kill(signal.SIGUSR1)
    with fails_with(errno.EINTR):
        reader.result()
    ring.wait_for(receivers_waiting=0)
    ring.library().produce("still there")
    assert ring.receive() == b"still there"


def test_signal_ends_a_waiting_write_with_eintr(mnt):
    ring = new_ring(mnt)
    ring.fill()

    def write():
        signal.signal(signal.SIGUSR1, lambda *_: None)
        with ring.open_send(0) as send:
            return interruptible("write", send.fd, b"third", 5)

    writer = Call(write)
    ring.wait_for(senders_waiting=1)
    writer.kill(signal.SIGUSR1)
    with fails_with(errno.EINTR):
        writer.result()
    ring.wait_for(senders_waiting=0)
    assert ring.drain() == [b"first", b"second"]


def test_signal_ends_a_waiting_read_of_the_bell_with_eintr(mnt):
    ring = new_ring(mnt)

    def read():
        signal.signal(signal.SIGUSR1, lambda *_: None)
        with ring.open_bell(0, os.O_RDONLY) as bell:
            return interruptible("read", bell.fd, b"\0" * 100, 100)

    def ended():
        if reader.poll() is None:
            reader.kill(signal.SIGUSR1)
        return reader.status is not None

    reader = Call(read)
    wait_until(lambda: has_open(reader, ring.bell_path), "the bell is open")
    # The first may come before it waits.
    wait_until(ended, "it ends")
    with fails_with(errno.EINTR):
        reader.result()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
@pytest.mark.parametrize("maker", [[], ["busybox"]], ids=["coreutils", "busybox"])
def test_waiting_cat_dies_at_once_and_takes_nothing(mnt, maker, number):
    ring = new_ring(mnt)
    with open("/dev/null", "wb") as null:
        cat = Command([*maker, "cat", ring.recv_path], stdout=null)
    ring.wait_for(receivers_waiting=1)
    expect_asleep(cat)
    cat.send_signal(number)
    assert cat.wait() != 0
    ring.wait_for(receivers_waiting=0)
    ring.library().produce("message")
    assert ring.drain() == [b"message"]


def test_killed_among_those_who_wait_take_and_send_nothing(mnt):
    ring = new_ring(mnt)
    readers = []
    for i in range(6):
        readers.append(ring.start_receive())
        ring.wait_for(receivers_waiting=i + 1)
    for reader in readers[::2]:
        reader.kill()
        reader.wait()
    ring.wait_for(receivers_waiting=3)
    peer = ring.library()
    for i in range(3):
        peer.produce(str(i))
    assert [reader.result() for reader in readers[1::2]] == [b"0", b"1", b"2"]
    ring.fill()
    senders = []
    for i in range(6):
        senders.append(ring.start_send(b"%d" % i))
        ring.wait_for(senders_waiting=i + 1)
    for sender in senders[::2]:
        sender.kill()
        sender.wait()
    ring.wait_for(senders_waiting=3)
    peer = ring.library()
    assert [peer.consume() for _ in range(5)] == [b"first", b"second", b"1", b"3", b"5"]


# --- poll ---

@WAITS
@pytest.mark.parametrize("name", ["recv", "recv.lines"])
def test_watcher_of_recv_wakes_when_a_mapped_producer_publishes(mnt, wait, name):
    ring = new_ring(mnt)
    peer = ring.library()
    with ring.open_recv(name=name) as recv:
        assert poll_now(recv) == 0
        watcher = start_wait(wait, recv, IN)
        peer.produce("message")
        assert watcher.result() == IN
        assert poll_now(recv) == IN
        assert peer.consume() == b"message"
        assert poll_now(recv) == 0


@WAITS
@pytest.mark.parametrize("name", ["send", "send.lines"])
def test_watcher_of_send_wakes_when_a_mapped_consumer_frees(mnt, wait, name):
    ring = new_ring(mnt)
    with ring.open_send(name=name) as send:
        assert poll_now(send) == OUT
        ring.fill()
        assert poll_now(send) == 0
        watcher = start_wait(wait, send, OUT)
        peer = ring.library()
        assert peer.consume() == b"first"
        assert watcher.result() == OUT
        assert poll_now(send) == OUT
        peer.produce("fills it again")
        assert poll_now(send) == 0


@WAITS
def test_watcher_of_bell_wakes_when_the_ring_changes(mnt, wait):
    ring = new_ring(mnt)
    peer = ring.library()
    changes = [lambda: peer.produce("message"), peer.consume, ring.ring_bell, lambda: ring.send(b"shell"),
               ring.receive, lambda: ring.configure(slots=4)]
    with ring.open_bell() as bell:
        for change in changes:
            assert poll_now(bell) == OUT
            watcher = start_wait(wait, bell, IN)
            change()
            assert watcher.result() == IN
            assert poll_now(bell) == IN | OUT
            assert bell.read().endswith(b"\n")
            assert poll_now(bell, IN) == IN  # the end of the line
            assert bell.read() == b""


def test_one_epoll_over_all_files_of_two_rings(mnt):
    one, two = new_ring(mnt), new_ring(mnt)
    peer = two.library()
    with select.epoll() as epoll, one.open_recv() as first, two.open_recv() as second, two.open_bell() as bell:
        for handle in (first, second, bell):
            epoll.register(handle.fd, select.EPOLLIN)
        assert epoll.poll(0) == []
        peer.produce("message")
        def told():
            return {fd for fd, _ in epoll.poll(PATIENCE)}
        wait_until(lambda: told() == {second.fd, bell.fd}, "both are told")
        bell.read()
        assert second.read() == b"message"


# --- bell ---

def number(line):
    assert line.endswith(b"\n")
    return int(line)


def has_open(caller, path):
    fds = f"/proc/{caller.pid}/fd"
    return path in [os.path.realpath(os.path.join(fds, fd)) for fd in os.listdir(fds)]


def start_bell(ring):
    """A process that has opened the bell and waits for it."""
    def read():
        with ring.open_bell(0, os.O_RDONLY) as bell:
            return number(bell.read())
    reader = Call(read)
    wait_until(lambda: has_open(reader, ring.bell_path), "the bell is open")
    expect_asleep(reader)
    return reader


@pytest.mark.parametrize("who", ["produce", "consume", "send", "receive", "bell", "configure"])
def test_bell_waits_until_the_ring_changes(mnt, who):
    ring = new_ring(mnt)
    peer = ring.library()
    if who in ("consume", "receive"):
        ring.send(b"message")
        ring.wait_for(sent=1)
    changes = {"produce": lambda: peer.produce("message"), "consume": peer.consume, "send": lambda: ring.send(b"message"),
               "receive": ring.receive, "bell": ring.ring_bell, "configure": lambda: ring.configure(slots=2)}
    reader = start_bell(ring)
    assert reader.poll() is None
    changes[who]()
    assert reader.result() > 0


def test_cat_bell_prints_a_line_and_ends(mnt, shell):
    ring = new_ring(mnt)
    cat = start_sh(shell, "cat bell", cwd=ring.path)
    wait_until(lambda: sh(shell, "echo > bell", cwd=ring.path) == "" and cat.poll() is not None, "cat has heard it")
    assert number(cat.output().encode()) > 0


def test_bell_tells_each_reader_what_it_has_not_heard(mnt):
    ring = new_ring(mnt)
    with ring.open_bell() as one, ring.open_bell() as other:
        for bell in (one, other):
            with fails_with(errno.EAGAIN):
                bell.read()
        ring.send(b"message")
        first = number(one.read())
        assert one.read() == b""
        with fails_with(errno.EAGAIN):
            one.read()
        ring.receive()
        second = number(one.read())
        assert second > first
        # Several changes are told once.
        assert number(other.read()) == second
        assert other.read() == b""
        with fails_with(errno.EAGAIN):
            other.read()
    with ring.open_bell() as late, fails_with(errno.EAGAIN):
        late.read()


def test_bell_missed_between_two_reads_is_not_lost(mnt):
    ring = new_ring(mnt)
    peer = ring.library()
    with ring.open_bell(0) as bell:
        ring.ring_bell()
        assert bell.read() and bell.read() == b""
        peer.produce("between")
        assert Call(bell.read).result() != b""


@pytest.mark.parametrize("word, other", [("consume", None), ("produce", "third")])
def test_writing_to_bell_wakes_mapped_sleepers_to_look_again(mnt, word, other):
    """A client without futexes rings after it has changed the ring. One without a bell wakes nobody."""
    ring = new_ring(mnt, slots=2, producers="one", consumers="one")
    if word == "produce":
        ring.fill()
    peer = ring.library()
    peer.tell(word, *([other] if other else []))
    expect_asleep(peer.process)
    with ring.client() as client:
        if word == "consume":
            assert client.try_produce(b"message")
            assert peer.answer() == b"message"
        else:
            assert client.try_consume() == b"first"
            assert peer.answer() == 0


def test_sleeper_in_python_waits_with_the_bell_alone(mnt):
    ring = new_ring(mnt, consumers="one")

    def consume(n):
        messages = []
        with ring.client() as client, ring.open_bell(0) as bell:
            while len(messages) < n:
                message = client.try_consume()
                if message is not None:
                    messages.append(message)
                elif bell.read():
                    bell.read()
        return messages

    consumer = Call(consume, 30)
    peer = ring.library()
    for i in range(0, 30, 2):
        peer.produce(str(i))
        ring.send(b"%d" % (i + 1))
    assert consumer.result() == [b"%d" % i for i in range(30)]


def test_bell_can_be_rung_and_heard_by_those_who_may_search(mnt):
    ring = new_ring(mnt, 0o700)
    assert os.stat(ring.bell_path).st_mode & 0o777 == 0o600
    ring = new_ring(mnt, 0o755)
    assert os.stat(ring.bell_path).st_mode & 0o777 == 0o666


# --- the end ---

def test_removing_a_ring_with_messages_is_refused(mnt):
    ring = new_ring(mnt)
    ring.library().produce("message")
    with ring.client() as client:
        with fails_with(errno.ENOTEMPTY):
            os.rmdir(ring.path)
        assert not is_closed(client)
    assert ring.receive() == b"message"
    os.rmdir(ring.path)


def test_all_who_wait_on_an_empty_ring_learn_that_it_is_gone(mnt):
    ring = new_ring(mnt)
    receiver = ring.start_receive()
    packets = Call(lambda: Handle(ring.recv_path, os.O_RDONLY).read())
    lines = start("cat", ring.file("recv.lines"))
    cat = start("cat", ring.recv_path)
    ring.wait_for(receivers_waiting=4)
    bell = start_bell(ring)
    sleeper = ring.library().tell("consume")
    expect_asleep(sleeper.process)
    with ring.open_recv() as recv, ring.open_send() as send, ring.open_bell() as watched, ring.client() as client:
        pollers = [Call(wait_poll, handle, IN) for handle in (recv, watched)]
        expect_asleep(*pollers)
        os.rmdir(ring.path)
        for waiting in (receiver, packets, bell):
            with fails_with(errno.EIDRM):
                waiting.result()
        with fails_with(errno.EIDRM):
            sleeper.answer()
        assert lines.output() == ""
        assert cat.wait() == 1
        assert "Identifier removed" in cat.stderr.read()
        for poller in pollers:
            assert poller.result() & (ERR | HUP) == ERR | HUP
        assert poll_now(send) & (ERR | HUP) == ERR | HUP
        assert is_closed(client)
        for call, *args in [(recv.read,), (send.write, b"x"), (watched.read,), (watched.write, b"x")]:
            with fails_with(errno.EIDRM):
                call(*args)
    assert not os.path.exists(ring.path)


def test_mapped_producer_that_sleeps_on_a_full_ring_learns_that_it_is_gone(mnt):
    """Rings with messages don't go, but this one is emptied under the producer's eyes, which then fills no more."""
    ring = new_ring(mnt)
    ring.fill()
    peer = ring.library()
    peer.tell("produce", "third")
    expect_asleep(peer.process)
    os.kill(peer.pid, signal.SIGSTOP)
    assert ring.drain() == [b"first", b"second"]
    ring.wait_for(messages=0)
    os.rmdir(ring.path)
    os.kill(peer.pid, signal.SIGCONT)
    with fails_with(errno.EIDRM):
        peer.answer()


def test_files_found_before_the_ring_went_open_after_it_without_harm(mnt):
    ring = new_ring(mnt)
    found = [os.open(ring.file(name), os.O_PATH) for name in os.listdir(ring.path)]
    os.rmdir(ring.path)
    for fd in found:
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
            for _ in range(3):
                with contextlib.suppress(OSError):
                    os.close(os.open(f"/proc/self/fd/{fd}", flags))
        os.close(fd)
    other = new_ring(mnt)
    other.send(b"message")
    assert other.receive() == b"message"


def test_ring_of_the_same_name_is_another(mnt):
    ring = new_ring(mnt)
    old = ring.library()
    with ring.open_send() as send, ring.client() as client:
        os.rmdir(ring.path)
        ring.make()
        with fails_with(errno.EIDRM):
            old.call("produce", "old")
        with fails_with(errno.EIDRM):
            send.write(b"old")
        assert is_closed(client)
        new = ring.library()
        new.produce("new")
        assert ring.drain() == [b"new"]

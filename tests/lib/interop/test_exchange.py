"""Clients of different languages exchange messages through one ring, of any geometry, from just below every wrap,
while both sides wait."""

import fcntl
import os
import subprocess
import time

import pytest

from peers import (CLIENTS, EACH, MANY_MANY, ONE_CONSUMER, ONE_ONE, ONE_PRODUCER, SWAPPING, WRAPS, Ring,
                   after, complaint_of, consumers, expect_woken, finish, lines, message, messages, output, producers,
                   wait_until)

N = 1000
GEOMETRIES = {"many-many": MANY_MANY, "one-many": ONE_PRODUCER, "many-one": ONE_CONSUMER, "one-one": ONE_ONE}


def exchanges():
    for name, flags in GEOMETRIES.items():
        for n, pair in enumerate((p, c) for p in producers(flags) for c in consumers(flags)):
            # Half and half: one wrap for each.
            for wrap in WRAPS if flags in (MANY_MANY, ONE_ONE) else [n % len(WRAPS)]:
                yield pytest.param(*pair, flags, wrap, id=f"{'-'.join(pair)} {name} {wrap}")


@pytest.mark.parametrize("producer, consumer, flags, wrap", exchanges())
def test_messages_arrive(producer, consumer, flags, wrap):
    with Ring(flags=flags, wrap=wrap) as ring:
        taker = ring.consume(consumer, N)
        giver = ring.produce(producer, lines(messages(N)))
        finish(giver, taker)
        assert output(taker).split(b"\n")[:-1] == messages(N)


@pytest.mark.parametrize("wrap", WRAPS)
def test_crowd(wrap):
    """One of each language on both sides. Each message goes to one, in its producer's order."""
    with Ring(slots=4, flags=MANY_MANY, wrap=wrap) as ring:
        takers = [ring.consume(language) for language in SWAPPING]
        givers = [ring.produce(language, b"".join(b"%s %d\n" % (language.encode(), i) for i in range(N)))
                  for language in SWAPPING]
        finish(*givers)
        wait_until(lambda: sum(output(t).count(b"\n") for t in takers) >= N * len(SWAPPING), "all messages")
        ring.end()
        taken = []
        for taker in takers:
            assert complaint_of(taker) == "Identifier removed"
            numbers = [line.split() for line in output(taker).split(b"\n")[:-1]]
            for language in SWAPPING:
                mine = [int(n) for name, n in numbers if name == language.encode()]
                assert mine == sorted(mine)
            taken += numbers
        assert sorted((l.decode(), int(n)) for l, n in taken) == sorted((l, i) for l in SWAPPING for i in range(N))


def each_exchanges():
    for flags in EACH, EACH | ONE_PRODUCER:
        for n, producer in enumerate(producers(flags)):
            yield pytest.param(producer, flags, n % len(WRAPS), id=f"{producer} {flags} {n % len(WRAPS)}")


@pytest.mark.parametrize("producer, flags, wrap", each_exchanges())
def test_each_sees_everything(producer, flags, wrap):
    """A consumer of each language: all that is published once it has come."""
    with Ring(slots=4096, flags=flags, wrap=wrap) as ring:
        takers = [ring.consume(language) for language in CLIENTS]
        n_greetings = 0
        def all_are_there():
            nonlocal n_greetings
            n_greetings += 1
            finish(ring.produce(producer, lines([b"hello"])))
            time.sleep(0.01)
            return all(output(taker) for taker in takers)
        wait_until(all_are_there, "all consumers")
        finish(ring.produce(producer, lines(messages(N))))
        for taker in takers:
            wait_until(lambda t=taker: output(t).count(b"\n") >= N, "all messages")
            wait_until(lambda t=taker: output(t).endswith(lines(messages(N))), lambda t=taker: output(t)[-200:])
            assert set(output(taker).removesuffix(lines(messages(N))).split()) == {b"hello"}


@pytest.mark.parametrize("consumer", CLIENTS)
@pytest.mark.parametrize("flags", [EACH, EACH | ONE_PRODUCER])
def test_who_is_overtaken_sees_the_rest(consumer, flags):
    """Whole messages, in their order; and the last ones."""
    n = 4000
    def line(i):
        return b" ".join([b"%d" % i] * 3000) + b"\n"
    with Ring(slots=4, slot_bytes=16384, flags=flags) as ring:
        taker = ring.consume(consumer)
        wait_until(lambda: finish(ring.produce("c", b"0\n")) or output(taker), "the consumer")
        finish(ring.produce("c", b"".join(line(i) for i in range(1, n))))
        wait_until(lambda: output(taker).endswith(line(n - 1)), "the last message")
        seen = [set(line.split()) for line in output(taker).splitlines()]
        assert all(len(words) == 1 for words in seen), "half a message"
        numbers = [int(words.pop()) for words in seen]
        assert [i for i in numbers if i] == sorted({i for i in numbers if i})


PAIRS = [(p, c) for p in CLIENTS for c in CLIENTS]


@pytest.mark.parametrize("producer, consumer", PAIRS)
def test_consumer_waits_for_each(producer, consumer):
    """The next message is sent when the last one has arrived."""
    with Ring(slots=2) as ring:
        n = 40
        times = []
        taker = ring.start(consumer, "consume", n)
        giver = ring.start(producer, "produce", n, stdin=subprocess.PIPE, bufsize=0)
        for i in range(n):
            # It is asleep by then, whichever way it does it.
            time.sleep(0.005)
            start = time.monotonic()
            giver.stdin.write(b"%d\n" % i)
            assert taker.stdout.readline() == b"%d\n" % i
            times.append(time.monotonic() - start)
        expect_woken(times)
        finish(giver, taker)


@pytest.mark.parametrize("producer, consumer", PAIRS)
def test_producer_waits_for_each(producer, consumer):
    """The consumer gets rid of its messages only as the test reads them, a page at a time."""
    with Ring(slots=2, slot_bytes=4096) as ring:
        n = 40
        body = b"x" * 4080
        giver = ring.produce(producer, lines(b"%d %s" % (i, body[len(str(i)):]) for i in range(n)))
        read_end, write_end = os.pipe()
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
        taker = ring.start(consumer, "consume", n, stdout=write_end)
        os.close(write_end)
        wait_until(ring.is_full, "a full ring")
        time.sleep(0.01)
        times = []
        with os.fdopen(read_end, "rb", buffering=0) as pipe:
            got = b""
            while got.count(b"\n") < n:
                time.sleep(0.005)
                start = time.monotonic()
                piece = pipe.read(4096)
                times.append(time.monotonic() - start)
                assert piece
                got += piece
        assert [line.split(b" ")[0] for line in got.split(b"\n")[:-1]] == [b"%d" % i for i in range(n)]
        expect_woken(times)
        finish(giver, taker)


@pytest.mark.parametrize("language", CLIENTS)
def test_told_of_the_end(language):
    """Asleep or just coming, full or empty."""
    flags = MANY_MANY if language in SWAPPING else ONE_ONE
    with Ring(flags=flags) as ring:
        taker = ring.start(language, "consume")
        giver = ring.produce(language, lines(message(i) for i in range(100)))
        finish(giver)
        for i in range(100):
            assert taker.stdout.readline() == message(i) + b"\n"
        ring.end()
        assert complaint_of(taker) == "Identifier removed"
    with Ring(flags=flags) as ring:
        giver = ring.produce(language, lines(messages(100)))
        wait_until(lambda: ring.is_full(), "a full ring")
        ring.end()
        assert complaint_of(giver) == "Identifier removed"
        assert complaint_of(ring.start(language, "consume")) == "Identifier removed"
        assert complaint_of(ring.produce(language, b"late\n")) == "Identifier removed"


@pytest.mark.parametrize("language", CLIENTS)
def test_there_is_one(language):
    """A second producer or consumer is told so, and may take over when the first has closed."""
    with Ring() as ring:
        taker = ring.start(language, "consume", 2)
        giver = ring.start(language, "produce", stdin=subprocess.PIPE, bufsize=0)
        giver.stdin.write(b"first\n")
        assert taker.stdout.readline() == b"first\n"
        assert complaint_of(ring.produce(after(language), b"second\n")) == "Device or resource busy"
        assert complaint_of(ring.start(after(language), "consume")) == "Device or resource busy"
        finish(giver)
        finish(ring.produce(after(language), b"third\n"))
        assert taker.stdout.readline() == b"third\n"
        finish(taker)
        finish(ring.produce(language, b"fourth\n"))
        assert ring.start(after(language), "consume", 1).stdout.readline() == b"fourth\n"


@pytest.mark.parametrize("language", CLIENTS)
def test_bad_input(language):
    """Neither what is no ring nor a line that is too long changes anything."""
    with Ring(slots=2) as ring:
        before = bytes(ring.map[8192:])
        assert complaint_of(ring.produce(language, b"x" * 65 + b"\n")) == "Message too long"
        assert bytes(ring.map[8192:]) == before
        finish(ring.produce(language, b"x" * 64 + b"\n"))
        for at, byte in (0, 0), (8, 2), (12, 7), (16, 3), (20, 12), (24, 1):
            was, ring.map[at] = ring.map[at], byte
            assert complaint_of(ring.start(language, "consume")) == "Protocol error", at
            ring.map[at] = was
        assert ring.start(language, "consume", 1).stdout.readline() == b"x" * 64 + b"\n"

"""A client that is killed is in nobody's way, whatever language it and the others are written in."""

import contextlib
import itertools
import random
import subprocess
import threading
import time

import pytest

from peers import (CLIENTS, EACH, MANY_MANY, ONE_CONSUMER, ONE_PRODUCER, PATIENCE, SWAPPING, WRAPS, Ring, consumers, finish, kill,
                   lines, output, resume, stop, wait_until)

BODY = b" " + b"x" * ((1 << 20) - 64)


def numbers(tag, first=0):
    return (b"%s %d" % (tag, i) for i in itertools.count(first))


class Feeder(threading.Thread):
    """Writes large numbered lines into a producer until it is gone."""

    def __init__(self, child):
        super().__init__(daemon=True)
        self.child = child
        self.start()

    def run(self):
        with contextlib.suppress(BrokenPipeError):
            for line in numbers(b"before"):
                self.child.stdin.write(line + BODY + b"\n")


def kill_claiming(ring, child):
    """Kills it between a claim and its message: a large message takes much of its time."""
    end = time.monotonic() + PATIENCE
    while True:
        stop(child)
        if ring.is_claimed_by(child.pid):
            break
        assert time.monotonic() < end, "it never claims"
        resume(child)
        time.sleep(random.random() / 1000)
    kill(child)


def deaths():
    for victim in SWAPPING:
        for flags in MANY_MANY, ONE_CONSUMER:
            for consumer in consumers(flags):
                yield victim, consumer, flags


@pytest.mark.parametrize("reaped", [False, True], ids=["zombie", "gone"])
@pytest.mark.parametrize("victim, consumer, flags", deaths())
def test_claim_of_the_dead_is_skipped(victim, consumer, flags, reaped):
    """Its messages came all up to the claim, and then those of others."""
    with Ring(slots=4, slot_bytes=1 << 20, flags=flags) as ring:
        taker = ring.consume(consumer)
        giver = ring.start(victim, "produce", stdin=subprocess.PIPE, bufsize=0)
        feeder = Feeder(giver)
        kill_claiming(ring, giver)
        feeder.join()
        if reaped:
            giver.wait()
        finish(ring.produce(SWAPPING[0], lines(b"after %d" % i for i in range(10))))
        wait_until(lambda: output(taker).endswith(b"after 9\n"), "what came after")
        got = output(taker).split(b"\n")[:-1]
        n = len(got) - 10
        assert n >= 0 and all(line.endswith(BODY) for line in got[:n])
        assert [line.removesuffix(BODY) for line in got] == [
            *itertools.islice(numbers(b"before"), n), *(b"after %d" % i for i in range(10))]


@pytest.mark.parametrize("heir", SWAPPING)
def test_a_producer_comes_to_the_claim_of_the_dead_a_lap_later(heir):
    """Where each sees everything, and nobody does: no consumer has skipped it."""
    with Ring(slots=4, slot_bytes=1 << 20, flags=EACH) as ring:
        giver = ring.start("c", "produce", stdin=subprocess.PIPE, bufsize=0)
        feeder = Feeder(giver)
        kill_claiming(ring, giver)
        feeder.join()
        finish(ring.produce(heir, lines(b"after %d" % i for i in range(10))))
        assert not ring.is_claimed_by(giver.pid)


@pytest.mark.parametrize("victim, heir", zip(SWAPPING, SWAPPING[1:] + SWAPPING[:1]))
def test_claim_of_the_dead_is_in_nobodys_way_where_each_sees_everything(victim, heir):
    """Consumers of all languages pass it, and a producer that comes to the same place a lap later does. They may be
    overtaken, but see nothing in halves or twice."""
    with Ring(slots=4, slot_bytes=1 << 20, flags=EACH) as ring:
        takers = [ring.consume(language) for language in CLIENTS]
        giver = ring.start(victim, "produce", stdin=subprocess.PIPE, bufsize=0)
        feeder = Feeder(giver)
        for taker in takers:
            wait_until(lambda t=taker: output(t), "a message")
        kill_claiming(ring, giver)
        feeder.join()
        for i in range(10):
            finish(ring.produce(heir, b"after %d\n" % i))
        for taker in takers:
            wait_until(lambda t=taker: output(t).endswith(b"after 9\n"), "what came after")
            got = output(taker).split(b"\n")[:-1]
            n_before = sum(line.endswith(BODY) for line in got)
            assert all(line.startswith(b"before ") for line in got[:n_before])
            assert all(line.startswith(b"after ") for line in got[n_before:])
            for part in got[:n_before], got[n_before:]:
                numbers_seen = [int(line.split()[1]) for line in part]
                assert numbers_seen == sorted(set(numbers_seen))


@pytest.mark.parametrize("victim", CLIENTS)
@pytest.mark.parametrize("heir", CLIENTS)
def test_one_producer_is_succeeded(victim, heir):
    with Ring() as ring:
        taker = ring.consume("c")
        giver = ring.produce(victim, lines(itertools.islice(numbers(b"before"), 200000)))
        wait_until(lambda: output(taker).count(b"\n") > 100, "messages")
        kill(giver)
        finish(ring.produce(heir, lines(b"after %d" % i for i in range(100))))
        wait_until(lambda: output(taker).endswith(b"after 99\n"), "what came after")
        got = output(taker).split(b"\n")[:-1]
        n = len(got) - 100
        assert got == [*itertools.islice(numbers(b"before"), n), *(b"after %d" % i for i in range(100))]


@pytest.mark.parametrize("victim", CLIENTS)
@pytest.mark.parametrize("heir", CLIENTS)
def test_one_consumer_is_succeeded(victim, heir):
    """What the dead one had taken and not yet printed is gone: one message at most."""
    with Ring() as ring:
        ring.produce("c", lines(b"%d" % i for i in range(200000)))
        taker = ring.consume(victim)
        wait_until(lambda: output(taker).count(b"\n") > 100, "messages")
        kill(taker)
        last = int(output(taker).split(b"\n")[-2])
        second = ring.consume(heir, 1000)
        finish(second)
        got = [int(line) for line in output(second).split()]
        assert got[0] in (last + 1, last + 2)
        assert got == list(range(got[0], got[0] + 1000))


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("heir", CLIENTS)
def test_head_left_behind(heir, wrap):
    """As a producer leaves it that dies between its message, or its claim, and head."""
    for flags in {MANY_MANY, ONE_PRODUCER} if heir in SWAPPING else {ONE_PRODUCER}:
        with Ring(flags=flags, wrap=wrap) as ring:
            finish(ring.produce("c", b"0\n1\n2\n3\n"))
            ring.move_head(-2)
            finish(ring.produce(heir, b"4\n5\n6\n"))
            taker = ring.consume("c", 7)
            finish(taker)
            assert output(taker) == b"0\n1\n2\n3\n4\n5\n6\n"

"""The same clients in rings of a mount, with its bell to wait by, and with the shell's tools as one more of them.
Environment: also IPCFS, the program to mount."""

import itertools
import os
import subprocess
import time

import pytest

import harness
from peers import (CLIENTS, EACH, MANY_MANY, ONE_CONSUMER, ONE_ONE, ONE_PRODUCER, SWAPPING, Peers, after, complaint_of,
                   expect_woken, finish, lines, messages, output)

N = 1000
ALL = ["shell", *CLIENTS]
FLAGS = {"many-many": MANY_MANY, "one-one": ONE_ONE}
counter = itertools.count()


MODES = ["passthrough", "nopassthrough"]


@pytest.fixture(scope="module", params=MODES)
def mount(request):
    mounted = harness.Mount(*(["-o", "nopassthrough"] if request.param == "nopassthrough" else []))
    yield mounted
    mounted.stop()


class MountedRing(Peers):
    def __init__(self, mount, slots=8, slot_bytes=72, flags=ONE_ONE):
        self.directory = os.path.join(mount.path, "ring", f"ring{next(counter)}")
        super().__init__(os.path.join(self.directory, "map"))
        os.mkdir(self.directory)
        with open(os.path.join(self.directory, "config"), "w", encoding="ascii") as config:
            config.write(f"slots={slots}\nslot_bytes={slot_bytes}\n"
                         f"producers={'one' if flags & ONE_PRODUCER else 'many'}\n"
                         f"consumers={'each' if flags & EACH else 'one' if flags & ONE_CONSUMER else 'many'}\n")

    def __exit__(self, *exception):
        super().__exit__(*exception)
        if os.path.exists(self.directory):
            os.rmdir(self.directory)


def pairs(peers):
    """All with all; without passthrough, which is the same to clients but for the link, all with the shell."""
    for mode in MODES:
        for pair in itertools.product(peers, peers):
            if mode == "passthrough" or "shell" in pair:
                yield mode, *pair


def exchanges():
    for name, flags in FLAGS.items():
        for mode, *pair in pairs(["shell", *(CLIENTS if flags == ONE_ONE else SWAPPING)]):
            yield pytest.param(mode, *pair, flags, id=f"{'-'.join(pair)} {name} {mode}")


@pytest.mark.parametrize("mount, producer, consumer, flags", exchanges(), indirect=["mount"])
def test_messages_arrive(mount, producer, consumer, flags):
    with MountedRing(mount, flags=flags) as ring:
        taker = ring.consume(consumer, N)
        giver = ring.produce(producer, lines(messages(N)))
        finish(giver, taker)
        assert output(taker).split(b"\n")[:-1] == messages(N)


@pytest.mark.parametrize("producers", [EACH, EACH | ONE_PRODUCER], ids=["many", "one"])
def test_each_sees_everything(mount, producers):
    """One of each language and the shell: what is published by all of them, one after the other."""
    givers = ["shell", *(CLIENTS if producers & ONE_PRODUCER else SWAPPING)]
    with MountedRing(mount, slots=4096, flags=producers) as ring:
        takers = [ring.consume(peer) for peer in ALL]
        def all_are_there():
            finish(ring.produce("shell", b"hello\n"))
            time.sleep(0.01)
            return all(output(taker) for taker in takers)
        harness.wait_until(all_are_there, "all consumers")
        expected = b""
        for giver in givers:
            text = b"".join(b"%s %d\n" % (giver.encode(), i) for i in range(200))
            finish(ring.produce(giver, text))
            expected += text
        for taker in takers:
            harness.wait_until(lambda t=taker: output(t).endswith(expected), "all messages")
            assert set(output(taker).removesuffix(expected).split()) == {b"hello"}


@pytest.mark.parametrize("mount, producer, consumer", pairs(ALL), indirect=["mount"])
def test_consumer_waits_for_each(mount, producer, consumer):
    with MountedRing(mount, slots=2) as ring:
        n = 20
        times = []
        # sed prints when it has all.
        taker = ring.start(consumer, "consume", None if consumer == "shell" else n)
        giver = ring.start(producer, "produce", stdin=subprocess.PIPE, bufsize=0)
        for i in range(n):
            time.sleep(0.005)
            start = time.monotonic()
            giver.stdin.write(b"%d\n" % i)
            assert taker.stdout.readline() == b"%d\n" % i
            times.append(time.monotonic() - start)
        expect_woken(times)
        finish(giver, *([] if consumer == "shell" else [taker]))


@pytest.mark.parametrize("language", CLIENTS)
def test_told_of_the_removal(mount, language):
    with MountedRing(mount) as ring:
        taker = ring.start(language, "consume")
        finish(ring.produce("shell", b"first\n"))
        assert taker.stdout.readline() == b"first\n"
        os.rmdir(ring.directory)
        assert complaint_of(taker) == "Identifier removed"


@pytest.mark.parametrize("language", CLIENTS)
def test_shell_succeeds_the_dead(mount, language):
    """Who is killed in the role of the one producer or consumer holds up neither the shell nor the next."""
    with MountedRing(mount) as ring:
        taker = ring.consume(language)
        giver = ring.start(language, "produce", stdin=subprocess.PIPE, bufsize=0)
        giver.stdin.write(b"first\n")
        harness.wait_until(lambda: output(taker) == b"first\n", "the first")
        for child in giver, taker:
            child.kill()
            child.wait()
        finish(ring.produce("shell", b"second\nthird\n"))
        finish(ring.produce(after(language), b"fourth\n"))
        heir = ring.consume("shell", 3)
        finish(heir)
        assert output(heir) == b"second\nthird\nfourth\n"

"""Trouble that hosts are in, and the messages that are counted when it is over."""

import contextlib
import errno
import json
import os
import random
import threading
import time

import pytest

from bridge import Bridge, bridge_once
from harness import PATIENCE, wait_until
from store_room import Store

# How long the trouble of a test lasts, in seconds. The count at its end does not depend on it.
SECONDS = float(os.environ.get("IPCFS_NATS_TROUBLE", "8"))
# Of two of them, which are a minute together also where nobody says anything, but under sanitizers.
LONG_SECONDS = max(SECONDS, 30) if "IPCFS_THIN" not in os.environ else SECONDS


def make_trouble(dice_of, seconds, **kinds):
    """One kind after another happens, and is mended again: @kinds gives each a function that does both.

    Return: how often each was."""
    seed = os.environ.get("IPCFS_NATS_SEED") or str(random.randrange(1 << 32))
    print(f"IPCFS_NATS_SEED={seed}")
    dice = random.Random(seed + dice_of)
    begin = time.monotonic()
    happened = dict.fromkeys(kinds, 0)
    while time.monotonic() - begin < seconds:
        kind = dice.choice(list(kinds))
        print(f"{time.monotonic() - begin:7.2f} s: {kind} {kinds[kind](dice)}", flush=True)
        happened[kind] += 1
        time.sleep(dice.uniform(0.2, 2))
    return happened


def cable_of(hosts):
    def cut(dice):
        host = dice.choice(hosts)
        host.cut()
        time.sleep(dice.uniform(0.2, 3))
        host.mend()
        return host.number
    return cut


def server_of(brokers):
    def kill(dice):
        broker = dice.choice(brokers)
        broker.kill()
        time.sleep(dice.uniform(0.1, 1))
        broker.start()
        return broker.name
    return kill


def one_of(things, method):
    def happen(dice):
        i = dice.randrange(len(things))
        getattr(things[i], method)()
        return i
    return happen


class CarriedMount:
    """A mount, and its bridge, which is killed and started again."""

    def __init__(self, mount, url, lines, netns, options=()):
        self.mount = mount
        self._start = lambda: Bridge(self.mount.path, url, *lines, netns=netns, options=options)
        self.bridge = self._start()

    @property
    def box(self):
        return os.path.join(self.mount.mbox, "box")

    def kill_bridge(self):
        self.bridge.kill()
        self.bridge = self._start()

    def stop(self):
        if self.bridge.process.poll() is None:
            self.bridge.kill()


class StoredHost(CarriedMount):
    """A mount with a store, which outlives the daemon, and maybe a server beside it."""

    def __init__(self, directory, host, broker, *args, **kwargs):
        self.store = Store(str(directory))
        self.host, self.broker = host, broker
        mount = self.store.start()
        with open(mount.mailbox("box").make(0o700).file("config"), "w", encoding="utf-8") as config:
            config.write("durable=disk\n")
        super().__init__(mount, *args, netns=host.netns, **kwargs)

    def kill_daemon(self):
        """The bridge ends by itself then, so that a service manager starts it again."""
        self.store.kill()
        status, said = self.bridge.ends()
        # One that was only just started finds none.
        assert status == 1 and (said.endswith("the mount is gone\n") or "is no mount of ipcfs" in said), said
        self.mount = self.store.start()
        self.bridge = self._start()

    def restart(self):
        """All that runs here is killed at once, without the cable's having been pulled or with it."""
        processes = [self.bridge.process, *([self.broker.process] if self.broker else [])]
        for process in processes:
            process.kill()
        self.store.kill()
        for process in processes:
            process.wait(PATIENCE)
        if self.broker:
            self.broker.start()
        self.mount = self.store.start()
        self.bridge = self._start()


class Traffic(threading.Thread):
    """Uses the mailbox of a host, and goes on with it after the host has been restarted."""

    def __init__(self, host, file, flags):
        super().__init__(daemon=True)
        self.host, self.file, self.flags = host, file, flags
        self.is_stopping = threading.Event()
        self.failed = None

    def run(self):
        try:
            while not self.is_stopping.is_set():
                try:
                    fd = os.open(os.path.join(self.host.box, self.file), self.flags)
                    with contextlib.closing(os.fdopen(fd, "rb" if self.flags == os.O_RDONLY else "wb", buffering=0)) as file:
                        self.use(file.fileno())
                except OSError as error:
                    if error.errno not in (errno.ENOTCONN, errno.ENOENT, errno.ECONNABORTED, errno.ENODEV, errno.EIO,
                                           errno.ECANCELED):
                        raise
                    time.sleep(0.005)
        except Exception as error:
            self.failed = error
            raise


class Sender(Traffic):
    """Sends numbers until it is stopped; a full mailbox makes it wait."""

    def __init__(self, host, label):
        super().__init__(host, "send", os.O_WRONLY)
        self.label, self.n, self.sent = label, 0, set()

    def use(self, fd):
        while not self.is_stopping.is_set():
            number, self.n = self.n, self.n + 1
            os.write(fd, f"{self.label} {number}".encode())
            self.sent.add(number)
            time.sleep(0.002)


class Receiver(Traffic):
    """All that comes. What a daemon had given out and not noted when it was killed comes again, and is the same message."""

    def __init__(self, host):
        super().__init__(host, "recv.json", os.O_RDONLY)
        self.ids, self.got = set(), []

    def use(self, fd):
        while True:
            for line in os.read(fd, 1 << 20).splitlines():
                message = json.loads(line)
                if message["id"] not in self.ids:
                    self.ids.add(message["id"])
                    self.got.append(message["text"])


def wait_all(receiver, senders, hosts):
    """For as long as some come. Says what the bridges have said, if not all do."""
    expected = {f"{s.label} {number}" for s in senders for number in s.sent}

    def has_all():
        assert not receiver.failed, receiver.failed
        return len(receiver.got) >= len(expected) and expected <= set(receiver.got)
    n_before = -1
    while not has_all() and len(receiver.got) > n_before:
        n_before = len(receiver.got)
        with contextlib.suppress(pytest.fail.Exception):
            wait_until(has_all, "all have come", patience=2 * PATIENCE)
    if not has_all():
        said = "\n".join(host.bridge.log() for host in hosts)
        states = "\n".join(bridge_once("--status", host.mount.path)[1] for host in hosts)
        missing = sorted(expected - set(receiver.got))
        raise AssertionError(f"{len(missing)} of {len(expected)} have not come, {missing[:20]}\n{said}\n{states}")


def check(receiver, sender, n_repeats_max, is_in_order):
    """Each message that was sent has come, in its order if that is asked, and no more than so many twice."""
    mine = [int(text.split()[1]) for text in receiver.got if text.split()[0] == sender.label]
    first = list(dict.fromkeys(mine))
    assert not sender.failed, sender.failed
    assert sender.sent <= set(mine), f"{sender.label}: {len(sender.sent - set(mine))} are lost"
    assert set(mine) <= set(range(sender.n)), f"{sender.label}: {set(mine) - set(range(sender.n))}"
    assert len(mine) - len(first) <= n_repeats_max, f"{sender.label}: {len(mine) - len(first)} came again"
    wrong = [i for i in range(1, len(first)) if first[i] < first[i - 1]]
    assert not is_in_order or not wrong, f"{sender.label}: {len(wrong)} out of their order, the first of them {first[wrong[0] - 3:wrong[0] + 3]}"

"""A directory for a store, and one mount after another that uses it."""

import os
import re
import signal
import tempfile

import pytest

from harness import Mount, wait_until


def store_metrics(mount):
    with open(os.path.join(mount.path, ".ipcfs", "metrics"), encoding="utf-8") as file:
        return {name: float(value) for name, value in re.findall(r"^ipcfs_store_(\w+) (\S+)$", file.read(), re.MULTILINE)}


class Store:
    """A directory for a store, and one mount after another that uses it."""

    def __init__(self, path, *options):
        self.path = path
        self.options = options
        self.mount = None

    def start(self, *options, **kwargs):
        self.mount = Mount("-o", f"store={self.path}", *self.options, *options, **kwargs)
        return self.mount

    def stop(self):
        self.mount.stop()

    def kill(self):
        self.mount.expected_status = -signal.SIGKILL
        self.mount.process.kill()
        self.mount.process.wait()
        self.mount.stop()

    def wait_for_noted(self, n):
        """What was received is noted after its reader has it: if the daemon is killed before, it comes again."""
        wait_until(lambda: store_metrics(self.mount)["messages"] == n, f"the store has {n} messages, for what was received is out of it")

    def restart(self, killed=True):
        if killed:
            self.kill()
        else:
            self.stop()
        return self.start()


def send_numbers(file, number, unsure, sent):
    """Sends NUMBER.0, NUMBER.1… for ever, each entered in @unsure before, and in @sent when its send has returned."""
    fd = os.open(file, os.O_WRONLY)
    for i in range(1 << 30):
        data = b"%d.%d" % (number, i)
        unsure.add(data)
        os.write(fd, data)
        sent.append(data)


def send_lines_of_numbers(file, number, unsure, sent):
    """As send_numbers, ten in a write, to a send.lines."""
    fd = os.open(file, os.O_WRONLY)
    for i in range(0, 1 << 30, 10):
        lines = [b"%d.%d" % (number, k) for k in range(i, i + 10)]
        unsure.update(lines)
        os.write(fd, b"\n".join(lines) + b"\n")
        sent.extend(lines)


@pytest.fixture(name="store")
def fixture_store():
    with tempfile.TemporaryDirectory(prefix="ipcfs-store-") as top:
        store = Store(os.path.join(top, "store"))
        yield store
        if store.mount:
            store.mount.stop()

"""A directory for a store, and one mount after another that uses it."""

import os
import signal
import tempfile

import pytest

from harness import Mount


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

    def restart(self, killed=True):
        if killed:
            self.kill()
        else:
            self.stop()
        return self.start()


@pytest.fixture(name="store")
def fixture_store():
    with tempfile.TemporaryDirectory(prefix="ipcfs-store-") as top:
        store = Store(os.path.join(top, "store"))
        yield store
        if store.mount:
            store.mount.stop()

import faulthandler
import os
import signal
import sys
import threading

import pytest

import harness

# Of one test, cleaning included.
TEST_SECONDS_MAX = 40 * harness.SLOW


def pytest_configure(config):
    if not harness.IPCFS:
        pytest.exit("IPCFS must be the path of the program to test", 2)
    os.umask(0o022)
    # Whoever runs the tests may ignore it (nohup); what the tests start shall not.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # clang 14 calls it an overflow when a cancelled thread gives its signal stack back.
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":use_sigaltstack=0"
    # Meson ends a test that takes too long with this: then too nothing may stay behind.
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", 1))


class SharedMount:
    """One mount for all tests that need nothing special, and a new one after a test has broken it."""

    def __init__(self):
        self.mount = None

    def get(self):
        if not self.mount:
            self.mount = harness.Mount()
        return self.mount

    def check(self):
        """Fails, once, when something is wrong with it."""
        mount = self.mount
        if mount and (mount.problem() or mount.process.poll() is not None):
            self.mount = None
            mount.stop()

    def stop(self):
        if self.mount:
            self.mount.stop()


@pytest.fixture(scope="session")
def shared_mount():
    shared = SharedMount()
    yield shared
    shared.stop()


@pytest.fixture(autouse=True)
def clean_up(shared_mount):
    """After each test, whatever became of it."""
    def give_up():
        faulthandler.dump_traceback(sys.__stderr__)
        harness.kill_daemons()

    watchdog = threading.Timer(TEST_SECONDS_MAX, give_up)
    watchdog.daemon = True
    watchdog.start()
    yield
    try:
        harness.kill_all()
        harness.stop_mounts(kept=shared_mount.mount)
        shared_mount.check()
    finally:
        watchdog.cancel()


@pytest.fixture
def mount():
    """Makes mounts with the options that it is called with."""
    return harness.Mount


@pytest.fixture
def mnt(shared_mount):
    return shared_mount.get()


@pytest.fixture
def box(mnt):
    """A new mailbox, of root's, that everybody may send to."""
    box = mnt.box(0o755)
    yield box
    harness.kill_all()
    if mnt.process.poll() is None:
        box.remove()


@pytest.fixture(params=harness.SHELLS)
def shell(request):
    return request.param

"""What pytest is to do before, between and after tests that mount, and the mounts that they share.

Other directories of tests import what they use of it by name into their conftest.py."""

import collections
import faulthandler
import os
import signal
import sys
import tempfile
import threading

import pytest

import harness
import modes

# Of one test, cleaning included.
TEST_SECONDS_MAX = 120 * harness.SLOW


def pytest_configure(config):
    if not harness.IPCFS:
        pytest.exit("IPCFS must be the path of the program to test", 2)
    config.addinivalue_line("markers", "lasts(seconds): so much longer than another test may take")
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

    def get(self, *options, **kwargs):
        if not self.mount:
            self.mount = harness.Mount(*options, **kwargs)
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
def shared_mounts():
    """By name."""
    shared = collections.defaultdict(SharedMount)
    yield shared
    for mount in shared.values():
        mount.stop()


@pytest.fixture(autouse=True)
def clean_up(request, shared_mounts):
    """After each test, whatever became of it."""
    lasts = request.node.get_closest_marker("lasts")
    def give_up():
        faulthandler.dump_traceback(sys.__stderr__)
        harness.kill_daemons()

    watchdog = threading.Timer(TEST_SECONDS_MAX + (lasts.args[0] if lasts else 0), give_up)
    watchdog.daemon = True
    watchdog.start()
    yield
    try:
        harness.kill_all()
        harness.stop_mounts(kept=[shared.mount for shared in shared_mounts.values()])
        for shared in shared_mounts.values():
            shared.check()
    finally:
        watchdog.cancel()


@pytest.fixture
def mount():
    """Makes mounts with the options that it is called with."""
    return harness.Mount


@pytest.fixture
def mnt(shared_mounts):
    return shared_mounts["root"].get()


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


# --- modes.py ---

@pytest.fixture(scope="session")
def users_may_mount():
    modes.let_users_mount()


@pytest.fixture(scope="session")
def public_programs():
    with tempfile.TemporaryDirectory() as directory:
        modes.publish(directory)
        yield


@pytest.fixture(params=modes.ALL, ids=lambda mode: mode.name)
def mode(request, users_may_mount, public_programs):
    yield modes.Mounts(request.param)
    modes.clean_up()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """A mount of a user's is for that user alone: so who tests it becomes that user."""
    mode = pyfuncitem.funcargs.get("mode")
    if not isinstance(mode, modes.Mounts) or mode.uid is None:
        return None
    args = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    modes.run_as(mode.uid, pyfuncitem.obj, args)
    return True

"""The fixtures of tests/fs (mnt, box, ...), and ipcctl on the same mount."""

import os
import shutil
import tempfile

import pytest

import harness
from ctl import Ctl, remove_if_there
from fixtures import clean_up, mnt, mount, pytest_configure, shared_mounts, users_may_mount


@pytest.fixture
def box(mnt):
    """A new mailbox, of root's, that everybody may send to; the test may remove it."""
    box = mnt.box(0o755)
    yield box
    harness.kill_all()
    if mnt.process.poll() is None:
        remove_if_there(box)


@pytest.fixture(scope="session")
def ipcctl():
    """A copy of the program where all users can run it; it looks for its library in ../core."""
    directory = tempfile.mkdtemp(prefix="ipcfs-ctl-")
    try:
        os.chmod(directory, 0o755)
        os.makedirs(os.path.join(directory, "core"))
        os.makedirs(os.path.join(directory, "tools"))
        library = os.environ["LIBIPCRING"]
        soname = ".".join(os.path.basename(library).split(".")[:3])
        shutil.copy(library, os.path.join(directory, "core", soname))
        yield shutil.copy(os.environ["IPCCTL"], os.path.join(directory, "tools", "ipcctl"))
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def ctl(mnt, ipcctl):
    return Ctl(ipcctl, mnt.path)

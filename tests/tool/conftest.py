"""The fixtures of tests/mount (mnt, box, ...), and ipcctl on the same mount."""

import importlib.util
import os
import shutil
import sys
import tempfile

import pytest

import harness
from ctl import Ctl, remove_if_there


def _load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_mount = _load("mount_conftest", os.path.join(os.path.dirname(harness.__file__), "conftest.py"))

pytest_configure = _mount.pytest_configure
shared_mounts = _mount.shared_mounts
clean_up = _mount.clean_up
mount = _mount.mount
mnt = _mount.mnt


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

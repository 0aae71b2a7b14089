"""The fixtures of tests/mount (mnt, box, ...), for programs that use a mount by a client of their language."""

import importlib.util
import os
import sys

import pytest

import harness


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
box = _mount.box


@pytest.fixture(autouse=True)
def variable(mnt, monkeypatch):
    """Clients find the mount by it."""
    monkeypatch.setenv("IPCFS_MOUNT", mnt.path)
    monkeypatch.chdir("/")

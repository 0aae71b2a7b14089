"""The fixtures of tests/fs (mnt, box, ...), for programs that use a mount by a client of their language."""

import pytest

from fixtures import box, clean_up, mnt, mount, pytest_configure, shared_mounts


@pytest.fixture(autouse=True)
def variable(mnt, monkeypatch):
    """Clients find the mount by it."""
    monkeypatch.setenv("IPCFS_MOUNT", mnt.path)
    monkeypatch.chdir("/")

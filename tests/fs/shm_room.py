"""What tests of shm/ share: the room, what is done with files there, and the fixtures `shm` and `quota_shm`."""

import ctypes
import errno
import mmap
import os
import shutil
import stat

import pytest

from harness import Handle, libc, run
from modes import at_end

KIB, MIB = 1 << 10, 1 << 20
PAGE = mmap.PAGESIZE
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400


class Room:
    """shm/ of a mount."""

    def __init__(self, mnt):
        self.mnt = mnt
        self.path = os.path.join(mnt.path, "shm")

    def at(self, name):
        return os.path.join(self.path, name)

    def make(self, name="region", data=b"", mode=0o644):
        path = self.at(name)
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
        with open(fd, "wb") as file:
            file.write(data)
        return path

    def free(self):
        size = os.statvfs(self.path)
        return size.f_bfree * size.f_frsize

    def empty(self):
        for name in os.listdir(self.path):
            if stat.S_ISDIR(os.lstat(self.at(name)).st_mode):
                shutil.rmtree(self.at(name))
            else:
                os.unlink(self.at(name))


@pytest.fixture
def shm(mode, shared_mounts):
    room = Room(mode.shared(shared_mounts))
    at_end(room.empty)
    return room


@pytest.fixture
def quota_shm(mode):
    """Makes mounts that hold as much as it is told."""
    return lambda options: Room(mode.mount("-o", options))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, data, flags=os.O_TRUNC):
    with Handle(path, os.O_WRONLY | flags) as file:
        assert file.write(data) == len(data)


def mapped(path, length=0, access=mmap.ACCESS_WRITE):
    """Outlives its descriptor."""
    with open(path, "r+b" if access == mmap.ACCESS_WRITE else "rb", buffering=0) as file:
        return mmap.mmap(file.fileno(), length, access=access)


def link_open(fd, path):
    if libc.linkat(AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, os.fsencode(path), AT_SYMLINK_FOLLOW) < 0:
        raise OSError(ctypes.get_errno(), "linkat")


def rename2(old, new, flags):
    if libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags) < 0:
        raise OSError(ctypes.get_errno(), "renameat2")


LIMITS = pytest.mark.parametrize("options, code", [("max_bytes=8M,uid_bytes=1M", errno.EDQUOT),
                                                   ("max_bytes=1M,uid_bytes=8M", errno.ENOSPC)], ids=["uid", "max"])


def write_until_refused(path, chunk=64 * KIB):
    """How much went in, and the error then."""
    n = 0
    with Handle(path, os.O_WRONLY) as file:
        try:
            while n < 64 * MIB:
                n += file.write(b"x" * chunk)
        except OSError as error:
            return n, error.errno
    return n, 0


def short_times(path):
    """As ls and stat ask: for the mtime, but not for the atime."""
    return run("stat", "-c", "%.9Y", path).stdout, run("stat", "-c", "%a", path).stdout

"""What the daemon says of requests that failed because something is short."""

import errno
import os

import pytest

from harness import ALICE, Call, wait_until

LINES_MAX = 30


@pytest.fixture
def tiny(mount):
    """A mount with room for no ring."""
    return mount("-o", "max_bytes=16K,uid_bytes=16K")


def refuse(mnt, name, uid=0):
    with pytest.raises(OSError) as refused:
        Call(os.mkdir, os.path.join(mnt.path, "ring", name), uid=uid).result()
    assert refused.value.errno in (errno.EDQUOT, errno.ENOSPC)


def told(mnt):
    return [line for line in mnt.log().splitlines() if line.startswith("ipcfs: mkdir")]


def test_the_same_failure_is_told_once(tiny):
    for n in range(100):
        refuse(tiny, f"ring{n}")
    tiny.stop()
    assert [line.partition(", pid ")[0] for line in told(tiny)] == ['ipcfs: mkdir "ring0" for uid 0']


def test_a_name_takes_one_line(tiny):
    refuse(tiny, 'a "quoted"\nname')
    line = wait_until(lambda: told(tiny), "it is told")[0]
    assert line.startswith('ipcfs: mkdir "a \\x22quoted\\x22\\x0aname" for uid 0, pid ')
    assert line.endswith((": Disk quota exceeded", ": No space left on device"))


def test_a_long_name_is_cut(tiny):
    refuse(tiny, "\x01" * 255)
    line = wait_until(lambda: told(tiny), "it is told")[0]
    assert '\\x01... for uid 0' in line


def test_users_are_told_of_one_by_one(tiny):
    for uid in (ALICE, ALICE + 1, ALICE, ALICE + 1):
        refuse(tiny, "ring", uid)
    tiny.stop()
    assert [line.partition(", pid ")[0] for line in told(tiny)] == [
        f'ipcfs: mkdir "ring" for uid {uid}' for uid in (ALICE, ALICE + 1)]


def test_there_is_an_end_to_the_lines(tiny):
    for uid in range(ALICE, ALICE + LINES_MAX + 10):
        refuse(tiny, "ring", uid)
    tiny.stop()
    assert len(told(tiny)) == LINES_MAX - 1


def test_what_the_mount_promises_to_answer_is_not_told(mnt, box):
    before = mnt.log()
    for function, path in ((os.rmdir, box.path + "none"), (os.mkdir, box.path), (os.unlink, box.file("send"))):
        with pytest.raises(OSError):
            function(path)
    assert mnt.log() == before

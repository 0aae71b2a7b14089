"""Regions: their names, directories, links, and who may."""

import errno
import mmap
import os
import stat
import sys

import pytest

from harness import ALICE, BOB, Call, Handle, as_user, fails_with, run, sh, try_open, wait_until
from modes import ROOTS
from shm_room import MIB, PAGE, RENAME_EXCHANGE, RENAME_NOREPLACE, link_open, mapped, read, rename2, short_times, write
from shm_room import quota_shm, shm  # pylint: disable=unused-import

# --- names ---

def test_rename_and_replace_while_open(shm):
    one, two = shm.make("rename-one", b"one"), shm.make("rename-two", b"two")
    with Handle(one, os.O_RDWR) as first, Handle(two, os.O_RDWR) as second:
        os.rename(one, two)
        assert read(two) == b"one"
        assert not os.path.exists(one)
        assert os.fstat(second.fd).st_nlink == 0
        assert os.pread(second.fd, 10, 0) == b"two"
        os.pwrite(first.fd, b"new", 0)
        assert read(two) == b"new"
        os.pwrite(second.fd, b"old", 0)
        assert read(two) == b"new"


def test_rename_noreplace_exchange_and_onto_itself(shm):
    one, two = shm.make("swap-one", b"one"), shm.make("swap-two", b"two")
    with fails_with(errno.EEXIST):
        rename2(one, two, RENAME_NOREPLACE)
    with mapped(one) as memory:
        rename2(one, two, RENAME_EXCHANGE)
        assert (read(one), read(two)) == (b"two", b"one")
        memory[:3] = b"ONE"
        assert read(two) == b"ONE"
    with fails_with(errno.ENOENT):
        rename2(one, shm.at("swap-none"), RENAME_EXCHANGE)
    os.rename(one, one)
    rename2(one, shm.at("swap-three"), RENAME_NOREPLACE)
    assert read(shm.at("swap-three")) == b"two"


def test_unlinked_region_lives_while_it_is_open(shm):
    path = shm.make("unlinked", b"data")
    with Handle(path, os.O_RDWR) as file:
        os.unlink(path)
        with fails_with(errno.ENOENT):
            os.stat(path)
        assert os.fstat(file.fd).st_nlink == 0
        os.pwrite(file.fd, b"more data", 0)
        assert os.pread(file.fd, 100, 0) == b"more data"
        again = shm.make("unlinked", b"another")
        assert read(again) == b"another"
        assert os.pread(file.fd, 100, 0) == b"more data"
        os.ftruncate(file.fd, 4)
        assert os.fstat(file.fd).st_size == 4


@pytest.mark.parametrize("name", ["häß-лич-領域", "two words", "x" * 255, ".hidden", "-f", "new\nline", "\udcff"], ids=ascii)
def test_any_bytes_but_slash_and_nul_make_a_name(shm, name):
    path = shm.make(name, b"data")
    assert name in os.listdir(shm.path)
    assert read(path) == b"data"
    os.unlink(path)


def test_names_that_can_not_be(shm):
    with fails_with(errno.ENAMETOOLONG):
        shm.make("x" * 256)
    with fails_with(errno.ENOENT):
        read(shm.at("nothing"))
    with fails_with(errno.ENOENT):
        os.unlink(shm.at("nothing"))


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.mknod(path, stat.S_IFSOCK | 0o644)], ids=["mkfifo", "socket"])
def test_pipes_and_sockets_are_not_made_there(shm, make):
    with fails_with(errno.EPERM):
        make(shm.at("thing"))


def test_link_makes_another_name_of_the_same_region(shm):
    path, other = shm.make("one", b"data"), shm.at("another")
    os.link(path, other)
    assert os.path.samefile(path, other) and os.stat(path).st_nlink == 2
    os.rename(path, other)
    assert sorted(os.listdir(shm.path)) == ["another", "one"]
    with fails_with(errno.EEXIST):
        os.link(shm.make("third"), other)
    with fails_with(errno.ENAMETOOLONG):
        os.link(path, shm.at("x" * 256))
    with Handle(path, os.O_RDWR) as file:
        os.unlink(path)
        assert os.fstat(file.fd).st_nlink == 1
        os.rename(shm.at("third"), other)
        assert os.fstat(file.fd).st_nlink == 0
        with fails_with(errno.ENOENT):
            link_open(file.fd, path)
        assert file.read() == b"data"
    assert os.stat(other).st_nlink == 1


def test_what_is_linked_counts_until_its_last_name_goes(quota_shm):
    shm = quota_shm("max_bytes=2M,uid_bytes=1M")
    path = shm.make("one", b"x" * MIB)
    os.link(path, shm.at("another"))
    os.unlink(path)
    assert shm.free() == MIB
    os.unlink(shm.at("another"))
    wait_until(lambda: shm.free() == 2 * MIB, "all is free")


def test_only_regions_are_linked_and_only_there(shm):
    with fails_with(errno.EXDEV):
        os.link(os.path.join(shm.mnt.path, ".ipcfs", "version"), shm.at("version"))
    with fails_with(errno.EPERM):
        os.link(shm.make("stays"), os.path.join(shm.mnt.mbox, "link"))


@ROOTS
def test_named_semaphores_can_be_had(shm):
    """sem_open(3) makes them by link(2), in /dev/shm."""
    script = """
import _multiprocessing
semaphore = _multiprocessing.SemLock(1, 0, 1, "/semaphore", False)
same = _multiprocessing.SemLock._rebuild(semaphore.handle, 1, 1, "/semaphore")
semaphore.release()
assert same.acquire(False)
_multiprocessing.sem_unlink("/semaphore")
"""
    done = run("unshare", "-m", "sh", "-c", f'mount --bind "{shm.path}" /dev/shm && exec "$0" -c "$1"', sys.executable,
               script)
    assert done.returncode == 0, done.stderr


def test_a_region_does_not_leave(shm, mode):
    path = shm.make("stays")
    with fails_with(errno.EXDEV):
        os.rename(path, os.path.join(shm.mnt.mbox, "stays"))
    with fails_with(errno.EXDEV):
        os.rename(path, "/tmp/stays")
    assert os.path.exists(path)


def test_a_thousand_regions_are_listed_once_each(shm):
    names = [f"many{i}" for i in range(1000)]
    for name in names:
        os.close(os.open(shm.at(name), os.O_CREAT | os.O_WRONLY))
    assert sorted(n for n in os.listdir(shm.path) if n.startswith("many")) == sorted(names)
    for name in names:
        os.unlink(shm.at(name))


def test_one_of_many_that_create_exclusively_succeeds(shm):
    def create(round_):
        try:
            os.close(os.open(shm.at(f"race{round_}"), os.O_CREAT | os.O_EXCL | os.O_RDWR))
            return 1
        except FileExistsError:
            return 0

    def create_all():
        return [create(i) for i in range(50)]

    callers = [Call(create_all) for _ in range(8)]
    outcomes = [caller.result() for caller in callers]
    assert [sum(one[i] for one in outcomes) for i in range(50)] == [1] * 50


def test_all_of_many_that_create_the_same_name_get_the_same_region(shm):
    def create(who):
        for i in range(50):
            with Handle(shm.at(f"same{i}"), os.O_CREAT | os.O_RDWR) as file:
                os.pwrite(file.fd, b"%d" % who, who)

    callers = [Call(create, who) for who in range(8)]
    for caller in callers:
        caller.result()
    assert {read(shm.at(f"same{i}")) for i in range(50)} == {b"01234567"}


def test_creating_and_unlinking_race(shm):
    def churn():
        for _ in range(150):
            with Handle(shm.at("churn"), os.O_CREAT | os.O_RDWR) as file:
                file.write(b"data")
                try:
                    os.unlink(shm.at("churn"))
                except FileNotFoundError:
                    pass

    callers = [Call(churn) for _ in range(4)]
    for caller in callers:
        caller.result()
    assert not os.path.exists(shm.at("churn"))


# --- rights ---

@ROOTS
def test_permission_bits_count(shm):
    path = shm.make("rights", b"data", 0o640)
    os.chown(path, ALICE, ALICE)
    as_user(ALICE, try_open, path, os.O_RDWR)
    for flags in (os.O_RDONLY, os.O_WRONLY):
        with fails_with(errno.EACCES):
            as_user(BOB, try_open, path, flags)
    with fails_with(errno.EACCES):
        as_user(BOB, os.truncate, path, 0)
    with fails_with(errno.EPERM):
        as_user(BOB, os.chmod, path, 0o666)
    with fails_with(errno.EPERM):
        as_user(ALICE, os.chown, path, BOB, BOB)
    as_user(ALICE, os.chmod, path, 0o604)
    assert as_user(BOB, read, path) == b"data"
    with fails_with(errno.EACCES):
        as_user(BOB, try_open, path, os.O_WRONLY)


@ROOTS
def test_sticky_directory_keeps_others_regions(shm):
    path = shm.at("alices")
    as_user(ALICE, write, path, b"data", os.O_CREAT)
    assert os.stat(path).st_uid == ALICE
    os.chmod(path, 0o666)
    bobs = shm.at("bobs")
    as_user(BOB, write, bobs, b"data", os.O_CREAT)
    for call, *args in [(os.unlink, path), (os.rename, path, shm.at("taken")), (os.rename, bobs, path)]:
        with fails_with(errno.EPERM, errno.EACCES):
            as_user(BOB, call, *args)
    assert as_user(BOB, read, path) == b"data"
    as_user(ALICE, os.unlink, path)


def test_umask_counts(shm, shell):
    sh(shell, "umask 027; : > umask", cwd=shm.path)
    assert stat.S_IMODE(os.stat(shm.at("umask")).st_mode) == 0o640


def test_who_maps_read_only_may_not_write(shm):
    path = shm.make("readonly", b"x" * PAGE)
    with Handle(path, os.O_RDONLY) as file:
        with fails_with(errno.EACCES):
            mmap.mmap(file.fd, PAGE, access=mmap.ACCESS_WRITE)
        with mmap.mmap(file.fd, PAGE, access=mmap.ACCESS_READ) as memory, Handle(path, os.O_RDWR) as writer:
            os.pwrite(writer.fd, b"y", 0)
            assert memory[0] == ord("y")


@ROOTS
def test_writing_by_others_takes_setuid_away(shm):
    path = shm.make("setuid", b"data")
    os.chmod(path, 0o6777)
    assert short_times(path)[1] == "6777\n"
    as_user(ALICE, write, path, b"more", 0)
    assert short_times(path)[1] == "777\n"
    assert stat.S_IMODE(os.stat(path).st_mode) & 0o6000 == 0

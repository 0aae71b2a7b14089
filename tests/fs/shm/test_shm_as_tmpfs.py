"""shm/ does what /dev/shm does: each case runs in a directory of both, and is to find the same in both."""

import contextlib
import ctypes
import errno
import mmap
import os
import shutil
import stat
import tempfile
import time

import pytest

from harness import (ALICE, BOB, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, Handle, as_user, fallocate, libc, try_open,
                     wait_until)
from modes import ROOTS, at_end
from shm_room import AT_SYMLINK_FOLLOW, MIB, PAGE, RENAME_EXCHANGE, RENAME_NOREPLACE, link_open, mapped, read, rename2, write
from shm_room import shm  # pylint: disable=unused-import

AT_FDCWD = -100
TEAM = 2000
CLOCK_REALTIME_COARSE = 5


def outcome(function, *args, **kwargs):
    """What it returns; the name of its error."""
    try:
        return function(*args, **kwargs)
    except OSError as error:
        return errno.errorcode[error.errno]


class Place:
    """A directory in which a case runs."""

    def __init__(self, path):
        self.path = path
        self.found = []

    def at(self, *names):
        return os.path.join(self.path, *names)

    def make(self, name, data=b"", mode=0o644):
        with Handle(self.at(name), os.O_CREAT | os.O_EXCL | os.O_RDWR) as file:
            if data:
                file.write(data)
        os.chmod(self.at(name), mode)
        return self.at(name)

    def note(self, function, *args, **kwargs):
        """Does it; how it ends is to be the same in both places."""
        result = outcome(function, *args, **kwargs)
        self.found.append(result)
        return result

    def look(self, *names):
        """What it is, is to be the same in both places."""
        for name in names:
            self.found.append((name, outcome(self._facts, name)))

    def _facts(self, name):
        st = os.lstat(self.at(name))
        n_blocks = st.st_blocks if stat.S_ISREG(st.st_mode) else 0
        return stat.filemode(st.st_mode), st.st_uid, st.st_gid, st.st_nlink, st.st_size, n_blocks

    def list(self, name="."):
        with os.scandir(self.at(name)) as entries:
            kinds = {e.name: (e.is_dir(follow_symlinks=False), e.is_symlink(), e.inode() == os.lstat(e.path).st_ino)
                     for e in entries}
        self.found.append(sorted(kinds.items()))

    def times(self, names, function, *args, **kwargs):
        """Does it; which times of these move is to be the same in both places."""
        before = {name: self._times(name) for name in names}
        newest = max(max(times) for times in before.values())
        wait_until(lambda: time.clock_gettime_ns(CLOCK_REALTIME_COARSE) > newest, "the clock goes on")
        result = outcome(function, *args, **kwargs)
        self.found.append((result if isinstance(result, (str, int)) else None,
                           {name: tuple(a != b for a, b in zip(self._times(name), before[name])) for name in names}))

    def _times(self, name):
        try:
            st = os.lstat(self.at(name))
        except OSError:
            return 0, 0
        return st.st_mtime_ns, st.st_ctime_ns


def remove_tree(path):
    for directory, subdirs, _ in os.walk(path):
        for name in subdirs:
            if not os.path.islink(os.path.join(directory, name)):
                os.chmod(os.path.join(directory, name), 0o700)
    shutil.rmtree(path)


@pytest.fixture
def both(shm):
    """Runs a case in both places."""
    def run(case, mode=0o777):
        found = []
        for room in ("/dev/shm", shm.path):
            path = tempfile.mkdtemp(dir=room)
            at_end(lambda path=path: remove_tree(path))
            os.chmod(path, mode)
            place = Place(path)
            case(place)
            found.append(place.found)
        for i, pair in enumerate(zip(*found)):
            assert pair[0] == pair[1], f"what was noted as number {i} differs"
        assert len(found[0]) == len(found[1])
    return run


# --- names ---

def test_making_and_removing_directories(both):
    def case(place):
        for name in ("one", "one/two", "one/two/three", "one", "none/two", ".", "..", "x" * 255, "y" * 256):
            place.note(os.mkdir, place.at(name))
        place.look(".", "one", "one/two", "one/two/three")
        place.make("file")
        place.note(os.mkdir, place.at("file", "sub"))
        place.note(os.mkdir, place.at("file"))
        place.list()
        place.list("one")
        for name in ("one", "one/two", "one/two/three/.", "one/two/three/..", "file", "nothing", "one/two/three", "one/two",
                     "one", ".", "x" * 255, "x" * 256):
            place.note(os.rmdir, place.at(name))
        for name in (".", "..", "file", "nothing", "file/x"):
            place.note(os.unlink, place.at(name))
        place.look(".")
    both(case)


def test_modes_of_what_is_made(both):
    def case(place):
        old = os.umask(0o027)
        try:
            for mode in (0, 0o777, 0o1777, 0o7777, 0o6750):
                os.mkdir(place.at(f"d{mode:o}"), mode)
                os.mknod(place.at(f"n{mode:o}"), mode)
                os.close(os.open(place.at(f"f{mode:o}"), os.O_CREAT | os.O_WRONLY, mode))
                os.symlink("x", place.at(f"l{mode:o}"))
                place.look(*(f"{kind}{mode:o}" for kind in "dnfl"))
        finally:
            os.umask(old)
    both(case)


def test_symbolic_links(both):
    def case(place):
        long = "x/" * 2047 + "x"
        for name, target in (("up", ".."), ("self", "self"), ("file", "there"), ("long", long), ("too long", long + "yz"),
                             ("x" * 256, "y"), ("empty", ""), ("up", "again"), ("a", "b"), ("b", "a")):
            place.note(os.symlink, target, place.at(name))
        for name in ("up", "self", "file", "long", "nothing", "."):
            place.note(os.readlink, place.at(name))
        place.look("up", "self", "file", "long")
        for name in ("self", "a", "file", "self/x", "up"):
            place.note(lambda name=name: os.stat(place.at(name)) and None)
            place.note(lambda name=name: os.chmod(place.at(name), 0o700) if name != "up" else None)
        for flags in (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, os.O_RDONLY | os.O_NOFOLLOW, os.O_RDWR | os.O_TRUNC,
                      os.O_WRONLY | os.O_CREAT):
            place.note(try_open, place.at("file"), flags)
            place.look("file", "there")
        place.note(write, place.at("file"), b"through")
        place.note(read, place.at("there"))
        place.note(os.truncate, place.at("file"), 3)
        place.note(os.link, place.at("file"), place.at("hard"), follow_symlinks=False)
        place.look("file", "hard", "there")
        place.note(os.chown, place.at("file"), -1, -1, follow_symlinks=False)
        place.note(os.utime, place.at("file"), (5, 5), follow_symlinks=False)
        place.note(lambda: os.lstat(place.at("file")).st_mtime)
        place.note(libc.fchmodat, AT_FDCWD, os.fsencode(place.at("file")), 0o600, 0x100)
        place.note(os.rmdir, place.at("up"))
        place.note(os.unlink, place.at("file"))
        place.look("hard", "there")
        place.list()
    both(case)


def test_renaming(both):
    names = ("file", "other", "hard", "empty", "full", "full/sub", "link", "nothing", "full/sub/deep")

    def case(place):
        for source in names:
            for target in names + (".", "full/.", "new", "full/new", "file/new", "x" * 256):
                for flags in (0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_NOREPLACE | RENAME_EXCHANGE):
                    path = place.at("case")
                    os.makedirs(os.path.join(path, "full", "sub"))
                    os.mkdir(os.path.join(path, "empty"))
                    place.make("case/file", b"data")
                    place.make("case/other", b"other data")
                    os.link(os.path.join(path, "file"), os.path.join(path, "hard"))
                    os.symlink("file", os.path.join(path, "link"))
                    place.note(rename2, os.path.join(path, source), os.path.join(path, target), flags)
                    place.look("case", *(f"case/{name}" for name in (*names, "new", "full/new")))
                    shutil.rmtree(path)
    both(case)


def test_links(both):
    def case(place):
        place.make("file", b"data")
        os.mkdir(place.at("dir"))
        os.symlink("file", place.at("soft"))
        for source, target in (("file", "one"), ("file", "dir/two"), ("file", "one"), ("file", "file"), ("dir", "three"),
                               ("nothing", "four"), ("file", "x" * 256), ("file", "none/five"), ("file", "file/six"),
                               ("soft", "seven")):
            place.note(os.link, place.at(source), place.at(target), follow_symlinks=False)
        place.look("file", "one", "dir/two", "soft", "seven")
        place.note(os.link, place.at("soft"), place.at("eight"), follow_symlinks=True)
        place.look("file", "eight")
        place.note(os.unlink, place.at("file"))
        place.look("one", "dir/two")
        place.note(os.unlink, place.at("dir"))
    both(case)


def test_opening(both):
    def case(place):
        place.make("file", b"data")
        os.mkdir(place.at("dir"))
        for name in ("file", "dir", "dir/", "nothing", "file/", "file/x", "x" * 255, "x" * 256, "none/x", "new/", "."):
            for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_DIRECTORY, os.O_WRONLY | os.O_TRUNC,
                          os.O_RDONLY | os.O_TRUNC, os.O_PATH, os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_RDONLY | os.O_CREAT,
                          os.O_RDWR | os.O_CREAT | os.O_DIRECTORY, os.O_RDWR | os.O_APPEND):
                place.note(try_open, place.at(name), flags)
                place.look(name)
                if name not in ("file", "file/"):
                    with contextlib.suppress(OSError):
                        os.unlink(place.at(name))
        place.list()
    both(case)


def test_other_types_of_files_are_refused_or_made_alike_by_mknod(both):
    def case(place):
        place.note(os.mknod, place.at("plain"), 0o640)
        place.note(os.mknod, place.at("regular"), stat.S_IFREG | 0o604)
        place.note(os.mknod, place.at("regular"), stat.S_IFREG | 0o604)
        place.note(os.mknod, place.at("dir"), stat.S_IFDIR | 0o604)
        place.look("plain", "regular", "dir")
        place.note(write, place.at("regular"), b"data")
        place.note(read, place.at("regular"))
    both(case)


def test_a_removed_directory_takes_nothing(both):
    def case(place):
        os.mkdir(place.at("dir"))
        fd = os.open(place.at("dir"), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.rmdir(place.at("dir"))
            place.note(lambda: (os.fstat(fd).st_nlink, os.fstat(fd).st_size))
            place.note(os.mkdir, "sub", dir_fd=fd)
            place.note(os.open, "file", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
            place.note(os.symlink, "x", "link", dir_fd=fd)
            place.note(os.listdir, fd)
            place.note(lambda: os.stat("..", dir_fd=fd).st_ino == os.stat(place.path).st_ino)
        finally:
            os.close(fd)
    both(case)


# --- times ---

def test_which_times_move(both):
    def case(place):
        os.mkdir(place.at("dir"))
        os.mkdir(place.at("sub"))
        place.make("file", b"data")
        place.make("other", b"data")
        os.symlink("file", place.at("link"))
        # They were made in different ticks of the clock, or in one.
        for i, name in enumerate(("dir", "sub", "file", "other")):
            os.utime(place.at(name), (i, i))
        all_names = (".", "dir", "sub", "file", "other", "link")

        def moved(function, *args, **kwargs):
            place.times(all_names, function, *args, **kwargs)

        moved(lambda: place.make("dir/new") and None)
        moved(os.mkdir, place.at("dir/sub"))
        moved(os.symlink, "x", place.at("dir/link"))
        moved(os.mknod, place.at("dir/node"))
        moved(os.unlink, place.at("dir/node"))
        moved(os.rmdir, place.at("dir/sub"))
        moved(os.link, place.at("file"), place.at("dir/hard"))
        moved(os.rename, place.at("dir/hard"), place.at("hard"))
        moved(os.unlink, place.at("hard"))
        moved(os.rename, place.at("sub"), place.at("dir/sub"))
        moved(os.rename, place.at("dir/sub"), place.at("sub"))
        moved(rename2, place.at("file"), place.at("other"), RENAME_EXCHANGE)
        moved(rename2, place.at("file"), place.at("dir/new"), RENAME_EXCHANGE)
        moved(os.chmod, place.at("file"), 0o600)
        moved(os.chmod, place.at("dir"), 0o700)
        moved(os.chown, place.at("file"), os.getuid(), os.getgid())
        moved(os.chown, place.at("file"), -1, -1)
        moved(os.chown, place.at("link"), os.getuid(), os.getgid(), follow_symlinks=False)
        moved(os.utime, place.at("file"))
        moved(os.utime, place.at("file"), (1, 1))
        moved(os.utime, place.at("dir"), (1, 1))
        moved(write, place.at("file"), b"new data")
        moved(write, place.at("file"), b"more data", os.O_APPEND)
        moved(write, place.at("file"), b"", 0)
        moved(os.truncate, place.at("file"), 2)
        moved(os.truncate, place.at("file"), 100)
        moved(try_open, place.at("file"), os.O_WRONLY | os.O_TRUNC)
        moved(try_open, place.at("file"), os.O_WRONLY | os.O_TRUNC)
        moved(try_open, place.at("file"), os.O_RDWR | os.O_CREAT)
        moved(read, place.at("file"))
        moved(os.listdir, place.at("dir"))
        moved(os.setxattr, place.at("file"), "user.x", b"1")
        moved(os.removexattr, place.at("file"), "user.x")
        moved(os.removexattr, place.at("file"), "user.x")
        for name in ("file", "dir/new", "none/x", "dir", "file/x"):
            moved(os.mkdir, place.at(name))
            moved(os.symlink, "x", place.at(name))
            moved(os.link, place.at("other"), place.at(name))
        moved(os.rmdir, place.at("dir"))
        moved(os.unlink, place.at("dir"))
        with Handle(place.at("file"), os.O_RDWR) as file:
            moved(fallocate, file.fd, 0, 0, 2 * PAGE)
            moved(fallocate, file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE)
            moved(os.ftruncate, file.fd, PAGE)
            moved(os.ftruncate, file.fd, PAGE)
            moved(os.fchmod, file.fd, 0o644)
    both(case)


def test_a_mapped_write_moves_the_times(both):
    def case(place):
        path = place.make("file", bytes(2 * PAGE))
        os.utime(path, (1, 1))
        with mapped(path) as memory:
            def change(at):
                memory[at] = 1
                memory.flush()

            place.times(["file"], change, 5)
            os.utime(path, (1, 1))
            place.times(["file"], change, PAGE + 5)
        place.times(["file"], os.stat, path)
    both(case)


def test_utimes_rules(both):
    def case(place):
        path = place.make("file", b"data")
        for times in ((0, 0), (1 << 32, 1 << 33), (-1, -2)):
            place.note(os.utime, path, times)
            place.note(lambda: (os.stat(path).st_atime, os.stat(path).st_mtime))
        place.note(os.utime, path, ns=(123456789, 987654321))
        place.note(lambda: (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns))
        with Handle(path, os.O_RDONLY) as file:
            place.note(os.utime, file.fd, (7, 8))
        place.note(lambda: (os.stat(path).st_atime, os.stat(path).st_mtime))
    both(case)


# --- content ---

def test_truncating(both):
    def case(place):
        path = place.make("file", b"x" * 5000)
        os.mkdir(place.at("dir"))
        for size in (0, 1, 4096, 100000, -1, -(1 << 63)):
            place.note(os.truncate, path, size)
            place.look("file")
        place.note(os.truncate, place.at("dir"), 0)
        place.note(os.truncate, place.at("nothing"), 0)
        place.note(os.truncate, place.at("file/x"), 0)
        with Handle(path, os.O_RDONLY) as file:
            place.note(os.ftruncate, file.fd, 0)
        with Handle(path, os.O_WRONLY) as file:
            place.note(os.ftruncate, file.fd, 7)
        place.look("file")
    both(case)


def test_a_size_beyond_all_is_too_large(shm):
    path = shm.make("large")
    for size in (999999999999999, (1 << 62), (1 << 63) - 1):
        assert outcome(os.truncate, path, size) == "EFBIG"
    with Handle(path, os.O_WRONLY) as file:
        assert outcome(os.pwrite, file.fd, b"x", (1 << 63) - 2) == "EFBIG"
        assert outcome(os.posix_fallocate, file.fd, 1 << 62, 1) == "EFBIG"
    assert outcome(os.truncate, path, 1 << 40) in ("EDQUOT", "ENOSPC")
    assert os.stat(path).st_size == 0


def test_seeking_data_and_holes(both, mode):
    def case(place):
        path = place.make("file")
        with Handle(path, os.O_RDWR) as file:
            def seek_all():
                for whence in (os.SEEK_DATA, os.SEEK_HOLE):
                    for offset in (0, 1, PAGE, 3 * PAGE, 5 * PAGE, 8 * PAGE - 1, 8 * PAGE, 9 * PAGE, -1):
                        place.note(os.lseek, file.fd, offset, whence)

            seek_all()
            os.ftruncate(file.fd, 8 * PAGE)
            if mode.name == "passthrough":
                seek_all()
                os.pwrite(file.fd, b"x", 3 * PAGE)
                seek_all()
                os.pwrite(file.fd, b"x", 7 * PAGE)
                seek_all()
                fallocate(file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * PAGE, PAGE)
                seek_all()
            os.pwrite(file.fd, b"x" * 8 * PAGE, 0)
            seek_all()
    both(case)


def test_files_without_a_name(both):
    def case(place):
        fd = os.open(place.path, os.O_TMPFILE | os.O_RDWR, 0o640)
        place.note(os.listdir, place.path)
        place.note(os.write, fd, b"data")
        place.note(lambda: (os.fstat(fd).st_nlink, os.fstat(fd).st_size, stat.filemode(os.fstat(fd).st_mode)))
        os.ftruncate(fd, PAGE)
        with mmap.mmap(fd, PAGE) as memory:
            memory[:4] = b"DATA"
        place.note(link_open, fd, place.at("named"))
        place.note(link_open, fd, place.at("named"))
        place.note(link_open, fd, place.at("again"))
        place.look("named", "again")
        place.note(lambda: read(place.at("named"))[:6])
        os.close(fd)
        fd = os.open(place.path, os.O_TMPFILE | os.O_WRONLY | os.O_EXCL, 0o600)
        place.note(link_open, fd, place.at("excl"))
        os.close(fd)
        place.note(os.open, place.path, os.O_TMPFILE | os.O_RDONLY)
        place.note(os.open, place.at("named"), os.O_TMPFILE | os.O_RDWR)
        place.note(os.open, place.at("nothing"), os.O_TMPFILE | os.O_RDWR)
        place.list()
        with tempfile.TemporaryFile(dir=place.path) as file:
            place.note(file.write, b"x" * MIB)
    both(case)


def test_user_xattrs(both):
    def case(place):
        path = place.make("file", b"data")
        os.mkdir(place.at("dir"))
        os.symlink("file", place.at("link"))
        for target in (path, place.at("dir")):
            place.note(os.listxattr, target)
            for flags in (os.XATTR_REPLACE, os.XATTR_CREATE, os.XATTR_CREATE, os.XATTR_REPLACE, 0):
                place.note(os.setxattr, target, "user.one", b"value %d" % flags, flags)
                place.note(os.getxattr, target, "user.one")
            place.note(os.setxattr, target, "user.empty", b"")
            place.note(os.getxattr, target, "user.empty")
            place.note(os.setxattr, target, "user." + "n" * 250, b"x" * 65536)
            place.note(os.getxattr, target, "user." + "n" * 250)
            place.note(os.setxattr, target, "user." + "n" * 251, b"x")
            place.note(os.setxattr, target, "user.large", b"x" * 65537)
            place.note(lambda target=target: sorted(os.listxattr(target)))
            place.note(os.removexattr, target, "user.empty")
            place.note(os.removexattr, target, "user.empty")
            place.note(os.getxattr, target, "user.empty")
            place.note(os.setxattr, target, "user.", b"x")
            place.note(os.setxattr, target, "nothing.x", b"x")
            place.note(lambda target=target: sorted(os.listxattr(target)))
        place.note(os.setxattr, place.at("link"), "user.x", b"x", follow_symlinks=False)
        place.note(os.getxattr, place.at("link"), "user.x", follow_symlinks=False)
        with Handle(path, os.O_RDONLY) as file:
            place.note(os.setxattr, file.fd, "user.fd", b"x")
        os.rename(path, place.at("renamed"))
        place.note(os.getxattr, place.at("renamed"), "user.fd")
    both(case)


def test_copying_within(both):
    def case(place):
        one, two = place.make("one", b"0123456789" * 1000), place.make("two")
        with Handle(one, os.O_RDWR) as source, Handle(two, os.O_RDWR) as target:
            place.note(os.copy_file_range, source.fd, target.fd, 5000, 10, 20)
            place.note(os.copy_file_range, source.fd, target.fd, 5000, 10000, 0)
            place.note(os.copy_file_range, source.fd, source.fd, 10, 0, 5)
            place.note(os.copy_file_range, source.fd, source.fd, 10, 0, 100)
        place.note(read, one)
        place.note(read, two)
    both(case)


# --- rights ---

@ROOTS
def test_rights_of_others(both):
    def case(place):
        path = place.make("alices", b"data", 0o640)
        os.chown(path, ALICE, TEAM)
        os.mkdir(place.at("dir"), 0o755)
        os.chown(place.at("dir"), ALICE, TEAM)
        place.make("dir/file")
        os.symlink("alices", place.at("link"))
        for user, kwargs in ((ALICE, {}), (BOB, {}), (BOB, {"groups": (TEAM,)}), (ALICE, {"groups": (TEAM,)})):
            def note(function, *args, user=user, kwargs=kwargs):
                place.note(lambda: as_user(user, function, *args, **kwargs))

            for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
                note(try_open, path, flags)
            note(os.truncate, path, 4)
            note(os.utime, path)
            note(os.utime, path, (1, 1))
            for mode in (0o640, 0o2640, 0o4755, 0o2750, 0o1644, 0o640):
                note(os.chmod, path, mode)
                place.look("alices")
            for owner in ((-1, -1), (user, -1), (-1, TEAM), (-1, user), (BOB, BOB), (-1, TEAM)):
                note(os.chown, path, *owner)
                place.look("alices")
            note(os.setxattr, path, "user.x", b"x")
            note(os.getxattr, path, "user.x")
            note(os.mkdir, place.at("dir", "sub"))
            note(os.rmdir, place.at("dir", "sub"))
            note(os.rename, place.at("dir", "file"), place.at("dir", "file2"))
            note(os.rename, place.at("dir", "file2"), place.at("dir", "file"))
            note(os.unlink, place.at("dir", "nothing"))
            note(os.chown, place.at("link"), user, user)
            note(os.listdir, place.at("dir"))
    both(case)


@ROOTS
def test_sticky_directories(both):
    def case(place):
        os.mkdir(place.at("dir"))
        os.chmod(place.at("dir"), 0o1777)
        as_user(ALICE, os.mkdir, place.at("dir/alices"))
        as_user(BOB, os.mkdir, place.at("dir/bobs"))
        as_user(ALICE, try_open, place.at("dir/file"), os.O_CREAT | os.O_WRONLY)
        as_user(BOB, try_open, place.at("dir/bobs file"), os.O_CREAT | os.O_WRONLY)
        os.chmod(place.at("dir/file"), 0o666)
        for args in ((os.rmdir, place.at("dir/alices")), (os.unlink, place.at("dir/file")),
                     (os.rename, place.at("dir/file"), place.at("dir/taken")),
                     (os.rename, place.at("dir/bobs file"), place.at("dir/file")),
                     (os.rename, place.at("dir/bobs"), place.at("dir/alices")),
                     (rename2, place.at("dir/bobs"), place.at("dir/alices"), RENAME_EXCHANGE),
                     (os.link, place.at("dir/file"), place.at("dir/hard")),
                     (write, place.at("dir/file"), b"x"),
                     (try_open, place.at("dir/file"), os.O_CREAT | os.O_WRONLY),
                     (os.setxattr, place.at("dir"), "user.x", b"x"),
                     (os.chmod, place.at("dir"), 0o777),
                     (os.rename, place.at("dir/bobs"), place.at("dir/bobs2")),
                     (os.rmdir, place.at("dir/bobs2"))):
            place.note(lambda args=args: as_user(BOB, *args))
        place.list("dir")
        os.chown(place.at("dir"), BOB, BOB)
        place.note(lambda: as_user(BOB, os.unlink, place.at("dir/file")))
        place.note(lambda: as_user(BOB, os.rmdir, place.at("dir/alices")))
        place.list("dir")
    both(case)


@ROOTS
def test_setgid_directories(both):
    def case(place):
        os.mkdir(place.at("dir"))
        os.chown(place.at("dir"), 0, TEAM)
        os.chmod(place.at("dir"), 0o2777)
        for user, groups in ((0, ()), (ALICE, ()), (BOB, (TEAM,))):
            for mode in (0o644, 0o2755, 0o2745, 0o6777):
                name = f"dir/{user}-{mode:o}"

                def make(name=name, mode=mode):
                    os.umask(0)
                    os.mkdir(place.at(name + "d"), mode)
                    os.close(os.open(place.at(name + "f"), os.O_CREAT | os.O_WRONLY, mode))
                    os.mknod(place.at(name + "n"), mode)
                    os.symlink("x", place.at(name + "l"))
                    os.close(os.open(place.at("dir"), os.O_TMPFILE | os.O_WRONLY, mode))

                place.note(lambda user=user, groups=groups, make=make: as_user(user, make, groups=groups))
                place.look(*(name + kind for kind in "dfnl"))
        os.chmod(place.at("dir"), 0o777)
        as_user(ALICE, os.mkdir, place.at("dir/own"))
        place.look("dir/own")
    both(case)


@ROOTS
def test_setuid_and_setgid_go_with_a_change_by_others(both):
    def change(place, what):
        path = place.at("file")
        if what == "write":
            write(path, b"x", 0)
        elif what == "truncate":
            os.truncate(path, 1)
        elif what == "otrunc":
            try_open(path, os.O_WRONLY | os.O_TRUNC)
        elif what == "fallocate":
            with Handle(path, os.O_RDWR) as file:
                fallocate(file.fd, 0, 0, PAGE)

    def case(place):
        for what in ("write", "truncate", "otrunc", "fallocate"):
            for mode in (0o4777, 0o6777, 0o2777, 0o2767, 0o6766):
                for user in (0, ALICE, BOB):
                    path = place.make("file", b"data")
                    os.chown(path, ALICE, ALICE)
                    os.chmod(path, mode)
                    place.note(lambda user=user, what=what: as_user(user, change, place, what))
                    place.look("file")
                    os.unlink(path)
        for kind in ("file", "dir"):
            for mode in (0o6777, 0o2767, 0o6755):
                path = place.at(kind)
                place.make(kind) if kind == "file" else os.mkdir(path)
                os.chmod(path, mode)
                os.chown(path, BOB, -1)
                place.look(kind)
                os.chmod(path, mode)
                os.chown(path, -1, ALICE)
                place.look(kind)
                os.unlink(path) if kind == "file" else os.rmdir(path)
    both(case)

"""Regions: files of shared memory, as in /dev/shm, counted against the quotas."""

import errno
import fcntl
import mmap
import os
import resource
import stat
import struct
import time

import pytest

from harness import (ALICE, BOB, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, TOOLS, Call, Handle, Peer, as_user,
                     fails_with, fallocate, run, sh, try_open, wait_until)
from modes import ROOTS
from shm_room import (KIB, LIMITS, MIB, PAGE, Room, mapped, read, short_times, write,
                      write_until_refused)
from shm_room import quota_shm, shm  # pylint: disable=unused-import

# --- files ---

def test_room_is_for_all_and_sticky(shm):
    st = os.stat(shm.path)
    assert stat.S_IMODE(st.st_mode) == 0o1777


def test_a_new_region_is_an_empty_file(shm):
    path = shm.make("new", mode=0o640)
    st = os.stat(path)
    assert stat.S_ISREG(st.st_mode) and stat.S_IMODE(st.st_mode) == 0o640
    assert (st.st_size, st.st_blocks, st.st_nlink, st.st_uid) == (0, 0, 1, os.getuid())
    assert os.listdir(shm.path).count("new") == 1
    assert read(path) == b""


def test_shell_writes_appends_reads_and_truncates(shm, shell):
    out = sh(shell, "echo one > sh; echo two >> sh; cat sh; echo new > sh; cat sh; : > sh; cat sh; rm sh; test ! -e sh",
             cwd=shm.path)
    assert out == "one\ntwo\nnew\n"


def test_read_and_write_at_any_offset(shm):
    path = shm.make("offsets", b"0123456789")
    with Handle(path, os.O_RDWR) as file:
        assert os.pread(file.fd, 4, 3) == b"3456"
        assert os.pwrite(file.fd, b"xyz", 8) == 3
        assert os.pread(file.fd, 100, 0) == b"01234567xyz"
        assert os.pread(file.fd, 100, 11) == b""
        assert os.pread(file.fd, 100, 1 << 40) == b""
        assert os.pwrite(file.fd, b"far", 3 * PAGE) == 3
        assert os.pread(file.fd, PAGE, PAGE) == bytes(PAGE)
        assert os.fstat(file.fd).st_size == 3 * PAGE + 3
        assert os.lseek(file.fd, 0, os.SEEK_END) == 3 * PAGE + 3


def test_append_goes_to_the_end_whoever_else_appends(shm):
    path = shm.make("appended")
    n = 100

    def append(who):
        with Handle(path, os.O_WRONLY | os.O_APPEND) as file:
            for i in range(n):
                file.write(b"%d %04d\n" % (who, i))

    writers = [Call(append, who) for who in range(4)]
    for writer in writers:
        writer.result()
    lines = read(path).splitlines()
    assert sorted(lines) == [b"%d %04d" % (who, i) for who in range(4) for i in range(n)]


@pytest.mark.parametrize("size", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE + 7])
def test_truncate_cuts_and_what_grows_is_zero(shm, size):
    path = shm.make(f"cut{size}", b"x" * (2 * PAGE))
    os.truncate(path, size)
    assert os.stat(path).st_size == size
    assert read(path) == (b"x" * (2 * PAGE)).ljust(size, b"\0")[:size]
    os.truncate(path, 4 * PAGE)
    assert read(path) == (b"x" * min(size, 2 * PAGE)).ljust(4 * PAGE, b"\0")
    with Handle(path, os.O_RDWR) as file:
        os.ftruncate(file.fd, 5)
        assert os.fstat(file.fd).st_size == 5
    try_open(path, os.O_WRONLY | os.O_TRUNC)
    assert os.stat(path).st_size == 0


def test_truncate_to_what_is_no_size(shm):
    path = shm.make("sizes", b"data")
    with fails_with(errno.EINVAL):
        os.truncate(path, -1)
    with fails_with(errno.EDQUOT, errno.ENOSPC, errno.EFBIG):
        os.truncate(path, (1 << 63) - 1)
    with Handle(path, os.O_WRONLY) as file, fails_with(errno.EDQUOT, errno.ENOSPC, errno.EFBIG):
        os.pwrite(file.fd, b"x", (1 << 63) - 2)
    assert read(path) == b"data"


def test_fallocate_grows_and_punches(shm):
    path = shm.make("holes", b"x" * (4 * PAGE))
    with Handle(path, os.O_RDWR) as file:
        fallocate(file.fd, 0, 0, 6 * PAGE)
        assert os.fstat(file.fd).st_size == 6 * PAGE
        os.posix_fallocate(file.fd, 0, PAGE)
        assert os.fstat(file.fd).st_size == 6 * PAGE
        blocks = os.fstat(file.fd).st_blocks
        fallocate(file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, 2 * PAGE)
        assert os.fstat(file.fd).st_blocks == blocks - 2 * PAGE // 512
        fallocate(file.fd, FALLOC_FL_KEEP_SIZE, 0, 3 * PAGE)
        assert os.fstat(file.fd).st_blocks == blocks
        fallocate(file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, 2 * PAGE)
        with fails_with(errno.EOPNOTSUPP):
            fallocate(file.fd, FALLOC_FL_KEEP_SIZE, 0, 100 * PAGE)
        with fails_with(errno.EOPNOTSUPP):
            fallocate(file.fd, FALLOC_FL_PUNCH_HOLE, 0, PAGE)
    assert read(path) == b"x" * PAGE + bytes(2 * PAGE) + b"x" * PAGE + bytes(2 * PAGE)
    done = run("fallocate", "-p", "-o", "0", "-l", str(PAGE), path)
    assert done.returncode == 0, done.stderr
    assert read(path)[:PAGE] == bytes(PAGE)


def test_punching_is_seen_by_who_maps(shm):
    path = shm.make("punched", b"x" * (2 * PAGE))
    with mapped(path) as memory, Handle(path, os.O_RDWR) as file:
        assert memory[0] == ord("x")
        fallocate(file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE)
        assert memory[0] == 0 and memory[PAGE] == ord("x")


def test_blocks_are_what_is_there(shm):
    path = shm.make("sparse")
    os.truncate(path, 64 * PAGE)
    assert os.stat(path).st_blocks == 0
    with Handle(path, os.O_WRONLY) as file:
        os.pwrite(file.fd, b"x" * PAGE, 10 * PAGE)
    wait_until(lambda: os.stat(path).st_blocks == PAGE // 512, "one page is there")


def test_times_change_with_what_is_done(shm):
    path = shm.make("times", b"data")
    os.utime(path, (1, 1))
    assert (os.stat(path).st_atime, os.stat(path).st_mtime) == (1, 1)
    write(path, b"more")
    assert os.stat(path).st_mtime > 1000
    os.utime(path, (1, 1))
    os.truncate(path, 2)
    assert os.stat(path).st_mtime > 1000
    os.utime(path, (1, 1))
    with Handle(path, os.O_WRONLY) as file:
        fallocate(file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE)
    assert os.stat(path).st_mtime > 1000
    os.utime(path, (1, 1))
    os.chmod(path, 0o600)
    assert os.stat(path).st_mtime == 1 and os.stat(path).st_ctime > 1000
    changed = os.stat(path).st_ctime_ns
    wait_until(lambda: time.time_ns() > changed, "the clock goes on")
    os.rename(path, shm.at("renamed"))
    assert os.stat(shm.at("renamed")).st_mtime == 1 and os.stat(shm.at("renamed")).st_ctime_ns > changed


def test_what_was_asked_before_a_mapping_is_asked_again(shm, mode):
    """The kernel keeps attributes, but not the times of what is mapped, nor those of what no longer is."""
    path = shm.make("asked", bytes(2 * PAGE))
    with open(path, "rb") as file:
        file.read()
    for _ in range(3):
        os.utime(path, (1, 1))
        short_times(path)
        with mapped(path) as memory:
            for at in (0, PAGE):
                os.utime(path, (1, 1))
                assert short_times(path)[0] == "1.000000000\n"
                # Not read before: as on tmpfs, only a page's first touch by a mapping moves the times.
                memory[at] = 1
                memory.flush()
                assert float(short_times(path)[0]) > 1000 or mode.name == "nopassthrough"
                assert os.stat(path).st_mtime > 1000
        short_times(path)


# --- mmap ---

def test_mapping_is_shared_between_processes(shm):
    path = shm.make("shared", bytes(2 * PAGE))

    def answer():
        with mapped(path) as memory:
            wait_until(lambda: memory[0] == 1, "the question is there")
            memory[PAGE] = 42
            wait_until(lambda: memory[0] == 2, "the end")
            return bytes(memory[10:15])

    with mapped(path) as memory:
        other = Call(answer)
        memory[0] = 1
        wait_until(lambda: memory[PAGE] == 42, "the answer is there")
        memory[10:15] = b"hello"
        memory[0] = 2
        assert other.result() == b"hello"


def test_mapping_read_and_write_are_one(shm):
    path = shm.make("one", bytes(2 * PAGE))
    with mapped(path) as memory, Handle(path, os.O_RDWR) as file:
        for i in range(50):
            at = i * 131
            memory[at:at + 4] = struct.pack("I", i)
            assert os.pread(file.fd, 4, at) == struct.pack("I", i)
            assert read(path)[at:at + 4] == struct.pack("I", i)
            os.pwrite(file.fd, struct.pack("I", i + 1000), at)
            assert memory[at:at + 4] == struct.pack("I", i + 1000)


def test_mapping_and_another_process_that_writes_are_one(shm):
    path = shm.make("other", bytes(PAGE))
    with mapped(path) as memory:
        peer = Peer()
        for i in range(20):
            peer.call(write, path, struct.pack("I", i), 0)
            assert memory[:4] == struct.pack("I", i)
            memory[:4] = struct.pack("I", i + 1000)
            assert peer.call(read, path)[:4] == struct.pack("I", i + 1000)


def test_mapping_outlives_close_unlink_and_the_daemon(mode):
    shm = Room(mode.mount())
    path = shm.make("outlives", b"x" * PAGE)
    one, other = mapped(path), mapped(path)
    os.unlink(path)
    one[0] = 1
    assert other[0] == 1
    if mode.name == "passthrough":
        shm.mnt.process.terminate()
        shm.mnt.wait_end()
        one[0] = 2
        assert other[0] == 2
    one.close()
    other.close()


def test_private_mapping_keeps_to_itself(shm):
    path = shm.make("private", b"x" * PAGE)
    with mapped(path, access=mmap.ACCESS_COPY) as mine:
        mine[0] = 0
        assert read(path)[:1] == b"x"


def test_growing_is_seen_by_who_maps_beyond(shm):
    """A mapping may be longer than the file; once that has grown, what is there can be used."""
    path = shm.make("grows", bytes(PAGE))
    with Handle(path, os.O_RDWR) as file:
        os.ftruncate(file.fd, 4 * PAGE)
        with mmap.mmap(file.fd, 4 * PAGE) as memory:
            os.ftruncate(file.fd, PAGE)
            os.ftruncate(file.fd, 4 * PAGE)
            assert memory[3 * PAGE] == 0
            memory[3 * PAGE] = 7
            assert os.pread(file.fd, 1, 3 * PAGE) == b"\7"


def test_readers_get_no_signal_when_others_truncate(shm):
    """read says what is there, however short it has become, and the daemon lives on."""
    path = shm.make("shrinks", b"x" * MIB)

    def shrink(n):
        for _ in range(n):
            os.truncate(path, 0)
            os.truncate(path, MIB)

    def look(n):
        with Handle(path, os.O_RDWR) as file:
            for _ in range(n):
                got = os.pread(file.fd, MIB, 0)
                assert len(got) <= MIB
                os.pwrite(file.fd, b"y" * PAGE, 7 * PAGE)

    callers = [Call(shrink, 100), Call(look, 60), Call(look, 60)]
    for caller in callers:
        caller.result()
    assert os.stat(path).st_size == MIB


def test_msync_and_fsync_succeed(shm):
    path = shm.make("synced", bytes(PAGE))
    with mapped(path) as memory, Handle(path, os.O_RDWR) as file:
        memory[0] = 1
        memory.flush()
        os.fsync(file.fd)
        os.fdatasync(file.fd)
        assert os.pread(file.fd, 1, 0) == b"\1"


def test_numpy_memmap_shares(shm):
    numpy = pytest.importorskip("numpy")
    path = shm.at("numpy")
    one = numpy.memmap(path, dtype="float64", mode="w+", shape=(64, 64))
    other = numpy.memmap(path, dtype="float64", mode="r+", shape=(64, 64))
    one[:] = numpy.arange(64 * 64).reshape(64, 64)
    assert (other == one).all()
    other[3, 4] = -1
    assert one[3, 4] == -1
    one.flush()
    assert numpy.fromfile(path, dtype="float64")[3 * 64 + 4] == -1


# --- tools ---

@pytest.mark.parametrize("maker", TOOLS)
def test_cp_and_dd_copy_in_and_out(shm, maker):
    data = os.urandom(300 * KIB + 17)
    source = os.path.join("/tmp", f"ipcfs-shm-{os.getpid()}")
    with open(source, "wb") as file:
        file.write(data)
    try:
        tool = TOOLS[maker]
        for command in ([*tool, "cp", source, shm.at("cp")],
                        [*tool, "dd", f"if={source}", f"of={shm.at('dd')}", "bs=4096"],
                        [*tool, "cp", shm.at("cp"), shm.at("cp2")]):
            done = run(*command)
            assert done.returncode == 0, done.stderr
        for name in ("cp", "dd", "cp2"):
            assert read(shm.at(name)) == data
        assert run(*tool, "cmp", source, shm.at("cp2")).returncode == 0
        done = run(*tool, "dd", f"if={shm.at('cp')}", f"of={source}", "bs=1000")
        assert done.returncode == 0, done.stderr
        assert read(source) == data
        # In the middle, and nothing else.
        done = run(*tool, "dd", "if=/dev/zero", f"of={shm.at('dd')}", "bs=1024", "seek=10", "count=2", "conv=notrunc")
        assert done.returncode == 0, done.stderr
        assert read(shm.at("dd")) == data[:10 * KIB] + bytes(2 * KIB) + data[12 * KIB:]
    finally:
        os.unlink(source)


def test_tools_change_files_in_place(shm, shell):
    out = sh(shell, "printf 'b\\na\\n' > list; sort -o list list; cat list; truncate -s 3 list; wc -c < list; "
             "mv list moved; ls moved; rm -r moved", cwd=shm.path)
    assert out.split() == ["a", "b", "3", "moved"]


def test_flock_and_record_locks_work(shm):
    path = shm.make("locked", b"data")
    with Handle(path, os.O_RDWR) as one, Handle(path, os.O_RDWR) as other:
        fcntl.flock(one.fd, fcntl.LOCK_EX)
        with fails_with(errno.EAGAIN):
            fcntl.flock(other.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(one.fd, fcntl.LOCK_UN)
        fcntl.flock(other.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_record_locks_go_with_any_close(shm):
    path = shm.make("records", b"data")

    def is_free():
        with Handle(path, os.O_RDWR) as file:
            try:
                fcntl.lockf(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                assert error.errno in (errno.EAGAIN, errno.EACCES)
                return False
            return True

    with Handle(path, os.O_RDWR) as file:
        fcntl.lockf(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert not Call(is_free).result()
        try_open(path, os.O_RDONLY)
        assert Call(is_free).result()


# --- what the kernel sends by itself ---

def sent(fd, how, size):
    """What sendfile, splice or copy_file_range bring of a file; what a read brings where they refuse."""
    target = os.memfd_create("target")
    try:
        try:
            if how == "sendfile":
                os.sendfile(target, fd, 0, size)
            elif how == "copy_file_range":
                os.copy_file_range(fd, target, size, 0)
            else:
                ends = os.pipe()
                try:
                    os.splice(fd, ends[1], size, offset_src=0)
                    os.splice(ends[0], target, size)
                finally:
                    os.close(ends[0])
                    os.close(ends[1])
        except OSError as error:
            assert error.errno in (errno.EINVAL, errno.EXDEV)
            return None
        return os.pread(target, size, 0)
    finally:
        os.close(target)


@pytest.mark.parametrize("how", ["sendfile", "splice", "copy_file_range"])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR], ids=["reading", "both"])
def test_what_the_kernel_sends_is_what_is_there_now(shm, mode, how, flags):
    path = shm.make(f"sent-{how}-{flags}", bytes(PAGE))
    with mapped(path) as memory, Handle(path, flags) as file:
        for i in range(5):
            memory[:4] = b"%04d" % i
            got = sent(file.fd, how, PAGE)
            if got is None:
                assert how == "copy_file_range" or flags == os.O_RDWR and mode.name != "nopassthrough"
            else:
                assert got[:4] == b"%04d" % i
            assert os.pread(file.fd, 4, 0) == b"%04d" % i


def test_copies_within_are_what_mappings_wrote(shm):
    one, two = shm.make("copy-one", bytes(2 * PAGE)), shm.make("copy-two")
    with mapped(one) as memory, Handle(one, os.O_RDWR) as source, Handle(two, os.O_RDWR) as target:
        for i in range(3):
            memory[PAGE:PAGE + 4] = b"%04d" % i
            assert os.copy_file_range(source.fd, target.fd, PAGE, PAGE, 0) == PAGE
            assert read(two)[:4] == b"%04d" % i


# --- quotas ---

@LIMITS
def test_write_counts(quota_shm, options, code):
    shm = quota_shm(options)
    path = shm.make()
    assert write_until_refused(path) == (MIB, code)
    assert os.stat(path).st_size == MIB
    # What is there can be written again.
    write(path, b"y" * MIB, 0)
    # An empty one costs something too.
    with fails_with(code):
        shm.make("other")
    os.truncate(path, MIB // 2)
    other = shm.make("other")
    assert write_until_refused(other) == (MIB // 2, code)


@LIMITS
def test_truncate_counts(quota_shm, options, code):
    shm = quota_shm(options)
    path = shm.make()
    os.truncate(path, MIB)
    with fails_with(code):
        os.truncate(path, MIB + 1)
    assert os.stat(path).st_size == MIB
    os.truncate(path, MIB // 2)
    with fails_with(code):
        os.truncate(shm.make("other"), MIB // 2 + 1)
    os.truncate(shm.at("other"), MIB // 2)


@LIMITS
def test_fallocate_counts(quota_shm, options, code):
    shm = quota_shm(options)
    path = shm.make()
    with Handle(path, os.O_RDWR) as file:
        fallocate(file.fd, 0, 0, MIB // 2)
        with fails_with(code):
            fallocate(file.fd, 0, MIB // 2, MIB // 2 + 1)
        assert os.fstat(file.fd).st_size == MIB // 2
        with fails_with(code, errno.EFBIG):
            fallocate(file.fd, 0, (1 << 62), (1 << 62))
        fallocate(file.fd, 0, MIB // 2, MIB // 2)
        # A hole gives nothing back: the size counts.
        fallocate(file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, MIB // 2)
    with fails_with(code):
        os.truncate(shm.make("other"), 1)


@LIMITS
@pytest.mark.parametrize("maker", TOOLS)
def test_cp_and_dd_of_too_much_fail(quota_shm, options, code, maker):
    shm = quota_shm(options)
    done = run(*TOOLS[maker], "dd", "if=/dev/zero", f"of={shm.at('dd')}", "bs=65536", "count=17")
    assert done.returncode != 0
    assert os.strerror(code) in done.stderr
    assert os.stat(shm.at("dd")).st_size == MIB
    os.unlink(shm.at("dd"))
    done = run(*TOOLS[maker], "cp", "/proc/self/exe" if os.stat("/bin/bash").st_size <= MIB else "/bin/bash", shm.at("cp"))
    assert done.returncode != 0
    assert os.strerror(code) in done.stderr


def test_mapped_growth_is_none(quota_shm):
    """A mapping does not grow a file: beyond it is a signal, and nothing is charged."""
    shm = quota_shm("max_bytes=8M,uid_bytes=1M")
    path = shm.make("mapped", bytes(PAGE))
    free = shm.free()

    def touch():
        with Handle(path, os.O_RDWR) as file:
            os.ftruncate(file.fd, 2 * PAGE)
            memory = mmap.mmap(file.fd, 2 * PAGE)
            os.ftruncate(file.fd, PAGE)
            memory[PAGE + 5] = 1

    toucher = Call(touch)
    assert toucher.wait() == -7
    assert os.stat(path).st_size == PAGE
    wait_until(lambda: shm.free() == free, "nothing more is charged")


def test_sparse_region_counts_its_size(quota_shm):
    shm = quota_shm("max_bytes=8M,uid_bytes=1M")
    free = shm.free()
    os.truncate(shm.make("sparse"), MIB)
    assert shm.free() == free - MIB
    with fails_with(errno.EDQUOT):
        write(shm.make("other"), b"x", 0)


def test_what_is_unlinked_and_closed_is_given_back(quota_shm):
    shm = quota_shm("max_bytes=8M,uid_bytes=1M")
    free = shm.free()
    for _ in range(3):
        path = shm.make("region", b"x" * MIB)
        with Handle(path, os.O_RDWR) as file:
            os.unlink(path)
            # Whoever has it open still holds it.
            with fails_with(errno.EDQUOT):
                shm.make("other")
            assert os.fstat(file.fd).st_size == MIB
        wait_until(lambda: shm.free() == free, "it is given back")


def test_what_is_replaced_or_truncated_is_given_back(quota_shm):
    shm = quota_shm("max_bytes=8M,uid_bytes=1M")
    free = shm.free()
    big, small = shm.make("big", b"x" * (MIB - PAGE)), shm.make("small", b"x" * PAGE)
    os.rename(small, big)
    wait_until(lambda: shm.free() == free - PAGE, "what gave way is given back")
    os.truncate(big, 3 * PAGE)
    assert shm.free() == free - 3 * PAGE
    try_open(big, os.O_WRONLY | os.O_TRUNC)
    wait_until(lambda: free - PAGE <= shm.free() < free, "what was cut off is given back, but what an empty one costs")
    os.unlink(big)
    wait_until(lambda: shm.free() == free, "all is given back")


def test_df_tells_what_regions_hold(quota_shm):
    shm = quota_shm("max_bytes=8M,uid_bytes=4M")
    os.truncate(shm.make(), 3 * MIB)
    done = run("df", "--output=size,used,avail", "-B1", shm.path)
    assert [int(n) for n in done.stdout.splitlines()[1].split()] == [8 * MIB, 3 * MIB, 5 * MIB]


@ROOTS
def test_chown_moves_the_charge(quota_shm):
    shm = quota_shm("max_bytes=8M,uid_bytes=1M")
    path = shm.make("region", b"x" * MIB)
    os.chown(path, ALICE, -1)
    os.truncate(shm.make("another"), MIB)
    with fails_with(errno.EDQUOT):
        os.chown(shm.at("another"), ALICE, -1)
    assert os.stat(shm.at("another")).st_uid == 0
    with fails_with(errno.EDQUOT):
        as_user(ALICE, write, shm.at("alices"), b"x", os.O_CREAT)
    os.unlink(path)
    wait_until(lambda: shm.free() == 7 * MIB, "Alice has nothing")
    as_user(ALICE, try_open, shm.at("alices"), os.O_WRONLY | os.O_CREAT)
    assert as_user(ALICE, write_until_refused, shm.at("alices")) == (MIB, errno.EDQUOT)


@ROOTS
def test_chown_works_on_a_full_mount(quota_shm):
    shm = quota_shm("max_bytes=2M,uid_bytes=2M")
    path = shm.make("all there is", b"x" * (2 * MIB))
    os.chown(path, ALICE, -1)
    assert os.stat(path).st_uid == ALICE and shm.free() == 0


@ROOTS
def test_a_region_counts_for_its_owner_whoever_writes(quota_shm):
    shm = quota_shm("max_bytes=8M,uid_bytes=1M")
    path = shm.make("roots")
    os.chmod(path, 0o666)
    assert as_user(ALICE, write_until_refused, path) == (MIB, errno.EDQUOT)
    with fails_with(errno.EDQUOT):
        write(shm.make("more"), b"x", 0)
    assert as_user(ALICE, write_until_refused, shm.at("roots")) == (MIB, errno.EDQUOT)


def test_write_that_fits_in_part_is_refused_or_short(quota_shm):
    """And what is told is what is charged."""
    shm = quota_shm("max_bytes=8M,uid_bytes=1M")
    free = shm.free()
    path = shm.make()
    with Handle(path, os.O_WRONLY) as file:
        try:
            n = file.write(b"x" * (MIB + 5 * PAGE))
        except OSError as error:
            assert error.errno == errno.EDQUOT
            n = 0
    assert os.stat(path).st_size == n
    # In whole pages, as statvfs counts.
    assert shm.free() == free - (n + PAGE - 1) // PAGE * PAGE


@ROOTS
@pytest.mark.parametrize("make", [
    lambda path, i: os.mknod(f"{path}{i}"), lambda path, i: os.mkdir(f"{path}{i}"),
    lambda path, i: os.symlink("x", f"{path}{i}"), lambda path, i: os.link(f"{path}0", f"{path}{i}") if i else os.mknod(f"{path}0"),
    lambda path, i: os.setxattr(path, f"user.{i}", b"x" * 100) if i else os.mknod(path),
    lambda path, i: os.close(os.open(f"{path}{i}", os.O_CREAT | os.O_RDWR)),
], ids=["mknod", "mkdir", "symlink", "link", "setxattr", "open"])
def test_whatever_is_made_counts(quota_shm, make):
    """Never nothing: so it has an end."""
    shm = quota_shm("max_bytes=1M,uid_bytes=200K")
    free = shm.free()

    def make_many():
        n = 0
        try:
            while n < 10_000:
                make(shm.at("thing"), n)
                n += 1
        except OSError as error:
            return n, error.errno
        return n, 0

    n, code = as_user(ALICE, make_many)
    assert code == errno.EDQUOT and 50 < n < 2000
    os.mkdir(shm.at("roots"))
    os.rmdir(shm.at("roots"))
    shm.empty()
    wait_until(lambda: shm.free() == free, "all is given back")


@ROOTS
def test_descriptors_are_shared_out(mode):
    """One user can't open all that the daemon may have open."""
    shm = Room(mode.mount())
    daemon = shm.mnt.process.pid
    limit = 200
    resource.prlimit(daemon, resource.RLIMIT_NOFILE, (limit, limit))

    def make_many():
        for i in range(limit):
            try:
                with Handle(shm.at(f"region{i}"), os.O_CREAT | os.O_RDWR) as file:
                    file.write(b"x")
            except OSError as error:
                return i, error.errno
        return limit, 0

    n, code = as_user(ALICE, make_many)
    assert code == errno.EDQUOT and n <= limit // 4
    write(shm.make("roots"), b"data", 0)
    as_user(BOB, write, shm.at("bobs"), b"data", os.O_CREAT)
    shm.empty()
    wait_until(lambda: as_user(ALICE, make_many) == (n, code), "as many again")


@ROOTS
def test_what_was_only_created_holds_no_descriptor(mode):
    shm = Room(mode.mount())
    os.close(os.open(shm.at("first"), os.O_CREAT | os.O_WRONLY))
    n = shm.mnt.n_fds()
    for i in range(100):
        os.close(os.open(shm.at(f"touched{i}"), os.O_CREAT | os.O_WRONLY))
        os.mknod(shm.at(f"made{i}"))
    wait_until(lambda: shm.mnt.n_fds() <= n, "none is held")
    write(shm.at("made0"), b"data", 0)
    assert read(shm.at("made0")) == b"data"


@ROOTS
def test_chown_moves_descriptors(mode):
    shm = Room(mode.mount())
    daemon = shm.mnt.process.pid
    resource.prlimit(daemon, resource.RLIMIT_NOFILE, (200, 200))
    codes = []
    for i in range(100):
        try:
            os.chown(shm.make(f"region{i}", b"x"), ALICE, -1)
        except OSError as error:
            codes.append(error.errno)
            assert os.stat(shm.at(f"region{i}")).st_uid == 0
            break
    assert codes in ([errno.EDQUOT], [errno.ENFILE])

"""drop/: a file that is copied in is one message, whole or not at all."""

import contextlib
import errno
import os
import pathlib
import resource
import signal
import stat
import threading

import pytest

from dropping import BYTES_DEFAULT, KIB, MIB, create, drop, expect_free_and_nothing_sent, receive_all
from dropping import file, large_box, maker, single  # pylint: disable=unused-import
from harness import ALICE, BOB, SHELLS, SLOW, Call, Handle, as_user, fails_with, run, sh, start_sh, wait_until

# --- as people use it ---

def test_cp_sends_a_file(shell, box, file):
    sh(shell, f"cp {file} drop/", cwd=box.path)
    assert receive_all(box) == [file.read_bytes()]


def test_cp_gives_it_any_name(shell, box, file):
    sh(shell, f"cp {file} drop/'another name'", cwd=box.path)
    assert receive_all(box) == [file.read_bytes()]


@pytest.mark.parametrize("size", [1, 4 * KIB, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, MIB + 1, 5 * MIB, BYTES_DEFAULT - 1,
                                  BYTES_DEFAULT])
def test_cp_of_any_size_is_one_message(maker, box, file, size):
    file.write_bytes(os.urandom(size))
    assert run(*maker, "cp", file, box.file("drop/")).returncode == 0
    assert box.counts("messages", "bytes", "sent") == (1, size, 1)
    sh("dash", f"cat recv > {file}.out", cwd=box.path)
    assert pathlib.Path(f"{file}.out").read_bytes() == file.read_bytes()


def test_empty_file_sends_nothing(maker, single, file):
    file.write_bytes(b"")
    assert run(*maker, "cp", file, single.file("drop/")).returncode == 0
    expect_free_and_nothing_sent(single)


def test_opening_and_closing_sends_nothing(shell, single):
    sh(shell, ": > drop/file; : >> drop/file; exec 3> drop/file; exec 3>&-", cwd=single.path)
    expect_free_and_nothing_sent(single)


def test_several_files_are_several_messages(shell, box, tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    sh(shell, f"cp {tmp_path}/a {tmp_path}/b {tmp_path}/c drop/", cwd=box.path)
    assert box.drain() == [b"a", b"b", b"c"]


def test_mv_sends_a_file_and_removes_it(shell, box, file):
    data = file.read_bytes()
    sh(shell, f"mv {file} drop/ 2> /dev/null", cwd=box.path)
    assert receive_all(box) == [data]
    assert not file.exists()


def test_cp_that_preserves_attributes_sends_once(box, file):
    assert run("cp", "-p", file, box.file("drop/")).returncode == 0
    assert receive_all(box) == [file.read_bytes()]


@pytest.mark.parametrize("script", [
    "{ echo one; echo two; } > drop/file",
    "{ echo one; env echo two; } >> drop/file",
    "(echo one; (echo two)) > drop/file",
    "printf 'one\\ntwo\\n' > drop/file",
    "printf 'one\\ntwo\\n' | cat > drop/file",
    "cat > drop/file <<E\none\ntwo\nE\n",
    "for i in one two; do echo $i; done > drop/file",
    "exec 3> drop/file; { echo one; env echo two; } >&3; exec 3>&-",
    "printf 'one\\ntwo\\n' | tee drop/file > /dev/null",
    "printf 'one\\ntwo\\n' | dd of=drop/file bs=1 2> /dev/null",
    "true & { wait; echo one; sh -c 'echo two'; } > drop/file",
], ids=["group", "append", "subshell", "printf", "pipe", "here-document", "loop", "exec", "tee", "dd", "wait"])
def test_all_that_a_redirection_gets_is_one_message(shell, box, script):
    sh(shell, script, cwd=box.path)
    assert box.take(1) == [b"one\ntwo\n"]
    assert box.stat()["sent"] == 1


def test_descriptor_that_a_shell_keeps_collects_all_its_commands(shell, box):
    """Each of them dups and closes; the file is closed by the last line."""
    sh(shell, "exec 3> drop/file; echo one >&3; echo two >&3; env echo three >&3; exec 3>&-", cwd=box.path)
    assert box.take(1) == [b"one\ntwo\nthree\n"]
    assert box.stat()["sent"] == 1


def test_archive_is_one_message(shell, box, file):
    sh(shell, f"cd {file.parent} && tar cf - report.pdf | gzip -1 > {box.path}/drop/report.tar.gz", cwd=box.path)
    sh(shell, f"cat recv | gzip -d | tar xf - -O > {file}.out", cwd=box.path)
    assert pathlib.Path(f"{file}.out").read_bytes() == file.read_bytes()


def test_message_is_in_the_queue_when_cp_has_ended(shell, box, tmp_path):
    (tmp_path / "file").write_text("hello\n")
    script = f"for i in 1 2 3 4 5 6 7 8 9 10; do cp {tmp_path}/file drop/ && ls queue | wc -l; done"
    assert sh(shell, script, cwd=box.path).split() == [str(i) for i in range(1, 11)]


def test_copy_that_another_process_renames_fails_and_says_so(shell, box, file):
    done = run(*SHELLS[shell], "-c", f"cp {file} drop/.tmp && mv drop/.tmp drop/file", cwd=box.path)
    assert done.returncode != 0 and "drop/.tmp" in done.stderr
    assert receive_all(box) == [file.read_bytes()]


# --- what is collected ---

def test_several_writes_are_one_message_at_the_close(box):
    with create(box) as file:
        for data in (b"one", b"", b" two", b"\n\0three"):
            file.write(data)
            assert box.stat()["messages"] == 0
    assert box.drain() == [b"one two\n\0three"]


def test_message_is_in_the_queue_when_close_returns(box):
    for i in range(300):
        drop(box, b"%d" % i)
        assert box.receive() == b"%d" % i
    # Nothing is left for it to come twice.
    assert box.counts("messages", "sent") == (0, 300)


def test_writes_anywhere_make_up_the_file(box):
    with create(box) as file:
        os.pwrite(file.fd, b"end", 10)
        os.pwrite(file.fd, b"begin", 0)
        file.write(b"B")
        os.lseek(file.fd, 2, os.SEEK_END)
        file.write(b"!")
    assert box.drain() == [b"Begin\0\0\0\0\0end\0\0!"]


def test_append_writes_at_the_end(box):
    with create(box, flags=os.O_APPEND) as file:
        file.write(b"one")
        os.lseek(file.fd, 0, os.SEEK_SET)
        file.write(b"two")
    assert box.drain() == [b"onetwo"]


def test_truncate_cuts_and_grows(box):
    with create(box) as file:
        file.write(b"hello world")
        os.ftruncate(file.fd, 5)
        os.ftruncate(file.fd, 8)
        os.lseek(file.fd, 0, os.SEEK_END)
        file.write(b"!")
        assert os.fstat(file.fd).st_size == 9
    assert box.drain() == [b"hello\0\0\0!"]


def test_holes_are_zeros(maker, box, file):
    with open(file, "wb") as sparse:
        sparse.write(b"begin")
        sparse.seek(MIB)
        sparse.write(b"middle")
        sparse.truncate(3 * MIB)
    assert run(*maker, "cp", file, box.file("drop/")).returncode == 0
    assert receive_all(box) == [file.read_bytes()]


def test_file_of_nothing_but_a_hole_is_sent_whole(maker, box, file):
    with open(file, "wb") as sparse:
        sparse.truncate(100 * KIB)
    assert run(*maker, "cp", file, box.file("drop/")).returncode == 0
    assert box.drain() == [bytes(100 * KIB)]


def test_open_file_can_be_looked_at(box):
    old = os.umask(0o027)
    try:
        with create(box) as file:
            file.write(b"12345")
            status = os.fstat(file.fd)
            assert (status.st_size, status.st_uid, status.st_gid) == (5, 0, 0)
            assert stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o750
            os.fchmod(file.fd, 0o600)
            os.utime(file.fd, (1, 2))
            status = os.fstat(file.fd)
            assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o600, 2)
            os.fsync(file.fd)
    finally:
        os.umask(old)
    assert box.drain() == [b"12345"]


def test_sender_is_who_created_the_file(box):
    def send():
        with create(box) as file:
            file.write(b"parent ")
            Call(file.write, b"child").result()
    sender = Call(send, uid=ALICE, gid=BOB)
    sender.result()
    [name] = os.listdir(box.file("queue"))
    told = [int(os.getxattr(box.file(f"queue/{name}"), f"user.ipcfs.{key}")) for key in ("pid", "uid", "gid", "prio")]
    assert told == [sender.pid, ALICE, BOB, 0]
    assert box.drain() == [b"parent child"]


def test_message_bytes_is_no_bound_for_files(box):
    box.configure(message_bytes=10)
    drop(box, b"x" * 1000)
    assert box.drain() == [b"x" * 1000]


# --- whose close it is ---

def test_close_of_a_duplicate_is_not_the_close(box):
    with create(box) as file:
        duplicate = os.dup(file.fd)
        file.write(b"one ")
        os.close(duplicate)
        assert box.stat()["messages"] == 0
        file.write(b"two")
    assert box.drain() == [b"one two"]


def test_children_that_close_do_not_send(box):
    with create(box) as file:
        file.write(b"one ")
        assert run("true", pass_fds=[file.fd]).returncode == 0
        Call(file.close).result()
        assert box.stat()["messages"] == 0
        Call(file.write, b"two ").result()
        assert box.stat()["messages"] == 0
        file.write(b"three")
    assert box.drain() == [b"one two three"]


def test_last_child_sends_when_the_creator_has_gone_before_a_write(box):
    with open_pipe() as (receiver, sender):
        def leave():
            with create(box) as file:
                Call(write_when_told, file, receiver)
        creator = Call(leave)
        creator.result()
        assert box.stat()["messages"] == 0
        os.write(sender, b"go")
        assert box.take(1) == [b"child"]


@contextlib.contextmanager
def open_pipe():
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def write_when_told(file, pipe):
    os.read(pipe, 1)
    file.write(b"child")


def test_exit_without_close_sends(box):
    def leave():
        create(box).write(b"message")
        os._exit(1)
    Call(leave).wait()
    assert box.take(1) == [b"message"]


def test_thread_that_is_not_the_main_one_creates_writes_and_closes(box):
    def send():
        thread = threading.Thread(target=drop, args=(box, b"message"))
        thread.start()
        thread.join()
        return box.stat()["messages"]
    assert Call(send).result() == 1
    assert box.drain() == [b"message"]


def start_threads(function, n):
    for _ in range(n):
        threading.Thread(target=function, daemon=True).start()


def test_process_of_many_threads_that_exits_has_sent(box):
    """The kernel kills its other threads; that is no signal's doing."""
    def leave():
        create(box).write(b"message")
        start_threads(signal.pause, 6)
        os._exit(0)
    for _ in range(40):
        Call(leave).wait()
        assert box.take(1) == [b"message"]


def test_process_of_many_threads_that_is_killed_has_not(single):
    def die():
        create(single).write(b"message")
        start_threads(signal.pause, 6)
        os.kill(os.getpid(), signal.SIGKILL)
    for _ in range(40):
        assert Call(die).wait() == -signal.SIGKILL
        expect_free_and_nothing_sent(single)


def test_thread_that_is_killed_takes_the_others_file_along(single):
    def die():
        def crash():
            os.kill(os.getpid(), signal.SIGTERM)
        create(single).write(b"message")
        start_threads(crash, 1)
        signal.pause()
    assert Call(die).wait() == -signal.SIGTERM
    expect_free_and_nothing_sent(single)


def test_descriptor_that_exec_closes_does_no_harm(mount):
    """Until exec is done with that, nobody can read /proc/PID/stat of the process: the daemon must not try."""
    mnt = mount()
    box = mnt.box()

    def spawn():
        with create(box) as file:
            file.write(b"message")
            # close-on-exec, as Python opens all
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)

    process = Call(spawn)
    try:
        wait_until(lambda: process.poll() is not None, "the child starts")
    finally:
        if process.poll() is None:
            mnt.expected_status = -signal.SIGKILL
            mnt.process.kill()
    assert process.wait() == 0
    assert box.drain() == [b"message"]


# --- each open a file of its own ---

def test_two_senders_of_one_name_do_not_meet(box):
    with create(box) as first, create(box) as second, create(box, flags=os.O_EXCL) as third:
        first.write(b"o")
        second.write(b"t")
        third.write(b"th")
        first.write(b"ne")
        second.write(b"wo")
        third.write(b"ree")
        assert len({os.fstat(file.fd).st_ino for file in (first, second, third)}) == 3
    assert sorted(box.drain()) == [b"one", b"three", b"two"]


def test_many_copy_the_same_name_at_once(shell, box, tmp_path):
    for i in range(10):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "name").write_bytes(b"%d" % i * 200000)
    script = f"for i in 0 1 2 3 4 5 6 7 8 9; do cp {tmp_path}/$i/name drop/ & done; wait"
    sh(shell, script, cwd=box.path)
    assert sorted(box.drain()) == [b"%d" % i * 200000 for i in range(10)]


def test_senders_that_stand_in_drop_do_not_meet_either(shell, box, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    sh(shell, f"cp {tmp_path}/a x & cp {tmp_path}/b x & wait", cwd=box.file("drop"))
    assert sorted(box.drain()) == [b"a", b"b"]


GONE = {
    "stat": lambda path: os.stat(path),
    "read": lambda path: os.open(path, os.O_RDONLY),
    "write": lambda path: os.open(path, os.O_WRONLY),
    "truncate": lambda path: os.truncate(path, 0),
    "unlink": os.unlink,
    "rename": lambda path: os.rename(path, path + "2"),
    "link": lambda path: os.link(path, path + "2"),
    "chmod": lambda path: os.chmod(path, 0o777),
    "rmdir": os.rmdir,
    "xattr": lambda path: os.getxattr(path, "user.x"),
}


@pytest.mark.parametrize("uid", [0, ALICE], ids=["root", "alice"])
@pytest.mark.parametrize("action", GONE.values(), ids=GONE.keys())
def test_file_in_drop_can_not_be_found_again(box, action, uid):
    def try_it():
        with create(box) as file:
            file.write(b"message")
            with fails_with(errno.ENOENT):
                action(box.file("drop/file"))
    as_user(uid, try_it)
    assert box.drain() == [b"message"]


def test_file_in_drop_can_not_be_opened_anew_through_its_descriptor(box):
    with create(box) as file:
        file.write(b"message")
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
            with fails_with(errno.EACCES, errno.EPERM, errno.ENOENT):
                os.open(f"/proc/self/fd/{file.fd}", flags)
        with fails_with(errno.EBADF):
            file.read()
    assert box.drain() == [b"message"]


def test_file_in_drop_is_for_writing(single):
    with fails_with(errno.EACCES):
        os.open(single.file("drop/file"), os.O_RDONLY | os.O_CREAT)
    expect_free_and_nothing_sent(single)


# --- reading what was written so far ---

def test_file_that_is_opened_for_both_can_be_read_until_it_is_closed(box):
    with open(box.file("drop/file"), "w+b", buffering=0) as file:
        assert file.read() == b""
        file.write(b"hello")
        file.seek(1)
        assert file.read(3) == b"ell"
        assert file.read() == b"o"
        assert os.pread(file.fileno(), 10, 5) == os.pread(file.fileno(), 10, 1 << 40) == b""
        file.truncate(7)
        assert os.pread(file.fileno(), 10, 3) == b"lo\0\0"
    assert box.drain() == [b"hello\0\0"]


def test_large_file_can_be_read_back(box):
    data = os.urandom(3 * MIB + 5)
    with open(box.file("drop/file"), "w+b", buffering=0) as file:
        assert file.write(data) == len(data)
        file.seek(0)
        assert file.readall() == data
    assert box.stat()["bytes"] == len(data)


def test_file_that_was_only_read_is_not_sent(single):
    with open(single.file("drop/file"), "w+b", buffering=0) as file:
        assert file.read() == b""
    expect_free_and_nothing_sent(single)


def test_shell_that_opens_for_both_sends(box):
    sh("bash", "echo hi 1<> drop/file", cwd=box.path)
    assert box.drain() == [b"hi\n"]


def test_file_that_is_spoiled_can_not_be_read(single):
    single.configure(bytes=10)
    with open(single.file("drop/file"), "w+b", buffering=0) as file:
        file.write(b"12345")
        with fails_with(errno.EFBIG):
            file.write(b"x" * 10)
        with fails_with(errno.EFBIG):
            os.pread(file.fileno(), 5, 0)
    expect_free_and_nothing_sent(single)


def test_nothing_is_seen_in_drop(box):
    with create(box):
        # Root may list whatever the bits say, and there is nothing.
        assert os.listdir(box.file("drop")) == []
        os.chown(box.path, ALICE, ALICE)
        for uid in (ALICE, BOB):
            with fails_with(errno.EACCES):
                as_user(uid, os.listdir, box.file("drop"))


NEW = {
    "mkdir": os.mkdir,
    "symlink": lambda path: os.symlink("x", path),
    "mknod": lambda path: os.mknod(path, 0o600),
    "fifo": os.mkfifo,
}


@pytest.mark.parametrize("action", NEW.values(), ids=NEW.keys())
def test_only_open_makes_files_in_drop(box, action):
    with fails_with(errno.EPERM):
        action(box.file("drop/new"))


def test_files_are_not_moved_into_drop_nor_is_drop(mnt, box):
    box.send(b"message")
    [name] = os.listdir(box.file("queue"))
    for source, target in ((box.file(f"queue/{name}"), box.file(f"drop/{name}")), (box.file("send"), box.file("drop/x")),
                           (box.file("drop"), box.file("drop2")), (box.file("drop"), os.path.join(mnt.mbox, "drop"))):
        with fails_with(errno.EPERM):
            os.rename(source, target)
    with fails_with(errno.EPERM):
        os.rmdir(box.file("drop"))
    assert box.drain() == [b"message"]


def test_name_of_256_bytes_is_too_long(box):
    drop(box, b"message", name="x" * 255)
    with fails_with(errno.ENAMETOOLONG):
        create(box, "x" * 256)
    assert box.drain() == [b"message"]


# --- who may ---

@pytest.mark.parametrize("mode, expected", [
    (0o700, 0o300), (0o711, 0o333), (0o750, 0o330), (0o755, 0o333), (0o701, 0o303), (0o600, 0o000), (0o070, 0o030),
], ids=oct)
def test_drop_is_for_each_class_that_may_search_the_directory(mnt, mode, expected):
    box = mnt.box(mode)
    os.chmod(box.path, mode)
    status = os.stat(box.file("drop"))
    assert stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == expected
    box.remove()


@pytest.mark.parametrize("uid, gid, error", [(ALICE, ALICE, None), (BOB, BOB, None), (BOB, ALICE, errno.EACCES)],
                         ids=["owner", "other", "group"])
def test_bits_of_drop_count(box, uid, gid, error):
    os.chown(box.path, ALICE, ALICE)
    os.chmod(box.file("drop"), 0o303)
    with fails_with(error) if error else contextlib.nullcontext():
        as_user(uid, drop, box, b"message", gid=gid)
    assert box.drain() == ([] if error else [b"message"])


def test_other_user_may_not_drop_into_a_closed_mailbox(mnt):
    box = mnt.box(0o700)
    with fails_with(errno.EACCES):
        as_user(ALICE, drop, box, b"message")
    box.remove()


def test_other_user_drops_from_the_shell(shell, box):
    sh(shell, "echo one > drop/file; echo two | cp /dev/stdin drop/file", cwd=box.path, uid=ALICE)
    assert box.drain() == [b"one\n", b"two\n"]


# --- too large ---

@pytest.mark.parametrize("command", ["cp {} drop/", "dd if={} of=drop/file bs=1000", "cat {} > drop/file",
                                     "tee drop/file < {} > /dev/null"], ids=lambda c: c.split()[0])
def test_file_over_bytes_fails_and_nothing_is_sent(maker, single, tmp_path, command):
    """Some of it had room."""
    single.configure(bytes=200000)
    (tmp_path / "file").write_bytes(bytes(300000))
    command = " ".join([*maker, command.format(tmp_path / "file")])
    done = run("sh", "-c", command, cwd=single.path)
    assert done.returncode != 0 and done.stderr
    expect_free_and_nothing_sent(single)


@pytest.mark.parametrize("sizes", [[1001], [1000, 1], [999, 2], [1] * 1001], ids=["one", "full", "over", "bytes"])
def test_write_past_bytes_is_efbig_and_nothing_is_sent(single, sizes):
    single.configure(bytes=1000)
    with create(single) as file:
        for size in sizes[:-1]:
            file.write(b"x" * size)
        with fails_with(errno.EFBIG):
            # Part of it may have been written, the next byte can't.
            file.write(b"x" * sizes[-1])
            file.write(b"x")
    expect_free_and_nothing_sent(single)


def test_seek_and_truncate_past_bytes_are_efbig(single):
    single.configure(bytes=1000)
    with create(single) as file:
        with fails_with(errno.EFBIG):
            os.ftruncate(file.fd, 1001)
        with fails_with(errno.EFBIG):
            os.pwrite(file.fd, b"x", 1000)
        with fails_with(errno.EFBIG):
            os.pwrite(file.fd, b"x", 1 << 62)
    expect_free_and_nothing_sent(single)


def test_one_byte_more_than_the_default_is_too_large(single, file):
    file.write_bytes(bytes(BYTES_DEFAULT + 1))
    assert run("cp", file, single.file("drop/")).returncode == 1
    expect_free_and_nothing_sent(single)


@pytest.mark.parametrize("options, error, text", [
    ("max_bytes=1M,uid_bytes=300K", errno.EDQUOT, "Disk quota exceeded"),
    ("max_bytes=300K,uid_bytes=1M", errno.ENOSPC, "No space left on device"),
], ids=["uid_bytes", "max_bytes"])
def test_quota_ends_the_writing_and_nothing_is_sent_or_held(mount, tmp_path, options, error, text):
    mnt = mount("-o", options)
    box = mnt.box()
    box.configure(messages=1)
    free = os.statvfs(mnt.path).f_bfree
    with create(box) as file:
        file.write(b"x" * 200 * KIB)
        with fails_with(error):
            file.write(b"x" * 101 * KIB)
            file.write(b"x")
    expect_free_and_nothing_sent(box)
    (tmp_path / "file").write_bytes(bytes(400 * KIB))
    done = run("cp", tmp_path / "file", box.file("drop/"))
    assert done.returncode != 0 and text in done.stderr
    expect_free_and_nothing_sent(box)
    wait_until(lambda: os.statvfs(mnt.path).f_bfree == free, "all is given back")


def test_what_is_written_is_charged_to_the_creator_at_once_and_given_back(mount):
    mnt = mount("-o", "max_bytes=1M,uid_bytes=300K")
    box = mnt.box()

    def used_kib():
        status = os.statvfs(mnt.path)
        return (status.f_blocks - status.f_bfree) * status.f_frsize // KIB

    def hold():
        with create(box) as file:
            file.write(b"x" * 256 * KIB)
            signal.pause()

    holder = Call(hold, uid=ALICE)
    wait_until(lambda: used_kib() == 256, lambda: f"256 KiB are charged, not {used_kib()}")
    with fails_with(errno.EDQUOT):
        as_user(ALICE, box.send, b"x" * 50 * KIB)
    as_user(BOB, box.send, b"x" * 50 * KIB)
    holder.kill()
    holder.wait()
    wait_until(lambda: used_kib() in (50, 52), lambda: f"50 KiB are charged, not {used_kib()}")
    as_user(ALICE, box.send, b"x" * 50 * KIB)


def test_what_is_cut_off_again_is_given_back(mount):
    mnt = mount("-o", "max_bytes=1M,uid_bytes=300K")
    box = mnt.box()
    with create(box) as file:
        file.write(b"x" * 290 * KIB)
        os.ftruncate(file.fd, KIB)
        box.send(b"y" * 60 * KIB)
    assert [len(message) for message in box.drain()] == [60 * KIB, KIB]


# --- what is not there costs nothing but its charge ---

@pytest.mark.parametrize("grow", [lambda fd: os.pwrite(fd, b"x", 2 << 30), lambda fd: os.ftruncate(fd, 2 << 30)],
                         ids=["pwrite", "ftruncate"])
def test_gap_over_the_quota_is_refused_before_there_is_memory_for_it(mount, grow):
    mnt = mount()
    box = mnt.box()
    box.configure(bytes="3G", messages=1)
    with create(box) as file:
        file.write(b"x")
        with fails_with(errno.EDQUOT):
            grow(file.fd)
        assert mnt.peak_kib() < 100 * KIB * SLOW
    expect_free_and_nothing_sent(box)


@pytest.mark.skipif(SLOW > 1, reason="a sanitizer keeps memory of its own")
def test_gap_takes_no_memory(mount):
    mnt = mount("-o", "max_bytes=16G,uid_bytes=8G")
    box = mnt.box()
    box.configure(bytes="3G")
    with create(box) as file:
        file.write(b"begin")
        os.pwrite(file.fd, b"end", (2 << 30) - 3)
        os.ftruncate(file.fd, 3 << 30)
        os.ftruncate(file.fd, 2 << 30)
    assert box.counts("messages", "bytes") == (1, 2 << 30)
    [name] = os.listdir(box.file("queue"))
    with Handle(box.file(f"queue/{name}"), os.O_RDONLY) as message:
        assert os.pread(message.fd, 8, 0) == b"begin\0\0\0"
        assert os.pread(message.fd, 8, (2 << 30) - 6) == b"\0\0\0end"
    assert mnt.peak_kib() < 100 * KIB
    os.unlink(box.file(f"queue/{name}"))


def test_open_file_counts_for_its_creator_whatever_is_in_it(mount):
    mnt = mount("-o", "max_bytes=4M,uid_bytes=64K")
    box = mnt.box()

    def open_many():
        files = []
        with fails_with(errno.EDQUOT):
            while True:
                files.append(create(box))
                files[-1].write(b"x" * 3000)
                os.ftruncate(files[-1].fd, 0)
        return len(files)

    # No more than 32 of 2 KiB.
    assert 20 <= as_user(ALICE, open_many) <= 32
    box.wait_for(reserved=0)
    as_user(ALICE, drop, box, b"message")
    assert box.drain()[-1] == b"message"


# --- a writer that is killed ---

def write_and_die(box, number):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    create(box).write(b"x" * 100000)
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSEGV,
                                    signal.SIGABRT, signal.SIGPIPE, signal.SIGUSR1], ids=lambda number: number.name)
def test_killed_writer_sends_nothing(single, number):
    def die():
        signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
        write_and_die(single, number)
    assert Call(die).wait() == -number
    expect_free_and_nothing_sent(single)


def test_hundred_killed_writers_leave_nothing(single):
    for i in range(100):
        assert Call(write_and_die, single, signal.SIGKILL).wait() == -signal.SIGKILL
        expect_free_and_nothing_sent(single)
    assert single.counts("sent", "messages") == (100, 0)


def test_signal_that_is_handled_ends_a_writer_in_order(box):
    def leave(*_):
        os._exit(143)

    def write():
        signal.signal(signal.SIGTERM, leave)
        create(box).write(b"message")
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    assert Call(write).wait() == 143
    assert box.take(1) == [b"message"]


def test_message_that_was_sent_stays_when_its_sender_is_killed(box):
    def send_and_die():
        drop(box, b"message")
        os.kill(os.getpid(), signal.SIGKILL)
    assert Call(send_and_die).wait() == -signal.SIGKILL
    assert box.drain() == [b"message"]


def test_shell_that_kills_itself_sends_nothing(shell, single, file):
    done = run(*SHELLS[shell], "-c", f"{{ cat {file}; kill -9 $$; }} > drop/file", cwd=single.path)
    assert done.returncode in (-9, 137)
    expect_free_and_nothing_sent(single)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("command", ["cat > drop/file", "dd of=drop/file bs=4096", "cp /dev/stdin drop/file",
                                     "gzip -c > drop/file"], ids=lambda c: c.split()[0])
def test_program_that_is_killed_in_the_middle_sends_nothing(single, command, number):
    program = start_writer(f"exec {command}", cwd=single.path)
    program.send_signal(number)
    program.wait()
    expect_free_and_nothing_sent(single)


def start_writer(script, data=b"x" * 300000, shell="dash", **kwargs):
    """Runs a script with a pipe to read from, until it has read much and waits for more."""
    receiver, sender = os.pipe()
    with os.fdopen(receiver, "rb"), os.fdopen(os.dup(sender), "wb", buffering=0) as pipe:
        # Its end of the pipe stays open as long as it runs.
        command = start_sh(shell, script, stdin=receiver, pass_fds=[sender], **kwargs)
        os.close(sender)
        pipe.write(data)
    return command


@pytest.mark.parametrize("number", ["KILL", "TERM"])
def test_child_of_a_shell_that_is_killed_spoils_the_file(shell, single, number):
    """The shell goes on, and closes in order."""
    script = f"{{ echo header; sh -c 'echo part; kill -{number} $$'; echo trailer; }} > drop/file; echo went on"
    done = run(*SHELLS[shell], "-c", script, cwd=single.path)
    assert "went on" in done.stdout
    expect_free_and_nothing_sent(single)


def test_child_that_was_killed_without_having_written_spoils_nothing(shell, box):
    script = "{ echo one; sleep 100 & kill -9 $!; wait; echo two; } > drop/file; :"
    sh(shell, script, cwd=box.path)
    assert box.take(1) == [b"one\ntwo\n"]


def test_writer_killed_by_timeout_sends_nothing(shell, single):
    script = "timeout -s KILL 0.2 sh -c '(echo some; exec sleep 100) > drop/file'; :"
    sh(shell, script, cwd=single.path)
    expect_free_and_nothing_sent(single)

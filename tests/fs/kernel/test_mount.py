"""Mounting and unmounting, with each command that people use for it."""

import errno
import os
import re
import signal
import stat

import pytest

from harness import (ALICE, BOB, IPCFS, Call, Mailbox, as_user, daemons_on, expect_asleep, fails_with,
                     mount_line, mount_point, run, wait_until)


@pytest.fixture
def point():
    with mount_point() as path:
        yield path


@pytest.fixture
def in_world():
    """Runs lines of shell with mounts and processes of their own, in a directory with a copy of ipcfs
    and a directory mnt of the user's. /dev/fuse is for all users there, as on most machines, and
    mount(8) finds ipcfs, which it looks for where it pleases. All ends with the last line."""
    with mount_point() as directory:
        def run_lines(*lines):
            script = "\n".join([
                "set -e", f"mount -t tmpfs -o mode=755 none {directory}", f"cd {directory}",
                "mknod -m 666 fuse c 10 229", "mount --bind fuse /dev/fuse",
                f"cp {IPCFS} ipcfs", "mkdir bin", "ln -s $PWD/ipcfs bin", "mount --bind bin /usr/local/sbin",
                f"mkdir mnt; chown {BOB} mnt; mnt=$PWD/mnt",
                f"user='setpriv --reuid {BOB} --regid {BOB} --clear-groups --'",
                "n_mounts() { grep -c \" $mnt .* fuse.ipcfs ipcfs \" /proc/self/mountinfo || true; }",
                "wait_end() { while pidof ipcfs > /dev/null; do sleep 0.01; done; }", *lines])
            return run("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script)
        yield run_lines


def expect_unmounted(point):
    wait_until(lambda: not mount_line(point), f"{point} is unmounted")
    wait_until(lambda: not daemons_on(point), f"the daemon of {point} ends")
    assert os.listdir(point) == []


def expect_works(point):
    box = Mailbox(os.path.join(point, "mbox", "works")).make()
    box.send(b"hello")
    assert box.drain() == [b"hello"]
    box.remove()


def expect_failure(done, status, *words):
    """It says in one line of stderr what to do, and nothing else."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert re.fullmatch(r"[^\n]+\n", done.stderr), done.stderr
    for word in words:
        assert word in done.stderr


def size_of(point):
    size = os.statvfs(point)
    return size.f_blocks * size.f_frsize


# --- the command line ---

def test_background_mount_answers_as_soon_as_the_command_returns(point):
    # No pipe, on which one could wait for more than the command; and the next is the shell's own, so at once.
    script = f"{IPCFS} {point} > /dev/null 2>&1; [ -d {point}/mbox ] && echo there; umount {point}"
    for _ in range(10):
        assert run("dash", "-c", script).stdout == "there\n"
    expect_unmounted(point)


def test_background_daemon_lets_go_of_who_started_it(point):
    # Nobody would see the end of these pipes if it held them.
    done = run(IPCFS, point)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    expect_works(point)
    assert run("umount", point).returncode == 0
    expect_unmounted(point)


def test_background_daemon_is_no_job_of_the_shell_that_started_it(point):
    assert run("sh", "-c", f"{IPCFS} {point}", cwd=point).returncode == 0
    daemon, = daemons_on(point)
    with open(f"/proc/{daemon}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    session, tty = int(fields[3]), int(fields[4])
    assert session not in (os.getsid(0),) and tty == 0
    assert {os.readlink(f"/proc/{daemon}/fd/{fd}") for fd in (0, 1, 2)} == {"/dev/null"}
    os.kill(daemon, signal.SIGTERM)
    expect_unmounted(point)


def test_relative_mount_point(point):
    assert run(IPCFS, os.path.basename(point), cwd=os.path.dirname(point)).returncode == 0
    expect_works(point)
    assert run("umount", point).returncode == 0
    expect_unmounted(point)


def test_foreground_mount_is_the_process_that_was_started(mount):
    mnt = mount()
    expect_works(mnt.path)
    assert mnt.process.poll() is None
    assert daemons_on(mnt.path) == [mnt.pid]


def test_mount_is_called_fuse_ipcfs(mount):
    mnt = mount()
    fstype, source, options = mount_line(mnt.path)
    assert (fstype, source) == ("fuse.ipcfs", "ipcfs")
    assert {"default_permissions", "allow_other"} <= set(options.split(","))
    assert run("findmnt", "-n", "-o", "SOURCE,FSTYPE", mnt.path).stdout.split() == ["ipcfs", "fuse.ipcfs"]


@pytest.mark.parametrize("source", ["ipcfs", "none", "/dev/sda1", "any thing", "a,b=c"])
def test_source_is_ignored(point, source):
    assert run(IPCFS, source, point).returncode == 0
    assert mount_line(point)[:2] == ("fuse.ipcfs", "ipcfs")
    assert run("umount", point).returncode == 0
    expect_unmounted(point)


@pytest.mark.parametrize("place", ["before", "after"])
def test_options_may_stand_before_and_after_the_mount_point(point, place):
    options = ["-o", "max_bytes=2M,private", "-ouid_bytes=1M"]
    args = [*options, point] if place == "before" else ["ipcfs", point, *options]
    assert run(IPCFS, *args).returncode == 0
    assert size_of(point) == 2 << 20
    assert run("umount", point).returncode == 0
    expect_unmounted(point)


@pytest.mark.parametrize("option, word", [("-h", "max_bytes"), ("-V", "ipcfs")])
def test_help_and_version_are_printed_and_nothing_is_mounted(option, word, point):
    for args in ([option], [option, point]):
        done = run(IPCFS, *args)
        assert (done.returncode, done.stderr) == (0, "")
        assert word in done.stdout
        assert not mount_line(point)


def test_version_has_a_number():
    assert re.search(r"\d+\.\d+", run(IPCFS, "-V").stdout)


def test_debug_says_what_the_kernel_asks(mount):
    mnt = mount("-d")
    expect_works(mnt.path)
    wait_until(lambda: "LOOKUP" in mnt.log() and "WRITE" in mnt.log(), "it names the requests")


@pytest.mark.parametrize("size, n_bytes", [("1000000", 1000000), ("64K", 64 << 10), ("3M", 3 << 20), ("2G", 2 << 30)])
def test_sizes_take_k_m_g(mount, size, n_bytes):
    mnt = mount("-o", f"max_bytes={size}")
    assert size_of(mnt.path) == n_bytes - n_bytes % os.statvfs(mnt.path).f_frsize


# --- what can't be done ---

@pytest.mark.parametrize("args", [
    ["-x"], ["--nonsense"], ["-o", "nonsense"], ["-o", "nonsense=1"], ["-ononsense"], ["-o", "private,nonsense"],
    ["-o", "max_bytes"], ["-o", "uid_bytes"], ["-o", "max_byte=1"], ["-o"],
], ids=" ".join)
def test_bad_option_is_a_usage_error(point, args):
    expect_failure(run(IPCFS, point, *args), 2)
    assert not mount_line(point)


@pytest.mark.parametrize("size", ["", "0", "K", "abc", "-1", "+1", "1.5M", "1T", "1KB", "1 K", "0x10", "12M3",
                                  "18446744073709551616", "99999999999G"])
@pytest.mark.parametrize("key", ["max_bytes", "uid_bytes"])
def test_bad_size_is_a_usage_error(point, key, size):
    expect_failure(run(IPCFS, "-o", f"{key}={size}", point), 2, key)
    assert not mount_line(point)


def test_number_of_operands_is_a_usage_error(point):
    expect_failure(run(IPCFS), 2)
    expect_failure(run(IPCFS, "-f"), 2)
    expect_failure(run(IPCFS, "one", "two", point), 2)
    assert not mount_line(point)


@pytest.mark.parametrize("args", [[], ["-f"], ["ipcfs"]], ids=["background", "foreground", "source"])
def test_missing_mount_point_fails_and_says_so(point, args):
    missing = os.path.join(point, "missing")
    expect_failure(run(IPCFS, *args, missing), 1, missing)


def test_mount_point_that_is_a_file_fails(in_world):
    expect_failure(in_world("touch file", "./ipcfs file"), 1, "file")


@pytest.mark.parametrize("foreground", [[], ["-f"]], ids=["background", "foreground"])
def test_without_dev_fuse_it_fails_and_says_so(point, foreground):
    script = "mount -t tmpfs none /dev && exec \"$0\" \"$@\""
    done = run("unshare", "-m", "sh", "-c", script, IPCFS, *foreground, point)
    expect_failure(done, 1, "/dev/fuse")


@pytest.mark.parametrize("foreground", [[], ["-f"]], ids=["background", "foreground"])
def test_user_who_may_not_use_dev_fuse_is_told(in_world, foreground):
    done = in_world("chmod 600 /dev/fuse", f"$user ./ipcfs {' '.join(foreground)} mnt")
    expect_failure(done, 1, "chmod 666 /dev/fuse")


def test_user_who_may_not_mount_there_is_told(in_world):
    done = in_world("chown root mnt", "$user ./ipcfs mnt")
    expect_failure(done, 1)


# --- mount(8), fstab, fusermount3 ---

SIZE_AND_USE = ["stat -f -c '%b %S' mnt", "mkdir mnt/mbox/box; echo hello > mnt/mbox/box/send; cat mnt/mbox/box/recv",
                "umount mnt", "wait_end", "n_mounts"]


def expect_size_and_use(done):
    assert done.stderr == ""
    size, used, n_mounts = done.stdout.splitlines()
    n_blocks, block_bytes = map(int, size.split())
    assert (n_blocks * block_bytes, used, n_mounts) == (1 << 20, "hello", "0")


def test_mount_t_fuse_ipcfs(in_world):
    expect_size_and_use(in_world("mount -t fuse.ipcfs ipcfs $mnt -o max_bytes=1M", *SIZE_AND_USE))


@pytest.mark.parametrize("options", [
    "max_bytes=1M", "defaults,max_bytes=1M", "noauto,nofail,max_bytes=1M,private", "user,noauto,max_bytes=1M",
    "_netdev,nosuid,nodev,noexec,noatime,max_bytes=1M,x-systemd.automount,x-gvfs-hide", "rw,relatime,max_bytes=1M",
])
def test_fstab_line(in_world, options):
    expect_size_and_use(in_world(f"echo ipcfs $mnt fuse.ipcfs {options} 0 0 > fstab", "mount -T fstab $mnt",
                                 *SIZE_AND_USE))


def test_mount_a_mounts_what_fstab_has(in_world):
    expect_size_and_use(in_world("echo ipcfs $mnt fuse.ipcfs max_bytes=1M 0 0 > fstab", "mount -a -T fstab",
                                 *SIZE_AND_USE))


def test_mount_that_fails_tells_mount(in_world):
    done = in_world("mount -t fuse.ipcfs ipcfs $mnt -o max_bytes=much || echo failed", "n_mounts")
    assert done.stdout.splitlines() == ["failed", "0"]
    assert "max_bytes" in done.stderr


def test_user_mounts_and_unmounts_through_fusermount3(in_world):
    done = in_world(
        "$user ./ipcfs mnt", "n_mounts",
        "$user sh -c 'mkdir mnt/mbox/box; echo hello > mnt/mbox/box/send; cat mnt/mbox/box/recv'",
        "$user stat -c %u mnt/mbox/box/send",
        # Without allow_other not even root gets in.
        "ls mnt 2>/dev/null || echo private",
        "$user fusermount3 -u mnt", "wait_end", "n_mounts")
    assert done.stdout.splitlines() == ["1", "hello", str(BOB), "private", "0"], done.stderr


@pytest.mark.parametrize("number", ["TERM", "INT"])
def test_user_mount_is_unmounted_by_a_signal(in_world, number):
    done = in_world(
        # A shell's background children ignore SIGINT where nobody says otherwise.
        "$user env --default-signal=INT ./ipcfs -f mnt & daemon=$!",
        "until [ $(n_mounts) = 1 ]; do sleep 0.01; done", "$user ls -d mnt/mbox",
        f"kill -{number} $daemon", "wait $daemon && echo $?", "n_mounts")
    assert done.stdout.splitlines() == ["mnt/mbox", "0", "0"], done.stderr


def test_private_keeps_other_users_out(mount):
    mnt = mount("-o", "private")
    box = mnt.box(0o777)
    assert "allow_other" not in mount_line(mnt.path)[2]
    for call, *args in [(os.listdir, mnt.path), (os.stat, box.path), (box.send, b"x")]:
        with fails_with(errno.EACCES):
            as_user(ALICE, call, *args)
    box.send(b"of root's")
    assert box.drain() == [b"of root's"]


def test_other_users_may_use_what_root_has_mounted(mount):
    mnt = mount()
    box = mnt.mailbox("alices")
    as_user(ALICE, os.mkdir, box.path)
    as_user(ALICE, box.send, b"x")
    assert "mbox" in as_user(ALICE, os.listdir, mnt.path)


# --- the end ---

class Waiting:
    """Callers that wait in a mount in each way, and handles that are open."""

    def __init__(self, mnt):
        self.full, self.empty, self.meeting = (mnt.box() for _ in range(3))
        self.full.fill()
        self.meeting.configure(messages=0)
        self.calls = []
        # One waits before the next comes: messages are in the order in which their senders came.
        for n, message in enumerate([b"second", b"third"], 1):
            self.calls.append(self.full.start_send(message))
            self.full.wait_for(senders_waiting=n)
        self.calls += [self.empty.start_receive(), self.empty.start_receive(), self.meeting.start_send(b"x")]
        self.empty.wait_for(receivers_waiting=2)
        self.meeting.wait_for(senders_waiting=1)

    def expect_errors(self, *codes):
        for call in self.calls:
            with fails_with(*codes):
                call.result()

    def expect_asleep(self):
        expect_asleep(*self.calls)


@pytest.mark.parametrize("command", [["umount"], ["fusermount3", "-u"]], ids=" ".join)
def test_unmount_ends_the_daemon_with_status_0(mount, command):
    mnt = mount()
    mnt.box().send(b"still there")
    assert run(*command, mnt.path).returncode == 0
    assert mnt.wait_end() == 0
    assert not mnt.is_mounted() and os.listdir(mnt.path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_signal_unmounts(mount, number):
    mnt = mount()
    box = mnt.box()
    box.send(b"lost")
    mnt.process.send_signal(number)
    assert mnt.wait_end() == 0
    assert not mnt.is_mounted() and os.listdir(mnt.path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_signal_unmounts_while_callers_wait_and_they_learn_it(mount, number):
    mnt = mount()
    waiting = Waiting(mnt)
    mnt.process.send_signal(number)
    waiting.expect_errors(errno.EIDRM)
    assert mnt.wait_end() == 0
    assert not mnt.is_mounted()


def test_signal_unmounts_though_files_are_open_and_half_read(mount):
    mnt = mount()
    box = mnt.box()
    box.send(b"half read", b"not read")
    here = os.open(mnt.path, os.O_RDONLY)
    with box.open_recv() as recv, box.open_send() as send:
        assert recv.read(4) == b"half"
        mnt.process.terminate()
        assert mnt.wait_end() == 0
        assert not mnt.is_mounted()
        for call, *args in [(recv.read,), (send.write, b"x"), (os.listdir, here)]:
            with pytest.raises(OSError):
                Call(call, *args).result()
    os.close(here)


def test_second_signal_while_the_first_is_served_does_no_harm(mount):
    mnt = mount()
    Waiting(mnt)
    for _ in range(3):
        mnt.process.terminate()
    assert mnt.wait_end() == 0
    assert not mnt.is_mounted()


def test_signal_of_the_terminal_ends_a_background_daemon_too(point):
    assert run(IPCFS, point).returncode == 0
    os.kill(daemons_on(point)[0], signal.SIGINT)
    expect_unmounted(point)


def test_unmount_of_a_busy_mount_is_refused_and_harms_nothing(mount):
    mnt = mount()
    waiting = Waiting(mnt)
    done = run("umount", mnt.path)
    assert done.returncode != 0 and "busy" in done.stderr
    waiting.expect_asleep()
    expect_works(mnt.path)
    assert waiting.full.take(3) == [b"first", b"second", b"third"]
    waiting.empty.send(b"a", b"b")
    assert sorted(call.result() for call in waiting.calls[2:4]) == [b"a", b"b"]
    assert waiting.meeting.take(1) == [b"x"]
    assert [waiting.calls[i].result() for i in (0, 1, 4)] == [6, 5, 1]


def test_shell_that_stands_in_the_mount_keeps_it_busy(mount):
    mnt = mount()
    script = f"umount {mnt.path} 2>/dev/null && echo gone; mkdir mbox/box && echo works"
    assert run("sh", "-c", script, cwd=mnt.path).stdout == "works\n"


def test_forced_unmount_ends_all_who_wait(mount):
    mnt = mount()
    waiting = Waiting(mnt)
    # The kernel ends the connection whether it then finds the mount busy or not.
    run("umount", "-f", mnt.path)
    for call in waiting.calls:
        with pytest.raises(OSError):
            call.result()
    wait_until(lambda: not mnt.is_mounted() or run("umount", mnt.path).returncode == 0, "it is unmounted")
    assert mnt.wait_end() == 0


def test_lazy_unmount_lets_those_who_are_in_finish(mount):
    """The name is gone; the handles are good until the last one closes, and then the daemon ends."""
    mnt = mount()
    box = mnt.box()
    send = box.open_send()
    receivers = [box.start_receive() for _ in range(2)]
    box.wait_for(receivers_waiting=2)
    assert run("umount", "-l", mnt.path).returncode == 0
    assert not mnt.is_mounted() and os.listdir(mnt.path) == []
    expect_asleep(*receivers)
    send.write(b"message")
    wait_until(lambda: None in {receiver.poll() for receiver in receivers} and
               {receiver.poll() for receiver in receivers} != {None}, "one of them has it")
    assert mnt.process.poll() is None
    for receiver in receivers:
        if receiver.poll() is None:
            receiver.kill()
        receiver.wait()
    send.close()
    assert mnt.wait_end() == 0


def test_lazy_unmount_and_a_signal_leave_nobody_waiting(mount):
    mnt = mount()
    waiting = Waiting(mnt)
    assert run("umount", "-l", mnt.path).returncode == 0
    waiting.expect_asleep()
    mnt.process.terminate()
    waiting.expect_errors(errno.EIDRM)
    assert mnt.wait_end() == 0


def test_daemon_that_is_killed_leaves_nobody_hanging(mount):
    mnt = mount()
    waiting = Waiting(mnt)
    mnt.expected_status = -signal.SIGKILL
    mnt.process.kill()
    for call in waiting.calls:
        with pytest.raises(OSError):
            call.result()
    mnt.wait_end()
    with fails_with(errno.ENOTCONN, errno.ECONNABORTED):
        os.stat(mnt.mbox)
    assert run("umount", mnt.path).returncode == 0
    assert run(IPCFS, mnt.path).returncode == 0
    expect_works(mnt.path)
    assert run("umount", mnt.path).returncode == 0
    expect_unmounted(mnt.path)


def test_dead_mount_on_the_mount_point_is_named(mount):
    mnt = mount()
    mnt.expected_status = -signal.SIGKILL
    mnt.process.kill()
    mnt.wait_end()
    expect_failure(run(IPCFS, mnt.path), 1, mnt.path)


def test_two_mounts_know_nothing_of_each_other(mount):
    first, second = mount(), mount()
    box = first.box()
    box.send(b"first")
    assert os.listdir(second.mbox) == []
    with fails_with(errno.EXDEV):
        os.rename(box.path, os.path.join(second.mbox, "moved"))
    first.process.terminate()
    assert first.wait_end() == 0
    expect_works(second.path)


def test_many_mounts_one_after_another(point):
    """What is mounted can be unmounted at once, and mounted again."""
    for _ in range(25):
        assert run(IPCFS, point).returncode == 0
        assert stat.S_IMODE(os.stat(os.path.join(point, "mbox")).st_mode) == 0o1777
        assert run("umount", point).returncode == 0
    expect_unmounted(point)


def test_nothing_outlives_the_mount(mount):
    first = mount()
    first.box().send(b"x")
    assert run("umount", first.path).returncode == 0
    first.wait_end()
    assert run(IPCFS, first.path).returncode == 0
    assert os.listdir(first.mbox) == []
    assert run("umount", first.path).returncode == 0
    expect_unmounted(first.path)


def test_a_living_one_is_not_mounted_over(mnt):
    """Whoever uses it would be left before an empty one."""
    expect_failure(run(IPCFS, mnt.path), 1, f"an ipcfs is mounted on '{mnt.path}' and answers", f"fusermount3 -u {mnt.path}")
    expect_failure(run(IPCFS, "-f", mnt.path + "/mbox/.."), 1, "answers")
    assert len([line for line in open("/proc/self/mounts", encoding="utf-8") if f" {mnt.path} " in line]) == 1


def test_what_lies_over_one_or_in_one_may_be_mounted_on(mnt, in_world):
    done = in_world("./ipcfs mnt; mount -t tmpfs none mnt; ./ipcfs mnt; umount mnt; umount mnt",
                    "mkdir mnt/shm/inside; ./ipcfs mnt/shm/inside; mkdir mnt/shm/inside/mbox/x",
                    "umount mnt/shm/inside; umount mnt; wait_end; n_mounts")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")

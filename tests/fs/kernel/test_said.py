"""What ipcfs says when it can't mount, in full, with its status: 2 where it was called wrongly, 1 where it failed.
tests/dist/tree/messages knows which message is in no test."""

import os
import signal
import subprocess

import pytest

import harness
from harness import BOB, IPCFS, Mount, mount_point, run


@pytest.fixture
def point():
    with mount_point() as path:
        yield path


def said(*args, status, **kwargs):
    done = run(IPCFS, *args, **kwargs)
    assert (done.returncode, done.stdout) == (status, ""), done
    assert done.stderr.startswith("ipcfs: ") and done.stderr.endswith("\n") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr[len("ipcfs: "):-1]


USAGE = "usage: ipcfs [options] [SOURCE] MOUNTPOINT (more: ipcfs -h)"


@pytest.mark.parametrize("args, expected", [
    ([], "no mount point given; " + USAGE),
    (["a", "b", "c"], "too many operands; " + USAGE),
    (["--nonsense", "POINT"], "bad option: unknown option(s): `--nonsense'"),
    (["-o", "nonsense=1", "POINT"], "bad option: unknown option(s): `-o nonsense=1'"),
    (["-o"], "bad option: missing argument after `-o'"),
    (["-o", "max_bytes=0", "POINT"], "bad size in max_bytes='0': a number above 0, then K, M, G or nothing"),
    (["-o", "uid_bytes=1T", "POINT"], "bad size in uid_bytes='1T': a number above 0, then K, M, G or nothing"),
    (["-o", "transport=usb", "POINT"], "bad transport='usb': auto, uring or dev"),
    (["-o", "store=", "POINT"], "no directory in store=: name one, as in store=/var/lib/ipcfs"),
    *[(["-o", option, "POINT"], f"{option} wants a value, as in {option}=...; see: ipcfs -h")
      for option in ("max_bytes", "uid_bytes", "transport", "store")],
    *[([option], f"{option} wants a value, as in {option}=...; see: ipcfs -h") for option in ("--store-check", "--store-dump")],
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_usage(point, args, expected):
    assert said(*[point if arg == "POINT" else arg for arg in args], status=2) == expected
    assert not harness.mount_line(point)


def test_help_and_version():
    shown = run(IPCFS, "-h")
    assert shown.returncode == 0 and shown.stdout.startswith("usage: ipcfs [options] [SOURCE] MOUNTPOINT\n")
    assert "SIZE is in bytes, or with K, M or G. It ends with umount, fusermount3 -u, SIGTERM or SIGINT.\n" in shown.stdout
    assert "with echo and cat. SOURCE is ignored; it is there for mount(8) and fstab.\n" in shown.stdout
    shown = run(IPCFS, "-V").stdout
    assert shown.startswith("ipcfs ") and " (libfuse 3." in shown


# --- where to mount ---

def test_mount_point(point):
    missing, file = os.path.join(point, "missing"), os.path.join(point, "file")
    assert said(missing, status=1) == f"mount point '{missing}' does not exist: make it first (mkdir -p)"
    with open(file, "w", encoding="ascii"):
        pass
    assert said(file, status=1) == f"mount point '{file}': Not a directory"
    os.unlink(file)


def test_a_mount_that_lives_and_one_that_is_dead():
    """And what it says to do helps."""
    other = Mount()
    path = other.path
    assert said(path, status=1) == f"an ipcfs is mounted on '{path}' and answers: use that one, or end it first (fusermount3 -u {path})"
    other.expected_status = -signal.SIGKILL
    os.kill(other.pid, signal.SIGKILL)
    other.process.wait(timeout=harness.PATIENCE)
    # Whose attributes the kernel may still know.
    assert said(path, status=1) == f"mount point '{path}' holds a dead mount: clear it first (fusermount3 -u -z {path})"
    assert run("fusermount3", "-u", "-z", path).returncode == 0
    other.stop()


def test_no_dev_fuse(point):
    script = "mount -t tmpfs none /dev && exec \"$0\" \"$@\""
    done = run("unshare", "-m", "sh", "-c", script, IPCFS, point)
    assert (done.returncode, done.stderr) == (1, "ipcfs: /dev/fuse is missing: load the kernel's module (modprobe fuse); a container wants "
                                              "--device /dev/fuse\n")


def test_root_that_may_not_mount(point):
    """As in a container without further rights."""
    done = run("setpriv", "--bounding-set", "-sys_admin", IPCFS, point)
    assert (done.returncode, done.stderr) == (1, "ipcfs: this root may not mount; a container wants --cap-add SYS_ADMIN\n")


def test_dev_fuse_that_is_not_for_all(point):
    os.chown(point, BOB, BOB)
    script = ("mount -t tmpfs -o mode=755 none /mnt && mknod -m 600 /mnt/fuse c 10 229 && mount --bind /mnt/fuse /dev/fuse && "
              f"exec setpriv --reuid {BOB} --regid {BOB} --clear-groups \"$0\" \"$@\"")
    done = run("unshare", "-m", "sh", "-c", script, IPCFS, point)
    assert (done.returncode, done.stderr) == (
        1, "ipcfs: /dev/fuse can't be opened: Permission denied; let all users (as root: chmod 666 /dev/fuse)\n")


# --- a store ---

@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "store")


def refusal(store, point):
    text = said("-o", f"store={store}", point, status=1)
    assert text.startswith(f"store '{store}': ")
    return text[len(f"store '{store}': "):]


def test_store_that_can_not_be_made(point):
    assert refusal("/proc/store", point) == "can't be made: No such file or directory"


def test_store_that_is_no_directory(store, point):
    with open(store, "w", encoding="ascii"):
        pass
    assert refusal(store, point) == "it is no directory, or a symbolic link"


def test_store_of_somebody_else(store, point):
    os.mkdir(store, 0o700)
    os.chown(store, BOB, BOB)
    assert refusal(store, point) == f"it belongs to user {BOB}, not to user 0 who mounts"


def test_store_with_what_is_none_of_its_own(store, point):
    os.mkdir(store, 0o700)
    os.symlink("/etc/hostname", os.path.join(store, "live.mdb"))
    assert refusal(store, point) == "live.mdb is no plain file of user 0's own"
    os.rename(os.path.join(store, "live.mdb"), os.path.join(store, "letter"))
    assert refusal(store, point) == "it holds other files, and no store"


def test_store_on_another_machine(point):
    over = Mount()
    try:
        path = os.path.join(over.path, "shm", "store")
        os.mkdir(path, 0o700)
        assert refusal(path, point) == "it is on FUSE; a store needs a filesystem of this machine"
    finally:
        over.stop()


def test_store_that_somebody_has(store, point):
    other = Mount("-o", f"store={store}")
    try:
        assert refusal(store, point) == f"process {other.pid} has it"
    finally:
        other.stop()


@pytest.mark.parametrize("state, why", [
    ("nonsense\n", "it is damaged: state is not readable"),
    ("format=99\nboot=clean\n", "it is of version 99, and this ipcfs knows version 2: use a newer ipcfs"),
])
def test_store_that_is_not_understood(store, point, state, why):
    Mount("-o", f"store={store}").stop()
    with open(os.path.join(store, "state"), "w", encoding="ascii") as file:
        file.write(state)
    assert refusal(store, point) == why


@pytest.mark.parametrize("option", ["--store-check", "--store-dump"])
def test_no_store(tmp_path, option):
    assert said(f"{option}={tmp_path}/none", status=1) == f"store '{tmp_path}/none': No such file or directory"
    os.mkdir(tmp_path / "empty")
    assert said(f"{option}={tmp_path}/empty", status=1) == f"store '{tmp_path}/empty': there is no store in it"


def test_dump_that_can_not_be_printed(store):
    mount = Mount("-o", f"store={store}")
    box = mount.box()
    box.send(b"x" * 20000)
    mount.stop()
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([IPCFS, f"--store-dump={store}"], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
                              timeout=harness.PATIENCE)
    assert (done.returncode, done.stderr) == (1, f"ipcfs: store '{store}': can't be printed: the output takes no more\n")

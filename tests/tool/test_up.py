"""tools/up, in a tree where everything is built already."""

import os
import shutil
import signal
import subprocess

import pytest

from harness import BOB, IPCFS, Mount, daemons_on, mount_line, mount_point, run, wait_until

UP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools/up")


SWITCH = "/sys/module/fuse/parameters/enable_uring"


@pytest.fixture(autouse=True)
def switch_as_it_was():
    """It is the machine's, and root's mounts switch it on."""
    if not os.access(SWITCH, os.W_OK):
        yield None
        return
    with open(SWITCH, encoding="ascii") as switch:
        before = switch.read()
    yield SWITCH
    with open(SWITCH, "w", encoding="ascii") as switch:
        switch.write(before)


@pytest.fixture
def tree(tmp_path):
    for name in ("tools", "build/fs", "bin"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(UP, tmp_path / "tools/up")
    (tmp_path / "build/build.ninja").touch()
    shutil.copy(IPCFS, tmp_path / "build/fs/ipcfs")
    for name in ("tools/deps", "bin/meson"):
        (tmp_path / name).symlink_to("/bin/true")
    return tmp_path


@pytest.fixture
def up(tree):
    def call(point, cwd=None):
        return run(tree / "tools/up", point, cwd=cwd, env=dict(os.environ, PATH=f"{tree}/bin:{os.environ['PATH']}"))
    return call


@pytest.fixture
def point():
    with mount_point() as path:
        yield path


def expect_first_message(done, *words):
    assert done.stderr == "" and done.returncode == 0
    assert "\nhello\n" in done.stdout and "It works" in done.stdout
    for word in words:
        assert word in done.stdout


def test_mounts_once_however_often_it_is_called(up, point):
    expect_first_message(up(point), f"mounted on {point}")
    expect_first_message(up(point), f"{point} is mounted already")
    assert len(daemons_on(point)) == 1


def test_name_is_taken_from_where_it_was_called(up, point):
    parent, name = os.path.split(point)
    expect_first_message(up(f"../{os.path.basename(parent)}/{name}", cwd=parent), f"mounted on {point}\n")


@pytest.mark.parametrize("name", ["plain", "a b", "$HOME;"])
def test_what_it_says_to_paste_works(up, point, name):
    directory = os.path.join(point, name)
    try:
        done = up(directory)
        expect_first_message(done)
        pasted = run("bash", "-c", done.stdout.split("in a shell:\n")[1])
        assert pasted.returncode == 0 and pasted.stderr == ""
        # The first is read in the background, beside the listing.
        lines = pasted.stdout.splitlines()
        assert lines.count("two teas") == lines.count("one coffee") == 1
        assert any(line.endswith(" queue") for line in lines)
        assert not mount_line(directory.replace(" ", "\\040"))
    finally:
        subprocess.run(["umount", "-l", directory], check=False, stderr=subprocess.DEVNULL)
        os.rmdir(directory)


def test_dead_mount_is_cleared(up, point):
    up(point)
    os.kill(*daemons_on(point), signal.SIGKILL)
    wait_until(lambda: daemons_on(point) == [], "the daemon ends")
    expect_first_message(up(point), f"clearing the dead mount on {point}", f"mounted on {point}")


def test_mount_of_another_user_is_left_alone(up, users_may_mount):
    """The kernel doesn't let even root look into it; it is not dead for that."""
    mount = Mount(uid=BOB)
    done = up(mount.path)
    assert done.returncode == 1 and mount.path in done.stderr
    assert mount_line(mount.path)
    assert mount.process.poll() is None


def test_switches_io_uring_on_and_says_so(up, point, switch_as_it_was):
    if not switch_as_it_was:
        pytest.skip("this kernel's FUSE has no io_uring")
    with open(SWITCH, "w", encoding="ascii") as switch:
        switch.write("N")
    assert f"switched on FUSE over io_uring ({SWITCH})" in up(point).stdout
    with open(SWITCH, encoding="ascii") as switch:
        assert switch.read() == "Y\n"
    with open(os.path.join(point, ".ipcfs/version"), encoding="ascii") as version:
        assert "transport=uring\n" in version.read()
    assert "switched on" not in up(point).stdout

"""Which thing an argument names: from where the caller stands, by paths as Tab completes them, in which of several mounts."""

import os

import pytest

from ctl import complaint
from harness import mount_point, run


@pytest.fixture
def other(mount):
    """A second mount, so that none is the only one."""
    return mount()


@pytest.fixture
def here(mnt, other, ipcctl):
    """Runs ipcctl where the test says, without -m."""
    def call(where, *args, env=None):
        script = 'cd "$0" && exec "$@"'
        return run("sh", "-c", script, where, ipcctl, *args, env={**os.environ, **(env or {})})
    return call


@pytest.fixture
def ok(here):
    def call(*args, **kwargs):
        done = here(*args, **kwargs)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout
    return call


@pytest.fixture
def ring(mnt):
    path = os.path.join(mnt.path, "ring", "ticks")
    os.mkdir(path)
    yield path
    run("rmdir", path)


@pytest.mark.parametrize("inside", ["", "mbox", "mbox/{}", "ring", "shm", "proc", ".ipcfs"])
def test_the_mount_is_the_one_where_one_stands(mnt, box, ok, inside):
    where = os.path.join(mnt.path, inside.format(os.path.basename(box.path)))
    assert ok(where, "ls", "mbox/") == os.path.basename(box.path) + "\n"
    assert ok(where, "send", "mbox/" + os.path.basename(box.path), "x") == ""
    assert box.drain() == [b"x"]


@pytest.mark.parametrize("where, arg", [
    ("/", "{path}"), ("/", "{path}/"), ("/", "{path}//"), ("{path}", "."), ("{path}", "./"), ("{path}/queue", ".."),
    ("{mount}/mbox", "{name}"), ("{mount}/mbox", "{name}/"), ("{mount}/mbox", "./{name}/"), ("{mount}/ring", "../mbox/{name}"),
    ("{mount}", "mbox/{name}/"), ("{mount}", "{name}"), ("{mount}/..", "{last}/mbox/{name}/"), ("{path}", "{name}"),
])
def test_a_name_is_a_path_too(mnt, box, ok, where, arg):
    words = {"path": box.path, "mount": mnt.path, "name": os.path.basename(box.path), "last": os.path.basename(mnt.path)}
    assert ok(where.format(**words), "send", arg.format(**words), "x") == ""
    assert box.drain() == [b"x"]


def test_a_path_with_links_in_it(mnt, box, ok, tmp_path):
    os.symlink(mnt.path, tmp_path / "ipc")
    assert ok(tmp_path, "send", f"ipc/mbox/{os.path.basename(box.path)}", "x") == ""
    assert ok(tmp_path / "ipc" / "mbox", "send", os.path.basename(box.path), "y") == ""
    assert box.drain() == [b"x", b"y"]


def test_each_path_says_its_own_mount(mnt, other, box, ok):
    there = other.box()
    ok("/", "rm", box.path, there.path)
    assert not os.path.exists(box.path) and not os.path.exists(there.path)


def test_a_room_by_its_path(mnt, box, ring, ok):
    name = os.path.basename(box.path)
    assert ok("/", "ls", os.path.join(mnt.path, "ring")) == "ring/ticks\n"
    assert ok(os.path.join(mnt.path, "ring"), "ls", ".") == "ring/ticks\n"
    assert ok(os.path.join(mnt.path, "ring"), "ls", "../mbox/") == f"{name}\n"
    assert ok("/", "ls", mnt.path) == ok(mnt.path, "ls", ".") == f"{name}\nring/ticks\n"


def test_a_bare_name_is_in_the_room_where_one_stands(mnt, ring, ok):
    room = os.path.join(mnt.path, "ring")
    assert ok(room, "send", "ticks", "x") == ""
    assert ok("/", "recv", ring, "--timeout", "0") == "x"
    assert ok(room, "new", "tocks/") == ""
    assert ok(room, "rm", "tocks") == ""
    shm = os.path.join(mnt.path, "shm")
    ok(shm, "new", "--size", "10", "board")
    assert os.stat(os.path.join(shm, "board")).st_size == 10
    os.mkdir(os.path.join(shm, "games"))
    ok(os.path.join(shm, "games"), "new", "chess")
    ok("/", "rm", os.path.join(shm, "board"), os.path.join(shm, "games", "chess"))
    os.rmdir(os.path.join(shm, "games"))


def test_rings_by_their_paths(mnt, ring, ok):
    for where, arg in ("/", ring), ("/", ring + "/"), (ring, "."), (os.path.join(mnt.path, "ring"), "ticks"):
        assert ok(where, "ring", "get", arg, "--count", "0") == ""
        assert "slots" in ok(where, "ring", "dump", arg)


def test_the_variable_says_where(mnt, other, box, ok, here):
    env = {"IPCFS_MOUNT": mnt.path}
    name = os.path.basename(box.path)
    assert ok("/", "ls", env=env) == name + "\n"
    # Where one stands comes first, and -m before that.
    assert ok(other.path, "ls", env=env) == ""
    assert ok(other.path, "-m", mnt.path, "ls", env=env) == name + "\n"
    done = here("/", "ls", env={"IPCFS_MOUNT": "/nowhere"})
    assert (done.returncode, complaint(done.stderr)) == (1, "there is no ipcfs on /nowhere")
    done = here("/", "ls", env={"IPCFS_MOUNT": ""})
    assert done.returncode == 2 and "choose one" in complaint(done.stderr)


@pytest.mark.parametrize("arg, said", [
    ("{path}/send", "it is a file in one; name the directory"), ("{mount}", "it is no mailbox, topic, ring, region or process"),
    ("{mount}/mbox", "it is no mailbox, topic, ring, region or process"),
    ("/etc/passwd", "a name has no / in it, but for mbox/, topic/, ring/, shm/ or proc/ before it"),
    ("mbox/a/b", "a name has no / in it, but for mbox/, topic/, ring/, shm/ or proc/ before it"), ("..", "that is a directory's name"),
])
def test_paths_of_something_else(mnt, box, here, arg, said):
    arg = arg.format(mount=mnt.path, path=box.path)
    done = here("/", "send", arg, "x")
    assert (done.returncode, complaint(done.stderr)) == (2, f"'{arg}' can't be: {said}")


def test_a_path_in_another_mount_than_was_said(mnt, other, box, ctl):
    there = other.box()
    assert ctl.run("send", there.path, "x").stderr == (
        f"ipcctl: '{there.path}' can't be: it does not lie in the mount that -m names, {mnt.path}\n")
    assert ctl.ok("send", box.path, "x") == ""
    assert box.drain() == [b"x"]
    there.remove()


def test_hints_can_be_pasted(mnt, here, ctl, box):
    """They say what was said: -m, a path."""
    missing = os.path.join(mnt.path, "mbox", "nope")
    done = here("/", "send", missing, "x")
    assert complaint(done.stderr).endswith(f"; to make it: ipcctl new {missing}")
    done = here(mnt.path, "send", "nope", "x")
    assert complaint(done.stderr).endswith("; to make it: ipcctl new nope")
    box.send(b"x")
    hint = ctl.fails("rm", os.path.basename(box.path)).partition("to drop them: ")[2]
    assert hint.startswith(f"ipcctl -m {mnt.path} rm -f")
    done = run("sh", "-c", 'ipcctl() { "$IPCCTL" "$@"; }\n' + hint, env={**os.environ, "IPCCTL": ctl.program})
    assert (done.returncode, done.stderr) == (0, "")
    assert not os.path.exists(box.path)


def test_what_was_perhaps_meant(ctl, mnt):
    orders = mnt.mailbox("orders").make()
    assert "(did you mean 'orders'?); to make it: " in ctl.fails("send", "odrers", "x")
    assert ctl.fails("rm", "order") == f"can't remove mailbox 'order': there is none on {ctl.mount} (did you mean 'orders'?)"
    assert "did you mean" not in ctl.fails("send", "invoices", "x")
    orders.remove()


@pytest.mark.parametrize("args, said", [
    (["sned"], "'sned' is no verb (did you mean 'send'?); see: ipcctl help"), (["list"], "'list' is no verb (did you mean 'ls'?); see: ipcctl help"),
    (["create"], "'create' is no verb (did you mean 'new'?); see: ipcctl help"),
    (["ring", "dmp"], "'dmp' is no verb (did you mean 'dump'?); see: ipcctl help ring"),
])
def test_a_verb_that_was_perhaps_meant(ipcctl, args, said):
    done = run(ipcctl, *args)
    assert (done.returncode, complaint(done.stderr)) == (2, said)


def test_without_a_verb_all_are_listed(ipcctl):
    done = run(ipcctl)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == "ipcctl: say what to do: a verb"
    assert [verb for verb in ("ls", "new", "rm", "config", "send", "recv", "ring", "top", "bench") if f"\n  {verb} " not in done.stderr] == []


def test_in_a_mount_that_has_died(mount, ipcctl):
    dead = mount()
    dead.expected_status = -9
    script = 'cd "$0/mbox" && kill -9 "$2" && while [ -e . ]; do :; done; exec "$1" ls'
    done = run("sh", "-c", script, dead.path, ipcctl, str(dead.pid))
    assert (done.returncode, complaint(done.stderr)) == (
        1, f"the ipcfs on {dead.path} has died; clear its mount: fusermount3 -u -z {dead.path}")

"""Where ipcctl looks for the mount, and how it answers to a wrong call."""

import os
import re
import signal

import pytest

from ctl import complaint
from harness import ALICE, mount_point, run, wait_until

# Of the mounts that ipcfs has on this machine, those that are named stay: in a namespace of its own.
ONLY = r"""
for m in $(awk '$9 == "fuse.ipcfs" || $8 == "fuse.ipcfs" || $10 == "fuse.ipcfs" { print $5 }' /proc/self/mountinfo); do
    case " $KEEP " in *" $m "*) ;; *) umount -l "$(printf "$m")" 2>/dev/null ;; esac
done
exec "$@"
"""


def alone(keep, *command, **kwargs):
    """Runs a command that sees no other mounts of ipcfs than those of @keep, as mountinfo writes them."""
    env = {**kwargs.pop("env", os.environ), "KEEP": " ".join(keep)}
    return run("unshare", "--mount", "--propagation", "private", "sh", "-c", ONLY, "sh", *command, env=env, **kwargs)


def test_the_only_mount_is_found(mnt, box, ipcctl):
    done = alone([mnt.path], ipcctl, "ls")
    assert (done.returncode, done.stdout) == (0, os.path.basename(box.path) + "\n"), done.stderr


def test_a_mount_that_is_seen_twice_is_one(mnt, box, ipcctl):
    with mount_point() as point:
        done = alone([mnt.path, point], "sh", "-c", 'mount --bind "$1" "$2"; mount --bind "$1/mbox" /mnt; exec "$3" ls', "sh",
                     mnt.path, point, ipcctl)
    assert (done.returncode, done.stdout) == (0, os.path.basename(box.path) + "\n"), done.stderr


def test_a_directory_of_one_is_no_mount(mnt, ipcctl):
    with mount_point() as point:
        done = alone([mnt.path], "sh", "-c", 'mount --bind "$1/mbox" "$2"; umount -l "$1"; exec "$3" ls', "sh", mnt.path, point,
                     ipcctl)
    assert (done.returncode, complaint(done.stderr)) == (1, "ipcfs is not mounted; mount it (ipcfs DIRECTORY)")


def test_spaces_in_its_path(mnt, box, ipcctl):
    script = ('mount -t tmpfs none "$3" && mkdir "$3/a b\\c" && mount --bind "$1" "$3/a b\\c" && umount -l "$1" && '
              'exec "$2" ls')
    with mount_point() as point:
        done = alone([mnt.path], "sh", "-c", script, "sh", mnt.path, ipcctl, point)
    assert (done.returncode, done.stdout) == (0, os.path.basename(box.path) + "\n"), done.stderr


def test_none(ipcctl):
    done = alone([], ipcctl, "ls")
    assert done.returncode == 1
    assert complaint(done.stderr) == "ipcfs is not mounted; mount it (ipcfs DIRECTORY)"


def test_several_are_for_the_caller_to_choose_from(mnt, mount, ipcctl):
    other = mount()
    done = alone([mnt.path, other.path], ipcctl, "ls")
    assert (done.returncode, done.stdout) == (2, "")
    said = complaint(done.stderr)
    assert "mounted 2 times" in said and f"-m {mnt.path}" in said and f"-m {other.path}" in said


def test_one_that_the_user_may_not_enter_does_not_count(mnt, mount, ipcctl):
    private = mount("-o", "private")
    done = alone([mnt.path, private.path], "setpriv", "--reuid", str(ALICE), "--clear-groups", ipcctl, "ls")
    assert done.returncode == 0, done.stderr


def test_one_that_is_hidden_does_not_count(mnt, mount, box, ipcctl):
    hidden = mount()
    done = alone([mnt.path, hidden.path], "sh", "-c", 'mount -t tmpfs none "$1"; exec "$2" ls', "sh", hidden.path, ipcctl)
    assert (done.returncode, done.stdout) == (0, os.path.basename(box.path) + "\n"), done.stderr


def test_dead_mount(mount, ipcctl):
    other = mount()
    other.expected_status = -signal.SIGKILL
    os.kill(other.pid, signal.SIGKILL)
    other.wait_end()
    wait_until(lambda: not os.path.exists(other.mbox), "the mount is dead")
    done = run(ipcctl, "-m", other.path, "ls")
    assert done.returncode == 1
    assert complaint(done.stderr) == (f"the ipcfs on {other.path} has died; clear its mount: fusermount3 -u -z {other.path}")


def test_private_mount_of_another(mount, ipcctl):
    private = mount("-o", "private")
    done = run(ipcctl, "-m", private.path, "ls", uid=ALICE)
    assert done.returncode == 1
    assert complaint(done.stderr) == f"the ipcfs on {private.path} is another user's alone: this one may not enter it"


def test_no_mount_there(ipcctl):
    done = run(ipcctl, "ls", "-m", "/nowhere")
    assert done.returncode == 1
    assert complaint(done.stderr) == "there is no ipcfs on /nowhere"


def test_option_stands_before_or_after_the_verb(mnt, ipcctl):
    for args in (["-m", mnt.path, "ls"], ["ls", "-m", mnt.path], [f"--mount={mnt.path}", "ls"], ["ls", "--mount", mnt.path]):
        assert run(ipcctl, *args).returncode == 0


VERBS = ["ls", "new", "rm", "config", "send", "recv", "work", "call", "pub", "sub", "ring dump", "ring put", "ring get", "store check", "store dump",
         "top", "bench", "poll"]


def test_help_lists_the_verbs(ipcctl):
    for args in (["help"], ["help", "help"], ["--help"]):
        done = run(ipcctl, *args)
        assert (done.returncode, done.stderr) == (0, "")
        assert [verb for verb in VERBS if not re.search(rf"^  {verb.split()[0]} +[A-Z]", done.stdout, re.M)] == []


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(ipcctl, verb):
    for args in (["help", *verb.split()], [*verb.split(), "--help"]):
        done = run(ipcctl, *args)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"Usage: ipcctl {verb} [OPTION...]") and "--mount" in done.stdout


def test_help_of_a_verb_with_verbs_is_theirs(ipcctl):
    done = run(ipcctl, "help", "ring")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"^Usage: (.*) \[OPTION", done.stdout, re.M) == ["ipcctl ring dump", "ipcctl ring put", "ipcctl ring get"]


def test_version(ipcctl):
    assert re.fullmatch(r"ipcctl \d+\.\d+\.\d+\n", run(ipcctl, "--version").stdout)


@pytest.mark.parametrize("args", [["--help"], ["--usage"], ["--version"], ["help"], ["help", "ls"], ["ls", "--help"]], ids=" ".join)
def test_help_that_does_not_get_out(ipcctl, args):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = run(ipcctl, *args, stdout=full)
    assert (done.returncode, complaint(done.stderr)) == (1, "can't write the output: No space left on device")


def closed(fd, *command):
    """Runs a command without one of its first descriptors."""
    return run("sh", "-c", f'exec "$@" {fd}>&-', "sh", *command)


def test_without_an_output(ctl, box):
    name = os.path.basename(box.path)
    done = closed(1, *ctl.args("send", name, "x"))
    assert (done.returncode, done.stderr) == (0, "")
    done = closed(1, *ctl.args("ls"))
    assert (done.returncode, complaint(done.stderr)) == (1, "can't write the output: Bad file descriptor")
    assert box.drain() == [b"x"]


def test_without_an_input(ctl, box):
    done = closed(0, *ctl.args("send", os.path.basename(box.path)))
    assert (done.returncode, complaint(done.stderr)) == (1, "can't read standard input: Bad file descriptor; nothing was sent")
    assert box.drain() == []


@pytest.mark.parametrize("args, said", [
    ([], "ipcctl: say what to do: a verb"),
    (["frob"], "ipcctl: 'frob' is no verb; see: ipcctl help"),
    (["fro\nb"], r"ipcctl: $'fro\nb' is no verb; see: ipcctl help"),
    (["help", "frob"], "ipcctl: 'frob' is no verb; see: ipcctl help"),
    (["help", "ls", "frob"], "ipcctl: 'frob' is no verb; see: ipcctl help"),
    (["ring"], "ipcctl: say what to do with it; see: ipcctl help ring"),
    (["ring", "frob"], "ipcctl: 'frob' is no verb; see: ipcctl help ring"),
    (["store", "frob"], "ipcctl: 'frob' is no verb; see: ipcctl help store"),
    (["help", "ring", "frob"], "ipcctl: 'frob' is no verb; see: ipcctl help ring"),
    (["--frob"], "ipcctl: unrecognized option '--frob'"),
    (["ls", "--frob"], "ipcctl ls: unrecognized option '--frob'"),
])
def test_misuse(ipcctl, args, said):
    done = run(ipcctl, *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == said

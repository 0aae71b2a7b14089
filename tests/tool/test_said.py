"""What ipcctl says when something can't be, in full: the messages that the other files don't have. tests/dist/tree/messages knows
which are in none."""

import os
import subprocess

import pytest

from ctl import Ctl, complaint, read_terminal
from harness import PATIENCE, SLOW, run


@pytest.mark.parametrize("args, said", [
    ("call", "ipcctl call: say whom to ask: a NAME"),
    ("work", "ipcctl work: say where messages come from: a NAME"),
    ("work orders", "ipcctl work: say what to do with each message: a command, after --"),
    ("sub", "ipcctl sub: say what to subscribe to: a NAME"),
    ("store check", "ipcctl store check: which store? name its directory"),
    ("ls --long --json", "ipcctl ls: choose one of --long, --json and --null"),
    ("ls proc/x", "ipcctl: 'proc/x' can't be: a process has a number: proc/PID"),
    ("call ring/ticks q", "ipcctl: ring 'ticks' answers no questions; mailboxes and processes do"),
    ("pub ring/ticks x", "ipcctl: ring 'ticks' is no topic; see: ipcctl help send"),
    ("sub ring/ticks", "ipcctl: ring 'ticks' is no topic; see: ipcctl help recv"),
    ("work ring/ticks -- true", "ipcctl: ring 'ticks' has no leases; mailboxes, subscriptions and processes do"),
    ("new shm/frame messages=3", "ipcctl: region 'frame' has no settings; it has a --size"),
    ("new orders --size 1M", "ipcctl: --size is for regions: mailbox 'orders' has settings"),
])
def test_misuse(ctl, args, said):
    assert ctl.misused(*args.split()) == said


def test_misuse_of_a_question(ctl, mnt):
    box = mnt.box()
    assert ctl.misused("call", os.path.basename(box.path), "") == "ipcctl: a question has some bytes"


def test_no_arguments(ctl):
    done = ctl.run()
    assert done.returncode == 2 and done.stderr.splitlines()[0] == "ipcctl: say what to do: a verb"
    assert done.stderr.splitlines()[-1] == "'ipcctl help VERB' tells more of one."


@pytest.mark.parametrize("room, wrong, what", [
    ("mbox", "messages=few", "a number, 0 for a rendezvous, or max"),
    ("mbox", "bytes=0", "a number of bytes, perhaps with K, M or G, and not 0"),
    ("mbox", "message_bytes=2M", "a number of bytes from 1 to 1044480"),
    ("mbox", "overflow=later", "block, reject or drop-oldest"),
    ("mbox", "ttl=soon", "a number of seconds, with a fraction perhaps, or 0"),
    ("mbox", "attempts=often", "a number, or 0 for no bound"),
    ("mbox", "durable=yes", "daemon, disk or no; but for no only where ipcfs has a store"),
    ("topic", "history=x", "a number of messages"),
    ("ring", "slots=3", "a power of two from 2 to 16777216"),
    ("ring", "slot_bytes=9", "a multiple of 8 from 16 to 1048576"),
    ("ring", "producers=each", "many or one"),
    ("ring", "consumers=two", "many, one or each"),
])
def test_values(ctl, room, wrong, what):
    """Which the kernel's EINVAL does not tell."""
    kind = {"mbox": "mailbox", "topic": "topic", "ring": "ring"}[room]
    ctl.ok("new", f"{room}/valued")
    try:
        said = ctl.fails("config", f"{room}/valued", wrong)
        assert said == f"{kind} 'valued' does not take '{wrong}': {wrong.split('=')[0]} is {what}; nothing was changed"
    finally:
        ctl.ok("rm", f"{room}/valued")


# --- calls ---

@pytest.fixture
def asked(mnt, box):
    """A mailbox, and its name."""
    return box, os.path.basename(box.path)


def test_a_question_without_room(ctl, asked):
    box, name = asked
    box.configure(messages=1)
    box.send(b"first")
    said = ctl.fails("call", name, "?", "-t", "0.1", status=3)
    assert said == (f"mailbox '{name}' had no room for the question within 0.1 s (1 of 1 messages, 5 of 16777216 bytes); "
                    "it was not asked")
    box.drain()


def test_a_question_that_expires(ctl, asked):
    box, name = asked
    box.configure(ttl=0.1)
    assert ctl.fails("call", name, "?") == f"mailbox '{name}' has let the question expire (ttl); nobody will answer it"


@pytest.mark.parametrize("limit, n_bytes, why", [
    ("bytes=100000", 200000, "is longer than all it holds (bytes); it gets none"),
    ("bytes=4M", 2000000, "is longer than what you may still hold (uid_bytes); it gets none"),
])
def test_an_answer_that_can_not_be_given(mount, ipcctl, limit, n_bytes, why):
    """The command has run, and runs once: it would say the same again. The asker is told."""
    other = mount("-o", "uid_bytes=1M")
    box = other.box()
    name = os.path.basename(box.path)
    box.write_config(limit.encode())
    ctl = Ctl(ipcctl, other.path)
    asker = ctl.start("call", name, "?")
    done = ctl.run("work", "-t", "1", name, "--", "head", "-c", str(n_bytes), "/dev/zero")
    assert done.returncode == 0
    said = complaint(done.stderr)
    assert said.startswith("the answer to question ") and said.endswith(f" of mailbox '{name}' {why}")
    _, err = asker.communicate(timeout=PATIENCE)
    assert asker.returncode == 1
    assert complaint(err) == f"mailbox '{name}' has dropped the question; nobody will answer it"
    assert int(box.stat()["received"]) == 1


def test_a_long_answer_of_a_command(ctl, asked):
    """Longer than a message may be, not longer than all that may wait."""
    box, name = asked
    asker = ctl.start("call", name, "?")
    ctl.run("work", "-t", "1", name, "--", "head", "-c", "200000", "/dev/zero")
    out, err = asker.communicate(timeout=PATIENCE)
    assert (asker.returncode, len(out), err) == (0, 200000, "")


def test_what_work_shows_on_a_terminal(ctl, asked):
    box, name = asked
    box.send(b"1", b"2")
    master, slave = os.openpty()
    with open(master, "rb", buffering=0) as terminal:
        command = subprocess.Popen(ctl.args("work", "-t", "0", name, "--", "true"), stderr=slave)
        os.close(slave)
        shown = read_terminal(terminal)
    assert command.wait(timeout=PATIENCE) == 0
    assert shown.split("\r")[-2:] == ["2 done, 0 back, 0 running ", "\n"]


# --- what is not there ---

def test_nothing_to_work_on(ctl, mnt):
    assert ctl.fails("work", "nope", "--", "true").startswith(
        f"can't work on messages of mailbox 'nope': there is none on {mnt.path}")


def test_two_mounts(ipcctl, mount):
    """Which are all of this machine's, perhaps more."""
    first, second = mount(), mount()
    done = run(ipcctl, "ls", cwd="/", env={key: value for key, value in os.environ.items() if key != "IPCFS_MOUNT"})
    assert done.returncode == 2
    said = complaint(done.stderr)
    assert said.startswith("ipcfs is mounted ") and said.endswith("; or go into it, or set $IPCFS_MOUNT")
    assert f" -m {first.path}" in said and f" -m {second.path}" in said


def test_no_proc(ipcctl):
    done = run("unshare", "--mount", "sh", "-c", 'umount -l /proc && exec "$0" ls', ipcctl, env={**os.environ, "IPCFS_MOUNT": ""})
    # A sanitizer that misses /proc has words of its own.
    said = [line for line in done.stderr.splitlines(keepends=True) if SLOW == 1 or line.startswith("ipcctl: ")]
    assert SLOW > 1 or done.returncode == 1
    assert complaint("".join(said)) == "can't read /proc/self/mountinfo (No such file or directory); say where ipcfs is mounted: -m"


def test_no_ipcfs_to_look_into_a_store_with(ctl, tmp_path):
    done = run("/bin/sh", "-c", 'PATH=/none exec "$0" store check .', ctl.program, cwd=tmp_path)
    assert (done.returncode, complaint(done.stderr)) == (1, "can't run ipcfs: No such file or directory")


def test_poll_wants_a_pipe(ctl):
    assert ctl.fails("poll") == "can't wait for standard input: Operation not permitted; a pipe is wanted"


def test_a_wait_that_the_end_of_the_mount_ends(mount, ipcctl):
    other = mount()
    box = other.box()
    ctl = Ctl(ipcctl, other.path)
    receiver = ctl.start("recv", os.path.basename(box.path))
    box.wait_for(receivers_waiting=1)
    other.expected_status = -9
    os.kill(other.pid, 9)
    _, err = receiver.communicate(timeout=PATIENCE)
    assert receiver.returncode == 1
    assert complaint(err) == f"can't receive from mailbox '{os.path.basename(box.path)}': the ipcfs on {other.path} has ended"


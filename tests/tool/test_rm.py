"""ipcctl rm: what is empty, or with -f all."""

import errno
import os

import pytest

from harness import ALICE, fails_with, start


def name_of(box):
    return os.path.basename(box.path)


def test_an_empty_mailbox(ctl, box):
    assert ctl.ok("rm", name_of(box)) == ""
    assert not os.path.exists(box.path)


def test_messages_are_not_dropped_unasked(ctl, box):
    box.send(b"one", b"two")
    name = name_of(box)
    assert ctl.fails("rm", name) == f"can't remove mailbox '{name}': messages wait in it (2); to drop them: ipcctl -m {ctl.mount} rm -f {name}"
    assert box.drain() == [b"one", b"two"]


@pytest.mark.parametrize("option", ["-f", "--force"])
def test_by_force(ctl, box, option):
    box.send(b"one", b"two")
    ctl.ok("rm", option, name_of(box))
    assert not os.path.exists(box.path)


def test_by_force_with_senders_that_wait(ctl, box):
    box.fill(b"one")
    senders = [box.start_send(b"more") for _ in range(20)]
    box.wait_for(senders_waiting=len(senders))
    ctl.ok("rm", "-f", name_of(box))
    assert not os.path.exists(box.path)


def test_by_force_while_somebody_sends_without_end(ctl, box):
    """Faster than it can be emptied."""
    sender = start("sh", "-c", 'yes 2> /dev/null > "$0/send.lines"', box.path)
    box.wait_for(senders_waiting=1)
    ctl.ok("rm", "-f", name_of(box))
    assert not os.path.exists(box.path)
    assert sender.wait() != 0


def test_by_force_with_one_that_is_just_being_written(ctl, box):
    """A file that is open in drop/ keeps no mailbox; who writes it is told."""
    box.send(b"one")
    half = os.open(os.path.join(box.path, "drop", "half"), os.O_WRONLY | os.O_CREAT)
    os.write(half, b"half")
    assert ctl.ok("rm", "-f", name_of(box)) == ""
    with fails_with(errno.EIDRM):
        os.write(half, b"more")
    with fails_with(errno.EIDRM):
        os.close(half)
    assert not os.path.exists(box.path)


def test_several_and_one_that_is_not_there(ctl, mnt, box):
    other = mnt.box()
    done = ctl.run("rm", name_of(box), "nothing", name_of(other))
    assert done.returncode == 1
    assert done.stderr == (f"ipcctl: can't remove mailbox 'nothing': there is none on {ctl.mount}\n")
    assert not os.path.exists(box.path) and not os.path.exists(other.path)


def test_force_does_not_mind_what_is_not_there(ctl):
    assert ctl.ok("rm", "-f", "nothing") == ""


def test_another_user_may_not(ctl, box):
    name = name_of(box)
    assert ctl.fails("rm", name, uid=ALICE) == f"user {ALICE} may not remove mailbox '{name}': it is of root:root"
    assert os.path.exists(box.path)


def test_another_user_may_not_by_force(ctl, box):
    box.send(b"kept")
    name = name_of(box)
    assert ctl.fails("rm", "-f", name, uid=ALICE) == f"user {ALICE} may not remove mailbox '{name}': it is of root:root"
    assert box.drain() == [b"kept"]


def test_owned_by_a_process(ctl, box):
    box.send(b"one")
    owner = start("sh", "-c", 'exec 3>"$0/owner"; echo; read x', box.path, stdin=-1)
    owner.stdout.readline()
    name = name_of(box)
    assert ctl.fails("rm", "-f", name) == (f"can't remove mailbox '{name}': process {owner.pid} (sh) owns it, "
                                           "and only that and its descendants may")


@pytest.mark.parametrize("args, said", [
    ([], "ipcctl rm: say what to remove: a NAME"),
    (["proc/1"], "ipcctl: process 1 has its mailbox while it lives"),
    (["mbox/"], "ipcctl: 'mbox/' can't be: a name is at least one byte long"),
])
def test_misuse(ctl, args, said):
    assert ctl.misused("rm", *args) == said

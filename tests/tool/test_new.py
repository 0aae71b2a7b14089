"""ipcctl new: mailboxes with their mode and settings, or nothing."""

import os

import pytest

from ctl import odd_names, remove_if_there
from harness import ALICE, Mailbox


@pytest.fixture
def path(mnt):
    """Of a mailbox to be."""
    path = os.path.join(mnt.mbox, "orders")
    yield path
    remove_if_there(Mailbox(path))


def mode_of(path):
    return os.stat(path).st_mode & 0o7777


@pytest.mark.parametrize("name", ["orders", "mbox/orders"])
def test_a_mailbox(ctl, path, name):
    assert ctl.ok("new", name) == ""
    assert os.path.exists(os.path.join(path, "send")) and mode_of(path) == 0o755


def test_the_umask_counts(ctl, path):
    ctl.ok("new", "orders", umask=0o027)
    assert mode_of(path) == 0o750


@pytest.mark.parametrize("mode", ["711", "0700", "777"])
def test_its_mode_as_asked_for(ctl, path, mode):
    ctl.ok("new", "--mode", mode, "orders", umask=0o077)
    assert mode_of(path) == int(mode, 8)


def test_it_belongs_to_the_caller(ctl, path):
    ctl.ok("new", "orders", uid=ALICE)
    assert os.stat(path).st_uid == ALICE


def test_with_settings(ctl, path):
    ctl.ok("new", "orders", "messages=3", "overflow=reject")
    config = Mailbox(path).config()
    assert (config["messages"], config["overflow"]) == ("3", "reject")


@pytest.mark.parametrize("settings, said", [
    (["mesages=3"], "mailbox 'orders' has no setting 'mesages' (did you mean 'messages'?); it has: messages bytes message_bytes overflow ttl attempts dead durable"),
    (["messages=3", "overflow=often"], "mailbox 'orders' does not take 'overflow=often': overflow is block, reject or drop-oldest; "
     "nothing was changed"),
])
def test_settings_that_are_not_taken_make_nothing(ctl, path, settings, said):
    assert ctl.fails("new", "orders", *settings) == said
    assert not os.path.exists(path)


def test_one_that_exists(ctl, path):
    ctl.ok("new", "orders")
    assert ctl.fails("new", "orders", "messages=1") == "mailbox 'orders' exists already"
    assert Mailbox(path).config()["messages"] == "1024"


@odd_names
def test_odd_names(ctl, mnt, name):
    ctl.ok("new", "--", name)
    path = os.path.join(os.fsencode(mnt.mbox), name)
    assert os.path.isdir(path)
    ctl.ok("rm", "--", name)
    assert not os.path.exists(path)


@pytest.mark.parametrize("args, said", [
    ([], "ipcctl new: say what to make: a NAME"),
    (["orders", "messages"], "ipcctl: 'messages' is no setting: key=value"),
    (["orders", "=3"], "ipcctl: '=3' is no setting: key=value"),
    (["orders", "messages=3\nbytes=9"], r"ipcctl: $'messages=3\nbytes=9' is no setting: key=value"),
    (["--mode", "9", "orders"], "ipcctl new: '9' is no mode: octal, like 711"),
    (["--mode", "17777", "orders"], "ipcctl new: '17777' is no mode: octal, like 711"),
    (["--mode", "7\n", "orders"], r"ipcctl new: $'7\n' is no mode: octal, like 711"),
    (["--size", "1\nG", "shm/orders"], r"ipcctl: $'1\nG' is no size: a number, then K, M, G or nothing"),
    (["--size", "1M", "orders"], "ipcctl: --size is for regions: mailbox 'orders' has settings"),
    (["proc/1"], "ipcctl: process 1 has its mailbox by itself, while it lives"),
    (["a/b"], "ipcctl: 'a/b' can't be: a name has no / in it, but for mbox/, topic/, ring/, shm/ or proc/ before it"),
    (["mbox/"], "ipcctl: 'mbox/' can't be: a name is at least one byte long"),
    ([".."], "ipcctl: '..' can't be: that is a directory's name"),
    (["x" * 256], f"ipcctl: '{'x' * 256}' can't be: a name is at most 255 bytes long"),
])
def test_misuse(ctl, path, args, said):
    assert ctl.misused("new", *args) == said
    assert not os.path.exists(path)

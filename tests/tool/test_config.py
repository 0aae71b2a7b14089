"""ipcctl config: settings, read and changed, all or none."""

import os

import pytest

from harness import ALICE


@pytest.fixture
def name(box):
    return os.path.basename(box.path)


def test_prints_them(ctl, box, name):
    with open(box.config_path, encoding="utf-8") as config:
        assert ctl.ok("config", name) == config.read()


def test_prints_them_as_json(ctl, box, name):
    box.configure(messages="max")
    assert ctl.json("config", name, "--json") == {"messages": "max", "bytes": 16777216, "message_bytes": 65536,
                                                  "overflow": "block", "ttl": 0, "attempts": 0, "dead": "",
                                                  "durable": "no"}


def test_changes_several_at_once(ctl, box, name):
    assert ctl.ok("config", name, "messages=7", "overflow=drop-oldest") == ""
    assert box.config() == {"messages": "7", "bytes": "16777216", "message_bytes": "65536", "overflow": "drop-oldest",
                            "ttl": "0", "attempts": "0", "dead": "", "durable": "no"}


@pytest.mark.parametrize("settings, said", [
    (["messages=7", "colour=red"], "has no setting 'colour'; it has: messages bytes message_bytes overflow ttl attempts dead durable"),
    (["messages=many"], "does not take 'messages=many': messages is a number, 0 for a rendezvous, or max; nothing was changed"),
    (["messages=7", "message_bytes=1044481"], "does not take 'message_bytes=1044481': message_bytes is a number of bytes from 1 to 1044480; nothing was changed"),
])
def test_all_or_none(ctl, box, name, settings, said):
    before = box.config()
    assert ctl.fails("config", name, *settings) == f"mailbox '{name}' {said}"
    assert box.config() == before


def test_everybody_may_read_and_the_owner_write(ctl, box, name):
    assert "messages=1024\n" in ctl.ok("config", name, uid=ALICE)
    assert ctl.fails("config", name, "messages=1", uid=ALICE) == (
        f"user {ALICE} may not configure mailbox '{name}': its config is -rw-r--r--, of root:root")


def test_no_such_mailbox(ctl):
    assert ctl.fails("config", "no such") == (
        f"can't read the settings of mailbox 'no such': there is none on {ctl.mount}; to make it: ipcctl -m {ctl.mount} new 'no such'")
    assert "there is none" in ctl.fails("config", "nothing", "messages=1")


@pytest.mark.parametrize("args, said", [
    ([], "ipcctl config: say of what: a NAME"),
    (["nothing", "messages"], "ipcctl: 'messages' is no setting: key=value"),
    (["shm/x"], "ipcctl: region 'x' has no settings; its size is set by truncate(1)"),
])
def test_misuse(ctl, args, said):
    assert ctl.misused("config", *args) == said

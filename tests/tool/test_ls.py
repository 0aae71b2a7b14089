"""ipcctl ls: what there is, for people, for shells and for programs."""

import base64
import os
import re

import pytest

from ctl import Ctl, ODD_NAMES, PLAIN, UTF8, odd_names, remove_if_there, words_of
from harness import Handle, ALICE, Mailbox, run, start


@pytest.fixture
def named(mnt):
    """Makes a mailbox with a name of bytes."""
    made = []

    def make(name, mode=0o755):
        made.append(Mailbox(os.path.join(os.fsencode(mnt.mbox), name).decode(errors="surrogateescape")).make(mode))
        return made[-1]

    yield make
    for box in made:
        remove_if_there(box)


@pytest.fixture
def orders(named):
    return named(b"orders")


def table(text):
    """Rows as dictionaries. No cell of a table that no terminal sees has a space in it; names come last."""
    lines = text.splitlines()
    titles = lines[0].replace("LAST SEND", "LAST_SEND").split()
    return [dict(zip(titles, line.split(None, len(titles) - 1))) for line in lines[1:]]


def test_nothing_is_listed_as_nothing(ctl):
    assert ctl.ok("ls") == ""
    assert ctl.json("ls", "--json") == []


def test_names_come_sorted_and_bare(ctl, named):
    for name in (b"pears", b"two apples", b"figs"):
        named(name)
    assert ctl.ok("ls") == "figs\npears\ntwo apples\n"


def test_odd_names_are_separated_by_nul(ctl, named):
    for name in ODD_NAMES:
        named(name)
    out = ctl.ok("ls", "--null").encode(errors="surrogateescape")
    assert out.split(b"\0") == [*sorted(ODD_NAMES), b""]


@pytest.mark.parametrize("env", [UTF8, PLAIN], ids=["utf8", "ascii"])
@odd_names
def test_a_terminal_gets_a_name_that_a_shell_takes_back(ctl, named, name, env):
    named(name)
    out = ctl.on_terminal("ls", env=env)
    assert out.count("\n") == 1 and out[:-1].isprintable()
    assert env is UTF8 or out.isascii()
    assert words_of(out[:-1]) == [name]


@odd_names
def test_a_table_has_a_line_for_each_name(ctl, named, name):
    named(name)
    [row] = table(ctl.ok("ls", "-l"))
    assert words_of(row["NAME"]) == [name]


@odd_names
def test_json_has_the_name_whole(ctl, named, name):
    named(name)
    [entry] = ctl.json("ls", "--json")
    try:
        assert entry["name"] == name.decode()
        assert "name_base64" not in entry
    except UnicodeDecodeError:
        assert base64.b64decode(entry["name_base64"]) == name
        assert base64.b64decode(entry["path_base64"]) == os.path.join(os.fsencode(ctl.mount), b"mbox", name)
        assert entry["name"] == name.decode(errors="replace")


def test_letters_are_not_quoted_where_the_locale_has_them(ctl, named):
    named("café".encode())
    assert ctl.on_terminal("ls") == "café\n"


def test_table_tells_what_stat_says(ctl, orders):
    orders.configure(messages=20, bytes=5000000)
    orders.send(b"12345", b"67890")
    [row] = table(ctl.ok("ls", "-l"))
    when, user, pid = row.pop("LAST_SEND").split(",")
    assert row == {"MODE": "drwxr-xr-x", "OWNER": "root:root", "MESSAGES": "2/20", "BYTES": "10/5000000",
                   "WAITING": "0+0", "NAME": "orders"}
    assert (when, user, pid) == (orders.stat()["last_send"], "root", str(os.getpid()))


def test_terminal_gets_sizes_as_people_write_them(ctl, orders):
    orders.send(b"x" * 1536)
    line = ctl.on_terminal("ls", "-l").splitlines()[1]
    assert " 1/1024  1.5K/16M " in line
    assert f"now, root {os.getpid()}" in line or f"s ago, root {os.getpid()}" in line


def test_table_fits_a_terminal(ctl, orders):
    orders.send(b"x" * 1536)
    assert all(len(line) <= 100 for line in ctl.on_terminal("ls", "-l").splitlines())


def test_table_tells_who_waits(ctl, orders):
    waiting = [orders.start_receive(), orders.start_receive()]
    orders.wait_for(receivers_waiting=len(waiting))
    [row] = table(ctl.ok("ls", "-l"))
    assert row["WAITING"] == "0+2"
    orders.send(b"one", b"two")


def test_json_tells_all(ctl, orders):
    orders.send(b"12345")
    [entry] = ctl.json("ls", "--json", "orders")
    stat = orders.stat()
    assert entry == {
        "kind": "mailbox", "name": "orders", "path": orders.path, "mode": "0755", "uid": 0, "user": "root", "gid": 0,
        "group": "root", "messages": 1, "max_messages": 1024, "bytes": 5, "max_bytes": 16777216,
        "senders_waiting": 0, "receivers_waiting": 0, "sent": 1, "received": 0, "dropped": 0, "rejected": 0,
        "leased": 0, "expired": 0, "dead": 0,
        "owner_pid": None, "last_send": stat["last_send"], "last_receive": None,
        "last_sender": {"pid": os.getpid(), "uid": 0, "user": "root"},
    }


def test_no_bound_is_a_word(ctl, orders):
    orders.configure(messages="max")
    assert ctl.json("ls", "--json")[0]["max_messages"] == "max"
    assert table(ctl.ok("ls", "-l"))[0]["MESSAGES"] == "0/max"


def test_json_tells_the_owner(ctl, orders):
    owner = start("sh", "-c", "exec 3>\"$0/owner\"; echo; read x", orders.path, stdin=-1)
    owner.stdout.readline()
    assert ctl.json("ls", "--json")[0]["owner_pid"] == owner.pid


def test_last_sender_is_the_one_of_the_newest_message(ctl, orders):
    orders.send(b"first")
    os.chmod(orders.path, 0o711)
    sender = orders.start_send(b"second", name="send.9", uid=ALICE)
    sender.result()
    [entry] = ctl.json("ls", "--json")
    assert entry["last_sender"] == {"pid": sender.pid, "uid": ALICE, "user": str(ALICE)}


def test_what_may_not_be_seen_is_not_known(ctl, named):
    named(b"private", mode=0o700).send(b"x")
    [entry] = ctl.json("ls", "--json", uid=ALICE)
    assert (entry["mode"], entry["messages"], entry["last_send"]) == ("0700", None, None)
    [row] = table(ctl.ok("ls", "-l", uid=ALICE))
    assert (row["MESSAGES"], row["BYTES"], row["WAITING"]) == ("-", "-", "-")


def test_another_user_sees_the_counts_but_not_the_sender(ctl, orders):
    orders.send(b"x")
    [entry] = ctl.json("ls", "--json", uid=ALICE)
    assert (entry["messages"], entry["last_sender"]) == (1, None)


def test_only_what_is_named(ctl, named):
    for name in (b"a", b"b", b"c"):
        named(name)
    assert ctl.ok("ls", "c", "mbox/a") == "c\na\n"
    assert ctl.ok("ls", "mbox/") == "a\nb\nc\n"
    assert ctl.ok("ls", "shm/") == ""


def test_what_is_not_there_is_said_and_the_rest_listed(ctl, orders):
    done = ctl.run("ls", "nothing", "orders")
    assert (done.returncode, done.stdout) == (1, "orders\n")
    assert done.stderr == (f"ipcctl: can't list mailbox 'nothing': there is none on {ctl.mount}\n")


@pytest.mark.parametrize("room", ["mbox", "ring", "shm", "proc"])
def test_a_room_needs_its_slash(ctl, room):
    """A mailbox may have that name."""
    assert ctl.fails("ls", room) == f"there is no mailbox '{room}'; to list the room: ipcctl ls {room}/"
    ctl.ok("new", room)
    assert ctl.ok("ls", room) == f"{room}\n"
    ctl.ok("rm", room)


@pytest.mark.parametrize("args", [("-l", "--json"), ("-l", "-0"), ("--frob",), ("a/b",), ("",), ("x" * 256,), ("..",), ("proc/x",)])
def test_misuse(ctl, args):
    assert ctl.misused("ls", *args)


def test_output_that_can_not_be_written(ctl, orders):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = run(*ctl.args("ls"), stdout=full)
    assert done.returncode == 1
    assert done.stderr == "ipcctl: can't write the output: No space left on device\n"


def test_what_is_on_lease_is_shown(ctl, orders):
    orders.send(b"job")
    with Handle(orders.file("work"), os.O_RDWR) as work:
        work.read()
        assert "0+0 (1 leased)" in ctl.ok("ls", "-l", "orders")
        work.write(b"done")
    assert "leased" not in ctl.ok("ls", "-l", "orders")


# --- what is durable, and how much the store holds ---

@pytest.fixture(name="kept")
def fixture_kept(mount, ipcctl, tmp_path):
    """A mount with a store."""
    mnt = mount("-o", f"store={tmp_path / 'store'}")
    try:
        yield mnt, Ctl(ipcctl, mnt.path)
    finally:
        mnt.stop()


def test_durable_is_a_column_where_something_is(kept, ctl, orders):
    mnt, kept_ctl = kept
    for name, durable in (("disk", "disk"), ("daemon", "daemon"), ("none", "no"), ("was", "daemon")):
        box = mnt.mailbox(name).make()
        box.configure(durable=durable)
        box.send(b"1")
    mnt.mailbox("was").configure(durable="no")
    rows = {row["NAME"]: row["DURABLE"] for row in table(kept_ctl.ok("ls", "-l"))}
    assert rows == {"disk": "disk", "daemon": "daemon", "none": "no", "was": "no,1"}
    json = {entry["name"]: (entry["durable"], entry["kept"], entry["storing"]) for entry in kept_ctl.json("ls", "--json")}
    assert json == {"disk": ("disk", 1, 0), "daemon": ("daemon", 1, 0), "none": ("no", 0, 0), "was": ("no", 1, 0)}
    assert "DURABLE" not in ctl.ok("ls", "-l")


def test_a_terminal_is_told_what_the_store_holds(kept, ctl, orders):
    mnt, kept_ctl = kept
    mnt.mailbox("one").make().send(b"1", b"2")
    mnt.mailbox("other").make().send(b"3")
    last = kept_ctl.on_terminal("ls", "-l").splitlines()[-1]
    assert re.fullmatch(r"store: 3 messages kept in 2 mailboxes, [0-9.]+K of 1.0M used", last), last
    assert "store:" not in kept_ctl.ok("ls", "-l")
    assert "store:" not in ctl.on_terminal("ls", "-l")

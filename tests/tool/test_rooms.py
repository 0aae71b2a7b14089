"""What else than mailboxes a mount holds: rings, regions and processes."""

import os
import stat

import pytest

from ctl import complaint, odd_names
from harness import ALICE, PATIENCE, Handle, expect_asleep, read_settings, run, start, wait_until


@pytest.fixture
def ring(ctl):
    path = os.path.join(ctl.mount, "ring", "ticks")
    os.mkdir(path)
    with open(os.path.join(path, "config"), "w", encoding="utf-8") as config:
        config.write("slots=8\n")
    yield path
    if os.path.exists(path):
        ctl.ok("rm", "-f", "ring/ticks")


@pytest.fixture
def region(ctl):
    path = os.path.join(ctl.mount, "shm", "frame")
    with open(path, "wb") as file:
        file.truncate(4096)
    yield path
    if os.path.exists(path):
        os.unlink(path)


def file(path, name):
    return os.path.join(path, name)


# --- rings ---

def test_new_ring(ctl):
    path = os.path.join(ctl.mount, "ring", "orders")
    ctl.ok("new", "ring/orders", "slots=4", "producers=one", "--mode", "711")
    settings = read_settings(file(path, "config"))
    assert (settings["slots"], settings["producers"]) == ("4", "one")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o711
    assert ctl.fails("new", "ring/orders") == "ring 'orders' exists already"
    ctl.ok("rm", "ring/orders")
    assert not os.path.exists(path)


def test_new_ring_with_settings_that_are_not_taken(ctl):
    assert ctl.fails("new", "ring/orders", "slots=5") == (
        "ring 'orders' does not take 'slots=5': slots is a power of two from 2 to 16777216; nothing was changed")
    assert os.listdir(os.path.join(ctl.mount, "ring")) == []


def test_put_and_get_by_name(ctl, ring):
    for name in "ticks", "ring/ticks":
        ctl.ok("ring", "put", name, stdin=b"one\ntwo\n")
        assert ctl.ok("ring", "get", name, "-t", "0") == "one\ntwo\n"


def test_shell_and_map_are_one_ring(ctl, ring):
    ctl.ok("send", "ring/ticks", "first")
    ctl.ok("ring", "put", "ticks", stdin=b"second\nthird\n")
    assert ctl.ok("recv", "ring/ticks") == "first"
    assert ctl.ok("ring", "get", "ticks", "-n", "1") == "second\n"
    assert ctl.ok("recv", "ring/ticks", "--follow", "--timeout", "0") == "third\n"


def test_receiver_waits_for_a_mapped_producer(ctl, ring):
    receiver = ctl.start("recv", "ring/ticks")
    expect_asleep(receiver)
    ctl.ok("ring", "put", "ticks", stdin=b"mapped\n")
    assert receiver.output() == "mapped"


def test_sender_waits_for_a_mapped_consumer(ctl, ring):
    ctl.ok("ring", "put", "ticks", stdin=b"1\n2\n3\n4\n5\n6\n7\n8\n")
    assert ctl.fails("send", "ring/ticks", "9", "--timeout", "0") == (
        "ring 'ticks' has no room for the message (no free slot); nothing was sent")
    assert ctl.fails("send", "ring/ticks", "9", "--timeout", "0.2") == (
        "ring 'ticks' had no room for the message within 0.2 s (no free slot); nothing was sent")
    sender = ctl.start("send", "ring/ticks", "9", "--timeout", "30")
    expect_asleep(sender)
    assert ctl.ok("ring", "get", "ticks", "-n", "9") == "".join(f"{i}\n" for i in range(1, 10))
    assert sender.output() == ""


def test_ring_that_is_empty_or_gets_nothing_in_time(ctl, ring):
    assert ctl.fails("recv", "ring/ticks", "--timeout", "0", status=3) == "no message waits in ring 'ticks'"
    assert ctl.fails("recv", "ring/ticks", "-t", "0.1", status=3) == "no message came to ring 'ticks' within 0.1 s"


def test_message_too_long_for_a_slot(ctl, ring):
    assert ctl.fails("send", "ring/ticks", "x" * 1017) == (
        "can't send to ring 'ticks': the message is too long; a slot has room for 1016 bytes")
    assert ctl.fails("send", "ring/ticks", "x", "--prio", "3") == "can't send to ring 'ticks': a ring has no priorities"


def test_ls_of_a_ring(ctl, ring):
    ctl.ok("ring", "put", "ticks", stdin=b"1\n2\n3\n")
    assert ctl.ok("ls") == "ring/ticks\n"
    [entry] = ctl.json("ls", "--json", "ring/")
    assert {key: entry[key] for key in ("kind", "name", "path", "mode", "messages", "max_messages", "bytes")} == {
        "kind": "ring", "name": "ticks", "path": ring, "mode": "0755", "messages": 3, "max_messages": 8,
        "bytes": os.stat(file(ring, "map")).st_size}
    assert ctl.ok("ls", "-l").splitlines()[1].split()[2] == "3/8"


def test_ring_that_holds_messages(ctl, ring):
    ctl.ok("ring", "put", "ticks", stdin=b"1\n2\n3\n")
    assert ctl.fails("rm", "ring/ticks") == (
        f"can't remove ring 'ticks': messages wait in it (3); to drop them: ipcctl -m {ctl.mount} rm -f ring/ticks")
    assert ctl.fails("config", "ring/ticks", "slots=4") == (
        "can't configure ring 'ticks': it holds messages, and takes new settings only while it is empty")
    ctl.ok("rm", "-f", "ring/ticks")
    assert not os.path.exists(ring)


def test_ring_that_goes(ctl, ring):
    getter = ctl.start("ring", "get", "ticks")
    wait_until(lambda: ctl.json("ring", "dump", "ticks", "--json")["consumers_asleep"], "the getter sleeps")
    receiver = ctl.start("recv", "ring/ticks")
    wait_until(lambda: read_settings(file(ring, "stat"))["receivers_waiting"] == "1", "the receiver waits")
    os.rmdir(ring)
    assert complaint(getter.communicate(timeout=PATIENCE)[1]) == (
        "ring 'ticks' is gone: it was removed, or made anew with other settings")
    assert complaint(receiver.communicate(timeout=PATIENCE)[1]) == "ring 'ticks' is gone: it was removed"
    assert (getter.returncode, receiver.returncode) == (1, 1)


def test_ring_of_another_user(ctl, ring):
    for verb, word in ("put", "put into"), ("get", "get from"), ("dump", "look into"):
        assert ctl.fails("ring", verb, "ticks", uid=ALICE) == (
            f"user {ALICE} may not {word} ring 'ticks': its map is -rw-------, of root:root")


def test_no_such_ring(ctl):
    assert ctl.fails("ring", "get", "nothing") == (
        f"can't get from ring 'nothing': there is none on {ctl.mount}; to make it: ipcctl -m {ctl.mount} new ring/nothing")


def test_dump_by_name(ctl, ring):
    ctl.ok("ring", "put", "ticks", stdin=b"1\n")
    assert ctl.ok("ring", "dump", "ticks").startswith("ring 'ticks', version 1: 8 slots of 1024 bytes\n")


# --- regions ---

def test_new_region(ctl):
    path = os.path.join(ctl.mount, "shm", "frames")
    for size, expected in (("1M", 1 << 20), ("3K", 3072), ("100", 100), ("0", 0)):
        ctl.ok("new", "shm/frames", "--size", size, "--mode", "640")
        assert (os.stat(path).st_size, stat.S_IMODE(os.stat(path).st_mode)) == (expected, 0o640)
        ctl.ok("rm", "shm/frames")
        assert not os.path.exists(path)


def test_region_that_exists(ctl, region):
    assert ctl.fails("new", "shm/frame", "--size", "1") == "region 'frame' exists already"
    assert os.stat(region).st_size == 4096


def test_region_that_is_larger_than_the_mount(ctl):
    said = ctl.fails("new", "shm/huge", "--size", "1000G")
    assert said in (f"can't make region 'huge': the ipcfs on {ctl.mount} is full (max_bytes)",
                    f"can't make region 'huge': what user root holds on {ctl.mount} has reached the quota (uid_bytes); "
                    "receive or remove some of it")
    assert os.listdir(os.path.join(ctl.mount, "shm")) == []


def test_ls_of_a_region(ctl, region):
    assert ctl.ok("ls") == "shm/frame\n"
    assert ctl.ok("ls", "-l").splitlines()[1].split() == ["-rw-r--r--", "root:root", "-", "4096", "-", "-", "shm/frame"]
    [entry] = ctl.json("ls", "--json", "shm/frame")
    assert (entry["kind"], entry["bytes"], entry["messages"]) == ("region", 4096, None)


def test_region_of_another_user(ctl, region):
    assert ctl.fails("rm", "shm/frame", uid=ALICE) == f"user {ALICE} may not remove region 'frame': it is of root:root"


@pytest.mark.parametrize("size", ["", "x", "-1", "1T", "1KK", "K", "99999999999G", "1.5M"])
def test_sizes_that_are_none(ctl, size):
    assert ctl.misused("new", "shm/frame", "--size", size) == f"ipcctl: '{size}' is no size: a number, then K, M, G or nothing"


# --- both ---

@odd_names
@pytest.mark.parametrize("room", [b"ring/", b"shm/"])
def test_odd_names(ctl, room, name):
    ctl.ok("new", "--", room + name)
    assert ctl.ok("ls", "-0").encode(errors="surrogateescape") == room + name + b"\0"
    ctl.ok("rm", "--", room + name)
    assert ctl.ok("ls") == ""


def test_rooms_are_listed_one_after_the_other(ctl, box, ring, region):
    assert ctl.ok("ls") == f"{os.path.basename(box.path)}\nring/ticks\nshm/frame\n"
    assert ctl.ok("ls", "shm/", "mbox/") == f"shm/frame\n{os.path.basename(box.path)}\n"


# --- processes ---

@pytest.fixture
def process():
    """A process that lives, and that others write to."""
    return start("sleep", "1000")


def test_send_to_a_process(ctl, process):
    ctl.ok("send", f"proc/{process.pid}", "hello")
    [entry] = ctl.json("ls", "--json", "proc/")
    assert (entry["kind"], entry["name"], entry["messages"]) == ("process", str(process.pid), 1)
    assert f"proc/{process.pid}\n" in ctl.ok("ls")


def test_process_receives_with_a_child(ctl):
    script = '"$@" send proc/$$ hello && "$@" recv --json proc/$$ --timeout 60; exit'
    done = run("sh", "-c", script, "sh", *ctl.args())
    assert done.returncode == 0 and '"text":"hello"' in done.stdout, done.stderr


def test_only_the_process_receives(ctl, process):
    assert ctl.fails("recv", f"proc/{process.pid}", "--timeout", "5").startswith(
        f"user root may not receive from process {process.pid}")


def test_process_that_hears_nobody_else(ctl, process):
    assert ctl.fails("send", f"proc/{process.pid}", "x", uid=ALICE).startswith(
        f"user {ALICE} may not send to process {process.pid}: its send is --w-------")


def test_process_that_ends(ctl, process):
    ctl.ok("config", f"proc/{process.pid}", "messages=1")
    # Or else its directory may forget the setting, which nobody uses.
    with Handle(f"{ctl.mount}/proc/{process.pid}/send", os.O_WRONLY | os.O_NONBLOCK) as send:
        ctl.ok("config", f"proc/{process.pid}", "messages=1")
        send.write(b"first")
        sender = ctl.start("send", f"proc/{process.pid}", "second")
        wait_until(lambda: read_settings(f"{ctl.mount}/proc/{process.pid}/stat")["senders_waiting"] == "1", "it waits")
        process.kill()
        process.wait()
        _, err = sender.communicate(timeout=PATIENCE)
        assert (sender.returncode, complaint(err)) == (1, f"process {process.pid} has ended")


def test_process_that_has_ended(ctl, process):
    process.kill()
    process.wait()
    assert ctl.fails("send", f"proc/{process.pid}", "x") == f"can't send to process {process.pid}: there is no such process"
    assert ctl.fails("config", f"proc/{process.pid}") == (
        f"can't read the settings of process {process.pid}: there is no such process")

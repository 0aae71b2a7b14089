"""Rings as directories: making, naming, owning, configuring and paying for them."""

import contextlib
import ctypes
import errno
import mmap
import os
import stat

import pytest

from harness import (ALICE, BOB, FALLOC_FL_KEEP_SIZE, SHELLS, SLOW, Handle, as_user, fails_with, fallocate, libc, run, sh,
                     try_open, wait_until)
from modes import (MAP_HEADER_BYTES, NAMED, PASSTHROUGH, ROOTS, SEALED, SLOT_BYTES, SLOTS, Ring, is_closed, is_link,
                   new_ring, only)

KIB = 1024
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
AT_FDCWD = -100


@pytest.fixture
def mnt(mode, shared_mounts):
    return mode.shared(shared_mounts)


def map_bytes(slots=SLOTS, slot_bytes=SLOT_BYTES):
    return MAP_HEADER_BYTES + slots * slot_bytes


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def rename2(old, new, flags):
    if libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags) < 0:
        raise OSError(ctypes.get_errno(), "renameat2")


# --- making ---

def test_new_ring_has_these_files(mnt):
    ring = new_ring(mnt)
    assert sorted(os.listdir(ring.path)) == ["bell", "config", "map", "recv", "recv.lines", "send", "send.lines", "stat"]
    for name in os.listdir(ring.path):
        assert name == "map" or stat.S_ISREG(os.lstat(ring.file(name)).st_mode)


def test_new_ring_is_as_promised(mnt):
    ring = new_ring(mnt)
    assert ring.config() == {"slots": "1024", "slot_bytes": "1024", "producers": "many", "consumers": "many"}
    assert ring.counts("messages", "sent", "received", "senders_waiting", "receivers_waiting") == (0, 0, 0, 0, 0)
    assert os.stat(ring.map_path).st_size == map_bytes()


@pytest.mark.parametrize("bits, send", [(0o755, 0o222), (0o711, 0o222), (0o700, 0o200), (0o750, 0o220),
                                        (0o710, 0o220), (0o744, 0o200)], ids=oct)
def test_modes_are_those_of_a_mailbox(mnt, bits, send):
    ring = new_ring(mnt, bits)
    assert mode_of(ring.path) == bits
    assert [mode_of(ring.file(name)) for name in ("send", "send.lines", "recv", "recv.lines", "config", "stat")] == \
        [send, send, 0o400, 0o400, 0o644, 0o444]


def test_map_is_for_its_owner_alone(mnt):
    ring = new_ring(mnt)
    assert mode_of(ring.map_path) == 0o600
    owner = os.stat(ring.path)
    assert (os.stat(ring.map_path).st_uid, os.stat(ring.map_path).st_gid) == (owner.st_uid, owner.st_gid)


def test_version_tells_how_maps_are_mapped(mnt, mode):
    with open(os.path.join(mnt.path, ".ipcfs", "version"), encoding="utf-8") as version:
        passthrough = dict(line.rstrip("\n").split("=", 1) for line in version)["passthrough"]
    ring = new_ring(mnt)
    assert (passthrough == "no") == is_link(ring.map_path)
    if mode.name != "passthrough":
        assert passthrough == "no"


@ROOTS
def test_ring_belongs_to_who_made_it(mnt, shell):
    ring = Ring(mnt, "alices")
    sh(shell, f"umask 027; mkdir {ring.path}", uid=ALICE, gid=BOB)
    for path in [ring.path, *map(ring.file, os.listdir(ring.path))]:
        st = os.lstat(path)
        assert (st.st_uid, st.st_gid) == (ALICE, BOB), path
    assert mode_of(ring.path) == 0o750
    assert mode_of(ring.send_path) == 0o220


@ROOTS
def test_who_may_search_may_send_and_who_owns_may_do_all(mnt):
    ring = new_ring(mnt)
    os.chown(ring.path, ALICE, ALICE)
    as_user(BOB, ring.send, b"bobs")
    for path, flags in [(ring.recv_path, os.O_RDONLY), (ring.config_path, os.O_WRONLY), (ring.file("recv.lines"), 0)]:
        with fails_with(errno.EACCES):
            as_user(BOB, try_open, path, flags)
    with fails_with(errno.EACCES, errno.EPERM):
        as_user(BOB, try_open, ring.map_path, os.O_RDWR)
    assert as_user(ALICE, ring.receive) == b"bobs"
    as_user(ALICE, ring.write_config, "slots=2")
    with fails_with(errno.EPERM, errno.EACCES):
        as_user(BOB, os.rmdir, ring.path)
    with fails_with(errno.EPERM, errno.EACCES):
        as_user(BOB, os.rename, ring.path, ring.path + ".bobs")


@ROOTS
def test_chmod_of_map_lets_others_map(mnt):
    ring = new_ring(mnt)
    with fails_with(errno.EACCES):
        as_user(BOB, try_open, ring.map_path, os.O_RDWR)
    os.chmod(ring.map_path, 0o666)
    peer = ring.library(uid=BOB)
    peer.produce("bobs")
    assert ring.receive() == b"bobs"
    # New memory is no reason to forget it.
    ring.configure(slots=4)
    ring.library(uid=BOB).produce("again")
    assert ring.receive() == b"again"


@ROOTS
def test_chown_lets_the_new_owner_map(mnt):
    ring = new_ring(mnt)
    os.chown(ring.path, ALICE, ALICE)
    ring.library(uid=ALICE).produce("alices")
    with fails_with(errno.EACCES):
        as_user(BOB, try_open, ring.map_path, os.O_RDWR)
    assert as_user(ALICE, ring.receive) == b"alices"


# --- names ---

@pytest.mark.parametrize("name", ["häß-лич-リング", "two words", "x" * 255, "é" * 127, ".hidden", "-f", "new\nline", "\udcff\udc80"],
                         ids=ascii)
def test_any_bytes_but_slash_and_nul_make_a_name(mnt, name):
    ring = Ring(mnt, name).make()
    assert name in os.listdir(os.path.dirname(ring.path))
    ring.send(b"message")
    assert ring.receive() == b"message"
    with ring.client() as client:
        assert client.slots == SLOTS
    os.rmdir(ring.path)


def test_name_of_256_bytes_is_too_long(mnt):
    with fails_with(errno.ENAMETOOLONG):
        os.mkdir(os.path.join(mnt.path, "ring", "x" * 256))


def test_existing_name_is_taken_and_a_missing_one_is_not_there(mnt):
    ring = new_ring(mnt)
    with fails_with(errno.EEXIST):
        os.mkdir(ring.path)
    with fails_with(errno.ENOENT):
        os.rmdir(ring.path + ".not")
    # A mailbox of that name is another thing.
    assert not os.path.exists(os.path.join(mnt.mbox, os.path.basename(ring.path)))


def test_mv_renames_and_everybody_stays(mnt):
    ring, new = new_ring(mnt), Ring(mnt, "renamed")
    ring.send(b"before")
    waiting = new_ring(mnt)
    reader = waiting.start_receive()
    waiting.wait_for(receivers_waiting=1)
    peer = ring.library()
    with ring.open_send() as send:
        assert run("mv", ring.path, new.path).returncode == 0
        assert not os.path.exists(ring.path)
        send.write(b"handle")
        peer.produce("mapped")
    assert new.take(3) == [b"before", b"handle", b"mapped"]
    os.rename(waiting.path, ring.path)
    ring.send(b"found")
    assert reader.result() == b"found"


def test_rename_replaces_an_empty_ring_and_tells_who_maps_it(mnt):
    one, other = new_ring(mnt), new_ring(mnt)
    one.send(b"message")
    with other.client() as old:
        os.rename(one.path, other.path)
        assert is_closed(old)
    assert other.receive() == b"message"
    assert not os.path.exists(one.path)


def test_rename_does_not_replace_a_ring_with_messages(mnt):
    one, other = new_ring(mnt), new_ring(mnt)
    other.library().produce("message")
    with fails_with(errno.ENOTEMPTY):
        os.rename(one.path, other.path)
    assert other.receive() == b"message"
    assert os.path.exists(one.path)


def test_rename_noreplace_and_exchange(mnt):
    one, other = new_ring(mnt, slots=2), new_ring(mnt, slots=4)
    with fails_with(errno.EEXIST):
        rename2(one.path, other.path, RENAME_NOREPLACE)
    rename2(one.path, other.path, RENAME_EXCHANGE)
    assert (one.config()["slots"], other.config()["slots"]) == ("4", "2")
    assert os.stat(one.map_path).st_size == map_bytes(slots=4)


def test_a_ring_does_not_become_a_mailbox(mnt):
    ring = new_ring(mnt)
    for to in (os.path.join(mnt.mbox, "ring"), os.path.join(mnt.path, "shm", "ring"), os.path.join(ring.path, "ring")):
        with fails_with(errno.EPERM, errno.EXDEV, errno.EINVAL):
            os.rename(ring.path, to)
    assert ring.config()["slots"] == "1024"


MAKERS = {
    "file": lambda path: os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)),
    "fifo": os.mkfifo,
    "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o644),
    "symlink": lambda path: os.symlink("target", path),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_only_mkdir_makes_anything_in_ring(mnt, maker):
    with fails_with(errno.EPERM):
        MAKERS[maker](os.path.join(mnt.path, "ring", "thing"))


@pytest.mark.parametrize("maker", [*MAKERS, "mkdir", "link"])
def test_nothing_can_be_made_in_a_ring(mnt, maker):
    ring = new_ring(mnt)
    makers = {**MAKERS, "mkdir": os.mkdir, "link": lambda path: os.link(ring.stat_path, path)}
    with fails_with(errno.EPERM):
        makers[maker](ring.file("thing"))


def test_files_of_a_ring_can_not_be_removed_or_renamed(mnt):
    ring = new_ring(mnt)
    for name in os.listdir(ring.path):
        with fails_with(errno.EPERM):
            os.unlink(ring.file(name))
        with fails_with(errno.EPERM):
            os.rename(ring.file(name), ring.file("other"))
    assert run("rm", "-rf", ring.path).returncode != 0
    assert len(os.listdir(ring.path)) == 8


def test_a_ring_has_no_priorities_nor_queue(mnt):
    ring = new_ring(mnt)
    for name in ("send.3", "recv.json", "queue", "drop", "owner"):
        with fails_with(errno.ENOENT):
            os.stat(ring.file(name))


# --- map ---

@SEALED
def test_map_can_not_be_truncated(mnt, shell):
    ring = new_ring(mnt)
    for size in (0, 4096, map_bytes() + 1):
        with fails_with(errno.EPERM):
            os.truncate(ring.map_path, size)
        with Handle(ring.map_path, os.O_RDWR) as file, fails_with(errno.EPERM):
            os.ftruncate(file.fd, size)
    with fails_with(errno.EPERM):
        try_open(ring.map_path, os.O_RDWR | os.O_TRUNC)
    assert run(*SHELLS[shell], "-c", f"echo x > {ring.map_path}").returncode != 0
    assert os.stat(ring.map_path).st_size == map_bytes()
    ring.send(b"whole")
    assert ring.receive() == b"whole"


@SEALED
def test_map_does_not_grow_by_write_or_fallocate(mnt):
    ring = new_ring(mnt)
    ring.send(b"message")
    with Handle(ring.map_path, os.O_RDWR) as file:
        with fails_with(errno.EPERM):
            os.pwrite(file.fd, b"x", map_bytes())
        for mode in (0, FALLOC_FL_KEEP_SIZE):
            with fails_with(errno.EPERM):
                fallocate(file.fd, mode, 0, map_bytes() + 1)
        with fails_with(errno.EPERM):
            os.posix_fallocate(file.fd, 0, map_bytes() + 1)
        fallocate(file.fd, 0, 0, map_bytes())
    assert os.stat(ring.map_path).st_size == map_bytes()
    assert ring.receive() == b"message"


@NAMED
@pytest.mark.parametrize("size", [0, 100, 4096, 8192, 100000])
def test_truncating_a_named_map_spoils_that_ring_alone(mnt, size):
    ring, other = new_ring(mnt), new_ring(mnt)
    ring.send(*[b"lost"] * 200)
    reader = other.start_receive()
    other.wait_for(receivers_waiting=1)
    os.truncate(ring.map_path, size)
    with fails_with(errno.EIO):
        ring.drain()
        ring.send(b"nowhere")
    other.send(b"message")
    assert reader.result() == b"message"
    ring.stat()
    os.rmdir(ring.path)


@NAMED
def test_configuring_gives_a_truncated_ring_new_memory(mnt):
    ring = new_ring(mnt)
    os.truncate(ring.map_path, 0)
    with fails_with(errno.EIO):
        ring.send(b"nowhere")
    ring.configure(slots=8)
    ring.send(b"message")
    assert ring.receive() == b"message"


@NAMED
def test_memory_with_names_goes_with_its_ring(mode):
    mnt = mode.mount()
    ring = new_ring(mnt)
    memory = os.path.realpath(ring.map_path)
    assert memory.startswith("/dev/shm/")
    ring.configure(slots=4)
    assert not os.path.exists(memory)
    memory = os.path.realpath(ring.map_path)
    with ring.client():
        os.rmdir(ring.path)
        assert not os.path.exists(memory)
    new_ring(mnt)
    mnt.stop()
    assert not os.path.exists(os.path.dirname(memory))


def test_map_can_be_read_as_a_file(mnt):
    ring = new_ring(mnt)
    ring.send(b"message")
    with open(ring.map_path, "rb") as file:
        data = file.read()
    assert len(data) == map_bytes()
    assert data[:8] == b"IPCFRING"
    assert data[MAP_HEADER_BYTES + 8:].startswith(b"message\0")


def test_who_maps_read_only_sees_what_happens(mnt):
    ring = new_ring(mnt, slots=4)
    with open(ring.map_path, "rb") as file, \
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as seen:
        ring.send(b"message")
        assert seen[MAP_HEADER_BYTES + 8:][:7] == b"message"
        os.chmod(ring.map_path, 0o400) if not is_link(ring.map_path) else None
        assert ring.receive() == b"message"
        assert int.from_bytes(seen[4224:4232], "little") == 1


# --- config ---

@pytest.mark.parametrize("text, expected", [
    ("slots=2\n", {"slots": "2"}),
    ("slots=2", {"slots": "2"}),
    ("slot_bytes=16\n", {"slot_bytes": "16"}),
    ("slot_bytes=24\nslots=8\n", {"slot_bytes": "24", "slots": "8"}),
    ("slot_bytes=4K\nslots=4\n", {"slot_bytes": "4096", "slots": "4"}),
    ("slot_bytes=1048576\nslots=2\n", {"slot_bytes": "1048576", "slots": "2"}),
    ("slots=1048576\nslot_bytes=16\n", {"slots": "1048576", "slot_bytes": "16"}),
    ("producers=one\n", {"producers": "one"}),
    ("consumers=one\nproducers=one\n", {"consumers": "one", "producers": "one"}),
    ("\nslots=4\n\n", {"slots": "4"}),
    ("slots=4\nslots=8\n", {"slots": "8"}),
])
def test_config_takes(mnt, text, expected):
    ring = new_ring(mnt)
    before = ring.config()
    ring.write_config(text)
    assert ring.config() == {**before, **expected}
    size = map_bytes(int(ring.config()["slots"]), int(ring.config()["slot_bytes"]))
    assert os.stat(ring.map_path).st_size == size
    with ring.client() as client:
        assert {"slots": str(client.slots), "slot_bytes": str(client.slot_bytes),
                "producers": "one" if client.flags & 1 else "many",
                "consumers": "one" if client.flags & 2 else "many"} == ring.config()
    assert ring.stat()["map_bytes"] == size
    ring.send(b"message")
    assert ring.receive() == b"message"


@pytest.mark.parametrize("text", [
    "slots=1\n", "slots=0\n", "slots=3\n", "slots=1000\n", "slots=33554432\n", "slots=-2\n", "slots=\n", "slots\n",
    "slots=2 \n", "slots= 2\n", "slots=0x10\n", "slots=4294967298\n", "slots=18446744073709551618\n", "Slots=2\n",
    "slot_bytes=8\n", "slot_bytes=17\n", "slot_bytes=1048584\n", "slot_bytes=2M\n", "slot_bytes=0\n",
    "slot_bytes=4294967312\n", "producers=two\n", "producers=\n", "producers=1\n", "consumers=none\n",
    "consumers=One\n", "messages=3\n", "bytes=1\n", "overflow=block\n", "=\n", "x",
    "slots=2\nslot_bytes=12\n", "slots=2\nnonsense=1\n", "nonsense=1\nslots=2\n", "slots=2\0\n",
])
def test_config_refuses_and_changes_nothing(mnt, text):
    ring = new_ring(mnt)
    before = ring.config()
    with ring.client() as client:
        with fails_with(errno.EINVAL):
            ring.write_config(text)
        assert ring.config() == before
        assert not is_closed(client)
    assert os.stat(ring.map_path).st_size == map_bytes()


def test_config_from_the_shell(mnt, shell):
    ring = new_ring(mnt)
    out = sh(shell, "printf 'slots=8\\nslot_bytes=64\\nproducers=one\\n' > config; cat config", cwd=ring.path)
    # bash's own printf writes line by line.
    assert out == "slots=8\nslot_bytes=64\nproducers=one\nconsumers=many\n"
    assert run(*SHELLS[shell], "-c", "echo slots=7 > config", cwd=ring.path).returncode != 0
    assert ring.config()["slots"] == "8"


@pytest.mark.parametrize("how", ["shell", "mapped"])
def test_config_is_taken_only_while_the_ring_is_empty(mnt, how):
    ring = new_ring(mnt, slots=4)
    if how == "shell":
        ring.send(b"message")
    else:
        ring.library().produce("message")
    for text in ("slots=8\n", "consumers=one\n", "slot_bytes=16\n"):
        with fails_with(errno.EBUSY):
            ring.write_config(text)
    assert ring.config()["slots"] == "4"
    assert ring.receive() == b"message"
    ring.wait_for(messages=0)
    ring.configure(slots=8)
    assert ring.config()["slots"] == "8"


def test_bad_config_of_a_ring_with_messages_is_bad(mnt):
    ring = new_ring(mnt)
    ring.send(b"message")
    with fails_with(errno.EINVAL):
        ring.configure(slots=7)


def test_same_values_are_no_change(mnt):
    ring = new_ring(mnt, slots=4)
    peer = ring.library()
    with ring.client() as client:
        ring.configure(slots=4, slot_bytes=SLOT_BYTES, producers="many", consumers="many")
        ring.write_config("")
        assert not is_closed(client)
    peer.produce("still the same")
    assert ring.receive() == b"still the same"


def test_config_takes_what_it_tells(mnt):
    ring = new_ring(mnt, slots=8, slot_bytes=64, consumers="one")
    with open(ring.config_path, encoding="utf-8") as config:
        text = config.read()
    ring.configure(slots=2, consumers="many")
    ring.write_config(text)
    with open(ring.config_path, encoding="utf-8") as config:
        assert config.read() == text


def test_new_memory_and_who_maps_the_old_one_is_told(mnt):
    ring = new_ring(mnt)
    peer, sleeper = ring.library(), ring.library()
    sleeper.tell("consume")
    with ring.client() as old:
        ring.configure(slots=16)
        assert is_closed(old)
        with ring.client() as new:
            assert (old.slots, new.slots) == (SLOTS, 16)
            assert not is_closed(new)
    with fails_with(errno.EIDRM):
        peer.call("produce", "into the void")
    with fails_with(errno.EIDRM):
        sleeper.answer()
    assert ring.counts("messages", "sent", "map_bytes") == (0, 0, map_bytes(slots=16))
    peer = ring.library()
    peer.produce("here")
    assert ring.receive() == b"here"


def test_those_who_wait_for_the_shell_wait_on_in_the_new_memory(mnt):
    ring = new_ring(mnt)
    reader = ring.start_receive()
    ring.wait_for(receivers_waiting=1)
    ring.configure(slots=2, slot_bytes=32)
    ring.wait_for(receivers_waiting=1)
    ring.library().produce("new")
    assert reader.result() == b"new"


def test_shell_handles_of_before_use_the_new_memory(mnt):
    ring = new_ring(mnt)
    with ring.open_send() as send, ring.open_recv(os.O_NONBLOCK | os.O_DIRECT) as recv:
        ring.configure(slots=2, slot_bytes=32)
        send.write(b"one")
        send.write(b"two")
        with fails_with(errno.EAGAIN):
            send.write(b"three")
        with fails_with(errno.EMSGSIZE):
            send.write(b"x" * 25)
        assert [recv.read(), recv.read()] == [b"one", b"two"]


# --- quotas ---

def mkdirs_until_refused(mnt, *names):
    """How many rings there was room for, and the error then."""
    for i, name in enumerate(names):
        try:
            os.mkdir(os.path.join(mnt.path, "ring", name))
        except OSError as error:
            return i, error.errno
    return len(names), 0


def test_a_ring_counts_its_map(mode):
    mnt = mode.mount("-o", "max_bytes=4M,uid_bytes=3M")
    before = os.statvfs(mnt.path)
    # Two of 1 MiB and a little fit into 3 MiB, not three.
    assert mkdirs_until_refused(mnt, "one", "two", "three") == (2, errno.EDQUOT)
    after = os.statvfs(mnt.path)
    # And what the daemon keeps about each.
    n_bytes = (before.f_bfree - after.f_bfree) * after.f_frsize
    assert 2 * map_bytes() < n_bytes < 2 * map_bytes() + (64 << 10)
    assert sorted(os.listdir(os.path.join(mnt.path, "ring"))) == ["one", "two"]
    os.rmdir(os.path.join(mnt.path, "ring", "one"))
    assert mkdirs_until_refused(mnt, "three", "four") == (1, errno.EDQUOT)


def test_all_together_count_for_the_mount(mode):
    mnt = mode.mount("-o", "max_bytes=3M,uid_bytes=4M")
    assert mkdirs_until_refused(mnt, "one", "two", "three") == (2, errno.ENOSPC)


@pytest.mark.parametrize("options, code", [("max_bytes=4M,uid_bytes=2M", errno.EDQUOT),
                                           ("max_bytes=2M,uid_bytes=4M", errno.ENOSPC)])
def test_config_counts_the_difference_and_changes_nothing_where_it_is_too_much(mode, options, code):
    mnt = mode.mount("-o", options)
    ring = new_ring(mnt)
    peer = ring.library()
    with fails_with(code):
        ring.configure(slots=2048)
    assert ring.config()["slots"] == "1024"
    peer.produce("as before")
    assert ring.receive() == b"as before"
    for slots in (512, 256, 1024, 2, 1024):
        ring.configure(slots=slots)
    ring.configure(slots=2)
    # What it gave back is there for another.
    other = new_ring(mnt)
    with fails_with(code):
        ring.configure(slots=1024)
    os.rmdir(other.path)
    ring.configure(slots=1024)


@ROOTS
def test_chown_moves_the_charge(mode):
    mnt = mode.mount("-o", "max_bytes=8M,uid_bytes=3M")
    for name in ("one", "two"):
        os.mkdir(os.path.join(mnt.path, "ring", name))
    assert as_user(ALICE, mkdirs_until_refused, mnt, "alices") == (1, 0)
    one = Ring(mnt, "one")
    os.chown(one.path, ALICE, ALICE)
    # What root had given away it may have again; Alice has no more.
    assert as_user(ALICE, mkdirs_until_refused, mnt, "more") == (0, errno.EDQUOT)
    assert mkdirs_until_refused(mnt, "three", "four") == (1, errno.EDQUOT)
    with fails_with(errno.EDQUOT):
        os.chown(os.path.join(mnt.path, "ring", "two"), ALICE, ALICE)
    assert os.stat(os.path.join(mnt.path, "ring", "two")).st_uid == 0
    # Once it is gone its memory counts for nobody.
    os.rmdir(one.path)
    assert as_user(ALICE, mkdirs_until_refused, mnt, "more", "most") == (1, errno.EDQUOT)


def test_messages_in_a_ring_cost_nothing_more(mode):
    mnt = mode.mount("-o", "max_bytes=2M,uid_bytes=2M")
    ring = new_ring(mnt)
    free = os.statvfs(mnt.path).f_bfree
    ring.send(*[bytes(SLOT_BYTES - 8)] * SLOTS)
    wait_until(lambda: os.statvfs(mnt.path).f_bfree == free, "nothing is charged for them")


def test_memory_of_a_removed_ring_is_given_back_though_it_is_still_mapped(mode):
    """It can't be seen who maps it."""
    mnt = mode.mount("-o", "max_bytes=3M,uid_bytes=3M")
    ring = new_ring(mnt)
    # It has closed the map's file.
    peer = ring.library()
    free = os.statvfs(mnt.path).f_bfree
    os.rmdir(ring.path)
    wait_until(lambda: os.statvfs(mnt.path).f_bfree > free, "it is given back")
    assert mkdirs_until_refused(mnt, "one", "two", "three") == (2, errno.EDQUOT)
    with fails_with(errno.EIDRM):
        peer.call("try_consume")


@only(PASSTHROUGH)
@pytest.mark.parametrize("how", ["rmdir", "config"])
def test_memory_counts_for_its_owner_as_long_as_somebody_has_it_open(mode, how):
    mnt = mode.mount("-o", "max_bytes=8M,uid_bytes=2500k")
    ring = new_ring(mnt)
    free = os.statvfs(mnt.path).f_bfree
    map_fd = os.open(ring.map_path, os.O_RDWR)
    if how == "rmdir":
        os.rmdir(ring.path)
    else:
        ring.configure(producers="one")
    assert os.statvfs(mnt.path).f_bfree == free if how == "rmdir" else os.statvfs(mnt.path).f_bfree < free
    assert mkdirs_until_refused(mnt, "one", "two") == (1 if how == "rmdir" else 0, errno.EDQUOT)
    with mmap.mmap(map_fd, 0) as memory:
        assert memory[:8] == b"IPCFRING"
    os.close(map_fd)
    wait_until(lambda: mkdirs_until_refused(mnt, "three")[0] == 1, "it is given back")


def held(mnt):
    """Descriptors of the daemon, and its resident memory."""
    with open(f"/proc/{mnt.process.pid}/statm", encoding="utf-8") as statm:
        pages = int(statm.read().split()[1])
    return len(os.listdir(f"/proc/{mnt.process.pid}/fd")), pages * os.sysconf("SC_PAGE_SIZE")


def make_map_and_remove(mnt, name):
    path = os.path.join(mnt.path, "ring", name)
    os.mkdir(path)
    fd = os.open(os.path.join(path, "map"), os.O_RDWR)
    with mmap.mmap(fd, 0) as memory:
        memory[MAP_HEADER_BYTES:] = b"x" * (len(memory) - MAP_HEADER_BYTES)
        os.rmdir(path)
    os.close(fd)


def test_rings_that_were_removed_while_their_map_was_open_leave_nothing(mode):
    mnt = mode.mount("-o", "max_bytes=8M,uid_bytes=4M")
    free = os.statvfs(mnt.path).f_bfree
    make_map_and_remove(mnt, "first")
    mnt.wake_all()
    n_fds, n_bytes = held(mnt)
    for i in range(100):
        # What was closed a moment ago is given back in a moment.
        wait_until(lambda: os.statvfs(mnt.path).f_bfree >= free - 1024, "it is given back")
        make_map_and_remove(mnt, f"ring{i}")
    wait_until(lambda: held(mnt)[0] <= n_fds, "all descriptors are given back")
    assert held(mnt)[1] < n_bytes + (20 << 20) * SLOW
    wait_until(lambda: os.statvfs(mnt.path).f_bfree == free, "all is given back")

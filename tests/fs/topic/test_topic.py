"""topic/: what is published goes to all who have subscribed."""

import contextlib
import errno
import itertools
import json
import os
import select
import signal
import struct

import pytest

from harness import (ALICE, BOB, Call, Handle, Mailbox, as_user, expect_asleep, fails_with, libc, run, sh, start_sh, try_open,
                     wait_until)

IN_DELETE_SELF = 0x400
PUBLISHING = ("send", "send.3", "send.lines", "send.json")
RECEIVING = ("recv", "recv.lines", "recv.json")

_numbers = itertools.count()


class Topic(Mailbox):
    """A topic; its subscriptions are mailboxes."""

    def sub(self, name, mode=0o777):
        return Mailbox(os.path.join(self.path, "sub", name)).make(mode)

    def listen(self, name="recv", flags=os.O_NONBLOCK | os.O_DIRECT):
        return Handle(self.file(name), os.O_RDONLY | flags)

    def publish(self, *messages, **kwargs):
        self.send(*messages, **kwargs)

    def destroy(self):
        for name in os.listdir(self.file("sub")):
            Mailbox(os.path.join(self.path, "sub", name)).remove()
        os.rmdir(self.path)


def make_topic(mnt, mode=0o777):
    path = os.path.join(mnt.path, "topic", f"topic{next(_numbers)}")
    old = os.umask(0)
    try:
        return Topic(path).make(mode)
    finally:
        os.umask(old)


@pytest.fixture
def topic(mnt):
    made = make_topic(mnt)
    yield made
    if os.path.exists(made.path):
        made.destroy()


def read_all(handle):
    parts = []
    with contextlib.suppress(BlockingIOError):
        while part := handle.read():
            parts.append(part)
    return parts


def envelopes(handle):
    return [json.loads(line) for line in b"".join(read_all(handle)).splitlines()]


def events_of(handle, events):
    poll = select.poll()
    poll.register(handle.fd, events)
    return sum(ready for _, ready in poll.poll(0))


def gone(topic):
    wait_until(lambda: topic.stat()["subscriptions"] == 0, "nobody subscribes any more")


# --- as people use them ---

def test_three_terminals_show_what_a_fourth_publishes(shell, topic, tmp_path):
    shown = [tmp_path / str(i) for i in range(3)]
    readers = [start_sh(shell, f"cat recv.lines > {file}", cwd=topic.path) for file in shown]
    topic.wait_for(subscriptions=3)
    sh(shell, "date > send; echo bye > send", cwd=topic.path)
    wait_until(lambda: all(file.read_text().endswith("\nbye\n") for file in shown), "all three show it")
    assert len({file.read_text() for file in shown}) == 1
    os.rmdir(topic.path)
    for reader in readers:
        assert reader.output() == ""


def test_a_subscription_keeps_a_place_for_who_is_away(shell, topic):
    sh(shell, "mkdir sub/mailer; echo one > send; printf 'two\\nthree\\n' > send.lines", cwd=topic.path)
    assert sh(shell, "cat sub/mailer/recv sub/mailer/recv sub/mailer/recv", cwd=topic.path) == "one\ntwothree"
    assert sh(shell, "ls sub/mailer/queue; rmdir sub/mailer; ls sub", cwd=topic.path) == ""


def test_who_comes_late_begins_with_the_history(shell, topic):
    script = "echo history=2 > config; for i in 1 2 3; do echo $i > send; done; mkdir sub/late; cat recv; cat sub/late/queue/*"
    assert sh(shell, script, cwd=topic.path) == "2\n2\n3\n"
    assert sh(shell, "grep history config; echo history=0 > config; mkdir sub/later; ls sub/later/queue", cwd=topic.path) == \
        "history=2\n"


def test_queue_of_a_subscription_is_a_work_queue(shell, topic):
    script = "mkdir sub/me; echo a > send; echo b > send; for m in sub/me/queue/*; do cat $m && rm $m; done; ls sub/me/queue"
    assert sh(shell, script, cwd=topic.path) == "a\nb\n"


# --- what arrives ---

def test_all_get_all_in_one_order_and_once(topic):
    with topic.listen() as a, topic.listen("recv.lines", os.O_NONBLOCK) as b, topic.listen("recv.json", os.O_NONBLOCK) as c:
        sub = topic.sub("s")
        topic.publish(b"one")
        topic.publish(b"\n", name="send.lines")
        topic.publish(b"\xff\n")
        assert read_all_packets(a, 3) == [b"one", b"", b"\xff\n"]
        assert b"".join(read_all(b)) == b"one\n\n\xff\n"
        ids = [envelope["id"] for envelope in envelopes(c)]
        assert ids == sorted(ids) and len(ids) == 3
        assert [int(name) for name in sorted(os.listdir(sub.file("queue")))] == ids
        assert sub.drain() == [b"one", b"", b"\xff\n"]


def read_all_packets(handle, n):
    return [handle.read() for _ in range(n)]


def test_one_open_of_recv_is_one_message(topic):
    with topic.listen(flags=os.O_NONBLOCK) as listener:
        topic.publish(b"one", b"two")
        assert [listener.read() for _ in range(3)] == [b"one", b"", b""]


def test_nothing_from_before_and_nothing_after(topic):
    topic.publish(b"before")
    with topic.listen() as listener:
        with fails_with(errno.EAGAIN):
            listener.read()
    gone(topic)
    topic.publish(b"after")
    assert topic.counts("published", "delivered", "dropped", "subscriptions") == (2, 0, 2, 0)


def test_every_sending_file_publishes(topic, tmp_path):
    sub = topic.sub("s")
    topic.publish(b"plain")
    topic.publish(b"urgent", name="send.31")
    topic.publish(b"a\nb\n", name="send.lines")
    topic.publish(b'{"text":"c","prio":5,"headers":{"k":"v"}}\n', name="send.json")
    large = os.urandom(300000)
    (tmp_path / "large").write_bytes(large)
    sh("dash", f"cp {tmp_path / 'large'} drop/", cwd=topic.path)
    with Handle(sub.file("recv.json"), os.O_RDONLY | os.O_NONBLOCK) as reader:
        found = envelopes(reader)
    assert [(e.get("text"), e["prio"]) for e in found] == \
        [("urgent", 31), ("c", 5), ("plain", 0), ("a", 0), ("b", 0), (None, 0)]
    assert found[1]["headers"] == {"k": "v"} and found[5]["size"] == len(large)
    assert all(e["pid"] > 0 and e["uid"] == 0 for e in found)


def test_too_long_is_emsgsize_for_the_topic_alone(topic):
    sub = topic.sub("s")
    topic.configure(message_bytes=10)
    with topic.open_send() as send, fails_with(errno.EMSGSIZE):
        send.write(b"x" * 11)
    sub.configure(bytes=5)
    topic.publish(b"0123456789", b"ok")
    with Handle(sub.file("recv.json"), os.O_RDONLY | os.O_NONBLOCK) as reader:
        found, = envelopes(reader)
    assert (found["text"], found["missed"]) == ("ok", 1)


def test_what_a_full_subscription_loses_is_told_with_the_next(topic):
    sub = topic.sub("s")
    assert sub.config()["overflow"] == "drop-oldest"
    sub.configure(messages=2)
    topic.publish(*[b"%d" % i for i in range(5)])
    with Handle(sub.file("recv.json"), os.O_RDONLY | os.O_NONBLOCK) as reader:
        assert [(e["text"], e.get("missed")) for e in envelopes(reader)] == [("3", 3), ("4", None)]
        sub.configure(overflow="reject")
        topic.publish(*[b"%d" % i for i in range(5)])
        assert [(e["text"], e.get("missed")) for e in envelopes(reader)] == [("0", 3), ("1", None)]
    assert sub.counts("dropped", "rejected") == (3, 3)
    assert topic.counts("published", "dropped") == (10, 6)


def test_a_stopped_listener_holds_up_nobody(topic):
    slow = start_sh("dash", "exec cat recv.lines > /dev/null", cwd=topic.path)
    topic.wait_for(subscriptions=1)
    os.kill(slow.pid, signal.SIGSTOP)
    with topic.listen() as quick:
        for i in range(3000):
            topic.publish(b"%d" % i)
            assert quick.read() == b"%d" % i


def test_a_killed_listener_is_no_subscription_any_more(topic):
    listeners = [Call(topic_read, topic.file(name)) for name in RECEIVING]
    topic.wait_for(subscriptions=3)
    for listener in listeners:
        listener.kill()
        listener.wait()
    gone(topic)
    topic.publish(b"x")
    assert topic.counts("delivered") == (0,)


def topic_read(path):
    with Handle(path, os.O_RDONLY) as listener:
        return listener.read()


# --- what a mailbox can ---

def test_a_subscription_gives_its_messages_on_lease(topic):
    workers, other = topic.sub("workers"), topic.sub("other")
    topic.publish(b"job")
    with Handle(workers.file("work"), os.O_RDWR) as work:
        assert work.read() == b"job"
        assert workers.counts("messages", "leased") == (0, 1)
        with fails_with(errno.ENOTEMPTY):
            os.rmdir(workers.path)
    with Handle(workers.file("work"), os.O_RDWR) as work:
        assert work.read() == b"job"
        work.write(b"done")
    assert workers.counts("messages", "leased") == (0, 0)
    assert other.drain() == [b"job"]


def test_what_waits_too_long_in_one_subscription_is_in_the_others(topic):
    hasty, patient = topic.sub("hasty"), topic.sub("patient")
    hasty.configure(ttl="0.05")
    topic.publish(b"news")
    wait_until(lambda: hasty.counts("messages", "expired") == (0, 1), "it expires")
    assert patient.drain() == [b"news"]


# --- who waits ---

def test_one_that_blocks_makes_wait_before_anybody_has_it(topic):
    blocking = topic.sub("blocking")
    blocking.configure(messages=1, overflow="block")
    with topic.listen() as other, topic.open_send() as send:
        assert events_of(send, select.POLLOUT) == select.POLLOUT
        topic.publish(b"1")
        assert events_of(send, select.POLLOUT) == 0
        assert other.read() == b"1"
        for name in PUBLISHING:
            with topic.open_send(name=name) as handle, fails_with(errno.EAGAIN):
                handle.write(b"{}\n")
        waiting = topic.start_send(b"2")
        topic.wait_for(senders_waiting=1)
        expect_asleep(waiting)
        with fails_with(errno.EAGAIN):
            other.read()
        poll = select.poll()
        poll.register(send.fd, select.POLLOUT)
        woken = Call(lambda: poll.poll(60000) != [])
        assert blocking.receive() == b"1"
        assert waiting.result() == 1
        assert other.read() == b"2"
        assert blocking.receive() == b"2"
        assert woken.result()


@pytest.mark.parametrize("how", ["removed", "configured", "publisher killed", "topic removed"])
def test_what_else_ends_a_publishers_wait(topic, how):
    blocking, other = topic.sub("blocking"), topic.listen()
    blocking.configure(messages=1, overflow="block")
    topic.publish(b"1")
    waiting = topic.start_send(b"2")
    topic.wait_for(senders_waiting=1)
    if how == "publisher killed":
        waiting.kill()
        waiting.wait()
        topic.wait_for(senders_waiting=0)
        assert blocking.drain() == [b"1"]
    elif how == "topic removed":
        with fails_with(errno.ENOTEMPTY):
            os.rmdir(topic.path)
        sh("dash", "rm -f sub/blocking/queue/*; cat sub/blocking/recv; rmdir sub/blocking", cwd=topic.path)
        assert waiting.result() == 1
        os.rmdir(topic.path)
    elif how == "removed":
        # With messages in it, it stays.
        with fails_with(errno.ENOTEMPTY):
            os.rmdir(blocking.path)
        owner = Handle(blocking.file("owner"), os.O_WRONLY)
        owner.close()
        assert waiting.result() == 1
        wait_until(lambda: not os.path.exists(blocking.path), "it goes with its owner")
    else:
        blocking.configure(overflow="drop-oldest")
        assert waiting.result() == 1
        assert blocking.drain() == [b"2"]
    other.close()


def test_two_publishers_wait_and_a_third_overtakes_them_by_priority(topic):
    blocking = topic.sub("blocking")
    blocking.configure(messages=1, overflow="block")
    topic.publish(b"0")
    waiting = []
    for n, name in enumerate(["send", "send.lines", "send.9"], 1):
        waiting.append(topic.start_send(b"%d\n" % n, name))
        topic.wait_for(senders_waiting=n)
    assert [message.strip() for message in blocking.take(4)] == [b"0", b"3", b"1", b"2"]
    for call in waiting:
        assert call.result() == 2


# --- names ---

def test_listing_and_what_is_not_there(topic):
    assert set(os.listdir(topic.path)) == {"send", "send.lines", "send.json", "drop", *RECEIVING, "sub", "config", "stat"}
    sub = topic.sub("s")
    there = set(os.listdir(sub.path))
    assert {*RECEIVING, "queue", "owner", "config", "stat"} <= there
    assert not there & {"send", "send.lines", "send.json", "drop", "call", "reply"}
    for path in (sub.file("send"), sub.file("send.1"), sub.file("send.json"), topic.file("queue"), topic.file("owner")):
        with fails_with(errno.ENOENT):
            os.stat(path)
    for path in (topic.file("x"), topic.file("sub/s/x")):
        with fails_with(errno.EPERM):
            os.mkdir(path)
    with fails_with(errno.EPERM):
        os.unlink(topic.file("send"))
    inodes = [os.stat(os.path.join(root, name)).st_ino for root, dirs, files in os.walk(topic.path) for name in dirs + files]
    assert len(set(inodes)) == len(inodes)
    assert os.stat(topic.file("sub")).st_nlink == 3


def test_a_topic_with_subscriptions_is_not_empty(topic):
    listener = topic.listen()
    sub = topic.sub("s")
    with fails_with(errno.ENOTEMPTY):
        os.rmdir(topic.path)
    topic.publish(b"x")
    with fails_with(errno.ENOTEMPTY):
        os.rmdir(sub.path)
    sub.drain()
    os.rmdir(sub.path)
    # Who only listens does not keep it.
    os.rmdir(topic.path)
    with fails_with(errno.EIDRM):
        listener.read()
    listener.close()


def test_a_removed_topic_is_the_end_for_who_listens_and_publishes(topic):
    send, lines, reader = topic.open_send(0), topic.listen("recv.lines", 0), Call(topic_read, topic.file("recv"))
    topic.wait_for(subscriptions=2)
    expect_asleep(reader)
    os.rmdir(topic.path)
    assert lines.read() == b""
    with fails_with(errno.EIDRM):
        send.write(b"x")
    with fails_with(errno.EIDRM):
        reader.result()
    assert events_of(lines, select.POLLIN) & select.POLLHUP
    send.close()
    lines.close()


def test_renames_are_followed(mnt, topic):
    sub = topic.sub("s")
    listener = topic.listen()
    os.rename(sub.path, topic.file("sub/t"))
    os.rename(topic.path, topic.path + "-new")
    moved = Topic(topic.path + "-new")
    moved.publish(b"x")
    assert listener.read() == b"x"
    assert Mailbox(moved.file("sub/t")).receive() == b"x"
    listener.close()
    other = make_topic(mnt)
    with fails_with(errno.EPERM):
        os.rename(moved.file("sub/t"), other.file("sub/t"))
    with fails_with(errno.EPERM):
        os.rename(moved.path, os.path.join(mnt.mbox, "t"))
    # Over an empty one.
    os.rename(moved.path, other.path)
    with fails_with(errno.ENOTEMPTY):
        os.rename(make_topic(mnt).path, other.path)
    other.destroy()


def test_inotify_tells_that_an_owned_subscription_went(topic):
    sub = topic.sub("s")
    fd = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(fd, os.fsencode(sub.path), IN_DELETE_SELF) >= 0
    owner = Call(hold_owner, sub.file("owner"))
    wait_until(lambda: sub.stat()["owner_pid"] == owner.pid, "it is owned")
    topic.publish(b"x")
    owner.kill()
    owner.wait()

    def told():
        with contextlib.suppress(BlockingIOError):
            return struct.unpack_from("iIII", os.read(fd, 4096))[1] & IN_DELETE_SELF
        return False
    wait_until(told, "inotify tells")
    os.close(fd)
    assert os.listdir(topic.file("sub")) == []
    topic.wait_for(subscriptions=0)


def hold_owner(path):
    with Handle(path, os.O_WRONLY):
        signal.pause()


def test_a_message_may_be_moved_but_not_onto_itself(mnt, box, topic):
    a, b = topic.sub("a"), topic.sub("b")
    topic.publish(b"x")
    name, = os.listdir(a.file("queue"))
    with fails_with(errno.EEXIST):
        os.rename(a.file(f"queue/{name}"), b.file(f"queue/{name}"))
    os.rename(a.file(f"queue/{name}"), box.file(f"queue/{name}"))
    with fails_with(errno.EEXIST):
        os.rename(b.file(f"queue/{name}"), box.file(f"queue/{name}"))
    assert box.drain() == [b"x"]
    os.rename(b.file(f"queue/{name}"), box.file(f"queue/{name}"))
    assert box.drain() == [b"x"]


# --- who may ---

# What the mode of the directory gives the class of others, beside its search bit.
def test_what_a_subscription_gives_up_goes_where_its_config_says(box, topic):
    me = topic.sub("me")
    me.configure(dead=os.path.basename(box.path), attempts=1)
    topic.publish(b"poison")
    with Handle(me.file("work"), os.O_RDWR | os.O_NONBLOCK) as worker:
        assert worker.read() == b"poison"
        worker.write(b"again")
    assert me.stat()["dead"] == 1
    with Handle(box.file("recv.json"), os.O_RDONLY | os.O_NONBLOCK) as handle:
        (dead,) = envelopes(handle)
    assert (dead["text"], dead["headers"]) == ("poison", {"dead-from": f"topic/{os.path.basename(topic.path)}/sub/me"})


@pytest.mark.parametrize("mode, may_publish, may_subscribe",
                         [(0o755, False, True), (0o777, True, True), (0o773, True, False), (0o711, False, False),
                          (0o776, False, False)], ids=oct)
def test_the_mode_says_who_publishes_and_who_subscribes(mnt, mode, may_publish, may_subscribe):
    topic = make_topic(mnt, mode)
    for name in PUBLISHING:
        expect_open(topic.file(name), os.O_WRONLY, may_publish)
    for name in RECEIVING:
        expect_open(topic.file(name), os.O_RDONLY, may_subscribe)
    with contextlib.nullcontext() if may_subscribe else fails_with(errno.EACCES):
        as_user(ALICE, os.mkdir, topic.file("sub/alice"))
    with contextlib.nullcontext() if may_subscribe else fails_with(errno.EACCES):
        as_user(ALICE, os.listdir, topic.file("sub"))
    with contextlib.nullcontext() if may_publish else fails_with(errno.EACCES):
        as_user(ALICE, try_open, topic.file("drop/x"), os.O_WRONLY | os.O_CREAT)
    expect_open(topic.file("config"), os.O_WRONLY, False)
    topic.destroy()


def expect_open(path, flags, may):
    with contextlib.nullcontext() if may else fails_with(errno.EACCES):
        as_user(ALICE, try_open, path, flags)


def test_the_wrong_way_round_is_eacces_for_root_too(topic):
    for name, flags in itertools.chain(itertools.product(PUBLISHING, [os.O_RDONLY, os.O_RDWR]),
                                       itertools.product(RECEIVING, [os.O_WRONLY, os.O_RDWR])):
        with fails_with(errno.EACCES):
            os.open(topic.file(name), flags)
    assert topic.counts("subscriptions") == (0,)


def file_modes(topic):
    return {name: os.stat(topic.file(name)).st_mode for name in os.listdir(topic.path)}


@pytest.mark.parametrize("before, after", [(0o755, 0o777), (0o777, 0o700), (0o700, 0o773), (0o733, 0o755)], ids=oct)
def test_a_new_mode_says_it_anew(mnt, before, after):
    topic, made_so = make_topic(mnt, before), make_topic(mnt, after)
    os.chmod(topic.path, after)
    assert file_modes(topic) == file_modes(made_so)


def test_a_new_mode_leaves_what_it_does_not_change(mnt):
    topic = make_topic(mnt, 0o755)
    os.chmod(topic.file("send"), 0o666)
    os.chmod(topic.file("recv.json"), 0o400)
    os.chmod(topic.path, 0o775)
    modes = {name: mode & 0o777 for name, mode in file_modes(topic).items()}
    assert (modes["send"], modes["send.lines"], modes["recv.json"], modes["recv"]) == (0o666, 0o220, 0o400, 0o444)


def test_nobody_looks_into_anothers_subscription(topic):
    as_user(ALICE, os.mkdir, topic.file("sub/alice"), 0o777)
    alice = Mailbox(topic.file("sub/alice"))
    assert os.stat(alice.path).st_uid == ALICE and os.stat(alice.path).st_mode & 0o777 == 0o700
    topic.publish(b"x")
    for name in ("recv", "recv.json", "queue", "stat", "config"):
        with fails_with(errno.EACCES):
            as_user(BOB, os.stat, alice.file(name))
    with fails_with(errno.EACCES):
        as_user(BOB, os.listdir, alice.path)
    for function, *args in ((os.rmdir, alice.path), (os.rename, alice.path, topic.file("sub/bob")), (os.chmod, alice.path, 0o777)):
        with fails_with(errno.EPERM, errno.EACCES):
            as_user(BOB, function, *args)
    assert as_user(BOB, os.listdir, topic.file("sub")) == ["alice"]
    assert as_user(ALICE, alice.receive) == b"x"
    # Until its owner allows it.
    as_user(ALICE, os.chmod, alice.path, 0o711)
    as_user(ALICE, os.chmod, alice.recv_path, 0o444)
    topic.publish(b"y")
    assert as_user(BOB, alice.receive) == b"y"


def test_chown_takes_the_files_along(topic):
    os.chown(topic.path, ALICE, -1)
    assert {os.stat(os.path.join(topic.path, name)).st_uid for name in os.listdir(topic.path)} == {ALICE}
    as_user(ALICE, topic.write_config, "history=3")
    topic.publish(b"x")
    with topic.listen() as listener:
        assert listener.read() == b"x"
    topic.configure(history=0)


# --- what it says of itself ---

def test_config_is_taken_whole_or_not_at_all(topic):
    assert topic.config() == {"history": "0", "message_bytes": "65536", "bytes": "16777216", "durable": "no"}
    for text in ("history=-1", "history=x", "messages=1", "overflow=block", "history=3\nx=1", "bytes=0", "durable=daemon", "durable=disk"):
        with fails_with(errno.EINVAL):
            topic.write_config(text)
    assert topic.config() == {"history": "0", "message_bytes": "65536", "bytes": "16777216", "durable": "no"}
    topic.write_config("history=7\nmessage_bytes=1K\ndurable=no\n")
    assert topic.config() == {"history": "7", "message_bytes": "1024", "bytes": "16777216", "durable": "no"}


def test_stat_and_metrics(mnt, topic):
    name = os.path.basename(topic.path)
    topic.sub("s")
    topic.publish(b"x", b"y")
    assert topic.counts("published", "subscriptions", "delivered", "dropped") == (2, 1, 2, 0)
    assert mnt.metric(f'ipcfs_topic_published_total{{topic="{name}"}}') == 2
    assert mnt.metric(f'ipcfs_topic_subscriptions{{topic="{name}"}}') == 1
    assert mnt.metric("ipcfs_topics") >= 1


# --- who pays ---

def test_fifty_subscriptions_of_six_megabytes_cost_six(mount):
    mounted = mount("-o", "max_bytes=16M,uid_bytes=8M")
    topic = make_topic(mounted)
    topic.configure(message_bytes=1000000)
    subs = [topic.sub(f"s{i}") for i in range(50)]
    before = mounted.metric("ipcfs_used_bytes")
    data = os.urandom(1000000)
    as_user(ALICE, topic.publish, *[data] * 6)
    assert {sub.counts("messages", "bytes") for sub in subs} == {(6, 6000000)}
    assert 6000000 <= mounted.metric("ipcfs_used_bytes") - before < 6200000
    assert mounted.rss_kib() < 150 * 1024
    for sub in subs[1:]:
        assert len(sub.drain()) == 6
    assert 6000000 <= mounted.metric("ipcfs_used_bytes") - before < 6010000
    with topic.open_send() as send:
        assert send.write(data) == len(data)
    with fails_with(errno.EDQUOT):
        as_user(ALICE, topic.publish, *[data] * 3)
    for sub in subs:
        sub.drain()
    assert mounted.metric("ipcfs_used_bytes") == before


def test_entries_count_for_who_subscribes(mount):
    """Who may have no more loses, and holds up nobody."""
    mounted = mount("-o", "max_bytes=4M,uid_bytes=64K")
    topic = make_topic(mounted)
    as_user(ALICE, os.mkdir, topic.file("sub/alice"))
    alice = Mailbox(topic.file("sub/alice"))
    alice.configure(messages="max", overflow="block")
    bob = topic.sub("bob")
    bob.configure(messages=1)
    for _ in range(2000):
        topic.publish(b"x")
    assert 100 < alice.stat()["messages"] < 1000
    assert alice.stat()["messages"] + alice.stat()["dropped"] == 2000
    n = alice.stat()["messages"]
    assert len(alice.drain()) == n
    topic.publish(b"again")
    assert alice.receive() == b"again"


def test_nobody_subscribes_without_end(mount):
    mounted = mount("-o", "max_bytes=4M,uid_bytes=64K")
    topic = make_topic(mounted)

    def subscribe():
        with fails_with(errno.EDQUOT, errno.ENOSPC):
            for i in range(10000):
                os.mkdir(topic.file(f"sub/{i}"))
        return i

    def listen():
        handles = []
        with fails_with(errno.EDQUOT, errno.ENOSPC):
            for _ in range(10000):
                handles.append(topic.listen())
        return len(handles)
    assert 10 < as_user(ALICE, subscribe) < 1000
    assert 0 < as_user(ALICE, listen) < 1000
    assert 10 < as_user(BOB, listen) < 1000
    wait_until(lambda: topic.stat()["subscriptions"] == len(os.listdir(topic.file("sub"))), "listeners are gone")


# --- all at once ---

def test_one_order_for_all_whoever_publishes_comes_and_goes(topic):
    n_publishers, n_each = 4, 250
    subs = [topic.sub(f"s{i}") for i in range(3)]
    for sub in subs:
        sub.configure(messages="max")

    def publish(which):
        with topic.open_send(0) as send:
            for i in range(n_each):
                send.write(b"%d.%d" % (which, i))

    def come_and_go(which):
        for i in range(100):
            path = topic.file(f"sub/passing{which}")
            os.mkdir(path)
            with topic.listen():
                Mailbox(path).configure(messages=1, overflow="block" if i % 2 else "reject")
                Mailbox(path).drain()
            # What has come since goes with its owner.
            with contextlib.suppress(OSError):
                os.rmdir(path)
            if os.path.exists(path):
                os.close(os.open(path + "/owner", os.O_WRONLY))
                wait_until(lambda: not os.path.exists(path), "it goes with its owner")
    passing = [Call(come_and_go, i) for i in range(2)]
    publishers = [Call(publish, i) for i in range(n_publishers)]
    for call in publishers + passing:
        call.result()
    orders = [sub.drain() for sub in subs]
    assert orders[0] == orders[1] == orders[2]
    assert len(orders[0]) == n_publishers * n_each
    for which in range(n_publishers):
        assert [m for m in orders[0] if m.startswith(b"%d." % which)] == [b"%d.%d" % (which, i) for i in range(n_each)]
    topic.wait_for(subscriptions=3)


def test_publishers_race_with_topics_that_come_and_go(mount):
    """A publication is to a topic that is there, or fails as of one that is not; and what is gone costs nothing."""
    mnt = mount()
    path = os.path.join(mnt.path, "topic", "passing")

    def publish_until(end):
        sent = 0
        while not os.path.exists(end):
            with contextlib.suppress(FileNotFoundError):
                with Handle(os.path.join(path, "send"), os.O_WRONLY) as send:
                    try:
                        while True:
                            sent += send.write(b"x")
                    except OSError as error:
                        assert error.errno == errno.EIDRM, error
        return sent

    end = mnt.box()
    os.rename(end.path, end.path + ".later")
    publishers = [Call(publish_until, end.path) for _ in range(3)]
    for i in range(60):
        topic = Topic(path).make()
        sub = topic.sub("s")
        sub.configure(messages=2, overflow=("block", "reject", "drop-oldest")[i % 3])
        # Whoever publishes meanwhile, it is removed: with its owner where it is never empty.
        sub.drain(3)
        os.close(os.open(sub.file("owner"), os.O_WRONLY))
        wait_until(lambda: not os.path.exists(sub.path), "it goes with its owner")  # pylint: disable=cell-var-from-loop
        os.rmdir(path)
    os.rename(end.path + ".later", end.path)
    for call in publishers:
        assert call.result() > 0
    end.remove()
    wait_until(lambda: mnt.metric("ipcfs_used_bytes") == mnt.metric("ipcfs_kept_bytes") == 0, "all is given back")


def test_a_thousand_subscriptions_hold_up_nobody_else(mount):
    mounted = mount("-o", "max_bytes=64M")
    crowded, other = make_topic(mounted), make_topic(mounted)
    for i in range(1000):
        crowded.sub(str(i)).configure(messages=10)
    other.sub("s")
    busy = Call(publish_for_ever, crowded)
    wait_until(lambda: crowded.stat()["published"] > 20, "it is busy")
    published = 0
    with other.open_send() as send:
        for _ in range(2000):
            published += send.write(b"x")
    assert published == 2000
    busy.kill()
    busy.wait()


def publish_for_ever(topic):
    with topic.open_send(0) as send:
        while True:
            send.write(b"x")


def test_unmounting_ends_all(mount):
    mounted = mount()
    topic = make_topic(mounted)
    blocking = topic.sub("blocking")
    blocking.configure(messages=1, overflow="block")
    topic.publish(b"1")
    calls = [topic.start_send(b"2"), Call(topic_read, topic.file("recv"))]
    topic.wait_for(senders_waiting=1, subscriptions=2)
    os.kill(mounted.pid, signal.SIGTERM)
    for call in calls:
        with fails_with(errno.EIDRM, errno.ENOTCONN, errno.ECONNABORTED):
            call.result()
    mounted.wait_end()


def test_each_subscription_that_gives_a_message_up_is_told_of(mnt, topic):
    graves = Mailbox(os.path.join(mnt.path, "mbox", os.path.basename(topic.path))).make()
    for name in ("one", "other"):
        topic.sub(name).configure(dead=os.path.basename(graves.path))
    topic.publish(b"expires")
    for name in ("one", "other"):
        Mailbox(os.path.join(topic.path, "sub", name)).configure(ttl="0.01")
    wait_until(lambda: graves.stat()["messages"] == 2, "both lost it")
    for name in ("one", "other"):
        Mailbox(os.path.join(topic.path, "sub", name)).configure(ttl="0")
    topic.publish(b"dead")
    for name in ("one", "other"):
        with Handle(os.path.join(topic.path, "sub", name, "work"), os.O_RDWR) as work:
            assert work.read() == b"dead"
            work.write(b"dead")
    queue = graves.file("queue")
    found = sorted((os.getxattr(os.path.join(queue, name), "user.ipcfs.h.dead-from").decode().rsplit("/", 1)[1])
                   for name in os.listdir(queue))
    assert found == ["one", "one", "other", "other"]
    assert sorted(graves.drain()) == [b"dead", b"dead", b"expires", b"expires"]
    os.rmdir(graves.path)


def write_lines(path, n):
    with Handle(path, os.O_WRONLY) as handle:
        return handle.write(b"\n" * n)


def test_a_write_that_goes_to_very_many_places_holds_up_nobody_and_ends_when_told(topic, mnt):
    subs = [topic.sub(str(i)) for i in range(100)]
    for sub in subs:
        sub.configure(messages=1)
    other = make_topic(mnt)
    mine = other.sub("mine")
    writer = Call(write_lines, topic.file("send.lines"), 1000000)
    wait_until(lambda: topic.stat()["published"] > 0, "nothing is published")
    for i in range(20):
        other.send(b"%d" % i)
        assert mine.receive() == b"%d" % i
    assert writer.poll() is None
    writer.kill(signal.SIGTERM)
    assert writer.wait() == -signal.SIGTERM
    assert 0 < topic.stat()["published"] < 1000000
    assert [sub.stat()["messages"] for sub in subs] == [1] * 100
    other.destroy()


def test_a_write_that_goes_to_many_places_publishes_each_line_once_in_its_order(topic):
    subs = [topic.sub(str(i)) for i in range(50)]
    lines = b"".join(b"%d\n" % i for i in range(5000))
    for sub in subs:
        sub.configure(messages="max")
    with Handle(topic.file("send.lines"), os.O_WRONLY) as handle:
        assert handle.write(lines) == len(lines)
    for sub in subs:
        with Handle(sub.file("recv.lines"), os.O_RDONLY | os.O_NONBLOCK) as handle:
            assert b"".join(read_all(handle)) == lines

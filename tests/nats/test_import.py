"""import SUBJECT MAILBOX: what is published there comes to the mailbox."""

import json
import os

import pytest

import harness
from bridge import bridge_once
from harness import ALICE, read_settings, wait_until
from broker import connected


def name_of(box):
    return os.path.basename(box.path)


def stat_of(box, key="messages"):
    return int(read_settings(os.path.join(box.path, "stat"))[key])


def take(box):
    """The next message, waiting for it."""
    return harness.receive_message(os.path.join(box.path, "recv"))


def receive(box, n):
    """So many messages, as recv.json has them."""
    got = []
    with open(os.path.join(box.path, "recv.json"), encoding="utf-8") as lines:
        while len(got) < n:
            got.append(json.loads(lines.readline()))
    return got


def wait_messages(box, n):
    wait_until(lambda: stat_of(box) >= n, f"{n} messages wait")


def is_done(client, box, subject):
    info = client.api(f"CONSUMER.INFO.{client.stream(subject)}.ipcfs-{name_of(box)}")
    return info["num_pending"] == info["num_ack_pending"] == 0


def numbers(n):
    return [b"%d" % i for i in range(n)]


def test_messages_come_in_the_order_of_the_stream(mnt, client, bridge, broker, subject):
    box = mnt.box()
    bridge(mnt.path, broker.url, f"import {subject} {name_of(box)}").wait_for("connected")
    wait_until(lambda: client.stream(subject), "the stream is made")
    client.store_all(subject, numbers(500))
    assert [m["text"] for m in receive(box, 500)] == [str(i) for i in range(500)]
    stream = client.stream(subject)
    wait_until(lambda: client.n_messages(stream) == 0, "a work queue keeps nothing that was acknowledged")


def test_headers_priority_and_origin_come_along(mnt, client, bridge, broker, subject):
    box = mnt.box()
    bridge(mnt.path, broker.url, f"import {subject} {name_of(box)}")
    wait_until(lambda: client.stream(subject), "the stream is made")
    client.store(subject, b"hi", {
        "Kind": "greeting", "Ipcfs-Prio": "7", "Ipcfs-Host": "there", "Ipcfs-Uid": "1000", "Ipcfs-H-note": "a%0Ab",
        "Nats-Msg-Id": "m1", "origin-gid": "forged", "no_name": "left out"})
    message = receive(box, 1)[0]
    assert message["headers"] == {"kind": "greeting", "note": "a\nb", "origin-host": "there", "origin-uid": "1000"}
    assert message["prio"] == 7 and message["text"] == "hi" and message["uid"] == 0


@pytest.mark.parametrize("data", [b"", b"\x00\xff\x00", "\u20ac\n\"".encode(), b"a\x00b"], ids=["empty", "binary", "utf8", "nul"])
def test_bytes_are_those_that_were_published(mnt, client, bridge, broker, subject, data):
    box = mnt.box()
    bridge(mnt.path, broker.url, f"import {subject} {name_of(box)}")
    wait_until(lambda: client.stream(subject), "the stream is made")
    client.store(subject, data)
    wait_messages(box, 1)
    queue = os.path.join(box.path, "queue")
    with open(os.path.join(queue, os.listdir(queue)[0]), "rb") as f:
        assert f.read() == data


def test_large_message_comes_through_drop(mnt, client, bridge, broker, subject):
    box = mnt.box()
    bridge(mnt.path, broker.url, f"import {subject} {name_of(box)}")
    wait_until(lambda: client.stream(subject), "the stream is made")
    large = os.urandom(300_000)
    client.store(subject, b"before")
    client.store(subject, large)
    client.store(subject, b"after")
    assert [take(box) for _ in range(3)] == [b"before", large, b"after"]


def test_message_that_the_mailbox_never_takes_stays_and_holds_up_nobody(mnt, client, bridge, broker, subject):
    box = mnt.box()
    box.write_config("message_bytes=100\nbytes=1000\n")
    b = bridge(mnt.path, broker.url, f"import {subject} {name_of(box)}")
    wait_until(lambda: client.stream(subject), "the stream is made")
    client.store(subject, b"x" * 5000)
    client.store(subject, b"after")
    assert take(box) == b"after"
    b.wait_for("it stays there")
    wait_until(lambda: client.n_messages(client.stream(subject)) == 1, "the other is acknowledged")


def test_full_mailbox_stops_the_pulling(mnt, client, bridge, broker, subject):
    box = mnt.box()
    box.write_config("messages=10\n")
    b = bridge(mnt.path, broker.url, f"import {subject} {name_of(box)}", options=["--window", "20"])
    wait_until(lambda: client.stream(subject), "the stream is made")
    client.store_all(subject, numbers(100))
    wait_messages(box, 10)
    info = lambda: client.api(f"CONSUMER.INFO.{client.stream(subject)}.ipcfs-{name_of(box)}")
    wait_until(lambda: info()["ack_floor"]["stream_seq"] == 10, "what the mailbox has is acknowledged")
    assert info()["num_ack_pending"] <= 20 and b.process.poll() is None
    assert [m["text"] for m in receive(box, 100)] == [str(i) for i in range(100)]


def test_killed_server_loses_and_repeats_nothing(mnt, own_broker, bridge, subject):
    box = mnt.box()
    box.write_config("messages=max\n")
    b = bridge(mnt.path, own_broker.url, f"import {subject} {name_of(box)}").wait_for("connected")
    with connected(own_broker) as client:
        wait_until(lambda: client.stream(subject), "the stream is made")
        client.store_all(subject, numbers(3000))
    own_broker.kill()
    own_broker.start()
    assert [int(m["text"]) for m in receive(box, 3000)] == list(range(3000))
    # The messages themselves may still be there: a server that is killed can forget that it has removed them.
    with connected(own_broker) as client:
        wait_until(lambda: is_done(client, box, subject), "all is acknowledged")
    assert stat_of(box) == 0 and b.process.poll() is None


def test_killed_bridge_loses_nothing_and_repeats_no_more_than_its_window(mnt, client, bridge, broker, subject):
    box = mnt.box()
    box.write_config("messages=max\n")
    line = f"import {subject} {name_of(box)}"
    b = bridge(mnt.path, broker.url, line, options=["--window", "50"])
    wait_until(lambda: client.stream(subject), "the stream is made")
    n_kills = 0
    client.store_all(subject, numbers(500))
    while n_kills < 3:
        wait_messages(box, 100 * (n_kills + 1))
        b.kill()
        n_kills += 1
        client.store_all(subject, [b"%d" % i for i in range(500 * n_kills, 500 * (n_kills + 1))])
        b = bridge(mnt.path, broker.url, line, options=["--window", "50"])
    wait_until(lambda: client.n_messages(client.stream(subject)) == 0, "all is acknowledged")
    got = [int(m["text"]) for m in receive(box, stat_of(box))]
    assert set(got) == set(range(500 * (n_kills + 1)))
    assert len(got) - len(set(got)) <= 50 * n_kills
    first = list(dict.fromkeys(got))
    assert first == sorted(first)


def test_what_went_to_an_importer_that_is_gone_is_waited_for(mnt, client, bridge, broker, subject):
    """Its request is the server's still, and gets messages among those of the one that lives."""
    box = mnt.box()
    b = bridge(mnt.path, broker.url, f"import {subject} {name_of(box)}").wait_for("connected")
    client.store(subject, b"0")
    wait_messages(box, 1)
    stream, inbox = client.stream(subject), client.inbox + ".dead"
    client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.ipcfs-{name_of(box)}", b'{"batch":5,"expires":20000000000}', reply=inbox)
    for i in range(1, 41):
        client.publish(subject, b"%d" % i)
    lost = [client.next() for _ in range(5)]
    wait_until(lambda: client.api(f"CONSUMER.INFO.{stream}.ipcfs-{name_of(box)}")["num_pending"] == 0, "all are given out")
    b.wait_for("went elsewhere")
    for _, ack, _, _ in lost:
        client.publish(ack, b"-NAK")
    wait_messages(box, 41)
    assert [int(m["text"]) for m in receive(box, 41)] == list(range(41))


def test_importers_that_share_a_consumer_do_not_wait_for_each_other(mnt, mount, client, bridge, broker, subject):
    """What one gets is a gap to the other: it is not what went to one that is gone."""
    other = mount()
    boxes = [m.mailbox("shared").make(0o700) for m in (mnt, other)]
    for box in boxes:
        box.write_config("messages=max\n")
    bridges = [bridge(m.path, broker.url, f"import {subject} shared").wait_for("connected") for m in (mnt, other)]
    wait_until(lambda: client.stream(subject), "the stream is made")
    info = lambda: client.api(f"CONSUMER.INFO.{client.stream(subject)}.ipcfs-shared")
    wait_until(lambda: info().get("num_waiting") == 2, "both have asked")
    client.store_all(subject, numbers(600))
    wait_until(lambda: sum(map(stat_of, boxes)) == 600, "all have come")
    got = [[int(m["text"]) for m in receive(box, stat_of(box))] for box in boxes]
    assert all(got) and sorted(sum(got, [])) == list(range(600))
    assert all(mine == sorted(mine) for mine in got)
    assert not [b.log() for b in bridges if "wait" in b.log()]
    for box in boxes:
        box.remove()


def test_stopped_bridge_gives_back_what_it_could_not_put_anywhere(mnt, client, bridge, broker, subject):
    """The next has it at once."""
    box = mnt.box()
    box.write_config("messages=5\n")
    line = f"import {subject} {name_of(box)}"
    b = bridge(mnt.path, broker.url, line)
    wait_until(lambda: client.stream(subject), "the stream is made")
    client.store_all(subject, numbers(100))
    wait_messages(box, 5)
    assert b.stop() == 0
    b = bridge(mnt.path, broker.url, line)
    assert [int(m["text"]) for m in receive(box, 100)] == list(range(100))
    # That one nats-server 2.9 takes for the request of the bridge that was stopped.
    assert "elsewhere" not in b.log() or "wait for 1 that" in b.log(), b.log()
    assert b.stop() == 0


def test_consumer_that_was_there_has_its_own_ack_wait(mnt, client, bridge, broker, subject):
    """What waits for a full mailbox is told of often enough for it, so nothing is given out again."""
    box = mnt.box()
    box.write_config("messages=1\n")
    client.api("STREAM.CREATE.quick", name="quick", subjects=[subject])
    client.api("CONSUMER.DURABLE.CREATE.quick.d", stream_name="quick",
               config={"durable_name": "d", "ack_policy": "explicit", "ack_wait": 2_000_000_000})
    client.store_all(subject, numbers(3))
    client.listen("$JS.ACK.quick.>")
    bridge(mnt.path, broker.url, f"import {subject} {name_of(box)} d")
    n_told = 0
    while n_told < 10:
        to, _, _, data = client.next()
        n_told += data == b"+WPI"
        assert to.split(".")[4] == "1", "given out again"
    assert [int(m["text"]) for m in receive(box, 3)] == [0, 1, 2]


def test_server_is_told_of_what_a_full_mailbox_keeps_waiting(mnt, client, bridge, broker, subject):
    """Or it would give it out again."""
    box = mnt.box()
    box.write_config("messages=1\n")
    bridge(mnt.path, broker.url, f"import {subject} {name_of(box)}")
    wait_until(lambda: client.stream(subject), "the stream is made")
    client.store_all(subject, numbers(3))
    wait_messages(box, 1)
    client.listen(f"$JS.ACK.{client.stream(subject)}.>")
    told = set()
    while len(told) < 2:
        to, _, _, data = client.next()
        if data == b"+WPI":
            told.add(to.split(".")[5])
    assert told == {"2", "3"}


def test_bridge_is_any_users(mnt, client, bridge, broker, subject):
    """Who has the mailboxes, and no other right."""
    def make():
        for name in ("alice-out", "alice-in"):
            mnt.mailbox(name).make(0o700)
    harness.as_user(ALICE, make)
    b = bridge(mnt.path, broker.url, f"export alice-out {subject}", f"import {subject} alice-in", uid=ALICE)
    harness.as_user(ALICE, lambda: harness.send_message(os.path.join(mnt.mbox, "alice-out/send"), b"hi"))
    wait_until(lambda: int(read_settings(os.path.join(mnt.mbox, "alice-in/stat"))["sent"]) == 1, "it comes")
    wait_until(lambda: "received 1" in bridge_once("--status", mnt.path)[1], "--status shows it to root too")
    assert b.stop() == 0
    other = mnt.box(0o700)
    status, said = bridge(mnt.path, broker.url, f"export {name_of(other)} {subject}", uid=ALICE).ends()
    assert status == 1 and "Permission denied" in said.splitlines()[-1], said


def test_mailbox_that_goes_is_waited_for(mnt, client, bridge, broker, subject):
    box = mnt.mailbox("goes").make(0o700)
    b = bridge(mnt.path, broker.url, f"import {subject} goes")
    wait_until(lambda: client.stream(subject), "the stream is made")
    client.store(subject, b"1")
    assert take(box) == b"1"
    box.remove()
    client.store(subject, b"2")
    b.wait_for("is gone")
    box.make(0o700)
    assert take(box) == b"2"
    assert b.stop() == 0
    box.remove()


def test_mount_that_goes_ends_the_bridge(mount, bridge, broker, client, subject):
    mnt = mount()
    mnt.mailbox("box").make(0o700)
    b = bridge(mnt.path, broker.url, f"import {subject} box").wait_for("connected")
    wait_until(lambda: client.stream(subject), "the stream is made")
    mnt.stop()
    client.store(subject, b"1")
    status, said = b.ends()
    assert status == 1 and said.splitlines()[-1].endswith("the mount is gone"), said


def test_stream_that_acknowledges_is_used_as_it_is(mnt, client, bridge, broker, subject):
    box = mnt.box()
    client.api("STREAM.CREATE.mine", name="mine", subjects=[subject + ".>"])
    client.store(subject + ".a", b"1")
    bridge(mnt.path, broker.url, f"import {subject}.> {name_of(box)}")
    assert take(box) == b"1"
    assert client.n_messages("mine") == 1


def test_consumer_that_can_not_serve_is_one_line_and_status_1(mnt, client, bridge, broker, subject):
    box = mnt.box()
    client.api("STREAM.CREATE.other", name="other", subjects=[subject])
    client.api("CONSUMER.DURABLE.CREATE.other.d", stream_name="other",
               config={"durable_name": "d", "ack_policy": "none", "deliver_subject": "x"})
    status, said = bridge(mnt.path, broker.url, f"import {subject} {name_of(box)} d").ends()
    assert status == 1 and "d of other" in said.splitlines()[-1], said


def test_status_tells_what_a_bridge_does(mnt, client, bridge, broker, subject):
    box = mnt.box()
    b = bridge(mnt.path, broker.url, f"import {subject} {name_of(box)}")
    wait_until(lambda: client.stream(subject), "the stream is made")
    client.store(subject, b"1")
    wait_until(lambda: "received 1" in bridge_once("--status", mnt.path)[1], "--status counts it")
    b.kill()
    assert bridge_once("--status", mnt.path)[0] == 1

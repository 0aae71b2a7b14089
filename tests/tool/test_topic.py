"""ipcctl pub and sub, and topics in the other verbs."""

import json
import os

import pytest

from harness import Mailbox, wait_until


@pytest.fixture
def topic(ctl):
    box = Mailbox(os.path.join(ctl.mount, "topic", "news"))
    ctl.ok("new", "topic/news")
    yield box
    ctl.ok("rm", "-f", "topic/news")


def subscribed(topic, n=1):
    wait_until(lambda: topic.stat()["subscriptions"] == n, lambda: f"{n} subscribe: {topic.stat()}")


def test_what_is_published_is_printed_by_all_who_subscribe(ctl, topic):
    subscribers = [ctl.start("sub", name, "-n", "3") for name in ("news", "topic/news", topic.path)]
    subscribed(topic, 3)
    ctl.ok("pub", "news", "one")
    ctl.ok("pub", "topic/news", stdin=b"two\n")
    # The third overtakes what is not read yet.
    wait_until(lambda: not unread_bytes(topic), "all have read two")
    ctl.ok("pub", "news", "-p", "5", "three")
    assert [subscriber.output() for subscriber in subscribers] == ["one\ntwo\nthree\n"] * 3


def test_envelopes(ctl, topic):
    subscriber = ctl.start("sub", "news", "--json", "--count", "2")
    subscribed(topic)
    ctl.ok("pub", "news", "-p", "3", "a")
    ctl.ok("pub", "news", "b")
    assert [(e["text"], e["prio"]) for e in map(json.loads, subscriber.output().splitlines())] == [("a", 3), ("b", 0)]


def test_without_a_count_it_goes_on(ctl, topic):
    subscriber = ctl.start("sub", "news")
    subscribed(topic)
    for i in range(3):
        ctl.ok("pub", "news", str(i))
    topic.wait_for(published=3)
    wait_until(lambda: topic.stat()["delivered"] == 3, "it has them")
    wait_until(lambda: not unread_bytes(topic), "it has read them")
    os.rmdir(topic.path)
    assert subscriber.wait() == 1
    os.mkdir(topic.path)


def unread_bytes(topic):
    """What the listener has not read still counts."""
    with open(os.path.join(os.path.dirname(os.path.dirname(topic.path)), ".ipcfs", "metrics"), encoding="utf-8") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("ipcfs_used_bytes "))


def test_messages_of_every_length_come_whole(ctl, topic, tmp_path):
    subscriber = ctl.start("sub", "news", "-n", "3")
    subscribed(topic)
    large = tmp_path / "large"
    large.write_text("x" * 3000000 + "\n")
    ctl.ok("pub", "news", "first")
    ctl.ok("pub", "news", "--file", str(large))
    ctl.ok("pub", "news", "last")
    assert subscriber.output() == "first\n" + large.read_text() + "last\n"


def test_nothing_in_time(ctl, topic):
    assert ctl.fails("sub", "news", "-t", "0.1", status=3) == "no message came to topic 'news' within 0.1 s"


def test_a_subscription_that_stays(ctl, topic):
    os.mkdir(topic.file("sub/me"))
    ctl.ok("pub", "news", "one")
    ctl.ok("pub", "news", "two")
    assert ctl.ok("sub", "topic/news/sub/me", "-n", "2") == "one\ntwo\n"
    ctl.ok("pub", "news", "three")
    assert ctl.ok("recv", "topic/news/sub/me") == "three"


def test_settings(ctl, topic):
    ctl.ok("config", "topic/news", "history=3")
    ctl.ok("pub", "news", "old")
    assert "history=3" in ctl.ok("config", "topic/news").splitlines()
    assert ctl.ok("sub", "news", "-n", "1") == "old\n"


def test_it_is_listed(ctl, topic):
    os.mkdir(topic.file("sub/me"))
    ctl.ok("pub", "news", "one")
    listed, = ctl.json("ls", "--json", "topic/news")
    assert (listed["kind"], listed["name"], listed["published"], listed["subscriptions"], listed["delivered"]) == \
        ("topic", "news", 1, 1, 1)
    line = ctl.ok("ls", "-l", "topic/news").splitlines()[-1].split()
    assert "0+1" in line and line[-1] == "topic/news"


def test_removing_one_with_subscriptions(ctl, topic):
    os.mkdir(topic.file("sub/me"))
    ctl.ok("pub", "news", "one")
    said = ctl.fails("rm", "topic/news")
    assert said.startswith("can't remove topic 'news': there are subscriptions in its sub/; to remove them too: ")
    ctl.ok("rm", "-f", "topic/news")
    assert not os.path.exists(topic.path)
    os.mkdir(topic.path)


@pytest.mark.parametrize("args, said", [(("pub",), "say where to send it: a NAME"), (("sub",), "say what to subscribe to: a NAME"),
                                        (("pub", "ring/x", "a"), "is no topic"), (("sub", "mbox/x"), "is no topic")],
                         ids=str)
def test_misuse(ctl, args, said):
    assert said in ctl.misused(*args)


def test_no_such_topic(ctl):
    assert "there is no topic 'nows'" in ctl.fails("pub", "nows", "x") or "nows" in ctl.fails("pub", "nows", "x")

"""The Python package's topics."""

import os

import pytest

import ipcfs
from harness import PATIENCE


@pytest.fixture
def news(mnt):
    topic = ipcfs.Mount(mnt.path).topic("news", create=True)
    yield topic
    for name in os.listdir(os.path.join(topic.path, "sub")):
        os.rmdir(os.path.join(topic.path, "sub", name))
    topic.remove()


def test_all_subscribers_get_all(news):
    news.publish("nobody hears")
    with news.subscribe() as one, news.subscribe() as two:
        for i in range(10):
            news.publish(str(i), priority=0, headers={"n": str(i)})
        for stream in one, two:
            got = [stream.receive(timeout=PATIENCE) for _ in range(10)]
            assert [(message.text, message.headers) for message in got] == [(str(i), {"n": str(i)}) for i in range(10)]
            with pytest.raises(TimeoutError):
                stream.receive(timeout=0)
    assert news.stat["subscriptions"] == 0


def test_a_subscription_that_stays(news):
    me = news.subscription("me", create=True, messages=100)
    news.publish("kept")
    assert news.subscription("me", create=True).receive(timeout=PATIENCE).text == "kept"
    news.publish("worked on")
    with me.work(timeout=PATIENCE) as message:
        assert message.text == "worked on"
    assert me.config["messages"] == 100


def test_what_was_missed(news):
    me = news.subscription("me", create=True, messages=2)
    for i in range(5):
        news.publish(str(i))
    message = me.receive(timeout=PATIENCE)
    assert (message.text, message.missed) == ("3", 3)
    assert me.receive(timeout=PATIENCE).text == "4"


def test_an_end(news, mnt):
    topic = ipcfs.Mount(mnt.path).topic("short", create=True)
    with topic.subscribe() as stream:
        topic.publish("last words")
        assert stream.receive(timeout=PATIENCE).text == "last words"
        topic.remove()
        assert list(stream) == []

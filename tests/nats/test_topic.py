"""topic TOPIC SUBJECT: what is published on one host is published on all, once each."""

import json
import os

import pytest

from broker import connected
from harness import wait_until

N_HOSTS = 3


class TopicHost:
    def __init__(self, mnt, name="news"):
        self.mnt = mnt
        self.path = os.path.join(mnt.path, "topic", name)
        os.mkdir(self.path)
        self.sub = os.path.join(self.path, "sub", "all")
        os.mkdir(self.sub)

    def publish(self, *texts):
        with open(os.path.join(self.path, "send.lines"), "w", encoding="utf-8") as lines:
            lines.writelines(f"{text}\n" for text in texts)

    def n_waiting(self):
        return len(os.listdir(os.path.join(self.sub, "queue")))

    def receive(self, n):
        return self.receive_until(lambda got: len(got) == n)

    def receive_until(self, has_all):
        """One open: what a read has got and nobody looks at goes with the close."""
        got = []
        with open(os.path.join(self.sub, "recv.json"), encoding="utf-8") as lines:
            while not has_all(got):
                got.append(json.loads(lines.readline()))
        return got


@pytest.fixture
def hosts(mount):
    return [TopicHost(mount()) for _ in range(N_HOSTS)]


def start(hosts, bridge, broker, subject):
    made = [bridge(host.mnt.path, broker.url, f"topic news {subject}", options=["--host", f"host{i}"])
            for i, host in enumerate(hosts)]

    def all_listen():
        with connected(broker) as client:
            stream = client.stream(subject)
            return stream and client.api(f"STREAM.INFO.{stream}")["state"]["consumer_count"] == len(hosts)
    wait_until(all_listen, "each host has its consumer")
    return made


def test_each_host_has_each_message_once(hosts, bridge, broker, subject):
    start(hosts, bridge, broker, subject)
    for i, host in enumerate(hosts):
        host.publish(*(f"{i}-{n}" for n in range(100)))
    for host in hosts:
        texts = [m["text"] for m in host.receive(100 * N_HOSTS)]
        for i in range(N_HOSTS):
            assert [t for t in texts if t.startswith(f"{i}-")] == [f"{i}-{n}" for n in range(100)]
    # An echo would have come with what follows.
    for i, host in enumerate(hosts):
        host.publish(f"last {i}")
    for host in hosts:
        assert sorted(m["text"] for m in host.receive(N_HOSTS)) == [f"last {i}" for i in range(N_HOSTS)]
        assert host.n_waiting() == 0


def test_origin_is_told_elsewhere_and_not_at_home(hosts, bridge, broker, subject):
    start(hosts, bridge, broker, subject)
    hosts[0].publish("hi")
    assert "headers" not in hosts[0].receive(1)[0]
    headers = hosts[1].receive(1)[0]["headers"]
    assert headers["origin-host"] == "host0" and headers["origin-uid"] == str(os.getuid())


def test_bridges_that_are_killed_make_no_echo(hosts, bridge, broker, subject):
    made = start(hosts, bridge, broker, subject)
    hosts[0].publish(*(f"a{n}" for n in range(200)))
    wait_until(lambda: hosts[1].n_waiting() > 20, "some have come")
    for b in made:
        b.kill()
    hosts[0].publish(*(f"b{n}" for n in range(200)))
    start(hosts, bridge, broker, subject)
    expected = [f"{c}{n}" for c in "ab" for n in range(200)]
    assert [m["text"] for m in hosts[0].receive(400)] == expected
    for host in hosts[1:]:
        got = [m["text"] for m in host.receive_until(lambda got: {m["text"] for m in got} == set(expected))]
        # Twice only what a killed bridge had put here and not acknowledged.
        assert list(dict.fromkeys(got)) == expected and len(got) - len(expected) <= 256
    assert hosts[0].n_waiting() == 0


def test_work_queue_is_no_stream_for_a_topic(hosts, bridge, broker, subject, client):
    client.api("STREAM.CREATE.wq", name="wq", subjects=[subject], retention="workqueue")
    status, said = bridge(hosts[0].mnt.path, broker.url, f"topic news {subject}").ends()
    assert status == 1 and "work queue" in said.splitlines()[-1], said

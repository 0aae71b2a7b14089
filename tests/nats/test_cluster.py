"""Three hosts with a mount each and a cluster of three servers, links that are cut, servers and bridges that are killed: each
message is counted at the end."""

import json
import os
import random
import threading
import time

import pytest

from bridge import bridge_once
from broker import Broker, connected
from harness import PATIENCE, read_settings, wait_until
from network import Network

N = 3
# How long the trouble lasts; the count at its end does not depend on it.
TROUBLE_S = float(os.environ.get("IPCFS_NATS_TROUBLE", "8"))


@pytest.fixture(scope="module")
def network():
    network = Network(N)
    yield network
    network.stop()


@pytest.fixture(scope="module")
def cluster(network):
    routes = ", ".join(f"nats://{host.address}:6222" for host in network.hosts)
    brokers = [
        Broker(f'cluster {{ name: c, host: {host.address}, port: 6222, routes: [ {routes} ] }}', host=host.address,
               port=4222, netns=host.netns, name=f"s{host.number}")
        for host in network.hosts]
    wait_until(lambda: has_leader(brokers[0]), "the cluster has a leader")
    yield brokers
    for broker in brokers:
        broker.stop()


def answers(broker, question):
    """What @question(client) gives; False where nobody answers, for there is no leader now."""
    with connected(broker) as client:
        client.socket.settimeout(2)
        try:
            return question(client)
        except TimeoutError:
            return False


def has_leader(broker):
    return answers(broker, lambda client: "error" not in client.api("STREAM.NAMES"))


def urls(cluster):
    return ",".join(broker.url for broker in cluster)


def stat_of(path, key="messages"):
    return int(read_settings(os.path.join(path, "stat"))[key])


class Sender(threading.Thread):
    """Sends numbers until it is stopped; a full mailbox makes it wait."""

    def __init__(self, path, name):
        super().__init__(daemon=True)
        self.path, self.label, self.n, self.is_stopping = path, name, 0, threading.Event()

    def run(self):
        fd = os.open(os.path.join(self.path, "send"), os.O_WRONLY)
        while not self.is_stopping.is_set():
            os.write(fd, f"{self.label} {self.n}".encode())
            self.n += 1
            time.sleep(0.002)
        os.close(fd)


class Receiver(threading.Thread):
    """All that comes, until the mailbox is removed."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.got = path, []

    def run(self):
        with open(os.path.join(self.path, "recv.json"), encoding="utf-8") as lines:
            for line in lines:
                self.got.append(json.loads(line)["text"])


def trouble(cluster, network, bridges, kill_bridge):
    """For a while: a cable is pulled, a server killed, a bridge killed, and mended again, one at a time."""
    random.seed(TROUBLE_S)
    end = time.monotonic() + TROUBLE_S
    n_kills = 0
    while time.monotonic() < end:
        i = random.randrange(N)
        what = random.choice(["cable", "server", "bridge"])
        if what == "cable":
            network.hosts[i].cut()
            time.sleep(random.uniform(0.2, 3))
            network.hosts[i].mend()
        elif what == "server":
            cluster[i].kill()
            time.sleep(random.uniform(0.1, 1))
            cluster[i].start()
        elif kill_bridge and bridges:
            kill_bridge(random.randrange(len(bridges)))
            n_kills += 1
        time.sleep(random.uniform(0.2, 2))
    return n_kills


def wait_all(receiver, total, bridges):
    """Says what the bridges have said, if not all comes."""
    try:
        wait_until(lambda: len(set(receiver.got)) >= total, f"all {total} have come", patience=2 * PATIENCE)
    except pytest.fail.Exception as error:
        said = "\n".join(b.log() for b in bridges)
        states = "\n".join(bridge_once("--status", b.mount)[1] for b in bridges)
        raise AssertionError(f"{error}: {len(set(receiver.got))} have\n{said}\n{states}") from None


def check(got, sender, n_repeats_max):
    mine = [int(text.split()[1]) for text in got if text.split()[0] == sender.label]
    first = list(dict.fromkeys(mine))
    assert set(mine) == set(range(sender.n)), f"{sender.label}: {sender.n - len(set(mine))} are lost"
    assert len(mine) - len(first) <= n_repeats_max, f"{sender.label}: {len(mine) - len(first)} came again"
    return first == list(range(sender.n))


@pytest.mark.parametrize("killing", [False, True], ids=["no-bridge-killed", "bridges-killed"])
def test_nothing_is_lost_between_hosts(mount, network, cluster, bridge, killing):
    """Two hosts export to one subject, the third imports it."""
    mounts = [mount() for _ in range(N)]
    subject = f"t.cluster-{int(killing)}"
    lines = [f"export box {subject}", f"export box {subject}", f"import {subject} box"]
    boxes = [m.mailbox("box").make(0o700).path for m in mounts]
    options = ["--replicas", "3", "--window", "64"]
    make = lambda i: bridge(mounts[i].path, urls(cluster), lines[i], netns=network.hosts[i].netns, options=options)
    bridges = [make(i) for i in range(N)]

    def kill_bridge(i):
        bridges[i].kill()
        bridges[i] = make(i)
    senders = [Sender(boxes[i], f"host{i}") for i in range(2)]
    receiver = Receiver(boxes[2])
    for thread in (*senders, receiver):
        thread.start()
    n_kills = trouble(cluster, network, bridges, kill_bridge if killing else None)
    for sender in senders:
        sender.is_stopping.set()
        sender.join(PATIENCE)
    total = sum(sender.n for sender in senders)
    wait_all(receiver, total, bridges)
    for b in bridges:
        assert b.process.poll() is None, b.log()
    in_order = [check(receiver.got, sender, 64 * n_kills) for sender in senders]
    assert all(in_order)
    for path in boxes[:2]:
        wait_until(lambda: stat_of(path) == stat_of(path, "leased") == 0, "nothing is left at the senders")


def test_one_exporter_keeps_the_order_over_dying_servers(mount, network, cluster, bridge):
    mounts = [mount() for _ in range(2)]
    boxes = [m.mailbox("box").make(0o700).path for m in mounts]
    lines = ["export box t.order", "import t.order box"]
    bridges = [bridge(mounts[i].path, urls(cluster), lines[i], netns=network.hosts[i].netns, options=["--replicas", "3"])
               for i in range(2)]
    sender, receiver = Sender(boxes[0], "one"), Receiver(boxes[1])
    sender.start()
    receiver.start()
    trouble(cluster, network, [], None)
    sender.is_stopping.set()
    sender.join(PATIENCE)
    wait_all(receiver, sender.n, bridges)
    assert receiver.got == [f"one {i}" for i in range(sender.n)]
def test_slow_host_does_not_slow_another(mount, network, cluster, bridge):
    mounts = [mount() for _ in range(N)]
    topics = [os.path.join(m.path, "topic/news") for m in mounts]
    for i, (m, topic) in enumerate(zip(mounts, topics)):
        os.mkdir(topic)
        os.mkdir(topic + "/sub/me")
        bridge(m.path, urls(cluster), "topic news t.slow", netns=network.hosts[i].netns, options=["--replicas", "3"])
    with open(topics[2] + "/sub/me/config", "w", encoding="utf-8") as config:
        config.write("messages=5\noverflow=block\n")

    def all_listen(client):
        stream = client.stream("t.slow")
        return stream and client.api(f"STREAM.INFO.{stream}").get("state", {}).get("consumer_count") == N
    wait_until(lambda: answers(cluster[0], all_listen), "all listen")
    receiver = Receiver(topics[1] + "/sub/me")
    receiver.start()
    with open(topics[0] + "/send.lines", "w", encoding="utf-8") as lines:
        lines.writelines(f"{i}\n" for i in range(500))
    wait_until(lambda: len(receiver.got) == 500, "the other host has all")
    wait_until(lambda: len(os.listdir(topics[2] + "/sub/me/queue")) == 5, "the slow host has what it has room for")

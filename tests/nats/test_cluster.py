"""Three hosts with a mount each and a cluster of three servers, links that are cut, servers, bridges and daemons that are
killed: each message is counted at the end.

A minute of trouble in each of them: IPCFS_NATS_TROUBLE=60 meson test -C build nats-cluster; in the same order again, if not at the
same moments: with the IPCFS_NATS_SEED that a test which failed has printed."""

import os
from types import SimpleNamespace

import pytest

from broker import Broker, connected
from harness import PATIENCE, read_settings, wait_until
from network import Network
from trouble import (LONG_SECONDS, SECONDS, CarriedMount, Receiver, Sender, StoredHost, cable_of, check, make_trouble, one_of,
                     server_of, wait_all)

N = 3
WINDOW = 64
OPTIONS = ["--replicas", "3", "--window", str(WINDOW)]


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


@pytest.fixture
def carried(mount, network, cluster):
    """Makes hosts of this network that carry a mailbox, by lines of their own."""
    hosts = []

    def make(*lines_of_each):
        for lines, host in zip(lines_of_each, network.hosts):
            made = mount()
            made.mailbox("box").make(0o700)
            hosts.append(CarriedMount(made, urls(cluster), lines, host.netns, OPTIONS))
        return hosts
    yield make
    for host in hosts:
        host.stop()


@pytest.fixture
def stored(network, cluster, tmp_path):
    """As carried, of mounts with a store."""
    hosts = []

    def make(*lines_of_each):
        for i, lines in enumerate(lines_of_each):
            hosts.append(StoredHost(tmp_path / str(i), network.hosts[i], cluster[i], urls(cluster), lines, options=OPTIONS))
        return hosts
    yield make
    for host in hosts:
        host.stop()


def stat_of(host, key):
    return int(read_settings(os.path.join(host.box, "stat"))[key])


def count_all(hosts, name, seconds, is_in_order=True, **kinds):
    """All but the last of the hosts send, and the last receives. Each kind of trouble whose name begins with `kill` may let
    a window of messages come twice."""
    senders = [Sender(host, f"host{i}") for i, host in enumerate(hosts[:-1])]
    receiver = Receiver(hosts[-1])
    threads = [*senders, receiver]
    try:
        for thread in threads:
            thread.start()
        happened = make_trouble(name, seconds, **kinds)
        for sender in senders:
            sender.is_stopping.set()
            sender.join(PATIENCE)
        wait_all(receiver, senders, hosts)
    finally:
        for thread in threads:
            thread.is_stopping.set()
    for host in hosts:
        assert host.bridge.process.poll() is None, host.bridge.log()
    n_kills = sum(n for kind, n in happened.items() if kind.startswith("kill"))
    for sender in senders:
        check(receiver, sender, WINDOW * n_kills, is_in_order)
    for host in hosts[:-1]:
        wait_until(lambda: stat_of(host, "messages") == stat_of(host, "leased") == 0, "nothing is left at the senders")


def two_to_one(subject):
    """Two hosts export to one subject, the third imports it."""
    return [f"export box {subject}"], [f"export box {subject}"], [f"import {subject} box"]


def two_streams(subject):
    """Each of them to a subject of its own."""
    a, b = subject + ".a", subject + ".b"
    return [f"export box {a}"], [f"export box {b}"], [f"import {a} box", f"import {b} box"]


@pytest.mark.lasts(SECONDS)
def test_links_and_servers(network, cluster, carried):
    """Nothing comes twice."""
    count_all(carried(*two_to_one("t.links")), "links", SECONDS, cut=cable_of(network.hosts), server=server_of(cluster))


@pytest.mark.lasts(SECONDS)
def test_links_servers_and_bridges(network, cluster, carried):
    hosts = carried(*two_to_one("t.bridges"))
    count_all(hosts, "bridges", SECONDS, cut=cable_of(network.hosts), server=server_of(cluster),
              kill_bridge=one_of(hosts, "kill_bridge"))


@pytest.mark.lasts(LONG_SECONDS)
def test_one_exporter(network, cluster, carried):
    count_all(carried(["export box t.one"], ["import t.one box"]), "one", LONG_SECONDS, cut=cable_of(network.hosts),
              server=server_of(cluster))


@pytest.mark.lasts(SECONDS)
def test_hosts_with_a_store(network, cluster, stored):
    """All there is, and daemons are killed, and whole hosts: a server, a bridge and a daemon at once.

    What an importer had when it was killed may come behind newer messages, where a server is killed too that knew of it."""
    hosts = stored(*two_streams("t.stored"))
    count_all(hosts, "stored", SECONDS, is_in_order=False, cut=cable_of(network.hosts), server=server_of(cluster),
              kill_bridge=one_of(hosts, "kill_bridge"), kill_daemon=one_of(hosts, "kill_daemon"),
              kill_host=one_of(hosts, "restart"))


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
    receiver = Receiver(SimpleNamespace(box=topics[1] + "/sub/me"))
    receiver.start()
    with open(topics[0] + "/send.lines", "w", encoding="utf-8") as lines:
        lines.writelines(f"{i}\n" for i in range(500))
    wait_until(lambda: len(receiver.got) == 500, "the other host has all")
    wait_until(lambda: len(os.listdir(topics[2] + "/sub/me/queue")) == 5, "the slow host has what it has room for")
    receiver.is_stopping.set()

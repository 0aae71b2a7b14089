"""export MAILBOX SUBJECT: what is sent to the mailbox is in the stream, once, in its order, whatever is killed."""

import json
import os
import re
import signal
import subprocess
import threading

import pytest

import harness
from bridge import bridge_once
from broker import Broker, connected, free_port
from credentials import ACCOUNT, Authority, Key
from harness import ALICE, PATIENCE, read_settings, wait_until


REPEATED = re.compile(r"repeated (\d+)")


def name_of(box):
    return os.path.basename(box.path)


def stat_of(box, key="messages"):
    return int(read_settings(os.path.join(box.path, "stat"))[key])


def send(box, data, file="send"):
    harness.send_message(os.path.join(box.path, file), data)


def send_numbers(box, first, n):
    with open(os.path.join(box.path, "send.lines"), "wb") as lines:
        for i in range(first, first + n):
            lines.write(b"%d\n" % i)


def wait_stored(client, subject, n):
    def stored():
        stream = client.stream(subject)
        return stream and client.n_messages(stream) >= n
    wait_until(stored, f"{n} messages are in the stream")
    return client.stream(subject)


def numbers_of(client, stream):
    return [int(data) for _, data in client.messages(stream)]


@pytest.fixture
def kept(client, subject):
    """A stream of the subject that keeps what was acknowledged; its name."""
    name = "kept_" + subject.replace(".", "_")
    answer = client.api(f"STREAM.CREATE.{name}", name=name, subjects=[subject])
    assert "error" not in answer, answer
    return name


def test_messages_are_stored_in_their_order_and_gone_here(mnt, client, bridge, broker, subject):
    box = mnt.box()
    b = bridge(mnt.path, broker.url, f"export {name_of(box)} {subject}")
    send_numbers(box, 0, 1000)
    stream = wait_stored(client, subject, 1000)
    assert numbers_of(client, stream) == list(range(1000))
    wait_until(lambda: stat_of(box) == stat_of(box, "leased") == 0, "all is done")
    assert b.stop() == 0
    assert client.api(f"STREAM.INFO.{stream}")["config"]["retention"] == "workqueue"


def test_envelope_travels_as_headers(mnt, client, bridge, broker, subject, kept):
    box = mnt.box()
    os.chmod(os.path.join(box.path, "send.json"), 0o222)
    bridge(mnt.path, broker.url, f"export {name_of(box)} {subject}", options=["--host", "here"])

    def as_alice():
        with open(os.path.join(box.path, "send.json"), "w", encoding="utf-8") as lines:
            json.dump({"text": "hi", "prio": 5, "headers": {"kind": "greeting", "note": " a\nb%", "nats-x": "y"}}, lines)
            lines.write("\n")
    harness.as_user(ALICE, as_alice)
    wait_stored(client, subject, 1)
    (headers, data), = client.messages(kept)
    with open(os.path.join(mnt.path, ".ipcfs/version"), encoding="utf-8") as version:
        mount_id = next(line.split("=")[1].strip() for line in version if line.startswith("mount_id="))
    assert data == b"hi"
    assert headers["Nats-Msg-Id"] == f"{mount_id}-{headers['Ipcfs-Id']}"
    assert headers["Ipcfs-Mount"] == mount_id and headers["Ipcfs-Host"] == "here"
    assert headers["Ipcfs-Uid"] == headers["Ipcfs-Gid"] == str(ALICE) and headers["Ipcfs-Prio"] == "5"
    assert int(headers["Ipcfs-Pid"]) > 0 and headers["Ipcfs-Time"].endswith("Z")
    assert headers["kind"] == "greeting"
    assert headers["Ipcfs-H-note"] == "%20a%0Ab%25" and headers["Ipcfs-H-nats-x"] == "y" and "nats-x" not in headers


@pytest.mark.parametrize("data", [b"\x00\xff\n", os.urandom(60_000)], ids=["binary", "60000"])
def test_bytes_are_those_that_were_sent(mnt, client, bridge, broker, subject, kept, data):
    box = mnt.box()
    bridge(mnt.path, broker.url, f"export {name_of(box)} {subject}")
    send(box, data)
    wait_stored(client, subject, 1)
    assert [stored for _, stored in client.messages(kept)] == [data]


def test_dropped_file_goes_whole(mnt, client, bridge, broker, subject, kept):
    box = mnt.box()
    data = os.urandom(900_000)
    bridge(mnt.path, broker.url, f"export {name_of(box)} {subject}")
    with open(os.path.join(box.path, "drop/file"), "wb") as f:
        f.write(data)
    wait_stored(client, subject, 1)
    assert [stored for _, stored in client.messages(kept)] == [data]


def test_server_that_is_away_stops_the_senders_at_the_limits_of_their_mailbox(mnt, own_broker, bridge, subject):
    box = mnt.box()
    box.write_config("messages=10\noverflow=reject\n")
    b = bridge(mnt.path, own_broker.url, f"export {name_of(box)} {subject}").wait_for("connected")
    own_broker.kill()
    b.wait_for(": messages wait here until there is a server again")
    n_sent = 0
    with pytest.raises(OSError, match="No buffer space"):
        while n_sent < 1000:
            send(box, b"%d" % n_sent)
            n_sent += 1
    assert n_sent >= 10
    own_broker.start()
    with connected(own_broker) as client:
        assert numbers_of(client, wait_stored(client, subject, n_sent)) == list(range(n_sent))


def test_server_that_reads_nothing_for_a_while_gets_all(mnt, own_broker, bridge, subject):
    """More than sockets hold, so the bridge has to wait with the rest."""
    box = mnt.box()
    box.write_config("messages=max\nbytes=64M\n")
    datas = [os.urandom(500_000) for _ in range(60)]
    b = bridge(mnt.path, own_broker.url, f"export {name_of(box)} {subject}").wait_for("connected")
    # As many are in flight only after many that nobody else's came between.
    send_numbers(box, 0, 500)
    with connected(own_broker) as client:
        wait_stored(client, subject, 500)
    own_broker.process.send_signal(signal.SIGSTOP)
    for i, data in enumerate(datas):
        with open(os.path.join(box.path, f"drop/{i}"), "wb") as f:
            f.write(data)
    leased = [0]

    def takes_no_more():
        leased.append(stat_of(box, "leased"))
        return leased[-1] > 2 and leased[-1] == leased[-20:][0]
    wait_until(takes_no_more, "the bridge has more than the socket takes")
    own_broker.process.send_signal(signal.SIGCONT)
    with connected(own_broker) as client:
        stream = wait_stored(client, subject, 500 + len(datas))
        assert [data for _, data in client.messages(stream)][500:] == datas
    wait_until(lambda: stat_of(box) == stat_of(box, "leased") == 0, "all is done")
    assert b.stop() == 0


def test_killed_server_loses_repeats_and_moves_nothing(mnt, own_broker, bridge, subject):
    box = mnt.box()
    box.write_config("messages=max\n")
    b = bridge(mnt.path, own_broker.url, f"export {name_of(box)} {subject}").wait_for("connected")
    n = 0
    for _ in range(3):
        sender = threading.Thread(target=send_numbers, args=(box, n, 2000))
        sender.start()
        n += 2000
        wait_until(lambda: stat_of(box, "sent") > n - 1500, "the sender is in the midst of it")
        own_broker.kill()
        own_broker.start()
        sender.join(PATIENCE)
    with connected(own_broker) as client:
        assert numbers_of(client, wait_stored(client, subject, n)) == list(range(n))
    wait_until(lambda: stat_of(box) == stat_of(box, "leased") == 0, "all is done")
    assert b.process.poll() is None


def test_killed_bridge_loses_repeats_and_moves_nothing(mnt, client, bridge, broker, subject, kept):
    box = mnt.box()
    box.write_config("messages=max\n")
    line = f"export {name_of(box)} {subject}"
    n = 4000
    sender = threading.Thread(target=send_numbers, args=(box, 0, n))
    b = bridge(mnt.path, broker.url, line)
    sender.start()
    for n_stored in (500, 1500, 2500):
        wait_stored(client, subject, n_stored)
        b.kill()
        b = bridge(mnt.path, broker.url, line)
    sender.join(PATIENCE)
    wait_stored(client, subject, n)
    assert numbers_of(client, kept) == list(range(n))


def test_two_hosts_export_to_one_subject(mnt, mount, client, bridge, broker, subject, kept):
    other = mount()
    boxes = [mnt.box(), other.box()]
    for m, box in zip((mnt, other), boxes):
        box.write_config("messages=max\n")
        bridge(m.path, broker.url, f"export {name_of(box)} {subject}", options=["--window", "16"])
    senders = [threading.Thread(target=send_numbers, args=(box, first, 1000)) for box, first in zip(boxes, (0, 1000))]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(PATIENCE)
    wait_stored(client, subject, 2000)
    status = lambda: bridge_once("--status", mnt.path)[1] + bridge_once("--status", other.path)[1]
    wait_until(lambda: len(re.findall("sent 1000", status())) == 2, "both have sent all")
    # Of a few windows, and not of every other message: a server that refuses much has more to go wrong.
    assert sum(map(int, REPEATED.findall(status()))) < 100, status()
    got = numbers_of(client, kept)
    assert [i for i in got if i < 1000] == list(range(1000)) and [i for i in got if i >= 1000] == list(range(1000, 2000))


def test_too_large_message_goes_to_the_dead_letter_mailbox(mnt, bridge, subject, small_broker):
    box, dead = mnt.box(), mnt.box()
    box.write_config(f"dead={name_of(dead)}\n")
    bridge(mnt.path, small_broker.url, f"export {name_of(box)} {subject}").wait_for("connected")
    send(box, b"x" * 5000)
    send(box, b"after")
    with connected(small_broker) as client:
        stream = wait_stored(client, subject, 1)
        assert [data for _, data in client.messages(stream)] == [b"after"]
    wait_until(lambda: stat_of(dead) == 1, "it is in the dead-letter mailbox")
    assert harness.receive_message(os.path.join(dead.path, "recv")) == b"x" * 5000


def test_too_large_message_without_a_dead_letter_mailbox_stays_and_holds_up_nobody(mnt, bridge, subject, small_broker):
    box = mnt.box()
    b = bridge(mnt.path, small_broker.url, f"export {name_of(box)} {subject}").wait_for("connected")
    send(box, b"x" * 5000)
    send(box, b"after")
    with connected(small_broker) as client:
        wait_stored(client, subject, 1)
    b.wait_for("larger than the server takes")
    assert b.log().count("larger") == 1
    wait_until(lambda: stat_of(box, "leased") == 1, "it is on lease")
    assert b.stop() == 0
    wait_until(lambda: stat_of(box) == 1, "it goes back")


@pytest.fixture
def small_broker():
    broker = Broker("max_payload: 4096")
    yield broker
    broker.stop()


def test_stream_that_acknowledges_nothing_is_refused(mnt, client, bridge, broker, subject):
    box = mnt.box()
    client.api("STREAM.CREATE.silent", name="silent", subjects=[subject], no_ack=True)
    send(box, b"1")
    status, said = bridge(mnt.path, broker.url, f"export {name_of(box)} {subject}").ends()
    assert status == 1 and "silent" in said.splitlines()[-1], said
    assert stat_of(box) == 1


def test_credentials_are_asked_for(mnt, bridge, subject):
    box = mnt.box()
    broker = Broker('accounts { A { jetstream: enabled, users: [ { user: me, password: secret } ] } }')
    try:
        line = f"export {name_of(box)} {subject}"
        status, said = bridge(mnt.path, broker.url, line).ends()
        assert status == 1 and said.count("\n") == 1, said
        b = bridge(mnt.path, broker.url, line, options=["--user", "me", "--password", "secret"]).wait_for("connected")
        send(box, b"1")
        wait_until(lambda: stat_of(box) == stat_of(box, "leased") == 0, "it is done")
        assert b.stop() == 0
    finally:
        broker.stop()


def test_creds_are_asked_for(mnt, bridge, subject, tmp_path):
    box = mnt.box()
    authority = Authority(tmp_path)
    broker = Broker(authority.lines)
    try:
        line = f"export {name_of(box)} {subject}"
        send(box, b"1")
        for options in ([], ["--creds", authority.creds("stranger", signed_by=Key(tmp_path, ACCOUNT))],
                        ["--creds", str(tmp_path / "none")]):
            status, said = bridge(mnt.path, broker.url, line, options=options).ends()
            assert status == 1 and said.count("\n") == 1, said
        assert stat_of(box) == 1
        path = tmp_path / "nats.conf"
        path.write_text(f"creds {authority.creds('me')}\n{line}\n")
        b = bridge(mnt.path, broker.url, options=["-c", str(path)]).wait_for("connected")
        wait_until(lambda: stat_of(box) == stat_of(box, "leased") == 0, "it is done")
        assert b.stop() == 0
    finally:
        broker.stop()


PERMISSIONS = """accounts {{ A {{ jetstream: enabled, users: [
    {{ user: me, password: x, permissions: {{ publish: {{ allow: [{}] }}, subscribe: {{ allow: [{}] }} }} }} ] }} }}"""


@pytest.fixture
def strict_broker():
    """Makes servers that let the user `me` publish, and subscribe to, no more than is said."""
    brokers = []

    def make(publish, subscribe):
        quote = lambda subjects: ", ".join(f'"{subject}"' for subject in subjects)
        brokers.append(Broker(PERMISSIONS.format(quote(publish), quote(subscribe))))
        return brokers[-1]
    yield make
    for broker in brokers:
        broker.stop()


AS_ME = ["--user", "me", "--password", "x"]


@pytest.mark.parametrize("line, publish, subscribe, what", [
    ("export {0} t.no", ["$JS.API.>"], ["_INBOX.>"], "Publish to \"t.no\""),
    ("export {0} t.no", ["t.no"], ["_INBOX.>"], "Publish to \"$JS.API"),
    ("import t.no {0}", ["t.no"], ["_INBOX.>"], "Publish to \"$JS.API"),
    ("import t.no {0}", ["$JS.API.>"], ["t.no"], "Subscription to \"_INBOX"),
])
def test_what_the_server_forbids_is_one_line_and_status_1(mnt, bridge, strict_broker, line, publish, subscribe, what):
    box = mnt.box()
    send(box, b"1")
    broker = strict_broker(publish, subscribe)
    status, said = bridge(mnt.path, broker.url, line.format(name_of(box)), options=AS_ME).ends()
    assert status == 1 and what in said.splitlines()[-1] and said.count("Violation") == 1, said
    assert stat_of(box) == 1


def test_what_is_only_nice_to_have_may_be_forbidden(mnt, bridge, strict_broker):
    """What importers tell each other."""
    box = mnt.box()
    broker = strict_broker(["$JS.API.>", "$JS.ACK.>", "t.nice"], ["_INBOX.>"])
    send(box, b"1")
    b = bridge(mnt.path, broker.url, f"export {name_of(box)} t.nice", f"import t.nice {name_of(box)}", options=AS_ME)
    b.wait_for("importers that share may wait for each other")
    wait_until(lambda: stat_of(box, "sent") >= 2, "it goes round")
    assert b.log().count("importers that share") == 1 and b.stop() == 0


def test_tls_is_asked_for(mnt, bridge, subject, tmp_path):
    box = mnt.box()
    key, cert = tmp_path / "key", tmp_path / "cert"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    broker = Broker(f'tls {{ cert_file: "{cert}", key_file: "{key}", ca_file: "{cert}", verify: true }}')
    try:
        line = f"export {name_of(box)} {subject}"
        status, said = bridge(mnt.path, broker.url, line).ends()
        assert status == 1 and said.count("\n") == 1, said
        b = bridge(mnt.path, broker.url, line,
                   options=["--tls-ca", str(cert), "--tls-cert", str(cert), "--tls-key", str(key)]).wait_for("connected")
        send(box, b"1")
        wait_until(lambda: stat_of(box) == stat_of(box, "leased") == 0, "it is done")
        assert b.stop() == 0
    finally:
        broker.stop()


def test_server_without_jetstream_is_one_line_and_status_1(mnt, bridge, subject):
    box = mnt.box()
    port = free_port()
    server = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "nats-server", "-a", "127.0.0.1", "-p", str(port)],
                              stderr=subprocess.PIPE, text=True)
    try:
        next(line for line in server.stderr if "Server is ready" in line)
        status, said = bridge(mnt.path, f"nats://127.0.0.1:{port}", f"export {name_of(box)} {subject}").ends()
        assert status == 1 and "JetStream" in said.splitlines()[-1], said
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait(PATIENCE)
        server.stderr.close()

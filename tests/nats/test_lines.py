"""What is told to the bridge: each mistake is one line and a status, and nothing is changed by it."""

import os
import signal
import socket

import pytest

from bridge import bridge_once
from broker import free_port
from harness import PATIENCE, wait_until


def line_of(word):
    return f'"{word}": a line is export MAILBOX SUBJECT, import SUBJECT MAILBOX [DURABLE], or topic TOPIC SUBJECT'


@pytest.mark.parametrize("arguments, expected", [
    ([], "say which mount: ipcfs-nats [-s URL] [-c FILE] MOUNT [LINE...]"),
    (["/"], "nothing to carry: give a line, or a file of lines with -c"),
    (["/", "export", "orders"], line_of("export")),
    (["/", "exprot orders shop"], line_of("exprot")),
    (["/", "carry orders"], '"carry" is no line and no option'),
    (["/", "export a/b shop"], '"a/b" is no name: it stands below the mount, without a /'),
    (["/", "export .. shop"], '".." is no name: it stands below the mount, without a /'),
    (["/", f"export {'x' * 256} shop"], f'"{"x" * 256}" is longer than a name can be'),
    (["/", "export orders shop..x"], '"shop..x" is no subject: there is nothing beside a point'),
    (["/", "export orders shop.*"], '"shop.*" has wildcards, but is where messages are sent to'),
    (["/", "import shop.>.x orders"], '"shop.>.x" is no subject: > is its last part'),
    (["/", "import sh*p orders"], '"sh*p" is no subject: a wildcard stands alone between points'),
    (["/", "export orders $JS.x"], '"$JS.x" is a subject of NATS itself'),
    (["/", f"export orders {'x' * 5000}"], f'"{"x" * 5000}" is longer than a subject of this bridge may be'),
    (["/", "import shop orders a.b"], '"a.b" is no durable\'s name: none of . * > / \\ is in one'),
    (["/", "export orders a", "export orders b"], '"orders" is in two lines'),
    (["-s", "http://x", "/", "export orders a"], 'server: "http://x" is not nats://HOST:PORT or tls://HOST:PORT'),
    (["-s", "", "/", "export orders a"], 'server: "" is not nats://HOST:PORT or tls://HOST:PORT'),
    (["--replicas", "0", "/", "export orders a"], 'replicas: "0" is not a number from 1 to 5'),
    (["--window", "many", "/", "export orders a"], 'window: "many" is not a number from 1 to 65536'),
    (["--duplicates", "0", "/", "export orders a"], 'duplicates: "0" is not a number from 1 to 86400'),
    (["--max-age", "-1", "/", "export orders a"], 'max-age: "-1" is not a number from 0 to 2147483647'),
    (["--tls-cert", "x", "/", "export orders a"], "tls-cert and tls-key go together"),
], ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "")
def test_wrong_arguments_are_one_line_and_status_2(arguments, expected):
    assert bridge_once(*arguments) == (2, f"ipcfs-nats: {expected}\n")


@pytest.mark.parametrize("text, line, expected", [
    ("export orders shop\nexport orders\n", 2, line_of("export")),
    ("# a comment\n\nimport shop\n", 3, line_of("import")),
    ("replicas 77\n", 1, 'replicas: "77" is not a number from 1 to 5'),
    ("window\n", 1, line_of("window")),
    ("export orders shop x y z\n", 1, line_of("export")),
])
def test_wrong_line_of_a_file_is_told_with_its_place(tmp_path, text, line, expected):
    path = tmp_path / "nats.conf"
    path.write_text(text)
    assert bridge_once("-c", str(path), "/") == (2, f"ipcfs-nats: {path}:{line}: {expected}\n")


def test_file_that_is_missing_is_one_line_and_status_1(tmp_path):
    status, said = bridge_once("-c", str(tmp_path / "none"), "/")
    assert status == 1 and said == f"ipcfs-nats: {tmp_path}/none: No such file or directory\n"


def test_directory_that_is_no_mount_is_one_line_and_status_1(tmp_path):
    status, said = bridge_once(str(tmp_path), "export orders shop")
    assert status == 1
    assert said == f"ipcfs-nats: {tmp_path} is no mount of ipcfs: {tmp_path}/.ipcfs/version: No such file or directory\n"


def test_mount_of_an_older_ipcfs(tmp_path):
    (tmp_path / ".ipcfs").mkdir()
    (tmp_path / ".ipcfs" / "version").write_text("version=0.0.1\n")
    assert bridge_once(str(tmp_path), "export orders shop") == (
        1, f"ipcfs-nats: {tmp_path}/.ipcfs/version: no mount_id: the mount is of an older ipcfs\n")


@pytest.mark.parametrize("line", ["import t.none none", "export none t.none"])
def test_mailbox_that_is_missing_is_one_line_and_status_1(mnt, broker, line):
    status, said = bridge_once("-s", broker.url, mnt.path, line)
    assert status == 1 and "none" in said.splitlines()[-1], said


def test_status_without_a_bridge_is_one_line_and_status_1(mount):
    path = mount().path
    assert bridge_once("--status", path) == (1, f"ipcfs-nats: no bridge runs on {path}\n")


def test_server_that_is_away_is_waited_for(mount, bridge):
    mnt = mount()
    box = mnt.mailbox("box").make(0o700)
    b = bridge(mnt.path, f"nats://127.0.0.1:{free_port()}", "import t.away box")
    b.wait_for(" yet: messages wait here until there is one")
    wait_until(lambda: bridge_once("--status", mnt.path)[0] == 0, "it has said how it is")
    _, said = bridge_once("--status", mnt.path)
    assert said.splitlines()[0].endswith(": not connected")
    assert b.stop() == 0 and b.log().count("\n") == 1
    box.remove()


@pytest.mark.parametrize("line", ["import t.gone box", "export box t.gone", "topic box t.gone"])
@pytest.mark.parametrize("goes", ["killed", "killed-and-unmounted"])
def test_mount_that_goes_while_the_server_is_asked(mount, bridge, line, goes):
    mnt = mount()
    parent = os.path.join(mnt.path, "topic" if line.startswith("topic") else "mbox")
    os.mkdir(os.path.join(parent, "box"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        b = bridge(mnt.path, f"nats://127.0.0.1:{server.getsockname()[1]}", line)
        connection, _ = server.accept()
    mnt.expected_status = -signal.SIGKILL
    mnt.process.kill()
    mnt.wait_end()
    if goes == "killed-and-unmounted":
        mnt.stop()
    connection.close()
    status, said = b.ends()
    assert (status, said.splitlines()[-1]) == (1, f"ipcfs-nats: {parent}: the mount is gone")


@pytest.mark.parametrize("line", ["import t.idle box", "export box t.idle"])
def test_mount_that_goes_ends_a_bridge_with_nothing_to_carry(mount, bridge, broker, line):
    mnt = mount()
    mnt.mailbox("box").make(0o700)
    b = bridge(mnt.path, broker.url, line).wait_for("connected")
    mnt.expected_status = -signal.SIGKILL
    mnt.process.kill()
    status, said = b.ends()
    assert status == 1 and said.endswith("the mount is gone\n"), said


def test_arguments_stand_before_the_file(mnt, bridge, broker, tmp_path):
    path = tmp_path / "nats.conf"
    box = mnt.box()
    path.write_text(f"server nats://127.0.0.1:{free_port()}\nimport t.before {os.path.basename(box.path)}\n")
    b = bridge(mnt.path, broker.url, options=["-c", str(path)])
    b.wait_for("connected to " + broker.url)
    assert b.stop() == 0

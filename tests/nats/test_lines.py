"""What is told to the bridge: each mistake is one line and a status, and nothing is changed by it."""

import os

import pytest

from bridge import bridge_once
from broker import free_port


def is_one_line(said, *words):
    lines = said.splitlines()
    return len(lines) == 1 and lines[0].startswith("ipcfs-nats: ") and all(word in said for word in words)


@pytest.mark.parametrize("arguments, word", [
    ([], "which mount"),
    (["/"], "nothing to carry"),
    (["/", "export", "orders"], "export"),
    (["/", "exprot orders shop"], "exprot"),
    (["/", "export a/b shop"], "a/b"),
    (["/", "export .. shop"], ".."),
    (["/", "export orders shop..x"], "shop..x"),
    (["/", "export orders shop.*"], "wildcards"),
    (["/", "import shop.>.x orders"], "shop.>.x"),
    (["/", "import sh*p orders"], "sh*p"),
    (["/", "export orders $JS.x"], "$JS.x"),
    (["/", "import shop orders a.b"], "a.b"),
    (["/", "export orders a", "export orders b"], "orders"),
    (["-s", "http://x", "/", "export orders a"], "http://x"),
    (["-s", "", "/", "export orders a"], "server"),
    (["--replicas", "0", "/", "export orders a"], "replicas"),
    (["--window", "many", "/", "export orders a"], "many"),
    (["--tls-cert", "x", "/", "export orders a"], "tls-key"),
], ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "")
def test_wrong_arguments_are_one_line_and_status_2(arguments, word):
    status, said = bridge_once(*arguments)
    assert status == 2 and is_one_line(said, word), said


@pytest.mark.parametrize("text, line, word", [
    ("export orders shop\nexport orders\n", 2, "export"),
    ("# a comment\n\nimport shop\n", 3, "import"),
    ("replicas 77\n", 1, "replicas"),
    ("window\n", 1, "window"),
    ("export orders shop x y z\n", 1, "export"),
])
def test_wrong_line_of_a_file_is_told_with_its_place(tmp_path, text, line, word):
    path = tmp_path / "nats.conf"
    path.write_text(text)
    status, said = bridge_once("-c", str(path), "/")
    assert status == 2 and is_one_line(said, f"{path}:{line}: ", word), said


def test_file_that_is_missing_is_one_line_and_status_1(tmp_path):
    status, said = bridge_once("-c", str(tmp_path / "none"), "/")
    assert status == 1 and is_one_line(said, "none"), said


def test_directory_that_is_no_mount_is_one_line_and_status_1(tmp_path):
    status, said = bridge_once(str(tmp_path), "export orders shop")
    assert status == 1 and is_one_line(said, str(tmp_path)), said


@pytest.mark.parametrize("line", ["import t.none none", "export none t.none"])
def test_mailbox_that_is_missing_is_one_line_and_status_1(mnt, broker, line):
    status, said = bridge_once("-s", broker.url, mnt.path, line)
    assert status == 1 and "none" in said.splitlines()[-1], said


def test_status_without_a_bridge_is_one_line_and_status_1(mount):
    status, said = bridge_once("--status", mount().path)
    assert status == 1 and is_one_line(said, "no bridge"), said


def test_server_that_is_away_is_waited_for(mount, bridge):
    mnt = mount()
    box = mnt.mailbox("box").make(0o700)
    b = bridge(mnt.path, f"nats://127.0.0.1:{free_port()}", "import t.away box")
    b.wait_for("no server")
    assert b.stop() == 0 and b.log().count("\n") == 1
    box.remove()


def test_arguments_stand_before_the_file(mnt, bridge, broker, tmp_path):
    path = tmp_path / "nats.conf"
    box = mnt.box()
    path.write_text(f"server nats://127.0.0.1:{free_port()}\nimport t.before {os.path.basename(box.path)}\n")
    b = bridge(mnt.path, broker.url, options=["-c", str(path)])
    b.wait_for("connected to " + broker.url)
    assert b.stop() == 0

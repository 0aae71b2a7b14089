"""ipcctl store: it runs the ipcfs that belongs to it."""

import json
import os
import shutil

from harness import IPCFS, Mount, run

# As it was built, which has its library and ipcfs where the build puts them.
IPCCTL = os.environ["IPCCTL"]
ENV = {"LC_ALL": "C", "LD_LIBRARY_PATH": os.path.dirname(os.environ["LIBIPCRING"])}

def make_store(path):
    mount = Mount("-o", f"store={path}")
    mount.box().send(b"one", b"two")
    mount.stop()


def test_both_verbs_need_no_path_and_no_daemon(tmp_path):
    make_store(tmp_path / "store")
    env = {**ENV, "PATH": "/nowhere"}
    told = run(IPCCTL, "store", "check", tmp_path / "store", env=env)
    assert told.returncode == 0 and "messages=2\n" in told.stdout
    told = run(IPCCTL, "store", "dump", tmp_path / "store", env=env)
    assert told.returncode == 0 and [json.loads(line)["text"] for line in told.stdout.splitlines()] == ["one", "two"]


def test_a_copy_needs_no_lock(tmp_path):
    make_store(tmp_path / "store")
    os.unlink(tmp_path / "store/lock")
    told = run(IPCCTL, "store", "check", tmp_path / "store", env=ENV)
    assert told.returncode == 0 and "messages=2\n" in told.stdout


def test_the_one_beside_it_comes_first(tmp_path):
    shutil.copy(IPCCTL, tmp_path / "ipcctl")
    (tmp_path / "ipcfs").write_text("#!/bin/sh\necho beside $1\n")
    (tmp_path / "ipcfs").chmod(0o755)
    told = run(tmp_path / "ipcctl", "store", "check", "X", env=ENV)
    assert told.stdout == "beside --store-check=X\n"


def test_without_one_the_path_is_searched(tmp_path):
    shutil.copy(IPCCTL, tmp_path / "ipcctl")
    make_store(tmp_path / "store")
    told = run(tmp_path / "ipcctl", "store", "check", tmp_path / "store", env={**ENV, "PATH": os.path.dirname(IPCFS)})
    assert told.returncode == 0 and "messages=2\n" in told.stdout
    told = run(tmp_path / "ipcctl", "store", "check", tmp_path / "store", env={**ENV, "PATH": "/nowhere"})
    assert told.returncode == 1 and told.stdout == "" and told.stderr.startswith("ipcctl: can't run ipcfs")

"""The Node package: tests/tool/clients/node, run by node's own runner on a mount."""

import os
import re
import shutil
import subprocess

import pytest

NODE = shutil.which("node")
HERE = os.path.dirname(os.path.abspath(__file__))


def test_package(mnt, box, tmp_path):
    if not NODE:
        pytest.skip("no node")
    # As npm would install it.
    os.mkdir(tmp_path / "node_modules")
    os.symlink(os.environ["NODE_PACKAGE"], tmp_path / "node_modules" / "ipcfs")
    env = dict(os.environ, NODE_PATH=str(tmp_path / "node_modules"))
    if os.path.exists(box.file("work")):
        env["HAS_WORK"] = "yes"
    if os.path.exists(os.path.join(mnt.path, "topic")):
        env["HAS_TOPIC"] = "yes"
    # To a file: what it leaves behind must not keep a pipe open.
    with open(tmp_path / "out", "w+", encoding="utf-8") as out:
        done = subprocess.run([NODE, "--test", os.path.join(HERE, "node", "all.js")], env=env, stdout=out, stderr=out, timeout=200, check=False)
        out.seek(0)
        said = out.read()
    assert done.returncode == 0, said
    # Of its cases, not of its files.
    assert len(re.findall(r"^ *(?:# Subtest: |✔ )", said, re.M)) >= 14, said

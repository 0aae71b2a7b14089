"""What tools/docs/containers.md says, in what a container is made of: a root of busybox alone, with mounts and processes of its own."""

import json
import os
import re
import shutil

import pytest

from harness import BOB, IPCFS, PATIENCE, run, start, wait_until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Busybox, with what it is linked to."""
    path = tmp_path_factory.mktemp("root")
    busybox = shutil.which("busybox")
    libraries = re.findall(r"(/\S+) \(0x", run("ldd", busybox).stdout)
    for file in [busybox, *libraries]:
        target = str(path) + (file if file != busybox else "/bin/busybox")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(file, target)
    for name in "dev", "ipc", "proc":
        os.makedirs(path / name)
    os.mknod(path / "dev/null", 0o20666, os.makedev(1, 3))
    for name in run(busybox, "--list").stdout.split():
        if name != "busybox":
            os.symlink("busybox", path / "bin" / name)
    for directory in path, path.parent, path.parent.parent:
        os.chmod(directory, 0o755)
    return str(path)


def container(root, lent, script, *options):
    """The words that run a script with what is lent to it on /ipc."""
    inside = f'mount --bind "{lent}" "{root}/ipc" && mount -t proc proc "{root}/proc" && exec chroot "{root}" /bin/sh -c "$1"'
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", *options, "sh", "-c", inside, "sh", script]


def in_container(*args):
    done = run(*container(*args))
    assert done.stderr == "", done
    return done.stdout


def test_the_whole_mount(root, mnt):
    """Whose pids are the host's; proc/self is right, and $$ is not."""
    said = in_container(root, mnt.path, 'cd /ipc/mbox && mkdir box && echo hello > box/send && dd if=box/recv bs=100 2> /dev/null; '
                        'echo again > box/send; read -r line < box/recv.json; printf "%s\\n" "$line"; echo $$; readlink /ipc/proc/self; rmdir box')
    data, envelope, own, outer = said.splitlines()
    assert (data, own) == ("hello", "1")
    assert json.loads(envelope)["pid"] > 1 and int(outer) > 1


def test_one_mailbox_and_no_more(root, mnt, box):
    box.send(b"from outside\n")
    shown = in_container(root, box.path, "dd if=/ipc/recv bs=100 2> /dev/null; echo inside > /ipc/send; ls /ipc/queue | wc -l; ls -a /ipc/.. | grep -c mbox")
    assert shown.split("\n") == ["from outside", "1", "0", ""]
    assert box.receive() == b"inside\n"


def test_busybox_cat_into_a_pipe_takes_nothing(root, mnt, box):
    box.send(b"message\n")
    assert in_container(root, box.path, "cat /ipc/recv | wc -c; ls /ipc/queue | wc -l; read -r x < /ipc/recv; echo $x").split() == ["0", "1", "message"]


def test_an_owner_in_a_container_owns(root, mnt):
    box = mnt.box()
    process = start(*container(root, box.path, "exec 3> /ipc/owner; echo mine; sleep 1000"))
    wait_until(lambda: box.stat()["owner_pid"] > 1, "it is owned")
    process.kill()
    process.wait(timeout=PATIENCE)
    wait_until(lambda: not os.path.exists(box.path), "it went with its owner")


def test_a_mount_that_is_made_anew_is_seen_by_a_slave(tmp_path):
    """HostToContainer, rslave."""
    script = f"""
set -e
mount -t tmpfs none {tmp_path} && mount --make-rshared {tmp_path} && mkdir {tmp_path}/ipc
unshare --mount --propagation slave sh -c 'echo begun; until [ -d {tmp_path}/ipc/mbox ]; do sleep 0.02; done; echo seen' > {tmp_path}/log &
until grep -q begun {tmp_path}/log; do sleep 0.02; done
"$0" {tmp_path}/ipc
wait
cat {tmp_path}/log"""
    done = run("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, IPCFS)
    assert done.stdout == "begun\nseen\n", done


def test_root_of_a_user_namespace_is_its_user_outside(root, mnt):
    """So bits are judged."""
    done = run("setpriv", "--reuid", str(BOB), "--regid", str(BOB), "--clear-groups", "unshare", "--user", "--map-root-user", "sh", "-c",
               f"id -u; cd {mnt.path}/mbox && mkdir mine && echo x > mine/send && read -r line < mine/recv.json && printf '%s\\n' \"$line\"; "
               "stat -c %u mine; rmdir mine")
    inner, envelope, owner = done.stdout.splitlines()
    assert (inner, json.loads(envelope)["uid"], owner) == ("0", BOB, "0"), done

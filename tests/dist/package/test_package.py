"""README's first command in a Debian that has nothing else; then the packages in another. Their tests stand in the order
of a life: installed, used, removed; then again beside what a developer and an operator have.

Environment: PACKAGES, a directory with the .deb files; ROOT, where Debian is to be; ARCHIVE, where it
comes from."""

import ctypes
import glob
import hashlib
import os
import shutil
import subprocess
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.environ["ROOT"]
PACKAGES = ["ipcfs", "ipcfs-nats", "libipcring-dev", "libipcring1"]
# Once Python is there anyway.
PYTHON_PACKAGE = "python3-ipcfs"
PATIENCE = 60
CLONE_NEWCGROUP = 0x02000000

libc = ctypes.CDLL(None)

# What keeps a record of packages, not a part of one; and what is renewed all the time.
NOT_COMPARED = ("dev", "etc/ld.so.cache", "proc", "run", "sys", "tmp", "var/cache", "var/lib/apt", "var/lib/dpkg",
                "var/lib/systemd", "var/log", "var/tmp")

ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive",
       "LC_ALL": "C.UTF-8"}


def run(*args, timeout=PATIENCE, given="", **kwargs):
    done = subprocess.run(args, capture_output=True, text=True, check=False, timeout=timeout, input=given, **kwargs)
    assert done.returncode == 0, f"{args} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def in_namespaces(*args, root=ROOT):
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", os.path.join(HERE, "in_root"), root, *args]


def inside(script, timeout=PATIENCE, root=ROOT):
    """What a script prints that runs in the new Debian; its mounts and processes end with it."""
    return run(*in_namespaces("sh", "-euc", script, root=root), timeout=timeout, env=ENV)


def apt(arguments):
    return inside(f"apt-get -qq -y --no-install-recommends {arguments}", timeout=600)


def install_packages():
    apt("install /var/tmp/*.deb")


def purge_packages():
    apt(f"purge {' '.join(PACKAGES)}")
    apt("autoremove --purge")


def snapshot():
    """Each path, with a hash where it is configuration."""
    paths = {}
    for directory, names, files in os.walk(ROOT):
        relative = os.path.relpath(directory, ROOT)
        names[:] = [name for name in names if os.path.normpath(os.path.join(relative, name)) not in NOT_COMPARED]
        for name in names + files:
            path = os.path.normpath(os.path.join(relative, name))
            full = os.path.join(ROOT, path)
            if path not in NOT_COMPARED:
                is_config = path.startswith("etc/") and os.path.isfile(full) and not os.path.islink(full)
                paths[path] = digest(full) if is_config else ""
    return paths


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def changes(before):
    return sorted(dict(before.items() ^ snapshot().items()))


@pytest.fixture(scope="module", autouse=True)
def debian():
    """A new one, with the packages in its /var/tmp. Whatever of the host's leads to the archive is lent."""
    run("debootstrap", "--variant=minbase", codename(), ROOT, os.environ["ARCHIVE"], timeout=900,
        env=dict(os.environ, **proxies()))
    shutil.copy("/etc/resolv.conf", os.path.join(ROOT, "etc/resolv.conf"))
    with open(os.path.join(ROOT, "etc/apt/apt.conf.d/00host"), "w", encoding="utf-8") as conf:
        conf.writelines(line + "\n" for line in run("apt-config", "dump").splitlines()
                        if line.startswith(("Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::Check")))
    for package in glob.glob(os.path.join(os.environ["PACKAGES"], "*.deb")):
        directory = os.path.join(ROOT, "var/tmp", "python" if PYTHON_PACKAGE in package else "")
        os.makedirs(directory, exist_ok=True)
        shutil.copy(package, directory)
    # As on every Debian that was booted once; fusermount3 wants it.
    os.symlink("../proc/self/mounts", os.path.join(ROOT, "etc/mtab"))
    inside("apt-get -qq update", timeout=300)


def codename():
    with open("/etc/os-release", encoding="utf-8") as lines:
        return dict(line.rstrip().split("=", 1) for line in lines if "=" in line)["VERSION_CODENAME"]


def proxies():
    known = {}
    for scheme in ("http", "https"):
        value = run("apt-config", "shell", "P", f"Acquire::{scheme}::Proxy").strip()
        if value:
            known[f"{scheme}_proxy"] = value.removeprefix("P=").strip("'")
    return known


# --- from the source, by README's first command ---

TREE = os.path.join(HERE, "../../..")
AS_USER = "setpriv --reuid nobody --regid nogroup --clear-groups env HOME=/home/user"
# What a mirror gives and a processor builds; then it is a matter of seconds.
UP_SECONDS = 600


@pytest.fixture(scope="module")
def fresh(debian):
    """A copy of the new Debian, with what git would clone in /home/user/ipcfs."""
    root = ROOT + ".up"
    run("cp", "-a", "--reflink=auto", ROOT, root)
    tree = os.path.join(root, "home/user/ipcfs")
    os.makedirs(tree)
    listed = run("git", "-C", TREE, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    run("rsync", "-a", "--from0", "--ignore-missing-args", "--files-from=/proc/self/fd/0", TREE, tree, given=listed)
    inside("chown -R nobody:nogroup /home/user", root=root)
    yield root
    run("rm", "-rf", "--one-file-system", root)


def test_without_root_the_first_command_says_what_to_install(fresh):
    said = inside(f"cd /home/user/ipcfs; ! {AS_USER} tools/up 2>&1", root=fresh)
    taken, needed = said.splitlines()
    assert taken == "/mnt/ipc is not yours to mount on; taking /home/user/ipc"
    assert needed.startswith("deps: not root; run once as root: tools/deps --build (it installs gcc ")


def sends_and_receives(said):
    assert "\n$ echo hello > mbox/hello/send\n$ timeout 5 cat mbox/hello/recv\nhello\n$ rmdir mbox/hello\n\nIt works." in said
    return True


def test_the_first_command_installs_builds_mounts_and_sends(fresh):
    """And what it says comes next does what it seems to."""
    begun = time.monotonic()
    said = inside("cd /home/user/ipcfs; tools/up 2>&1 | tee /tmp/said; "
                  "sed '1,/^It works/d' /tmp/said > /tmp/next; sh -e /tmp/next > /tmp/shown; cat /tmp/shown", timeout=UP_SECONDS, root=fresh)
    print(f"tools/up and what follows took {time.monotonic() - begun:.0f} s")
    assert sends_and_receives(said)
    shown = said[said.index("fusermount3 -u /mnt/ipc"):].splitlines()[1:]
    # Which of the two teas' readers gets what is not settled; each line comes once.
    assert [line for line in shown if line in ("two teas", "one coffee")] in (["two teas", "one coffee"], ["one coffee", "two teas"])


def test_a_user_has_a_mount_of_his_own(fresh):
    said = inside("cd /home/user/ipcfs; chown -R nobody:nogroup .;"
                  f"{AS_USER} sh -euc 'tools/up 2>&1; tools/up 2>&1; fusermount3 -u /home/user/ipc'", timeout=UP_SECONDS, root=fresh)
    assert said.startswith("/mnt/ipc is not yours to mount on; taking /home/user/ipc\nmounted on /home/user/ipc\n$ mkdir mbox/hello\n")
    first, again = said.split("/home/user/ipc is mounted already")
    assert sends_and_receives(first) and sends_and_receives(again)


# --- the packages ---

@pytest.fixture(scope="module")
def bare(debian):
    return snapshot()


@pytest.fixture(scope="module")
def installed(bare):
    install_packages()


FIRST_MESSAGE = "mkdir -p /mnt/ipc/mbox/box; echo hello > /mnt/ipc/mbox/box/send; cat /mnt/ipc/mbox/box/recv"


def test_what_they_depend_on_is_all_they_need(installed):
    status = inside(f"dpkg-query -W -f '${{Package}} ${{db:Status-Abbrev}}\\n' {' '.join(PACKAGES)}")
    assert status.split() == [word for name in sorted(PACKAGES) for word in (name, "ii")]
    assert "not found" not in inside("ldd /usr/bin/ipcfs /usr/lib/*/libipcring.so.1")


def test_every_file_is_as_it_was_packed(installed):
    assert inside(f"dpkg --verify {' '.join(PACKAGES)}") == ""


def test_ipcfs_mounts_and_carries_a_message(installed):
    assert inside(f"mkdir /mnt/ipc; ipcfs /mnt/ipc; {FIRST_MESSAGE}; umount /mnt/ipc; rmdir /mnt/ipc") == "hello\n"


def test_mount_finds_it(installed):
    assert inside("mkdir /mnt/ipc; mount -t fuse.ipcfs ipcfs /mnt/ipc -o max_bytes=1M;"
                  f"{FIRST_MESSAGE}; stat -f -c '%b*%S' /mnt/ipc; umount /mnt/ipc; rmdir /mnt/ipc"
                  ) == "hello\n256*4096\n"


def test_fstab_line_mounts_it(installed):
    # As at boot: no PATH, no HOME.
    assert inside("mkdir /mnt/ipc; echo 'ipcfs /mnt/ipc fuse.ipcfs defaults,max_bytes=1M 0 0' > /tmp/fstab;"
                  f"env -i mount -a -T /tmp/fstab; {FIRST_MESSAGE}; umount /mnt/ipc; rmdir /mnt/ipc") == "hello\n"


def test_user_mounts_it(installed):
    assert inside("mkdir -m 777 /mnt/ipc; setpriv --reuid nobody --regid nogroup --clear-groups sh -euc '"
                  f"ipcfs /mnt/ipc; {FIRST_MESSAGE}; fusermount3 -u /mnt/ipc'; rmdir /mnt/ipc") == "hello\n"


def test_purge_leaves_nothing(installed, bare):
    purge_packages()
    assert changes(bare) == []


# --- beside a developer's tools, under systemd ---

@pytest.fixture(scope="module")
def equipped(debian):
    """What is there before the packages come again."""
    apt("install gcc libc6-dev pkg-config python3 systemd")
    return snapshot()


@pytest.fixture(scope="module")
def at_work(equipped):
    install_packages()
    apt("install /var/tmp/python/*.deb")


@pytest.mark.parametrize("options", ["$(pkg-config --cflags --libs ipcring)",
                                     "$(pkg-config --cflags --libs --static ipcring) -static"], ids=["shared", "static"])
def test_program_is_built_from_the_development_package(at_work, options):
    shutil.copy(os.path.join(HERE, "../install/client.c"), os.path.join(ROOT, "tmp/client.c"))
    assert inside(f"cd /tmp; gcc -Wall -Wextra -Werror -o client client.c {options}; ./client one two") == "one\ntwo\n"


def test_python_package(at_work):
    script = ("import ipcfs; mount = ipcfs.Mount(); box = mount.mailbox('box', create=True); box.send('hello'); print(box.receive().text);"
              "ring = mount.ring('ring', create=True); ring.produce('mapped'); print(ring.consume().decode())")
    assert inside(f"mkdir /mnt/ipc; ipcfs /mnt/ipc; python3 -c \"{script}\"; umount /mnt/ipc; rmdir /mnt/ipc") == "hello\nmapped\n"
    assert inside(f"dpkg --verify {PYTHON_PACKAGE}") == ""


class Booted:
    """The new Debian with systemd as its first process. Its control groups are below one of its own."""

    def __init__(self):
        hierarchy = next(line.split()[1] for line in open("/proc/self/mounts", encoding="utf-8")
                         if line.split()[2] == "cgroup2")
        self.group = os.path.join(hierarchy, f"ipcfs-package.{os.getpid()}")
        os.mkdir(self.group)
        self.process = subprocess.Popen(
            in_namespaces("/lib/systemd/systemd", "--log-target=null", "--show-status=no"), env=dict(ENV, container="test"),
            preexec_fn=self.enter_group, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait_for("systemctl is-system-running | grep -Eqx 'running|degraded'")

    def enter_group(self):
        with open(os.path.join(self.group, "cgroup.procs"), "w", encoding="utf-8") as procs:
            procs.write(str(os.getpid()))
        # What it sees as the top is its own.
        assert libc.unshare(CLONE_NEWCGROUP) == 0

    def first_process(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="utf-8") as children:
            return children.read().split()[0]

    def run(self, script, check=True):
        done = subprocess.run(["nsenter", "-t", self.first_process(), "-m", "-p", "sh", "-uc", script], check=False,
                              capture_output=True, text=True, env=ENV, timeout=PATIENCE, stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout if check else done.returncode == 0

    def wait_for(self, script):
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if self.run(script, check=False):
                    return
            except IndexError:
                pass # it has no first process yet
            assert time.monotonic() < end and self.process.poll() is None, f"in vain: {script}"
            time.sleep(0.1)

    def stop(self):
        if self.process.poll() is not None:
            return
        self.process.kill()
        self.process.wait()
        # The kernel ends what the first process leaves.
        end = time.monotonic() + PATIENCE
        while "populated 1" in open(os.path.join(self.group, "cgroup.events"), encoding="utf-8").read():
            assert time.monotonic() < end
            time.sleep(0.05)
        for directory, _, _ in os.walk(self.group, topdown=False):
            os.rmdir(directory)


@pytest.fixture(scope="module")
def booted(at_work):
    machine = Booted()
    yield machine
    machine.stop()


def main_pid(machine):
    return machine.run("systemctl show -P MainPID ipcfs@mnt-ipc").strip()


def test_service_mounts(booted):
    booted.run("systemctl enable --now ipcfs@mnt-ipc")
    assert booted.run(f"systemctl is-active ipcfs@mnt-ipc; {FIRST_MESSAGE}") == "active\nhello\n"
    assert booted.run("cat /proc/$(systemctl show -P MainPID ipcfs@mnt-ipc)/comm") == "ipcfs\n"


def test_installing_again_leaves_what_waits(booted):
    booted.run("mkdir /mnt/ipc/mbox/kept; echo kept > /mnt/ipc/mbox/kept/send")
    before = main_pid(booted)
    booted.run("apt-get -qq -y install --reinstall /var/tmp/*.deb")
    assert booted.run("cat /mnt/ipc/mbox/kept/recv; rmdir /mnt/ipc/mbox/kept") == "kept\n"
    assert main_pid(booted) == before


def test_service_that_is_killed_comes_back_and_its_dead_mount_goes(booted):
    before = main_pid(booted)
    booted.run(f"kill -KILL {before}")
    booted.wait_for(f"p=$(systemctl show -P MainPID ipcfs@mnt-ipc); [ $p != 0 ] && [ $p != {before} ] && ls /mnt/ipc/mbox")
    booted.run(FIRST_MESSAGE)
    assert booted.run("grep -c ' fuse.ipcfs ' /proc/mounts") == "1\n"


def test_service_that_is_stopped_unmounts(booted):
    booted.run("systemctl stop ipcfs@mnt-ipc")
    assert booted.run("! grep ' fuse.ipcfs ' /proc/mounts; systemctl is-failed ipcfs@mnt-ipc || true") == "inactive\n"


def test_umount_ends_the_service_for_good(booted):
    booted.run("systemctl start ipcfs@mnt-ipc")
    booted.run("umount /mnt/ipc")
    booted.wait_for("[ \"$(systemctl show -P ActiveState ipcfs@mnt-ipc)\" = inactive ]")
    assert booted.run("systemctl show -P Result ipcfs@mnt-ipc") == "success\n"


def test_service_clears_what_a_killed_daemon_has_left(booted):
    booted.run("ipcfs /mnt/ipc; kill -KILL $(pidof ipcfs)")
    booted.wait_for("! stat /mnt/ipc")
    booted.run(f"systemctl start ipcfs@mnt-ipc; {FIRST_MESSAGE}")
    assert booted.run("grep -c ' fuse.ipcfs ' /proc/mounts") == "1\n"


def test_service_leaves_a_users_mount_alone(booted):
    """Which answers root nothing, but is not dead."""
    user = "setpriv --reuid nobody --regid nogroup --clear-groups"
    booted.run(f"systemctl stop ipcfs@mnt-ipc; chmod 777 /mnt/ipc; {user} ipcfs /mnt/ipc")
    assert not booted.run("systemctl start ipcfs@mnt-ipc", check=False)
    booted.run("systemctl stop ipcfs@mnt-ipc; systemctl reset-failed")
    assert booted.run(f"{user} sh -euc '{FIRST_MESSAGE}; fusermount3 -u /mnt/ipc'; chmod 755 /mnt/ipc") == "hello\n"


def test_service_takes_any_path_and_options(booted):
    booted.run("mkdir -p '/etc/systemd/system/ipcfs@.service.d' && printf '[Service]\\nEnvironment=IPCFS_OPTIONS=max_bytes=1M\\n'"
               " > /etc/systemd/system/ipcfs@.service.d/size.conf; systemctl daemon-reload")
    unit = booted.run("systemd-escape -p --template=ipcfs@.service '/srv/a b-c/ipc'").strip()
    booted.run(f"systemctl start '{unit}'")
    assert booted.run("stat -f -c '%b*%S' '/srv/a b-c/ipc'") == "256*4096\n"
    booted.run(f"systemctl stop '{unit}'; rm -r /etc/systemd/system/ipcfs@.service.d; systemctl daemon-reload")
    booted.run("rmdir '/srv/a b-c/ipc' '/srv/a b-c'")


def test_fstab_line_is_mounted_by_systemd(booted):
    booted.run("systemctl stop ipcfs@mnt-ipc; cp /etc/fstab /tmp/fstab.kept;"
               "echo 'ipcfs /mnt/ipc fuse.ipcfs defaults,nofail 0 0' >> /etc/fstab; systemctl daemon-reload")
    booted.run(f"systemctl start mnt-ipc.mount; {FIRST_MESSAGE}")
    booted.run("systemctl stop mnt-ipc.mount; cp /tmp/fstab.kept /etc/fstab; systemctl daemon-reload")
    assert booted.run("! grep ' fuse.ipcfs ' /proc/mounts; pidof ipcfs || true") == ""


def test_removal_ends_the_service_and_leaves_nothing(booted, equipped):
    booted.run("systemctl start ipcfs@mnt-ipc")
    booted.run(f"apt-get -qq -y purge {' '.join(PACKAGES)} {PYTHON_PACKAGE} && apt-get -qq -y autoremove --purge")
    assert booted.run("! grep ' fuse.ipcfs ' /proc/mounts; pidof ipcfs || true") == ""
    booted.run("rmdir /mnt/ipc")
    booted.stop()
    assert changes(equipped) == []

"""What meson install puts where, and that a stranger's program can be built from it.

Environment: BUILD, the build directory; MESON, NINJA and CC, commands; CLIENT, client.c."""

import fnmatch
import os
import shutil
import subprocess

import pytest

from installed import BUILD, Installed, kept_log

# Below the prefix; *: where the machine has its libraries.
EXPECTED = [
    "bin/ipcfs",
    "include/ipcring.h",
    "include/ipcring/ring_abi.h",
    "lib*/libipcring.a",
    "lib*/libipcring.so",
    "lib*/libipcring.so.1",
    "lib*/libipcring.so.1.1.0",
    "lib*/pkgconfig/ipcring.pc",
    "lib/systemd/system/ipcfs@.service",
    "lib/systemd/system/ipcfs-nats@.service",
    "share/doc/ipcfs/textbook/README.md",
    "share/doc/ipcfs/textbook/indirect",
    "bin/ipcctl",
    "bin/ipcfs-nats",
    "share/bash-completion/completions/ipcctl",
    "share/fish/vendor_completions.d/ipcctl.fish",
    "share/man/man1/ipcctl.1",
    "share/man/man3/ipcring.3",
    "share/man/man5/ipcfs.5",
    "share/man/man5/ipcfs-store.5",
    "share/man/man7/ipcfs-ring.7",
    "share/man/man8/ipcfs.8",
    "share/man/man8/ipcfs-nats.8",
    "share/zsh/site-functions/_ipcctl",
]


def run(*args, **kwargs):
    return subprocess.run(args, check=True, text=True, stdout=subprocess.PIPE, timeout=120, **kwargs).stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    with kept_log(tmp_path_factory.mktemp("log")):
        yield Installed(tmp_path_factory.mktemp("root"))


@pytest.mark.parametrize("pattern", EXPECTED)
def test_is_in_its_place(installed, pattern):
    assert fnmatch.filter(installed.files(installed.prefix), pattern)


def test_nothing_is_outside_the_prefix(installed):
    assert len(installed.files()) == len(installed.files(installed.prefix))


def test_library_that_is_linked_in_is_not_installed(installed):
    assert fnmatch.filter(installed.files(), "*fuse3*") == []


def test_unit_names_the_installed_program(installed):
    with open(os.path.join(installed.prefix, "lib/systemd/system/ipcfs@.service"), encoding="utf-8") as unit:
        starts = [line.split("=", 1)[1].split()[0] for line in unit if line.startswith("ExecStart=")]
    assert [os.path.realpath(installed.root + path) for path in starts] == [os.path.realpath(os.path.join(installed.prefix, "bin/ipcfs"))]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_has_no_complaint_of_the_unit(installed, tmp_path):
    """systemd wants to see the program, which is not where the unit says until it is installed for good."""
    with open(os.path.join(installed.prefix, "lib/systemd/system/ipcfs@.service"), encoding="utf-8") as unit:
        text = unit.read().replace("ExecStart=", f"ExecStart={installed.root}")
    file = tmp_path / "ipcfs@mnt-ipc.service"
    file.write_text(text)
    done = subprocess.run(["systemd-analyze", "--man=no", "verify", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("how", ["shared", "static"])
def test_program_is_built_from_what_is_installed(installed, how, tmp_path):
    env = installed.environment()
    flags = run("pkg-config", "--cflags", "--libs", "ipcring", *(["--static"] if how == "static" else []), env=env).split()
    program = tmp_path / "client"
    run(*os.environ["CC"].split(), "-Wall", "-Wextra", "-Werror", "-o", program, os.environ["CLIENT"], *flags,
        *(["-static"] if how == "static" else []))
    libraries = run("ldd", program) if how == "shared" else ""
    assert ("libipcring.so.1" in libraries) == (how == "shared")
    assert run(program, "one", "", "three", env=env) == "one\n\nthree\n"


def test_library_exports_what_its_header_declares_and_no_more(installed):
    prefix = installed.prefix
    library, = (path for path in installed.files(prefix) if path.endswith(".so.1.1.0"))
    names = [line.split()[-1].split("@")[0] for line in
             run("nm", "-D", "--defined-only", os.path.join(prefix, library)).splitlines()]
    versions = [name for name in names if name.startswith("IPCRING_")]
    assert "IPCRING_1.0" in versions
    names = [name for name in names if name not in versions]
    with open(os.path.join(prefix, "include/ipcring.h"), encoding="utf-8") as header:
        text = header.read()
    assert names and all(f"{name}(" in text for name in names)
    assert all(name.startswith("ipcring_") for name in names)


# In a machine of its own: /usr/local, /etc and ldconfig's notes are written to memory.
FOR_GOOD = """
mount --make-rprivate /
mount -t tmpfs none "$1"
for name in "$prefix" /etc /var/cache; do
    mkdir -p "$1/upper$name" "$1/work$name" "$name"
    mount -t overlay -o "lowerdir=$name,upperdir=$1/upper$name,workdir=$1/work$name" overlay "$name"
done
find "$prefix" | sort > "$1/before"
"$MESON" install -C "$BUILD" --no-rebuild --quiet > /dev/null
cd "$1"
"$prefix/bin/ipcctl" -V
$CC -o client "$CLIENT" $(pkg-config --cflags --libs ipcring)
./client one two
mkdir mnt
mount -t fuse.ipcfs ipcfs mnt
mkdir mnt/mbox/box; echo hello > mnt/mbox/box/send; cat mnt/mbox/box/recv
umount mnt
"$NINJA" -C "$BUILD" uninstall > /dev/null
find "$prefix" | sort | diff before -
"""


def test_installed_for_good_it_works_at_once(installed, tmp_path):
    """Without a word to the loader of where the library is."""
    env = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    env["prefix"] = installed.prefix.removeprefix(installed.root)
    (tmp_path / "log").mkdir()
    (tmp_path / "world").mkdir()
    with kept_log(tmp_path / "log"):
        lines = run("unshare", "--mount", "sh", "-euc", FOR_GOOD, "sh", tmp_path / "world", env=env).splitlines()
    assert lines[0].startswith("ipcctl ") and lines[1:] == ["one", "two", "hello"]


# The last: nothing is there any more.
def test_uninstall_leaves_nothing(installed):
    run(os.environ["NINJA"], "-C", BUILD, "uninstall")
    assert os.listdir(installed.root) == []

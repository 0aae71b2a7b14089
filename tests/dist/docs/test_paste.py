"""README's tour, pasted into a terminal piece by piece by a user who is not root, in the shells that people have; the other
pages in the one that differs most from those that they were written in.

Environment: README; PAGES, the others, separated by blanks; BUILD, the build directory, and MESON."""

import fcntl
import itertools
import os
import pty
import re
import select
import signal
import subprocess
import tempfile
import termios
import time

import pytest

from examples import matches, read_page
from installed import Installed, kept_log

README = os.environ["README"]
PAGES = os.environ["PAGES"].split()
USER = 23456
PATIENCE = 60

WORLD = """
set -eu
mount --make-rprivate /
awk '$3 == "fuse.ipcfs" { print $2 }' /proc/self/mounts | xargs -r -n 1 umount -l || :
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/ipc /mnt/home
chown $1 /mnt/home
ipcfs /mnt/ipc
cd /mnt/home
user=$1
shift
exec setpriv --reuid $user --regid $user --clear-groups "$@"
"""

# How each is started, what it is to run first, and whether the terminal marks what is pasted.
SHELLS = {
    "bash": (["bash", "--norc", "-i"], "", True),
    "bash-unmarked": (["bash", "--norc", "-i"], "bind 'set enable-bracketed-paste off'\r", False),
    "zsh": (["zsh", "-f", "-i"], "", True),
    "dash": (["dash", "-i"], "", False),
    "busybox": (["busybox", "sh", "-i"], "", False),
    # As README says.
    "fish": (["fish", "--no-config", "-i"], "bash --norc\r", True),
}

CONTROL = re.compile(r"\x1b(?:\[[0-9;?<=>]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-B]|[=>78cDEHMNOPZ])|[\x00-\x08\x0e-\x1f\x7f]|.\x08")


class Terminal:
    """A shell in a terminal, and what it has shown so far."""

    def __init__(self, name, installed):
        command, first, self.marks = SHELLS[name]
        env = dict(installed.environment(), HOME="/mnt/home", LC_ALL="C.UTF-8", TERM="xterm", PS1="> ", PS2="")
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, b"\x32\0\xf0\0\0\0\0\0")
        def become_session():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        # The user's shell opens its terminal by name too.
        os.chown(os.ttyname(slave), USER, USER)
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", WORLD, "sh", str(USER), *command],
            env=env, stdin=slave, stdout=slave, stderr=slave, preexec_fn=become_session, cwd="/")
        os.close(slave)
        self.terminal = master
        self.shown = b""
        self.n_marks = 0
        self.mark()
        if first:
            self.type(first)
            self.mark()

    def type(self, text):
        os.write(self.terminal, text.encode())

    def paste(self, text):
        """As a terminal does: newlines are returns; and Enter, where the shell was told that it is a paste."""
        text = text.rstrip("\n").replace("\n", "\r")
        if self.marks:
            self.type(f"\x1b[200~{text}\x1b[201~")
        else:
            self.type(text)
        self.type("\r")

    def mark(self):
        """Waits until the shell has come so far. Return: the lines that it has shown since the last time."""
        self.n_marks += 1
        # What is typed is shown too: not this.
        self.type(f"printf '%s%s\\n' mar ked.{self.n_marks}\r")
        return self.read_until(f"marked.{self.n_marks}")

    def read_until(self, text):
        end = time.monotonic() + PATIENCE
        while text not in self.lines():
            if time.monotonic() > end or not select.select([self.terminal], [], [], end - time.monotonic())[0]:
                pytest.fail(f"{text} does not come:\n" + "\n".join(self.lines()))
            try:
                self.shown += os.read(self.terminal, 65536)
            except OSError:
                pytest.fail("the shell has ended:\n" + "\n".join(self.lines()))
            self.answer_questions()
        lines = self.lines()
        self.shown = b""
        return lines[:lines.index(text)]

    def answer_questions(self):
        """fish asks a terminal who it is, and where its cursor stands."""
        for question, answer in ((b"\x1b[c", "\x1b[?62c"), (b"\x1b[6n", "\x1b[1;1R")):
            if question in self.shown:
                self.shown = self.shown.replace(question, b"")
                self.type(answer)

    def lines(self):
        text = CONTROL.sub("", self.shown.decode(errors="replace").replace("\r\n", "\n"))
        # A prompt may stand before what a command in the background prints.
        return [re.sub(r"^(?:> ?)+", "", line.rpartition("\r")[2]).rstrip() for line in text.split("\n")]

    def close(self):
        os.close(self.terminal)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    # Not below pytest's own directory, which each pytest that starts keeps for itself.
    with tempfile.TemporaryDirectory(prefix="ipcfs-paste-") as root, kept_log(tmp_path_factory.mktemp("log")):
        os.chmod(root, 0o755)
        yield Installed(root)


def in_order(expected, lines, typed):
    """Whether the lines of @expected are among @lines, in that order. Where a terminal marks no paste, it shows what was
    @typed while the shell is busy, and what runs meanwhile prints behind that, on the same line."""
    rest = itertools.chain.from_iterable([line, *(line[len(t):] for t in typed.splitlines() if t and line.startswith(t) and line != t)]
                                         for line in lines)
    return all(any(matches(wanted + "\n", line + "\n") for line in rest) for wanted in expected.splitlines())


def paste_page(page, name, installed):
    examples, _ = read_page(page)
    terminal = Terminal(name, installed)
    try:
        for example in examples:
            terminal.paste(example.text)
            shown = terminal.mark()
            assert in_order(example.output, shown, example.text), f"{example.text}\nshows:\n" + "\n".join(shown)
            assert [line for line in shown if "not found" in line or "No such file" in line and "'me'" not in line] == []
    finally:
        terminal.close()


@pytest.mark.parametrize("name", SHELLS)
def test_tour(name, installed):
    paste_page(README, name, installed)


@pytest.mark.parametrize("page", PAGES, ids=os.path.basename)
def test_page(page, installed):
    paste_page(page, "zsh", installed)

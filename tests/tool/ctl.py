"""ipcctl, and names that are hard on a tool."""

import contextlib
import json
import os
import subprocess
import tempfile

import pytest

from harness import PATIENCE, kill_all, run, start, wait_until

# Each may be a mailbox, ring or region.
ODD_NAMES = [
    b"two words", b" leading", b"trailing ", b"-l", b"--help", b"new\nline", b"tab\there", b"it's", b'"quoted"', b"back\\slash",
    b"$HOME", b"`id`", b"*", b"a=b", b"ring", b"caf\xc3\xa9", b"\xe6\x97\xa5\xe6\x9c\xac", b"caf\xe9", b"\xff\xfe", b"\x1b[31mred",
    b"\xe2\x80\xae reversed", b"...", b"x" * 255,
]

# A locale in which the letters of UTF-8 are printable, and one in which they are not.
UTF8 = {"LC_ALL": "C.UTF-8"}
PLAIN = {"LC_ALL": "C"}


def odd_names(function):
    """Runs a test with each of them, in its parameter name."""
    return pytest.mark.parametrize("name", ODD_NAMES, ids=[ascii(name)[2:-1][:20] for name in ODD_NAMES])(function)


class Ctl:
    def __init__(self, program, mount):
        self.program = program
        self.mount = mount

    def args(self, *args):
        return [self.program, "-m", self.mount, *args]

    def start(self, *args, env=UTF8, **kwargs):
        return start(*self.args(*args), env={**os.environ, **env}, **kwargs)

    def run(self, *args, env=UTF8, **kwargs):
        """Its CompletedProcess, whatever its status; stdin: what it reads."""
        with tempfile.TemporaryFile() as stdin:
            stdin.write(kwargs.pop("stdin", b""))
            stdin.seek(0)
            return run(*self.args(*args), env={**os.environ, **env}, stdin=stdin, **kwargs)

    def ok(self, *args, **kwargs):
        """What it prints when it succeeds, with nothing to complain of."""
        done = self.run(*args, **kwargs)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def bytes(self, *args):
        """The same, byte for byte."""
        with tempfile.TemporaryFile() as stdout:
            assert self.ok(*args, stdout=stdout) is None
            stdout.seek(0)
            return stdout.read()

    def json(self, *args, **kwargs):
        return json.loads(self.ok(*args, **kwargs))

    def fails(self, *args, status=1, **kwargs):
        """Its one line of complaint."""
        done = self.run(*args, **kwargs)
        assert done.returncode == status, done
        return complaint(done.stderr)

    def misused(self, *args, **kwargs):
        """What it says first where it was called wrongly."""
        done = self.run(*args, **kwargs)
        assert (done.returncode, done.stdout) == (2, ""), done
        return done.stderr.splitlines()[0]

    def on_terminal(self, *args, env=UTF8):
        """What it writes to a terminal, which is its stdout only, as text with the names' bytes."""
        master, slave = os.openpty()
        with open(master, "rb", buffering=0) as terminal:
            command = self.start(*args, env=env, stdout=slave)
            os.close(slave)
            text = read_terminal(terminal)
            _, err = command.communicate(timeout=PATIENCE)
        assert (command.returncode, err) == (0, ""), err
        return text.replace("\r\n", "\n")


def remove_if_there(box):
    """Whoever has it. What a process owned goes by itself, a little later than the process."""
    def removed():
        with contextlib.suppress(FileNotFoundError):
            with contextlib.suppress(OSError):
                box.drain()
            with contextlib.suppress(OSError):
                os.rmdir(box.path)
        return not os.path.lexists(box.path)
    kill_all()
    wait_until(removed, f"{box.path} can be removed")


def read_terminal(terminal):
    """Until nobody else has it open."""
    data = b""
    while True:
        try:
            more = terminal.read(65536)
        except OSError:
            more = b""
        if not more:
            return data.decode(errors="surrogateescape")
        data += more


def complaint(err):
    """The one line that ipcctl says about a failure, without its name."""
    assert err.startswith("ipcctl: ") and err.count("\n") == 1 and err.endswith("\n"), err
    return err[len("ipcctl: "):-1]


def words_of(text):
    """The words as a shell takes them."""
    script = f"printf '%s\\0' {text}"
    out = subprocess.run(["bash", "-c", script.encode(errors="surrogateescape")], stdout=subprocess.PIPE, check=True,
                         timeout=PATIENCE).stdout
    return out.split(b"\0")[:-1]

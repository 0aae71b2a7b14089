"""What the interop tests share: rings in files, with a bell as a mount has it, and clients in many languages.

Environment: RING_FILE, which makes rings; RING_CLIENT_LANGUAGE, each client's command, a word a line; IPCFS_SLOW, by
how much all patience is longer (1)."""

import contextlib
import ctypes
import mmap
import os
import random
import signal
import subprocess
import tempfile
import threading
import time

CLIENTS = {name[12:].lower(): command.split("\n")
           for name, command in sorted(os.environ.items()) if name.startswith("RING_CLIENT_")}

# Those that can compare and swap, so that they need not be the only producer or consumer.
SWAPPING = sorted({"c", "rust", "java"} & CLIENTS.keys())

MANY_MANY, ONE_PRODUCER, ONE_CONSUMER, ONE_ONE = range(4)
EACH = 4
WRAPS = range(4)

HEAD, TAIL, WAIT_DATA, WAIT_SPACE, SLOTS = 4096, 4224, 4352, 4480, 8192
SLEEPERS = 1
CLAIMED = 2
PID = 0x3FFFFF

# By when that has happened which should happen at once. Only failures wait so long.
PATIENCE = 20 * float(os.environ.get("IPCFS_SLOW", "1"))
# For how long a client sleeps at most when nobody wakes it.
ALARM = 0.2

SYS_FUTEX = {"x86_64": 202, "aarch64": 98}.get(os.uname().machine)
FUTEX_WAKE = 1


def producers(flags):
    return CLIENTS if flags & ONE_PRODUCER else SWAPPING


def consumers(flags):
    return CLIENTS if flags & ONE_CONSUMER else SWAPPING


def after(language):
    """The languages in turn."""
    names = list(CLIENTS)
    return names[(names.index(language) + 1) % len(names)]


def message(i, tag=b"", max_bytes=64):
    """Any bytes but newlines, any length, none and all included; none is like the one before."""
    if i % 16 == 9:
        return b""
    body = random.Random(i).randbytes(i % (max_bytes + 1)).replace(b"\n", b"\0")
    return (b"%s%d " % (tag, i) + body)[:max_bytes]


def messages(n, tag=b""):
    return [message(i, tag) for i in range(n)]


def lines(msgs):
    return b"".join(m + b"\n" for m in msgs)


def wait_until(predicate, what):
    end = time.monotonic() + PATIENCE
    while not predicate():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.001)


class Peers:
    """A ring, and the clients that take part in it. They end with the block that this is the context of."""

    def __init__(self, path):
        self.path = path
        self.children = []
        self.scratch = tempfile.TemporaryDirectory(prefix="ipcfs-interop-")

    def command(self, language, verb, count):
        count = [] if count is None else [str(count)]
        if language != "shell":
            return [*CLIENTS[language], self.path, verb, *count]
        beside = os.path.dirname(self.path)
        if verb == "produce":
            return ["sh", "-c", 'exec cat >"$1"', "sh", f"{beside}/send.lines"]
        # head would complain that it can't seek back.
        return ["sed", f"{count[0]}q", f"{beside}/recv.lines"] if count else ["cat", f"{beside}/recv.lines"]

    def start(self, language, verb, count=None, **options):
        """Runs a client. What it prints is a pipe, or wherever the options say."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        child = subprocess.Popen(self.command(language, verb, count), **options)
        self.children.append(child)
        return child

    def produce(self, language, data):
        """Runs a producer of the lines of that, from a file."""
        with tempfile.TemporaryFile(dir=self.scratch.name) as file:
            file.write(data)
            file.seek(0)
            return self.start(language, "produce", stdin=file)

    def consume(self, language, count=None):
        """Runs a consumer that prints into a file, its attribute file."""
        file = tempfile.TemporaryFile(dir=self.scratch.name)
        child = self.start(language, "consume", count, stdout=file)
        child.file = file
        return child

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
            for file in child.stdin, child.stdout, child.stderr, getattr(child, "file", None):
                with contextlib.suppress(BrokenPipeError):
                    if file:
                        file.close()
        self.scratch.cleanup()


class Ring(Peers):
    """A ring in a file, and its bell: a FIFO and a thread that wakes all who sleep when somebody writes into it."""

    def __init__(self, slots=8, slot_bytes=72, flags=ONE_ONE, wrap=0):
        self.directory = tempfile.TemporaryDirectory(prefix="ipcfs-interop-")
        super().__init__(os.path.join(self.directory.name, "map"))
        self.slots, self.slot_bytes = slots, slot_bytes
        self.tool("make", slots, slot_bytes, flags, wrap)
        with open(self.path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        bell = os.path.join(self.directory.name, "bell")
        os.mkfifo(bell)
        self.bell_fd = os.open(bell, os.O_RDWR)
        self.bell = threading.Thread(target=self.ring, daemon=True)
        self.bell.start()

    def tool(self, verb, *args):
        subprocess.run([os.environ["RING_FILE"], verb, self.path, *map(str, args)], check=True, timeout=PATIENCE)

    def end(self):
        self.tool("end")

    def ring(self):
        libc = ctypes.CDLL(None)
        while b"q" not in os.read(self.bell_fd, 4096):
            for at in WAIT_DATA, WAIT_SPACE:
                # An even low byte differs from every value that is slept on, and is stored whole; no swap needed.
                if self.map[at] & SLEEPERS:
                    self.map[at] = (self.map[at] + 1) & 0xFE
                libc.syscall(SYS_FUTEX, ctypes.c_void_p(self.base + at), FUTEX_WAKE, 1 << 30, None, None, 0)

    def u64(self, at):
        return int.from_bytes(self.map[at:at + 8], "little")

    def is_full(self):
        return (self.u64(HEAD) - self.u64(TAIL)) % (1 << 64) == self.slots

    def move_head(self, by):
        self.map[HEAD:HEAD + 8] = ((self.u64(HEAD) + by) % (1 << 64)).to_bytes(8, "little")

    def is_claimed_by(self, pid):
        words = map(self.u64, range(SLOTS, SLOTS + self.slots * self.slot_bytes, self.slot_bytes))
        return any(word >> 32 & 3 == CLAIMED and word & PID == pid for word in words)

    def __exit__(self, *exception):
        super().__exit__(*exception)
        os.write(self.bell_fd, b"q")
        self.bell.join()
        os.close(self.bell_fd)
        self.directory.cleanup()


def output(child):
    """What it has printed. The file's position is the child's too."""
    fd = child.file.fileno()
    return os.pread(fd, os.fstat(fd).st_size, 0)


def finish(*children):
    """They end, with status 0 and nothing to complain about."""
    for child in children:
        complaint = child.communicate(timeout=PATIENCE)[1]
        assert (child.returncode, complaint) == (0, b""), (child.args, child.returncode, complaint)


def complaint_of(child):
    """It ends with status 1 and one line, whose words after the map's name are returned."""
    line = child.communicate(timeout=PATIENCE)[1].decode()
    assert child.returncode == 1, line
    assert line.count("\n") == 1, line
    return line.strip().split("map: ")[1]


def expect_woken(times):
    """Of these waits most ended by being woken, and not by an alarm: the machine may stall now and then. A client that
    sleeps to the alarm may find two messages then."""
    assert sorted(times)[len(times) * 3 // 4] < ALARM / 2, times


def kill(child):
    """It is dead then, and a zombie until somebody waits for it."""
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)


def stop(child):
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)


def resume(child):
    child.send_signal(signal.SIGCONT)
    os.waitid(os.P_PID, child.pid, os.WCONTINUED)

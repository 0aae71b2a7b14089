"""What hostile users do to a mount, at random: any operation on any file, whatever comes of it."""

import contextlib
import ctypes
import faulthandler
import fcntl
import mmap
import os
import random
import select
import signal
import socket
import struct
import subprocess

from harness import libc

NAMES = ["a", "b", "c", "d"]
BOX_FILES = ["send", "send.lines", "send.3", "recv", "recv.lines", "recv.json", "config", "stat", "owner", "queue", "drop",
             "send.json", "work", "call", "reply"]
RING_FILES = ["send", "recv", "send.lines", "recv.lines", "bell", "map", "config", "stat"]
PROC_FILES = ["send", "recv", "send.lines", "recv.json", "config", "stat", "queue", "link"]
CONFIGS = [b"messages=0\n", b"messages=1\n", b"messages=3\n", b"messages=max\n", b"overflow=reject\n", b"overflow=block\n",
           b"overflow=drop-oldest\n", b"bytes=100\n", b"bytes=1M\n", b"message_bytes=10\n", b"ttl=0.01\n", b"dead=a\n", b"nonsense"]
RING_CONFIGS = [b"slots=2\n", b"slots=64\nslot_bytes=64\n", b"producers=one\n", b"consumers=one\n", b"producers=many\n",
                b"consumers=many\n", b"consumers=each\n"]
SIZES = [0, 1, 2, 7, 100, 4096, 65536, 200_000, 1_044_480, 1_500_000]
FLAGS = [0, 0, 0, os.O_TRUNC, os.O_APPEND, os.O_DIRECT, os.O_CREAT, os.O_CREAT | os.O_EXCL, os.O_SYNC]

# No call takes longer; then a signal ends it.
CALL_SECONDS = 0.05

SYS_IO_SETUP, SYS_IO_DESTROY, SYS_IO_SUBMIT = 206, 207, 209
IOCB_CMD_PREAD, IOCB_CMD_PWRITE = 0, 1


class Late(Exception):
    """A call took too long."""


def on_alarm(*_):
    raise Late


class Hostile:
    def __init__(self, root, peer, seed):
        self.root = root
        self.peer = str(peer)
        self.rng = random.Random(seed)
        self.fds = []
        self.maps = []
        self.children = []
        self.operations = [getattr(self, name) for name in dir(self) if name.startswith("do_")]
        self.buffer = ctypes.create_string_buffer(1 << 16)

    def run(self, n_steps):
        signal.signal(signal.SIGALRM, on_alarm)
        steps = iter(range(n_steps))
        while steps.__length_hint__() > 0:
            # The alarm may come anywhere.
            with contextlib.suppress(Late):
                for _ in steps:
                    self.step()

    def step(self):
        signal.setitimer(signal.ITIMER_REAL, CALL_SECONDS)
        try:
            self.rng.choice(self.operations)()
        except (OSError, ValueError, BufferError, IndexError, OverflowError):
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    # --- choices ---

    def name(self):
        return self.rng.choice(NAMES)

    def directory(self):
        """Of a thing."""
        room = self.rng.choice(["mbox", "mbox", "mbox", "ring", "shm", "proc", "topic"])
        if room == "proc":
            return os.path.join(self.root, room, self.rng.choice(["self", str(os.getpid()), self.peer]))
        return os.path.join(self.root, room, self.name())

    def path(self):
        """Of any file."""
        directory = self.directory()
        room = directory[len(self.root):].split("/")[1]
        if room == "mbox":
            name = self.rng.choice(BOX_FILES)
            if name == "drop":
                name = os.path.join(name, self.name())
            elif name == "queue" and self.rng.random() < 0.8:
                with contextlib.suppress(OSError):
                    name = os.path.join(name, self.rng.choice(os.listdir(os.path.join(directory, name)) or ["0"]))
            return os.path.join(directory, name)
        if room == "ring":
            return os.path.join(directory, self.rng.choice(RING_FILES))
        if room == "proc":
            name = self.rng.choice(PROC_FILES)
            return os.path.join(directory, name, self.peer) if name == "link" else os.path.join(directory, name)
        if self.rng.random() < 0.05:
            return os.path.join(self.root, ".ipcfs", self.rng.choice(["version", "metrics"]))
        return directory if self.rng.random() < 0.7 else os.path.join(directory, self.name())

    def fd(self):
        return self.rng.choice(self.fds)

    def data(self):
        n = self.rng.choice(SIZES)
        return self.rng.choice([b"x" * n, (b"line\n" * (n // 5 + 1))[:n], bytes(n), b'{"text":"x"}\n', b"done", b"again"])

    # --- things that come and go ---

    def do_make(self):
        os.mkdir(self.directory(), self.rng.choice([0o777, 0o711, 0o700, 0o755, 0o2775]))

    do_make_another = do_make

    def do_remove(self):
        os.rmdir(self.directory())

    def do_rename(self):
        os.rename(self.directory(), self.directory())

    def do_rename_file(self):
        os.rename(self.path(), self.path())

    def do_exchange(self):
        libc.renameat2(-100, os.fsencode(self.directory()), -100, os.fsencode(self.directory()), self.rng.choice([1, 2]))

    def do_unlink(self):
        os.unlink(self.path())

    def do_link(self):
        os.link(self.path(), self.path())

    def do_symlink(self):
        os.symlink(self.rng.choice(["a", "../..", "/nowhere"]), self.path())

    # --- files ---

    def do_open(self):
        flags = self.rng.choice([os.O_RDONLY, os.O_WRONLY, os.O_RDWR]) | self.rng.choice(FLAGS)
        if self.rng.random() < 0.8:
            flags |= os.O_NONBLOCK
        self.fds.append(os.open(self.path(), flags, self.rng.choice([0o666, 0o600, 0o644])))
        if len(self.fds) > 60:
            os.close(self.fds.pop(0))

    do_open_2 = do_open_3 = do_open_4 = do_open

    def do_open_directory(self):
        self.fds.append(os.open(os.path.dirname(self.path()), os.O_RDONLY | os.O_DIRECTORY))

    def do_tmpfile(self):
        self.fds.append(os.open(os.path.join(self.root, "shm"), os.O_TMPFILE | os.O_RDWR))

    def do_close(self):
        fd = self.fd()
        self.fds.remove(fd)
        os.close(fd)

    def do_dup(self):
        self.fds.append(os.dup(self.fd()))

    def do_write(self):
        os.write(self.fd(), self.data())

    do_write_2 = do_write_3 = do_write

    def do_pwrite(self):
        os.pwrite(self.fd(), self.data(), self.rng.choice([0, 1, 4096, 1 << 20, 1 << 33]))

    def do_read(self):
        os.read(self.fd(), self.rng.choice([1, 10, 4096, 1 << 20]))

    do_read_2 = do_read_3 = do_read

    def do_pread(self):
        os.pread(self.fd(), 4096, self.rng.choice([0, 1, 4096, 1 << 33]))

    def do_truncate(self):
        os.ftruncate(self.fd(), self.rng.choice([0, 1, 4096, 100_000, 1 << 22, (1 << 63) - 1]))

    def do_allocate(self):
        libc.fallocate(self.fd(), self.rng.choice([0, 1, 3, 16]), ctypes.c_long(self.rng.randrange(8192)), ctypes.c_long(4096))

    def do_seek(self):
        os.lseek(self.fd(), self.rng.choice([0, 1, 1 << 40]), self.rng.randrange(5))

    def do_sync(self):
        os.fsync(self.fd())

    def do_configure(self):
        room = self.rng.choice(["mbox", "ring"])
        with open(os.path.join(self.root, room, self.name(), "config"), "wb", buffering=0) as config:
            config.write(self.rng.choice(CONFIGS if room == "mbox" else RING_CONFIGS))

    do_configure_2 = do_configure

    def do_list(self):
        os.listdir(os.path.dirname(self.path()))

    def do_stat(self):
        os.stat(self.path())
        os.statvfs(self.root)

    def do_chmod(self):
        os.chmod(self.rng.choice([self.path(), self.directory()]), self.rng.choice([0o777, 0o700, 0, 0o1777, 0o6755]))

    def do_times(self):
        os.utime(self.path(), (self.rng.randrange(1 << 31), 0))

    def do_attributes(self):
        path = self.path()
        for name in os.listxattr(path):
            os.getxattr(path, name)
        os.setxattr(path, "user.mine", b"x" * self.rng.choice([0, 1, 1000, 70_000]))

    def do_flags(self):
        fcntl.fcntl(self.fd(), fcntl.F_SETFL, self.rng.choice([0, os.O_NONBLOCK, os.O_NONBLOCK | os.O_DIRECT, os.O_APPEND]))

    # --- other ways to the same ---

    def do_lock(self):
        fcntl.flock(self.fd(), self.rng.choice([fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_UN, fcntl.LOCK_EX | fcntl.LOCK_NB]))

    def do_record_lock(self):
        fcntl.lockf(self.fd(), self.rng.choice([fcntl.LOCK_EX, fcntl.LOCK_UN, fcntl.LOCK_EX | fcntl.LOCK_NB]), 1, self.rng.randrange(10))

    def do_poll(self):
        poller = select.poll()
        for _ in range(3):
            poller.register(self.fd(), self.rng.choice([select.POLLIN, select.POLLOUT, select.POLLIN | select.POLLOUT]))
        poller.poll(self.rng.choice([0, 1, 20]))

    def do_epoll(self):
        epoll = select.epoll()
        self.fds.append(os.dup(epoll.fileno()))
        epoll.register(self.fd(), select.EPOLLIN | self.rng.choice([0, select.EPOLLET, select.EPOLLONESHOT]))
        epoll.poll(0)

    def do_map(self):
        self.maps.append(mmap.mmap(self.fd(), self.rng.choice([4096, 16384, 1 << 20])))
        if len(self.maps) > 5:
            self.maps.pop(0).close()

    def do_map_ring(self):
        with open(os.path.join(self.root, "ring", self.name(), "map"), "r+b", buffering=0) as file:
            self.maps.append(mmap.mmap(file.fileno(), 16384))

    def do_scribble(self):
        memory = self.rng.choice(self.maps)
        at = self.rng.choice([4096, 4104, 4224, 4232, 4352, 4480, self.rng.randrange(1 << 14)])
        memory[at:at + 8] = self.rng.choice([bytes(8), b"\xff" * 8, self.rng.randbytes(8), struct.pack("<II", os.getpid(), 6)])

    def do_sendfile(self):
        os.sendfile(self.fd(), self.fd(), 0, 4096)

    def do_sendfile_out(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            os.sendfile(ours.fileno(), self.fd(), 0, 4096)

    def do_copy_range(self):
        os.copy_file_range(self.fd(), self.fd(), 4096)

    def do_splice(self):
        read_end, write_end = os.pipe()
        try:
            os.write(write_end, b"through a pipe\n")
            os.splice(read_end, self.fd(), 4096, flags=2)
            os.splice(self.fd(), write_end, 4096, flags=2)
        finally:
            os.close(read_end)
            os.close(write_end)

    def do_aio(self):
        """Some writes or reads at once, that nobody waits for."""
        context = ctypes.c_ulong(0)
        if libc.syscall(SYS_IO_SETUP, 8, ctypes.byref(context)) < 0:
            return
        address = ctypes.addressof(self.buffer)
        blocks = []
        for _ in range(4):
            command = self.rng.choice([IOCB_CMD_PREAD, IOCB_CMD_PWRITE])
            block = struct.pack("<QIIHhIQQqQII", 0, 0, 0, command, 0, self.fd(), address, self.rng.choice([1, 100, 4096]), 0, 0, 0, 0)
            blocks.append(ctypes.create_string_buffer(block, len(block)))
        pointers = (ctypes.c_void_p * 4)(*[ctypes.addressof(block) for block in blocks])
        libc.syscall(SYS_IO_SUBMIT, context, ctypes.c_long(4), pointers)
        # io_destroy(2) waits for what can't be cancelled: exit does as well, in a child.

    # --- processes ---

    def do_fork(self):
        """A child with the same descriptors, that leaves in one way or another."""
        pid = os.fork()
        if pid == 0:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with contextlib.suppress(BaseException):
                way = self.rng.randrange(4)
                if way == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                if way == 1:
                    os.execv("/bin/true", ["true"])
                if way == 2:
                    os.read(self.fd(), 10)
            os._exit(0)
        self.children.append(pid)
        self.reap()

    def do_shell(self):
        path = self.path()
        # In our group: whoever ends that ends what it starts, too.
        child = subprocess.Popen(["sh", "-c", self.rng.choice(
            ["echo hello > \"$0\"", "cat \"$0\" > /dev/null", "cat /etc/passwd > \"$0\"", "ls -la \"$0\" > /dev/null", "cp /etc/passwd \"$0\""]), path],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.children.append(child.pid)
        self.reap()

    def reap(self):
        while len(self.children) > 5:
            pid = self.children.pop(0)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def attack(root, peer, seed, n_steps):
    """For a process of its own. @peer is another's pid."""
    os.setpgid(0, 0)
    # A mapping of what another truncates: that is one's own fault.
    faulthandler.disable()
    with contextlib.suppress(OSError):
        os.nice(5)
    Hostile(root, peer, seed).run(n_steps)

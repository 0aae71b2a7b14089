"""What the mount tests share: a mount, a mailbox in it, and callers that may wait.

A call that could wait for ever runs in a child process (Call, start), which is killed after the test.
What a test does itself can't: its handles are O_NONBLOCK or there is something for them, and if the
daemon hangs a watchdog ends it, upon which every call on its mount fails (conftest.py).

Environment: IPCFS, the program to test; IPCFS_SLOW, by how much all patience is longer (1);
IPCFS_TRANSPORT, what mounts are given as -o transport=."""

import contextlib
import ctypes
import errno
import fcntl
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import pytest

IPCFS = os.environ.get("IPCFS")
SLOW = float(os.environ.get("IPCFS_SLOW", "1"))

# How requests come from the kernel to the mounts that do not say it; None: as ipcfs likes.
TRANSPORT = os.environ.get("IPCFS_TRANSPORT")

# By when that has happened which should happen at once. Only failures wait so long.
PATIENCE = 30 * SLOW

# Long enough to believe that something does not happen. Each use costs this much.
WHILE = 0.1

# Users that own nothing.
ALICE = 12345
BOB = 65534

SHELLS = {"bash": ["bash"], "dash": ["dash"], "busybox": ["busybox", "sh"]}
TOOLS = {"coreutils": [], "busybox": ["busybox"]}

PR_SET_DUMPABLE = 4
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2

libc = ctypes.CDLL(None, use_errno=True)


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) < 0:
        raise OSError(ctypes.get_errno(), "fallocate")


# --- waiting ---

def wait_until(predicate, what, patience=PATIENCE):
    """Returns what the predicate says as soon as that is true."""
    end = time.monotonic() + patience
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"in vain for {patience:.0f} s: {what() if callable(what) else what}")
        time.sleep(0.002)


def process_state(pid):
    """The letter of /proc/PID/stat: S sleeps, D can't be killed, Z has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "gone"


# By which machine and name.
SYSTEM_CALLS = {
    "x86_64": {"read": 0, "fcntl": 72, "flock": 73},
    "aarch64": {"read": 63, "fcntl": 25, "flock": 32},
}


def is_in(pid, system_call):
    """Does it sleep in that system call?"""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/syscall", encoding="ascii") as file:
        return file.read().split()[0] == str(SYSTEM_CALLS[os.uname().machine][system_call])
    return False


def expect_asleep(*callers, system_call=None):
    """Each waits where a signal reaches it: in that system call, or somewhere on its way there too, for instance in open(2)."""
    for caller in callers:
        wait_until(lambda: process_state(caller.pid) == "S" and (not system_call or is_in(caller.pid, system_call)),
                   lambda: f"{caller.pid} is in state {process_state(caller.pid)}, not S, or not in {system_call}")


@contextlib.contextmanager
def fails_with(*codes):
    with pytest.raises(OSError) as raised:
        yield
    got = errno.errorcode.get(raised.value.errno, raised.value.errno)
    assert raised.value.errno in codes, f"{got} instead of {[errno.errorcode[c] for c in codes]}"


# --- callers that may wait ---

_running = []


def kill_all():
    """Ends what tests have started, and whatever that started."""
    for caller in _running:
        # All before the first is waited for: one can hold up another, deaf to signals.
        caller.kill_family()
    for caller in list(_running):
        caller.destroy()


class Call:
    """A function that runs in a child process, as another user if asked.

    Its result, or the error it failed with, comes from result()."""

    def __init__(self, function, *args, uid=None, gid=None, groups=()):
        self.status = None
        self._outcome = os.memfd_create("outcome")
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._run(function, args, uid, gid, groups)
            finally:
                os._exit(1)
        _running.append(self)

    def _run(self, function, args, uid, gid, groups):
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            if uid is not None:
                become(uid, gid, groups)
            outcome = (None, function(*args))
        except OSError as error:
            outcome = (error, None)
        except BaseException as error:
            traceback.print_exc()
            outcome = (AssertionError(repr(error)), None)
        with open(self._outcome, "wb") as out:
            pickle.dump(outcome, out)
        os._exit(0)

    def poll(self):
        """The status as subprocess has it: None while it runs, negative for a signal."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self):
        wait_until(lambda: self.poll() is not None,
                   lambda: f"call {self.pid}, in state {process_state(self.pid)}, does not end")
        return self.status

    def result(self):
        self.wait()
        assert self.status == 0, f"call {self.pid} ended with {self.status}"
        with open(self._outcome, "rb", closefd=False) as outcome:
            outcome.seek(0)
            error, value = pickle.load(outcome)
        if error:
            raise error
        return value

    def kill(self, number=signal.SIGKILL):
        os.kill(self.pid, number)

    def kill_family(self):
        if self.poll() is None:
            self.kill()

    def destroy(self):
        """Ends it, and gives back what it holds here."""
        _running.remove(self)
        self.kill_family()
        self.wait()
        os.close(self._outcome)


class Peer:
    """A child process that does what it is told, one thing after the other, and keeps what it has opened.

    What it is told is a function of a module (or a method) with its arguments."""

    def __init__(self, uid=None, gid=None, groups=()):
        self._ours, theirs = multiprocessing.Pipe()
        self.process = Call(self._serve, theirs, uid=uid, gid=gid, groups=groups)
        self.pid = self.process.pid
        theirs.close()
        assert self.result() == "ready"

    @classmethod
    def with_pid(cls, pid):
        """One whose pid is this, which is free; None where that can't be had."""
        with contextlib.suppress(OSError), open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as last:
            last.write(str(pid - 1))
        peer = cls()
        return peer if peer.pid == pid else None

    def _serve(self, orders):
        self._ours.close()
        orders.send((None, "ready"))
        with contextlib.suppress(EOFError):
            while True:
                function, args = orders.recv()
                try:
                    outcome = (None, function(*args))
                except OSError as error:
                    outcome = (error, None)
                orders.send(outcome)

    def start(self, function, *args):
        """May wait: then result() has it."""
        self._ours.send((function, args))
        return self

    def result(self):
        assert self._ours.poll(PATIENCE), f"peer {self.pid} does not answer"
        error, value = self._ours.recv()
        if error:
            raise error
        return value

    def call(self, function, *args):
        return self.start(function, *args).result()

    def has_result(self):
        return self._ours.poll()

    def kill(self, number=signal.SIGKILL):
        """Also waits for its end, so that there is not even a zombie."""
        self.process.kill(number)
        self.process.wait()


class Command(subprocess.Popen):
    """A program in a session of its own."""

    def __init__(self, args, uid=None, gid=None, **kwargs):
        if uid is not None:
            kwargs.update(user=uid, group=uid if gid is None else gid, extra_groups=[])
        super().__init__(args, start_new_session=True, text=True, errors="surrogateescape",
                         stdin=kwargs.pop("stdin", subprocess.DEVNULL),
                         stdout=kwargs.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE, **kwargs)
        _running.append(self)

    def wait(self, timeout=PATIENCE):
        return super().wait(timeout)

    def output(self):
        """What it wrote to stdout until it ended, without an error."""
        out, err = self.communicate(timeout=PATIENCE)
        assert self.returncode == 0, f"{self.args} ended with {self.returncode}: {err}"
        return out

    def kill_family(self):
        """With all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def destroy(self):
        _running.remove(self)
        self.kill_family()
        self.wait()
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe:
                pipe.close()


def start(*args, **kwargs):
    return Command([os.fspath(arg) for arg in args], **kwargs)


def start_sh(shell, script, **kwargs):
    return Command([*SHELLS[shell], "-c", script], **kwargs)


def run(*args, **kwargs):
    """The program's CompletedProcess, whatever its status."""
    timeout = kwargs.pop("timeout", PATIENCE)
    command = start(*args, **kwargs)
    try:
        out, err = command.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        command.destroy()
        pytest.fail(f"{args} does not end")
    return subprocess.CompletedProcess(command.args, command.returncode, out, err)


def sh(shell, script, **kwargs):
    """What a script that succeeds writes to stdout."""
    done = run(*SHELLS[shell], "-c", script, **kwargs)
    assert done.returncode == 0, f"{shell}: {script!r} ended with {done.returncode}: {done.stderr}"
    return done.stdout


def become(uid, gid=None, groups=()):
    """For good: in child processes only."""
    os.setgroups(groups)
    os.setgid(uid if gid is None else gid)
    os.setuid(uid)
    # As any process of that user: else its /proc/PID would stay root's.
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def as_user(uid, function, *args, gid=None, groups=()):
    return Call(function, *args, uid=uid, gid=gid, groups=groups).result()


def interruptible(function, *args):
    """Calls a function of libc; a signal ends it with EINTR, where Python would begin again."""
    n = getattr(libc, function)(*args)
    if n < 0:
        raise OSError(ctypes.get_errno(), function)
    return n


# A thread that waits in a system call needs hardly any.
STACK_BYTES = 64 << 10


def in_threads(function, numbers):
    """Calls function(i) for all numbers at once; the results in their order."""
    results = {}

    def call(i):
        results[i] = function(i)

    threading.stack_size(STACK_BYTES)
    threads = [threading.Thread(target=call, args=(i,)) for i in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[i] for i in numbers]


# --- files ---

class Handle:
    """An open file, without buffers between."""

    def __init__(self, path, flags):
        self.fd = os.open(path, flags | os.O_CLOEXEC)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def fileno(self):
        return self.fd

    def read(self, size=1 << 20):
        return os.read(self.fd, size)

    def write(self, data):
        return os.write(self.fd, data)

    def set_flags(self, flags):
        """O_NONBLOCK, O_DIRECT, ... as they shall be from now on."""
        fcntl.fcntl(self.fd, fcntl.F_SETFL, flags)

    def close(self):
        os.close(self.fd)


def try_open(path, flags):
    """Opens and closes: what a test of permissions wants to know."""
    os.close(os.open(path, flags))


def receive_message(path):
    """A whole message, waiting for it."""
    with Handle(path, os.O_RDONLY | os.O_DIRECT) as recv:
        return recv.read()


def send_message(path, data):
    with Handle(path, os.O_WRONLY) as send:
        return send.write(data)


class Mailbox:
    """A mailbox and what tests do with it; nothing here waits but what start_* starts."""

    def __init__(self, path):
        self.path = path
        self.send_path = self.file("send")
        self.recv_path = self.file("recv")
        self.config_path = self.file("config")
        self.stat_path = self.file("stat")

    def file(self, name):
        return os.path.join(self.path, name)

    def make(self, mode=0o777):
        os.mkdir(self.path, mode)
        return self

    def open_send(self, flags=os.O_NONBLOCK, name="send"):
        return Handle(self.file(name), os.O_WRONLY | flags)

    def open_recv(self, flags=os.O_NONBLOCK, name="recv"):
        return Handle(self.file(name), os.O_RDONLY | flags)

    def send(self, *messages, name="send"):
        with self.open_send(name=name) as send:
            for message in messages:
                assert send.write(message) == len(message)

    def receive(self):
        """The next message; BlockingIOError where there is none."""
        with self.open_recv(os.O_NONBLOCK | os.O_DIRECT) as recv:
            return recv.read()

    def take(self, n):
        """The next n messages, some of which may still have to come in."""
        messages = []
        def taken():
            messages.extend(self.drain(n - len(messages)))
            return len(messages) == n
        wait_until(taken, lambda: f"{n} messages, got {messages}")
        return messages

    def drain(self, n_max=sys.maxsize):
        """All messages that are there."""
        messages = []
        with self.open_recv(os.O_NONBLOCK | os.O_DIRECT) as recv:
            with contextlib.suppress(BlockingIOError):
                while len(messages) < n_max:
                    messages.append(recv.read())
        return messages

    def start_send(self, data, name="send", uid=None):
        return Call(send_message, self.file(name), data, uid=uid)

    def start_receive(self, uid=None):
        return Call(receive_message, self.recv_path, uid=uid)

    def configure(self, **settings):
        self.write_config("".join(f"{key}={value}\n" for key, value in settings.items()))

    def write_config(self, text):
        with Handle(self.config_path, os.O_WRONLY) as config:
            config.write(text if isinstance(text, bytes) else text.encode())

    def config(self):
        return read_settings(self.config_path)

    def stat(self):
        return {key: int(value) if value.isdigit() else value
                for key, value in read_settings(self.stat_path).items()}

    def counts(self, *keys):
        stat = self.stat()
        return tuple(stat[key] for key in keys)

    def wait_for(self, patience=PATIENCE, **expected):
        """Waits until `stat` says so: senders_waiting=2."""
        wait_until(lambda: expected.items() <= self.stat().items(),
                   lambda: f"{expected}, but stat says {self.stat()}", patience)

    def fill(self, *messages):
        """Makes the mailbox full."""
        messages = messages or (b"first",)
        self.configure(messages=len(messages))
        self.send(*messages)

    def remove(self):
        """Whatever is in it."""
        def removed():
            self.drain()
            with contextlib.suppress(OSError):
                os.rmdir(self.path)
            return not os.path.exists(self.path)
        wait_until(removed, f"{self.path} can be removed")


def read_settings(path):
    with open(path, encoding="utf-8") as lines:
        return dict(line.rstrip("\n").split("=", 1) for line in lines)


# --- mounts ---

_mounts = []


def kill_daemons():
    """Upon which every call on a mount of ours fails. For the watchdog."""
    for mount in _mounts:
        mount.process.kill()


def stop_mounts(kept=()):
    """Ends the mounts that a test has made; fails where one of them has failed."""
    for mount in [m for m in _mounts if m not in kept]:
        mount.stop()


def forget_inherited():
    """For a child process that goes on with the test: what its parent has started is not its own."""
    _running.clear()
    _mounts.clear()


def mount_line(path):
    """The fields of the mount on @path in mountinfo: (type, source, options); None: there is none."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            first, _, second = line.partition(" - ")
            if first.split()[4] == path:
                return tuple(second.split())
    return None


def daemons_on(point):
    """The processes that were started with this mount point."""
    pids = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
                words = cmdline.read().split(b"\0")
        except OSError:
            continue
        if point.encode() in words and b"ipcfs" in os.path.basename(words[0]):
            pids.append(int(pid))
    return pids


@contextlib.contextmanager
def mount_point():
    """A directory that all users can reach, gone afterwards with what is mounted on it."""
    path = os.path.realpath(tempfile.mkdtemp(prefix="ipcfs-"))
    os.chmod(path, 0o755)
    try:
        yield path
    finally:
        unmount = ["umount", "-l"] if os.getuid() == 0 else ["fusermount3", "-uz"]
        while mount_line(path):
            if subprocess.run([*unmount, path], check=False, timeout=PATIENCE).returncode != 0:
                break
        os.rmdir(path)


def started_last():
    """The Mount that was started last, also if it never mounted."""
    return _mounts[-1]


class Mount:
    """ipcfs in the foreground on a fresh directory; of another user's, if asked, who must be let to /dev/fuse."""

    def __init__(self, *options, uid=None, program=IPCFS):
        self._cleanup = contextlib.ExitStack()
        self.path = self._cleanup.enter_context(mount_point())
        user = []
        if TRANSPORT and not any("transport=" in option for option in options):
            options = ("-o", f"transport={TRANSPORT}", *options)
        if uid is not None and uid != os.getuid():
            os.chown(self.path, uid, uid)
            user = ["--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
        self.mbox = os.path.join(self.path, "mbox")
        self.proc = os.path.join(self.path, "proc")
        self._log = self._cleanup.enter_context(tempfile.TemporaryFile())
        self._said = None
        self.expected_status = 0
        self._n_boxes = 0
        # Whatever ends the tests ends the daemon.
        self.process = subprocess.Popen(
            ["setpriv", *user, "--pdeathsig", "TERM", program, "-f", *options, self.path],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, cwd="/")
        _mounts.append(self)
        wait_until(lambda: mount_line(self.path) or self.process.poll() is not None,
                   "ipcfs mounts or ends")
        assert self.process.poll() is None, self.log()

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        """What the daemon has said so far, or in all."""
        if self._said is not None:
            return self._said
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def box(self, mode=0o777):
        """A new mailbox."""
        self._n_boxes += 1
        return self.mailbox(f"box{self._n_boxes}").make(mode)

    def mailbox(self, name):
        return Mailbox(os.path.join(self.mbox, name))

    def direct(self, pid):
        """What is in proc/PID, used as a mailbox."""
        return Mailbox(os.path.join(self.proc, str(pid)))

    def is_mounted(self):
        return mount_line(self.path) is not None

    def wake_all(self):
        """Asks from each processor: then the threads are there, and what they hold, that come with its first request."""
        before = os.sched_getaffinity(0)
        for cpu in before:
            os.sched_setaffinity(0, {cpu})
            os.statvfs(self.path)
        os.sched_setaffinity(0, before)

    def n_threads(self):
        with open(f"/proc/{self.pid}/status", encoding="utf-8") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("Threads:"))

    def rss_kib(self):
        with open(f"/proc/{self.pid}/status", encoding="utf-8") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

    def peak_kib(self):
        with open(f"/proc/{self.pid}/status", encoding="utf-8") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

    def n_fds(self):
        """Without those of the threads that come with callers, or with the processors that these happen to run on."""
        links = []
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                links.append(os.readlink(f"/proc/{self.pid}/fd/{fd}"))
        return len([link for link in links if link not in ("anon_inode:[io_uring]", "/dev/fuse")])

    def metric(self, name):
        with open(os.path.join(self.path, ".ipcfs", "metrics"), encoding="utf-8") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith(name + " "))

    def cpu_ticks(self):
        """How much time the daemon has taken, on processors."""
        with open(f"/proc/{self.pid}/stat", encoding="utf-8") as stat:
            user, system = stat.read().rpartition(")")[2].split()[11:13]
        return int(user) + int(system)

    def wait_end(self):
        """The status with which the daemon has ended."""
        wait_until(lambda: self.process.poll() is not None, "the daemon ends")
        return self.process.returncode

    def problem(self):
        """What is wrong with how the daemon has ended, or with what it has said."""
        log = self.log()
        if self.process.poll() not in (None, self.expected_status):
            return f"the daemon ended with {self.process.returncode}:\n{log}"
        if "Sanitizer" in log or "runtime error" in log:
            return f"the daemon said:\n{log}"
        return None

    def stop(self):
        if self not in _mounts:
            return
        _mounts.remove(self)
        with self._cleanup:
            if self.process.poll() is None:
                self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self._said = self.log()
            problem = self.problem()
        assert not problem, problem


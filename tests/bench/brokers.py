"""The peers of the benchmarks of topics and calls: each a server on this machine, from its package, on a Unix socket where it has one.
A peer that is not installed is named, with its package, and left out."""

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import time

PATIENCE = 20

DBUS_DAEMON = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
  <limit name="max_incoming_bytes">1000000000</limit><limit name="max_outgoing_bytes">1000000000</limit>
  <limit name="max_completed_connections">10000</limit><limit name="max_connections_per_user">10000</limit>
</busconfig>
"""


class NotStarted(SystemExit):
    pass


def wait_for(predicate, process, what):
    end = time.monotonic() + PATIENCE
    while not predicate():
        if time.monotonic() > end or process.poll() is not None:
            raise NotStarted(f"{what} does not start")
        time.sleep(0.05)


def answers(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def server(*command, ready, what, end=signal.SIGTERM, **options):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        wait_for(ready, process, what)
        yield
    finally:
        process.send_signal(end)
        process.wait()


def ipcfs(stack, program, directory, *more):
    """Return: the mount."""
    mount = os.path.join(directory, "mnt")
    os.mkdir(mount)
    stack.enter_context(server(program, "-f", "-o", ",".join(["max_bytes=2G", "uid_bytes=2G", *more]), mount, ready=lambda: os.path.ismount(mount),
                               what="ipcfs"))
    return mount


def redis(stack, directory):
    path = os.path.join(directory, "redis")
    stack.enter_context(server("redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no",
                               "--client-output-buffer-limit", "pubsub 0 0 0", "--dir", directory,
                               ready=lambda: os.path.exists(path), what="Redis"))
    return path


def nats(stack, _):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stack.enter_context(server("nats-server", "-a", "127.0.0.1", "-p", str(port), ready=lambda: answers(port), what="NATS"))
    return str(port)


def dbus_daemon(stack, directory):
    path = os.path.join(directory, "dbus-daemon")
    config = path + ".conf"
    with open(config, "w", encoding="ascii") as file:
        file.write(DBUS_DAEMON.format(path=path))
    stack.enter_context(server("dbus-daemon", "--nofork", "--config-file=" + config, ready=lambda: os.path.exists(path),
                               what="dbus-daemon"))
    return path


# --- dbus-broker, which wants a controller that hands it its socket ---

class Marshal:
    """Values as D-Bus has them, from a multiple of 8 on."""

    def __init__(self):
        self.data = b""

    def align(self, to):
        self.data += bytes(-len(self.data) % to)
        return self

    def fixed(self, code, value):
        self.align(struct.calcsize(code))
        self.data += struct.pack("<" + code, value)
        return self

    def string(self, value):
        self.fixed("I", len(value))
        self.data += value.encode() + b"\0"
        return self

    def signature(self, value):
        self.data += bytes([len(value)]) + value.encode() + b"\0"
        return self

    def array(self, fill, alignment=8):
        self.fixed("I", 0)
        at = len(self.data)
        self.align(alignment)
        begin = len(self.data)
        fill(self)
        self.data = self.data[:at - 4] + struct.pack("<I", len(self.data) - begin) + self.data[at:]
        return self


BATCH = "bta(btbs)a(btssssuutt)a(btssssuutt)"
POLICY = f"(a(u({BATCH}))a(buu({BATCH}))a(ss)bs)"


def put_batch(to):
    """Everybody may connect, own, send and receive."""
    def transmission(entry):
        entry.align(8).fixed("I", 1).fixed("Q", 1)
        for _ in range(4):
            entry.string("")
        entry.fixed("I", 0).fixed("I", 0).fixed("Q", 0).fixed("Q", (1 << 64) - 1)
    to.align(8).fixed("I", 1).fixed("Q", 1)
    to.array(lambda names: names.align(8).fixed("I", 1).fixed("Q", 1).fixed("I", 1).string(""))
    to.array(transmission).array(transmission)


def add_listener():
    """The call that makes dbus-broker listen at the descriptor that comes with it."""
    body = Marshal().string("/org/bus1/DBus/Listener/0").fixed("I", 0).signature(POLICY).align(8)
    body.array(lambda users: (users.align(8).fixed("I", (1 << 32) - 1), put_batch(users)))
    body.array(lambda groups: None).array(lambda labels: None)
    body.fixed("I", 0).string("session")
    message = Marshal()
    message.data = b"l\x01\x00\x01"
    message.fixed("I", len(body.data)).fixed("I", 1)

    def fields(to):
        for code, kind, value in ((1, "o", "/org/bus1/DBus/Broker"), (2, "s", "org.bus1.DBus.Broker"), (3, "s", "AddListener")):
            to.align(8).data += bytes([code])
            to.signature(kind).string(value)
        to.align(8).data += b"\x08"
        to.signature("g").signature("ohv")
        to.align(8).data += b"\x09"
        to.signature("u").fixed("I", 1)
    message.array(fields)
    return message.align(8).data + body.data


def dbus_broker(stack, directory):
    path = os.path.join(directory, "dbus-broker")
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(path)
    listener.listen(128)
    listener.setblocking(False)
    ours, theirs = socket.socketpair()
    stack.enter_context(ours)
    with theirs:
        os.set_inheritable(theirs.fileno(), True)
        stack.enter_context(server("dbus-broker", "--controller", str(theirs.fileno()), "--machine-id", "0" * 32,
                                   "--max-bytes", "4000000000", "--max-objects", "1000000", "--max-matches", "1000000",
                                   ready=lambda: True, what="dbus-broker", end=signal.SIGKILL, pass_fds=[theirs.fileno()]))
    ours.settimeout(PATIENCE)
    ours.sendall(b"\0AUTH EXTERNAL %s\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n" % str(os.getuid()).encode().hex().encode())
    greeting = b""
    while greeting.count(b"\n") < 2:
        greeting += ours.recv(1)
    socket.send_fds(ours, [add_listener()], [listener.fileno()])
    answer = ours.recv(4096)
    if answer[1] != 2:
        raise SystemExit(f"dbus-broker does not listen: {answer}")
    return path


PEERS = {
    "dbus-daemon": ("dbus-daemon", "dbus-daemon", dbus_daemon),
    "dbus-broker": ("dbus-broker", "dbus-broker", dbus_broker),
    "redis": ("redis-server", "redis-server", redis),
    "nats": ("nats-server", "nats-server", nats),
}


def start(stack, directory, names):
    """Return: where each of these is to be found, of those that are installed."""
    where = {}
    for name in names:
        program, package, begin = PEERS[name]
        if shutil.which(program):
            where[name] = begin(stack, directory)
        else:
            print(f"not found: {program} (package {package})")
    return where

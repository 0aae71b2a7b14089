"""Requests over io_uring: that they come that way where they may, and what is different behind it.

All else that a mount does is tested over both (IPCFS_TRANSPORT, harness.py)."""

import contextlib
import ctypes
import errno
import os
import random
import resource
import signal
import struct
import subprocess
import time

import pytest

import harness
from harness import (ALICE, BOB, IPCFS, PATIENCE, Call, Mount, as_user, expect_asleep, fails_with, interruptible,
                     mount_point, process_state, receive_message, run, send_message, wait_until)

SWITCH = "/sys/module/fuse/parameters/enable_uring"
FORBIDDEN = "/proc/sys/kernel/io_uring_disabled"
LARGEST = 1044480
CPUS = sorted(os.sched_getaffinity(0))

pytestmark = pytest.mark.skipif(not os.access(SWITCH, os.W_OK), reason="this kernel's FUSE has no io_uring")


@contextlib.contextmanager
def setting(path, value):
    with open(path, encoding="ascii") as file:
        before = file.read()
    with open(path, "w", encoding="ascii") as file:
        file.write(value)
    try:
        yield
    finally:
        with open(path, "w", encoding="ascii") as file:
            file.write(before)


@pytest.fixture(autouse=True)
def switched_on():
    with setting(SWITCH, "Y"):
        yield


@pytest.fixture
def mnt(shared_mounts, switched_on):
    return shared_mounts["uring"].get("-o", "transport=uring")


@pytest.fixture
def own():
    return Mount("-o", "transport=uring")


def transport_of(mnt):
    return harness.read_settings(os.path.join(mnt.path, ".ipcfs/version"))["transport"]


def on_cpu(cpu, function, *args):
    os.sched_setaffinity(0, [cpu])
    return function(*args)


@contextlib.contextmanager
def stopped(mnt):
    """Nothing is answered meanwhile."""
    os.kill(mnt.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: process_state(mnt.pid) == "T", "the daemon stops")
        yield
    finally:
        os.kill(mnt.pid, signal.SIGCONT)


# --- which it is ---

@pytest.mark.parametrize("switch, option, transport", [
    ("Y", "auto", "uring"), ("Y", "uring", "uring"), ("Y", "dev", "dev"), ("N", "auto", "dev"), ("N", "dev", "dev"),
])
def test_version_tells_which_it_is(switch, option, transport):
    with setting(SWITCH, switch):
        mnt = Mount("-o", f"transport={option}")
        assert transport_of(mnt) == transport
    box = mnt.box()
    box.send(b"message")
    assert box.receive() == b"message"
    assert mnt.log() == ""


def expect_refusal(done, status, *words):
    assert done.returncode == status and done.stdout == ""
    assert done.stderr.startswith("ipcfs: ") and done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("value", ["", "fuse", "Uring", "uring,uring=2"])
def test_bad_transport_is_wrong_usage(value):
    with mount_point() as point:
        expect_refusal(run(IPCFS, "-o", f"transport={value}", point), 2)
        assert not harness.mount_line(point)


@pytest.mark.parametrize("foreground", [[], ["-f"]], ids=["background", "foreground"])
def test_what_to_switch_on_is_said(foreground):
    with mount_point() as point, setting(SWITCH, "N"):
        expect_refusal(run(IPCFS, *foreground, "-o", "transport=uring", point), 1, SWITCH)
        assert not harness.mount_line(point)


def forbid_io_uring():
    """As a container's seccomp profile does: EPERM to io_uring_setup, of this process and all that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    load, jump_if_equal, ret = 0x20, 0x15, 0x06
    io_uring_setup, allow, error = 425, 0x7fff0000, 0x00050000
    program = b"".join(struct.pack("HBBI", *step) for step in [
        (load, 0, 0, 0), (jump_if_equal, 0, 1, io_uring_setup), (ret, 0, 0, error | errno.EPERM), (ret, 0, 0, allow)])
    buffer = ctypes.create_string_buffer(program)
    filters = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(buffer)))
    no_new_privs, set_seccomp, filter_mode = 38, 22, 2
    assert libc.prctl(no_new_privs, 1, 0, 0, 0) == 0
    assert libc.prctl(set_seccomp, filter_mode, filters, 0, 0) == 0


@contextlib.contextmanager
def sysctl(_):
    with setting(FORBIDDEN, "2"):
        yield {}


@contextlib.contextmanager
def seccomp(_):
    yield {"preexec_fn": forbid_io_uring}


@pytest.mark.parametrize("how, word", [(sysctl, "kernel.io_uring_disabled"), (seccomp, "seccomp")],
                         ids=["sysctl", "seccomp"])
def test_where_io_uring_is_forbidden_it_goes_on_without(how, word):
    with mount_point() as point, how(point) as kwargs:
        refused = subprocess.run([IPCFS, "-o", "transport=uring", point], capture_output=True, text=True,
                                 timeout=PATIENCE, check=False, **kwargs)
        expect_refusal(refused, 1, "can't use io_uring", word)
        assert not harness.mount_line(point)
        mounted = subprocess.run([IPCFS, "-o", "transport=auto", point], capture_output=True, text=True,
                                 timeout=PATIENCE, check=False, **kwargs)
        assert mounted.returncode == 0 and mounted.stderr.count("\n") == 1 and word in mounted.stderr
        assert harness.read_settings(os.path.join(point, ".ipcfs/version"))["transport"] == "dev"
        os.mkdir(os.path.join(point, "mbox/box"))
        assert run("umount", point).returncode == 0


def test_users_mount_takes_it_too(users_may_mount):
    mnt = Mount("-o", "transport=uring", uid=BOB)
    assert as_user(BOB, transport_of, mnt) == "uring"
    def exchange():
        box = mnt.box()
        box.send(b"message")
        return box.receive()
    assert as_user(BOB, exchange) == b"message"


def test_daemon_that_may_not_run_on_a_processor_answers_its_callers():
    if len(CPUS) < 2:
        pytest.skip("there is one processor")
    with mount_point() as point:
        daemon = harness.start("taskset", "-c", str(CPUS[0]), IPCFS, "-f", "-o", "transport=uring", point)
        wait_until(lambda: harness.mount_line(point), "it mounts")
        box = harness.Mailbox(os.path.join(point, "mbox/box"))
        Call(on_cpu, CPUS[1], box.make).result()
        readers = [Call(on_cpu, CPUS[1], receive_message, box.recv_path) for _ in range(100)]
        box.wait_for(receivers_waiting=100)
        for i in range(100):
            Call(on_cpu, CPUS[i % 2], send_message, box.send_path, b"message").result()
        assert [reader.result() for reader in readers] == [b"message"] * 100
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait() == 0


# --- requests that wait ---

def test_crowd_that_comes_at_once_is_let_in(own):
    n = 200
    box = own.box()
    handles = [box.open_recv(0) for _ in range(n)]
    with stopped(own):
        readers = [Call(on_cpu, CPUS[0], handle.read, 100) for handle in handles]
        expect_asleep(*readers)
    # From another processor: an answer on this one would bring what waits there.
    Call(on_cpu, CPUS[-1], lambda: box.wait_for(receivers_waiting=n)).result()
    with box.open_send(0) as send:
        for i in range(n):
            send.write(b"%d" % i)
    assert sorted(int(reader.result()) for reader in readers) == list(range(n))


@pytest.mark.skipif(harness.SLOW > 1, reason="a sanitizer wants memory of its own")
def test_without_memory_for_more_waits_end_and_calls_go_on(own):
    """As by a signal, for an entry that waits is no other's."""
    box, other = own.box(), own.box()
    with box.open_recv(os.O_DIRECT) as recv:
        first = Call(on_cpu, CPUS[0], recv.read, 100)
        box.wait_for(receivers_waiting=1)
        with open(f"/proc/{own.pid}/statm", encoding="ascii") as statm:
            n_bytes = int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.prlimit(own.pid, resource.RLIMIT_AS, (n_bytes + (2 << 20), n_bytes + (2 << 20)))
        buffer = ctypes.create_string_buffer(100)
        readers = [Call(on_cpu, CPUS[0], interruptible, "read", recv.fd, buffer, 100) for _ in range(100)]
        wait_until(lambda: sum(reader.poll() is not None for reader in readers) > 50, "there is no more memory")
        for _ in range(20):
            assert Call(on_cpu, CPUS[0], send_message, other.send_path, b"message").result() == 7
            assert other.receive() == b"message"
        ended = [reader for reader in readers if reader.poll() is not None]
        for reader in ended:
            with fails_with(errno.EINTR):
                reader.result()
        box.wait_for(receivers_waiting=1 + len(readers) - len(ended))
        box.send(*[b"message"] * (1 + len(readers) - len(ended)))
        assert first.result() == b"message"


@pytest.mark.skipif(harness.SLOW > 1, reason="a sanitizer has memory of its own")
def test_memory_returns_when_those_who_waited_have_gone(own):
    n = 400
    box = own.box()
    box.configure(messages="max")
    handles = [box.open_recv(os.O_DIRECT) for _ in range(n)]
    box.send(*[b"m" * 60000] * 10)
    box.drain()
    before = own.rss_kib()
    for _ in range(2):
        readers = [Call(handle.read, 1 << 16) for handle in handles]
        box.wait_for(receivers_waiting=n)
        # Who waits for some time costs hundreds of bytes.
        wait_until(lambda: own.rss_kib() - before < n * 1.5, lambda: f"{own.rss_kib() - before} KiB are given back")
        box.send(*[b"m" * 4000] * n)
        for reader in readers:
            assert len(reader.result()) == 4000
        wait_until(lambda: own.rss_kib() - before < 1024 + n / 2, lambda: f"{own.rss_kib() - before} KiB are given back")


def test_many_who_wait_keep_nobody_elses_call_waiting(own):
    box, hers = own.box(0o777), own.box(0o777)
    os.chmod(box.recv_path, 0o444)
    readers = [box.start_receive(uid=ALICE) for _ in range(300)]
    box.wait_for(receivers_waiting=300)
    for cpu in CPUS:
        for _ in range(20):
            assert as_user(BOB, on_cpu, cpu, send_message, hers.send_path, b"message") == 7
            assert hers.receive() == b"message"
    for reader in readers:
        reader.kill()
    box.wait_for(receivers_waiting=0)


# --- signals ---

@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_signal_before_the_daemon_has_the_request_ends_it(own, number):
    """The kernel does not tell of these: uring_watch.c."""
    box = own.box()
    with box.open_recv(0) as recv:
        for cpu in CPUS:
            with stopped(own):
                reader = Call(on_cpu, cpu, recv.read, 100)
                expect_asleep(reader)
                reader.kill(number)
                wait_until(lambda: process_state(reader.pid) == "D", "it is interrupted")
            assert reader.wait() == -number
            box.wait_for(receivers_waiting=0)
    box.send(b"message")
    assert box.receive() == b"message"


def test_signal_at_any_moment_ends_it_and_takes_nothing(mnt):
    """While it comes, waits, is being answered, or is answered."""
    rng = random.Random(1)
    box = mnt.box()
    box.configure(messages="max")
    n_sent = n_received = 0
    with box.open_recv(os.O_DIRECT) as recv, box.open_send(0) as send:
        for i in range(300):
            reader = Call(on_cpu, CPUS[i % len(CPUS)], recv.read, 100)
            end = time.monotonic() + rng.random() * 0.003
            if i % 2:
                send.write(b"message")
                n_sent += 1
            while time.monotonic() < end:
                pass
            reader.kill(rng.choice([signal.SIGUSR1, signal.SIGKILL]))
            n_received += reader.wait() == 0
        box.wait_for(receivers_waiting=0)
        # A reply that the kernel took for a reader that was dying is the one loss there may be.
        assert box.counts("sent", "messages") == (n_sent, n_sent - box.counts("received")[0])
        assert box.counts("received")[0] >= n_received


# --- processors ---

def hop(box, n):
    """Calls from another processor each time."""
    with box.open_send(0) as send, box.open_recv(os.O_DIRECT) as recv:
        for i in range(n):
            os.sched_setaffinity(0, [CPUS[i % len(CPUS)]])
            send.write(b"message")
            assert recv.read(100) == b"message"


def test_calls_from_everywhere_are_all_answered(mnt):
    n, n_callers = int(12500 / harness.SLOW), 4
    box = mnt.box()
    callers = [Call(hop, box, n) for _ in range(n_callers)]
    for caller in callers:
        caller.result()
    assert box.counts("sent", "received", "messages") == (n * n_callers, n * n_callers, 0)


def test_forks_that_share_a_handle(mnt):
    box = mnt.box()
    box.configure(messages="max")
    with box.open_send(0) as send, box.open_recv(os.O_DIRECT) as recv:
        writers = [Call(on_cpu, CPUS[i % len(CPUS)], send.write, b"%d" % i) for i in range(50)]
        readers = [Call(on_cpu, CPUS[(i + 1) % len(CPUS)], recv.read, 100) for i in range(50)]
        assert {writer.result() for writer in writers} <= {1, 2}
        assert sorted(int(reader.result()) for reader in readers) == list(range(50))


def test_largest_requests_from_all_processors(mnt):
    box = mnt.box()
    box.configure(message_bytes=LARGEST, bytes=64 << 20)
    messages = [bytes([i]) * LARGEST for i in range(20)]
    senders = [Call(on_cpu, CPUS[i % len(CPUS)], send_message, box.send_path, message)
               for i, message in enumerate(messages)]
    readers = [Call(on_cpu, cpu, receive_message, box.recv_path) for cpu in CPUS for _ in range(20 // len(CPUS))]
    assert all(sender.result() == LARGEST for sender in senders)
    received = [reader.result() for reader in readers] + box.drain()
    assert sorted(received) == messages
    with box.open_send() as send, fails_with(errno.EMSGSIZE):
        send.write(bytes(1 << 20))


# --- the end ---

def expect_end(readers, *codes):
    for reader in readers:
        with fails_with(*codes):
            reader.result()


@pytest.fixture
def waiting(own):
    """Readers that wait, on every processor."""
    box = own.box()
    readers = [Call(on_cpu, cpu, receive_message, box.recv_path) for cpu in CPUS for _ in range(5)]
    box.wait_for(receivers_waiting=len(readers))
    return readers


def test_umount_of_a_used_mount_is_refused_and_harms_nobody(own, waiting):
    assert run("umount", own.path).returncode != 0
    box = own.mailbox("box1")
    box.send(*[b"message"] * len(waiting))
    assert {reader.result() for reader in waiting} == {b"message"}
    wait_until(lambda: run("umount", own.path).returncode == 0, "nobody uses it")
    assert own.wait_end() == 0


def test_lazy_umount_lets_those_who_wait_wait_on(own, waiting):
    box = own.mailbox("box1")
    with box.open_send(0) as send:
        assert run("umount", "-l", own.path).returncode == 0
        for _ in waiting:
            send.write(b"message")
        assert {reader.result() for reader in waiting} == {b"message"}
    assert own.wait_end() == 0


def test_sigterm_ends_those_who_wait(own, waiting):
    own.process.terminate()
    expect_end(waiting, errno.EIDRM)
    assert own.wait_end() == 0


def test_death_of_the_daemon_ends_those_who_wait(own, waiting):
    own.expected_status = -signal.SIGKILL
    own.process.kill()
    expect_end(waiting, errno.ECONNABORTED, errno.ENOTCONN)


def test_abort_of_the_connection_ends_all(own, waiting, tmp_path):
    """Every entry comes back with an error."""
    minor = os.minor(os.stat(own.path).st_dev)
    assert run("mount", "-t", "fusectl", "none", tmp_path).returncode == 0
    try:
        with open(tmp_path / str(minor) / "abort", "w", encoding="ascii") as abort:
            abort.write("1")
    finally:
        run("umount", tmp_path)
    expect_end(waiting, errno.ECONNABORTED, errno.ENOTCONN)
    assert own.wait_end() == 0

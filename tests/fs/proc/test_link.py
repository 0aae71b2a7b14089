"""proc/PID/link/PEER: one link between two processes, each end a file."""

import contextlib
import errno
import os
import random
import select
import signal

import pytest

from harness import (ALICE, BOB, PATIENCE, SHELLS, Call, Handle, Peer, become, expect_asleep, fails_with, process_state,
                     run, sh, start_sh, try_open, wait_until)

IN, OUT, ERR, HUP = select.POLLIN, select.POLLOUT, select.POLLERR, select.POLLHUP

EIDRM, EPIPE = errno.EIDRM, errno.EPIPE


# --- what peers do ---

ends = {}


def open_end(proc, peer, flags=os.O_RDWR | os.O_DIRECT):
    ends[peer] = Handle(f"{proc}/self/link/{peer}", flags)


def read_end(peer, size=1 << 20):
    return ends[peer].read(size)


def write_end(peer, data):
    return ends[peer].write(data)


def write_until_full(peer, data=b"x" * 1000):
    ends[peer].set_flags(os.O_NONBLOCK)
    n = 0
    try:
        while True:
            ends[peer].write(data)
            n += 1
    except BlockingIOError:
        return n
    finally:
        ends[peer].set_flags(0)


def poll_end(peer, events=IN | OUT, seconds=0):
    poll = select.poll()
    poll.register(ends[peer].fd, events)
    ready = poll.poll(seconds * 1000)
    return ready[0][1] & (IN | OUT | ERR | HUP) if ready else 0


def close_end(peer):
    ends.pop(peer).close()


def linked(mnt, first, second, flags=os.O_RDWR | os.O_DIRECT):
    first.call(open_end, mnt.proc, second.pid, flags)
    second.call(open_end, mnt.proc, first.pid, flags)


@pytest.fixture
def pair(mnt):
    """Two processes at the ends of a link."""
    first, second = Peer(), Peer()
    linked(mnt, first, second)
    return first, second


# --- talking ---

def test_each_end_reads_what_the_other_wrote(pair):
    first, second = pair
    for data in (b"x", b"two\nlines\n", b"z" * 65536):
        assert first.call(write_end, second.pid, data) == len(data)
        assert second.call(read_end, first.pid) == data
        assert second.call(write_end, first.pid, data) == len(data)
        assert first.call(read_end, second.pid) == data


def chat(proc, peer, n):
    """Reads in a child and writes at the same time, on one descriptor."""
    open_end(proc, peer)
    reader = Call(lambda: [read_end(peer) for _ in range(n)])
    for i in range(n):
        write_end(peer, b"%d" % i)
    return reader.result() == [b"%d" % i for i in range(n)]


def test_both_talk_at_once_over_descriptors_shared_with_children(mnt):
    first, second = Peer(), Peer()
    first.start(chat, mnt.proc, second.pid, 1000)
    second.start(chat, mnt.proc, first.pid, 1000)
    assert first.result() and second.result()


def test_shells_talk(shell, mnt):
    script = ("read -r peer; exec 3<> proc/self/link/$peer; echo to $peer from $$ >&3; read -r line <&3; echo $line")
    first, second = [start_sh(shell, script, cwd=mnt.path, stdin=-1) for _ in range(2)]
    for one, other in ((first, second), (second, first)):
        one.stdin.write(f"{other.pid}\n")
        one.stdin.flush()
    assert first.stdout.readline() == f"to {first.pid} from {second.pid}\n"
    assert second.stdout.readline() == f"to {second.pid} from {first.pid}\n"


def test_as_recv_a_message_is_followed_by_an_end_of_file(mnt):
    first, second = Peer(), Peer()
    linked(mnt, first, second, os.O_RDWR)
    first.call(write_end, second.pid, b"message")
    first.call(write_end, second.pid, b"next")
    assert [second.call(read_end, first.pid, 4) for _ in range(4)] == [b"mess", b"age", b"", b"next"]


def test_packet_that_does_not_fit_stays(pair):
    first, second = pair
    first.call(write_end, second.pid, b"message")
    with fails_with(errno.EMSGSIZE):
        second.call(read_end, first.pid, 3)
    assert second.call(read_end, first.pid) == b"message"


def test_nonblocking_end_does_not_wait(mnt):
    first, second = Peer(), Peer()
    linked(mnt, first, second, os.O_RDWR | os.O_DIRECT | os.O_NONBLOCK)
    with fails_with(errno.EAGAIN):
        first.call(read_end, second.pid)
    with fails_with(errno.EMSGSIZE):
        first.call(write_end, second.pid, b"x" * 65537)
    n = first.call(write_until_full, second.pid)
    assert n == 1024
    assert second.call(read_end, first.pid) == b"x" * 1000
    assert first.call(write_end, second.pid, b"one more") == 8


def test_end_opened_for_one_direction(mnt):
    first, second = Peer(), Peer()
    first.call(open_end, mnt.proc, second.pid, os.O_WRONLY)
    second.call(open_end, mnt.proc, first.pid, os.O_RDONLY | os.O_DIRECT)
    first.call(write_end, second.pid, b"one way")
    assert second.call(read_end, first.pid) == b"one way"
    with fails_with(errno.EBADF):
        second.call(write_end, first.pid, b"x")


def test_same_user_finds_what_was_sent_before_it_opened(mnt):
    first, second = Peer(), Peer()
    first.call(open_end, mnt.proc, second.pid)
    first.call(write_end, second.pid, b"early")
    second.call(open_end, mnt.proc, first.pid)
    assert second.call(read_end, first.pid) == b"early"


def test_there_is_one_link_to_a_pair_however_often_opened(pair, mnt):
    first, second = pair
    n = mnt.metric("ipcfs_links")
    first.call(write_end, second.pid, b"kept")
    for peer, other in ((first, second), (second, first)):
        peer.call(close_end, other.pid)
        peer.call(open_end, mnt.proc, other.pid)
    assert second.call(read_end, first.pid) == b"kept"
    assert mnt.metric("ipcfs_links") == n
    assert first.call(os.listdir, f"{mnt.proc}/self/link") == [str(second.pid)]


def test_links_of_a_process_are_apart(mnt):
    hub, *others = [Peer() for _ in range(6)]
    for other in others:
        linked(mnt, hub, other)
        other.call(write_end, hub.pid, b"from %d" % other.pid)
    for other in others:
        assert hub.call(read_end, other.pid) == b"from %d" % other.pid
    assert set(hub.call(os.listdir, f"{mnt.proc}/self/link")) == {str(other.pid) for other in others}


@pytest.mark.parametrize("wait_events", [IN, OUT])
def test_poll_wakes(pair, wait_events):
    first, second = pair
    assert first.call(poll_end, second.pid) == OUT
    if wait_events == IN:
        first.start(poll_end, second.pid, IN, PATIENCE)
        second.call(write_end, first.pid, b"x")
    else:
        first.call(write_until_full, second.pid)
        assert first.call(poll_end, second.pid) == 0
        first.start(poll_end, second.pid, OUT, PATIENCE)
        expect_asleep(first)
        second.call(read_end, first.pid)
    assert first.result() == wait_events


def test_link_counts_for_the_sender(mount):
    mnt = mount("-o", "max_bytes=64K,uid_bytes=8K")
    first, second = Peer(uid=ALICE), Peer(uid=ALICE)
    linked(mnt, first, second)
    first.call(write_end, second.pid, b"x" * 8000)
    with fails_with(errno.EDQUOT):
        second.call(write_end, first.pid, b"x" * 8000)
    second.call(read_end, first.pid)
    second.call(write_end, first.pid, b"x" * 8000)


# --- who may ---

def test_nobody_else_opens_an_end_not_even_root(mnt, pair):
    first, second = pair
    path = f"{mnt.proc}/{first.pid}/link/{second.pid}"
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        for other in (second, Peer()):
            with fails_with(errno.EACCES):
                other.call(try_open, path, flags)
        with fails_with(errno.EACCES):
            try_open(path, flags)


def test_children_open_their_parents_end(mnt, pair):
    first, second = pair
    second.call(write_end, first.pid, b"for the child")
    path = f"{mnt.proc}/{first.pid}/link/{second.pid}"
    assert first.call(sh, "dash", f"dash -c 'cat {path}; :'; :") == "for the child"


def test_nobody_is_linked_to_itself(mnt):
    peer = Peer()
    with fails_with(errno.EINVAL):
        peer.call(open_end, mnt.proc, peer.pid)


@pytest.mark.parametrize("name", ["0", "x", "-1", "4194305", "999999999999999999999"])
def test_nobody_is_linked_to_what_is_no_process(mnt, name):
    with fails_with(errno.ENOENT):
        try_open(f"{mnt.proc}/self/link/{name}", os.O_RDWR)


def test_link_to_the_dead_is_not_there(mnt):
    peer = Peer()
    os.stat(f"{mnt.proc}/self/link/{peer.pid}")
    peer.kill()
    with fails_with(errno.ENOENT):
        try_open(f"{mnt.proc}/self/link/{peer.pid}", os.O_RDWR)


def test_shell_is_told_that_there_is_no_such_process(shell, mnt):
    for redirection in ("3<>", ">"):
        done = run(*SHELLS[shell], "-c", f"exec {redirection} {mnt.proc}/self/link/4194305")
        assert done.returncode != 0 and ("No such file" in done.stderr or "nonexistent" in done.stderr), done.stderr


def test_nothing_in_link_is_made_or_removed(mnt, pair):
    first, second = pair
    path = f"{mnt.proc}/{first.pid}/link"
    for function, name in [(os.mkdir, "x"), (os.mknod, "x"), (os.unlink, second.pid), (os.rmdir, second.pid)]:
        with fails_with(errno.EPERM, errno.ENOTDIR):
            function(f"{path}/{name}")
    with fails_with(errno.EPERM):
        os.chmod(f"{path}/{second.pid}", 0o666)
    assert oct(os.stat(f"{path}/{second.pid}").st_mode) == "0o100600"
    assert oct(os.stat(path).st_mode) == "0o40500"


def test_different_users_talk_once_both_have_opened(mnt):
    first, second = Peer(uid=ALICE), Peer(uid=BOB)
    first.call(open_end, mnt.proc, second.pid)
    with fails_with(errno.ENXIO):
        first.call(write_end, second.pid, b"too early")
    assert first.call(poll_end, second.pid) == OUT
    second.call(open_end, mnt.proc, first.pid)
    first.call(write_end, second.pid, b"hello")
    second.call(write_end, first.pid, b"hello yourself")
    assert (second.call(read_end, first.pid), first.call(read_end, second.pid)) == (b"hello", b"hello yourself")


def test_root_too_fills_nobodys_end_that_was_never_opened(mnt):
    first, second = Peer(), Peer(uid=ALICE)
    first.call(open_end, mnt.proc, second.pid)
    with fails_with(errno.ENXIO):
        first.call(write_end, second.pid, b"x")


def test_end_that_was_opened_once_is_filled_while_it_is_closed(mnt):
    first, second = Peer(uid=ALICE), Peer(uid=BOB)
    linked(mnt, first, second)
    second.call(close_end, first.pid)
    first.call(write_end, second.pid, b"wait for it")
    second.call(open_end, mnt.proc, first.pid)
    assert second.call(read_end, first.pid) == b"wait for it"


def test_who_becomes_another_user_is_one(mnt):
    first, second = Peer(), Peer()
    first.call(open_end, mnt.proc, second.pid)
    second.call(become, ALICE)
    with fails_with(errno.ENXIO):
        first.call(write_end, second.pid, b"x")
    first.call(become, ALICE)
    assert first.call(write_end, second.pid, b"x") == 1


# --- the end ---

HOW = pytest.mark.parametrize("end", [Peer.kill, lambda peer: peer.start(os._exit, 0)], ids=["SIGKILL", "exit"])


@HOW
def test_who_stays_reads_what_was_sent_and_then_the_end(mnt, pair, end):
    first, second = pair
    first.call(write_end, second.pid, b"one")
    first.call(write_end, second.pid, b"two")
    second.call(write_end, first.pid, b"never read")
    end(first)
    wait_until(lambda: second.call(poll_end, first.pid) == IN | OUT | HUP, "the end is told")
    assert [second.call(read_end, first.pid) for _ in range(4)] == [b"one", b"two", b"", b""]
    with fails_with(EPIPE):
        second.call(write_end, first.pid, b"x")
    assert second.call(os.listdir, f"{mnt.proc}/self/link") == []
    with fails_with(errno.ENOENT):
        second.call(open_end, mnt.proc, first.pid)


def expect_epipe(end):
    with fails_with(EPIPE):
        end.write(b"dead")


def expect_hang_up(end):
    poll = select.poll()
    poll.register(end, IN)
    assert poll.poll(0) == [(end.fd, IN | HUP)]


@pytest.mark.parametrize("look", [
    lambda mnt, peer, end: expect_epipe(end),
    lambda mnt, peer, end: end.read() == b"" or pytest.fail("there was something to read"),
    lambda mnt, peer, end: expect_hang_up(end),
    lambda mnt, peer, end: str(peer) not in os.listdir(f"{mnt.proc}/self/link") or pytest.fail("it is listed"),
], ids=["write", "read", "poll", "list"])
def test_who_has_waited_for_the_others_death_finds_nobody(mnt, look):
    for _ in range(60):
        peer = Peer()
        peer.call(open_end, mnt.proc, os.getpid())
        with Handle(f"{mnt.proc}/self/link/{peer.pid}", os.O_RDWR | os.O_NONBLOCK) as end:
            end.write(b"alive")
            peer.kill()
            look(mnt, peer.pid, end)


def test_nobody_writes_to_the_dead_whoever_they_were(mnt):
    """Not ENXIO, as while the other lives."""
    for _ in range(20):
        peer = Peer(uid=ALICE)
        with Handle(f"{mnt.proc}/self/link/{peer.pid}", os.O_WRONLY) as end:
            peer.kill()
            with fails_with(EPIPE):
                end.write(b"dead")


@HOW
def test_waiting_reader_gets_the_end_of_file(pair, end):
    first, second = pair
    second.start(read_end, first.pid)
    expect_asleep(second)
    end(first)
    assert second.result() == b""


@HOW
def test_waiting_writer_gets_epipe(pair, end):
    first, second = pair
    second.call(write_until_full, first.pid)
    second.start(write_end, first.pid, b"x")
    expect_asleep(second)
    end(first)
    with fails_with(EPIPE):
        second.result()


@HOW
@pytest.mark.parametrize("events", [IN, OUT])
def test_waiting_poller_is_told(pair, end, events):
    first, second = pair
    second.call(write_until_full, first.pid)
    second.start(poll_end, first.pid, events, PATIENCE)
    expect_asleep(second)
    end(first)
    ready = second.result()
    assert ready & events and not ready & ERR
    wait_until(lambda: second.call(poll_end, first.pid) == IN | OUT | HUP, "the hang-up is told")


def child_waits(peer, call, out):
    """A child, which outlives its parent, waits at the end that it inherited, and tells how that ended."""
    child = os.fork()
    if child == 0:
        try:
            outcome = call(peer)
            os.write(out, b"=" + (outcome if isinstance(outcome, bytes) else b""))
        except OSError as error:
            os.write(out, errno.errorcode[error.errno].encode())
        os._exit(0)
    return child


def write_one(peer):
    return b"%d" % write_end(peer, b"x")


def expect_asleep_pid(pid):
    wait_until(lambda: process_state(pid) == "S", lambda: f"{pid} is in state {process_state(pid)}, not S")


@pytest.mark.parametrize("call", [read_end, write_one])
def test_child_at_the_end_of_a_dead_parent_is_told_that_it_is_gone(mnt, call):
    ours, theirs = os.pipe()
    first, second = Peer(), Peer()
    linked(mnt, first, second)
    if call is write_one:
        first.call(write_until_full, second.pid)
    child = first.call(child_waits, second.pid, call, theirs)
    expect_asleep_pid(child)
    first.kill()
    poll = select.poll()
    poll.register(ours, IN)
    assert poll.poll(PATIENCE * 1000), "the child is not told"
    assert os.read(ours, 100) == b"EIDRM"
    os.close(ours)
    os.close(theirs)


def test_interrupted_calls_take_and_leave_nothing(mnt):
    """Killed while it waits to read: the message is the other reader's."""
    first, second = Peer(), Peer()
    linked(mnt, first, second)
    child = second.call(child_waits, first.pid, read_end, 1)
    expect_asleep_pid(child)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: process_state(child) == "Z", "it dies")
    first.call(write_end, second.pid, b"for who lives")
    assert second.call(read_end, first.pid) == b"for who lives"


def test_both_die_at_once(mnt):
    n = mnt.metric("ipcfs_links")
    for _ in range(20):
        first, second = Peer(), Peer()
        linked(mnt, first, second)
        first.call(write_end, second.pid, b"x" * 1000)
        second.start(read_end, first.pid)
        first.process.kill()
        second.process.kill()
    wait_until(lambda: mnt.metric("ipcfs_links") <= n, "the links end")


def test_unmount_ends_waits(mount):
    mnt = mount()
    first, second = Peer(), Peer()
    linked(mnt, first, second)
    first.start(read_end, second.pid)
    expect_asleep(first)
    mnt.process.terminate()
    # An end of file, if the other end was the first to go.
    with contextlib.suppress(OSError):
        assert first.result() == b""
    assert mnt.wait_end() == 0


def test_recycled_pid_inherits_no_link(mnt):
    for _ in range(20):
        first, second = Peer(), Peer()
        linked(mnt, first, second)
        first.call(write_end, second.pid, b"for the dead")
        second.call(write_end, first.pid, b"last words")
        second.kill()
        heir = Peer.with_pid(second.pid)
        if not heir:
            continue
        ends_before = first.call(keep_end, second.pid)
        first.call(open_end, mnt.proc, heir.pid)
        heir.call(open_end, mnt.proc, first.pid)
        first.call(write_end, heir.pid, b"for the heir")
        assert heir.call(read_end, first.pid) == b"for the heir"
        assert first.call(read_end, ends_before) == b"last words"
        assert first.call(read_end, ends_before) == b""
        return
    pytest.skip("no pid came back")


def keep_end(peer):
    """Under another name."""
    ends["kept"] = ends.pop(peer)
    return "kept"


def stat_end(proc, peer):
    os.stat(f"{proc}/self/link/{peer}")


def test_nothing_of_dead_peers_is_kept(mnt):
    """Neither for a link that was closed, nor for one that was only looked at."""
    server = Peer()
    server.call(stat_end, mnt.proc, os.getpid())
    mnt.direct(server.pid).stat()
    n_fds = mnt.n_fds()
    for _ in range(4):
        clients = [Peer() for _ in range(10)]
        for number, client in enumerate(clients):
            if number % 2:
                linked(mnt, server, client)
                client.call(write_end, server.pid, b"request")
                server.call(read_end, client.pid)
                server.call(close_end, client.pid)
            else:
                server.call(stat_end, mnt.proc, client.pid)
        for client in clients:
            client.kill()
    wait_until(lambda: mnt.n_fds() <= n_fds, lambda: f"{mnt.n_fds()} descriptors, before {n_fds}")


# --- many ---

# More take minutes: IPCFS_CROWD=1000 IPCFS_SLOW=20.
N_CROWD = int(os.environ.get("IPCFS_CROWD", "60"))


def pass_on(mnt_path, peers, number):
    """Links up with the peers and with whoever links up with it, and passes on what comes in. Until killed."""
    rng = random.Random(number)
    proc = f"{mnt_path}/proc"
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_DIRECT
    poll = select.poll()
    handles = {}
    pids = {}

    def add(path, how, pid=None):
        with contextlib.suppress(OSError):
            handle = Handle(path, how)
            handles[handle.fd] = handle
            pids[handle.fd] = pid
            poll.register(handle.fd, select.POLLIN)
            return handle

    def drop(handle):
        poll.unregister(handle.fd)
        del handles[handle.fd], pids[handle.fd]
        handle.close()

    def send_on(data):
        handle = rng.choice(list(handles.values()))
        pid = pids[handle.fd]
        try:
            if pid is None or rng.random() < 0.2:
                with Handle(f"{proc}/{pid or rng.choice(peers)}/send", os.O_WRONLY | os.O_NONBLOCK) as send:
                    send.write(data)
            else:
                handle.write(data)
        except OSError as error:
            assert error.errno in (errno.EAGAIN, EPIPE, EIDRM, errno.ENOENT), error

    add(f"{proc}/self/recv", os.O_RDONLY | os.O_NONBLOCK | os.O_DIRECT)
    for peer in peers:
        end = add(f"{proc}/self/link/{peer}", flags, peer)
        if end:
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                end.write(b"x" * rng.randrange(1, 2000))
    while True:
        for fd, events in poll.poll():
            handle = handles[fd]
            try:
                data = handle.read()
            except BlockingIOError:
                continue
            if data:
                send_on(data)
            else:
                assert events & HUP
                drop(handle)
        for name in os.listdir(f"{proc}/self/link"):
            if int(name) not in pids.values():
                add(f"{proc}/self/link/{name}", flags, int(name))


def test_crowd_killed_in_random_order_leaves_nothing(mount):
    mnt = mount()
    n_fds = mnt.n_fds()
    crowd = []
    rng = random.Random(1)
    for number in range(N_CROWD):
        known = [call.pid for call in crowd]
        # Each once: of two files for one end, the second may find that the first has read it all.
        peers = sorted({*known[-2:], *rng.sample(known, min(3, len(known)))})
        crowd.append(Call(pass_on, mnt.path, peers or [os.getpid()], number))
    for call in crowd:
        wait_until(lambda: os.path.exists(f"{mnt.proc}/{call.pid}/stat"), "it is there")
    wait_until(lambda: mnt.metric("ipcfs_links") >= 2 * N_CROWD, lambda: f"links, now {mnt.metric('ipcfs_links')}",
               patience=PATIENCE + N_CROWD / 20)
    rng.shuffle(crowd)
    for call in crowd:
        assert call.poll() is None, "it ended by itself"
        call.kill()
        call.wait()
    wait_until(lambda: mnt.metric("ipcfs_processes") <= 1, lambda: f"{mnt.metric('ipcfs_processes')} go")
    wait_until(lambda: mnt.metric("ipcfs_links") <= 1, lambda: f"{mnt.metric('ipcfs_links')} links go")
    # What is left is this process's own.
    os.listdir(mnt.proc)
    wait_until(lambda: mnt.n_fds() <= n_fds + 1, lambda: f"{mnt.n_fds()} descriptors, before {n_fds}")
    assert set(os.listdir(mnt.proc)) <= {"self", str(os.getpid())}
    mnt.direct("self").drain()
    wait_until(lambda: mnt.metric("ipcfs_used_bytes") == 0, lambda: f"{mnt.metric('ipcfs_used_bytes')} bytes go")


def copy_by_the_kernel(peer):
    """What sendfile and splice say; readahead is silent."""
    fd = ends[peer].fd
    os.posix_fadvise(fd, 0, 1 << 20, os.POSIX_FADV_WILLNEED)
    read_end_of_pipe, write_end_of_pipe = os.pipe()
    said = []
    for copy in (lambda: os.sendfile(write_end_of_pipe, fd, None, 4096), lambda: os.splice(fd, write_end_of_pipe, 4096)):
        try:
            n = copy()
            said.append(os.read(read_end_of_pipe, 4096) if n else b"")
        except OSError as error:
            said.append(errno.errorcode[error.errno])
    os.close(read_end_of_pipe)
    os.close(write_end_of_pipe)
    return said


def test_what_the_kernel_reads_for_its_cache_takes_no_message(mnt):
    """It would be gone, or be shown again: sendfile and splice say EINVAL, upon which programs read; before Linux 6.5 they read."""
    first, second = Peer(), Peer()
    linked(mnt, first, second, os.O_RDWR)
    for i in range(4):
        first.call(write_end, second.pid, b"%d" % i)
    said = second.call(copy_by_the_kernel, first.pid)
    assert b"" not in said
    received = [piece for piece in said if piece != "EINVAL"]
    second.call(set_nonblock, first.pid)
    while len(received) < 4:
        if piece := second.call(read_end, first.pid):
            received.append(piece)
    assert received == [b"%d" % i for i in range(4)]


def set_nonblock(peer):
    ends[peer].set_flags(os.O_NONBLOCK)

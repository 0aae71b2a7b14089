"""proc/: processes that write to each other by pid."""

import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import signal
import struct
import threading

import pytest

from harness import (ALICE, BOB, PATIENCE, Call, Handle, Peer, as_user, become, fails_with, libc, mount_line, run, sh,
                     start, start_sh, try_open, wait_until)

FILES = {"send": 0o200, "send.lines": 0o200, "send.json": 0o200, "recv": 0o400, "recv.lines": 0o400, "recv.json": 0o400, "work": 0o600,
         "drop": 0o300, "call": 0o600, "reply": 0o700,
         "queue": 0o700, "config": 0o644, "stat": 0o444}

EIDRM = errno.EIDRM

IN_DELETE_SELF = 0x400


# --- what peers do ---

opened = {}


def open_as(name, path, flags):
    opened[name] = Handle(path, flags)


def read_from(name):
    return opened[name].read()


def write_to(name, data):
    return opened[name].write(data)


def read_own(mnt_path, name="recv"):
    """Opens it anew, and returns what there is."""
    with Handle(f"{mnt_path}/proc/self/{name}", os.O_RDONLY | os.O_NONBLOCK) as recv:
        return recv.read()


def in_child(function, *args):
    return Call(function, *args).result()


def in_thread(function, *args):
    """In one that is not the main thread."""
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(function(*args)))
    thread.start()
    thread.join()
    return outcome[0]


def listed(mnt):
    return set(os.listdir(mnt.proc)) - {"self"}


def expect_gone(mnt, pid):
    wait_until(lambda: str(pid) not in listed(mnt), f"{pid} leaves proc/")


@pytest.fixture
def peer():
    return Peer()


# --- what is there ---

def test_room_is_nobodys_to_change(mnt):
    assert oct(os.stat(mnt.proc).st_mode) == "0o40555"
    for function, *args in [(os.mkdir, "123"), (os.mkdir, "1"), (os.mkdir, "self"), (os.mknod, "x"), (os.symlink, "x", "y")]:
        with fails_with(errno.EPERM, errno.EEXIST):
            function(*args[:-1], f"{mnt.proc}/{args[-1]}")
    with fails_with(errno.EPERM):
        os.rmdir(f"{mnt.proc}/{os.getpid()}")
    with fails_with(errno.EPERM):
        os.unlink(f"{mnt.proc}/self")


def test_nothing_in_a_process_is_made_removed_or_renamed(mnt, peer):
    path = mnt.direct(peer.pid).path
    for function, *names in [(os.mkdir, "x"), (os.mknod, "x"), (os.unlink, "send"), (os.rmdir, "queue"),
                             (os.rename, "send", "x")]:
        with fails_with(errno.EPERM):
            function(*[f"{path}/{name}" for name in names])


def test_live_process_is_there_without_being_listed(mnt, peer):
    box = mnt.direct(peer.pid)
    for _ in range(2):
        assert set(os.listdir(box.path)) >= set(FILES)
        assert "owner" not in os.listdir(box.path)
        assert {name: oct(os.stat(box.file(name)).st_mode & 0o7777) for name in FILES} == \
            {name: oct(mode) for name, mode in FILES.items()}
    assert oct(os.stat(box.path).st_mode) == "0o40555"
    assert str(peer.pid) not in listed(mnt)


def test_process_has_the_same_inode_numbers_whoever_looks(mnt, peer):
    paths = [mnt.direct(peer.pid).file(name) for name in ("", *FILES)]
    numbers = [os.stat(path).st_ino for path in paths]
    assert numbers == [os.stat(path).st_ino for path in paths]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("use", [
    lambda box: box.send(b"x"), lambda box: box.send(b"x", name="send.9"), lambda box: box.stat(),
    lambda box: os.chmod(box.send_path, 0o222), lambda box: run("cp", "/etc/passwd", f"{box.path}/drop/"),
], ids=["send", "priority", "stat", "chmod", "drop"])
def test_process_in_use_is_listed(mnt, peer, use):
    use(mnt.direct(peer.pid))
    assert str(peer.pid) in listed(mnt)
    peer.kill()
    expect_gone(mnt, peer.pid)


def test_what_failed_to_open_is_not_in_use(mnt, peer):
    with fails_with(errno.EACCES):
        try_open(mnt.direct(peer.pid).recv_path, os.O_RDONLY)
    assert str(peer.pid) not in listed(mnt)


@pytest.mark.parametrize("name", ["0", "00", "-1", "+1", "x", "1x", "01", "4194305", "2147483648", "4294967297",
                                  "18446744073709551617", "99999999999999999999999"])
def test_what_is_no_pid_is_not_there(mnt, name):
    with fails_with(errno.ENOENT):
        os.stat(f"{mnt.proc}/{name}")


def test_leading_zeros_name_nobody(mnt, peer):
    with fails_with(errno.ENOENT):
        os.stat(f"{mnt.proc}/0{peer.pid}")


def test_dead_process_is_not_there(mnt, peer):
    os.stat(mnt.direct(peer.pid).path)
    peer.kill()
    with fails_with(errno.ENOENT):
        os.stat(mnt.direct(peer.pid).path)


def test_zombie_is_not_there(mnt):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    with fails_with(errno.ENOENT):
        os.stat(mnt.direct(child).path)
    os.waitpid(child, 0)


def test_thread_is_no_process(mnt):
    tids = []
    assert in_thread(lambda: tids.append(threading.get_native_id()) or os.path.exists(f"{mnt.proc}/{tids[0]}")) is False


# --- self ---

def test_self_is_who_asks(mnt, peer):
    assert os.readlink(f"{mnt.proc}/self") == str(os.getpid())
    assert peer.call(os.readlink, f"{mnt.proc}/self") == str(peer.pid)
    assert "self" in os.listdir(mnt.proc)
    assert os.path.islink(f"{mnt.proc}/self")


def test_self_of_a_thread_is_its_process(mnt):
    assert in_thread(os.readlink, f"{mnt.proc}/self") == str(os.getpid())


def test_self_of_a_child_is_the_child(mnt):
    child = Call(os.readlink, f"{mnt.proc}/self")
    assert child.result() == str(child.pid)


# --- a mailbox like any other ---

def test_shell_receives_by_itself(shell, mnt):
    receiver = start_sh(shell, "exec 3< proc/self/recv; read -r cmd <&3; echo got $cmd", cwd=mnt.path)
    wait_until(lambda: str(receiver.pid) in listed(mnt), "recv is open")
    sh(shell, f"echo reload > proc/{receiver.pid}/send", cwd=mnt.path)
    assert receiver.output() == "got reload\n"
    expect_gone(mnt, receiver.pid)


def test_envelope_tells_the_sender(mnt, peer):
    box = mnt.direct(peer.pid)
    sender = Call(box.send, b"who am I?")
    sender.result()
    message = json.loads(peer.call(read_own, mnt.path, "recv.json"))
    assert {key: message[key] for key in ("pid", "uid", "gid", "prio", "text")} == \
        {"pid": sender.pid, "uid": 0, "gid": 0, "prio": 0, "text": "who am I?"}


def test_lines_priorities_and_drop(mnt, peer, tmp_path):
    box = mnt.direct(peer.pid)
    (tmp_path / "file").write_bytes(b"z" * 100_000)
    sh("dash", f"printf '%s\\n' red green > {box.file('send.lines')}; echo stop > {box.file('send.9')}; "
       f"cp {tmp_path}/file {box.file('drop')}")
    assert [peer.call(read_own, mnt.path) for _ in range(4)] == [b"stop\n", b"red", b"green", b"z" * 100_000]
    with fails_with(errno.EAGAIN):
        peer.call(read_own, mnt.path)


def list_queue(path):
    return {name: os.stat(f"{path}/{name}").st_size for name in os.listdir(path)}


def move_first(path, to):
    name = os.listdir(path)[0]
    os.rename(f"{path}/{name}", f"{to}/{name}")


def test_queue_is_looked_at_and_picked_from(mnt, peer, box):
    own = f"{mnt.proc}/self/queue"
    mnt.direct(peer.pid).send(b"one", b"to be moved")
    sizes = peer.call(list_queue, own)
    assert list(sizes.values()) == [3, 11]
    peer.call(os.unlink, f"{own}/{next(iter(sizes))}")
    peer.call(move_first, own, box.file("queue"))
    assert box.receive() == b"to be moved"
    assert peer.call(list_queue, own) == {}


def test_message_moved_to_a_process_stays_with_it(mnt, peer, box):
    """Also when that is the first thing ever done with its directory."""
    box.send(b"moved here")
    peer.call(move_first, box.file("queue"), f"{mnt.proc}/self/queue")
    assert str(peer.pid) in listed(mnt)
    # The kernel forgets it if it was only looked at.
    for other in [Peer() for _ in range(20)]:
        os.stat(mnt.direct(other.pid).path)
    assert peer.call(read_own, mnt.path) == b"moved here"


def test_config_and_packets(mnt, peer):
    box = mnt.direct(peer.pid)
    box.configure(messages=2, overflow="reject")
    box.send(b"one", b"two")
    with fails_with(errno.ENOBUFS):
        box.send(b"three")
    peer.call(open_as, "recv", f"{mnt.proc}/self/recv", os.O_RDONLY | os.O_DIRECT)
    assert [peer.call(read_from, "recv") for _ in range(2)] == [b"one", b"two"]
    assert box.counts("messages", "received", "rejected", "owner_pid") == (0, 2, 1, 0)


def test_full_makes_wait(mnt, peer):
    box = mnt.direct(peer.pid)
    box.fill(b"first")
    sender = box.start_send(b"second")
    box.wait_for(senders_waiting=1)
    with fails_with(errno.EAGAIN):
        box.send(b"third")
    assert peer.call(read_own, mnt.path) == b"first"
    assert sender.result() == 6
    assert peer.call(read_own, mnt.path) == b"second"


def test_process_may_send_to_itself(mnt, peer):
    peer.call(mnt.direct("self").send, b"note")
    assert peer.call(read_own, mnt.path) == b"note"


def test_poll_tells_when_there_is_a_message(mnt, peer):
    def wait_and_read(path):
        with Handle(path, os.O_RDONLY | os.O_NONBLOCK) as recv:
            poll = select.poll()
            poll.register(recv.fd, select.POLLIN)
            assert poll.poll(PATIENCE * 1000)
            return recv.read()
    reader = Call(wait_and_read, f"{mnt.proc}/self/recv")
    wait_until(lambda: str(reader.pid) in listed(mnt), "recv is open")
    mnt.direct(reader.pid).send(b"now")
    assert reader.result() == b"now"


def test_queue_of_a_process_counts_for_the_quota(mount):
    mnt = mount("-o", "max_bytes=4K,uid_bytes=1K")
    peer = Peer(uid=ALICE)
    box = mnt.direct(peer.pid)
    as_user(ALICE, box.send, b"x" * 1000)
    with fails_with(errno.EDQUOT):
        as_user(ALICE, box.send, b"x" * 100)
    peer.kill()
    expect_gone(mnt, peer.pid)
    again = Peer(uid=ALICE)
    as_user(ALICE, mnt.direct(again.pid).send, b"x" * 1000)


# --- who may receive ---

RECEIVING = ["recv", "recv.lines", "recv.json", "queue"]


def look(path):
    """Opens what it is told, a directory too."""
    if os.path.isdir(path):
        os.listdir(path)
    else:
        try_open(path, os.O_RDONLY)


@pytest.mark.parametrize("name", RECEIVING)
def test_nobody_else_receives_not_even_root_or_the_parent(mnt, peer, name):
    with fails_with(errno.EACCES):
        look(mnt.direct(peer.pid).file(name))
    other = Peer()
    with fails_with(errno.EACCES):
        other.call(look, mnt.direct(peer.pid).file(name))


@pytest.mark.parametrize("name", RECEIVING)
def test_children_and_threads_receive(mnt, peer, name):
    path = mnt.direct(peer.pid).file(name)
    peer.call(look, path)
    peer.call(in_thread, look, path)
    peer.call(in_child, look, path)
    peer.call(in_child, in_child, in_thread, look, path)


def test_child_receives_after_an_exec(mnt, peer):
    mnt.direct(peer.pid).send(b"for the family\n")
    assert peer.call(sh, "dash", f"dash -c 'cat {mnt.direct(peer.pid).recv_path}; :'; :") == "for the family\n"


def test_process_that_execs_stays_itself(mnt):
    box_of = f"{mnt.proc}/$$"
    first = start("dash", "-c", f"exec 3< {box_of}/recv; exec dash -c 'read -r line <&3; echo $line; cat {box_of}/recv'")
    box = mnt.direct(first.pid)
    box.wait_for(receivers_waiting=1)
    box.send(b"one\n")
    box.wait_for(receivers_waiting=1)
    box.send(b"two\n")
    assert first.output() == "one\ntwo\n"


def test_message_stays_over_an_exec(mnt):
    first = start("dash", "-c", f"exec 3< {mnt.proc}/self/recv; exec 3<&-; read go; exec cat {mnt.proc}/self/recv",
                  stdin=-1)
    box = mnt.direct(first.pid)
    wait_until(lambda: str(first.pid) in listed(mnt), "recv was open")
    box.send(b"kept\n")
    first.stdin.write("\n")
    first.stdin.close()
    first.stdin = None
    assert first.output() == "kept\n"


def fork_orphan(path):
    """A grandchild that receives, after its parent, who opened for it, has died; its pid."""
    reader, writer = os.pipe()
    recv = Handle(path, os.O_RDONLY)
    child = os.fork()
    if child == 0:
        parent = os.getpid()
        if os.fork() == 0:
            wait_until(lambda: os.getppid() != parent, "the parent dies")
            os.write(writer, recv.read())
            os._exit(0)
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    return os.read(reader, 100)


def test_orphan_goes_on_reading_what_it_inherited(mnt, peer):
    peer.start(fork_orphan, f"{mnt.proc}/self/recv")
    box = mnt.direct(peer.pid)
    box.wait_for(receivers_waiting=1)
    box.send(b"for an orphan")
    assert peer.result() == b"for an orphan"


@pytest.mark.parametrize("name, ends", [("recv", b"EIDRM"), ("recv.lines", b""), ("recv.json", b"")])
def test_child_does_not_inherit_the_directory_of_a_dead_parent(mnt, name, ends):
    results = os.pipe()

    def die_with_a_reader():
        recv = Handle(f"{mnt.proc}/self/{name}", os.O_RDONLY)
        if os.fork() == 0:
            try:
                outcome = recv.read()
            except OSError as error:
                outcome = errno.errorcode[error.errno].encode()
            os.write(results[1], b"=" + outcome)
            os._exit(0)
        signal.pause()

    parent = Call(die_with_a_reader)
    box = mnt.direct(parent.pid)
    wait_until(lambda: str(parent.pid) in listed(mnt), "recv is open")
    box.wait_for(receivers_waiting=1)
    parent.kill()
    parent.wait()
    poll = select.poll()
    poll.register(results[0], select.POLLIN)
    assert poll.poll(PATIENCE * 1000)
    assert os.read(results[0], 100) == b"=" + ends
    for fd in results:
        os.close(fd)


# --- other users ---

def test_directory_belongs_to_the_process_user(mnt):
    peer = Peer(uid=ALICE, gid=BOB)
    box = mnt.direct(peer.pid)
    assert {(os.stat(box.file(name)).st_uid, os.stat(box.file(name)).st_gid) for name in ("", *FILES)} == {(ALICE, BOB)}


def test_same_user_may_send_others_not_until_chmod(mnt):
    peer = Peer(uid=ALICE)
    box = mnt.direct(peer.pid)
    as_user(ALICE, box.send, b"from alice")
    with fails_with(errno.EACCES):
        as_user(BOB, box.send, b"from bob")
    with fails_with(errno.EPERM):
        as_user(BOB, os.chmod, box.send_path, 0o222)
    peer.call(os.chmod, f"{mnt.proc}/self/send", 0o222)
    as_user(BOB, box.send, b"from bob")
    assert [peer.call(read_own, mnt.path) for _ in range(2)] == [b"from alice", b"from bob"]


def test_send_may_be_a_groups(mnt):
    peer = Peer(uid=ALICE, groups=[BOB])
    box = mnt.direct(peer.pid)
    peer.call(os.chown, f"{mnt.proc}/self/send", -1, BOB)
    peer.call(os.chmod, f"{mnt.proc}/self/send", 0o220)
    as_user(BOB, box.send, b"from the group")
    assert os.stat(box.send_path).st_gid == BOB


def test_chmod_lives_as_long_as_the_process(mnt):
    peer = Peer(uid=ALICE)
    box = mnt.direct(peer.pid)
    peer.call(os.chmod, f"{mnt.proc}/self/send", 0o222)
    assert oct(os.stat(box.send_path).st_mode) == "0o100222"
    assert oct(as_user(BOB, os.stat, box.send_path).st_mode) == "0o100222"


@pytest.mark.parametrize("name", ["recv", "recv.lines", "recv.json", "queue", "send", "drop"])
def test_other_user_is_refused_by_the_mode(mnt, name):
    peer = Peer(uid=ALICE)
    with fails_with(errno.EACCES):
        as_user(BOB, look, mnt.direct(peer.pid).file(name))


def test_opening_recv_to_others_is_of_no_use(mnt):
    peer = Peer(uid=ALICE)
    peer.call(os.chmod, f"{mnt.proc}/self/recv", 0o444)
    with fails_with(errno.EACCES):
        as_user(BOB, look, mnt.direct(peer.pid).recv_path)


def test_directory_follows_setuid(mnt):
    peer = Peer()
    box = mnt.direct(peer.pid)
    box.send(b"from root")
    peer.call(os.chmod, f"{mnt.proc}/self/send.lines", 0o222)
    peer.call(open_as, "recv", f"{mnt.proc}/self/recv", os.O_RDONLY | os.O_NONBLOCK | os.O_DIRECT)
    with box.open_send() as held:
        peer.call(become, ALICE)
        assert {(os.stat(box.file(name)).st_uid, os.stat(box.file(name)).st_gid) for name in ("", *FILES)} == \
            {(ALICE, ALICE)}
        assert oct(os.stat(box.file("send.lines")).st_mode) == "0o100222"
        held.write(b"from who held it")
    as_user(ALICE, box.send, b"from alice")
    with fails_with(errno.EACCES):
        as_user(BOB, box.send, b"from bob")
    assert peer.call(read_own, mnt.path) == b"from root"
    assert peer.call(read_from, "recv") == b"from who held it"
    assert peer.call(read_own, mnt.path) == b"from alice"


def test_setuid_leaves_a_group_that_was_given(mnt):
    peer = Peer()
    box = mnt.direct(peer.pid)
    peer.call(os.chown, f"{mnt.proc}/self/send", -1, BOB)
    peer.call(os.seteuid, ALICE)
    assert (os.stat(box.send_path).st_uid, os.stat(box.send_path).st_gid) == (ALICE, BOB)
    peer.call(os.seteuid, 0)
    assert (os.stat(box.send_path).st_uid, os.stat(box.send_path).st_gid) == (0, BOB)


# --- pid namespaces ---

def test_caller_in_a_namespace_that_is_in_sight_goes_by_the_pid_outside(mnt):
    inside = start("unshare", "--pid", "--fork", "--kill-child", "dash", "-c",
                   f"readlink {mnt.proc}/self; exec 3< {mnt.proc}/self/recv; read -r line <&3; echo $line; :")
    wait_until(lambda: listed(mnt), "it receives")
    pid, = listed(mnt)
    mnt.direct(pid).wait_for(receivers_waiting=1)
    mnt.direct(pid).send(b"hello inside\n")
    first, second = inside.output().splitlines()
    # readlink is the shell's child.
    assert int(first) != int(pid) != 1
    assert second == "hello inside"


def test_caller_that_is_not_in_sight_is_told(tmp_path):
    """The daemon is in a pid namespace of its own, the callers are outside."""
    point = tmp_path / "mnt"
    point.mkdir()
    daemon = start("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                   os.environ["IPCFS"], "-f", point)
    def root():
        for child in open(f"/proc/{daemon.pid}/task/{daemon.pid}/children", encoding="ascii").read().split():
            with open(f"/proc/{child}/mountinfo", encoding="utf-8") as lines:
                if any(line.split()[4] == str(point) for line in lines):
                    return f"/proc/{child}/root{point}"
        return None
    path = wait_until(root, "it mounts")
    for function in (os.readlink, os.stat, os.listdir):
        with fails_with(errno.ESRCH):
            function(f"{path}/proc/self")
    assert os.listdir(f"{path}/proc") == ["self"]
    with Handle(f"{path}/proc/1/send", os.O_WRONLY) as send:
        send.write(b"to the daemon")
    with fails_with(errno.EACCES):
        try_open(f"{path}/proc/1/recv", os.O_RDONLY)


# --- the end ---

ENDS = pytest.mark.parametrize("end", [
    lambda peer: peer.kill(), lambda peer: peer.kill(signal.SIGTERM), lambda peer: peer.start(os._exit, 0),
    lambda peer: peer.start(os.execvp, "true", ["true"]),
], ids=["SIGKILL", "SIGTERM", "exit", "exec"])


@ENDS
def test_end_of_a_process_is_the_end_of_its_directory(mnt, peer, end):
    box = mnt.direct(peer.pid)
    box.send(b"never read")
    with box.open_send(0) as send, box.open_send(0, "send.lines") as lines, Handle(box.stat_path, os.O_RDONLY) as stat:
        end(peer)
        expect_gone(mnt, peer.pid)
        for handle in (send, lines):
            with fails_with(EIDRM):
                handle.write(b"x\n")
        with fails_with(EIDRM):
            stat.read()
        for name in ("", *FILES):
            with fails_with(errno.ENOENT):
                os.stat(box.file(name))


def expect_eidrm(function, *args):
    with fails_with(EIDRM):
        function(*args)


def poll_now(file, events):
    poll = select.poll()
    poll.register(file, events)
    ready = poll.poll(0)
    return ready[0][1] if ready else 0


@pytest.mark.parametrize("look", [
    lambda mnt, pid, send: expect_eidrm(send.write, b"x"),
    lambda mnt, pid, send: poll_now(send, 0) & select.POLLHUP or pytest.fail("no POLLHUP"),
    lambda mnt, pid, send: str(pid) not in listed(mnt) or pytest.fail("it is listed"),
], ids=["write", "poll", "list"])
def test_who_has_waited_for_its_death_finds_it_gone(mnt, look):
    for _ in range(60):
        peer = Peer()
        with mnt.direct(peer.pid).open_send() as send:
            peer.kill()
            look(mnt, peer.pid, send)


def test_waiting_senders_are_told(mnt, peer):
    box = mnt.direct(peer.pid)
    box.fill()
    senders = [box.start_send(b"x", name) for name in ("send", "send.3", "send.lines")]
    senders.append(Call(run, "cp", "/etc/passwd", box.file("drop")))
    box.wait_for(senders_waiting=4)
    peer.kill()
    for sender in senders[:3]:
        with fails_with(EIDRM):
            sender.result()
    assert "Identifier removed" in senders[3].result().stderr


def test_pollers_are_told(mnt, peer):
    box = mnt.direct(peer.pid)
    box.fill()
    with box.open_send() as send:
        poll = select.poll()
        poll.register(send.fd, select.POLLOUT)
        assert poll.poll(0) == []
        peer.kill()
        assert poll.poll(PATIENCE * 1000)[0][1] & (select.POLLERR | select.POLLHUP) == select.POLLERR | select.POLLHUP


def test_inotify_tells(mnt, peer):
    box = mnt.direct(peer.pid)
    box.stat()
    fd = libc.inotify_init1(os.O_CLOEXEC)
    assert libc.inotify_add_watch(fd, ctypes.c_char_p(box.path.encode()), IN_DELETE_SELF) > 0
    peer.kill()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(PATIENCE * 1000)
    assert struct.unpack_from("iI", os.read(fd, 1024))[1] == IN_DELETE_SELF
    os.close(fd)


def test_directory_of_the_dead_is_not_found_by_who_stands_in_it(mnt, peer):
    box = mnt.direct(peer.pid)
    box.stat()
    here = start("dash", "-c", f"cd {box.path}; echo; read go; ls send", stdin=-1)
    here.stdout.readline()
    peer.kill()
    expect_gone(mnt, peer.pid)
    out, err = here.communicate("\n", timeout=PATIENCE)
    assert (out, here.returncode) == ("", 2) and "No such file" in err


def test_process_ends_when_its_last_thread_does(mnt):
    """The main thread may be gone before: then the process lives on."""
    go, told = os.pipe(), os.pipe()

    def leave_main_thread():
        def rest():
            os.write(told[1], b"x")
            os.read(go[0], 1)
            with Handle(f"{mnt.proc}/self/recv", os.O_RDONLY) as recv:
                os.write(told[1], recv.read())
            os.read(go[0], 1)
            os._exit(0)
        threading.Thread(target=rest).start()
        libc.syscall(60, 0)  # exit of this thread alone

    process = Call(leave_main_thread)
    os.read(told[0], 1)
    box = mnt.direct(process.pid)
    wait_until(lambda: open(f"/proc/{process.pid}/status", encoding="utf-8").read().find("Z (zombie)") > 0, "half dead")
    box.send(b"still there")
    os.write(go[1], b"x")
    assert os.read(told[0], 100) == b"still there"
    os.write(go[1], b"x")
    expect_gone(mnt, process.pid)
    for fd in (*go, *told):
        os.close(fd)


def test_recycled_pid_inherits_nothing(mnt):
    for _ in range(20):
        peer = Peer()
        box = mnt.direct(peer.pid)
        box.configure(messages=7)
        box.send(b"for the dead")
        os.chmod(box.send_path, 0o222)
        with box.open_send() as held:
            number = os.fstat(held.fd).st_ino
            peer.kill()
            heir = Peer.with_pid(peer.pid)
            if not heir:
                continue
            assert oct(os.stat(box.send_path).st_mode) == "0o100200"
            assert os.stat(box.send_path).st_ino == number
            assert box.config()["messages"] == "1024"
            with fails_with(EIDRM):
                held.write(b"for the dead, too")
            with fails_with(errno.EAGAIN):
                heir.call(read_own, mnt.path)
            box.send(b"for the heir")
            assert heir.call(read_own, mnt.path) == b"for the heir"
            return
    pytest.skip("no pid came back")


def use_and_exit(path, others):
    """Some of the others end at the same moment."""
    box = f"{path}/proc/self"
    for other in others:
        for name in ("send", "send.3", "queue", f"link/{os.getpid()}"):
            with contextlib.suppress(FileNotFoundError):
                os.stat(f"{path}/proc/{other}/{name}")
    with Handle(f"{box}/send", os.O_WRONLY) as send:
        send.write(b"x" * 1000)
    with Handle(f"{box}/recv", os.O_RDONLY):
        os.listdir(f"{box}/queue")


def test_many_processes_leave_nothing(mnt):
    n_before = mnt.n_fds()
    for _ in range(30):
        calls = []
        for _ in range(20):
            calls.append(Call(use_and_exit, mnt.path, [call.pid for call in calls[-3:]]))
        for call in calls:
            call.result()
            call.destroy()
    wait_until(lambda: not listed(mnt), lambda: f"{listed(mnt)} go")
    wait_until(lambda: mnt.n_fds() <= n_before, lambda: f"{mnt.n_fds()} descriptors, before {n_before}")


def test_dead_cost_no_descriptor_while_somebody_holds_their_files(mnt, peer):
    holder = Peer()
    mnt.direct(holder.pid).stat()
    n_before = mnt.n_fds()
    path = mnt.direct(peer.pid).path
    holder.call(open_as, "send", f"{path}/send", os.O_WRONLY)
    holder.call(open_as, "end", f"{mnt.proc}/self/link/{peer.pid}", os.O_RDWR)
    holder.call(open_as, "directory", path, os.O_PATH)
    peer.kill()
    wait_until(lambda: mnt.n_fds() <= n_before, lambda: f"{mnt.n_fds()} descriptors, before {n_before}")


def test_looking_costs_little_however_many_are_looked_at(mnt):
    peers = [Peer() for _ in range(40)]
    n_before = mnt.n_fds()
    for peer in peers:
        os.stat(mnt.direct(peer.pid).recv_path)
    assert not listed(mnt)
    wait_until(lambda: mnt.n_fds() <= n_before + 16, lambda: f"{mnt.n_fds()} descriptors, before {n_before}")
    for peer in peers:
        peer.kill()
    wait_until(lambda: mnt.n_fds() <= n_before, lambda: f"{mnt.n_fds()} descriptors, before {n_before}")


def test_directory_that_was_forgotten_is_found_again(mnt, peer):
    here = os.open(mnt.direct(peer.pid).path, os.O_PATH)
    others = [Peer() for _ in range(20)]
    for other in others:
        os.stat(mnt.direct(other.pid).path)
    fd = os.open("send", os.O_WRONLY, dir_fd=here)
    os.write(fd, b"one")
    mnt.direct(peer.pid).send(b"two")
    assert [peer.call(read_own, mnt.path) for _ in range(2)] == [b"one", b"two"]
    os.close(fd)
    os.close(here)


def test_daemon_may_open_as_many_files_as_it_is_let(mnt):
    soft, hard = resource.prlimit(mnt.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


def send_in_thread(path):
    with Handle(path, os.O_WRONLY) as send:
        in_thread(send.write, b"from a thread")


def use_new_peer(mnt):
    peer = Peer()
    mnt.direct(peer.pid).stat()
    return peer


def claim(box):
    return Handle(box.file("owner"), os.O_WRONLY)


@pytest.mark.parametrize("keep", [
    lambda mnt, number: use_new_peer(mnt),
    lambda mnt, number: os.close(os.open(f"{mnt.path}/shm/{number}", os.O_CREAT | os.O_RDWR)),
    lambda mnt, number: os.mkdir(f"{mnt.path}/ring/{number}"),
    lambda mnt, number: claim(mnt.box()),
], ids=["processes", "regions", "rings", "owners"])
def test_daemon_that_may_keep_no_more_files_still_knows_who_asks(mount, keep):
    mnt = mount()
    peer = Peer()
    box = mnt.direct(peer.pid)
    box.stat()
    resource.prlimit(mnt.pid, resource.RLIMIT_NOFILE, (40, 40))
    kept = []
    with fails_with(errno.ENFILE):
        for number in range(40):
            kept.append(keep(mnt, number))
    assert len(kept) > 10
    send_in_thread(box.send_path)
    assert json.loads(peer.call(read_own, mnt.path, "recv.json"))["pid"] == os.getpid()
    peer.call(in_child, look, box.recv_path)
    peer.call(in_thread, look, box.recv_path)
    for handle in kept:
        if isinstance(handle, Handle):
            handle.close()


def test_unmount_ends_those_who_wait(mount):
    mnt = mount()
    peer = Peer()
    peer.call(open_as, "recv", f"{mnt.proc}/self/recv", os.O_RDONLY)
    peer.start(read_from, "recv")
    mnt.direct(peer.pid).wait_for(receivers_waiting=1)
    mnt.process.terminate()
    with fails_with(EIDRM, errno.ENOTCONN, errno.ECONNABORTED):
        peer.result()
    assert mnt.wait_end() == 0
    assert not mount_line(mnt.path)

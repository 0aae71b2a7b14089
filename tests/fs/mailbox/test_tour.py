"""What README's tour shows, typed as users type it: lines, envelopes, whole files, a look into the
queue, owners, and what goes on in the mount."""

import base64
import errno
import json
import os
import re
import select
import signal
import threading

import pytest

from harness import (SHELLS, Call, Handle, as_user, expect_asleep, fails_with, run, send_message, sh,
                     start, start_sh, try_open, wait_until)

NOBODY = 65534


@pytest.fixture(params=SHELLS)
def shell(request):
    return request.param


def ids_of(box):
    return sorted(os.listdir(box.file("queue")))


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


# --- lines ---

def test_each_line_is_a_message(shell, box):
    sh(shell, f"printf '%s\\n' red green '' blue > {box.file('send.lines')}")
    assert box.drain() == [b"red", b"green", b"", b"blue"]


def test_rest_without_newline_is_sent_at_close(shell, box):
    sh(shell, f"(printf 'one\\nhalf'; printf ' a line') > {box.file('send.lines')}")
    assert box.drain() == [b"one", b"half a line"]


def test_rest_stays_while_the_shell_has_the_file_open(shell, box):
    sh(shell, f"exec 3> {box.file('send.lines')}; printf 'a' >&3; printf ' line\\nrest' >&3; cat /proc/version > /dev/null")
    wait_until(lambda: box.stat()["messages"] == 2, "the rest is sent")
    assert box.drain() == [b"a line", b"rest"]


def test_rest_that_a_child_leaves_is_sent_when_it_closes(box):
    with Handle(box.file("send.lines"), os.O_WRONLY) as lines:
        Call(lines.write, b"from a child").result()
        assert box.drain() == []
    wait_until(lambda: box.stat()["messages"] == 1, "the rest is sent")
    assert box.receive() == b"from a child"


def test_loop_reads_line_by_line(shell, box):
    box.send(b"one", b"two\n", b"last")
    script = f"while IFS= read -r m; do echo \"<$m>\"; [ \"$m\" = last ] && break; done < {box.file('recv.lines')}"
    assert sh(shell, script) == "<one>\n<two>\n<last>\n"


def test_grep_filters_a_stream_while_it_flows(shell, box):
    reader = start_sh(shell, f"cat {box.file('recv.lines')} | grep --line-buffered -m 2 o")
    box.wait_for(receivers_waiting=1)
    for message in (b"one", b"nix", b"two"):
        box.send(message)
    # grep ends at its second line; cat notices when it writes again.
    wait_until(lambda: reader.poll() is not None or box.send(b"o") or False, "the pipe breaks")
    assert reader.output().startswith("one\n")


def test_tail_feeds_a_mailbox(shell, box, tmp_path):
    log = tmp_path / "log"
    log.write_text("old\n")
    start_sh(shell, f"exec tail -F {log} > {box.file('send.lines')}")
    with log.open("a") as file:
        file.write("new\n")
    assert box.take(2) == [b"old", b"new"]


@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 4097, 65535, 65536])
def test_lines_of_every_length_arrive_whole(box, length):
    line = b"x" * length
    box.send(line + b"\n" + b"after\n", name="send.lines")
    with box.open_recv(name="recv.lines") as lines:
        got = b""
        while not got.endswith(b"after\n"):
            got += lines.read(4096)
    assert got == line + b"\nafter\n"


def test_line_too_long_is_refused_and_those_before_are_sent(box):
    box.configure(message_bytes=8)
    with box.open_send(name="send.lines") as lines:
        assert lines.write(b"short\nmuch too long\nnext\n") == len(b"short\n")
        with fails_with(errno.EMSGSIZE):
            lines.write(b"much too long\nnext\n")
        assert lines.write(b"next\n") == 5
    assert box.drain() == [b"short", b"next"]


def test_line_that_grows_too_long_is_refused_whole(box):
    box.configure(message_bytes=8)
    with box.open_send(name="send.lines") as lines:
        assert lines.write(b"12345678") == 8
        with fails_with(errno.EMSGSIZE):
            lines.write(b"9")
        lines.write(b"rest of it\nnext\n")
    assert box.drain() == [b"next"]


def test_write_of_many_lines_waits_and_goes_on(box):
    box.configure(messages=3)
    text = b"".join(b"%d\n" % i for i in range(100))
    writer = Call(send_message, box.file("send.lines"), text)
    box.wait_for(senders_waiting=1)
    expect_asleep(writer)
    assert box.take(100) == text.split()
    assert writer.result() == len(text)


def test_write_of_many_lines_that_may_not_wait_is_short(box):
    box.configure(messages=2)
    with box.open_send(name="send.lines") as lines:
        assert lines.write(b"a\nb\nc\n") == 4
        with fails_with(errno.EAGAIN):
            lines.write(b"c\n")


def test_killed_write_of_many_lines_has_sent_those_before(box):
    box.configure(messages=2)
    writer = Call(send_message, box.file("send.lines"), b"a\nb\nc\nd\n")
    box.wait_for(senders_waiting=1)
    writer.kill()
    assert writer.wait() == -signal.SIGKILL
    box.wait_for(senders_waiting=0)
    assert box.drain() == [b"a", b"b"]


def test_read_takes_what_it_can_carry_and_no_more(box):
    box.send(b"aa", b"bb", b"cc")
    with box.open_recv(name="recv.lines") as lines:
        assert lines.read(7) == b"aa\nbb\n"
    assert box.drain() == [b"cc"]


def test_million_lines_cost_few_calls(box):
    box.configure(messages="max")
    n = 1_000_000
    text = b"".join(b"%d\n" % i for i in range(n))
    n_writes = n_reads = 0
    with box.open_send(name="send.lines") as send, box.open_recv(name="recv.lines") as recv:
        received = []
        sent = n_received = 0
        while n_received < len(text):
            if sent < len(text):
                sent += send.write(text[sent:sent + (1 << 20)])
                n_writes += 1
            received.append(recv.read(1 << 20))
            n_received += len(received[-1])
            n_reads += 1
    assert b"".join(received) == text
    assert n_writes + n_reads < 200


def test_streams_end_with_their_mailbox(mnt):
    box = mnt.box()
    readers = [start("cat", box.file(name)) for name in ("recv.lines", "recv.json")]
    box.wait_for(receivers_waiting=2)
    os.rmdir(box.path)
    for reader in readers:
        assert reader.output() == ""
        assert reader.returncode == 0


# --- envelopes ---

def envelope(box):
    with box.open_recv(name="recv.json") as stream:
        return json.loads(stream.read())


def test_envelope_tells_who_sent_what(box):
    os.chmod(box.send_path, 0o222)
    sender = Call(send_message, box.file("send.7"), b"hello", uid=12345)
    sender.result()
    told = envelope(box)
    assert set(told) == {"id", "time", "pid", "uid", "gid", "prio", "size", "text"}
    assert (told["pid"], told["uid"], told["gid"], told["prio"], told["size"], told["text"]) == (
        sender.pid, 12345, 12345, 7, 5, "hello")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", told["time"])


def test_envelope_names_the_process_of_a_thread(box):
    def send_in_thread():
        thread = threading.Thread(target=send_message, args=(box.send_path, b"x"))
        thread.start()
        thread.join()
    sender = Call(send_in_thread)
    sender.result()
    assert envelope(box)["pid"] == sender.pid


def test_envelope_names_the_child_that_wrote(box):
    with box.open_send() as send:
        child = Call(send.write, b"x")
        child.result()
    assert envelope(box)["pid"] == child.pid


@pytest.mark.parametrize("body", [b"\xff", b"\xc3", b"ab\xe2\x82", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80",
                                  bytes(range(256)), b"\xff\xfe", b"\xff\xfe\xfd"])
def test_what_is_no_utf8_is_in_base64(box, body):
    box.send(body)
    told = envelope(box)
    assert "text" not in told
    assert base64.b64decode(told["base64"], validate=True) == body


@pytest.mark.parametrize("body", ["plain", "quote\" back\\slash", "nul\0byte", "new\nline\ttab\x01\x1f\x7f", "äöü €",
                                  "\U0001f600", "\u2028"])
def test_what_is_utf8_is_text(box, body):
    box.send(body.encode())
    told = envelope(box)
    assert told["text"] == body and "base64" not in told


def test_jq_reads_the_stream(shell, box):
    box.send(b"one", b"two")
    assert sh(shell, f"head -n 2 {box.file('recv.json')} | jq -r .text") == "one\ntwo\n"


# --- whole files ---

@pytest.mark.parametrize("size", [1, 65536, 65537, 5 << 20])
def test_file_copied_in_is_one_message(shell, box, tmp_path, size):
    file = tmp_path / "file"
    file.write_bytes(os.urandom(size))
    sh(shell, f"cp {file} {box.file('drop')}/")
    assert box.stat()["messages"] == 1
    assert sh(shell, f"cat {box.recv_path} | cmp - {file} && echo same") == "same\n"


def test_many_writes_are_one_message(shell, box):
    sh(shell, f"{{ echo one; cat /proc/version > /dev/null; echo two; }} > {box.file('drop/x')}")
    assert box.drain() == [b"one\ntwo\n"]


def test_exec_that_closes_the_file_goes_on(box):
    """The kernel holds locks of the process meanwhile, which /proc wants too."""
    script = (f"import os\nf = os.open({box.file('drop/x')!r}, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)\n"
              "os.write(f, b'whole')\nos.execv('/bin/true', ['true'])\n")
    assert run("/usr/bin/python3", "-c", script).returncode == 0
    assert box.take(1) == [b"whole"]


def test_empty_file_is_not_sent(shell, box):
    sh(shell, f": > {box.file('drop/x')}")
    box.wait_for(reserved=0)
    box.fill()
    assert box.counts("messages", "sent") == (1, 1)


def test_file_over_bytes_is_not_sent(box):
    box.configure(bytes=1000)
    with Handle(box.file("drop/x"), os.O_WRONLY | os.O_CREAT) as file:
        assert file.write(b"x" * 1000) == 1000
        with fails_with(errno.EFBIG):
            file.write(b"y")
    box.wait_for(reserved=0)
    box.fill()
    assert box.stat()["sent"] == 1


def test_same_name_twice_is_two_messages(box):
    with Handle(box.file("drop/x"), os.O_WRONLY | os.O_CREAT) as one:
        with Handle(box.file("drop/x"), os.O_WRONLY | os.O_CREAT) as two:
            one.write(b"one")
            two.write(b"two")
    assert sorted(box.drain()) == [b"one", b"two"]


def test_nobody_finds_a_file_in_drop_again(box):
    drop = box.file("drop")
    with Handle(os.path.join(drop, "x"), os.O_WRONLY | os.O_CREAT) as file:
        file.write(b"x")
        with fails_with(errno.ENOENT):
            os.stat(os.path.join(drop, "x"))
        with fails_with(errno.ENOENT):
            os.rename(os.path.join(drop, "x"), os.path.join(drop, "y"))
        with fails_with(errno.ENOENT):
            os.unlink(os.path.join(drop, "x"))
        with fails_with(errno.EACCES):
            as_user(NOBODY, os.listdir, drop)
        assert os.listdir(drop) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_file_of_a_killed_writer_is_not_sent(box, number):
    def write_and_wait():
        file = os.open(box.file("drop/x"), os.O_WRONLY | os.O_CREAT)
        os.write(file, b"half")
        signal.pause()
    box.configure(messages=1)
    writer = Call(write_and_wait)
    with box.open_send() as send:
        poller = select.poll()
        poller.register(send.fd, select.POLLOUT)
        wait_until(lambda: not poller.poll(0), "the place is taken")
        writer.kill(number)
        wait_until(lambda: poller.poll(0), "the place is free again")
    assert writer.wait() == -number
    assert box.stat()["sent"] == 0


def test_file_whose_writing_child_is_killed_is_not_sent(shell, box):
    script = f"{{ sh -c 'echo half; kill -9 $$'; }} > {box.file('drop/x')}; true"
    run(*SHELLS[shell], "-c", script)
    box.wait_for(reserved=0)
    box.fill()
    assert box.stat()["sent"] == 1


def test_file_of_a_process_with_threads_that_ends_as_it_should_is_sent(box):
    script = ("import os,threading,time\n"
              "threading.Thread(target=time.sleep, args=(100,), daemon=True).start()\n"
              f"f=os.open({box.file('drop/x')!r}, os.O_WRONLY|os.O_CREAT)\n"
              "os.write(f, b'whole')\n"
              "os._exit(0)\n")
    assert run("/usr/bin/python3", "-c", script).returncode == 0
    wait_until(lambda: box.stat()["messages"] == 1, "it is sent")
    assert box.drain() == [b"whole"]


def test_two_creators_wait_for_a_place_and_can_be_killed(box):
    box.fill()
    creators = [Call(try_open, box.file("drop/x"), os.O_WRONLY | os.O_CREAT) for _ in range(2)]
    box.wait_for(senders_waiting=2)
    expect_asleep(*creators)
    with fails_with(errno.EAGAIN):
        try_open(box.file("drop/y"), os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK)
    for creator in creators:
        creator.kill(signal.SIGTERM)
        assert creator.wait() == -signal.SIGTERM
    box.wait_for(senders_waiting=0)


# --- a look into the queue ---

def test_queue_shows_what_waits(box):
    os.chmod(box.path, 0o755)
    box.send(b"one")
    box.send(b"urgent", name="send.9")
    names = [entry.name for entry in os.scandir(box.file("queue"))]
    assert all(re.fullmatch(r"\d{20}", name) for name in names)
    assert [read_file(box.file(f"queue/{name}")) for name in names] == [b"urgent", b"one"]
    stat = os.stat(box.file(f"queue/{names[0]}"))
    assert (stat.st_size, stat.st_mode) == (6, 0o100400)
    assert box.stat()["messages"] == 2
    assert {name: os.getxattr(box.file(f"queue/{names[0]}"), name) for name in os.listxattr(box.file(f"queue/{names[0]}"))} == {
        "user.ipcfs.pid": b"%d" % os.getpid(), "user.ipcfs.uid": b"0", "user.ipcfs.gid": b"0", "user.ipcfs.prio": b"9"}


def test_work_then_remove(shell, box):
    box.send(b"a", b"b")
    script = f"for m in {box.file('queue')}/*; do cat \"$m\" && rm \"$m\"; done"
    assert sh(shell, script) == "ab"
    assert box.counts("messages", "received") == (0, 2)


def test_open_message_outlives_its_receipt(box):
    box.send(b"still here")
    with Handle(box.file(f"queue/{ids_of(box)[0]}"), os.O_RDONLY) as file:
        assert box.receive() == b"still here"
        assert file.read() == b"still here"
    assert ids_of(box) == []


def test_mv_moves_a_message(shell, mnt):
    here, there = mnt.box(), mnt.box()
    here.send(b"moves")
    name = ids_of(here)[0]
    receiver = there.start_receive()
    there.wait_for(receivers_waiting=1)
    sh(shell, f"mv {here.file('queue')}/{name} {there.file('queue')}/")
    assert receiver.result() == b"moves"
    here.send(b"stays there")
    name = ids_of(here)[0]
    sh(shell, f"mv {here.file('queue')}/* {there.file('queue')}/")
    assert ids_of(here) == [] and ids_of(there) == [name]
    assert there.drain() == [b"stays there"]


def test_mv_into_a_full_mailbox_loses_nothing(mnt):
    here, there = mnt.box(), mnt.box()
    there.fill()
    here.send(b"stays")
    name = ids_of(here)[0]
    with fails_with(errno.EAGAIN):
        os.rename(here.file(f"queue/{name}"), there.file(f"queue/{name}"))
    assert ids_of(here) == [name]
    here.drain()
    there.drain()


def test_mv_is_for_the_owner_of_both(mnt):
    here, there = mnt.box(), mnt.box()
    os.chown(here.path, NOBODY, NOBODY)
    os.chmod(there.file("queue"), 0o777)
    here.send(b"x")
    name = ids_of(here)[0]
    with fails_with(errno.EPERM):
        as_user(NOBODY, os.rename, here.file(f"queue/{name}"), there.file(f"queue/{name}"))
    assert ids_of(here) == [name]
    here.drain()


def test_each_message_ends_in_one_place(mnt):
    here, there = mnt.box(), mnt.box()
    n = 600
    here.send(*(b"%d" % i for i in range(n)))

    def receive_all():
        return here.drain()

    def remove_all():
        removed = []
        for name in ids_of(here)[::-1]:
            path = here.file(f"queue/{name}")
            try:
                body = read_file(path)
                os.unlink(path)
            except FileNotFoundError:
                continue
            removed.append(body)
        return removed

    def move_all():
        for name in ids_of(here)[n // 2:] + ids_of(here):
            try:
                os.rename(here.file(f"queue/{name}"), there.file(f"queue/{name}"))
            except FileNotFoundError:
                continue
        return []

    workers = [Call(work) for work in (remove_all, move_all, receive_all, move_all, remove_all)]
    ends = [body for worker in workers for body in worker.result()] + there.drain() + here.drain()
    assert sorted(ends, key=int) == [b"%d" % i for i in range(n)]


def test_many_are_listed_and_deleted(box):
    n = 40_000
    box.configure(messages="max")
    box.send(b"x\n" * n, name="send.lines")
    assert len(os.listdir(box.file("queue"))) == n
    run("find", box.file("queue"), "-type", "f", "-delete", timeout=100)
    assert box.counts("messages", "received") == (0, n)


# --- owners ---

def test_owner_receives_and_its_mailbox_goes_with_it(shell, mnt):
    box = mnt.box()
    script = (f"exec 3> {box.file('owner')}; cat {box.file('owner')}; echo $$; "
              f"cat {box.recv_path}; echo no > {box.send_path} && echo sent; true")
    owner = start_sh(shell, script)
    wait_until(lambda: box.stat()["owner_pid"], "it is claimed")
    with fails_with(errno.EBUSY):
        try_open(box.recv_path, os.O_RDONLY)
    with fails_with(errno.EBUSY):
        os.listdir(box.file("queue"))
    with fails_with(errno.EBUSY):
        try_open(box.file("owner"), os.O_WRONLY)
    box.send(b"for the owner\n")
    lines = owner.output().splitlines()
    assert lines[0] == lines[1] == str(owner.pid)
    assert lines[2:] == ["for the owner"]
    wait_until(lambda: not os.path.exists(box.path), "the mailbox is gone")


def test_killed_owner_takes_its_mailbox_along(mnt):
    for _ in range(100):
        box = mnt.box()
        with box.open_send() as send:
            poller = select.poll()
            poller.register(send.fd, select.POLLOUT)
            def claim(path=box.file("owner")):
                os.open(path, os.O_WRONLY)
                signal.pause()
            owner = Call(claim)
            wait_until(lambda: box.stat()["owner_pid"] == owner.pid, "it is claimed")
            box.configure(messages=1)
            send.write(b"full")
            sender = box.start_send(b"waits")
            box.wait_for(senders_waiting=1)
            owner.kill()
            assert owner.wait() == -signal.SIGKILL
            with fails_with(errno.EIDRM):
                sender.result()
            wait_until(lambda: poller.poll(0) and poller.poll(0)[0][1] & select.POLLHUP, "pollers are told")
            with fails_with(errno.EIDRM):
                send.write(b"x")
        assert not os.path.exists(box.path)


def test_claim_ends_the_waiting_of_others(mnt):
    box = mnt.box()
    reader = box.start_receive()
    box.wait_for(receivers_waiting=1)
    with Handle(box.file("owner"), os.O_WRONLY):
        # The reader is a child of this process, which owns the mailbox now: it may go on.
        with box.open_recv():
            pass
        expect_asleep(reader)
        stranger = start("setsid", "-w", "cat", box.recv_path)
        stranger.kill()
    with fails_with(errno.EIDRM):
        reader.result()


# --- what goes on ---

METRIC = re.compile(r'([a-z_]+)(?:\{([a-z]+)="((?:[^"\\\n]|\\["\\n])*)"\})? (\d+)')


def test_metrics_are_well_formed(mnt):
    odd = mnt.mailbox('quote" back\\slash new\nline \udcff').make()
    odd.send(b"x")
    with open(os.path.join(mnt.path, ".ipcfs/metrics"), encoding="utf-8") as file:
        lines = file.read().splitlines()
    typed = set()
    samples = {}
    for line in lines:
        if line.startswith("# "):
            typed.add(line.split()[2])
            continue
        match = METRIC.fullmatch(line)
        assert match and match[1] in typed, line
        assert (match[1], match[3]) not in samples, line
        samples[match[1], match[3]] = int(match[4])
    assert samples["ipcfs_mailbox_messages", 'quote\\" back\\\\slash new\\nline \\\\xff'] == 1
    odd.remove()


def test_info_is_read_only(mnt):
    version = os.path.join(mnt.path, ".ipcfs/version")
    assert "version=" in sh("dash", f"cat {version}")
    assert os.stat(os.path.dirname(version)).st_mode & 0o777 == 0o555
    assert os.stat(version).st_mode & 0o777 == 0o444
    with fails_with(errno.EACCES):
        try_open(version, os.O_WRONLY)
    with fails_with(errno.EPERM):
        os.chmod(version, 0o666)
    with fails_with(errno.EPERM):
        os.mkdir(os.path.join(mnt.path, ".ipcfs/x"))

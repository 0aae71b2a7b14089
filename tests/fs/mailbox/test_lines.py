"""send.lines and recv.lines: a line is a message, for programs that write and read streams."""

import contextlib
import errno
import os
import random
import select
import signal

import pytest

from harness import (ALICE, BOB, SHELLS, TOOLS, Call, as_user, expect_asleep, fails_with, interruptible, run, sh,
                     start_sh, try_open, wait_until)
from linewise import (MESSAGE_BYTES_DEFAULT, MESSAGE_BYTES_MAX, MIB, as_lines, events_of, numbered, open_reader,
                      open_sender, send_lines, start_write)
from linewise import large  # pylint: disable=unused-import

# --- as people use them ---

def test_log_is_followed_into_a_loop(shell, box, tmp_path):
    log, out = tmp_path / "log", tmp_path / "out"
    log.write_text("first\n")
    script = ("tail -n +1 -F log > $BOX/send.lines 2> /dev/null & "
              "while IFS= read -r m; do printf '<%s>\\n' \"$m\" >> out; done < $BOX/recv.lines")
    start_sh(shell, script, cwd=tmp_path, env={**os.environ, "BOX": box.path})
    wait_until(lambda: out.exists() and out.read_text() == "<first>\n", "the first line comes through")
    with open(log, "a", encoding="utf-8") as file:
        file.write("  second \\n\n\nlast\n")
    wait_until(lambda: out.read_text() == "<first>\n<  second \\n>\n<>\n<last>\n",
               lambda: f"the others come through: {out.read_text()!r}")


def test_loop_ends_when_the_mailbox_is_removed(shell, mnt):
    box = mnt.box()
    box.send(b"one", b"two\n")
    loop = start_sh(shell, 'while IFS= read -r m; do echo "<$m>"; done < recv.lines; echo end', cwd=box.path)
    # busybox waits in poll.
    box.wait_for(messages=0, received=2)
    os.rmdir(box.path)
    assert loop.output() == "<one>\n<two>\nend\n"


def test_cat_pipes_lines_to_grep(shell, mnt):
    box = mnt.box()
    pipeline = start_sh(shell, "cat recv.lines | grep -n o", cwd=box.path)
    box.send(b"one", b"two\n", b"three", b"four")
    box.wait_for(messages=0, receivers_waiting=1)
    os.rmdir(box.path)
    assert pipeline.output() == "1:one\n2:two\n4:four\n"


def test_grep_reads_lines_until_it_finds_one(shell, box):
    box.send(b"one", b"two", b"three")
    assert sh(shell, "grep -m 1 w recv.lines", cwd=box.path) == "two\n"


def test_head_takes_lines(shell, box):
    box.send(b"one", b"two", b"three")
    assert sh(shell, "head -n 2 recv.lines", cwd=box.path) == "one\ntwo\n"


def test_read_takes_one_line_and_the_others_stay(shell, box):
    box.send(b"one", b"two", b"three")
    assert sh(shell, 'IFS= read -r m < recv.lines; echo "<$m>"', cwd=box.path) == "<one>\n"
    assert box.drain() == [b"two", b"three"]


def test_seq_sends_a_message_a_line(shell, box):
    sh(shell, "seq 3 > send.lines; seq 4 5 >> send.lines", cwd=box.path)
    assert box.drain() == numbered(5, 1)


def test_echo_sends_each_of_its_lines(shell, box):
    sh(shell, "echo 'one\ntwo' > send.lines; echo > send.lines", cwd=box.path)
    assert box.drain() == [b"one", b"two", b""]


@pytest.mark.parametrize("script", [
    "printf 'one\\ntwo' > send.lines",
    "env printf 'one\\ntwo' > send.lines",
    "{ printf one; env printf '\\nt'; printf wo; } > send.lines",
    "(env printf o; printf ne; echo; (printf t); env printf wo) > send.lines",
    "exec 3> send.lines; printf 'one\\n' >&3; printf two >&3; exec 3>&-",
    "exec 3> send.lines; { printf one; env printf '\\nt'; printf wo; } >&3; exec 3>&-",
    "printf 'one\\ntwo' | cat > send.lines",
    "cat > send.lines <<E\none\ntwo\nE\n",
], ids=["builtin", "program", "group", "subshell", "exec", "exec-group", "pipe", "here-document"])
def test_rest_is_sent_when_the_shell_closes(shell, box, script):
    sh(shell, script, cwd=box.path)
    assert box.take(2) == [b"one", b"two"]


def test_line_is_put_together_from_several_commands_on_one_descriptor(shell, box):
    """Each of them dups and closes, the descriptor stays open."""
    sh(shell, "exec 3> send.lines; printf be >&3; env printf fo >&3; echo re >&3; echo after >&3", cwd=box.path)
    assert box.take(2) == [b"before", b"after"]


def test_background_children_write_whole_lines(shell, box):
    script = ("(for i in 0 1 2 3 4 5 6 7 8 9; do echo a$i; done & "
              "for i in 0 1 2 3 4 5 6 7 8 9; do echo b$i; done & wait) > send.lines")
    sh(shell, script, cwd=box.path)
    lines = box.take(20)
    assert [line for line in lines if line[:1] == b"a"] == [b"a%d" % i for i in range(10)]
    assert [line for line in lines if line[:1] == b"b"] == [b"b%d" % i for i in range(10)]


@pytest.mark.parametrize("maker", TOOLS)
@pytest.mark.parametrize("command", ["cat {} > send.lines", "cp {} send.lines", "dd if={} of=send.lines bs=1000",
                                     "tee send.lines < {} > /dev/null"], ids=lambda c: c.split()[0])
def test_tools_send_a_file_by_lines(box, tmp_path, maker, command):
    file = tmp_path / "file"
    lines = [b"%d " % i + b"x" * (i * 7 % 300) for i in range(1000)]
    file.write_bytes(as_lines(lines))
    sh("dash", " ".join([*TOOLS[maker], command.format(file)]), cwd=box.path)
    assert box.take(1000) == lines


def test_python_prints_and_iterates(box):
    with open(box.file("send.lines"), "w", encoding="utf-8") as lines:
        print("grüße", "", "x" * 9000, "rest", sep="\n", end="", file=lines)
    with open(box.file("recv.lines"), encoding="utf-8") as lines:
        assert [next(lines) for _ in range(4)] == ["grüße\n", "\n", "x" * 9000 + "\n", "rest\n"]


# --- send.lines: where a line begins and ends ---

EDGES = [0, 1, 2, 127, 128, 4095, 4096, 4097, 65534, 65535, 65536]
LARGE_EDGES = [65537, 131071, 131072, 131073, MESSAGE_BYTES_MAX - 1, MESSAGE_BYTES_MAX]


@pytest.mark.parametrize("size", EDGES + LARGE_EDGES)
@pytest.mark.parametrize("piece", [1, 4096, 65536, 65537, 2 * MIB], ids=lambda piece: f"by{piece}")
def test_line_of_any_length_is_one_message(large, size, piece):
    if piece == 1 and size > 200:
        piece = size // 3
    line = os.urandom(size // 2).replace(b"\n", b"x").ljust(size, b"y")
    data = b"before\n" + line + b"\nafter\n"
    send_lines(large, *[data[i:i + piece] for i in range(0, len(data), piece)])
    assert large.drain() == [b"before", line, b"after"]


@pytest.mark.parametrize("size", EDGES[1:] + LARGE_EDGES)
def test_rest_of_any_length_is_sent_at_close(large, size):
    lines = open_sender(large)
    rest = os.urandom(size).replace(b"\n", b"x")
    for i in range(0, size, 50000):
        lines.write(rest[i:i + 50000])
    assert large.stat()["messages"] == 0
    lines.close()
    assert large.drain() == [rest]


@pytest.mark.parametrize("seed", range(12))
def test_cuts_of_writes_and_reads_do_not_matter(large, seed):
    chance = random.Random(seed)
    lines = [bytes(chance.choices(b"ab\0\xff\r ", k=chance.choice([0, 1, 2, 50, chance.randrange(5000)])))
             for _ in range(200)]
    lines.append(b"x" * chance.randrange(500000))
    chance.shuffle(lines)
    data = as_lines(lines)
    pieces = []
    while data:
        size = chance.choice([1, 10, 4096, 100000])
        pieces.append(data[:size])
        data = data[size:]
    send_lines(large, *pieces)
    received = b""
    with open_reader(large) as reader:
        while len(received) < len(as_lines(lines)):
            received += reader.read(chance.choice([1, 7, 100, 4096, 70000]))
    assert received == as_lines(lines)


def test_empty_lines_are_empty_messages(box):
    send_lines(box, b"\n", b"\n\nx\n\n")
    assert box.counts("messages", "bytes") == (5, 1)
    assert box.drain() == [b"", b"", b"", b"x", b""]


def test_carriage_returns_and_nul_bytes_are_part_of_a_line(box):
    send_lines(box, b"a\r\n\0\n\0b\0\n")
    assert box.drain() == [b"a\r", b"\0", b"\0b\0"]


def test_line_that_ended_leaves_nothing_to_be_sent_at_close(box):
    send_lines(box, b"one\n")
    send_lines(box)
    send_lines(box, b"")
    assert box.counts("messages", "sent") == (1, 1)
    assert box.drain() == [b"one"]


def test_rests_of_two_handles_do_not_mix(box):
    with open_sender(box) as first, open_sender(box) as second:
        first.write(b"o")
        second.write(b"t")
        first.write(b"ne\n")
        second.write(b"wo\n")
    assert box.drain() == [b"one", b"two"]


def test_lines_have_priority_0(box):
    box.send(b"urgent", name="send.1")
    box.send(b"plain")
    send_lines(box, b"line\n")
    box.send(b"more urgent", name="send.2")
    assert box.drain() == [b"more urgent", b"urgent", b"plain", b"line"]


def test_writev_may_cut_lines(box):
    with open_sender(box) as lines:
        assert os.writev(lines.fd, [b"on", b"e\ntw", b"", b"o\nthr", b"ee"]) == 13
    assert box.drain() == [b"one", b"two", b"three"]


def test_write_larger_than_the_kernel_passes_on_at_once(large):
    """It arrives in several parts: a line that lies across is one message all the same."""
    lines = [b"%d " % i + b"x" * 9999 for i in range(400)]
    large.configure(messages="max")
    send_lines(large, as_lines(lines))
    assert large.drain() == lines


def test_many_writers_of_lines_at_once(box):
    n_writers, n_each = 8, 500
    box.configure(messages=100)

    def lines_of(writer):
        return as_lines([b"%d.%d " % (writer, i) + b"x" * (i * 37 % 900) for i in range(n_each)])

    def write(writer):
        data = lines_of(writer)
        chance = random.Random(writer)
        with open_sender(box, 0) as lines:
            while data:
                n = lines.write(data[:chance.randrange(1, 9000)])
                data = data[n:]

    writers = [Call(write, i) for i in range(n_writers)]
    received = as_lines(box.take(n_writers * n_each))
    for i, writer in enumerate(writers):
        writer.result()
        assert as_lines([line for line in received.splitlines() if line.startswith(b"%d." % i)]) == lines_of(i)


# --- the rest, and what a close is ---

def test_close_of_a_duplicate_is_not_the_close(box):
    lines = open_sender(box)
    duplicate = os.dup(lines.fd)
    lines.write(b"on")
    os.close(duplicate)
    assert box.stat()["messages"] == 0
    lines.write(b"e")
    lines.close()
    assert box.take(1) == [b"one"]


def test_exit_of_a_child_that_inherited_is_not_the_close(box):
    with open_sender(box) as lines:
        lines.write(b"on")
        assert run("true", pass_fds=[lines.fd]).returncode == 0
        Call(lines.close).result()
        assert box.stat()["messages"] == 0
        lines.write(b"e\n")
    assert box.drain() == [b"one"]


def test_child_goes_on_with_the_line_of_its_parent(box):
    with open_sender(box) as lines:
        lines.write(b"on")
        assert run("bash", "-c", f"printf 'e\ntw' >&{lines.fd}", pass_fds=[lines.fd]).returncode == 0
        assert box.take(1) == [b"one"]
        lines.write(b"o")
    assert box.drain() == [b"two"]


def test_rest_is_sent_by_the_last_who_closes_when_the_opener_has_gone(shell, box):
    """The opener has closed before there was a rest."""
    sh(shell, "exec 3> send.lines; (cat recv > /dev/null; printf rest >&3) & exec 3>&-; echo go > send", cwd=box.path)
    assert box.take(1) == [b"rest"]


def test_rest_is_sent_when_the_process_just_exits(box):
    def leave():
        os.write(os.open(box.file("send.lines"), os.O_WRONLY), b"one\nrest")
        os._exit(0)
    Call(leave).wait()
    assert box.take(2) == [b"one", b"rest"]


def test_rest_that_another_program_writes_is_its_own(box):
    """exec keeps the descriptor, and the process that opened."""
    def become_printf():
        fd = os.open(box.file("send.lines"), os.O_WRONLY)
        os.write(fd, b"on")
        os.dup2(fd, 1)
        os.execlp("env", "env", "printf", "e")
    Call(become_printf).wait()
    assert box.take(1) == [b"one"]


# --- lines that are too long ---

def test_line_of_message_bytes_is_taken_and_no_longer_one(box):
    with open_sender(box) as lines:
        assert lines.write(b"x" * MESSAGE_BYTES_DEFAULT + b"\n") == MESSAGE_BYTES_DEFAULT + 1
        with fails_with(errno.EMSGSIZE):
            lines.write(b"x" * (MESSAGE_BYTES_DEFAULT + 1) + b"\n")
        with fails_with(errno.EMSGSIZE):
            lines.write(b"x" * (MESSAGE_BYTES_DEFAULT + 1))
        lines.write(b"after\n")
    assert [len(message) for message in box.drain()] == [MESSAGE_BYTES_DEFAULT, 5]


def test_lines_before_one_that_is_too_long_are_sent_and_counted(box):
    box.configure(message_bytes=10)
    long = b"x" * 11 + b"\n"
    with open_sender(box) as lines:
        assert lines.write(b"one\ntwo\n" + long + b"after\n") == 8
        assert box.drain() == [b"one", b"two"]
        with fails_with(errno.EMSGSIZE):
            lines.write(long + b"after\n")
        assert lines.write(b"after\n") == 6
    assert box.drain() == [b"after"]


@pytest.mark.parametrize("flags", [0, os.O_NONBLOCK], ids=["blocking", "nonblocking"])
def test_nothing_of_a_line_that_grows_too_long_is_sent(box, flags):
    box.configure(message_bytes=10)
    with open_sender(box, flags) as lines:
        assert lines.write(b"ok\nxxxx") == 7
        assert lines.write(b"xxxxxx") == 6
        with fails_with(errno.EMSGSIZE):
            lines.write(b"x")
        # Whatever becomes of the rest of that line.
        with contextlib.suppress(OSError):
            lines.write(b"x")
    assert box.drain() == [b"ok"]
    with open_sender(box, flags) as lines:
        lines.write(b"x" * 10)
        with fails_with(errno.EMSGSIZE):
            lines.write(b"xx")
        # A writer that goes on ends that line first.
        lines.write(b"x\nnext\n")
    assert box.drain() == [b"next"]


def test_line_after_one_that_grew_too_long_is_sent(shell, box):
    box.configure(message_bytes=10)
    send_path = box.file("send.lines")
    script = f"exec 3> {send_path}; printf 12345678 >&3; echo abcdef >&3; echo $?; echo hello >&3; echo $?; echo bye >&3"
    assert sh(shell, script) == "1\n0\n"
    assert box.drain() == [b"hello", b"bye"]


def test_nothing_of_a_line_is_sent_when_the_write_that_was_refused_is_repeated(box):
    box.configure(message_bytes=10)
    with open_sender(box) as lines:
        lines.write(b"12345678")
        with fails_with(errno.EMSGSIZE):
            lines.write(b"abcdef\n")
        # As stdio does when it is flushed or closed after an error, with what was added meanwhile.
        assert lines.write(b"abcdef\nnext\n") == 12
        lines.write(b"abcdef\n")
        lines.write(b"12345678")
        with fails_with(errno.EMSGSIZE):
            lines.write(b"abcdef\nlast\n")
        assert lines.write(b"abcdef\nlast\n") == 12
    assert box.drain() == [b"next", b"abcdef", b"last"]


def test_a_line_like_the_refused_one_is_not_lost_without_a_word(shell, box):
    """It may be what stdio writes again, or another line: which it is nobody knows, so it is not taken."""
    box.configure(message_bytes=10)
    script = f"exec 3> {box.file('send.lines')}; printf 12345678 >&3; for i in 1 2 3 4 5; do echo abcdef >&3; echo $?; done"
    assert sh(shell, script) == "1\n1\n1\n1\n0\n"
    assert box.drain() == [b"abcdef"]


def test_a_line_like_the_refused_one_from_another_process_is_another(box):
    box.configure(message_bytes=10)
    with open_sender(box) as lines:
        lines.write(b"12345678")
        with fails_with(errno.EMSGSIZE):
            lines.write(b"abcdef\n")
        Call(lines.write, b"abcdef\n").result()
    assert box.drain() == [b"abcdef"]


def test_a_buffered_writer_is_told_at_its_close_too(box):
    box.configure(message_bytes=10)
    file = open(box.file("send.lines"), "w", encoding="utf-8")
    file.write("12345678")
    file.flush()
    file.write("abcdef\n")
    for function in (file.flush, file.close):
        with fails_with(errno.EMSGSIZE):
            function()
    assert box.drain() == []


def test_line_longer_than_the_mailbox_is_refused_and_does_not_wait(box):
    box.configure(bytes=100)
    with open_sender(box, 0) as lines:
        with fails_with(errno.EMSGSIZE):
            Call(lines.write, b"x" * 101 + b"\n").result()
    assert box.stat()["messages"] == 0


def test_line_of_the_largest_size_and_one_byte_more(large):
    largest = b"x" * MESSAGE_BYTES_MAX
    with open_sender(large) as lines:
        for i in range(0, MESSAGE_BYTES_MAX, 65536):
            lines.write(largest[i:i + 65536])
        lines.write(b"\n")
        for i in range(0, MESSAGE_BYTES_MAX, 65536):
            lines.write(largest[i:i + 65536])
        with fails_with(errno.EMSGSIZE):
            lines.write(b"x\n")
    assert large.drain() == [largest]


def test_cat_says_that_a_line_is_too_long(shell, box, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"before\n" + b"x" * 70000 + b"\nafter\n")
    done = run(*SHELLS[shell], "-c", f"cat {file} > send.lines", cwd=box.path)
    assert done.returncode != 0 and "Message too long" in done.stderr
    assert b"before" in box.drain() and box.stat()["sent"] <= 2


# --- a full mailbox ---

def test_write_of_many_lines_goes_on_as_receivers_take(box):
    box.configure(messages=3)
    writer = start_write(box, as_lines(numbered(10)) + b"rest")
    box.wait_for(messages=3, senders_waiting=1)
    expect_asleep(writer)
    for i in range(7):
        assert box.receive() == b"%d" % i
        box.wait_for(messages=3, received=i + 1)
    box.wait_for(senders_waiting=1)
    assert box.take(4) == numbered(3, 7) + [b"rest"]
    assert writer.result() == 24


def test_seq_waits_for_receivers_and_no_message_is_lost(shell, box):
    box.configure(messages=5)
    script = "seq 100 > send.lines & head -n 100 recv.lines; wait"
    assert sh(shell, script, cwd=box.path) == "".join(f"{i}\n" for i in range(1, 101))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_two_that_wait_can_each_be_killed_and_hold_up_nobody(shell, box, number):
    box.configure(messages=2)
    writers = []
    for i in range(2):
        writers.append(start_sh(shell, "exec seq 100 > send.lines", cwd=box.path))
        box.wait_for(senders_waiting=i + 1)
    expect_asleep(*writers)
    with open_sender(box) as lines, fails_with(errno.EAGAIN):
        Call(lines.write, b"at once\n").result()
    for left in (1, 0):
        writers[left].send_signal(number)
        assert writers[left].wait() == -number
        box.wait_for(senders_waiting=left, messages=2)
    assert box.drain() == [b"1", b"2"]


def test_killing_the_first_writer_lets_the_second_go_on(box):
    box.configure(messages=1)
    first = start_write(box, b"a\nb\n")
    box.wait_for(senders_waiting=1)
    second = start_write(box, b"c\nd\n")
    box.wait_for(senders_waiting=2)
    first.kill()
    first.wait()
    assert box.take(3) == [b"a", b"c", b"d"]
    assert second.result() == 4


def test_nonblocking_write_takes_the_lines_for_which_there_is_room(box):
    box.configure(messages=2)
    with open_sender(box) as lines:
        assert lines.write(b"one\ntwo\nthree\n") == 8
        with fails_with(errno.EAGAIN):
            lines.write(b"three\n")
        assert box.receive() == b"one"
        box.wait_for(messages=1)
        assert lines.write(b"three\nfour\n") == 6
    assert box.drain() == [b"two", b"three"]


def write_until_interrupted(box, *writes):
    """What the last write returns, which a signal may end. The other ones need not wait."""
    signal.signal(signal.SIGUSR1, lambda *_: None)
    with open_sender(box, 0) as lines:
        for data in writes[:-1]:
            lines.write(data)
        return interruptible("write", lines.fd, writes[-1], len(writes[-1]))


@pytest.mark.parametrize("writes, expected, messages", [
    ([b"one\ntwo\nthree\n"], 4, [b"one"]),
    ([b"on", b"e\ntwo\n"], 2, [b"one"]),
    ([b"one\n", b"two\n"], None, [b"one"]),
], ids=["some", "rest-and-some", "none"])
def test_signal_ends_a_wait_with_what_was_written(box, writes, expected, messages):
    box.configure(messages=1)
    writer = Call(write_until_interrupted, box, *writes)
    box.wait_for(senders_waiting=1)
    expect_asleep(writer)
    writer.kill(signal.SIGUSR1)
    if expected is None:
        with fails_with(errno.EINTR):
            writer.result()
    else:
        assert writer.result() == expected
    assert box.counts("senders_waiting", "messages") == (0, 1)
    assert box.drain() == messages


def test_interrupted_writers_that_go_on_where_they_were_lose_and_repeat_nothing(box):
    box.configure(messages=3)
    data = as_lines(numbered(3000))

    def write():
        signal.signal(signal.SIGUSR1, lambda *_: None)
        left = data
        with open_sender(box, 0) as lines:
            while left:
                with contextlib.suppress(InterruptedError):
                    left = left[interruptible("write", lines.fd, left, len(left)):]

    writer = Call(write)
    box.wait_for(senders_waiting=1)
    received = []
    while len(received) < 3000:
        if writer.poll() is None:
            writer.kill(signal.SIGUSR1)
        received += box.drain(7)
        assert writer.poll() in (None, 0)
    assert received == numbered(3000)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGKILL], ids=["interrupt", "kill"])
def test_close_waits_for_room_for_the_rest_and_can_be_ended(box, number):
    box.fill()

    def close():
        signal.signal(signal.SIGUSR1, lambda *_: None)
        lines = os.open(box.file("send.lines"), os.O_WRONLY)
        os.write(lines, b"rest")
        return interruptible("close", lines)

    closer = Call(close)
    box.wait_for(senders_waiting=1)
    expect_asleep(closer)
    closer.kill(number)
    wait_until(lambda: closer.poll() is not None, "it ends")
    box.wait_for(senders_waiting=0)
    assert box.drain() == [b"first"]


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_process_that_ends_with_a_rest_does_not_hang_where_the_mailbox_is_full(box, how):
    """Ending, it is deaf to signals: it can't be the one that waits."""
    box.fill()

    def end():
        os.write(os.open(box.file("send.lines"), os.O_WRONLY), b"rest")
        if how == "exit":
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)

    process = Call(end)
    try:
        wait_until(lambda: process.poll() is not None, "it ends")
    finally:
        received = box.drain()
        process.wait()
    if how == "exit":
        assert received + box.take(2 - len(received)) == [b"first", b"rest"]


def test_reject_ends_a_write_with_what_was_taken(box):
    box.configure(messages=2, overflow="reject")
    with open_sender(box, 0) as lines:
        assert Call(lines.write, b"one\ntwo\nthree\n").result() == 8
        with fails_with(errno.ENOBUFS):
            lines.write(b"three\n")
    assert box.drain() == [b"one", b"two"]


def test_drop_oldest_keeps_the_last_lines(box):
    box.configure(messages=2, overflow="drop-oldest")
    send_lines(box, as_lines(numbered(10)))
    assert box.drain() == [b"8", b"9"]


def test_quota_ends_a_write_with_what_was_taken(mount):
    box = mount("-o", "uid_bytes=64K,max_bytes=1M").box()
    lines = [b"x" * 16383 for _ in range(9)]
    with open_sender(box, 0) as sender:
        n = Call(sender.write, as_lines(lines)).result()
        assert n == 4 * 16384
        with fails_with(errno.EDQUOT):
            Call(sender.write, as_lines(lines)).result()
    assert box.drain() == lines[:4]


# --- a rendezvous ---

def test_lines_meet_one_receiver_each(box):
    box.configure(messages=0)
    writer = start_write(box, b"one\ntwo\n")
    box.wait_for(senders_waiting=1)
    assert box.start_receive().result() == b"one"
    box.wait_for(senders_waiting=1)
    assert writer.poll() is None
    assert box.start_receive().result() == b"two"
    assert writer.result() == 8


def test_nonblocking_line_reaches_a_receiver_that_waits(box):
    box.configure(messages=0)
    with open_sender(box) as lines:
        assert events_of(lines) == 0
        with fails_with(errno.EAGAIN):
            lines.write(b"one\n")
        receiver = box.start_receive()
        box.wait_for(receivers_waiting=1)
        assert events_of(lines) == select.POLLOUT
        assert lines.write(b"one\n") == 4
    assert receiver.result() == b"one"


# --- who may ---

@pytest.mark.parametrize("name", ["send.lines", "recv.lines", "recv.json"])
@pytest.mark.parametrize("uid", [0, ALICE], ids=["root", "owner"])
def test_wrong_way_round_is_eacces_for_root_too(box, uid, name):
    os.chown(box.path, uid, uid)
    wrong = os.O_RDONLY if name == "send.lines" else os.O_WRONLY
    for flags in (wrong, os.O_RDWR):
        with fails_with(errno.EACCES):
            as_user(uid, try_open, box.file(name), flags | os.O_NONBLOCK)
    as_user(uid, try_open, box.file(name), os.O_NONBLOCK | (os.O_WRONLY if wrong == os.O_RDONLY else os.O_RDONLY))


@pytest.mark.parametrize("mode, expected", [(0o700, 0o200), (0o711, 0o222), (0o750, 0o220), (0o755, 0o222)], ids=oct)
def test_lines_may_be_sent_by_each_class_that_may_search(mnt, mode, expected):
    box = mnt.box(mode)
    modes = [os.stat(box.file(name)).st_mode & 0o7777 for name in ("send.lines", "recv.lines", "recv.json")]
    assert modes == [expected, 0o400, 0o400]
    box.remove()


def test_other_user_may_send_lines_but_not_receive_them(box):
    sh("dash", "printf 'one\ntwo' > send.lines", cwd=box.path, uid=BOB)
    for name in ("recv.lines", "recv.json"):
        with fails_with(errno.EACCES):
            as_user(BOB, try_open, box.file(name), os.O_RDONLY)
    assert box.drain() == [b"one", b"two"]


def test_receive_right_can_be_handed_on(box):
    os.chown(box.file("recv.lines"), -1, ALICE)
    os.chmod(box.file("recv.lines"), 0o440)
    box.send(b"message")
    assert sh("dash", "head -n 1 recv.lines", cwd=box.path, uid=BOB, gid=ALICE) == "message\n"
    with fails_with(errno.EACCES):
        as_user(BOB, try_open, box.file("recv.json"), os.O_RDONLY, gid=ALICE)


def test_files_of_lines_are_listed_and_send_n_is_not(shell, box):
    names = sh(shell, "echo *", cwd=box.path).split()
    assert {"send.lines", "send.json", "recv.lines", "recv.json", "drop", "queue", "owner"} <= set(names)
    assert not [name for name in names if name.startswith("send.") and name not in ("send.lines", "send.json")]

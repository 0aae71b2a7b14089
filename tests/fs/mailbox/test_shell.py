"""What people and scripts use: three shells, and the usual tools of two makers."""

import os

import pytest

from harness import SHELLS, TOOLS, run, sh, start_sh

# Fits in a message, and in no pipe or stdio buffer.
LONG = "x" * 60000 + "\n"


@pytest.fixture(params=SHELLS)
def shell(request):
    return request.param


@pytest.fixture(params=TOOLS)
def tool(request):
    """Runs cat, cp, dd, ... of one maker."""
    def run_tool(name, *args, **kwargs):
        done = run(*TOOLS[request.param], name, *args, **kwargs)
        assert done.returncode == 0, done.stderr
        return done.stdout
    return run_tool


@pytest.fixture
def outside(tmp_path):
    """A file with something long in it, not on the mount."""
    path = tmp_path / "file"
    path.write_text(LONG)
    return path


# --- shells ---

def test_mkdir_makes_a_mailbox_and_rmdir_removes_it(shell, mnt):
    sh(shell, "mkdir made && test -d made && rmdir made && test ! -e made", cwd=mnt.mbox)


def test_mailbox_lists_its_files(shell, box):
    names = sh(shell, "echo *", cwd=box.path).split()
    assert {"send", "recv", "config", "stat"} <= set(names)
    assert not [name for name in names if name.startswith("send.") and name[5:].isdigit()]


def test_cat_prints_what_echo_sent_and_ends(shell, box):
    assert sh(shell, "echo hello > send; cat recv", cwd=box.path) == "hello\n"


def test_each_redirection_is_a_message_and_appending_is_no_other(shell, box):
    script = "echo one > send; echo two >> send; cat recv; echo -; cat recv"
    assert sh(shell, script, cwd=box.path) == "one\n-\ntwo\n"


def test_printf_sends_no_more_than_it_is_told(shell, box):
    sh(shell, "printf %s 'no newline' > send", cwd=box.path)
    assert box.drain() == [b"no newline"]


def test_an_empty_printf_sends_nothing(shell, box):
    sh(shell, "printf '' > send; : > send; : >> send", cwd=box.path)
    assert box.counts("messages", "sent") == (0, 0)


def test_here_document_is_one_message(shell, box):
    sh(shell, "cat > send <<E\none\ntwo\nthree\nE\n", cwd=box.path)
    assert box.drain() == [b"one\ntwo\nthree\n"]


def test_read_takes_one_line_of_a_message(shell, box):
    script = "cat > send <<E\n  first line\nsecond\nE\nIFS= read -r line < recv; echo \"<$line>\""
    assert sh(shell, script, cwd=box.path) == "<  first line>\n"
    box.wait_for(messages=0)


def test_read_loop_ends_with_its_message(shell, box):
    script = "printf 'a\\nb\\n' | cat > send; echo c > send; while read -r x; do echo \"<$x>\"; done < recv"
    assert sh(shell, script, cwd=box.path) == "<a>\n<b>\n"
    assert box.drain() == [b"c\n"]


def test_command_substitution_holds_a_message(shell, box):
    assert sh(shell, 'echo hello > send; x=$(cat recv); echo "<$x>"', cwd=box.path) == "<hello>\n"


def test_one_open_receives_one_message(shell, box):
    script = "echo one > send; echo two > send; exec 3<recv; cat <&3; echo -; cat <&3; exec 3<recv; cat <&3; cat <&3"
    assert sh(shell, script, cwd=box.path) == "one\n-\ntwo\n"


def test_each_name_on_a_command_line_is_a_message(shell, box):
    assert sh(shell, "echo one > send; echo two > send; echo three > send; cat recv recv", cwd=box.path) == "one\ntwo\n"
    assert box.drain() == [b"three\n"]


def test_one_descriptor_sends_one_message_after_another(shell, box):
    sh(shell, "exec 3>send; echo one >&3; (echo two >&3); cat >&3 <<E\nthree\nE", cwd=box.path)
    assert box.drain() == [b"one\n", b"two\n", b"three\n"]


def test_send_with_a_number_is_more_urgent(shell, box):
    script = "echo slow > send; echo soon > send.7; echo now > send.31; cat recv; cat recv; cat recv"
    assert sh(shell, script, cwd=box.path) == "now\nsoon\nslow\n"


def test_cat_waits_for_an_echo(shell, box):
    receiver = start_sh(shell, "cat recv", cwd=box.path)
    box.wait_for(receivers_waiting=1)
    sh(shell, "echo hello > send", cwd=box.path)
    assert receiver.output() == "hello\n"


def test_echo_waits_for_room(shell, box):
    box.fill(b"first\n")
    sender = start_sh(shell, "echo second > send; echo sent", cwd=box.path)
    box.wait_for(senders_waiting=1)
    assert sh(shell, "cat recv", cwd=box.path) == "first\n"
    assert sender.output() == "sent\n"
    assert box.take(1) == [b"second\n"]


def test_timeout_ends_a_waiting_cat(shell, box):
    assert run(*SHELLS[shell], "-c", "timeout 0.1 cat recv", cwd=box.path).returncode in (124, 143)
    assert box.stat()["receivers_waiting"] == 0


def test_a_pipeline_goes_through_a_mailbox(shell, box):
    script = "(for i in 1 2 3; do echo $i > send; done) & for i in 1 2 3; do cat recv; done | tr 123 abc; wait"
    assert sh(shell, script, cwd=box.path) == "a\nb\nc\n"


def test_config_is_edited_with_echo_and_read_with_cat(shell, box):
    sh(shell, "echo messages=5 > config; echo overflow=reject >> config", cwd=box.path)
    assert sh(shell, "grep ^messages= config", cwd=box.path) == "messages=5\n"
    assert sh(shell, "cat config | grep -c =", cwd=box.path) == f"{len(box.config())}\n"
    assert box.config()["overflow"] == "reject"


def test_an_error_of_a_send_reaches_the_script(shell, box):
    box.configure(messages=1, overflow="reject")
    box.send(b"first")
    done = run(*SHELLS[shell], "-c", "echo second > send && echo sent", cwd=box.path)
    assert done.returncode != 0 and done.stdout == ""


# --- tools ---

def test_cat_sends_a_file_as_one_message(tool, box, outside):
    with open(box.send_path, "wb") as send:
        tool("cat", outside, stdout=send)
    assert box.drain() == [LONG.encode()]


def test_cat_receives_into_a_file(tool, box, outside):
    box.send(b"a message\n")
    with open(outside, "wb") as file:
        tool("cat", box.recv_path, stdout=file)
    assert outside.read_bytes() == b"a message\n"


def test_cat_receives_into_a_pipe(box):
    """Not busybox's: on newer kernels its sendfile finds nothing (README, limits)."""
    box.send(LONG.encode())
    assert run("cat", box.recv_path).stdout == LONG


def test_cp_sends_a_file(tool, box, outside):
    outside.write_text("short\n")
    tool("cp", outside, box.send_path)
    assert box.drain() == [b"short\n"]


def test_cp_receives_into_a_file(tool, box, outside):
    box.send(b"a message\n")
    tool("cp", box.recv_path, outside)
    assert outside.read_bytes() == b"a message\n"


def test_cp_copies_stat_and_config(tool, box, outside):
    for name in ("stat", "config"):
        tool("cp", box.file(name), outside)
        with open(box.file(name), encoding="utf-8") as file:
            assert outside.read_text() == file.read()


def test_dd_sends_a_block_as_a_message(tool, box, outside):
    tool("dd", f"if={outside}", f"of={box.send_path}", "bs=1000", "count=3")
    assert [len(message) for message in box.drain()] == [1000, 1000, 1000]


def test_dd_does_not_care_whether_it_may_truncate(tool, box, outside):
    tool("dd", f"if={outside}", f"of={box.send_path}", "bs=65536", "conv=notrunc")
    assert box.drain() == [LONG.encode()]


def test_dd_receives_a_message_in_blocks(tool, box, outside):
    box.send(LONG.encode())
    tool("dd", f"if={box.recv_path}", f"of={outside}", "bs=77")
    assert outside.read_text() == LONG


def test_tee_sends_what_it_prints(tool, box, outside):
    outside.write_text("to both\n")
    with open(outside, encoding="utf-8") as stdin:
        assert tool("tee", box.send_path, stdin=stdin) == "to both\n"
    assert box.drain() == [b"to both\n"]


def test_head_and_wc_read_a_message(tool, box):
    box.send(b"12345\n67890\n", b"12345\n67890\n")
    assert tool("head", "-c", "7", box.recv_path) == "12345\n6"
    assert tool("wc", "-c", box.recv_path).split()[0] == "12"


def test_stat_and_config_are_read_whole_by_cat(tool, box):
    assert "sent=0" in tool("cat", box.stat_path).splitlines()
    assert "messages=1024" in tool("cat", box.config_path).splitlines()


def test_touch_harms_nothing(tool, box):
    for name in ("send", "recv", "config", "stat"):
        tool("touch", box.file(name))
    assert box.counts("messages", "sent") == (0, 0)
    assert box.config()["messages"] == "1024"


def test_truncating_send_to_nothing_sends_nothing(tool, box):
    box.send(b"waiting")
    tool("truncate", "-s", "0", box.send_path)
    assert box.drain() == [b"waiting"]


def test_find_sees_the_files(tool, mnt, box):
    found = tool("find", mnt.path).splitlines()
    assert {box.path, box.send_path, box.recv_path, box.config_path, box.stat_path} <= set(found)


def test_df_shows_how_much_there_is_and_how_much_is_left(tool, mount):
    small = mount("-o", "max_bytes=4M")
    def sizes():
        return [int(field) for field in tool("df", "-Pk", small.path).splitlines()[1].split()[1:4]]
    assert sizes() == [4096, 0, 4096]
    box = small.box()
    for _ in range(8):
        box.send(bytes(65536))
    assert sizes() == [4096, 512, 3584]
    box.drain()
    box.wait_for(received=8)
    assert sizes() == [4096, 0, 4096]


# --- Python ---

def test_python_open_sends_and_receives(box):
    with open(box.send_path, "w", encoding="utf-8") as send:
        send.write("grüße\n")
    with open(box.recv_path, encoding="utf-8") as recv:
        assert recv.read() == "grüße\n"


def test_python_open_to_append_sends(box):
    with open(box.send_path, "ab", buffering=0) as send:
        send.write(b"one")
        send.write(b"two")
    assert box.drain() == [b"one", b"two"]


def test_python_sends_what_default_buffers_hold_as_one_message(box):
    data = os.urandom(65536)
    with open(box.send_path, "wb") as send:
        send.write(data)
    with open(box.recv_path, "rb") as recv:
        assert recv.read() == data

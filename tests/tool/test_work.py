"""ipcctl work: a command for each message; what is not done is back, whoever is killed."""

import os
import signal

import pytest

from harness import wait_until


@pytest.fixture
def name(box):
    return os.path.basename(box.path)


def test_each_message_is_its_commands_input(ctl, box, name):
    box.send(b"one\n", b"two\n", b"three\n")
    assert ctl.ok("work", name, "-t", "0", "--", "cat") == "one\ntwo\nthree\n"
    assert box.counts("messages", "leased") == (0, 0)


def test_a_large_message_nobody_reads_holds_up_nobody(ctl, box, name):
    box.configure(message_bytes=1044480)
    box.send(b"x" * 1044480, b"y")
    assert ctl.ok("work", name, "-t", "0", "--", "sh", "-c", "head -c 1") == "xy"


def test_the_envelope_is_in_the_environment(ctl, box, name):
    box.send(b'{"text": "x", "prio": 5, "headers": {"content-type": "text/plain"}}\n', name="send.json")
    said = ctl.ok("work", name, "-t", "0", "--", "sh", "-c",
                  'echo "$IPCFS_ID" "$IPCFS_UID" "$IPCFS_PID" "$IPCFS_PRIO" "$IPCFS_ATTEMPTS" "$IPCFS_H_CONTENT_TYPE" "$IPCFS_TIME"')
    number, uid, pid, prio, attempts, kind, time = said.split()
    assert (uid, pid, prio, attempts, kind) == ("0", str(os.getpid()), "5", "0", "text/plain")
    assert int(number) > 0 and time.endswith("Z")


def test_what_fails_is_tried_again_up_to_the_bound(ctl, mnt, box, name):
    failed = mnt.box()
    box.configure(attempts=3, dead=os.path.basename(failed.path))
    box.send(b"job")
    assert ctl.ok("work", name, "-t", "0", "--", "sh", "-c", 'echo "$IPCFS_ATTEMPTS"; exit 7') == "0\n1\n2\n"
    assert failed.drain() == [b"job"]
    failed.remove()


def test_so_many_at_a_time(ctl, box, name, tmp_path):
    box.send(*[b"x"] * 4)
    worker = ctl.start("work", name, "-j", "3", "--", "sh", "-c", f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done")
    box.wait_for(leased=3, messages=1)
    (tmp_path / "go").touch()
    box.wait_for(leased=0, messages=0)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_it_finish_and_take_no_more(ctl, box, name, tmp_path, number):
    box.send(b"first", b"second")
    worker = ctl.start("work", name, "--", "sh", "-c", f"touch {tmp_path}/runs; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done")
    wait_until((tmp_path / "runs").exists, "it runs")
    worker.send_signal(number)
    (tmp_path / "go").touch()
    assert worker.wait() == 0
    assert box.counts("messages", "leased") == (1, 0)


def test_killed_its_message_stays_with_the_command_and_then_returns(ctl, box, name, tmp_path):
    box.send(b"job")
    worker = ctl.start("work", name, "--", "sh", "-c",
                       f"touch {tmp_path}/runs; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done")
    wait_until((tmp_path / "runs").exists, "the command runs")
    worker.kill()
    worker.wait()
    assert box.counts("leased") == (1,)
    (tmp_path / "go").touch()
    box.wait_for(leased=0, messages=1)


def test_what_it_prints_answers_a_question(ctl, box, name):
    worker = ctl.start("work", name, "--", "tr", "a-z", "A-Z")
    assert ctl.ok("call", name, "what") == "WHAT"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_command_that_is_not_there(ctl, box, name):
    box.send(b"job")
    said = ctl.fails("work", name, "--", "./nothing")
    assert said.startswith("can't run './nothing': ") and said.endswith(f"of mailbox '{name}' stays")
    box.wait_for(messages=1, leased=0)


def test_nothing_came_in_time(ctl, name):
    done = ctl.run("work", name, "-t", "0.1", "--", "cat")
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.parametrize("args", [("work",), ("work", "box"), ("work", "box", "-j", "0", "--", "cat"),
                                  ("work", "ring/x", "--", "cat")])
def test_it_says_what_is_wrong(ctl, args):
    done = ctl.run(*args)
    assert done.returncode == 2 and done.stderr.startswith("ipcctl")

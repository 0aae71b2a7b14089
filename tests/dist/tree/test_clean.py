"""tests/dist/tree/clean: what tests leave behind is named."""

import os
import pathlib
import subprocess

import pytest

CLEAN = os.path.join(os.path.dirname(__file__), "clean")


@pytest.fixture
def note(tmp_path):
    """Where it is noted what there is."""
    return tmp_path / "note"


def noted(note, pid):
    """What is said of a process. Other tests may leave things for a while, for which a check would wait."""
    subprocess.run([CLEAN, "save", note, note.parent], check=True)
    return [line for line in note.read_text().splitlines() if line.startswith(f"running: {pid} ")]


@pytest.fixture
def start():
    """Starts a program that a test could have left behind."""
    started = []

    def start_one(*args, **variables):
        process = subprocess.Popen(args, env={**os.environ, **variables}, start_new_session=True)
        started.append(process)
        return process
    yield start_one
    for process in started:
        process.kill()
        process.wait()


def test_program_from_anywhere_is_known_by_the_run_it_comes_from(note, start):
    sleeper = start("sleep", "1000", CHECK_RUN=str(note))
    assert noted(note, sleeper.pid) == [f"running: {sleeper.pid} sleep 1000 "]


def test_child_of_one_that_has_ended_is_known_too(note, start, tmp_path):
    shell = start("sh", "-c", f"setsid sleep 1000 & echo $! > {tmp_path}/pid", CHECK_RUN=str(note))
    shell.wait()
    pid = int((tmp_path / "pid").read_text())
    try:
        assert noted(note, pid)
    finally:
        os.kill(pid, 9)


def test_program_of_another_run_is_nobodys_business(note, start):
    sleeper = start("sleep", "1000", CHECK_RUN=f"{note}2")
    assert not noted(note, sleeper.pid)


def test_program_of_the_build_is_known_by_its_place(note, start, tmp_path):
    program = tmp_path / "program"
    program.write_bytes(pathlib.Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    sleeper = start(program, "1000")
    assert noted(note, sleeper.pid)


def test_check_without_a_note_is_no_check(note):
    check = subprocess.run([CLEAN, "check", note, note.parent], stderr=subprocess.PIPE, text=True, check=False)
    assert (check.returncode, check.stderr) == (2, f"clean: {note}: nothing was noted there\n")

"""ipcctl top, on the screen of a real terminal multiplexer."""

import os
import re
import shlex
import signal
import subprocess
import time

import pytest

from ctl import ODD_NAMES, PLAIN, UTF8, Ctl, remove_if_there
from harness import ALICE, PATIENCE, process_state, run, wait_until

DELAY = "100ms"
HELP = "q quit  n m b i o w sort  r reverse  / filter  arrows scroll  space hold"


NARROW, WIDE = (80, 24), (200, 50)
# Figures that are there on any terminal, and those that a wide one has.
ALWAYS = ["MSGS", "MAX", "BYTES", "IN/s", "OUT/s", "SND", "RCV"]
MORE = ["LEASED", "MAXBYTES", "DROPPED", "DEAD", "TOTAL", "LAST SENT", "OWNER"]


class Screen:
    """A terminal of so many columns and lines, in which a command runs."""

    def __init__(self, directory, command, env, size=NARROW):
        self.socket = str(directory / "tmux")
        self.status = directory / "status"
        # tmux does not always know with which status a command ended. The command has the terminal's signals to itself.
        # What holds the screen after it ends with the terminal, which only the first process is told of.
        script = f'trap : INT HUP; "$@"; echo $? > {self.status}; trap - HUP; exec cat'
        words = ["env", *(f"{key}={value}" for key, value in env.items()), *map(os.fsdecode, command)]
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), shlex.join(["sh", "-c", script, "sh", *words]))
        self.shell = int(self.tmux("display-message", "-p", "#{pane_pid}"))

    def tmux(self, *args):
        done = subprocess.run(["tmux", "-u", "-S", self.socket, *args], capture_output=True, text=True, check=False,
                              errors="surrogateescape", timeout=PATIENCE)
        assert done.returncode == 0, done
        return done.stdout

    def lines(self):
        return self.tmux("capture-pane", "-p").split("\n")[:-1]

    def wait(self, predicate, what):
        """Until the lines are as expected."""
        return wait_until(lambda: predicate(self.lines()), lambda: what + ":\n" + "\n".join(self.lines()))

    def rows(self):
        """The cells of each row by the first, the name, which has no spaces here: the bars, and what is there on any terminal."""
        return {cells[0]: cells[1:2 + len(ALWAYS)] for cells in map(str.split, self.lines()[3:-1]) if cells}

    def figures(self):
        """For each row the figure under each title, at whose right edge it ends."""
        lines = self.lines()
        ends = [(name, lines[2].index(" " + name) + 1 + len(name)) for name in ALWAYS + MORE if " " + name in lines[2]]
        return [{name: line[begin:end].strip() for (_, begin), (name, end) in zip([("", ends[0][1] - 6)] + ends, ends)}
                for line in lines[3:-1] if line]

    def names(self):
        return list(self.rows())

    def wait_for_names(self, *names):
        wait_until(lambda: self.names() == list(names), lambda: f"{names}, but shows {self.names()}")

    def wait_for_state(self, text):
        self.wait(lambda lines: lines[1] == text, text)

    def type(self, *keys):
        self.tmux("send-keys", *keys)

    def pid(self):
        with open(f"/proc/{self.shell}/task/{self.shell}/children", encoding="utf-8") as children:
            return int(children.read())

    def expect_end(self, status, *lines):
        """The command ends so, and these lines are what the screen is left with."""
        wait_until(lambda: self.status.exists() and self.status.read_text() == f"{status}\n", lambda: "\n".join(self.lines()))
        def left():
            return [line for line in self.tmux("capture-pane", "-p", "-J").split("\n") if line]
        wait_until(lambda: left() == list(lines), lambda: f"{lines}, but the screen has {left()}")


@pytest.fixture
def screen(tmp_path):
    """Runs a command in a terminal."""
    screens = []

    def open_screen(*command, env=UTF8, size=NARROW):
        directory = tmp_path / f"screen{len(screens)}"
        directory.mkdir()
        screens.append(Screen(directory, command, env, size))
        return screens[-1]

    yield open_screen
    for opened in screens:
        if os.path.exists(opened.socket):
            subprocess.run(["tmux", "-S", opened.socket, "kill-server"], check=False, stderr=subprocess.DEVNULL, timeout=PATIENCE)
        wait_until(lambda shell=opened.shell: process_state(shell) in ("gone", "Z"), f"the shell {opened.shell} ends with its terminal")


@pytest.fixture
def top(ctl, screen):
    """top on the mount."""
    def start_top(*args, env=UTF8, size=NARROW):
        opened = screen(*ctl.args("top", "--delay", DELAY, *args), env=env, size=size)
        opened.wait(lambda lines: lines[-1] == HELP, "top shows")
        return opened

    return start_top


@pytest.fixture
def boxes(mnt):
    """Makes mailboxes by name."""
    made = []

    def make(*names):
        made.extend(mnt.mailbox(name).make() for name in names)
        return made[-len(names):]

    yield make
    for box in made:
        remove_if_there(box)


def test_screen(ctl, boxes, top):
    [orders] = boxes("orders")
    orders.send(b"x" * 1000, b"y" * 1000)
    screen = top()
    wait_until(lambda: screen.rows().get("orders", [])[4:] == ["0", "0", "0", "0"], "rates are known")
    lines = screen.lines()
    assert len(lines) == 24 and max(map(len, lines)) <= 80
    assert lines[0] == f"ipcfs on {ctl.mount}: 1 shown of 1, 2 messages, in 0/s, out 0/s"
    assert lines[1] == "sorted by name"
    assert lines[2].split() == ["NAME", "FULL", *ALWAYS, "LEASED"]
    assert screen.rows()["orders"][1:] == ["2", "1024", "2.0K", "0", "0", "0", "0"]


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "200x50"])
def test_each_size_has_what_it_has_room_for(boxes, top, size):
    """Each figure whole and under its title, what is leased too; on a wide terminal names and bars are longer, and there is more."""
    wide = size == WIDE
    long_name = "jobs-" + "of-a-long-name-" * 3
    few, jobs = boxes("few", long_name)
    few.configure(messages=1, overflow="drop-oldest")
    few.send(b"1", b"2", b"3")
    few.drain()
    jobs.send(b"x" * 1000, b"y" * 1000)
    lease = os.open(os.path.join(jobs.path, "work"), os.O_RDWR)
    owner = os.open(os.path.join(few.path, "owner"), os.O_WRONLY)
    try:
        os.read(lease, 2000)
        screen = top(size=size)
        screen.wait(lambda lines: re.search(" {}".format("▁" * (20 if wide else 9)), lines[3]), "a history")
        lines = screen.lines()
        assert len(lines) == size[1] and max(map(len, lines)) <= size[0]
        assert lines[4].split()[0] == (long_name if wide else long_name[:12] + "~")
        figures = screen.figures()
        if wide:
            assert figures[0].pop("OWNER") == f"process {os.getpid()} ({open('/proc/self/comm', encoding='utf-8').read().strip()})"[:25]
            assert figures[1].pop("OWNER") == "-"
            assert all(row.pop("LAST SENT").endswith(("now", "s ago")) for row in figures)
        expected = [{"MSGS": "0", "MAX": "1", "BYTES": "0", "RCV": "0", "LEASED": "0", "DROPPED": "2", "DEAD": "0", "TOTAL": "3"},
                    {"MSGS": "1", "MAX": "1024", "BYTES": "1000", "RCV": "0", "LEASED": "1", "MAXBYTES": "16M", "DROPPED": "0", "DEAD": "0",
                     "TOTAL": "2"}]
        assert [list(row) for row in figures] == [ALWAYS + ["LEASED"] + (MORE[1:5] if wide else [])] * 2
        for row, want in zip(figures, expected):
            assert {key: row[key] for key in want if key in row} == {key: value for key, value in want.items() if key in row}
    finally:
        os.close(owner)
        os.close(lease)


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "200x50"])
def test_as_many_rows_as_there_are_lines(boxes, top, size):
    names = [f"box{i:02}" for i in range(60)]
    boxes(*names)
    screen = top(size=size)
    screen.wait_for_names(*names[:size[1] - 4])
    screen.type("NPage")
    screen.wait_for_names(*names[size[1] - 4:][:size[1] - 4] if size == NARROW else names[14:])


def test_what_comes_and_goes(boxes, top):
    boxes("first")
    screen = top()
    screen.wait_for_names("first")
    [second] = boxes("second")
    screen.wait_for_names("first", "second")
    os.rmdir(second.path)
    screen.wait_for_names("first")


def test_rates(boxes, top):
    [orders] = boxes("orders")
    screen = top()

    def busy():
        orders.send(*[b"x"] * 200)
        orders.drain()
        figures = screen.rows().get("orders", [])
        return len(figures) == 8 and figures[4] not in "-0" and figures[5] not in "-0"

    wait_until(busy, lambda: f"rates, but shows {screen.rows()}")


@pytest.mark.parametrize("env, levels", [(UTF8, "▁▂▅█"), (PLAIN, "_.=#")], ids=["utf8", "ascii"])
def test_bars_are_of_each_ones_own_limits(boxes, top, env, levels):
    none, little, half, full = levels
    five, many, long = boxes("five", "many", "long")
    five.configure(messages=5)
    long.configure(bytes=1000, message_bytes=1000)
    screen = top(env=env)

    def shows(**bars):
        wait_until(lambda: all(bar in screen.rows().get(name, [""])[0] for name, bar in bars.items()),
                   lambda: f"{bars}, but shows {screen.rows()}")

    shows(five=none, many=none, long=none)
    many.send(b"x")
    five.send(*[b"x"] * 5)
    long.send(b"x" * 550)
    shows(five=none + full, many=none + little, long=none + half)
    five.drain()
    long.send(b"y" * 450)
    shows(five=full + none, many=little, long=half + full)
    assert re.fullmatch(f"[{re.escape(none + little)}]{{2,60}}", screen.rows()["many"][0])
    many.drain()
    long.drain()


def test_waiters(boxes, top):
    full, empty = boxes("full", "empty")
    full.fill()
    waiting = [full.start_send(b"second"), empty.start_receive(), empty.start_receive()]
    screen = top()
    wait_until(lambda: (screen.rows().get("full", [])[-2:], screen.rows().get("empty", [])[-2:]) == (["1", "0"], ["0", "2"]),
               lambda: f"waiters, but shows {screen.rows()}")
    del waiting


def test_sorting(boxes, top):
    a, b, c = boxes("a", "b", "c")
    b.send(b"1", b"2", b"3")
    c.send(b"x" * 100)
    a.send(b"x", b"y")
    screen = top()
    screen.wait_for_names("a", "b", "c")
    for key, order, state in [("m", "bac", "sorted by messages"), ("b", "cba", "sorted by bytes"),
                              ("r", "abc", "sorted by bytes, reversed"), ("r", "cba", "sorted by bytes"),
                              ("n", "abc", "sorted by name")]:
        screen.type(key)
        screen.wait_for_state(state)
        screen.wait_for_names(*order)


def test_sorted_by_waiters(boxes, top):
    _, b = boxes("a", "b")
    waiting = b.start_receive()
    b.wait_for(receivers_waiting=1)
    screen = top()
    screen.wait_for_names("a", "b")
    screen.type("w")
    screen.wait_for_names("b", "a")
    del waiting


def test_filter(boxes, top):
    boxes("orders", "order-log", "jobs")
    screen = top()
    screen.wait_for_names("jobs", "order-log", "orders")
    screen.type("/", "o", "r", "d", "x")
    screen.wait_for_state("sorted by name, filter: ordx_")
    screen.wait_for_names()
    screen.type("BSpace")
    screen.wait_for_names("order-log", "orders")
    # Letters that are commands elsewhere.
    screen.type("e", "r", "s", "Enter")
    screen.wait_for_state("sorted by name, filter: orders")
    screen.wait_for_names("orders")
    screen.type("Escape")
    screen.wait_for_state("sorted by name")
    screen.wait_for_names("jobs", "order-log", "orders")
    screen.type("/", "j", "Escape")
    screen.wait_for_state("sorted by name")


def test_filter_of_letters_of_several_bytes(boxes, top):
    boxes("café", "cafe")
    screen = top()
    screen.wait_for_names("cafe", "café")
    screen.type("/", "é")
    screen.wait_for_names("café")
    screen.type("BSpace")
    screen.wait_for_state("sorted by name, filter: _")
    screen.wait_for_names("cafe", "café")


def test_scrolling(boxes, top):
    names = [f"box{i:02}" for i in range(50)]
    boxes(*names)
    screen = top()
    for key, first in [(None, 0), ("Down", 1), ("NPage", 21), ("NPage", 30), ("Down", 30), ("Up", 29), ("PPage", 9), ("End", 30),
                       ("Home", 0), ("Up", 0)]:
        if key:
            screen.type(key)
        screen.wait_for_names(*names[first:first + 20])


def test_keys_beyond_the_end_are_lost(boxes, top):
    """What is typed faster than it is shown does what each key does alone."""
    names = [f"box{i:02}" for i in range(50)]
    boxes(*names)
    screen = top()
    screen.wait_for_names(*names[:20])
    screen.type("End", *["Down"] * 20, *["Up"] * 10)
    screen.wait_for_names(*names[20:40])


def test_held(boxes, top):
    [orders] = boxes("orders")
    screen = top()
    screen.wait_for_names("orders")
    screen.type("Space")
    screen.wait_for_state("sorted by name, held")
    orders.send(b"x")
    time.sleep(0.5)
    assert screen.rows()["orders"][1] == "0"
    screen.type("Space")
    wait_until(lambda: screen.rows()["orders"][1] == "1", "it goes on")


def test_another_size(boxes, top):
    boxes(*[f"box{i:02}" for i in range(50)])
    screen = top()
    screen.tmux("resize-window", "-x", "120", "-y", "40")
    screen.wait(lambda lines: len(lines) == 40 and lines[-1] == HELP and "box35" in lines[38], "the larger size")
    screen.tmux("resize-window", "-x", "60", "-y", "6")
    screen.wait(lambda lines: len(lines) == 6 and lines[-1] == HELP[:59] + "~" and "box01" in lines[4], "the smaller size")
    screen.tmux("resize-window", "-x", "5", "-y", "2")
    time.sleep(0.3)
    screen.type("q")
    screen.expect_end(0)


@pytest.mark.parametrize("env", [UTF8, PLAIN], ids=["utf8", "ascii"])
def test_odd_names_have_a_line_each(mnt, top, env):
    paths = [os.path.join(os.fsencode(mnt.mbox), name) for name in ODD_NAMES[:20]]
    for path in paths:
        os.mkdir(path)
    try:
        screen = top(env=env)
        lines = screen.wait(lambda lines: re.search(r" 0\s+0\s+0\s+0$", lines[22]) and lines, "a line each")
        assert all(re.search(r" 0\s+0\s+0\s+0\s+0$", line) for line in lines[3:23]) and max(map(len, lines)) <= 80
    finally:
        for path in paths:
            os.rmdir(path)


def test_all_rooms(ctl, boxes, top):
    boxes("orders")
    for name in "ring/ticks", "shm/frame":
        ctl.ok("new", name)
    screen = top()
    screen.wait_for_names("orders", "ring/ticks", "shm/frame")
    ctl.ok("rm", "ring/ticks", "shm/frame")
    screen.wait_for_names("orders")


# --- how it ends ---

@pytest.mark.parametrize("key", ["q", "C-c"])
def test_keys_end_it(boxes, ctl, screen, key):
    """And the terminal is as before."""
    boxes("orders")
    script = 'before=$(stty -g); "$@" top; echo "status $?"; [ "$before" = "$(stty -g)" ] && echo as before'
    opened = screen("sh", "-c", "trap : INT; " + script, "sh", *ctl.args())
    opened.wait(lambda lines: lines[-1] == HELP, "top shows")
    opened.type(key)
    opened.expect_end(0, "status 0", "as before")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_end_it(top, number):
    screen = top()
    os.kill(screen.pid(), number)
    screen.expect_end(0)


def test_it_is_no_busy_mount_and_ends_with_it(mount, ipcctl, screen):
    other = mount()
    other.box()
    opened = screen(*Ctl(ipcctl, other.path).args("top", "--delay", "1h"))
    opened.wait(lambda lines: lines[-1] == HELP, "top shows")
    wait_until(lambda: run("umount", other.path).returncode == 0, "it can be unmounted")
    opened.expect_end(0, f"ipcctl: the ipcfs on {other.path} was unmounted")


def test_it_ends_with_the_daemon(mount, ipcctl, screen):
    other = mount()
    opened = screen(*Ctl(ipcctl, other.path).args("top", "--delay", DELAY))
    opened.wait(lambda lines: lines[-1] == HELP, "top shows")
    other.expected_status = -signal.SIGKILL
    os.kill(other.pid, signal.SIGKILL)
    opened.expect_end(1, f"ipcctl: the ipcfs on {other.path} has died; clear its mount: fusermount3 -u -z {other.path}")


def test_it_ends_with_its_terminal(top):
    screen = top()
    pid = screen.pid()
    screen.tmux("kill-server")
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "it ends")


def test_another_user(ctl, boxes, screen):
    boxes("orders")
    opened = screen("setpriv", "--reuid", str(ALICE), "--clear-groups", *ctl.args("top"))
    opened.wait(lambda lines: lines[3].startswith("orders "), "the row")


def test_no_terminal(ctl):
    assert ctl.fails("top") == "top needs a terminal; for programs there is: ipcctl ls --json"


def test_a_terminal_that_nobody_knows(ctl, screen):
    # ncurses leaks what it has read of a terminal that it then refuses.
    opened = screen(*ctl.args("top"), env={**UTF8, "TERM": "no such", "ASAN_OPTIONS": "detect_leaks=0"})
    opened.expect_end(1, "ipcctl: top can't use this terminal: TERM is 'no such'")


@pytest.mark.parametrize("args, said", [
    (["--delay", "0"], "ipcctl top: a --delay is at least 50ms"),
    (["--delay", "x"], "ipcctl top: 'x' is no time: seconds, or a number with ms, s, m or h"),
    (["orders"], "ipcctl top: Too many arguments"),
])
def test_misuse(ctl, args, said):
    assert ctl.misused("top", *args) == said

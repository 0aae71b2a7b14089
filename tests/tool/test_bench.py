"""ipcctl bench: figures for all, whatever they are here; and nothing stays behind."""

import json
import os
import re
import signal
import tempfile
import xml.etree.ElementTree

import pytest

from ctl import PLAIN, Ctl, complaint
from harness import ALICE, SLOW, wait_until

DISK = "ipcfs, on disk"
NAMES = ["ipcfs mailbox", DISK, "ipcfs topic", "ipcfs lines", "ipcfs ring", "POSIX queue", "System V queue", "pipe",
         "Unix datagrams", "SEQPACKET", "shm + eventfd", "/dev/shm"]
# What a mount without a store has.
HAD = [name for name in NAMES if name != DISK]
BENCH_SECONDS = 60 * SLOW


def own_queues():
    """System V queues that no process of ours may have left: of the users that tests run as."""
    with open("/proc/sysvipc/msg", encoding="utf-8") as queues:
        rows = [line.split() for line in queues][1:]
    return [row for row in rows if int(row[7]) in (os.getuid(), ALICE)]


def own_objects():
    return [name for name in os.listdir("/dev/shm") if "ipcctl-bench" in name]


@pytest.fixture
def bench(ctl):
    """Runs it for a short while, and sees that it cleans up."""
    def run_bench(*args, **kwargs):
        return ctl.run("bench", "--rounds", "1", *args, timeout=BENCH_SECONDS, **kwargs)

    yield run_bench
    for room in "mbox", "topic", "ring":
        assert os.listdir(os.path.join(ctl.mount, room)) == []
    # Those of a bench that another test runs meanwhile end with it.
    wait_until(lambda: own_queues() == own_objects() == [], "nothing is left beside the mount")


def check_results(results, lacking=(DISK,), names=NAMES):
    assert [result["transport"] for result in results] == names
    for result in results:
        if result["transport"] in lacking:
            assert (result["error"], result["messages_per_s"]) == ("Operation not supported", None)
            continue
        assert result["error"] is None
        assert result["messages_per_s"] > 0 and result["ratio"] > 0
        if result["transport"].endswith(" lines"):
            assert result["round_trip_ns"] is None and result["round_trip_ratio"] is None
        else:
            assert result["round_trip_ns"] > 0 and result["round_trip_ratio"] > 0
    [pipe] = [result for result in results if result["transport"] == "pipe"]
    assert (pipe["ratio"], pipe["round_trip_ratio"]) == (1, 1)


@pytest.mark.parametrize("uid", [None, ALICE], ids=["root", "user"])
def test_json(ctl, bench, uid):
    done = bench("--json", uid=uid)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert (report["size"], report["rounds"], report["baseline"]) == (64, 1, "pipe")
    assert report["cpus"] == os.sysconf("SC_NPROCESSORS_ONLN")
    with open(os.path.join(ctl.mount, ".ipcfs/version"), encoding="utf-8") as version:
        assert report["requests"] == ("io_uring" if "transport=uring\n" in version.read() else "/dev/fuse")
    check_results(report["results"])


@pytest.mark.parametrize("size", ["1", "1000", "8192"])
def test_sizes(bench, size):
    done = bench("--json", "--size", size)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["size"] == int(size)
    check_results(report["results"])


def test_what_can_not_be_had_is_said(bench):
    """A user's queues have no such long messages."""
    done = bench("--json", "--size", "65536", uid=ALICE)
    assert (done.returncode, done.stderr) == (0, "")
    errors = {result["transport"]: result["error"] for result in json.loads(done.stdout)["results"]}
    assert errors.pop("POSIX queue") == errors.pop("System V queue") == "Invalid argument"
    assert errors.pop(DISK) == "Operation not supported"
    assert set(errors.values()) == {None}


def test_what_can_not_be_had_has_no_row(bench):
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        path = os.path.join(directory, "chart.svg")
        assert bench("--svg", path, "--size", "65536", uid=ALICE).returncode == 0
        svg = xml.etree.ElementTree.parse(path)
    names = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text") if element.text in NAMES]
    rows = sorted(int(element.get("y")) for element in svg.iter("{http://www.w3.org/2000/svg}rect") if element.get("y"))
    # Two charts; the queues are in neither, lines have no round trip.
    had = [name for name in HAD if not name.endswith(" queue")]
    assert names == had + [name for name in had if name != "ipcfs lines"]
    gaps = [b - a for a, b in zip(rows, rows[1:])]
    assert sorted(gaps)[-2] == sorted(gaps)[0] and int(svg.getroot().get("height")) < rows[-1] + 60


@pytest.mark.parametrize("env, bar", [({"LC_ALL": "C.UTF-8"}, "█"), (PLAIN, "#")], ids=["utf8", "ascii"])
def test_bars(bench, tmp_path, env, bar):
    path = tmp_path / "chart.svg"
    done = bench("--svg", str(path), env=env)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines[2:])) <= 80
    first, second, rest = done.stdout.split("\n\n")[1:]
    assert rest == f"{DISK}: wants a mount with a store (-o store=DIR)\n"
    for chart, names in (first, HAD), (second, [name for name in HAD if name != "ipcfs lines"]):
        rows = chart.splitlines()[1:]
        assert [row[:14].rstrip() for row in rows] == names
        assert [row for row in rows if not re.search(r" \d+\.\d\d(\d\d)?$", row)] == []
        # The longest is as long as the axis.
        assert max(row.count(bar) for row in rows) == 34
    texts = [element.text for element in xml.etree.ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]
    assert [name for name in HAD if name not in texts] == []


def test_on_disk(mount, ipcctl, tmp_path):
    other = mount("-o", f"store={tmp_path}")
    done = Ctl(ipcctl, other.path).run("bench", "--rounds", "1", "--json", timeout=BENCH_SECONDS)
    assert (done.returncode, done.stderr) == (0, "")
    check_results(json.loads(done.stdout)["results"], lacking=())
    assert [os.listdir(os.path.join(other.path, room)) for room in ("mbox", "topic", "ring")] == [[], [], []]


OTHERS = ["other mailbox", "other topic", "other lines"]


def test_two_mounts(mount, bench):
    """In one chart, each with the way of its requests."""
    other = mount("-o", "transport=dev")
    done = bench("--json", "--beside", other.path)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["other_requests"] == "/dev/fuse"
    at = NAMES.index("POSIX queue")
    check_results(report["results"], names=NAMES[:at] + OTHERS + NAMES[at:])
    done = bench("--beside", other.path)
    assert (done.returncode, done.stderr) == (0, "")
    head, first, second = done.stdout.split("\n\n")[:3]
    assert head.endswith("\nThe other mount's come over /dev/fuse.")
    assert [row[:14].rstrip() for row in first.splitlines() if row.startswith("other")] == OTHERS
    assert [row[:14].rstrip() for row in second.splitlines() if row.startswith("other")] == OTHERS[:2]
    assert [os.listdir(os.path.join(other.path, room)) for room in ("mbox", "topic", "ring")] == [[], [], []]


def test_the_other_mount_is_the_one_measured(mount, bench):
    """One that takes nothing shows whose the rows are."""
    other = mount("-o", "ro")
    done = bench("--json", "--beside", other.path)
    assert done.returncode == 1
    assert [line.split(":")[1] for line in done.stderr.splitlines()] == [f" can't measure {name}" for name in OTHERS]


def test_beside_what_is_no_mount(bench):
    done = bench("--beside", "/proc")
    assert (done.returncode, done.stdout, complaint(done.stderr)) == (1, "", "there is no ipcfs on /proc")


def test_picture_that_can_not_be_written(bench):
    done = bench("--svg", "/no such/chart.svg")
    assert (done.returncode, done.stdout) == (1, "")
    assert complaint(done.stderr) == "can't write '/no such/chart.svg': No such file or directory"
    done = bench("--svg", "/dev/full", "--json")
    assert done.returncode == 1
    assert complaint(done.stderr) == "can't write '/dev/full': No space left on device"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped(ctl, bench, tmp_path, number):
    """And the picture of the last time is still there."""
    assert bench
    chart = tmp_path / "chart.svg"
    chart.write_text("last time's")
    running = ctl.start("bench", "--rounds", "1000", "--svg", chart)
    wait_until(lambda: os.listdir(os.path.join(ctl.mount, "mbox")), "it has begun")
    os.kill(running.pid, number)
    assert running.wait() == -number
    assert chart.read_text() == "last time's"


def test_a_picture_that_was_longer(bench, tmp_path):
    chart = tmp_path / "chart.svg"
    chart.write_text("x" * 100000)
    assert bench("--svg", chart, "--json").returncode == 0
    xml.etree.ElementTree.parse(chart)


def test_without_room(mount, ipcctl):
    """What ipcfs refuses is said, and is a failure."""
    other = mount("-o", "max_bytes=4K,uid_bytes=4K")
    done = Ctl(ipcctl, other.path).run("bench", "--rounds", "1", "--json", timeout=BENCH_SECONDS)
    assert done.returncode == 1
    assert re.search(r"^ipcctl: can't measure ipcfs ring: (Disk quota exceeded|No space left on device)$", done.stderr, re.M)
    [ring] = [result for result in json.loads(done.stdout)["results"] if result["transport"] == "ipcfs ring"]
    assert ring["messages_per_s"] is None and ring["error"]


@pytest.mark.parametrize("args, said", [
    (["--size", "0"], "ipcctl bench: '0' is no size: a number from 1 to 65536"),
    (["--size", "65537"], "ipcctl bench: '65537' is no size: a number from 1 to 65536"),
    (["--rounds", "0"], "ipcctl bench: '0' is no number of rounds: a number from 1 to 1000"),
    (["x"], "ipcctl bench: Too many arguments"),
])
def test_misuse(ctl, args, said):
    assert ctl.misused("bench", *args) == said

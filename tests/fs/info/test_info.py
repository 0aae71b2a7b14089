""".ipcfs/: what the mount is and what goes on in it."""

import contextlib
import errno
import os
import re
import shutil
import stat

import pytest

from harness import ALICE, IPCFS, Call, Handle, as_user, fails_with, read_settings, run, sh

NAMES = ["version", "metrics"]

MAILBOX_FAMILIES = {
    "ipcfs_mailbox_messages": "messages",
    "ipcfs_mailbox_bytes": "bytes",
    "ipcfs_mailbox_sent_total": "sent",
    "ipcfs_mailbox_received_total": "received",
    "ipcfs_mailbox_dropped_total": "dropped",
    "ipcfs_mailbox_rejected_total": "rejected",
    "ipcfs_mailbox_senders_waiting": "senders_waiting",
    "ipcfs_mailbox_receivers_waiting": "receivers_waiting",
}

RING_FAMILIES = {
    "ipcfs_ring_messages": "messages",
    "ipcfs_ring_map_bytes": "map_bytes",
    "ipcfs_ring_sent_total": "sent",
    "ipcfs_ring_received_total": "received",
    "ipcfs_ring_senders_waiting": "senders_waiting",
    "ipcfs_ring_receivers_waiting": "receivers_waiting",
}


def info_file(mnt, name):
    return os.path.join(mnt.path, ".ipcfs", name)


def read_info(mnt, name):
    with Handle(info_file(mnt, name), os.O_RDONLY) as file:
        return b"".join(iter(file.read, b""))


# --- Prometheus' text format, read strictly ---

HELP = re.compile(r"# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) ((?:[^\\]|\\\\|\\n)+)")
TYPE = re.compile(r"# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge)")
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)", re.DOTALL)
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)', re.DOTALL)

UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


def parse_labels(text):
    labels = []
    while text:
        label = LABEL.match(text)
        assert label, f"labels: {text!r}"
        labels.append((label[1], re.sub(r"\\.", lambda escape: UNESCAPED[escape[0]], label[2])))
        text = text[label.end():]
    assert len(dict(labels)) == len(labels), "a label comes twice"
    return tuple(sorted(labels))


class Metrics:
    """Types and samples; fails where the text is not as the format demands."""

    def __init__(self, data):
        self.types = {}
        self.samples = {}
        self._helps = set()
        self._current = None
        assert data.endswith(b"\n")
        for line in data.decode("utf-8").split("\n")[:-1]:
            if line.startswith("# HELP "):
                self._add_help(line)
            elif line.startswith("# TYPE "):
                self._add_type(line)
            else:
                self._add_sample(line)
        assert self._helps == set(self.types)

    def _add_help(self, line):
        name = HELP.fullmatch(line)[1]
        assert name not in self._helps, "each family has one HELP, and stays together"
        self._helps.add(name)
        self._current = name

    def _add_type(self, line):
        name, kind = TYPE.fullmatch(line).groups()
        assert name == self._current and name not in self.types
        assert (kind == "counter") == name.endswith("_total")
        self.types[name] = kind

    def _add_sample(self, line):
        sample = SAMPLE.fullmatch(line)
        assert sample, f"sample: {line!r}"
        name, labels, value = sample.groups()
        assert name == self._current and name in self.types, "a sample follows its HELP and TYPE"
        key = (name, parse_labels(labels or ""))
        assert key not in self.samples, f"{key} comes twice"
        self.samples[key] = float(value)

    def value(self, name, **labels):
        return self.samples[name, tuple(sorted(labels.items()))]

    def mailboxes(self, name="ipcfs_mailbox_messages"):
        return [dict(labels)["mailbox"] for family, labels in self.samples if family == name]


def read_metrics(mnt):
    return Metrics(read_info(mnt, "metrics"))


# --- version ---

def test_version_is_that_of_the_program(mnt):
    lines = read_info(mnt, "version").decode().splitlines()
    settings = dict(line.split("=", 1) for line in lines)
    assert len(settings) == len(lines)
    assert settings["version"] in run(IPCFS, "-V").stdout
    # It tells how rings are mapped.
    assert settings["passthrough"] in ("yes", "no")
    assert settings["transport"] in ("uring", "dev")


def mount_id(mnt):
    return re.search(r"^mount_id=([0-9a-f]{32})$", read_info(mnt, "version").decode(), re.M)[1]


def test_mount_id_names_one_mount(mnt, mount):
    """With a message's id it is a name for the message that no other mount gives."""
    assert mount_id(mnt) == mount_id(mnt)
    assert mount_id(mnt) != mount_id(mount())


def test_shell_reads_both(shell, mnt, box):
    sh(shell, "echo hello > send", cwd=box.path)
    script = "grep ^version= .ipcfs/version; grep -c ^ipcfs_mailbox_messages .ipcfs/metrics; cat .ipcfs/metrics | wc -l"
    version, n_mailboxes, n_lines = sh(shell, script, cwd=mnt.path).split()
    assert version.startswith("version=") and int(n_mailboxes) >= 1 and int(n_lines) > 10
    name = os.path.basename(box.path)
    line = sh(shell, f"grep 'messages.*\"{name}\"' .ipcfs/metrics", cwd=mnt.path)
    assert line == f'ipcfs_mailbox_messages{{mailbox="{name}"}} 1\n'


def test_directory_lists_them(mnt):
    assert ".ipcfs" in os.listdir(mnt.path)
    assert {"version", "metrics"} <= set(os.listdir(os.path.join(mnt.path, ".ipcfs")))


# --- metrics ---

def test_metrics_of_an_empty_mount(mount):
    metrics = read_metrics(mount("-o", "max_bytes=1M"))
    assert metrics.value("ipcfs_mailboxes") == 0
    assert metrics.value("ipcfs_used_bytes") == 0
    assert metrics.value("ipcfs_max_bytes") == 1 << 20
    assert metrics.mailboxes() == []


def test_metrics_tell_what_stat_tells(mnt, box):
    box.configure(messages=3)
    box.send(b"one", b"two", b"three")
    box.receive()
    box.wait_for(received=1)
    box.send(b"four")
    box.configure(overflow="drop-oldest")
    box.send(b"five")
    box.configure(overflow="reject")
    with fails_with(errno.ENOBUFS):
        box.send(b"six")
    box.configure(overflow="block")
    box.start_send(b"seven")
    box.wait_for(senders_waiting=1)
    metrics, told = read_metrics(mnt), box.stat()
    name = os.path.basename(box.path)
    assert {key: metrics.value(family, mailbox=name) for family, key in MAILBOX_FAMILIES.items()} == \
        {key: told[key] for key in MAILBOX_FAMILIES.values()}
    assert (told["dropped"], told["rejected"], told["senders_waiting"]) == (1, 1, 1)
    assert metrics.value("ipcfs_used_bytes") > 0
    assert metrics.value("ipcfs_mailboxes") == len(os.listdir(mnt.mbox)) == len(metrics.mailboxes())


def test_metrics_tell_what_stat_of_a_ring_tells(mnt):
    ring = f"{mnt.path}/ring/so \\ \"many\""
    os.mkdir(ring)
    try:
        for text in (b"one", b"two", b"three"):
            with Handle(f"{ring}/send", os.O_WRONLY) as send:
                send.write(text)
        with Handle(f"{ring}/recv", os.O_RDONLY) as recv:
            assert recv.read() == b"one"
        told = read_settings(f"{ring}/stat")
        metrics = read_metrics(mnt)
        assert {key: metrics.value(family, ring=os.path.basename(ring)) for family, key in RING_FAMILIES.items()} == \
            {key: int(told[key]) for key in RING_FAMILIES.values()}
        assert (int(told["messages"]), int(told["sent"]), int(told["received"])) == (2, 3, 1)
        assert metrics.value("ipcfs_rings") == 1
        assert metrics.value("ipcfs_used_bytes") >= int(told["map_bytes"])
    finally:
        with contextlib.suppress(BlockingIOError):
            while True:
                with Handle(f"{ring}/recv", os.O_RDONLY | os.O_NONBLOCK) as recv:
                    recv.read()
        os.rmdir(ring)
    assert read_metrics(mnt).value("ipcfs_rings") == 0


def test_waiting_receiver_is_counted(mnt, box):
    box.start_receive()
    box.wait_for(receivers_waiting=1)
    assert read_metrics(mnt).value("ipcfs_mailbox_receivers_waiting", mailbox=os.path.basename(box.path)) == 1


def test_mailbox_comes_and_goes_with_its_metrics(mnt):
    box = mnt.box()
    name = os.path.basename(box.path)
    assert name in read_metrics(mnt).mailboxes()
    os.rename(box.path, box.path + "-renamed")
    assert name not in read_metrics(mnt).mailboxes()
    assert name + "-renamed" in read_metrics(mnt).mailboxes()
    os.rmdir(box.path + "-renamed")
    assert name + "-renamed" not in read_metrics(mnt).mailboxes()


ODD_NAMES = [
    b'quo"te', b'"', b'""', b"back\\slash", b"\\", b"\\\\", b'\\"', b"\\n", b"new\nline", b"\n", b"\n\n", b"tab\t", b"cr\r",
    b'a"} 1\nipcfs_mailbox_messages{mailbox="b', b"{}", b"a,b=c", b" ", b"#", b"# HELP x y", "größe".encode(), "€😀".encode(),
    "\u2028\u0085".encode(), b"\x01\x7f", b"x" * 255, b'"' * 255, b"\\" * 255, b"\n" * 255,
]

# What is no UTF-8 is shown in some way.
INVALID_NAMES = [b"\xff", b"\xfe", b"a\xffb", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc0\x80", b"\xed\xa0\x80", b"\x80" * 255,
                 b"\xf4\x90\x80\x80", b"\\\xff", b"\xff\n", b'\xff"']


@contextlib.contextmanager
def mailboxes(mnt, names):
    paths = [os.path.join(os.fsencode(mnt.mbox), name) for name in names]
    for path in paths:
        os.mkdir(path)
    try:
        yield
    finally:
        for path in paths:
            os.rmdir(path)


def test_any_name_is_a_label(mnt):
    with mailboxes(mnt, ODD_NAMES):
        assert set(read_metrics(mnt).mailboxes()) >= {name.decode() for name in ODD_NAMES}


def test_names_that_are_no_utf8_are_labels_too(mnt):
    with mailboxes(mnt, INVALID_NAMES + ODD_NAMES):
        for family in MAILBOX_FAMILIES:
            labels = read_metrics(mnt).mailboxes(family)
            assert len(labels) == len(os.listdir(mnt.mbox))
            assert set(labels) >= {name.decode() for name in ODD_NAMES}


def test_thousand_mailboxes(mnt):
    names = [b"mailbox number %d" % i for i in range(1000)]
    with mailboxes(mnt, names):
        metrics = read_metrics(mnt)
        assert set(metrics.mailboxes()) >= {name.decode() for name in names}
        assert metrics.value("ipcfs_mailboxes") == len(metrics.mailboxes())


def test_metrics_are_whole_while_mailboxes_come_and_go(mnt, box):
    def churn():
        while True:
            with mailboxes(mnt, [b"comes\n%d" % i for i in range(20)]):
                pass

    churner = Call(churn)
    for _ in range(100):
        assert os.path.basename(box.path) in read_metrics(mnt).mailboxes()
    assert churner.poll() is None
    churner.kill()
    churner.wait()
    for name in os.listdir(mnt.mbox):
        if name.startswith("comes"):
            os.rmdir(os.path.join(mnt.mbox, name))


@pytest.mark.parametrize("name", NAMES)
def test_small_reads_see_one_state(mnt, box, name):
    whole = read_info(mnt, name)
    with Handle(info_file(mnt, name), os.O_RDONLY) as file:
        data = file.read(7)
        box.send(b"message")
        while part := file.read(7):
            data += part
    assert data == whole
    with Handle(info_file(mnt, name), os.O_RDONLY) as file:
        assert b"".join(iter(file.read, b"")) == read_info(mnt, name)


def test_promtool_agrees(mnt, box):
    if not shutil.which("promtool"):
        pytest.skip("there is no promtool")
    box.send(b"message")
    with mailboxes(mnt, ODD_NAMES + INVALID_NAMES), open(info_file(mnt, "metrics"), "rb") as metrics:
        done = run("promtool", "check", "metrics", stdin=metrics)
    assert done.returncode == 0, done.stdout + done.stderr


# --- read-only ---

def test_bits_let_everybody_read(mnt):
    directory = os.stat(os.path.join(mnt.path, ".ipcfs"))
    assert stat.S_ISDIR(directory.st_mode) and stat.S_IMODE(directory.st_mode) == 0o555
    for name in NAMES:
        status = os.stat(info_file(mnt, name))
        assert stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o444
        assert (status.st_uid, status.st_gid) == (0, 0)
        assert as_user(ALICE, read_info, mnt, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("uid, refused", [(0, errno.EPERM), (ALICE, errno.EACCES)], ids=["root", "alice"])
def test_nobody_writes(mnt, name, uid, refused):
    path = info_file(mnt, name)
    new = info_file(mnt, "new")
    for action, error in [
            (lambda: os.open(path, os.O_WRONLY), errno.EACCES),
            (lambda: os.open(path, os.O_RDWR), errno.EACCES),
            (lambda: os.open(path, os.O_WRONLY | os.O_TRUNC), errno.EACCES),
            (lambda: os.truncate(path, 0), refused),
            (lambda: os.unlink(path), refused),
            (lambda: os.rename(path, new), refused),
            (lambda: os.link(path, new), errno.EPERM),
            (lambda: os.open(new, os.O_WRONLY | os.O_CREAT), refused),
            (lambda: os.mkdir(new), refused),
            (lambda: os.symlink("x", new), refused),
            (lambda: os.mknod(new), refused),
            (lambda: os.chmod(path, 0o666), errno.EPERM),
            (lambda: os.chown(path, uid, uid), errno.EPERM),
            (lambda: os.rmdir(os.path.dirname(path)), refused),
            (lambda: os.chmod(os.path.dirname(path), 0o777), errno.EPERM),
    ]:
        with fails_with(error):
            as_user(uid, action)
    assert set(os.listdir(os.path.dirname(path))) >= set(NAMES)
    assert "new" not in os.listdir(os.path.dirname(path))


def test_shell_can_not_write(shell, mnt):
    for script in ("echo x > .ipcfs/metrics", "echo x >> .ipcfs/version", ": > .ipcfs/new", "rm -f .ipcfs/version"):
        assert sh(shell, f"({script}) 2> /dev/null || echo no", cwd=mnt.path) == "no\n"


def test_other_names_do_not_exist(mnt):
    for name in ("x", "Version", "metrics.txt"):
        with fails_with(errno.ENOENT):
            os.open(info_file(mnt, name), os.O_RDONLY)


@pytest.mark.parametrize("command", ["head -2 $f", "head -c 100 $f", "tail -2 $f", "tail -n +3 $f", "tail -c 50 $f", "sed 2q $f", "head -2 < $f"])
def test_metrics_as_other_files(mnt, tmp_path, command):
    """They are longer than a block: tools go back in them, or look for their end."""
    path = info_file(mnt, "metrics")
    whole = read_info(mnt, "metrics").decode()
    assert os.stat(path).st_size == len(whole)
    done = run("sh", "-c", command.replace("$f", path))
    copy = tmp_path / "copy"
    copy.write_text(whole)
    expected = run("sh", "-c", command.replace("$f", str(copy)))
    assert (done.returncode, done.stderr, done.stdout) == (0, "", expected.stdout)

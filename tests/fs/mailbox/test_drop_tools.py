"""Programs that copy a file into drop/: each tells what happened. Status 0 when it was sent, once, as it was; else not 0."""

import os
import pathlib
import shutil

import pytest

from harness import ALICE, PATIENCE, run

SENT = {
    # GNU
    "cp": "cp {src} drop/",
    "cp -p": "cp -p {src} drop/",
    "cp -a": "cp -a {src} drop/",
    "cp --preserve=all": "cp --preserve=all {src} drop/name",
    "cp -n": "cp -n {src} drop/",
    "cp -f": "cp -f {src} drop/",
    "cp --remove-destination": "cp --remove-destination {src} drop/",
    "cp --backup": "cp --backup {src} drop/",
    "cp --reflink": "cp --reflink=auto --sparse=always {src} drop/",
    "mv": "cp {src} {src}.2 && mv {src}.2 drop/",
    "install": "install {src} drop/",
    "install -m": "install -m 600 {src} drop/name",
    "install -p": "install -p -m 644 {src} drop/",
    "install -D": "install -D {src} drop/name",
    "install -C": "install -C {src} drop/",
    "dd": "dd if={src} of=drop/name bs=4096 status=none",
    "dd conv": "dd if={src} of=drop/name bs=64K conv=notrunc,fsync status=none",
    "tee": "tee drop/name < {src} > /dev/null",
    "split": "split -b 1G {src} drop/x",
    "head": "head -c 300000 {src} > drop/name",
    "tar x": "tar cf {src}.tar -C {dir} {base} && cd drop && tar xf {src}.tar",
    "tar xp": "tar cf {src}.tar -C {dir} {base} && cd drop && tar xpf {src}.tar",
    # busybox
    "busybox cp": "busybox cp {src} drop/",
    "busybox cp -p": "busybox cp -p {src} drop/",
    "busybox cp -a": "busybox cp -a {src} drop/",
    "busybox mv": "cp {src} {src}.2 && busybox mv {src}.2 drop/",
    "busybox dd": "busybox dd if={src} of=drop/name bs=4096 2> /dev/null",
    "busybox tar": "tar cf {src}.tar -C {dir} {base} && cd drop && busybox tar xf {src}.tar",
    # rsync
    "rsync": "rsync {src} drop/",
    "rsync -a": "rsync -a {src} drop/",
    "rsync -t name": "rsync -t {src} drop/name",
    "rsync -aHAX": "rsync -aHAX {src} drop/",
    "rsync --inplace": "rsync --inplace {src} drop/",
    "rsync -a --inplace": "rsync -a --inplace {src} drop/",
    "rsync -c": "rsync -c {src} drop/",
    "rsync -S": "rsync -S {src} drop/",
    "rsync --preallocate": "rsync --preallocate {src} drop/",
    "rsync --append": "rsync --append {src} drop/",
    "rsync --remove-source-files": "cp {src} {src}.2 && rsync --remove-source-files {src}.2 drop/",
    # others
    "curl": "curl -s -o drop/name file://{src}",
    "curl -R": "curl -s -R -o drop/name file://{src}",
    "perl copy": "perl -MFile::Copy -e 'copy($ARGV[0], $ARGV[1]) or die $!' {src} drop/name",
    "perl cp": "perl -MFile::Copy=cp -e 'cp($ARGV[0], $ARGV[1]) or die $!' {src} drop/name",
    "perl move": "cp {src} {src}.2 && perl -MFile::Copy -e 'move($ARGV[0], $ARGV[1]) or die $!' {src}.2 drop/name",
    "bash": "bash -c 'cat {src} > drop/name; test -s drop/name || true'",
    "bash for both": "bash -c 'exec 3<> drop/name; cat {src} >&3; exec 3>&-'",
    "python open": "python3 -c \"open('drop/name', 'w+b').write(open('{src}', 'rb').read())\"",
    "python x": "python3 -c \"open('drop/name', 'xb').write(open('{src}', 'rb').read())\"",
    **{f"python {name}": f"python3 -c \"import shutil; shutil.{name}('{{src}}', 'drop/name')\""
       for name in ("copyfile", "copy", "copy2")},
    "python move": "cp {src} {src}.2 && python3 -c \"import shutil; shutil.move('{src}.2', 'drop/name')\"",
    "python replace": "python3 -c \"import os, shutil; shutil.copyfile('{src}', 'drop/.tmp'); "
                      "os.replace('drop/.tmp', 'drop/name'); os.chmod('drop/name', 0o600); os.stat('drop/name')\"",
    "python mkstemp": "python3 -c \"import os, shutil, tempfile; f = tempfile.NamedTemporaryFile(dir='drop', delete=False); "
                      "shutil.copyfileobj(open('{src}', 'rb'), f); f.close(); os.chmod(f.name, 0o644); "
                      "os.rename(f.name, 'drop/name')\"",
    "python temporary": "python3 -c \"import shutil, tempfile; f = tempfile.NamedTemporaryFile(dir='drop'); "
                        "shutil.copyfileobj(open('{src}', 'rb'), f); f.close()\"",
}


@pytest.fixture(params=[0, ALICE], ids=["root", "alice"])
def uid(request):
    return request.param


@pytest.fixture
def source(tmp_path):
    """A file of Alice's that its group may read."""
    directory = pathlib.Path("/tmp") / f"ipcfs-tools-{os.getpid()}"
    directory.mkdir()
    path = directory / "report.pdf"
    path.write_bytes(os.urandom(300000))
    path.chmod(0o640)
    for name in (directory, path):
        os.chown(name, ALICE, ALICE)
    os.utime(path, (1000000000, 1000000000))
    yield path
    shutil.rmtree(directory)


def run_tool(box, source, command, uid):
    command = command.format(src=source, dir=source.parent, base=source.name)
    return run("bash", "-c", command, cwd=box.path, uid=uid, timeout=2 * PATIENCE)


def sent(box):
    """What is in the mailbox."""
    names = os.listdir(box.file("queue"))
    messages = [pathlib.Path(box.file(f"queue/{name}")).read_bytes() for name in names]
    for name in names:
        os.unlink(box.file(f"queue/{name}"))
    return messages


@pytest.mark.parametrize("command", SENT.values(), ids=SENT.keys())
def test_what_was_sent_is_reported_as_sent(box, source, command, uid):
    done = run_tool(box, source, command, uid)
    assert (done.returncode, done.stderr) == (0, "")
    assert sent(box) == [source.read_bytes()]
    assert box.counts("sent", "reserved") == (1, 0)


def test_linker_sends_a_program(box, tmp_path, uid):
    """It stats, opens for both, closes, and then makes executable by name."""
    source = tmp_path / "main.c"
    source.write_text("int main(void) { return 42; }\n")
    for path in (tmp_path, *list(tmp_path.parents)[:-2]):
        path.chmod(0o755)
    done = run("cc", "-o", box.file("drop/a.out"), source, uid=uid, cwd="/tmp", timeout=4 * PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    [program] = sent(box)
    (tmp_path / "a.out").write_bytes(program)
    (tmp_path / "a.out").chmod(0o755)
    assert run(tmp_path / "a.out").returncode == 42


FAIL = [name for name in SENT if not name.startswith(("bash", "tee"))]


@pytest.mark.parametrize("command", [SENT[name] for name in FAIL], ids=FAIL)
def test_what_was_not_sent_is_reported_as_not_sent(box, source, command):
    """There is room for half of it."""
    box.configure(bytes=150000)
    assert run_tool(box, source, command, ALICE).returncode != 0
    assert not sent(box)
    box.wait_for(sent=0, reserved=0)


@pytest.mark.parametrize("command", ["cp -a", "cp --preserve=xattr", "cp --preserve=all", "rsync -X", "rsync -aAX", "mv"])
def test_file_with_attributes_is_sent_without_them(mnt, box, command, uid):
    path = os.path.join(mnt.path, "shm", f"attributes{uid}")
    pathlib.Path(path).write_bytes(b"message")
    os.setxattr(path, "user.comment", b"a comment")
    os.chown(path, uid, uid)
    done = run("bash", "-c", f"{command} {path} drop/name", cwd=box.path, uid=uid)
    assert (done.returncode, done.stderr) == (0, "")
    assert sent(box) == [b"message"]
    if command != "mv":
        os.unlink(path)

"""Every example of the documentation, pasted into a shell; the manual pages as their reader gets them.

Environment: PAGES, the files, separated by blanks; BUILD, the build directory, and MESON."""

import os
import re
import shlex
import subprocess
import xml.etree.ElementTree

import pytest

from examples import matches, read_page
from installed import Installed, kept_log

PAGES = os.environ["PAGES"].split()
MANUALS = [page for page in PAGES if not page.endswith(".md")]
PATIENCE = 300

# The clients of other languages, where their package managers would put them.
CLIENTS = {"PYTHONPATH": os.path.join(os.environ["CLIENTS"], "python")}

# With mounts and processes of its own, which end with it; the machine's /mnt and /etc/fstab stay as they are.
WORLD = """
set -eu
mount --make-rprivate /
awk '$3 == "fuse.ipcfs" { print $2 }' /proc/self/mounts | xargs -r -n 1 umount -l || :
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/ipc
cp /etc/fstab "$HOME/fstab" 2>/dev/null || : > "$HOME/fstab"
mount --bind "$HOME/fstab" /etc/fstab
# mount(8) looks for programs where it pleases.
mount --bind "${PATH%%:*}" /usr/local/sbin
[ "$1" = unmounted ] || ipcfs /mnt/ipc
cd "$2"
exec bash "$3"
"""


def name_of(page):
    return "textbook" if "textbook" in page else os.path.basename(page)


class Session:
    """The examples of a page, pasted into one bash in the order of the page."""

    def __init__(self, page, home, installed):
        self.home = home
        self.env = dict(installed.environment(), HOME=str(home), LC_ALL="C.UTF-8", **CLIENTS)
        # As npm would install it.
        os.mkdir(home / "node_modules")
        os.symlink(os.path.join(os.environ["CLIENTS"], "node"), home / "node_modules" / "ipcfs")
        self.env["NODE_PATH"] = str(home / "node_modules")
        # Where rustup has the compiler, which else looks for it in HOME.
        if os.path.isdir(os.path.expanduser("~/.rustup")):
            self.env.setdefault("RUSTUP_HOME", os.path.expanduser("~/.rustup"))
        examples, mounted = read_page(page)
        script = home / "session"
        with script.open("w", encoding="utf-8") as file:
            for number, example in enumerate(examples):
                file.write(f"exec > '{self.output_path(number)}' 2>&1\n")
                file.write(self.pasted(example))
        # Who reads Markdown has the tree before him.
        start = os.path.dirname(page) if page.endswith(".md") else home
        self.error = self.run("mounted" if mounted else "unmounted", start, script)

    def output_path(self, number):
        return self.home / f"output.{number}"

    def pasted(self, example):
        if example.kind == "file":
            return f"cat > '{example.name}' << 'end of the file'\n{example.text}end of the file\n"
        return example.text

    def run(self, *args):
        try:
            done = subprocess.run(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", WORLD, "sh", *args],
                env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            return f"it does not end within {PATIENCE} s"
        return done.stdout + done.stderr

    def printed(self, number):
        path = self.output_path(number)
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else None


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    with kept_log(tmp_path_factory.mktemp("log")):
        yield Installed(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def sessions():
    return {}


@pytest.fixture
def session(request, tmp_path_factory, installed, sessions):
    """Of a page; pytest makes a fixture of the module's anew for each parameter, however equal."""
    page = request.param
    if page not in sessions:
        sessions[page] = Session(page, tmp_path_factory.mktemp("home"), installed)
    return sessions[page]


def all_examples():
    for page in PAGES:
        for number, example in enumerate(read_page(page)[0]):
            yield pytest.param(page, number, example, id=f"{name_of(page)}:{example.line}")


@pytest.mark.parametrize("session, number, example", all_examples(), indirect=["session"])
def test_example(session, number, example):
    printed = session.printed(number)
    assert printed is not None, f"the shell has not come here: {session.error}"
    assert matches(example.output, printed), f"{example.text}\nprints:\n{printed}\nand not:\n{example.output}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page_has_examples(page):
    """But those that describe bytes, and one whose examples take two hosts."""
    assert read_page(page)[0] or name_of(page) in ("ipcfs-ring.7", "ipcfs-store.5", "ipcfs-nats.8")


@pytest.mark.parametrize("page", MANUALS, ids=name_of)
def test_manual_shows_what_is_pasted(page):
    """Quotes, hyphens and backslashes too, which troff makes pretty where nobody tells it not to."""
    shown = subprocess.run(["groff", "-mandoc", "-Tutf8", "-P-c", "-rLL=200n", page], capture_output=True, text=True, check=True)
    assert shown.stderr == ""
    text = re.sub(r".\x08", "", shown.stdout)
    lines = {line.strip().removeprefix("$ ") for line in text.splitlines()}
    for example in read_page(page)[0]:
        for line in (example.text + example.output).splitlines():
            assert line.strip() in lines, line


@pytest.mark.parametrize("page", MANUALS, ids=name_of)
def test_manual_is_well_formed(page):
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", page], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


LOCAL_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.mark.parametrize("page", [page for page in PAGES if page.endswith(".md")], ids=name_of)
def test_links_lead_somewhere(page):
    with open(page, encoding="utf-8") as file:
        for target in LOCAL_LINK.findall(file.read()):
            assert os.path.exists(os.path.join(os.path.dirname(page), target)), target


@pytest.mark.parametrize("page", [page for page in PAGES if page.endswith(".md")], ids=name_of)
def test_no_comment_in_what_is_pasted(page):
    """To an interactive zsh it is more arguments; also where an example is not run."""
    with open(page, encoding="utf-8") as file:
        for block in re.findall(r"^```sh\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL):
            assert shlex.split(block) == shlex.split(block, comments=True), block


def test_picture_is_of_a_real_session(tmp_path):
    picture = os.path.join(os.environ["TREE"], "tools", "docs", "picture")
    done = subprocess.run([picture, tmp_path / "session.svg"], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    texts = [element.text for element in xml.etree.ElementTree.parse(tmp_path / "session.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert "the kettle is on" in texts and any(text.startswith("ipcfs on /mnt/ipc: ") for text in texts)

"""What Tab offers after `ipcctl ...`, in each shell."""

import os
import re
import shlex

import pytest

from ctl import UTF8, remove_if_there
from harness import run

COMPLETION = os.environ["IPCCTL_COMPLETION"]

# Each offers what completes the line $WORDS_AFTER$LAST; bash and zsh write it to a file in place of showing it.
BASH_SETUP = r"""
source "$COMPLETION/ipcctl.bash"
offer() {
    _ipcctl
    printf '%s\n' "${COMPREPLY[@]}" >> "$OFFERED"
    COMPREPLY=()
}
complete -F offer ipcctl
"""

BASH = r"""
printf '%s\t' "ipcctl $WORDS_AFTER$LAST" | bash --noprofile --rcfile "$SETUP" -i > "$OFFERED.screen" 2>&1
true
"""

# A terminal of its own, for zsh completes nowhere else.
ZSH_SETUP = r"""
PS1=
fpath=($COMPLETION $fpath)
autoload -U compinit
compinit -u -C -d $DUMP
compadd() {
    shift ${argv[(i)--]}
    print -rl -- "$@" >> $OFFERED
}
offer() {
    _main_complete
    print END >> $OFFERED
}
zle -C offer complete-word offer
bindkey "^I" offer
# What is typed before the line editor listens may be lost.
zle-line-init() {
    print -n READY
}
zle -N zle-line-init
"""

ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell '. $SETUP'
zpty -r shell out '*READY*'
zpty -n -w shell "ipcctl $WORDS_AFTER$LAST"$'\t'
for ((i = 0; i < 500; i++)); do
    [[ "$(<$OFFERED)" != *END* ]] || break
    sleep 0.02
done
zpty -d shell
"""

FISH = r"""
source $COMPLETION/ipcctl.fish
complete -C "ipcctl $WORDS_AFTER$LAST"
"""


class Shell:
    def __init__(self, name, ctl, directory, dump):
        self.name = name
        self.ctl = ctl
        self.mount = f"-m {ctl.mount}"
        self.home = directory
        self.offered = directory / "offered"
        # What zsh has found in its functions: that takes it seconds, and it remembers it there.
        self.dump = dump

    def __call__(self, *words):
        """What is offered for the last word, which may be only begun."""
        *before, last = words
        quoted = f"{self.mount} {shlex.join(before)}".rstrip()
        env = {**os.environ, **UTF8, "COMPLETION": COMPLETION, "PATH": os.path.dirname(self.ctl.program) + ":" + os.environ["PATH"],
               "WORDS_AFTER": quoted + " ", "LAST": last, "OFFERED": str(self.offered), "DUMP": str(self.dump),
               "HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home),
               # Leaks are looked for in the other tests: here zsh now and then waits for ever for a process that is
               # being searched.
               "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
        self.offered.write_text("")
        setup = self.home / "setup"
        setup.write_text(ZSH_SETUP if self.name == "zsh" else BASH_SETUP)
        env["SETUP"] = str(setup)
        script = {"bash": BASH, "zsh": ZSH, "fish": FISH}[self.name]
        options = ["-f"] if self.name == "zsh" else ["--norc"] if self.name == "bash" else ["--no-config"]
        done = run(self.name, *options, "-c", script, env=env)
        assert done.returncode == 0, done
        text = done.stdout if self.name == "fish" else self.offered.read_text()
        offers = [line for line in text.splitlines() if line and line != "END"]
        # zsh and fish leave it to the shell to choose.
        return sorted(offer for offer in set(offers) if self.name == "bash" or offer.startswith(last))


@pytest.fixture(scope="session")
def zsh_dump(tmp_path_factory):
    return tmp_path_factory.mktemp("zsh") / "dump"


@pytest.fixture(params=["bash", "zsh", "fish"])
def offers(request, ctl, tmp_path, zsh_dump):
    return Shell(request.param, ctl, tmp_path, zsh_dump)


@pytest.fixture
def things(ctl, mnt):
    boxes = [mnt.mailbox(name).make() for name in ("orders", "order-log", "two words", "it's", "café")]
    for name in "ring/ticks", "shm/frame":
        ctl.ok("new", name)
    yield
    for box in boxes:
        remove_if_there(box)
    ctl.ok("rm", "-f", "ring/ticks", "shm/frame")


def verbs_of(text):
    return re.findall(r"^  ([a-z]+) +[A-Z]", text, re.M)


def options_of(text):
    return sorted(set(re.findall(r"^ +(?:-\w, )? *(--[a-z-]+)", text, re.M)) - {"--usage", "--version"})


def test_what_the_program_lists_is_offered(offers, ipcctl):
    """Each verb and each long option that its help knows."""
    help_text = run(ipcctl, "help").stdout
    verbs = verbs_of(help_text)
    assert len(verbs) > 14
    assert offers("") == sorted([*verbs, "help"])
    assert offers("--") == ["--help", "--mount", "--version"]
    for verb in verbs:
        text = run(ipcctl, "help", verb).stdout
        inner = re.findall(rf"^Usage: ipcctl {verb} ([a-z]+) ", text, re.M)
        if inner:
            assert offers(verb, "") == sorted(inner)
        for words in [[verb, name] for name in inner] or [[verb]]:
            known = sorted([*options_of(run(ipcctl, "help", *words).stdout), "--help"])
            assert "--mount" in known
            assert offers(*words, "--") == known, words


def test_verbs(offers, ipcctl):
    assert offers("re") == ["recv"]
    assert offers("ring", "") == ["dump", "get", "put"]
    assert offers("help", "") == sorted(verbs_of(run(ipcctl, "help").stdout))
    assert offers("help", "ring", "g") == ["get"]


@pytest.mark.parametrize("verb", ["ls", "rm", "send", "recv"])
def test_names(offers, things, verb):
    assert offers(verb, "or") == ["order-log", "orders"]
    assert offers(verb, "ring/") == ["ring/ticks"]
    assert offers(verb, "shm/") == ["shm/frame"]


def test_names_that_need_quotes(offers, things):
    assert offers("send", "tw") == [r"two\ words" if offers.name == "bash" else "two words"]
    assert offers("send", "it") == [r"it\'s" if offers.name == "bash" else "it's"]
    assert offers("send", "caf") == ["café"]


def test_names_that_bash_cuts_up(offers, mnt):
    boxes = [mnt.mailbox(name).make() for name in ("eu:jobs", "eu:logs", "k=v")]
    # Of what was typed, bash completes what follows the last : or =.
    before = "" if offers.name == "bash" else "eu:"
    assert offers("rm", "eu") == ["eu:jobs", "eu:logs"]
    assert offers("rm", "eu:") == [before + "jobs", before + "logs"]
    assert offers("rm", "eu:j") == [before + "jobs"]
    assert offers("rm", "k=") == ["v" if offers.name == "bash" else "k=v"]
    assert offers("config", "eu:jobs", "messages=1", "o") == ["overflow="]
    for box in boxes:
        remove_if_there(box)


@pytest.mark.parametrize("option", ["--mount={}", "-m {}"])
@pytest.mark.parametrize("where", ["{}", "~/ipc"])
def test_the_mount_that_the_line_names(offers, ctl, things, option, where):
    (offers.home / "ipc").symlink_to(ctl.mount)
    offers.mount = option.format(where.format(ctl.mount))
    assert offers("recv", "--timeout=5", "or") == ["order-log", "orders"]


def test_all_names(offers, things):
    assert len(offers("recv", "")) == 7
    assert len(offers("recv", "--timeout", "5", "")) == 7
    assert len(offers("rm", "orders", "")) == 7


def test_paths(offers, things, ctl):
    # zsh leaves it to its own completion of files, which shows them one by one.
    if offers.name == "zsh":
        pytest.skip("its own")
    offered = [offer.partition("\t")[0].rstrip("/") for offer in offers("recv", f"{ctl.mount}/mbox/ord")]
    assert offered == [f"{ctl.mount}/mbox/order-log", f"{ctl.mount}/mbox/orders"]


def test_rings_and_settings(offers, things):
    assert offers("ring", "get", "") == ["ticks"]
    assert offers("config", "ring/ticks", "s") == ["slot_bytes=", "slots="]
    assert offers("config", "orders", "m") == ["message_bytes=", "messages="]
    assert offers("new", "") == ["ring/", "shm/", "topic/"]
    assert offers("config", "s") == []


def test_workers_questions_and_topics(offers, ctl, things):
    """An option's value before the name is none."""
    assert offers("work", "-j", "4", "or") == offers("work", "--jobs", "4", "or") == ["order-log", "orders"]
    assert offers("work", "-j", "") == []
    assert offers("call", "-t", "5", "or") == ["order-log", "orders"]
    ctl.ok("new", "topic/news")
    assert offers("sub", "") == offers("pub", "-f", "/etc/passwd", "") == ["news"]
    ctl.ok("rm", "topic/news")
    assert offers("new", "jobs", "d") == ["dead=", "durable="]


def test_options(offers):
    assert offers("--m") == ["--mount"]
    assert offers("send", "--") == ["--file", "--help", "--mount", "--prio", "--timeout"]
    assert offers("ring", "get", "--c") == ["--count"]
    assert offers("ls", "--j") == ["--json"]


def test_no_mount(offers):
    offers.mount = "-m /nowhere"
    assert offers("rm", "") == []
    assert offers("send", "--pr") == ["--prio"]

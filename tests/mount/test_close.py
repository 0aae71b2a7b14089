"""What the close of a file that is sent at its end waits for, and knows: whether it is the last of its process."""

import os
import subprocess
import sys

import pytest

from harness import Call, Handle, wait_until


def is_readable_now(path):
    """A process in execve makes whoever reads some of its files in /proc wait."""
    subprocess.run([sys.executable, "-c", f"open({path!r}).read()"], timeout=5, check=True)


# --- execve closes files too ---

@pytest.mark.parametrize("name, settings", [("send.lines", {"messages": 1}), ("drop/x", {"messages": 0})],
                         ids=["lines", "drop"])
def test_who_closes_in_execve_is_not_held_up(box, name, settings):
    """Who looks at a process that is in execve waits for it: ps, top, a debugger."""
    box.configure(**settings)
    if settings["messages"]:
        box.send(b"first")

    def close_in_execve():
        # Handles are O_CLOEXEC.
        file = Handle(box.file(name), os.O_WRONLY | os.O_CREAT)
        file.write(b"the rest")
        os.execv("/bin/sleep", ["sleep", "1000"])
    call = Call(close_in_execve)
    box.wait_for(senders_waiting=1)
    wait_until(lambda: os.readlink(f"/proc/{call.pid}/exe").endswith(("sleep", "coreutils")), "sleep runs")
    is_readable_now(f"/proc/{call.pid}/stat")
    assert box.take(2 if settings["messages"] else 1)[-1] == b"the rest"
    call.kill()

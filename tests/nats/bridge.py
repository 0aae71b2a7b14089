"""ipcfs-nats as a process of a test's."""

import os
import signal
import subprocess
import tempfile

from harness import PATIENCE, wait_until

IPCFS_NATS = os.environ.get("IPCFS_NATS")


class Bridge:
    def __init__(self, mount, url, *lines, options=(), uid=None, netns=None):
        self.mount = mount
        self._log = tempfile.TemporaryFile()
        prefix = ["ip", "netns", "exec", netns] if netns else []
        user = ["--reuid", str(uid), "--regid", str(uid), "--clear-groups"] if uid else []
        self.process = subprocess.Popen(
            [*prefix, "setpriv", *user, "--pdeathsig", "KILL", IPCFS_NATS, "-s", url, *options, mount, *lines],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, cwd="/")

    def log(self):
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def wait_for(self, text):
        def said():
            assert self.process.poll() is None, self.log()
            return text in self.log()
        wait_until(said, f"the bridge says {text!r}")
        return self

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self):
        """Ends it as a service manager does. Its status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        if status:
            print(self.log())
        return status

    def ends(self):
        """It ends by itself: its status, and what it has said."""
        return self.process.wait(PATIENCE), self.log()


def bridge_once(*arguments):
    """A run that ends: its status, and its lines."""
    done = subprocess.run([IPCFS_NATS, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=PATIENCE, text=True, check=False)
    return done.returncode, done.stdout

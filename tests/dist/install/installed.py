"""A build, installed below a directory. Environment: BUILD, the build directory; MESON, the command."""

import contextlib
import os
import shutil
import subprocess

BUILD = os.environ["BUILD"]
LOG = os.path.join(BUILD, "meson-logs/install-log.txt")


@contextlib.contextmanager
def kept_log(directory):
    """Of what was really installed from this build, for ninja uninstall."""
    saved = os.path.join(directory, "install-log.txt")
    if os.path.exists(LOG):
        shutil.copy(LOG, saved)
    try:
        yield
    finally:
        if os.path.exists(saved):
            shutil.copy(saved, LOG)
        elif os.path.exists(LOG):
            os.remove(LOG)


class Installed:
    """Below @root, as if that were the machine's own."""

    def __init__(self, root):
        self.root = str(root)
        subprocess.run([os.environ["MESON"], "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", self.root],
                       check=True, stdout=subprocess.PIPE, timeout=120)
        header, = (path for path in self.files() if path.endswith("include/ipcring.h"))
        self.prefix = os.path.join(self.root, header.removesuffix("/include/ipcring.h"))

    def files(self, below=""):
        """The paths of all files, from the root or from a directory below it."""
        top = os.path.join(self.root, below)
        return [os.path.relpath(os.path.join(path, name), top) for path, _, names in os.walk(top) for name in names]

    def environment(self):
        """Where its programs, its library and the flags for its users are found."""
        pkgconfig, = (path for path in self.files() if path.endswith("/ipcring.pc"))
        pkgconfig_dir = os.path.join(self.root, os.path.dirname(pkgconfig))
        return dict(os.environ, PATH=f"{self.prefix}/bin:{os.environ['PATH']}", PKG_CONFIG_LIBDIR=pkgconfig_dir,
                    PKG_CONFIG_SYSROOT_DIR=self.root, PKG_CONFIG_ALLOW_SYSTEM_CFLAGS="1",
                    PKG_CONFIG_ALLOW_SYSTEM_LIBS="1", LD_LIBRARY_PATH=os.path.dirname(pkgconfig_dir))

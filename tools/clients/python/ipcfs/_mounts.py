"""Where ipcfs is mounted: as ipcctl finds it."""

import os
import re
from typing import List, Optional, Tuple

from ._errors import NotMounted

MOUNTINFO = "/proc/self/mountinfo"


def _unescape(text: str) -> str:
    return re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), text)


def _mounts() -> List[Tuple[str, str]]:
    """(mount point, device) of each whole ipcfs; a later mount hides an earlier one at its place."""
    found = {}
    with open(MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            fields = before.split(" ")
            if after.startswith("fuse.ipcfs ") and fields[3] == "/":
                found[_unescape(fields[4])] = fields[2]
    # The same filesystem at two places is one.
    return [(path, device) for path, device in {device: (path, device) for path, device in reversed(found.items())}.values()]


def _is_usable(path: str, device: str) -> bool:
    try:
        number = os.stat(path).st_dev
    except OSError:
        return False
    return f"{os.major(number)}:{os.minor(number)}" == device and os.access(path, os.X_OK)


def find(path: Optional[str] = None) -> str:
    """The mount point to use: @path; or that in which the working directory lies; or $IPCFS_MOUNT; or the only one."""
    path = path or _here() or os.environ.get("IPCFS_MOUNT")
    if not path:
        usable = [mount for mount, device in _mounts() if _is_usable(mount, device)]
        if len(usable) > 1:
            raise NotMounted(f"ipcfs is mounted {len(usable)} times: say which, or set IPCFS_MOUNT: {', '.join(sorted(usable))}")
        if not usable:
            raise NotMounted("ipcfs is not mounted; mount it (ipcfs DIRECTORY)")
        path = usable[0]
    path = os.path.abspath(path)
    if not os.path.isdir(os.path.join(path, "mbox")):
        raise NotMounted(f"there is no ipcfs on {path}")
    return path


def _here() -> Optional[str]:
    try:
        cwd = os.getcwd()
    except OSError:
        return None
    around = [path for path, device in _mounts() if os.path.commonpath([path, cwd]) == path and _is_usable(path, device)]
    return max(around, key=len, default=None)

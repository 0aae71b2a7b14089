"""What mailboxes, topics and mounts are apart from waiting: names, settings, life."""

import contextlib
import os
from typing import Any, Dict, Iterator, List, Optional, Union

from . import _mounts, _operations
from ._errors import told
from ._message import Message
from ._operations import Data, Handles

Setting = Union[int, str]


def _number(text: str) -> Setting:
    return int(text) if text.isdecimal() else text


class Thing:
    """A directory of the mount: its path, its settings and counters."""

    def __init__(self, path: str):
        self.path = path
        """Where it is: a directory of files, for other tools too."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    def __fspath__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        return os.path.basename(self.path)

    def _read(self, file: str) -> Dict[str, Setting]:
        path = os.path.join(self.path, file)
        with told(path), open(path, encoding="utf-8") as lines:
            return {key: _number(value) for key, _, value in (line.rstrip("\n").partition("=") for line in lines)}

    @property
    def config(self) -> Dict[str, Setting]:
        """The settings at the moment, as `config` has them."""
        return self._read("config")

    @property
    def stat(self) -> Dict[str, Setting]:
        """The counters at the moment, as `stat` has them."""
        return self._read("stat")

    def configure(self, **settings: Setting) -> None:
        """Changes settings: all that are given, or none (OSError, EINVAL: one is not taken)."""
        path = os.path.join(self.path, "config")
        with told(path):
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, "".join(f"{key}={value}\n" for key, value in settings.items()).encode())
            finally:
                os.close(fd)

    def _make(self, settings: Dict[str, Any], mode: Optional[int]) -> None:
        """Unless it is there. What can't have its settings is not made."""
        try:
            with told(self.path):
                os.mkdir(self.path)
        except FileExistsError:
            return
        try:
            if mode is not None:
                os.chmod(self.path, mode)
            if settings:
                self.configure(**settings)
        except BaseException:
            with contextlib.suppress(OSError):
                os.rmdir(self.path)
            raise

    def remove(self) -> None:
        """Takes it away; whoever waits there is told. Messages that wait keep it (OSError, ENOTEMPTY)."""
        self.close()
        with told(self.path):
            os.rmdir(self.path)

    def close(self) -> None:
        """Closes what it has open. It may be used again."""


class QueueThing(Thing):
    """A directory with messages to be received: a mailbox, or a topic's subscription."""

    def __init__(self, path: str):
        super().__init__(path)
        self._handles = Handles(path)

    def close(self) -> None:
        self._handles.close()

    def waiting(self) -> Iterator[Message]:
        """The messages that wait, in the order of their delivery. They stay where they are."""
        queue = os.path.join(self.path, "queue")
        with told(queue):
            names = [entry.name for entry in os.scandir(queue)]
        for name in names:
            path = os.path.join(queue, name)
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # received meanwhile
            with told(path), open(fd, "rb") as file:
                attributes = {key[len("user.ipcfs."):]: os.getxattr(fd, key).decode()
                              for key in os.listxattr(fd) if key.startswith("user.ipcfs.")}
                yield Message(
                    data=file.read(), id=int(name), priority=int(attributes["prio"]), uid=int(attributes["uid"]),
                    gid=int(attributes["gid"]), pid=int(attributes["pid"]), time_ns=os.fstat(fd).st_mtime_ns,
                    headers={key[2:]: value for key, value in attributes.items() if key.startswith("h.")},
                    attempts=int(attributes.get("attempts", 0)), is_call="call" in attributes)

    def discard(self, message: Union[Message, int]) -> None:
        """Takes a waiting message out for good."""
        number = message if isinstance(message, int) else message.id
        path = os.path.join(self.path, "queue", f"{number:020}")
        with told(path):
            os.unlink(path)

    def reply(self, message: Message, data: Data) -> None:
        """Answers a message whose `is_call` is true. BrokenPipeError or FileNotFoundError: who asked has gone."""
        _operations.reply(self.path, message.id, data)


def room_path(mount: str, room: str, name: str) -> str:
    if not name or "/" in name or name in (".", ".."):
        raise ValueError(f"no name: {name!r}")
    if len(os.fsencode(name)) > 255:
        raise ValueError("a name is at most 255 bytes long")
    return os.path.join(mount, room, name)


class MountThing:
    """The mount point and what its rooms hold."""

    def __init__(self, path: Optional[str] = None):
        self.path = _mounts.find(path)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    def __fspath__(self) -> str:
        return self.path

    def _list(self, room: str) -> List[str]:
        path = os.path.join(self.path, room)
        with told(path):
            return sorted(os.listdir(path))

    @property
    def version(self) -> Dict[str, str]:
        """What `.ipcfs/version` tells."""
        with open(os.path.join(self.path, ".ipcfs", "version"), encoding="utf-8") as lines:
            return dict(line.rstrip("\n").split("=", 1) for line in lines)

    def mailboxes(self) -> List[str]:
        """The names of all mailboxes."""
        return self._list("mbox")

    def topics(self) -> List[str]:
        """The names of all topics."""
        return self._list("topic")

    def rings(self) -> List[str]:
        """The names of all rings."""
        return self._list("ring")

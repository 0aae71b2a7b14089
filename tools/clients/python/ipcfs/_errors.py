"""What goes wrong, as kinds of OSError: each has the errno that the file gave, and the file's name."""

import contextlib
import errno
import os
from typing import Iterator, NoReturn


class NotMounted(FileNotFoundError):
    """There is no ipcfs mount, or there are several to choose from."""


class Removed(OSError):
    """The mailbox, topic or ring was removed, or the process that owned it has ended (EIDRM)."""


class Full(OSError):
    """There is no room, and the mailbox rejects rather than make its senders wait (ENOBUFS)."""


class QuotaExceeded(OSError):
    """The user holds as much as one user may, or the mount as much as it may (EDQUOT, ENOSPC)."""


class MessageTooLong(OSError):
    """Longer than the mailbox or the ring takes (EMSGSIZE, EFBIG)."""


class Busy(OSError):
    """Another process owns it, or has the role of the one producer or consumer (EBUSY)."""


class Canceled(OSError):
    """The question was dropped, removed or given up, and will not be answered (ECANCELED)."""


_KINDS = {
    errno.EIDRM: Removed,
    errno.ENOBUFS: Full,
    errno.EDQUOT: QuotaExceeded,
    errno.ENOSPC: QuotaExceeded,
    errno.EMSGSIZE: MessageTooLong,
    errno.EFBIG: MessageTooLong,
    errno.EBUSY: Busy,
    errno.ECANCELED: Canceled,
}


def raise_error(number: int, path: str) -> NoReturn:
    """Raises what stands for an errno. Those that Python has a class for (ETIMEDOUT: TimeoutError) are of that."""
    raise _KINDS.get(number, OSError)(number, os.strerror(number), path)


@contextlib.contextmanager
def told(path: str) -> Iterator[None]:
    """Gives what goes wrong with @path its kind."""
    try:
        yield
    except OSError as error:
        if type(error) in _KINDS.values() or error.errno not in _KINDS:
            if error.filename is None and error.errno is not None:
                error.filename = path
            raise
        raise _KINDS[error.errno](error.errno, error.strerror, path) from None

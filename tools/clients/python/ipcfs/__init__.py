"""Interprocess communication as files, for programs: mailboxes, topics and rings of an ipcfs mount.

    >>> import ipcfs
    >>> mount = ipcfs.Mount()
    >>> orders = mount.mailbox("orders", create=True)
    >>> orders.send("two teas", priority=3, headers={"table": "7"})
    >>> message = orders.receive(timeout=5)
    >>> message.text, message.priority, message.headers
    ('two teas', 3, {'table': '7'})

Who must not lose what it works on takes it on lease: it is done when the block is left, and another worker's again after
an exception, or when the process is killed:

    >>> orders.send("one coffee")
    >>> with orders.work(timeout=5) as message:
    ...     message.text
    'one coffee'
    >>> orders.stat["messages"], orders.stat["leased"]
    (0, 0)
    >>> orders.remove()

What fails is an OSError with the errno that the file gave, of a kind that tells: Removed, Full, QuotaExceeded,
MessageTooLong, Busy, Canceled, NotMounted; TimeoutError, PermissionError and FileNotFoundError are Python's own.

An object may be used by several threads at a time; after a fork the child opens its own files. `ipcfs.aio` has the same
for asyncio. Only rings need a library (libipcring1)."""

from ._errors import Busy, Canceled, Full, MessageTooLong, NotMounted, QuotaExceeded, Removed
from ._message import Message
from ._ring import Ring
from ._sync import Lease, Link, Mailbox, Mount, Queue, Stream, Topic

__version__ = "0.1.0"

__all__ = ["Busy", "Canceled", "Full", "Lease", "Link", "Mailbox", "Message", "MessageTooLong", "Mount", "NotMounted", "Queue",
           "QuotaExceeded", "Removed", "Ring", "Stream", "Topic"]

"""Mailboxes and topics for callers that wait in their thread."""

import contextlib
import os
from typing import Iterator, Mapping, Optional, Union

from . import _operations
from ._errors import Removed, told
from ._message import Message
from ._objects import MountThing, QueueThing, Setting, Thing, room_path
from ._operations import Data, Handle, Handles, run
from ._ring import Ring


class Lease:
    """A message that is being worked on: see `Mailbox.work`."""

    def __init__(self, handles: Handles, handle: Handle, message: Message):
        self._handles = handles
        self._handle: Optional[Handle] = handle
        self.message = message

    def _settle(self, word: bytes) -> None:
        handle, self._handle = self._handle, None
        if handle:
            _operations.settle(self._handles, handle, word)

    @property
    def is_settled(self) -> bool:
        return self._handle is None

    def done(self) -> None:
        """It is gone for good."""
        self._settle(b"done")

    def again(self) -> None:
        """It returns to the place it had; another worker may take it."""
        self._settle(b"again")

    def dead(self) -> None:
        """It goes to the mailbox that `dead` in `config` names."""
        self._settle(b"dead")


class Queue(QueueThing):
    """What messages are received from: a mailbox, or a topic's subscription that stays."""

    def receive(self, timeout: Optional[float] = None) -> Message:
        """Takes the next message, and waits for it; TimeoutError after @timeout seconds, and nothing is taken."""
        return run(_operations.receive(self._handles, timeout is None), timeout, "a message")

    def receive_bytes(self, timeout: Optional[float] = None) -> bytes:
        """The same without the envelope, in one system call. Longer than 1 MiB: MessageTooLong, and it stays."""
        return run(_operations.receive_bytes(self._handles, timeout is None), timeout, "a message")

    def __iter__(self) -> Iterator[Message]:
        """Message after message, until the mailbox is removed."""
        while True:
            try:
                yield self.receive()
            except Removed:
                return

    def lease(self, timeout: Optional[float] = None) -> Lease:
        """Takes a message on lease: it is nobody else's until `done`, `again` or `dead` is called, or this process
        dies, and then it is `again`."""
        handle, message = run(_operations.lease(self._handles, timeout is None), timeout, "a message")
        return Lease(self._handles, handle, message)

    @contextlib.contextmanager
    def work(self, timeout: Optional[float] = None) -> Iterator[Message]:
        """Works on a message: it is done when the block is left, and another's again after an exception in it, or when
        the process dies.

            with mailbox.work() as message:
                handle(message.data)
        """
        lease = self.lease(timeout)
        try:
            yield lease.message
        except BaseException:
            lease.again()
            raise
        lease.done()

    @contextlib.contextmanager
    def own(self) -> Iterator[None]:
        """Owns the mailbox: only this process and its children receive, and it goes when the block is left or the
        process dies. Busy: another process owns it."""
        path = os.path.join(self.path, "owner")
        with told(path):
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            yield
        finally:
            self.close()
            os.close(fd)


class Mailbox(Queue):
    """A mailbox: whoever may sends, its owner receives."""

    def send(self, data: Data, priority: int = 0, headers: Optional[Mapping[str, str]] = None,
             timeout: Optional[float] = None) -> None:
        """Sends one message: bytes as they are, text as UTF-8. Where the mailbox is full it waits for its turn;
        TimeoutError after @timeout seconds, and nothing is sent. A message longer than `message_bytes` is sent as a
        file in drop/ is, where it has neither priority nor headers."""
        run(_operations.send(self._handles, data, priority, headers, timeout is None), timeout, "room for the message")

    def call(self, data: Data, timeout: Optional[float] = None) -> bytes:
        """Asks, and waits for the answer. TimeoutError: none came; Canceled: none will come."""
        return run(_operations.call(self._handles, data, timeout is None), timeout, "an answer")


class Stream:
    """A subscription for as long as it is open: see `Topic.subscribe`."""

    def __init__(self, path: str):
        with told(path):
            self._handle: Optional[Handle] = Handle(path, os.O_RDONLY)

    def receive(self, timeout: Optional[float] = None) -> Message:
        """The next message that was published, as `Mailbox.receive`. For one thread at a time."""
        if not self._handle:
            raise ValueError("the subscription is closed")
        with told(self._handle.path):
            self._handle.set_blocking(timeout is None)
            return run(_operations.receive_from(self._handle), timeout, "a message")

    def __iter__(self) -> Iterator[Message]:
        while True:
            try:
                yield self.receive()
            except Removed:
                return

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle:
            handle.close()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *unused) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()


class Topic(Thing):
    """A topic: what is published goes to all who have subscribed."""

    def __init__(self, path: str):
        super().__init__(path)
        self._handles = Handles(path)

    def close(self) -> None:
        self._handles.close()

    def publish(self, data: Data, priority: int = 0, headers: Optional[Mapping[str, str]] = None,
                timeout: Optional[float] = None) -> None:
        """Sends a message to every subscription there is. It waits only for those that say so (overflow=block)."""
        run(_operations.send(self._handles, data, priority, headers, timeout is None), timeout, "room for the message")

    def subscribe(self) -> Stream:
        """Subscribes from this moment until it is closed, best with `with`."""
        return Stream(os.path.join(self.path, "recv.json"))

    def subscription(self, name: str, create: bool = False, mode: Optional[int] = None, **settings: Setting) -> Queue:
        """A subscription that stays, with or without its subscriber, until it is removed. @create: makes it, where it
        is not there yet, with these settings."""
        queue = Queue(room_path(self.path, "sub", name))
        if create:
            queue._make(settings, mode)
        return queue


class Link:
    """This process's end of its link to another: what one sends the other receives. Best with `with`."""

    def __init__(self, path: str):
        with told(path):
            self._receiving = Handle(path, os.O_RDONLY | os.O_DIRECT)
            self._sending = Handle(path, os.O_WRONLY)

    def send(self, data: Data, timeout: Optional[float] = None) -> None:
        """Sends one message to the other end. BrokenPipeError: its process has ended."""
        with told(self._sending.path):
            run(_operations.write(self._sending, _operations.to_bytes(data)), timeout, "room for the message")

    def receive(self, timeout: Optional[float] = None) -> bytes:
        """The next message from there. EOFError: its process has ended, and all that it sent was received."""
        with told(self._receiving.path):
            data = run(_operations.read(self._receiving), timeout, "a message")
        if not data:
            raise EOFError("the process at the other end of the link has ended")
        return data

    def close(self) -> None:
        self._sending.close()
        self._receiving.close()

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, *unused) -> None:
        self.close()


class Mount(MountThing):
    """An ipcfs mount: at @path; or that in which the working directory lies, or $IPCFS_MOUNT, or the only one."""

    def mailbox(self, name: str, create: bool = False, mode: Optional[int] = None, **settings: Setting) -> Mailbox:
        """The mailbox of that name. @create: makes it, where it is not there yet, with these settings and permission
        bits (0o711 lets everybody send)."""
        mailbox = Mailbox(room_path(self.path, "mbox", name))
        if create:
            mailbox._make(settings, mode)
        return mailbox

    def process(self, pid: Union[int, None] = None) -> Mailbox:
        """The mailbox that every process has; this one's without @pid."""
        return Mailbox(os.path.join(self.path, "proc", str(os.getpid() if pid is None else pid)))

    def link(self, pid: int) -> Link:
        """The link between this process and another, which opens its own end of it."""
        return Link(os.path.join(self.path, "proc", "self", "link", str(pid)))

    def topic(self, name: str, create: bool = False, mode: Optional[int] = None, **settings: Setting) -> Topic:
        """The topic of that name; as `mailbox`."""
        topic = Topic(room_path(self.path, "topic", name))
        if create:
            topic._make(settings, mode)
        return topic

    def ring(self, name: str, create: bool = False, slots: Optional[int] = None, slot_bytes: Optional[int] = None,
             mode: Optional[int] = None, **settings: Setting) -> Ring:
        """The ring of that name. @create: makes it, where it is not there yet: @slots, a power of two, of @slot_bytes,
        8 of which are the slot's own."""
        ring = Ring(room_path(self.path, "ring", name))
        if create:
            sizes = {key: value for key, value in (("slots", slots), ("slot_bytes", slot_bytes)) if value is not None}
            ring._make({**sizes, **settings}, mode)
        return ring

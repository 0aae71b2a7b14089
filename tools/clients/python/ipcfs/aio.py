"""The same for asyncio: what waits is awaited, and may be cancelled at any time.

    >>> import asyncio
    >>> from ipcfs import aio
    >>> async def main():
    ...     orders = aio.Mount().mailbox("aio-orders", create=True)
    ...     await orders.send("two teas")
    ...     message = await orders.receive(timeout=5)
    ...     orders.remove()
    ...     return message.text
    >>> asyncio.run(main())
    'two teas'

Nothing blocks the event loop and no thread is started: files are opened O_NONBLOCK, and add_reader waits for the epoll
that watches them. A receive that is cancelled while it waits has taken nothing, a send that is has sent nothing."""

import asyncio
import contextlib
import errno
import os
from typing import AsyncIterator, Mapping, Optional, Union

from . import _operations
from ._errors import Removed, told
from ._message import Message
from ._objects import MountThing, QueueThing, Setting, Thing, room_path
from ._operations import Data, Handle, Handles, Operation, T
from ._ring import Ring as _SyncRing
from ._sync import Lease


async def _change(handle: Handle, deadline: Optional[float]) -> None:
    """Waits until the file of @handle has changed. Only here is an operation cancelled, or out of time."""
    loop = asyncio.get_running_loop()
    epoll = handle.epoll()
    if epoll.poll(0, 1):
        return
    changed = loop.create_future()

    def tell() -> None:
        if not changed.done():
            changed.set_result(None)

    def give_up() -> None:
        if not changed.done():
            changed.set_exception(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), handle.path))

    timer = None if deadline is None else loop.call_at(deadline, give_up)
    loop.add_reader(epoll.fileno(), tell)
    try:
        await changed
    finally:
        loop.remove_reader(epoll.fileno())
        if timer:
            timer.cancel()
    epoll.poll(0, 1)


async def _run(operation: Operation[T], timeout: Optional[float]) -> T:
    """Not by asyncio.wait_for, which may lose what came at the moment in which it gives up."""
    deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
    try:
        handle = next(operation)
        while True:
            await _change(handle, deadline)
            handle = operation.send(None)
    except StopIteration as done:
        return done.value
    finally:
        operation.close()


class Queue(QueueThing):
    """What messages are received from: a mailbox, or a topic's subscription that stays."""

    async def receive(self, timeout: Optional[float] = None) -> Message:
        """Takes the next message, and waits for it; TimeoutError after @timeout seconds, and nothing is taken."""
        return await _run(_operations.receive(self._handles, False), timeout)

    async def receive_bytes(self, timeout: Optional[float] = None) -> bytes:
        """The same without the envelope, in one system call. Longer than 1 MiB: MessageTooLong, and it stays."""
        return await _run(_operations.receive_bytes(self._handles, False), timeout)

    async def __aiter__(self) -> AsyncIterator[Message]:
        """Message after message, until the mailbox is removed."""
        while True:
            try:
                message = await self.receive()
            except Removed:
                return
            yield message

    async def lease(self, timeout: Optional[float] = None) -> Lease:
        """Takes a message on lease, as `ipcfs.Mailbox.lease`."""
        handle, message = await _run(_operations.lease(self._handles, False), timeout)
        return Lease(self._handles, handle, message)

    @contextlib.asynccontextmanager
    async def work(self, timeout: Optional[float] = None) -> AsyncIterator[Message]:
        """Works on a message: done when the block is left, again after an exception, a cancellation, or a death."""
        lease = await self.lease(timeout)
        try:
            yield lease.message
        except BaseException:
            lease.again()
            raise
        lease.done()


class Mailbox(Queue):
    """A mailbox: whoever may sends, its owner receives."""

    async def send(self, data: Data, priority: int = 0, headers: Optional[Mapping[str, str]] = None,
                   timeout: Optional[float] = None) -> None:
        """Sends one message, as `ipcfs.Mailbox.send`."""
        await _run(_operations.send(self._handles, data, priority, headers, False), timeout)

    async def call(self, data: Data, timeout: Optional[float] = None) -> bytes:
        """Asks, and waits for the answer. Who cancels it gives up: the answer finds nobody."""
        return await _run(_operations.call(self._handles, data, False), timeout)


class Stream:
    """A subscription for as long as it is open: see `Topic.subscribe`."""

    def __init__(self, path: str):
        with told(path):
            self._handle = Handle(path, os.O_RDONLY)

    async def receive(self, timeout: Optional[float] = None) -> Message:
        """The next message that was published. For one task at a time."""
        with told(self._handle.path):
            return await _run(_operations.receive_from(self._handle), timeout)

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            try:
                message = await self.receive()
            except Removed:
                return
            yield message

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *unused) -> None:
        self.close()


class Topic(Thing):
    """A topic: what is published goes to all who have subscribed."""

    def __init__(self, path: str):
        super().__init__(path)
        self._handles = Handles(path)

    def close(self) -> None:
        self._handles.close()

    async def publish(self, data: Data, priority: int = 0, headers: Optional[Mapping[str, str]] = None,
                      timeout: Optional[float] = None) -> None:
        """Sends a message to every subscription there is."""
        await _run(_operations.send(self._handles, data, priority, headers, False), timeout)

    def subscribe(self) -> Stream:
        """Subscribes from this moment until it is closed, best with `with`."""
        return Stream(os.path.join(self.path, "recv.json"))

    def subscription(self, name: str, create: bool = False, mode: Optional[int] = None, **settings: Setting) -> Queue:
        """A subscription that stays, as `ipcfs.Topic.subscription`."""
        queue = Queue(room_path(self.path, "sub", name))
        if create:
            queue._make(settings, mode)
        return queue


class Ring(_SyncRing):
    """A ring. `produce` and `consume` are awaited; what does not wait is as in `ipcfs.Ring`."""

    def __init__(self, path: str):
        super().__init__(path)
        self._handles = Handles(path)

    def close(self) -> None:
        super().close()
        self._handles.close()

    def _until(self, name: str, flags: int, attempt) -> Operation:
        """Tries once more whenever the ring's file says that it has changed."""
        result = attempt()
        if result is not None:
            return result
        handle = self._handles.take(name, flags, False)
        try:
            handle.epoll()
            while True:
                result = attempt()
                if result is not None:
                    return result
                yield handle
        finally:
            self._handles.give_back(name, handle)

    async def produce(self, data: Data, timeout: Optional[float] = None) -> None:  # type: ignore[override]
        """Puts a message in, and waits while the ring is full."""
        body = _operations.to_bytes(data)
        await _run(self._until("send", os.O_WRONLY, lambda: self.try_produce(body) or None), timeout)

    async def consume(self, timeout: Optional[float] = None) -> bytes:  # type: ignore[override]
        """Takes the next message, and waits for it."""
        return await _run(self._until("recv", os.O_RDONLY, self.try_consume), timeout)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            try:
                message = await self.consume()
            except Removed:
                return
            yield message


class Mount(MountThing):
    """An ipcfs mount, as `ipcfs.Mount`."""

    def mailbox(self, name: str, create: bool = False, mode: Optional[int] = None, **settings: Setting) -> Mailbox:
        """The mailbox of that name; @create: makes it, where it is not there yet."""
        mailbox = Mailbox(room_path(self.path, "mbox", name))
        if create:
            mailbox._make(settings, mode)
        return mailbox

    def process(self, pid: Union[int, None] = None) -> Mailbox:
        """The mailbox that every process has; this one's without @pid."""
        return Mailbox(os.path.join(self.path, "proc", str(os.getpid() if pid is None else pid)))

    def topic(self, name: str, create: bool = False, mode: Optional[int] = None, **settings: Setting) -> Topic:
        """The topic of that name; @create: makes it, where it is not there yet."""
        topic = Topic(room_path(self.path, "topic", name))
        if create:
            topic._make(settings, mode)
        return topic

    def ring(self, name: str, create: bool = False, slots: Optional[int] = None, slot_bytes: Optional[int] = None,
             mode: Optional[int] = None, **settings: Setting) -> Ring:
        """The ring of that name; @create: makes it, where it is not there yet."""
        ring = Ring(room_path(self.path, "ring", name))
        if create:
            sizes = {key: value for key, value in (("slots", slots), ("slot_bytes", slot_bytes)) if value is not None}
            ring._make({**sizes, **settings}, mode)
        return ring

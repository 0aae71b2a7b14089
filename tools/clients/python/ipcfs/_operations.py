"""The operations that may wait, written once for callers that block and for asyncio.

Each is a generator: it yields the handle that it waits for, and goes on when the kernel says that this has changed.
Who drives it waits, by poll in a thread or by add_reader in an event loop, or closes the generator to give up: it has
then taken and sent nothing.

How messages are received, and why so: an envelope from recv.json, which a handle takes in two reads. The first is
shorter than any envelope, so that it takes one message and no more (one large read would take as many as fit, and those
that the program had not come to would be lost with it); the second gets what is left of it and never waits. A handle is
used by one operation at a time, from a pool that grows as operations wait side by side.

How they wait: by an edge-triggered epoll of each handle, which is told whenever its mailbox changes. poll's POLLOUT
promises room for a smallest write, so that a longer one could spin between "there is room" and EAGAIN. Where there is
no timeout a blocking caller has the file wait, which keeps its turn among all who wait there."""

import errno
import os
import select
import time
from typing import Dict, Generator, List, Mapping, Optional, Tuple, TypeVar, Union

from . import _message
from ._errors import raise_error, told
from ._message import Message

T = TypeVar("T")

Data = Union[bytes, bytearray, memoryview, str]

# Shorter than any envelope.
_FIRST_READ_BYTES = 32
_READ_BYTES = 1 << 20
_PRIORITY_MAX = 31


class Handle:
    """An open file of a mailbox, and how its user waits for it."""

    def __init__(self, path: str, flags: int):
        self.path = path
        self.events = select.EPOLLIN if flags & os.O_ACCMODE == os.O_RDONLY else select.EPOLLOUT
        self.fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
        self._blocks = False
        self._epoll: Optional[select.epoll] = None

    def set_blocking(self, blocks: bool) -> None:
        if blocks != self._blocks:
            os.set_blocking(self.fd, blocks)
            self._blocks = blocks

    def wait_for(self, events: int) -> "Handle":
        """Says for what it is waited, where a file is read and written."""
        if self._epoll and events != self.events:
            self._epoll.modify(self.fd, events | select.EPOLLET)
        self.events = events
        return self

    def epoll(self) -> select.epoll:
        """Readable once the file has changed since the last time that it was asked."""
        if not self._epoll:
            self._epoll = select.epoll()
            self._epoll.register(self.fd, self.events | select.EPOLLET)
        return self._epoll

    def close(self) -> None:
        if self._epoll:
            self._epoll.close()
            self._epoll = None
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)


Operation = Generator[Handle, None, T]


class Handles:
    """The open files of a mailbox that nobody uses at the moment, by name."""

    def __init__(self, path: str):
        self.path = path
        self._idle: Dict[str, List[Handle]] = {}
        self._pid = os.getpid()

    def take(self, name: str, flags: int, blocks: bool) -> Handle:
        # What was opened before a fork is the parent's: a handle has one user.
        if self._pid != os.getpid():
            self._idle = {}
            self._pid = os.getpid()
        try:
            handle = self._idle[name].pop()
        except (KeyError, IndexError):
            handle = Handle(os.path.join(self.path, name), flags)
        handle.set_blocking(blocks)
        return handle

    def give_back(self, name: str, handle: Handle) -> None:
        if self._pid == os.getpid():
            self._idle.setdefault(name, []).append(handle)
        else:
            handle.close()

    def close(self) -> None:
        idle, self._idle = self._idle, {}
        for handles in idle.values():
            for handle in handles:
                handle.close()


class _Use:
    """A handle for the length of an operation. One that is left in an exception is closed: who knows where it stands."""

    def __init__(self, handles: Handles, name: str, flags: int, blocks: bool):
        self.args = (name, flags, blocks)
        self.handles = handles
        self.told = told(os.path.join(handles.path, name))

    def __enter__(self) -> Handle:
        self.told.__enter__()
        try:
            self.handle = self.handles.take(*self.args)
        except BaseException as error:
            self.told.__exit__(type(error), error, error.__traceback__)
            raise
        return self.handle

    def __exit__(self, kind, error, traceback) -> Optional[bool]:
        if kind is None:
            self.handles.give_back(self.args[0], self.handle)
        else:
            self.handle.close()
        return self.told.__exit__(kind, error, traceback)


def to_bytes(data: Data) -> bytes:
    """What is sent: bytes as they are, text as UTF-8."""
    return data.encode() if isinstance(data, str) else bytes(data)


def read(handle: Handle, n_bytes: int = _READ_BYTES) -> Operation[bytes]:
    while True:
        try:
            return os.read(handle.fd, n_bytes)
        except BlockingIOError:
            yield handle.wait_for(select.EPOLLIN)


def write(handle: Handle, data: bytes) -> Operation[None]:
    """All of it: one write is one message, but a line may be longer than what the kernel passes on at a time."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(handle.fd, rest):]
        except BlockingIOError:
            yield handle.wait_for(select.EPOLLOUT)


def _read_rest(handle: Handle, data: bytes) -> bytes:
    """What follows of a message that is taken already, up to the end of file."""
    parts = [data]
    while data:
        data = os.read(handle.fd, _READ_BYTES)
        parts.append(data)
    return b"".join(parts)


def send(handles: Handles, data: Data, priority: int, headers: Optional[Mapping[str, str]], blocks: bool) -> Operation[None]:
    body = to_bytes(data)
    if not 0 <= priority <= _PRIORITY_MAX:
        raise ValueError(f"a priority is 0 to {_PRIORITY_MAX}, not {priority}")
    if headers or not body:
        # write(2) can't say an empty message.
        with _Use(handles, "send.json", os.O_WRONLY, blocks) as handle:
            yield from write(handle, _message.render(body, priority, dict(headers or {})))
        return
    name = f"send.{priority}" if priority else "send"
    try:
        with _Use(handles, name, os.O_WRONLY, blocks) as handle:
            yield from write(handle, body)
    except OSError as error:
        if error.errno != errno.EMSGSIZE or priority:
            raise
        yield from _drop(handles, body, blocks)


def _drop(handles: Handles, body: bytes, blocks: bool) -> Operation[None]:
    """Longer than message_bytes: as a file, whole or not at all."""
    path = os.path.join(handles.path, "drop", "python")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with _Use(handles, "send", os.O_WRONLY, False) as handle, told(path):
        while True:
            try:
                fd = os.open(path, flags if blocks else flags | os.O_NONBLOCK, 0o600)
                break
            except BlockingIOError:
                yield handle
        try:
            # From here on it can't wait, but for the receiver of a rendezvous.
            rest = memoryview(body)
            while rest:
                rest = rest[os.write(fd, rest):]
        finally:
            os.close(fd)


def receive(handles: Handles, blocks: bool) -> Operation[Message]:
    with _Use(handles, "recv.json", os.O_RDONLY, blocks) as handle:
        return (yield from receive_from(handle))


def receive_from(handle: Handle) -> Operation[Message]:
    envelope = yield from read(handle, _FIRST_READ_BYTES)
    if not envelope:
        raise_error(errno.EIDRM, handle.path)
    parts = [envelope]
    while not envelope.endswith(b"\n"):
        envelope = os.read(handle.fd, _READ_BYTES)
        if not envelope:
            raise_error(errno.EIDRM, handle.path)
        parts.append(envelope)
    return _message.parse(b"".join(parts))


def receive_bytes(handles: Handles, blocks: bool) -> Operation[bytes]:
    """A message a read: packet mode."""
    with _Use(handles, "recv", os.O_RDONLY | os.O_DIRECT, blocks) as handle:
        return (yield from read(handle))


def lease(handles: Handles, blocks: bool) -> Operation[Tuple[Handle, Message]]:
    """The handle holds the message until a word is written to it, or it is closed."""
    with told(os.path.join(handles.path, "work")):
        handle = handles.take("work", os.O_RDWR, blocks)
        try:
            data = yield from read(handle)
            data = _read_rest(handle, data)
            return handle, _message.parse(os.getxattr(handle.fd, "user.ipcfs.envelope"), data)
        except BaseException:
            handle.close()
            raise


def settle(handles: Handles, handle: Handle, word: bytes) -> None:
    """Says what became of the message that @handle holds."""
    with told(handle.path):
        try:
            os.write(handle.fd, word)
        except BaseException:
            handle.close()
            raise
    handles.give_back("work", handle)


def call(handles: Handles, data: Data, blocks: bool) -> Operation[bytes]:
    body = to_bytes(data)
    if not body:
        raise ValueError("a question is at least one byte long")
    with _Use(handles, "call", os.O_RDWR, blocks) as handle:
        yield from write(handle, body)
        data = yield from read(handle)
        return _read_rest(handle, data)


def reply(path: str, message_id: int, data: Data) -> None:
    """An empty answer is opened and closed."""
    name = os.path.join(path, "reply", f"{message_id:020}")
    with told(name):
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            rest = memoryview(to_bytes(data))
            while rest:
                rest = rest[os.write(fd, rest):]
        finally:
            os.close(fd)


def run(operation: Operation[T], timeout: Optional[float], what: str) -> T:
    """Drives an operation in this thread."""
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        handle = next(operation)
        while True:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not handle.epoll().poll(left, 1) and left is not None:
                raise TimeoutError(errno.ETIMEDOUT, f"{what} did not happen within {timeout} s", handle.path)
            handle = operation.send(None)
    except StopIteration as done:
        return done.value
    finally:
        operation.close()

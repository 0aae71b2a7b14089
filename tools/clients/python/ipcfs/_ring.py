"""Rings by libipcring, through ctypes.

A handle of the library is for one thread, and not for a child after fork: each thread opens its own at its first call.
What can be done at once is done without letting other threads run meanwhile (PyDLL): that costs more than the call.
Only what has to wait lets them (CDLL), and a signal's handler runs while it waits, as elsewhere in Python."""

import contextlib
import ctypes
import errno
import os
import threading
import time
import weakref
from array import array
from itertools import accumulate
from typing import Iterator, List, Optional, Sequence

from ._errors import Removed, raise_error
from ._objects import Thing
from ._operations import Data, to_bytes

_BATCH_MAX = 64
_BATCH_BYTES = 1 << 20
# A pointer, and a size_t.
_WORD = "Q" if ctypes.sizeof(ctypes.c_void_p) == 8 else "I"


class _Msg(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("n_bytes", ctypes.c_size_t)]



class _Library:
    """libipcring: what never waits in `now`, what may in `waits`."""

    def __init__(self) -> None:
        name = os.environ.get("LIBIPCRING") or "libipcring.so.1"
        try:
            self.now = ctypes.PyDLL(name)
            self.waits = ctypes.CDLL(name)
        except OSError as error:
            raise ImportError(f"rings need libipcring (Debian: libipcring1): {error}") from error
        pointer, size, timeout = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64
        for dll in self.now, self.waits:
            dll.ipcring_open.argtypes = [ctypes.c_char_p, ctypes.POINTER(pointer)]
            dll.ipcring_close.argtypes = [pointer]
            dll.ipcring_message_bytes.argtypes = [pointer]
            dll.ipcring_message_bytes.restype = size
            dll.ipcring_try_produce.argtypes = [pointer, ctypes.c_char_p, size]
            dll.ipcring_produce.argtypes = [pointer, ctypes.c_char_p, size, timeout]
            dll.ipcring_try_consume.argtypes = [pointer, pointer, size]
            dll.ipcring_consume.argtypes = [pointer, pointer, size, timeout]
            dll.ipcring_produce_batch.argtypes = [pointer, ctypes.POINTER(_Msg), ctypes.c_uint, timeout]
            dll.ipcring_consume_batch.argtypes = [pointer, ctypes.POINTER(_Msg), ctypes.c_uint, timeout]
            dll.ipcring_reserve.argtypes = [pointer, ctypes.POINTER(pointer), timeout]
            dll.ipcring_commit.argtypes = [pointer, size]
            dll.ipcring_cancel.argtypes = [pointer]
            dll.ipcring_cancel.restype = None
            dll.ipcring_peek.argtypes = [pointer, ctypes.POINTER(pointer), timeout]
            dll.ipcring_release.argtypes = [pointer]
            dll.ipcring_close.restype = None


_library: Optional[_Library] = None
_forks = 0
_rings: "weakref.WeakSet[Ring]" = weakref.WeakSet()


def _load() -> _Library:
    global _library
    if not _library:
        _library = _Library()
    return _library


def _forget_parents() -> None:
    """In a child: its parent's handles are not its own, nor to be closed by it."""
    global _forks
    _forks += 1
    for ring in list(_rings):
        ring._local = threading.local()


os.register_at_fork(after_in_child=_forget_parents)


class _Batch:
    """Messages that go in one call: struct ipcring_msg for each, as pairs of words, an address and a length."""

    def __init__(self, message_bytes: int):
        self.n = n = min(_BATCH_MAX, max(_BATCH_BYTES // message_bytes, 1))
        self.msgs = (_Msg * n)()
        words = memoryview(self.msgs).cast("B").cast(_WORD)
        self.addresses = words[0::2]
        self.lengths = words[1::2]
        self.room = ctypes.create_string_buffer(message_bytes * n)
        self.starts = range(0, message_bytes * n, message_bytes)
        self.at = array(_WORD, (ctypes.addressof(self.room) + start for start in self.starts))
        self.full = array(_WORD, [message_bytes] * n)

    def fill(self, messages: Sequence[bytes]) -> bytes:
        """Return: what must live until the call is over."""
        lengths = array(_WORD, map(len, messages))
        data = b"".join(messages)
        address = ctypes.cast(data, ctypes.c_void_p).value or 0
        self.addresses[:len(messages)] = array(_WORD, accumulate(lengths[:-1], initial=address))
        self.lengths[:len(messages)] = lengths
        return data

    def make_room(self) -> None:
        self.addresses[:] = self.at
        self.lengths[:] = self.full

    def take(self, n: int) -> List[bytes]:
        room = self.room
        return [room[start:start + length] for start, length in zip(self.starts, self.lengths[:n].tolist())]


class _Handle:
    """A thread's own. What a child has from its parent it forgets: only the parent may close it."""

    def __init__(self, map_path: str):
        self._library = _load()
        self.forks = _forks
        self.shown: List[memoryview] = []
        self.ring = ctypes.c_void_p()
        r = self._library.waits.ipcring_open(os.fsencode(map_path), ctypes.byref(self.ring))
        if r < 0:
            raise_error(-r, map_path)
        self.message_bytes: int = self._library.now.ipcring_message_bytes(self.ring)
        self.buffer = ctypes.create_string_buffer(self.message_bytes)
        # Looked up once: a call is to cost little more than itself.
        self.address = ctypes.c_void_p(ctypes.addressof(self.buffer))
        self.try_produce = self._library.now.ipcring_try_produce
        self.try_consume = self._library.now.ipcring_try_consume
        self.batch: Optional[_Batch] = None

    def show(self, address: int, n_bytes: int) -> memoryview:
        view = memoryview((ctypes.c_ubyte * n_bytes).from_address(address)).cast("B")
        self.shown.append(view)
        return view

    def forget_shown(self) -> None:
        """What pointed into the ring points nowhere any more."""
        shown, self.shown = self.shown, []
        for view in shown:
            with contextlib.suppress(BufferError):
                view.release()

    def close(self) -> None:
        ring, self.ring = self.ring, ctypes.c_void_p()
        if ring and self.forks == _forks:
            self.forget_shown()
            self._library.now.ipcring_close(ring)

    def __del__(self) -> None:
        if getattr(self, "ring", None):
            self.close()


def _left_ns(deadline: Optional[float]) -> int:
    """For the library: -1 is for ever."""
    return -1 if deadline is None else max(int((deadline - time.monotonic()) * 1e9), 0)


class Ring(Thing):
    """A ring: a bounded buffer in shared memory. Messages go through it without a system call."""

    def __init__(self, path: str):
        super().__init__(path)
        self._map = os.path.join(path, "map")
        self._local = threading.local()
        _rings.add(self)

    def _handle(self) -> _Handle:
        try:
            handle: _Handle = self._local.handle
        except AttributeError:
            handle = self._local.handle = _Handle(self._map)
        return handle

    def close(self) -> None:
        """Closes this thread's handle: gives up what it has reserved, and the role of a one producer or consumer."""
        handle = getattr(self._local, "handle", None)
        if handle:
            del self._local.handle
            handle.close()

    @property
    def message_bytes(self) -> int:
        """How long a message may be."""
        return self._handle().message_bytes

    def _wait(self, call, timeout: Optional[float]) -> int:
        """Calls what waits, again after a signal. Return: what is not negative."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            r: int = call(_left_ns(deadline))
            if r >= 0:
                return r
            if r == -errno.EAGAIN:  # the time was over before it began
                raise_error(errno.ETIMEDOUT, self._map)
            if r != -errno.EINTR:
                raise_error(-r, self._map)

    def produce(self, data: Data, timeout: Optional[float] = None) -> None:
        """Puts a message in, and waits while the ring is full; TimeoutError after @timeout seconds."""
        try:
            handle: _Handle = self._local.handle
        except AttributeError:
            handle = self._handle()
        if type(data) is not bytes:
            data = to_bytes(data)
        r = handle.try_produce(handle.ring, data, len(data))
        if r == 0:
            return
        if r != -errno.EAGAIN:
            raise_error(-r, self._map)
        self._wait(lambda left: _load().waits.ipcring_produce(handle.ring, data, len(data), left), timeout)

    def consume(self, timeout: Optional[float] = None) -> bytes:
        """Takes the next message, and waits for it; TimeoutError after @timeout seconds."""
        try:
            handle: _Handle = self._local.handle
        except AttributeError:
            handle = self._handle()
        r = handle.try_consume(handle.ring, handle.address, handle.message_bytes)
        if r < 0:
            if r != -errno.EAGAIN:
                raise_error(-r, self._map)
            r = self._wait(lambda left: _load().waits.ipcring_consume(handle.ring, handle.address, handle.message_bytes, left),
                           timeout)
        return handle.buffer[:r]

    def try_produce(self, data: Data) -> bool:
        """Puts a message in. Return: False: the ring is full."""
        handle = self._handle()
        body = to_bytes(data)
        r = handle.try_produce(handle.ring, body, len(body))
        if r < 0 and r != -errno.EAGAIN:
            raise_error(-r, self._map)
        return r == 0

    def try_consume(self) -> Optional[bytes]:
        """Takes the next message. Return: None: the ring is empty."""
        handle = self._handle()
        r = handle.try_consume(handle.ring, handle.address, handle.message_bytes)
        if r == -errno.EAGAIN:
            return None
        if r < 0:
            raise_error(-r, self._map)
        return handle.buffer[:r]

    def _batch(self) -> _Batch:
        handle = self._handle()
        if not handle.batch:
            handle.batch = _Batch(handle.message_bytes)
        return handle.batch

    def produce_many(self, messages: Sequence[bytes], timeout: Optional[float] = None) -> None:
        """Puts messages in, in order, many a call; @timeout is for all. Where it fails some may be in already."""
        batch = self._batch()
        ring = self._handle().ring
        deadline = None if timeout is None else time.monotonic() + timeout
        i = 0
        while i < len(messages):
            now = messages[i:i + batch.n]
            data = batch.fill(now)
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            i += self._wait(lambda ns: _load().waits.ipcring_produce_batch(ring, batch.msgs, len(now), ns), left)
            del data

    def consume_many(self, maximum: int = _BATCH_MAX, timeout: Optional[float] = None) -> List[bytes]:
        """Takes as many messages as there are, up to @maximum and to 64 (fewer that are long), and waits for one."""
        batch = self._batch()
        ring = self._handle().ring
        n = max(min(maximum, batch.n), 1)
        batch.make_room()
        return batch.take(self._wait(lambda ns: _load().waits.ipcring_consume_batch(ring, batch.msgs, n, ns), timeout))

    def __iter__(self) -> Iterator[bytes]:
        """Message after message, until the ring is removed."""
        while True:
            try:
                yield self.consume()
            except Removed:
                return

    # --- without copying ---

    def reserve(self, timeout: Optional[float] = None) -> memoryview:
        """A place in the ring itself, `message_bytes` long, to be filled and then published by `commit`. One at a time;
        consumers wait for it, so be quick."""
        handle = self._handle()
        address = ctypes.c_void_p()
        self._wait(lambda left: _load().waits.ipcring_reserve(handle.ring, ctypes.byref(address), left), timeout)
        assert address.value is not None
        return handle.show(address.value, handle.message_bytes)

    def commit(self, n_bytes: int) -> None:
        """Publishes the first @n_bytes of what was reserved. Its view can't be used any more."""
        handle = self._handle()
        r = _load().now.ipcring_commit(handle.ring, n_bytes)
        if r != -errno.EMSGSIZE:
            handle.forget_shown()
        if r < 0:
            raise_error(-r, self._map)

    def cancel(self) -> None:
        """Gives up what was reserved, if anything."""
        handle = self._handle()
        handle.forget_shown()
        _load().now.ipcring_cancel(handle.ring)

    def peek(self, timeout: Optional[float] = None) -> memoryview:
        """The next message where it lies, read-only, until `release`; for a ring with one consumer (consumers=one). A
        producer could still change it: copy what you decide on."""
        handle = self._handle()
        address = ctypes.c_void_p()
        n = self._wait(lambda left: _load().waits.ipcring_peek(handle.ring, ctypes.byref(address), left), timeout)
        assert address.value is not None
        view = handle.show(address.value, n).toreadonly()
        handle.shown.append(view)
        return view

    def release(self) -> None:
        """Takes the message that `peek` has shown. Its view can't be used any more."""
        handle = self._handle()
        handle.forget_shown()
        r = _load().now.ipcring_release(handle.ring)
        if r < 0:
            raise_error(-r, self._map)

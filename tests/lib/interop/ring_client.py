#!/usr/bin/env python3
"""A client of rings in Python, written from ipcfs-ring(7) alone, with nothing but mmap.

    ring_client.py MAP produce [COUNT]    each line of stdin is a message
    ring_client.py MAP consume [COUNT]    prints each message as a line

Python has no compare-and-swap, so it takes part where there is one producer and it is that, or one
consumer; nobody may compete with it for the role. Where each consumer sees everything it is one of them. It relies on x86's order of loads and stores, and on
CPython to load and store an aligned item of a cast memoryview whole."""

import errno
import itertools
import mmap
import os
import stat
import sys
import time

MAGIC = int.from_bytes(b"IPCFRING", "little")
ONE_PRODUCER, ONE_CONSUMER, EACH_CONSUMER = 1, 2, 4
HEAD, PRODUCER, TAIL, CONSUMER, WAIT_DATA, WAIT_SPACE = 4096, 4104, 4224, 4232, 4352, 4480
SKIP, FULL, CLAIMED = 0, 1, 2
SLEEPERS, CLOSED = 1, 1 << 31
MASK64 = (1 << 64) - 1
MASK_LAP = (1 << 30) - 1
NAP_SECONDS = 0.001
JUDGE_SECONDS = 0.001
AGAIN_SECONDS = 0.005
LOOK_BACK = 65536


def fail(code):
    raise OSError(code, os.strerror(code))


def process(pid):
    """What /proc says of a process: state, threads, start time."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rsplit(b")", 1)[1].split()
    return fields[0], int(fields[17]), int(fields[19])


def tag_of(start):
    """Which process with its pid it is; 0 in a time namespace, where start times are others."""
    try:
        with open("/proc/self/timens_offsets", "rb") as file:
            offsets = [line.split() for line in file]
    except OSError:
        offsets = []
    return 0 if any(line[0] == b"boottime" and line[1:] != [b"0", b"0"] for line in offsets) else 1 + start % 511


class Bell:
    """The file beside the map. A ring without a mount may have none, or one that can't be read."""

    def __init__(self, path):
        self.reader = self.writer = None
        try:
            at = os.path.join(os.path.dirname(path), "bell")
            self.writer = os.open(at, os.O_WRONLY)
            if stat.S_ISREG(os.stat(at).st_mode):
                self.reader = os.open(at, os.O_RDONLY)
        except OSError:
            pass

    def wake(self):
        if self.writer is not None:
            os.write(self.writer, b"\n")

    def wait(self):
        """Returns when the ring has changed since the last time, or earlier."""
        if self.reader is None:
            time.sleep(NAP_SECONDS)
            return
        try:
            os.read(self.reader, 64)
        except OSError:
            self.reader = None


class Ring:
    """One end of a ring."""

    def __init__(self, path):
        with open(path, "r+b", buffering=0) as file:
            self.map = mmap.mmap(file.fileno(), 0)
        whole = memoryview(self.map)
        self.u64 = whole[: len(whole) // 8 * 8].cast("Q")
        self.u32 = whole[: len(whole) // 4 * 4].cast("I")
        self.bytes = whole
        self.bell = Bell(path)
        self.role = None
        self.claim, self.judge_at = None, 0
        self.missed = 0
        self.read_geometry()
        self.id = self.own_id()

    def read_geometry(self):
        if sys.byteorder != "little" or len(self.bytes) < 8192 or self.u64[0] != MAGIC:
            fail(errno.EPROTO)
        self.flags, self.slots, self.slot_bytes = self.u32[3], self.u32[4], self.u32[5]
        self.slots_offset, map_bytes, self.pid_namespace = self.u64[3], self.u64[4], self.u64[5]
        self.each = self.u32[2] == 2
        if (
            self.u32[2] not in (1, 2)
            or (self.flags & ~ONE_PRODUCER != EACH_CONSUMER if self.each else self.flags & ~3)
            or not 2 <= self.slots <= 1 << 24
            or self.slots & (self.slots - 1)
            or not 16 <= self.slot_bytes <= 1 << 20
            or self.slot_bytes % 8
            or self.slots_offset != 8192
            or not self.slots_offset + self.slots * self.slot_bytes <= map_bytes <= len(self.bytes)
        ):
            fail(errno.EPROTO)

    def own_id(self):
        pid = os.getpid()
        identity = pid | tag_of(process(pid)[2]) << 22
        try:
            same = os.stat("/proc/self/ns/pid").st_ino == self.pid_namespace
        except OSError:
            same = False
        return identity if same else identity | CLOSED

    def is_dead(self, identity):
        if (identity | self.id) >> 31:
            return False
        pid, tag = identity & 0x3FFFFF, identity >> 22 & 0x1FF
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        try:
            state, n_threads, start = process(pid)
        except OSError:
            return False
        return state in (b"Z", b"X") and n_threads <= 1 or tag != 0 and tag_of(start) not in (0, tag)

    def lap(self, pos):
        return (pos // self.slots + 1) & MASK_LAP

    def slot(self, pos):
        return self.slots_offset + pos % self.slots * self.slot_bytes

    def take_role(self, at, flag):
        if not self.flags & flag:
            fail(errno.EOPNOTSUPP)  # that needs compare-and-swap
        holder = self.u32[at // 4]
        if holder and not self.is_dead(holder):
            fail(errno.EBUSY)
        self.u32[at // 4] = self.id
        self.role = at

    def find_unpublished(self, pos):
        """The one producer's first position from there on that is not published."""
        for _ in range(self.slots):
            if self.u64[self.slot(pos) // 8] >> 32 != self.lap(pos) << 2 | FULL:
                break
            pos = (pos + 1) & MASK64
        return pos

    def become_producer(self):
        self.take_role(PRODUCER, ONE_PRODUCER)
        self.pos = self.find_unpublished(self.u64[HEAD // 8])

    def later(self, a, b):
        return a if (a - b) & MASK64 < 1 << 63 else b

    def become_one_of_all(self):
        self.role = 0
        pos = self.u64[HEAD // 8]
        if self.flags & ONE_PRODUCER:
            self.pos = self.later(self.u64[HEAD // 8], self.find_unpublished(pos))
            return
        self.pos = pos
        for n in range(1, min(LOOK_BACK, self.slots - 1) + 1):
            before = (pos - n) & MASK64
            word = self.u64[self.slot(before) // 8]
            if word >> 34 != self.lap(before):
                break
            if word >> 32 & 3 == CLAIMED:
                self.pos = before

    def become_consumer(self):
        if self.each:
            self.become_one_of_all()
            return
        self.take_role(CONSUMER, ONE_CONSUMER)
        self.pos = self.u64[TAIL // 8]

    def try_produce(self, message):
        """Returns whether there was room."""
        if self.role is None:
            self.become_producer()
        if len(message) > self.slot_bytes - 8:
            fail(errno.EMSGSIZE)
        if self.u32[WAIT_DATA // 4] & CLOSED:
            fail(errno.EIDRM)
        used = 0 if self.each else (self.pos - self.u64[TAIL // 8]) & MASK64
        if used > self.slots:
            fail(errno.EPROTO)
        if used == self.slots:
            return False
        at = self.slot(self.pos)
        if self.each:
            self.u64[at // 8] = (self.lap(self.pos) << 2 | CLAIMED) << 32 | self.id
        self.bytes[at + 8 : at + 8 + len(message)] = message
        self.u64[at // 8] = (self.lap(self.pos) << 2 | FULL) << 32 | len(message)
        self.pos = (self.pos + 1) & MASK64
        self.u64[HEAD // 8] = self.pos
        self.wake(WAIT_DATA)
        return True

    def try_consume(self):
        """Returns the message, or None."""
        if self.role is None:
            self.become_consumer()
        if self.u32[WAIT_SPACE // 4] & CLOSED:
            fail(errno.EIDRM)
        message = None
        while message is None:
            at = self.slot(self.pos)
            word = self.u64[at // 8]
            ahead = ((word >> 34) - self.lap(self.pos)) & MASK_LAP
            state = word >> 32 & 3
            length = word & 0xFFFFFFFF
            if ahead == MASK_LAP:
                return None
            if self.each and 0 < ahead < 1 << 29:
                self.go_to_oldest(ahead)
                continue
            if ahead or state == 3:
                fail(errno.EPROTO)
            if state == CLAIMED:
                if not self.each or not self.flags & ONE_PRODUCER:
                    self.judge(at, word)
                return None
            if state == FULL:
                if length > self.slot_bytes - 8:
                    fail(errno.EPROTO)
                message = bytes(self.bytes[at + 8 : at + 8 + length])
                if self.each and self.u64[at // 8] != word:
                    message = None
                    continue
            self.claim = None
            self.pos = (self.pos + 1) & MASK64
            if not self.each:
                self.u64[TAIL // 8] = self.pos
                self.wake(WAIT_SPACE)
        return message

    def go_to_oldest(self, ahead):
        """It was overtaken."""
        claimed = self.pos + ahead * self.slots
        oldest = self.later(claimed + 1 - self.slots, (self.u64[HEAD // 8] - self.slots) & MASK64) & MASK64
        self.missed += (oldest - self.pos) & MASK64
        self.pos = oldest

    def judge(self, at, word):
        """A claim is in the way. The dead don't change their words: if this one's is the same after it was found
        dead, a plain store skips it."""
        now = time.monotonic()
        if (self.pos, word) != self.claim:
            self.claim, self.judge_at = (self.pos, word), now + JUDGE_SECONDS
        elif now >= self.judge_at:
            self.judge_at = now + AGAIN_SECONDS
            if not self.is_dead(word & 0xFFFFFFFF) or self.u64[at // 8] != word:
                return
            if self.each:
                # Others may have come round since: it passes the claim for itself.
                self.pos = (self.pos + 1) & MASK64
            else:
                self.u64[at // 8] = (self.lap(self.pos) << 2 | SKIP) << 32

    def wake(self, at):
        if self.u32[at // 4] & SLEEPERS:
            self.bell.wake()

    def wait(self):
        # The bell tells of no death.
        if self.claim:
            time.sleep(NAP_SECONDS)
        else:
            self.bell.wait()

    def produce(self, message):
        while not self.try_produce(message):
            self.wait()

    def consume(self):
        while True:
            message = self.try_consume()
            if message is not None:
                return message
            self.wait()

    def close(self):
        if self.role:
            self.u32[self.role // 4] = 0


def main(path, verb, count=None):
    ring = Ring(path)
    try:
        if verb == "produce":
            for line in itertools.islice(sys.stdin.buffer, count):
                ring.produce(line.removesuffix(b"\n"))
        else:
            for _ in itertools.repeat(None) if count is None else range(count):
                sys.stdout.buffer.write(ring.consume() + b"\n")
                sys.stdout.buffer.flush()
    finally:
        ring.close()


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[2] not in ("produce", "consume"):
        print("usage: ring_client.py MAP produce|consume [COUNT]", file=sys.stderr)
        sys.exit(2)
    try:
        main(*sys.argv[1:3], *map(int, sys.argv[3:]))
    except OSError as e:
        sys.exit(f"{sys.argv[1]}: {e.strerror}")

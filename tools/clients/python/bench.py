"""Messages a second from one process to another: a ring beside what Python brings along, and a POSIX queue where
posix_ipc is installed.

    python3 bench.py [BYTES [ROUNDS]]

Each has its turn in each round; figures are medians, ratios are to multiprocessing.Queue in the same round."""

import json
import multiprocessing
import statistics
import sys
import time

import ipcfs

try:
    import posix_ipc
except ImportError:
    posix_ipc = None

CONTEXT = multiprocessing.get_context("fork")


def measure(send, receive, n):
    """Messages a second, once both processes are warm."""
    is_ready = CONTEXT.Event()

    def consume():
        receive(1)
        is_ready.set()
        receive(n)

    consumer = CONTEXT.Process(target=consume)
    consumer.start()
    send(1)
    is_ready.wait()
    begun = time.perf_counter()
    send(n)
    consumer.join()
    return n / (time.perf_counter() - begun)


def with_ring(body, run):
    ring = ipcfs.Mount().ring("python-bench", create=True, slots=4096, slot_bytes=max(16, (len(body) + 15) // 8 * 8))
    try:
        return run(ring)
    finally:
        ring.close()
        ring.remove()


def ring_one(body, n):
    """produce and consume, a message a call."""
    def run(ring):
        def send(count):
            for _ in range(count):
                ring.produce(body)

        def receive(count):
            for _ in range(count):
                ring.consume()
        return measure(send, receive, n)
    return with_ring(body, run)


def ring_many(body, n):
    """produce_many and consume_many."""
    def run(ring):
        def receive(count):
            while count:
                count -= len(ring.consume_many(count))
        return measure(lambda count: ring.produce_many([body] * count), receive, n)
    return with_ring(body, run)


def queue(body, n):
    q = CONTEXT.Queue()

    def send(count):
        for _ in range(count):
            q.put(body)

    def receive(count):
        for _ in range(count):
            q.get()
    return measure(send, receive, n)


def pipe(body, n):
    receiver, sender = CONTEXT.Pipe(False)

    def send(count):
        for _ in range(count):
            sender.send_bytes(body)

    def receive(count):
        for _ in range(count):
            receiver.recv_bytes()
    return measure(send, receive, n)


def posix_queue(body, n):
    q = posix_ipc.MessageQueue(None, posix_ipc.O_CREX, max_message_size=len(body))
    q.unlink()

    def send(count):
        for _ in range(count):
            q.send(body)

    def receive(count):
        for _ in range(count):
            q.receive()
    try:
        return measure(send, receive, n)
    finally:
        q.close()


WAYS = {"ring": (ring_one, 200_000), "ring, many a call": (ring_many, 400_000), "multiprocessing.Pipe": (pipe, 40_000),
        "multiprocessing.Queue": (queue, 20_000)}
if posix_ipc:
    WAYS["posix_ipc.MessageQueue"] = (posix_queue, 40_000)
BASELINE = "multiprocessing.Queue"


def main(size=64, rounds=5):
    body = b"x" * size
    figures = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, (way, n) in WAYS.items():
            figures[name].append(way(body, n))
    results = {name: {"messages_per_s": round(statistics.median(each)),
                      "ratio": round(statistics.median(a / b for a, b in zip(each, figures[BASELINE])), 2)}
               for name, each in figures.items()}
    print(json.dumps({"size": size, "rounds": rounds, "results": results}, indent=2))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

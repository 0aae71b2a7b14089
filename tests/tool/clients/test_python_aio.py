"""The Python package for asyncio: nothing blocks the loop, and what is cancelled has done nothing."""

import asyncio
import os

import pytest

import ipcfs
from harness import PATIENCE, wait_until
from ipcfs import aio


@pytest.fixture
def orders(mnt, box):
    return aio.Mount(mnt.path).mailbox(os.path.basename(box.path))


def in_loop(main):
    """Runs it, and sees that it leaves nothing in the loop."""
    async def checked():
        result = await asyncio.wait_for(main(), PATIENCE)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others
        return result
    return asyncio.run(checked())


async def cancel(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def asleep(task):
    """Until it waits: it has had its turn, and more."""
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()


def test_the_loop_goes_on_while_it_waits(orders):
    async def main():
        receiver = asyncio.create_task(orders.receive())
        await asleep(receiver)
        await orders.send("two teas", priority=1, headers={"table": "7"})
        message = await receiver
        return message.text, message.priority, message.headers
    assert in_loop(main) == ("two teas", 1, {"table": "7"})


def test_what_is_cancelled_takes_nothing(orders, box):
    async def main():
        await cancel_one()
        await orders.send("x")
        assert (await orders.receive(timeout=PATIENCE)).text == "x"

    async def cancel_one():
        receiver = asyncio.create_task(orders.receive())
        await asleep(receiver)
        await cancel(receiver)
    in_loop(main)
    assert box.counts("messages", "received") == (0, 1)


def test_cancelled_at_the_moment_in_which_it_comes(orders, box):
    """Either it is received, or it waits on."""
    async def main():
        for i in range(50):
            receiver = asyncio.create_task(orders.receive(timeout=PATIENCE if i % 2 else None))
            await asleep(receiver)
            await orders.send(str(i))
            for _ in range(i % 5):
                await asyncio.sleep(0)
            receiver.cancel()
            try:
                assert (await receiver).text == str(i)
            except asyncio.CancelledError:
                assert (await orders.receive(timeout=0)).text == str(i)
    in_loop(main)
    assert box.stat()["messages"] == 0


def test_out_of_time(orders, box):
    async def main():
        for timeout in 0, 0.05:
            with pytest.raises(TimeoutError):
                await orders.receive(timeout=timeout)
        box.fill(b"full")
        with pytest.raises(TimeoutError):
            await orders.send("x", timeout=0.05)
        sender = asyncio.create_task(orders.send("x"))
        await asleep(sender)
        await cancel(sender)
        return (await orders.receive()).text
    assert in_loop(main) == "full"
    assert box.stat()["messages"] == 0


def test_many_wait_side_by_side(orders, box):
    async def main():
        receivers = [asyncio.create_task(orders.receive()) for _ in range(100)]
        await asleep(receivers[-1])
        for i in range(100):
            await orders.send(str(i))
        messages = await asyncio.gather(*receivers)
        return sorted(int(message.text) for message in messages)
    assert in_loop(main) == list(range(100))


def test_iteration_and_removal(mnt):
    async def main():
        box = aio.Mount(mnt.path).mailbox("short", create=True)
        got = []

        async def receive_all():
            async for message in box:
                got.append(message.text)
        receiver = asyncio.create_task(receive_all())
        for i in range(3):
            await box.send(str(i))
        while len(got) < 3:
            await asyncio.sleep(0)
        os.rmdir(box.path)
        await receiver
        return got
    assert in_loop(main) == ["0", "1", "2"]


def test_questions(orders):
    async def main():
        async def serve():
            async for message in orders:
                orders.reply(message, message.text.upper())
        server = asyncio.create_task(serve())
        answers = await asyncio.gather(*[orders.call(word, timeout=PATIENCE) for word in ("one", "two", "three")])
        await cancel(server)
        return answers
    assert in_loop(main) == [b"ONE", b"TWO", b"THREE"]


def test_work(orders, box):
    async def main():
        await orders.send("job")

        async def work():
            async with orders.work() as message:
                assert message.text == "job"
                await asyncio.sleep(1000)
        worker = asyncio.create_task(work())
        while not box.stat()["leased"]:
            await asyncio.sleep(0)
        await cancel(worker)
        assert box.counts("messages", "leased") == (1, 0)
        async with orders.work(timeout=PATIENCE) as message:
            assert message.attempts == 1
    in_loop(main)
    assert box.counts("messages", "leased") == (0, 0)


def test_topics(mnt):
    async def main():
        news = aio.Mount(mnt.path).topic("news", create=True)
        with news.subscribe() as stream:
            reader = asyncio.create_task(stream.receive())
            await asleep(reader)
            await news.publish("extra")
            text = (await reader).text
        news.remove()
        return text
    assert in_loop(main) == "extra"


def test_rings(mnt):
    async def main():
        ring = aio.Mount(mnt.path).ring("ticks", create=True, slots=4, slot_bytes=16)
        consumer = asyncio.create_task(ring.consume())
        await asleep(consumer)
        ipcfs.Mount(mnt.path).ring("ticks").produce(b"mapped")
        got = [await consumer]
        for i in range(4):
            await ring.produce(b"%d" % i)
        producer = asyncio.create_task(ring.produce(b"4"))
        await asleep(producer)
        got += [await ring.consume(timeout=PATIENCE) for _ in range(5)]
        await producer
        with pytest.raises(TimeoutError):
            await ring.consume(timeout=0.05)
        waiting = asyncio.create_task(ring.consume())
        await asleep(waiting)
        await cancel(waiting)
        ring.close()
        ring.remove()
        return got
    assert in_loop(main) == [b"mapped", b"0", b"1", b"2", b"3", b"4"]
    wait_until(lambda: not os.path.exists(os.path.join(mnt.path, "ring", "ticks")), "it is removed")

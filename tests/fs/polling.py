"""What tests share that watch a file with poll, select and epoll."""

import select

import pytest

from harness import PATIENCE, Call, expect_asleep

IN, OUT, ERR, HUP = select.POLLIN, select.POLLOUT, select.POLLERR, select.POLLHUP

# Of what poll says the part that tests are about: POLLRDNORM and the like come along.
ALL = IN | OUT | ERR | HUP


def poll_now(handle, events=IN | OUT):
    return wait_poll(handle, events, 0)


def wait_poll(handle, events=IN | OUT, seconds=PATIENCE):
    poll = select.poll()
    poll.register(handle.fd, events)
    ready = poll.poll(int(seconds * 1000))
    return ready[0][1] & ALL if ready else 0


def wait_select(handle, events, seconds=PATIENCE):
    fds = [handle.fd]
    ready_in, ready_out, _ = select.select(fds if events & IN else [], fds if events & OUT else [], [], seconds)
    return (IN if ready_in else 0) | (OUT if ready_out else 0)


def wait_epoll(handle, events, seconds=PATIENCE, trigger=0):
    with select.epoll() as epoll:
        epoll.register(handle.fd, events | trigger)
        ready = epoll.poll(seconds)
        return ready[0][1] & ALL if ready else 0


def wait_epoll_edge(handle, events, seconds=PATIENCE):
    return wait_epoll(handle, events, seconds, select.EPOLLET)


WAITS = pytest.mark.parametrize("wait", [wait_poll, wait_select, wait_epoll, wait_epoll_edge])


def start_wait(wait, handle, events):
    """A process that watches, and has found nothing yet."""
    watcher = Call(wait, handle, events)
    expect_asleep(watcher)
    return watcher

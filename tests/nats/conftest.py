"""The fixtures of tests/fs (mnt, mount, ...), a nats-server, and bridges between the two."""

import pytest

from bridge import Bridge
from broker import Broker, connected
from fixtures import clean_up, mnt, mount, pytest_configure, shared_mounts


@pytest.fixture(scope="module")
def broker():
    """One for the tests of a file; each uses a subject of its own."""
    broker = Broker()
    yield broker
    broker.stop()


@pytest.fixture
def own_broker():
    """One that the test may kill."""
    broker = Broker()
    yield broker
    broker.stop()


@pytest.fixture
def client(broker):
    with connected(broker) as client:
        yield client


@pytest.fixture
def bridge():
    """Makes bridges; none of them outlives the test."""
    bridges = []

    def make(*args, **kwargs):
        bridges.append(Bridge(*args, **kwargs))
        return bridges[-1]
    yield make
    for one in bridges:
        if one.process.poll() is None:
            one.kill()


@pytest.fixture
def subject(request):
    """A subject that no other test uses."""
    return "t." + "".join(c if c.isalnum() else "-" for c in request.node.name)

"""What the daemon keeps for users beside what is queued: it counts, whoever causes it, and never for a victim."""

import errno
import os
import resource
import signal

import pytest

from harness import ALICE, BOB, Call, Peer, as_user, fails_with, try_open, wait_until

# What a user is bound to is never less than that.
SMALLEST = "max_bytes=1M,uid_bytes=256K"


def until_refused(act, most=4000):
    """How often it can be done, and what the error is then."""
    for n in range(most):
        try:
            act(n)
        except OSError as error:
            return n, error.errno
    return most, 0


def kept(mnt):
    return mnt.metric("ipcfs_kept_bytes")


@pytest.fixture
def small(mount):
    return mount("-o", SMALLEST)


def test_mailboxes_of_one_user_have_a_bound(mount):
    mnt = mount("-o", "max_bytes=1G,uid_bytes=256K")
    path = f"{mnt.mbox}/many"
    before = kept(mnt)
    n, error = as_user(ALICE, until_refused, lambda n: os.mkdir(f"{path}{n}"))
    assert error == errno.EDQUOT and n < 100
    # Another may still.
    as_user(BOB, os.mkdir, f"{path}-bob")
    for i in range(n):
        os.rmdir(f"{path}{i}")
    os.rmdir(f"{path}-bob")
    assert kept(mnt) == before
    as_user(ALICE, os.mkdir, path)


def test_a_ring_counts_what_it_takes_beside_its_memory(mnt):
    before = kept(mnt)
    os.mkdir(f"{mnt.path}/ring/kept")
    assert kept(mnt) - before >= 4000
    os.chown(f"{mnt.path}/ring/kept", ALICE, ALICE)
    os.rmdir(f"{mnt.path}/ring/kept")
    assert kept(mnt) == before


def test_an_empty_mailbox_counts_at_least_what_it_takes(mnt):
    before = kept(mnt)
    box = mnt.box()
    assert kept(mnt) - before >= 2800
    os.rename(box.path, box.path + "x")
    os.rmdir(box.path + "x")
    assert kept(mnt) == before


def test_a_mailbox_counts_for_its_owner(small):
    """chown of one to a user who has no room is refused."""
    n, error = as_user(BOB, until_refused, lambda n: os.mkdir(f"{small.mbox}/bob{n}"))
    assert error == errno.EDQUOT
    mine = small.box()
    with fails_with(errno.EDQUOT):
        os.chown(mine.path, BOB, BOB)
    assert os.stat(mine.path).st_uid == 0
    os.rmdir(f"{small.mbox}/bob0")
    os.chown(mine.path, BOB, BOB)
    with fails_with(errno.EDQUOT):
        as_user(BOB, os.mkdir, f"{small.mbox}/bob0")
    os.chown(mine.path, ALICE, ALICE)
    as_user(BOB, os.mkdir, f"{small.mbox}/bob0")


def test_who_has_made_all_he_may_can_still_open(small):
    box = small.mailbox("bobs")
    as_user(BOB, os.mkdir, box.path)
    as_user(BOB, until_refused, lambda n: os.mkdir(f"{small.mbox}/bob{n}"))
    as_user(BOB, box.send, b"message")
    assert as_user(BOB, box.receive) == b"message"


def test_open_files_of_one_user_have_a_bound(mount):
    mnt = mount("-o", "max_bytes=64M,uid_bytes=1M")
    box = mnt.box(0o711)

    def open_many():
        resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
        handles = []
        n, error = until_refused(lambda _: handles.append(os.open(box.send_path, os.O_WRONLY)))
        for fd in handles:
            os.close(fd)
        return n, error

    for _ in range(3):
        n, error = as_user(ALICE, open_many)
        assert error == errno.EDQUOT and 400 < n < 1000
        # Closes are told later.
        wait_until(lambda: as_user(ALICE, can_open, box.file("stat")), "the files are closed")


def can_open(path):
    """Whether the user may have a hundred more files open."""
    handles = []
    try:
        for _ in range(100):
            handles.append(os.open(path, os.O_RDONLY))
    except OSError as error:
        assert error.errno == errno.EDQUOT
    for fd in handles:
        os.close(fd)
    return len(handles) == 100


def test_open_listings_count(mount):
    """That of queue/ is a place in the queue, however long that is."""
    mnt = mount("-o", "max_bytes=64M,uid_bytes=1M")
    box = mnt.box()
    box.configure(messages="max", bytes=1 << 30)
    with box.open_send() as send:
        for _ in range(1000):
            send.write(b"x")

    def open_many():
        handles = []

        def open_one(_):
            handles.append(os.open(box.file("queue"), os.O_RDONLY | os.O_DIRECTORY))
            os.listdir(handles[-1])
        return until_refused(open_one)

    for _ in range(3):
        n, error = Call(open_many).result()
        assert error == errno.EDQUOT and 10 < n < 1000
        wait_until(lambda: Call(until_refused, lambda _: os.listdir(box.file("queue")), 1).result()[1] == 0, "it is closed")
        assert len(os.listdir(box.file("queue"))) == 1000


def test_an_open_text_counts(mount):
    """One of metrics is as long as there are mailboxes."""
    mnt = mount("-o", "max_bytes=64M,uid_bytes=1M")
    for n in range(200):
        os.mkdir(f"{mnt.mbox}/box{n}")

    def open_many():
        handles = []

        def open_one(_):
            handles.append(os.open(f"{mnt.path}/.ipcfs/metrics", os.O_RDONLY))
            os.read(handles[-1], 10)
        return until_refused(open_one)

    for _ in range(3):
        n, error = Call(open_many, uid=ALICE).result()
        assert error == errno.EDQUOT and 1 < n < 50
        wait_until(lambda: Call(until_refused, lambda _: mnt.metric("ipcfs_mailboxes"), 1, uid=ALICE).result()[1] == 0,
                   "they are closed")


def test_a_stranger_who_opens_what_is_a_process_pays_for_it(small):
    victims = [Call(signal.pause, uid=BOB) for _ in range(100)]
    for victim in victims:
        wait_until(lambda: os.stat(f"/proc/{victim.pid}").st_uid == BOB, "it is Bob's")
    before = kept(small)
    n, error = as_user(ALICE, until_refused, lambda n: try_open(f"{small.proc}/{victims[n].pid}/stat", os.O_RDONLY), 100)
    assert error == errno.EDQUOT and 50 < n < 100
    # The victims have all they had.
    made, error = as_user(BOB, until_refused, lambda n: os.mkdir(f"{small.mbox}/bob{n}"))
    assert error == errno.EDQUOT and made > 45
    for n in range(made):
        os.rmdir(f"{small.mbox}/bob{n}")
    for victim in victims:
        victim.kill()
    wait_until(lambda: kept(small) <= before, lambda: f"{kept(small)} bytes are kept, before {before}")


def test_links_count_for_who_opened_them_until_a_process_ends(mnt):
    one, other = Peer(), Peer()
    before = kept(mnt)
    end = one.call(os.open, f"{mnt.proc}/self/link/{other.pid}", os.O_RDWR)
    # A link and two processes.
    assert kept(mnt) - before >= 3000 + 2 * 2600
    other.process.kill()
    wait_until(lambda: kept(mnt) - before < 5000, lambda: f"{kept(mnt)} bytes are kept, before {before}")
    assert one.call(os.read, end, 10) == b""
    one.process.kill()
    wait_until(lambda: kept(mnt) == before, lambda: f"{kept(mnt)} bytes are kept, before {before}")


# --- descriptors ---

@pytest.fixture
def few_descriptors(mount):
    mnt = mount()
    resource.prlimit(mnt.pid, resource.RLIMIT_NOFILE, (400, 400))
    return mnt


def test_owner_claims_of_one_user_leave_descriptors_to_others(few_descriptors):
    mnt = few_descriptors
    claims = []

    def claim(n):
        box = mnt.mailbox(f"claimed{n}")
        os.mkdir(box.path)
        try:
            claims.append(os.open(box.file("owner"), os.O_WRONLY))
        except OSError:
            os.rmdir(box.path)
            raise

    n, error = as_user(ALICE, until_refused, claim, 400)
    assert error == errno.EDQUOT and n == 100
    as_user(BOB, os.mkdir, f"{mnt.path}/ring/bobs")
    as_user(BOB, lambda: os.close(os.open(f"{mnt.proc}/self/recv", os.O_RDONLY)))
    wait_until(lambda: mnt.metric("ipcfs_mailboxes") == 0, "the claims end")
    assert as_user(ALICE, until_refused, claim, 400)[0] == 100

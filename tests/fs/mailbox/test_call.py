"""call and reply/: ask a mailbox, and get the answer that is written to reply/ID."""

import errno
import json
import os
import select
import signal
import stat
import threading

import pytest

from asking import ask_in_a_crowd, keep, keep_and_ask, kept, open_call, outcomes_of_kept, read_all
from harness import ALICE, BOB, SHELLS, Call, Handle, Peer, as_user, expect_asleep, fails_with, sh, start_sh, try_open, wait_until

ENVELOPE_SERVER = r"""
while IFS= read -r envelope; do
    id=${envelope#*'"id":'}; id=${id%%,*}
    question=${envelope##*'"text":"'}; question=${question%'"}'}
    question=${question%'\n'}
    echo "$(($question))" > reply/"$id"
done < recv.json
"""


def reply_path(box, id_):
    return os.path.join(box.file("reply"), str(id_))


def open_reply(box, id_):
    return Handle(reply_path(box, id_), os.O_WRONLY)


def answer(box, id_, *pieces):
    with open_reply(box, id_) as reply:
        for piece in pieces:
            assert reply.write(piece) == len(piece)


def next_envelope(box):
    with Handle(box.file("recv.json"), os.O_RDONLY | os.O_NONBLOCK) as reader:
        return json.loads(reader.read().splitlines()[0])


def take_question(box):
    envelope = next_envelope(box)
    assert envelope["call"] is True
    return envelope["id"]


def ask(box, question=b"?"):
    """Whoever asked, and the question's id, taken out of the mailbox."""
    asker = open_call(box)
    asker.write(question)
    return asker, take_question(box)


def ready_for(handle):
    poll = select.poll()
    poll.register(handle, select.POLLIN | select.POLLOUT)
    return dict(poll.poll(0)).get(handle.fileno(), 0)


# --- as people use it ---

@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_asks_and_a_shell_answers(shell, box):
    start_sh(shell, ENVELOPE_SERVER, cwd=box.path)
    typed = """exec 3<> call
               echo '2+2' >&3; cat <&3
               echo '3*3' >&3; read -r x <&3; echo "$x"
               echo '4*4' >&3; cat <&3"""
    assert sh(shell, typed, cwd=box.path) == "4\n9\n16\n"


def test_many_ask_at_once(box):
    start_sh("dash", ENVELOPE_SERVER, cwd=box.path)
    askers = [start_sh("dash", f"exec 3<> call; for i in 1 2 3; do echo '{i}*'$i >&3; cat <&3; done", cwd=box.path)
              for i in range(20)]
    for i, asker in enumerate(askers):
        assert asker.output() == f"{i}\n{2 * i}\n{3 * i}\n"


def test_a_question_is_marked(box):
    with open_call(box) as asker:
        asker.write(b"?")
        queued, = os.listdir(box.file("queue"))
        path = os.path.join(box.file("queue"), queued)
        assert os.getxattr(path, "user.ipcfs.call") == b"true"
        assert "user.ipcfs.call" in os.listxattr(path)
        assert os.listdir(box.file("reply")) == [queued]
        assert next_envelope(box)["call"] is True
    box.send(b"no question")
    queued, = os.listdir(box.file("queue"))
    path = os.path.join(box.file("queue"), queued)
    assert "user.ipcfs.call" not in os.listxattr(path)
    with fails_with(errno.ENODATA):
        os.getxattr(path, "user.ipcfs.call")
    assert "call" not in next_envelope(box)


def test_a_server_may_look_answer_and_remove(box):
    with open_call(box) as asker:
        asker.write(b"2+2")
        queued, = os.listdir(box.file("queue"))
        answer(box, queued, b"4")
        os.unlink(os.path.join(box.file("queue"), queued))
        assert read_all(asker) == b"4"


# --- the asker's reads ---

def test_the_answer_is_followed_by_one_end_of_file(box):
    asker, id_ = ask(box)
    with asker:
        answer(box, id_, b"answer")
        assert [asker.read(3), asker.read(10), asker.read()] == [b"ans", b"wer", b""]
        for question in (b"again", b"and again"):
            asker.write(question)
            with fails_with(errno.EAGAIN):
                asker.read()
            answer(box, take_question(box), b"re: " + question)
            assert read_all(asker) == b"re: " + question


def test_nobody_waits_for_an_answer_that_was_not_asked_for(box):
    with open_call(box, 0) as asker:
        assert asker.read() == b""
        assert asker.read() == b""


def test_a_second_question_before_the_answer_is_busy(box):
    asker, id_ = ask(box)
    with asker:
        with fails_with(errno.EBUSY):
            asker.write(b"second")
        answer(box, id_, b"first")
        # Answered, though not read: that answer is forgotten.
        asker.write(b"second")
        with fails_with(errno.EAGAIN):
            asker.read()
        answer(box, take_question(box), b"second")
        assert read_all(asker) == b"second"
    assert box.stat()["sent"] == 2


def test_a_rest_of_an_answer_does_not_get_into_the_next(box):
    asker, id_ = ask(box)
    with asker:
        answer(box, id_, b"one two")
        assert asker.read(3) == b"one"
        asker.write(b"next")
        answer(box, take_question(box), b"three")
        assert read_all(asker) == b"three"


def test_a_read_waits_and_is_interruptible(box):
    def wait_for_answer():
        with open_call(box, 0) as asker:
            asker.write(b"?")
            signal.signal(signal.SIGUSR1, lambda *_: 1 / 0)
            try:
                asker.read()
            except ZeroDivisionError:
                return asker.read()
            return None

    waiter = Call(wait_for_answer)
    wait_until(lambda: box.stat()["messages"], "a question")
    id_ = take_question(box)
    expect_asleep(waiter, system_call="read")
    waiter.kill(signal.SIGUSR1)
    expect_asleep(waiter, system_call="read")
    answer(box, id_, b"at last")
    assert waiter.result() == b"at last"


def test_poll(box):
    with open_call(box) as asker:
        asker.write(b"?")
        assert not ready_for(asker) & select.POLLIN
        waiter = Call(lambda: select.select([asker], [], [])[0] == [asker])
        expect_asleep(waiter)
        answer(box, take_question(box), b"!")
        assert waiter.result()
        assert ready_for(asker) & select.POLLIN
        assert read_all(asker) == b"!"
        assert ready_for(asker) == select.POLLIN | select.POLLOUT


def test_poll_of_one_whose_mailbox_goes(mnt):
    box = mnt.box()
    with open_call(box) as idle, ask(box)[0] as asker:
        waiter = Call(lambda: select.select([asker], [], [])[0] == [asker])
        expect_asleep(waiter)
        os.rmdir(box.path)
        assert waiter.result()
        for handle in (idle, asker):
            assert ready_for(handle) & (select.POLLERR | select.POLLHUP) == select.POLLERR | select.POLLHUP


def test_a_full_mailbox_makes_the_question_wait(box):
    def ask_and_read():
        with open_call(box, 0) as asker:
            asker.write(b"?")
            return read_all(asker)

    box.configure(messages=1)
    box.send(b"first")
    with open_call(box) as eager, fails_with(errno.EAGAIN):
        eager.write(b"?")
    waiter = Call(ask_and_read)
    expect_asleep(waiter)
    wait_until(lambda: box.stat()["senders_waiting"], "a sender")
    assert os.listdir(box.file("reply")) == []
    assert box.receive() == b"first"
    answer(box, take_question(box), b"!")
    assert waiter.result() == b"!"


def test_only_one_of_two_that_share_a_handle_asks(box):
    asker, id_ = ask(box)
    with asker:
        with fails_with(errno.EBUSY):
            Call(asker.write, b"mine too").result()
        answer(box, id_, b"!")
        assert Call(read_all, asker).result() == b"!"


# --- opening ---

@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY])
def test_call_is_opened_both_ways(flags, box):
    with fails_with(errno.EACCES):
        os.open(box.file("call"), flags)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR])
def test_reply_is_opened_to_write(flags, box):
    asker, id_ = ask(box)
    with asker, fails_with(errno.EACCES):
        os.open(reply_path(box, id_), flags)


def test_bits(box):
    assert stat.S_IMODE(os.stat(box.file("call")).st_mode) == 0o666
    assert stat.S_IMODE(os.stat(box.file("reply")).st_mode) == 0o700


def test_others_ask_but_do_not_answer(box):
    os.chmod(box.path, 0o711)
    os.chmod(box.file("call"), 0o666)
    asker = Peer(uid=ALICE)
    asker.call(keep, box.file("call"))
    asker.call(write_kept, b"?")
    envelope = next_envelope(box)
    assert (envelope["uid"], envelope["pid"]) == (ALICE, asker.pid)
    for uid in (ALICE, BOB):
        with fails_with(errno.EACCES):
            as_user(uid, try_open, reply_path(box, envelope["id"]), os.O_WRONLY)
        with fails_with(errno.EACCES):
            as_user(uid, os.listdir, box.file("reply"))
    answer(box, envelope["id"], b"!")
    assert asker.call(read_kept) == b"!"


def write_kept(data):
    return kept[0].write(data)


def read_kept():
    return read_all(kept[0])


# --- reply/ID ---

@pytest.mark.parametrize("padded", [False, True])
def test_an_id_as_in_the_envelope_or_as_in_queue(padded, box):
    asker, id_ = ask(box)
    with asker:
        answer(box, f"{id_:020}" if padded else id_, b"!")
        assert read_all(asker) == b"!"


@pytest.mark.parametrize("name", ["0", "00", "0{id}", "{id:021}", "{other}", "{later}", "9" * 20, "9" * 30])
def test_what_is_no_open_question_is_not_there(name, box):
    box.send(b"no question")
    other = next_envelope(box)["id"]
    asker, id_ = ask(box)
    path = reply_path(box, name.format(id=id_, other=other, later=id_ + 1))
    with asker:
        with fails_with(errno.ENOENT):
            os.stat(path)
        with fails_with(errno.ENOENT, errno.EPERM):
            os.open(path, os.O_WRONLY | os.O_CREAT)


def test_nothing_else_can_be_made_or_removed_there(box):
    asker, id_ = ask(box)
    with asker:
        for act in (lambda: os.unlink(reply_path(box, id_)), lambda: os.mkdir(reply_path(box, "x")),
                    lambda: os.open(reply_path(box, "x"), os.O_WRONLY | os.O_CREAT),
                    lambda: os.rename(reply_path(box, id_), reply_path(box, "x")),
                    lambda: os.chmod(reply_path(box, id_), 0o666)):
            with fails_with(errno.EPERM):
                act()
        answer(box, id_, b"!")


def test_it_is_there_until_it_is_answered(box):
    asker, id_ = ask(box)
    with asker:
        status = os.stat(reply_path(box, id_))
        assert (stat.S_IMODE(status.st_mode), status.st_size, status.st_uid) == (0o200, 0, os.getuid())
        answer(box, id_, b"!")
        with fails_with(errno.ENOENT):
            open_reply(box, id_)
        assert os.listdir(box.file("reply")) == []


def test_all_open_questions_are_listed(box):
    askers = []
    for _ in range(700):
        askers.append(open_call(box))
        askers[-1].write(b"?")
    names = sorted(os.listdir(box.file("queue")))
    assert sorted(os.listdir(box.file("reply"))) == names
    for name in names[::2]:
        answer(box, name, b"!")
    assert sorted(os.listdir(box.file("reply"))) == names[1::2]
    for asker in askers:
        asker.close()
    wait_until(lambda: os.listdir(box.file("reply")) == [], "an empty reply/")
    sh("dash", "rm -f queue/*", cwd=box.path)


def test_listing_while_others_ask_and_are_answered(box):
    steady = [ask(box) for _ in range(300)]
    end = threading.Event()

    def come_and_go():
        while not end.is_set():
            asker, id_ = ask(box)
            answer(box, id_, b"!")
            asker.close()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(30):
            names = os.listdir(box.file("reply"))
            assert len(set(names)) == len(names)
            assert {int(name) for name in names} >= {id_ for _, id_ in steady}
    finally:
        end.set()
        thread.join()
        for asker, _ in steady:
            asker.close()


# --- answers ---

def test_an_answer_is_collected_until_the_close(box):
    asker, id_ = ask(box)
    with asker:
        with open_reply(box, id_) as reply:
            reply.write(b"one ")
            reply.write(b"two")
            with fails_with(errno.EAGAIN):
                asker.read()
        assert read_all(asker) == b"one two"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_writes_an_answer_in_pieces(shell, box):
    asker, id_ = ask(box)
    with asker:
        sh(shell, f"{{ echo one; cat /etc/hostname; (echo three); }} > reply/{id_}", cwd=box.path)
        with open("/etc/hostname", "rb") as name:
            assert read_all(asker) == b"one\n" + name.read() + b"three\n"


def test_an_answer_of_all_bytes_in_pieces(box):
    size, piece = 4 << 20, 65536
    box.configure(bytes=size, message_bytes=piece)
    data = os.urandom(size)
    asker, id_ = ask(box)
    with asker:
        answer(box, id_, *(data[at:at + piece] for at in range(0, size, piece)))
        assert read_all(asker) == data


def test_an_answer_too_long_is_refused_and_nothing_given(box):
    box.configure(bytes=1000, message_bytes=600)
    asker, id_ = ask(box)
    with asker:
        with open_reply(box, id_) as reply, fails_with(errno.EMSGSIZE):
            reply.write(bytes(601))
        with open_reply(box, id_) as reply:
            reply.write(bytes(600))
            with fails_with(errno.EFBIG):
                reply.write(bytes(401))
            with fails_with(errno.EFBIG):
                reply.write(b"x")
        with fails_with(errno.EAGAIN):
            asker.read()
        answer(box, id_, bytes(600), bytes(400))
        assert read_all(asker) == bytes(1000)


def test_nothing_written_is_no_answer(box):
    asker, id_ = ask(box)
    with asker:
        sh("dash", f": > reply/{id_}", cwd=box.path)
        with fails_with(errno.EAGAIN):
            asker.read()
        answer(box, id_, b"!")
        assert read_all(asker) == b"!"


def test_the_first_of_two_answers_is_it(box):
    asker, id_ = ask(box)
    with asker:
        first, second = open_reply(box, id_), open_reply(box, id_)
        second.write(b"second")
        first.write(b"first")
        first.close()
        with fails_with(errno.EPIPE):
            second.write(b"more")
        second.close()
        assert read_all(asker) == b"first"


def test_half_an_answer_of_a_killed_server_is_none(box):
    asker, id_ = ask(box)
    with asker:
        server = Peer()
        server.call(keep_reply, reply_path(box, id_))
        server.call(write_kept, b"half")
        server.kill()
        with fails_with(errno.EAGAIN):
            asker.read()
        answer(box, id_, b"whole")
        assert read_all(asker) == b"whole"


def keep_reply(path):
    kept.append(Handle(path, os.O_WRONLY))


def close_kept():
    kept.pop(0).close()


# --- an asker that is gone ---

@pytest.mark.parametrize("when", ["before", "while", "after"])
def test_an_asker_is_killed(when, box):
    asker = Peer()
    asker.call(keep, box.file("call"))
    asker.call(write_kept, b"?")
    id_ = take_question(box)
    if when == "before":
        asker.kill()
        wait_until(lambda: os.listdir(box.file("reply")) == [], "an empty reply/")
        with fails_with(errno.ENOENT):
            open_reply(box, id_)
        return
    reply = open_reply(box, id_)
    reply.write(b"half")
    if when == "while":
        asker.kill()
        wait_until(lambda: os.listdir(box.file("reply")) == [], "an empty reply/")
        with fails_with(errno.EPIPE):
            reply.write(b"half")
        reply.close()
    else:
        reply.close()
        asker.kill()
    with fails_with(errno.ENOENT):
        open_reply(box, id_)


def test_an_asker_is_killed_while_it_waits(box):
    asker = Peer()
    asker.call(keep, box.file("call"))
    asker.call(write_kept, b"?")
    asker.start(read_kept)
    expect_asleep(asker)
    id_ = take_question(box)
    asker.kill()
    wait_until(lambda: not os.path.exists(reply_path(box, id_)), "the end of the question")


def test_the_answer_to_one_who_is_gone_fails_at_the_close(box):
    asker, id_ = ask(box)
    reply = open_reply(box, id_)
    reply.write(b"!")
    asker.close()
    wait_until(lambda: not os.path.exists(reply_path(box, id_)), "the end of the question")
    with fails_with(errno.EPIPE):
        reply.close()


def test_a_child_may_read_the_answer(box):
    asker, id_ = ask(box)
    reader = Call(lambda: os.set_blocking(asker.fd, True) or read_all(asker))
    asker.close()
    expect_asleep(reader)
    answer(box, id_, b"!")
    assert reader.result() == b"!"


# --- questions that end without an answer ---

def expect_end(asker, code):
    with fails_with(code):
        asker.read()


def test_a_question_removed_from_queue_is_cancelled(box):
    with open_call(box) as asker:
        asker.write(b"?")
        sh("dash", "rm -f queue/*", cwd=box.path)
        assert ready_for(asker) & select.POLLIN
        expect_end(asker, errno.ECANCELED)
        # Once; then it may ask again.
        assert asker.read() == b""
        asker.write(b"again")
        answer(box, take_question(box), b"!")
        assert read_all(asker) == b"!"


def test_a_dropped_question_is_cancelled(box):
    box.configure(messages=1, overflow="drop-oldest")
    with open_call(box) as asker:
        asker.write(b"?")
        box.send(b"newer")
        expect_end(asker, errno.ECANCELED)


def test_one_who_waits_learns_that_it_is_cancelled(box):
    def wait():
        with open_call(box, 0) as asker:
            asker.write(b"?")
            return asker.read()

    waiter = Call(wait)
    wait_until(lambda: box.stat()["messages"], "a question")
    expect_asleep(waiter)
    sh("dash", "rm -f queue/*", cwd=box.path)
    with fails_with(errno.ECANCELED):
        waiter.result()


@pytest.mark.parametrize("word, answered", [("done", False), ("done", True), ("dead", False)])
def test_a_question_taken_on_lease(word, answered, box, mnt):
    dead = mnt.box()
    box.configure(dead=os.path.basename(dead.path))
    with open_call(box) as asker, Handle(box.file("work"), os.O_RDWR | os.O_NONBLOCK) as work:
        asker.write(b"?")
        id_, = os.listdir(box.file("reply"))
        assert work.read() == b"?"
        if answered:
            answer(box, id_, b"!")
        work.write(word.encode())
        if answered:
            assert read_all(asker) == b"!"
        else:
            expect_end(asker, errno.ECANCELED)
        assert os.listdir(box.file("reply")) == os.listdir(dead.file("reply")) == []
    dead.drain()


def test_a_question_that_goes_back_is_open_still(box):
    with open_call(box) as asker:
        asker.write(b"?")
        with Handle(box.file("work"), os.O_RDWR | os.O_NONBLOCK) as work:
            assert work.read() == b"?"
        with fails_with(errno.EAGAIN):
            asker.read()
        box.wait_for(messages=1)
        answer(box, take_question(box), b"!")
        assert read_all(asker) == b"!"


def test_an_expired_question(box):
    box.configure(ttl="0.05")
    with open_call(box, 0) as asker:
        asker.write(b"?")
        expect_end(asker, errno.ETIMEDOUT)
        assert asker.read() == b""


def test_rmdir_ends_a_question_that_was_taken(mnt):
    box = mnt.box()
    asker, id_ = ask(box)
    with asker, open_reply(box, id_) as reply, open_call(box) as idle:
        os.rmdir(box.path)
        expect_end(asker, errno.EIDRM)
        # The mailbox stays gone.
        expect_end(asker, errno.EIDRM)
        expect_end(idle, errno.EIDRM)
        for handle in (reply, asker, idle):
            with fails_with(errno.EIDRM):
                handle.write(b"!")


def test_an_answer_outlives_the_mailbox(mnt):
    box = mnt.box()
    asker, id_ = ask(box)
    with asker:
        answer(box, id_, b"!")
        os.rmdir(box.path)
        assert asker.read() == b"!"
        assert asker.read() == b""
        expect_end(asker, errno.EIDRM)


def test_rmdir_of_a_mailbox_with_a_question_waits_for_nobody(box):
    with open_call(box) as asker:
        asker.write(b"?")
        with fails_with(errno.ENOTEMPTY):
            os.rmdir(box.path)


def claim(path):
    kept.append(Handle(path, os.O_WRONLY))


def test_the_owners_death_ends_all_questions(mnt):
    box = mnt.box()
    owner = Peer()
    owner.call(claim, box.file("owner"))
    with open_call(box) as asker:
        asker.write(b"?")
        with fails_with(errno.EBUSY):
            os.listdir(box.file("reply"))
        id_ = owner.call(take_question, box)
        with fails_with(errno.EBUSY):
            open_reply(box, id_)
        owner.kill()
        wait_until(lambda: ready_for(asker) & select.POLLIN, "the end")
        expect_end(asker, errno.EIDRM)


def test_an_owner_asks_nobody(mnt):
    box = mnt.box()
    owner = Peer()
    owner.call(claim, box.file("owner"))
    with fails_with(errno.EPERM):
        owner.call(ask, box)


def test_a_moved_question_is_answered_where_it_is(box, mnt):
    other = mnt.box()
    with open_call(box) as asker:
        asker.write(b"?")
        name, = os.listdir(box.file("queue"))
        os.rename(os.path.join(box.file("queue"), name), os.path.join(other.file("queue"), name))
        assert os.listdir(box.file("reply")) == []
        answer(other, name, b"!")
        assert read_all(asker) == b"!"


def test_poll_waits_for_the_answer_of_a_moved_question_whose_mailbox_goes(mnt):
    """An epoll loop would spin, if it were told of an end where a read finds nothing yet."""
    first, other = mnt.box(), mnt.box()
    with open_call(first) as asker:
        asker.write(b"?")
        name, = os.listdir(first.file("queue"))
        os.rename(os.path.join(first.file("queue"), name), os.path.join(other.file("queue"), name))
        waiter = Call(lambda: select.select([asker], [], [])[0] == [asker])
        expect_asleep(waiter)
        os.rmdir(first.path)
        assert not ready_for(asker) & (select.POLLIN | select.POLLERR | select.POLLHUP)
        with fails_with(errno.EAGAIN):
            asker.read()
        answer(other, name, b"!")
        assert waiter.result()
        assert ready_for(asker) & select.POLLIN
        assert read_all(asker) == b"!"
        with fails_with(errno.EIDRM):
            asker.read()
        assert ready_for(asker) & (select.POLLERR | select.POLLHUP) == select.POLLERR | select.POLLHUP


# --- what it counts ---

def test_an_asker_that_does_not_read_leaves_the_server_its_quota(mount):
    box = mount("-o", "max_bytes=4M,uid_bytes=1M").box()
    box.configure(bytes="512K")
    os.chown(box.path, BOB, BOB)
    os.chmod(box.file("call"), 0o666)
    os.chmod(box.path, 0o711)
    size, piece = 400 << 10, 50 << 10

    def serve():
        id_ = take_question(box)
        answer(box, id_, *[bytes(piece)] * (size // piece))

    asker = Peer(uid=ALICE)
    for _ in range(4):
        asker.call(keep_and_ask, box.file("call"))
        as_user(BOB, serve)
    # Two found room; the others' askers are told.
    outcomes = asker.call(outcomes_of_kept)
    assert outcomes == [size, size, errno.EDQUOT, errno.EDQUOT]


# --- processes ---

def test_a_process_is_asked(mnt):
    server = Peer()
    path = os.path.join(mnt.proc, str(server.pid))
    asker = Handle(os.path.join(path, "call"), os.O_RDWR | os.O_NONBLOCK)
    with asker:
        asker.write(b"?")
        with fails_with(errno.EACCES):
            os.listdir(os.path.join(path, "reply"))
        server.call(answer_next, path)
        assert read_all(asker) == b"!"
        asker.write(b"again")
        server.kill()
        wait_until(lambda: ready_for(asker) & select.POLLIN, "its end")
        expect_end(asker, errno.EIDRM)


def answer_next(path):
    with Handle(os.path.join(path, "recv.json"), os.O_RDONLY) as reader:
        envelope = json.loads(reader.read().splitlines()[0])
    with Handle(os.path.join(path, "reply", str(envelope["id"])), os.O_WRONLY) as reply:
        reply.write(b"!")


# --- many, and much ---

def test_every_question_has_its_own_answer(box):
    def serve(n_questions):
        with Handle(box.file("recv.json"), os.O_RDONLY) as reader:
            n = 0
            while n < n_questions:
                for line in reader.read().splitlines():
                    envelope = json.loads(line)
                    answer(box, envelope["id"], envelope["text"].encode()[::-1])
                    n += 1

    ask_in_a_crowd(box, serve)

"""Answers by work.json: an object that is written to it answers the question that its handle has on lease, and that is `done`."""

import base64
import contextlib
import errno
import json
import os
import signal

import pytest

from asking import ask_in_a_crowd, keep, keep_and_ask, kept, open_call, outcomes_of_kept, read_all
from harness import ALICE, BOB, Handle, Peer, as_user, fails_with, sh, start_sh, wait_until


def work_on(box, flags=os.O_NONBLOCK):
    return Handle(box.file("work.json"), os.O_RDWR | flags)


def lease(work):
    return [json.loads(line) for line in work.read(1 << 20).splitlines()]


def ask(stack, box, *questions):
    askers = [stack.enter_context(open_call(box)) for _ in questions]
    for asker, question in zip(askers, questions):
        asker.write(question)
    return askers


def line(id_, text=None, **more):
    body = {} if text is None else {"text": text}
    return json.dumps({"id": id_, **body, **more}).encode() + b"\n"


def expect_unanswered(asker):
    with fails_with(errno.EAGAIN):
        asker.read()


@pytest.fixture
def stack():
    with contextlib.ExitStack() as handles:
        yield handles


@pytest.fixture
def asked(box, stack):
    """A question on lease: its asker, the worker, the id."""
    (asker,) = ask(stack, box, b"?")
    work = stack.enter_context(work_on(box))
    (envelope,) = lease(work)
    assert envelope["call"] is True
    return asker, work, envelope["id"]


# --- answers ---

def test_one_write_answers_many_and_ends_leases(box, stack):
    askers = ask(stack, box, b"a", b"b", b"c")
    box.send(b"plain", b"other")
    work = stack.enter_context(work_on(box))
    envelopes = lease(work)
    ids = [envelope["id"] for envelope in envelopes]
    data = b"done %d\n" % ids[3] + b"".join(line(e["id"], e["text"] * 2) for e in envelopes[2::-1]) + b"again %d\n" % ids[4]
    assert work.write(data) == len(data)
    assert [read_all(asker) for asker in askers] == [b"aa", b"bb", b"cc"]
    assert box.counts("messages", "leased") == (1, 0)
    assert os.listdir(box.file("reply")) == []
    for asker in askers:
        asker.write(b"again")
    assert len(lease(work)) == 4


@pytest.mark.parametrize("text", ["", "4", "\0\n\"\\\x7f", "¿qué?\U0001f600"])
def test_a_text_is_the_answer(text, asked):
    asker, work, id_ = asked
    work.write(line(id_, text))
    assert read_all(asker) == text.encode()


def test_base64_is_any_bytes_and_the_newline_may_be_missing(asked):
    asker, work, id_ = asked
    data = bytes(range(256))
    work.write(line(id_, base64=base64.b64encode(data).decode())[:-1])
    assert read_all(asker) == data


SERVER = r"""
exec 3<> work.json
while IFS= read -r envelope <&3; do
    id=${envelope#*'"id":'}; id=${id%%,*}
    question=${envelope##*'"text":"'}; question=${question%'"}'}; question=${question%'\n'}
    echo "{\"id\":$id,\"text\":\"$(($question))\"}" >&3 || echo "done $id" >&3
done
"""


def test_a_shell_answers(shell, box):
    start_sh(shell, SERVER, cwd=box.path)
    for question, answer in ("2+2", "4"), ("6*7", "42"):
        assert sh(shell, f"exec 3<> call; echo '{question}' >&3; cat <&3", cwd=box.path) == answer


# --- what is refused ---

@pytest.mark.parametrize("bad", [
    '{}', '{"id":%d}', '{"text":"x"}', '{"id":"%d","text":"x"}', '{"id":%d.0,"text":"x"}', '{"id":0,"text":"x"}', '{"id":-%d,"text":"x"}',
    '{"id":99999999999999999999,"text":"x"}', '{"id":null,"text":"x"}', '{"id":%d,"text":7}', '{"id":%d,"text":"x","base64":""}',
    '{"id":%d,"base64":"eA="}', '{"id":%d,"text":"x","prio":0}', '{"id":%d,"text":"x","headers":{}}', '{"id":%d,"text":"x","more":1}',
    '{"id":%d,"id":%d,"text":"x"}', '{"id":%d,"text":"x"', '{"id":%d,"text":"x"} done', '{"id":%d,"text":["x"]}', '{"id":%d,"text":"\udcff"}'])
def test_what_is_no_answer_changes_nothing(bad, asked, box):
    asker, work, id_ = asked
    data = bad.replace("%d", str(id_)).encode(errors="surrogateescape")
    with fails_with(errno.EINVAL):
        work.write(data + b"\n")
    expect_unanswered(asker)
    assert box.counts("leased") == (1,)
    good = line(id_, "x")
    assert work.write(good + data + b"\n") == len(good)
    assert read_all(asker) == b"x"


def test_a_send_has_no_id(box):
    with fails_with(errno.EINVAL):
        box.send(line(1, "x"), name="send.json")
    assert box.counts("messages") == (0,)


def test_only_what_the_handle_has_is_answered(box, stack, asked):
    asker, work, id_ = asked
    other = stack.enter_context(work_on(box))
    for worker, wrong in (other, id_), (work, id_ + 1000), (work, (1 << 63) - 1):
        with fails_with(errno.ENODATA):
            worker.write(line(wrong, "x"))
    expect_unanswered(asker)
    work.write(line(id_, "x"))
    with fails_with(errno.ENODATA):
        work.write(line(id_, "y"))
    assert read_all(asker) == b"x"


def expect_nobody_to_answer(box, work, id_):
    """The lease stays, for a word."""
    with fails_with(errno.EPIPE):
        work.write(line(id_, "x"))
    assert box.counts("leased") == (1,)
    work.write(b"done %d\n" % id_)
    assert box.counts("messages", "leased") == (0, 0)


def test_who_did_not_ask_is_not_answered(box, stack):
    box.send(b"plain")
    work = stack.enter_context(work_on(box))
    expect_nobody_to_answer(box, work, lease(work)[0]["id"])


def test_an_asker_that_is_gone_is_epipe(box, stack):
    work = stack.enter_context(work_on(box))
    with open_call(box) as asker:
        asker.write(b"?")
        id_ = lease(work)[0]["id"]
    wait_until(lambda: os.listdir(box.file("reply")) == [], "an empty reply/")
    expect_nobody_to_answer(box, work, id_)


def test_an_asker_that_was_killed_is_epipe_for_its_line_alone(box, stack):
    (first,) = ask(stack, box, b"1")
    peer = Peer()
    peer.call(keep_and_ask, box.file("call"))
    (third,) = ask(stack, box, b"3")
    work = stack.enter_context(work_on(box))
    ids = [envelope["id"] for envelope in lease(work)]
    peer.kill()
    wait_until(lambda: len(os.listdir(box.file("reply"))) == 2, "the end of one question")
    lines = [line(id_, "!") for id_ in ids]
    assert work.write(b"".join(lines)) == len(lines[0])
    rest = b"done %d\n" % ids[1] + lines[2]
    assert work.write(rest) == len(rest)
    assert read_all(first) == read_all(third) == b"!"
    assert box.counts("messages", "leased") == (0, 0)


def test_what_has_an_answer_gets_no_second(asked, box):
    asker, work, id_ = asked
    with Handle(os.path.join(box.file("reply"), str(id_)), os.O_WRONLY) as reply:
        reply.write(b"first")
    expect_nobody_to_answer(box, work, id_)
    assert read_all(asker) == b"first"


def test_an_answer_as_long_as_a_message_may_be(box, asked):
    asker, work, id_ = asked
    box.configure(message_bytes=1000)
    with fails_with(errno.EMSGSIZE):
        work.write(line(id_, "x" * 1001))
    expect_unanswered(asker)
    work.write(line(id_, "x" * 1000))
    assert read_all(asker) == b"x" * 1000


def test_a_line_that_is_not_read_to_its_end_is_not_answered(box, stack):
    (asker,) = ask(stack, box, b"?" * 5000)
    work = stack.enter_context(work_on(box))
    part = work.read(1000)
    id_ = json.loads(part[:part.index(b",")] + b"}")["id"]
    with fails_with(errno.ENODATA):
        work.write(line(id_, "x"))
    while not part.endswith(b"\n"):
        part = work.read(1000)
    work.write(line(id_, "x"))
    assert read_all(asker) == b"x"


# --- ends ---

def test_a_killed_servers_questions_are_anothers(box, stack):
    (asker,) = ask(stack, box, b"?")
    server = Peer()
    server.call(keep_and_lease, box.file("work.json"))
    assert box.counts("messages", "leased") == (0, 1)
    server.kill()
    box.wait_for(messages=1, leased=0)
    expect_unanswered(asker)
    work = stack.enter_context(work_on(box))
    (envelope,) = lease(work)
    assert envelope["attempts"] == 1
    work.write(line(envelope["id"], "x"))
    assert read_all(asker) == b"x"


def keep_and_lease(path):
    keep(path)
    kept[-1].read()


def test_the_mailbox_is_gone(mnt, stack):
    box = mnt.box(0o755)
    asker = Peer()
    owner = Handle(box.file("owner"), os.O_WRONLY)
    asker.call(keep_and_ask, box.file("call"))
    work = stack.enter_context(work_on(box))
    (envelope,) = lease(work)
    owner.close()
    wait_until(lambda: not os.path.exists(box.path), "the mailbox is gone")
    with fails_with(errno.EIDRM):
        work.write(line(envelope["id"], "x"))
    assert asker.call(outcomes_of_kept) == [errno.EIDRM]


def test_an_answer_counts_for_who_asked(mount):
    box = mount("-o", "max_bytes=4M,uid_bytes=1M").box()
    box.configure(message_bytes="400K", bytes="512K")
    os.chown(box.path, BOB, BOB)
    os.chmod(box.file("call"), 0o666)
    os.chmod(box.path, 0o711)

    def serve():
        with Handle(box.file("work.json"), os.O_RDWR) as work:
            work.write(line(lease(work)[0]["id"], "x" * (400 << 10)))

    asker = Peer(uid=ALICE)
    for _ in range(4):
        asker.call(keep_and_ask, box.file("call"))
        as_user(BOB, serve)
    # Two found room; the others' askers are told, and the server is not.
    assert asker.call(outcomes_of_kept) == [400 << 10, 400 << 10, errno.EDQUOT, errno.EDQUOT]


def test_answers_among_words_about_what_is_kept(mount, tmp_path, stack):
    options = ("-o", f"store={tmp_path}/store")
    mnt = mount(*options)
    box = mnt.mailbox("kept").make(0o700)
    box.send(b"0", b"1", b"2")
    (asker,) = ask(stack, box, b"?")
    work = stack.enter_context(work_on(box))
    ids = [envelope["id"] for envelope in lease(work)]
    data = b"done %d\n" % ids[0] + line(ids[3], "x") + b"done %d\n" % ids[2]
    assert work.write(data) == len(data)
    assert read_all(asker) == b"x"
    mnt.expected_status = -signal.SIGKILL
    mnt.process.kill()
    mnt.process.wait()
    mnt.stop()
    assert mount(*options).mailbox("kept").drain() == [b"1"]


# --- many ---

def test_every_question_has_its_own_answer(box):
    def serve(n_questions):
        n = 0
        with work_on(box, 0) as work:
            while n < n_questions:
                envelopes = lease(work)
                data = b"".join(line(e["id"], e["text"][::-1]) for e in envelopes)
                assert work.write(data) == len(data)
                n += len(envelopes)

    ask_in_a_crowd(box, serve)
    wait_until(lambda: box.counts("messages", "leased") == (0, 0), "no message left")

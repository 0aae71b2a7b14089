"""send.json: an object on a line is a message, with its priority and headers; and where headers come out."""

import base64
import errno
import json
import os
import select
import shutil

import pytest

from harness import ALICE, BOB, SHELLS, Call, Handle, as_user, expect_asleep, fails_with, sh

MESSAGE_BYTES_DEFAULT = 65536

needs_getfattr = pytest.mark.skipif(not shutil.which("getfattr"), reason="there is no getfattr")


def open_sender(box, flags=os.O_NONBLOCK):
    return box.open_send(flags, "send.json")


def line(**members):
    return json.dumps(members).encode() + b"\n"


def send(box, *writes):
    with open_sender(box) as lines:
        for data in writes:
            assert lines.write(data) == len(data)


def envelopes(box):
    """What waits, as recv.json says it."""
    found = []
    with Handle(box.file("recv.json"), os.O_RDONLY | os.O_NONBLOCK) as reader:
        while box.stat()["messages"]:
            found += [json.loads(text) for text in reader.read().decode().splitlines()]
    return found


def bodies(box):
    return [base64.b64decode(e["base64"]) if "base64" in e else e["text"].encode() for e in envelopes(box)]


def queued(box):
    return [os.path.join(box.file("queue"), name) for name in sorted(os.listdir(box.file("queue")))]


# --- as people use it ---

@pytest.mark.parametrize("shell", SHELLS)
def test_a_message_with_headers_as_typed(shell, box):
    sh(shell, """echo '{"text":"hi","headers":{"kind":"greeting"}}' > send.json""", cwd=box.path)
    got = json.loads(sh(shell, "head -n 1 recv.json", cwd=box.path))
    assert (got["text"], got["headers"], got["prio"]) == ("hi", {"kind": "greeting"}, 0)


@needs_getfattr
def test_getfattr_shows_the_headers(box):
    send(box, line(text="hi", headers={"kind": "greeting", "n-2": ""}))
    shown = sh("dash", "getfattr -d queue/*", cwd=box.path).splitlines()
    assert 'user.ipcfs.h.kind="greeting"' in shown
    assert 'user.ipcfs.h.n-2=""' in shown


def test_a_rest_without_newline_is_sent_at_close(box):
    sh("dash", """printf '{"text":"one"}\\n{"text":"two"}' > send.json""", cwd=box.path)
    assert bodies(box) == [b"one", b"two"]


# --- what a line may say ---

SAID = [
    ('{"text":""}', b""), ("{}", b""), ('{"prio":7}', b""), (' \t{ "text" : "a" } \r', b"a"),
    ('{"text":"gr\\u00fc\\u00dfe \\ud83d\\ude00\\n\\"\\\\\\/\\u0000"}', "grüße 😀\n\"\\/\0".encode()),
    ('{"text":"grüße 😀"}', "grüße 😀".encode()), ('{"base64":""}', b""), ('{"base64":"/+8="}', b"\xff\xef"),
    ('{"base64":"AA=="}', b"\0"), ('{"base64":"AAEC"}', b"\0\1\2"), ('{"\\u0074ext":"a"}', b"a"),
    ('{"text":"[[{{::"}', b"[[{{::"), ('{"text":"\\"[","headers":{}}', b'"['),
]


def test_what_is_said_is_sent(box):
    send(box, *[text.encode() + b"\n" for text, _ in SAID])
    expected = [body for text, body in SAID if "prio" in text] + [body for text, body in SAID if "prio" not in text]
    assert bodies(box) == expected


REFUSED = [
    "", " ", "x", "null", '"text"', "1", "[]", '[{"text":"a"}]', '{"text":"a"', '{"text":"a"}}', '{"text":"a"}{"text":"b"}',
    '{"text":"a",}', "{'text':'a'}", '{"text":"a"} x', '{"text":1}', '{"text":null}', '{"text":["a"]}', '{"text":{"a":"b"}}',
    '{"text":"a","text":"b"}', '{"text":"a","base64":"YQ=="}', '{"body":"a"}', '{"Text":"a"}', '{"id":1,"text":"a"}',
    '{"text":"a\\x"}', '{"text":"\\ud800"}', '{"text":"\t"}', b'{"text":"\xff"}', b'{"text":"\xc3"}', b'{"text":"\xed\xa0\x80"}',
    '{"text":"a","prio":-1}', '{"text":"a","prio":32}', '{"text":"a","prio":1.0}', '{"text":"a","prio":"1"}',
    '{"text":"a","prio":true}', '{"prio":99999999999999999999}', '{"base64":"AAE"}', '{"base64":"AB=="}', '{"base64":"A==="}',
    '{"base64":"AAE=AAEC"}', '{"base64":"AA\\n="}', '{"base64":"-_8="}', '{"base64":"===="}', '{"headers":[]}', '{"headers":"a"}',
    '{"headers":{"a":1}}', '{"headers":{"a":null}}', '{"headers":{"a":{}}}', '{"headers":{"a":"1","a":"2"}}',
    '{"headers":{"":"1"}}', '{"headers":{"A":"1"}}', '{"headers":{"a_b":"1"}}', '{"headers":{"ä":"1"}}', '{"headers":{"a\\u0000":"1"}}',
    '{"headers":{"' + 65 * "a" + '":"1"}}', '{"headers":{"a":"' + 4096 * "x" + '"}}', '{"text":"a","headers":{"a":"1"},"x":1}',
    "[" * 5000, '{"a":' * 5000, '{"text":"a\0"}',
]


def test_a_line_that_says_nothing_that_can_be_sent_is_refused(box):
    with open_sender(box) as lines:
        for text in REFUSED:
            data = text if isinstance(text, bytes) else text.encode()
            with fails_with(errno.EINVAL):
                raise_if_taken(text, lines.write(data + b"\n"))
            # In parts.
            if data:
                assert lines.write(data[:1]) == 1
                with fails_with(errno.EINVAL):
                    raise_if_taken(text, lines.write(data[1:] + b"\n"))
            assert lines.write(b'{"text":"good"}\n') == 16
            assert box.receive() == b"good"
    assert box.counts("messages", "sent") == (0, len(REFUSED))


def raise_if_taken(text, n):
    raise AssertionError(f"{text!r} was taken: {n}")


def test_a_bad_rest_is_the_closes_error(box):
    for data in (b"x", b'{"text":"a"', b'{"prio":32}', b" "):
        fd = os.open(box.file("send.json"), os.O_WRONLY)
        assert os.write(fd, data) == len(data)
        with fails_with(errno.EINVAL):
            os.close(fd)
    assert box.counts("messages", "sent") == (0, 0)


def test_as_many_headers_as_fit(box):
    names = ["%x" % i for i in range(1000)]
    n_left = 4096 - len("".join(names))
    headers = dict.fromkeys(names[1:], "") | {"0": n_left * "v"}
    send(box, line(headers=headers))
    with open_sender(box) as lines, fails_with(errno.EINVAL):
        lines.write(line(headers=headers | {"x": ""}))
    path, = queued(box)
    assert {name.removeprefix("user.ipcfs.h."): os.getxattr(path, name).decode()
            for name in os.listxattr(path) if name.startswith("user.ipcfs.h.")} == headers
    got, = envelopes(box)
    assert got["headers"] == headers


def test_values_of_headers_are_any_text(box):
    headers = {"a": "\0\n\"\\\x7f\u20ac", "z" * 64: "{}[]"}
    send(box, line(base64="/w==", headers=headers))
    path, = queued(box)
    assert os.getxattr(path, "user.ipcfs.h.a") == headers["a"].encode()
    got, = envelopes(box)
    assert (got["headers"], got["base64"]) == (headers, "/w==")


def test_what_has_no_headers_shows_none(box):
    send(box, line(text="a", headers={}))
    box.send(b"b")
    assert all("user.ipcfs.h" not in name for path in queued(box) for name in os.listxattr(path))
    path = queued(box)[0]
    for name in ("user.ipcfs.h.a", "user.ipcfs.h.", "user.ipcfs.h"):
        with fails_with(errno.ENODATA):
            os.getxattr(path, name)
    assert all("headers" not in envelope for envelope in envelopes(box))


def test_headers_go_along_when_a_message_is_moved(mnt, box):
    other = mnt.box()
    send(box, line(text="a", headers={"k": "v"}))
    path, = queued(box)
    os.rename(path, os.path.join(other.file("queue"), os.path.basename(path)))
    got, = envelopes(other)
    assert got["headers"] == {"k": "v"}
    other.remove()


def test_the_urgent_come_first(box):
    send(box, b"".join(line(text=str(prio), prio=prio) for prio in (0, 31, 5)))
    box.send(b"6", name="send.6")
    assert [(e["text"], e["prio"]) for e in envelopes(box)] == [("31", 31), ("6", 6), ("5", 5), ("0", 0)]


def test_a_sender_can_not_forge_who_it_is(box):
    os.chmod(box.file("send.json"), 0o222)
    Call(send, box, line(text="a", headers={"uid": "0"}), uid=ALICE).result()
    got, = envelopes(box)
    assert (got["uid"], got["headers"]) == (ALICE, {"uid": "0"})


# --- as send.lines ---

def test_the_lines_before_a_bad_one_are_sent_and_a_short_count_tells(box):
    good = line(text="one") + line(text="two")
    with open_sender(box) as lines:
        assert lines.write(good + b"bad\n" + line(text="three")) == len(good)
        with fails_with(errno.EINVAL):
            lines.write(b"bad\n" + line(text="three"))
    assert bodies(box) == [b"one", b"two"]


@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_cuts_of_writes_do_not_matter(box, piece):
    data = b"".join(line(text=f"{i} ü\n" + "x" * i, prio=i % 3, headers={"n": str(i)}) for i in range(20))
    send(box, *[data[i:i + piece] for i in range(0, len(data), piece)])
    assert sorted(int(e["headers"]["n"]) for e in envelopes(box)) == list(range(20))


@pytest.mark.parametrize("body", ["\0", "ü", "\x01"], ids=["nul", "escaped", "control"])
def test_a_message_may_be_as_long_as_another(box, body):
    text = body * (MESSAGE_BYTES_DEFAULT // len(body.encode()))
    data = line(text=text, headers={"a": 4095 * "\x01"})
    pieces = [data[i:i + 100000] for i in range(0, len(data), 100000)]
    send(box, *pieces)
    assert bodies(box) == [text.encode()]
    with open_sender(box) as lines, fails_with(errno.EMSGSIZE):
        lines.write(json.dumps({"text": text + "x"}, ensure_ascii=False).encode() + b"\n")
    assert box.counts("messages") == (0,)


def test_a_line_that_can_not_end_well_is_refused_before_its_end(box):
    with open_sender(box) as lines:
        with fails_with(errno.EMSGSIZE):
            while True:
                lines.write(b" " * 65536)
        lines.write(b"}\n" + line(text="after"))
    assert bodies(box) == [b"after"]


def test_a_full_mailbox_makes_it_wait(box):
    box.configure(messages=2)
    data = b"".join(line(text=str(i)) for i in range(5))

    def write():
        with open_sender(box, 0) as lines:
            return lines.write(data)
    writer = Call(write)
    box.wait_for(senders_waiting=1)
    assert box.take(5) == [b"0", b"1", b"2", b"3", b"4"]
    assert writer.result() == len(data)


def test_o_nonblock_is_eagain_when_full(box):
    box.configure(messages=1)
    with open_sender(box) as lines:
        assert lines.write(line(text="a") + line(text="b")) == len(line(text="a"))
        with fails_with(errno.EAGAIN):
            lines.write(line(text="b"))
        poll = select.poll()
        poll.register(lines.fd, select.POLLOUT)
        assert poll.poll(0) == []
        assert box.receive() == b"a"
        assert poll.poll(0) == [(lines.fd, select.POLLOUT)]


def test_policies_are_the_mailboxs(box):
    box.configure(messages=1, overflow="reject")
    with open_sender(box) as lines:
        lines.write(line(text="a"))
        with fails_with(errno.ENOBUFS):
            lines.write(line(text="b"))
    box.configure(overflow="drop-oldest")
    send(box, line(text="urgent", prio=1), line(text="late"))
    assert bodies(box) == [b"urgent"]


def test_headers_count_for_the_sender(mount):
    box = mount("-o", "max_bytes=1M,uid_bytes=64K").box()

    def send_until_refused():
        n = 0
        with open_sender(box) as lines, fails_with(errno.EDQUOT):
            while True:
                lines.write(line(headers={"a": 4000 * "x"}))
                n += 1
        return n
    assert as_user(ALICE, send_until_refused) in (14, 15, 16)
    assert as_user(BOB, send_until_refused) in (14, 15, 16)
    box.drain()
    assert as_user(ALICE, send_until_refused) in (14, 15, 16)


def test_a_line_that_would_swell_costs_the_daemon_little(mount):
    """Each member of a list, or of an object, takes ten times as much memory once it is read."""
    mounted = mount()
    box = mounted.box()
    box.configure(message_bytes=1044480)
    members = b",".join(b'"%d":""' % i for i in range(90000))
    before = mounted.rss_kib()
    for data in (b'{"x":[' + b"1," * 500000 + b"1]}\n", b'{"headers":{' + members + b"}}\n"):
        with open_sender(box) as lines, fails_with(errno.EINVAL, errno.EMSGSIZE):
            for at in range(0, len(data), 1 << 19):
                lines.write(data[at:at + (1 << 19)])
    assert mounted.peak_kib() - before < 16 * 1024


# --- who may ---

def test_its_mode_is_that_of_the_other_sending_files(mnt):
    for mode in (0o700, 0o711, 0o777):
        box = mnt.box(mode)
        os.chmod(box.path, mode)
        assert os.stat(box.file("send.json")).st_mode == os.stat(box.file("send.lines")).st_mode
        box.remove()


def test_it_is_for_writing_only(box):
    for flags in (os.O_RDONLY, os.O_RDWR):
        with fails_with(errno.EACCES):
            os.open(box.file("send.json"), flags)


def test_a_process_is_sent_objects_too(mnt):
    direct = mnt.direct(os.getpid())
    with Handle(direct.file("send.json"), os.O_WRONLY) as lines:
        lines.write(line(text="a", headers={"k": "v"}))
    got, = envelopes(direct)
    assert (got["text"], got["headers"]) == ("a", {"k": "v"})


def test_a_ring_has_no_objects(mnt):
    path = os.path.join(mnt.path, "ring", "plain")
    os.mkdir(path)
    assert "send.json" not in os.listdir(path)
    with fails_with(errno.ENOENT):
        os.stat(os.path.join(path, "send.json"))
    os.rmdir(path)


def test_a_writer_that_waits_can_be_killed(box):
    box.fill()
    writer = Call(send_waiting, box)
    expect_asleep(writer)
    writer.kill()
    writer.wait()
    n = box.stat()["messages"]
    box.receive()
    box.wait_for(messages=n - 1, senders_waiting=0)


def send_waiting(box):
    with open_sender(box, 0) as lines:
        lines.write(line(text="never"))

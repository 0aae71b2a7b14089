"""Who may do what: owners, modes, and what not even root may."""

import errno
import os
import stat

import pytest

from harness import ALICE, BOB, SHELLS, as_user, fails_with, receive_message, sh, try_open

# Of the owner alone or the same in each mailbox, and what each class gets too that may search the directory.
FIXED_MODES = {"recv": 0o400, "recv.lines": 0o400, "recv.json": 0o400, "work": 0o600, "queue": 0o700, "reply": 0o700,
               "owner": 0o644, "config": 0o644,
               "stat": 0o444}
SEARCHER_MODES = {"send": 0o222, "send.7": 0o222, "send.lines": 0o222, "send.json": 0o222, "drop": 0o333, "call": 0o666}

FILES = (*FIXED_MODES, *SEARCHER_MODES)

OPEN_MODES = {"reading": os.O_RDONLY, "writing": os.O_WRONLY, "both": os.O_RDWR}


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def owner_of(path):
    status = os.stat(path)
    return status.st_uid, status.st_gid


def expect_open(path, how, error=None, uid=None, **user):
    """Opens as the user; the error, if any, must be exactly that."""
    flags = OPEN_MODES[how] | os.O_NONBLOCK
    if error is None:
        as_user(uid, try_open, path, flags, **user)
    else:
        with fails_with(error):
            as_user(uid, try_open, path, flags, **user)


# --- what mkdir makes ---

@pytest.fixture
def setgid_room(mnt):
    """A room whose directory hands its group down."""
    changed = []

    def change(room):
        path = os.path.join(mnt.path, room)
        changed.append((path, os.stat(path)))
        os.chown(path, 0, BOB)
        os.chmod(path, 0o3777)
        return path

    yield change
    for path, status in changed:
        os.chown(path, status.st_uid, status.st_gid)
        os.chmod(path, stat.S_IMODE(status.st_mode))


@pytest.mark.parametrize("room", ["mbox", "ring"])
def test_setgid_directory_hands_its_group_down(setgid_room, room):
    path = os.path.join(setgid_room(room), "in-its-group")
    as_user(ALICE, os.mkdir, path, 0o750)
    try:
        assert owner_of(path) == (ALICE, BOB)
        assert {owner_of(os.path.join(path, name)) for name in os.listdir(path)} == {(ALICE, BOB)}
        assert mode_of(path) == 0o2750
    finally:
        os.rmdir(path)


def test_group_is_the_callers_where_the_directory_is_not_setgid(mnt):
    path = os.path.join(mnt.mbox, "in-my-group")
    as_user(ALICE, os.mkdir, path, 0o750)
    assert (owner_of(path), mode_of(path)) == ((ALICE, ALICE), 0o750)
    os.rmdir(path)


def test_room_for_mailboxes_is_open_to_all_and_sticky(mnt):
    assert mode_of(mnt.mbox) == 0o1777
    assert stat.S_ISDIR(os.stat(mnt.mbox).st_mode)


@pytest.mark.parametrize("mode, classes", [
    (0o700, 0o700), (0o711, 0o777), (0o750, 0o770), (0o755, 0o777), (0o770, 0o770), (0o777, 0o777), (0o701, 0o707),
    (0o710, 0o770), (0o744, 0o700), (0o600, 0o000), (0o070, 0o070), (0o000, 0o000),
], ids=oct)
def test_sending_is_for_each_class_that_may_search_the_directory(mnt, mode, classes):
    old = os.umask(0)
    try:
        box = mnt.box(mode)
    finally:
        os.umask(old)
    assert mode_of(box.path) == mode
    expected = {**FIXED_MODES, **{name: bits & classes for name, bits in SEARCHER_MODES.items()}}
    assert {name: oct(mode_of(box.file(name))) for name in FILES} == {name: oct(expected[name]) for name in FILES}
    box.remove()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("umask, mode, send", [
    ("022", 0o755, 0o222), ("077", 0o700, 0o200), ("027", 0o750, 0o220), ("000", 0o777, 0o222),
    ("066", 0o711, 0o222), ("133", 0o644, 0o000),
])
def test_umask_counts(mnt, shell, umask, mode, send):
    sh(shell, f"umask {umask}; mkdir masked", cwd=mnt.mbox)
    box = mnt.mailbox("masked")
    assert (mode_of(box.path), mode_of(box.send_path), mode_of(box.recv_path)) == (mode, send, 0o400)
    os.rmdir(box.path)


@pytest.mark.parametrize("shell", SHELLS)
def test_mkdir_m_decides_who_may_send(mnt, shell):
    sh(shell, "mkdir -m 711 open; mkdir -m 700 closed", cwd=mnt.mbox)
    sh(shell, "echo hello > open/send", cwd=mnt.mbox, uid=ALICE)
    expect_open(mnt.mailbox("closed").send_path, "writing", errno.EACCES, uid=ALICE)
    sh(shell, "cat open/recv; rmdir open closed", cwd=mnt.mbox)


def test_mailbox_belongs_to_who_made_it(mnt):
    box = mnt.mailbox("alices")
    as_user(ALICE, os.mkdir, box.path, 0o755, gid=BOB)
    assert {owner_of(box.file(name)) for name in ("", *FILES)} == {(ALICE, BOB)}
    as_user(ALICE, box.send, b"to myself")
    assert as_user(ALICE, box.receive) == b"to myself"
    as_user(ALICE, os.rmdir, box.path)


# --- another user ---

@pytest.mark.parametrize("uid", [ALICE, BOB])
@pytest.mark.parametrize("name, reading, writing", [
    ("send", errno.EACCES, None), ("send.31", errno.EACCES, None), ("send.lines", errno.EACCES, None),
    ("recv", errno.EACCES, errno.EACCES), ("recv.lines", errno.EACCES, errno.EACCES),
    ("recv.json", errno.EACCES, errno.EACCES), ("queue", errno.EACCES, errno.EISDIR),
    ("drop", errno.EACCES, errno.EISDIR), ("config", None, errno.EACCES), ("stat", None, errno.EACCES),
    ("owner", None, errno.EACCES),
])
def test_other_user_may_send_and_look_but_not_receive_nor_configure(box, uid, name, reading, writing):
    expect_open(box.file(name), "reading", reading, uid=uid)
    expect_open(box.file(name), "writing", writing, uid=uid)
    expect_open(box.file(name), "both", errno.EISDIR if writing == errno.EISDIR else errno.EACCES, uid=uid)


def test_other_user_does_not_get_into_a_closed_mailbox(mnt):
    box = mnt.box(0o700)
    for name in (*FILES, "missing"):
        expect_open(box.file(name), "reading", errno.EACCES, uid=ALICE)
        with fails_with(errno.EACCES):
            as_user(ALICE, os.stat, box.file(name))
    with fails_with(errno.EACCES):
        as_user(ALICE, os.listdir, box.path)
    box.remove()


def test_who_may_search_only_can_send_but_not_list(mnt):
    box = mnt.box(0o711)
    with fails_with(errno.EACCES):
        as_user(ALICE, os.listdir, box.path)
    as_user(ALICE, box.send, b"blindly")
    assert box.drain() == [b"blindly"]
    box.remove()


def test_group_of_a_mailbox_may_send_where_others_may_not(mnt):
    box = mnt.box(0o750)
    os.chown(box.path, -1, 777)
    expect_open(box.send_path, "writing", errno.EACCES, uid=ALICE)
    expect_open(box.send_path, "writing", uid=ALICE, gid=777)
    expect_open(box.send_path, "writing", uid=ALICE, groups=[5, 777])
    expect_open(box.recv_path, "reading", errno.EACCES, uid=ALICE, gid=777)
    box.remove()


def test_other_user_can_not_change_remove_or_rename_a_mailbox(mnt, box):
    for call, *args in [(os.chmod, box.path, 0o777), (os.chmod, box.recv_path, 0o444),
                        (os.chown, box.path, ALICE, ALICE), (os.chown, box.send_path, ALICE, -1),
                        (os.rmdir, box.path),
                        (os.rename, box.path, os.path.join(mnt.mbox, "stolen"))]:
        with fails_with(errno.EPERM, errno.EACCES):
            as_user(ALICE, call, *args)
    assert mode_of(box.path) == 0o755 and owner_of(box.path) == (0, 0)
    assert mode_of(box.recv_path) == 0o400 and owner_of(box.send_path) == (0, 0)


def test_owner_can_not_give_a_mailbox_away(mnt):
    box = mnt.mailbox("alices")
    as_user(ALICE, os.mkdir, box.path)
    with fails_with(errno.EPERM):
        as_user(ALICE, os.chown, box.path, BOB, -1)
    as_user(ALICE, os.rmdir, box.path)


def test_send_right_is_judged_at_open(box):
    """A handle that was opened stays good, as with any file."""
    with box.open_send() as send:
        os.chmod(box.send_path, 0)
        assert send.write(b"still") == 5
    expect_open(box.send_path, "writing", errno.EACCES, uid=ALICE)
    assert box.drain() == [b"still"]


# --- chmod, chown, chgrp ---

def test_chmod_works_on_each_file(box):
    for name, mode in [("send", 0o200), ("recv", 0o440), ("config", 0o600), ("stat", 0o400), ("", 0o751)]:
        os.chmod(box.file(name), mode)
        assert mode_of(box.file(name)) == mode
    expect_open(box.send_path, "writing", errno.EACCES, uid=ALICE)
    expect_open(box.config_path, "reading", errno.EACCES, uid=ALICE)
    expect_open(box.stat_path, "reading", errno.EACCES, uid=ALICE)


def test_chmod_of_send_holds_for_every_priority(box):
    os.chmod(box.send_path, 0o220)
    assert mode_of(box.file("send.9")) == 0o220
    expect_open(box.file("send.9"), "writing", errno.EACCES, uid=ALICE)


def test_config_can_be_given_to_others(box):
    os.chmod(box.config_path, 0o666)
    as_user(ALICE, box.write_config, "messages=3\n")
    assert box.config()["messages"] == "3"


def test_chown_of_the_directory_carries_the_files_along(box):
    os.chown(box.path, ALICE, 777)
    assert {owner_of(box.file(name)) for name in ("", *FILES)} == {(ALICE, 777)}
    box.send(b"for the new owner")
    assert as_user(ALICE, box.receive) == b"for the new owner"
    as_user(ALICE, box.write_config, "messages=9\n")


def test_chown_of_the_directory_counts_for_the_next_open(box):
    """What was looked at a moment ago is not remembered."""
    expect_open(box.recv_path, "reading", errno.EACCES, uid=ALICE)
    os.chown(box.path, ALICE, -1)
    expect_open(box.recv_path, "reading", uid=ALICE)
    assert owner_of(box.recv_path) == (ALICE, 0)


def test_chgrp_of_the_directory_leaves_the_owner(box):
    os.chown(box.path, -1, 777)
    assert {owner_of(box.file(name)) for name in ("", *FILES)} == {(0, 777)}


def test_chown_of_one_file_leaves_the_others(box):
    os.chown(box.recv_path, ALICE, -1)
    assert owner_of(box.recv_path) == (ALICE, 0)
    assert {owner_of(box.file(name)) for name in ("", *FILES) if name != "recv"} == {(0, 0)}
    box.send(b"a")
    assert as_user(ALICE, box.receive) == b"a"


@pytest.mark.parametrize("shell", SHELLS)
def test_chgrp_and_g_r_hand_the_receive_right_on(box, shell):
    expect_open(box.recv_path, "reading", errno.EACCES, uid=ALICE, gid=777)
    sh(shell, "chgrp 777 recv; chmod g+r recv", cwd=box.path)
    assert (mode_of(box.recv_path), owner_of(box.recv_path)) == (0o440, (0, 777))
    box.send(b"for the group")
    expect_open(box.recv_path, "reading", errno.EACCES, uid=ALICE)
    assert as_user(ALICE, receive_message, box.recv_path, gid=777) == b"for the group"


@pytest.mark.parametrize("shell", SHELLS)
def test_chown_and_chmod_from_the_shell(mnt, box, shell):
    sh(shell, f"chown {ALICE}:{BOB} . && chmod 700 . && chmod o-w send", cwd=box.path)
    assert owner_of(box.send_path) == (ALICE, BOB)
    assert mode_of(box.path) == 0o700 and mode_of(box.send_path) == 0o220


# --- the wrong way round ---

@pytest.mark.parametrize("uid", [0, ALICE], ids=["root", "owner"])
@pytest.mark.parametrize("name, how", [
    ("send", "reading"), ("send", "both"), ("send.5", "reading"), ("send.5", "both"), ("send.lines", "reading"),
    ("send.lines", "both"), ("recv", "writing"), ("recv", "both"), ("recv.lines", "writing"), ("recv.lines", "both"),
    ("recv.json", "writing"), ("recv.json", "both"), ("work", "reading"), ("work", "writing"), ("stat", "writing"), ("stat", "both"),
])
def test_wrong_way_round_is_eacces_for_root_too(box, uid, name, how):
    os.chown(box.path, uid, uid)
    # Not the bits' doing.
    if not name.startswith("send."):
        os.chmod(box.file(name), 0o666)
    expect_open(box.file(name), how, errno.EACCES, uid=uid)


def test_config_takes_both_ways(box):
    expect_open(box.config_path, "both")
    expect_open(box.config_path, "writing")


def test_a_refused_open_takes_and_sends_nothing(box):
    box.send(b"stays")
    for name in ("send", "send.lines", "recv", "recv.lines", "recv.json", "stat"):
        for flags in (os.O_RDWR, os.O_RDWR | os.O_TRUNC, os.O_RDWR | os.O_APPEND):
            with fails_with(errno.EACCES):
                try_open(box.file(name), flags)
    assert box.drain() == [b"stays"]

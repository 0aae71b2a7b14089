"""What tests share whose processes ask a mailbox and read the answers."""

import os

from harness import Call, Handle


def open_call(box, flags=os.O_NONBLOCK):
    return Handle(box.file("call"), os.O_RDWR | flags)


def read_all(handle):
    data = b""
    while piece := handle.read():
        data += piece
    return data


# What a process of a test has open.
kept = []


def keep(path):
    kept.append(Handle(path, os.O_RDWR))


def keep_and_ask(path):
    keep(path)
    kept[-1].write(b"?")


def outcomes_of_kept():
    outcomes = []
    for handle in kept:
        try:
            outcomes.append(len(read_all(handle)))
        except OSError as error:
            outcomes.append(error.errno)
    return outcomes


def ask_in_a_crowd(box, serve, n_askers=8, n_rounds=100):
    """Each asker has its own answers, its questions backwards; two serve(n) give n of them each."""
    def inquire(me):
        with open_call(box, 0) as asker:
            for i in range(n_rounds):
                question = f"{me}/{i}".encode()
                asker.write(question)
                assert read_all(asker) == question[::-1]

    for _ in range(2):
        Call(serve, n_askers * n_rounds // 2)
    askers = [Call(inquire, me) for me in range(n_askers)]
    for asker in askers:
        asker.result()

"""A pytest plugin (-p tap_output) that gives meson one TAP line for each test case on stdout.

All else, pytest's own report and what the tests or their children print, goes to stderr."""

import os

import pytest

_tap = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

_outcomes = {}
_n_done = 0


def _say(line):
    print(line.replace("\n", " "), file=_tap)


_say("TAP version 13")


def pytest_collectreport(report):
    if report.failed:
        _say(f"Bail out! {report.nodeid} does not load")


def pytest_collection_finish(session):
    _say(f"1..{len(session.items)}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report):
    """Of set-up, call and tear-down the first that is not a success decides."""
    if report.passed:
        _outcomes.setdefault(report.nodeid, ("ok", ""))
    elif report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        directive = "TODO" if hasattr(report, "wasxfail") else "SKIP"
        word = "not ok" if directive == "TODO" else "ok"
        _outcomes[report.nodeid] = (word, f" # {directive} {reason}")
    else:
        _outcomes[report.nodeid] = ("not ok", "")


def pytest_runtest_logfinish(nodeid):
    global _n_done
    _n_done += 1
    word, directive = _outcomes.pop(nodeid, ("not ok", ""))
    name = nodeid.split("::", 1)[-1].replace("#", ".")
    _say(f"{word} {_n_done} - {name}{directive}")

"""A pytest plugin (-p thinned) for runs that are slow, or that repeat another over something else: with IPCFS_THIN=1 in the
environment each test runs with fewer parameters, and none is left out.

Of a test's cases those are kept that bring a value which none before has brought, so that each language, each kind of mount,
each file occurs, and not each beside each; where those are many, twelve of them, from the first to the last."""

import os

MOST = 12


def with_something_new(cases):
    seen = set()
    for case in cases:
        values = {(name, repr(value)) for name, value in case.callspec.params.items()}
        if not values <= seen:
            seen |= values
            yield case


def spread(cases):
    if len(cases) <= MOST:
        return cases
    return [cases[i * (len(cases) - 1) // (MOST - 1)] for i in range(MOST)]


def pytest_collection_modifyitems(config, items):
    if os.environ.get("IPCFS_THIN") != "1":
        return
    tests = {}
    for item in items:
        if hasattr(item, "callspec"):
            tests.setdefault((item.parent.nodeid, item.originalname), []).append(item)
    dropped = set()
    for cases in tests.values():
        dropped |= set(cases) - set(spread(list(with_something_new(cases))))
    config.hook.pytest_deselected(items=[item for item in items if item in dropped])
    items[:] = [item for item in items if item not in dropped]

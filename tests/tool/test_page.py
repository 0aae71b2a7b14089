"""ipcctl(1) knows all verbs and options. Its examples run in tests/dist/docs."""

import os
import re

import pytest

from harness import run
from test_find import VERBS

with open(os.environ["IPCCTL_PAGE"], encoding="utf-8") as page:
    PAGE = page.read()


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_on_the_page(ipcctl, verb):
    section = re.search(rf"^\.Ss ipcctl {verb}\b.*?(?=^\.S[sh] )", PAGE, re.S | re.M)[0]
    common = PAGE[:PAGE.index(".Ss ")]
    for option in re.findall(r"^ +(?:-\w, )? +?--([a-z-]+)", run(ipcctl, *verb.split(), "--help").stdout, re.M):
        assert f"Fl Fl {option}" in section + common, option

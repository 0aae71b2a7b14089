"""The examples of a page: what a reader would paste, and what the page says that it prints.

In Markdown an example is a fenced block of sh or c, in a manual page a display (.Bd -literal) after a comment:

    Markdown                                mdoc
    ```sh                                   .\\" example: sh          pasted into bash
    ```output                               .\\" example: output      what the one before prints, to the letter
    ```c after <!-- file: NAME -->          .\\" example: file NAME   saved as NAME where the shell stands
    <!-- not run: WHY --> before a block    .\\" not run: WHY         a reason that a maintainer can believe

In what is printed `...` stands for anything in a line, and a line of it for any lines. A page whose
examples mount the filesystem themselves says so in a comment: examples begin without a mount."""

import dataclasses
import re


@dataclasses.dataclass
class Example:
    page: str
    line: int
    kind: str  # sh, file
    text: str
    name: str = ""  # of a file
    output: str = ""


class PageError(Exception):
    pass


UNMOUNTED = "examples begin without a mount"

FENCE = re.compile(r"^```(\w*)$")
COMMENT = re.compile(r"^<!-- (file|not run): (.+) -->$")

ESCAPES = {r"\e": "\\", r"\(aq": "'", r"\(ga": "`", r"\(ti": "~", r"\(ha": "^", r"\(dq": '"', r"\-": "-", r"\&": ""}
ESCAPE = re.compile("|".join(re.escape(key) for key in ESCAPES))


def read_page(path):
    """(the examples of a page, whether they begin in a mount)"""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    blocks = markdown_blocks(text) if path.endswith(".md") else mdoc_blocks(text)
    return list(join(path, blocks)), UNMOUNTED not in text


def join(page, blocks):
    """Gives each example its output."""
    example = None
    for line, mark, argument, text in blocks:
        if mark == "output":
            if not example or example.kind != "sh" or example.output:
                raise PageError(f"{page}:{line}: output of nothing")
            example.output = text
            continue
        if example:
            yield example
        example = None
        if mark == "console":
            yield from dialogue(page, line, text)
        elif mark in ("sh", "file"):
            example = Example(page, line, mark, text, argument)
    if example:
        yield example


def dialogue(page, line, text):
    """An example for each command."""
    for command in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        first, _, output = command.partition("\n")
        yield Example(page, line, "sh", f"{first}\n", output=output)
        line += command.count("\n")


def markdown_blocks(text):
    """(line, mark, argument, text) of each block that is marked."""
    comment = None
    inside = None
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if inside is not None and line == "```":
            yield markdown_block(number - len(inside), language, comment, "".join(f"{l}\n" for l in inside))
            inside = comment = None
        elif inside is not None:
            inside.append(line)
        elif fence:
            inside, language = [], fence[1]
        elif COMMENT.match(line):
            comment = COMMENT.match(line).groups()
        elif line:
            comment = None


def markdown_block(line, language, comment, text):
    if comment and comment[0] == "not run":
        return line, "not run", comment[1], text
    if comment:
        return line, "file", comment[1], text
    if language == "c":
        raise PageError(f"line {line}: a program without a file's name")
    return line, language, "", text


def mdoc_blocks(text):
    """In the section EXAMPLES every display is an example."""
    section = ""
    mark = None
    inside = None
    for number, line in enumerate(text.splitlines(), 1):
        comment = re.match(r'^\.\\" (example|not run): (.+)$', line)
        if line.startswith(".Sh"):
            section = line[4:]
        elif inside is not None and line == ".Ed":
            if mark:
                yield (number - len(inside), *mark, "".join(f"{plain(l)}\n" for l in inside))
            inside = mark = None
        elif inside is not None:
            inside.append(line)
        elif line.startswith(".Bd"):
            inside = []
            if section == "EXAMPLES" and not mark:
                raise PageError(f"line {number}: a display in EXAMPLES that is not marked")
        elif comment:
            mark = ("not run", comment[2]) if comment[1] == "not run" else (comment[2].split() + [""])[:2]


def plain(line):
    """A line of a literal display as its reader sees it."""
    if line.startswith((".", "'")):
        raise PageError(f"a macro in a display: {line}")
    return ESCAPE.sub(lambda match: ESCAPES[match[0]], line)


def matches(expected, printed):
    """Whether a page that says @expected tells what is @printed."""
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else
                      ".*".join(re.escape(part) for part in line.split("...")) + r"\n"
                      for line in expected.splitlines())
    if printed and not printed.endswith("\n"):
        printed += "\n"
    return re.fullmatch(pattern, printed) is not None

"""Comments and pages have no phrase of .ci/phrases.txt, which says what to write instead."""

import bisect
import pathlib
import re

from _files import files, read

LIST = pathlib.Path(__file__).resolve().parent.parent / "phrases.txt"
# What a comment begins with, by the end of the file's name.
COMMENT = {"rs": r"\s*//[/!]?(.*)", "toml": r"\s*#(.*)", "sh": r"\s*#(?!!)(.*)", "md": r"(.*)"}
TRAILING = {"rs": r".*?\s//\s(.*)", "toml": r".*?\s# (.*)"}


def phrases():
    """Each phrase with its `instead`, `found` and `passed`."""
    known = []
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            known.append({"pattern": re.compile(line), "instead": [], "found": [], "passed": []})
        else:
            kind, _, text = line.strip().partition(": ")
            known[-1][kind].append(text)
    return known


def paragraphs(text, kind):
    """Comments that stand on successive lines, each as a list of line numbers and texts."""
    paragraph, fenced = [], False
    for number, line in enumerate(text.splitlines(), 1):
        comment = re.fullmatch(COMMENT[kind], line)
        if not comment and kind in TRAILING and '"' not in line:
            alone = re.fullmatch(TRAILING[kind], line)
            if alone:
                yield [(number, alone[1].strip())]
        words = comment[1].strip() if comment else ""
        if words.startswith("```"):
            fenced = not fenced
            words = ""
        fenced = fenced and bool(comment)
        if words and not fenced:
            # A heading, a row of a table or a point of a list does not go on from the line before.
            if paragraph and re.match(r"#|\||[-*] |\d+\. ", words):
                yield paragraph
                paragraph = []
            paragraph.append((number, words))
        elif paragraph:
            yield paragraph
            paragraph = []
    if paragraph:
        yield paragraph


def prose(paragraph):
    """The paragraph's text without what is in backticks, and where each line of it begins."""
    starts, text = [], ""
    for _, words in paragraph:
        starts.append(len(text))
        text += words + " "
    return re.sub(r"`[^`]*`", lambda found: "`" * len(found[0]), text).rstrip(), starts


def check(root):
    known = phrases()
    for path in files(root, r"\.(rs|toml|md|sh)$|^\.ci/(run|[a-z]+-long)$"):
        kind = path.rpartition(".")[2]
        for paragraph in paragraphs(read(root, path), kind if kind in COMMENT else "sh"):
            text, starts = prose(paragraph)
            for phrase in known:
                for found in phrase["pattern"].finditer(text):
                    begin = found.start() + len(found[0]) - len(found[0].lstrip(".;: "))
                    number = paragraph[bisect.bisect(starts, begin) - 1][0]
                    shown = found[0].strip(".;:, ")[:60]
                    yield f"{path}:{number}: {shown!r}: write {'; '.join(phrase['instead'])}"


GOOD = [{"a.md": text + "\n"} for phrase in phrases() for text in phrase["passed"]] + [
    {"src/a.rs": 'let a = "anyhow"; // `anyhow` in code\n/// ```\n/// // anyhow\n/// ```\nfn anyhow() {}\n'},
    {"a.md": "```\nanyhow\n```\n"},
    {"a.toml": 'a = "anyhow # not a comment"\n'},
]
BAD = [{"a.md": text + "\n"} for phrase in phrases() for text in phrase["found"]] + [
    {"src/a.rs": "//! All but\n//! for one.\n"},
    {"src/a.rs": "    /// Gone anyhow.\n"},
    {"src/a.rs": "let a = b; // gone anyhow\n"},
    {"a.toml": "# Gone anyhow.\na = 1\n"},
    {"a.sh": "# Gone anyhow.\n"},
]
# One phrase must not be found instead of another that finds nothing.
for phrase in phrases():
    assert phrase["instead"] and phrase["found"] and phrase["passed"], phrase["pattern"].pattern
    assert all(map(phrase["pattern"].search, phrase["found"])), phrase["pattern"].pattern

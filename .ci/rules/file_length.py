"""Files of src/ stay under 600 lines, without their tests (`cache.rs` 750); CI and its steps under 80."""

from _files import files, read

MOST = 600
MOST_OF = {"src/cache.rs": 750}
MOST_OF_STEPS = 80


def lines_without_tests(text):
    """Tests stand last in a file, in `mod tests`."""
    lines = text.splitlines()
    tests = (number for number, line in enumerate(lines) if line.startswith("mod tests {"))
    return next(tests, len(lines))


def check(root):
    for path in files(root, r"^src/.*\.rs$"):
        if path.endswith("/tests.rs"):
            continue
        lines, most = lines_without_tests(read(root, path)), MOST_OF.get(path, MOST)
        if lines >= most:
            yield f"{path}: {lines} lines without its tests; keep it under {most}"
    for path in files(root, r"^\.ci/(run|steps/.*)$"):
        lines = len(read(root, path).splitlines())
        if lines >= MOST_OF_STEPS:
            yield f"{path}: {lines} lines; keep it under {MOST_OF_STEPS}"


GOOD = [{
    "src/a.rs": "//\n" * 599,
    "src/b.rs": "//\n" * 599 + "mod tests {\n" + "//\n" * 9,
    "src/a/tests.rs": "//\n" * 700,
    "src/cache.rs": "//\n" * 749,
    ".ci/steps/a.sh": "#\n" * 79,
}]
BAD = [
    {"src/a.rs": "//\n" * 600},
    {"src/a.rs": "//\n" * 600 + "mod tests {\n}\n"},
    {"src/cache.rs": "//\n" * 750},
    {".ci/steps/a.sh": "#\n" * 80},
    {".ci/run": "#\n" * 80},
]

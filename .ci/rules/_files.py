"""What rules share: the files of a tree, and lines that match a pattern."""

import functools
import re
import subprocess


@functools.lru_cache(maxsize=None)
def _tracked(root):
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )
    inside = subprocess.run(
        ["git", "rev-parse", "--show-cdup"], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    if listed.returncode == 0 and inside.stdout.strip() == b"":
        return sorted(set(listed.stdout.decode().split("\0")) - {""})
    paths = (path.relative_to(root) for path in root.rglob("*"))
    return sorted(str(path) for path in paths if not {"target", ".git"} & set(path.parts))


def files(root, pattern):
    """The paths of files, tracked or not yet, that the pattern matches, below `root`."""
    return [path for path in _tracked(root) if re.search(pattern, path) and (root / path).is_file()]


def read(root, path):
    """The text of a file, or nothing if it is not text."""
    content = (root / path).read_bytes()
    if b"\0" in content:
        return ""
    return content.decode("utf-8", errors="replace")


def matching(root, paths, pattern):
    """Findings for the lines of the files that the pattern matches."""
    wanted = re.compile(pattern)
    for path in paths:
        for number, line in enumerate(read(root, path).splitlines(), 1):
            if wanted.search(line):
                yield f"{path}:{number}: {line.strip()}"

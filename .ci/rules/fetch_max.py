"""No `fetch_max` or `fetch_min` synchronizes: ThreadSanitizer does not see them. `fetch_update` may."""

from _files import files, matching


def check(root):
    pattern = r"fetch_(max|min)\(.*(Acquire|Release|AcqRel|SeqCst)"
    return matching(root, files(root, r"^src/.*\.rs$"), pattern)


GOOD = [{"src/a.rs": "a.fetch_max(1, Ordering::Relaxed);\nb.fetch_add(1, Ordering::Acquire);\n"}]
BAD = [
    {"src/a.rs": "a.fetch_max(1, Ordering::AcqRel);\n"},
    {"src/a.rs": "a.fetch_min(1, Release);\n"},
]

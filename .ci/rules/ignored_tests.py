"""No test is ignored, for an ignored test is run by nobody."""

from _files import files, matching


def check(root):
    return matching(root, files(root, r"\.rs$"), r"#\[ignore")


GOOD = [{"tests/a.rs": "#[test]\nfn ignored_keys_stay() {}\n"}]
BAD = [
    {"tests/a.rs": "#[test]\n#[ignore]\nfn f() {}\n"},
    {"src/a.rs": "#[test]\n#[ignore = \"slow\"]\nfn f() {}\n"},
]

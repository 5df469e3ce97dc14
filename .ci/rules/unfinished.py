"""No code is left unfinished: no `todo!`, `unimplemented!` or `dbg!`."""

from _files import files, matching


def check(root):
    return matching(root, files(root, r"\.rs$"), r"\b(todo|unimplemented|dbg)!\(")


GOOD = [{"src/a.rs": "fn f() { debug_assert!(todo(1)); }\n"}]
BAD = [
    {"src/a.rs": "fn f() {\n    todo!()\n}\n"},
    {"tests/a.rs": "fn f() { unimplemented!(\"later\") }\n"},
    {"benches/src/a.rs": "let a = dbg!(b);\n"},
]

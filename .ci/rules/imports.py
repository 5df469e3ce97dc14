"""Modules use only what is below them, in the order of the `mod` lines, and never in a circle.

Siblings stand in the order of the `mod` lines of the module around them, and a module with all that is
below it stands where its line does. A module may use later siblings of itself and of the modules around
it, and what is below itself. A child's use of a module around it is allowed, and counted. What a module
re-exports is looked for where it is defined. An inline module belongs to the file that it is in, and what
is compiled for tests alone is left out.

`python3 .ci/rules/imports.py` prints every arrow up; with `--count`, numbers only.
"""

import collections
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import _rust
from _files import files


def crates(root):
    return files(root, r"^src/lib\.rs$|^(benches|crates/[^/]+)/src/(lib|main)\.rs$")


def lookup(module, path, depth=0):
    """The module that the path, seen from `module`, leads to; None if it leaves the crate."""
    if depth > 20 or not path:
        return None
    first, rest = path[0], path[1:]
    if first == "crate":
        while module.parent:
            module = module.parent
    elif first == "super":
        module = module.parent
    elif first != "self":
        if first in module.children:
            return below(module, path, depth)
        found = exported(module, first, depth)
        return below_found(found, rest, depth) if found else None
    return below(module, rest, depth) if module else None


def below(module, path, depth):
    """The module that defines what `path` names in `module`."""
    while path:
        first, path = path[0], path[1:]
        if first == "super":
            module = module.parent or module
        elif first in module.children:
            module = module.children[first]
        else:
            found = exported(module, first, depth + 1)
            return below_found(found, path, depth) if found else module
    return module


def below_found(found, path, depth):
    return below(found[0], path, depth + 1) if found[1] else found[0]


def exported(module, name, depth):
    """Where the name comes from that `module` imports: a module, and whether the name is that module."""
    if depth > 20:
        return None
    globs = []
    for path, own, is_import, _ in module.uses:
        if not is_import:
            continue
        if own == "*":
            globs.append(path)
        elif own == name and path != (name,):
            home = lookup(module, path, depth + 1)
            if home:
                return home, bool(home.path) and home.path[-1] == path[-1]
    for path in globs:
        around = lookup(module, path, depth + 1)
        if around and around is not module and defines(around, name):
            return below(around, (name,), depth + 1), name in around.children
    return None


def defines(module, name):
    return (
        name in module.children
        or any(own == name for own, _, _ in module.types)
        or any(own == name for _, own, is_import, _ in module.uses if is_import)
    )


def rank(module):
    """Where a module stands in the reading order: its place among its siblings, level by level."""
    if not module.parent:
        return ()
    return (*rank(module.parent), list(module.parent.children).index(module.path[-1]))


def arrows(crate):
    """Every use of another file's module: (from, to, place)."""
    seen = set()
    for module in _rust.walk(crate):
        for path, _, _, place in module.uses:
            found = lookup(module, path)
            if not found or found.home() is module.home():
                continue
            key = (module.home().path, found.home().path, str(place))
            if key not in seen:
                seen.add(key)
                yield module.home(), found.home(), place


def is_around(module, other):
    return other.path[: len(module.path)] == module.path


def circles(edges):
    """The groups of modules that reach each other (Tarjan's algorithm)."""
    below_it = collections.defaultdict(set)
    for source, target in edges:
        below_it[source].add(target)
    number, low, stack, groups = {}, {}, [], []

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for target in sorted(below_it[node]):
            if target not in number:
                visit(target)
            if target in stack:
                low[node] = min(low[node], low[target])
        if low[node] == number[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                groups.append(sorted(group))

    sys.setrecursionlimit(10_000)
    for node in sorted(below_it):
        if node not in number:
            visit(node)
    return groups


def name(path):
    return "::".join(("crate", *path))


def survey(root, path):
    """Arrows up, circles and the number of uses of a module around, in one crate."""
    up, edges, around = [], set(), 0
    for source, target, place in arrows(_rust.crate(root, path)):
        if is_around(target, source):
            around += 1
            continue
        edges.add((source.path, target.path))
        if rank(target) < rank(source):
            up.append((source.path, target.path, place))
    return up, circles(edges), around


def check(root):
    for path in crates(root):
        up, groups, _ = survey(root, path)
        for source, target, place in up:
            yield f"{place}: {name(source)} uses {name(target)}, which stands above it"
        for group in groups:
            yield f"{path}: {len(group)} modules use each other in a circle: {', '.join(map(name, group))}"


def _crate(*lines, **texts):
    return {"src/lib.rs": "\n".join(lines), **{f"src/{path}": text for path, text in texts.items()}}


GOOD = [
    _crate("mod a;", "mod b;", **{"a.rs": "use crate::b::B;\n", "b.rs": "pub struct B;\n"}),
    _crate("mod a;", "mod b;", **{"a.rs": "", "b.rs": "// use crate::a;\n#[cfg(test)]\nmod tests {\n use crate::a;\n}\n"}),
    # A child uses its parent, and a parent its child.
    _crate("mod a;", **{"a.rs": "mod b;\nuse b::B;\nstruct A;\n", "a/b.rs": "use super::A;\npub struct B;\n"}),
    # A re-export at the root is followed downward.
    _crate("mod a;", "mod b;", "pub use b::B;", **{"a.rs": "use crate::B;\n", "b.rs": "pub struct B;\n"}),
    _crate("mod a;", "pub mod test {", "    pub use crate::a::A;", "}", **{"a.rs": "pub struct A;\n"}),
]
BAD = [
    _crate("mod a;", "mod b;", **{"a.rs": "pub struct A;\n", "b.rs": "use crate::a::A;\n"}),
    _crate("mod a;", "mod b;", **{"a.rs": "pub struct A;\n", "b.rs": "fn f() { crate::a::A; }\n"}),
    _crate("mod a;", "mod b;", **{"a.rs": "pub struct A;\n", "b.rs": "fn f() { use crate::{a::A, b}; }\n"}),
    _crate("mod a;", "mod b;", "pub use a::A;", **{"a.rs": "pub struct A;\n", "b.rs": "use crate::A;\n"}),
    _crate("mod a;", "mod b;", "use a::*;", **{"a.rs": "pub struct A;\n", "b.rs": "use super::A;\n"}),
    _crate("mod a;", **{"a.rs": "mod b;\nmod c;\n", "a/b.rs": "pub struct B;\n", "a/c.rs": "use super::b::B;\n"}),
    {
        "crates/a/src/main.rs": "mod b;\nmod c;\n",
        "crates/a/src/b.rs": "use crate::c::C;\npub struct B;\n",
        "crates/a/src/c.rs": "use crate::b::B;\npub struct C;\n",
    },
]


def main(arguments):
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    for path in crates(root):
        up, groups, around = survey(root, path)
        pairs = {(source, target) for source, target, _ in up}
        sizes = ", ".join(str(len(group)) for group in groups)
        print(f"{path}: {len(up)} arrows up between {len(pairs)} pairs of modules, {len(groups)} circles"
              f"{f' of {sizes} modules' if groups else ''}, {around} uses of a module around")
        if "--count" not in arguments:
            for source, target, place in up:
                print(f"  {place}: {name(source)} -> {name(target)}")
            for group in groups:
                print(f"  circle: {', '.join(map(name, group))}")


if __name__ == "__main__":
    main(sys.argv[1:])

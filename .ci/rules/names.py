"""No type name stands for two types in one crate.

Types are structs, enums, unions, traits and aliases of modules; associated types do not count, nor does
what is compiled for tests alone. Two definitions that can never be compiled together, because of their
`#[cfg]`s or those of the modules around them, are one type: a stand-in for models or for another system.
"""

import collections
import itertools
import re

import _rust
from imports import crates

# Of these, no two hold at a time.
SYSTEMS = ("windows", "unix")


def parse(text):
    """A condition as a function of the set of atoms that hold, and the atoms in it."""
    text = " ".join(text.split())
    found = re.fullmatch(r"(all|any|not)\((.*)\)", text)
    if not found:
        return (lambda holding: text in holding), {text}
    parts = [parse(part) for part in split(found[2])]
    conditions = [condition for condition, _ in parts]
    atoms = set().union(*(atoms for _, atoms in parts))
    if found[1] == "not":
        return (lambda holding: not conditions[0](holding)), atoms
    combined = {"all": all, "any": any}[found[1]]
    return (lambda holding: combined(condition(holding) for condition in conditions)), atoms


def split(text):
    """The parts between the commas that are in no brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def is_possible(holding):
    """Whether all these atoms can hold at once."""
    if set(SYSTEMS) <= holding:
        return False
    keys = [atom.partition("=")[0].strip() for atom in holding if atom.startswith("target_")]
    if len(keys) != len(set(keys)):
        return False
    return not any('"linux"' in atom or '"macos"' in atom for atom in holding) or "windows" not in holding


def can_meet(conditions):
    """Whether all the conditions can be true at the same time."""
    parsed = [parse(text) for text in conditions]
    atoms = sorted(set().union(*(atoms for _, atoms in parsed)))
    for values in itertools.product((False, True), repeat=len(atoms)):
        holding = {atom for atom, value in zip(atoms, values) if value}
        if is_possible(holding) and all(condition(holding) for condition, _ in parsed):
            return True
    return False


def duplicates(crate):
    """Name and places of types that can be compiled together and have one name."""
    named = collections.defaultdict(list)
    for module in _rust.walk(crate):
        for name, conditions, place in module.types:
            named[name].append((conditions, place))
    for name, types in sorted(named.items()):
        meeting = set()
        for (conditions, place), (others, other) in itertools.combinations(types, 2):
            if can_meet([*conditions, *others]):
                meeting |= {str(place), str(other)}
        if meeting:
            yield name, sorted(meeting)


def check(root):
    for path in crates(root):
        for name, places in duplicates(_rust.crate(root, path)):
            yield f"{path}: {name} is {len(places)} types: {', '.join(places)}"


def _crate(**texts):
    return {f"src/{name}.rs": text for name, text in texts.items()}


GOOD = [
    _crate(lib="mod a;\nmod b;\nstruct C;\n", a="pub struct A;\n", b="// struct A;\nfn a() { struct A; }\n"),
    _crate(lib="mod a;\n", a="struct A;\nimpl I for A { type A = u8; }\ntrait I { type A; }\n"),
    _crate(lib="mod a;\n", a="#[cfg(unix)]\nstruct A;\n#[cfg(not(unix))]\nstruct A;\n"),
    _crate(
        lib='#[cfg(all(larder_loom, unix))]\nmod a;\n#[cfg(any(not(larder_loom), windows))]\nmod b;\n',
        a="struct A;\n", b="struct A;\n",
    ),
    {
        "src/lib.rs": '#[cfg_attr(larder_loom, path = "a_stub.rs")]\nmod a;\n',
        "src/a.rs": "pub struct A;\n", "src/a_stub.rs": "pub struct A;\n",
    },
    _crate(lib='#[cfg(target_os = "linux")]\nmod a {\n struct A;\n}\n#[cfg(target_os = "macos")]\nmod b {\n struct A;\n}\n'),
    _crate(lib="struct A;\n#[cfg(test)]\nmod tests {\n    struct A;\n}\n"),
]
BAD = [
    _crate(lib="mod a;\nmod b;\n", a="pub struct A;\n", b="enum A { B }\n"),
    _crate(lib="mod a;\n", a="struct A;\nmod b {\n    pub(super) type A = u8;\n}\n"),
    _crate(lib="mod a;\n", a="pub(crate) unsafe trait A {}\n#[cfg(unix)]\npub union A { b: u8 }\n"),
    _crate(lib='#[cfg(feature = "a")]\nmod a;\n#[cfg(feature = "b")]\nmod b;\n', a="struct A;\n", b="struct A;\n"),
]

"""What rules share about Rust: text without comments, and a crate's modules with their items.

This is no parser of the language. It knows as much as the rules need: attributes, `mod`, `use`, and
where an item ends, in text that rustfmt has formatted.
"""

import dataclasses
import re

from _files import read

# A comment, a string or a character, in which nothing is code. A lifetime is none of them.
_NOT_CODE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|\bb?r(?P<hashes>#*)".*?"(?P=hashes)|b?"(?:\\.|[^"\\])*"|b?'(?:\\[^\n]+?|[^\\'\n])'""",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"\s*#(!?)\[")
_VISIBILITY = re.compile(r"\s*pub\b(\s*\([^()]*\))?")
_MODULE = re.compile(r"\s*mod\s+(\w+)\s*([;{])")
_USE = re.compile(r"\s*use\b([^;]*);")
_TYPE = re.compile(r"\s*(?:unsafe\s+|auto\s+)*(struct|enum|union|trait|type)\s+(\w+)")
_CLOSED = {"(": ")", "[": "]", "{": "}"}


def blank(text):
    """The text with spaces for everything that is not code; positions and lines stay."""
    return _NOT_CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


@dataclasses.dataclass
class Module:
    """A module: one file, or two that stand for each other under opposed conditions."""

    path: tuple
    parent: object = None
    children: dict = dataclasses.field(default_factory=dict)  # by name, in the order of the `mod` lines
    files: list = dataclasses.field(default_factory=list)
    inline: bool = False
    uses: list = dataclasses.field(default_factory=list)  # (path, name or None, is a re-export, place)
    types: list = dataclasses.field(default_factory=list)  # (name, conditions, place)

    def home(self):
        """The module whose file this is in."""
        return self.parent.home() if self.inline else self


@dataclasses.dataclass
class Place:
    """Where something stands."""

    file: str
    line: int

    def __str__(self):
        return f"{self.file}:{self.line}"


def crate(root, path):
    """The root module of the crate whose root is the file `path`."""
    module = Module(())
    _Reader(root, path, module, []).file()
    return module


def walk(module):
    """The module and all below it."""
    yield module
    for child in module.children.values():
        yield from walk(child)


class _Reader:
    """Reads one file into a module."""

    def __init__(self, root, path, module, conditions):
        self.root, self.path, self.module, self.conditions = root, path, module, conditions
        module.files.append(path)
        self.text = read(root, path)
        self.code = blank(self.text)

    def file(self):
        self.items(self.module, 0, len(self.code), self.conditions)

    def place(self, position):
        return Place(self.path, self.code.count("\n", 0, position) + 1)

    def items(self, module, position, end, conditions):
        """Reads the items from `position` on."""
        while position < end:
            attributes, position = self.attributes(position, end)
            visible = _VISIBILITY.match(self.code, position, end)
            start = visible.end() if visible else position
            own = [*conditions, *_conditions(attributes)]
            skipped = any(re.match(r"(all\()?test\b", condition) for condition in own)
            found = _MODULE.match(self.code, start, end)
            if found:
                position = found.end()
                inside = position
                if found[2] == "{":
                    position = self.closing(position - 1, end) + 1
                if not skipped:
                    self.submodule(module, found[1], attributes, own, found[2] == "{", inside, position)
                continue
            position = self.item_end(start, end)
            if not skipped:
                self.item(module, start, position, bool(visible), own)

    def attributes(self, position, end):
        """The attributes at `position`, as text, and where they end."""
        attributes = []
        while True:
            found = _ATTRIBUTE.match(self.code, position, end)
            if not found:
                return attributes, position
            close = self.closing(found.end() - 1, end)
            if not found[1]:
                attributes.append(self.text[found.end() : close].strip())
            position = close + 1

    def closing(self, position, end):
        """Where the bracket at `position` closes."""
        depth = 0
        for found in re.compile(r"[()\[\]{}]").finditer(self.code, position, end):
            depth += 1 if found[0] in _CLOSED else -1
            if depth == 0:
                return found.start()
        return end

    def item_end(self, position, end):
        """Where the item that begins at `position` ends: at its `;`, or with its block."""
        ends_with_block = not re.compile(r"\s*(use|static|type|const\s+(?!fn|unsafe|extern)\w)").match(
            self.code, position, end
        )
        while position < end:
            found = re.compile(r"[;(\[{]").search(self.code, position, end)
            if not found:
                return end
            if found[0] == ";":
                return found.end()
            position = self.closing(found.start(), end) + 1
            if found[0] == "{" and ends_with_block:
                return position
        return end

    def submodule(self, module, name, attributes, conditions, inline, start, end):
        child = module.children.setdefault(name, Module((*module.path, name), module, inline=inline))
        if inline:
            self.items(child, start, end - 1, conditions)
            return
        for file, condition in self.module_files(module, name, attributes):
            if (self.root / file).is_file() and file not in child.files:
                _Reader(self.root, file, child, [*conditions, *condition]).file()

    def module_files(self, module, name, attributes):
        """The files that may hold the submodule, each with its conditions."""
        folder, _, own = self.path.rpartition("/")
        below = folder
        if own not in ("lib.rs", "main.rs", "mod.rs"):
            below = f"{folder}/{own[: -len('.rs')]}"
        inner = module.path[len(module.home().path) :]
        usual = [f"{'/'.join([below, *inner])}/{name}{end}" for end in (".rs", "/mod.rs")]
        for attribute in attributes:
            always = re.fullmatch(r'path\s*=\s*"([^"]+)"', attribute)
            if always:
                return [(f"{folder}/{always[1]}", [])]
            sometimes = re.fullmatch(r'cfg_attr\((.+),\s*path\s*=\s*"([^"]+)"\)', attribute, re.DOTALL)
            if sometimes:
                other = [(file, [f"not({sometimes[1]})"]) for file in usual]
                return [(f"{folder}/{sometimes[2]}", [sometimes[1]]), *other]
        return [(file, []) for file in usual]

    def item(self, module, start, end, visible, conditions):
        text = self.code[start:end]
        found = _TYPE.match(text)
        if found:
            module.types.append((found[2], conditions, self.place(start + found.start(2))))
        use = _USE.match(text)
        if use:
            for path, name in _tree(use[1]):
                module.uses.append((path, name, True, self.place(start + use.start(1))))
            return
        # Within an item, `use` names something for it alone, and paths name it where they stand.
        inside = re.sub(r"\buse\b(?!\s*<)[^;]*;", lambda found: " " * len(found[0]), text)
        for found in re.finditer(r"\buse\b(?!\s*<)([^;]*);", text):
            for path, _ in _tree(found[1]):
                module.uses.append((path, None, False, self.place(start + found.start(1))))
        for found in re.finditer(r"(?<![\w:])((?:crate|super|self)(?:\s*::\s*\w+)+)", inside):
            path = tuple(re.split(r"\s*::\s*", found[1]))
            module.uses.append((path, None, False, self.place(start + found.start())))


def _conditions(attributes):
    for attribute in attributes:
        found = re.fullmatch(r"cfg\((.*)\)", attribute, re.DOTALL)
        if found:
            yield found[1].strip().rstrip(",")


def _tree(text):
    """Path and name of everything that a use tree names; the name of `*` is `*`."""
    text = " ".join(text.split())
    head, brace, rest = text.partition("{")
    if not brace:
        path, _, name = text.partition(" as ")
        path = tuple(part.strip() for part in path.split("::") if part.strip())
        if not path:
            return
        if path[-1] == "self":
            path = path[:-1]
        yield (path[:-1], "*") if path[-1] == "*" else (path, name.strip() or path[-1])
        return
    depth, start = 0, 0
    inner = rest[: rest.rindex("}")]
    for position, letter in enumerate(inner + ","):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            if inner[start:position].strip():
                yield from _tree(f"{head.strip()}{inner[start:position].strip()}")
            start = position + 1

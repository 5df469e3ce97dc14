"""Each change of loom-tests/weakenings.toml can be made, and names a model that exists."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))


def unfit():
    """Why the rule cannot be checked here, if so."""
    return "no python3 of 3.11 or later" if sys.version_info < (3, 11) else None


def check(root):
    import weaken

    for weakening in weaken.weakenings(root):
        try:
            weaken.weakened(weakening, root)
        except (OSError, ValueError) as error:
            yield str(error)
        test, model = weakening["model"].split("::")
        path = root / f"loom-tests/tests/{test}.rs"
        if not path.is_file() or f"fn {model}()" not in path.read_text():
            yield f"{weakening['what']}: no model {weakening['model']}"


def _tree(text, model):
    weakening = '[[weakening]]\nwhat = "a"\nfile = "src/a.rs"\nfrom = "one"\nto = "two"\nmodel = "m::holds"\n'
    return {
        "loom-tests/weakenings.toml": weakening,
        "loom-tests/tests/m.rs": f"#[test]\nfn {model}() {{}}\n",
        "src/a.rs": text,
    }


GOOD = [_tree("one\n", "holds")]
BAD = [_tree("", "holds"), _tree("one one\n", "holds"), _tree("one\n", "fails")]
